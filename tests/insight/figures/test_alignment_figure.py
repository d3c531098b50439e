"""The heat map of an alignment shows the weights and names every symbol."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="the extra plot is not installed")

from elman.insight.figures import alignment
from elman.insight.figures.alignment import Alignment, alignment_figure


def test_every_panel_shows_its_weights_and_symbols(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    write = alignment.write
    monkeypatch.setattr(alignment, "write", lambda figure, *rest: (drawn.append(figure), write(figure, *rest)))
    random = np.random.default_rng(0)
    given = [
        Alignment([f"s{at}" for at in range(s)], [f"t{at}" for at in range(t)], random.dirichlet(np.ones(s), t))
        for s, t in ((3, 5), (40, 2), (1, 1))
    ]
    given.append(Alignment(["_x", "a$b$"], ["$"], np.array([[0.25, 0.75]])))
    picture = tmp_path / "looks.png"
    alignment_figure(given, picture, "a title with $ and _")
    assert picture.read_bytes().startswith(b"\x89PNG")
    panels = drawn[0].axes
    assert len(panels) == len(given)
    for axes, own in zip(panels, given, strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), own.weights)
        assert axes.images[0].get_clim() == (0.0, 1.0)
        columns, rows = (
            [label.get_text() for label in labels] for labels in (axes.get_xticklabels(), axes.get_yticklabels())
        )
        plain = [[name.replace("\u200b", "").replace("\\$", "$") for name in names] for names in (columns, rows)]
        assert plain == [list(own.source), list(own.target)]
