"""Layers of a recurrence as machine code that takes one step at a time, for texts that are drawn symbol by symbol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.compile.cpu.extents import Extent
from elman.compile.cpu.passes import Kind, Operands, fill_forward
from elman.compile.cpu.programs import Context, forward_program
from elman.compile.cpu.readout import Format
from elman.compile.cpu.run import beforehand
from elman.compile.cpu.sampler import Layer, StateBuffer
from elman.compile.cpu.target import host_target
from elman.compile.cpu.values import forward_step
from elman.compile.cpu.workspace import zeros
from elman.equations import Recurrence


def steps_alone(recurrence: Recurrence, layers: int) -> bool:
    """Whether layers of a recurrence can step without torch computing something between them."""
    inputs = forward_step(recurrence, False).inputs
    return layers == 1 or all(recurrence.graph.nodes[node].op == "input" for node in inputs)


class Stepper:
    """Layers in their memory; each step leaves its states where the next one reads them.

    Args:
        recurrence: of every layer, without constant inputs; :func:`steps_alone` must hold.
        parameters: of each layer by name.
        table: [V, input], what a symbol becomes for the lowest layer.
        hidden: the width of a state.
        batch: rows B.
        format: of weights and what they are multiplied with: "fp32"; "bf16"; "int8", each unit's weights and each
            row's operands with a scale of their own. States stay float32.

    Attributes:
        tokens: int64 [B]: the symbols of the next step.
        layers: for :class:`elman.compile.cpu.sampler.Sampler`, from the lowest.
        states: what is kept beside the layers' outputs.
        stride: floats from row to row of an output.
    """

    def __init__(
        self,
        recurrence: Recurrence,
        parameters: Sequence[Mapping[str, Tensor]],
        table: Tensor,
        hidden: int,
        batch: int,
        format: Format = "fp32",
    ) -> None:
        self.recurrence, self.batch = recurrence, batch
        half, eight = format == "bf16", format == "int8"
        target = host_target()
        kind = Kind(recurrence, target, half, hidden, (recurrence.output,))
        self.stride, self.hidden = kind.padded, hidden
        self.tokens: NDArray[np.int64] = np.zeros(batch, dtype=np.int64)
        self.layers: list[Layer] = []
        self.states: list[StateBuffer] = []
        self._memory: list[dict[str, Tensor]] = []
        self._halves: list[dict[str, Tensor]] = []
        self._alive: list[object] = []
        same = torch.zeros(3, dtype=torch.int64, device="cpu")
        alternating = torch.tensor([0, batch, 0], dtype=torch.int64, device="cpu")
        # a step of parity p reads the layer below where that left it: at the rows of p + 1
        above = alternating[1:].clone()
        counts = torch.full((2,), batch, dtype=torch.int64, device="cpu")
        below: Tensor | None = None
        for own in parameters:
            extent = Extent(
                2, batch, 2 * batch, counts, same if below is None else above, alternating, alternating, True
            )
            program = forward_program(recurrence, target, half, kind.exact, below is None, False, kind.wanted, eight)
            step = forward_step(recurrence, below is None)
            # used elementwise it is read in whole vectors, where it lies
            width = kind.padded if half or "x" in recurrence.square else hidden
            x = table if below is None else below[:, :width]
            values = beforehand(recurrence, own, x, {}, [*step.inputs, *step.vectors])
            operands = Operands(
                {name: own[name].detach() for name in recurrence.matrices},
                {name: zeros((batch, hidden)) for name in recurrence.states},
                {node: values[node].detach() for node in step.inputs},
                {node: values[node].detach().expand(hidden) for node in step.vectors},
                {},
                torch.from_numpy(self.tokens) if below is None else None,
            )
            context = Context(program, extent, hidden, alone=True)
            memory = fill_forward(kind, operands, extent, program, context, frozenset())
            self._memory.append({name: memory[f"state:{name}"] for name in recurrence.states})
            halves = {name: memory.get(f"half:{name}") for name in recurrence.states}
            self._halves.append({name: each for name, each in halves.items() if each is not None})
            self._alive.append(context)
            output = memory[f"state:{recurrence.output}"]
            below = memory[f"half:{recurrence.output}"] if half else output
            self.layers.append(Layer(program.address, context.array.ctypes.data, self._after(output)))
            others = [memory[f"state:{name}"] for name in recurrence.states if name != recurrence.output]
            for each in (*others, *self._halves[-1].values()):
                self.states.append(StateBuffer(self._after(each), each.element_size() * self.stride))

    def _after(self, memory: Tensor) -> tuple[int, int]:
        """Where a state stands after a step of parity 0 and of parity 1."""
        first = memory.data_ptr()
        return first + memory.element_size() * self.stride * self.batch, first

    def put(self, state: Mapping[str, Tensor], parity: int) -> None:
        """Set the states [layers, B, hidden] as a step of parity 1 - ``parity`` would have left them."""
        for name, values in state.items():
            for memory, half, value in zip(self._memory, self._halves, values, strict=True):
                for each in (memory[name], half[name]) if name in half else (memory[name],):
                    each.view(2, self.batch, -1)[parity, :, : self.hidden] = value

    def state(self, parity: int) -> dict[str, Tensor]:
        """The states [layers, B, hidden] that a step of parity ``parity`` would read."""
        return {
            name: torch.stack([m[name].view(2, self.batch, -1)[parity, :, : self.hidden] for m in self._memory])
            for name in self.recurrence.states
        }
