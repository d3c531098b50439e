"""The inspector's captions against those of the package, and images that are none."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette", reason="the extra web is not installed")

import torch
from caption_runs import captioner
from made_captions import png
from web_cases import BASE

from elman.data.images import decode
from elman.generate.captioning import Manner, write
from elman.models.captioning.seeing import features_of_images
from elman.runs import load

WHERE = "/api/runs/looks/captions"
IMAGE = png("red", "disc", 5)


@pytest.fixture(scope="module")
def captioning(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run that captions in two languages, with attention."""
    return captioner(tmp_path_factory.mktemp("captioning"), "looks", languages=True)


@pytest.fixture
def client(captioning: Path) -> Iterator[Any]:
    from starlette.testclient import TestClient

    from elman.web.app import create_app

    with TestClient(create_app(captioning), base_url=BASE) as client:
        yield client


def sent(content: bytes, **more: Any) -> dict[str, Any]:
    return {"image": base64.b64encode(content).decode(), "tag": "de"} | more


def test_the_captions_are_those_of_the_package(client: Any, captioning: Path) -> None:
    assert client.get(WHERE).json() == {"tags": ["de", "en"], "attention": True, "share": 1.0}
    told = client.post(WHERE, json=sent(IMAGE, beam=4, n_best=3, normalisation=1.0)).json()["captions"]
    loaded = load(captioning / "looks", systems=("caption",))
    seen = features_of_images(loaded.model, [decode(IMAGE, "image")])
    with torch.inference_mode():
        (expected,) = write(loaded.model, loaded.vocabulary, seen, "de", Manner(3, 4, 1.0))
    assert [each["text"] for each in told] == [each.text for each in expected]
    for each, own in zip(told, expected, strict=True):
        assert each["logprob"] == pytest.approx(own.logprob)
        assert each["score"] == pytest.approx(own.score)
        assert each["token_logprobs"] == pytest.approx(own.logprobs)
        assert each["symbols"] == own.symbols
        assert torch.tensor(each["weights"]).shape == (len(own.ids), 3, 3)
        torch.testing.assert_close(torch.tensor(each["weights"]), own.weights)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (sent(IMAGE[:100]), "damaged or cut short"),
        (sent(b"<svg onload='alert(1)'>"), "not an image"),
        (sent(b""), "the file is empty"),
        ({"image": "no base64!", "tag": "de"}, "in base64"),
        ({"tag": "de"}, "lacks 'image'"),
        (sent(IMAGE, tag="fr"), "--tag is 'fr'; it takes one of de, en"),
        (sent(IMAGE, beam=2, n_best=3), "'beam' is 2"),
        (sent(IMAGE, beam=1000), "beam at most 16"),
        (sent(IMAGE, normalisation=-1.0), "normalisation"),
    ],
)
def test_what_cannot_be_captioned_is_refused_in_a_sentence(client: Any, body: dict[str, Any], message: str) -> None:
    answered = client.post(WHERE, json=body)
    assert answered.status_code == 400
    assert message in answered.json()["error"]


def test_a_bomb_is_refused_before_it_takes_memory(client: Any) -> None:
    from PIL import Image

    stream = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(stream, "PNG")
    answered = client.post(WHERE, json=sent(stream.getvalue()))
    assert answered.status_code == 400
    assert "64,000,000 pixels" in answered.json()["error"]


def test_other_systems_are_no_captioners(client: Any) -> None:
    assert client.post("/api/runs/none/captions", json=sent(IMAGE)).status_code == 404
