"""Matrix products outside the time loop, against torch in float64."""

from __future__ import annotations

import ctypes
import mmap
import re
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from elman.compile.cpu import products, products_ir
from elman.compile.cpu.products import outer, pack_times, times
from elman.compile.cpu.products_copies import CHUNK, tile_shape
from elman.compile.cpu.target import Target, host_target, named_target
from elman.compile.cpu.toolchain import assembly
from elman.errors import MisuseError

# x86-64 code runs wherever avx2 code does, and that wherever avx512 code does
_RUNNABLE = {
    "avx512": ["avx512", "avx2", "x86-64"],
    "avx2": ["avx2", "x86-64"],
    "x86-64": ["x86-64"],
    "neon": ["neon"],
}
_NAMES = ["avx512", "avx2", "x86-64", "neon"]


@pytest.fixture(params=_NAMES)
def target(request: pytest.FixtureRequest) -> Target:
    name = request.param
    if name not in _RUNNABLE[host_target().name]:
        pytest.skip(f"this machine cannot run code for {name}")
    return named_target(name)


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def _random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def _assert_close(found: Tensor, exact: Tensor, terms: Tensor) -> None:
    """The error is within 4 eps of the sum of absolute terms; a term that is lost makes some thousand times that.

    Rounding errors of a sum walk randomly: one in 10^5 elements of torch's own float32 products is off by 2.2 eps.
    """
    assert found.shape == exact.shape
    assert found.dtype == torch.float32
    assert bool(((found.double() - exact).abs() <= 4 * torch.finfo(torch.float32).eps * terms + 1e-30).all())


def _check_outer(gradients: Tensor, operand: Tensor, start: int, width: int, target: Target) -> Tensor:
    found = outer(gradients, operand, start, width, target)
    g, x = gradients[:, :, start : start + width].double(), operand.double()
    equation = "brw,rk->bkw"
    _assert_close(found, torch.einsum(equation, g, x), torch.einsum(equation, g.abs(), x.abs()))
    return found


def _check_times(a: Tensor, matrix: Tensor, start: int, target: Target, add: Tensor | None = None) -> Tensor:
    blocks = a if a.dim() == 3 else a.unsqueeze(0)
    width = matrix.shape[0] // blocks.shape[0]
    whole = blocks[:, :, start : start + width].permute(1, 0, 2).reshape(blocks.shape[1], -1).double()
    exact, terms = whole @ matrix.double(), whole.abs() @ matrix.double().abs()
    if add is not None:
        exact, terms = exact + add.double(), terms + add.double().abs()
    found = times(a, pack_times(matrix, target), matrix.shape[1], start, width, add, target)
    _assert_close(found, exact, terms)
    return found


@pytest.mark.parametrize(
    ("blocks", "rows", "panel", "depth", "start", "width"),
    [
        (1, 1, 16, 1, 0, 16),
        (3, 7, 64, 6, 0, 64),
        (2, 64, 64, 65, 16, 32),
        (5, CHUNK + 1, 48, 13, 32, 16),
        (7, 2 * CHUNK + 5, 16, 128, 0, 16),
        (1, 100, 112, 200, 0, 112),
        (2, 33, 128, 1000, 0, 128),
    ],
)
def test_outer(blocks: int, rows: int, panel: int, depth: int, start: int, width: int, target: Target) -> None:
    _check_outer(_random(blocks, rows, panel), _random(rows, depth), start, width, target)


def test_outer_takes_as_many_passes_as_the_copies_need(target: Target) -> None:
    _check_outer(_random(2, CHUNK, 16), _random(CHUNK, 1100), 0, 16, target)


def test_outer_reads_rows_that_lie_apart(target: Target) -> None:
    _check_outer(_random(2, 50, 32), _random(50, 40)[:, 3:20], 0, 32, target)


@pytest.mark.parametrize("columns", [1, 15, 16, 17, 63, 64, 65, 100, 130])
def test_times_every_width(columns: int, target: Target) -> None:
    _check_times(_random(2, 20, 48), _random(96, columns), 0, target)


@pytest.mark.parametrize(
    ("blocks", "rows", "panel", "width", "start"),
    [
        (1, 1, 1, 1, 0),
        (1, 5, 65, 65, 0),
        (4, 6, 64, 64, 0),
        (9, 13, 48, 16, 32),
        (5, 600, 128, 128, 0),
        (1, 31, 2 * CHUNK + 9, 2 * CHUNK + 3, 4),
        (30, 8, 20, 19, 1),
    ],
)
def test_times(blocks: int, rows: int, panel: int, width: int, start: int, target: Target) -> None:
    _check_times(_random(blocks, rows, panel), _random(blocks * width, 70), start, target)


def test_times_takes_a_matrix_whose_rows_lie_apart(target: Target) -> None:
    _check_times(_random(50, 90)[:, 5:80], _random(75, 33), 0, target)


@pytest.mark.parametrize("columns", [64, 37])
def test_times_adds(columns: int, target: Target) -> None:
    add = _random(40, columns)
    given = add.clone()
    blocks, matrix = _random(6, 40, 64), _random(384, columns)
    exact = add.double() + blocks.permute(1, 0, 2).reshape(40, -1).double() @ matrix.double()
    found = times(blocks, pack_times(matrix, target), columns, add=given, target=target)
    assert found.data_ptr() == given.data_ptr()
    torch.testing.assert_close(given.double(), exact, rtol=1e-5, atol=1e-4)


def test_packing_takes_any_strides(target: Target) -> None:
    matrix = _random(150, 77)
    plain = pack_times(matrix, target)
    assert torch.equal(pack_times(matrix.t().contiguous().t(), target), plain)
    assert torch.equal(pack_times(_random(150, 160).copy_(matrix.repeat(1, 3)[:, :160])[:, :77], target), plain)
    # every number of the matrix, and zeros beside them
    assert plain.count_nonzero() == matrix.count_nonzero()
    assert torch.equal(plain[plain != 0].sort().values, matrix.flatten().sort().values)


def test_nothing_to_sum_up_gives_zeros(target: Target) -> None:
    assert torch.equal(outer(torch.empty(2, 0, 16), torch.empty(0, 3), target=target), torch.zeros(2, 3, 16))
    packed = pack_times(torch.empty(0, 5), target)
    assert torch.equal(times(torch.empty(4, 0), packed, 5, target=target), torch.zeros(4, 5))
    assert times(torch.empty(1, 0, 8), pack_times(_random(8, 5), target), 5, target=target).shape == (0, 5)


@pytest.mark.parametrize(("blocks", "rows", "depth"), [(3, 2500, 65), (1, 300, 128), (8, 40, 5)])
def test_the_number_of_threads_does_not_matter(
    blocks: int, rows: int, depth: int, threads: Callable[[int], None]
) -> None:
    results = []
    gradients, operand, weights = _random(blocks, rows, 64), _random(rows, depth), _random(blocks * 64, depth)
    for number in (1, 2, 3, 5):
        threads(number)
        packed = pack_times(weights)
        results.append((packed, outer(gradients, operand), times(gradients, packed, depth)))
    for found in results[1:]:
        assert all(torch.equal(left, right) for left, right in zip(found, results[0], strict=True))


@pytest.mark.parametrize(
    ("down", "across", "grid"),
    [
        ((2500, 6), (65, 64), (2, 1)),  # one panel of 64 columns and one of 1 would be half of the work and nothing
        ((5, 6), (1000, 64), (1, 2)),
        ((8, 4), (128, 6), (2, 1)),
        ((4, 4), (128, 6), (1, 2)),
        ((1, 4), (1, 6), (1, 1)),
    ],
)
def test_two_threads_get_even_shares(
    down: tuple[int, int], across: tuple[int, int], grid: tuple[int, int], threads: Callable[[int], None]
) -> None:
    threads(2)
    assert products._grid(down, across) == grid


_libc = ctypes.CDLL(None, use_errno=True)


class _Guarded:
    """Memory of some floats that is followed, or preceded, by a page that may not be touched."""

    def __init__(self) -> None:
        self.maps: list[mmap.mmap] = []

    def copy(self, tensor: Tensor, behind: bool) -> Tensor:
        page = mmap.PAGESIZE
        size = 4 * tensor.numel()
        whole = -(-size // page) * page
        memory = mmap.mmap(-1, whole + 2 * page)
        self.maps.append(memory)
        start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        for forbidden in (start, start + page + whole):
            assert _libc.mprotect(ctypes.c_void_p(forbidden), ctypes.c_size_t(page), 0) == 0
        offset = page + (whole - size if behind else 0)
        copy = torch.frombuffer(memory, dtype=torch.float32, count=tensor.numel(), offset=offset).view(tensor.shape)
        return copy.copy_(tensor)


@pytest.mark.parametrize("behind", [True, False])
@pytest.mark.parametrize(("rows", "depth"), [(1, 1), (7, 65), (CHUNK + 3, 13), (64, 100)])
def test_nothing_outside_the_operands_is_touched(
    rows: int, depth: int, behind: bool, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    guarded = _Guarded()

    def empty(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        return guarded.copy(torch.full(shape, torch.nan, dtype=dtype), behind)

    monkeypatch.setattr("elman.compile.cpu.products.new", empty)
    gradients = guarded.copy(_random(3, rows, 48), behind)
    operand = guarded.copy(_random(rows, depth), behind)
    _check_outer(gradients, operand, 0, 48, target)
    for matrix in (_random(depth, 37), _random(37, depth).t()):
        stored = guarded.copy(matrix if matrix.is_contiguous() else matrix.t(), behind)
        view = stored if matrix.is_contiguous() else stored.t()
        _check_times(operand, view, 0, target)
    sums = guarded.copy(_random(rows, 70), behind)
    times(gradients, pack_times(guarded.copy(_random(144, 70), behind), target), 70, add=sums, target=target)
    assert bool(torch.isfinite(sums).all())


@pytest.mark.parametrize("name", _NAMES)
@pytest.mark.parametrize("source", [products_ir.outer_source, products_ir.times_source])
def test_the_sums_stay_in_registers(name: str, source: Callable[[Target], str]) -> None:
    target = named_target(name)
    loops = _inner_loops(assembly(source(target), target))
    rows, vectors = tile_shape(target)
    products = [sum(bool(re.search(r"fmadd|mulps|fmla", line)) for line in loop) for loop in loops]
    assert max(products) >= rows * vectors
    stack = r"\(%r[sb]p\)|\[sp\b"
    assert not [
        line for loop, count in zip(loops, products, strict=True) if count for line in loop if re.search(stack, line)
    ]


def _inner_loops(text: str) -> list[list[str]]:
    """The lines between a label and a jump back to it, without labels between them."""
    lines, found = text.splitlines(), []
    last: tuple[str, int] | None = None
    for number, line in enumerate(lines):
        if label := re.match(r"(\.\w+):", line):
            last = label[1], number
        elif last and re.match(rf"\s+(j\w+|b\.\w+|cbn?z\s+\w+,|tbn?z\s+.*,)\s+{re.escape(last[0])}$", line):
            found.append(lines[last[1] : number])
    return found


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: outer(torch.zeros(1, 4, 16), torch.zeros(5, 3)), "must have 4 rows"),
        (lambda: outer(torch.zeros(1, 4, 17), torch.zeros(4, 3)), "multiple"),
        (lambda: outer(torch.zeros(1, 16, 4).mT, torch.zeros(4, 3)), "contiguous"),
        (lambda: outer(torch.zeros(1, 4, 16), torch.zeros(3, 4).t()), "contiguous"),
        (lambda: outer(torch.zeros(1, 4, 16).double(), torch.zeros(4, 3)), "float32"),
        (lambda: outer(torch.zeros(1, 4, 32), torch.zeros(4, 3), 16, 32), "within"),
        (lambda: times(torch.zeros(4, 8), pack_times(torch.zeros(9, 16)), 16), "packed"),
        (lambda: times(torch.zeros(4, 8), pack_times(torch.zeros(8, 16)), 16, add=torch.zeros(4, 15)), "added"),
        (lambda: pack_times(torch.zeros(8)), "2 dimensions"),
    ],
)
def test_what_does_not_fit_is_refused(call: Callable[[], Tensor], words: str) -> None:
    with pytest.raises(MisuseError, match=words):
        call()
