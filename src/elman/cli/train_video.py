"""``elman train video``: naming or describing what happens in clips."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from elman.cli import texts
from elman.cli.flags import MODEL, CourseFlags, OptimiserFlags, ReportFlags, expanded, given_flags, settings_of
from elman.errors import MisuseError

EXAMPLE = """Examples:

elman train video poses.npz --stream joints --epochs 100

elman train video clips/ --encoder squeezenet1_0 --weights squeezenet1_0.safetensors

elman train video clips.csv --describe s2vt

elman train video drawings.npz --model frames
"""

CLIPS = "Clips"


def register(train: typer.Typer) -> None:
    """Add ``elman train video``."""
    train.command("video", epilog=EXAMPLE)(train_video)


@expanded
def train_video(
    source: Annotated[
        str,
        typer.Argument(
            help="A folder of films in class folders; a table clip,label,description of films (.csv, .tsv); or a .npz "
            "of poses or drawings.",
            show_default=False,
        ),
    ],
    course: CourseFlags,
    optimiser: OptimiserFlags,
    report: ReportFlags,
    stream: Annotated[
        str | None,
        typer.Option(
            help="What is seen. Of films: rgb, motion. Of poses: joints, differences, distances. Of drawings: points, "
            "pictures. Default: the first.",
            rich_help_panel=CLIPS,
            show_default=False,
        ),
    ] = None,
    split: Annotated[
        str, typer.Option(help="Shares of training, validation, test, class by class.", rich_help_panel=CLIPS)
    ] = "85/15",
    shuffled: Annotated[
        bool,
        typer.Option("--shuffled", help="Control: the frames of every clip in a random order.", rich_help_panel=CLIPS),
    ] = False,
    vary: Annotated[
        float | None,
        typer.Option(
            help="Strength of variations in training: mirrored, turned, stretched, noisy. Default 1; films: 0.",
            rich_help_panel=CLIPS,
            show_default=False,
        ),
    ] = None,
    stretch: Annotated[
        float | None,
        typer.Option(
            help="Train on pieces of at least this share of a clip, played in at least this share of its time. "
            "Default: 0.7 of poses, 1 of others.",
            rich_help_panel=CLIPS,
            show_default=False,
        ),
    ] = None,
    names: Annotated[
        str | None,
        typer.Option(help="Only drawings with these names: cat,house,...", rich_help_panel=CLIPS, show_default=False),
    ] = None,
    pairs: Annotated[
        int,
        typer.Option(
            min=0,
            help="With --describe: train on so many films of two drawings, 'first cat then house'.",
            rich_help_panel=CLIPS,
        ),
    ] = 0,
    rate: Annotated[float, typer.Option(help="Frames a second of films.", rich_help_panel=CLIPS)] = 5.0,
    most_frames: Annotated[int, typer.Option(min=1, help="Of a film.", rich_help_panel=CLIPS)] = 200,
    encoder: Annotated[
        str | None,
        typer.Option(
            help="ConvNet that encodes the frames of films, such as squeezenet1_0. Default: small grey pictures.",
            rich_help_panel=CLIPS,
            show_default=False,
        ),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="The encoder's trained weights.", rich_help_panel=CLIPS, show_default=False)
    ] = None,
    side: Annotated[int, typer.Option(help="Of the small grey pictures, pixels.", rich_help_panel=CLIPS)] = 32,
    bad: Annotated[
        str, typer.Option(help="Films that cannot be used: refuse or skip.", rich_help_panel=CLIPS)
    ] = "refuse",
    model: Annotated[
        str,
        typer.Option(
            help="frames (each frame alone, then averaged), or a recurrence: zoo name, file of equations, equations.",
            rich_help_panel=MODEL,
        ),
    ] = "lstm",
    describe: Annotated[
        str | None,
        typer.Option(
            help="Write sentences instead of naming: mean-pool or s2vt.", rich_help_panel=MODEL, show_default=False
        ),
    ] = None,
    layers: Annotated[int, typer.Option(min=1, help="Of models that name.", rich_help_panel=MODEL)] = 1,
    hidden: Annotated[int, typer.Option(min=1, help="Width of a layer.", rich_help_panel=MODEL)] = 128,
    embedding: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Width of the embedding of frames; 0 none. Default: none but for cells that use x elementwise; of "
            "models that describe, the width of the words': hidden.",
            rich_help_panel=MODEL,
            show_default=False,
        ),
    ] = None,
    bidirectional: Annotated[
        bool,
        typer.Option(
            "--bidirectional", help="Also read from the end; frames are then judged afterwards.", rich_help_panel=MODEL
        ),
    ] = False,
    votes: Annotated[
        str, typer.Option(help="How much frames count for the clip: even, late, last.", rich_help_panel=MODEL)
    ] = "even",
    dropout: Annotated[float, typer.Option(help="Between layers and before the softmax.", rich_help_panel=MODEL)] = 0.5,
    input_dropout: Annotated[float, typer.Option(help="On the frames.", rich_help_panel=MODEL)] = 0.0,
    recurrent_dropout: Annotated[
        float, typer.Option(help="On the state inside the recurrence, one mask a batch.", rich_help_panel=MODEL)
    ] = 0.0,
) -> None:
    """Train a model that names what happens in clips, or describes it."""
    from elman.cli.outcome import tell
    from elman.equations import recurrence_of
    from elman.training.systems.video.data import ClipOptions
    from elman.training.systems.video.run import Wishes, train

    options = ClipOptions(
        stream=stream,
        split=split,
        names=tuple(name.strip() for name in names.split(",") if name.strip()) if names else (),
        pairs=pairs,
        shuffled=shuffled,
        vary=vary,
        stretch=stretch,
        rate=rate,
        side=side,
        encoder=encoder,
        weights=None if weights is None else str(weights),
        most_frames=most_frames,
        bad=bad,
    )
    shape: dict[str, object] = {"hidden": hidden, "embedding": embedding, "dropout": dropout}
    naming = {
        "layers": layers,
        "bidirectional": bidirectional,
        "votes": votes,
        "input_dropout": input_dropout,
        "recurrent_dropout": recurrent_dropout,
    }
    if describe is None:
        shape |= naming
    elif naming != {"layers": 1, "bidirectional": False, "votes": "even", "input_dropout": 0, "recurrent_dropout": 0}:
        raise MisuseError(
            "--layers, --bidirectional, --votes, --input-dropout and --recurrent-dropout are for models that name "
            "clips; leave them out with --describe."
        )
    wishes = Wishes(
        None if model == "frames" else recurrence_of(model),
        describe or "",
        shape,
        settings_of(course, optimiser, batch=32, lr=2e-3),
        given=given_flags(course, optimiser),
        reports=report.reports(),
    )
    outcome, folder, _ = train([source], options, wishes, report.out or texts.default_run([source]))
    tell(outcome, folder, "video", quiet=report.quiet, as_json=report.as_json)
