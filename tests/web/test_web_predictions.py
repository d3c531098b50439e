"""The inspector's predictions of texts against those of the package and of the command, and texts that mean harm."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette", reason="the extra web is not installed")

from web_cases import BASE
from word_models import classifier, tagger

from elman.data.conll import words_of
from elman.insight.word_weights import explain, places
from elman.metrics.entities import entities
from elman.runs import load
from elman.training.systems.tag.run import Decoder, label_sentences

TEXTS = ["the film is not good", "a zebra", "dull"]
SENTENCES = ["yesterday Mila Torne flew to New Karaville.", "nobody knew"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two classifiers and two taggers."""
    made = tmp_path_factory.mktemp("predicting")
    classifier(made / "moods")
    classifier(made / "bytes", pooling="max", tokens="bytes", longest=20)
    tagger(made / "names")
    tagger(made / "capitals", entities=False, characters=False)
    return made


@pytest.fixture
def client(folder: Path) -> Iterator[Any]:
    from starlette.testclient import TestClient

    from elman.web.app import create_app

    with TestClient(create_app(folder), base_url=BASE) as client:
        yield client


def ask(client: Any, run: str, text: str) -> dict[str, Any]:
    answered = client.post(f"/api/runs/{run}/predictions", json={"text": text})
    assert answered.status_code == 200, answered.text
    return answered.json()


def test_classes_and_words_are_those_of_the_package(client: Any, folder: Path) -> None:
    told = ask(client, "moods", "\n".join(["", TEXTS[0], " \t", *TEXTS[1:], ""]))
    assert told["attention"] is True
    model, vocabulary, config = load(folder / "moods", systems=("classify",))
    expected = explain(model, vocabulary, config["classes"], TEXTS, 1000)
    assert [each["text"] for each in told["texts"]] == TEXTS
    for each, own in zip(told["texts"], expected, strict=True):
        assert each["class"] == own.best
        assert each["probability"] == pytest.approx(own.probabilities.max())
        named = zip(own.classes, own.probabilities.tolist(), strict=True)
        assert each["probabilities"] == pytest.approx(dict(named))
        assert [word["token"] for word in each["words"]] == list(own.tokens)
        assert [word["contribution"] for word in each["words"]] == pytest.approx(own.contributions.tolist())
        assert own.attention is not None
        assert [word["attention"] for word in each["words"]] == pytest.approx(own.attention.tolist())
        stands = [(word["begin"], word["end"]) for word in each["words"]]
        assert stands == places(vocabulary, own.text, own.tokens)
        assert each["unread"] == 0
    assert [word["unknown"] for word in told["texts"][1]["words"]] == [False, True]


def test_labels_are_those_of_the_package(client: Any, folder: Path) -> None:
    told = ask(client, "names", "\r\n".join(SENTENCES))
    assert (told["scheme"], told["kinds"], told["spelled"]) == ("iob2", ["LOC", "ORG", "PER"], True)
    loaded = load(folder / "names", systems=("tag",))
    decoder = Decoder.of(loaded.config, folder / "names")
    sentences = [words_of(text) for text in SENTENCES]
    expected = list(label_sentences(loaded.model, decoder, sentences))
    for each, words, (labels, chances) in zip(told["sentences"], sentences, expected, strict=True):
        assert (each["words"], each["labels"]) == (words, labels)
        assert each["probabilities"] == pytest.approx(chances)
        spans = [(found["kind"], found["begin"], found["end"]) for found in each["entities"]]
        assert spans == [tuple(found) for found in entities(labels)]
    known = set(loaded.vocabulary.words)
    assert told["sentences"][0]["unknown"] == [word.lower() not in known for word in sentences[0]]
    assert "karaville" not in known
    assert "yesterday" in known


def test_labels_of_another_kind_have_no_entities(client: Any) -> None:
    told = ask(client, "capitals", "Mila flew")
    assert (told["scheme"], told["kinds"], told["spelled"]) == (None, ["CAPITAL", "SMALL"], False)
    (sentence,) = told["sentences"]
    assert "entities" not in sentence
    assert len(sentence["labels"]) == 2


def test_the_command_says_the_same(client: Any, folder: Path, elman: Callable[..., Any]) -> None:
    done = elman("predict", folder / "moods", "--explain", "--json", stdin="\n".join(TEXTS).encode())
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    for own, each in zip(lines, ask(client, "moods", "\n".join(TEXTS))["texts"], strict=True):
        assert own.keys() == each.keys()
        assert own["class"] == each["class"]
        assert own["probabilities"] == pytest.approx(each["probabilities"])
        for one, other in zip(own["words"], each["words"], strict=True):
            assert one == pytest.approx(other)
    done = elman("predict", folder / "names", "--json", stdin="\n".join(SENTENCES).encode())
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    for own, each in zip(lines, ask(client, "names", "\n".join(SENTENCES))["sentences"], strict=True):
        assert own.keys() == each.keys()
        assert (own["labels"], own["entities"]) == (each["labels"], each["entities"])
        assert own["probabilities"] == pytest.approx(each["probabilities"])


def test_a_long_text_is_read_to_its_limit_and_the_rest_counted(client: Any) -> None:
    (told,) = ask(client, "bytes", "é" * 15)["texts"]
    assert len(told["words"]) == 20
    assert told["unread"] == 10
    # two bytes a character: they share its place
    assert [(word["begin"], word["end"]) for word in told["words"][:4]] == [(0, 1), (0, 1), (1, 2), (1, 2)]
    assert "attention" not in told["words"][0]


@pytest.mark.parametrize("run", ["moods", "bytes"])
@pytest.mark.parametrize("text", ["", " \n\t\n", "\u2028"])
def test_an_empty_text_has_no_classes(client: Any, run: str, text: str) -> None:
    assert ask(client, run, text)["texts"] == []


def test_an_empty_text_has_no_labels(client: Any) -> None:
    assert ask(client, "names", " \n ")["sentences"] == []


HOSTILE = [
    "<script>alert(1)</script>",
    "\x00\x1b[31m\x7f",
    "\u202eevil\u202c \u2066x\u2069",
    "\ud800 half \udc00",
    "<S> <unk> <E>",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 \u05e9\u05dc\u05d5\u05dd e\u0301 \ufeff",
    "İstanbul ß ŉ good",
    "a\x0bb\x0cc\x85d\u2029e",
    "x" * 5000,
    "." * 3000,
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_are_texts(client: Any, text: str) -> None:
    # a half of a pair is no text; JSON can carry it all the same
    sent = json.dumps({"text": text}).encode()
    for run in ("moods", "bytes"):
        answered = client.post(
            f"/api/runs/{run}/predictions", content=sent, headers={"content-type": "application/json"}
        )
        assert answered.status_code == 200, answered.text
        (told,) = answered.json()["texts"]
        assert sum(told["probabilities"].values()) == pytest.approx(1.0)
        length = len(told["text"])
        assert length == len(text)
        begins = [word["begin"] for word in told["words"]]
        assert begins == sorted(begins)
        assert all(0 <= word["begin"] <= word["end"] <= length for word in told["words"])
    for run in ("names", "capitals"):
        answered = client.post(
            f"/api/runs/{run}/predictions", content=sent, headers={"content-type": "application/json"}
        )
        assert answered.status_code == 200, answered.text
        for sentence in answered.json()["sentences"]:
            assert len(sentence["words"]) == len(sentence["labels"]) == len(sentence["unknown"]) > 0


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, "lacks 'text'"),
        ({"text": 3}, "must be a text"),
        ({"text": "a" * 10_001}, "10,001 characters; up to 10,000"),
        ({"text": "a\n" * 101}, "101 lines; up to 100"),
    ],
)
def test_slips_are_told(client: Any, body: dict[str, Any], sentence: str) -> None:
    for run in ("moods", "names"):
        answered = client.post(f"/api/runs/{run}/predictions", json=body)
        assert answered.status_code == 400
        assert sentence in answered.json()["error"]
    assert client.post("/api/runs/none/predictions", json=body).status_code == 404


def test_what_one_screen_has_opened_is_refused_to_another(client: Any) -> None:
    ask(client, "moods", "good")
    for path, body in (
        ("translations", {"text": "a"}),
        ("states", {"text": "a"}),
        ("captions", {"image": "", "tag": ""}),
    ):
        answered = client.post(f"/api/runs/moods/{path}", json=body)
        assert answered.status_code == 400, path
        assert "is a run of `elman train classify`" in answered.json()["error"]


def test_other_systems_have_no_words_here(
    client: Any, folder: Path, elman: Callable[..., Any], text_file: Path
) -> None:
    elman("train", "ngram", text_file, "--order", 2, "--out", folder / "counted")
    answered = client.post("/api/runs/counted/predictions", json={"text": "a"})
    assert answered.status_code == 400
    assert "`elman train classify`, `elman train tag`" in answered.json()["error"]


def test_the_table_of_runs_knows_them(client: Any) -> None:
    lines = {line["id"]: line for line in client.get("/api/runs").json()}
    assert (lines["moods"]["system"], lines["names"]["system"]) == ("classify", "tag")
    shown = client.get("/api/runs/moods").json()
    assert set(shown["data"]["sources"]) == {"train", "valid", "test"}
    assert "valid_accuracy" in shown["metrics"][-1]
