"""``elman caption``: what a trained captioner says of images."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from elman.errors import MisuseError

if TYPE_CHECKING:
    from elman.generate.captioning import Written

# images at a time
BLOCK = 16
EXAMPLE = """Examples:

elman caption runs/images photo.jpg --n-best 3 --beam 5

elman caption runs/images holiday/ --json > results.json

elman caption runs/images photo.jpg --sample --temperature 0.8 --n-best 5

elman caption runs/images photo.jpg --attention looks

elman caption runs/first photo.jpg --ensemble runs/second --ensemble runs/third
"""


def register(app: typer.Typer) -> None:
    """Add ``elman caption``."""
    app.command("caption", epilog=EXAMPLE)(caption)


def caption(
    run: Annotated[Path, typer.Argument(help="A run of `elman train caption`.", show_default=False)],
    images: Annotated[list[Path], typer.Argument(help="Images, folders or tar archives.", show_default=False)],
    best: Annotated[int, typer.Option("--n-best", min=1, help="Captions of each image.")] = 1,
    beam: Annotated[int, typer.Option(min=1, help="Width of the beam; 1 is greedy.")] = 3,
    sample: Annotated[bool, typer.Option("--sample", help="Draw captions instead of searching.")] = False,
    temperature: Annotated[float, typer.Option(help="Of drawn captions.")] = 1.0,
    length_penalty: Annotated[
        float, typer.Option(help="a: captions are ranked by log P / ((5 + words) / 6)^a; 0 by log P alone.")
    ] = 0.7,
    longest: Annotated[int, typer.Option(min=1, help="Words at most.")] = 40,
    tag: Annotated[
        str, typer.Option(help="Language (or other tag) of the captions, where the model has several.")
    ] = "",
    ensemble: Annotated[
        list[Path] | None,
        typer.Option(
            help="Another run that captions with it, by the mean of probabilities; repeatable.", show_default=False
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of drawn captions.")] = 1,
    attention: Annotated[
        Path | None,
        typer.Option(help="Folder for a picture of each word and where it looked.", show_default=False),
    ] = None,
    bad: Annotated[str, typer.Option(help="refuse or skip images that cannot be used.")] = "refuse",
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.", show_default=False)] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print COCO's results form: image_id, caption, and the log-probabilities.")
    ] = False,
) -> None:
    """Caption images; each caption has its log-probability, in total and word by word."""
    import torch

    from elman.data.images import gather
    from elman.generate.captioning import Manner, write
    from elman.generate.ensemble import captioners_from_runs
    from elman.insight.figures.attention_overlay import draw_overlays, prepare_folder
    from elman.models.captioning.seeing import features_of_images
    from elman.runs import load
    from elman.training import machine

    device, _ = machine.prepare(device, threads)
    manner = Manner(best, max(beam, best), length_penalty, temperature if sample else None, longest, seed)
    loaded = captioners_from_runs(
        [load(path, device=device, systems=("caption",)) for path in (run, *(ensemble or []))]
    )
    model = loaded.model
    if attention:
        if not model.looks:
            raise MisuseError(f"The model of {run} has no attention; train one with --way attention.")
        prepare_folder(attention)
    notices: list[str] = []
    results: list[dict[str, Any]] = []
    read, done = gather(images, bad, notices), 0
    # some at a time: a folder may hold more images than the memory
    while block := list(islice(read, BLOCK)):
        features = features_of_images(model, [pixels for _, pixels in block])
        with torch.inference_mode():
            written = write(model, loaded.vocabulary, features, tag, replace(manner, seed=seed + done))
        done += len(block)
        for (name, pixels), own in zip(block, written, strict=True):
            if attention:
                draw_overlays(attention, name, model.encoder.prepare(pixels), own[0])
            if as_json:
                results += [_result(name, each) for each in own]
            else:
                _print(name, own)
        while notices:
            typer.echo(notices.pop(0), err=True)
    for notice in notices:
        typer.echo(notice, err=True)
    if as_json:
        print(json.dumps(results, ensure_ascii=False))


def _print(name: str, written: list[Written]) -> None:
    print(name)
    for each in written:
        words = "  ".join(f"{symbol} {nats:.2f}" for symbol, nats in zip(each.symbols, each.logprobs, strict=True))
        print(f"  {each.text}\n    log P {each.logprob:.3f} nats, ranked by {each.score:.3f};  {words}")


def _result(name: str, each: Written) -> dict[str, Any]:
    return {
        "image_id": _identity(name),
        "caption": each.text,
        "log_probability": round(each.logprob, 6),
        "score": round(each.score, 6),
        "tokens": each.symbols,
        "token_log_probabilities": [round(nats, 6) for nats in each.logprobs],
    }


def _identity(name: str) -> int | str:
    """COCO's number at the end of a file's name, as in COCO_val2014_000000391895.jpg or 000000391895.jpg."""
    stem = Path(name).stem
    found = re.fullmatch(r"(?:COCO_\w+?_)?(\d{12})", stem)
    return int(found[1]) if found else stem
