"""The picture of a watched clip: curves where they belong, moments above them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from elman.insight.figures import watch
from elman.insight.figures.sheet import SERIES
from elman.insight.figures.watch import Moment, watch_figure


def draw(picture: Path, monkeypatch: pytest.MonkeyPatch, names: list[str], moments: list[Moment]) -> list:
    """The axes of the figure that was written."""
    pytest.importorskip("matplotlib")
    kept = []

    def keep(figure: object, *rest: object) -> None:
        kept.append(figure)
        write(figure, *rest)

    write = watch.write
    monkeypatch.setattr(watch, "write", keep)
    random = np.random.default_rng(0)
    each = random.dirichlet(np.ones(len(names)), 6)
    watch_figure(np.arange(6) / 5, names, each, each.cumsum(0), moments, picture, axis="seconds", title="a $b$ clip")
    return kept[0].axes


def test_curves_and_moments_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = Moment(0.0, [np.array([[0.0, 0.0], [1.0, 2.0]])])
    image = Moment(1.0, image=np.zeros((8, 6, 3), np.uint8))
    axes = draw(tmp_path / "a.png", monkeypatch, ["run", "_jump"], [lines, image])
    first, second, curves = axes
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert first.lines[0].get_xydata().tolist() == [[0, 0], [1, 2]]
    # y grows downwards, as on a screen
    assert first.yaxis_inverted()
    assert second.images[0].get_array().shape == (8, 6, 3)
    solid, dashed = curves.lines[0], curves.lines[1]
    assert solid.get_xdata().tolist() == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    np.testing.assert_allclose(dashed.get_ydata(), np.cumsum(solid.get_ydata()))
    labels = [text.get_text() for text in curves.get_legend().get_texts()]
    assert len(labels) == 3
    assert labels[1].endswith("_jump")


def test_no_more_labels_are_drawn_than_there_are_colours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"c{number}" for number in range(len(SERIES) + 3)]
    (curves,) = draw(tmp_path / "a.svg", monkeypatch, names, [])
    assert len(curves.lines) == 2 * len(SERIES) + 1
