"""``elman watch``: what a trained model thinks of a clip, frame by frame."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from elman.data.vocabulary import Vocabulary
    from elman.generate.sampling import Sample
    from elman.insight.watching import Seen, Watched

EXAMPLE = """Examples:

elman watch runs/clips film.mp4

elman watch runs/poses poses.npz:12 --figure watched.png

elman watch runs/pairs drawings.npz:3+40 --best 3
"""
LEVELS = " ▁▂▃▄▅▆▇█"
WIDEST = 60


def register(app: typer.Typer) -> None:
    """Add ``elman watch``."""
    app.command("watch", epilog=EXAMPLE)(watch)


def watch(
    run: Annotated[Path, typer.Argument(help="Run folder of `elman train video`.", show_default=False)],
    clip: Annotated[
        str,
        typer.Argument(
            help="A film; or FILE.npz:ROW of poses or drawings, rows from 0; FILE.npz:ROW+ROW for two drawings.",
            show_default=False,
        ),
    ],
    best: Annotated[int, typer.Option(min=1, help="Labels, or sentences, to show.")] = 5,
    beam: Annotated[int, typer.Option(min=1, help="Width of the search for sentences.")] = 5,
    figure: Annotated[
        Path | None, typer.Option(help="Draw the labels' curves (.png, .svg, .pdf).", show_default=False)
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show a clip to a model: the labels' probabilities frame by frame, or sentences with their log-probability."""
    from elman.errors import MisuseError
    from elman.insight import watching
    from elman.insight.figures.sheet import check_picture
    from elman.insight.figures.watch import watch_figure
    from elman.runs import load
    from elman.training import machine

    check_picture(figure)
    device, _ = machine.prepare(device, threads)
    loaded = load(run, device=device, systems=("video",))
    seen = watching.open_clip(loaded, run, clip)
    if "vocabulary" in loaded.config:
        if figure:
            raise MisuseError("--figure draws the curves of labels; this run writes sentences.")
        _tell(seen, watching.tell(loaded, run, seen, width=beam, best=best), loaded.vocabulary, as_json)
        return
    watched = watching.watch(loaded, run, seen)
    shown = watched.likeliest(best)
    if figure:
        known = "" if seen.label is None else f" ({seen.label})"
        watch_figure(
            seen.places,
            [watched.classes[number] for number in shown],
            watched.each[:, shown],
            watched.so_far[:, shown],
            watching.moments(seen, run, loaded),
            figure,
            axis=seen.unit,
            title=f"{run.name} watches {Path(seen.name).name}{known}",
        )
    if as_json:
        print(json.dumps(_as_json(seen, watched)))
    else:
        _print(seen, watched, shown)


def _as_json(seen: Seen, watched: Watched) -> dict[str, object]:
    return {
        "clip": seen.name,
        "label": seen.label,
        seen.unit: seen.places.tolist(),
        "classes": list(watched.classes),
        "each": watched.each.round(6).tolist(),
        "so_far": watched.so_far.round(6).tolist(),
    }


def _print(seen: Seen, watched: Watched, shown: list[int]) -> None:
    known = "" if seen.label is None else f", is {seen.label}"
    print(f"{seen.name}: {len(seen.places):,} frames{known}")
    wide = max(len(seen.unit), *(len(watched.classes[number]) for number in shown))
    curves = {number: curve(watched.each[:, number].tolist()) for number in shown}
    across = len(next(iter(curves.values())))
    first, last = f"{seen.places[0]:g}", f"{seen.places[-1]:g}"
    print(f"{seen.unit:>{wide}} |{first}{last:>{max(1, across - len(first))}}| clip")
    for number in shown:
        print(f"{watched.classes[number]:>{wide}} |{curves[number]}| {watched.so_far[-1, number]:.3f}")


def curve(probabilities: list[float], widest: int = WIDEST) -> str:
    """Probabilities as a line of bars from nothing to a full block, at most so many; each is the mean of its frames."""
    count = min(len(probabilities), widest)
    bars = []
    for place in range(count):
        part = probabilities[place * len(probabilities) // count : (place + 1) * len(probabilities) // count]
        bars.append(LEVELS[round(sum(part) / len(part) * (len(LEVELS) - 1))])
    return "".join(bars)


def _tell(seen: Seen, found: list[Sample], vocabulary: Vocabulary, as_json: bool) -> None:
    if as_json:
        sentences = [
            {
                "sentence": sample.text,
                "logprob": sample.logprob,
                "words": [
                    {"word": vocabulary.symbol(word), "logprob": logprob}
                    for word, logprob in zip(sample.ids, sample.token_logprobs, strict=True)
                ],
            }
            for sample in found
        ]
        print(json.dumps({"clip": seen.name, "label": seen.label, "sentences": sentences}))
        return
    known = "" if seen.label is None else f", is {seen.label}"
    print(f"{seen.name}: {len(seen.places):,} frames{known}")
    for sample in found:
        print(f"{sample.logprob:>9.3f}  {sample.text}")
