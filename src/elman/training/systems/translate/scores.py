"""How good translations are: loss, BLEU, chrF, exact matches."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elman.data.made_tasks import is_made
from elman.data.parallel import TokenPairs, encode_pairs
from elman.data.splits import part_named
from elman.errors import MisuseError, require
from elman.generate.translating import from_runs, translate
from elman.metrics.bleu import bleu
from elman.models.translator import Translator
from elman.runs import LoadedRun
from elman.training.corpus import unit_of
from elman.training.material import recorded_data
from elman.training.scores import Scores, check_options, further_runs
from elman.training.systems.translate.pairs import PairOptions, parts_of_run

EVALUATION_BATCH = 128

_WORD = re.compile(r"\w+|[^\w\s]")

OPTIONS: Mapping[str, type] = {"beam": int, "normalisation": float, "ensemble": tuple}


def evaluate_run(
    loaded: LoadedRun, run: Path, sources: Sequence[str] | None, part: str | None, options: Mapping[str, Any]
) -> Scores:
    """Loss, BLEU, chrF and exact matches of a run.

    Args:
        loaded: the run.
        run: its folder.
        sources: other pairs; None for the run's own.
        part: of its own pairs: "valid" (default), "test" or "train".
        options: ``beam`` (default 5), ``normalisation`` (0.6), ``ensemble``: other runs that translate with it,
            separated by commas.

    Raises:
        MisuseError, FailureError: with the sentence for the user.
    """
    asked, chosen = check_options(options, OPTIONS), part_named(part)
    width, normalisation = asked.get("beam", 5), asked.get("normalisation", 0.6)
    translators = from_runs(further_runs(asked, loaded, loaded.model.readout_bias.device))
    if sources:
        pairs = PairOptions(**recorded_data(loaded.config, run)["options"]).pairs(sources)
    else:
        parts, _ = parts_of_run(loaded.config, run)
        if not len(pairs := parts[chosen]):
            raise MisuseError(f"{run} has no pairs in its {chosen} part; name files.")
    encoded = encode_pairs(pairs, translators.source, translators.target)
    device = str(loaded.model.readout_bias.device)
    rows: dict[str, float | int | str | None] = {"pairs": len(pairs)}
    if len(translators.models) == 1:
        nats, symbols = summed_nats(loaded.model, encoded, device)
        unit = unit_of(translators.target)
        rows |= {f"nats_a_{unit}": nats / symbols, "perplexity": float(np.exp(nats / symbols))}
    begun = time.monotonic()
    # a beam has no more targets than are asked for, and lp changes nothing of greedy decoding
    found = translate(translators, pairs.source, width=width, normalisation=normalisation)
    seconds = time.monotonic() - begun
    written = [translations[0].text for translations in found]
    rows["exact"] = exact_share(written, pairs.target)
    signatures: dict[str, str] = {}
    if not is_made((sources or recorded_data(loaded.config, run)["sources"]["train"])[0]):
        figures, signatures = sacrebleu_scores(written, pairs.target, lower=translators.lower)
        rows |= figures
    rows |= {"beam": width, "normalisation": normalisation, "translating_seconds": seconds}
    text = "\n".join(f"{name}: {signature}" for name, signature in signatures.items())
    return Scores(rows, text, {"signatures": signatures, "translations": written})


def sacrebleu_scores(
    written: Sequence[str], references: Sequence[str], *, lower: bool
) -> tuple[dict[str, float], dict[str, str]]:
    """BLEU and chrF as others compute them (Post 2018), with the signatures that say how.

    Args:
        written: [N] translations, as text.
        references: [N].
        lower: without regard to case, which is all that a model of lower-cased text can be judged by.

    Raises:
        MisuseError: sacrebleu is not installed.
    """
    metrics = require("sacrebleu.metrics", "translate")
    figures, signatures = {}, {}
    for name, metric in (("BLEU", metrics.BLEU(lowercase=lower)), ("chrF", metrics.CHRF(lowercase=lower))):
        figures[name] = float(metric.corpus_score(list(written), [list(references)]).score)
        signatures[name] = str(metric.get_signature())
    return figures, signatures


def summed_nats(model: Translator, pairs: TokenPairs, device: str) -> tuple[float, int]:
    """Negative log-likelihood of all targets, and of how many symbols it is the sum."""
    order = np.argsort(pairs.lengths, kind="stable")
    nats = 0.0
    with torch.inference_mode():
        for begin in range(0, len(order), EVALUATION_BATCH):
            batch = pairs.batch(order[begin : begin + EVALUATION_BATCH])
            nats += float(model.nats(*moved(batch, device)))
    return nats, sum(len(target) for target in pairs.target)


def word_bleu(written: Sequence[str], references: Sequence[str]) -> float:
    """BLEU-4 of words and punctuation marks, from 0 to 100, for the way; sacrebleu's is the figure to publish."""
    return 100 * bleu([_WORD.findall(text) for text in written], [[_WORD.findall(text)] for text in references])[3]


def exact_share(written: Sequence[str], references: Sequence[str]) -> float:
    """The share of translations that equal their reference."""
    return sum(ours == theirs for ours, theirs in zip(written, references, strict=True)) / len(written)


def moved(tensors: Sequence[Tensor], device: str) -> tuple[Tensor, ...]:
    return tuple(tensor.to(device, non_blocking=True) for tensor in tensors)
