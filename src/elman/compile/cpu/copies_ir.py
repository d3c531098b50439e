"""Copies between the orders in which torch, the loops and the products keep numbers, as LLVM IR.

The array of the entry "copies" holds the number of threads, the number of jobs, then the jobs, each JOB long. A job
begins with its kind; tables of addresses stand behind the jobs, and a job says how far from the beginning.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llvmlite import ir

from elman.compile.cpu.flow import counting, integer, variable
from elman.compile.cpu.target import Target
from elman.compile.cpu.vectors import F32, I32, I64, POINTER, Vectors

#: Numbers of a job.
JOB = 10
#: By kind what follows it: addresses, positions of tables (pairs of address and floats from row to row for sources,
#: addresses for results), and sizes in floats, vectors, rows or pieces.
FIELDS = {
    "rows": ("result", "sources", "count", "spread", "hidden", "depth", "chunks"),
    "columns": ("result", "sources", "run", "count", "spread", "rows", "columns", "chunks", "narrow"),
    "copy": ("result", "result_stride", "source", "source_stride", "rows", "width", "wide"),
    "unpack": ("source", "results", "units", "depth", "slots", "hidden"),
    "sum": ("result", "source", "parts", "stride", "width"),
}
KINDS = {kind: number for number, kind in enumerate(FIELDS)}


def copies_source(target: Target) -> str:
    """The IR of the entry "copies"."""
    module = ir.Module("copies")
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [POINTER, I64]), "copies")
    array, thread = function.args
    jobs = [_Job(module, target, kind, write).function for kind, write in _WRITERS.items()]
    b = ir.IRBuilder(function.append_basic_block("entry"))
    threads, count = (b.load(_slot(b, array, integer(i)), typ=I64) for i in range(2))
    with counting(b, integer(0), count, integer(1)) as number:
        job = _slot(b, array, b.add(integer(2), b.mul(number, integer(JOB))))
        end = b.append_basic_block("done")
        cases = [b.append_basic_block(kind) for kind in FIELDS]
        switch = b.switch(b.load(job, typ=I64), cases[-1])
        for index, (case, each) in enumerate(zip(cases, jobs, strict=True)):
            if case is not cases[-1]:
                switch.add_case(integer(index), case)
            b.position_at_end(case)
            b.call(each, [array, job, thread, threads])
            b.branch(end)
        b.position_at_end(end)
    b.ret_void()
    return str(module)


def _slot(b: ir.IRBuilder, array: ir.Value, index: ir.Value) -> ir.Value:
    return b.gep(array, [index], source_etype=I64)


class _Job:
    """The function of one kind of job, and what its writer needs."""

    def __init__(self, module: ir.Module, target: Target, kind: str, write: Callable[[_Job], None]):
        shape = ir.FunctionType(ir.VoidType(), [POINTER, POINTER, I64, I64])
        self.function = ir.Function(module, shape, kind)
        self.function.linkage = "internal"
        self.function.attributes.add("noinline")
        self.array, job, self.thread, self.threads = self.function.args
        self.b = ir.IRBuilder(self.function.append_basic_block("entry"))
        self.lanes = target.lanes
        self.v = Vectors(self.b, target.lanes)
        self.at = {
            field: self.b.load(_slot(self.b, job, integer(i)), typ=I64) for i, field in enumerate(FIELDS[kind], 1)
        }
        write(self)
        self.b.ret_void()

    def floats(self, address: ir.Value, index: ir.Value) -> ir.Value:
        """The place of a float behind an address."""
        pointer = self.b.inttoptr(address, POINTER) if address.type == I64 else address
        return self.b.gep(pointer, [index], source_etype=F32)

    def table(self, name: str, index: ir.Value) -> ir.Value:
        """A number of a table."""
        return self.b.load(_slot(self.b, self.array, self.b.add(self.at[name], index)), typ=I64)

    def source(self, index: ir.Value) -> tuple[ir.Value, ir.Value]:
        """The address of a source and floats from row to row."""
        place = self.b.mul(index, integer(2))
        return self.table("sources", place), self.table("sources", self.b.add(place, integer(1)))

    def up(self, size: ir.Value) -> ir.Value:
        """The vectors that so many floats need."""
        return self.b.udiv(self.b.add(size, integer(self.lanes - 1)), integer(self.lanes))

    def whole(self, size: ir.Value) -> ir.Value:
        """The floats that stand in whole vectors."""
        return self.b.and_(size, integer(-self.lanes))

    def transposed(self, rows: Sequence[ir.Value]) -> list[ir.Value]:
        """As many vectors as each has lanes, with rows and lanes exchanged."""
        n, rows = self.lanes, list(rows)
        apart = n // 2
        while apart:
            low = [lane if not lane & apart else n + lane - apart for lane in range(n)]
            high = [lane + apart if not lane & apart else n + lane for lane in range(n)]
            for i in (i for i in range(n) if not i & apart):
                a, b = rows[i], rows[i + apart]
                rows[i], rows[i + apart] = self._shuffled(a, b, low), self._shuffled(a, b, high)
            apart //= 2
        return rows

    def _shuffled(self, a: ir.Value, b: ir.Value, lanes: Sequence[int]) -> ir.Value:
        return self.b.shuffle_vector(a, b, ir.Constant(self.v.integers, [ir.Constant(I32, lane) for lane in lanes]))


def _write_rows(job: _Job) -> None:
    """result[chunk][k][i][s][lane] = source i [(chunk * spread + s) * lanes + lane, k], zero beyond hidden."""
    b, v, at, lanes = job.b, job.v, job.at, job.lanes
    across = b.mul(at["count"], at["spread"])
    line = b.mul(across, integer(lanes))
    last = b.sub(at["hidden"], integer(1))
    with counting(b, job.thread, b.mul(at["chunks"], across), job.threads) as item:
        chunk, place = b.udiv(item, across), b.urem(item, across)
        number, inner = b.udiv(place, at["spread"]), b.urem(place, at["spread"])
        first = b.mul(b.add(b.mul(chunk, at["spread"]), inner), integer(lanes))
        source, stride = job.source(number)
        inside, rows = [], []
        for lane in range(lanes):
            row = b.add(first, integer(lane))
            inside.append(b.icmp_signed("<=", row, last))
            rows.append(job.floats(source, b.mul(b.select(inside[-1], row, last), stride)))
        result = job.floats(at["result"], b.mul(b.add(b.mul(chunk, b.mul(at["depth"], across)), place), integer(lanes)))
        whole = job.whole(at["depth"])
        with counting(b, integer(0), whole, integer(lanes)) as k:
            read = [v.load(job.floats(row, k)) for row in rows]
            read = [b.select(there, value, v.number(0.0)) for there, value in zip(inside, read, strict=True)]
            for further, value in enumerate(job.transposed(read)):
                v.store(value, job.floats(result, b.mul(b.add(k, integer(further)), line)))
        with counting(b, whole, at["depth"], integer(1)) as k:
            value = v.number(0.0)
            for lane, (there, row) in enumerate(zip(inside, rows, strict=True)):
                single = b.load(job.floats(row, k), typ=F32, align=4)
                single = b.select(there, single, ir.Constant(F32, 0.0))
                value = b.insert_element(value, single, ir.Constant(I32, lane))
            v.store(value, job.floats(result, b.mul(k, line)))


def _write_columns(job: _Job) -> None:
    """result[chunk][kv][r][lane][i][s] = source i * run + r [kv * lanes + lane, vector chunk * spread + s], else zero.

    If it is narrow the last chunk ends with its last vector.
    """
    b, v, at, lanes = job.b, job.v, job.at, job.lanes
    deep = job.up(at["rows"])
    with counting(b, job.thread, b.mul(at["chunks"], deep), job.threads) as item:
        chunk, block = b.udiv(item, deep), b.urem(item, deep)
        begin = b.mul(chunk, at["spread"])
        left = b.sub(job.up(at["columns"]), begin)
        fewer = b.and_(b.icmp_signed("!=", at["narrow"], integer(0)), b.icmp_signed("<", left, at["spread"]))
        present = b.select(fewer, left, at["spread"])
        depth = b.mul(b.mul(deep, at["run"]), integer(lanes))
        corner = b.mul(b.mul(begin, depth), b.mul(at["count"], integer(lanes)))
        with (
            counting(b, integer(0), at["run"], integer(1)) as r,
            counting(b, integer(0), at["count"], integer(1)) as number,
        ):
            source, stride = job.source(b.add(b.mul(number, at["run"]), r))
            with counting(b, integer(0), integer(lanes), integer(1)) as lane:
                row = b.add(b.mul(block, integer(lanes)), lane)
                k = b.add(b.mul(b.add(b.mul(block, at["run"]), r), integer(lanes)), lane)
                place = b.mul(b.mul(b.add(b.mul(k, at["count"]), number), present), integer(lanes))
                # a row that is not there ends before its first column
                end = b.select(b.icmp_signed("<", row, at["rows"]), at["columns"], integer(0))
                with counting(b, integer(0), present, integer(1)) as s:
                    column = b.mul(b.add(begin, s), integer(lanes))
                    result = job.floats(at["result"], b.add(corner, b.add(place, b.mul(s, integer(lanes)))))
                    line = job.floats(source, b.add(b.mul(row, stride), column))
                    with b.if_else(b.icmp_signed("<=", b.add(column, integer(lanes)), end), likely=True) as (
                        full,
                        part,
                    ):
                        with full:
                            v.store(v.load(line), result)
                        with part:
                            v.store(v.number(0.0), result)
                            with counting(b, integer(0), b.sub(end, column), integer(1)) as i:
                                b.store(b.load(job.floats(line, i), typ=F32, align=4), job.floats(result, i), align=4)


def _write_copy(job: _Job) -> None:
    """result[row][i] = source[row][i] for i below the width, zero from there to what is wide."""
    b, v, at, lanes = job.b, job.v, job.at, job.lanes
    with counting(b, job.thread, at["rows"], job.threads) as row:
        result = job.floats(at["result"], b.mul(row, at["result_stride"]))
        source = job.floats(at["source"], b.mul(row, at["source_stride"]))
        whole = job.whole(at["width"])
        with counting(b, integer(0), whole, integer(lanes)) as i:
            v.store(v.load(job.floats(source, i)), job.floats(result, i))
        with counting(b, whole, at["width"], integer(1)) as i:
            b.store(b.load(job.floats(source, i), typ=F32, align=4), job.floats(result, i), align=4)
        full = b.mul(job.up(at["width"]), integer(lanes))
        even = b.select(b.icmp_signed("<", full, at["wide"]), full, at["wide"])
        with counting(b, at["width"], even, integer(1)) as i:
            b.store(ir.Constant(F32, 0.0), job.floats(result, i), align=4)
        with counting(b, even, job.whole(at["wide"]), integer(lanes)) as i:
            v.store(v.number(0.0), job.floats(result, i))
        begun = b.select(b.icmp_signed("<", even, job.whole(at["wide"])), job.whole(at["wide"]), even)
        with counting(b, begun, at["wide"], integer(1)) as i:
            b.store(ir.Constant(F32, 0.0), job.floats(result, i), align=4)


def _write_unpack(job: _Job) -> None:
    """result slot [unit * lanes + lane, k] = source[unit, k, slot * lanes + lane], below the hidden width."""
    b, v, at, lanes = job.b, job.v, job.at, job.lanes
    line = b.mul(at["slots"], integer(lanes))
    with counting(b, job.thread, b.mul(at["units"], at["slots"]), job.threads) as item:
        unit, slot = b.udiv(item, at["slots"]), b.urem(item, at["slots"])
        first = b.mul(unit, integer(lanes))
        left = b.sub(at["hidden"], first)
        result = job.floats(job.table("results", slot), b.mul(first, at["depth"]))
        source = job.floats(at["source"], b.add(b.mul(b.mul(unit, at["depth"]), line), b.mul(slot, integer(lanes))))
        whole = job.whole(at["depth"])
        with counting(b, integer(0), whole, integer(lanes)) as k:
            read = [v.load(job.floats(source, b.mul(b.add(k, integer(i)), line))) for i in range(lanes)]
            for lane, value in enumerate(job.transposed(read)):
                with b.if_then(b.icmp_signed("<", integer(lane), left), likely=True):
                    v.store(value, job.floats(result, b.add(b.mul(integer(lane), at["depth"]), k)))
        with counting(b, whole, at["depth"], integer(1)) as k:
            value = v.load(job.floats(source, b.mul(k, line)))
            for lane in range(lanes):
                with b.if_then(b.icmp_signed("<", integer(lane), left), likely=True):
                    single = b.extract_element(value, ir.Constant(I32, lane))
                    b.store(single, job.floats(result, b.add(b.mul(integer(lane), at["depth"]), k)), align=4)


def _write_sum(job: _Job) -> None:
    """result[i] = the sum over parts of source[part][i]."""
    b, at = job.b, job.at
    with counting(b, job.thread, at["width"], job.threads) as i:
        total = variable(b, ir.Constant(F32, 0.0))
        with counting(b, integer(0), at["parts"], integer(1)) as part:
            value = b.load(job.floats(at["source"], b.add(b.mul(part, at["stride"]), i)), typ=F32, align=4)
            b.store(b.fadd(b.load(total, typ=F32), value), total)
        b.store(b.load(total, typ=F32), job.floats(at["result"], i), align=4)


_WRITERS: dict[str, Callable[[_Job], None]] = {
    "rows": _write_rows,
    "columns": _write_columns,
    "copy": _write_copy,
    "unpack": _write_unpack,
    "sum": _write_sum,
}
