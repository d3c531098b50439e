"""Decoding of encoder-decoders against exhaustive search, rescoring and stepping by hand."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from elman.data.vocabulary import build
from elman.errors import FailureError, MisuseError
from elman.generate import Filters, ensemble
from elman.generate.translating import Translation, Translators, draw_translations, judge, translate
from elman.models.translator import Translator

SOURCE, TARGET = build("characters", ["xyz\n"]), build("characters", ["ab\n"])  # the line end is id 0
TEXTS = ["x", "zyxxz", "yz", "zz"]
LIMIT = 4


def made(seed: int = 0, **options: object) -> Translator:
    torch.manual_seed(seed)
    shape = {"hidden": 6, "bidirectional": True, "attention": "general"} | options
    model = Translator("gru", SOURCE.size, TARGET.size, **shape).double().eval()
    for parameter in model.parameters():
        # fresh weights think all symbols alike
        parameter.data *= 2.5
    return model


def together(*models: Translator) -> Translators:
    return Translators(models, SOURCE, TARGET)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ensemble, "limit_of", lambda symbols: LIMIT)


def logprob(models: Sequence[Translator], text: str, ids: tuple[int, ...]) -> float:
    """Nats of a target, each model called on the whole of it, probabilities averaged symbol by symbol."""
    source = torch.from_numpy(SOURCE.encode(text + "\n").ids.astype(np.int64))[:, None]
    inputs = torch.tensor([[0, *ids[:-1]]]).t()
    with torch.no_grad():
        each = [torch.softmax(model(source, torch.tensor([len(source)]), inputs)[:, 0], -1) for model in models]
    probabilities = torch.stack(each).mean(0)
    return sum(float(torch.log(probabilities[t, symbol])) for t, symbol in enumerate(ids))


def every_target() -> set[tuple[int, ...]]:
    targets = set()
    for ids in itertools.product(range(3), repeat=LIMIT):
        targets.add(ids[: ids.index(0) + 1] if 0 in ids else ids)
    return targets


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("normalisation", [0.0, 0.6, 2.0])
@pytest.mark.parametrize("seed", range(3))
def test_a_wide_beam_is_an_exhaustive_search(seed: int, normalisation: float) -> None:
    models = [made(seed)] if seed else [made(0), made(9, attention="additive", input_feeding=True)]
    found = translate(together(*models), TEXTS, width=3**LIMIT, best=6, normalisation=normalisation)
    for text, translations in zip(TEXTS, found, strict=True):
        nats = {ids: logprob(models, text, ids) for ids in every_target()}
        expected = sorted(nats, key=lambda ids: -nats[ids] / ((5 + len(ids)) / 6) ** normalisation)[:6]
        assert [translation.ids for translation in translations] == expected
        for translation in translations:
            assert translation.logprob == pytest.approx(nats[translation.ids])
            assert translation.per_token == pytest.approx(nats[translation.ids] / len(translation.ids))
            assert translation.stopped == ("end" if translation.ids[-1] == 0 else "length")
            assert translation.text == TARGET.decode([token for token in translation.ids if token])


@pytest.mark.parametrize("options", [{}, {"input_feeding": True}, {"attention": "none", "reverse_source": True}])
def test_the_n_best_have_the_log_probabilities_of_rescoring(options: dict[str, object]) -> None:
    translators = together(made(4, **options), made(5, **options))
    found = translate(translators, TEXTS, width=5, best=5, normalisation=0.6)
    for rank in range(5):
        column = [translations[rank] for translations in found]
        judged = judge(translators, TEXTS, [translation.ids for translation in column], batch=3)
        for translation, own in zip(column, judged, strict=True):
            np.testing.assert_allclose(translation.token_logprobs, own.token_logprobs, atol=1e-9)
    for translations in found:
        scores = [t.logprob / ((5 + len(t.ids)) / 6) ** 0.6 for t in translations]
        assert scores == sorted(scores, reverse=True)
        assert len({t.ids for t in translations}) == 5


@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize("options", [{}, {"input_feeding": True, "attention": "additive"}, {"attention": "none"}])
def test_what_a_source_becomes_does_not_depend_on_its_batch(width: int, options: dict[str, object]) -> None:
    translators = together(made(1, **options))
    texts = ["".join(letters) for count in (1, 2, 3) for letters in itertools.product("xyz", repeat=count)]
    one, all_at_once = (translate(translators, texts, width=width, batch=batch) for batch in (1, 64))
    for alone, batched in zip(one, all_at_once, strict=True):
        assert [t.ids for t in alone] == [t.ids for t in batched]
        assert [t.logprob for t in alone] == pytest.approx([t.logprob for t in batched])
    drawn = [draw_translations(translators, texts, samples=2, seed=3, batch=batch) for batch in (1, 64)]
    assert [[t.ids for t in each] for each in drawn[0]] == [[t.ids for t in each] for each in drawn[1]]


def greedy(model: Translator, text: str) -> tuple[int, ...]:
    source = torch.from_numpy(SOURCE.encode(text + "\n").ids.astype(np.int64))[:, None]
    ids = [0]
    with torch.no_grad():
        while len(ids) <= 2 * len(source) + 20 and (len(ids) == 1 or ids[-1]):
            scores = model(source, torch.tensor([len(source)]), torch.tensor([ids]).t())
            ids.append(int(scores[-1, 0].argmax()))
    return tuple(ids[1:])


@pytest.mark.parametrize("seed", range(4))
def test_width_one_and_temperature_zero_are_greedy(seed: int) -> None:
    model = made(seed, input_feeding=bool(seed % 2))
    expected = [greedy(model, text) for text in TEXTS]
    assert [found.ids for (found,) in translate(together(model), TEXTS)] == expected
    drawn = draw_translations(together(model), TEXTS, filters=Filters(temperature=0.0), seed=seed)
    assert [found.ids for (found,) in drawn] == expected


@pytest.mark.usefixtures("short")
def test_draws_have_the_frequencies_of_the_probabilities() -> None:
    model, count = made(2), 3000
    ((*drawn,),) = draw_translations(together(model), ["zyx"], samples=count, seed=8)
    counts = Counter(translation.ids for translation in drawn)
    assert all(t.logprob == pytest.approx(logprob([model], "zyx", t.ids)) for t in drawn[:20])
    for ids in every_target():
        share = np.exp(logprob([model], "zyx", ids))
        # 5 standard deviations
        assert counts[ids] / count == pytest.approx(share, abs=5 * np.sqrt(share * (1 - share) / count) + 1e-9)


def test_judging_gives_weights_of_every_symbol_and_none_without_attention() -> None:
    translators = together(made(0), made(1))
    judged = judge(translators, TEXTS, [(1, 2, 0), (2, 0), (1, 1, 1), (0,)])
    for text, own, steps in zip(TEXTS, judged, (3, 2, 3, 1), strict=True):
        assert own.weights is not None
        assert own.weights.shape == (steps, len(text) + 1)
        np.testing.assert_allclose(own.weights.sum(1), 1.0)
    assert judge(together(made(attention="none")), ["x"], [(0,)])[0].weights is None


def test_words_never_written_are_never_written() -> None:
    words = build("words", ["a b c"])
    torch.manual_seed(0)
    model = Translator("gru", words.size, words.size, hidden=5).eval()
    with torch.no_grad():
        model.readout_bias[1] = 50.0  # <S>
    (found,) = translate(Translators((model,), words, words), ["a b"], width=3)[0]
    assert isinstance(found, Translation)
    assert 1 not in found.ids


def test_what_cannot_be() -> None:
    with pytest.raises(MisuseError, match="3 best"):
        translate(together(made()), ["x"], width=2, best=3)
    with pytest.raises(MisuseError, match="normalisation"):
        translate(together(made()), ["x"], normalisation=-1.0)
    with pytest.raises(MisuseError, match="Samples are 0"):
        draw_translations(together(made()), ["x"], samples=0)
    with pytest.raises(MisuseError, match="4 source and 3 target symbols does not fit vocabularies of 3 and 3"):
        Translators((made(),), TARGET, TARGET)
    broken = made()
    broken.readout_bias.data[1] = torch.nan
    with pytest.raises(FailureError, match="not finite"):
        translate(together(broken), ["x"])
