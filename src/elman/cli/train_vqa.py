"""``elman train vqa``: a model that answers questions about images."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from elman.cli import texts
from elman.cli.flags import MODEL, Cell, CourseFlags, OptimiserFlags, ReportFlags, expanded, settings_of
from elman.errors import MisuseError

EXAMPLE = """Examples:

elman train vqa easy_vqa.tar.gz --epochs 10

elman train vqa easy_vqa.tar.gz --control question-only --epochs 10

elman train vqa nlvr.train.json --images nlvr.images.tar.gz --size 200x50 --panels 3 --minutes 10

elman train vqa questions.json --annotations annotations.json --images val2014/ --encoder resnet50 --weights r50.pth

elman train vqa questions.csv --images photos/ --head choices --attention after
"""

QUESTIONS, IMAGES = "Questions", "Images"
_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")


def register(train: typer.Typer) -> None:
    """Add ``elman train vqa``."""
    train.command("vqa", epilog=EXAMPLE)(train_vqa)


@expanded
def train_vqa(
    data: Annotated[
        str,
        typer.Argument(
            help="A folder or tar in easy-VQA's layout; NLVR's, VQA v2's or Visual7W's .json; or a table of "
            "image, question, answer (.csv, .tsv, .jsonl).",
            show_default=False,
        ),
    ],
    course: CourseFlags,
    optimiser: OptimiserFlags,
    report: ReportFlags,
    images: Annotated[
        list[str] | None,
        typer.Option(
            help="Folder or tar of the images; repeatable. Default: they are beside the questions.",
            rich_help_panel=QUESTIONS,
            show_default=False,
        ),
    ] = None,
    annotations: Annotated[
        list[str] | None,
        typer.Option(help="VQA v2's answers; repeatable.", rich_help_panel=QUESTIONS, show_default=False),
    ] = None,
    valid: Annotated[
        str | None, typer.Option(help="Validation questions.", rich_help_panel=QUESTIONS, show_default=False)
    ] = None,
    test: Annotated[
        str | None,
        typer.Option(help="Test questions, for `elman eval`.", rich_help_panel=QUESTIONS, show_default=False),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="easy-vqa, nlvr, vqa, visual7w or table. Default: seen from the data.",
            rich_help_panel=QUESTIONS,
            show_default=False,
        ),
    ] = None,
    split: Annotated[
        str,
        typer.Option(
            help="Shares of training, validation, test where the data do not say; questions about one image stay "
            "together.",
            rich_help_panel=QUESTIONS,
        ),
    ] = "90/10",
    split_seed: Annotated[int, typer.Option(help="Of the split.", rich_help_panel=QUESTIONS)] = 1,
    bad: Annotated[
        str,
        typer.Option(
            help="refuse or skip questions without answer or image, and images that cannot be used.",
            rich_help_panel=QUESTIONS,
        ),
    ] = "refuse",
    max_answers: Annotated[
        int, typer.Option(min=1, help="Know only the most frequent answers.", rich_help_panel=QUESTIONS)
    ] = 3000,
    min_count: Annotated[
        int, typer.Option(min=1, help="Words that are rarer are unknown.", rich_help_panel=QUESTIONS)
    ] = 1,
    encoder: Annotated[
        str | None,
        typer.Option(
            help="A ConvNet whose features are taken as they are. Default: a small net is trained along.",
            rich_help_panel=IMAGES,
            show_default=False,
        ),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="The encoder's weights.", rich_help_panel=IMAGES, show_default=False)
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            help="WIDTHxHEIGHT of the images for the net that is trained along. Default: their own, or smaller.",
            rich_help_panel=IMAGES,
            show_default=False,
        ),
    ] = None,
    channels: Annotated[int, typer.Option(min=1, help="Of that net's first layer.", rich_help_panel=IMAGES)] = 32,
    halvings: Annotated[
        int, typer.Option(min=1, help="How often that net halves the sides.", rich_help_panel=IMAGES)
    ] = 3,
    panels: Annotated[
        int,
        typer.Option(
            min=1,
            help="Images are so many squares side by side, whose order is drawn anew in training; 1 for none.",
            rich_help_panel=IMAGES,
        ),
    ] = 1,
    cell: Cell = "lstm",
    attention: Annotated[
        str,
        typer.Option(
            help="Look at each word (read), after the question (after), or not (none).", rich_help_panel=MODEL
        ),
    ] = "read",
    hops: Annotated[int, typer.Option(min=1, help="Looks of attention after.", rich_help_panel=MODEL)] = 2,
    control: Annotated[
        str,
        typer.Option(
            help="question-only trains a model without an image side, image-only one that reads no question.",
            rich_help_panel=MODEL,
        ),
    ] = "none",
    head: Annotated[
        str,
        typer.Option(
            help="answers: one of the known ones; choices: compares what each question offers.", rich_help_panel=MODEL
        ),
    ] = "answers",
    hidden: Annotated[int, typer.Option(min=1, help="Width of a layer.", rich_help_panel=MODEL)] = 128,
    layers: Annotated[int, typer.Option(min=1, help="Of the recurrence.", rich_help_panel=MODEL)] = 1,
    embedding: Annotated[
        int | None,
        typer.Option(min=1, help="Width of the words. Default: hidden.", rich_help_panel=MODEL, show_default=False),
    ] = None,
    dropout: Annotated[
        float, typer.Option(help="On words, between layers, before the answer.", rich_help_panel=MODEL)
    ] = 0.0,
    recurrent_dropout: Annotated[
        float, typer.Option(help="On the state inside the recurrence; not with read.", rich_help_panel=MODEL)
    ] = 0.0,
) -> None:
    """Train a model that answers questions about images; a step reads whole images with all their questions."""
    from elman.cli.outcome import tell
    from elman.data.questions import QuestionOptions
    from elman.equations import recurrence_of
    from elman.training.systems.vqa.run import Wishes, train

    options = QuestionOptions(tuple(images or ()), tuple(annotations or ()), valid, test, form, split, split_seed, bad)
    wishes = Wishes(
        encoder=encoder,
        weights=None if weights is None else str(weights),
        size=None if size is None else parse_size(size),
        channels=channels,
        halvings=halvings,
        panels=panels,
        max_answers=max_answers,
        min_count=min_count,
        attention=attention,
        hops=hops,
        control=control,
        head=head,
        hidden=hidden,
        layers=layers,
        embedding=embedding,
        dropout=dropout,
        recurrent_dropout=recurrent_dropout,
    )
    outcome, folder, _ = train(
        data,
        options,
        recurrence_of(cell),
        wishes,
        settings_of(course, optimiser, batch=8, lr=1e-3),
        report.reports(),
        report.out or texts.default_run([data.removesuffix(".gz")]),
        eval_every=course.eval_every,
        warmup=optimiser.warmup,
    )
    tell(outcome, folder, "vqa", quiet=report.quiet, as_json=report.as_json)


def parse_size(text: str) -> tuple[int, int]:
    """``WIDTHxHEIGHT`` as (height, width).

    Raises:
        MisuseError: something else, or a side below 8 pixels.
    """
    found = _SIZE.fullmatch(text.strip().lower())
    if not found or min(map(int, found.groups())) < 8:
        raise MisuseError(f"--size is {text!r}; it takes WIDTHxHEIGHT in pixels from 8, such as 64x64.")
    return int(found[2]), int(found[1])
