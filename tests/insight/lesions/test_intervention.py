"""Interventions say what they do, and refuse what cannot be."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from insight.planted import planted_model

from elman.errors import MisuseError
from elman.insight.lesions import Intervention, cell_of, interventions_on
from elman.insight.lesions.intervention import check_interventions


def test_a_cell_is_read_from_its_text() -> None:
    assert cell_of("1:c:17") == (1, "c", 17)
    for text in ("", "c:17", "1:c", "1:c:-3", "1:c:17:2", "1:c d:3", "1:c:1e3", " 1:c:17", "1:c:١", "9" * 9 + ":c:1"):
        with pytest.raises(MisuseError, match="LAYER:NAME:UNIT"):
            cell_of(text)


def test_cells_of_one_layer_and_name_stand_together() -> None:
    made = interventions_on([(1, "c", 5), (0, "h", 2), (1, "c", 3)], "set", 0.5, "tanh", 2.0)
    assert [(each.layer, each.name, each.units) for each in made] == [(1, "c", (5, 3)), (0, "h", (2,))]
    assert {(each.mode, each.value, each.scale, each.strength) for each in made} == {("set", 0.5, "tanh", 2.0)}
    assert made[0].cells == [(1, "c", 5), (1, "c", 3)]


def test_targets() -> None:
    assert Intervention(0, "c", (1,)).target == 0
    assert Intervention(0, "c", (1,), "set", -2.5).target == -2.5
    assert Intervention(0, "c", (1,), "set", 0.9, "tanh").target == pytest.approx(math.atanh(0.9))
    assert Intervention(0, "c", (1,), "mean").target is None
    assert Intervention(0, "c", (1,), "resample").target is None


def test_words_and_json() -> None:
    each = Intervention(0, "c", (11, 3), "set", 0.5, "tanh", 0.25)
    assert each.describe() == "layer 0 c[11, 3] at tanh 0.5, strength 0.25"
    assert Intervention(1, "h", (2,)).describe() == "layer 1 h[2] at zero"
    stored = json.loads(json.dumps(each.to_json()))
    assert Intervention(**{**stored, "units": tuple(stored["units"])}) == each
    assert each.at(1.0).strength == 1
    assert each.on([4]).units == (4,)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"mode": "burn"}, "burn"),
        ({"units": ()}, "at least one unit"),
        ({"units": (-1,)}, "whole numbers"),
        ({"units": (1.5,)}, "whole numbers"),
        ({"units": (True,)}, "whole numbers"),
        ({"units": (2, 2)}, "twice"),
        ({"value": 1.0}, "mode set"),
        ({"mode": "set"}, "needs one"),
        ({"mode": "set", "value": math.nan}, "nan"),
        ({"mode": "set", "value": 1e9}, "magnitude"),
        ({"mode": "set", "value": 1.0, "scale": "tanh"}, "between -1 and 1"),
        ({"mode": "set", "value": 1.0, "scale": "log"}, "own or tanh"),
        ({"strength": math.inf}, "strength"),
    ],
)
def test_what_cannot_be_is_refused(arguments: dict[str, Any], match: str) -> None:
    with pytest.raises(MisuseError, match=match):
        Intervention(**{"layer": 0, "name": "c", "units": (1,), **arguments})


@pytest.mark.parametrize(
    ("interventions", "match"),
    [
        ([Intervention(1, "c", (0,))], "layers 0 to 0"),
        ([Intervention(-1, "c", (0,))], "no layer -1"),
        ([Intervention(0, "q", (0,))], "no cells 'q'"),
        ([Intervention(0, "c", (31, 32))], "32 is none"),
        ([Intervention(0, "c", (1, 2)), Intervention(0, "c", (2,), "mean")], "lesioned twice"),
    ],
)
def test_what_a_model_has_not_is_refused(interventions: list[Intervention], match: str) -> None:
    model, _ = planted_model()
    with pytest.raises(MisuseError, match=match):
        check_interventions(model, interventions)


def test_no_cell_is_refused() -> None:
    with pytest.raises(MisuseError, match="at least one cell"):
        interventions_on([])
