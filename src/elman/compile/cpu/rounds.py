"""How a step is computed: rounds of products in register tiles, each with the pointwise work that follows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from elman.compile.cpu.backward_values import BackwardStep
from elman.compile.cpu.target import Target
from elman.compile.cpu.values import Step, Value, keeps


@dataclass(frozen=True, slots=True)
class Buffer:
    """A piece of memory that a loop reads or writes.

    Attributes:
        name: unique in a loop; its address stands in the context's slot of this name.
        row: which rows a step uses: "prev" and "new" (of a table of the state's own), "cur" (of this step), "index"
            (where an index array says), "zero" (one for each row of the batch), "none" (the same for all rows) or
            "thread" (one for each thread).
        half: bfloat16 instead of float32.
        narrow: one vector a row, the same in all lanes.
    """

    name: str
    row: str
    half: bool = False
    narrow: bool = False


@dataclass(frozen=True, slots=True)
class Pass:
    """Products with one operand, or with neighbouring slots of gradients: one loop over k.

    Attributes:
        operand: what is read; its rows are contiguous.
        start: the first slot, where the operand is the slots' buffer, else 0.
        matrices: for each accumulator of the pass (its position in the group) and each slot the matrix.
    """

    operand: Buffer
    start: int
    matrices: dict[int, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Group:
    """Accumulators that one register tile holds.

    Attributes:
        values: positions of the "products" values.
        passes: what is added up in them.
    """

    values: tuple[int, ...]
    passes: tuple[Pass, ...]


@dataclass(frozen=True, slots=True)
class Round:
    """What is computed of all units of a row before the next round begins.

    Attributes:
        level: of its values.
        groups: register tiles.
        spread: how many vectors of units a tile holds for each accumulator.
        rows: the most rows of a tile.
        stores: (value, buffer, slot) in the order of computation; the slot counts within the slots' buffer.
        sums: (the argument's position, buffer) of means that are added up here.
    """

    level: int
    groups: tuple[Group, ...]
    spread: int
    rows: int
    stores: tuple[tuple[int, Buffer, int], ...]
    sums: tuple[tuple[int, Buffer], ...]


@dataclass(frozen=True)
class Loop:
    """A loop over time, ready to be written down as instructions.

    Attributes:
        backward: it runs from the last step to the first.
        half: products read bfloat16.
        exact: the hidden width is a multiple of the vector; else lanes beyond it are cleared where that matters.
        values: of a step.
        rounds: in order.
        loads: by position the buffer (and slot) that has a value: leaves, and values that an earlier round kept.
        given: in a backward loop by state's name the buffer of the sequence's gradient.
        buffers: all of them by name.
        eight: products in 8 bits, forward only; see :mod:`elman.compile.cpu.eight`.
    """

    backward: bool
    half: bool
    exact: bool
    values: tuple[Value, ...]
    rounds: tuple[Round, ...]
    loads: dict[int, tuple[Buffer, int]]
    given: dict[str, Buffer]
    buffers: dict[str, Buffer]
    eight: bool = False

    @property
    def divisible(self) -> bool:
        """Whether threads may share the units of a row: no sum runs over all of them."""
        return not any(one.sums for one in self.rounds)


SLOTS = "slots"


def forward_loop(
    step: Step,
    backward: BackwardStep | None,
    target: Target,
    half: bool,
    exact: bool,
    wanted: Sequence[str] = (),
    gather: bool = False,
) -> Loop:
    """The loop of forward steps.

    Args:
        step: what a step computes.
        backward: what is to be kept for it; None without gradients.
        target: decides the tiles.
        half: products in bfloat16.
        exact: see :class:`Loop`.
        wanted: states whose sequences are results, beside the output.
        gather: inputs are rows of a table.
    """
    values, nodes = step.values, step.graph.nodes
    node_of = {position: node for node, position in step.at.items()}
    stored = () if backward is None else backward.stored
    stores: list[tuple[int, Buffer]] = []
    memory: dict[int, Buffer] = {}
    operand_buffers: dict[int, Buffer] = {}
    row = "zero" if backward is None else "cur"

    operands = dict.fromkeys(operand for value in values for _, operand in value.parts)
    halves = {values[operand].name for operand in operands if values[operand].op == "state"} if half else set()
    if half:
        halves |= {step.graph.output, *wanted} | (set() if backward is None else set(backward.read_states))
    for name, position in step.states.items():
        buffer = Buffer(f"state:{name}", "new")
        stores.append((position, buffer))
        memory.setdefault(position, buffer)
        if name in halves:
            stores.append((position, Buffer(f"half:{name}", "new", half=True)))
    for operand in operands:
        value = values[operand]
        if value.op == "state":
            operand_buffers[operand] = Buffer(f"{'half' if half else 'state'}:{value.name}", "prev", half)
        elif value.op == "input":
            operand_buffers[operand] = Buffer(f"input:{value.node}", "cur", half)
        else:
            node = node_of.get(operand, -1)
            known = node in stored
            buffer = Buffer(f"stored:{node}" if known else f"operand:{operand}", "cur" if known else row, half)
            operand_buffers[operand] = buffer
            stores.append((operand, buffer))
            if not half:
                memory.setdefault(operand, buffer)
    written = {buffer.name for _, buffer in stores}
    for node in stored:
        position = step.at[node]
        if f"stored:{node}" not in written:
            narrow = nodes[node].width == "row"
            buffer = Buffer(f"stored:{node}", "cur", half and not narrow, narrow)
            stores.append((position, buffer))
            if not buffer.half:
                memory.setdefault(position, buffer)
    index = "index" if gather else "cur"
    leaves: dict[int, tuple[Buffer, int]] = {}
    for position, value in enumerate(values):
        match value.op:
            case "state":
                leaves[position] = Buffer(f"state:{value.name}", "prev"), 0
            case "input":
                leaves[position] = Buffer(f"input:{value.node}", index, half), 0
            case "vector":
                leaves[position] = Buffer(f"vector:{value.node}", "none"), 0
            case "rows":
                leaves[position] = Buffer(f"rows:{value.node}", "zero"), 0
            case "gathered":
                leaves[position] = Buffer("gathered", "index"), value.node
    placed = [(position, buffer, 0) for position, buffer in stores]
    return _loop(values, placed, operand_buffers, leaves, memory, target, half, exact)


def backward_loop(
    backward: BackwardStep,
    states: Sequence[str],
    given: Sequence[str],
    target: Target,
    half: bool,
    exact: bool,
    gather: bool = False,
) -> Loop:
    """The loop of backward steps.

    Args:
        backward: what a step computes.
        states: all names.
        given: states whose sequences have gradients of their own.
        target, half, exact: as of :func:`forward_loop`.
        gather: inputs are rows of a table.
    """
    values = list(backward.values)
    zero = len(values)
    if any(name not in backward.states for name in states):
        values.append(Value("const"))
    slots = Buffer(SLOTS, "cur", half)
    stores: list[tuple[int, Buffer, int]] = [(position, slots, k) for k, position in enumerate(backward.slots)]
    stores += [(backward.states.get(name, zero), Buffer(f"carry:{name}", "prev"), 0) for name in states]
    stores += [(position, Buffer(f"dvector:{node}", "thread"), 0) for node, position in backward.vectors.items()]
    stores += [(position, Buffer(f"drows:{node}", "zero"), 0) for node, position in backward.rows.items()]
    stores += [(position, Buffer(f"dinput:{node}", "cur"), 0) for node, position in backward.elementwise.items()]
    leaves: dict[int, tuple[Buffer, int]] = {}
    for position, value in enumerate(values):
        match value.op:
            case "state" | "new":
                name = f"{'half' if half else 'state'}:{value.name}"
                leaves[position] = Buffer(name, "prev" if value.op == "state" else "new", half), 0
            case "input":
                leaves[position] = Buffer(f"input:{value.node}", "index" if gather else "cur", half), 0
            case "vector":
                leaves[position] = Buffer(f"vector:{value.node}", "none"), 0
            case "rows":
                leaves[position] = Buffer(f"rows:{value.node}", "zero"), 0
            case "cotangent":
                leaves[position] = Buffer(f"carry:{value.name}", "new"), 0
            case "stored":
                narrow = value.node in backward.narrow
                leaves[position] = Buffer(f"stored:{value.node}", "cur", half and not narrow, narrow), 0
    operand_buffers = dict.fromkeys(backward.slots, slots)
    memory = {} if half else dict.fromkeys(backward.slots, slots)
    loop = _loop(tuple(values), stores, operand_buffers, leaves, memory, target, half, exact, backward.slots)
    loop.given.update({name: Buffer(f"given:{name}", "cur", half) for name in given})
    loop.buffers.update({buffer.name: buffer for buffer in loop.given.values()})
    return loop


def _loop(
    values: tuple[Value, ...],
    stores: list[tuple[int, Buffer, int]],
    operand_buffers: dict[int, Buffer],
    leaves: dict[int, tuple[Buffer, int]],
    memory: dict[int, Buffer],
    target: Target,
    half: bool,
    exact: bool,
    slots: tuple[int, ...] = (),
) -> Loop:
    sums = {
        position: Buffer(f"sum:{position}", "zero", narrow=True)
        for position, value in enumerate(values)
        if value.op == "mean"
    }
    roots = [(position, values[position].level) for position, _, _ in stores]
    kept = keeps(values, roots, frozenset(memory))
    stores = stores + [(position, Buffer(f"keep:{position}", "zero"), 0) for position in kept]
    loads = dict(leaves)
    for position, buffer in memory.items():
        if values[position].level and position not in loads:
            loads[position] = buffer, slots.index(position) if position in slots else 0
    loads |= {position: (Buffer(f"keep:{position}", "zero"), 0) for position in kept}
    loads |= {position: (buffer, 0) for position, buffer in sums.items()}
    rounds: list[Round] = []
    for level in range(max((value.level for value in values), default=0) + 1):
        here = tuple(store for store in stores if values[store[0]].level == level)
        adding = tuple(
            (values[position].args[0], buffer)
            for position, buffer in sums.items()
            if values[values[position].args[0]].level == level
        )
        accumulators = [i for i, value in enumerate(values) if value.op == "products" and value.level == level]
        if not (here or adding):
            continue
        groups, spread, rows = _tiles(values, accumulators, operand_buffers, slots, target)
        rounds.append(Round(level, groups, spread, rows, here, adding))
    used = [buffer for buffer, _ in loads.values()] + [buffer for _, buffer, _ in stores]
    used += list(operand_buffers.values())
    buffers = {buffer.name: buffer for buffer in used}
    backward = any(buffer.name.startswith("carry:") for buffer in used)
    return Loop(backward, half, exact, values, tuple(rounds), loads, {}, buffers)


def _tiles(
    values: tuple[Value, ...],
    accumulators: list[int],
    operand_buffers: dict[int, Buffer],
    slots: tuple[int, ...],
    target: Target,
) -> tuple[tuple[Group, ...], int, int]:
    """Groups of accumulators, the spread over units and the rows of a tile."""
    if not accumulators:
        return (), 1, 1
    wide = 4 if target.registers >= 32 else 2
    most = max(wide, 4)
    count = -(-len(accumulators) // most)
    bounds = [len(accumulators) * i // count for i in range(count + 1)]
    # accumulators with the same operands side by side, so that a group reads few
    accumulators = sorted(accumulators, key=lambda i: sorted(operand for _, operand in values[i].parts))
    members = [tuple(accumulators[a:b]) for a, b in pairwise(bounds)]
    spread = max(1, wide // len(accumulators))
    vectors = max(len(group) for group in members) * spread
    rows = max(1, min(8, (target.registers - vectors - 1) // vectors))
    groups = tuple(Group(group, _passes(values, group, operand_buffers, slots)) for group in members)
    return groups, spread, rows


def _passes(
    values: tuple[Value, ...], group: tuple[int, ...], operand_buffers: dict[int, Buffer], slots: tuple[int, ...]
) -> tuple[Pass, ...]:
    rounds: list[tuple[int, dict[int, str]]] = []  # operand, matrix by accumulator
    for place, position in enumerate(group):
        for matrix, operand in values[position].parts:
            for known, matrices in rounds:
                if known == operand and place not in matrices:
                    matrices[place] = matrix
                    break
            else:
                rounds.append((operand, {place: matrix}))
    if slots:
        rounds.sort(key=lambda entry: slots.index(entry[0]))
    passes: list[Pass] = []
    for operand, matrices in rounds:
        buffer = operand_buffers[operand]
        start = slots.index(operand) if slots else 0
        last = passes[-1] if passes else None
        if slots and last is not None:
            run = len(next(iter(last.matrices.values())))
            if last.start + run == start and last.matrices.keys() == matrices.keys():
                passes[-1] = Pass(buffer, last.start, {a: (*last.matrices[a], matrices[a]) for a in matrices})
                continue
        passes.append(Pass(buffer, start, {a: (matrix,) for a, matrix in matrices.items()}))
    return tuple(passes)
