"""From sources to token ids: splits, caches, notices, memory."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elman.data.characters import Characters
from elman.data.reading import Survey, survey
from elman.data.tokens import Corpus, TokenCache, prepare
from elman.data.words import Words
from elman.errors import ElmanError, FailureError, MisuseError

TEXT = "".join(f"line {number} of the text, naïve\n" for number in range(200))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "input.txt"
    path.write_bytes(TEXT.encode())
    return path


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "text.txt"
    path.write_bytes(text.encode())
    return path


def pair(cache: Path) -> tuple[Path, Path]:
    """The one token file in the cache and its manifest."""
    (tokens,) = (cache / "tokens").glob("*.tokens")
    return tokens, tokens.with_suffix(".json")


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("kind", ["characters", "bytes", "words", "subwords"])
def test_a_text_in_three_parts(file: Path, kind: str, cached: bool) -> None:
    if kind == "subwords":
        pytest.importorskip("tokenizers")
    corpus = prepare([file], kind=kind, split="80/10/10", cache=cached)
    assert corpus.characters == len(TEXT)
    assert corpus.bytes == len(TEXT.encode())
    assert corpus.fingerprint == hashlib.sha256(TEXT.encode()).hexdigest()
    assert corpus.tokens.dtype == np.uint8 if kind in ("characters", "bytes") else np.uint16
    assert np.concatenate([corpus.train, corpus.valid, corpus.test]).tolist() == corpus.tokens.tolist()
    parts = [corpus.vocabulary.decode(part) for part in (corpus.train, corpus.valid, corpus.test)]
    if kind != "words":
        assert "".join(parts) == TEXT
    if kind in ("words", "subwords"):
        assert all(part.startswith("line ") and part.endswith("\n") for part in parts)
    if kind == "characters":
        assert len(corpus.train) == int(0.8 * len(TEXT))
    sizes = [part.characters for part in corpus.parts.values()]
    assert sum(sizes) == len(TEXT)
    assert sum(part.bytes for part in corpus.parts.values()) == len(TEXT.encode())
    assert abs(sizes[0] - 0.8 * len(TEXT)) < 40
    again = prepare([file], kind=kind, split="80/10/10", cache=cached)
    assert again.cached == cached
    assert again.tokens.tolist() == corpus.tokens.tolist()
    assert again.vocabulary == corpus.vocabulary
    assert again.parts == corpus.parts
    assert again.notices == corpus.notices


def test_the_vocabulary_is_of_the_training_part_only(tmp_path: Path) -> None:
    corpus = prepare([written(tmp_path, "ab" * 50 + "abcé" * 5)], split="100/20")
    assert isinstance(corpus.vocabulary, Characters)
    assert corpus.vocabulary.symbols == "ab"
    assert len(corpus.valid) == 10
    assert corpus.unknown["valid"] == {"c": 5, "é": 5}
    assert corpus.unknown["train"] == {}
    (notice,) = corpus.notices
    assert "10 symbols of the validation part" in notice
    assert "left out (unknown=skip)" in notice


@pytest.mark.parametrize(("unknown", "expected"), [("skip", [0]), ("unk", [0, 2, 2]), ("replace:b", [0, 1, 1])])
def test_unseen_symbols_as_chosen(tmp_path: Path, unknown: str, expected: list[int]) -> None:
    corpus = prepare([written(tmp_path, "ab" * 50 + "acé" * 5)], split="100/15", unknown=unknown)
    assert corpus.valid.tolist() == expected * 5
    assert corpus.parts["valid"].unseen == 10


def test_unseen_symbols_as_an_error(tmp_path: Path) -> None:
    with pytest.raises(MisuseError, match=r"In the validation part: 'c' .*after 'a'"):
        prepare([written(tmp_path, "ab" * 50 + "acé" * 5)], split="100/15", unknown="error")


def test_a_given_vocabulary_is_used_as_it_is(file: Path) -> None:
    vocabulary = Characters.build(["lineoftx "])
    corpus = prepare([file], vocabulary=vocabulary, split="100/0")
    assert corpus.vocabulary is vocabulary
    assert corpus.parts["train"].unknown["\n"] == 200
    assert len(corpus.valid) == 0
    unk = prepare([file], vocabulary=Words.build(["line"]), unknown="skip")
    assert set(unk.tokens.tolist()) == {1, 2, 3}
    with pytest.raises(MisuseError, match="was given, but words"):
        prepare([file], vocabulary=vocabulary, kind="words")
    with pytest.raises(MisuseError, match="takes no vocabulary options"):
        prepare([file], vocabulary=vocabulary, vocabulary_options={"min_count": 2})


def test_words_learn_what_unknown_means_or_say_so(file: Path) -> None:
    corpus = prepare([file], kind="words")
    assert any("min_count=2" in notice for notice in corpus.notices)
    corpus = prepare([file], kind="words", vocabulary_options={"min_count": 2})
    assert not any("No training text became <unk>" in notice for notice in corpus.notices)
    assert corpus.parts["train"].unseen == corpus.vocabulary.decode(corpus.train).count("\n") > 170


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "is empty"),
        ("a", {}, "has one character"),
        ("aaa", {}, r"validation part has 1 of the text's 3 tokens, and needs at least 2. --split 100/0"),
        ("abcdefghij", {}, "--split 8/2 leaves enough"),
        ("abcdefghij" * 10, {"split": "80/10"}, "sums to 90"),
        ("abcdefghij", {"split": "0/100"}, "training part of --split is 0"),
        ("aaaaaaaaaabb", {"split": "10/2"}, r"validation part has 0 .*2 unseen symbols left out"),
        ("abcdefghij", {"errors": "surrogateescape"}, "only a vocabulary of bytes"),
        ("abcdefghij", {"kind": "bytes", "unknown": "skip"}, "no option 'unknown'"),
        ("abcdefghij", {"kind": "letters"}, "not a kind of vocabulary"),
    ],
)
def test_texts_and_options_that_cannot_be(
    tmp_path: Path, cache: Path, text: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(MisuseError, match=message):
        prepare([written(tmp_path, text)], **options)
    assert not list((cache / "tokens").glob("*")) if (cache / "tokens").exists() else True


@pytest.mark.parametrize(
    ("text", "split"), [("abc", "100/0"), ("abcd", "50/50"), ("abcdefghij", "8/2"), ("aaaa", "2/2")]
)
def test_tiny_texts_that_work(tmp_path: Path, text: str, split: str) -> None:
    corpus = prepare([written(tmp_path, text)], split=split, vocabulary=Characters("abcdefghij"))
    assert corpus.vocabulary.decode(corpus.tokens) == text


def test_a_text_of_one_symbol_says_so(tmp_path: Path) -> None:
    assert any("one symbol only" in notice for notice in prepare([written(tmp_path, "a" * 50)]).notices)


@pytest.mark.parametrize("cached", [True, False])
def test_a_text_that_changes_while_it_is_read(
    file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, cached: bool
) -> None:
    def survey_then_change(chunks: Iterable[str]) -> Survey:
        seen = survey(chunks)
        file.write_bytes(TEXT.encode().replace(b"text", b"test"))
        return seen

    monkeypatch.setattr("elman.data.tokens.survey", survey_then_change)
    with pytest.raises(FailureError, match="changed while it was read"):
        prepare([file], cache=cached)
    assert not list(cache.glob("tokens/*"))


def test_bytes_of_any_file(tmp_path: Path) -> None:
    content = bytes(range(256)) * 3
    path = tmp_path / "any.bin"
    path.write_bytes(content)
    corpus = prepare([path], kind="bytes")
    assert corpus.tokens.tobytes() == content
    with pytest.raises(MisuseError, match="cannot be decoded"):
        prepare([path], kind="bytes", errors="strict")


def test_reading_options(tmp_path: Path) -> None:
    path = tmp_path / "windows.txt"
    path.write_bytes("\ufeffcafé\r\n".encode("utf-16-le") * 20)
    corpus = prepare([path], encoding="utf-16-le", newlines="unix", bom="strip", split="100")
    assert corpus.vocabulary.decode(corpus.tokens).startswith("café\n")
    assert corpus.notices == []


# The cache


def corruptions() -> dict[str, Any]:
    def flip(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)

    return {
        "tokens cut off": lambda tokens, manifest: tokens.write_bytes(tokens.read_bytes()[:-1]),
        "tokens empty": lambda tokens, manifest: tokens.write_bytes(b""),
        "tokens longer": lambda tokens, manifest: tokens.write_bytes(tokens.read_bytes() + b"x"),
        "tokens flipped": lambda tokens, manifest: flip(tokens),
        "manifest cut off": lambda tokens, manifest: manifest.write_bytes(manifest.read_bytes()[:-10]),
        "manifest flipped": lambda tokens, manifest: flip(manifest),
        "manifest a list": lambda tokens, manifest: manifest.write_text("[]"),
        "manifest edited": lambda tokens, manifest: manifest.write_text(
            json.dumps({**json.loads(manifest.read_text()), "count": 3})
        ),
    }


@pytest.mark.parametrize("damage", corruptions())
def test_a_damaged_cache_is_made_again(file: Path, cache: Path, damage: str) -> None:
    good = prepare([file]).tokens.tolist()
    corruptions()[damage](*pair(cache))
    corpus = prepare([file])
    assert not corpus.cached
    assert corpus.tokens.tolist() == good
    assert any("damaged" in notice for notice in corpus.notices)
    again = prepare([file])
    assert again.cached
    assert again.notices == []


@pytest.mark.parametrize("which", [0, 1])
def test_half_a_cache_is_made_again(file: Path, cache: Path, which: int) -> None:
    prepare([file])
    pair(cache)[which].unlink()
    corpus = prepare([file])
    assert not corpus.cached
    assert corpus.vocabulary.decode(corpus.tokens) == TEXT


def test_the_cache_knows_what_it_is_of(file: Path, tmp_path: Path) -> None:
    def cached(**options: Any) -> bool:
        return prepare([file], **options).cached

    prepare([file])
    assert cached()
    assert not cached(split="80/20")
    assert not cached(kind="bytes")
    assert not cached(unknown="unk")
    assert not cached(vocabulary_options={"min_count": 2})
    assert not cached(vocabulary=Characters("abcdefghijklmnopqrstuvwxyz"))
    copy = tmp_path / "copy.txt"
    copy.write_bytes(TEXT.encode("utf-16"))
    assert prepare([copy], encoding="utf-16").cached
    file.write_bytes(TEXT.replace("naïve", "naive").encode())
    assert not cached()


def test_no_temporary_files_are_left(file: Path, cache: Path) -> None:
    prepare([file])
    with pytest.raises(ElmanError):
        prepare([file], split="1/1/99999")
    with pytest.raises(MisuseError):
        prepare([file], split=(len(TEXT) - 1, 1))
    assert len(list((cache / "tokens").iterdir())) == 2


def test_a_folder_that_cannot_be_made(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELMAN_CACHE_DIR", str(file))
    corpus = prepare([file])
    assert corpus.vocabulary.decode(corpus.tokens) == TEXT
    assert any("kept in memory" in notice for notice in corpus.notices)


def test_tokens_of_the_cache_are_read_only(file: Path) -> None:
    with pytest.raises(ValueError, match="read-only"):
        prepare([file]).tokens[0] = 1


def test_token_files_keep_their_type(cache: Path) -> None:
    store = TokenCache({"text": "one"})
    store.folder.mkdir()
    assert store.open() is None
    store.write(np.dtype(np.uint16), [np.array([1, 2]), np.array([65535])], {"more": [1]})
    entry = store.open()
    assert entry is not None
    assert (entry.tokens.dtype, entry.tokens.tolist()) == (np.uint16, [1, 2, 65535])
    assert entry.manifest["more"] == [1]


def test_tiny_shakespeare(shared_data: Path) -> None:
    corpus: Corpus = prepare([shared_data / "text" / "tinyshakespeare.txt"])
    assert corpus.vocabulary.size == 65
    assert (len(corpus.train), len(corpus.valid)) == (1_003_854, 111_540)
    assert corpus.notices == []


MEASURE = """
import resource, sys
from elman.data.batches import Streams
from elman.data.tokens import prepare
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
corpus = prepare([sys.argv[1]])
streams = Streams(corpus.train, 50, 100)
while streams.epoch < 1:
    streams.next()
print(len(corpus.tokens), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted in another unit")
def test_memory_does_not_grow_with_the_text(tmp_path: Path) -> None:
    path = tmp_path / "large.txt"
    block = TEXT * 40
    with path.open("w", encoding="utf-8") as handle:
        for _ in range(1000):
            handle.write(block)
    size = path.stat().st_size
    assert size > 200e6
    done = subprocess.run([sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, check=True)
    tokens, grown = map(int, done.stdout.split())
    assert tokens == len(block) * 1000
    assert grown < 130  # MB: a few chunks and the 64 MB of mapped pages that streams hold
