"""Figures say what they show: every label of the results stands in the picture."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from numpy.typing import NDArray

from elman.data.symbols import code_points
from elman.errors import MisuseError
from elman.insight.agreement import Agreement, Snapshot
from elman.insight.errors import Evidence, brace_curve, by_character, error_taxonomy
from elman.insight.errors.analysis import ErrorAnalysis
from elman.insight.figures.agreement import agreement_figure
from elman.insight.figures.errors import errors_figure
from elman.insight.figures.gates import gates_figure
from elman.insight.figures.gradients import gradients_figure
from elman.insight.figures.sheet import check_picture
from elman.insight.gates import Gate, GateSaturation
from elman.insight.gradients import GradientFlow, RecurrentMatrix, StateFlow

generator = np.random.default_rng(0)


def words_of(path: Path) -> str:
    """The text of an SVG."""
    content = path.read_text(encoding="utf-8")
    assert content.lstrip().startswith("<?xml")
    return " | ".join(re.sub(r"<[^>]+>", "", part) for part in re.findall(r"<text.*?</text>", content, re.DOTALL))


@pytest.fixture(autouse=True)
def text_as_text() -> object:
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        yield


def flow(slope: float, states: tuple[str, ...] = ("h",), layers: int = 2) -> GradientFlow:
    lags = np.arange(31)[:, None]

    def norms() -> NDArray[np.float64]:
        return slope * lags + generator.normal(0, 0.3, (31, 8))

    flows = tuple(StateFlow(layer, state, norms()) for layer in range(layers) for state in states)
    matrices = tuple(RecurrentMatrix(layer, "Wh", np.sort(generator.random(5))[::-1], 0.7) for layer in range(layers))
    return GradientFlow(flows, matrices, 30, np.arange(8), 0, 1.5, 0)


def test_gates(tmp_path: Path) -> None:
    left = generator.random(20) / 2
    gates = tuple(Gate(layer, name, left, 1 - left) for layer in range(2) for name in ("r", "z"))
    gates_figure(GateSaturation(gates, 12_345, 1, 0), tmp_path / "gates.svg")
    words = words_of(tmp_path / "gates.svg")
    for expected in ("gate r", "gate z", "layer 0", "layer 1", "below 0.1", "above 0.9", "12,345 steps"):
        assert expected in words
    points = len(re.findall(r"<use ", (tmp_path / "gates.svg").read_text()))
    assert points >= 2 * 2 * 20  # every unit of every gate of both layers


def test_gradients_of_one_run_and_of_several(tmp_path: Path) -> None:
    gradients_figure({"alone": flow(-0.1, ("c", "h"))}, tmp_path / "one.svg")
    words = words_of(tmp_path / "one.svg")
    for expected in ("alone: c, ×0.9", "alone: h, ×0.9", "Wh, |λ| ≤ 0.70", "layer 1", "lag k", "singular value"):
        assert expected in words
    dead = flow(-0.1)
    dead.states[0].log_norms[5:] = -np.inf
    several = {"lstm": flow(-0.01), "_rnn": flow(-3.0), "boom": flow(2.5, layers=1), "dead": dead}
    gradients_figure(several, tmp_path / "many.svg")
    words = words_of(tmp_path / "many.svg")
    for expected in (r"lstm: h, ×0\.9[89]", r"_rnn: h, ×0\.05", r"boom: h, ×12\.", "dead: h"):
        assert re.search(expected, words)


def test_errors_with_braces_and_without(tmp_path: Path) -> None:
    text = "if (x) { a = $1; }\n" * 100
    points = code_points(text)
    nats, ngram = generator.exponential(size=(2, len(text)))
    taxonomy = error_taxonomy(Evidence(points, nats, {2: ngram}, points))
    curve = brace_curve(points, nats, ngram, 20)
    assert curve is not None
    for name, braces in (("with", curve), ("without", None)):
        analysis = ErrorAnalysis(taxonomy, braces, by_character(points, nats, ngram, 20), 1.0, 1.1, 20, {2: 1.2})
        errors_figure(analysis, tmp_path / f"{name}.svg")
        words = words_of(tmp_path / f"{name}.svg")
        for category in taxonomy.categories:
            assert category.title in words
            assert f"({category.count:,})" in words
        assert ("closing brace (100 of them)" in words) == (braces is not None)
        for expected in ("space", "newline", "this model is better", "20-grams are better", "$"):
            assert expected in words


def test_agreement(tmp_path: Path) -> None:
    snapshots = tuple(Snapshot(step, 4 / step, {1: 0.1 * step, 2: 1 / step}, {1: 0.2, 2: 0.3}) for step in (1, 10, 100))
    agreement_figure(Agreement(snapshots, {1: 3.0, 2: 2.0}, 5000), tmp_path / "agreement.svg", "$a$ run")
    words = words_of(tmp_path / "agreement.svg")
    for expected in ("n = 1", "n = 2", "symmetric KL, nats a prediction", "optimiser steps", "$a$ run"):
        assert expected in words


def test_png_and_pdf_are_written_and_other_names_refused(tmp_path: Path) -> None:
    gradients_figure({"run": flow(-0.2)}, tmp_path / "flow.png")
    assert (tmp_path / "flow.png").read_bytes().startswith(b"\x89PNG")
    gradients_figure({"run": flow(-0.2)}, tmp_path / "flow.pdf")
    assert (tmp_path / "flow.pdf").read_bytes().startswith(b"%PDF")
    check_picture(None)
    check_picture(tmp_path / "flow.svg")
    with pytest.raises(MisuseError, match=r"\.png"):
        check_picture(tmp_path / "flow.gif")
    with pytest.raises(MisuseError, match="no folder"):
        check_picture(tmp_path / "absent" / "flow.png")
