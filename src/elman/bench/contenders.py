"""What runs against what in one job."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from elman.bench.work import Job

Outcome = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Setting:
    """torch's switches during a call.

    Attributes:
        onednn: whether torch may use oneDNN.
        matmul: torch.set_float32_matmul_precision's word.
        autocast: products in bfloat16; only in the forward pass, as torch wants it.
    """

    onednn: bool = True
    matmul: str = "highest"
    autocast: bool = False

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within it torch has the first two switches; afterwards those that it had."""
        one_dnn: Any = torch.backends.mkldnn
        enabled, precision = one_dnn.enabled, torch.get_float32_matmul_precision()
        try:
            one_dnn.enabled = self.onednn
            torch.set_float32_matmul_precision(self.matmul)
            yield
        finally:
            one_dnn.enabled = enabled
            torch.set_float32_matmul_precision(precision)

    def autocasting(self) -> torch.autocast:
        """The block in which a forward pass runs."""
        return torch.autocast("cpu", torch.bfloat16, enabled=self.autocast)


@dataclass(frozen=True)
class Contender:
    """One way to do a job.

    Attributes:
        name: "elman", "torch", "eager", "reference", or one of the first two with what is special about it.
        call: does the work once, all units of it.
        outcome: does the work once and gives numbers by name that all contenders share; None for one that does
            another work on purpose.
        setting: torch's switches.
        units: how many units of work a call does.
        forward: the forward pass alone, for what it keeps.
        operands: tensors that are there anyway and do not count as kept.
        backend: what Elman ran on; "" for others.
    """

    name: str
    call: Callable[[], object]
    outcome: Callable[[], Outcome] | None
    setting: Setting = Setting()
    units: int = 1
    forward: Callable[[], object] | None = None
    operands: Sequence[Tensor] = field(default=(), repr=False)
    backend: Callable[[], str] = lambda: ""

    @property
    def side(self) -> str:
        """Whose it is: the first word of the name."""
        return self.name.partition(" ")[0]


def contenders(job: Job) -> list[Contender]:
    """Everything that can do a job, with equal weights and data.

    Args:
        job: what is to be done.

    Returns:
        "elman" (what a user gets) first; Elman's other backends; "reference" where that is not what "elman" ran on;
        torch's layer as it comes and with other switches, where torch has one; "eager".
    """
    from elman.bench import layers, models

    return layers.contenders(job) if job.work in ("train", "infer") else models.contenders(job)


def torch_settings(precision: str) -> dict[str, Setting]:
    """torch as it comes, and the switches that may be better: what is added to the name, and the setting."""
    if precision == "bf16":
        return {
            "": Setting(autocast=True),
            " onednn off": Setting(onednn=False, autocast=True),
            " fp32 medium": Setting(matmul="medium"),
        }
    return {"": Setting(), " onednn off": Setting(onednn=False), " medium": Setting(matmul="medium")}
