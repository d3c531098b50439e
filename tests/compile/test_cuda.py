"""The engine on a CUDA device: the same numbers as on the CPU."""

from __future__ import annotations

import pytest
import torch
from cases import assert_same, gradients, make_case, weigh

from elman.compile import run
from elman.equations import cell, zoo

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
]


@pytest.mark.parametrize("name", zoo())
@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_cuda_equals_cpu(name: str, backend: str) -> None:
    results = []
    for device in ("cpu", "cuda"):
        case = make_case(cell(name), device=device)
        result = run(
            case.recurrence, case.parameters, case.x, case.state, case.constants, backend=backend, every_state=True
        )
        found = gradients(weigh(result.outputs, result.final), case)
        results.append([{n: t.cpu() for n, t in table.items()} for table in (result.outputs, result.final, found)])
    for left, right in zip(*results, strict=True):
        assert_same(left, right, 1e-8)


@pytest.mark.parametrize("name", ["lstm", "gru", "gru-reset-after", "mut1"])
def test_second_derivatives_on_cuda(name: str) -> None:
    case = make_case(cell(name), steps=2, batch=2, hidden=2, device="cuda")

    def function(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        own = case.with_leaves(tensors)
        result = run(own.recurrence, own.parameters, own.x, own.state)
        return (*result.outputs.values(), *result.final.values())

    leaves = tuple(case.leaves.values())
    assert torch.autograd.gradcheck(function, leaves, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, leaves, fast_mode=True)


@pytest.mark.parametrize("name", ["lstm", "gru", "gru-reset-after", "mut1"])
@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_autocast_on_cuda(name: str, backend: str) -> None:
    case = make_case(cell(name), steps=6, batch=4, hidden=16, dtype=torch.float32, device="cuda")
    exact = run(case.recurrence, case.parameters, case.x, case.state, backend="reference")
    with torch.autocast("cuda", dtype=torch.bfloat16):
        result = run(case.recurrence, case.parameters, case.x, case.state, backend=backend)
    assert result.outputs["h"].dtype == torch.float32
    assert_same(result.outputs, exact.outputs, 0.1)
    gradients(weigh(result.outputs, result.final), case)
