"""Where training ends and validation begins: a split by position."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import accumulate

from elman.errors import MisuseError

PARTS = ("train", "valid", "test")
_REACH = 10_000  # characters that a border may move forward to find the end of its line or word
# Without exponents: a few characters must not stand for a number with a billion digits.
_NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]{0,15})?")
_LINE_END, _SPACE = re.compile("\n"), re.compile(r"\s")


def part_named(part: str | None) -> str:
    """The name of a part as a user gives it.

    Args:
        part: "train", "valid" or "test"; None for "valid".

    Raises:
        MisuseError: another name.
    """
    if part is None:
        return "valid"
    if part not in PARTS:
        raise MisuseError(f"--part is {part!r}; it takes {', '.join(PARTS)}.")
    return part


def parse_split(split: str | Sequence[float | str]) -> tuple[Fraction, ...]:
    """Read a split such as ``"90/10"`` or ``(80, 10, 10)``.

    Args:
        split: one to three numbers for training, validation and test, separated by slashes.

    Returns:
        The numbers, exactly.

    Raises:
        MisuseError: not one to three numbers of 0 or more, or all are 0.
    """
    given = split.split("/") if isinstance(split, str) else [str(share) for share in split]
    text = "/".join(given)
    plain = [share.strip().removesuffix("%") for share in given]
    if not all(map(_NUMBER.fullmatch, plain)):
        raise MisuseError(f"--split {text} must be numbers of 0 or more, such as 90/10 or 80/10/10.")
    shares = tuple(map(Fraction, plain))
    if not 1 <= len(shares) <= 3:
        raise MisuseError(f"--split {text} has {len(shares)} parts; it can have training/validation/test.")
    if not any(shares):
        raise MisuseError(f"--split {text} leaves no part anything.")
    return shares


def borders(shares: Sequence[Fraction], total: int) -> tuple[int, int]:
    """Where training and where validation ends, in characters; what follows is the test part.

    Args:
        shares: percentages that sum to 100, fractions that sum to 1, or numbers of characters that sum to
            `total`.
        total: length of the text in characters.

    Returns:
        Two positions; a border that falls within a character is rounded down.

    Raises:
        MisuseError: another sum; the text names the three possible ones.
    """
    whole = sum(shares, start=Fraction(0))
    if not (
        abs(whole - 100) <= Fraction(1, 1000)
        or abs(whole - 1) <= Fraction(1, 100_000)
        or (whole == total and all(share.denominator == 1 for share in shares))
    ):
        given = "/".join(f"{float(share):g}" for share in shares)
        raise MisuseError(
            f"--split {given} sums to {float(whole):g}; percentages sum to 100, fractions to 1, "
            f"and numbers of characters to the text's {total}."
        )
    ends = [int(part * total / whole) for part in accumulate(shares)]
    return ends[0], ends[1] if len(ends) > 1 else total


def divide(chunks: Iterable[str], ends: tuple[int, int], whole_lines: bool) -> Iterator[tuple[int, str]]:
    """Hand out a text's parts in order.

    Args:
        chunks: the text.
        ends: where parts 0 and 1 end, in characters.
        whole_lines: move a border forward to the next beginning of a line, so that no word is cut; in a line
            that goes on for more than 10,000 characters to the next beginning of a word, and where there is
            none, not at all.

    Yields:
        The number of the part (0, 1, 2) and a non-empty piece of it; the pieces do not depend on the chunk
        borders except in where one ends and the next begins.
    """
    stream = iter(chunks)
    buffer = ""
    offset = 0  # position of the buffer's first character
    reach = _REACH if whole_lines else 0
    for part, end in enumerate(ends):
        # One character more than the reach, so that a buffer that ends within it is the end of the text.
        while offset + len(buffer) <= end + reach:
            if buffer and offset + len(buffer) < end:
                yield part, buffer
                offset += len(buffer)
                buffer = ""
            chunk = next(stream, None)
            if chunk is None:
                break
            buffer += chunk
        place = max(0, min(end - offset, len(buffer)))
        if whole_lines and place:
            place = _beginning(buffer, place)
        if place:
            yield part, buffer[:place]
            offset += place
            buffer = buffer[place:]
    if buffer:
        yield len(ends), buffer
    for chunk in stream:
        yield len(ends), chunk


def _beginning(text: str, place: int) -> int:
    """The first beginning of a line, else of a word, at `place` or soon after, that leaves something behind
    it."""
    for border in (_LINE_END, _SPACE):
        found = border.search(text, place - 1, place + _REACH)
        if found and found.end() < len(text):
            return found.end()
    return place
