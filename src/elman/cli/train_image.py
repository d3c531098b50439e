"""``elman train image``: a ConvNet that names what is in an image."""

from __future__ import annotations

from typing import Annotated

import typer

from elman.cli.flags import MODEL, REPORT, CourseFlags, OptimiserFlags, ReportFlags, expanded, settings_of

EXAMPLE = """Examples:

elman train image pets/ --minutes 5

elman train image train.tar.gz --test test.tar.gz --net small_bn --minutes 20

elman train image pets/ --weights squeezenet1_0.safetensors --freeze features --minutes 5

elman train image pets/ --preprocess whitening --augment padding=4,flip=0.5,brightness=0.2
"""
DATA = "Images"


def register(train: typer.Typer) -> None:
    """Add ``elman train image``."""
    train.command("image", epilog=EXAMPLE)(train_image)


@expanded
def train_image(
    source: Annotated[
        str, typer.Argument(help="A folder with a folder of images for each class, or a tar archive of one.")
    ],
    course: CourseFlags,
    optimiser: OptimiserFlags,
    report: ReportFlags,
    net: Annotated[
        str | None,
        typer.Option(
            help="small_bn, net, resnet18, squeezenet1_0, ... Default: chosen.",
            rich_help_panel=MODEL,
            show_default=False,
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="Begin with these weights: safetensors, .pth, or the run folder of another training.",
            rich_help_panel=MODEL,
            show_default=False,
        ),
    ] = None,
    freeze: Annotated[
        list[str] | None,
        typer.Option(
            help="Leave parameters alone whose names begin so, such as features; repeatable.",
            rich_help_panel=MODEL,
            show_default=False,
        ),
    ] = None,
    dropout: Annotated[
        float | None,
        typer.Option(help="Of nets that have some. Default: the net's.", rich_help_panel=MODEL, show_default=False),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            help="Side of the squares that the net reads, pixels. Default: chosen.",
            rich_help_panel=MODEL,
            show_default=False,
        ),
    ] = None,
    preprocess: Annotated[
        str | None,
        typer.Option(
            help="none, channel-mean, mean-image, normalise, pca or whitening, fitted on the training part.",
            rich_help_panel=DATA,
            show_default=False,
        ),
    ] = None,
    components: Annotated[
        int | None,
        typer.Option(help="Directions that pca keeps. Default all.", rich_help_panel=DATA, show_default=False),
    ] = None,
    augment: Annotated[
        str | None,
        typer.Option(
            help="none, or padding=4,crop=0.5,flip=0.5,brightness=0.2,contrast=0.2,saturation=0.2,colours=0.1 "
            "or some of them. Default: chosen.",
            rich_help_panel=DATA,
            show_default=False,
        ),
    ] = None,
    valid: Annotated[
        str | None,
        typer.Option(help="Folder or archive to validate on.", rich_help_panel=DATA, show_default=False),
    ] = None,
    test: Annotated[
        str | None,
        typer.Option(help="Folder or archive to test on.", rich_help_panel=DATA, show_default=False),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="Shares of training, validation, test. Default 90/10, or 100 with --valid.",
            rich_help_panel=DATA,
            show_default=False,
        ),
    ] = None,
    bad: Annotated[
        str, typer.Option(help="refuse or skip images that cannot be used.", rich_help_panel=DATA)
    ] = "refuse",
    samples: Annotated[
        bool, typer.Option(help="Show what the model says of some images as it learns.", rich_help_panel=REPORT)
    ] = False,
) -> None:
    """Train a ConvNet on images in class folders; what is not given is chosen, and the reason is printed."""
    from elman.cli.outcome import tell
    from elman.cli.texts import default_run
    from elman.training.systems.image.choose import ImageWishes
    from elman.training.systems.image.run import ImageSources, train

    wishes = ImageWishes(
        net,
        weights,
        tuple(freeze or ()),
        preprocess,
        components,
        augment,
        size,
        dropout,
        course.batch,
        optimiser.lr,
        course.precision,
        course.eval_every,
        optimiser.warmup,
    )
    settings = settings_of(course, optimiser, sample_length=int(samples))
    sources = ImageSources(source, valid, test, split, bad)
    outcome, folder, _ = train(sources, wishes, settings, report.reports(), report.out or default_run([source]))
    tell(outcome, folder, "image", quiet=report.quiet, as_json=report.as_json)
