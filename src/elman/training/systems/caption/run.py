"""Training and evaluating captioners."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from elman.data.splits import part_named
from elman.data.vocabulary import from_json
from elman.equations import Recurrence
from elman.errors import FailureError, MisuseError
from elman.generate.captioning import Manner
from elman.generate.ensemble import captioners_from_runs
from elman.models.captioning import Captioner
from elman.models.convnets import build, load_weights, net_of, read_state
from elman.models.encoders import ConvNetEncoder
from elman.runs import LoadedRun, RunFolder, load
from elman.runs.checkpoint import newest_tensors
from elman.runs.tensors import read_tensors
from elman.training.corpus import refuse_inside
from elman.training.display import Display
from elman.training.epoch_task import EpochTask, plan_steps
from elman.training.material import absolute, check_same, recorded_data
from elman.training.progress import Outcome
from elman.training.scores import Scores, check_options, further_runs
from elman.training.settings import Settings
from elman.training.start import Prepared, Reports, start
from elman.training.systems.caption.data import (
    CaptionedImages,
    CaptionOptions,
    features_of,
    read_captioned,
    record,
)
from elman.training.systems.caption.examples import CaptionExamples, Teaching, references_of, tags
from elman.training.systems.caption.scores import (
    caption_scores,
    nats_of,
    retrieval_rows,
    retrieval_scores,
    table,
    views_of,
)
from elman.training.systems.caption.self_critical import SelfCritical

# nets that end in a classifier of places: its means say more of an image than the features before it
_POOLED = {"squeezenet1_0": "flatten", "squeezenet1_1": "flatten"}
ENCODER_RATE = 0.1


@dataclass(frozen=True)
class Wishes:
    """What a captioner shall look like.

    Attributes:
        encoder: name of a ConvNet; None for the one that the weights are of.
        weights: file of its weights.
        pooled: its layer whose output is the image's vector; None for the usual one.
        shape: further arguments of :class:`elman.models.captioning.Captioner`.
        run: a run whose model is trained on; the others then stay as they are there.
        self_critical: learn from the reward instead of from the captions.
        encoder_rate: factor on the rate of the encoder's weights where they are trained.
    """

    encoder: str | None = None
    weights: str | None = None
    pooled: str | None = None
    shape: Mapping[str, Any] | None = None
    run: Path | None = None
    self_critical: bool = False
    encoder_rate: float = ENCODER_RATE


def train(
    images: str,
    captions: Sequence[str],
    options: CaptionOptions,
    recurrence: Recurrence,
    wishes: Wishes,
    teaching: Teaching,
    settings: Settings,
    reports: Reports,
    out: Path,
    *,
    eval_every: int | None = None,
) -> tuple[Outcome, RunFolder, dict[str, Any]]:
    """Train a captioner into a new run folder.

    Args:
        images: a folder or a tar archive.
        captions: caption files.
        options: how they are read.
        recurrence: the cell.
        wishes: the model.
        teaching: how it is taught.
        settings: of the training.
        reports: who is told.
        out: the run folder to make.
        eval_every: steps between evaluations; default an epoch.

    Returns:
        How the training ended, the run folder and its configuration.

    Raises:
        MisuseError, FailureError, EquationError: with the sentence for the user.
    """
    if wishes.self_critical and wishes.run is None:
        raise MisuseError("--self-critical improves a model that can caption already: name its run with --from.")
    if wishes.self_critical and teaching.scheduled:
        raise MisuseError("--self-critical draws all words from the model: --scheduled-sampling has no place in it.")

    def prepare(settings: Settings, display: Display, seconds_left: Callable[[], float | None]) -> Prepared:
        refuse_inside(out, [images, *captions])
        notices: list[str] = []
        start_from = None
        if wishes.run:
            start_from = load(wishes.run, device=settings.device, backend=settings.backend, systems=("caption",))
        own = _wordings(options, start_from)
        data = read_captioned(images, captions, own, notices)
        settings.check_validation(len(data.parts["valid"]), "a validation part; there is no image in it.")
        torch.manual_seed(settings.seed)
        if start_from:
            model, vocabulary = start_from.model, start_from.vocabulary
        else:
            vocabulary = own.vocabulary(data.training_captions())
            model = _built(recurrence, wishes, vocabulary.size, settings)
        # a file that is unreadable is found here, also where the encoder is trained
        data, features = features_of(model, data, own, notices)
        if not start_from:
            model.fit_features(features[torch.as_tensor(data.parts["train"])])
        for notice in notices:
            display.warn(notice)
        _describe(data, vocabulary.size, display)
        settings = _with_encoder(settings, wishes, teaching)
        examples = _examples(model, vocabulary, data, features, own, settings, teaching, wishes.self_critical)
        task = EpochTask(examples, settings)
        settings = replace(settings, eval_every=eval_every or task.steps_an_epoch)
        entries = {
            "model": model.configuration(),
            "vocabulary": vocabulary.to_json(),
            "data": record(images, captions, own, data),
            "teaching": {**asdict(teaching), "self_critical": wishes.self_critical},
            "start": {
                "weights": absolute(wishes.weights) if wishes.weights else None,
                "run": absolute(str(wishes.run)) if wishes.run else None,
            },
        }
        return Prepared("caption", task, settings, plan_steps(task, settings, seconds_left), entries)

    return start(out, settings, reports, prepare)


def rebuild(config: Mapping[str, Any], settings: Settings, run: Path, sources: Sequence[str] | None) -> EpochTask:
    """The task of a stored run, with fresh weights.

    Args:
        config: of the run.
        settings: of the training.
        run: its folder, for errors.
        sources: where images and captions lie now; None for the recorded places.

    Raises:
        MisuseError, FailureError: they are not there, or not the same any more.
    """
    vocabulary = from_json(config["vocabulary"])
    data, options = _read_again(config, run, sources)
    try:
        stored = dict(config["teaching"])
        critical = bool(stored.pop("self_critical"))
        teaching, begun = Teaching(**stored), dict(config["start"])
    except (KeyError, TypeError, ValueError) as error:
        raise FailureError(f"The configuration of {run} does not say how it was taught ({error!r}).") from error
    torch.manual_seed(settings.seed)
    fresh = newest_tensors(RunFolder.existing(run)) is None
    if fresh and begun["run"]:
        model = load(begun["run"], device=settings.device, backend=settings.backend, systems=("caption",)).model
    else:
        model = Captioner.from_configuration(config["model"], settings.backend).to(settings.device)
        if fresh:
            load_weights(model.encoder.net, begun["weights"])
        else:
            _take_encoder(run, model)
    data, features = features_of(model, data, options, [])
    if fresh and not begun["run"]:
        model.fit_features(features[torch.as_tensor(data.parts["train"])])
    return EpochTask(_examples(model, vocabulary, data, features, options, settings, teaching, critical), settings)


OPTIONS: Mapping[str, type] = {
    "beam": int,
    "normalisation": float,
    "retrieval": int,
    "tag": str,
    "seed": int,
    "ensemble": tuple,
}


def evaluate_run(
    loaded: LoadedRun, run: Path, sources: Sequence[str] | None, part: str | None, options: Mapping[str, Any]
) -> Scores:
    """Captions and retrieval on a part of the run's own data, or on other images.

    Args:
        loaded: the run.
        run: its folder.
        sources: other images and their caption files; None for the run's own.
        part: "valid" (default), "test" or "train" of the run's own.
        options: beam (3), normalisation (0.7), retrieval (at most so many images, 500; 0 for none), tag, seed (1),
            ensemble (other runs that caption with it, separated by commas).
    """
    asked = check_options(options, OPTIONS)
    loaded = captioners_from_runs(further_runs(asked, loaded, next(loaded.model.parameters()).device))
    manner = Manner(beam=asked.get("beam", 3), normalisation=asked.get("normalisation", 0.7))
    seed, most = asked.get("seed", 1), asked.get("retrieval", 500)
    part = part_named(part)
    notices: list[str] = []
    if sources:
        if len(sources) < 2:
            raise MisuseError("Other images are given with their captions: elman eval RUN IMAGES CAPTIONS.")
        _, words = _recorded(loaded.config, run)
        words = replace(words, lists=(), split="100", bad="skip")
        data = read_captioned(sources[0], sources[1:], words, notices)
        data, part = replace(data, parts={"train": data.parts["train"]}), "train"
    else:
        data, words = _read_again(loaded.config, run, None)
    device = str(next(loaded.model.parameters()).device)
    data, features = features_of(loaded.model, data, words, notices)
    examples = CaptionExamples(
        loaded.model, loaded.vocabulary, data, features, words, Settings(device=device), Teaching()
    )
    if not len(data.parts[part]):
        raise MisuseError(f"{run} has no {part} part.")
    with torch.inference_mode():
        return _scores(examples, part, manner, asked.get("tag"), seed, most, notices)


def _scores(
    examples: CaptionExamples, part: str, manner: Manner, tag: str | None, seed: int, most: int, notices: list[str]
) -> Scores:
    rows = examples.data.parts[part]
    known = tags(examples.data, rows)
    if tag is not None and tag not in known:
        raise MisuseError(f"--option tag={tag}: this part has {', '.join(filter(None, known)) or 'no tags'}.")
    texts: list[str] = []
    details: dict[str, Any] = {}
    for each in known if tag is None else [tag]:
        tagged, _ = references_of(examples.data, rows, each)
        columns = {
            view.name: caption_scores(examples, tagged, each, view, manner)[0]
            for view in views_of(examples, tagged, seed)
        }
        details[f"captions {each}".strip()] = columns
        title = f"beam {manner.beam}, length normalisation {manner.normalisation:g}"
        texts.append(f"captions of {len(tagged):,} images{f' in {each}' if each else ''}, {title}\n{table(columns)}")
    views = views_of(examples, rows, seed)
    losses = {view.name: {"nats a word": nats_of(examples, rows, view)[0]} for view in views}
    details["nats"] = losses
    texts.append(f"loss of people's captions\n{table(losses)}")
    if len(asked := rows[:most]):
        found = retrieval_scores(examples, asked, views_of(examples, asked, seed), seed)
        for direction, own in found.items():
            columns = {view: retrieval_rows(one) for view, one in own.items()}
            details[direction] = columns
            texts.append(f"the {direction}, among {next(iter(own.values())).candidates:,}\n{table(columns)}")
    count = sum(len(examples.ids[row]) for row in rows)
    return Scores({"part": part, "images": len(rows), "captions": count}, "\n\n".join([*texts, *notices]), details)


def _wordings(options: CaptionOptions, loaded: LoadedRun | None) -> CaptionOptions:
    """The options, with captions cut into words as the run that is trained on has them."""
    if loaded is None:
        return options
    _, stored = _recorded(loaded.config, Path("--from"))
    same = {name: getattr(stored, name) for name in ("words", "lower", "min_count", "longest")}
    return replace(options, **same)


def _built(recurrence: Recurrence, wishes: Wishes, size: int, settings: Settings) -> Captioner:
    if wishes.weights is None:
        raise MisuseError("--weights is missing: the encoder's trained weights, without which it sees nothing.")
    name = wishes.encoder or net_of(wishes.weights)
    head = read_state(Path(wishes.weights)).get(f"{build(name, device='meta').head}.bias")
    # a file with another last layer is refused with its own sentence
    net = load_weights(build(name, 1000 if head is None else len(head)), wishes.weights)
    encoder = ConvNetEncoder(net, pooled=wishes.pooled or _POOLED.get(name))
    model = Captioner(encoder, recurrence, size, backend=settings.backend, **(wishes.shape or {}))
    return model.to(settings.device)


def _with_encoder(settings: Settings, wishes: Wishes, teaching: Teaching) -> Settings:
    """The encoder is frozen, or learns at a rate of its own."""
    scale = wishes.encoder_rate if teaching.fine_tune else 0.0
    return replace(settings, rate_scales={"encoder.": scale, **settings.rate_scales})


def _examples(
    model: Captioner,
    vocabulary: Any,
    data: CaptionedImages,
    features: Tensor,
    options: CaptionOptions,
    settings: Settings,
    teaching: Teaching,
    critical: bool,
) -> CaptionExamples:
    kind = SelfCritical if critical else CaptionExamples
    return kind(model, vocabulary, data, None if teaching.fine_tune else features, options, settings, teaching)


def _recorded(config: Mapping[str, Any], run: Path) -> tuple[list[str], CaptionOptions]:
    data = recorded_data(config, run)
    try:
        stored = dict(data["options"])
        return list(map(str, data["sources"])), CaptionOptions(**{**stored, "lists": tuple(stored["lists"])})
    except (KeyError, TypeError) as error:
        raise FailureError(f"The configuration of {run} does not say how its data were read ({error!r}).") from error


def _read_again(
    config: Mapping[str, Any], run: Path, sources: Sequence[str] | None
) -> tuple[CaptionedImages, CaptionOptions]:
    recorded, options = _recorded(config, run)
    places = list(sources or recorded)
    if len(places) < 2:
        raise MisuseError("The images and their captions are needed: IMAGES CAPTIONS.")
    data = read_captioned(places[0], places[1:], options, [])
    check_same(data.fingerprint, config, run, places)
    return data, options


def _take_encoder(run: Path, model: Captioner) -> None:
    """The encoder of the newest checkpoint, by which features are computed before all else is restored."""
    path = newest_tensors(RunFolder.existing(run))
    assert path is not None
    tensors, _ = read_tensors(path)
    prefix = "model.encoder."
    own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    model.encoder.load_state_dict(own)


def _describe(data: CaptionedImages, words: int, display: Display) -> None:
    parts = ", ".join(f"{len(rows):,} {name}" for name, rows in data.parts.items() if len(rows))
    captions = sum(len(own) for own in data.captions)
    display.note(
        f"{len(data):,} images ({parts}), {captions:,} captions; {words:,} words; fingerprint {data.fingerprint[:12]}"
    )
