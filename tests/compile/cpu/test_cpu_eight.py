"""Layers whose products are in 8 bits, against the same rounding written in torch."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cpu_cases import needs_backend
from llvmlite import ir
from torch import Tensor

from elman.compile.cpu.eight import LIMIT, define_quantise, pack_eight, row_bytes
from elman.compile.cpu.loops import write_loop
from elman.compile.cpu.rounds import Buffer, Pass, forward_loop
from elman.compile.cpu.stepper import Stepper, steps_alone
from elman.compile.cpu.target import Target, host_target, named_target
from elman.compile.cpu.threads import parallel
from elman.compile.cpu.toolchain import assembly, compile_object, load_code
from elman.compile.cpu.values import forward_step
from elman.compile.cpu.vectors import I64, POINTER
from elman.compile.operations import evaluate, number
from elman.equations import Recurrence, cell, recurrence_of
from elman.errors import MisuseError

pytestmark = needs_backend


def rounded_weights(matrix: Tensor) -> Tensor:
    """Each row by its own scale to whole numbers and back."""
    scales = matrix.abs().amax(1, keepdim=True) / 127
    return (matrix / scales).round() * scales


def rounded_rows(x: Tensor) -> Tensor:
    scales = x.abs().amax(1, keepdim=True) / 127
    return torch.where(scales > 0, (x / scales.clamp_min(1e-30)).round() * scales, 0.0)


def product(x: Tensor, matrix: Tensor) -> Tensor:
    return rounded_rows(x) @ rounded_weights(matrix).T


class Emulated:
    """Layers stepped in float64 with products rounded as they are in 8 bits; the lowest reads its table exactly."""

    def __init__(self, recurrence: Recurrence, parameters: list[dict[str, Tensor]], table: Tensor, rows: int):
        self.recurrence, self.table = recurrence, table.double()
        self.parameters = [{name: each.double() for name, each in own.items()} for own in parameters]
        hidden = next(iter(parameters[0].values())).shape[0]
        zero = torch.zeros(rows, hidden, dtype=torch.float64)
        self.state = [dict.fromkeys(recurrence.states, zero) for _ in parameters]

    def step(self, tokens: Tensor) -> Tensor:
        x = self.table[tokens]
        for layer, own in enumerate(self.parameters):
            self.state[layer] = self._layer(layer, own, x)
            x = self.state[layer][self.recurrence.output]
        return x

    def _layer(self, layer: int, own: dict[str, Tensor], x: Tensor) -> dict[str, Tensor]:
        graph = self.recurrence.graph
        nodes, values = graph.nodes, dict[int, Tensor]()
        for index, node in enumerate(nodes):
            if node.op == "input":
                values[index] = x
            elif node.op == "state":
                values[index] = self.state[layer][node.name]
            elif node.op == "vector":
                values[index] = own[node.name]
            elif node.op == "const":
                values[index] = number(node.value, x)

        def linear(operand: Tensor, matrix: Tensor) -> Tensor:
            return operand @ matrix.T if layer == 0 and operand is x else product(operand, matrix)

        evaluate(nodes, list(range(len(nodes))), values, own, linear)
        return {name: values[index] for name, index in graph.states.items()}


def layers(recurrence: Recurrence, hidden: int, width: int, count: int) -> tuple[list[dict[str, Tensor]], Tensor]:
    generator = torch.Generator().manual_seed(3)
    found = []
    for layer in range(count):
        shapes = recurrence.parameters(width if layer == 0 else hidden, hidden)
        found.append({
            name: torch.randn(shape, generator=generator) * (0.8 / shape[-1] ** 0.5 if len(shape) == 2 else 0.2)
            for name, shape in shapes.items()
        })  # fmt: skip
    return found, torch.randn(9, width, generator=generator)


def states_after(stepper: Stepper, tokens: list[list[int]]) -> list[dict[str, Tensor]]:
    found, parity = [], 0
    for row in tokens:
        stepper.tokens[:] = row
        for layer in stepper.layers:
            context = np.ctypeslib.as_array((ctypes.c_int64 * 2).from_address(layer.ctx))
            context[:] = parity, parity + 1
            parallel(layer.function, layer.ctx, 1)
        parity = 1 - parity
        found.append(stepper.state(parity))
    return found


TWO_OPERANDS = "r = sigmoid(Ur @ h + Wr @ x + b)\nh = tanh(U @ (r * h) + W @ x) + 0.2 * h"


@pytest.mark.parametrize(
    ("name", "hidden"),
    [("lstm", 33), ("lstm", 64), ("gru", 100), ("rnn", 16), ("mut1", 33), (TWO_OPERANDS, 17), (TWO_OPERANDS, 48)],
)
def test_the_same_rounding_in_torch(name: str, hidden: int) -> None:
    recurrence = cell(name) if name.isalnum() else recurrence_of(name)
    count = 2 if steps_alone(recurrence, 2) else 1
    parameters, table = layers(recurrence, hidden, hidden if "x" in recurrence.square else 21, count)
    near: list[float] = []
    for rows in (1, 2, 7):
        stepper = Stepper(recurrence, parameters, table, hidden, rows, "int8")
        emulated = Emulated(recurrence, parameters, table, rows)
        tokens = [[(5 * step + 3 * row) % 9 for row in range(rows)] for step in range(5)]
        exact = Stepper(recurrence, parameters, table, hidden, rows)
        largest = 0.0
        for symbols, state, plain in zip(
            tokens, states_after(stepper, tokens), states_after(exact, tokens), strict=True
        ):
            emulated.step(torch.tensor(symbols))
            for layer, right in enumerate(emulated.state):
                for key in recurrence.states:
                    near += (state[key][layer] - right[key]).abs().amax(1).tolist()
                    largest = max(largest, float((plain[key][layer] - right[key]).abs().max()))
                # what differs here shall not count again in the next step
                emulated.state[layer] = {key: state[key][layer].double() for key in recurrence.states}
        assert 1e-3 < largest < 0.2  # it is not float32 in disguise, and not far from it
    # a number on the edge between two whole ones may fall to either side
    assert max(near) < 1e-2
    assert sum(error > 1e-5 for error in near) <= len(near) // 10


def quantised(values: Tensor, target: Target) -> tuple[float, Tensor]:
    """What ``quantise`` makes of a row: the scale and the whole numbers."""

    def source() -> str:
        module = ir.Module("quantising")
        quantise = define_quantise(module, target)
        function = ir.Function(module, ir.FunctionType(ir.VoidType(), [POINTER, I64]), "entry")
        b = ir.IRBuilder(function.append_basic_block())
        slots = [b.load(b.gep(function.args[0], [ir.Constant(I64, i)], source_etype=I64), typ=I64) for i in range(3)]
        b.call(quantise, [b.inttoptr(slots[0], POINTER), slots[1], b.inttoptr(slots[2], POINTER)])
        b.ret_void()
        return str(module)

    code = load_code("test of quantise", source, target)
    size = row_bytes(len(values))
    memory = torch.full((size + 64,), 77, dtype=torch.uint8)
    array = np.array([values.data_ptr(), len(values), memory.data_ptr()], np.int64)
    parallel(code.address("entry"), array.ctypes.data, 1)
    end = 16 + -(-len(values) // 4) * 4
    assert bytes(memory[end:].tolist()) == bytes([77] * (size + 64 - end))
    assert bytes(memory[16 + len(values) : end].tolist()) == bytes([128] * (end - 16 - len(values)))
    return float(memory[:4].view(torch.float32)), memory[16 : 16 + len(values)].int() - 128


@pytest.mark.parametrize("size", [1, 3, 4, 15, 16, 17, 31, 64, 100])
def test_a_row_in_eight_bits(size: int) -> None:
    values = torch.randn(size, generator=torch.Generator().manual_seed(size))
    scale, whole = quantised(values, host_target())
    assert scale == pytest.approx(float(values.abs().max()) / 127, rel=1e-6)
    assert int(whole.abs().max()) == 127
    assert (whole * scale - values).abs().max() <= scale * 0.5001


def test_rows_of_odd_numbers() -> None:
    for values, right in (
        (torch.zeros(20), 0.0),
        (torch.full((20,), 1e-42), 0.0),
        (torch.tensor([1.0] * 19 + [float("inf")]), float("inf")),
    ):
        scale, whole = quantised(values, host_target())
        assert scale == right
        assert int(whole.abs().max()) == 0 or right != 0.0
    for place in (0, 17, 19):
        values = torch.ones(20)
        values[place] = float("nan")
        assert np.isnan(quantised(values, host_target())[0])


def test_packed_weights() -> None:
    generator = torch.Generator().manual_seed(0)
    matrices = {"A": torch.randn(20, 7, generator=generator), "B": torch.randn(20, 7, generator=generator)}
    matrices["B"][3] = 0.0
    one = Pass(Buffer("state:h", "prev"), 0, {0: ("A",), 1: ("B",)})
    lanes, spread = 8, 2
    packed = pack_eight(one, matrices, spread, lanes)
    assert packed.shape == (2, (2 + 2) * 2 * spread * lanes * 4)
    for chunk in range(2):
        sums, scales = packed[chunk, :256].view(torch.int32)[:32], packed[chunk, :256].view(torch.float32)[32:]
        numbers = packed[chunk, 256:].view(torch.int8).view(2, 2, spread, lanes, 4)
        for place, name in enumerate("AB"):
            for i in range(spread * lanes):
                unit, at = chunk * spread * lanes + i, place * spread * lanes + i
                row = numbers[:, place, i // lanes, i % lanes].flatten()
                assert int(sums[at]) == -128 * int(row.sum())
                wanted = matrices[name][unit] if unit < 20 else torch.zeros(7)
                assert (row[:7] * scales[at] - wanted).abs().max() <= 0.5001 * scales[at] + 1e-12
                assert row[7:].tolist() == [0]


def test_widths_that_could_overflow_are_refused() -> None:
    one = Pass(Buffer("state:h", "prev"), 0, {0: ("A",)})
    assert pack_eight(one, {"A": torch.ones(1, LIMIT)}, 1, 4).shape[1] == (2 + LIMIT // 4) * 16
    with pytest.raises(MisuseError, match="too wide"):
        pack_eight(one, {"A": torch.ones(1, LIMIT + 1)}, 1, 4)


@pytest.mark.parametrize(("name", "instruction"), [("avx2", "vpmaddwd"), ("x86-64", "pmaddwd"), ("neon", "mla")])
def test_every_machine_has_code(name: str, instruction: str) -> None:
    target = named_target(name)
    loop = replace(forward_loop(forward_step(cell("gru"), False), None, target, False, False, ("h",)), eight=True)
    source = write_loop(loop, target)
    assert compile_object(source, target)
    assert instruction in assembly(source, target)


def test_lesser_machines_compute_the_same() -> None:
    program = """
import sys, torch
import test_cpu_eight as t
from elman.equations import cell
parameters, table = t.layers(cell("lstm"), 33, 21, 2)
stepper = t.Stepper(cell("lstm"), parameters, table, 33, 3, "int8")
print(*t.states_after(stepper, [[1, 2, 3], [4, 5, 6]])[-1]["h"].flatten().tolist())
"""
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    found = []
    for name in ("", "avx2", "x86-64"):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONPATH": path, "ELMAN_CPU": name},
            capture_output=True,
            text=True,
            check=False,
        )
        if name and "can run" in done.stderr:
            continue
        assert done.returncode == 0, done.stderr[-1500:]
        found.append(torch.tensor([float(each) for each in done.stdout.split()]))
    for each in found[1:]:
        assert (each - found[0]).abs().max() < 2e-3
