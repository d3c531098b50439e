"""Working through a search: trial after trial in this process, through the verbs that train."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from elman.errors import ElmanError, FailureError, MisuseError
from elman.runs import RunFolder
from elman.training.progress import Outcome
from elman.training.search.space import flags_of
from elman.training.search.study import Claim, Study, Trial
from elman.training.settings import SEEDS
from elman.training.watch import Watch, watched

# so many failures of trials in a row are no accident of their settings
MOST_FAILURES = 5


@dataclass(frozen=True)
class Runner:
    """How trials are run.

    Attributes:
        train: trains by the words of a command line behind ``elman train``; raises what the verb raises.
        resume: goes on with a run folder.
        tell: is given each finished trial.
    """

    train: Callable[[Sequence[str]], None]
    resume: Callable[[Path], None]
    tell: Callable[[Trial], None]


@dataclass
class _Seen:
    """What a watch saw of one training."""

    best: float | None = None
    pruned: bool = False
    outcomes: list[Outcome] = field(default_factory=list)


def work(study: Study, wanted: int, runner: Runner) -> bool:
    """Run trials until the search has as many as it shall have; other processes may do the same meanwhile.

    Args:
        study: the search.
        wanted: trials in all, those of other processes and earlier sittings counted.
        runner: how one is run.

    Returns:
        Whether it came to its end; False if somebody asked to stop, which leaves the trial to be gone on with.

    Raises:
        MisuseError: the first trial of all cannot be trained, so neither can the others.
        FailureError: several trials in a row failed.
    """
    failures = 0
    while True:
        with study.claim(wanted) as claim:
            if claim is None:
                return True
            try:
                ended = _run(claim, runner)
            except KeyboardInterrupt:
                return False
            except ElmanError as error:
                failures += 1
                claim.fail(str(error))
                known = study.trials()
                if isinstance(error, MisuseError) and all(trial.state in ("failed", "running") for trial in known):
                    raise
                if failures >= MOST_FAILURES:
                    raise FailureError(
                        f"{failures} trials failed one after another, the last one so: {error}"
                    ) from error
                ended = True
            else:
                failures = 0
            if not ended:
                return False
            number = claim.number
        runner.tell(next(trial for trial in study.trials() if trial.number == number))


def command_of(study: Study, trial: Trial | Claim, *, out: Path | None = None) -> list[str]:
    """The words that train with the settings of a trial, behind ``elman train``.

    Args:
        study: the search.
        trial: whose point.
        out: the run folder; None leaves it to the verb.
    """
    definition = study.definition
    words = [definition.task, *definition.arguments, *flags_of(trial.point)]
    if "--seed" not in words:
        words += ["--seed", str((definition.seed + trial.number) % SEEDS)]
    return words if out is None else [*words, "--out", str(out)]


def _run(claim: Claim, runner: Runner) -> bool:
    """Train a claimed trial, or go on with it; returns False where somebody asked to stop."""
    seen = _Seen()

    def evaluated(share: float, best: float | None) -> bool:
        seen.best = best
        seen.pruned = best is not None and claim.report(share, best)
        return seen.pruned

    def ended(outcome: Outcome, folder: RunFolder) -> None:
        seen.outcomes.append(outcome)

    words = command_of(claim.study, claim, out=claim.folder)
    with watched(Watch(evaluated, ended, shlex.join(["elman", "train", *words]))):
        if RunFolder(claim.folder).config.exists():
            runner.resume(claim.folder)
        else:
            runner.train([*words, "--quiet"])
    if not seen.outcomes:
        raise MisuseError(
            f"elman train {claim.study.definition.task} does not train step by step; it cannot be searched."
        )
    outcome = seen.outcomes[-1]
    if outcome.reason == "interrupted":
        return False
    best = outcome.progress.best_criterion
    if best is None:
        raise MisuseError("A search needs a validation part to compare trials by; this training has none.")
    if seen.pruned:
        claim.prune()
    else:
        claim.complete(best)
    return True
