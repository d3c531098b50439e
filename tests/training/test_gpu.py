"""Training, sampling and evaluation on a CUDA device, and run folders that move between devices."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is visible to torch"),
]

SMALL = ["--hidden", 32, "--batch", 8, "--unroll", 20, "--steps", 60, "--eval-every", 20, "--quiet"]


@pytest.mark.parametrize("cell", ["lstm", "gru-reset-after", "gru", "mut1"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_train_sample_and_evaluate(elman, tmp_path: Path, text_file: Path, cell: str, precision: str) -> None:  # type: ignore[no-untyped-def]
    run = tmp_path / "run"
    done = elman(
        "train",
        "lm",
        text_file,
        "--out",
        run,
        "--device",
        "cuda",
        "--cell",
        cell,
        "--precision",
        precision,
        *SMALL,
    )
    assert done.returncode == 0, done.stderr
    for device in ("cuda", "cpu"):
        evaluated = elman("eval", run, "--device", device, "--no-ngrams", "--json")
        assert evaluated.returncode == 0, evaluated.stderr
        assert '"nats": 2.' in evaluated.stdout
        sampled = elman("sample", run, "--device", device, "--length", 30, "--seed", 1, "--json")
        assert sampled.returncode == 0, sampled.stderr


def test_a_run_moves_from_gpu_to_cpu_and_back(elman, tmp_path: Path, text_file: Path) -> None:  # type: ignore[no-untyped-def]
    run = tmp_path / "run"
    assert elman("train", "lm", text_file, "--out", run, "--device", "cuda", *SMALL).returncode == 0
    for device, steps in (("cpu", 80), ("cuda", 100)):
        done = elman("resume", run, "--device", device, "--steps", steps, "--quiet")
        assert done.returncode == 0, done.stderr
    assert (run / "resume" / "step-000000100").is_dir()
