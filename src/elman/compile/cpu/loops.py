"""A loop over time as LLVM IR: `void run(i64* context, i64 thread)`."""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from elman.compile.cpu.flow import counting, integer, variable
from elman.compile.cpu.loop_context import context_slots, load_slot
from elman.compile.cpu.loop_round import write_round
from elman.compile.cpu.meeting import COUNTER, MEETING, define_meeting
from elman.compile.cpu.rounds import Loop
from elman.compile.cpu.target import Target
from elman.compile.cpu.vectors import F32, I64, POINTER


def write_loop(loop: Loop, target: Target) -> str:
    """The text of the module.

    Args:
        loop: what to compute.
        target: what it will run on.
    """
    return _Writer(loop, target).write()


class _Writer:
    def __init__(self, loop: Loop, target: Target):
        self.loop, self.target, self.lanes = loop, target, target.lanes
        self.module = ir.Module("loop")
        self.slots = context_slots(loop)

    def write(self) -> str:
        numbers = range(len(self.loop.rounds))
        rounds = [write_round(self.module, self.loop, self.target, self.slots, number) for number in numbers]
        run = ir.Function(self.module, ir.FunctionType(ir.VoidType(), [POINTER, I64]), "run")
        context, number = run.args
        b = ir.IRBuilder(run.append_basic_block("entry"))
        scratch = self._scratch(b)
        t0, t1 = self._slot(b, context, "t0"), self._slot(b, context, "t1")
        share, meet = self._share(b, context, number)
        with counting(b, t0, t1, integer(1)) as index:
            t = b.sub(b.add(t0, b.sub(t1, integer(1))), index) if self.loop.backward else index
            for function, one in zip(rounds, self.loop.rounds, strict=True):
                # a forward step may write over what somebody still reads in the step before it; a backward step
                # writes rows of its own for the products that follow
                if one.groups or not (self.loop.backward or one.level):
                    meet()
                b.call(function, [context, t, *share, scratch])
        b.ret_void()
        return str(self.module)

    def _share(self, b: ir.IRBuilder, context: ir.Value, number: ir.Value) -> tuple[list[ir.Value], Callable[[], None]]:
        """What a thread works on (its share of the rows, among how many, first and last + 1 unit), and its meetings.

        Threads that share rows take turns in the numbers. A thread of the number -1 is alone and does everything.
        """
        units, ways = self._slot(b, context, "units"), self._slot(b, context, "ways")
        threads = self._slot(b, context, "threads")
        if not self.loop.divisible:
            return [number, threads, integer(0), units], lambda: None
        alone = b.icmp_signed("<", number, integer(0))
        threads, ways, number = (b.select(alone, integer(one), n) for one, n in ((1, threads), (1, ways), (0, number)))
        thread, way = b.sdiv(number, ways), b.srem(number, ways)
        # every round cuts at the same units: its pointwise work finds what this thread itself has left
        widest = max(one.spread for one in self.loop.rounds)
        blocks = b.sdiv(b.add(units, integer(widest - 1)), integer(widest))

        def cut(part: ir.Value) -> ir.Value:
            place = b.mul(b.sdiv(b.mul(blocks, part), ways), integer(widest))
            return b.select(b.icmp_signed("<", place, units), place, units)

        share = [thread, threads, cut(way), cut(b.add(way, integer(1)))]
        together = b.icmp_signed(">", ways, integer(1))
        counter = b.gep(b.inttoptr(self._slot(b, context, MEETING), POINTER), [b.mul(thread, integer(4 * COUNTER))],
                        source_etype=ir.IntType(8))  # fmt: skip
        late = b.inttoptr(self._slot(b, context, "late"), POINTER)
        goal, function = variable(b, integer(0)), define_meeting(self.module, self.target)

        def meet() -> None:
            with b.if_then(together):
                following = b.add(b.load(goal, typ=I64), ways)
                b.store(following, goal)
                b.call(function, [counter, following, late])

        return share, meet

    def _scratch(self, b: ir.IRBuilder) -> ir.Value:
        sizes = [one.rows * one.spread * sum(len(g.values) for g in one.groups) for one in self.loop.rounds]
        size = max([1, *sizes])
        vector = ir.VectorType(F32, self.lanes)
        scratch = b.alloca(vector, size)
        scratch.align = 4 * self.lanes
        return scratch

    def _slot(self, b: ir.IRBuilder, context: ir.Value, name: str) -> ir.Value:
        return load_slot(b, context, self.slots, name)
