"""Loops in LLVM IR, as functions that are given what one round does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from llvmlite import ir

from elman.compile.cpu.vectors import I64

F64 = ir.DoubleType()
_BYTE = ir.IntType(8)

Body = Callable[[ir.Value, list[ir.Value]], Sequence[ir.Value]]


def integer(value: int) -> ir.Constant:
    """A 64-bit whole number."""
    return ir.Constant(I64, value)


def real(value: float) -> ir.Constant:
    """A float64."""
    return ir.Constant(F64, value)


@contextmanager
def counting(builder: ir.IRBuilder, start: ir.Value, stop: ir.Value, step: ir.Value) -> Iterator[ir.Value]:
    """A loop from start while less than stop; what is written inside is its body."""
    before, function = builder.block, builder.function
    body, after = function.append_basic_block("body"), function.append_basic_block("after")
    builder.cbranch(builder.icmp_signed("<", start, stop), body, after)
    builder.position_at_end(body)
    index = builder.phi(I64)
    index.add_incoming(start, before)
    yield index
    following = builder.add(index, step)
    index.add_incoming(following, builder.block)
    builder.cbranch(builder.icmp_signed("<", following, stop), body, after)
    builder.position_at_end(after)


def place(b: ir.IRBuilder, pointer: ir.Value, i: ir.Value, kind: ir.Type = F64) -> ir.Value:
    """The address of the i-th element of an array."""
    return b.gep(pointer, [i], source_etype=kind)


def offset(b: ir.IRBuilder, pointer: ir.Value, nbytes: ir.Value) -> ir.Value:
    """The address some bytes further."""
    return b.gep(pointer, [nbytes], source_etype=_BYTE)


def variable(b: ir.IRBuilder, start: ir.Value) -> ir.Value:
    """Memory for one value that changes, and holds a first one from here on."""
    # in the entry block: elsewhere the stack would grow at every turn of a loop
    with b.goto_entry_block():
        found = b.alloca(start.type)
    b.store(start, found)
    return found


def loop(
    b: ir.IRBuilder, start: ir.Value, stop: ir.Value, step: int, carried: Sequence[ir.Value], body: Body
) -> tuple[ir.Value, list[ir.Value]]:
    """Write ``for i in range(start, stop, step)`` with values that go from one round to the next.

    Args:
        b: where to write; afterwards it stands behind the loop.
        start: i64.
        stop: i64.
        step: positive.
        carried: the values before the first round.
        body: writes one round, given i and the values; returns their successors.

    Returns:
        The first i that was not used, and the values after the last round.
    """
    before, head = b.block, b.append_basic_block("head")
    inside, after = b.append_basic_block("body"), b.append_basic_block("after")
    b.branch(head)
    b.position_at_end(head)
    i = b.phi(I64)
    i.add_incoming(start, before)
    values = [b.phi(value.type) for value in carried]
    for phi, value in zip(values, carried, strict=True):
        phi.add_incoming(value, before)
    b.cbranch(b.icmp_signed("<", i, stop), inside, after)
    b.position_at_end(inside)
    successors = body(i, list(values))
    for phi, value in zip(values, successors, strict=True):
        phi.add_incoming(value, b.block)
    i.add_incoming(b.add(i, integer(step)), b.block)
    b.branch(head)
    b.position_at_end(after)
    return i, list(values)


def search(b: ir.IRBuilder, size: ir.Value, found: Callable[[ir.Value], ir.Value]) -> ir.Value:
    """The first i below size for which ``found`` writes a true condition; size if there is none."""
    before, head = b.block, b.append_basic_block("search")
    inside, after = b.append_basic_block("look"), b.append_basic_block("found")
    b.branch(head)
    b.position_at_end(head)
    i = b.phi(I64)
    i.add_incoming(integer(0), before)
    b.cbranch(b.icmp_signed("<", i, size), inside, after)
    b.position_at_end(inside)
    stop = found(i)
    following = b.append_basic_block("on")
    b.cbranch(stop, after, following)
    b.position_at_end(following)
    i.add_incoming(b.add(i, integer(1)), following)
    b.branch(head)
    b.position_at_end(after)
    return i
