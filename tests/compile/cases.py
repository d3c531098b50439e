"""Recurrences to try, their operands, and a second way to run them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor

from elman.compile.operations import evaluate
from elman.equations import Recurrence


@dataclass
class Case:
    """A recurrence and everything that it is run on."""

    recurrence: Recurrence
    parameters: dict[str, Tensor]
    x: Tensor
    state: dict[str, Tensor]
    constants: dict[str, Tensor]

    @property
    def leaves(self) -> dict[str, Tensor]:
        return {**self.parameters, "x": self.x, **{f"{n} before": t for n, t in self.state.items()}, **self.constants}

    def with_leaves(self, tensors: tuple[Tensor, ...]) -> Case:
        rest = iter(tensors)
        return Case(
            self.recurrence,
            {name: next(rest) for name in self.parameters},
            next(rest),
            {name: next(rest) for name in self.state},
            {name: next(rest) for name in self.constants},
        )

    def detached(self) -> Case:
        return self.with_leaves(tuple(leaf.detach().clone().requires_grad_() for leaf in self.leaves.values()))


def make_case(
    recurrence: Recurrence,
    steps: int = 4,
    batch: int = 3,
    hidden: int = 3,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    device: str = "cpu",
) -> Case:
    """Operands of moderate size."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int, scale: float = 1.0) -> Tensor:
        values = torch.randn(shape, generator=generator, dtype=torch.float64) * scale
        return values.to(device=device, dtype=dtype).requires_grad_()

    width = hidden if "x" in recurrence.square else hidden + 1
    widths = {name: hidden if name in recurrence.square else 2 for name in recurrence.inputs}
    shapes = recurrence.parameters(width, hidden, **widths)
    return Case(
        recurrence,
        {name: draw(*shape, scale=0.7) for name, shape in shapes.items()},
        draw(steps, batch, width),
        {name: draw(batch, hidden) for name in recurrence.states},
        {name: draw(batch, widths[name]) for name in recurrence.inputs},
    )


def run_node_by_node(case: Case) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Every node of every step by autograd's own functions: slow, and nothing to get wrong."""
    graph = case.recurrence.graph
    current = dict(case.state)
    sequences: dict[str, list[Tensor]] = {name: [] for name in current}
    for row in case.x:
        values: dict[int, Tensor] = {}
        for index, node in enumerate(graph.nodes):
            if node.op == "input":
                values[index] = row if node.name == "x" else case.constants[node.name]
            elif node.op == "vector":
                values[index] = case.parameters[node.name]
            elif node.op == "const":
                values[index] = torch.tensor(node.value, dtype=row.dtype)
            elif node.op == "state":
                values[index] = current[node.name]
        evaluate(graph.nodes, range(len(graph.nodes)), values, case.parameters, lambda v, matrix: v @ matrix.t())
        shape = next(iter(case.state.values())).shape
        current = {name: values[new].expand(shape) for name, new in graph.states.items()}
        for name, value in current.items():
            sequences[name].append(value)
    return {name: torch.stack(series) for name, series in sequences.items()}, current


def weigh(outputs: dict[str, Tensor], final: dict[str, Tensor]) -> Tensor:
    """A number that depends on everything that a run gives, unevenly."""
    total = torch.zeros((), dtype=torch.float64)
    for number, tensor in enumerate([*outputs.values(), *final.values()]):
        weights = torch.cos(torch.arange(tensor.numel(), dtype=torch.float64) * (0.7 + number))
        total = total + (tensor.double().cpu() * weights.reshape(tensor.shape)).sum()
    return total


def gradients(total: Tensor, case: Case) -> dict[str, Tensor]:
    """The gradient of every leaf, zero where nothing arrives."""
    found = torch.autograd.grad(total, list(case.leaves.values()), allow_unused=True)
    return {
        name: torch.zeros_like(leaf) if gradient is None else gradient
        for (name, leaf), gradient in zip(case.leaves.items(), found, strict=True)
    }


def assert_same(left: dict[str, Tensor], right: dict[str, Tensor], tolerance: float = 1e-9) -> None:
    """Equal keys and values, up to rounding."""
    assert left.keys() == right.keys()
    for name in left:
        torch.testing.assert_close(
            left[name], right[name], rtol=tolerance, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}"
        )


SMOOTH = ("sigmoid", "tanh", "softplus", "sin", "cos", "elu")
KINKED = ("relu", "leaky_relu", "abs", "hard_sigmoid")


@st.composite
def recurrences(draw: st.DrawFn, smooth: bool = False) -> Recurrence:
    """Random equations that stay bounded: every line's value is squashed before it is fed back."""
    states = ["h", "c", "d"][: draw(st.integers(1, 3))]
    helpers = ["g", "k"][: draw(st.integers(0, 2))]
    functions = SMOOTH if smooth else SMOOTH + KINKED
    lines: list[str] = []
    readable = [*states]
    counter = iter(range(1000))

    def expression(depth: int) -> str:
        kind = draw(
            st.sampled_from(["product", "product", "state", "vector", "unary", "binary", "binary", "norm", "number"])
        )
        if depth == 0 and kind in ("unary", "binary", "norm"):
            kind = "product"
        n = next(counter)
        match kind:
            case "product":
                argument = draw(st.sampled_from(["x", "v", *readable]))
                if draw(st.integers(0, 4)) == 0 and depth > 0:
                    return f"W{n} @ ({expression(depth - 1)} + {readable[0]})"
                return f"W{n} @ {argument}"
            case "state":
                return draw(st.sampled_from(readable))
            case "vector":
                return f"b{n}"
            case "number":
                return f"{draw(st.sampled_from(readable))} * {draw(st.sampled_from(['0.5', '2', '-1.5']))}"
            case "unary":
                return f"{draw(st.sampled_from(functions))}({expression(depth - 1)})"
            case "norm":
                return f"norm({expression(depth - 1)} + x, gain{n}, bias{n})"
        operator = draw(st.sampled_from(["+", "+", "-", "*", "*", "/", "max", "power"]))
        left, right = expression(depth - 1), expression(depth - 1)
        if operator == "/":
            return f"({left}) / (1.5 + sin({right}))"
        if operator == "max" and not smooth:
            return f"maximum({left}, {right})"
        if operator == "power":
            return f"tanh({left}) ** 3"
        return f"(({left}) {operator if operator != 'max' else '+'} ({right}))"

    for name in [*helpers, *states]:
        squash = draw(st.sampled_from(["tanh", "sigmoid", "sin"]))
        other = draw(st.sampled_from(readable))
        lines.append(f"{name} = {squash}({expression(3)} + {other})")
        if name in helpers:
            readable.append(name)
    output = draw(st.sampled_from(states))
    uses_v = any("@ v" in line for line in lines)
    # every state must be read somewhere, or it is none
    lines.append(f"{output} = {output} + 0.1 * ({' + '.join(states)})")
    return Recurrence("\n".join(lines), output=output, inputs=("v",) if uses_v else ())
