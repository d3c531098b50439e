"""Where threads that work on the units of the same rows wait for each other between two rounds of a step."""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from elman.compile.cpu.flow import integer, search
from elman.compile.cpu.target import Target
from elman.compile.cpu.vectors import I32, I64, POINTER, declare

#: The slot of a context, and the piece of memory, that the counters stand in.
MEETING = "meeting"
#: Floats that the counter of one meeting takes: a cache line of its own.
COUNTER = 16
#: Looks at the counter before the first call of the system: less than a tenth of a millisecond, many times what a round
#: takes. Who has still not come by then is late: the system has given the processor to somebody else.
_LOOKS = 1 << 11
#: How often the rest of the time slice is given away before a thread sleeps.
_YIELDS = 1 << 6
#: Microseconds of a sleep.
_SLEEP = 50


def define_meeting(module: ir.Module, target: Target) -> ir.Function:
    """``void meet(counter, i64 goal, late)``: adds one to the counter and comes back when it has reached the goal.

    The counter only grows, so that nobody has to reset it: with n threads the goals are n, 2n, 3n and so on. What a
    thread wrote before is seen by all afterwards. Whoever waits looks for a short time; then it gives its processor to
    others, and at last sleeps, in case a thread that is waited for has none. ``late`` counts how often it came to that.

    Args:
        module: gets the function.
        target: decides how a waiting processor rests.
    """
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [POINTER, I64, POINTER]), "meet")
    function.linkage = "internal"
    function.attributes.add("noinline")
    counter, goal, late = function.args
    b = ir.IRBuilder(function.append_basic_block("entry"))
    before = b.atomic_rmw("add", counter, integer(1), "acq_rel")
    with b.if_then(b.icmp_signed(">=", b.add(before, integer(1)), goal)):
        b.ret_void()

    def all_here() -> ir.Value:
        return b.icmp_signed(">=", b.load_atomic(counter, "acquire", 8, typ=I64), goal)

    def wait(times: int, rest: Callable[[], None]) -> ir.Value:
        """Look so many times, with a rest before each; true where all have come."""

        def look(_: ir.Value) -> ir.Value:
            rest()
            return all_here()

        return b.icmp_signed("<", search(b, integer(times), look), integer(times))

    with b.if_then(wait(_LOOKS, lambda: _rest(b, target))):
        b.ret_void()
    b.atomic_rmw("add", late, integer(1), "monotonic")
    with b.if_then(wait(_YIELDS, lambda: _call(b, "sched_yield"))):
        b.ret_void()
    wait(2**63 - 1, lambda: _call(b, "usleep", ir.Constant(I32, _SLEEP)))
    b.ret_void()
    return function


def _rest(b: ir.IRBuilder, target: Target) -> None:
    if target.name == "neon":
        hint = declare(b.module, "llvm.aarch64.hint", ir.VoidType(), [I32])
        b.call(hint, [ir.Constant(I32, 1)])
    else:
        b.call(declare(b.module, "llvm.x86.sse2.pause", ir.VoidType(), []), [])


def _call(b: ir.IRBuilder, name: str, *operands: ir.Value) -> None:
    b.call(declare(b.module, name, I32, [I32] * len(operands)), operands)
