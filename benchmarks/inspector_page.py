"""The inspector's page in headless Chromium: first paint, switching a cell, scrolling, memory.

    python benchmarks/inspector_page.py                       # 1 MB of made text x 1024 made cells
    python benchmarks/inspector_page.py --text input.txt --cells 512 --json

The server is the real one, over a run folder that is made for the purpose: a fresh network, and a recording with
drawn values (smoothed noise, a different one a cell). Needs playwright and Chromium (`--chromium` names another one).
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from elman.data.vocabulary import build
from elman.insight.recording.layout import VALUES, Group
from elman.insight.recording.writing import Draft
from elman.models.language import LanguageModel
from elman.runs import RunFolder, save_model, write_config
from elman.training import machine
from elman.training.settings import Settings

LAYERS = 2
WORDS = ["static", "struct", "buffer", "return", "while", "length", "offset", "register", "device", "queue", "of", "is"]

SWITCH = """(cell) => new Promise((done) => {
  const reader = document.querySelector(".reader");
  const begun = performance.now();
  const watch = new MutationObserver(() => {
    if (reader.dataset.cell !== String(cell)) return;
    watch.disconnect();
    requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - begun)));
  });
  watch.observe(reader, { attributes: true, attributeFilter: ["data-milliseconds"] });
  location.hash = location.hash.replace(/([?&])cell=\\d+/, `$1cell=${cell}`);
})"""

SCROLL = """([step, frames]) => new Promise((done) => {
  const reader = document.querySelector(".reader");
  reader.scrollTop = 0;
  const times = [];
  let last = performance.now();
  const frame = (now) => {
    times.push(now - last);
    last = now;
    reader.scrollTop += step;
    if (times.length < frames) requestAnimationFrame(frame);
    else done(times.slice(5));
  };
  requestAnimationFrame(frame);
})"""


def made_text(characters: int, seed: int = 0) -> str:
    """Lines of words, like code, of so many characters."""
    generator = np.random.default_rng(seed)
    lines, length = [], 0
    while length < characters:
        words = generator.choice(WORDS, generator.integers(1, 12))
        lines.append("\t" * int(generator.integers(0, 4)) + " ".join(words) + ";\n")
        length += len(lines[-1])
    return "".join(lines)[:characters]


def make_run(folder: Path, text: str, cells: int, seed: int = 0) -> None:
    """A run folder with a fresh network and one recording of made values.

    Args:
        folder: of the run, to be made.
        text: is recorded.
        cells: how many, in two layers.
    """
    vocabulary = build("characters", [text])
    hidden = cells // LAYERS
    model = LanguageModel("lstm", vocabulary.size, hidden, LAYERS)
    run = RunFolder.create(folder)
    write_config(
        run.config,
        {
            "system": "language",
            "model": model.configuration(),
            "vocabulary": vocabulary.to_json(),
            "data": {"sources": ["made"]},
            "training": {"settings": Settings().to_json(), "steps": 0, "chosen": [], "tensorboard": False},
            "versions": machine.versions(),
            "command": "made for a measurement",
        },
    )
    save_model(run, model.state_dict(), step=1, valid_nats=1.0)
    groups = [Group(layer, "c", "state", "tanh", layer * hidden, hidden) for layer in range(LAYERS)]
    generator = np.random.default_rng(seed)
    noise = np.cumsum(generator.normal(0, 12, len(text) + cells * 64)).astype(np.float32)
    wave = np.round(127 * np.sin(noise / 40)).astype(np.int8)
    with Draft(folder / "insight" / "recordings" / "made", groups, text, len(text)) as draft:
        values = draft.arrays[VALUES]
        for cell in range(cells):
            values[cell] = wave[cell * 64 : cell * 64 + len(text)]
        draft.arrays["ids.npy"][:] = vocabulary.encode(text).ids
        draft.arrays["offsets.npy"][:] = np.arange(len(text))
        draft.arrays["nats.npy"][:] = np.abs(generator.normal(0, 1, len(text)))
        draft.arrays["top_ids.npy"][:] = generator.integers(0, vocabulary.size, (len(text), 5))
        draft.arrays["top_logprobs.npy"][:] = np.log([0.5, 0.2, 0.1, 0.05, 0.02])
        symbols = [vocabulary.symbol(token) for token in range(vocabulary.size)]
        draft.finish(symbols, {"model": "0" * 64})


@contextmanager
def inspector(root: Path) -> Iterator[str]:
    """The address of `elman inspect` over a folder, in a process of its own."""
    command = [sys.executable, "-m", "elman", "inspect", str(root), "--port", "0", "--no-browser"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.search(r"http://\S+", line):
                yield found.group().rstrip("/")
                return
        raise SystemExit("elman inspect ended before it told its address.")
    finally:
        process.terminate()
        process.wait(20)


def memory(browser: Any) -> dict[str, float]:
    """Megabytes by kind of process: proportional share of what is resident."""
    session = browser.new_browser_cdp_session()
    found: dict[str, float] = {}
    for process in session.send("SystemInfo.getProcessInfo")["processInfo"]:
        try:
            rollup = Path(f"/proc/{process['id']}/smaps_rollup").read_text()
        except OSError:
            continue
        kilobytes = re.search(r"^Pss:\s+(\d+)", rollup, re.MULTILINE)
        if kilobytes:
            found[process["type"]] = found.get(process["type"], 0.0) + int(kilobytes.group(1)) / 1024
    return found


def measure(page: Any, browser: Any, address: str, cells: int, switches: int, frames: int) -> dict[str, Any]:
    """Everything that is measured, in milliseconds and megabytes."""
    page.goto("about:blank")
    blank = memory(browser)
    page.goto(f"{address}/#/cell?cell=0")
    page.wait_for_selector(".reader[data-cell]")
    paints = page.evaluate("performance.getEntriesByType('paint').map((each) => [each.name, each.startTime])")
    ready = page.evaluate("performance.now()")
    page.wait_for_timeout(1000)
    chosen = np.random.default_rng(1).choice(np.arange(1, cells), switches, replace=False).tolist()
    switched = []
    for cell in chosen:
        switched.append(page.evaluate(SWITCH, cell))
        page.wait_for_timeout(120)
    slow, fast = (page.evaluate(SCROLL, [step, frames]) for step in (40, 700))
    busy = memory(browser)
    page.context.new_cdp_session(page).send("HeapProfiler.collectGarbage")
    page.wait_for_timeout(500)
    return {
        "first_contentful_paint_ms": dict(paints).get("first-contentful-paint"),
        "coloured_text_ms": ready,
        "cell_switch_ms": spread(switched),
        "frame_ms_40px": spread(slow) | {"over_20ms": sum(each > 20 for each in slow) / len(slow)},
        "frame_ms_700px": spread(fast) | {"over_20ms": sum(each > 20 for each in fast) / len(fast)},
        "blank_memory_mb": rounded(blank),
        "memory_mb": rounded(busy),
        "memory_after_collection_mb": rounded(memory(browser)),
    }


def rounded(values: dict[str, float]) -> dict[str, float]:
    """To one digit, with the sum."""
    return {name: round(each, 1) for name, each in {**values, "all": sum(values.values())}.items()}


def spread(values: list[float]) -> dict[str, float]:
    """Median, 95th percentile and the worst."""
    return {
        "median": round(statistics.median(values), 1),
        "p95": round(float(np.quantile(values, 0.95)), 1),
        "worst": round(max(values), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, help="a text file instead of made text")
    parser.add_argument("--characters", type=int, default=1_000_000)
    parser.add_argument("--cells", type=int, default=1024)
    parser.add_argument("--switches", type=int, default=30)
    parser.add_argument("--frames", type=int, default=240)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    from playwright.sync_api import sync_playwright

    text = arguments.text.read_text(encoding="utf-8") if arguments.text else made_text(arguments.characters)
    text = text[: arguments.characters]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        make_run(Path(folder) / "made", text, arguments.cells)
        browser = driver.chromium.launch(executable_path=arguments.chromium, args=["--no-sandbox"])
        with inspector(Path(folder)) as address:
            page = browser.new_page(viewport={"width": arguments.width, "height": 900})
            found = measure(page, browser, address, arguments.cells, arguments.switches, arguments.frames)
        browser.close()
    found = {"characters": len(text), "cells": arguments.cells, **found}
    if arguments.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:28} {value}")


if __name__ == "__main__":
    main()
