"""The runs and recordings that one server shows: found below one folder, named by ids, opened when they are asked for.

No path ever comes from a request: an id is looked up among what was found, and what is not there is not opened.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from elman.errors import ElmanError, FailureError, MisuseError
from elman.insight.recording import Recording, list_recordings, open_recording
from elman.runs import LoadedRun, RunFolder, load, read_config
from elman.runs.model import LANGUAGE_MODELS
from elman.training.journal import read_metrics
from elman.web.answers import MissingError

V = TypeVar("V")

# opened models, mapped recordings, results of analyses and lines of the table of runs that are kept at hand
MODELS, RECORDINGS, RESULTS, FACTS = 2, 8, 32, 1000
# a metrics file is about a megabyte for ten thousand reports; a larger one is somebody's joke
METRICS_BYTES = 64 * 2**20
# equations and names of a foreign run are shown, not all of a book
SHOWN = 20_000
SEPARATOR = "~"

_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Run:
    """A run folder and what it is called.

    Attributes:
        id: in addresses.
        name: for people.
        path: the folder.
    """

    id: str
    name: str
    path: Path


class Shelf(Generic[V]):
    """The things used last, each made once although several threads ask for it.

    Args:
        most: how many are kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._kept: OrderedDict[Any, V] = OrderedDict()
        self._making: dict[Any, threading.Lock] = {}

    def get(self, key: Any, make: Callable[[], V]) -> V:
        """What lies under this key, made if it does not."""
        with self._lock:
            making = self._making.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                if key in self._kept:
                    self._kept.move_to_end(key)
                    return self._kept[key]
            try:
                made = make()
            finally:
                with self._lock:
                    self._making.pop(key, None)
            with self._lock:
                self._kept[key] = made
                while len(self._kept) > self._most:
                    self._kept.popitem(last=False)
            return made


class Library:
    """Everything that a server shows.

    Args:
        root: the folder of runs, or the run folder itself.
        runs: run folders; None looks for them in ``root`` at every call, so that new ones appear.
        text: a text of the user's that every run may be recorded over, beside the parts of its own.

    Attributes:
        results: of analyses, by what they are of.
    """

    def __init__(self, root: Path, runs: Sequence[Path] | None = None, text: tuple[str, str] | None = None) -> None:
        self.root = root
        self.text = text
        self._given = None if runs is None else tuple(runs)
        self._models: Shelf[LoadedRun] = Shelf(MODELS)
        self._recordings: Shelf[Recording] = Shelf(RECORDINGS)
        self._facts: Shelf[dict[str, Any]] = Shelf(FACTS)
        self.results: Shelf[Any] = Shelf(RESULTS)

    def runs(self) -> list[Run]:
        """The run folders, in the order of their names."""
        found: dict[str, Run] = {}
        for path in find_runs(self.root) if self._given is None else self._given:
            name = path.name or path.resolve().name
            id = name if _PLAIN_NAME.fullmatch(name) else hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
            found.setdefault(id, Run(id, name.encode("utf-8", "replace").decode(), path))
        return list(found.values())

    def run(self, id: str) -> Run:
        """The run of an id.

        Raises:
            MissingError: there is none.
        """
        for run in self.runs():
            if run.id == id:
                return run
        raise MissingError("There is no such run here; it may have been moved or renamed.")

    def model(self, run: Run, systems: Sequence[str] = LANGUAGE_MODELS) -> LoadedRun:
        """The opened model; a training that has written better weights since is opened anew.

        Args:
            run: whose.
            systems: which ones the caller can use, such as ``("classify", "tag")``.

        Raises:
            MisuseError, FailureError: it cannot be opened, or is of another system.
        """
        # the systems are part of the key: what one screen has opened is still refused to another
        key = run.path, self.written(run), tuple(systems)
        return self._models.get(key, lambda: load(run.path, systems=systems))

    def written(self, run: Run) -> int:
        """When the weights were written, nanoseconds: tells whether something made from them is of today's model."""
        try:
            return RunFolder(run.path).model.stat().st_mtime_ns
        except OSError:
            return 0

    def language_model(self, run: Run) -> LoadedRun:
        """The opened model of a run whose cells can be looked into.

        Raises:
            MisuseError: it has none, as an n-gram model.
        """
        loaded = self.model(run)
        if loaded.config["system"] != "language":
            raise MisuseError(f"{run.name} is a {loaded.config['system']} model; it has no cells to look into.")
        return loaded

    def recordings(self, run: Run) -> list[dict[str, Any]]:
        """Id, text and size of a run's recordings, the latest first."""
        return [
            {"id": f"{run.id}{SEPARATOR}{path.name}"} | manifest_facts(manifest)
            for path, manifest in list_recordings(run.path)
        ]

    def recording(self, id: str) -> tuple[Run, Recording]:
        """A recording and the run that it is of.

        Raises:
            MissingError: there is none of this id.
            FailureError: it is damaged.
        """
        owner, _, key = id.partition(SEPARATOR)
        run = self.run(owner)
        for path, _ in list_recordings(run.path):
            if path.name == key:
                return run, self._recordings.get((path, path.stat().st_ino), partial(open_recording, path))
        raise MissingError("There is no such recording here; record the text again.")

    def describe(self, run: Run) -> dict[str, Any]:
        """A run in a line of the table of runs; a folder that cannot be read says so in "error"."""
        line: dict[str, Any] = {"id": run.id, "name": run.name}
        folder = RunFolder(run.path)
        try:
            facts = self._facts.get(
                (run.path, *map(_stamp, (folder.config, folder.metrics))),
                lambda: config_facts(read_config(folder.config)) | progress_facts(metrics_of(run)),
            )
            return line | facts
        except ElmanError as error:
            return line | {"error": str(error)}
        except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
            return line | {"error": f"{run.name} cannot be shown: its files are damaged ({error!r})."}


def find_runs(root: Path) -> list[Path]:
    """The run folders that a path names: itself, or those directly in it.

    Args:
        root: a run folder, or a folder of them.
    """
    if os.path.isfile(root / "config.json"):
        return [root]
    try:
        return sorted(path for path in root.iterdir() if os.path.isfile(path / "config.json"))
    except OSError:
        return []


def metrics_of(run: Run) -> list[dict[str, Any]]:
    """The reports of a training, whole lines only; none where there is no file.

    Raises:
        FailureError: the file is damaged or far too large.
    """
    path = RunFolder(run.path).metrics
    if not path.is_file():
        return []
    if path.stat().st_size > METRICS_BYTES:
        raise FailureError(f"{path} has more than {METRICS_BYTES:,} bytes; it was not written by a training.")
    lines = read_metrics(path)
    if not all(isinstance(line, dict) for line in lines):
        raise FailureError(f"{path} is damaged: every line must be a JSON object.")
    return lines


def config_facts(config: Mapping[str, Any]) -> dict[str, Any]:
    """What the table of runs shows of a configuration."""
    model, vocabulary = config["model"], config.get("vocabulary", {})
    if config["system"] == "ngram":
        cell = f"{model.get('order')}-gram"
    else:
        # of a system without a recurrence, as a ConvNet, none
        parts = [model[name] for name in ("recurrence", "encoder", "decoder") if isinstance(model.get(name), dict)]
        cell = " to ".join(dict.fromkeys(part["name"] or "own recurrence" for part in parts if "name" in part))
    shown = {"cell": cell, **{name: model.get(name) for name in ("layers", "hidden", "vocabulary_size")}}
    shown["tokens"] = vocabulary.get("kind")
    # of a foreign folder: anything could stand there
    return {"system": config["system"], **{name: _brief(value) for name, value in shown.items()}}


def progress_facts(metrics: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How far a training is and how well it does, from its reports."""
    nats = [line["valid_nats"] for line in metrics if _is_number(line.get("valid_nats"))]
    last: Mapping[str, Any] = metrics[-1] if metrics else {}
    best: float | None = min(nats, default=None)
    return {"best_nats": best, **{name: _number(last.get(name)) for name in ("step", "seconds")}}


def manifest_facts(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What a list of recordings shows of one."""
    names = ("length", "characters", "cells", "groups", "created", "seconds", "untrained", "seed", "source", "clipped")
    return {name: _brief(manifest[name]) for name in names if name in manifest}


def _stamp(path: Path) -> tuple[int, int]:
    """Tells whether a file is still what it was; of a file that is not there, that it is not."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


def _brief(value: Any) -> Any:
    return value[:SHOWN] if isinstance(value, str) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _number(value: Any) -> Any:
    return value if _is_number(value) else None
