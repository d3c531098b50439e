"""``elman train``: one subcommand a system."""

from __future__ import annotations

import typer

from elman.cli import (
    train_caption,
    train_classify,
    train_image,
    train_lm,
    train_ngram,
    train_tag,
    train_translate,
    train_video,
    train_vqa,
)


def register(app: typer.Typer) -> None:
    """Add ``elman train`` and its systems."""
    train = typer.Typer(
        name="train",
        no_args_is_help=True,
        rich_markup_mode="rich",
        help="Train a model: lm, ngram. See elman train lm --help.",
        epilog="Example: elman train lm input.txt --minutes 3",
    )
    train_caption.register(train)
    train_classify.register(train)
    train_image.register(train)
    train_lm.register(train)
    train_ngram.register(train)
    train_tag.register(train)
    train_translate.register(train)
    train_video.register(train)
    train_vqa.register(train)
    app.add_typer(train)
