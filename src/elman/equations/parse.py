"""From text to statements, each an expression in postfix order; Python's grammar, cut down by a whitelist.

Python's own parser is asked for the tree of each expression, never to evaluate it. Only the shapes of tree
that are named here become instructions; everything else is refused with its place.
"""

from __future__ import annotations

import ast
import difflib
from dataclasses import dataclass
from itertools import pairwise

from elman.equations.scan import Place, Source, Token, scan

#: Functions of the language and how many arguments they take.
FUNCTIONS: dict[str, int] = {
    "sigmoid": 1, "tanh": 1, "relu": 1, "leaky_relu": 1, "elu": 1, "softplus": 1, "exp": 1, "log": 1,
    "sqrt": 1, "abs": 1, "sin": 1, "cos": 1, "hard_sigmoid": 1, "maximum": 2, "minimum": 2, "norm": 3,
}  # fmt: skip

_BINARY: dict[type[ast.operator], str] = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div"}
_LARGEST_POWER = 8


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction of a postfix program.

    Attributes:
        kind: "number" (value) and "name" (name) put a value on the stack; "product" (name = matrix), "power"
            (value) and "neg" replace it; "add" "sub" "mul" "div" and "call" (name = function) take their
            arguments and put the result.
        place: where in the text, for errors.
    """

    kind: str
    place: Place
    name: str = ""
    value: float = 0.0


@dataclass(frozen=True, slots=True)
class Statement:
    """`target = expression`, the expression in postfix order."""

    target: str
    place: Place
    code: tuple[Instruction, ...]


@dataclass(frozen=True, slots=True)
class Program:
    """A parsed text.

    Attributes:
        source: the lines, to point at in errors.
        statements: at least one.
        canonical: the text without comments and with spaces and line breaks made uniform.
    """

    source: Source
    statements: tuple[Statement, ...]
    canonical: str


def parse(text: str) -> Program:
    """Read the equations of a recurrence.

    Args:
        text: the equations.

    Returns:
        The statements; the meaning of the names is not looked at yet.

    Raises:
        EquationError: the text is not of the language, with the place and what is allowed.
    """
    source, statements = scan(text)
    if not statements:
        source.refuse("the text has no equation", Place(1, 1), "at least one line `name = expression`")
    return Program(
        source,
        tuple(_Reader(source, tokens).statement() for tokens in statements),
        "\n".join(" ".join(token.text for token in tokens) for tokens in statements),
    )


class _Reader:
    """Turns the tokens of one statement into instructions."""

    def __init__(self, source: Source, tokens: list[Token]):
        self.source = source
        self.tokens = tokens
        self.code: list[Instruction] = []
        self.start = tokens[0].place

    def statement(self) -> Statement:
        self._check_form()
        target = self.tokens[0]
        self._emit(self._tree())
        return Statement(target.text, target.place, tuple(self.code))

    def _check_form(self) -> None:
        form = "`name = expression`, one a line"
        first, *rest = self.tokens
        if first.kind != "name":
            self.source.refuse("a line begins with the name that it assigns", first.place, form)
        if not rest or rest[0].text != "=":
            what = "tuples are not part of the language" if rest and rest[0].text == "," else "this is no equation"
            self.source.refuse(what, rest[0].place if rest else first.place, form)
        if len(rest) == 1:
            self.source.refuse("nothing stands on the right of =", rest[0].place, form)
        if first.text in FUNCTIONS:
            self.source.refuse(
                f"{first.text} is a function and cannot be assigned",
                first.place,
                "a name that is no function's",
            )
        self._check_neighbours(rest)
        depth = 0
        for token, following in zip(rest[1:], [*rest[2:], None], strict=True):
            depth += (token.text == "(") - (token.text == ")")
            if token.text == "=":
                if depth:
                    self.source.refuse("keyword arguments are not part of the language", token.place, "f(a, b)")
                self.source.refuse("a line assigns one name", token.place, form)
            if token.text == "**":
                exponent = following.text if following is not None else ""
                if exponent not in [str(n) for n in range(2, _LARGEST_POWER + 1)]:
                    self.source.refuse(
                        "this power is not allowed",
                        following.place if following is not None else token.place,
                        f"** and a whole number from 2 to {_LARGEST_POWER}; or 1 / v, sqrt(v), exp(v)",
                    )

    def _check_neighbours(self, tokens: list[Token]) -> None:
        """Refuse two values with nothing between them, and an operator with nothing behind it."""
        for token, following in pairwise([*tokens, Token("operator", ")", self._end())]):
            ends = token.kind != "operator" or token.text == ")"
            if ends and following.kind != "operator":
                self.source.refuse("an operator is missing before this", following.place)
            wants = token.kind == "operator" and token.text not in (")", "(", ",", "=")
            if wants and following.kind == "operator" and following.text not in ("(", "-", "+"):
                self.source.refuse(f"a value is missing after {token.text}", following.place)

    def _tree(self) -> ast.expr:
        """The tree of the right side, from a copy of it in which only the places of the tokens are kept."""
        tokens = self.tokens[2:]
        self.start = tokens[0].place
        lines: list[list[str]] = [[]]
        line, column = self.start
        for token in tokens:
            while line < token.place.line:
                lines.append([])
                line, column = line + 1, 1
            lines[-1].append(" " * (token.place.column - column) + token.text)
            column = token.place.column + len(token.text)
        try:
            return ast.parse("\n".join("".join(words) for words in lines), mode="eval").body
        except SyntaxError as error:
            place = self._place(error.lineno or 1, max((error.offset or 1) - 1, 0))
            place = min(place, self._end())
            self.source.refuse("this is not an expression", place)
        except (ValueError, RecursionError, MemoryError):
            self.source.refuse("this expression is too long to read", self.start, "shorter ones; name the parts")

    def _end(self) -> Place:
        last = self.tokens[-1]
        return Place(last.place.line, last.place.column + len(last.text))

    def _place(self, line: int, offset: int) -> Place:
        if line <= 1:
            return Place(self.start.line, self.start.column + offset)
        return Place(self.start.line + line - 1, offset + 1)

    def _at(self, node: ast.expr) -> Place:
        return self._place(node.lineno, node.col_offset)

    def _emit(self, node: ast.expr) -> None:
        # A chain a + b + c ... leans left and may be long: a loop walks it, and only real nesting recurses.
        spine: list[ast.BinOp] = []
        while isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
            spine.append(node)
            node = node.left
        self._emit_operand(node)
        for operation in reversed(spine):
            self._emit(operation.right)
            self.code.append(Instruction(_BINARY[type(operation.op)], self._at(operation.right)))

    def _emit_operand(self, node: ast.expr) -> None:
        place = self._at(node)
        match node:
            case ast.Name(id=name):
                if name in FUNCTIONS:
                    self.source.refuse(
                        f"{name} is a function",
                        place,
                        f"a call of it, {_call(name)}, or another name for a value",
                    )
                self.code.append(Instruction("name", place, name))
            case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
                self.code.append(Instruction("number", place, value=float(value)))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                self._emit(operand)
                self.code.append(Instruction("neg", place))
            case ast.BinOp(op=ast.MatMult(), left=left, right=right):
                name = self._matrix(left, right)
                self._emit(right)
                self.code.append(Instruction("product", place, name))
            case ast.BinOp(op=ast.Pow(), left=left, right=ast.Constant(value=int() as exponent)):
                self._emit(left)
                self.code.append(Instruction("power", place, value=float(exponent)))
            case ast.Call():
                self._emit_call(node)
            case ast.BinOp(op=ast.Pow(), right=right):
                self.source.refuse("a power of a power needs parentheses", self._at(right), "(v ** 2) ** 3")
            case ast.UnaryOp():
                self.source.refuse("only the sign - stands before a value", place)
            case ast.Tuple():
                self.source.refuse("tuples are not part of the language", place)
            case _:
                self.source.refuse(f"{type(node).__name__} is not part of the language", place)

    def _matrix(self, left: ast.expr, right: ast.expr) -> str:
        """The name on the left of @; a matrix is never the value of an expression."""
        if isinstance(left, ast.Name) and left.id not in FUNCTIONS:
            return left.id
        match left:
            case ast.BinOp(op=ast.MatMult()):
                what = "Python reads A @ B @ v as (A @ B) @ v, a product of two matrices"
                allowed = "A @ (B @ v)"
            case ast.UnaryOp():
                what = "Python reads -A @ v as (-A) @ v, and -A is no bare name"
                allowed = "-(A @ v)"
            case ast.BinOp():
                what = "Python reads a * B @ v as (a * B) @ v, and a * B is no bare name"
                allowed = "a * (B @ v)"
            case _:
                what = "the left side of @ is not a bare name"
                allowed = "the name of a matrix on the left of @, a vector on its right"
        return self.source.refuse(what, self._at(left), allowed)

    def _emit_call(self, node: ast.Call) -> None:
        place = self._at(node)
        everything = ", ".join(FUNCTIONS)
        if not isinstance(node.func, ast.Name):
            self.source.refuse("only a function of the language can be called", place, everything)
        name = node.func.id
        if name not in FUNCTIONS:
            close = difflib.get_close_matches(name.lower(), FUNCTIONS, n=1, cutoff=0.5)
            hint = f"; did you mean {close[0]}?" if close else f"; a matrix is applied with @: {name} @ v"
            self.source.refuse(f"there is no function {name}{hint}", place, everything)
        if any(isinstance(argument, ast.Starred) for argument in node.args) or node.keywords:
            self.source.refuse("a call takes plain arguments only", place, _call(name))
        if len(node.args) != FUNCTIONS[name]:
            self.source.refuse(
                f"{name} takes {FUNCTIONS[name]} argument{'s' * (FUNCTIONS[name] > 1)}, not {len(node.args)}",
                place,
                _call(name),
            )
        for argument in node.args:
            self._emit(argument)
        self.code.append(Instruction("call", place, name))


def _call(name: str) -> str:
    arguments = {1: "v", 2: "a, b", 3: "v, gain, bias"}[FUNCTIONS[name]]
    return f"{name}({arguments})"
