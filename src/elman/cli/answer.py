"""``elman answer``: a question about an image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from elman.errors import MisuseError

if TYPE_CHECKING:
    from elman.generate.answering import Answers

EXAMPLE = """Examples:

elman answer runs/easy_vqa picture.png "what color is the circle?"

elman answer runs/easy_vqa picture.png "is there a triangle?" --choices yes,no --attention looks.png
"""


def register(app: typer.Typer) -> None:
    """Add ``elman answer``."""
    app.command("answer", epilog=EXAMPLE)(answer)


def answer(
    run: Annotated[Path, typer.Argument(help="A run of `elman train vqa`.", show_default=False)],
    image: Annotated[Path, typer.Argument(help="The image.", show_default=False)],
    question: Annotated[str, typer.Argument(help="In words.", show_default=False)],
    choices: Annotated[
        str | None, typer.Option(help="Choose among these, with commas between.", show_default=False)
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="So many answers at most.")] = 5,
    attention: Annotated[
        Path | None,
        typer.Option(help="Draw where it looked, word by word (.png, .svg, .pdf).", show_default=False),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Where the encoder's weights lie now, if moved.", show_default=False)
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Answer a question about an image, with probabilities."""
    from elman.data.images import decode
    from elman.data.images.reading import LIMITS
    from elman.generate.answering import answer as answer_one
    from elman.insight.figures.question_attention import attention_figure
    from elman.insight.figures.sheet import check_picture
    from elman.models.questions.sight import sight_of
    from elman.runs import load
    from elman.training import machine

    check_picture(attention, "--attention")
    device, _ = machine.prepare(device, threads)
    loaded = load(run, device=device, systems=("vqa",))
    if attention and (loaded.model.attention == "none" or not loaded.model.sees):
        raise MisuseError(f"The model of {run} has no attention to draw.")
    pixels = decode(_content(image, LIMITS.file_bytes), str(image))
    seen = sight_of(loaded.config["sight"], device, weights).see([pixels])
    offered = None if choices is None else choices.split(",")
    found = answer_one(loaded.model, loaded.vocabulary, loaded.config["answers"], seen, question, offered, top)
    if attention:
        attention_figure(found, pixels, attention, f"{question}  {found.ranked[0][0]} ({found.ranked[0][1]:.2f})")
    if as_json:
        print(json.dumps(_as_json(run, image, question, found)))
        return
    for name, chance in found.ranked:
        print(f"{chance:6.3f}  {name}")
    if found.unknown:
        print(f"Words that the model does not know: {', '.join(found.unknown)}.")


def _content(image: Path, most: int) -> bytes:
    """The file's bytes, at most one more than ``most``, which the decoder refuses."""
    try:
        if not image.is_file():
            raise MisuseError(f"{image} cannot be read: there is no such file.")
        with image.open("rb") as file:
            return file.read(most + 1)
    except OSError as error:
        raise MisuseError(f"{image} cannot be read: {error.strerror or error}.") from error


def _as_json(run: Path, image: Path, question: str, found: Answers) -> dict[str, object]:
    values: dict[str, object] = {
        "run": str(run),
        "image": str(image),
        "question": question,
        "words": list(found.words),
        "unknown": list(found.unknown),
        "answers": [{"answer": name, "probability": chance} for name, chance in found.ranked],
    }
    if found.attention is not None:
        values["attention"] = [[[round(x, 5) for x in row] for row in grid] for grid in found.attention.tolist()]
        values["attention_is_by"] = "hop" if found.hops else "word"
    return values
