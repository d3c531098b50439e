"""Inputs that are rows of a table: the table's rows are multiplied once, and looked up by the loop."""

from __future__ import annotations

import random

import pytest
import torch
from cpu_cases import (
    Given,
    Tensors,
    assert_close,
    check,
    needs_backend,
    needs_bf16,
    operands,
    random_recurrence,
    weighed,
)
from torch import Tensor
from torch.nn import functional

from elman.compile import run
from elman.equations import Recurrence, cell, zoo
from elman.errors import MisuseError
from elman.nn.recurrent import Recurrent

pytestmark = needs_backend

HALVES = [False, pytest.param(True, marks=needs_bf16)]
FEW = ("lstm", "gru", "mut1", "layernorm-gru", "sru", "rnn-image")


def looked_up(index: Tensor):
    """As cpu_cases.everything, with the first rows of x as a table; the reference reads its rows one by one."""

    def everything(given: Given, backend: str, half: bool, every_state: bool) -> Tensors:
        table = given.x.flatten(0, 1)
        x, more = (table, {"index": index}) if backend == "cpu" else (functional.embedding(index, table), {})
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            result = run(
                given.recurrence,
                given.parameters,
                x,
                given.state,
                given.constants,
                backend=backend,
                every_state=every_state,
                lengths=given.lengths,
                **more,
            )
        outputs = dict(result.outputs)
        if given.lengths is not None:
            dead = torch.arange(len(index)).unsqueeze(1) >= given.lengths
            outputs = {name: tensor.masked_fill(dead.unsqueeze(2), 0.0) for name, tensor in outputs.items()}
        found = {f"y {n}": t for n, t in outputs.items()} | {f"last {n}": t for n, t in result.final.items()}
        leaves = given.leaves()
        grads = torch.autograd.grad(weighed(list(found.values())), list(leaves.values()), allow_unused=True)
        for (name, leaf), gradient in zip(leaves.items(), grads, strict=True):
            found[f"d {name}"] = torch.zeros_like(leaf) if gradient is None else gradient
        return {name: tensor.detach() for name, tensor in found.items()}

    return everything


def check_table(
    recurrence: Recurrence, hidden: int, half: bool, lengths: list[int] | None = None, *, rows: int = 7, seed: int = 0
) -> None:
    """A table of some rows that is read by 6 steps of 5 rows."""
    generator = torch.Generator().manual_seed(seed)
    index = torch.randint(rows, (6, 5), generator=generator)
    index[0, 0], index[-1, -1] = rows - 1, 0
    given = operands(recurrence, 1, 5, hidden, lengths=lengths, seed=seed)
    table = operands(recurrence, 1, rows, hidden, seed=seed + 1).x
    given = Given(recurrence, given.parameters, table, given.state, given.constants, given.lengths)
    check(given, half, of=looked_up(index))


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("name", [n if n in FEW else pytest.param(n, marks=pytest.mark.slow) for n in zoo()])
def test_a_table_equals_its_rows(name: str, half: bool) -> None:
    check_table(cell(name), 17, half)


@pytest.mark.parametrize("lengths", [[6, 1, 3, 6, 2], [2] * 5])
def test_a_table_and_ragged_rows(lengths: list[int]) -> None:
    check_table(cell("lstm"), 17, False, lengths)
    check_table(cell("mut1"), 17, False, lengths, rows=1)


@pytest.mark.slow
@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("seed", range(500, 540))
def test_a_table_for_a_random_recurrence(seed: int, half: bool) -> None:
    pick = random.Random(seed)
    lengths = None if pick.random() < 0.5 else [pick.randint(1, 6) for _ in range(5)]
    check_table(
        random_recurrence(seed, half), pick.choice([16, 17, 20]), half, lengths, rows=pick.randint(1, 15), seed=seed
    )


def on_cpu(index: Tensor, table: Tensor) -> Tensor:
    given = operands(cell("lstm"), 1, 5, 17)
    return run(given.recurrence, given.parameters, table, given.state, backend="cpu", index=index).outputs["h"]


@pytest.mark.parametrize("bad", [-1, 7])
@pytest.mark.parametrize("train", [False, True])
def test_a_number_outside_the_table_is_an_error(bad: int, train: bool) -> None:
    index = torch.zeros(6, 5, dtype=torch.int64)
    index[3, 2] = bad
    with torch.set_grad_enabled(train), pytest.raises(MisuseError, match="rows 0 to 6"):
        on_cpu(index, torch.randn(7, 16))


def test_layouts_of_the_table_and_of_the_numbers() -> None:
    generator = torch.Generator().manual_seed(0)
    index, table = torch.randint(7, (6, 5), generator=generator), torch.randn(7, 16, generator=generator)
    expected = {"h": on_cpu(index, table).detach()}
    for numbers in (index, index.t().contiguous().t(), torch.stack((index, index), 2)[:, :, 1]):
        for rows in (table, table.t().contiguous().t(), torch.cat((table, table), 1)[:, 16:]):
            assert_close({"h": on_cpu(numbers, rows)}, expected, 1e-6)


def trained(index: Tensor) -> tuple[Tensor, Tensor]:
    table = torch.randn(7, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    return on_cpu(index, table), table


def test_numbers_that_change_before_backward_are_noticed() -> None:
    own = torch.arange(30).view(6, 5) % 7
    y, table = trained(own)
    own.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(weighed([y]), [table])


@pytest.mark.parametrize("half", HALVES)
def test_second_derivatives_of_a_table(half: bool) -> None:
    index = torch.arange(30).view(6, 5) % 7
    given = operands(cell("lstm"), 1, 5, 17)
    lengths = []
    for make in ("cpu", "reference"):
        table = torch.randn(7, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
        x, more = (table, {"index": index}) if make == "cpu" else (functional.embedding(index, table), {})
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            y = run(given.recurrence, given.parameters, x, given.state, backend=make, **more).outputs["h"]
        (first,) = torch.autograd.grad(weighed([y.float().square()]), [table], create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), [table])
        lengths.append({"second": second, "first": first.detach()})
    assert_close(lengths[0], lengths[1], 0.1 if half else 1e-4)


def test_a_module_with_a_table() -> None:
    torch.manual_seed(0)
    table = torch.randn(7, 16).requires_grad_()
    for options in ({"bidirectional": True, "num_layers": 2}, {"batch_first": True}):
        index = torch.randint(7, (9, 8))
        ours = Recurrent("lstm", 16, 17, backend="cpu", **options)
        other = Recurrent("lstm", 16, 17, backend="reference", **options)
        other.load_state_dict(ours.state_dict())
        for lengths in (None, [8, 1, 3, 8, 2, 4, 5, 6, 7][: index.shape[0 if options.get("batch_first") else 1]]):
            found = []
            for module in (ours, other):
                y, _ = module(index, table=table, lengths=lengths)
                module.zero_grad()
                wanted = [table, *module.parameters()]
                found.append(dict(enumerate([y.detach(), *torch.autograd.grad(weighed([y]), wanted)])))
            assert_close(*({str(n): t for n, t in each.items()} for each in found), 3e-5)


def test_numbers_of_32_bits() -> None:
    index, table = torch.arange(30).view(6, 5) % 7, torch.randn(7, 16, generator=torch.Generator().manual_seed(0))
    assert_close({"h": on_cpu(index.int(), table)}, {"h": on_cpu(index, table).detach()}, 1e-6)
