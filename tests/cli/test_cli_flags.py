"""Shared options: taken apart for typer, put together for the verb."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from elman.cli.flags import CourseFlags, OptimiserFlags, expanded, parse_options, settings_of
from elman.errors import MisuseError


@dataclass(frozen=True)
class Sizes:
    """Two options."""

    width: Annotated[int, typer.Option(min=1, help="A width.")] = 3
    names: Annotated[list[str] | None, typer.Option(help="Some names.")] = None


def test_a_dataclass_becomes_its_options_and_comes_back() -> None:
    seen: list[object] = []
    app = typer.Typer()

    @app.command()
    @expanded
    def verb(
        source: Annotated[str, typer.Argument()], sizes: Sizes, loud: Annotated[bool, typer.Option("--loud")] = False
    ) -> None:
        """Say something."""
        seen.append((source, sizes, loud))

    runner = CliRunner()
    done = runner.invoke(app, ["here", "--width", "7", "--names", "a", "--names", "b", "--loud"])
    assert done.exit_code == 0, done.output
    assert runner.invoke(app, ["there"]).exit_code == 0
    assert seen == [("here", Sizes(7, ["a", "b"]), True), ("there", Sizes(), False)]
    assert runner.invoke(app, ["here", "--width", "0"]).exit_code == 2
    shown = runner.invoke(app, ["--help"]).output
    assert "A width." in shown
    assert "Say something." in shown


def test_what_the_user_gave_stands_before_what_the_system_chose() -> None:
    flags = CourseFlags(batch=7, epochs=2.0), OptimiserFlags(lr=0.5, rate_scale=["encoder=0.1", "encoder.first=0"])
    settings = settings_of(*flags, batch=64, lr=0.1, warmup=5, sample_length=0)
    assert (settings.batch, settings.lr, settings.warmup, settings.epochs) == (7, 0.5, 5, 2.0)
    assert settings.rate_scales == {"encoder": 0.1, "encoder.first": 0.0}
    assert settings_of(CourseFlags(), OptimiserFlags(), batch=64).batch == 64
    assert settings_of(CourseFlags(), OptimiserFlags(schedule="step")).decay == 0.95


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"rate_scale": ["encoder"]}, "NAME=VALUE"),
        ({"rate_scale": ["encoder=fast"]}, "PREFIX=FACTOR"),
        ({"rate_scale": ["encoder=-1"]}, "--rate-scale is encoder=-1.0"),
        ({"optimizer": "Adamm"}, "no optimiser"),
        ({"optimizer_option": ["betas"]}, "NAME=VALUE"),
        ({"schedule": "slow"}, "--schedule"),
    ],
)
def test_what_no_training_can_have_is_refused(flags: dict, message: str) -> None:
    with pytest.raises(MisuseError, match=message):
        settings_of(CourseFlags(), OptimiserFlags(**flags))


def test_precision_is_one_of_three() -> None:
    with pytest.raises(MisuseError, match="fp32, bf16 or auto"):
        settings_of(CourseFlags(precision="fp16"), OptimiserFlags())


def test_values_of_pairs() -> None:
    parsed = parse_options(["a=1", "b=0.5", "c=true", "d=word", "e=1,0.5"], "--option")
    assert parsed == {"a": 1, "b": 0.5, "c": True, "d": "word", "e": (1, 0.5)}
