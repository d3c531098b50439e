"""Modules, threads, processes and refusals of the compiled backend."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import threading
from typing import Any

import pytest
import torch
from cpu_cases import needs_backend, needs_bf16, operands, run_on, weighed
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.data import DataLoader, Dataset

import elman.nn
from elman.compile import run
from elman.compile.cpu.run import refusal
from elman.equations import cell
from elman.errors import MisuseError
from elman.nn.recurrent import Recurrent

pytestmark = needs_backend


def layer(name: str = "lstm", seed: int = 0, **options: Any) -> Recurrent:
    options = {"backend": "cpu", **options}
    return Recurrent(name, 7, 17, generator=torch.Generator().manual_seed(seed), **options)


def some_x(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape or (6, 5, 7), generator=torch.Generator().manual_seed(seed))


def train_step(module: nn.Module, x: Tensor, **options: Any) -> list[Tensor]:
    y, _ = module(x, **options)
    module.zero_grad()
    weighed([y]).backward()
    return [y.detach(), *(parameter.grad.clone() for parameter in module.parameters() if parameter.grad is not None)]


def assert_equal(left: list[Tensor], right: list[Tensor], tolerance: float = 0.0) -> None:
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "options",
    [
        {"num_layers": 2, "bidirectional": True},
        {"batch_first": True, "learn_initial_state": True},
        {"num_layers": 2, "lengths": [6, 2, 5, 1, 6]},
        {"bidirectional": True, "lengths": [6, 2, 5, 1, 6]},
    ],
    ids=str,
)
def test_a_stack_equals_the_reference(options: dict[str, Any]) -> None:
    call = {"lengths": options["lengths"]} if "lengths" in options else {}
    made = {key: value for key, value in options.items() if key != "lengths"}
    ours, other = layer(**made), layer(**made, backend="reference")
    x = some_x(5, 6, 7) if options.get("batch_first") else some_x()
    assert_equal(train_step(ours, x, **call), train_step(other, x, **call), 2e-5)
    assert "cpu (compiled" in ours.backend_used


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("packed", [False, True])
def test_drop_ins_equal_torch(kind: str, packed: bool) -> None:
    torch.manual_seed(0)
    theirs = getattr(nn, kind)(7, 17, 2, bidirectional=True, batch_first=True)
    ours = getattr(elman.nn, kind)(7, 17, 2, bidirectional=True, batch_first=True, backend="cpu")
    ours.load_state_dict(theirs.state_dict())
    found = []
    for module in (ours, theirs):
        x = some_x(5, 6, 7).requires_grad_()
        given = pack_padded_sequence(x, torch.tensor([6, 1, 4, 6, 2]), True, False) if packed else x
        y, last = module(given)
        data = y.data if packed else y
        weighed([data, *(last if kind == "LSTM" else [last])]).backward()
        found.append([data.detach(), x.grad, *(parameter.grad for parameter in module.parameters())])
    assert_equal(*found, 2e-5)
    assert "cpu (compiled" in ours.backend_used


def test_copies_and_stored_weights_compute_the_same() -> None:
    module, x = layer(num_layers=2), some_x()
    expected = train_step(module, x)
    twin = copy.deepcopy(module)
    assert_equal(train_step(twin, x), expected)
    other = layer(num_layers=2, seed=1)
    other.load_state_dict(module.state_dict())
    assert_equal(train_step(other, x), expected)
    with torch.no_grad():
        twin.parameter("Uf").mul_(2.0)
    assert not torch.equal(train_step(twin, x)[0], expected[0])
    assert_equal(train_step(module, x), expected)


def test_weights_that_changed_are_seen_at_the_next_call() -> None:
    module, x = layer(), some_x()
    for train in (True, False):
        module.train(train)
        with torch.set_grad_enabled(train):
            before = module(x)[0].detach().clone()
            with torch.no_grad():
                module.parameter("Uf").add_(0.3)
            after = module(x)[0].detach()
            assert not torch.equal(after, before)
            module.parameter("Uf").data -= 0.3
            torch.testing.assert_close(module(x)[0].detach(), before, rtol=1e-5, atol=1e-6)
    optimiser = torch.optim.SGD(module.parameters(), 0.1)
    losses = []
    for _ in range(4):
        optimiser.zero_grad()
        loss = module(x)[0].square().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses == sorted(losses, reverse=True)


def test_results_outlive_their_layer() -> None:
    module, x = layer(), some_x(64, 9, 7)
    y, state = module(x)
    kept = y.detach().clone()
    weights = dict(module.named_parameters())
    del module, state
    for seed in range(3):
        train_step(layer(seed=seed), some_x(64, 9, 7, seed=seed))
    assert torch.equal(y.detach(), kept)
    y.sum().backward()
    assert all(weight.grad is not None and torch.isfinite(weight.grad).all() for weight in weights.values())


def test_two_models_interleaved() -> None:
    first, second, x = layer("lstm"), layer("gru"), some_x()
    expected = [train_step(first, x), train_step(second, x)]
    totals = [weighed([module(x)[0]]) for module in (first, second)]
    for module, total in zip((first, second), totals, strict=True):
        module.zero_grad()
        total.backward()
    for module, right in zip((first, second), expected, strict=True):
        assert_equal([parameter.grad for parameter in module.parameters()], right[1:])


def test_layers_in_several_threads_of_python() -> None:
    # cells that nothing else here compiles, so that the threads compile at the same time too
    modules = [layer(name, seed) for seed in range(2) for name in ("mgu", "ran", "lstm")]
    inputs = [some_x(6, 3 + number, 7, seed=number) for number in range(len(modules))]
    found: list[list[list[Tensor]]] = [[] for _ in modules]
    begin = threading.Barrier(len(modules))

    def work(number: int) -> None:
        begin.wait()
        for _ in range(5):
            found[number].append(train_step(modules[number], inputs[number]))

    workers = [threading.Thread(target=work, args=(number,)) for number in range(len(modules))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    for number, module in enumerate(modules):
        expected = train_step(module, inputs[number])
        assert len(found[number]) == 5
        for each in found[number]:
            assert_equal(each, expected, 1e-5)


class Layered(Dataset[Tensor]):
    """Runs a layer, and trains another, wherever it is read."""

    def __init__(self, module: Recurrent, fresh: str):
        self.module, self.fresh = module, fresh

    def __len__(self) -> int:
        return 4

    def __getitem__(self, number: int) -> Tensor:
        with torch.no_grad():
            y, _ = self.module(some_x(6, 5, 7, seed=number))
        # a cell that the parent has not compiled
        trained = train_step(layer(self.fresh), some_x(seed=number))
        return torch.cat((y.flatten(), trained[0].flatten(), trained[-1].flatten()))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_layer_in_the_worker_of_a_loader(workers: int) -> None:
    data = Layered(layer(), "highway" if workers == 1 else "ugrnn")
    train_step(data.module, some_x())
    loader = DataLoader(data, batch_size=None, num_workers=workers, multiprocessing_context="fork", timeout=120)
    found = list(loader)
    for number, each in enumerate(found):
        torch.testing.assert_close(each, data[number], rtol=1e-5, atol=1e-5)
    # and the parent goes on
    train_step(data.module, some_x())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_fork_with_many_threads_of_torch() -> None:
    code = """
import os, sys, torch
torch.set_num_threads(3)
from elman.nn.recurrent import Recurrent
module = Recurrent("lstm", 7, 17, backend="cpu")
x = torch.randn(6, 9, 7)
def step():
    y = module(x)[0]
    module.zero_grad()
    y.sum().backward()
    return y.detach()
expected = step()
child = os.fork()
if child == 0:
    torch.set_num_threads(1)
    same = torch.allclose(step(), expected, atol=1e-5)
    os._exit(0 if same else 3)
_, status = os.waitpid(child, 0)
assert torch.equal(step(), expected)
sys.exit(os.waitstatus_to_exitcode(status))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def forced(dtype: torch.dtype = torch.float32) -> Any:
    given = operands(cell("lstm"), hidden=4).map(lambda tensor: tensor.detach().to(dtype))
    return run(given.recurrence, given.parameters, given.x, given.state, backend="cpu")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_types_are_refused(dtype: torch.dtype) -> None:
    name = str(dtype)
    with pytest.raises(MisuseError, match=rf"'cpu' cannot run this: .*float32, not in {name}\. Use 'auto' or 'ref"):
        forced(dtype)


def test_other_devices_are_refused() -> None:
    reason = refusal(torch.empty(1, 1, 1, device="meta"))
    assert reason == "the compiled CPU backend does not run on the device meta"


def test_autocast_to_float16_is_refused() -> None:
    with torch.autocast("cpu", dtype=torch.float16), pytest.raises(MisuseError, match="autocast to bfloat16 only"):
        forced()


@needs_bf16
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_parameters_of_other_types_under_autocast_are_refused(dtype: torch.dtype) -> None:
    given = operands(cell("lstm"), hidden=4)
    other = given.map(lambda tensor: tensor.detach().to(dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16), pytest.raises(MisuseError, match=f"float32, not in {dtype}"):
        run(given.recurrence, other.parameters, given.x.detach(), other.state, backend="cpu")


def test_a_refusal_of_a_module_reads_well() -> None:
    with pytest.raises(MisuseError, match="Use 'auto' or 'reference'"):
        layer(dtype=torch.float64)(some_x().double())
    with pytest.raises(MisuseError, match="Use 'auto' or 'reference'"):
        elman.nn.LSTM(7, 17, backend="cpu", dtype=torch.float64)(some_x().double())


def test_auto_takes_the_compiled_backend_and_passes_it_over_where_it_must() -> None:
    given = operands(cell("mut1"))
    with torch.no_grad():
        assert run(given.recurrence, given.parameters, given.x, given.state).backend.startswith("cpu (compiled")
        double = given.map(lambda tensor: tensor.double())
        result = run(given.recurrence, double.parameters, double.x, double.state)
    assert result.backend.startswith("reference")
    assert "float32" in result.backend


@pytest.mark.slow
def test_an_hour_of_shapes_leaves_no_memory_behind() -> None:
    import resource

    def rounds(count: int) -> None:
        for number in range(count):
            given = operands(cell("gru"), 20, 3 + number % 30, 17 + number % 40, 9)
            weighed(list(run_on(given, "cpu")[0].values())).backward()

    rounds(150)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rounds(600)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10
