"""What a loop is told: the slots of its context."""

from __future__ import annotations

from llvmlite import ir

from elman.compile.cpu.flow import integer
from elman.compile.cpu.meeting import MEETING
from elman.compile.cpu.rounds import SLOTS, Buffer, Loop
from elman.compile.cpu.vectors import I64

#: What every context begins with: first and last + 1 step; among how many threads the rows are shared; rows that stay
#: together; among how many the units of the same rows are shared, the address of their counters, one for each share of
#: rows, and that of the number of late ones; addresses of the rows alive at each step, of the first row of each step,
#: and of the rows' indices; vectors of units; width.
HEADER = ("t0", "t1", "threads", "group", "ways", MEETING, "late", "counts", "cur", "index", "units", "width")


def context_slots(loop: Loop) -> dict[str, int]:
    """By name the position of every slot of a loop's context.

    Beside the header a buffer b has its address "b"; "b.rows", the address of the table of its first row at each step
    (only "prev" and "new"); "b.stride", bytes from row to row (only what is not as wide as the state) and, for slots,
    "b.units" and "b.slot", bytes from one vector of units and from one slot to the next. Pass p of group g in round r
    has "r.g.p.weights", "r.g.p.outer", "r.g.p.inner" (numbers of iterations) and "r.g.p.step" (bytes of the operand
    an outer iteration). In 8 bits "r.g.p.bytes" is where the operand's rows go, "outer" counts their numbers, "inner"
    the fours of them, and "step" is the bytes of a row.
    """
    names = list(HEADER)
    for name in sorted(loop.buffers):
        buffer = loop.buffers[name]
        names.append(name)
        if buffer.row in ("prev", "new"):
            names.append(f"{name}.rows")
        if has_stride(buffer):
            names.append(f"{name}.stride")
        if name == SLOTS:
            names += [f"{name}.units", f"{name}.slot"]
    extra = ("bytes",) if loop.eight else ()
    for r, one in enumerate(loop.rounds):
        for g, group in enumerate(one.groups):
            for p in range(len(group.passes)):
                names += [f"{r}.{g}.{p}.{what}" for what in ("weights", "outer", "inner", "step", *extra)]
    return {name: position for position, name in enumerate(names)}


def has_stride(buffer: Buffer) -> bool:
    """Whether a buffer's rows may be of another width than the state's."""
    return buffer.name == SLOTS or buffer.name == "gathered" or buffer.name.startswith("input:")


def load_slot(b: ir.IRBuilder, context: ir.Value, slots: dict[str, int], name: str) -> ir.Value:
    """The value of a slot, i64."""
    return b.load(b.gep(context, [integer(slots[name])], source_etype=I64), typ=I64, align=8)
