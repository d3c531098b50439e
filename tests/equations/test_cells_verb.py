"""``elman cells``."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from elman.equations import cell, zoo


@pytest.fixture(scope="module")
def app() -> typer.Typer:
    from elman.cli import cells

    app = typer.Typer()
    app.callback()(lambda: None)
    cells.register(app)
    return app


def output(app: typer.Typer, *args: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["cells", *args])
    assert result.exit_code == code, result.output
    return result.output


def test_the_zoo_as_a_table_and_as_json(app: typer.Typer) -> None:
    table = output(app)
    for name in zoo():
        assert f"{name} " in table
    assert "65,920 =" in table  # MUT1: Wxz, Wxr, Whr and Whh of 128 x 128 and three vectors
    every = json.loads(output(app, "--json", "--hidden", "32", "--input", "8"))
    assert [values["name"] for values in every] == zoo()
    by_name = {values["name"]: values for values in every}
    assert by_name["lstm"]["parameter_count"] == 4 * (32 * 8 + 32 * 32 + 32)
    assert by_name["mut1"]["input"] == 32


def test_one_cell(app: typer.Typer) -> None:
    shown = output(app, "mut1", "--hidden", "256")
    for piece in (
        "h = tanh(Whh @ (r * h) + tanh(x) + bh) * z + h * (1 - z)",
        "Jozefowicz, Zaremba and Sutskever 2015",
        "2 forward, 2 backward",
        "bh + tanh(x)",
        "256 x 256",
    ):
        assert piece in shown
    values = json.loads(output(app, "sru", "--json"))
    assert values["linear_states"] == ["c"]
    assert values["states"] == ["c", "h"]
    assert values["stages"] == []
    cost = cell("sru").cost(128, 128)
    assert values["forward"]["flops"] == cost.flops
    assert values["backward"]["bytes"] == cost.backward.bytes


def test_a_file_and_a_text(app: typer.Typer, tmp_path) -> None:
    path = tmp_path / "mine.eq"
    path.write_text("# Mine\n# Me 2024\n# inputs: v\nh = tanh(W @ x + U @ h + V @ v)\n")
    values = json.loads(output(app, str(path), "--input", "3", "--hidden", "5", "--json"))
    assert values["title"] == "Mine"
    assert values["parameters"] == {"W": [5, 3], "U": [5, 5], "V": [5, 3]}
    assert values["stages"] == [["U @ h"]]
    values = json.loads(output(app, "h = sigmoid(W @ x - a * (U @ h)) + -h / (1 - h) ** 2", "--json"))
    assert values["stages"] == [["U @ h"]]
    assert values["hoisted"] == ["W @ x"]


def test_every_misuse_is_a_sentence() -> None:
    for args, said in (
        (["nope"], "no cell 'nope'"),
        (["h = foo(h)"], "no function foo"),
        (["mut1", "--input", "3"], "x elementwise"),
        (["nope/nope.eq"], "cannot be read"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "elman", "cells", *args], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert said in done.stderr
        assert "Traceback" not in done.stderr


def test_it_needs_no_torch(app: typer.Typer) -> None:
    code = (
        "import sys, typer; from elman.cli import cells; cells.cells('gru'); cells.cells(); "
        "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
