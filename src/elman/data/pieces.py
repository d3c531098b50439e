"""Chunks of any size become pieces that end where no token can reach across."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

Cut = Callable[[str], int]


class Carry:
    """Keeps back the end of a text until it is certain where its tokens end.

    Args:
        cut: the length of the longest beginning of a text after which a token certainly begins; 0 when there
            is none.
    """

    def __init__(self, cut: Cut) -> None:
        self._cut = cut
        self._kept = ""

    def feed(self, chunk: str) -> str:
        """The text up to the last certain cut."""
        text = self._kept + chunk
        place = self._cut(text)
        self._kept = text[place:]
        return text[:place]

    def finish(self) -> str:
        """The text that was kept back."""
        kept, self._kept = self._kept, ""
        return kept


def whole_pieces(chunks: Iterable[str], cut: Cut) -> Iterator[str]:
    """The same text in pieces none of which ends within a token.

    Args:
        chunks: the text.
        cut: as for :class:`Carry`.

    Yields:
        Non-empty strings.
    """
    carry = Carry(cut)
    for chunk in chunks:
        if piece := carry.feed(chunk):
            yield piece
    if piece := carry.finish():
        yield piece


def after_space(text: str) -> int:
    """Cut after the last line feed or space: no word holds one."""
    return max(text.rfind("\n"), text.rfind(" ")) + 1


def after_line(text: str) -> int:
    """Cut after the last line feed, else before the last single space between two letters or digits.

    In byte-level BPE a space belongs to the word that follows it, and how a run of spaces is divided depends
    on what follows the run; a single space between two word characters always begins a token.
    """
    if place := text.rfind("\n") + 1:
        return place
    end = len(text)
    while (end := text.rfind(" ", 0, end)) > 0:
        if text[end - 1].isalnum() and text[end + 1 : end + 2].isalnum():
            return end
    return 0
