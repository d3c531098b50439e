"""A search in its folder, shared by all processes that work on it: which trials there are and who has which.

``search.json`` says what is searched. ``journal.log`` is optuna's record of all trials, JSON lines that are only ever
appended. ``trials/NNNN`` is the run folder of a trial. A process holds the lock ``trials/NNNN.lock`` while it works on
a trial; the kernel drops it when the process ends, however it ends, so a trial that is running by the record and is not
locked was abandoned and is gone on with by whoever comes next.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from elman.errors import FailureError, MisuseError, require
from elman.files import disk_failure, write_whole
from elman.training.search.space import Dimension, Value, points_of
from elman.training.settings import SEEDS

FORMAT = 1
SAMPLERS = ("random", "tpe", "grid")
PRUNERS = ("median", "hyperband", "none")

# trials are compared at so many places along their plans, whatever their steps are
MARKS = 20
# no trial is ended before this share of its plan, and none before so many have been through
UNPRUNED_MARKS, UNPRUNED_TRIALS = 4, 5
# a trial that takes its process with it is not begun for ever
MOST_ATTEMPTS = 3


@dataclass(frozen=True)
class Definition:
    """What is searched; the same for all processes and all sittings.

    Attributes:
        task: the verb of ``elman train``.
        arguments: words of its command line that all trials share.
        space: the dimensions, as text.
        sampler, pruner: one of :data:`SAMPLERS`, one of :data:`PRUNERS`.
        seed: of the draws, and with a trial's number of its training.
    """

    task: str
    arguments: tuple[str, ...]
    space: tuple[str, ...]
    sampler: str = "random"
    pruner: str = "median"
    seed: int = 1

    def __post_init__(self) -> None:
        """Refuse what no search can have.

        Raises:
            MisuseError: naming the flag and what it takes.
        """
        for name, value, known in (("sampler", self.sampler, SAMPLERS), ("pruner", self.pruner, PRUNERS)):
            if value not in known:
                raise MisuseError(f"--{name} is {value}; it takes {', '.join(known)}.")
        if not 0 <= self.seed < SEEDS:
            raise MisuseError(f"--seed is {self.seed}; it takes a whole number from 0 to {SEEDS - 1}.")


@dataclass(frozen=True)
class Trial:
    """One trial as the record has it.

    Attributes:
        number: from 0, in the order of beginning.
        state: "complete", "pruned", "failed" or "running".
        value: the best criterion, lower is better; of a pruned trial what it had reached.
        point: the values of the flags.
        folder: its run.
        seconds: from its beginning to its end; what was abandoned between counts too.
        error: why it failed.
    """

    number: int
    state: str
    value: float | None
    point: Mapping[str, Value]
    folder: Path
    seconds: float | None = None
    error: str = ""

    @property
    def finished(self) -> bool:
        return self.state != "running"


class Study:
    """A search folder, open.

    Args:
        folder: of the search; made if it is not there.
        definition: what is searched.
        space: the dimensions that the definition names.

    Raises:
        MisuseError: the folder holds another search or something else; optuna is not installed.
        FailureError: it cannot be read or written.
    """

    def __init__(self, folder: Path, definition: Definition, space: Sequence[Dimension]) -> None:
        optuna = require("optuna", "search")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.folder, self.definition, self.space = folder, definition, tuple(space)
        self._optuna = optuna
        self._distributions = {entry.name: entry.distribution() for entry in space}
        try:
            self.trials_folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MisuseError(f"{folder} cannot be used: {error.strerror}. Name another with --out.") from error
        with self._alone():
            self._settle_definition()
            journal = optuna.storages.journal
            record = str(folder / "journal.log")
            lock = journal.JournalFileOpenLock(record)
            _mend(Path(record), lock)
            try:
                self._storage = optuna.storages.JournalStorage(journal.JournalFileBackend(record, lock_obj=lock))
                self._study = optuna.create_study(
                    storage=self._storage,
                    study_name="search",
                    direction="minimize",
                    load_if_exists=True,
                    pruner=_pruner(optuna, definition.pruner),
                )
            except (OSError, ValueError, KeyError) as error:
                raise FailureError(f"{record} cannot be read: {error}.") from error
        self._id = self._storage.get_study_id_from_name("search")

    @property
    def trials_folder(self) -> Path:
        return self.folder / "trials"

    # ---------------------------------------------------------------- trials

    @contextlib.contextmanager
    def claim(self, wanted: int) -> Iterator[Claim | None]:
        """The next trial to work on, held by this process within the block: an abandoned one, or a new one.

        Args:
            wanted: trials that the search shall have.

        Returns:
            None where as many have been begun and none is abandoned.
        """
        with contextlib.ExitStack() as held:
            with self._alone():
                claim = self._abandoned(held) or self._new(wanted, held)
            yield claim

    def trials(self) -> list[Trial]:
        """All trials that were begun."""
        names = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running"}
        return [
            Trial(
                entry.number,
                names[entry.state.name],
                entry.value if entry.value is not None and math.isfinite(entry.value) else None,
                {name: entry.params[name] for name in self._distributions if name in entry.params},
                self.trials_folder / f"{entry.number:04d}",
                entry.duration.total_seconds() if entry.duration else None,
                str(entry.user_attrs.get("error", "")),
            )
            for entry in self._study.get_trials(deepcopy=False)
            if entry.state.name in names
        ]

    def importances(self) -> dict[str, float]:
        """The share that each flag has in the differences between results, by optuna's default evaluator.

        Empty where there are too few finished trials to tell.
        """
        done = [entry for entry in self._study.get_trials(deepcopy=False) if entry.state.name == "COMPLETE"]
        values = {entry.value for entry in done}
        if len(done) < 4 or len(values) < 2:
            return {}
        try:
            return dict(self._optuna.importance.get_param_importances(self._study))
        except (ValueError, RuntimeError):
            # the evaluators refuse what they cannot divide into better and worse
            return {}

    def _abandoned(self, held: contextlib.ExitStack) -> Claim | None:
        running = self._optuna.trial.TrialState.RUNNING
        for entry in self._study.get_trials(deepcopy=False, states=(running,)):
            if self._take(entry.number, held):
                identity = self._storage.get_trial_id_from_study_id_trial_number(self._id, entry.number)
                trial = self._optuna.trial.Trial(self._study, identity)
                claim = Claim(self, trial, dict(entry.params), int(entry.user_attrs.get("attempts", 1)) + 1)
                if set(entry.params) != set(self._distributions):
                    claim.fail("Its process ended before all its values were drawn.")
                elif claim.attempt > MOST_ATTEMPTS:
                    claim.fail(f"It was begun {claim.attempt - 1} times and ended its process each time.")
                else:
                    trial.set_user_attr("attempts", claim.attempt)
                    return claim
        return None

    def _new(self, wanted: int, held: contextlib.ExitStack) -> Claim | None:
        optuna, definition = self._optuna, self.definition
        begun = len(self.trials())
        if begun >= wanted:
            return None
        # seeded by the number of the trial, so that the draws do not depend on who makes them, and when
        seed = int(np.random.SeedSequence([definition.seed, begun]).generate_state(1)[0])
        if definition.sampler == "tpe":
            self._study.sampler = optuna.samplers.TPESampler(seed=seed, multivariate=len(self.space) > 1)
        else:
            self._study.sampler = optuna.samplers.RandomSampler(seed=seed)
        waiting = optuna.trial.TrialState.WAITING
        if definition.sampler == "grid" and not self._study.get_trials(deepcopy=False, states=(waiting,)):
            self._study.enqueue_trial(self._grid()[begun])
        trial = self._study.ask(self._distributions)
        if not self._take(trial.number, held):
            raise FailureError(f"{self.trials_folder} holds a lock for trial {trial.number}, which nobody has begun.")
        return Claim(self, trial, dict(trial.params), 1)

    def _grid(self) -> list[dict[str, Value]]:
        """The points in a seeded order, so that a grid that is not finished has been everywhere."""
        points = points_of(self.space)
        return [points[place] for place in np.random.default_rng(self.definition.seed).permutation(len(points))]

    # ---------------------------------------------------------------- locks and files

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Within the block no other process begins or adopts a trial."""
        with contextlib.ExitStack() as held:
            _lock(self.folder / "search.lock", held, wait=True)
            yield

    def _take(self, number: int, held: contextlib.ExitStack) -> bool:
        return _lock(self.trials_folder / f"{number:04d}.lock", held, wait=False)

    def _settle_definition(self) -> None:
        """Write what is searched, or compare it with what is there."""
        path = self.folder / "search.json"
        wanted = {"format": FORMAT, **asdict(self.definition)}
        if not path.exists():
            others = [name for name in os.listdir(self.folder) if name not in ("search.lock", "trials")]
            if others or any(self.trials_folder.iterdir()):
                raise MisuseError(f"{self.folder} is not empty and not a search. Name another folder with --out.")
            write_whole(path, json.dumps(wanted, indent=2, ensure_ascii=False) + "\n")
            return
        try:
            stored = json.loads(path.read_bytes())
            differing = [name for name, value in json.loads(json.dumps(wanted)).items() if stored[name] != value]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FailureError(f"{path} cannot be read as a search ({error!r}).") from error
        if differing:
            name = differing[0]
            raise MisuseError(
                f"{self.folder} holds another search: its {name} is {stored[name]!r}, not {wanted[name]!r}. "
                "Give the same command, or name another folder with --out."
            )


@dataclass
class Claim:
    """A trial that this process works on.

    Attributes:
        study: of which search.
        trial: optuna's.
        point: the values of the flags.
        attempt: 1 for a new trial, more for one that was abandoned.
    """

    study: Study
    trial: Any
    point: dict[str, Value]
    attempt: int

    @property
    def number(self) -> int:
        return int(self.trial.number)

    @property
    def folder(self) -> Path:
        """Where its run is, or shall be."""
        return self.study.trials_folder / f"{self.number:04d}"

    def report(self, share: float, best: float) -> bool:
        """Take in the best criterion at a share of the plan.

        Returns:
            Whether the trial is so far behind the others that it should end.
        """
        mark = math.floor(share * MARKS + 1e-9)
        known = self.trial.study.get_trials(deepcopy=False)[self.number].intermediate_values
        last = max(known, default=0)
        for passed in range(last + 1, mark + 1):
            # at marks that were passed since the last evaluation, that one was all that was known
            value = best if passed == mark or last not in known else known[last]
            if passed == mark or last in known:
                self.trial.report(value, passed)
        return mark > last and mark < MARKS and bool(self.trial.should_prune())

    def complete(self, value: float) -> None:
        """The trial was trained to its end and reached this."""
        self._end("COMPLETE", value)

    def prune(self) -> None:
        """The trial was ended early; its value is the last that was reported."""
        self._end("PRUNED")

    def fail(self, error: str) -> None:
        """The trial gave no result, for this reason."""
        self.trial.set_user_attr("error", error)
        self._end("FAIL")

    def _end(self, state: str, value: float | None = None) -> None:
        self.trial.study.tell(self.trial, value, state=self.study._optuna.trial.TrialState[state])


def _pruner(optuna: Any, name: str) -> Any:
    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=UNPRUNED_TRIALS, n_warmup_steps=UNPRUNED_MARKS)
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=2, max_resource=MARKS, reduction_factor=3)
    return optuna.pruners.NopPruner()


def _mend(record: Path, lock: Any) -> None:
    """Cut off a last line that a power cut left unfinished: optuna would read no further than that."""
    if not record.exists():
        return
    lock.acquire()
    try:
        with open(record, "r+b") as stream:
            content = stream.read()
            if content and not content.endswith(b"\n"):
                stream.truncate(content.rfind(b"\n") + 1)
    except OSError as error:
        raise disk_failure(record, error) from error
    finally:
        lock.release()


def _lock(path: Path, held: contextlib.ExitStack, *, wait: bool) -> bool:
    """Lock a file until the stack is left or the process ends; returns whether it could be had."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise disk_failure(path, error) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(handle)
        return False
    except OSError as error:
        os.close(handle)
        raise disk_failure(path, error) from error
    held.callback(os.close, handle)
    return True
