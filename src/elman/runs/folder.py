"""Where things are in a run folder, and who may write there."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from elman.errors import FailureError, MisuseError
from elman.files import disk_failure


@dataclass(frozen=True)
class RunFolder:
    """The names inside one run folder."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.json"

    @property
    def model(self) -> Path:
        return self.path / "model.safetensors"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def samples(self) -> Path:
        return self.path / "samples"

    @property
    def resume(self) -> Path:
        return self.path / "resume"

    @property
    def snapshots(self) -> Path:
        return self.path / "snapshots"

    @property
    def loss_plot(self) -> Path:
        return self.path / "loss.png"

    @classmethod
    def existing(cls, path: str | os.PathLike[str]) -> RunFolder:
        """A folder that holds a run.

        Raises:
            MisuseError: there is no such folder, or it holds no ``config.json``.
        """
        folder = cls(Path(path))
        # os.path answers no where pathlib raises: names that are too long, folders that may not be read
        if not os.path.isdir(folder.path):
            raise MisuseError(f"There is no run folder {folder.path}.")
        if not os.path.isfile(folder.config):
            raise MisuseError(f"{folder.path} is not a run folder: it has no config.json.")
        return folder

    @classmethod
    def vacant(cls, path: str | os.PathLike[str]) -> RunFolder:
        """A name for a new run, still free; nothing is made yet.

        Raises:
            MisuseError: the folder already holds something.
        """
        folder = cls(Path(path))
        if os.path.exists(folder.config):
            raise MisuseError(
                f"{folder.path} already holds a run. Go on with `elman resume {folder.path}`, "
                "or name another with --out."
            )
        if os.path.lexists(folder.path) and not os.path.isdir(folder.path):
            raise MisuseError(f"{folder.path} is a file, not a folder. Name another with --out.")
        # a lock file alone is what a run leaves that stopped before its plan was made
        try:
            others = [entry for entry in os.listdir(folder.path) if entry != LOCK_NAME]
        except FileNotFoundError:
            others = []
        except OSError as error:
            raise MisuseError(f"{folder.path} cannot be used: {error.strerror}. Name another with --out.") from error
        if others:
            raise MisuseError(f"{folder.path} is not empty and not a run. Name another folder with --out.")
        return folder

    @classmethod
    def create(cls, path: str | os.PathLike[str]) -> RunFolder:
        """A new folder for a run; an existing empty one will do.

        Raises:
            MisuseError: the folder already holds something.
            FailureError: it cannot be made.
        """
        folder = cls.vacant(path)
        try:
            folder.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk_failure(folder.path, error) from error
        return folder

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for one training; the lock falls with the process, however it ends.

        Raises:
            FailureError: another process is training in this folder.
        """
        path = self.path / LOCK_NAME
        try:
            # a link in a folder from somebody else must not lead to a file of the user's
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            raise disk_failure(path, error) from error
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.ftruncate(handle, 0)
                os.pwrite(handle, str(os.getpid()).encode(), 0)
            except BlockingIOError as error:
                holder = os.pread(handle, 32, 0).decode(errors="replace").strip() or "unknown"
                raise FailureError(
                    f"Another training (process {holder}) is writing to {self.path}. "
                    "Wait for it or stop it, or name another folder with --out."
                ) from error
            except OSError as error:
                raise disk_failure(path, error) from error
            yield
        finally:
            os.close(handle)


LOCK_NAME = ".lock"
