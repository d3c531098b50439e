"""Copies between orders of numbers, against the same orders in torch."""

from __future__ import annotations

import pytest
import torch
from cpu_cases import needs_backend
from torch import Tensor
from torch.nn import functional

from elman.compile.cpu.copies import Jobs
from elman.compile.cpu.target import host_target, named_target

pytestmark = needs_backend
POSSIBLE = {"avx512": ["avx512", "avx2", "x86-64"], "avx2": ["avx2", "x86-64"]}
TARGETS = [named_target(name) for name in POSSIBLE.get(host_target().name, [host_target().name])]
SIZES = [(1, 1), (3, 7), (15, 16), (16, 15), (17, 33), (48, 64), (70, 130)]


def up(size: int, unit: int) -> int:
    return -(-size // unit)


def guarded(size: int) -> tuple[Tensor, Tensor]:
    """Room for so many floats, none of which is what it will be, and the same with what stands around it."""
    whole = torch.full((size + 64,), torch.nan)
    return whole[32 : 32 + size], whole


def untouched(whole: Tensor) -> bool:
    return bool(whole[:32].isnan().all() and whole[-32:].isnan().all())


def matrices(count: int, rows: int, columns: int, kind: str) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    made = [torch.randn(rows, columns + 3, generator=generator) for _ in range(count)]
    if kind == "wide rows":
        return [each[:, :columns] for each in made]
    if kind == "transposed":
        return [each[:, :columns].t().contiguous().t() for each in made]
    return [each[:, :columns].double() for each in made]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize("kind", ["wide rows", "transposed", "float64"])
@pytest.mark.parametrize(("hidden", "depth"), SIZES)
def test_rows(target, kind: str, hidden: int, depth: int) -> None:
    lanes = target.lanes
    for count, spread in ((1, 4), (3, 1), (2, 2)):
        given = matrices(count, hidden, depth, kind)
        chunks = up(hidden, spread * lanes)
        found, whole = guarded(chunks * depth * count * spread * lanes)
        jobs = Jobs(target)
        jobs.rows(found.data_ptr(), given, spread, chunks)
        jobs.run()
        stack = functional.pad(torch.stack(given).float(), (0, 0, 0, chunks * spread * lanes - hidden))
        right = stack.view(count, chunks, spread, lanes, depth).permute(1, 4, 0, 2, 3)
        assert torch.equal(found.view(right.shape), right)
        assert untouched(whole)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize("kind", ["wide rows", "transposed", "float64"])
@pytest.mark.parametrize(("rows", "columns"), SIZES)
def test_columns(target, kind: str, rows: int, columns: int) -> None:
    lanes = target.lanes
    deep = up(rows, lanes)
    for run, count, spread in ((1, 1, 4), (3, 1, 2), (2, 2, 1)):
        given = matrices(run * count, rows, columns, kind)
        chunks = up(columns, spread * lanes)
        wide = chunks * spread * lanes
        stack = functional.pad(torch.stack(given).float(), (0, wide - columns, 0, deep * lanes - rows))
        right = stack.view(count, run, deep, lanes, chunks, spread, lanes).permute(4, 2, 1, 3, 0, 5, 6)
        found, whole = guarded(right.numel())
        jobs = Jobs(target)
        jobs.columns(found.data_ptr(), given, run, spread, chunks)
        jobs.run()
        assert torch.equal(found.view(right.shape), right)
        assert untouched(whole)
        if count > 1:
            continue
        panels = [right[chunk, ..., : up(columns, lanes) - chunk * spread, :].flatten() for chunk in range(chunks)]
        narrow, whole = guarded(sum(len(panel) for panel in panels))
        jobs = Jobs(target)
        jobs.columns(narrow.data_ptr(), given, run, spread, chunks, narrow=True)
        jobs.run()
        assert torch.equal(narrow, torch.cat(panels))
        assert untouched(whole)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize(("hidden", "depth"), SIZES)
def test_unpack(target, hidden: int, depth: int) -> None:
    lanes = target.lanes
    for slots in (1, 3):
        product = torch.randn(up(hidden, lanes), depth, slots * lanes)
        rooms = [guarded(hidden * depth) for _ in range(slots)]
        jobs = Jobs(target)
        jobs.unpack(product, [room.view(hidden, depth) for room, _ in rooms])
        jobs.run()
        right = product.view(-1, depth, slots, lanes).permute(2, 0, 3, 1).flatten(1, 2)
        for each, (room, whole) in zip(right, rooms, strict=True):
            assert torch.equal(room.view(hidden, depth), each[:hidden])
            assert untouched(whole)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize("width", [1, 15, 16, 17, 40])
def test_rows_zeros_and_sums_in_one_call(target, width: int) -> None:
    source = torch.randn(5, width)
    wide = up(width, target.lanes) * target.lanes
    (copied, first), (moved, second), (zeros, third), (total, last) = (
        guarded(size) for size in (5 * wide, 5 * width, 3 * wide, width)
    )
    jobs = Jobs(target)
    jobs.copy(copied.data_ptr(), wide, source[:1].expand(5, width), wide)
    jobs.move(moved.data_ptr(), width, source.data_ptr(), width, 5, width)
    jobs.zeros(zeros.data_ptr(), 3, wide)
    jobs.sum(total.data_ptr(), source.data_ptr(), 5, width, width)
    jobs.run()
    assert torch.equal(copied.view(5, wide), functional.pad(source[:1].expand(5, width), (0, wide - width)))
    assert torch.equal(moved.view(5, width), source)
    assert not zeros.any()
    torch.testing.assert_close(total, source.sum(0))
    assert all(untouched(whole) for whole in (first, second, third, last))
