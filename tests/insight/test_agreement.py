"""Divergences from n-gram models, beside sums that are written out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from elman.data.vocabulary import build
from elman.errors import CancelledError, MisuseError
from elman.insight.agreement import agreement, run_agreement
from elman.models.language import LanguageModel
from elman.models.ngram import train_ngram
from elman.runs import LoadedRun, RunFolder
from elman.runs.snapshots import save_snapshot

TEXT = "the cat sat on the mat and the dog sat by the door then the cat ran to the house\n" * 60
VOCABULARY = build("characters", [TEXT])
generator = np.random.default_rng(0)
IDS = VOCABULARY.encode(TEXT).ids.astype(np.int64)
# noise, so that no n-gram model knows all
IDS = np.where(generator.random(len(IDS)) < 0.1, generator.integers(0, VOCABULARY.size, len(IDS)), IDS)
TRAIN, VALID = IDS[:4000], IDS[4000:]
MODELS = [train_ngram(TRAIN, VOCABULARY.size, order) for order in (1, 2, 3, 5)]


def test_divergences_are_the_sums_of_their_definition() -> None:
    """One stream and no limit: every place of the text behind the burn-in is compared at."""
    burn_in = 10
    model = MODELS[1]
    found = agreement([(7, lambda: model)], MODELS, VALID, positions=10**6, streams=1, burn_in=burn_in)
    count = len(VALID) - 1 - burn_in
    assert found.positions == count
    snapshot = found.snapshots[0]
    contexts = np.stack([VALID[place - 5 : place + 1] for place in range(burn_in, len(VALID) - 1)])
    p = model.distribution(contexts)
    following = VALID[burn_in + 1 :]
    assert snapshot.step == 7
    assert snapshot.nats == pytest.approx(-np.log(p[np.arange(count), following]).mean(), rel=1e-5)
    for other in MODELS:
        q = other.distribution(contexts)
        assert snapshot.to_ngram[other.order] == pytest.approx((p * np.log(p / q)).sum(1).mean(), abs=1e-5)
        assert snapshot.from_ngram[other.order] == pytest.approx((q * np.log(q / p)).sum(1).mean(), abs=1e-5)
        assert found.ngrams[other.order] == pytest.approx(-np.log(q[np.arange(count), following]).mean(), rel=1e-5)
    symmetric = (snapshot.to_ngram[5] + snapshot.from_ngram[5]) / 2
    assert snapshot.symmetric[5] == pytest.approx(symmetric)


def test_each_ngram_model_is_nearest_to_itself() -> None:
    steps = [(place, lambda model=model: model) for place, model in enumerate(MODELS)]
    told: list[float] = []
    found = agreement(steps, MODELS, VALID, positions=300, progress=lambda share, _: told.append(share))
    assert [snapshot.nearest for snapshot in found.snapshots] == [1, 2, 3, 5]
    for snapshot, model in zip(found.snapshots, MODELS, strict=True):
        assert snapshot.symmetric[model.order] == pytest.approx(0, abs=1e-6)
        assert min(value for order, value in snapshot.symmetric.items() if order != model.order) > 0.001
    assert told == sorted(told)
    assert found.to_json()["snapshots"][1]["nearest"] == 2
    assert 0.8 * 300 <= found.positions <= 300


def test_kept_weights_are_compared_in_order_and_the_run_keeps_its_own(tmp_path: Path) -> None:
    """Weights that predict uniformly, and weights whose bias is the unigrams' logarithm."""
    folder = RunFolder.create(tmp_path / "run")
    model = LanguageModel("rnn", VOCABULARY.size, hidden=4, layers=1).eval()
    own = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    weights = {name: tensor * 0 for name, tensor in own.items()}
    save_snapshot(folder, 3, weights)
    unigrams = MODELS[0].distribution(np.zeros((1, 0), dtype=np.int64))[0]
    weights["readout_bias"] = weights["readout_bias"] + torch.from_numpy(np.log(unigrams)).float()
    save_snapshot(folder, 20, weights)
    run = LoadedRun(model, VOCABULARY, {})
    found = run_agreement(run, folder.path, TRAIN, VALID, orders=(1, 2), positions=200)
    assert [snapshot.step for snapshot in found.snapshots] == [3, 20]
    uniform, unigram = found.snapshots
    assert uniform.nats == pytest.approx(np.log(VOCABULARY.size), rel=1e-5)
    assert unigram.symmetric[1] == pytest.approx(0, abs=1e-5)
    assert unigram.nearest == 1
    assert all((model.state_dict()[name] == tensor).all() for name, tensor in own.items())


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MisuseError, match="at least one n-gram model"):
        agreement([], [], VALID)
    with pytest.raises(MisuseError, match="too short"):
        agreement([], MODELS, VALID[:50])
    with pytest.raises(CancelledError):
        agreement([], MODELS, VALID, cancel=lambda: True)
    run = LoadedRun(LanguageModel("rnn", VOCABULARY.size, 4, 1), VOCABULARY, {})
    with pytest.raises(MisuseError, match="--snapshots 20"):
        run_agreement(run, tmp_path, TRAIN, VALID)
