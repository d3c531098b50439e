"""The ways in which a caption's recurrence is told of the image."""

from __future__ import annotations

import re
from dataclasses import dataclass

from elman.equations import Recurrence
from elman.errors import MisuseError


@dataclass(frozen=True)
class Way:
    """How the image enters.

    Attributes:
        entry: "constant" (a term of its own in the equations, at every step), "constant-first" (the same, at the first
            step only), "first" (as the input before the first word), "every" (beside the input of every step), or
            "attention" (a weighted mean of the grid, chosen anew at every step).
        lower: layers below the image, which read words alone.
        upper: layers that the image enters.
        source: who described it.
    """

    entry: str
    lower: int
    upper: int
    source: str


WAYS = {
    "constant": Way("constant", 0, 1, "Karpathy and Fei-Fei 2015 (NeuralTalk), the image at every step"),
    "constant-first": Way("constant-first", 0, 1, "Karpathy and Fei-Fei 2015 (NeuralTalk), equations 13 to 15"),
    "first": Way("first", 0, 1, "Vinyals et al. 2015 (Show and Tell), equations 10 to 12"),
    "every": Way("every", 0, 1, "Donahue et al. 2015 (LRCN), one layer"),
    "two-layer": Way("every", 0, 2, "Donahue et al. 2015 (LRCN), two layers, not factored"),
    "two-layer-factored": Way("every", 1, 1, "Donahue et al. 2015 (LRCN), two layers, factored"),
    "four-layer-factored": Way("every", 2, 2, "Donahue et al. 2015 (LRCN), four layers, factored"),
    "attention": Way("attention", 0, 1, "Xu et al. 2015 (Show, Attend and Tell), soft attention"),
}


def way_of(name: str) -> Way:
    """A way by its name.

    Raises:
        MisuseError: there is none of that name.
    """
    if name not in WAYS:
        raise MisuseError(f"--way is {name!r}; it takes {', '.join(WAYS)}.")
    return WAYS[name]


def with_image(recurrence: Recurrence, name: str = "v") -> Recurrence:
    """The same recurrence with the image as a constant input in every sum that reads x.

        W @ x   becomes   (W @ x + V @ v)     with a matrix V of its own for each W

    For ``h = tanh(Wx @ x + Wh @ h + b)`` this is NeuralTalk's ``h = tanh(Wx @ x + Wv @ v + Wh @ h + b)``; an LSTM
    learns a matrix for each gate.

    Args:
        recurrence: any that multiplies x by a matrix.
        name: of the constant input.

    Returns:
        ``recurrence`` itself where it has this constant input already.

    Raises:
        MisuseError: no matrix is applied to x, or the recurrence has other constant inputs.
    """
    if recurrence.inputs == (name,):
        return recurrence
    if recurrence.inputs:
        raise MisuseError(
            f"A captioner gives one constant input, {name}; this recurrence asks for {', '.join(recurrence.inputs)}."
        )
    taken = set(recurrence.taken)
    own: dict[str, str] = {}

    def widened(found: re.Match[str]) -> str:
        matrix = found[1]
        if matrix not in own:
            stem = f"V_{matrix}"[:28]
            own[matrix] = next(each for each in (stem, *(f"{stem}_{n}" for n in range(1000))) if each not in taken)
            taken.add(own[matrix])
        return f"( {matrix} @ x + {own[matrix]} @ {name} )"

    text = re.sub(r"\b([A-Za-z]\w*) @ x\b", widened, recurrence.canonical)
    if not own or name in recurrence.taken:
        what = f"uses the name {name} otherwise" if own else "applies no matrix to x"
        raise MisuseError(f"This recurrence {what}, so the image cannot enter as a constant input; take --way every.")
    return Recurrence(text, recurrence.output, (name,), recurrence.name)
