"""What the tests of the page share: texts, recordings of them, and how to look at the page."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from elman.insight.recording import Recording
from elman.insight.recording.layout import VALUES, Group
from elman.insight.recording.writing import Draft

SIGNS = "<script>window.pwned = 1</script><img src=x onerror=window.pwned=1></textarea><!-- \x00\x1b[31m\x7f"
#: Markup, control characters, marks that turn the line, wide and combining characters, tabs, no end of line.
HOSTILE = (
    f"{SIGNS}\n\u202eright to left\u202c \u2066x\u2069 \ufeff\u200b e\u0301 \u4e2d\u6587 \U0001f600 \u05d0\u05d1\n"
    "\ta\tb\n\n" + "long " * 60 + "\n" + "x" * 300 + "\r\nend"
)
#: A text whose tokens are words, and where they begin.
WORDS = ("the sailor sang and the sea was green", [0, 4, 11, 16, 20, 24, 28, 32])


@dataclass(frozen=True)
class Inspected:
    """A server that runs.

    Attributes:
        address: without a slash at the end.
        root: its folder.
        plain, hostile, words: recordings of the run ``planted``.
    """

    address: str
    root: Path
    plain: Recording
    hostile: Recording
    words: Recording

    def link(self, screen: str, recording: Recording | None = None, **view: Any) -> str:
        """The address of a view."""
        rec = f"planted~{(recording or self.plain).path.name}"
        parts = {"run": "planted", "rec": rec, **view}
        return f"{self.address}/#/{screen}?" + "&".join(f"{name}={value}" for name, value in parts.items())


@contextmanager
def serving(root: Path) -> Iterator[str]:
    """The address of a server over a folder of runs, while it runs."""
    from elman.web.app import create_app
    from elman.web.serve import Server, listen

    app = create_app(root)
    listener = listen("127.0.0.1", 0)
    server = Server(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        app.state.close()
        server.should_exit = True
        thread.join(15)


def write_recording(run: Path, name: str, text: str, offsets: Sequence[int], created: float) -> Recording:
    """A recording with values that are made: cell k at token t has the level (37 k + 23 t) mod 255 - 127.

    Args:
        run: the run folder.
        name: of the recording.
        text: the whole text.
        offsets: first character of each token.
        created: when it says that it was made.
    """
    length, cells = len(offsets), 3
    folder = run / "insight" / "recordings" / name
    with Draft(folder, [Group(0, "c", "state", "tanh", 0, cells)], text, length) as draft:
        for cell in range(cells):
            draft.arrays[VALUES][cell] = (37 * cell + 23 * np.arange(length)) % 255 - 127
        draft.arrays["ids.npy"][:] = 0
        draft.arrays["offsets.npy"][:] = offsets
        draft.arrays["nats.npy"][:] = np.arange(length) % 5
        draft.arrays["top_ids.npy"][:] = [0, 1, 2, 1, 0]
        draft.arrays["top_logprobs.npy"][:] = np.log([0.5, 0.25, 0.125, 0.0625, 0.03125])
        symbols = ["<b>bold</b>", "\\n", "a"]
        return draft.finish(symbols, {"model": "0" * 64, "created": created})


def colour_of(level: int) -> tuple[int, int, int]:
    """The colour that a stored value has in the light theme, by the rule: white at 0, towards blue or orange."""
    share = abs(level) / 127
    end = (33, 102, 172) if level > 0 else (214, 96, 4)
    return tuple(round(255 + (each - 255) * share) for each in end)  # type: ignore[return-value]


PIXEL = """([x, y]) => {
  const canvas = document.querySelector(".reader canvas");
  const box = canvas.getBoundingClientRect();
  const ratio = canvas.width / box.width;
  const at = [Math.round((x - box.left) * ratio), Math.round((y - box.top) * ratio)];
  return [...canvas.getContext("2d").getImageData(at[0], at[1], 1, 1).data].slice(0, 3);
}"""

CHARACTER = """([row, column]) => {
  const line = document.querySelectorAll(".reader .row")[row];
  const range = document.createRange();
  const walker = document.createTreeWalker(line, NodeFilter.SHOW_TEXT);
  let seen = 0;
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    if (column < seen + node.length) {
      range.setStart(node, column - seen);
      range.setEnd(node, column - seen + 1);
      const { left, top, width, height } = range.getBoundingClientRect();
      return { left, top, width, height, text: range.toString() };
    }
    seen += node.length;
  }
  return null;
}"""


def open_reader(page: Any, address: str) -> None:
    """Open a view and wait until its text stands there."""
    page.goto(address)
    page.wait_for_selector(".reader .row")
    page.wait_for_timeout(150)


def character(page: Any, row: int, column: int) -> dict[str, Any]:
    """Where a character of a visible line stands, by the text layer."""
    found = page.evaluate(CHARACTER, [row, column])
    assert found is not None
    return found


def pixel_at(page: Any, box: dict[str, Any]) -> tuple[int, int, int]:
    """The colour behind a character, near its upper left corner."""
    return tuple(page.evaluate(PIXEL, [box["left"] + 2, box["top"] + 3]))


def wait_for_address(page: Any, part: str) -> None:
    """Until the address matches a pattern; the page allows no script of a string, so it is asked from outside."""
    page.wait_for_url(re.compile(part))


def view_of(page: Any) -> dict[str, str]:
    """The view that the address holds."""
    query = page.evaluate("Object.fromEntries(new URLSearchParams(location.hash.split('?')[1] ?? ''))")
    return {"screen": page.evaluate("location.hash").split("?")[0].removeprefix("#/"), **query}
