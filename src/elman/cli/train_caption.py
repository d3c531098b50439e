"""``elman train caption``: images and what people say of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from elman.cli import texts
from elman.cli.flags import COURSE, MODEL, Cell, CourseFlags, OptimiserFlags, ReportFlags, expanded, settings_of, typed
from elman.errors import MisuseError

EXAMPLE = """Examples:

elman train caption images.tar captions.txt --weights squeezenet.safetensors --lists train.txt dev.txt test.txt

elman train caption photos captions.json --way attention --cell gru --weights squeezenet.safetensors

elman train caption images.tar captions.txt --from runs/images --fine-tune --minutes 10

elman train caption images.tar captions.txt --from runs/images --self-critical --minutes 10
"""

CAPTIONS = "Images and captions"
TAUGHT = "Teaching"
# tried on 753 photographs with 5 captions each; larger data want less dropout
RATE, DROPOUT, WARMUP, BATCH = 4e-3, 0.3, 50, 16
# what was learnt from captions is lost at the rate at which it was learnt
LATER_RATE = 2e-4
# a step along a reward that was drawn is mostly noise
REWARD_RATE = 5e-5

# what --from takes from the run
OF_THE_RUN = (
    *("encoder", "weights", "pooled", "way", "cell", "hidden", "embedding", "image", "places"),
    *("dropout", "feature_dropout", "recurrent_dropout", "words", "lowercase", "min_count"),
)


def register(train: typer.Typer) -> None:
    """Add ``elman train caption``."""
    train.command("caption", epilog=EXAMPLE)(train_caption)


@expanded
def train_caption(
    context: typer.Context,
    images: Annotated[str, typer.Argument(help="A folder or a tar archive of images.", show_default=False)],
    captions: Annotated[
        list[str],
        typer.Argument(
            help="Caption files: COCO or Karpathy json, [{file_path, captions}], {file: caption}, Flickr token files, "
            "or a table image,caption with an optional column language.",
            show_default=False,
        ),
    ],
    course: CourseFlags,
    optimiser: OptimiserFlags,
    report: ReportFlags,
    lists: Annotated[
        tuple[str, str, str] | None,
        typer.Option(
            help="Three files that name the images of training, validation and test.",
            rich_help_panel=CAPTIONS,
            show_default=False,
        ),
    ] = None,
    split: Annotated[
        str,
        typer.Option(
            help="Shares of training, validation, test where neither --lists nor the file say.",
            rich_help_panel=CAPTIONS,
        ),
    ] = "80/10/10",
    split_seed: Annotated[int, typer.Option(min=0, help="Of the split.", rich_help_panel=CAPTIONS)] = 1,
    words: Annotated[
        str,
        typer.Option(
            help="penn: lower-case words without punctuation, as captions are scored; plain: as written.",
            rich_help_panel=CAPTIONS,
        ),
    ] = "penn",
    lowercase: Annotated[bool, typer.Option("--lowercase", help="Of plain words.", rich_help_panel=CAPTIONS)] = False,
    min_count: Annotated[
        int, typer.Option(min=1, help="Words that are rarer are unknown.", rich_help_panel=CAPTIONS)
    ] = 3,
    longest: Annotated[int, typer.Option(min=1, help="Captions of more words are cut.", rich_help_panel=CAPTIONS)] = 40,
    bad: Annotated[
        str,
        typer.Option(
            help="refuse or skip captions without image, empty captions, and images that cannot be used.",
            rich_help_panel=CAPTIONS,
        ),
    ] = "refuse",
    encoding: texts.Encoding = "utf-8",
    encoder: Annotated[
        str | None,
        typer.Option(
            help="The ConvNet that looks at the image. Default: the one that the weights are of.",
            rich_help_panel=MODEL,
            show_default=False,
        ),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="The encoder's weights.", rich_help_panel=MODEL, show_default=False)
    ] = None,
    pooled: Annotated[
        str | None,
        typer.Option(
            help="The encoder's layer whose output is the image's vector, such as classifier.4 of vgg16. Default: of "
            "SqueezeNet the class scores, else the mean of the last feature map.",
            rich_help_panel=MODEL,
            show_default=False,
        ),
    ] = None,
    way: Annotated[
        str,
        typer.Option(
            help="How the image enters: constant, constant-first, first, every, two-layer, two-layer-factored, "
            "four-layer-factored, attention.",
            rich_help_panel=MODEL,
        ),
    ] = "constant",
    cell: Cell = "lstm",
    hidden: Annotated[int, typer.Option(min=1, help="Width of a layer.", rich_help_panel=MODEL)] = 256,
    embedding: Annotated[int, typer.Option(min=1, help="Width of a word.", rich_help_panel=MODEL)] = 128,
    image: Annotated[int, typer.Option(min=1, help="Width of the image's vector.", rich_help_panel=MODEL)] = 128,
    places: Annotated[
        int, typer.Option(min=1, help="Attention looks at so many places a side at most.", rich_help_panel=MODEL)
    ] = 7,
    dropout: Annotated[
        float, typer.Option(help="On words, between layers, before the softmax.", rich_help_panel=MODEL)
    ] = DROPOUT,
    feature_dropout: Annotated[float, typer.Option(help="On the image's features.", rich_help_panel=MODEL)] = DROPOUT,
    recurrent_dropout: Annotated[float, typer.Option(help="Inside the recurrence.", rich_help_panel=MODEL)] = 0.0,
    start: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Go on from a run's model, in a new run; what the model is, its encoder and its words, is as there.",
            rich_help_panel=TAUGHT,
            show_default=False,
        ),
    ] = None,
    fine_tune: Annotated[
        bool, typer.Option("--fine-tune", help="Train the encoder too.", rich_help_panel=TAUGHT)
    ] = False,
    encoder_rate: Annotated[
        float, typer.Option(help="Factor on the encoder's learning rate.", rich_help_panel=TAUGHT)
    ] = 0.1,
    scheduled_sampling: Annotated[
        float, typer.Option(help="Share of words that are replaced by the model's own.", rich_help_panel=TAUGHT)
    ] = 0.0,
    self_critical: Annotated[
        bool,
        typer.Option("--self-critical", help="Learn from CIDEr-D of what it writes.", rich_help_panel=TAUGHT),
    ] = False,
    penalty: Annotated[
        float, typer.Option(help="Of attention that does not look everywhere.", rich_help_panel=TAUGHT)
    ] = 1.0,
    keep: Annotated[
        str,
        typer.Option(help="Keep the weights with the best validation cider or nats.", rich_help_panel=COURSE),
    ] = "cider",
    scored: Annotated[
        int, typer.Option(min=0, help="Validation images that are captioned each time.", rich_help_panel=COURSE)
    ] = 500,
) -> None:
    """Train a captioner: a ConvNet looks at the image, a recurrence writes."""
    from elman.cli.outcome import tell
    from elman.equations import recurrence_of
    from elman.training.systems.caption.data import CaptionOptions
    from elman.training.systems.caption.examples import Teaching
    from elman.training.systems.caption.run import Wishes, train

    if not captions:
        raise MisuseError("The captions are missing: elman train caption IMAGES CAPTIONS.")
    if start and (refused := typed(context, OF_THE_RUN)):
        raise MisuseError(f"{', '.join(refused)} cannot be chosen anew: with --from the model is that of {start}.")
    options = CaptionOptions(lists or (), split, split_seed, words, lowercase, min_count, longest, bad, encoding)
    shape = {
        "hidden": hidden,
        "way": way,
        "embedding": embedding,
        "image": image,
        "places": places,
        "dropout": dropout,
        "feature_dropout": feature_dropout,
        "recurrent_dropout": recurrent_dropout,
    }
    wishes = Wishes(encoder, weights, pooled, shape, start, self_critical, encoder_rate)
    teaching = Teaching(fine_tune, scheduled_sampling, penalty, keep, scored)
    rate = REWARD_RATE if self_critical else LATER_RATE if start else RATE
    settings = settings_of(course, optimiser, batch=BATCH, lr=rate, warmup=WARMUP)
    out = report.out or texts.default_run([images])
    outcome, folder, _ = train(
        images,
        captions,
        options,
        recurrence_of(cell),
        wishes,
        teaching,
        settings,
        report.reports(),
        out,
        eval_every=course.eval_every,
    )
    tell(outcome, folder, "caption", quiet=report.quiet, as_json=report.as_json)
