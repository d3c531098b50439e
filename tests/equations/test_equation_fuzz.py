"""Whatever the text: a recurrence or an EquationError, soon, and without much memory."""

from __future__ import annotations

import random
import time
import tracemalloc
import warnings

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from elman.equations import EquationError, Recurrence, cell, zoo

SECONDS = 5.0
WORDS = (
    "h c x W U b v 0 1 2 0.5 1e30 1e-30 1e999 9" + "9" * 50 + " + - * / @ ** // = == := ( ) , . : ; # \\ [ ] { } ' \" "
    "tanh sigmoid norm maximum exp log sqrt lambda if for import None True _x __import__ eval 0x1 1j 1_0 \t \n \r \x0c "
    "\x00 \ud800 \ufeff \u2028 σ ﬁ ªᵇ ４ é ... -> <= != & | ~ ^ % ! ? $ `"
).split(" ")


def read(text: str) -> Recurrence | None:
    """What the language makes of a text; anything but its own error fails the test."""
    start = time.process_time()
    recurrence = refused = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            recurrence = Recurrence(text)
            _ = recurrence.stages, recurrence.linear_states, recurrence.derivative
    except EquationError as error:
        refused = error
    assert time.process_time() - start < SECONDS
    if refused is not None:
        assert refused.line >= 1
        assert refused.column >= 1
        assert refused.allowed
        assert str(refused).encode()
    return recurrence


@settings(max_examples=300, deadline=None)
@given(st.text())
@example("-" * 9_000 + "h")
@example("h = " + "-" * 9_000 + "h")
@example("h = " + "(" * 9_000)
@example("h = " + "(" * 4_900 + "h" + ")" * 4_900)
@example("h = " + "tanh(" * 1_900 + "h" + ")" * 1_900)
@example("h = h" + " ** 2" * 1_900)
@example("h = h" + "+h" * 4_900)
@example("h = h" + "@h" * 4_900)
@example("h = " + "h," * 4_900)
@example("h = " + "9" * 9_900)
@example("h = " + "a" * 9_900)
@example("=" * 9_999)
@example("h=h\n" * 2_400)
@example("\n" * 10_000)
@example("\r" * 10_000)
@example("h = h #" + "\u0300" * 9_000)
@example("h = 1 (x)")
@example("h = 1if h else 2")
@example("h = \\\n h")
@example("h = '\\N{DASH}' '\\d'")
@example("#" * 10_000)
def test_any_text(text: str) -> None:
    read(text)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=30).map(" ".join))
def test_any_words(text: str) -> None:
    read("h = " + text)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(zoo()), st.randoms(use_true_random=False))
def test_mutated_cells(name: str, source: random.Random) -> None:
    read(mutate(cell(name).equations, source))


def mutate(text: str, source: random.Random) -> str:
    """A text with some characters or words changed, moved, doubled or lost."""
    for _ in range(source.choice([1, 1, 2, 4, 8])):
        start = source.randrange(len(text) + 1)
        end = min(len(text), start + source.choice([0, 1, 1, 2, 5, 20]))
        piece = source.choice(
            [
                "",
                source.choice(WORDS),
                f" {source.choice(WORDS)} ",
                text[start:end] * 2,
                text[source.randrange(len(text) + 1) :][: source.choice([1, 3, 10, 40])],
                chr(source.choice([source.randrange(32, 127), source.randrange(0xD800), source.randrange(0x110000)])),
            ]
        )
        text = text[:start] + piece + text[end:]
    return text


@pytest.mark.slow
def test_many_mutations() -> None:
    source = random.Random(20240607)
    texts = [cell(name).equations for name in zoo()]
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes = {True: 0, False: 0}
    for _ in range(24_000):
        outcomes[read(mutate(source.choice(texts), source)) is not None] += 1
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert min(outcomes.values()) > 2_000, "both outcomes are met often"
    assert grown < 100_000  # kilobytes


LARGE = {
    "squares": "h = h * h\n" * 200,
    "powers": "h = h ** 8\n" * 200,
    "doubles": "h = h + h\n" * 200,
    "differences": "h = (h - b) - (b - h)\n" * 200,
    "quotients": "h = h / (1 + h * h)\n" * 200,
    "extremes": "h = maximum(h, h * b) + minimum(h, c)\n" * 200,
    "norms": "h = norm(h, g, b)\n" * 200,
    "products": "h = U @ (h * h) + W @ x\n" * 200,
    "sums": "h = " + " + ".join(["h"] * 1_000),
    "chained sums": "\n".join(f"a{n} = {f'a{n - 1}' if n else 'h'} + b + x" for n in range(199)) + "\nh = a198",
    "products of sums": "h = " + " * ".join(["(h + b)"] * 500),
    "nested": "h = " + "tanh(" * 49 + "h" + ")" * 49 + " * h" * 900,
    "arguments": "h = h\n" + "\n".join(f"h = h * (a{n} + U @ (h + V{n} @ x))" for n in range(190)),
}


@pytest.mark.parametrize("name", sorted(LARGE))
def test_large_texts_make_graphs_of_their_own_size(name: str) -> None:
    text = LARGE[name]
    assert len(text) <= 10_000
    recurrence = read(text)
    assert recurrence is not None
    tracemalloc.start()
    assert Recurrence(text).derivative.nodes
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(recurrence.graph.nodes) < 3_000
    assert len(recurrence.derivative.nodes) < 8 * len(recurrence.graph.nodes) + 10
    assert peak < 30e6


@pytest.mark.parametrize("depth", [0, 300, 600])
def test_the_verdict_does_not_depend_on_how_deep_the_caller_is(depth: int) -> None:
    text = "h = " + " + ".join(["h"] * 998) + " + 0 * " + "(" * 50 + "h" + ")" * 50

    def call(left: int) -> Recurrence:
        return call(left - 1) if left else Recurrence(text)

    assert call(depth).states == ("h",)
