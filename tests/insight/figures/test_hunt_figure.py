"""The picture of a hunt: a row a hypothesis, dots where the figures are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from insight.ranking.made_cells import given, markov_labels, noisy_cell, prose, recording_of, smooth_cells

from elman.errors import MisuseError
from elman.insight.figures import hunt as figure
from elman.insight.ranking import Hunt, hunt
from elman.insight.recording import write_recording

LENGTH = 30_000


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Hunt:
    pytest.importorskip("matplotlib")
    generator = np.random.default_rng(0)
    labels = markov_labels(LENGTH, 0.3, 30, generator)
    values = smooth_cells(12, LENGTH, generator)
    values[3] = noisy_cell(labels, 0.1, generator)
    depth = np.cumsum(labels) % 9
    values[7] = -depth * 9
    folder = tmp_path_factory.mktemp("figure")
    text = prose(LENGTH, generator)
    recording = recording_of(folder / "rec", values, text)
    fresh = smooth_cells(12, LENGTH, generator)
    baseline = write_recording(folder / "fresh", fresh, text, facts={"untrained": True, "seed": 0})
    rare = np.zeros(LENGTH, dtype=np.int32)
    rare[5] = 1
    noise = markov_labels(LENGTH, 0.2, 20, generator)
    hypotheses = [given("known", labels), given("noise", noise)]
    return hunt(recording, [*hypotheses, given("depth", depth), given("rare", rare)], baseline=baseline, probe=True)


def test_rows_and_dots_stand_where_the_figures_are(
    found: Hunt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(figure, "write", lambda sheet, *_: drawn.append(sheet))
    figure.draw(found, tmp_path / "hunt.png", heading="a heading")
    binary, graded = drawn[0].axes
    assert [label.get_text() for label in binary.get_yticklabels()] == ["known", "noise"]
    assert [label.get_text() for label in graded.get_yticklabels()] == ["depth"]
    lines = [(line.get_marker(), np.asarray(line.get_xdata()).tolist(), line.get_ydata()[0]) for line in binary.lines]
    known = found.findings["known"]
    assert known.probe is not None
    assert known.baseline is not None
    for marker, value in (
        ("None", list(known.cells[0].f1_interval)),
        ("o", [known.cells[0].f1]),
        ("|", [known.constant_f1]),
        ("x", [known.baseline.f1]),
        ("s", [known.probe.dense_f1]),
        ("D", [known.probe.f1]),
    ):
        assert (marker, value, 0) in lines
    dots = [np.asarray(line.get_xdata()).tolist() for line in graded.lines if line.get_marker() == "o"]
    assert dots == [[abs(found.findings["depth"].cells[0].spearman)]]
    assert [text.get_text() for text in graded.texts] == ["layer 0 h[7]"]
    names = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert names[:2] == ["best cell, found", "best cell, none"]
    assert "untrained network" in names


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_a_picture_is_written(found: Hunt, tmp_path: Path, kind: str) -> None:
    picture = tmp_path / f"hunt.{kind}"
    figure.draw(found, picture)
    assert picture.stat().st_size > 3000


def test_mistakes_are_told(found: Hunt, tmp_path: Path) -> None:
    with pytest.raises(MisuseError, match=r"\.png"):
        figure.draw(found, tmp_path / "hunt.bmp")
    empty = Hunt({"rare": found.findings["rare"]}, "", "", 1, 1, 1, 0, None, 0.0)
    with pytest.raises(MisuseError, match="common enough"):
        figure.draw(empty, tmp_path / "hunt.png")
