"""``metrics.jsonl`` and TensorBoard: what happened, a line a report."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from elman.errors import FailureError, require
from elman.files import disk_failure


class Journal:
    """Appends reports to ``metrics.jsonl`` and, if wished, to TensorBoard.

    Args:
        path: ``metrics.jsonl``.
        length: bytes to keep of an existing file: what a resumed run had written at its checkpoint.
        tensorboard: folder for TensorBoard's event files, or None.
        step: optimiser step from which a resumed run writes anew.

    Raises:
        MisuseError: TensorBoard is asked for and not installed.
        FailureError: the file cannot be written.

    Attributes:
        cut: bytes that are missing of the file that the checkpoint knew.
    """

    def __init__(self, path: Path, length: int = 0, tensorboard: Path | None = None, step: int = 0) -> None:
        self.path = path
        self._board: Any = None
        try:
            # unbuffered, so that a full disk is met by write() and not again by close(); no link is followed, so that a
            # folder from somebody else cannot name a file of the user's
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
            self._stream = os.fdopen(handle, "r+b", buffering=0)
            found = self._stream.seek(0, os.SEEK_END)
            self.cut = max(0, length - found)
            self._stream.truncate(min(length, found))
            self._stream.seek(min(length, found))
        except OSError as error:
            raise disk_failure(path, error) from error
        if tensorboard is not None:
            require("tensorboard", "tensorboard")
            board = require("torch.utils.tensorboard", "tensorboard")
            self._board = board.SummaryWriter(str(tensorboard), purge_step=step or None)

    def write(self, report: Mapping[str, Any]) -> None:
        """Add one report; numbers that are not finite become null, since JSON has no word for them."""
        clean = {key: value for key, value in finite(report).items() if report[key] is not None}
        try:
            self._stream.write(json.dumps(clean).encode() + b"\n")
        except OSError as error:
            raise disk_failure(self.path, error) from error
        if self._board is not None:
            for key, value in clean.items():
                if key not in ("step", "event") and isinstance(value, int | float):
                    self._board.add_scalar(key, value, clean["step"])

    @property
    def length(self) -> int:
        """Bytes written so far, for a checkpoint."""
        return self._stream.tell()

    def sync(self) -> None:
        """Force what was written to the disk, so that a checkpoint never knows more than the file holds."""
        try:
            os.fsync(self._stream.fileno())
        except OSError as error:
            raise disk_failure(self.path, error) from error

    def close(self) -> None:
        """End the files."""
        self._stream.close()
        if self._board is not None:
            self._board.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All whole lines of a ``metrics.jsonl``; a last line cut short by a kill is left out."""
    lines = []
    for line in path.read_bytes().split(b"\n")[:-1]:
        try:
            lines.append(json.loads(line))
        except ValueError as error:
            raise FailureError(f"{path} is damaged: line {len(lines) + 1} is no JSON ({error}).") from error
    return lines


def finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same with None for every number that is not finite, since JSON has no word for it."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in values.items()
    }
