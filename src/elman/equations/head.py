"""What a text says about itself in the comments before its first equation."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ENTRY = re.compile(r"#\s*(inputs|output)\s*:\s*(.*)")


@dataclass(frozen=True, slots=True)
class Head:
    """The comments at the head.

    Attributes:
        title: the first comment that is no entry, or "".
        citation: the second one, or "".
        inputs: the names of `# inputs: v, w`.
        output: the name of `# output: h`; None where nothing is said.
    """

    title: str = ""
    citation: str = ""
    inputs: tuple[str, ...] = ()
    output: str | None = None


def head_of(text: str) -> Head:
    """Read the comments that stand before the first equation."""
    inputs: tuple[str, ...] = ()
    output: str | None = None
    said: list[str] = []
    for line in map(str.strip, text.splitlines()):
        if not line:
            continue
        if not line.startswith("#"):
            break
        entry = _ENTRY.fullmatch(line)
        if entry is None:
            said.append(line.lstrip("# "))
        elif entry[1] == "inputs":
            inputs = tuple(word.strip() for word in entry[2].split(",") if word.strip())
        else:
            output = entry[2] or None
    title, citation, *_ = [*said, "", ""]
    return Head(title, citation, inputs, output)
