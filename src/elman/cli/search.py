"""``elman search``: many short trainings of any system, to find good settings."""

from __future__ import annotations

import inspect
import json
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

import typer

from elman.cli.memory import told_memory
from elman.errors import MisuseError
from elman.training.launch import launched

if TYPE_CHECKING:
    from elman.training.search.study import Study, Trial

EXAMPLE = """Examples:

elman search lm input.txt --trials 30 --vary lr=1e-4..1e-1:log --vary hidden=64,128,256 --steps 500

elman search lm input.txt --trials 27 --sampler grid --space space.txt --minutes-per-trial 1 -- --tokens words

The same command goes on with a search that was stopped, and joins one that is running.
"""

SEARCH = "Search"
DEFAULT_TRIALS = 20
# what the search itself decides about each trial
KEPT = ("out", "quiet", "json")
LIMITS = ("minutes", "steps", "epochs")
# a verb that has these trains step by step
NEEDED = {"seed", "steps", "lr"}
STATES = ("complete", "pruned", "failed", "running")
SHOWN = 10


def register(app: typer.Typer) -> None:
    """Add ``elman search``."""
    app.command("search", epilog=EXAMPLE)(search)


def search(
    task: Annotated[str, typer.Argument(help="What to train: lm or another verb of elman train.", show_default=False)],
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="DATA... [-- FLAGS]",
            help="Data, and behind -- flags of that verb for all trials.",
            show_default=False,
        ),
    ],
    trials: Annotated[
        int | None,
        typer.Option(
            min=1, help="In all; default 20, for a grid its points.", rich_help_panel=SEARCH, show_default=False
        ),
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            help="A flag and its values: lr=1e-4..1e-1:log, layers=1..3, hidden=64,128, tied=on,off; repeatable.",
            rich_help_panel=SEARCH,
            show_default=False,
        ),
    ] = None,
    space: Annotated[
        Path | None,
        typer.Option(help="A file of such lines; # begins a remark.", rich_help_panel=SEARCH, show_default=False),
    ] = None,
    sampler: Annotated[str, typer.Option(help="random, tpe or grid.", rich_help_panel=SEARCH)] = "random",
    pruner: Annotated[
        str,
        typer.Option(help="What ends trials that fall behind: median, hyperband or none.", rich_help_panel=SEARCH),
    ] = "median",
    minutes_per_trial: Annotated[
        float | None, typer.Option(help="Limit of each trial.", rich_help_panel=SEARCH, show_default=False)
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Limit of each trial, optimiser steps.", rich_help_panel=SEARCH, show_default=False),
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Of the draws; a trial trains with seed + its number.", rich_help_panel=SEARCH)
    ] = 1,
    out: Annotated[
        Path | None,
        typer.Option(help="Search folder; default runs/NAME-search.", rich_help_panel=SEARCH, show_default=False),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only warnings.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train with many settings, briefly each, and say which are best and which flags matter."""
    from elman.training.search.space import divided, parse_space, points_of
    from elman.training.search.study import Definition, Study
    from elman.training.search.trials import Runner, work

    if launched() > 1:
        raise MisuseError("A search is shared by starting its command several times, not by torchrun.")
    if minutes_per_trial is not None and minutes_per_trial <= 0:
        raise MisuseError(f"--minutes-per-trial is {minutes_per_trial}; it takes a positive number.")
    kinds = kinds_of(task)
    varied = parse_space([*_lines(space), *(vary or [])], kinds)
    for name in (*KEPT, *(entry.name for entry in varied)):
        if any(word == f"--{name}" or word.startswith(f"--{name}=") for word in arguments):
            raise MisuseError(f"--{name} stands behind --, but the search itself decides it for each trial.")
    wanted = trials or DEFAULT_TRIALS
    if sampler == "grid":
        varied = divided(varied, trials)
        wanted = min(trials or len(points_of(varied)), len(points_of(varied)))
    limits = {"--minutes": minutes_per_trial, "--steps": steps}
    words = [*arguments, *(word for name, limit in limits.items() if limit for word in (name, str(limit)))]
    definition = Definition(task, tuple(words), tuple(entry.text for entry in varied), sampler, pruner, seed)
    # a flag that the verb does not take is told before anything is made
    _context(["train", task, *words])
    folder = out or Path("runs") / f"{Path(arguments[0]).stem or task}-search"
    study = Study(folder, definition, varied)
    talkative = not (quiet or as_json)
    begun = study.trials()
    if talkative and begun:
        print(f"{folder} has {len(begun)} trials; {max(0, wanted - len(begun))} are to be begun.")

    def tell(trial: Trial) -> None:
        if talkative:
            print(_line(trial, study.trials(), wanted), flush=True)

    runner = Runner(
        train=lambda words: _run(["train", *words]),
        resume=lambda run: _run(["resume", str(run), "--quiet"]),
        tell=tell,
    )
    finished = work(study, wanted, runner)
    _report(study, finished, quiet=quiet, as_json=as_json)
    if not finished:
        raise typer.Exit(1)


def kinds_of(task: str) -> dict[str, type]:
    """The flags of a verb of ``elman train`` that a search may vary, by name their type.

    Raises:
        MisuseError: there is no such verb, or it does not train step by step.
    """
    from elman.cli import app

    group = next(group for group in app.registered_groups if group.typer_instance.info.name == "train")  # type: ignore[union-attr]
    verbs = {entry.name: entry.callback for entry in group.typer_instance.registered_commands}  # type: ignore[union-attr]
    searchable = {name: flags for name, verb in verbs.items() if verb and (flags := _flags(verb)).keys() >= NEEDED}
    if task not in searchable:
        why = "is not trained step by step" if task in verbs else "is no verb of elman train"
        raise MisuseError(f"{task} {why}; a search takes {', '.join(name or '' for name in searchable)}.")
    return {name: kind for name, kind in searchable[task].items() if name not in (*KEPT, *LIMITS)}


def _flags(verb: Callable[..., Any]) -> dict[str, type]:
    flags: dict[str, type] = {}
    for parameter in inspect.signature(verb, eval_str=True).parameters.values():
        if get_origin(parameter.annotation) is not Annotated:
            continue
        kind, option = get_args(parameter.annotation)[:2]
        kinds = [part for part in get_args(kind) or (kind,) if part is not NoneType]
        # within Annotated the first name stands where a default would
        texts = (getattr(option, "default", None), *(getattr(option, "param_decls", None) or ()))
        named = [text for text in texts if isinstance(text, str) and text.startswith("--")]
        name = named[0].partition("/")[0] if named else "--" + parameter.name.replace("_", "-")
        # a switch that is on by itself could not be turned off by leaving it out
        fits = kinds[0] in (int, float, str) or (kinds[0] is bool and parameter.default is False)
        if len(kinds) == 1 and get_origin(kind) is not list and fits:
            flags[name.removeprefix("--")] = kinds[0]
    return flags


def _lines(space: Path | None) -> list[str]:
    from elman.training.search.space import space_lines

    if space is None:
        return []
    try:
        return space_lines(space.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise MisuseError(f"--space {space} cannot be read: {error}.") from error


def _context(words: Sequence[str]) -> Any:
    """A command line of this program, parsed and not yet run.

    Raises:
        MisuseError: it cannot be parsed.
    """
    from elman.cli import app

    command: Any = typer.main.get_command(app)
    rest = list(words)
    try:
        while hasattr(command, "commands"):
            command = command.commands[rest[0]]
            rest = rest[1:]
        return command.make_context(words[0], rest)
    except Exception as error:
        # typer brings its own classes of click's errors, whose place differs with its version
        if not hasattr(error, "format_message"):
            raise
        raise MisuseError(f"elman {shlex.join(words)}: {error.format_message()}") from error


def _run(words: Sequence[str]) -> None:
    """Run a command line in this process."""
    with _context(words) as context, told_memory():
        try:
            context.command.invoke(context)
        except typer.Exit:
            # a verb says by its exit code what the watch has seen already
            return


def _line(trial: Trial, trials: Sequence[Trial], wanted: int) -> str:
    from elman.training.search.space import written

    point = "  ".join(f"{name} {written(value)}" for name, value in trial.point.items())
    head = f"trial {trial.number + 1} of {wanted}  {point}  {_seconds(trial)}"
    if trial.state == "failed":
        return f"{head}  failed: {trial.error}"
    best = best_of(trials)
    so_far = f"best {best.value:.4f}, trial {best.number + 1}" if best and best.value is not None else "no best yet"
    return f"{head}  {trial.state} {trial.value:.4f}  ({so_far})"


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """The trial with the lowest value among those that were trained to their end."""
    complete = [trial for trial in trials if trial.state == "complete" and trial.value is not None]
    return min(complete, key=lambda trial: trial.value or 0.0, default=None)


def _seconds(trial: Trial) -> str:
    from elman.training.display import clock

    return clock(trial.seconds or 0.0)


def _report(study: Study, finished: bool, *, quiet: bool, as_json: bool) -> None:
    """The table of the best, what mattered, the picture, and the command for the best."""
    from elman.training.search.figures import plot_search
    from elman.training.search.space import written
    from elman.training.search.trials import command_of

    trials, importances = study.trials(), study.importances()
    best = best_of(trials)
    picture = study.folder / "search.png"
    missing = ""
    try:
        plot_search(trials, study.space, importances, picture, str(study.folder))
    except MisuseError as error:
        missing = str(error)
    command = shlex.join(["elman", "train", *without_limits(command_of(study, best))]) if best else None
    if as_json:
        result = {
            "search": str(study.folder),
            "finished": finished,
            "best": None if best is None else best.number,
            "command": command,
            "importances": importances,
            "picture": None if missing else str(picture),
            "trials": [
                {
                    "number": trial.number,
                    "state": trial.state,
                    "value": trial.value,
                    "point": dict(trial.point),
                    "run": str(trial.folder),
                    "seconds": trial.seconds,
                    "error": trial.error or None,
                }
                for trial in trials
            ],
        }
        print(json.dumps(result))
        return
    if quiet:
        return
    counts = {state: sum(trial.state == state for trial in trials) for state in STATES}
    print(", ".join(f"{count} {state}" for state, count in counts.items() if count) or "no trials")
    ranked = sorted(
        (trial for trial in trials if trial.state == "complete" and trial.value is not None),
        key=lambda trial: trial.value or 0.0,
    )
    names = [entry.name for entry in study.space]
    rows = [["", "result", *names, "run"]] + [
        [
            str(place),
            f"{trial.value:.4f}",
            *(written(trial.point[name]) if name in trial.point else "" for name in names),
            str(trial.folder),
        ]
        for place, trial in enumerate(ranked[:SHOWN], start=1)
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows if ranked else []:
        print("  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip())
    if importances:
        print("importance: " + ", ".join(f"{name} {share:.0%}" for name, share in importances.items()))
    print(f"No picture: {missing}" if missing else f"Picture: {picture}")
    if not finished:
        print("Stopped; the same command goes on.")
    elif command:
        print("Train the best at full length, with --minutes, --steps or --epochs of your choice:")
        print(f"  {command}")


def without_limits(words: Sequence[str]) -> list[str]:
    """A command line without its limits of time, steps and epochs."""
    kept: list[str] = []
    flags = {f"--{name}" for name in LIMITS}
    skip = False
    for word in words:
        if not skip and word.partition("=")[0] not in flags:
            kept.append(word)
        skip = not skip and word in flags
    return kept
