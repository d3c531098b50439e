"""The tagger in the loop: a CRF against a softmax on made names, constraints, resume, faults."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_names import Names, write_columns

from elman.data.conll import read_tagged
from elman.equations import cell
from elman.errors import FailureError, MisuseError
from elman.metrics.entities import entity_scores, follows
from elman.runs import load
from elman.training.settings import Settings
from elman.training.start import Reports
from elman.training.systems import resume_run
from elman.training.systems.parts import Sources
from elman.training.systems.tag.data import Reading, allowed_pairs, characters_of, code
from elman.training.systems.tag.examples import Learning, WordExamples, decode_all
from elman.training.systems.tag.run import Decoder, Wishes, evaluate_run, label_sentences, train

SHAPE = {"hidden": 32, "embedding": 24, "character_hidden": 12, "dropout": 0.1, "input_dropout": 0.1}
LIMITED = frozenset({"precision", "limit", "eval_every", "warmup"})


def wishes(settings: dict[str, Any] | None = None, learning: Learning | None = None, **shape: Any) -> Wishes:
    usual = {"batch": 16, "lr": 0.01, "steps": 120, "eval_every": 40, "threads": 1, "device": "cpu", "sample_length": 0}
    return Wishes(
        cell("gru"),
        {**SHAPE, **shape},
        Settings(**{**usual, **(settings or {})}),
        learning or Learning(word_dropout=0.1),
        LIMITED,
        reports=Reports(quiet=True),
    )


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    folder, names = tmp_path_factory.mktemp("names"), Names()
    return Sources(
        (write_columns(folder / "train.conll", names.sentences(400, 1)),),
        (write_columns(folder / "valid.conll", names.sentences(100, 2, unseen=0.5)),),
        (write_columns(folder / "test.conll", names.sentences(300, 3, unseen=1.0)),),
    )


@pytest.fixture(scope="module")
def runs(sources: Sources, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("tag")
    made = {}
    for name in ("crf", "softmax"):
        outcome, run, _ = train(sources, Reading(), wishes(crf=name == "crf"), folder / name)
        assert outcome.reason == "done"
        made[name] = run.path
    return made


def f1(run: Path, **options: Any) -> float:
    return float(evaluate_run(load(run, systems=("tag",)), run, None, "test", options).rows["f1"] or 0.0)


def test_a_crf_finds_more_names_that_training_never_had(runs: dict[str, Path]) -> None:
    found = {name: f1(run) for name, run in runs.items()}
    assert found["crf"] >= found["softmax"]
    assert found["crf"] > 0.4


def test_constraints_forbid_what_iob2_forbids(runs: dict[str, Path], sources: Sources) -> None:
    run = runs["softmax"]
    loaded, test = load(run, systems=("tag",)), read_tagged(sources.test)
    decoder = Decoder.of(loaded.config, run)
    broken = {}
    for constrained in (False, True):
        allowed = allowed_pairs(decoder.tags, "iob2") if constrained else None
        decoded, _ = decode_all(loaded.model, decoder.code(test.sentences), allowed)
        labels = [[decoder.tags[number] for number in row] for row in decoded]
        broken[constrained] = sum(
            not follows("iob2", before, after)
            for row in labels
            for before, after in itertools.pairwise([None, *row, None])
        )
        expected = entity_scores(test.labels, labels).overall.f1
        assert f1(run, constrain=constrained) == pytest.approx(expected)
    assert broken[False] > 0
    assert broken[True] == 0


def test_new_sentences_are_labelled_with_their_marginals(runs: dict[str, Path]) -> None:
    run = runs["crf"]
    loaded = load(run, systems=("tag",))
    decoder = Decoder.of(loaded.config, run)
    sentences = [["nobody", "in", "the", "village", "knew", "the", "answer", "."], ["shares", "of", "Zzz", "rose"]]
    (labels, chances), (second, _) = label_sentences(loaded.model, decoder, sentences)
    assert labels == ["O"] * 8
    assert min(chances) > 0.5
    assert len(second) == 4
    coded = decoder.code(sentences[:1])
    words, lengths, spelling = coded.batch([0])
    scores = loaded.model(words, lengths, spelling).detach()
    marginals = loaded.model.marginals(scores, lengths)[:, 0]
    numbers = [decoder.tags.index(label) for label in labels]
    assert chances == pytest.approx(marginals[torch.arange(8), torch.tensor(numbers)].tolist(), abs=1e-5)


def test_a_batch_spells_each_word_once_and_puts_it_in_its_places() -> None:
    sentences = [["ab", "c", "ab"], ["c"]]
    reading = Reading()
    vocabulary, characters = reading.build(sentences), characters_of(sentences)
    coded = code(sentences, [["x", "O", "x"], ["?"]], reading, vocabulary, characters, ("O", "x"))
    words, lengths, spelling = coded.batch([0, 1])
    assert spelling is not None
    assert spelling.characters.shape == (2, 2)
    assert lengths.tolist() == [3, 1]
    for row, sentence in enumerate(sentences):
        for t, word in enumerate(sentence):
            place = int(spelling.words[t, row])
            letters = spelling.characters[: int(spelling.lengths[place]), place]
            assert characters.decode(letters.numpy()) == word
            assert vocabulary.symbol(int(words[t, row])) == word
    assert [row.tolist() for row in coded.labels] == [[1, 0, 1], [-1]]


def test_the_loss_counts_words_and_word_dropout_leaves_the_spelling() -> None:
    sentences = [["Ab", "c"], ["d"]]
    reading = Reading()
    vocabulary, characters = reading.build(sentences), characters_of(sentences)
    coded = code(sentences, [["x", "O"], ["O"]], reading, vocabulary, characters, ("O", "x"))
    from elman.models.tagger import Tagger

    torch.manual_seed(0)
    model = Tagger("gru", vocabulary.size, 2, 6, characters=characters.size, character_hidden=4, crf=False).eval()
    examples = WordExamples(
        model, ("O", "x"), coded, (coded, read_none()), None, False, Learning(word_dropout=0.9), Settings(batch=2)
    )
    (words, lengths, spelling, labels), count = examples.batch(np.arange(2), torch.Generator().manual_seed(1))
    assert count == 3
    assert (words == 0).sum() >= 3
    scores = model(words, lengths, spelling)
    inside = torch.tensor([[True, True], [True, False]])
    expected = torch.nn.functional.cross_entropy(scores[inside], labels[inside], reduction="sum")
    torch.testing.assert_close(examples.loss((words, lengths, spelling, labels)), expected)


def read_none() -> Any:
    from elman.data.conll import Tagged

    return Tagged((), (), ())


def test_a_resumed_training_ends_where_the_whole_one_does(sources: Sources, tmp_path: Path) -> None:
    constant = {"schedule": "constant", "eval_every": 5}
    whole, first, _ = train(sources, Reading(), wishes({"steps": 10, **constant}), tmp_path / "whole")
    _, second, _ = train(sources, Reading(), wishes({"steps": 5, **constant}), tmp_path / "half")
    outcome, _, _ = resume_run(second.path, steps=10, reports=Reports(quiet=True))
    assert outcome.progress.train_nats == pytest.approx(whole.progress.train_nats, rel=1e-6)
    one, other = (load(run.path, systems=("tag",)).model.state_dict() for run in (first, second))
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], msg=name)


def test_parts_of_speech_have_an_accuracy_and_no_entities(tmp_path: Path) -> None:
    path = tmp_path / "a.conllu"
    row = "{}\t{}\t_\t{}\t_\t_\t_\t_\t_\t_"
    sentence = "\n".join(row.format(n, w, t) for n, (w, t) in enumerate((("the", "DET"), ("cat", "NOUN")), 1))
    path.write_text("\n\n".join([sentence] * 30) + "\n")
    asked = wishes({"steps": 20, "eval_every": 10}, crf=False, characters=False)
    _, run, config = train(Sources((str(path),)), Reading(tag_column="UPOS"), asked, tmp_path / "run")
    assert config["scheme"] is None
    assert config["labels"] == ["DET", "NOUN"]
    rows = evaluate_run(load(run.path, systems=("tag",)), run.path, None, None, {}).rows
    assert rows["accuracy"] == 1.0
    assert "f1" not in rows
    with pytest.raises(MisuseError, match="--constrain is for labels of entities"):
        train(Sources((str(path),)), Reading(tag_column="UPOS"), wishes(learning=Learning(0.0, True)), tmp_path / "b")


def test_schemes_are_rewritten(sources: Sources, tmp_path: Path) -> None:
    _, _, config = train(sources, Reading(scheme="iobes"), wishes({"steps": 2}), tmp_path / "run")
    assert config["scheme"] == "iobes"
    assert {"S-PER", "E-ORG"} <= set(config["labels"])
    with pytest.raises(MisuseError, match="--scheme is 'bilou'"):
        train(sources, Reading(scheme="bilou"), wishes(), tmp_path / "b")


def test_faults_are_named(sources: Sources, tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_text("a O\nb O\n\n" * 20)
    with pytest.raises(MisuseError, match="have the label 'O'; a tagger needs two"):
        train(Sources((str(path),)), Reading(), wishes(), tmp_path / "run")
    path.write_text("a O\nb B-X\n\n" * 20)
    _, run, _ = train(Sources((str(path),)), Reading(), wishes({"steps": 2}), tmp_path / "run")
    path.write_text("a O\nc B-X\n\n" * 20)
    with pytest.raises(FailureError, match="The data are not those"):
        evaluate_run(load(run.path, systems=("tag",)), run.path, None, None, {})
    other = tmp_path / "other.conll"
    other.write_text("a\tO\tx\nb\tB-Y\tx\n")
    rows = evaluate_run(load(run.path, systems=("tag",)), run.path, [str(other)], None, {"tag_column": 2}).rows
    # a label that the model lacks counts as missed, and there is no loss of it
    assert (rows["entities"], rows["recall"], rows["nats"]) == (1, 0.0, 0.0)
