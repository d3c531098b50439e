"""What a training leaves in its run folder: written by one process, read for all."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from torch import Tensor, nn

from elman.files import disk_failure, write_whole
from elman.runs import RunFolder, drop_newest, latest_checkpoint, newest_step, save_model, write_checkpoint
from elman.runs.checkpoint import Checkpoint
from elman.runs.snapshots import keep_snapshots, save_snapshot
from elman.training.distributed import agreed, shared_tensors
from elman.training.launch import leads


class Keeper:
    """A run folder as the training loop writes it; of several processes only the first one touches it.

    Args:
        folder: the run, locked by the caller.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self._writes = leads()

    def make_room(self) -> None:
        """Make the folder of samples.

        Raises:
            FailureError: the disk refuses.
        """
        if not self._writes:
            return
        try:
            self.folder.samples.mkdir(exist_ok=True)
        except OSError as error:
            raise disk_failure(self.folder.samples, error) from error

    def save(self, model: nn.Module, step: int, valid_nats: float | None) -> None:
        """Keep the weights as those of the run."""
        if self._writes:
            save_model(self.folder, model.state_dict(), step=step, valid_nats=valid_nats)

    @property
    def has_weights(self) -> bool:
        """Whether the run has weights that can be used."""
        return agreed(self.folder.model.exists)

    def snapshot(self, model: nn.Module, step: int) -> None:
        """Keep the weights beside those of the run."""
        if self._writes:
            save_snapshot(self.folder, step, model.state_dict())

    def sample(self, step: int, text: str) -> None:
        """Keep a text that was drawn."""
        if self._writes:
            write_whole(self.folder.samples / f"step-{step:09d}.txt", text.encode("utf-8", errors="replace"))

    def checkpoint(self, step: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Write a checkpoint."""
        if self._writes:
            write_checkpoint(self.folder, step, tensors, facts)

    def latest(self) -> tuple[Checkpoint, list[str]]:
        """The newest checkpoint that is whole, and a sentence for every damaged one that was passed over.

        Raises:
            FailureError: there is none.
        """

        def read() -> tuple[dict[str, Tensor], Any]:
            checkpoint, broken = latest_checkpoint(self.folder)
            return checkpoint.tensors, [checkpoint.step, checkpoint.facts, broken]

        tensors, (step, facts, broken) = shared_tensors(read)
        return Checkpoint(step, tensors, facts), broken

    def drop_broken(self, step: int) -> None:
        """Drop the newest checkpoint if it is not older than a step, and if there is another one."""

        def drop() -> bool:
            return newest_step(self.folder) >= step and drop_newest(self.folder)

        agreed(drop)

    def keep_snapshots(self, steps: list[int]) -> None:
        """Drop the snapshots of other steps."""
        if self._writes:
            keep_snapshots(self.folder, steps)


def locked(folder: RunFolder) -> Any:
    """Hold a run folder for this training; of several processes the first one does."""
    return folder.locked() if leads() else nullcontext()
