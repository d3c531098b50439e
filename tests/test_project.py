"""The project as a newcomer meets it: versions agree, the command starts fast, every verb explains itself."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest

import elman

ROOT = Path(__file__).resolve().parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
START_SECONDS = 2.0


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the checkout, without what a `make test` around this test passes to its children."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        command,
        cwd=ROOT,
        env=inherited | {"COLUMNS": "120", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_versions_agree() -> None:
    assert elman.__version__ == PROJECT["version"]
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[{re.escape(elman.__version__)}\]", changes, re.MULTILINE)


def test_the_installed_version_is_this_one() -> None:
    try:
        installed = importlib.metadata.version("elman")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("elman is on the path, but not installed as a distribution")
    assert installed == PROJECT["version"]


def test_licence() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert PROJECT["license"] == "Apache-2.0"
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_help_exits_with_0() -> None:
    done = run(sys.executable, "-m", "elman", "--help")
    assert done.returncode == 0, done.stderr
    for verb in ("train", "resume", "sample", "eval"):
        assert verb in done.stdout


def test_help_starts_fast() -> None:
    """The best of three, since the machine may be busy with something else."""
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        assert run(sys.executable, "-m", "elman", "--help").returncode == 0
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < START_SECONDS


def test_help_does_not_load_the_heavy_libraries() -> None:
    done = run(sys.executable, "-X", "importtime", "-m", "elman", "--help")
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "elman" in loaded
    assert loaded & {"torch", "numpy", "triton", "llvmlite", "matplotlib", "tokenizers"} == set()


def test_the_console_entry_point_is_callable() -> None:
    module, _, function = PROJECT["scripts"]["elman"].partition(":")
    done = run(sys.executable, "-c", f"from {module} import {function}; {function}()", "--help")
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


def test_the_installed_command_works() -> None:
    script = Path(sysconfig.get_path("scripts")) / "elman"
    if not script.exists():
        pytest.skip(f"the command is not installed beside {sys.executable}")
    assert run(str(script), "--help").returncode == 0


def commands() -> list[tuple[str, ...]]:
    """Every verb of the command line, as the words that call it: ("train", "lm"), ("sample",), ..."""
    import typer.main

    from elman.cli import app

    def leaves(command: Any, words: tuple[str, ...]) -> list[tuple[str, ...]]:
        if not hasattr(command, "commands"):
            return [words]
        return [leaf for name, child in command.commands.items() for leaf in leaves(child, (*words, name))]

    return leaves(typer.main.get_command(app), ())


def test_the_verbs_of_the_command_line() -> None:
    verbs = {words[0] for words in commands()}
    assert verbs >= {"train", "resume", "sample", "eval", "score", "cells"}


def test_every_verb_explains_itself_with_an_example() -> None:
    from typer.testing import CliRunner

    from elman.cli import app

    wanting = []
    for words in commands():
        result = CliRunner(env={"COLUMNS": "120", "NO_COLOR": "1"}).invoke(app, [*words, "--help"])
        example = "elman " + " ".join(words)
        shown = [line for line in result.output.splitlines() if "Usage:" not in line]
        if result.exit_code != 0 or not any(example in line for line in shown):
            wanting.append((example, result.exit_code))
    assert wanting == []


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
class TestMakefile:
    def test_help_lists_the_targets(self) -> None:
        done = run("make", "help")
        assert done.returncode == 0
        for target in ("demo", "test", "test-slow", "gpu-check", "lint", "clean"):
            assert re.search(rf"^ +{target} ", done.stdout, re.MULTILINE), target

    def test_the_default_is_help(self) -> None:
        assert run("make").stdout == run("make", "help").stdout

    def test_test_runs_every_check_in_order(self) -> None:
        plan = run("make", "--dry-run", "test").stdout
        places = [plan.find(step) for step in ("ruff' check", "ruff' format --check", "mypy'", "-m pytest")]
        assert -1 not in places
        assert places == sorted(places)

    def test_torch_is_installed_first_and_can_be_chosen(self, tmp_path: Path) -> None:
        plan = run("make", "--dry-run", "install", f"VENV={tmp_path}/venv", "TORCH=torch==2.99").stdout
        assert 0 < plan.find("install 'torch==2.99'") < plan.find("install -e '.[dev]'")

    @pytest.mark.parametrize(
        ("script", "message"),
        [
            ("echo Python 3.9.2; exit 1", "is not Python 3.11 or newer (it is: Python 3.9.2)"),
            ('case "$*" in *version_info*) exit 0;; *) exit 1;; esac', "apt install python3-venv"),
        ],
        ids=["old", "without venv"],
    )
    def test_an_unfit_python_is_named(self, tmp_path: Path, script: str, message: str) -> None:
        unfit = tmp_path / "python"
        unfit.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        unfit.chmod(0o755)
        done = run("make", "install", f"PYTHON={unfit}", f"VENV={tmp_path}/venv")
        assert done.returncode != 0
        assert message in done.stderr
        assert not (tmp_path / "venv" / ".installed").exists()

    def test_no_python_is_named(self, tmp_path: Path) -> None:
        done = run("make", "install", f"PYTHON={tmp_path}/none", f"VENV={tmp_path}/venv")
        assert done.returncode != 0
        assert "Install Python 3.11 or newer" in done.stderr

    def test_clean_spares_what_is_no_environment(self, tmp_path: Path) -> None:
        (tmp_path / "kept").touch()
        done = run("make", "clean", f"VENV={tmp_path}")
        assert done.returncode != 0
        assert "not a virtual environment" in done.stderr
        assert (tmp_path / "kept").exists()


def test_the_check_of_a_clean_checkout_is_executable() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "set -euo pipefail" in script.read_text(encoding="utf-8")
