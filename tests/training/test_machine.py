"""Device, threads, precision, and the record of what a run was made with."""

from __future__ import annotations

import resource
from dataclasses import replace

import pytest
import torch

from elman.compile.cpu.target import named_target
from elman.equations import cell
from elman.errors import MisuseError
from elman.training import machine


def test_devices_and_threads() -> None:
    before = torch.get_num_threads()
    try:
        assert machine.prepare("cpu", 1) == ("cpu", 1)
        assert machine.prepare("auto", None)[0] == ("cuda" if torch.cuda.is_available() else "cpu")
        with pytest.raises(MisuseError, match="cpu, cuda or auto"):
            machine.prepare("tpu", None)
        with pytest.raises(MisuseError, match="--threads is 0"):
            machine.prepare("cpu", 0)
        if not torch.cuda.is_available():
            with pytest.raises(MisuseError, match="Use --device cpu"):
                machine.prepare("cuda", None)
    finally:
        torch.set_num_threads(before)


def test_freed_memory_is_kept() -> None:
    """Taking and freeing the same large tensor again touches no fresh pages."""
    machine.keep_freed_memory()

    def take() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(16_000_000)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    # the first blocks may come from fresh memory twice, until one of the size lies ready
    take()
    take()
    assert take() < 1000


@pytest.mark.parametrize(("name", "expected"), [("lstm", True), ("gru", False), ("mut1", False), ("rnn", False)])
def test_in_torch_bf16_is_for_the_lstm_kernel(monkeypatch: pytest.MonkeyPatch, name: str, expected: bool) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert machine.bf16_pays("cpu", "torch", cell(name), 256) is expected
    assert machine.bf16_pays("cpu", "torch", cell(name), 64) is False
    assert machine.bf16_pays("cpu", "reference", cell(name), 256) is False


@pytest.mark.parametrize("bf16", [False, True])
def test_compiled_bf16_is_for_machines_that_multiply_it(monkeypatch: pytest.MonkeyPatch, bf16: bool) -> None:
    target = replace(named_target("avx512"), bf16=bf16)
    monkeypatch.setattr(machine, "host_target", lambda: target)
    monkeypatch.setattr(machine, "unsupported", lambda: None)
    for name in ("lstm", "gru", "mut1"):
        assert machine.bf16_pays("cpu", "auto", cell(name), 256) is bf16
        assert machine.bf16_pays("cpu", "auto", cell(name), 64) is False


def test_versions_name_what_matters() -> None:
    assert {"elman", "torch", "python", "platform"} <= set(machine.versions())
