"""What the tests of the compiled backend share: operands, comparison with float64, random equations."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from elman.compile import run
from elman.compile.cpu.target import host_target, unsupported
from elman.equations import Recurrence

NO_BACKEND = unsupported()
needs_backend = pytest.mark.skipif(NO_BACKEND is not None, reason=NO_BACKEND or "")
needs_bf16 = pytest.mark.skipif(
    NO_BACKEND is not None or not host_target().bf16, reason="this CPU has no dot products of bfloat16"
)

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Given:
    """A recurrence and all that it is run on."""

    recurrence: Recurrence
    parameters: Tensors
    x: Tensor
    state: Tensors
    constants: Tensors
    lengths: Tensor | None = None

    def leaves(self) -> Tensors:
        """Every operand by a name of its own."""
        before = {f"{name} before": tensor for name, tensor in self.state.items()}
        return {**self.parameters, "x": self.x, **before, **self.constants}

    def map(self, change: Callable[[Tensor], Tensor]) -> Given:
        """The same with every operand changed."""
        return replace(
            self,
            parameters={name: change(tensor) for name, tensor in self.parameters.items()},
            x=change(self.x),
            state={name: change(tensor) for name, tensor in self.state.items()},
            constants={name: change(tensor) for name, tensor in self.constants.items()},
        )

    def to(self, dtype: torch.dtype) -> Given:
        """Leaves of another type."""
        return self.map(lambda tensor: tensor.detach().to(dtype, copy=True).requires_grad_())


def operands(
    recurrence: Recurrence,
    steps: int = 5,
    batch: int = 5,
    hidden: int = 20,
    width: int | None = None,
    *,
    lengths: Sequence[int] | None = None,
    seed: int = 0,
) -> Given:
    """Operands in float32 for which a recurrence neither dies nor explodes.

    Args:
        recurrence: what will be run.
        steps, batch, hidden: T, B and the width of the states.
        width: of x; default one less than the states', as wide where the equations need that.
        lengths: of the rows.
        seed: of the numbers.
    """
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int, scale: float = 1.0, offset: float = 0.0) -> Tensor:
        return (torch.randn(shape, generator=generator) * scale + offset).requires_grad_()

    square = recurrence.square
    width = hidden if "x" in square else max(1, hidden - 1) if width is None else width
    widths = {name: hidden if name in square else 3 for name in recurrence.inputs}
    parameters = {
        name: draw(*shape, scale=0.8 / shape[1] ** 0.5) if len(shape) == 2 else
        draw(*shape, scale=0.2, offset=float(name in recurrence.gains))
        for name, shape in recurrence.parameters(width, hidden, **widths).items()
    }  # fmt: skip
    return Given(
        recurrence,
        parameters,
        draw(steps, batch, width),
        {name: draw(batch, hidden, scale=0.5) for name in recurrence.states},
        {name: draw(batch, widths[name]) for name in recurrence.inputs},
        None if lengths is None else torch.tensor(lengths),
    )


def run_on(given: Given, backend: str, half: bool = False, every_state: bool = True) -> tuple[Tensors, Tensors]:
    """Sequences, zero beyond the rows' own ends, and last values."""
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        result = run(
            given.recurrence,
            given.parameters,
            given.x,
            given.state,
            given.constants,
            backend=backend,
            every_state=every_state,
            lengths=given.lengths,
        )
    outputs = dict(result.outputs)
    if given.lengths is not None:
        dead = torch.arange(len(given.x)).unsqueeze(1) >= given.lengths
        outputs = {name: tensor.masked_fill(dead.unsqueeze(2), 0.0) for name, tensor in outputs.items()}
    return outputs, dict(result.final)


def weighed(tensors: Sequence[Tensor]) -> Tensor:
    """A float64 number that depends on every element of all tensors, unevenly."""
    total = torch.zeros((), dtype=torch.float64)
    for number, tensor in enumerate(tensors):
        weights = torch.cos(torch.arange(tensor.numel(), dtype=torch.float64) * (0.7 + number))
        total = total + (tensor.double() * weights.view(tensor.shape)).sum()
    return total


def everything(given: Given, backend: str, half: bool = False, every_state: bool = True) -> Tensors:
    """Sequences, last values and the gradient of every operand, by names."""
    outputs, final = run_on(given, backend, half, every_state)
    found = {f"y {name}": tensor for name, tensor in outputs.items()}
    found |= {f"last {name}": tensor for name, tensor in final.items()}
    leaves = given.leaves()
    total = weighed(list(found.values()))
    gradients = [None] * len(leaves)
    if total.requires_grad:
        gradients = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True):
        found[f"d {name}"] = torch.zeros_like(leaf) if gradient is None else gradient
    return {name: tensor.detach() for name, tensor in found.items()}


def errors(found: Mapping[str, Tensor], exact: Mapping[str, Tensor]) -> dict[str, float]:
    """By name the largest difference, relative to the largest value; infinite where a number is none."""
    assert found.keys() == exact.keys()
    result: dict[str, float] = {}
    for name, right in exact.items():
        assert found[name].shape == right.shape, (name, found[name].shape, right.shape)
        assert torch.isfinite(right).all(), f"{name} is not finite in float64 either: choose other operands"
        scale = right.abs().max().item() or 1.0
        error = ((found[name].double() - right).abs().max() / scale).item()
        result[name] = error if error == error else float("inf")
    return result


def condition(
    given: Given, exact: Tensors, every_state: bool, half: bool, of: Callable[..., Tensors]
) -> dict[str, float]:
    """By name how far a result moves when every operand moves by the rounding of a precision."""
    worst = dict.fromkeys(exact, 0.0)
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)

        def moved(tensor: Tensor, generator: torch.Generator = generator) -> Tensor:
            noise = torch.rand(tensor.shape, generator=generator, dtype=torch.float64) * 2 - 1
            return (tensor.detach().double() * (1 + noise * (2**-8 if half else 2**-23))).requires_grad_()

        for name, error in errors(of(given.map(moved), "reference", False, every_state), exact).items():
            worst[name] = max(worst[name], error)
    return worst


def check(
    given: Given,
    half: bool = False,
    every_state: bool = True,
    floor: float | None = None,
    of: Callable[..., Tensors] = everything,
) -> None:
    """The compiled backend is as near to float64 as eager torch in the same precision, give or take a factor of 4.

    Eager torch can be right by luck, so that what rounded operands would do is allowed too.

    Args:
        given: what to run.
        half: under autocast to bfloat16.
        every_state: ask for the sequences of all states.
        floor: the relative error that is always allowed.
        of: (given, backend, half, every_state) to what is compared.
    """
    floor = floor if floor is not None else 2e-2 if half else 1e-5
    exact = of(given.to(torch.float64), "reference", False, every_state)
    eager = errors(of(given, "reference", half, every_state), exact)
    moved = condition(given, exact, every_state, half, of)
    wrong = {
        name: f"{error:.1e}; eager torch {eager[name]:.1e}, condition {moved[name]:.1e}"
        for name, error in errors(of(given, "cpu", half, every_state), exact).items()
        if not error <= max(floor, 4 * eager[name], 4 * moved[name])
    }
    assert not wrong, f"{given.recurrence.equations}\n{wrong}"


def assert_close(left: Mapping[str, Tensor], right: Mapping[str, Tensor], tolerance: float = 1e-5) -> None:
    """Equal names and values, relative to the largest value of each."""
    wrong = {name: error for name, error in errors(left, right).items() if not error <= tolerance}
    assert not wrong, wrong


SQUASH = ("sigmoid", "tanh", "sin", "hard_sigmoid")
UNARY = ("sigmoid", "tanh", "relu", "leaky_relu", "elu", "softplus", "abs", "sin", "cos", "hard_sigmoid")
SMOOTH = ("sigmoid", "tanh", "sin", "softplus", "elu", "cos")
TAMED = ("exp(tanh({}))", "log(1.5 + tanh({}))", "sqrt(0.3 + abs({}))", "1 / (1.5 + sin({}))", "tanh({}) ** {n}")


def random_recurrence(seed: int, smooth: bool = False) -> Recurrence:
    """Equations of 1 to 3 states and 0 to 4 products with all that the language has; bounded.

    Args:
        seed: of the choices.
        smooth: without kinks, where rounding decides about the slope.
    """
    pick = random.Random(seed)
    squashes, functions, pairs = SQUASH, UNARY, ("maximum({}, {})", "minimum({}, {})")
    tamed = TAMED
    if smooth:
        squashes, functions, pairs = SMOOTH[:3], SMOOTH, ("sin({} - {})",)
        tamed = tuple(form.replace("abs({})", "exp(sin({}))") for form in TAMED)
    states = ["h", "c", "d"][: pick.randint(1, 3)]
    helpers = ["g", "k"][: pick.randint(0, 2)]
    square, constants = pick.random() < 0.4, pick.random() < 0.3
    products = pick.randint(0, 4)
    by_element = constants and pick.random() < 0.5
    readable = [*states, *(["x"] if square else []), *(["v"] if by_element else [])]
    matrices: dict[str, str] = {}

    def product() -> str:
        """A matrix and what it is applied to, some of them used twice."""
        nonlocal products
        products -= 1
        if matrices and pick.random() < 0.25:
            name = pick.choice(list(matrices))
        else:
            name = f"W{len(matrices)}"
            matrices[name] = pick.choice(
                ["x", "x", "tanh(x)", "state", "state", "state", *(["v"] if constants else [])]
            )
        argument = matrices[name]
        if argument == "x":
            argument = pick.choice(["x", "sin(x)"]) if not square else "x"
        if argument == "state":
            argument = pick.choice(readable)
            if pick.random() < 0.4:
                argument = pick.choice([f"({argument} * {leaf()})", f"tanh({argument})", f"({argument} + {leaf()})"])
        if argument.startswith("tanh(x") and square:
            argument = "(x * x)"
        return pick.choice(["({} @ {})", "({} @ {})", "(-({} @ {}))"]).format(name, argument)

    def leaf() -> str:
        number = pick.choice(["0.5", "2", "-1.5"])
        vector = pick.choice("pq")
        return pick.choice([*readable, *readable, vector, f"{pick.choice(readable)} * {number}"])

    def expression(depth: int) -> str:
        kind = pick.randint(0, 9)
        if products > 0 and kind <= 3:
            return product()
        if depth == 0:
            return leaf()
        below = expression(depth - 1)
        match kind:
            case 4 | 0:
                return f"{pick.choice(functions)}({below})"
            case 5:
                return pick.choice(tamed).format(below, n=pick.randint(2, 8))
            case 6:
                return pick.choice(pairs).format(below, expression(depth - 1))
            case 7:
                gain, bias = pick.choice([("p", "q"), ("p", "0"), ("q", "p")])
                return f"norm({below} + {pick.choice(readable)}, {gain}, {bias})"
            case 8:
                return f"({below} + {below})" if pick.random() < 0.3 else f"(-({below}))"
        return f"({below} {pick.choice('+-*')} {expression(depth - 1)})"

    lines: list[str] = []
    for name in [*helpers, *states]:
        if name in states[1:] and pick.random() < 0.3:
            lines.append(f"{name} = {pick.choice([*readable, 'p'])}")
        else:
            left = expression(pick.randint(1, 3))
            lines.append(f"{name} = {pick.choice(squashes)}({left} + {pick.choice(readable)}) + 0.1 * {states[0]}")
        readable.append(name)
    # a name becomes a state by being read before its line, even where nothing comes of it
    lines.insert(0, f"s = {' + '.join(states)}" + (" + A @ v" if constants else "") + (" + v" if by_element else ""))
    if constants or pick.random() < 0.6:
        lines.append(f"{states[0]} = tanh({states[0]} + 0.1 * s)")
    inputs = ("v",) if constants else ()
    return Recurrence("\n".join(lines), output=pick.choice(states), inputs=inputs)
