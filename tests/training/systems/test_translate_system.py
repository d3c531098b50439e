"""Training, resuming and measuring translators."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from elman.data.parallel import Pairs, build_vocabularies, read_pairs
from elman.errors import FailureError, MisuseError
from elman.generate.translating import from_runs, judge
from elman.models.translator import Translator
from elman.runs import load
from elman.training.settings import Settings
from elman.training.systems.translate.pairs import PairOptions, parts_of_run
from elman.training.systems.translate.run import PairExamples, rebuild
from elman.training.systems.translate.scores import evaluate_run, exact_share, sacrebleu_scores, word_bleu

Elman = Callable[..., Any]
MADE = "made:reversal,longest=3,count=800"
SMALL = ("--hidden", "32", "--dropout", "0", "--threads", "1", "--precision", "fp32", "--quiet")


def trained(elman: Elman, out: Path, *arguments: str) -> dict[str, Any]:
    done = elman("train", "translate", *arguments, *SMALL, "--out", out)
    assert done.returncode == 0, done.stderr
    return json.loads((out / "config.json").read_text())


def test_a_made_task_is_learned_kept_by_exact_matches_and_measured(elman: Elman, tmp_path: Path) -> None:
    config = trained(
        elman, tmp_path / "run", MADE, "--steps", "400", "--eval-every", "200", "--lr", "0.01", "--split", "80/10/10"
    )
    assert config["translate"] == {"best_by": "exact", "scored": 200}
    assert config["data"]["sources"]["train"] == [MADE]
    assert config["data"]["pairs"] == {"train": 640, "valid": 80, "test": 80}
    loaded = load(tmp_path / "run", systems=("translate",))
    scores = evaluate_run(loaded, tmp_path / "run", None, "test", {"beam": 3})
    assert scores.rows["pairs"] == 80
    assert scores.rows["exact"] > 0.9
    assert "BLEU" not in scores.rows
    translators = from_runs([loaded])
    test = parts_of_run(loaded.config, tmp_path / "run")[0]["test"]
    targets = [loaded.vocabulary.encode(text + "\n").ids.tolist() for text in test.target]
    nats = -np.concatenate([each.token_logprobs for each in judge(translators, test.source, targets)]).mean()
    assert scores.rows["nats_a_character"] == pytest.approx(nats, rel=1e-4)
    # a longer task is another one, and what is written is what is scored
    longer = evaluate_run(loaded, tmp_path / "run", ["made:reversal,shortest=6,longest=6,count=50"], None, {})
    assert longer.rows["exact"] < scores.rows["exact"]
    assert len(longer.details["translations"]) == 50
    done = elman("eval", tmp_path / "run", "--part", "test", "--option", "beam=3", "--json")
    assert json.loads(done.stdout)["exact"] == scores.rows["exact"]


def test_resumed_and_uninterrupted_trainings_end_alike(elman: Elman, tmp_path: Path) -> None:
    options = (MADE, "--schedule", "constant", "--warmup", "0", "--eval-every", "5", "--batch", "32")
    trained(elman, tmp_path / "whole", *options, "--steps", "40")
    trained(elman, tmp_path / "halves", *options, "--steps", "25")
    assert elman("resume", tmp_path / "halves", "--steps", "40", "--quiet").returncode == 0
    lines = [
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("whole", "halves")
    ]
    ends = [[line for line in each if line.get("valid_nats") is not None][-1] for each in lines]
    assert [end["step"] for end in ends] == [40, 40]
    assert ends[0]["valid_nats"] == ends[1]["valid_nats"]
    assert "valid_exact" in ends[0]


def test_changed_pairs_are_refused(elman: Elman, tmp_path: Path) -> None:
    names = [tmp_path / "a.txt", tmp_path / "b.txt"]
    for name in names:
        name.write_text("".join(f"line {number} of it\n" for number in range(60)))
    config = trained(elman, tmp_path / "run", *map(str, names), "--tokens", "words", "--steps", "2")
    assert config["source_vocabulary"]["kind"] == "words"
    assert config["model"]["tied"] == "target"
    settings = Settings.from_json(config["training"]["settings"])
    task = rebuild(config, settings, tmp_path / "run", None)
    assert task.steps_an_epoch == 1
    elsewhere = [str(names[0].rename(tmp_path / "moved.txt")), str(names[1])]
    with pytest.raises(MisuseError, match=r"a\.txt' does not exist"):
        rebuild(config, settings, tmp_path / "run", None)
    assert rebuild(config, settings, tmp_path / "run", elsewhere).steps_an_epoch == 1
    with pytest.raises(MisuseError, match=r"--data names 1 places; name one for each of .*a\.txt, .*b\.txt"):
        rebuild(config, settings, tmp_path / "run", elsewhere[:1])
    names[0].with_name("moved.txt").rename(names[0])
    names[1].write_text(names[1].read_text().replace("line 7 ", "line 8 "))
    with pytest.raises(FailureError, match="not those that"):
        rebuild(config, settings, tmp_path / "run", None)
    broken = config | {"data": config["data"] | {"options": {"tokens": 3, "unheard": 1}}}
    with pytest.raises(FailureError, match="does not say how its data were read"):
        rebuild(broken, settings, tmp_path / "run", None)


def test_an_evaluation_measures_all_validation_pairs_and_translates_some() -> None:
    pairs = read_pairs(["made:addition,digits=2,count=120"])
    source, target = build_vocabularies(pairs, "characters", False)
    torch.manual_seed(0)
    model = Translator("gru", source.size, target.size, hidden=8)
    parts = {"train": pairs.part(0, 70), "valid": pairs.part(70, 120)}
    options = PairOptions("characters", joint=False)
    made = PairExamples(model, source, target, parts, options, Settings(batch=16), "exact", 10)
    _, predicted = made.batch(np.arange(5), torch.Generator())
    assert predicted == sum(len(text) + 1 for text in pairs.target[:5])
    whole, count = made.batch(np.arange(70), torch.Generator())
    with torch.no_grad():
        each = sum(made.loss(made.batch(np.array([row]), torch.Generator())[0]) for row in range(70))
        torch.testing.assert_close(made.loss(whole), each)
    assert count == sum(len(text) + 1 for text in pairs.target[:70])
    model.eval()
    found = made.evaluate()
    assert found is not None
    assert found.tokens == sum(len(text) + 1 for text in pairs.target[70:])
    assert found.nats == pytest.approx(np.log(target.size), rel=0.2)
    assert set(found.scores) == {"exact"}
    # nothing is right yet: the better loss decides
    assert found.criterion == pytest.approx(found.nats * 1e-6)
    assert made.sample(1, 100).count("\n  > ") == 3
    assert replace(options, tokens=None).settled(["made:sorting"]).tokens == "characters"
    assert replace(options, tokens=None, joint=None).settled(["a", "b"]).joint
    model.readout_bias.data[0] = torch.nan
    exploded = made.evaluate()
    assert exploded is not None
    assert np.isnan(exploded.nats)
    assert (exploded.scores, exploded.criterion) == ({}, None)
    empty = PairExamples(model, source, target, {**parts, "valid": pairs.part(0, 0)}, options, Settings(), "nats", 9)
    assert empty.evaluate() is None


def test_runs_of_other_vocabularies_do_not_translate_together(elman: Elman, tmp_path: Path) -> None:
    for name, made in (("one", MADE), ("two", MADE), ("other", "made:sorting,count=300")):
        trained(elman, tmp_path / name, made, "--steps", "2", "--seed", "2" if name == "two" else "1")
    runs = {name: load(tmp_path / name, systems=("translate",)) for name in ("one", "two", "other")}
    with pytest.raises(MisuseError, match="need the same vocabularies"):
        from_runs([runs["one"], runs["other"]])
    assert len(from_runs([runs["one"], runs["two"]]).models) == 2
    scores = evaluate_run(runs["one"], tmp_path / "one", None, None, {"ensemble": str(tmp_path / "two"), "beam": 1})
    assert "perplexity" not in scores.rows
    with pytest.raises(MisuseError, match="There is no option 'width'"):
        evaluate_run(runs["one"], tmp_path / "one", None, None, {"width": 3})
    with pytest.raises(MisuseError, match="no pairs in its test part"):
        evaluate_run(runs["one"], tmp_path / "one", None, "test", {})


def test_scores_of_known_translations() -> None:
    assert exact_share(["a b", "c"], ["a b", "d"]) == 0.5
    assert word_bleu(["the cat sat on the mat."], ["the cat sat on the mat."]) == pytest.approx(100.0)
    pytest.importorskip("sacrebleu")
    ours, theirs = ["The cat sat on a mat."], ["the cat sat on the mat."]
    figures, signatures = sacrebleu_scores(ours, theirs, lower=True)
    # 1-grams 6 of 7, 2-grams 4 of 6, 3-grams 2 of 5, 4-grams 1 of 4, lengths equal
    assert figures["BLEU"] == pytest.approx(100 * (6 / 7 * 4 / 6 * 2 / 5 * 1 / 4) ** 0.25)
    assert "case:lc" in signatures["BLEU"]
    assert sacrebleu_scores(ours, theirs, lower=False)[0]["BLEU"] < figures["BLEU"]
    assert Pairs(("a",), ("b",)).part(0, 0) == Pairs((), ())
