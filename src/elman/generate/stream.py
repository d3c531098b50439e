"""Text that appears while it is drawn: whole characters only, cut at stop texts, harmless to a terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence

from elman.data.vocabulary import Vocabulary
from elman.errors import MisuseError

REPLACEMENT = "\ufffd"

# C0 without tab and newline, DEL, C1, the marks that reorder a line, and halves of surrogate pairs
_HARMFUL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """Text that a terminal shows and does not obey.

    Args:
        text: anything a model wrote.

    Returns:
        The text with C0 controls and DEL (but not newline and tab) as their control pictures, C1 controls and
        bidirectional overrides as their code points such as ``<9b>``, lone surrogates as U+FFFD.
    """
    return _HARMFUL.sub(_picture, text)


def _picture(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    return REPLACEMENT if 0xD800 <= code <= 0xDFFF else f"<{code:02x}>"


class Detokenizer:
    """Turns ids into text one at a time; the pieces joined are the text of all ids.

    A token of a byte or subword vocabulary may end within a character. A UTF-8 decoder that replaces what is
    malformed shows such an incomplete tail as one final U+FFFD, and only that one can change when more bytes
    come. It is held back until the next token settles it or :meth:`finish` says that nothing comes.

    Args:
        vocabulary: what decodes the ids.
        context: the id before the first one, if any; a word's text depends on it (whether a space stands
            between).
    """

    def __init__(self, vocabulary: Vocabulary, context: int | None = None) -> None:
        self._decode = vocabulary.decode
        self._known: dict[int, str] | None = {} if vocabulary.kind == "characters" else None
        # ids since the last clean boundary, led by one token of context: joining rules look one token back
        self._window: tuple[int, ...] = () if context is None else (context,)
        self._emitted = len(self._decode(list(self._window)))

    def feed(self, token: int) -> str:
        """The text that this token completes; empty while a character is incomplete."""
        if self._known is not None:
            if token not in self._known:
                self._known[token] = self._decode([token])
            return self._known[token]
        # only replaced, never changed in place: a copy of this object shares nothing that moves
        self._window += (token,)
        text = self._decode(list(self._window))
        settled = text[:-1] if text.endswith(REPLACEMENT) else text
        piece = settled[self._emitted :]
        if len(settled) == len(text):
            self._window = self._window[-1:]
            self._emitted = len(self._decode([token]))
        else:
            self._emitted = max(self._emitted, len(settled))
            if len(self._window) > 8:
                # malformed bytes without end: an incomplete character has at most three, so four tokens hold
                # its start
                self._window = self._window[-4:]
                self._emitted = len(self._decode(list(self._window))) - 1
        return piece

    def finish(self) -> str:
        """The incomplete tail, if any, as U+FFFD."""
        if self._known is not None:
            return ""
        return self._decode(list(self._window))[self._emitted :]


def continuation(vocabulary: Vocabulary, context: int | None, ids: Sequence[int]) -> str:
    """The text of ids that follow another: what a :class:`Detokenizer` gives piece by piece."""
    before = [] if context is None else [context]
    return vocabulary.decode([*before, *ids])[len(vocabulary.decode(before)) :]


class StopFinder:
    """Lets text through until one of the stop texts appears, wherever the pieces are cut.

    Args:
        stops: texts, each of at least one character.

    Raises:
        MisuseError: an empty stop text.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        if "" in stops:
            raise MisuseError("A stop text is empty; give at least one character.")
        self._stops = tuple(stops)
        self._held = ""
        self.found = False

    def feed(self, piece: str) -> str:
        """The text that certainly stands before any stop text; sets :attr:`found` when one is complete."""
        if not self._stops or self.found:
            return "" if self.found else piece
        text = self._held + piece
        places = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        if places:
            self.found, self._held = True, ""
            return text[: min(places)]
        held = max(_overlap(text, stop) for stop in self._stops)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def finish(self) -> str:
        """What was held back as the possible beginning of a stop text."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest proper beginning of ``stop`` that ends ``text``."""
    for length in range(min(len(stop) - 1, len(text)), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
