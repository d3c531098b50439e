"""A model that writes and reads while it is watched, against the rest of the package."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from insight.planted import UNIT, inside_quotes

pytest.importorskip("starlette", reason="the extra web is not installed")

from starlette.testclient import TestClient
from web_cases import BASE, events_of

from elman.generate import generate
from elman.insight.surprisal import surprisal
from elman.runs import load
from elman.web.app import create_app
from elman.web.limits import Limits

PLANTED = f"0:c:{UNIT}"


def written(client: Any, body: dict[str, Any], run: str = "planted") -> list[tuple[str, dict[str, Any]]]:
    response = client.post(f"/api/runs/{run}/sample", json=body)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    return events_of(response.text)


def tokens_of(events: list[tuple[str, dict[str, Any]]], which: str = "plain") -> list[dict[str, Any]]:
    return [data for kind, data in events if kind == "token" and data["which"] == which]


@pytest.mark.parametrize(
    "flags",
    [
        {"temperature": 1.0},
        {"temperature": 0.7, "top_k": 4, "prompt": 'the old man said."'},
        {"temperature": 1.3, "top_p": 0.9, "prompt": "\n"},
        {"temperature": 0},
    ],
)
def test_the_text_is_that_of_elman_sample(
    client: Any, root: Path, elman: Callable[..., Any], flags: dict[str, Any]
) -> None:
    named = [part for key, value in flags.items() for part in (f"--{key.replace('_', '-')}", value)]
    for seed in (1, 2**32 - 1):
        asked = ("--length", 300, "--seed", seed, "--json")
        expected = json.loads(elman("sample", root / "planted", *named, *asked).stdout)
        events = written(client, {"length": 300, "seed": seed, **flags})
        tokens = tokens_of(events)
        assert "".join(token["text"] for token in tokens) == expected["text"] == events[-1][1]["text"]
        assert events[0] == ("begin", {"seed": seed})
        assert events[-1][0] == "done"
        assert events[-1][1]["logprob"] == pytest.approx(expected["logprob"], abs=1e-3)
        # what the observer computed beside the compiled loop is the same
        assert sum(token["logprob"] for token in tokens) == pytest.approx(expected["logprob"], abs=1e-2)


def test_every_symbol_comes_with_the_likeliest_and_the_states(client: Any, root: Path) -> None:
    loaded = load(root / "planted")
    events = written(client, {"length": 200, "seed": 3, "prompt": '"', "cells": [PLANTED, "0:h:3"]})
    tokens = tokens_of(events)
    assert len(tokens) == 200
    # a second way: the whole text in one call of the model
    ids = torch.tensor([*loaded.vocabulary.encode('"').ids.tolist(), *(token["id"] for token in tokens)])[:, None]
    with torch.inference_mode():
        _, _, states = loaded.model.recurrent(ids, None, table=loaded.model.embedding.weight, return_states=True)
        scores, _ = loaded.model(ids)
    expected = torch.softmax(scores[:-1, 0].double(), dim=-1)
    for place, token in enumerate(tokens):
        assert token["states"][PLANTED] == pytest.approx(float(states["c"][0, place + 1, 0, UNIT]), abs=1e-4)
        assert token["states"]["0:h:3"] == pytest.approx(float(states["h"][0, place + 1, 0, 3]), abs=1e-4)
        chances = expected[place]
        assert math.exp(token["logprob"]) == pytest.approx(float(chances[token["id"]]), abs=1e-4)
        best = torch.topk(chances, 5)
        assert [chance for _, chance in token["top"]] == pytest.approx(best.values.tolist(), abs=1e-4)
        assert token["top"][0][0] == loaded.vocabulary.symbol(int(best.indices[0]))
        assert token["symbol"] == loaded.vocabulary.symbol(token["id"])


def test_a_fresh_seed_is_told_and_draws_the_same_again(client: Any) -> None:
    first = written(client, {"length": 50})
    seed = first[0][1]["seed"]
    assert written(client, {"length": 50, "seed": seed})[-1] == first[-1]
    assert len({written(client, {"length": 30})[-1][1]["text"] for _ in range(4)}) > 1


def test_plain_and_lesioned_are_written_beside_each_other(client: Any, root: Path) -> None:
    lesion = {"layer": 0, "name": "c", "unit": UNIT, "mode": "zero"}
    body = {"length": 300, "seed": 5, "prompt": '"', "cells": [PLANTED], "interventions": [lesion], "beside": True}
    events = written(client, body)
    plain, lesioned = tokens_of(events), tokens_of(events, "lesioned")
    assert len(plain) == len(lesioned) == 300
    assert {token["states"][PLANTED] for token in lesioned} == {0.0}
    inside = inside_quotes('"' + "".join(token["text"] for token in plain))[1:]
    assert np.allclose([token["states"][PLANTED] for token in plain], inside, atol=1e-3)
    done = events[-1][1]
    assert (
        done["plain"]["text"]
        == generate(load(root / "planted").model, load(root / "planted").vocabulary, prompt='"', length=300, seed=5)[
            0
        ].text
    )
    assert done["lesioned"]["text"] != done["plain"]["text"]
    alone = written(client, {**body, "beside": False})
    assert not tokens_of(alone)
    assert alone[-1][1]["text"] == done["lesioned"]["text"]


@pytest.mark.parametrize("mode", ["mean", "resample", "set", "off", "on"])
def test_every_mode_of_a_lesion_can_be_written_with(client: Any, mode: str) -> None:
    lesion = {"layer": 0, "name": "c", "units": [UNIT, 3], "mode": mode} | ({"value": 1} if mode == "set" else {})
    body = {"length": 20, "seed": 1, "interventions": [lesion], "cells": [PLANTED]}
    if mode in ("off", "on"):
        refused = client.post("/api/runs/planted/sample", json=body)
        assert (refused.status_code, "hypothesis" in refused.json()["error"]) == (400, True)
        body["hypothesis"] = "double_quotes"
    events = written(client, body)
    assert events[-1][0] == "done"
    if mode == "set":
        assert {token["states"][PLANTED] for token in tokens_of(events, "lesioned")} == {1.0}


def test_a_lesion_may_hold_for_a_while(client: Any, root: Path) -> None:
    from elman.insight.lesions import Intervention, sample_beside

    lesion = {"layer": 0, "name": "c", "unit": UNIT, "mode": "set", "value": 0.5}
    body = {"length": 120, "seed": 5, "prompt": '"', "cells": [PLANTED], "interventions": [lesion], "beside": True}
    events = written(client, {**body, "span": [20, 50]})
    states = [token["states"][PLANTED] for token in tokens_of(events, "lesioned")]
    assert states[20:50] == [0.5] * 30
    assert 0.5 not in states[:20]
    loaded = load(root / "planted")
    row = [Intervention(0, "c", (UNIT,), "set", 0.5)]
    asked = {"prompt": '"', "length": 120, "seed": 5}
    expected = sample_beside(loaded.model, loaded.vocabulary, row, span=(20, 50), **asked)
    done = events[-1][1]
    assert (done["plain"]["text"], done["lesioned"]["text"]) == (expected.plain.text, expected.lesioned.text)
    assert done["parted"] == expected.parted
    for bad in ([1], [5, 4], [-1, None], ["a", None], [0, 1.5]):
        assert client.post("/api/runs/planted/sample", json={**body, "span": bad}).status_code == 400


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"temperature": -1}, "temperature"),
        ({"temperature": float("nan")}, "JSON"),
        ({"top_k": 0}, "top-k"),
        ({"top_p": 2}, "top-p"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**40}, "seed"),
        ({"length": -1}, "'length'"),
        ({"length": 10**9}, "'length'"),
        ({"prompt": "a" * 10_001}, "prompt has 10,001"),
        ({"cells": ["0:c:32"]}, "units 0 to 31"),
        ({"cells": ["1:c:0"]}, "no layer 1"),
        ({"cells": ["0:nope:0"]}, "no cells 'nope'"),
        ({"cells": ["<script>"]}, "LAYER:NAME:UNIT"),
        ({"cells": [{"layer": "0"}]}, "LAYER:NAME:UNIT"),
        ({"cells": ["0:i:0"]}, "only the states"),
        ({"cells": [f"0:c:{unit}" for unit in range(32)] * 3}, "too many"),
        ({"interventions": [7]}, "An intervention is"),
        ({"interventions": [{"layer": 0, "name": "c", "unit": 1, "mode": "burn"}]}, "mode"),
        ({"interventions": [{"layer": 0, "name": "c", "unit": 1, "strength": 1e9}]}, "strength"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_before_the_stream(
    client: Any, body: dict[str, Any], sentence: str
) -> None:
    content = json.dumps(body).replace("NaN", "nan")
    response = client.post("/api/runs/planted/sample", content=content, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert sentence in response.json()["error"]


def test_reading_shows_states_gates_and_expectations(client: Any, root: Path) -> None:
    text = 'the old man said.\n"no."\n'
    cells = [PLANTED, f"0:f:{UNIT}", "0:h:3"]
    shown = client.post("/api/runs/planted/states", json={"text": text, "cells": cells}).json()
    assert shown["pieces"] == list(text)
    assert shown["offsets"] == list(range(len(text)))
    assert np.allclose(shown["values"][PLANTED], inside_quotes(text), atol=1e-3)
    # the planted cell's forget gate shuts at a mark, and stays open at every letter
    shut = [text[place] for place, value in enumerate(shown["values"][f"0:f:{UNIT}"]) if value < 0.5]
    assert shut.count('"') == 2
    assert not "".join(shut).strip('"\n')
    loaded = load(root / "planted")
    scored = surprisal(loaded.model, loaded.vocabulary, text)
    # surprisal reads a newline before the text, which the state keeps for a step; the playground reads a prompt
    assert shown["nats"][0] == pytest.approx(scored.nats[0], abs=1e-4)
    assert np.allclose(shown["nats"][5:], scored.nats[5:], atol=1e-2)
    assert len(shown["top"]) == len(text)
    sampled = tokens_of(written(client, {"length": 1, "prompt": text, "seed": 0}))[0]
    assert shown["top"][-1] == sampled["top"]


def test_reading_nothing_or_what_is_unknown(client: Any) -> None:
    empty = client.post("/api/runs/planted/states", json={"text": "", "cells": [PLANTED]}).json()
    assert empty == {"pieces": [], "offsets": [], "nats": [], "top": [], "values": {PLANTED: []}}
    skipped = client.post("/api/runs/planted/states", json={"text": "a\u0416d", "cells": []}).json()
    assert (skipped["offsets"], skipped["pieces"]) == ([0, 2], ["a\u0416", "d"])
    assert client.post("/api/runs/planted/states", json={"text": "a" * 10_001}).status_code == 400
    assert client.post("/api/runs/planted/states", json={}).status_code == 400


def test_words_of_an_ngram_model_can_be_written_too(client: Any, root: Path, tmp_path: Path) -> None:
    from elman.training.corpus import TextOptions
    from elman.training.display import QuietDisplay
    from elman.training.ngram import train_ngram_run

    source = tmp_path / "text.txt"
    source.write_text("to be or not to be\nthat is the question\n" * 50)
    train_ngram_run([str(source)], TextOptions("words"), 3, "kneser-ney", root / "grams", QuietDisplay())
    events = written(client, {"length": 12, "seed": 1, "prompt": "to be"}, "grams")
    loaded = load(root / "grams")
    expected = generate(loaded.model, loaded.vocabulary, prompt="to be", length=12, seed=1)[0]
    assert events[-1][1]["text"] == expected.text
    assert sum(token["logprob"] for token in tokens_of(events)) == pytest.approx(expected.logprob, abs=1e-6)
    response = client.post("/api/runs/grams/states", json={"text": "to be"})
    assert response.status_code == 400
    assert "no cells" in response.json()["error"]


def test_the_slots_are_given_back(root: Path) -> None:
    with TestClient(create_app(root, limits=Limits(streams=1, queue=1)), base_url=BASE) as client:
        for _ in range(4):
            assert client.post("/api/runs/planted/sample", json={"length": -1}).status_code == 400
            assert written(client, {"length": 5, "seed": 0})[-1][0] == "done"
