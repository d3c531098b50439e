"""Every refusal: its place, its caret, and what it says would be allowed."""

from __future__ import annotations

import pickle

import pytest

import elman
from elman.equations import EquationError, Recurrence
from elman.errors import MisuseError

H = "h = tanh(W @ x + U @ h)"

# text, (line, column), a piece of the message, a piece of what is allowed
REFUSED = [
    # what is not of the language
    ("h = foo(h)", (1, 5), "no function foo", "sigmoid"),
    ("h = sigm(h)", (1, 5), "did you mean sigmoid", "sigmoid"),
    ("h = Tanh(h)", (1, 5), "did you mean tanh", "sigmoid"),
    ("h = Whh(h)", (1, 5), "Whh @ v", "sigmoid"),
    ("h = h + tanh(h, x)", (1, 9), "takes 1 argument, not 2", "tanh(v)"),
    ("h = maximum(h)", (1, 5), "takes 2 arguments, not 1", "maximum(a, b)"),
    ("h = norm(h)", (1, 5), "takes 3 arguments", "norm(v, gain, bias)"),
    ("h = tanh()", (1, 5), "not 0", "tanh(v)"),
    ("h = tanh(v=h)", (1, 11), "keyword arguments", "f(a, b)"),
    ("h = tanh(*h)", (1, 5), "plain arguments", "tanh(v)"),
    ("h = tanh(**h)", (1, 12), "power", "2 to 8"),
    ("h = h(h)(h)", (1, 5), "only a function", "sigmoid"),
    ("h = torch.tanh(h)", (1, 10), "attributes", "lines"),
    ("h = h[0]", (1, 6), "subscripts", "lines"),
    ("h = [h for h in h]", (1, 5), "subscripts and lists", "lines"),
    ("h = {h}", (1, 5), "dictionaries", "lines"),
    ("h = 'h'", (1, 5), "strings", "lines"),
    ("h = (y := h)", (1, 8), "colon", "lines"),
    ("import os", (1, 1), "'import' is a word of Python", "another name"),
    ("h = lambda: h", (1, 5), "'lambda' is a word of Python", "another name"),
    ("h = h if h else h", (1, 7), "'if' is a word of Python", "another name"),
    ("h = not h", (1, 5), "'not'", "another name"),
    ("h = None", (1, 5), "'None'", "another name"),
    ("h = h < 1", (1, 7), "comparisons", "lines"),
    ("h = h == 1", (1, 7), "comparisons", "lines"),
    ("h = h // 2", (1, 7), "whole-number division", "lines"),
    ("h = h % 2", (1, 7), "remainder", "lines"),
    ("h = h ^ 2", (1, 7), "**", "lines"),
    ("h = +h", (1, 5), "only the sign -", "lines"),
    ("h = (h, h)", (1, 5), "tuples", "lines"),
    ("h = ()", (1, 5), "tuples", "lines"),
    ("h = h; c = h", (1, 6), "one statement", "lines"),
    ("h = h \\\n + 1", (1, 7), "backslash", "lines"),
    ("h: int = h", (1, 2), "colon", "lines"),
    ("h += h", (1, 3), "+=", "written out"),
    ("h @= h", (1, 3), "@=", "written out"),
    ("h = c = h", (1, 7), "one name", "name = expression"),
    ("h, c = h", (1, 2), "tuples", "name = expression"),
    ("tanh(h)", (1, 5), "no equation", "name = expression"),
    ("h", (1, 1), "no equation", "name = expression"),
    ("h =", (1, 3), "nothing stands", "name = expression"),
    ("= h", (1, 1), "begins with the name", "name = expression"),
    ("1 = h", (1, 1), "begins with the name", "name = expression"),
    ("h = h h", (1, 7), "operator is missing", "lines"),
    ("h = h +", (1, 8), "value is missing after +", "lines"),
    ("h = h + * h", (1, 9), "value is missing after +", "lines"),
    ("h = tanh(h, , x)", (1, 13), "not an expression", "lines"),
    ("h = tanh(h -)", (1, 13), "value is missing after -", "lines"),
    ("h = (h", (1, 5), "never closed", "lines"),
    ("h = h)", (1, 6), "never opened", "lines"),
    ("h = _h", (1, 5), "plain name", "begin with a letter"),
    ("h = __class__", (1, 5), "plain name", "begin with a letter"),
    (f"h = {'a' * 41}", (1, 5), "plain name", "40"),
    ("h = σ(h)", (1, 5), "'σ'", "a-z"),
    ("h = ℎ", (1, 5), "'ℎ'", "a-z"),
    ("h = h\x00", (1, 6), "U+0000", "visible"),
    ("h = h\x0c", (1, 6), "U+000C", "visible"),
    ("h = h # \x1b[2J", (1, 9), "U+001B", "visible"),
    ("h = h # \ud800", (1, 9), "U+D800", "visible"),
    ("\ufeffh = h", (1, 1), "U+FEFF", "visible"),
    ("h = h # \u202e", (1, 9), "U+202E", "visible"),
    # numbers and powers
    ("h = 1e999 * h", (1, 5), "out of range", "1e+30"),
    ("h = 1e-999 * h", (1, 5), "out of range", "1e-30"),
    (f"h = {'9' * 5000} * h", (1, 5), "so many digits", "decimal"),
    ("h = 0x10 * h", (1, 5), "followed by 'x'", "decimal"),
    ("h = 1_000 * h", (1, 5), "followed by '_'", "decimal"),
    ("h = 1j * h", (1, 5), "followed by 'j'", "decimal"),
    ("h = 1.2.3 * h", (1, 5), "followed by '.'", "decimal"),
    ("h = 007 * h", (1, 5), "not an expression", "lines"),
    ("h = h ** 9", (1, 10), "power", "2 to 8"),
    ("h = h ** h", (1, 10), "power", "2 to 8"),
    ("h = h ** -1", (1, 10), "power", "1 / v"),
    ("h = h ** 2 ** 3", (1, 10), "power of a power", "(v ** 2) ** 3"),
    ("h = h ** 1000000000", (1, 10), "power", "2 to 8"),
    ("h = h * (1 / 0)", (1, 14), "no number", "finite"),
    ("h = h * log(0)", (1, 9), "no number", "finite"),
    ("h = h * exp(1000)", (1, 9), "no number", "finite"),
    ("h = h * (1e30 * 10)", (1, 17), "no number", "1e+30"),
    # products
    ("h = A @ B @ h", (1, 5), "(A @ B) @ v", "A @ (B @ v)"),
    ("h = -A @ h", (1, 5), "(-A) @ v", "-(A @ v)"),
    ("h = h * A @ h", (1, 5), "(a * B) @ v", "a * (B @ v)"),
    ("h = tanh(A) @ h", (1, 5), "not a bare name", "the name of a matrix"),
    ("h = 2 @ h", (1, 5), "not a bare name", "the name of a matrix"),
    ("h = tanh @ h", (1, 5), "not a bare name", "the name of a matrix"),
    ("h = A @ 2 + h", (1, 5), "followed by a number", "a vector"),
    ("h = h @ A", (1, 5), "h is assigned on line 1", "a matrix"),
    ("h = x @ h", (1, 5), "x is an input", "a matrix"),
    ("A = h\nh = A @ x", (2, 5), "A is assigned on line 1", "a matrix"),
    # names
    ("h = A @ x + U @ h + A", (1, 21), "both as a matrix", "one use"),
    ("h = tanh(b + U @ h)\nc = b @ h", (2, 5), "both as a matrix", "one use"),
    ("h = A @ x + A @ h", (1, 13), "of the hidden width here and of the input's width on line 1", "another name"),
    ("h = tanh + h", (1, 5), "tanh is a function", "tanh(v)"),
    ("tanh = h + tanh", (1, 1), "cannot be assigned", "no function"),
    ("x = h\nh = x + h", (1, 1), "x is an input", "no input"),
    ("h = tanh(x)", (1, 1), "no name is a state", "read before"),
    ("a = 1\nb = a + x", (2, 1), "no name is a state", "read before"),
    ("c = 2 * h\nh = 1", (2, 1), "h is a number", "a vector"),
    # nothing at all, and too much
    ("", (1, 1), "no equation", "at least one line"),
    ("# only a comment\n\n", (1, 1), "no equation", "at least one line"),
    ("h = h # " + "-" * 10_000, (1, 1), "10,008 characters", "10,000"),
    ("h = h\n" * 201, (201, 1), "201 statements", "200"),
    ("h = " + "(" * 51 + "h" + ")" * 51, (1, 55), "nested", "50"),
    ("h = " + "-" * 60 + "h", (1, 55), "signs", "one sign"),
    ("h = h" + " + h" * 1001, (1, 4007), "too long", "1,000"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "place", "message", "allowed"), REFUSED)
def test_refused(text: str, place: tuple[int, int], message: str, allowed: str) -> None:
    with pytest.raises(EquationError) as caught:
        Recurrence(text)
    error = caught.value
    assert (error.line, error.column) == place, str(error)
    assert message in error.message
    assert allowed in error.allowed
    first, *shown, last = str(error).splitlines()
    assert first == f"line {place[0]}, column {place[1]}: {error.message}"
    assert shown[-1].strip() == "^"
    assert last == f"Allowed: {error.allowed}."
    assert str(error).isprintable() or all(c.isprintable() or c == "\n" for c in str(error))
    assert len(str(error)) < 800


@pytest.mark.parametrize("text", ["h = h +\n", "a = 1\nh = foo(h)\n", "a = 1\n  h = (U @ h +\n      bar(h))"])
def test_the_caret_stands_under_the_place(text: str) -> None:
    with pytest.raises(EquationError) as caught:
        Recurrence(text)
    error = caught.value
    shown, caret = str(error).splitlines()[1:3]
    assert shown[4:] == text.splitlines()[error.line - 1]
    assert caret.index("^") == 4 + error.column - 1


def test_a_long_line_is_shown_around_the_place() -> None:
    with pytest.raises(EquationError) as caught:
        Recurrence("h = " + "h + " * 500 + "foo(h)")
    shown, caret = str(caught.value).splitlines()[1:3]
    assert shown[caret.index("^") :].startswith("foo(h)")
    assert len(shown) < 120


def test_the_error_is_all_that_it_promises() -> None:
    assert elman.EquationError is EquationError
    assert issubclass(EquationError, ValueError)
    assert issubclass(EquationError, MisuseError)
    with pytest.raises(EquationError) as caught:
        Recurrence("h = foo(h)")
    other = pickle.loads(pickle.dumps(caught.value))
    assert str(other) == str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("text", [None, 3, b"h = h", ["h = h"]])
def test_what_is_no_text(text: object) -> None:
    with pytest.raises(EquationError, match="is a text"):
        Recurrence(text)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ("v", "not a sequence"),
        (("x",), "cannot name"),
        (("v", "v"), "cannot name"),
        (("tanh",), "cannot name"),
        (("hidden",), "cannot name"),
        (("state",), "cannot name"),
        (("self",), "cannot name"),
        (("return_states",), "cannot name"),
        (("a b",), "cannot name"),
        ((1,), "cannot name"),
        (("v", "w"), "w is never read"),
        (("h",), "h is an input"),
    ],
)
def test_constant_inputs_that_cannot_be(inputs: object, said: str) -> None:
    with pytest.raises(EquationError, match=said):
        Recurrence("h = tanh(U @ h + V @ v)", inputs=inputs)  # type: ignore[arg-type]


@pytest.mark.parametrize("output", ["nope", "W", "x", "g", ""])
def test_an_output_that_is_no_state(output: str) -> None:
    with pytest.raises(EquationError, match="is not a state") as caught:
        Recurrence("g = sigmoid(W @ x)\nh = tanh(g + U @ h)", output=output)
    assert "one of h" in caught.value.allowed


@pytest.mark.parametrize(
    "text",
    [
        "h = tanh(W @ x +\n  U @ h)",
        "\th = h + U @ h\n  h = 2 * h",
        "h = A @ (B @ h)",
        "h = -(A @ h)",
        "h = A @ -h",
        "h = W @ x * h",
        "h = - - h",
        "h = tanh(h,)",
        "h = .5 * h + 1. + 1e-5 + 0e999 + 0.0",
        "h = h ** 2 + (h ** 2) ** 3",
        "h = h\r\nc = h\rd = c",
        "h = h # Σ über alles",
        "match = h\nh = match",
        "h = " + "(" * 50 + "h" + ")" * 50,
        "h = h" + " + h" * 1000,
        "h = h\n" * 200,
    ],
)
def test_what_is_allowed(text: str) -> None:
    assert Recurrence(text).states
