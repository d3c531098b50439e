"""What is measured of a model on a CUDA device is what is measured of it on the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from elman.data.vocabulary import build
from elman.insight.agreement import agreement
from elman.insight.errors import analyse_errors
from elman.insight.gates import gate_saturation
from elman.insight.gradients import gradient_flow
from elman.models.language import LanguageModel
from elman.models.ngram import train_ngram

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is visible to torch"),
]


def test_both_devices_agree() -> None:
    torch.manual_seed(0)
    text = "the cat sat on the mat {and} ran\n" * 100
    vocabulary = build("characters", [text])
    tokens = vocabulary.encode(text).ids.astype(np.int64)
    on_cpu = LanguageModel("lstm", vocabulary.size, hidden=16, layers=2).eval()
    on_gpu = LanguageModel("lstm", vocabulary.size, hidden=16, layers=2).eval()
    on_gpu.load_state_dict(on_cpu.state_dict())
    on_gpu.to("cuda")
    for one, other in zip(gate_saturation(on_cpu, tokens).gates, gate_saturation(on_gpu, tokens).gates, strict=True):
        assert one.left == pytest.approx(other.left, abs=2e-3)
        assert one.right == pytest.approx(other.right, abs=2e-3)
    flows = [gradient_flow(model, tokens, lags=20, positions=8, burn_in=10) for model in (on_cpu, on_gpu)]
    for one, other in zip(flows[0].states, flows[1].states, strict=True):
        assert one.log_norms == pytest.approx(other.log_norms, abs=1e-3)
    errors = [analyse_errors(model, vocabulary, tokens, tokens, order=5) for model in (on_cpu, on_gpu)]
    assert errors[0].model_nats == pytest.approx(errors[1].model_nats, abs=1e-4)
    ngrams = [train_ngram(tokens, vocabulary.size, 2)]
    near = [agreement([(1, lambda model=model: model)], ngrams, tokens) for model in (on_cpu, on_gpu)]
    assert near[0].snapshots[0].symmetric == pytest.approx(near[1].snapshots[0].symmetric, abs=1e-4)
