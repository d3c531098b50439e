"""The language model as a task of the training loop."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from elman.data.batches import IGNORED, Streams
from elman.data.vocabulary import Vocabulary
from elman.generate import generate
from elman.models.language import LanguageModel, State
from elman.training.corpus import unit_of
from elman.training.distributed import all_rows, own_rows, world
from elman.training.evaluate import Evaluation, evaluate
from elman.training.settings import Settings

# enough streams that an evaluation is a small part of the training; each is warmed up on what stands before it
EVALUATION_STREAMS = 32
EVALUATION_BURN_IN = 256


class LanguageTask:
    """Truncated backpropagation through time over parallel streams of one text.

    The text is cut into B streams; a batch is the next T tokens of each. The state is carried from batch to batch, the
    gradient is not (Williams & Peng 1990; Mikolov et al. 2010).

    Args:
        model: on its device.
        vocabulary: of the text.
        train: ids of the training part.
        valid: ids of the validation part; empty for none.
        settings: batch, unroll, accumulation, precision, device.
    """

    def __init__(
        self,
        model: LanguageModel,
        vocabulary: Vocabulary,
        train: np.ndarray,
        valid: np.ndarray,
        settings: Settings,
    ) -> None:
        self.model = model
        self.vocabulary = vocabulary
        self.unit = unit_of(vocabulary)
        self.settings = settings
        self.valid = valid[: settings.eval_tokens] if settings.eval_tokens else valid
        rank, size = world()
        self.streams = Streams(
            train, settings.batch, settings.unroll, rank=rank, world=size, ignore=vocabulary.unpredicted
        )
        self._carried: State = model.initial_state(self.streams.rows)
        self._next = self._carried
        self._batch: tuple[Tensor, Tensor] | None = None

    @property
    def epoch(self) -> float:
        return self.streams.epoch

    @property
    def steps_an_epoch(self) -> int:
        return self.streams.steps

    def describe(self) -> str:
        model, settings = self.model, self.settings
        return (
            f"{model.layers} x {model.hidden} {model.recurrence.name or 'own recurrence'}, "
            f"{settings.batch} x {settings.unroll} {self.unit}s a step"
        )

    def advance(self) -> int:
        self._carried = self._next
        inputs, targets, fresh = self.streams.next()
        if fresh:
            self._carried = self.model.initial_state(self.streams.rows)
        device = self.settings.device
        self._batch = inputs.to(device, non_blocking=True), targets.to(device, non_blocking=True)
        self._predicted = int((targets != IGNORED).sum()) if self.vocabulary.unpredicted else targets.numel()
        return self._predicted

    def gradients(self) -> Tensor:
        assert self._batch is not None
        inputs, targets = self._batch
        groups = self.settings.accumulate
        losses, states = [], []
        for rows in torch.arange(inputs.shape[1]).chunk(groups):
            part = slice(int(rows[0]), int(rows[-1]) + 1)
            state = self._carried if groups == 1 else {name: s[:, part] for name, s in self._carried.items()}
            with torch.autocast(
                torch.device(self.settings.device).type,
                torch.bfloat16,
                enabled=self.settings.precision == "bf16",
            ):
                scores, state = self.model(inputs[:, part], state)
            # the mean over the whole batch, so that groups add up to what one group would give
            loss = functional.cross_entropy(
                scores.float().flatten(0, 1),
                targets[:, part].flatten(),
                ignore_index=IGNORED,
                reduction="sum",
            ) / max(1, self._predicted)
            loss.backward()
            losses.append(loss.detach())
            states.append({name: value.detach() for name, value in state.items()})
        self._next = states[0] if groups == 1 else {n: torch.cat([s[n] for s in states], dim=1) for n in states[0]}
        return torch.stack(losses).sum()

    def evaluate(self) -> Evaluation | None:
        if len(self.valid) < 2:
            return None
        return evaluate(
            self.model,
            self.valid,
            streams=EVALUATION_STREAMS,
            burn_in=EVALUATION_BURN_IN,
            unpredicted=self.vocabulary.unpredicted,
        )

    def sample(self, seed: int, length: int) -> str:
        self.model.eval()
        try:
            return generate(self.model, self.vocabulary, length=length, seed=seed)[0].text
        finally:
            self.model.train()

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        # the streams of all processes, so that others, or more of them, can go on
        whole = {name: all_rows(value, self.streams.batch, dim=1) for name, value in self._next.items()}
        return whole, {"streams": self.streams.state_dict()}

    def restore(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        rows = own_rows(self.streams.batch)
        self._next = {name: value[:, rows].to(self.settings.device) for name, value in tensors.items()}
        self.streams.load_state_dict(facts["streams"])
