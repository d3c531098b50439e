"""The inspector's translations against those of the package."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette", reason="the extra web is not installed")

from web_cases import BASE

from elman.generate.translating import from_runs, judge, translate
from elman.runs import load

WHERE = "/api/runs/reversal/translations"


@pytest.fixture(scope="module")
def translating(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run that reverses words, a little."""
    from elman.equations import recurrence_of
    from elman.training.settings import Settings
    from elman.training.start import Reports
    from elman.training.systems.translate.run import PairOptions, Sources, Wishes, train

    folder = tmp_path_factory.mktemp("translating")
    settings = Settings(steps=30, batch=32, lr=1e-2, threads=1)
    gru = recurrence_of("gru")
    shape = {"hidden": 16, "bidirectional": True}
    wishes = Wishes(gru, gru, shape, settings, scored=5, reports=Reports(quiet=True))
    train(Sources(("made:reversal,longest=4,count=500",)), PairOptions(), wishes, folder / "reversal")
    return folder


@pytest.fixture
def client(translating: Path) -> Iterator[Any]:
    from starlette.testclient import TestClient

    from elman.web.app import create_app

    with TestClient(create_app(translating), base_url=BASE) as client:
        yield client


def test_the_translations_are_those_of_the_package(client: Any, translating: Path) -> None:
    body = client.post(WHERE, json={"text": " abc\nd", "beam": 4, "n_best": 3, "normalisation": 1.0}).json()
    translators = from_runs([load(translating / "reversal", systems=("translate",))])
    (expected,) = translate(translators, ["abc d"], width=4, best=3, normalisation=1.0)
    # a space is no symbol of this vocabulary
    assert body["source"] == ["a", "b", "c", "d", "\\n"]
    assert [each["text"] for each in body["translations"]] == [each.text for each in expected]
    judged = judge(translators, ["abc d"] * 3, [each.ids for each in expected])
    for told, each, own in zip(body["translations"], expected, judged, strict=True):
        assert told["logprob"] == pytest.approx(each.logprob)
        assert told["logprob_a_token"] == pytest.approx(each.per_token)
        assert len(told["symbols"]) == len(each.ids) == len(told["token_logprobs"])
        for row, weights in zip(told["weights"], own.weights, strict=True):
            assert row == pytest.approx(weights.tolist())
            assert sum(row) == pytest.approx(1.0, abs=1e-5)
    assert client.post(WHERE, json={"text": "  "}).json() == {"source": [], "translations": []}


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"text": "a", "beam": 17}, "beam at most 16"),
        ({"text": "a", "beam": 2, "n_best": 3}, "n_best"),
        ({"text": "a", "normalisation": -1.0}, "normalisation"),
        ({"text": "a" * 1001}, "up to 1,000"),
        ({}, "text"),
    ],
)
def test_slips_are_told(client: Any, body: dict[str, Any], sentence: str) -> None:
    response = client.post(WHERE, json=body)
    assert response.status_code == 400
    assert sentence in response.json()["error"]


def test_the_table_of_runs_knows_a_translator(client: Any) -> None:
    line = next(line for line in client.get("/api/runs").json() if line["id"] == "reversal")
    assert "error" not in line
    assert (line["system"], line["cell"], line["tokens"]) == ("translate", "gru", "characters")
    assert client.get("/api/runs/reversal").status_code == 200


def test_a_run_of_another_system_is_refused(
    client: Any, translating: Path, elman: Callable[..., Any], text_file: Path
) -> None:
    if not (translating / "counted").exists():
        elman("train", "ngram", text_file, "--order", 2, "--out", translating / "counted")
    response = client.post("/api/runs/counted/translations", json={"text": "a"})
    assert response.status_code == 400
    assert "elman train translate" in response.json()["error"]
