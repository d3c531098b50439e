"""The packed readout against torch's matrix product."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from llvmlite import ir

from elman.compile.cpu.flow import integer, place
from elman.compile.cpu.readout import Format, Packed, define_readout, pack
from elman.compile.cpu.target import Target, host_target, named_target
from elman.compile.cpu.threads import parallel
from elman.compile.cpu.toolchain import Code, assembly, compile_object
from elman.compile.cpu.vectors import I64, POINTER
from elman.errors import MisuseError

_CODE: dict[tuple[str, str], Code] = {}
_POINTERS = {0, 1, 2, 6, 8}


def source(target: Target, format: Format) -> str:
    module = ir.Module()
    readout = define_readout(module, target, format)
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [POINTER, I64]), "entry")
    b = ir.IRBuilder(function.append_basic_block())
    slots = [b.load(place(b, function.args[0], integer(i), I64), typ=I64) for i in range(11)]
    b.call(readout, [b.inttoptr(slot, POINTER) if i in _POINTERS else slot for i, slot in enumerate(slots)])
    b.ret_void()
    return str(module)


def computed(packed: Packed, h: torch.Tensor, target: Target) -> torch.Tensor:
    """y [B, V] of h [B, stride]; memory behind the last row and behind H is not a number."""
    key = target.name, packed.format
    if key not in _CODE:
        _CODE[key] = Code(compile_object(source(target, packed.format), target))
    guarded = torch.full((h.shape[0], h.shape[1] + 5), torch.nan)
    guarded[:, : packed.hidden] = h
    y = torch.full((len(h) + 1, packed.padded), 77.0)
    ctx = [packed.weights.data_ptr(), packed.scales.data_ptr(), packed.bias.data_ptr()]
    ctx += [packed.hidden, packed.panels, packed.singles, guarded.data_ptr(), 4 * guarded.shape[1]]
    ctx += [y.data_ptr(), 4 * packed.padded, len(h)]
    parallel(_CODE[key].address("entry"), np.array(ctx, np.int64).ctypes.data, 1)
    assert (y[-1] == 77).all()
    assert (y[:-1, packed.size :] == -torch.inf).all()
    return y[:-1, : packed.size]


def stored(packed: Packed, weight: torch.Tensor) -> torch.Tensor:
    """The weights as their format keeps them."""
    if packed.format == "bf16":
        return weight.bfloat16().float()
    if packed.format == "int8":
        scale = weight.abs().amax(dim=1, keepdim=True) / 127
        return torch.where(scale > 0, (weight / scale).round() * scale, 0.0)
    return weight


@pytest.fixture(scope="module", params=["host", "avx2", "x86-64"])
def target(request: Any) -> Target:
    host = host_target()
    if request.param == "host":
        return host
    if host.name not in ("avx2", "avx512"):
        pytest.skip("this machine has no lesser target")
    return named_target(request.param)


@pytest.mark.parametrize("format", ["fp32", "bf16", "int8"])
@pytest.mark.parametrize(
    ("rows", "size", "hidden"), [(1, 65, 128), (1, 1, 1), (2, 16, 3), (3, 130, 17), (7, 200, 40), (11, 48, 9)]
)
def test_the_product(target: Target, format: Any, rows: int, size: int, hidden: int) -> None:
    generator = torch.Generator().manual_seed(0)
    weight, h = torch.randn(size, hidden, generator=generator), torch.randn(rows, hidden, generator=generator)
    bias = torch.randn(size, generator=generator)
    weight[0] = 0
    packed = pack(weight, bias, target, format)
    expected = (h.double() @ stored(packed, weight).double().T + bias).float()
    torch.testing.assert_close(computed(packed, h, target), expected, rtol=1e-5, atol=1e-5)


def test_small_formats_are_near(target: Target) -> None:
    generator = torch.Generator().manual_seed(1)
    weight, h = torch.randn(100, 64, generator=generator), torch.randn(2, 64, generator=generator)
    exact = h @ weight.T
    for format, error in (("bf16", 2**-8), ("int8", 1 / 127)):
        y = computed(pack(weight, torch.zeros(100), target, format), h, target)  # type: ignore[arg-type]
        assert 0 < (y - exact).abs().max() < error * 20


def test_sizes_of_the_formats() -> None:
    weight, bias = torch.ones(64, 10), torch.ones(64)
    sizes = [pack(weight, bias, host_target(), format).weights.numel() for format in ("fp32", "bf16", "int8")]
    assert sizes == [2560, 1280, 640]


def test_sums_stay_in_registers(target: Target) -> None:
    text = assembly(source(target, "fp32"), target)
    tile = text[text.index("tile_4x1:") :]
    stack = "(%rsp)"
    assert stack not in tile[: tile.index("ret")]


def test_wrong_weights_are_refused() -> None:
    with pytest.raises(MisuseError, match="must be"):
        pack(torch.ones(3, 2), torch.ones(2), host_target())
    with pytest.raises(MisuseError, match="fp64"):
        pack(torch.ones(3, 2), torch.ones(3), host_target(), "fp64")  # type: ignore[arg-type]
