"""Compiled drawing gives the texts that drawing step by step gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from elman.compile.cpu.target import host_target, unsupported
from elman.data.vocabulary import build
from elman.errors import FailureError, MisuseError
from elman.generate import compiled, generate, sampling
from elman.models.language import LanguageModel

LETTERS = build("characters", ["abcdefghijklmnopqrstuvwxyz ,.\n"])


def model_of(cell: str, hidden: int = 24, layers: int = 2, **options: Any) -> LanguageModel:
    torch.manual_seed(1)
    model = LanguageModel(cell, LETTERS.size, hidden, layers, **options).eval()
    with torch.no_grad():
        # far from uniform, so that the state matters; the recurrence itself stays tame, or rounding would grow
        (model.embedding.weight if model.tied else model.readout_weight).mul_(5)
    return model


@pytest.mark.parametrize("cell", ["lstm", "gru", "mut1", "mut2", "layernorm-lstm", "mingru", "sru", "rnn-relu"])
@pytest.mark.parametrize("options", [{}, {"temperature": 0.7, "top_k": 9}, {"top_p": 0.8, "min_p": 0.02}])
def test_the_same_texts(cell: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(cell)
    arguments = {"prompt": "the end, ", "length": 150, "samples": 3, "seed": 5, **options}
    assert compiled.can_draw(model)
    fast = generate(model, LETTERS, **arguments)
    monkeypatch.setattr(compiled, "can_draw", lambda model: False)
    slow = generate(model, LETTERS, **arguments)
    assert [sample.text for sample in fast] == [sample.text for sample in slow]
    for one, other in zip(fast, slow, strict=True):
        assert one.token_logprobs == pytest.approx(other.token_logprobs, abs=1e-4)


def test_a_text_does_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("lstm", layers=1, tied=True)
    texts = []
    for block in (1, 7, 64):
        monkeypatch.setattr(compiled, "BLOCK", block)
        texts.append(generate(model, LETTERS, length=100, seed=3)[0].text)
    assert len(set(texts)) == 1


def test_stops_and_readers() -> None:
    model = model_of("gru")
    seen: list[str] = []
    sample = generate(
        model, LETTERS, length=5000, seed=2, stop=["qu"], on_token=lambda row, token, text: seen.append(text)
    )[0]
    assert sample.stopped == "stop"
    assert "qu" not in sample.text
    assert "".join(seen) == sample.text


def test_broken_weights_are_told() -> None:
    model = model_of("gru")
    with torch.no_grad():
        model.readout_bias[3] = float("nan")
    with pytest.raises(FailureError, match="not finite"):
        generate(model, LETTERS, prompt="a", length=5, seed=2)


def test_what_is_looked_into_is_not_compiled() -> None:
    model = model_of("gru")
    assert not compiled.can_draw(model.double())
    model.float().recurrent.register_forward_hook(lambda *_: None)
    assert not compiled.can_draw(model)
    forced = model_of("gru", backend="reference")
    assert not compiled.can_draw(forced)
    assert sampling.generate(forced, LETTERS, length=3, seed=1)[0].text


@pytest.mark.skipif(unsupported() is not None or not host_target().bf16, reason="this CPU has no bfloat16 products")
@pytest.mark.parametrize("cell", ["lstm", "gru", "mut1", "sru"])
@pytest.mark.parametrize(
    ("hidden", "precision"), [(24, "bf16"), (32, "bf16"), (33, "bf16"), (32, "int8"), (33, "int8")]
)
def test_smaller_weights_are_near(cell: str, hidden: int, precision: str) -> None:
    model = model_of(cell, hidden)
    exact = generate(model, LETTERS, prompt="a", length=30, seed=4)[0]
    near = generate(model, LETTERS, prompt="a", length=30, seed=4, precision=precision)[0]
    same = next((i for i, (a, b) in enumerate(zip(exact.ids, near.ids, strict=True)) if a != b), 30)
    assert near.token_logprobs[:same] == pytest.approx(exact.token_logprobs[:same], abs=0.1)
    assert same > 2
    assert near.token_logprobs != exact.token_logprobs


def test_a_precision_that_cannot_be_is_refused() -> None:
    with pytest.raises(MisuseError, match="fp32, bf16, int8"):
        generate(model_of("gru"), LETTERS, length=1, precision="int4")
    with pytest.raises(MisuseError, match="Use fp32"):
        generate(model_of("gru", backend="reference"), LETTERS, length=1, precision="bf16")
