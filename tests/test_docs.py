"""The documentation is true: what a page shows is run, and where it points there is something.

Of README.md and docs/*.md every ``python`` block is run, top to bottom, one namespace a page, in an empty
folder that holds two small texts, ``input.txt`` and ``other.txt``. Of every ``console`` block the lines that
start with ``$ elman`` are run in the same folder; the other lines are what the reader sees and are not
compared. A comment on the line before a block changes that:

    <!-- not run: REASON -->     the block is not run
    <!-- exits with 2 -->        the commands of the block end with this code
"""

from __future__ import annotations

import os
import random
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests_support import Done

Elman = Callable[..., Done]

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LANGUAGES = {"python", "console", "text", "json", "jsonl", "toml", "makefile", "bibtex"}
COMMAND_SECONDS = 120

FENCE = re.compile(r"^ {0,3}```(?P<language>[^`]*)$")
NOT_RUN = re.compile(r"^<!-- not run:(?P<reason>.*)-->$")
EXITS = re.compile(r"^<!-- exits with (?P<code>\d+) -->$")
LINK = re.compile(r"!?\[[^\]]*\]\((?P<target>[^)\s]+)(?:\s+\"[^\"]*\")?\)")

# Romeo and Juliet, act 2, scene 2.
SPEECHES = (
    """ROMEO:
But, soft! what light through yonder window breaks?
It is the east, and Juliet is the sun.""",
    """JULIET:
O Romeo, Romeo! wherefore art thou Romeo?
Deny thy father and refuse thy name;
Or, if thou wilt not, be but sworn my love.""",
    """ROMEO:
Shall I hear more, or shall I speak at this?""",
    """JULIET:
'Tis but thy name that is my enemy;
Thou art thyself, though not a Montague.
What's Montague? it is nor hand, nor foot,
Nor arm, nor face, nor any other part.""",
    """JULIET:
What's in a name? that which we call a rose
By any other name would smell as sweet.""",
    """ROMEO:
I take thee at thy word:
Call me but love, and I'll be new baptized.""",
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    line: int  # of its first line of text, counted from 1
    text: str
    not_run: str | None  # the reason, where the page gives one
    exit_code: int

    @property
    def commands(self) -> list[str]:
        """The commands after ``$``; a trailing backslash continues a command on the next line."""
        joined = re.sub(r"\s*\\\n\s*(?:> )?", " ", self.text)
        return [line[2:].strip() for line in joined.splitlines() if line.startswith("$ ")]


def blocks_of(page_text: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    blocks = []
    before, start, language, lines = "", 0, "", []
    for number, line in enumerate(page_text.splitlines(), start=1):
        fence = FENCE.match(line)
        if not start:
            if fence:
                start, language, lines = number + 1, fence["language"].strip(), []
            elif line.strip():
                before = line.strip()
            else:
                before = ""
        elif fence and not fence["language"].strip():
            note, exits = NOT_RUN.match(before), EXITS.match(before)
            blocks.append(
                Block(
                    language=language,
                    line=start,
                    text="\n".join(lines) + "\n",
                    not_run=note["reason"].strip() if note else None,
                    exit_code=int(exits["code"]) if exits else 0,
                )
            )
            start, before = 0, ""
        else:
            lines.append(line)
    assert not start, f"the block that opens on line {start - 1} is never closed"
    return blocks


def prose_of(page_text: str) -> str:
    """The page without its blocks and without inline code, line by line."""
    inside, lines = False, []
    for line in page_text.splitlines():
        if FENCE.match(line):
            inside = not inside
            lines.append("")
        else:
            lines.append("" if inside else re.sub(r"`[^`]*`", "", line))
    return "\n".join(lines)


def anchors_of(page_text: str) -> set[str]:
    """The anchors that the headings of a page get: lower case, spaces to hyphens, punctuation dropped."""
    anchors: set[str] = set()
    inside = False
    for line in page_text.splitlines():
        if FENCE.match(line):
            inside = not inside
        elif not inside and (heading := re.match(r"#{1,6} +(.*?)[ #]*$", line)):
            title = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).lower()
            slug = re.sub(r"[^\w\- ]", "", title).replace(" ", "-")
            anchor, repeat = slug, 0
            while anchor in anchors:
                repeat += 1
                anchor = f"{slug}-{repeat}"
            anchors.add(anchor)
    return anchors


def small_text(seed: int, speeches: int) -> str:
    """Speeches of the play in an order drawn from ``seed``."""
    generator = random.Random(seed)
    return "\n\n".join(generator.choice(SPEECHES) for _ in range(speeches)) + "\n"


def needs_a_shell(command: str) -> bool:
    """Whether a command has a pipe, a redirection or the like."""
    words = shlex.shlex(command, posix=True, punctuation_chars=True)
    words.whitespace_split = True
    return any(set(word) <= set(words.punctuation_chars) for word in words)


def run_command(command: str, folder: Path, elman: Elman) -> Done | subprocess.CompletedProcess[str]:
    """Run one line of a console block, ``elman`` being the checkout's: in this process, or as a shell would."""
    if not needs_a_shell(command):
        return elman(*shlex.split(command)[1:], cwd=folder)
    # The models are small: one thread is as fast as two, and two wait for each other on a busy machine.
    environment = {"OMP_NUM_THREADS": "1"} | os.environ | {"COLUMNS": "100", "NO_COLOR": "1"}
    script = f'set -euo pipefail\nelman() {{ "{sys.executable}" -m elman "$@"; }}\n{command}\n'
    return subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
    )


def test_there_are_pages_to_check() -> None:
    assert (ROOT / "README.md").is_file()
    assert (ROOT / "docs" / "index.md").is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_are_of_a_known_kind(page: Path) -> None:
    for block in blocks_of(page.read_text(encoding="utf-8")):
        place = f"{page.name}, line {block.line}"
        assert block.language in LANGUAGES, f"{place}: '{block.language}' is none of {sorted(LANGUAGES)}"
        assert block.not_run != "", f"{place}: 'not run' needs a reason"
        if block.language == "console":
            assert block.commands, f"{place}: a console block shows a command after '$ '"
            if block.not_run is None:
                other = [command for command in block.commands if not command.startswith("elman ")]
                assert not other, f"{place}: only elman is run here, say '<!-- not run: why -->' for {other}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_figure_is_left_to_fill_in(page: Path) -> None:
    left = re.findall(r"\b[A-Z]+_TABLE\b|\bEPOCHS\b", page.read_text(encoding="utf-8"))
    assert not left, f"{page.name} still has the placeholders {left}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_shows_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elman: Elman) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "input.txt").write_text(small_text(seed=1, speeches=120), encoding="utf-8")
    (tmp_path / "other.txt").write_text(small_text(seed=2, speeches=12), encoding="utf-8")
    names: dict[str, object] = {"__name__": f"docs_{page.stem}"}
    for block in blocks_of(page.read_text(encoding="utf-8")):
        if block.not_run is not None:
            continue
        if block.language == "python":
            # The empty lines make a traceback name the line of the page.
            source = "\n" * (block.line - 1) + block.text
            exec(compile(source, str(page), "exec", dont_inherit=True), names)
        elif block.language == "console":
            for command in block.commands:
                done = run_command(command, tmp_path, elman)
                assert done.returncode == block.exit_code, (
                    f"{page.name}, line {block.line}: '{command}' exits with {done.returncode}, "
                    f"not {block.exit_code}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
                )


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for link in LINK.finditer(prose_of(text)):
        target = link["target"]
        if re.match(r"(https?|mailto):", target):
            continue
        path, _, anchor = target.partition("#")
        goal = (page.parent / path).resolve() if path else page
        assert goal.exists(), f"{page.name}: there is no {target}"
        assert goal == ROOT or ROOT in goal.parents, f"{page.name}: {target} leaves the project"
        if anchor:
            assert anchor in anchors_of(goal.read_text(encoding="utf-8")), f"{page.name}: no heading {target}"


def test_the_table_of_contents_names_every_page() -> None:
    index = ROOT / "docs" / "index.md"
    linked = {link["target"].partition("#")[0] for link in LINK.finditer(index.read_text(encoding="utf-8"))}
    pages = {page.name for page in index.parent.glob("*.md")} - {"index.md"}
    assert pages - linked == set()


def test_the_architecture_names_files_that_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w./-]+\.(?:py|eq|md)|[\w/]+/)`", text)) - {"resume/", "samples/"}
    assert len(named) > 20
    places = (ROOT, ROOT / "src" / "elman")
    assert {name for name in named if not any((place / name).exists() for place in places)} == set()


def test_blocks_are_found_with_their_notes() -> None:
    page = (
        "# A page\n\n<!-- not run: needs a GPU -->\n```console\n$ elman bench \\\n    --json\nout\n```\n"
        "\n<!-- exits with 2 -->\n```console\n$ elman train\n```\ntext\n```python\nx = 1\n```\n"
    )
    first, second, third = blocks_of(page)
    assert (first.not_run, first.commands) == ("needs a GPU", ["elman bench --json"])
    assert (second.not_run, second.exit_code, second.commands) == (None, 2, ["elman train"])
    assert (third.language, third.line, third.text, third.exit_code) == ("python", 16, "x = 1\n", 0)


def test_anchors_are_those_of_the_headings() -> None:
    page = "# The `elman` line\n## What's new?\n## What's new?\n```text\n# no heading\n```\n"
    assert anchors_of(page) == {"the-elman-line", "whats-new", "whats-new-1"}
