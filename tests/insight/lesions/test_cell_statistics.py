"""What cells usually are, against a pass of a single stream; controls that are like the lesioned cells."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from insight.planted import UNIT, inside_quotes, planted_model, planted_text

from elman.errors import CancelledError, MisuseError
from elman.insight.lesions import Intervention, cell_statistics
from elman.insight.lesions.controls import matched_controls
from elman.insight.lesions.statistics import CellStatistics
from elman.models.ngram import train_ngram


def test_means_magnitudes_and_values_are_those_of_one_pass() -> None:
    model, vocabulary = planted_model()
    text = planted_text(300, seed=1)
    ids = torch.from_numpy(vocabulary.encode(text).ids.astype(np.int64))[:, None]
    _, _, sequences = model.recurrent(ids, table=model.embedding.weight, return_states=True)
    found = cell_statistics(model, vocabulary, text, pool=40, seed=3)
    assert set(found.mean) == {(0, "c"), (0, "h")}
    assert found.tokens == 300
    for name in ("c", "h"):
        values = sequences[name][0, :, 0].detach()
        torch.testing.assert_close(found.mean[0, name], values.mean(0), atol=1e-5, rtol=0)
        torch.testing.assert_close(found.magnitude[0, name], values.abs().mean(0), atol=1e-5, rtol=0)
        distances = (found.pool[0, name][:, None] - values[None]).abs().amax(2).min(dim=1)
        assert distances.values.max() < 1e-5
        assert len(set(distances.indices.tolist())) == 40


def test_a_long_text_in_many_streams_gives_what_one_stream_gives() -> None:
    model, vocabulary = planted_model()
    text = planted_text(15_000, seed=2)
    ids = torch.from_numpy(vocabulary.encode(text).ids.astype(np.int64))[:, None]
    _, _, sequences = model.recurrent(ids, table=model.embedding.weight, return_states=True)
    told: list[float] = []
    found = cell_statistics(model, vocabulary, text, progress=told.append)
    torch.testing.assert_close(found.mean[0, "c"], sequences["c"][0, :, 0].detach().mean(0), atol=1e-3, rtol=0)
    assert found.pool[0, "c"].shape == (2048, model.hidden)
    assert told == sorted(told)
    assert told[-1] == 1.0
    limited = cell_statistics(model, vocabulary, text, limit=5000, seed=1)
    assert limited.tokens == 5000


def test_means_where_a_label_is_on_and_off() -> None:
    model, vocabulary = planted_model()
    text = planted_text(9000, seed=2)
    labels = inside_quotes(text).astype(np.int64)
    ids = torch.from_numpy(vocabulary.encode(text).ids.astype(np.int64))[:, None]
    values = model.recurrent(ids, table=model.embedding.weight, return_states=True)[2]["h"][0, :, 0].detach()
    found = cell_statistics(model, vocabulary, text, labels=labels)
    torch.testing.assert_close(found.on[0, "h"], values[labels == 1].mean(0), atol=1e-3, rtol=0)
    torch.testing.assert_close(found.off[0, "h"], values[labels == 0].mean(0), atol=1e-3, rtol=0)
    assert found.on[0, "c"][UNIT] == pytest.approx(1.0, abs=1e-3)
    assert found.off[0, "c"][UNIT] == pytest.approx(0.0, abs=1e-3)
    graded = np.where(np.arange(9000) % 3 == 0, -1, 4 * labels + 3)
    part = cell_statistics(model, vocabulary, text, labels=graded, above=3)
    kept = (np.arange(9000) % 3 != 0) & (labels == 1)
    torch.testing.assert_close(part.on[0, "h"], values[kept].mean(0), atol=1e-3, rtol=0)
    assert cell_statistics(model, vocabulary, text).on == {}
    with pytest.raises(MisuseError, match="one whole number for each of the 9,000"):
        cell_statistics(model, vocabulary, text, labels=labels[1:])


def test_gates_are_measured_too() -> None:
    model, vocabulary = planted_model()
    text = planted_text(200, seed=1)
    ids = torch.from_numpy(vocabulary.encode(text).ids.astype(np.int64))[:, None]
    _, _, sequences = model.recurrent(ids, table=model.embedding.weight, return_states=True)
    before = torch.cat((torch.zeros(1, model.hidden), sequences["h"][0, :-1, 0]))
    part = model.recurrent.parameter
    forget = torch.sigmoid(model.embedding(ids[:, 0]) @ part("Wf").T + before @ part("Uf").T + part("bf")).detach()
    found = cell_statistics(model, vocabulary, text, cells=[(0, "f"), (0, "c")])
    torch.testing.assert_close(found.mean[0, "f"], forget.mean(0), atol=1e-5, rtol=0)
    assert set(found.mean) == {(0, "f"), (0, "c")}


def test_misuse_is_refused() -> None:
    model, vocabulary = planted_model()
    with pytest.raises(MisuseError, match="empty"):
        cell_statistics(model, vocabulary, "")
    with pytest.raises(MisuseError, match="no states"):
        cell_statistics(train_ngram(np.array([1, 2, 3, 2]), vocabulary.size, 2), vocabulary, "the")
    with pytest.raises(CancelledError):
        cell_statistics(model, vocabulary, "the sea", cancel=lambda: True)


def of_magnitudes(**magnitudes: list[float]) -> CellStatistics:
    tensors = {(0, name): torch.tensor(values) for name, values in magnitudes.items()}
    return CellStatistics(1, tensors, tensors, {})


def test_controls_are_near_in_magnitude_different_and_never_the_lesioned_cells() -> None:
    magnitudes = np.random.default_rng(0).random(200).tolist()
    lesioned = Intervention(0, "c", (17,), "set", 0.5)
    controls = matched_controls([lesioned], of_magnitudes(c=magnitudes), 20, np.random.default_rng(1))
    assert len(controls) == 20
    units = [each.units[0] for (each,) in controls]
    assert len(set(units)) == 20
    assert 17 not in units
    assert all((each.mode, each.value, each.layer, each.name) == ("set", 0.5, 0, "c") for (each,) in controls)
    distance = np.abs(np.array(magnitudes) - magnitudes[17])
    assert max(distance[units]) <= np.sort(distance)[60]
    again = matched_controls([lesioned], of_magnitudes(c=magnitudes), 20, np.random.default_rng(1))
    other = matched_controls([lesioned], of_magnitudes(c=magnitudes), 20, np.random.default_rng(2))
    assert again == controls != other


def test_controls_of_several_cells_are_sets_of_as_many() -> None:
    chosen = [Intervention(0, "c", (0, 1)), Intervention(0, "h", (2,))]
    statistics = of_magnitudes(c=[0.1] * 12, h=[0.2] * 12)
    for first, second in matched_controls(chosen, statistics, 15, np.random.default_rng(0)):
        assert len(set(first.units)) == 2
        assert not {0, 1} & set(first.units)
        assert len(second.units) == 1
        assert second.units[0] != 2


def test_a_small_layer_has_few_controls() -> None:
    statistics = of_magnitudes(c=[0.1, 0.2, 0.3])
    assert len(matched_controls([Intervention(0, "c", (1,))], statistics, 20, np.random.default_rng(0))) == 2
    assert matched_controls([Intervention(0, "c", (0, 1, 2))], statistics, 20, np.random.default_rng(0)) == []
    assert matched_controls([Intervention(0, "c", (0,))], statistics, 0, np.random.default_rng(0)) == []
