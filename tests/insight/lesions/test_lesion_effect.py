"""The planted cell's lesion is specific to quotes; other cells' are not; the figures are what they say."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from insight.planted import UNIT, inside_quotes, planted_model, planted_text

from elman.data.vocabulary import build
from elman.errors import CancelledError, FailureError, MisuseError
from elman.insight.figures.lesion import lesion_figure
from elman.insight.lesions import Lesioned, interventions_on, lesion_effect, lesioned, row_nats
from elman.insight.lesions.result import LesionEffect
from elman.models.language import LanguageModel
from elman.models.likelihood import token_nats

MODEL, VOCABULARY = planted_model()
TEXT = planted_text(24_000, seed=11)
QUOTES = interventions_on([(0, "c", UNIT)])


@pytest.fixture(scope="module")
def effect() -> LesionEffect:
    return lesion_effect(MODEL, VOCABULARY, TEXT, inside_quotes(TEXT), QUOTES, hypothesis="double_quotes", seed=4)


def test_the_planted_cell_is_specific(effect: LesionEffect) -> None:
    assert effect.on.low > 0.2
    assert abs(effect.off.value) < 1e-5
    assert effect.difference.low > 0.2
    assert len(effect.controls) == 20
    assert all(abs(each.difference) < 0.06 and each.on < 0.1 for each in effect.controls)
    assert effect.p == pytest.approx(1 / 21)
    assert effect.verdict == "specific"
    assert "none of 20" in effect.sentence


def test_the_figures_are_the_means_of_single_passes(effect: LesionEffect) -> None:
    ids = VOCABULARY.encode("\n" + TEXT).ids.astype(np.int64)
    # the loss of each symbol belongs to the place before it; nothing is said of the newline before the text
    inside = np.concatenate([[-1], inside_quotes(TEXT).astype(int)])[:-1]
    plain = token_nats(MODEL, ids)
    cost = token_nats(lesioned(MODEL, QUOTES), ids) - plain
    assert (effect.tokens, effect.on_tokens) == (int((inside >= 0).sum()), int((inside == 1).sum()))
    assert effect.plain_on == pytest.approx(plain[inside == 1].mean(), abs=1e-3)
    assert effect.plain_off == pytest.approx(plain[inside == 0].mean(), abs=1e-3)
    assert effect.on.value == pytest.approx(cost[inside == 1].mean(), abs=2e-3)
    first = effect.controls[0]
    other = token_nats(lesioned(MODEL, interventions_on(first.cells)), ids) - plain
    assert first.on == pytest.approx(other[inside == 1].mean(), abs=2e-3)
    assert first.off == pytest.approx(other[inside == 0].mean(), abs=2e-3)


def test_few_controls_leave_it_undecided(effect: LesionEffect) -> None:
    assert replace(effect, controls=effect.controls[:18], p=1 / 19).verdict == "undecided"
    assert replace(effect, controls=(), p=math.nan).verdict == "undecided"
    assert replace(effect, controls=effect.controls[:19], p=1 / 20).verdict == "specific"
    beaten = replace(effect.controls[0], on=9.0)
    assert replace(effect, controls=(beaten, *effect.controls[:4]), p=2 / 6).verdict == "unspecific"
    assert replace(effect, off=effect.on).verdict == "unspecific"


def test_doses_rise_to_the_whole_lesion(effect: LesionEffect) -> None:
    assert [dose.strength for dose in effect.doses] == [0.01, 0.03, 0.1, 0.3, 1.0]
    costs = [dose.on.value for dose in effect.doses]
    assert costs == sorted(costs)
    assert effect.doses[-1].on == effect.on
    assert costs[0] < 0.1 * costs[-1]


def test_the_curve_begins_at_the_onset(effect: LesionEffect) -> None:
    curve = effect.curve
    cost = dict(zip(curve.lags, curve.cost, strict=True))
    assert all(abs(value) < 1e-5 for lag, value in cost.items() if lag < 0)
    assert np.mean([value for lag, value in cost.items() if lag >= 15]) > 0.15
    assert curve.lags[0] == -20
    assert all(low <= value <= high for low, value, high in zip(curve.low, curve.cost, curve.high, strict=True))
    assert all(count >= 10 for count in curve.counts)
    on = [count for lag, count in zip(curve.lags, curve.counts, strict=True) if lag >= 0]
    assert on == sorted(on, reverse=True)
    assert len(curve.controls) == len(curve.lags)


@pytest.mark.parametrize("unit", [3, 20])
def test_another_cell_is_not_specific(unit: int) -> None:
    cells = interventions_on([(0, "c", unit)])
    found = lesion_effect(MODEL, VOCABULARY, TEXT, inside_quotes(TEXT), cells, doses=(), seed=1)
    assert found.verdict == "unspecific"
    assert found.on.value < 0.1
    assert found.doses == ()


def test_a_lesion_of_nothing_costs_nothing() -> None:
    cells = interventions_on([(0, "c", 3)], strength=0.0)
    found = lesion_effect(MODEL, VOCABULARY, TEXT[:4000], inside_quotes(TEXT[:4000]), cells, random_cells=0, doses=())
    assert found.verdict == "none"
    assert abs(found.on.value) < 1e-6
    assert math.isnan(found.p)
    assert found.to_json()["p"] is None


def test_a_random_label_finds_nothing_specific_in_the_planted_cell() -> None:
    # the quotes of another text: as autocorrelated, and of nothing that is here
    labels = inside_quotes(planted_text(len(TEXT), seed=77))
    found = lesion_effect(MODEL, VOCABULARY, TEXT, labels, QUOTES, doses=())
    assert found.difference.low < 0.01
    assert found.verdict != "specific"


@pytest.mark.parametrize(("mode", "value"), [("mean", None), ("resample", None), ("set", 1.0)])
def test_other_modes_cost_where_the_value_is_wrong(mode: str, value: float | None) -> None:
    cells = interventions_on([(0, "c", UNIT)], mode, value)  # type: ignore[arg-type]
    found = lesion_effect(MODEL, VOCABULARY, TEXT, inside_quotes(TEXT), cells, random_cells=5, doses=())
    if mode == "set":
        assert abs(found.on.value) < 1e-3
        assert found.off.low > 0.2
    else:
        assert found.off.value > 0.01
        assert found.on.value > 0.005


def test_a_cell_of_either_sign_is_held_at_what_it_is_where_the_label_is_off() -> None:
    # the planted cell turned into one that is -1 outside: at zero it is wrong on both sides, at "off" on one
    signed, _ = planted_model()
    with torch.no_grad():
        signed.readout_bias += 0.5 * math.tanh(1.0) * signed.readout_weight[:, UNIT]
        signed.readout_weight[:, UNIT] *= 0.5
        part = signed.recurrent.parameter
        shut, mark = 60.0, int(VOCABULARY.encode('"').ids[0])
        newline = int(VOCABULARY.encode("\n").ids[0])
        # at a mark c becomes tanh(-10 h + 4), which is 1 from -1 and from 0, and -1 from 1; at a newline -1
        part("bi", 0)[UNIT] = -shut / 2
        part("Ui", 0)[UNIT] = 0.0
        part("Wi", 0)[UNIT, [mark, newline]] = shut
        part("Ug", 0)[UNIT, UNIT] = -20.0
        part("bg", 0)[UNIT] = 8.0
        part("Wg", 0)[UNIT, newline] = -shut
    labels = inside_quotes(TEXT)
    asked = {"doses": (), "hypothesis": "double_quotes"}
    zero = lesion_effect(signed, VOCABULARY, TEXT, labels, QUOTES, **asked)
    ((on, off),) = zero.usual
    assert (on, off) == (pytest.approx(1, abs=0.01), pytest.approx(-1, abs=0.01))
    assert zero.off.low > 0.005
    at_off = lesion_effect(signed, VOCABULARY, TEXT, labels, interventions_on([(0, "c", UNIT)], "off"), **asked)
    assert at_off.on.low > 0.2
    assert abs(at_off.off.value) < 1e-3
    assert at_off.verdict == "specific"
    at_on = lesion_effect(signed, VOCABULARY, TEXT, labels, interventions_on([(0, "c", UNIT)], "on"), **asked)
    assert abs(at_on.on.value) < 1e-3
    assert at_on.off.low > 0.2


def test_streams_hardly_show_and_seeds_decide() -> None:
    labels = inside_quotes(TEXT)
    asked = {"random_cells": 3, "doses": (), "seed": 2}
    one = lesion_effect(MODEL, VOCABULARY, TEXT, labels, QUOTES, streams=1, **asked)
    four = lesion_effect(MODEL, VOCABULARY, TEXT, labels, QUOTES, streams=4, **asked)
    assert four.on.value == pytest.approx(one.on.value, abs=2e-3)
    again = lesion_effect(MODEL, VOCABULARY, TEXT, labels, QUOTES, streams=4, **asked)
    assert again.to_json() | {"seconds": 0} == four.to_json() | {"seconds": 0}
    other = lesion_effect(MODEL, VOCABULARY, TEXT, labels, QUOTES, **(asked | {"seed": 3}))
    assert [each.cells for each in other.controls] != [each.cells for each in one.controls]


def test_all_rows_in_one_batch_are_the_rows_one_by_one() -> None:
    ids = VOCABULARY.encode(TEXT[:3000]).ids.astype(np.int64)
    rows = [(), QUOTES, interventions_on([(0, "h", 3)])]
    together = row_nats(Lesioned(MODEL, rows), ids, streams=2, burn_in=300)
    for row, found in zip(rows, together, strict=True):
        np.testing.assert_allclose(found, row_nats(Lesioned(MODEL, [row]), ids, streams=2, burn_in=300)[0], atol=1e-4)
        np.testing.assert_allclose(found, token_nats(lesioned(MODEL, row), ids), atol=1e-3)


def test_undefined_places_are_left_out_and_grades_have_a_threshold() -> None:
    text = TEXT[:6000]
    labels = inside_quotes(text).astype(np.int32)
    labels[1000:2000] = -1
    asked = {"random_cells": 0, "doses": (), "streams": 1}
    found = lesion_effect(MODEL, VOCABULARY, text, labels, QUOTES, **asked)
    assert found.tokens == 5999 - 1000
    graded = np.where(labels < 0, -1, labels * 3 + 2)
    assert lesion_effect(MODEL, VOCABULARY, text, graded, QUOTES, above=2, **asked).on == found.on


def test_the_result_is_json(effect: LesionEffect) -> None:
    stored = json.loads(json.dumps(effect.to_json(), allow_nan=False))
    assert stored["description"] == f"layer 0 c[{UNIT}] at zero"
    assert stored["on"] == effect.on.to_json()
    assert stored["usual"] == [{"on": pytest.approx(1, abs=0.01), "off": pytest.approx(0, abs=0.01)}]
    assert stored["verdict"] == "specific"
    assert len(stored["controls"]) == 20


def test_words_take_the_label_of_their_first_character() -> None:
    text = 'the sea. " no. yes. " the road.\n' * 60
    vocabulary = build("words", [text])
    torch.manual_seed(0)
    model = LanguageModel("gru", vocabulary.size, 8, 1).eval()
    labels = inside_quotes(text)
    cells = interventions_on([(0, "h", 2)])
    found = lesion_effect(model, vocabulary, text, labels, cells, random_cells=0, doses=(), streams=1)
    # of a line: <S> the sea . " no . yes . " the road . <E>; <S> is not predicted, so the place before it is no place
    assert (found.tokens, found.on_tokens) == (60 * 13, 60 * 5)


def test_progress_and_cancelling() -> None:
    told: list[float] = []
    asked = {"random_cells": 2, "doses": ()}
    lesion_effect(MODEL, VOCABULARY, TEXT[:6000], inside_quotes(TEXT[:6000]), QUOTES, progress=told.append, **asked)
    assert told == sorted(told)
    assert told[-1] == 1.0
    calls = iter(range(100))
    with pytest.raises(CancelledError):
        lesion_effect(
            MODEL, VOCABULARY, TEXT, inside_quotes(TEXT), QUOTES, cancel=lambda: next(calls) > 1, streams=1, **asked
        )


def test_misuse_and_failure() -> None:
    labels = inside_quotes(TEXT)
    for wrong in (labels[:-1], labels.astype(float)):
        with pytest.raises(MisuseError, match="one whole number for each"):
            lesion_effect(MODEL, VOCABULARY, TEXT, wrong, QUOTES)
    with pytest.raises(MisuseError, match="never on"):
        lesion_effect(MODEL, VOCABULARY, TEXT, np.zeros_like(labels), QUOTES)
    with pytest.raises(MisuseError, match="never off"):
        lesion_effect(MODEL, VOCABULARY, TEXT, np.ones_like(labels), QUOTES)
    with pytest.raises(MisuseError, match="at least one cell"):
        lesion_effect(MODEL, VOCABULARY, TEXT, labels, [])
    with pytest.raises(MisuseError, match="two symbols"):
        lesion_effect(MODEL, VOCABULARY, "a", np.zeros(1, int), QUOTES)
    far, _ = planted_model()
    with torch.no_grad():
        far.readout_weight[:, 3] = 1e36
        far.recurrent.parameter("Wg", 0)[3] = 0.0
    extreme = interventions_on([(0, "h", 3)], "set", 1e6)
    with pytest.raises(FailureError, match="too extreme"):
        lesion_effect(far, VOCABULARY, TEXT[:3000], labels[:3000], extreme, random_cells=0, doses=())
    broken, _ = planted_model()
    with torch.no_grad():
        broken.readout_bias[0] = math.nan
    with pytest.raises(FailureError, match="not finite numbers"):
        lesion_effect(broken, VOCABULARY, TEXT[:3000], labels[:3000], QUOTES, random_cells=1)


def test_the_figure_is_drawn(effect: LesionEffect, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    lesion_figure(effect, tmp_path / "lesion.png")
    content = (tmp_path / "lesion.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert len(content) > 20_000
    lesion_figure(effect, tmp_path / "again.png")
    assert (tmp_path / "again.png").read_bytes() == content
    bare = lesion_effect(MODEL, VOCABULARY, TEXT[:2000], inside_quotes(TEXT[:2000]), QUOTES, random_cells=0, doses=())
    lesion_figure(bare, tmp_path / "bare.png")
