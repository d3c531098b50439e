"""Entities of labelled words: spans in IOB1, IOB2 and IOBES, scored as whole spans.

As the script of the CoNLL-2000 shared task (conlleval; Tjong Kim Sang and Buchholz 2000) does: an entity counts where
its kind, its first and its last word are all right.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from elman.errors import MisuseError
from elman.metrics.classification import ClassScore, score_of_counts

SCHEMES = ("iob1", "iob2", "iobes")
OUTSIDE = "O"
MARKS = "BIES"


class Entity(NamedTuple):
    """A span of words.

    Attributes:
        kind: such as PER; empty for labels that are a bare mark.
        begin: its first word.
        end: the word after its last.
    """

    kind: str
    begin: int
    end: int


@dataclass(frozen=True)
class EntityScores:
    """Entities of all kinds together and of each.

    Attributes:
        overall: of all entities (micro-averaged).
        kinds: by kind.
        accuracy: share of the words whose label is right, O included.
        words: how many there are.
        found: how many entities were predicted.
    """

    overall: ClassScore
    kinds: dict[str, ClassScore]
    accuracy: float
    words: int
    found: int


def split_label(label: str) -> tuple[str, str]:
    """Mark and kind of a label: ``B-PER`` is ("B", "PER"), ``O`` is ("O", "")."""
    mark, _, kind = label.partition("-")
    return mark, kind


def entities(labels: Sequence[str]) -> list[Entity]:
    """The entities of a sentence.

    One reading serves IOB1, IOB2 and IOBES, and says what labels mean that fit none of them. An entity begins

        at every B and S,    at an I or E after O, E or S or at the beginning,    at every change of kind

    and ends before the next one begins, before an O, and after every E and S.

    Args:
        labels: of the words, such as ``["B-PER", "I-PER", "O"]``.

    Returns:
        The entities in order.

    Raises:
        MisuseError: a label whose mark is none of B, I, E, S, O.
    """
    found: list[Entity] = []
    begin, before = -1, OUTSIDE
    kind_before = ""
    for place, label in enumerate(labels):
        mark, kind = split_label(label)
        if mark == OUTSIDE:
            kind = ""
        elif len(mark) != 1 or mark not in MARKS:
            raise MisuseError(
                f"{label!r} is no label of entities: it must be O, or B-, I-, E- or S- and a kind, such as B-PER."
            )
        begins = mark != OUTSIDE and (mark in "BS" or before in "OES" or kind != kind_before)
        if begin >= 0 and (begins or mark == OUTSIDE or before in "ES"):
            found.append(Entity(kind_before, begin, place))
            begin = -1
        if begins:
            begin = place
        before, kind_before = mark, kind
    if begin >= 0:
        found.append(Entity(kind_before, begin, len(labels)))
    return found


def entity_scores(truth: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> EntityScores:
    """Compare the entities of predicted sentences with the true ones.

    Args:
        truth: labels of each sentence.
        predicted: as many for each.

    Raises:
        MisuseError: unequal lengths, with the number of the sentence; or a label that is none.
    """
    if len(truth) != len(predicted):
        raise MisuseError(f"{len(truth)} sentences cannot be compared with {len(predicted)}.")
    right: Counter[str] = Counter()
    called: Counter[str] = Counter()
    support: Counter[str] = Counter()
    words = hits = 0
    for number, (true, guess) in enumerate(zip(truth, predicted, strict=True), 1):
        if len(true) != len(guess):
            raise MisuseError(f"Sentence {number} has {len(true)} words and {len(guess)} predicted labels.")
        wanted, given = set(entities(true)), set(entities(guess))
        support.update(entity.kind for entity in wanted)
        called.update(entity.kind for entity in given)
        right.update(entity.kind for entity in wanted & given)
        words += len(true)
        hits += sum(one == other for one, other in zip(true, guess, strict=True))
    kinds = {
        kind: score_of_counts(right[kind], called[kind], support[kind]) for kind in sorted(support.keys() | called)
    }
    overall = score_of_counts(right.total(), called.total(), support.total())
    return EntityScores(overall, kinds, hits / words if words else 0.0, words, called.total())


def scheme_of(sentences: Sequence[Sequence[str]]) -> str | None:
    """The scheme in which sentences are labelled.

    Args:
        sentences: labels of each.

    Returns:
        "iobes" where a label begins with E or S, "iob2" where every entity begins with a B, else "iob1"; None where the
        labels are none of entities, such as parts of speech.
    """
    labels = {label for sentence in sentences for label in sentence}
    marks = {split_label(label)[0] for label in labels}
    bare = {label for label in labels if "-" not in label}
    if not marks <= {*MARKS, OUTSIDE} or not marks - {OUTSIDE} or not bare <= {*MARKS, OUTSIDE}:
        return None
    if marks & {"E", "S"}:
        return "iobes"
    begun = all(
        follows("iob2", before, after)
        for sentence in sentences
        for before, after in itertools.pairwise([None, *sentence])
    )
    return "iob2" if begun else "iob1"


def follows(scheme: str, before: str | None, after: str | None) -> bool:
    """Whether a label may stand after another.

    Args:
        scheme: one of ``SCHEMES``.
        before: the label before; None at the beginning of a sentence.
        after: the label after; None at its end.

    Returns:
        True where the scheme allows it.
    """
    mark_before, kind_before = split_label(before) if before is not None else (OUTSIDE, "")
    mark, kind = split_label(after) if after is not None else (OUTSIDE, "")
    same = kind == kind_before
    if scheme == "iobes":
        if mark_before in "BI":
            # an entity that has begun goes on to its E
            return mark in "IE" and same
        return mark in "BSO"
    if scheme == "iob2":
        return mark != "I" or (mark_before in "BI" and same)
    # IOB1: B only where an entity of the same kind ends right before
    return mark != "B" or (mark_before in "BI" and same)


def convert(labels: Sequence[str], scheme: str) -> list[str]:
    """The same entities written in another scheme.

    Args:
        labels: of one sentence, in any of the schemes.
        scheme: the wanted one.

    Raises:
        MisuseError: an unknown scheme, or a label that is none.
    """
    if scheme not in SCHEMES:
        raise MisuseError(f"There is no scheme {scheme!r} of labels; there are {', '.join(SCHEMES)}.")
    written = [OUTSIDE] * len(labels)
    last = Entity("", -1, -1)
    for entity in entities(labels):
        size = entity.end - entity.begin
        if scheme == "iobes":
            marks = ["S"] if size == 1 else ["B", *["I"] * (size - 2), "E"]
        elif scheme == "iob2" or (last.end == entity.begin and last.kind == entity.kind):
            marks = ["B", *["I"] * (size - 1)]
        else:
            marks = ["I"] * size
        for offset, mark in enumerate(marks):
            written[entity.begin + offset] = f"{mark}-{entity.kind}" if entity.kind else mark
        last = entity
    return written
