"""Training on clips: naming what happens in them, and measuring it beside what needs no order."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.equations import Recurrence
from elman.errors import MisuseError
from elman.models.video.classifier import VideoClassifier, fuse, fusion_weight
from elman.runs import LoadedRun, RunFolder, load
from elman.training.corpus import refuse_inside
from elman.training.display import Display
from elman.training.epoch_task import EpochTask, planned
from elman.training.evaluate import Evaluation
from elman.training.material import absolute
from elman.training.progress import Outcome
from elman.training.scores import Scores, check_options
from elman.training.settings import Settings
from elman.training.start import Prepared, Reports, start
from elman.training.systems.parts import names_of
from elman.training.systems.video.data import (
    ClipOptions,
    Footage,
    all_frames,
    judged_clips,
    read_again,
    read_footage,
)
from elman.training.systems.video.describe import described_examples, evaluate_describer, rebuilt_examples

EVALUATION_BATCH = 64
#: Evaluations of a training, where the user does not say how often.
EVALUATIONS = 20
#: with so many classes, whether the right one is among the first five is told too
MANY_CLASSES = 20
SAMPLES = 5


@dataclass(frozen=True)
class Wishes:
    """What a model of clips shall look like.

    Attributes:
        recurrence: None judges every frame alone.
        describe: "mean-pool" or "s2vt"; empty to name clips.
        shape: further arguments of the model.
        settings: of the training.
        given: the names of the settings that are the user's own: warmup, eval_every.
        reports: who is told.
    """

    recurrence: Recurrence | None
    describe: str
    shape: Mapping[str, Any]
    settings: Settings
    given: frozenset[str] = frozenset()
    reports: Reports = field(default_factory=Reports)


class ClipExamples:
    """Labelled clips as examples of the training loop.

    Args:
        model: on its device.
        footage: the clips.
        settings: batch, device.
    """

    unit = "clip"

    def __init__(self, model: VideoClassifier, footage: Footage, settings: Settings) -> None:
        self.model, self.footage, self.settings = model, footage, settings
        self.rows = footage.parts["train"]
        self.lengths: NDArray[np.integer] | None = footage.clips.lengths[self.rows]
        self.targets = class_numbers(footage, footage.classes)

    def __len__(self) -> int:
        return len(self.rows)

    def describe(self) -> str:
        return f"{title_of(self.model)}, {self.settings.batch} clips a step"

    def batch(self, rows: NDArray[np.int64], generator: torch.Generator) -> tuple[tuple[Tensor, ...], int]:
        chosen = self.rows[rows]
        frames, lengths = self.footage.frames(chosen, generator)
        targets = torch.from_numpy(self.targets[chosen])
        return tuple(tensor.to(self.settings.device) for tensor in (frames, lengths, targets)), len(rows)

    def loss(self, batch: tuple[Tensor, ...]) -> Tensor:
        return self.model.loss(*batch).sum()

    def evaluate(self) -> Evaluation | None:
        rows = self.footage.parts["valid"]
        if not len(rows):
            return None
        started = time.monotonic()
        probabilities, nats = judged(self.model, self.footage, rows)
        scores = accuracies(probabilities, self.targets[rows])
        # few clips: the loss of a model that is sure of its mistakes grows while it names more of them rightly
        criterion = 1 - scores["accuracy"] + 1e-3 * nats
        return Evaluation(nats, len(rows), time.monotonic() - started, scores=scores, criterion=criterion)

    def sample(self, seed: int, length: int) -> str:
        rows = self.footage.parts["valid"]
        rows = np.random.default_rng(seed).permutation(rows)[:SAMPLES]
        if not len(rows):
            return ""
        probabilities, _ = judged(self.model, self.footage, rows)
        lines = []
        for row, chances in zip(rows, probabilities, strict=True):
            best = int(chances.argmax())
            lines.append(
                f"{self.footage.clips.names[row]}: {self.footage.classes[best]} ({chances[best]:.2f}), "
                f"is {self.footage.clips.labels[row]}"
            )
        return "\n".join(lines)


def train(
    sources: Sequence[str], options: ClipOptions, wishes: Wishes, out: Path
) -> tuple[Outcome, RunFolder, dict[str, Any]]:
    """Train a model of clips into a new run folder.

    Args:
        sources: an archive of poses or drawings, a folder of films, or a table of them.
        options: how they are read.
        wishes: model, settings, reports.
        out: the run folder to make.

    Returns:
        How the training ended, the run folder and its configuration.

    Raises:
        MisuseError, FailureError, EquationError: with the sentence for the user.
    """

    def prepare(settings: Settings, display: Display, seconds_left: Callable[[], float | None]) -> Prepared:
        refuse_inside(out, sources)
        notices: list[str] = []
        footage = read_footage(sources, options, describe=bool(wishes.describe), notices=notices)
        for notice in notices:
            display.warn(notice)
        counts = footage.counts()
        settings.check_validation(counts["valid"], "validation clips; --split leaves none.")
        display.note(
            f"{counts['train']:,} clips to train on, {counts['valid']:,} to validate, {counts['test']:,} to test; "
            f"{footage.options.stream} of {footage.clips.kind}; fingerprint {footage.clips.fingerprint[:12]}"
        )
        examples = _made(footage, wishes, settings)
        task, settings, steps = planned(
            examples, settings, wishes.given, seconds_left, evaluations=EVALUATIONS, warmup=50
        )
        stored = asdict(footage.options) | {"weights": options.weights and absolute(options.weights)}
        entries: dict[str, Any] = {
            "model": examples.model.configuration(),
            "data": {
                "sources": [absolute(source) for source in sources],
                "kind": footage.clips.kind,
                "options": stored | {"names": list(footage.options.names)},
                "fingerprint": footage.clips.fingerprint,
                "clips": counts,
            },
        }
        if wishes.describe:
            entries["vocabulary"] = examples.vocabulary.to_json()
        else:
            entries["classes"] = list(footage.classes)
        return Prepared("video", task, settings, steps, entries)

    return start(out, wishes.settings, wishes.reports, prepare)


def _made(footage: Footage, wishes: Wishes, settings: Settings) -> Any:
    torch.manual_seed(settings.seed)
    if wishes.describe:
        return described_examples(footage, wishes.recurrence, wishes.describe, wishes.shape, settings)
    if len(footage.classes) < 2:
        raise MisuseError(f"All clips are labelled {footage.classes[0]}; naming needs at least two labels.")
    some, _ = footage.frames(footage.parts["train"][:1])
    model = VideoClassifier(
        wishes.recurrence, some.shape[-1], len(footage.classes), backend=settings.backend, **wishes.shape
    )
    model.standardise.fit(all_frames(footage))
    return ClipExamples(model.to(settings.device), footage, settings)


def rebuild(config: Mapping[str, Any], settings: Settings, run: Path, sources: Sequence[str] | None) -> EpochTask:
    """The task of a stored run, with fresh weights.

    Args:
        config: of the run.
        settings: of the training.
        run: its folder, for errors.
        sources: where the clips lie now; None for the recorded places.

    Raises:
        MisuseError, FailureError: the clips are not there, or not the same any more.
    """
    footage = read_again(config, run, sources)
    torch.manual_seed(settings.seed)
    if "vocabulary" in config:
        return EpochTask(rebuilt_examples(config, footage, settings), settings)
    model = VideoClassifier.from_configuration(config["model"], settings.backend).to(settings.device)
    return EpochTask(ClipExamples(model, footage, settings), settings)


OPTIONS: Mapping[str, type] = {"with": str, "weight": float}


def evaluate_run(
    loaded: LoadedRun, run: Path, sources: Sequence[str] | None, part: str | None, options: Mapping[str, Any]
) -> Scores:
    """Accuracy of a run, beside the same model fed its frames in another order; of two runs, their fusion.

    Args:
        loaded: the run.
        run: its folder.
        sources: other clips, all of which are judged; None for the run's own.
        part: of its own clips: "valid" (default), "test" or "train".
        options: of runs that name clips ``with``: a run of another stream of the same clips, and ``weight``: its share
            in the fusion, chosen on the validation part where it is not given; of runs that describe, see
            :func:`elman.training.systems.video.describe.evaluate_describer`.

    Raises:
        MisuseError, FailureError: with the sentence for the user.
    """
    if "vocabulary" in loaded.config:
        return evaluate_describer(loaded, run, sources, part, options)
    asked = check_options(options, OPTIONS)
    footage, rows = judged_clips(loaded, run, sources, part)
    classes = names_of(loaded.config, "classes", run)
    targets = class_numbers(footage, classes)[rows]
    probabilities, nats = judged(loaded.model, footage, rows)
    shuffled, _ = judged(loaded.model, footage, rows, shuffle=True)
    found: dict[str, float | int | str | None] = {"clips": len(rows), "nats_a_clip": nats}
    found |= accuracies(probabilities, targets)
    found["accuracy_of_shuffled_frames"] = accuracies(shuffled, targets)["accuracy"]
    details: dict[str, Any] = {"named": [classes[best] for best in probabilities.argmax(1)]}
    if "with" in asked:
        other = load(asked["with"], device=next(loaded.model.parameters()).device, systems=("video",))
        found |= _fused(loaded, run, other, Path(asked["with"]), sources, part, asked.get("weight"), probabilities)
    elif "weight" in asked:
        raise MisuseError("--option weight is the share of another run; name that with --option with=RUN.")
    return Scores(found, _confusions(probabilities, targets, classes), details)


def _fused(
    loaded: LoadedRun,
    run: Path,
    other: LoadedRun,
    other_run: Path,
    sources: Sequence[str] | None,
    part: str | None,
    weight: float | None,
    first: NDArray[np.float64],
) -> dict[str, float]:
    classes = names_of(loaded.config, "classes", run)
    if names_of(other.config, "classes", other_run) != classes:
        raise MisuseError(f"{other_run} knows other classes than {run}; train both on the same clips.")
    if weight is not None and not 0 <= weight <= 1:
        raise MisuseError(f"--option weight={weight:g} is no share from 0 to 1.")
    footage, rows = judged_clips(other, other_run, sources, part)
    if len(rows) != len(first):
        raise MisuseError(f"{other_run} was divided otherwise than {run}; train both with the same --split.")
    second, _ = judged(other.model, footage, rows)
    targets = class_numbers(footage, classes)[rows]
    if weight is None:
        own, held = judged_clips(loaded, run, None, "valid")
        others, other_held = judged_clips(other, other_run, None, "valid")
        if not np.array_equal(held, other_held):
            raise MisuseError(f"{other_run} was divided otherwise than {run}; train both with the same --split.")
        sides = (judged(loaded.model, own, held)[0], judged(other.model, others, other_held)[0])
        weight = fusion_weight(*sides, class_numbers(own, classes)[held])
    fused = fuse((first, second), (1 - weight, weight))
    return {
        "accuracy_of_the_other": accuracies(second, targets)["accuracy"],
        "weight_of_the_other": weight,
        **{f"fused_{name}": value for name, value in accuracies(fused, targets).items()},
    }


def class_numbers(footage: Footage, classes: Sequence[str]) -> NDArray[np.int64]:
    """[N] the number of each clip's label among ``classes``.

    Raises:
        MisuseError: a label that is not among them.
    """
    numbers = {name: number for number, name in enumerate(classes)}
    labels = footage.clips.labels
    for name, label in zip(footage.clips.names, labels, strict=True):
        if label not in numbers:
            raise MisuseError(f"{name} is labelled {label!r}, which the run does not know.")
    return np.array([numbers[str(label)] for label in labels], dtype=np.int64)


@torch.inference_mode()
def judged(
    model: VideoClassifier, footage: Footage, rows: NDArray[np.int64], *, shuffle: bool = False
) -> tuple[NDArray[np.float64], float]:
    """Probabilities of clips.

    Args:
        model: in evaluation mode.
        footage: the clips.
        rows: N of them.
        shuffle: their frames in another order.

    Returns:
        [N, K], and the mean loss in nats a clip; NaN where labels are not the model's.
    """
    device = next(model.parameters()).device
    # clips of similar length side by side are padded least
    order = np.argsort(footage.clips.lengths[rows], kind="stable")
    probabilities = np.empty((len(rows), model.classes))
    known = {name: number for number, name in enumerate(footage.classes)}
    nats = 0.0
    for begin in range(0, len(rows), EVALUATION_BATCH):
        places = order[begin : begin + EVALUATION_BATCH]
        frames, lengths = (tensor.to(device) for tensor in footage.frames(rows[places], shuffle=shuffle))
        probabilities[places] = model(frames, lengths).double().cpu().numpy()
        if len(known) == model.classes:
            targets = [known[str(footage.clips.labels[row])] for row in rows[places]]
            nats += float(model.loss(frames, lengths, torch.tensor(targets, device=device)).sum())
        else:
            nats = float("nan")
    return probabilities, nats / len(rows)


def accuracies(probabilities: NDArray[np.float64], targets: NDArray[np.int64]) -> dict[str, float]:
    """The share of clips whose class is the likeliest; of many classes also that of those among the first five."""
    rank = (probabilities > probabilities[np.arange(len(targets)), targets][:, None]).sum(1)
    found = {"accuracy": float((rank < 1).mean())}
    if probabilities.shape[1] >= MANY_CLASSES:
        found["top_5"] = float((rank < 5).mean())
    return found


def title_of(model: VideoClassifier) -> str:
    """A classifier in a few words."""
    if model.recurrence is None:
        return f"{model.layers} x {model.hidden} frame by frame"
    sides = "bidirectional " if model.bidirectional else ""
    return f"{model.layers} x {model.hidden} {sides}{model.recurrence.name or 'own recurrence'}"


def _confusions(probabilities: NDArray[np.float64], targets: NDArray[np.int64], classes: Sequence[str]) -> str:
    """Each class with how many of its clips were named rightly, and what the others were taken for."""
    if len(classes) >= MANY_CLASSES:
        return ""
    named = probabilities.argmax(1)
    width = max(len(name) for name in classes)
    lines = []
    for number, name in enumerate(classes):
        own = named[targets == number]
        if not len(own):
            continue
        others = np.bincount(own[own != number], minlength=len(classes))
        taken = [f"{classes[k]} {others[k]}" for k in np.argsort(-others, kind="stable") if others[k]]
        lines.append(f"{name:<{width}}  {(own == number).sum():>4} of {len(own):<4} {', '.join(taken)}".rstrip())
    return "\n".join(lines)
