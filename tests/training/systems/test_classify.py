"""The classifier in the loop: weights of classes, word dropout, calibration, resume, cross-validation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_reviews import reviews, write_reviews
from torch.nn import functional

from elman.data.labelled import Labelled
from elman.equations import cell
from elman.errors import FailureError, MisuseError
from elman.models.classifier import Classifier
from elman.runs import RunFolder, load
from elman.training.settings import Settings
from elman.training.start import Reports
from elman.training.systems import resume_run
from elman.training.systems.classify.data import Reading, code
from elman.training.systems.classify.examples import Learning, TextExamples, measures, scores_of
from elman.training.systems.classify.run import Wishes, cross_validated, evaluate_run, train
from elman.training.systems.parts import Sources

SHAPE = {"hidden": 16, "embedding": 16, "dropout": 0.1, "input_dropout": 0.1}
LIMITED = frozenset({"batch", "lr", "precision", "limit", "eval_every", "warmup"})


def settings_of(**changes: Any) -> Settings:
    usual = {"batch": 16, "lr": 0.01, "steps": 60, "eval_every": 20, "threads": 1, "device": "cpu", "sample_length": 0}
    return Settings(**{**usual, **changes})


def wishes(shape: dict[str, Any] | None = None, settings: Settings | None = None, **more: Any) -> Wishes:
    return Wishes(
        cell("gru"), {**SHAPE, **(shape or {})}, settings or settings_of(), LIMITED, reports=Reports(quiet=True), **more
    )


def made_examples(learning: Learning, labels: str = "aab") -> TextExamples:
    texts = ("one two three", "two", "four five")
    labelled = Labelled(texts, tuple(labels), ("", "", ""))
    reading = Reading()
    vocabulary = reading.build(texts)
    torch.manual_seed(0)
    model = Classifier("gru", vocabulary.size, 2, 8).eval()
    coded = code(labelled, vocabulary, ("a", "b"), 10)
    return TextExamples(model, vocabulary, ("a", "b"), coded, coded, labelled, learning, "cpu", 3)


def test_the_loss_is_the_sum_over_the_texts_and_balanced_weights_multiply_it() -> None:
    for balanced in ("none", "balanced"):
        examples = made_examples(Learning(class_weights=balanced))
        batch, count = examples.batch(np.arange(3), torch.Generator())
        assert count == 3
        scores = examples.model(batch[0], batch[1])
        # a occurs twice of three, b once: 3 / (2 * 2) and 3 / (2 * 1)
        factor = torch.tensor([1.0, 1.0] if balanced == "none" else [0.75, 1.5])
        expected = sum(
            factor[label] * functional.cross_entropy(scores[row : row + 1], torch.tensor([label]))
            for row, label in enumerate([0, 0, 1])
        )
        torch.testing.assert_close(examples.loss(batch), expected)


def test_word_dropout_hides_its_share_and_is_decided_by_the_generator() -> None:
    examples = made_examples(Learning(word_dropout=0.5))
    rows = np.tile(np.arange(3), 500)

    def drawn(seed: int) -> torch.Tensor:
        (tokens, lengths, _), _ = examples.batch(rows, torch.Generator().manual_seed(seed))
        return tokens[torch.arange(len(tokens)).unsqueeze(1) < lengths]

    assert (drawn(1) == 0).float().mean() == pytest.approx(0.5, abs=0.03)
    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


def test_evaluation_fits_the_temperature_and_reports_what_torch_would() -> None:
    examples = made_examples(Learning(best_by="macro-f1"))
    examples.model.readout.weight.data.mul_(20)
    found = examples.evaluate()
    assert found is not None
    (tokens, lengths, classes), _ = examples.batch(np.arange(3), torch.Generator())
    scores = examples.model(tokens, lengths)
    assert found.nats == pytest.approx(functional.cross_entropy(scores, classes).item(), rel=1e-5)
    assert found.scores["accuracy"] == pytest.approx((scores.argmax(-1) == classes).float().mean().item())
    assert found.criterion == pytest.approx(-found.scores["macro-f1"], abs=1e-4)
    losses = {float(t): functional.cross_entropy(scores / t, classes).item() for t in torch.logspace(-2, 2, 2001)}
    assert float(examples.model.temperature) == pytest.approx(min(losses, key=losses.__getitem__), rel=0.01)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Sources]:
    folder = tmp_path_factory.mktemp("classify")
    sources = Sources(
        (write_reviews(folder / "train.csv", reviews(400, 1)),),
        (write_reviews(folder / "valid.txt", reviews(100, 2)),),
        (write_reviews(folder / "test.csv", reviews(200, 3)),),
    )
    outcome, run, config = train(
        sources, Reading(), wishes(settings=settings_of(steps=200, eval_every=100, lr=0.02)), folder / "run"
    )
    assert outcome.reason == "done"
    assert config["classes"] == ["neg", "pos"]
    return run.path, sources


def test_it_learns_what_not_does(trained: tuple[Path, Sources]) -> None:
    run, _ = trained
    loaded = load(run, systems=("classify",))
    scores = evaluate_run(loaded, run, None, "test", {})
    assert scores.rows["texts"] == 200
    # of the words alone 70 % can be told
    assert float(scores.rows["accuracy"] or 0) > 0.9
    matrix = np.array(scores.details["confusion"])
    assert matrix.sum() == 200
    assert np.trace(matrix) / 200 == pytest.approx(scores.rows["accuracy"])
    assert scores.details["classes"]["neg"]["support"] == matrix[0].sum()
    assert "true \\ called" in scores.text


def test_the_stored_temperature_is_that_of_the_kept_weights(trained: tuple[Path, Sources]) -> None:
    from elman.metrics.classification import fit_temperature
    from elman.training.systems.classify.data import read_again

    run, _ = trained
    loaded = load(run, systems=("classify",))
    parts, reading = read_again(loaded.config, run)
    coded = code(parts["valid"], loaded.vocabulary, ("neg", "pos"), reading.longest)
    again = fit_temperature(scores_of(loaded.model, coded.ids), coded.classes)
    assert float(loaded.model.temperature) == pytest.approx(again, rel=1e-3)
    probabilities = loaded.model.probabilities(torch.tensor([[5], [6]]), torch.tensor([2]))
    scores = loaded.model(torch.tensor([[5], [6]]), torch.tensor([2]))
    torch.testing.assert_close(probabilities, torch.softmax(scores / loaded.model.temperature, -1))


def test_other_texts_and_their_faults(trained: tuple[Path, Sources], tmp_path: Path) -> None:
    run, _ = trained
    loaded = load(run, systems=("classify",))
    other = tmp_path / "other.csv"
    other.write_text("mood,said\npos,a good film\nneg,dull\n")
    rows = evaluate_run(loaded, run, [str(other)], None, {"text_column": "said", "label_column": "mood"}).rows
    assert (rows["texts"], rows["accuracy"]) == (2, 1.0)
    other.write_text("text,label\nfine,great\n")
    with pytest.raises(MisuseError, match=r"other.csv, line 2: no training text has the label 'great'"):
        evaluate_run(loaded, run, [str(other)], None, {})
    with pytest.raises(MisuseError, match="There is no option 'beam'"):
        evaluate_run(loaded, run, None, None, {"beam": 5})
    with pytest.raises(MisuseError, match="--part is 'dev'; it takes train, valid, test"):
        evaluate_run(loaded, run, None, "dev", {})
    with pytest.raises(MisuseError, match="--option encoding is for files"):
        evaluate_run(loaded, run, None, None, {"encoding": "latin-1"})


def test_a_resumed_training_ends_where_the_whole_one_does(trained: tuple[Path, Sources], tmp_path: Path) -> None:
    _, sources = trained
    short = wishes(settings=settings_of(steps=40, schedule="constant"))
    whole, first, _ = train(sources, Reading(), short, tmp_path / "whole")
    half = wishes(settings=settings_of(steps=20, schedule="constant"))
    _, second, _ = train(sources, Reading(), half, tmp_path / "half")
    outcome, _, _ = resume_run(second.path, steps=40, reports=Reports(quiet=True))
    assert outcome.progress.step == 40
    assert outcome.progress.train_nats == pytest.approx(whole.progress.train_nats, rel=1e-6)
    one, other = (load(run.path, systems=("classify",)).model.state_dict() for run in (first, second))
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], msg=name)


def test_changed_texts_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    sources = Sources((write_reviews(path, reviews(60, 1)),))
    _, run, _ = train(sources, Reading(split="80/10/10"), wishes(settings=settings_of(steps=4)), tmp_path / "run")
    loaded = load(run.path, systems=("classify",))
    assert evaluate_run(loaded, run.path, None, "test", {}).rows["texts"] == 6
    path.write_text(path.read_text().replace("film", "movie"))
    with pytest.raises(FailureError, match="The data are not those"):
        evaluate_run(loaded, run.path, None, "test", {})


def test_cross_validation_tests_every_text_once(tmp_path: Path) -> None:
    sources = Sources((write_reviews(tmp_path / "r.csv", reviews(90, 1)),))
    lines: list[str] = []
    summary = cross_validated(
        sources, Reading(folds=3), wishes(settings=settings_of(steps=6)), tmp_path / "cv", lines.append
    )
    assert summary.complete
    assert len(lines) == 3
    texts = []
    for number in (1, 2, 3):
        config = load(tmp_path / "cv" / f"fold-{number}", systems=("classify",)).config
        assert config["data"]["examples"] == {"train": 54, "valid": 6, "test": 30}
        texts.append(config["data"]["options"]["fold"])
    assert texts == [1, 2, 3]
    again = cross_validated(
        sources, Reading(folds=3), wishes(settings=settings_of(steps=6)), tmp_path / "cv", lines.append
    )
    assert again.scores == summary.scores
    changed = tmp_path / "r.csv"
    changed.write_text(changed.read_text().replace("film", "movie"))
    with pytest.raises(MisuseError, match="a cross-validation of other data"):
        cross_validated(sources, Reading(folds=3), wishes(settings=settings_of(steps=6)), tmp_path / "cv", lines.append)


@pytest.mark.parametrize("frozen", [False, True])
def test_word_vectors_are_taken_and_stay_where_frozen(tmp_path: Path, frozen: bool) -> None:
    sources = Sources((write_reviews(tmp_path / "r.csv", reviews(60, 1)),))
    vectors = tmp_path / "v.txt"
    vectors.write_text("good 1 2 3\nbad 4 5 6\nfilm 0.5 0 0\n")
    scales = {"embedding": 0.0} if frozen else {}
    asked = wishes(settings=settings_of(steps=6, rate_scales=scales), embeddings=str(vectors))
    asked = replace(asked, shape={name: value for name, value in asked.shape.items() if name != "embedding"})
    _, run, config = train(sources, Reading(), asked, tmp_path / "run")
    model, vocabulary, _ = load(run.path, systems=("classify",))
    assert config["model"]["embedding"] == 3
    row = model.embedding.weight[int(vocabulary.ids(["bad"])[0])]
    assert (row.tolist() == [4, 5, 6]) == frozen
    assert row.tolist() == pytest.approx([4, 5, 6], abs=0.2)


@pytest.mark.parametrize("tokens", ["characters", "bytes"])
def test_other_tokens(tmp_path: Path, tokens: str) -> None:
    sources = Sources((write_reviews(tmp_path / "r.csv", reviews(60, 1)),))
    _, run, _ = train(
        sources, Reading(tokens=tokens, longest=30), wishes(settings=settings_of(steps=3)), tmp_path / "run"
    )
    loaded = load(run.path, systems=("classify",))
    assert loaded.vocabulary.kind == tokens
    assert evaluate_run(loaded, run.path, None, None, {}).rows["texts"] == 6


def test_what_cannot_be_is_said_before_the_training(tmp_path: Path) -> None:
    sources = Sources((write_reviews(tmp_path / "r.csv", reviews(20, 1)),))
    for changes, sentence in (
        ({"class_weights": "heavy"}, "--class-weights is 'heavy'"),
        ({"best_by": "bleu"}, "--best-by is 'bleu'"),
        ({"word_dropout": 1.0}, "--word-dropout is 1.0"),
    ):
        with pytest.raises(MisuseError, match=sentence):
            train(sources, Reading(), wishes(**changes), tmp_path / "run")
    with pytest.raises(MisuseError, match="which a vocabulary of bytes lacks"):
        train(sources, Reading(tokens="bytes"), wishes(word_dropout=0.1), tmp_path / "run")
    one = tmp_path / "one.csv"
    one.write_text("text,label\na,x\nb,x\nc,x\n")
    with pytest.raises(MisuseError, match="All 2 training texts have the label 'x'"):
        train(Sources((str(one),)), Reading(), wishes(), tmp_path / "run")
    with pytest.raises(MisuseError, match="leave --valid and --test out"):
        train(Sources(sources.train, sources.train), Reading(folds=2, fold=1), wishes(), tmp_path / "run")
    assert not RunFolder(tmp_path / "run").config.exists()


def test_measures_are_those_of_the_definition() -> None:
    scores = np.array([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]])
    found = measures(scores, np.array([0, 1, 1]))
    expected = functional.cross_entropy(torch.tensor(scores), torch.tensor([0, 1, 1])).item()
    assert found["nats"] == pytest.approx(expected)
    assert found["accuracy"] == pytest.approx(2 / 3)
