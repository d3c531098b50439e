"""``elman cells``: the zoo, and what is derived from one recurrence."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from elman.equations import Recurrence, Work


def register(app: typer.Typer) -> None:
    """Add ``elman cells``."""
    app.command("cells", epilog="Example: elman cells mut1 --hidden 256")(cells)


def cells(
    cell: Annotated[
        str | None,
        typer.Argument(
            help="A cell of the zoo, a file of equations (.eq) or equations; without it the whole zoo.",
            show_default=False,
        ),
    ] = None,
    input: Annotated[
        int | None,
        typer.Option(min=1, help="Width of x; default: as wide as the states.", show_default=False),
    ] = None,
    hidden: Annotated[int, typer.Option(min=1, help="Width of the states.")] = 128,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the zoo, or show one recurrence: its equations, stages, parameters and cost.

    Constant inputs are taken to be as wide as x.
    """
    from elman.equations import cell as cell_of
    from elman.equations import recurrence_of, zoo

    if cell is not None:
        values = _describe(recurrence_of(cell), input or hidden, hidden)
        print(json.dumps(values)) if as_json else _print_one(values)
        return
    every = []
    for recurrence in map(cell_of, zoo()):
        # a cell that uses x elementwise has no other size than this
        width = hidden if "x" in recurrence.square else input or hidden
        every.append(_describe(recurrence, width, hidden))
    print(json.dumps(every)) if as_json else _print_zoo(every, input or hidden, hidden)


def _describe(recurrence: Recurrence, input: int, hidden: int) -> dict[str, Any]:
    """Everything that is printed about a recurrence, as JSON has it."""
    from elman.equations.render import render

    widths = {name: hidden if name in recurrence.square else input for name in recurrence.inputs}
    cost = recurrence.cost(input, hidden, **widths)
    nodes = recurrence.graph.nodes
    text = render(nodes)
    read = {argument for node in nodes if node.phase == "step" for argument in node.args}
    read |= set(recurrence.graph.states.values())
    return {
        "name": recurrence.name,
        "title": recurrence.title,
        "citation": recurrence.citation,
        "equations": recurrence.equations,
        "states": list(recurrence.states),
        "output": recurrence.output,
        "inputs": list(recurrence.inputs),
        "elementwise_inputs": sorted(recurrence.square),
        "linear_states": list(recurrence.linear_states),
        "input": input,
        "hidden": hidden,
        "parameters": {name: list(shape) for name, shape in recurrence.parameters(input, hidden, **widths).items()},
        "parameter_count": cost.parameters,
        "hoisted": [text[i] for i in sorted(read) if nodes[i].phase != "step" and nodes[i].args],
        "stages": [[text[i] for i in stage.products] for stage in recurrence.stages[1:]],
        "backward_stages": len(recurrence.derivative.stages) - 1,
        "forward": _work(cost.forward),
        "backward": _work(cost.backward),
    }


def _work(work: Work) -> dict[str, int]:
    return {
        "flops": work.flops,
        "hoisted_flops": work.hoisted_flops,
        "recurrent_flops": work.recurrent_flops,
        "bytes": work.bytes,
    }


def _print_zoo(every: list[dict[str, Any]], input: int, hidden: int) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("name", no_wrap=True)
    table.add_column("title")
    table.add_column("states", no_wrap=True)
    table.add_column("stages", justify="right")
    table.add_column("parameters", justify="right", no_wrap=True)
    for values in every:
        square = "=" if "x" in values["elementwise_inputs"] else " "
        table.add_row(
            values["name"],
            values["title"],
            ", ".join(_state(values, name) for name in values["states"]),
            str(len(values["stages"])),
            f"{values['parameter_count']:,} {square}",
        )
    console = Console(highlight=False)
    console.print(table)
    console.print(
        f"Parameters with x {input} and states {hidden} wide; = marks a cell whose x must be as wide as its "
        "states. A state with * is linear and can run as a parallel scan. One cell in full: elman cells NAME"
    )


def _state(values: dict[str, Any], name: str) -> str:
    return f"{name}*" if name in values["linear_states"] else name


def _print_one(values: dict[str, Any]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    console.print(Text(values["equations"].strip("\n")))
    console.print()
    facts = {
        "states": ", ".join(values["states"]) + f"; {values['output']} leaves the cell",
        "constant inputs": ", ".join(values["inputs"]),
        "elementwise": ", ".join(values["elementwise_inputs"]) + " (must be as wide as the states)",
        "hoisted": "; ".join(values["hoisted"]) or "nothing",
        "stages": f"{len(values['stages'])} forward, {values['backward_stages']} backward",
    }
    if values["linear_states"]:
        facts["linear"] = f"{', '.join(values['linear_states'])}: can run as a parallel scan"
    facts |= {f"  stage {number}": ", ".join(products) for number, products in enumerate(values["stages"], 1)}
    if not values["inputs"]:
        del facts["constant inputs"]
    if not values["elementwise_inputs"]:
        del facts["elementwise"]
    for label, fact in facts.items():
        console.print(Text(f"{label:<16} {fact}"))
    sizes = f"x {values['input']} and states {values['hidden']} wide"
    console.print(Text(f"\n{values['parameter_count']:,} parameters with {sizes}"))
    for name, shape in values["parameters"].items():
        console.print(Text(f"  {name:<14} {' x '.join(map(str, shape))}"))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("one step", "FLOPs", "hoisted", "recurrent", "recurrent bytes"):
        table.add_column(heading, justify="left" if heading == "one step" else "right")
    for way in ("forward", "backward"):
        table.add_row(way, *(f"{number:,}" for number in values[way].values()))
    console.print()
    console.print(table)
