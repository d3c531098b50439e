"""The house stands: rooms import downwards, the ground floor is bare, no file can run code."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "elman"

# From the ground up. A room imports from its own floor or from one below; no two rooms import each other.
FLOORS = (
    {"errors", "files"},
    {"equations"},
    {"compile"},
    {"nn"},
    {"data", "metrics", "models"},
    {"runs"},
    {"training", "generate", "insight"},
    {"bench"},
    {"elman"},  # the package's own __init__: the names that `import elman` gives
    {"web"},
    {"cli"},
    {"__main__"},
)
FLOOR = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}

LINES = 400
UNPICKLERS = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
EVALUATORS = {"eval", "exec", "__import__"}


@dataclass(frozen=True)
class Import:
    """That ``module`` imports ``imported`` on ``line``; both dotted names."""

    module: str
    imported: str
    line: int


def module_name(path: Path) -> str:
    """The dotted name of a source file: src/elman/nn/__init__.py is elman.nn."""
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def trees() -> dict[Path, ast.Module]:
    """Every source file, parsed."""
    return {path: ast.parse(path.read_text(encoding="utf-8"), str(path)) for path in sorted(SOURCE.rglob("*.py"))}


@cache
def modules() -> frozenset[str]:
    return frozenset(module_name(path) for path in trees())


def imports_of(path: Path, tree: ast.Module) -> Iterator[Import]:
    """Every import of a file, be it at the top, in a function, under TYPE_CHECKING or by importlib."""
    module = module_name(path)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *filter(None, [node.module])])
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                yield Import(module, whole if whole in modules() else base, node.lineno)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            for argument in node.args[:1]:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield Import(module, argument.value, node.lineno)


def elman_imports() -> list[Import]:
    """The imports of one module of Elman by another."""
    return [
        found
        for path, tree in trees().items()
        for found in imports_of(path, tree)
        if found.imported.partition(".")[0] == "elman" and found.imported != found.module
    ]


def room_of(module: str) -> str:
    """The room of a module: elman.nn.layers is of nn, elman itself of elman."""
    return module.split(".")[1] if "." in module else module


def only_version(found: Import) -> bool:
    """Whether the import is `from elman import __version__`, which every room may know."""
    path = next(path for path in trees() if module_name(path) == found.module)
    return found.imported == "elman" and any(
        isinstance(node, ast.ImportFrom)
        and node.lineno == found.line
        and [alias.name for alias in node.names] == ["__version__"]
        for node in ast.walk(trees()[path])
    )


def test_every_room_has_a_floor() -> None:
    rooms = {room_of(module) for module in modules()}
    assert rooms - FLOOR.keys() == set()


def test_imports_point_downwards() -> None:
    upwards = [
        f"{found.module}, line {found.line}, imports {found.imported}"
        for found in elman_imports()
        if FLOOR[room_of(found.imported)] > FLOOR[room_of(found.module)] and not only_version(found)
    ]
    assert upwards == []


def test_no_two_rooms_import_each_other() -> None:
    """Rooms of one floor may use each other one way only: going from room to room never leads back."""
    below: dict[str, set[str]] = {}
    for found in elman_imports():
        here, there = room_of(found.module), room_of(found.imported)
        if here != there and not only_version(found):
            below.setdefault(here, set()).add(there)

    def reachable(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = list(below.get(start, ()))
        while waiting:
            if (room := waiting.pop()) not in seen:
                seen.add(room)
                waiting += below.get(room, ())
        return seen

    assert [room for room in below if room in reachable(room)] == []


def test_equations_import_only_the_standard_library() -> None:
    strangers = [
        f"{found.module}, line {found.line}, imports {found.imported}"
        for path, tree in trees().items()
        for found in imports_of(path, tree)
        if room_of(found.module) in {"errors", "equations"}
        and (top := found.imported.partition(".")[0]) != "elman"
        and top not in sys.stdlib_module_names
    ]
    assert strangers == []


def test_equations_load_without_torch_and_numpy() -> None:
    program = "import sys, elman.equations; print(sorted({'torch', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_no_file_is_long() -> None:
    files = [
        path
        for top in ("src", "tests", "examples", "benchmarks")
        for path in (ROOT / top).rglob("*")
        if path.suffix in {".py", ".js", ".css", ".html", ".eq"}
    ]
    assert len(files) > len(trees())
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert {name: lines for name, lines in lengths.items() if lines > LINES} == {}


def loaders(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The places of a file that could run code out of data, as (line, what)."""
    torch_names = {"torch"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                if top in UNPICKLERS:
                    yield node.lineno, f"import {alias.name}"
                if top == "torch" and alias.asname:
                    torch_names.add(alias.asname)
        elif isinstance(node, ast.ImportFrom):
            top = (node.module or "").partition(".")[0]
            if top in UNPICKLERS or (top == "torch" and {"load", "save"} & {alias.name for alias in node.names}):
                yield node.lineno, ast.unparse(node)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in EVALUATORS:
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and node.attr in {"load", "save", "eval", "exec"}:
            owner = ast.unparse(node.value)
            if owner.partition(".")[0] in torch_names or owner == "builtins":
                yield node.lineno, ast.unparse(node)
        elif isinstance(node, ast.keyword) and node.arg in {
            "allow_pickle",
            "weights_only",
            "trust_remote_code",
        }:
            safe = node.arg == "weights_only"
            if not (isinstance(node.value, ast.Constant) and node.value.value is safe):
                yield node.value.lineno, ast.unparse(node)


@pytest.mark.parametrize("path", trees(), ids=lambda path: module_name(path))
def test_nothing_is_evaluated_or_unpickled(path: Path) -> None:
    assert list(loaders(trees()[path])) == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from pickle import loads",
        "eval('1')",
        "exec(text)",
        "run = eval",
        "import torch\ntorch.load(f)",
        "import torch as t\nt.load(f)",
        "from torch import load",
        "import numpy as np\nnp.load(f, allow_pickle=True)",
        "torch.hub.load('x')",
    ],
)
def test_a_loader_of_code_is_noticed(line: str) -> None:
    assert list(loaders(ast.parse(line)))


@pytest.mark.parametrize("line", ["model.eval()", "np.load(f)", "re.compile('a')", "safetensors.torch.load_file(f)"])
def test_harmless_lines_are_let_through(line: str) -> None:
    assert list(loaders(ast.parse(line))) == []


def project_files() -> list[Path]:
    """The files that git tracks or would track; a source archive has no git, there every file counts."""
    if not (ROOT / ".git").exists():
        hidden = re.compile(r"/(\.(?!ci|git)[^/]*|__pycache__|runs|build|dist)/")
        return [path for path in ROOT.rglob("*") if path.is_file() and not hidden.search(path.as_posix())]
    done = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [path for name in done.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def test_no_file_names_a_machine_or_leaves_a_marker() -> None:
    # Written in parts, so that this file does not find itself.
    forbidden = re.compile("/(?:wo" + "rk|ro" + r"ot)/|\b(?:TO" + "DO|FIX" + "ME|XX" + "X|HA" + r"CK)\b")
    found = []
    for path in project_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            if forbidden.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}")
    assert found == []


def test_no_data_is_tracked() -> None:
    assert {path.name: path.stat().st_size for path in project_files() if path.stat().st_size > 1_000_000} == {}
