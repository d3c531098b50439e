"""Hypotheses of the user's: a regular expression or a Python function."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elman.errors import FailureError, MisuseError
from elman.insight.hypotheses import spans_of
from elman.insight.hypotheses.characters import inside
from elman.insight.hypotheses.hypothesis import KINDS, Hypothesis, Kind, check_name

PATTERN_LENGTH = 1000
SECONDS = 20.0


def regex(name: str, pattern: str, *, seconds: float = SECONDS) -> Hypothesis:
    """Inside a match of a regular expression.

    Every character of a match is labelled 1, or those of its group ``(?P<label>...)`` where it has one. The search
    runs in a process of its own, which is ended when it takes too long, so a pattern from a stranger is safe.

    Args:
        name: of the hypothesis.
        pattern: in the syntax of Python's ``re``; ``(?m)`` makes ``^`` and ``$`` those of lines.
        seconds: that a text may take.

    Returns:
        The hypothesis; its labels raise MisuseError if the search takes too long.

    Raises:
        MisuseError: the pattern is none, or is too long.
    """
    check_name(name)
    if not 0 < len(pattern) <= PATTERN_LENGTH:
        raise MisuseError(
            f"The pattern of {name!r} has {len(pattern):,} characters; a pattern has 1 to {PATTERN_LENGTH:,}."
        )
    _spans(name, pattern, "", seconds)  # says what is wrong with it

    def labels(text: str) -> NDArray[np.uint8]:
        spans = _spans(name, pattern, text, seconds)
        return inside(len(text), spans[:, 0], spans[:, 1])

    return Hypothesis(name, f"matches {pattern}", "binary", "any", labels, f"Inside a match of {pattern}.")


def from_function(name: str, function: Callable[[str], NDArray[np.integer]], kind: Kind = "binary") -> Hypothesis:
    """What a function of the text says.

    Args:
        name: of the hypothesis.
        function: text -> a whole number a character: 0 or 1 (binary), 0 or more (graded), -1 where undefined.
        kind: "binary" or "graded".

    Returns:
        The hypothesis.

    Raises:
        MisuseError: an unknown kind, or a name that cannot be one.
    """
    if kind not in KINDS:
        raise MisuseError(f"A hypothesis is binary or graded, not {kind!r}.")
    described = (function.__doc__ or "").strip().partition("\n")[0]
    return Hypothesis(check_name(name), described or name, kind, "any", function, described)


@lru_cache(maxsize=8)
def _spans(name: str, pattern: str, text: str, seconds: float) -> NDArray[np.int64]:
    """[matches, 2] begins and ends."""
    if not sys.executable:
        raise FailureError("Regular expressions are searched for by a second Python process, and there is none to run.")
    encoded = pattern.encode("utf-8", "surrogatepass")
    sent = f"{len(encoded)}\n".encode() + encoded + text.encode("utf-8", "surrogatepass")
    command = [sys.executable, "-I", "-S", str(Path(spans_of.__file__))]
    try:
        ended = subprocess.run(command, input=sent, capture_output=True, timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise MisuseError(
            f"The pattern of {name!r} was not found through {len(text):,} characters in {seconds:g} seconds. Nested "
            "repetitions, as in (a+)+, take exponential time; say what may not be repeated, as in [^)]*."
        ) from error
    if ended.returncode == 3:
        raise MisuseError(f"The pattern of {name!r} is no regular expression: {ended.stderr.decode().strip()}.")
    if ended.returncode:
        said = re.sub(r"\s+", " ", ended.stderr.decode("utf-8", "replace"))[-200:]
        raise FailureError(f"The search for the pattern of {name!r} ended with code {ended.returncode}: {said}")
    return np.frombuffer(ended.stdout, dtype=np.int64).reshape(-1, 2)
