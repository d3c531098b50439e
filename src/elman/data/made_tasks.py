"""Tasks on sequences of characters that a few lines of Python make: addition, sorting, reversal.

A source such as ``made:addition,digits=4,count=50000,seed=1`` stands where a file's name would.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping

import numpy as np

from elman.errors import MisuseError

PREFIX = "made:"
COUNT = 20_000
_MOST = 10_000_000
# a random draw that repeats an earlier one is drawn again; where this many times the count gave too few, there are not
# enough different examples
_PATIENCE = 20

Example = tuple[str, str]


def _addition(random: np.random.Generator, options: Mapping[str, int]) -> Example:
    digits = options["digits"]
    first, second = (int(number) for number in random.integers(10 ** (digits - 1), 10**digits, 2))
    total = str(first + second)
    return f"{first}+{second}", total[::-1] if options["reversed"] else total


def _sorting(random: np.random.Generator, options: Mapping[str, int]) -> Example:
    count = int(random.integers(options["shortest"], options["longest"] + 1))
    numbers = random.integers(0, 10 ** options["digits"], count).tolist()
    return " ".join(map(str, numbers)), " ".join(map(str, sorted(numbers)))


def _reversal(random: np.random.Generator, options: Mapping[str, int]) -> Example:
    count = int(random.integers(options["shortest"], options["longest"] + 1))
    letters = "".join(string.ascii_lowercase[place] for place in random.integers(0, 26, count))
    return letters, letters[::-1]


# by task what makes an example, and its options with their defaults
_TASKS: dict[str, tuple[Callable[[np.random.Generator, Mapping[str, int]], Example], dict[str, int]]] = {
    "addition": (_addition, {"digits": 4, "reversed": 0}),
    "sorting": (_sorting, {"shortest": 2, "longest": 8, "digits": 2}),
    "reversal": (_reversal, {"shortest": 1, "longest": 12}),
}
TASKS = tuple(_TASKS)


def is_made(source: str) -> bool:
    """Whether a source names a made task."""
    return source.startswith(PREFIX)


def made_pairs(source: str) -> list[Example]:
    """The examples of a made task, all of different sources; the same for the same source, always.

        addition   two numbers of ``digits`` digits each, ``1234+5678``, and their sum, from its last digit if
                   ``reversed=1``
        sorting    ``shortest`` to ``longest`` numbers of up to ``digits`` digits, and the same in order
        reversal   ``shortest`` to ``longest`` small letters, and the same from the end

    Args:
        source: ``made:TASK`` with options such as ``,digits=4,count=50000,seed=1`` behind it.

    Returns:
        ``count`` pairs.

    Raises:
        MisuseError: there is no such task or option, or there are not so many different examples.
    """
    task, *given = source.removeprefix(PREFIX).split(",")
    if task not in _TASKS:
        raise MisuseError(f"{source} is no made task; there are {', '.join(PREFIX + name for name in TASKS)}.")
    make, defaults = _TASKS[task]
    options = _read(source, given, {**defaults, "count": COUNT, "seed": 1})
    random = np.random.default_rng([options["seed"], *task.encode()])
    found: dict[str, str] = {}
    for _ in range(_PATIENCE * options["count"]):
        text, answer = make(random, options)
        found[text] = answer
        if len(found) == options["count"]:
            return list(found.items())
    raise MisuseError(
        f"{source} has too few different examples: {len(found):,} were found, {options['count']:,} are asked for. "
        "Ask for fewer with count=, or for longer ones."
    )


def _read(source: str, given: list[str], options: dict[str, int]) -> dict[str, int]:
    for option in given:
        name, _, value = option.partition("=")
        if name not in options or not value.isascii() or not value.isdigit() or len(value) > 12:
            raise MisuseError(
                f"{source}: {option!r} is no option; this task takes {', '.join(f'{key}=NUMBER' for key in options)}."
            )
        options[name] = int(value)
    for name, least, most in (
        ("count", 1, _MOST),
        ("digits", 1, 17),
        ("shortest", 1, 10_000),
        ("longest", options.get("shortest", 1), 10_000),
        ("reversed", 0, 1),
    ):
        if name in options and not least <= options[name] <= most:
            raise MisuseError(f"{source}: {name} is {options[name]:,}; it takes {least} to {most:,}.")
    return options
