"""Training an n-gram model into a run folder: counted in one go, nothing to resume."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from elman.errors import MisuseError
from elman.models.ngram import NgramModel, train_ngram
from elman.runs import RunFolder, save_model, write_config
from elman.training import machine
from elman.training.corpus import TextOptions, describe_corpus, describe_data, unit_of
from elman.training.display import Display
from elman.training.journal import Journal


def train_ngram_run(
    sources: Sequence[str],
    text: TextOptions,
    order: int,
    estimator: str,
    out: Path,
    display: Display,
    *,
    min_counts: Sequence[int] = (1,),
    max_ngrams: int | None = None,
) -> tuple[NgramModel, RunFolder, dict[str, Any]]:
    """Count a text, estimate a model and store it as a run.

    Args:
        sources: files, folders, globs, URLs or ``python:stdlib``.
        text: how the text is read.
        order: n; a symbol is predicted from the n - 1 before it.
        estimator: "kneser-ney" or "maximum-likelihood".
        out: the run folder to make.
        display: who is told.
        min_counts: least number of occurrences of a kept n-gram, by order.
        max_ngrams: bound on the kept n-grams, which bounds the memory.

    Returns:
        The model, its run folder, and its figures: training and validation loss, seconds, bytes.

    Raises:
        MisuseError, FailureError: with the sentence for the user.
    """
    started = time.monotonic()
    RunFolder.vacant(out)
    corpus = text.read(sources)
    folder = RunFolder.create(out)
    with folder.locked():
        unit = unit_of(corpus.vocabulary)
        describe_corpus(corpus, display)
        options = {} if max_ngrams is None else {"max_ngrams": max_ngrams}
        model = train_ngram(corpus.train, corpus.vocabulary.size, order, estimator, min_counts=min_counts, **options)
        for entry in model.report:
            discounts = ", ".join(f"{value:.3f}" for value in entry.discounts)
            display.note(
                f"  order {entry.order}: {entry.distinct:,} n-grams"
                + (f", {entry.kept:,} kept" if entry.kept < entry.distinct else "")
                + (f", discounts {discounts}" if discounts else "")
                + (" (usual values: the counts of counts give none)" if entry.fallback else "")
            )
        figures: dict[str, Any] = {"train_nats": model.evaluate(corpus.train).nats}
        if len(corpus.valid):
            evaluation = model.evaluate(corpus.valid)
            figures["valid_nats"] = evaluation.nats
            if evaluation.impossible:
                display.warn(
                    f"{evaluation.impossible:,} of {evaluation.tokens:,} validation {unit}s have probability 0 under "
                    "maximum likelihood, so the loss is infinite; over the others it is "
                    f"{evaluation.nats_of_possible:.4f} nats."
                )
        figures |= {"seconds": round(time.monotonic() - started, 3), "bytes": model.memory()}
        config = {
            "system": "ngram",
            "model": model.configuration(),
            "vocabulary": corpus.vocabulary.to_json(),
            "data": describe_data(sources, text, corpus),
            "training": {"min_counts": list(min_counts), "max_ngrams": max_ngrams},
            "versions": machine.versions(),
            "command": machine.command(),
        }
        save_model(folder, model.state_dict())
        journal = Journal(folder.metrics)
        journal.write({"step": 1, "tokens": len(corpus.train), **figures})
        journal.close()
        # the configuration last: a folder without one is no run, so a kill before leaves nothing that looks whole
        write_config(folder.config, config)
    return model, folder, figures


def parse_min_counts(text: str) -> list[int]:
    """``"1,1,2"`` as numbers, for orders 1, 2, 3 and above.

    Raises:
        MisuseError: something else than positive whole numbers.
    """
    try:
        counts = [int(part) for part in text.split(",")]
        if min(counts) < 1:
            raise ValueError
    except ValueError:
        raise MisuseError(f"--min-counts is {text!r}; it takes positive whole numbers such as 1,1,2.") from None
    return counts
