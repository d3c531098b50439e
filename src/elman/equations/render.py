"""Nodes as text, in the language that they came from."""

from __future__ import annotations

from collections.abc import Sequence

from elman.equations.graph import Node

_LONGEST = 160  # characters of one rendered node; a shared node would otherwise be written out again and again
_SUM, _PRODUCT, _SIGN, _POWER, _ATOM = range(5)
_INFIX = {"add": ("+", _SUM), "sub": ("-", _SUM), "mul": ("*", _PRODUCT), "div": ("/", _PRODUCT)}


def render(nodes: Sequence[Node]) -> list[str]:
    """Write every node of a forward graph as an expression.

    Args:
        nodes: arguments before their users.

    Returns:
        An expression for each node, with ... in it where it would be too long.
    """
    written: list[tuple[str, int]] = []
    for node in nodes:
        text, level = _write(node, [written[argument] for argument in node.args])
        written.append((text, level) if len(text) <= _LONGEST else ("...", _ATOM))
    return [text for text, _ in written]


def _write(node: Node, args: list[tuple[str, int]]) -> tuple[str, int]:
    def wrapped(argument: int, least: int) -> str:
        text, level = args[argument]
        return text if level >= least else f"({text})"

    if node.op in _INFIX:
        sign, level = _INFIX[node.op]
        # The right operand of - and / needs brackets at its own level already; so does B @ v in a * (B @ v).
        return f"{wrapped(0, level)} {sign} {wrapped(1, level + (node.op != 'add'))}", level
    if node.op == "product":
        return f"{node.name} @ {wrapped(0, _SIGN)}", _PRODUCT
    if node.op == "neg":
        return f"-{wrapped(0, _POWER)}", _SIGN
    if node.op == "power":
        return f"{wrapped(0, _ATOM)} ** {node.value:g}", _POWER
    if node.op == "const":
        return (f"{node.value:g}", _ATOM if node.value >= 0 else _SIGN)
    if node.args:
        return f"{node.op}({', '.join(text for text, _ in args)})", _ATOM
    return node.name, _ATOM
