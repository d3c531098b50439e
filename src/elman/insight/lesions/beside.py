"""Text of a lesioned model beside that of the model as it is, from the same random numbers."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from elman.data.vocabulary import Vocabulary
from elman.errors import MisuseError
from elman.generate import Sample, generate
from elman.generate.sampling import SEEDS, OnToken
from elman.insight.lesions.intervention import Intervention
from elman.insight.lesions.lesioned import Lesioned, lesioned
from elman.insight.lesions.statistics import CellStatistics
from elman.insight.recording import network_of

#: (which, id, new text), which being "plain" or "lesioned".
OnBeside = Callable[[str, int, str], None]


@dataclass(frozen=True)
class Beside:
    """Two texts from one seed.

    Attributes:
        plain: of the model as it is.
        lesioned: of the lesioned one.
        seed: of both.
        parted: number of drawn symbols before the first one that differs; None where none does.
    """

    plain: Sample
    lesioned: Sample
    seed: int
    parted: int | None


def sample_beside(
    model: Any,
    vocabulary: Vocabulary,
    interventions: Sequence[Intervention],
    *,
    prompt: str = "",
    length: int = 500,
    seed: int | None = None,
    span: tuple[int, int | None] | None = None,
    statistics: CellStatistics | None = None,
    on_token: OnBeside | None = None,
    **options: Any,
) -> Beside:
    """Draw a text twice with the same uniform numbers, once as the model is and once lesioned.

    Both are drawn the same way, step by step, so that nothing but the lesion tells them apart.

    Args:
        model: a recurrent language model.
        vocabulary: its vocabulary.
        interventions: what is done.
        prompt, length: as of :func:`elman.generate.generate`.
        seed: of both texts; default a fresh one.
        span: (first, end) of the drawn symbols that the lesioned model reads while the lesion holds, end None for the
            last; default all of the text, the prompt too.
        statistics: of the cells, for the modes "mean", "off", "on" and "resample".
        on_token: called after each draw of either text.
        **options: temperature, top_k and the others of :func:`elman.generate.generate`.

    Returns:
        Both texts.

    Raises:
        MisuseError: an argument outside its range, a model without states, or cells that it has not.
        FailureError: scores that are not finite, or no symbol left to draw.
    """
    network = network_of(model)
    seed = secrets.randbelow(SEEDS) if seed is None else seed
    drawn = []
    for which, chosen in (("plain", ()), ("lesioned", tuple(interventions))):
        live = lesioned(network, chosen, statistics, seed=seed)

        def told(_: int, token: int, piece: str, which: str = which) -> None:
            if on_token is not None:
                on_token(which, token, piece)

        callback = told if span is None else within(live, span, told)
        (text,) = generate(live, vocabulary, prompt=prompt, length=length, seed=seed, on_token=callback, **options)
        drawn.append(text)
    plain, hurt = drawn
    pairs = enumerate(zip(plain.ids, hurt.ids, strict=False))
    parted = next((place for place, (one, other) in pairs if one != other), None)
    if parted is None and len(plain.ids) != len(hurt.ids):
        parted = min(len(plain.ids), len(hurt.ids))
    return Beside(plain, hurt, seed, parted)


def within(live: Lesioned, span: tuple[int, int | None], on_token: OnToken | None = None) -> OnToken:
    """Let interventions hold while a model reads the drawn symbols of a span, and not before or after it.

    Args:
        live: the model that is going to draw one text; its interventions are switched off now.
        span: (first, end) numbers of drawn symbols, from 0; end None for the last.
        on_token: called as well.

    Returns:
        A function for the argument ``on_token`` of :func:`elman.generate.generate`.

    Raises:
        MisuseError: a span that is none.
    """
    first, end = span
    if first < 0 or (end is not None and end < first):
        raise MisuseError(
            f"The span {first} to {end} is none: it begins at 0 or later and does not end before it begins."
        )
    live.on = False
    count = 0

    def callback(index: int, token: int, piece: str) -> None:
        nonlocal count
        # the symbol that was just drawn is what the model reads next
        live.on = first <= count and (end is None or count < end)
        count += 1
        if on_token is not None:
            on_token(index, token, piece)

    return callback
