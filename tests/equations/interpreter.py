"""Two tiny interpreters in numpy, one of the text and one of the graphs, so that each can be held against the other."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from elman.equations import Derivative, Graph, Node, Recurrence

Array = np.ndarray
Values = dict[str, Array]


def _sigmoid(a: Array) -> Array:
    return 0.5 * (1.0 + np.tanh(0.5 * np.asarray(a)))


def _norm(v: Array, gain: Array, bias: Array) -> Array:
    centred = v - v.mean()
    return gain * centred / np.sqrt((centred**2).mean() + 1e-5) + bias


FUNCTIONS = {
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
    "relu": lambda a: np.maximum(a, 0.0),
    "leaky_relu": lambda a: np.where(np.asarray(a) > 0, a, 0.01 * np.asarray(a)),
    "elu": lambda a: np.where(np.asarray(a) > 0, a, np.expm1(np.minimum(a, 0.0))),
    "softplus": lambda a: np.logaddexp(0.0, a),
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "abs": np.abs,
    "sin": np.sin,
    "cos": np.cos,
    "hard_sigmoid": lambda a: np.clip(np.asarray(a) + 3.0, 0.0, 6.0) / 6.0,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "norm": _norm,
}
BINARY = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.MatMult: np.matmul,
    ast.Pow: np.power,
}
GRAPH_FUNCTIONS = {
    **FUNCTIONS,
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "neg": np.negative,
    "mean": np.mean,
    "sign": np.sign,
    "greater": lambda a, b: (np.asarray(a) > b).astype(float),
}


def step_of_text(text: str, names: Mapping[str, Array]) -> Values:
    """Run the lines in order as Python would: a name keeps its old value until its line has run."""
    values = dict(names)
    for statement in ast.parse(text).body:
        assert isinstance(statement, ast.Assign)
        assert isinstance(statement.targets[0], ast.Name)
        values[statement.targets[0].id] = _value(statement.value, values)
    return values


def _value(node: ast.expr, values: Values) -> Array | None:
    match node:
        case ast.Name(id=name):
            return values.get(name)  # None: a parameter that no state needs
        case ast.Constant(value=number):
            return np.float64(number)
        case ast.UnaryOp(operand=operand):
            return _apply(np.negative, values, operand)
        case ast.BinOp(left=left, op=op, right=right):
            return _apply(BINARY[type(op)], values, left, right)
        case ast.Call(func=ast.Name(id=name), args=args):
            return _apply(FUNCTIONS[name], values, *args)
    raise AssertionError(ast.dump(node))


def _apply(function: Callable[..., Array], values: Values, *nodes: ast.expr) -> Array | None:
    args = [_value(node, values) for node in nodes]
    return None if any(argument is None for argument in args) else function(*args)


def run_graph(graph: Graph, names: Mapping[str, Array], fixed: Mapping[int, Array] | None = None) -> list[Array]:
    """The value of every node of a forward graph; `fixed` are values that some nodes are given instead."""
    values: list[Array] = []
    for index, node in enumerate(graph.nodes):
        if fixed is not None and index in fixed:
            values.append(fixed[index])
        elif node.op in ("input", "state", "vector"):
            values.append(names[node.name])
        else:
            values.append(_operate(node, values, names))
    return values


def run_derivative(
    derivative: Derivative, forward: Sequence[Array], names: Mapping[str, Array], cotangents: Mapping[str, Array]
) -> list[Array]:
    """The value of every node of a derivative."""
    values: list[Array] = []
    for node in derivative.nodes:
        if node.op == "saved":
            assert int(node.value) in derivative.saved
            values.append(forward[int(node.value)])
        elif node.op == "cotangent":
            values.append(cotangents[node.name])
        else:
            values.append(_operate(node, values, names))
    return values


def _operate(node: Node, values: Sequence[Array], names: Mapping[str, Array]) -> Array:
    args = [values[argument] for argument in node.args]
    if node.op == "const":
        return np.float64(node.value)
    if node.op == "product":
        return names[node.name] @ args[0]
    if node.op == "product_transposed":
        return names[node.name].T @ args[0]
    if node.op == "power":
        return args[0] ** int(node.value)
    return GRAPH_FUNCTIONS[node.op](*args)


def draw(recurrence: Recurrence, seed: int, hidden: int = 4, input: int = 3, constant: int = 2) -> Values:
    """Random values for everything that a recurrence reads, at small sizes that tell the widths apart."""
    random = np.random.default_rng(seed)
    widths = {name: hidden if name in recurrence.square else constant for name in recurrence.inputs}
    input = hidden if "x" in recurrence.square else input
    shapes: dict[str, tuple[int, ...]] = recurrence.parameters(input, hidden, **widths)
    shapes |= {name: (width,) for name, width in widths.items()} | {"x": (input,)}
    shapes |= dict.fromkeys(recurrence.states, (hidden,))
    return {name: random.normal(size=shape) * 0.7 for name, shape in shapes.items()}
