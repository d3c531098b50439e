"""The longest copied passage and the share of copied n-grams, against their definitions."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.errors import MisuseError
from elman.generate import novelty as module
from elman.generate.novelty import Novelty, _Hasher, _Windows, novelty


def tokens(text: str) -> Any:
    return np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)


def naive(text: Any, training: Any, n: int) -> tuple[int, float | None]:
    text, training = text.tolist(), training.tolist()

    def windows(values: list[int], length: int) -> list[tuple[int, ...]]:
        return [tuple(values[i : i + length]) for i in range(len(values) - length + 1)]

    longest = 0
    while set(windows(text, longest + 1)) & set(windows(training, longest + 1)):
        longest += 1
    grams, known = windows(text, n), set(windows(training, n))
    return longest, sum(gram in known for gram in grams) / len(grams) if grams else None


def check(found: Novelty, text: Any, training: Any, n: int) -> None:
    longest, share = naive(text, training, n)
    assert (found.longest, found.n) == (longest, n)
    assert found.share == pytest.approx(share) if share is not None else found.share is None
    mine = text[found.start : found.start + longest].tolist()
    assert mine == training[found.training_start : found.training_start + longest].tolist()


SMALL = st.text("ab", max_size=40)


@given(SMALL, SMALL, st.integers(1, 8))
def test_against_the_definition(text: str, training: str, n: int) -> None:
    check(novelty(tokens(text), tokens(training), n), tokens(text), tokens(training), n)


@given(SMALL, SMALL, st.integers(1, 8), st.integers(1, 9))
@settings(max_examples=60)
def test_blocks_do_not_show(text: str, training: str, n: int, block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", block)
        check(novelty(tokens(text), tokens(training), n), tokens(text), tokens(training), n)


@given(SMALL, SMALL, st.integers(1, 8))
@settings(max_examples=60)
def test_collisions_do_not_show(text: str, training: str, n: int) -> None:
    def few(hasher: _Hasher, values: Any, length: int) -> Any:
        count = len(values) - length + 1
        return values[:count].astype(np.uint64) % np.uint64(2)

    def few_at(hasher: _Hasher, values: Any, places: Any, length: int) -> Any:
        return np.asarray(values)[places].astype(np.uint64) % np.uint64(2)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Hasher, "windows", few)
        patch.setattr(_Hasher, "at", few_at)
        check(novelty(tokens(text), tokens(training), n), tokens(text), tokens(training), n)


def test_hashes_of_chosen_places_are_those_of_all_windows() -> None:
    values = np.random.default_rng(0).integers(0, 50, 300)
    hasher = _Hasher(300)
    places = np.array([0, 7, 7, 200, 292])
    assert hasher.at(values, places, 8).tolist() == hasher.windows(values, 8)[places].tolist()
    assert len(np.unique(hasher.windows(values, 8))) == len(np.unique(_rows(values, 8), axis=0))


def _rows(values: Any, length: int) -> Any:
    return np.lib.stride_tricks.sliding_window_view(values, length)


def test_the_windows_of_a_text_are_found_where_they_stand() -> None:
    training = tokens("the cat sat on the mat")
    windows = _Windows(_Hasher(100), tokens("a cat on"), 4)
    hashes = _Hasher(100).windows(training, 4)
    places = windows.candidates(hashes)
    assert windows.found(training, places, hashes[places]).tolist() == [-1, 3, 4, 9, 10]


def test_known_values() -> None:
    found = novelty(tokens("xx to be or not yy"), tokens("to be or not to be"), 5)
    assert (found.longest, found.start, found.training_start) == (13, 3, 0)
    assert found.share == pytest.approx(10 / 14)


def test_nothing_in_common() -> None:
    assert novelty(tokens("abc"), tokens("xyz"), 2) == Novelty(0, 0, 0, 0.0, 2)
    assert novelty(tokens(""), tokens("xyz"), 2) == Novelty(0, 0, 0, None, 2)
    assert novelty(tokens("abc"), tokens(""), 2).longest == 0


def test_a_short_text_has_no_share() -> None:
    assert novelty(tokens("to be"), tokens("to be or not")).share is None
    assert novelty(tokens("to be"), tokens("to be or not")).longest == 5


@pytest.mark.parametrize(("text", "n"), [(np.zeros((2, 2), int), 3), (np.zeros(3, int), 0)])
def test_misuse(text: Any, n: int) -> None:
    with pytest.raises(MisuseError):
        novelty(text, np.zeros(5, int), n)


def test_a_megabyte_takes_well_under_a_second(tmp_path: Any) -> None:
    generator = np.random.default_rng(1)
    np.save(tmp_path / "tokens.npy", generator.integers(0, 65, 1_000_000).astype(np.uint8))
    training = np.load(tmp_path / "tokens.npy", mmap_mode="r")
    text = np.concatenate([generator.integers(0, 65, 9_000), training[400_000:401_000]]).astype(np.uint8)
    began = time.process_time()
    found = novelty(text, training)
    assert time.process_time() - began < 1.0
    assert (found.longest, found.start, found.training_start) == (1000, 9000, 400_000)
    assert found.share == pytest.approx(981 / 9981, abs=1e-3)
