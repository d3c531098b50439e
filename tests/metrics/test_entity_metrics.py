"""Entities of labels: hand-worked sentences, the shared task's own rules, schemes that say the same."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.errors import MisuseError
from elman.metrics.entities import SCHEMES, convert, entities, entity_scores, follows, scheme_of

LABELS = ["O", *(f"{mark}-{kind}" for mark in "BIES" for kind in ("PER", "LOC"))]


def of_the_shared_task(labels: list[str]) -> list[tuple[str, int, int]]:
    """Begin and end of chunks as the tables of the shared task's script list them, pair by pair."""
    ends = {("B", "B"), ("B", "S"), ("B", "O"), ("I", "B"), ("I", "S"), ("I", "O")}
    begins = {("E", "E"), ("E", "I"), ("S", "E"), ("S", "I"), ("O", "E"), ("O", "I")}
    found, start = [], None
    tag_before, kind_before = "O", ""
    for place, label in enumerate([*labels, "O"]):
        tag, _, kind = label.partition("-")
        chunk_ends = tag_before in "ES" or (tag_before, tag) in ends or (tag_before != "O" and kind_before != kind)
        chunk_begins = tag in "BS" or (tag_before, tag) in begins or (tag != "O" and kind_before != kind)
        if chunk_ends and start is not None:
            found.append((kind_before, start, place))
            start = None
        if chunk_begins:
            start = place
        tag_before, kind_before = tag, kind
    return found


@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_all_short_sentences_read_as_the_shared_task_reads_them(length: int) -> None:
    for labels in itertools.product(LABELS, repeat=length):
        assert entities(labels) == of_the_shared_task(list(labels)), labels


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("I-PER I-PER O I-LOC", [("PER", 0, 2), ("LOC", 3, 4)]),
        ("I-PER B-PER I-PER", [("PER", 0, 1), ("PER", 1, 3)]),
        ("B-PER I-LOC I-LOC", [("PER", 0, 1), ("LOC", 1, 3)]),
        ("S-PER B-LOC I-LOC E-LOC O S-PER", [("PER", 0, 1), ("LOC", 1, 4), ("PER", 5, 6)]),
        ("O B O I I", [("", 1, 2), ("", 3, 5)]),
        ("B-MISC-X I-MISC-X", [("MISC-X", 0, 2)]),
        ("", []),
    ],
)
def test_sentences_worked_by_hand(labels: str, expected: list[tuple[str, int, int]]) -> None:
    assert entities(labels.split()) == expected


def test_scores_worked_by_hand() -> None:
    truth = [["B-PER", "I-PER", "O", "B-LOC", "O"], ["B-LOC", "O", "B-LOC"]]
    guess = [["B-PER", "I-PER", "O", "B-PER", "O"], ["B-LOC", "I-LOC", "B-LOC"]]
    found = entity_scores(truth, guess)
    # true: PER 0-2, LOC 3-4 | LOC 0-1, LOC 2-3; found: PER 0-2, PER 3-4 | LOC 0-2, LOC 2-3; right: PER 0-2, LOC 2-3
    assert (found.overall.precision, found.overall.recall, found.overall.f1) == (0.5, 0.5, 0.5)
    assert (found.overall.support, found.found, found.words) == (4, 4, 8)
    assert found.accuracy == pytest.approx(6 / 8)
    assert found.kinds["PER"].precision == 0.5
    assert found.kinds["PER"].recall == 1.0
    assert (found.kinds["LOC"].precision, found.kinds["LOC"].recall) == (0.5, pytest.approx(1 / 3))


def test_nothing_to_find() -> None:
    found = entity_scores([["O", "O"]], [["O", "O"]])
    assert (found.overall.f1, found.accuracy, found.kinds) == (0.0, 1.0, {})


SPANS = st.lists(st.tuples(st.sampled_from(["", "PER", "LOC"]), st.integers(1, 3), st.booleans()), max_size=6)


@settings(max_examples=200, deadline=None)
@given(SPANS)
def test_every_scheme_says_the_same(spans: list[tuple[str, int, bool]]) -> None:
    labels: list[str] = []
    expected = []
    for kind, size, gap in spans:
        if gap:
            labels.append("O")
        if kind:
            expected.append((kind, len(labels), len(labels) + size))
            labels += [f"B-{kind}"] + [f"I-{kind}"] * (size - 1)
    for scheme in SCHEMES:
        written = convert(labels, scheme)
        assert entities(written) == expected
        assert all(follows(scheme, a, b) for a, b in itertools.pairwise([None, *written, None]))
        assert convert(written, "iob2") == labels


def test_the_scheme_is_seen() -> None:
    assert scheme_of([["B-PER", "I-PER"], ["O"]]) == "iob2"
    assert scheme_of([["I-PER", "B-PER"], ["O"]]) == "iob1"
    assert scheme_of([["S-PER", "O"]]) == "iobes"
    assert scheme_of([["NN", "VB", "O"]]) is None
    assert scheme_of([["O", "O"]]) is None
    assert scheme_of([["I", "NN-P"]]) is None


@pytest.mark.parametrize(
    ("scheme", "before", "after", "allowed"),
    [
        ("iob2", None, "I-PER", False),
        ("iob2", "B-LOC", "I-PER", False),
        ("iob2", "I-PER", "I-PER", True),
        ("iobes", "B-PER", "O", False),
        ("iobes", "B-PER", "E-PER", True),
        ("iobes", "I-PER", None, False),
        ("iobes", "S-PER", "I-PER", False),
        ("iobes", "E-PER", "B-PER", True),
        ("iob1", "O", "B-PER", False),
        ("iob1", "I-PER", "B-PER", True),
        ("iob1", "I-LOC", "I-PER", True),
    ],
)
def test_what_may_follow_what(scheme: str, before: str | None, after: str | None, allowed: bool) -> None:
    assert follows(scheme, before, after) == allowed


def test_faults_are_named() -> None:
    with pytest.raises(MisuseError, match="'NN' is no label of entities"):
        entities(["O", "NN"])
    with pytest.raises(MisuseError, match="Sentence 2 has 1 words and 2"):
        entity_scores([["O"], ["O"]], [["O"], ["O", "O"]])
    with pytest.raises(MisuseError, match="no scheme 'bilou'"):
        convert(["O"], "bilou")
