"""The labels of hypotheses over recordings, made once."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.errors import MisuseError
from elman.insight.hypotheses import Hypothesis, builtin, regex
from elman.insight.ranking.targets import Target, target
from elman.insight.recording import Recording
from elman.web.answers import MissingError
from elman.web.library import Shelf

# labels of a text of a million tokens are four megabytes
KEPT = 16
PATTERNS = 64


class Labels:
    """Hypotheses that the server knows, the built-in ones and patterns of the user's, and their labels."""

    def __init__(self) -> None:
        self._own: OrderedDict[str, tuple[str, Hypothesis]] = OrderedDict()
        self._kept: Shelf[Any] = Shelf(KEPT)

    def hypothesis(self, name: str, pattern: str | None = None) -> Hypothesis:
        """A hypothesis by its name.

        Args:
            name: of a built-in one, or of a pattern.
            pattern: a regular expression, under a name that is no built-in one's; None for one that was given before.

        Raises:
            MissingError: there is none of this name.
            MisuseError: the pattern is none, or the name is taken.
        """
        if name in builtin():
            if pattern is not None:
                raise MisuseError(f"There is a hypothesis {name} already; give the pattern another name.")
            return builtin()[name]
        known = self._own.get(name)
        if known is not None and pattern in (None, known[0]):
            return known[1]
        if pattern is None:
            raise MissingError("There is no such hypothesis; give its pattern as ?regex=PATTERN.")
        made = regex(name, pattern)
        self._own[name] = pattern, made
        while len(self._own) > PATTERNS:
            self._own.popitem(last=False)
        return made

    def own(self) -> dict[str, tuple[str, Hypothesis]]:
        """By name the patterns that were given since the server was started, and their hypotheses."""
        return dict(self._own)

    def digest(self, hypothesis: Hypothesis) -> str:
        """What an address's content is named by: the name of a pattern may stand for another one tomorrow."""
        described = f"{hypothesis.name}\n{hypothesis.description}"
        return hashlib.sha256(described.encode("utf-8", "replace")).hexdigest()[:16]

    def of(self, recording: Recording, hypothesis: Hypothesis) -> NDArray[np.int32]:
        """The label of each token, that of its first character: int32 [N], -1 where undefined."""
        key = ("labels", recording.path, self.digest(hypothesis))
        return self._kept.get(key, lambda: hypothesis.label(recording.text)[recording.offsets])

    def target(self, recording: Recording, hypothesis: Hypothesis) -> Target:
        """The labels as the statistics count them."""
        key = ("target", recording.path, self.digest(hypothesis))
        return self._kept.get(key, lambda: target(hypothesis, recording.text, recording.offsets))

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        """Something else about a recording, made once."""
        return self._kept.get(key, make)
