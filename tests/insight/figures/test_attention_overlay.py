"""Light where a captioner looked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from elman.errors import MisuseError
from elman.generate.captioning import Written
from elman.insight.figures.attention_overlay import draw_overlays, prepare_folder

pillow = pytest.importorskip("PIL.Image")
pytest.importorskip("matplotlib")


def written(weights: torch.Tensor | None) -> Written:
    return Written("a $ dog", [3, 4, 2], ["a", "$", "<E>"], -3.0, [-1.0, -1.5, -0.5], -3.0, weights)


def test_each_word_is_bright_where_it_was_looked_at(tmp_path: Path):
    folder = tmp_path / "looks" / "deep"
    prepare_folder(folder)
    weights = torch.zeros(3, 2, 2)
    weights[0, 0, 1] = weights[1, 1, 0] = 1.0
    weights[2] = 0.25
    paths = draw_overlays(
        folder, "some where/a dog.jpg", torch.full((3, 40, 40), 200, dtype=torch.uint8), written(weights)
    )
    assert [path.name for path in paths] == ["a-dog.png", "a-dog-01-a.png", "a-dog-02-sign.png", "a-dog-03-E.png"]
    pictures = [np.asarray(pillow.open(path)).astype(float) for path in paths[1:]]
    assert pictures[0].shape == (40, 40, 3)
    assert pictures[0][5, 35].mean() == 200 > 3 * pictures[0][35, 5].mean()
    assert pictures[1][35, 5].mean() == 200 > 3 * pictures[1][5, 35].mean()
    # looking everywhere alike leaves the image as it is
    assert (pictures[2] == 200).all()
    assert pillow.open(paths[0]).size[0] > 400


def test_what_cannot_be_drawn_is_refused(tmp_path: Path):
    with pytest.raises(MisuseError, match="no attention"):
        draw_overlays(tmp_path, "a.png", torch.zeros(3, 8, 8, dtype=torch.uint8), written(None))
    (tmp_path / "file").write_text("")
    with pytest.raises(MisuseError, match="which is no folder"):
        prepare_folder(tmp_path / "file")
