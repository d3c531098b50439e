"""A lack of memory as a sentence, wherever torch or Python reports it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from elman.errors import FailureError

OUT_OF_MEMORY = re.compile(r"not enough memory|out of memory|can't allocate memory", re.IGNORECASE)


@contextmanager
def told_memory() -> Iterator[None]:
    """Turn a lack of memory within the block into a sentence.

    Raises:
        FailureError: there was not enough.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # torch reports a lack of memory as a RuntimeError of its own words
        if not isinstance(error, MemoryError) and not OUT_OF_MEMORY.search(str(error)):
            raise
        raise FailureError(
            "There is not enough memory for this. Take a smaller --hidden, --batch or --unroll."
        ) from error
