"""Training a ConvNet on images in class folders, and measuring it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from elman.data.images import Augmentation, Preprocessing, fit, normalisation, open_images
from elman.data.splits import part_named
from elman.errors import FailureError, MisuseError
from elman.metrics.classification import calibration, class_scores, confusion_matrix, macro_f1
from elman.models.convnets import ConvNet, build, design, load_weights, net_of
from elman.models.image_classifier import ImageClassifier
from elman.runs import LoadedRun, RunFolder, load
from elman.runs.checkpoint import newest_step
from elman.training.choose import evaluations
from elman.training.corpus import refuse_inside
from elman.training.display import Display, QuietDisplay
from elman.training.epoch_task import plan_steps
from elman.training.material import absolute
from elman.training.progress import Outcome
from elman.training.scores import Scores, check_options
from elman.training.settings import Settings
from elman.training.start import Prepared, Reports, start
from elman.training.systems.image.choose import (
    PUBLISHED,
    ImageWishes,
    Reasons,
    choose_augmentation,
    choose_batch,
    choose_precision,
    choose_preprocessing,
    choose_rates,
    choose_side,
    frozen_names,
)
from elman.training.systems.image.data import (
    Images,
    describe_images,
    image_options,
    options_of,
    read_again,
    read_images,
    read_other,
)
from elman.training.systems.image.examples import TOP, ImageExamples, ImageTask, judge
from elman.training.systems.tables import class_table, confusion_table

# a confusion matrix of more classes is not readable; the pairs that are confused most are


@dataclass(frozen=True)
class ImageSources:
    """Where the images are and how they are divided.

    Attributes:
        train: a folder of class folders, or a tar archive.
        valid, test: sources of those parts.
        split: shares of ``train``; None for the usual ones.
        bad: "refuse" or "skip" images that cannot be used.
    """

    train: str
    valid: str | None = None
    test: str | None = None
    split: str | None = None
    bad: str = "refuse"


@dataclass(frozen=True)
class Recipe:
    """What makes the model that a training begins with; stored with the run.

    Attributes:
        net: its name.
        options: of the net, such as dropout.
        weights: a file or a run folder, None for fresh weights.
        preprocess: kind, "published", or "" for none.
        components: directions of "pca".
        augmentation: of the training images.
    """

    net: str
    options: Mapping[str, Any] = field(default_factory=dict)
    weights: str | None = None
    preprocess: str = "normalise"
    components: int | None = None
    augmentation: Mapping[str, Any] = field(default_factory=dict)

    def model(self, images: Images, side: int, shorter: int, seed: int) -> ImageClassifier:
        """The model, its preprocessing fitted on the training part.

        Raises:
            MisuseError, FailureError: with the sentence for the user.
        """
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        net = build(self.net, len(images.classes), generator=generator, **self.options)
        preprocessing = _take_weights(net, self.weights) if self.weights else None
        if self.preprocess != PUBLISHED:
            each = images.parts["train"].each()
            preprocessing = fit(self.preprocess, each, components=self.components) if self.preprocess else None
        return ImageClassifier(net, images.classes, side, shorter, preprocessing)


def train(
    sources: ImageSources, wishes: ImageWishes, settings: Settings, reports: Reports, out: Path
) -> tuple[Outcome, RunFolder, dict[str, Any]]:
    """Train an image classifier into a new run folder.

    Args:
        sources: the images.
        wishes: net, size, and what else the user gave.
        settings: as the user wants them.
        reports: who is told.
        out: the run folder to make.

    Returns:
        How the training ended, the run folder and its configuration.

    Raises:
        MisuseError, FailureError: with the sentence for the user.
    """

    def prepare(settings: Settings, display: Display, seconds_left: Callable[[], float | None]) -> Prepared:
        refuse_inside(out, [place for place in (sources.train, sources.valid, sources.test) if place])
        reasons = Reasons()
        name = wishes.net or _usual_net(wishes, reasons)
        notices: list[str] = []
        opened = open_images(sources.train, notices=notices)
        for notice in notices:
            display.warn(notice)
        side = choose_side(wishes, name, opened, reasons)
        # the whole shorter side is kept, though published nets saw the middle of an image that was a little larger
        options = image_options(side, side, sources.split, sources.valid, sources.test, sources.bad)
        images = read_images(opened, options, display)
        settings.check_validation(len(images.parts["valid"]), "a validation part: --valid or --split.")
        augmentation = choose_augmentation(wishes, side, reasons)
        recipe = Recipe(
            name,
            {} if wishes.dropout is None else {"dropout": wishes.dropout},
            wishes.weights and absolute(wishes.weights),
            choose_preprocessing(wishes, reasons),
            wishes.components,
            asdict(augmentation),
        )
        model = recipe.model(images, side, side, settings.seed).to(settings.device)
        examples = len(images.parts["train"])
        settings = replace(
            choose_rates(wishes, settings, model.net, reasons),
            batch=choose_batch(wishes, model.net, examples, side, reasons),
            precision=choose_precision(wishes, settings.device, reasons),
        )
        task = _task(model, images, augmentation, settings)
        _try(model)
        steps = plan_steps(task, settings, seconds_left)
        settings = replace(
            settings,
            eval_every=wishes.eval_every or max(1, -(-steps // evaluations(seconds_left()))),
            warmup=min(200, steps // 10) if wishes.warmup is None else wishes.warmup,
        )
        entries = {
            "model": model.configuration(),
            "data": describe_images(sources.train, options, images),
            "recipe": asdict(recipe),
        }
        return Prepared("image", task, settings, steps, entries, reasons.lines)

    return start(out, settings, reports, prepare)


def rebuild(config: Mapping[str, Any], settings: Settings, run: Path, sources: Sequence[str] | None) -> ImageTask:
    """The task of a stored run.

    Its weights are what the training began with, where no checkpoint holds others.

    Args:
        config: of the run.
        settings: of the training.
        run: its folder, for errors.
        sources: where the images lie now; None for the recorded places.

    Raises:
        MisuseError, FailureError: the images are not there, or not the same any more.
    """
    images = read_again(config, run, sources)
    options = options_of(config, run)
    try:
        recipe = Recipe(**config["recipe"])
        augmentation = Augmentation(**recipe.augmentation)
    except (KeyError, TypeError) as error:
        raise FailureError(f"The configuration of {run} lacks what a resume needs ({error!r}).") from error
    if newest_step(RunFolder.existing(run)) < 0:
        model = recipe.model(images, options.side, options.shorter, settings.seed)
    else:
        torch.manual_seed(settings.seed)
        model = ImageClassifier.from_configuration(config["model"])
    return _task(model.to(settings.device), images, augmentation, settings)


def evaluate_run(
    loaded: LoadedRun, run: Path, sources: Sequence[str] | None, part: str | None, options: Mapping[str, Any]
) -> Scores:
    """How often a classifier is right, class by class.

    Args:
        loaded: the run's model.
        run: its folder.
        sources: other images in folders of the same classes; None for a part of the run's own.
        part: "valid" (default), "test" or "train".
        options: ``bad=skip`` or ``bad=refuse`` for images that cannot be used.

    Returns:
        Loss, top-1 and top-5 accuracy; per class precision and recall; the confusion matrix.

    Raises:
        MisuseError, FailureError: with the sentence for the user.
    """
    known = check_options(options, {"bad": str})
    model: ImageClassifier = loaded.model
    if sources:
        if len(sources) != 1:
            raise MisuseError(f"Name one folder or archive, not {len(sources)}.")
        how = image_options(model.side, model.shorter, "100", None, None, known.get("bad", "refuse"))
        chosen, name = read_other(sources[0], how, model.classes, QuietDisplay()), str(sources[0])
    else:
        name = part_named(part)
        chosen = read_again(loaded.config, run).parts[name]
        if not len(chosen):
            raise MisuseError(f"{run} has no {name} part; name another with --part, or a folder of images.")
    judged = judge(model, chosen)
    shares = judged.scores.double().softmax(1).numpy()
    matrix = confusion_matrix(judged.labels.numpy(), shares.argmax(1), len(model.classes))
    scores = class_scores(matrix)
    rows: dict[str, float | int | str | None] = {
        "part": name,
        "images": len(chosen),
        "nats": judged.nats,
        "accuracy": judged.top(1),
    }
    if len(model.classes) > TOP:
        rows[f"top{TOP}"] = judged.top(TOP)
    rows |= {
        "macro_f1": macro_f1(scores),
        "calibration_error": calibration(shares, judged.labels.numpy()).error,
        "seconds": round(judged.seconds, 2),
    }
    by_class = {
        word: {"precision": score.precision, "recall": score.recall, "f1": score.f1, "images": score.support}
        for word, score in zip(model.classes, scores, strict=True)
    }
    details = {"classes": by_class, "confusion": matrix.tolist()}
    tables = f"{class_table(model.classes, scores)}\n\n{confusion_table(model.classes, matrix)}"
    return Scores(rows, tables, details)


def _usual_net(wishes: ImageWishes, reasons: Reasons) -> str:
    if not wishes.weights:
        reasons.add("net small_bn: learns in minutes on a CPU; others with --net")
        return "small_bn"
    path = Path(wishes.weights)
    name = _other_run(path).net.name if path.is_dir() else net_of(path)
    reasons.add(f"net {name}: that of the weights")
    return name


def _take_weights(net: ConvNet, weights: str) -> Preprocessing:
    """Fill a net, all but its last layers; returns the preprocessing that the weights were trained with."""
    if not Path(weights).is_dir():
        load_weights(net, weights, keep_head=True)
        entry = design(net.name)
        return normalisation(entry.mean, entry.std)
    other = _other_run(Path(weights))
    if other.net.name != net.name:
        raise MisuseError(f"{weights} holds a {other.net.name}, not a {net.name}.")
    heads = tuple(f"{head}." for head in net.heads)
    trunk = {name: tensor for name, tensor in other.net.state_dict().items() if not name.startswith(heads)}
    net.load_state_dict({**net.state_dict(), **trunk})
    if other.preprocessing is None:
        raise MisuseError(f"{weights} was trained without preprocessing; say --preprocess none, or another.")
    return other.preprocessing


def _other_run(path: Path) -> ImageClassifier:
    model: ImageClassifier = load(path, systems=("image",)).model
    return model


def _task(model: ImageClassifier, images: Images, augmentation: Augmentation, settings: Settings) -> ImageTask:
    model.freeze(frozen_names(model.net, settings.rate_scales))
    return ImageTask(ImageExamples(model.train(), images, augmentation, settings), settings)


def _try(model: ImageClassifier) -> None:
    """Refuse a size that the net cannot read, before anything is written."""
    place = next(model.net.parameters()).device
    try:
        with torch.inference_mode():
            model.eval()(torch.zeros(1, 3, model.side, model.side, dtype=torch.uint8, device=place))
    except RuntimeError as error:
        if "memory" in str(error).lower():
            raise
        raise MisuseError(
            f"{model.net.name} cannot read images of {model.side} x {model.side}: take another --size, such as "
            f"{design(model.net.name).image}."
        ) from error
    finally:
        model.train()
