"""One layer alone: training (forward and backward) and inference."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import elman.nn
from elman.bench.contenders import Contender, Outcome, Setting, torch_settings
from elman.bench.counterpart import counterpart, matrices
from elman.bench.eager import Eager
from elman.bench.work import STOCK, Job, widths
from elman.compile import engine
from elman.equations import Recurrence
from elman.errors import MisuseError
from elman.nn import Recurrent


class Data:
    """What every contender of a job is given.

    Attributes:
        x: [T, B, H], asks for its gradient where the work is training.
        gradient: [T, B, H] what arrives at the outputs; zero beyond a row's end.
        lengths: [B], or None.
        inside: [T, B, 1], 1 within the rows' lengths; None where they are T.
        constants: the constant inputs [B, H].
    """

    def __init__(self, job: Job) -> None:
        shape, generator = job.shape, torch.Generator().manual_seed(1)

        def draw(*size: int) -> Tensor:
            return torch.randn(size, generator=generator)

        self.job = job
        self.x = draw(shape.steps, shape.batch, shape.hidden).requires_grad_(job.work == "train")
        self.gradient = draw(shape.steps, shape.batch, shape.hidden)
        self.constants = {name: draw(shape.batch, shape.hidden) for name in job.recurrence.inputs}
        self.lengths: Tensor | None = None
        self.inside: Tensor | None = None
        if shape.lengths is not None:
            self.lengths = torch.tensor(shape.lengths)
            self.inside = (torch.arange(shape.steps)[:, None] < self.lengths).unsqueeze(-1).float()
            self.gradient = self.gradient * self.inside

    def padded(self) -> Data:
        """As many tokens in rows of one length."""
        other = copy.copy(self)
        steps = self.job.shape.tokens // self.job.shape.batch
        other.x = self.x.detach()[:steps].clone().requires_grad_(self.x.requires_grad)
        other.gradient = self.gradient[:steps]
        other.lengths = other.inside = None
        return other


def contenders(job: Job) -> list[Contender]:
    """The contenders of a layer's training or inference; see :func:`elman.bench.contenders.contenders`."""
    recurrence, hidden, data = job.recurrence, job.shape.hidden, Data(job)
    generator = torch.Generator().manual_seed(2)
    layer = Recurrent(recurrence, hidden, hidden, 1, widths=widths(recurrence, hidden), generator=generator)
    torch_layer = counterpart(layer)

    def own(backend: str) -> Any:
        if job.cell not in STOCK:
            module: Any = Recurrent(recurrence, hidden, hidden, 1, widths=layer.widths, backend=backend)
            module.load_state_dict(layer.state_dict())
            return module
        assert torch_layer is not None
        module = getattr(elman.nn, job.cell)(hidden, hidden, 1, backend=backend)
        module.load_state_dict(torch_layer.state_dict())
        return module

    setting = Setting(autocast=job.precision == "bf16")
    found = own_contenders(
        lambda backend, name: _contender(name, own(backend), data, setting), recurrence, data.x, setting
    )
    if data.lengths is not None:
        found.append(_contender("elman padded", own("auto"), data.padded(), setting, comparable=False))
    if torch_layer is not None:
        for title, switches in torch_settings(job.precision).items():
            found.append(_contender("torch" + title, copy.deepcopy(torch_layer), data, switches))
    return [*found, _contender("eager", Eager(layer), data, setting)]


def own_contenders(
    make: Callable[[str, str], Contender], recurrence: Recurrence, x: Tensor, setting: Setting
) -> list[Contender]:
    """What a user gets, then Elman's other backends that can do the job.

    Args:
        make: (backend, name) to the contender.
        recurrence: what they run.
        x: an input as they get it.
        setting: under which they run.
    """
    # a training step changes a model, so what finds out the choice is not what competes
    probe = make("auto", "elman")
    with setting.applied(), setting.autocasting():
        able = [each.name for each in engine.BACKENDS if each.refusal(recurrence, x, x, False) is None]
    # a failure is met again, and reported, when the contenders are compared
    with setting.applied(), contextlib.suppress(RuntimeError, MisuseError):
        probe.call()
    used = probe.backend().partition(" ")[0]
    others = [name for name in able if name != used]
    return [make("auto", "elman"), *(make(name, name if name == "reference" else f"elman {name}") for name in others)]


def _contender(name: str, module: Any, data: Data, setting: Setting, *, comparable: bool = True) -> Contender:
    parameters, training = list(module.parameters()), data.job.work == "train"

    def forward() -> Tensor:
        with setting.autocasting():
            return _outputs(module, data)

    def call() -> Tensor:
        if not training:
            with torch.no_grad():
                return forward()
        data.x.grad = None
        for parameter in parameters:
            parameter.grad = None
        y = forward()
        y.backward(data.gradient.to(y.dtype))
        return y

    def outcome() -> Outcome:
        y = call().detach()
        numbers = {"outputs": y if data.inside is None else y * data.inside}
        if training:
            assert data.x.grad is not None
            numbers["gradient of x"] = data.x.grad.clone()
            numbers |= {f"gradient of {each}": part.clone() for each, part in _weight_gradients(module, data).items()}
        return numbers

    return Contender(
        name,
        call,
        outcome if comparable else None,
        setting,
        forward=forward if training else None,
        operands=(data.x, *data.constants.values(), *parameters),
        backend=lambda: getattr(module, "backend_used", ""),
    )


def _outputs(module: Any, data: Data) -> Tensor:
    """y [T, B, H]; beyond a row's end it means nothing."""
    if isinstance(module, Recurrent):
        return module(data.x, lengths=data.lengths, **data.constants)[0]
    if isinstance(module, Eager) or data.lengths is None:
        # a plain loop runs on to the end of the longest row
        return module(data.x, **data.constants)[0]
    packed = pack_padded_sequence(data.x, data.lengths, enforce_sorted=False)
    return pad_packed_sequence(module(packed)[0], total_length=len(data.x))[0]


def _weight_gradients(module: Any, data: Data) -> dict[str, Tensor]:
    """By the matrix's name in the equations."""
    recurrence = data.job.recurrence
    if isinstance(module, nn.RNNBase):
        return matrices(recurrence, module, gradient=True)
    layer: Recurrent = module.layers if isinstance(module, Eager) else module
    found = {name: layer.parameter(name).grad for name in recurrence.matrices}
    return {name: gradient for name, gradient in found.items() if gradient is not None}
