"""Random recurrences for hypothesis: always of the language, always finite for values of ordinary size."""

from __future__ import annotations

from hypothesis import strategies as st

from elman.equations import Recurrence

UNARY = ("sigmoid", "tanh", "relu", "leaky_relu", "elu", "softplus", "abs", "sin", "cos", "hard_sigmoid")
# Functions that are not defined everywhere, or grow fast, get an argument for which they are tame.
TAMED = ("exp(tanh({}))", "log(1.5 + tanh({}))", "sqrt(0.1 + abs({}))", "1 / (1.5 + sin({}))", "tanh({}) ** {n}")


@st.composite
def texts(draw: st.DrawFn, statements: int = 5) -> tuple[str, tuple[str, ...]]:
    """A text and its constant inputs."""
    with_constant = draw(st.booleans())
    elementwise = draw(st.booleans())
    targets = draw(st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=1, max_size=statements))
    leaves = ["a", "b", "c", "d", "h", "p", "q", "0.5", "2"] + (["x"] if elementwise else [])
    # A name that is never assigned would be one more parameter: good, as long as it is only ever a vector.

    def expression(depth: int) -> str:
        if depth == 0:
            return draw(st.sampled_from(leaves))
        kind = draw(st.integers(0, 9))
        if kind <= 2:
            sign = draw(st.sampled_from("+-*"))
            return f"({expression(depth - 1)} {sign} {expression(depth - 1)})"
        if kind == 3:
            return f"({draw(st.sampled_from(['W', 'V']))} @ x)"
        if kind == 4:
            return f"({draw(st.sampled_from(['U', 'R']))} @ (h * {expression(depth - 1)}))"
        if kind == 5:
            return f"{draw(st.sampled_from(UNARY))}({expression(depth - 1)})"
        if kind == 6:
            form = draw(st.sampled_from(TAMED))
            return form.format(expression(depth - 1), n=draw(st.integers(2, 8)))
        if kind == 7:
            return f"{draw(st.sampled_from(['maximum', 'minimum']))}({expression(depth - 1)}, {expression(depth - 1)})"
        if kind == 8:
            return f"norm(h + {expression(depth - 1)}, p, q)"
        return f"(-{expression(depth - 1)})"

    lines = [f"{target} = {expression(draw(st.integers(1, 3)))} + 0.1 * h" for target in targets]
    constant = "+ C @ v" if with_constant else ""
    lines.append(f"h = tanh({expression(2)} + {targets[-1]} + U @ h {constant})")
    return "\n".join(lines), ("v",) if with_constant else ()


def recurrences(statements: int = 5) -> st.SearchStrategy[Recurrence]:
    """Recurrences of up to so many lines and one more."""
    return texts(statements).map(lambda drawn: Recurrence(drawn[0], inputs=drawn[1]))
