"""A model's errors as a picture: what would have helped, the brace curve, and the characters that it knows better."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from elman.insight.errors.analysis import ErrorAnalysis
from elman.insight.errors.braces import BraceCurve
from elman.insight.errors.by_character import CharacterRow
from elman.insight.errors.taxonomy import ErrorTaxonomy
from elman.insight.figures.sheet import BLUE, GREY, ORANGE, plain, sheet, shown, write

# characters drawn on either side
BARS = 14
# fewer braces than this in a bin say little
LEAST_BRACES = 5
# share in per cent that a letter of a part's label takes
A_LETTER = 0.42
NAMES = {" ": "space", "\\n": "newline", "\\t": "tab"}


def errors_figure(analysis: ErrorAnalysis, picture: Path, title: str = "") -> None:
    """Draw the oracles, the closing braces where there are any, and the model beside the n-gram model.

    Args:
        analysis: what was found.
        picture: the file to write: .png, .svg or .pdf.
        title: above everything.

    Raises:
        MisuseError: matplotlib is not installed.
        FailureError: the picture cannot be written.
    """
    figure = sheet(13.0, 7.4)
    left, right = figure.subfigures(1, 2, width_ratios=(1.45, 1))
    if analysis.braces is None:
        _oracles(left.subplots(), analysis.taxonomy)
    else:
        above, below = left.subplots(2, 1, height_ratios=(1.25, 1))
        _oracles(above, analysis.taxonomy)
        _braces(below, analysis.braces)
    _characters(right.subplots(), analysis.characters.characters, analysis.order)
    taxonomy = analysis.taxonomy
    write(
        figure,
        picture,
        title
        or f"{taxonomy.errors:,} errors (p < 0.5) in {taxonomy.characters:,} characters: "
        f"{analysis.model_nats:.3f} nats a character, the {analysis.order}-gram model {analysis.ngram_nats:.3f}",
    )


def _oracles(axes: Any, taxonomy: ErrorTaxonomy) -> None:
    plain(axes, "What would have helped, asked from the top", "share of all errors, per cent")
    whole = max(1, taxonomy.errors)
    for place, category in enumerate(taxonomy.categories):
        begin = 0.0
        for part, (label, count) in enumerate(category.parts):
            width = 100 * count / whole
            # parts go from dark to light, the strictest form of the help first
            strength = 1 - 0.65 * part / max(1, len(category.parts) - 1)
            axes.barh(place, width, left=begin, height=0.68, color=BLUE, alpha=strength, lw=0)
            if len(category.parts) > 1 and width > A_LETTER * len(label):
                colour = "white" if strength > 0.6 else "0.15"
                middle = begin + width / 2
                axes.text(middle, place, label, ha="center", va="center", fontsize=6.5, color=colour)
            begin += width
        axes.annotate(
            f"{begin:.1f} %  ({category.count:,})",
            (begin, place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axes.set_yticks(range(len(taxonomy.categories)), [category.title for category in taxonomy.categories], fontsize=9)
    axes.invert_yaxis()
    axes.margins(x=0.2)


def _braces(axes: Any, curve: BraceCurve) -> None:
    plain(
        axes,
        f"How sure it is of a closing brace ({curve.pairs:,} of them)",
        "distance to the opening brace, characters",
        "mean probability of }",
    )
    kept = curve.counts >= LEAST_BRACES
    for values, errors, colour, label in (
        (curve.model, curve.model_error, BLUE, "this model"),
        (curve.ngram, curve.ngram_error, ORANGE, f"{curve.order}-grams"),
    ):
        x, y, e = curve.distance[kept], values[kept], errors[kept]
        axes.fill_between(x, y - e, y + e, color=colour, alpha=0.18, lw=0)
        axes.plot(x, y, color=colour, lw=1.6, marker="o", ms=3, label=label)
    axes.set_xscale("log")
    top = float(np.nanmax([curve.model[kept], curve.ngram[kept]], initial=0.2))
    axes.set_ylim(0, min(1.0, 1.4 * top))
    axes.legend(frameon=False, fontsize=8)


def _characters(axes: Any, rows: tuple[CharacterRow, ...], order: int) -> None:
    best = [row for row in rows if row.total > 0][:BARS]
    worst = [row for row in rows if row.total < 0][-BARS:]
    chosen = best + worst
    plain(axes, f"Nats saved against {order}-grams, by character", "nats over the whole text, thousands")
    totals = np.array([row.total for row in chosen]) / 1000
    spans = np.array([0.0 if np.isnan(row.standard_error) else row.standard_error * row.count for row in chosen]) / 1000
    axes.barh(
        range(len(chosen)),
        totals,
        xerr=spans,
        height=0.72,
        color=[BLUE if total > 0 else ORANGE for total in totals],
        error_kw={"lw": 0.8, "ecolor": "0.35"},
    )
    axes.axvline(0, color=GREY, lw=0.8)
    axes.set_yticks(range(len(chosen)), [NAMES.get(row.symbol, shown(row.symbol)) for row in chosen], fontsize=8)
    axes.invert_yaxis()
    # beside a bar, on the other side of zero, is always room
    for rows_here, place, text, side, colour in (
        (best, 0, "this model is better", "right", BLUE),
        (worst, len(chosen) - 1, f"{order}-grams are better", "left", ORANGE),
    ):
        if rows_here:
            offset = (-5 if side == "right" else 5, 0)
            axes.annotate(
                text, (0, place), offset, textcoords="offset points", ha=side, va="center", fontsize=9, color=colour
            )
    # room for those words where all bars are on one side
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, -0.6 * high), max(high, -0.6 * low))
