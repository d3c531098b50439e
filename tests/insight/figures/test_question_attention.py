"""Light on an image where a model looked."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from elman.errors import MisuseError
from elman.generate.answering import Answers
from elman.insight.figures.question_attention import DIM, attention_figure, lit

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("matplotlib")


def test_light_is_where_the_weight_is() -> None:
    image = torch.full((3, 40, 80), 200, dtype=torch.uint8)
    weights = torch.zeros(2, 4)
    weights[1, 3] = 0.5
    shown = lit(image, weights)
    assert shown.shape == (3, 40, 80)
    assert shown[:, 39, 79] == pytest.approx(200 / 255, abs=1e-6)
    assert shown[:, 0, 0] == pytest.approx(DIM * 200 / 255, abs=1e-6)
    assert shown[0].argmax() in [row * 80 + column for row in range(20, 40) for column in range(60, 80)]


@pytest.mark.parametrize("hops", [False, True])
def test_a_figure_has_a_panel_a_word_or_a_look(tmp_path: Path, hops: bool) -> None:
    words = ("<S>", "is", "it", "$5", "?", "a", "b", "c")
    maps = torch.softmax(torch.randn(2 if hops else len(words), 9, generator=torch.Generator().manual_seed(0)), 1)
    found = Answers(words, (), (("yes", 0.9),), maps.view(-1, 3, 3), hops)
    picture = tmp_path / "looks.png"
    image = torch.randint(0, 256, (3, 30, 30), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    attention_figure(found, image, picture, "is it $5 or $6?")
    width, height = Image.open(picture).size
    # two rows of six panels against one of two
    assert (width > 1000 and height > 400) if not hops else (width < 600 and height < 400)


def test_without_attention_there_is_nothing_to_draw(tmp_path: Path) -> None:
    with pytest.raises(MisuseError, match="no attention"):
        attention_figure(Answers(("<S>",), (), (("yes", 1.0),), None, False), torch.zeros(3, 8, 8), tmp_path / "a.png")
