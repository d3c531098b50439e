"""Hypotheses, hunts, lesions and analyses over HTTP, on the planted model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from insight.planted import UNIT, inside_quotes

pytest.importorskip("starlette", reason="the extra web is not installed")

from test_web_recordings import array_of
from web_cases import Ended

from elman.insight.hypotheses import builtin
from elman.insight.ranking import match
from elman.insight.recording import Group, list_recordings, open_recording, write_recording

Finished = Callable[..., Ended]
LENGTH = 20_000


@pytest.fixture
def long(finished: Finished) -> str:
    """The id of a recording of 20,000 characters."""
    return finished("/api/runs/planted/recordings", {"source": "train", "limit": LENGTH}).result["recording"]


def opened(root: Path) -> Any:
    return open_recording(list_recordings(root / "planted")[0][0])


def test_hypotheses_with_their_counts(client: Any, long: str, root: Path) -> None:
    text = opened(root).text
    listed = {each["name"]: each for each in client.get(f"/api/recordings/{long}/hypotheses").json()}
    assert listed.keys() == builtin().keys()
    quotes = listed["double_quotes"]
    assert (quotes["kind"], quotes["suggested"], quotes["regex"]) == ("binary", True, None)
    assert quotes["positives"] == int((builtin()["double_quotes"].label(text) > 0).sum())
    assert abs(quotes["positives"] - inside_quotes(text).sum()) < 0.05 * quotes["positives"]
    assert not listed["comment_c"]["suggested"]
    assert listed["url"]["positives"] == 0


def test_labels_binary_and_graded(client: Any, long: str, root: Path) -> None:
    text = opened(root).text
    binary = array_of(client.get(f"/api/recordings/{long}/labels/double_quotes"))
    assert binary.dtype == np.uint8
    expected = builtin()["double_quotes"].label(text)
    assert np.array_equal(binary, np.where(expected < 0, 255, expected))
    graded = array_of(client.get(f"/api/recordings/{long}/labels/line_position"))
    assert graded.dtype == np.dtype("<i4")
    assert np.array_equal(graded, builtin()["line_position"].label(text))
    assert client.get(f"/api/recordings/{long}/labels/nope").status_code == 404


def test_a_pattern_of_the_users(client: Any, long: str, root: Path) -> None:
    path = f"/api/recordings/{long}/labels"
    assert client.get(f"{path}/sea").status_code == 404
    first = client.get(f"{path}/sea", params={"regex": "sea"})
    text = opened(root).text
    assert array_of(first).sum() == 3 * text.count("sea")
    # it has a name from now on, and another pattern under the name is another content
    assert array_of(client.get(f"{path}/sea")).sum() == 3 * text.count("sea")
    other = client.get(f"{path}/sea", params={"regex": "rain"}, headers={"if-none-match": first.headers["etag"]})
    assert array_of(other).sum() == 4 * text.count("rain")
    listed = {each["name"]: each for each in client.get(f"/api/recordings/{long}/hypotheses").json()}
    assert listed["sea"]["regex"] == "rain"
    for name, pattern, sentence in (
        ("bad", "(", "no regular expression"),
        ("digits", "a", "already"),
        ("a/b", "a", ""),
        ("a b", "a", "cannot name"),
        ("long", "a" * 2000, "2,000 characters"),
    ):
        response = client.get(f"{path}/{name}", params={"regex": pattern})
        assert response.status_code in (400, 404)
        assert sentence in response.json()["error"]


def test_a_cell_in_figures(client: Any, long: str, root: Path) -> None:
    recording = opened(root)
    values = recording.values[UNIT].astype(int)
    shown = client.get(f"/api/recordings/{long}/cells/{UNIT}/summary").json()
    assert (shown["describe"], shown["layer"], shown["name"], shown["unit"]) == (f"layer 0 c[{UNIT}]", 0, "c", UNIT)
    assert shown["histogram"] == np.bincount(values + 128, minlength=256).tolist()
    assert shown["mean"] == pytest.approx(values.mean() / 127)
    assert shown["sd"] == pytest.approx(values.std() / 127)
    for name, extreme in (("strongest", values.max()), ("weakest", values.min())):
        places = [each["position"] for each in shown[name]]
        assert len(places) == 12
        assert min(abs(a - b) for a in places for b in places if a != b) >= 200
        assert shown[name][0]["value"] == pytest.approx(extreme / 127)
        assert [each["value"] for each in shown[name]] == pytest.approx((values[places] / 127).tolist())
        # all from one end would be the first found, not a sample of equals
        assert max(places) - min(places) > LENGTH / 2
    table = {each["symbol"]: each for each in shown["by_character"]}
    letters = np.array(list(recording.text))
    assert table["e"]["count"] == int((letters == "e").sum())
    assert table["e"]["mean"] == pytest.approx(values[letters == "e"].mean() / 127)
    counts = [each["count"] for each in shown["by_character"]]
    assert counts == sorted(counts, reverse=True)
    assert sum(counts) == LENGTH


def test_a_cell_beside_a_label(client: Any, long: str, root: Path) -> None:
    recording = opened(root)
    path = f"/api/recordings/{long}/cells/{UNIT}/summary"
    shown = client.get(path, params={"hypothesis": "double_quotes"}).json()["label"]
    label = builtin()["double_quotes"].label(recording.text)
    values = recording.values[UNIT].astype(int)
    for name, wanted in (("on", 1), ("off", 0)):
        assert shown[name] == np.bincount(values[label == wanted] + 128, minlength=256).tolist()
    half = LENGTH // 2
    said, true = values[half:] / 127 >= shown["threshold"], label[half:] == 1
    known = label[half:] >= 0
    hits = (said & true & known).sum()
    assert shown["sign"] == 1
    assert shown["f1"] == pytest.approx(2 * hits / (said[known].sum() + true[known].sum()))
    assert shown["f1"] > 0.95
    assert shown["auc"] > 0.95
    onsets = shown["onsets"]
    assert onsets["lags"] == list(range(-40, 41))
    mean = dict(zip(onsets["lags"], onsets["mean"], strict=True))
    assert mean[-1] < 0.1
    assert mean[0] > 0.9
    starts = np.flatnonzero((label[1:] == 1) & (label[:-1] == 0)) + 1
    starts = starts[(starts >= 40) & (starts < LENGTH - 40)]
    assert onsets["count"] == len(starts)
    assert mean[7] == pytest.approx((values[starts + 7] / 127).mean())
    graded = client.get(path, params={"hypothesis": "line_position"}).json()["label"]
    position = builtin()["line_position"].label(recording.text)
    assert "f1" not in graded
    assert {each["grade"]: each["count"] for each in graded["by_grade"]} == dict(
        zip(*(part.tolist() for part in np.unique(position, return_counts=True)), strict=True)
    )
    assert -1 <= graded["spearman"] <= 1


def test_a_cell_without_onsets(client: Any, long: str) -> None:
    shown = client.get(f"/api/recordings/{long}/cells/0/summary", params={"hypothesis": "url"}).json()["label"]
    assert shown["onsets"]["count"] == 0
    assert shown["auc"] is None
    assert sum(shown["on"]) == 0


def test_the_planted_cell_is_found(client: Any, finished: Finished, long: str, root: Path) -> None:
    asked = {"hypotheses": ["double_quotes", "digits"], "regexes": {"sea": "sea"}, "shifts": 50}
    ended = finished(f"/api/recordings/{long}/hunt", asked)
    findings = ended.result["findings"]
    assert findings.keys() == {"double_quotes", "digits", "sea"}
    quotes = findings["double_quotes"]
    assert quotes["verdict"] == "found"
    assert (quotes["cells"][0]["layer"], quotes["cells"][0]["unit"]) == (0, UNIT)
    assert quotes["cells"][0]["f1"] > 0.95
    assert quotes["baseline"]["f1"] < quotes["cells"][0]["f1"] - 0.2
    assert findings["digits"]["verdict"] == "none"
    progress = [data["progress"] for kind, data in ended.events if kind == "progress"]
    assert progress == sorted(progress)
    # the untrained network's recording is listed, and says what it is; the hunt itself is kept
    assert sorted(bool(each["untrained"]) for each in client.get("/api/runs/planted").json()["recordings"]) == [
        False,
        True,
    ]
    again = finished(f"/api/recordings/{long}/hunt", asked)
    assert again.result == ended.result


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"hypotheses": "digits"}, "must be a list"),
        ({"hypotheses": [1]}, "list of up to"),
        ({"hypotheses": ["nope"]}, "no such hypothesis"),
        ({"regexes": {"x": "("}}, "no regular expression"),
        ({"regexes": {"x": 1}}, "list of up to"),
        ({"shifts": 3}, "'shifts'"),
        ({"top": 0}, "'top'"),
        ({"seed": -1}, "'seed'"),
        ({"cells": [1.5]}, "'cells'"),
    ],
)
def test_a_hunt_that_makes_no_sense(client: Any, recording: str, body: dict[str, Any], sentence: str) -> None:
    response = client.post(f"/api/recordings/{recording}/hunt", json=body)
    assert response.status_code in (400, 404)
    assert sentence in response.json()["error"]


def test_a_hunt_in_too_short_a_text_says_so(finished: Finished) -> None:
    short = finished("/api/runs/planted/recordings", {"limit": 1000}).result["recording"]
    ended = finished(f"/api/recordings/{short}/hunt", {"hypotheses": ["digits"], "baseline": False})
    assert ended.kind == "failed"
    assert "2,000 tokens" in ended.events[-1][1]["error"]


def test_brushing_finds_the_cells_of_a_span(client: Any, root: Path) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(-20, 20, (40, 5000)).astype(np.int8)
    values[23, 1000:1050] = 120
    values[7, 1000:1050] = -120
    folder = root / "planted" / "insight" / "recordings" / "made"
    folder.parent.mkdir(parents=True)
    made = write_recording(folder, values, "ab" * 2500, groups=[Group(1, "c", "state", "tanh", 0, 40)])
    path = "/api/recordings/planted~made/match"
    found = client.post(path, json={"begin": 1000, "end": 1050, "count": 5}).json()
    assert {each["cell"] for each in found[:2]} == {7, 23}
    assert [each["cell"] for each in found] == [each.cell for each in match(made, 1000, 1050, count=5)]
    assert found[0].keys() == {"cell", "layer", "name", "unit", "describe", "effect", "inside", "outside"}
    assert found[0]["describe"] in ("layer 1 c[7]", "layer 1 c[23]")
    for bad in ({"begin": 5, "end": 5}, {"begin": -1, "end": 5}, {"begin": 0, "end": 6000}, {"begin": 0}, {"end": 5}):
        assert client.post(path, json=bad).status_code == 400


def test_the_lesion_of_the_planted_cell_costs_where_it_is_on(finished: Finished, long: str) -> None:
    body = {"cells": [f"0:c:{UNIT}"], "hypothesis": "double_quotes", "controls": 10, "end": 10_000}
    effect = finished(f"/api/recordings/{long}/lesion", body).result
    assert (effect["begin"], effect["end"], effect["hypothesis"]) == (0, 10_000, "double_quotes")
    assert effect["on"]["value"] > 10 * abs(effect["off"]["value"])
    assert effect["difference"]["low"] > 0
    assert len(effect["controls"]) == 10
    assert effect["sentence"].startswith("The lesion costs")
    other = finished(
        f"/api/recordings/{long}/lesion",
        body | {"cells": [{"layer": 0, "name": "c", "unit": 3}], "begin": 4000, "regex": None, "mode": "mean"},
    ).result
    assert other["tokens"] < 6100
    assert abs(other["difference"]["value"]) < 0.2 * effect["difference"]["value"]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, "lacks 'cells'"),
        ({"cells": [], "hypothesis": "digits"}, "at least one cell"),
        ({"cells": ["0:c:99"], "hypothesis": "digits"}, "units 0 to 31"),
        ({"cells": ["0:c:1"]}, "lacks 'hypothesis'"),
        ({"cells": ["0:c:1"], "hypothesis": "nope"}, "no such hypothesis"),
        ({"cells": ["0:c:1"], "hypothesis": "digits", "mode": "set"}, "value"),
        ({"cells": ["0:c:1"], "hypothesis": "digits", "begin": 5, "end": 5}, "no span"),
        ({"cells": ["0:c:1"], "hypothesis": "digits", "end": 10**9}, "no span"),
        ({"cells": ["0:c:1"], "hypothesis": "digits", "controls": 1000}, "'controls'"),
    ],
)
def test_a_lesion_that_makes_no_sense(client: Any, recording: str, body: dict[str, Any], sentence: str) -> None:
    response = client.post(f"/api/recordings/{recording}/lesion", json=body)
    assert response.status_code in (400, 404)
    assert sentence in response.json()["error"]


def test_a_lesion_where_the_label_is_never_on_says_so(finished: Finished, recording: str) -> None:
    ended = finished(f"/api/recordings/{recording}/lesion", {"cells": ["0:c:1"], "hypothesis": "url"})
    assert ended.kind == "failed"
    assert "never on" in ended.events[-1][1]["error"]


def test_a_lesion_of_a_model_that_was_trained_on_since(client: Any, recording: str, root: Path) -> None:
    from elman.runs import RunFolder, load, save_model

    run = RunFolder(root / "planted")
    tensors = {name: tensor.clone() for name, tensor in load(run.path).model.state_dict().items()}
    tensors["readout_bias"] += 1.0
    save_model(run, tensors, step=2)
    response = client.post(f"/api/recordings/{recording}/lesion", json={"cells": ["0:c:1"], "hypothesis": "digits"})
    assert response.status_code == 400
    assert "trained on since" in response.json()["error"]


def test_gates_gradients_and_errors(finished: Finished, client: Any) -> None:
    gates = finished("/api/runs/planted/gates", {"limit": 5000}).result
    assert [(each["layer"], each["name"]) for each in gates["gates"]] == [(0, "i"), (0, "f"), (0, "o")]
    forget = gates["gates"][1]
    # the planted cell never forgets but at a mark; the others always do
    assert forget["right"][UNIT] > 0.9
    assert sum(value > 0.9 for value in forget["left"]) == 31
    gradients = finished("/api/runs/planted/gradients", {"lags": 50, "positions": 8}).result
    assert gradients["lags"] == 50
    assert {(each["layer"], each["state"]) for each in gradients["states"]} == {(0, "c"), (0, "h")}
    errors = finished("/api/runs/planted/errors", {"limit": 3000, "order": 9, "train_limit": 20_000}).result
    assert errors["order"] == 9
    assert errors["model_nats"] == pytest.approx(client.get("/api/runs/planted").json()["best_nats"], abs=0.1)
    assert errors["source"] == "validation"
    # what was done once is there at once
    again = client.post("/api/runs/planted/gates", json={"limit": 5000}).json()["job"]
    with client.stream("GET", f"/api/jobs/{again}/events") as stream:
        assert '"right"' in "".join(stream.iter_text())


def test_agreement_needs_kept_weights(finished: Finished) -> None:
    ended = finished("/api/runs/planted/agreement", {})
    assert ended.kind == "failed"
    assert "--snapshots" in ended.events[-1][1]["error"]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("gates", {"source": "nope"}),
        ("gates", {"limit": 0}),
        ("gradients", {"lags": 0}),
        ("gradients", {"positions": 10**6}),
        ("errors", {"order": 1}),
        ("errors", {"train_limit": 1}),
    ],
)
def test_an_analysis_that_makes_no_sense(client: Any, kind: str, body: dict[str, Any]) -> None:
    assert client.post(f"/api/runs/planted/{kind}", json=body).status_code == 400
