"""Runs and recordings over HTTP, against the files that they come from."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from insight.planted import UNIT, inside_quotes

pytest.importorskip("starlette", reason="the extra web is not installed")

from starlette.testclient import TestClient
from web_cases import BASE, Ended

from elman.insight.recording import list_recordings, open_recording, write_recording
from elman.web.app import create_app
from elman.web.limits import Limits

Finished = Callable[..., Ended]


def array_of(response: Any) -> np.ndarray:
    assert response.status_code == 200
    shape = tuple(map(int, response.headers["x-elman-shape"].split(",")))
    return np.frombuffer(response.content, np.dtype(response.headers["x-elman-type"]).newbyteorder("<")).reshape(shape)


def test_the_table_of_runs(client: Any, root: Path) -> None:
    (root / "empty").mkdir()
    (root / "broken").mkdir()
    (root / "broken" / "config.json").write_text("{")
    shutil.copytree(root / "planted", root / "zz <b>x\n")
    (root / "zz <b>x\n" / "metrics.jsonl").write_text('{"step": 3}\nnonsense\n')
    lines = client.get("/api/runs").json()
    assert [line["name"] for line in lines] == ["broken", "planted", "zz <b>x\n"]
    assert "cannot be read as JSON" in lines[0]["error"]
    planted = lines[1]
    assert planted["id"] == "planted"
    assert {key: planted[key] for key in ("system", "cell", "layers", "hidden", "tokens", "step")} == {
        "system": "language",
        "cell": "lstm",
        "layers": 1,
        "hidden": 32,
        "tokens": "characters",
        "step": 1,
    }
    assert 1.0 < planted["best_nats"] < 3.0
    assert "error" not in planted
    assert "line 2 is no JSON" in lines[2]["error"]
    # an id that is no plain name is a digest
    assert set(lines[2]["id"]) <= set("0123456789abcdef")
    assert client.get(f"/api/runs/{lines[2]['id']}").status_code == 500


def test_a_run_folder_is_a_library_of_one(root: Path) -> None:
    client = TestClient(create_app(root / "planted"), base_url=BASE)
    assert [line["id"] for line in client.get("/api/runs").json()] == ["planted"]


def test_one_run(client: Any, root: Path) -> None:
    shown = client.get("/api/runs/planted").json()
    assert shown["states"] == ["c", "h"]
    assert shown["gates"] == ["i", "f", "o", "g"]
    assert "c = f * c + i * g" in shown["equations"]
    assert shown["config"]["model"]["hidden"] == 32
    assert "vocabulary" not in shown["config"]
    assert shown["metrics"][-1]["valid_nats"] == shown["best_nats"]
    assert shown["recordings"] == []
    assert client.get("/api/runs/none").status_code == 404


@pytest.mark.parametrize(
    "edit",
    [
        lambda config: config.update(model=7),
        lambda config: config["model"].pop("recurrence"),
        lambda config: config["model"].update(recurrence={"name": ["<b>"], "equations": 3, "output": None}),
        lambda config: config["model"]["recurrence"].update(equations="import os"),
        lambda config: config.update(vocabulary=[]),
        lambda config: config.update(system="<script>alert(1)</script>"),
    ],
)
def test_a_hostile_configuration_is_a_sentence(client: Any, root: Path, edit: Any) -> None:
    import hashlib

    path = root / "planted" / "config.json"
    config = json.loads(path.read_text())
    edit(config)
    config.pop("checksum")
    config["checksum"] = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps(config))
    listed = client.get("/api/runs")
    assert listed.headers["content-type"] == "application/json"
    answers = [listed.json()[0], client.get("/api/runs/planted").json()]
    assert any("error" in each for each in answers)
    assert not any("failed at this request" in each.get("error", "") for each in answers)


def test_a_recording_is_the_one_on_the_disk(client: Any, finished: Finished, root: Path) -> None:
    ended = finished("/api/runs/planted/recordings", {"limit": 4000, "gates": ["f"]})
    progress = [data["progress"] for kind, data in ended.events if kind == "progress"]
    assert progress == sorted(progress)
    id = ended.result["recording"]
    [(path, _)] = list_recordings(root / "planted")
    recording = open_recording(path)
    shown = client.get(f"/api/recordings/{id}").json()
    assert (shown["length"], shown["cells"], shown["characters"]) == (4000, 96, 4000)
    assert [(group["layer"], group["name"], group["kind"]) for group in shown["groups"]] == [
        (0, "c", "state"),
        (0, "h", "state"),
        (0, "f", "gate"),
    ]
    assert shown["source"] == "validation"
    assert client.get(f"/api/recordings/{id}/text").text == recording.text
    source = json.loads((root / "planted" / "config.json").read_text())["data"]["sources"][0]
    assert Path(source).read_text()[54_000:].startswith(recording.text)
    base = f"/api/recordings/{id}"
    assert np.array_equal(array_of(client.get(f"{base}/offsets")), np.arange(4000))
    assert np.array_equal(array_of(client.get(f"{base}/ids")), recording.ids)
    assert np.array_equal(array_of(client.get(f"{base}/nats")), recording.nats, equal_nan=True)
    for cell in (0, UNIT, 95):
        assert np.array_equal(array_of(client.get(f"{base}/cells/{cell}")), recording.values[cell])
    assert np.array_equal(array_of(client.get(f"{base}/cells/{UNIT}")) > 60, inside_quotes(recording.text) == 1)
    assert client.get(f"{base}/cells/96").status_code == 400
    assert client.get(f"{base}/cells/x").status_code == 404
    assert client.get("/api/runs/planted").json()["recordings"][0]["id"] == id


def test_the_likeliest_next_symbols(client: Any, recording: str, root: Path) -> None:
    [(path, _)] = list_recordings(root / "planted")
    opened = open_recording(path)
    shown = client.get(f"/api/recordings/{recording}/top", params={"begin": 100, "end": 104}).json()
    assert (shown["begin"], shown["end"]) == (100, 104)
    assert shown["ids"] == opened.top_ids[100:104].tolist()
    assert np.allclose(shown["logprobs"], opened.top_logprobs[100:104], atol=1e-3)
    used = {*opened.top_ids[100:104].ravel().tolist(), *opened.ids[100:104].tolist()}
    assert shown["symbols"] == {str(token): opened.symbols[token] for token in used}
    for bad in ("begin=-1", "begin=5&end=4", "begin=x", "end=7000", "begin=1e3", "begin=" + "9" * 30):
        assert client.get(f"/api/recordings/{recording}/top?{bad}").status_code == 400


def test_arrays_are_kept_by_the_browser(client: Any, recording: str) -> None:
    path = f"/api/recordings/{recording}/cells/3"
    first = client.get(path)
    assert "immutable" in first.headers["cache-control"]
    again = client.get(path, headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get(path, headers={"if-none-match": f'"x", W/{first.headers["etag"]}'}).status_code == 304
    assert client.get(path, headers={"if-none-match": '"x"'}).status_code == 200
    other = client.get(f"/api/recordings/{recording}/cells/4", headers={"if-none-match": first.headers["etag"]})
    assert other.status_code == 200
    assert "content-encoding" not in first.headers
    assert "content-encoding" not in client.get(path, headers={"accept-encoding": "gzip"}).headers


def test_a_megabyte_is_served_at_once(client: Any, root: Path) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(-127, 128, (8, 2**20), dtype=np.int8)
    folder = root / "planted" / "insight" / "recordings" / "big"
    folder.parent.mkdir(parents=True)
    write_recording(folder, values, "ab" * 2**19)
    [id] = [each["id"] for each in client.get("/api/runs/planted").json()["recordings"]]
    seconds = []
    for cell in range(8):
        begin = time.perf_counter()
        response = client.get(f"/api/recordings/{id}/cells/{cell}")
        seconds.append(time.perf_counter() - begin)
        assert np.array_equal(array_of(response), values[cell])
    # 20 ms on an idle machine; this one may be busy
    assert min(seconds[1:]) < 0.1


def test_own_text_and_text_of_the_command_line(root: Path, client: Any, finished: Finished) -> None:
    own = 'the old man said.\n"no rain."\n'
    result = finished("/api/runs/planted/recordings", {"text": own}).result
    assert client.get(f"/api/recordings/{result['id']}/text").text == own
    assert client.post("/api/runs/planted/recordings", json={"source": "file"}).status_code == 400
    with TestClient(create_app(root, text=("own.txt", own * 2)), base_url=BASE) as other:
        assert other.get("/api/runs/planted").json()["text"] == "own.txt"
        job = other.post("/api/runs/planted/recordings", json={"source": "file"}).json()["job"]
        with other.stream("GET", f"/api/jobs/{job}/events") as stream:
            assert '"source":"own.txt"' in "".join(stream.iter_text())


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"source": "../secret"}, "'source' is"),
        ({"source": "file"}, "'source' is"),
        ({"text": "a", "source": "train"}, "give one of them"),
        ({"limit": 0}, "'limit'"),
        ({"limit": True}, "truth value"),
        ({"limit": 2.5}, "whole number"),
        ({"text": 5}, "must be a text"),
        ({"gates": [1]}, "list of names"),
        ({"keep": "yes"}, "true or false"),
    ],
)
def test_a_request_that_makes_no_sense(client: Any, body: dict[str, Any], sentence: str) -> None:
    response = client.post("/api/runs/planted/recordings", json=body)
    assert response.status_code == 400
    assert sentence in response.json()["error"]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"gates": ["nope"]}, "no gate 'nope'"),
        ({"source": "test"}, "no test part"),
        ({"text": "\u0416"}, "nothing to record"),
    ],
)
def test_a_recording_that_fails_says_why(finished: Finished, body: dict[str, Any], sentence: str) -> None:
    ended = finished("/api/runs/planted/recordings", body)
    assert ended.kind == "failed"
    assert sentence in ended.events[-1][1]["error"]


def test_a_text_that_has_gone_is_a_sentence(finished: Finished, root: Path) -> None:
    path = root / "planted" / "config.json"
    source = json.loads(path.read_text())["data"]["sources"][0]
    moved = Path(source).with_suffix(".moved")
    Path(source).rename(moved)
    try:
        ended = finished("/api/runs/planted/recordings", {})
    finally:
        moved.rename(source)
    assert ended.kind == "failed"
    assert "planted.txt" in ended.events[-1][1]["error"]


def test_a_remote_text_is_not_fetched(finished: Finished, root: Path) -> None:
    from elman.runs import read_config, write_config

    path = root / "planted" / "config.json"
    config = read_config(path)
    config["data"]["sources"] = ["http://127.0.0.1:9/text.txt"]
    write_config(path, config)
    ended = finished("/api/runs/planted/recordings", {})
    assert ended.kind == "failed"
    assert "not fetched" in ended.events[-1][1]["error"]


def test_a_long_text_is_refused(root: Path) -> None:
    with TestClient(create_app(root, limits=Limits(text=100)), base_url=BASE) as client:
        response = client.post("/api/runs/planted/recordings", json={"text": "a" * 101})
        assert (response.status_code, "up to 100" in response.json()["error"]) == (400, True)
        assert client.post("/api/runs/planted/recordings", json={"limit": 101}).status_code == 400


def test_a_damaged_recording_is_a_sentence(client: Any, recording: str, root: Path) -> None:
    [(path, _)] = list_recordings(root / "planted")
    # write beside and rename, so that what is mapped stays
    (path / "new").write_bytes(b"x")
    (path / "new").rename(path / "values.npy")
    client.app.state.library._recordings._kept.clear()
    response = client.get(f"/api/recordings/{recording}/cells/0")
    assert response.status_code == 500
    assert "damaged" in response.json()["error"]


def test_lone_halves_and_markup_stay_text(client: Any, root: Path) -> None:
    text = "<script>alert(1)</script>\ud800\U0001f600\x00\r\n"
    folder = root / "planted" / "insight" / "recordings" / "odd"
    folder.parent.mkdir(parents=True)
    write_recording(folder, np.zeros((2, len(text)), np.int8), text)
    [shown] = client.get("/api/runs/planted").json()["recordings"]
    response = client.get(f"/api/recordings/{shown['id']}/text")
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.content.decode() == text.replace("\ud800", "\ufffd")
    assert client.get(f"/api/recordings/{shown['id']}/top?begin=0&end=9").status_code == 200
