"""``elman bench``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from click.testing import Result
from typer.testing import CliRunner

from elman.cli import bench
from elman.errors import ElmanError, FailureError, MisuseError

TINY = ("--hidden", "8", "--batch", "3", "--steps", "4", "--repeats", "2")


@pytest.fixture(scope="module")
def app() -> typer.Typer:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.callback()(lambda: None)
    bench.register(app)
    return app


@pytest.fixture(autouse=True)
def same_threads() -> Any:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def run(app: typer.Typer, *arguments: object) -> Result:
    return CliRunner().invoke(app, ["bench", *map(str, arguments)])


def test_json(app: typer.Typer) -> None:
    done = run(app, "--cells", "LSTM,mut1", "--work", "train,sample", *TINY, "--threads", 1, "--json")
    assert done.exit_code == 0, done.output
    values = json.loads(done.stdout)
    assert values["machine"]["threads"] == 1
    assert values["machine"]["versions"]["torch"] == torch.__version__
    assert values["interrupted"] is False
    found = [(each["cell"], each["work"], each["shape"]["batch"]) for each in values["results"]]
    assert found == [("LSTM", "train", 3), ("mut1", "train", 3), ("LSTM", "sample", 1), ("mut1", "sample", 1)]
    for each in values["results"]:
        names = {"elman", "eager"} | ({"torch"} if each["cell"] == "LSTM" else set())
        assert names <= set(each["contenders"])
        for figures in each["contenders"].values():
            assert figures["error"] == ""
            assert figures["repeats"] == 2
            assert 0 < figures["least"] <= figures["milliseconds"] <= figures["most"]
        assert each["ratios"]["eager"] > 0


def test_table_and_chart(app: typer.Typer, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "speed.png"
    done = run(app, "--cells", "gru", "--work", "infer", *TINY, "--ragged", "--chart", picture)
    assert done.exit_code == 0, done.output
    assert "infer, H 8 B 3 T 4 ragged, fp32" in done.stdout
    assert "eager" in done.stdout
    assert picture.stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--work", "tain"), "--work is 'tain'"),
        (("--precision", "fp64"), "--precision is 'fp64'"),
        (("--cells", "lstmm"), "no cell 'lstmm'"),
        (("--quick", "--full"), "exclude each other"),
        (("--chart", "speed.pdf"), "--chart is speed.pdf"),
        (("--work", "model", "--ragged"), "Nothing is left"),
    ],
)
def test_misuse_is_a_sentence(app: typer.Typer, arguments: tuple[str, ...], named: str) -> None:
    done = run(app, *arguments)
    assert isinstance(done.exception, MisuseError)
    assert done.exception.exit_code == 2
    assert named in str(done.exception)
    assert "\n" not in str(done.exception)
    assert done.stdout == ""


@pytest.mark.parametrize("arguments", [("--hidden", "0"), ("--repeats", "0"), ("--threads", "none"), ("--nope",)])
def test_impossible_numbers_end_with_2(app: typer.Typer, arguments: tuple[str, ...]) -> None:
    assert run(app, *arguments).exit_code == 2


@pytest.mark.parametrize("as_json", [False, True])
def test_an_interruption_prints_what_was_measured(
    app: typer.Typer, monkeypatch: pytest.MonkeyPatch, as_json: bool
) -> None:
    from elman.bench import timing

    measure, calls = timing.measure, []

    def interrupted(*arguments: Any, **options: Any) -> timing.Result:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return measure(*arguments, **options)

    monkeypatch.setattr(timing, "measure", interrupted)
    done = run(app, "--cells", "gru,mut1", "--work", "infer", *TINY, *(["--json"] if as_json else []))
    assert isinstance(done.exception, FailureError)
    assert str(done.exception) == "Interrupted after 1 of 2 comparisons."
    if as_json:
        values = json.loads(done.stdout)
        assert values["interrupted"] is True
        assert [each["cell"] for each in values["results"]] == ["gru"]
    else:
        assert "gru" in done.stdout
        assert "mut1" not in done.stdout


def test_a_contender_that_is_wrong_is_told(app: typer.Typer, monkeypatch: pytest.MonkeyPatch) -> None:
    from elman.bench import eager

    right = eager.loop

    def wrong(*arguments: Any) -> Any:
        outputs, state = right(*arguments)
        return outputs + 1, state

    monkeypatch.setattr(eager, "loop", wrong)
    done = run(app, "--cells", "gru", "--work", "infer", *TINY)
    assert isinstance(done.exception, ElmanError)
    assert done.exception.exit_code == 1
    assert "gru infer H 8 B 3 T 4 fp32: elman: it computes something else" in str(done.exception)
    assert "wrong" in done.stdout


def test_the_switches_of_torch_are_as_before(app: typer.Typer) -> None:
    before = torch.backends.mkldnn.enabled, torch.get_float32_matmul_precision()
    assert run(app, "--cells", "LSTM", "--work", "train", "--precision", "fp32,bf16", *TINY).exit_code == 0
    assert (torch.backends.mkldnn.enabled, torch.get_float32_matmul_precision()) == before


def test_help_has_examples(app: typer.Typer) -> None:
    done = run(app, "--help")
    assert done.exit_code == 0
    assert "elman bench --quick" in done.stdout
