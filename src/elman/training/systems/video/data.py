"""Clips for a training: read, divided, and turned into the frames of a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.data.splits import PARTS, part_named
from elman.data.video import drawings, poses
from elman.data.video.archive import read_archive
from elman.data.video.clips import Clips, concatenate, divide, fingerprint_of, shuffled, stretched
from elman.data.video.films import Films, digest_of, each_film, open_films, small_pictures
from elman.data.video.reader import ClipLimits
from elman.errors import FailureError, MisuseError
from elman.models.convnets import build, load_weights
from elman.models.encoders import ConvNetEncoder
from elman.models.video.features import FilmEncoder
from elman.runs import LoadedRun
from elman.training.material import check_same, recorded_data

STREAMS = {"poses": poses.STREAMS, "drawings": drawings.STREAMS, "films": ("rgb", "motion")}
#: how much clips of each kind are varied, where the user does not say: strength of :func:`vary`, and of the pace
VARIED = {"poses": (1.0, 0.7), "drawings": (1.0, 1.0), "films": (0.0, 1.0)}
#: the order of a shuffled clip outside training, so that an evaluation gives the same figure twice
_SHUFFLE_SEED = 0


@dataclass(frozen=True)
class ClipOptions:
    """How clips are read and what of them is seen; stored with the run.

    Attributes:
        stream: one of the kind's ``STREAMS``; None for the first.
        split: shares of training, validation and test, class by class.
        names: drawings with these names only; empty for all.
        pairs: make so many training films of two drawings; 0 for none.
        shuffled: the frames of every clip come in a random order.
        vary: strength of the kind's variations; None for the kind's own.
        stretch: least share of a clip, and least pace, when pieces are cut; 1 for none, None for the kind's own.
        rate: frames a second of films.
        side: of the small grey pictures that films become without an encoder.
        encoder: name of a ConvNet that encodes the frames of films; None for small grey pictures.
        weights: its file.
        most_frames: of a film.
        bad: "refuse" or "skip" films that cannot be used.
    """

    stream: str | None = None
    split: str = "85/15"
    names: tuple[str, ...] = ()
    pairs: int = 0
    shuffled: bool = False
    vary: float | None = None
    stretch: float | None = None
    rate: float = 5.0
    side: int = 32
    encoder: str | None = None
    weights: str | None = None
    most_frames: int = 200
    bad: str = "refuse"

    def settled(self, kind: str) -> ClipOptions:
        """With what the user left open.

        Raises:
            MisuseError: a stream that this kind of clips does not have, or an option of another kind.
        """
        stream = self.stream or STREAMS[kind][0]
        if stream not in STREAMS[kind]:
            raise MisuseError(f"--stream is {stream}; {kind} have {', '.join(STREAMS[kind])}.")
        if kind != "drawings" and (self.names or self.pairs):
            raise MisuseError(f"--names and --pairs are for drawings; these are {kind}.")
        vary, stretch = VARIED[kind]
        vary = vary if self.vary is None else self.vary
        stretch = stretch if self.stretch is None else self.stretch
        if not 0 <= vary <= 10 or not 0 < stretch <= 1:
            raise MisuseError(f"--vary is {vary:g} and --stretch {stretch:g}; they take 0 to 10, and above 0 to 1.")
        if kind == "films" and vary:
            raise MisuseError("--vary is for poses and drawings; the frames of films are encoded once. Leave it out.")
        if kind == "drawings" and stretch < 1:
            raise MisuseError("--stretch is for poses and films: the points of a drawing are no moments of one pace.")
        return replace(self, stream=stream, vary=vary, stretch=stretch)


class Footage:
    """Clips and what a model sees of them.

    Args:
        clips: all parts.
        parts: rows by part.
        options: settled.
    """

    def __init__(self, clips: Clips, parts: Mapping[str, NDArray[np.int64]], options: ClipOptions) -> None:
        self.clips, self.parts, self.options = clips, dict(parts), options
        self.classes = clips.classes

    def frames(
        self,
        rows: Sequence[int] | NDArray[np.int64],
        generator: torch.Generator | None = None,
        *,
        shuffle: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """What a model sees of some clips.

        Args:
            rows: B of them.
            generator: varies them, for training; None shows them as they are.
            shuffle: in a random order, whatever the options say.

        Returns:
            [T, B, D] and lengths [B].
        """
        clips, options = self.clips, self.options
        raw, lengths = clips.batch(rows)
        if generator is not None:
            if options.vary and clips.kind == "poses":
                raw = poses.vary(raw, lengths, options.vary, generator)
            elif options.vary and clips.kind == "drawings":
                raw = drawings.vary(raw, lengths, options.vary, generator)
            if options.stretch is not None:
                raw, lengths = stretched(raw, lengths, options.stretch, generator)
        seen, lengths = stream_of(clips.kind, raw, lengths, str(options.stream))
        if shuffle or options.shuffled:
            random = generator or torch.Generator().manual_seed(_SHUFFLE_SEED + int(np.sum(rows)))
            seen = shuffled(seen, lengths, random)
        return seen, lengths

    def counts(self) -> dict[str, int]:
        """Clips of each part."""
        return {name: len(rows) for name, rows in self.parts.items()}


def stream_of(kind: str, raw: Tensor, lengths: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """The frames of a stream [T, B, D] and the lengths [B], from frames as a clip has them [T, B, ...].

    The stream ``motion`` of films is the difference of each frame's numbers from those of the frame before, x_t -
    x_(t-1), zero at the first: no optical flow is computed.
    """
    if kind == "poses":
        return poses.stream(raw, lengths, name)
    if kind == "drawings":
        return drawings.stream(raw, lengths, name)
    return (torch.diff(raw, dim=0, prepend=raw[:1]) if name == "motion" else raw), lengths


def read_footage(
    sources: Sequence[str],
    options: ClipOptions,
    *,
    describe: bool,
    divided: bool = True,
    notices: list[str] | None = None,
    progress: Callable[[float], None] | None = None,
) -> Footage:
    """Read clips and divide them.

    Args:
        sources: one .npz of poses or drawings, a folder of films, or a table of them.
        options: how.
        describe: whether sentences are needed, or labels.
        divided: False puts all clips into every part, for other data than those of a training.
        notices: receives sentences about what was left out.
        progress: of encoding films.

    Raises:
        MisuseError, FailureError: with the sentence for the user.
    """
    if len(sources) != 1:
        raise MisuseError(f"Clips come from one archive, folder or table; {len(sources)} were given.")
    path = Path(sources[0]).expanduser()
    if path.suffix.lower() == ".npz":
        clips = read_archive(path, notices)
        options = options.settled(clips.kind)
        if options.names:
            clips = drawings.keep(clips, options.names)
    else:
        options = options.settled("films")
        clips = _read_films(open_films(path, notices), options, notices, progress)
    parts = divide(clips.labels, options.split) if divided else dict.fromkeys(PARTS, np.arange(len(clips)))
    if describe and clips.kind == "drawings":
        if options.pairs:
            clips, parts = _paired(clips, parts, options.pairs)
        elif not any(clips.descriptions):
            clips = drawings.described(clips)
    elif options.pairs:
        raise MisuseError("--pairs makes films that are described; it needs --describe.")
    missing = [row for row in range(len(clips)) if not (clips.descriptions[row] if describe else clips.labels[row])]
    if missing:
        what = "description" if describe else "label"
        raise MisuseError(
            f"{clips.names[missing[0]]} has no {what}; {len(missing):,} of {len(clips):,} clips have none."
        )
    return Footage(clips, parts, options)


def read_again(
    config: Mapping[str, Any], run: Path, sources: Sequence[str] | None = None, notices: list[str] | None = None
) -> Footage:
    """The clips that a run was trained on, from its record.

    Raises:
        FailureError: they have changed since.
        MisuseError: they are not there any more.
    """
    options, places, describe = recorded(config, run)
    places = list(sources) if sources else places
    footage = read_footage(places, options, describe=describe, notices=notices)
    check_same(footage.clips.fingerprint, config, run, places)
    return footage


def recorded(config: Mapping[str, Any], run: Path) -> tuple[ClipOptions, list[str], bool]:
    """Options and places of a run's clips, and whether they are described.

    Raises:
        FailureError: the configuration does not say.
    """
    data = recorded_data(config, run)
    try:
        stored = dict(data["options"])
        stored["names"] = tuple(map(str, stored["names"]))
        for name, kind in get_type_hints(ClipOptions).items():
            # a whole number is a fraction too
            allowed = kind | int if float in (kind, *get_args(kind)) else kind
            if name != "names" and not isinstance(stored[name], allowed):
                raise TypeError(f"{name} is {stored[name]!r}")
        return ClipOptions(**stored), list(map(str, data["sources"])), "vocabulary" in config
    except (KeyError, TypeError) as error:
        raise FailureError(f"The configuration of {run} does not say how its clips were read ({error!r}).") from error


def judged_clips(
    loaded: LoadedRun, run: Path, sources: Sequence[str] | None, part: str | None
) -> tuple[Footage, NDArray[np.int64]]:
    """The clips that a run is measured on, and which rows of them.

    Raises:
        MisuseError: a part that is none or empty.
    """
    name = part_named(part)
    if sources:
        options, _, describe = recorded(loaded.config, run)
        footage = read_footage(sources, options, describe=describe, divided=False)
        return footage, np.arange(len(footage.clips))
    footage = read_again(loaded.config, run)
    if not len(footage.parts[name]):
        raise MisuseError(f"{run} has no clips in its {name} part; name others, or train with another --split.")
    return footage, footage.parts[name]


def all_frames(footage: Footage, at_once: int = 256) -> Iterator[Tensor]:
    """The frames of the training part as they are seen, those of some clips at a time: [N, D]."""
    rows = footage.parts["train"]
    for begin in range(0, len(rows), at_once):
        frames, lengths = footage.frames(rows[begin : begin + at_once])
        yield frames[torch.arange(len(frames)).unsqueeze(1) < lengths]


def film_reader(options: ClipOptions) -> Callable[[Path], Tensor]:
    """What gives the frames of a film [T, D]: an encoder's vectors, or small grey pictures.

    Raises:
        MisuseError: an encoder that there is not, or without weights.
    """
    limits = ClipLimits(frames=options.most_frames)
    if options.encoder is None:
        if not 4 <= options.side <= 512:
            raise MisuseError(f"--side is {options.side}; small pictures have 4 to 512 pixels a side.")
        return lambda path: torch.stack(list(small_pictures(path, options.rate, options.side, limits)))
    if options.weights is None:
        raise MisuseError(f"--encoder {options.encoder} needs --weights, the file of its trained weights.")
    net = build(options.encoder)
    load_weights(net, Path(options.weights).expanduser())
    return FilmEncoder(ConvNetEncoder(net), options.rate, limits)


def _read_films(
    films: Films, options: ClipOptions, notices: list[str] | None, progress: Callable[[float], None] | None
) -> Clips:
    kept, frames, digests = [], [], []
    for row, seen in each_film(films, film_reader(options), options.bad, notices, progress):
        kept.append(row)
        frames.append(seen)
        digests.append(digest_of(films.paths[row]).encode())
    if not kept:
        raise MisuseError("No film could be used.")
    films = films.select(kept)
    words = [repr((films.names[row], films.labels[row], films.descriptions[row])).encode() for row in range(len(films))]
    return Clips(
        "films",
        torch.cat(frames),
        np.array([len(seen) for seen in frames], dtype=np.int64),
        films.labels,
        films.descriptions,
        films.names,
        fingerprint_of(*digests, *words),
    )


def _paired(
    clips: Clips, parts: Mapping[str, NDArray[np.int64]], count: int
) -> tuple[Clips, dict[str, NDArray[np.int64]]]:
    """Films of two drawings of the same part, in every part as many for each drawing as in training."""
    made: dict[str, Clips] = {}
    for seed, (name, rows) in enumerate(parts.items()):
        if len(rows):
            share = max(1, round(count * len(rows) / len(parts["train"])))
            made[name] = drawings.pairs(clips.select(rows), share, seed)
    ends = np.cumsum([len(part) for part in made.values()])
    places = {name: np.arange(end - len(made[name]), end) for name, end in zip(made, ends, strict=True)}
    none = np.empty(0, dtype=np.int64)
    return concatenate(list(made.values())), {name: places.get(name, none) for name in parts}
