"""Hunts over recordings in which it is known which cell knows what."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from insight.ranking.made_cells import given, markov_labels, noisy_cell, prose, recording_of, smooth_cells

from elman.errors import CancelledError, FailureError, MisuseError
from elman.insight.hypotheses import builtin, from_function
from elman.insight.ranking import Baseline, CellScore, Hunt, hunt, hunt_cached, match, stored_hunt, verdict
from elman.insight.recording import Group, Recording, write_recording

LENGTH, CELLS, QUOTES, DEPTH, MARK = 120_000, 40, 17, 33, 5
WRONG = 0.05


def quoted_prose(length: int, generator: np.random.Generator) -> str:
    """Prose with quotations, now and then a paragraph's end."""
    made = ""
    while len(made) < length:
        words = prose(int(generator.integers(20, 90)), generator).replace("\n\n", "\n")
        made += f'"{words}" ' if generator.random() < 0.4 else words + ("\n\n" if generator.random() < 0.3 else ". ")
    return made[:length]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Cell 17 says "in quotes", negated and 5 % wrong; 33 counts since the newline; 5 sees only the mark."""
    generator = np.random.default_rng(0)
    text = quoted_prose(LENGTH, generator)
    values = smooth_cells(CELLS, LENGTH, generator)
    known = builtin()
    values[QUOTES] = noisy_cell(known["double_quotes"].label(text), WRONG, generator, sign=-1)
    values[DEPTH] = np.clip(-known["since_newline"].label(text) + generator.integers(-30, 30, LENGTH), -128, 127)
    values[MARK] = np.where(np.array(list(text)) == '"', 110, -110)
    groups = [Group(0, "h", "state", "identity", 0, 16), Group(1, "c", "state", "tanh", 16, 24)]
    return write_recording(tmp_path_factory.mktemp("planted") / "rec", values, text, groups=groups)


@pytest.fixture(scope="module")
def untrained(planted: Recording, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """The same text; one of its cells has learnt a quarter of the newline count by accident."""
    generator = np.random.default_rng(9)
    values = smooth_cells(CELLS, LENGTH, generator)
    counted = builtin()["since_newline"].label(planted.text)
    values[2] = np.where(counted < 12, 80, -80) * np.where(generator.random(LENGTH) < 0.1, -1, 1)
    folder = tmp_path_factory.mktemp("untrained") / "rec"
    return write_recording(folder, values, planted.text, facts={"untrained": True, "seed": 4})


@pytest.fixture(scope="module")
def found(planted: Recording, untrained: Recording) -> Hunt:
    generator = np.random.default_rng(7)
    rare = np.zeros(LENGTH, dtype=np.int32)
    rare[:40] = 1
    hypotheses = [
        builtin()["double_quotes"],
        builtin()["since_newline"],
        given("noise", markov_labels(LENGTH, 0.3, 40, generator)),
        given("rare", rare),
        from_function("mark", lambda text: np.array([sign == '"' for sign in text])),
    ]
    return hunt(planted, hypotheses, baseline=untrained, probe=True, top=4)


def test_the_planted_cell_ranks_first_with_its_planted_figures(found: Hunt) -> None:
    finding = found.findings["double_quotes"]
    best = finding.cells[0]
    assert (best.cell, best.layer, best.name, best.unit, best.sign) == (QUOTES, 1, "c", QUOTES - 16, -1)
    assert best.described == "layer 1 c[1]"
    rate = finding.base_rate
    hits, false = rate * (1 - WRONG), (1 - rate) * WRONG
    expected = 2 * hits / (2 * hits + false + rate * WRONG)
    assert best.f1 == pytest.approx(expected, abs=0.01)
    assert best.f1_choose == pytest.approx(expected, abs=0.01)
    assert best.recall == pytest.approx(1 - WRONG, abs=0.01)
    assert best.precision == pytest.approx(hits / (hits + false), abs=0.01)
    assert best.auc == pytest.approx(1 - WRONG, abs=0.01)
    for figure, (low, high) in ((best.f1, best.f1_interval), (best.auc, best.auc_interval)):
        assert low < figure < high
        assert high - low < 0.02
    entropy = -(rate * math.log2(rate) + (1 - rate) * math.log2(1 - rate))
    assert 0.55 * entropy < best.mutual_information < 0.85 * entropy
    assert best.p == 1 / 1001
    assert best.p_confirm == 1 / 1001
    assert finding.p_holm == pytest.approx(4 / 1001)  # of four that are common enough
    assert best.stratified_auc == pytest.approx(1 - WRONG, abs=0.02)
    assert abs(best.threshold) <= 80
    assert best.lag == 0
    assert math.isnan(best.spearman)
    assert finding.verdict == "found"
    assert "layer 1 c[1]" in finding.sentence
    assert [cell.f1_choose for cell in finding.cells] == sorted(
        (cell.f1_choose for cell in finding.cells), reverse=True
    )
    assert finding.cells[1].p > 0.05


def test_halves_and_counts_are_told(found: Hunt, planted: Recording) -> None:
    finding = found.findings["double_quotes"]
    labels = builtin()["double_quotes"].label(planted.text)
    assert (finding.choose, finding.confirm) == ((0, LENGTH // 2), (LENGTH // 2, LENGTH))
    assert (finding.labelled, finding.positives) == (LENGTH, int(labels.sum()))
    rate = labels[LENGTH // 2 :].mean()
    assert finding.constant_f1 == pytest.approx(2 * rate / (1 + rate))
    assert (found.length, found.cells, found.untrained_seed, found.shifts) == (LENGTH, CELLS, 4, 1000)
    assert (found.model, found.text) == (planted.manifest["model"], planted.manifest["text"])


def test_a_graded_hypothesis_has_correlations(found: Hunt, planted: Recording, untrained: Recording) -> None:
    finding = found.findings["since_newline"]
    best = finding.cells[0]
    assert best.cell == DEPTH
    labels = builtin()["since_newline"].label(planted.text)[LENGTH // 2 :]
    stats = pytest.importorskip("scipy.stats")
    expected = stats.spearmanr(labels, planted.values[DEPTH, LENGTH // 2 :]).statistic
    assert best.spearman == pytest.approx(expected, abs=0.005)  # more than 255 grades are counted in classes
    low, high = best.spearman_interval
    assert low < best.spearman < high < 0
    assert best.sign == -1
    assert math.isnan(best.f1)
    assert math.isnan(best.auc)
    assert finding.baseline is not None
    assert finding.baseline.cell == 2
    assert finding.baseline.spearman == pytest.approx(
        stats.spearmanr(labels, untrained.values[2, LENGTH // 2 :]).statistic, abs=0.005
    )


def test_what_means_nothing_is_not_found(found: Hunt) -> None:
    finding = found.findings["noise"]
    assert finding.verdict == "none"
    assert finding.p_holm > 0.05
    assert "chance" in finding.sentence
    assert finding.baseline is not None
    assert abs(finding.baseline.auc - 0.5) < 0.1
    assert finding.probe is not None
    assert finding.probe.f1 < 0.55


def test_what_is_too_rare_is_not_looked_for(found: Hunt) -> None:
    finding = found.findings["rare"]
    assert (finding.cells, finding.verdict, finding.p_holm) == ((), "none", 1.0)
    assert finding.positives == 40
    assert "rare" in finding.sentence.lower()


def test_a_detector_of_the_mark_is_known_for_one(found: Hunt, planted: Recording) -> None:
    mark = found.findings["mark"].cells[0]
    assert mark.cell == MARK
    assert math.isnan(mark.stratified_auc)  # the character decides
    quotes = hunt(planted, [builtin()["double_quotes"]], cells=[MARK, 1, 2], top=3)
    (score,) = (each for each in quotes.findings["double_quotes"].cells if each.cell == MARK)
    # the opening mark is inside and the closing one is not, so that among marks nothing is told
    assert score.stratified_auc == pytest.approx(0.5, abs=1e-6)


def test_a_probe_uses_the_planted_cell(found: Hunt) -> None:
    probe = found.findings["double_quotes"].probe
    assert probe is not None
    assert probe.largest[0] == QUOTES
    assert probe.f1 == pytest.approx(found.findings["double_quotes"].cells[0].f1, abs=0.01)


def test_the_same_seed_gives_the_same_hunt(planted: Recording) -> None:
    def once(seed: int) -> dict[str, Any]:
        made = hunt(planted, [builtin()["double_quotes"]], cells=range(10, 25), top=2, seed=seed, shifts=50)
        return made.to_json() | {"seconds": 0, "seed": 0}

    assert once(3) == once(3)
    assert once(3) != once(4)


def test_a_choice_that_does_not_hold_is_told(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    length = 60_000
    labels = markov_labels(length, 0.3, 30, generator)
    values = smooth_cells(10, length, generator)
    values[3, : length // 2] = noisy_cell(labels, 0.1, generator)[: length // 2]
    recording = recording_of(tmp_path / "rec", values, prose(length, generator))
    finding = hunt(recording, [given("half", labels)]).findings["half"]
    best = finding.cells[0]
    assert best.cell == 3
    assert best.p == 1 / 1001
    assert best.p_confirm > 0.05
    assert best.f1_choose > 0.8 > 0.5 > best.f1
    assert finding.verdict == "none"
    assert "second" in finding.sentence


def test_tokens_of_several_characters_have_the_label_of_their_first(tmp_path: Path) -> None:
    generator = np.random.default_rng(2)
    words = 30_000
    text = "".join(generator.choice(["(ab) ", "cde ", "fg "], words).tolist())
    offsets = [0] + [place + 1 for place, sign in enumerate(text[:-1]) if sign == " "]
    opens = np.array([text[place] == "(" for place in offsets])
    values = smooth_cells(6, words, generator)
    values[4] = np.where(opens, 60, -60)
    recording = write_recording(tmp_path / "rec", values, text, ids=np.zeros(words), offsets=np.array(offsets))
    best = hunt(recording, [builtin()["parentheses"]]).findings["parentheses"].cells[0]
    assert (best.cell, best.f1) == (4, 1.0)


def test_a_hunt_is_stored_and_found_again(planted: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.asarray(planted.values[10:20])
    recording = recording_of(tmp_path / "rec", values, planted.text)
    hypotheses = [builtin()["double_quotes"], builtin()["since_newline"], builtin()["speaker"]]
    made = hunt_cached(recording, hypotheses, shifts=40)
    (path,) = recording.path.glob("hunt-*.json")
    assert stored_hunt(path).to_json() == made.to_json()
    monkeypatch.setattr("elman.insight.ranking.store.hunt", lambda *_, **__: pytest.fail("hunted again"))
    assert hunt_cached(recording, hypotheses, shifts=40).to_json() == made.to_json()
    monkeypatch.undo()
    # other shifts, other labels under the same name: another hunt
    assert hunt_cached(recording, hypotheses, shifts=41).shifts == 41
    other = from_function("double_quotes", lambda text: np.array([sign == "a" for sign in text]))
    assert hunt_cached(recording, [other], shifts=40).findings["double_quotes"].positives != (
        made.findings["double_quotes"].positives
    )
    assert len(list(recording.path.glob("hunt-*.json"))) == 3
    # what is damaged is made again
    path.write_text(path.read_text()[:100])
    assert hunt_cached(recording, hypotheses, shifts=40).to_json() == made.to_json() | {
        "seconds": stored_hunt(path).seconds
    }
    os.chmod(recording.path, 0o500)
    try:
        assert hunt_cached(recording, hypotheses, shifts=42).shifts == 42
    finally:
        os.chmod(recording.path, 0o700)


def test_json_holds_everything_and_strangers_are_refused(found: Hunt) -> None:
    data = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert Hunt.from_json(data).to_json() == data
    damaged: list[Any] = [None, [], {}, data | {"format": 2}, data | {"length": "1"}, data | {"more": 1}]
    damaged.append({key: value for key, value in data.items() if key != "seed"})
    quotes = data["findings"]["double_quotes"]
    for change in (
        {"verdict": "<b>"},
        {"cells": [{}]},
        {"cells": [quotes["cells"][0] | {"auc": "1"}]},
        {"cells": [quotes["cells"][0] | {"auc_interval": [1]}]},
        {"choose": [0, 1.5]},
        {"probe": 3},
        {"hypothesis": "other"},
        {"base_rate": True},
    ):
        damaged.append(data | {"findings": data["findings"] | {"double_quotes": quotes | change}})
    for each in damaged:
        with pytest.raises(FailureError, match="damaged"):
            Hunt.from_json(each)


def test_mistakes_are_told(planted: Recording, tmp_path: Path) -> None:
    quotes = builtin()["double_quotes"]
    other = recording_of(tmp_path / "other", np.asarray(planted.values[:2, :5000]), planted.text[:5000])
    short = recording_of(tmp_path / "short", np.asarray(planted.values[:2, :900]), planted.text[:900])
    for arguments, said in (
        ({"hypotheses": []}, "no hypotheses"),
        ({"hypotheses": [quotes, quotes]}, "'double_quotes'"),
        ({"baseline": other}, "another text"),
        ({"cells": [0, CELLS]}, f"0 to {CELLS - 1}"),
        ({"cells": []}, f"0 to {CELLS - 1}"),
        ({"shifts": 5}, "at least 20 shifts"),
        ({"top": 0}, "at least one cell"),
    ):
        with pytest.raises(MisuseError, match=said):
            hunt(planted, **{"hypotheses": [quotes], **arguments})  # type: ignore[arg-type]
    with pytest.raises(MisuseError, match="at least 2,000 tokens"):
        hunt(short, [quotes])


def test_progress_rises_and_a_hunt_can_be_cancelled(planted: Recording) -> None:
    done: list[float] = []
    hunt(planted, [builtin()["double_quotes"]], cells=range(20), progress=done.append)
    assert done == sorted(done)
    assert done[-1] == 1
    for stop_after in (0, 1, 3):
        asked = iter(range(100))
        with pytest.raises(CancelledError):
            hunt(
                planted, [builtin()["double_quotes"]], cancel=lambda asked=asked, after=stop_after: next(asked) >= after
            )


def test_holm_multiplies_by_what_is_left() -> None:
    assert verdict.holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})
    assert verdict.holm({"a": 0.5, "b": 0.9}) == {"a": 1.0, "b": 1.0}
    assert verdict.holm({}) == {}


def test_verdicts_follow_their_rules(found: Hunt) -> None:
    good = found.findings["double_quotes"].cells[0]
    graded = found.findings["since_newline"].cells[0]

    def judged(cell: CellScore, kind: str = "binary", p: float = 0.01, baseline: Baseline | None = None) -> str:
        return verdict.judge([cell], kind, 0.3, p, baseline, 1000)[0]

    assert judged(good) == "found"
    assert judged(good, p=0.06) == "none"
    assert judged(replace(good, p_confirm=0.2)) == "none"
    assert judged(replace(good, auc=0.7)) == "weak"
    assert judged(replace(good, f1=0.5)) == "weak"
    assert judged(replace(good, stratified_auc=0.55)) == "weak"
    assert judged(replace(good, stratified_auc=math.nan)) == "found"
    assert judged(good, baseline=Baseline(0, 0.9, good.f1 - 0.01, math.nan)) == "weak"
    assert judged(good, baseline=Baseline(0, 0.6, 0.4, math.nan)) == "found"
    assert judged(replace(graded, spearman=-0.9), "graded") == "found"
    assert judged(replace(graded, spearman=0.3), "graded") == "weak"
    assert judged(replace(graded, spearman=0.7), "graded", baseline=Baseline(0, 0, 0, -0.69)) == "weak"
    assert "stronger than chance" in verdict.judge([replace(good, p=0.1)], "binary", 0.3, 0.2, None, 20)[1]
    assert "20 shifts" in verdict.judge([replace(good, p=1 / 21)], "binary", 0.3, 0.2, None, 20)[1]


def test_cells_that_match_a_span(planted: Recording) -> None:
    begin, end = 50_000, 50_040
    inside = np.asarray(planted.values[:, begin:end]).mean(1) / 127
    best, *others = match(planted, begin, end, count=5)
    assert len(others) == 4
    effects = [abs(each.effect) for each in (best, *others)]
    assert effects == sorted(effects, reverse=True)
    for each in (best, *others):
        assert each.inside == pytest.approx(inside[each.cell])
        assert planted.describe(each.cell) == each.described
        outside = np.delete(np.asarray(planted.values[each.cell]), np.s_[begin:end]) / 127
        assert each.outside == pytest.approx(outside.mean(), abs=0.1)
        assert each.effect == pytest.approx((each.inside - outside.mean()) / outside.std(), abs=0.4)
    # a quotation is matched by the cell for quotations
    labels = builtin()["double_quotes"].label(planted.text)
    start = int(np.flatnonzero(np.diff(labels[1000:]) == 1)[0]) + 1001
    stop = start + int(np.flatnonzero(labels[start:] == 0)[0])
    assert QUOTES in [each.cell for each in match(planted, start, stop, count=8)]
    for span in ((5, 5), (-1, 4), (0, LENGTH), (10, LENGTH + 1)):
        with pytest.raises(MisuseError, match="span"):
            match(planted, *span)
    assert len(match(planted, 0, LENGTH - 1)) == 20
