"""Exported files: everything in them is there, and nothing in them is code or comes from elsewhere."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from insight.planted import UNIT

pytest.importorskip("starlette", reason="the extra web is not installed")

from elman.insight.hypotheses import builtin
from elman.insight.recording import Group, list_recordings, open_recording, write_recording
from elman.web.export import shown

HOSTILE = "</pre><script>alert(1)</script><img src=x onerror=alert(2)>&amp;\"'`\r\n=1+1,@a\u202e\x00\ud800\U0001f600é\n"


class Page(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, content: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self._open: list[str] = []
        self.feed(content)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self._open.append(f"{tag}{len([each for each in self.tags if each[0] == tag])}")

    def handle_endtag(self, tag: str) -> None:
        self._open.pop()

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts[self._open[-1]] = self.texts.get(self._open[-1], "") + data

    @property
    def data(self) -> Any:
        return json.loads(self.texts["script1"])

    @property
    def text(self) -> str:
        return self.texts["pre1"].removeprefix("\n")


@pytest.fixture
def hostile(client: Any, root: Path) -> tuple[str, Any]:
    """A recording whose text is out to do harm, and its address."""
    rng = np.random.default_rng(0)
    folder = root / "planted" / "insight" / "recordings" / "hostile"
    folder.parent.mkdir(parents=True)
    made = write_recording(
        folder,
        rng.integers(-127, 128, (3, len(HOSTILE)), dtype=np.int8),
        HOSTILE,
        groups=[Group(0, "c</script><b>", "state", "tanh", 0, 3)],
        nats=np.linspace(0, 900, len(HOSTILE)),
        facts={"source": "</script><script>alert(3)</script>"},
    )
    return "/api/recordings/planted~hostile", made


def values_of(packed: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(packed), kind)


def test_a_table_holds_every_token(client: Any, recording: str, root: Path) -> None:
    opened = open_recording(list_recordings(root / "planted")[0][0])
    response = client.get(
        f"/api/recordings/{recording}/export.csv", params={"cells": f"{UNIT},3", "hypothesis": "double_quotes"}
    )
    assert response.headers["content-disposition"] == 'attachment; filename="planted-cells.csv"'
    rows = list(csv.DictReader(io.StringIO(response.text, newline="")))
    assert list(rows[0]) == ["position", "character", "text", "nats", "label", f"0:c:{UNIT}", "0:c:3"]
    assert [int(row["position"]) for row in rows] == list(range(6000))
    assert "".join(json.loads(row["text"]) for row in rows) == opened.text
    assert np.allclose([float(row[f"0:c:{UNIT}"]) for row in rows], opened.values[UNIT] / 127, atol=1e-4)
    assert np.allclose([float(row["nats"]) for row in rows], opened.nats, atol=1e-4)
    label = builtin()["double_quotes"].label(opened.text)
    assert [int(row["label"] or -1) for row in rows] == label.tolist()


def test_a_table_of_a_span(client: Any, recording: str) -> None:
    response = client.get(f"/api/recordings/{recording}/export.csv?cells=0&begin=4090&end=4100")
    assert [row.split(",")[0] for row in response.text.splitlines()[1:]] == [str(place) for place in range(4090, 4100)]


def test_no_row_of_a_table_is_a_formula(client: Any, hostile: tuple[str, Any]) -> None:
    path, _ = hostile
    content = client.get(f"{path}/export.csv?cells=0,1,2").text
    rows = list(csv.reader(io.StringIO(content, newline="")))
    assert len(rows) == len(HOSTILE) + 1
    assert "".join(json.loads(row[2]) for row in rows[1:]) == HOSTILE
    assert not [cell for row in rows[1:] for cell in row if cell[:1] in ("=", "+", "@", "\t", "\r")]
    numbers = [cell for row in rows[1:] for cell in row if cell.startswith("-")]
    assert all(re.fullmatch(r"-[0-9.]+", cell) for cell in numbers)
    assert content.isascii()


def test_a_page_holds_text_values_and_labels(client: Any, recording: str, root: Path) -> None:
    opened = open_recording(list_recordings(root / "planted")[0][0])
    response = client.get(
        f"/api/recordings/{recording}/export.html?cells={UNIT},3&begin=100&end=5100&hypothesis=double_quotes"
    )
    assert response.headers["content-disposition"] == 'attachment; filename="planted-cells.html"'
    assert response.headers["content-security-policy"].startswith("sandbox")
    page = Page(response.text)
    assert page.text == opened.text[100:5100]
    data = page.data
    assert [cell["name"] for cell in data["cells"]] == [f"layer 0 c[{UNIT}]", "layer 0 c[3]"]
    assert np.array_equal(values_of(data["cells"][0]["values"], "i1"), opened.values[UNIT, 100:5100])
    assert np.allclose(values_of(data["nats"], "<u2") / 100, opened.nats[100:5100], atol=0.006)
    label = builtin()["double_quotes"].label(opened.text)[100:5100]
    assert np.array_equal(values_of(data["label"], "u1"), label > 0)
    assert (data["begin"], data["lengths"]) == (100, None)
    # a character of text and of each cell, in base 64, and little else
    assert len(response.content) < 5000 * (1 + 4 / 3 * (2 + 2 + 1)) + 20_000


def test_a_page_runs_its_own_script_and_loads_nothing(client: Any, hostile: tuple[str, Any]) -> None:
    path, made = hostile
    page = Page(client.get(f"{path}/export.html?cells=0,1").text)
    assert [tag for tag, _ in page.tags].count("script") == 2
    assert not {"img", "link", "iframe", "b", "base", "form", "object"} & {tag for tag, _ in page.tags}
    attributes = {name for _, each in page.tags for name in each}
    assert not [name for name in attributes if name.startswith("on")]
    assert not attributes & {"src", "href", "style", "srcset", "action"}
    policy = next(a["content"] for t, a in page.tags if t == "meta" and "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    for directive, element in (("style-src", "style1"), ("script-src", "script2")):
        digest = base64.b64encode(hashlib.sha256(page.texts[element].encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy
    assert "url(" not in page.texts["style1"]
    assert not re.search(r"https?:|import\(|fetch|innerHTML|eval|document\.write", page.texts["script2"])
    # every character is there, or a stand-in of the same length
    assert len(page.text) == len(HOSTILE)
    assert page.text == shown(HOSTILE)
    assert page.text.startswith("</pre><script>alert(1)</script>")
    assert page.texts["title1"].count("c</script><b>") == 2
    data = page.data
    assert data["cells"][0]["name"] == "layer 0 c</script><b>[0]"
    lengths = data["lengths"]
    assert sum(lengths) == len(page.text.encode("utf-16-le")) // 2
    assert np.array_equal(values_of(data["cells"][1]["values"], "i1"), made.values[1])
    # more than two bytes hold is the most that they hold, and not the mark of no surprise at all
    assert values_of(data["nats"], "<u2")[-1] == 65534


def test_what_a_browser_would_obey_is_shown() -> None:
    assert shown("a\tb\nc") == "a\tb\nc"
    assert shown("\r\x00\x1b\x7f\x85\u202e\ud800") == "\u240d\u2400\u241b\u2421\ufffd\ufffd\ufffd"
    every = "".join(map(chr, range(0x3000)))
    assert len(shown(every)) == len(every)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "cells=",
        "cells=x",
        "cells=1,",
        "cells=99",
        "cells=-1",
        "cells=0&begin=7&end=7",
        "cells=0&end=6001",
        "cells=0&begin=6000",
        "cells=0&hypothesis=none",
        "cells=" + ",".join(["1"] * 65),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "html"])
def test_an_export_that_makes_no_sense(client: Any, recording: str, query: str, kind: str) -> None:
    response = client.get(f"/api/recordings/{recording}/export.{kind}?{query}")
    assert response.status_code in (400, 404)
    assert "error" in response.json()
    assert "content-disposition" not in response.headers


def test_a_page_of_too_long_a_span_is_refused(client: Any, root: Path) -> None:
    folder = root / "planted" / "insight" / "recordings" / "long"
    folder.parent.mkdir(parents=True)
    write_recording(folder, np.zeros((1, 200_001), np.int8), "a" * 200_001)
    path = "/api/recordings/planted~long/export.html?cells=0"
    assert client.get(path).status_code == 400
    assert client.get(f"{path}&end=200000").status_code == 200


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_script_is_one() -> None:
    from elman.web.export import FILES

    done = subprocess.run(["node", "--check", str(FILES / "page.js")], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
