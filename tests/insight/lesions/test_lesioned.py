"""A lesioned model does what its equations say, with some values held; nothing else changes."""

from __future__ import annotations

import ast
from typing import Any

import numpy as np
import pytest
import torch
from equations.interpreter import step_of_text
from insight.planted import inside_quotes, planted_model, planted_text
from torch import Tensor

from elman.compile.cpu.target import unsupported
from elman.equations import cell, zoo
from elman.errors import MisuseError
from elman.generate import beam_search, generate
from elman.insight.lesions import Intervention, Lesioned, cell_statistics, interventions_on, lesioned, values_in
from elman.models.language import LanguageModel
from elman.models.likelihood import token_nats
from elman.training.evaluate import evaluate

SIZE, HIDDEN, STEPS = 7, 6, 9
BACKENDS = ["reference", *([] if unsupported() else ["cpu"])]
CELLS = [name for name in zoo() if not cell(name).inputs]
# every cell is compiled for a second or two
FEW = ("lstm", "gru", "sru", "rnn")


def small(name: str = "lstm", layers: int = 2, seed: int = 0, **options: Any) -> LanguageModel:
    torch.manual_seed(seed)
    return LanguageModel(name, SIZE, HIDDEN, layers, **options).eval()


def ids(steps: int = STEPS, batch: int = 1, seed: int = 0) -> Tensor:
    return torch.randint(SIZE, (steps, batch), generator=torch.Generator().manual_seed(seed))


def by_hand(model: LanguageModel, tokens: list[int], holds: dict[tuple[int, str, int], tuple[float, float]]) -> Any:
    """Scores of a model whose equations are run line by line, a held unit becoming keep * v + put once it is known."""
    recurrence = model.recurrence
    lines = [ast.unparse(statement) for statement in ast.parse(recurrence.equations).body]
    targets = [line.split(" = ")[0] for line in lines]
    names = (*recurrence.matrices, *recurrence.vectors)
    weights = [
        {n: model.recurrent.parameter(n, k).detach().double().numpy() for n in names} for k in range(model.layers)
    ]
    states = [{name: np.zeros(model.hidden) for name in recurrence.states} for _ in range(model.layers)]
    scores = []
    for token in tokens:
        x = model.embedding.weight[token].detach().double().numpy()
        for layer in range(model.layers):
            values: dict[str, Any] = {**weights[layer], **states[layer], "x": x}
            for index, line in enumerate(lines):
                values = step_of_text(line, values)
                if targets[index] in targets[index + 1 :]:
                    continue
                for (where, name, unit), (kept, put) in holds.items():
                    if (where, name) == (layer, targets[index]):
                        values[name] = np.array(values[name], dtype=np.float64)
                        values[name][unit] = kept * values[name][unit] + put
            states[layer] = {name: values[name] for name in recurrence.states}
            x = states[layer][recurrence.output]
        scores.append(
            x @ model.readout_weight.detach().double().numpy().T + model.readout_bias.detach().double().numpy()
        )
    return np.array(scores)


@pytest.mark.parametrize("name", CELLS)
def test_every_state_of_the_zoo_can_be_held_in_every_layer(name: str) -> None:
    model = small(name, backend="reference")
    tokens = ids()
    plain = by_hand(model, tokens[:, 0].tolist(), {})
    for layer in range(2):
        for state in cell(name).states:
            live = lesioned(model, [Intervention(layer, state, (1, 4), "set", 0.7, strength=0.75)])
            expected = by_hand(
                model, tokens[:, 0].tolist(), {(layer, state, unit): (0.25, 0.75 * 0.7) for unit in (1, 4)}
            )
            scores, after = live(tokens)
            np.testing.assert_allclose(scores[:, 0].numpy(), expected, atol=2e-4)
            assert np.abs(expected - plain).max() > 1e-3
            assert values_in(after, [(layer, state, 1)]).shape == (1, 1)


@pytest.mark.skipif(unsupported() is not None, reason=unsupported() or "")
@pytest.mark.parametrize(
    "name", [each if each in FEW else pytest.param(each, marks=pytest.mark.slow) for each in CELLS]
)
def test_compiled_code_holds_the_same_values(name: str) -> None:
    model = small(name, backend="cpu")
    tokens = ids()
    chosen = [(layer, state) for layer in range(2) for state in cell(name).states]
    live = lesioned(model, [Intervention(layer, state, (1, 4), "set", 0.7, strength=0.75) for layer, state in chosen])
    holds = {(layer, state, unit): (0.25, 0.75 * 0.7) for layer, state in chosen for unit in (1, 4)}
    expected = by_hand(model, tokens[:, 0].tolist(), holds)
    np.testing.assert_allclose(live(tokens)[0][:, 0].numpy(), expected, atol=2e-4)
    assert live.backend_used.startswith("cpu")


def test_a_gate_can_be_held_too() -> None:
    model = small("lstm")
    live = lesioned(model, [Intervention(0, "f", (2,), "set", 1.0), Intervention(1, "o", (3,))])
    tokens = ids()
    expected = by_hand(model, tokens[:, 0].tolist(), {(0, "f", 2): (0.0, 1.0), (1, "o", 3): (0.0, 0.0)})
    np.testing.assert_allclose(live(tokens)[0][:, 0].numpy(), expected, atol=1e-4)


def test_the_cell_of_an_lstm_changes_what_leaves_in_the_same_step() -> None:
    model = small("lstm", 1)
    scores, after = lesioned(model, [Intervention(0, "c", (2,))])(ids(1))
    assert after["h"][0, 0, 2] == 0
    assert after["c"][0, 0, 2] == 0
    assert not torch.allclose(scores, model(ids(1))[0])
    _, after = lesioned(model, [Intervention(0, "h", (2,))])(ids(1))
    assert after["h"][0, 0, 2] == 0
    assert after["c"][0, 0, 2] != 0


@pytest.mark.parametrize("backend", ["auto", "torch", *BACKENDS])
@pytest.mark.parametrize("name", ["lstm", "gru", "rnn", "sru", "gru-reset-after"])
def test_without_interventions_the_losses_are_the_plain_ones(name: str, backend: str) -> None:
    if backend == "torch" and name in ("gru", "sru"):
        pytest.skip("torch has no kernel for it")
    model = small(name, backend=backend)
    tokens = ids(200)[:, 0].numpy()
    plain = token_nats(model, tokens, steps=50)
    nothing = [Intervention(layer, state, (0, 3), strength=0) for layer in range(2) for state in cell(name).states]
    for live in (lesioned(model, []), lesioned(model, nothing)):
        np.testing.assert_allclose(token_nats(live, tokens, steps=50), plain, atol=1e-6)
    switched_off = lesioned(model, [Intervention(0, "h", (0,), "set", 3.0)])
    switched_off.on = False
    np.testing.assert_allclose(token_nats(switched_off, tokens, steps=50), plain, atol=1e-6)


def test_tied_weights_dropout_and_pruned_weights_are_those_of_the_model() -> None:
    model = small(tied=True, dropout=0.5, input_dropout=0.5, recurrent_dropout=0.5)
    tokens = ids(20)
    expected = model(tokens)[0]
    model.train()
    live = lesioned(model, [Intervention(0, "c", (0,), strength=0)])
    torch.testing.assert_close(live(tokens)[0], expected, atol=1e-6, rtol=0)
    with torch.no_grad():
        model.recurrent.parameter("Wi", 1).zero_()
    model.eval()
    torch.testing.assert_close(live(tokens)[0], model(tokens)[0], atol=1e-6, rtol=0)


def test_blocks_do_not_show() -> None:
    model = small()
    statistics = cell_statistics(model, *letters())
    for mode in ("mean", "resample"):
        live = lesioned(model, [Intervention(0, "c", (1, 2), mode), Intervention(1, "h", (5,))], statistics, redraw=4)
        tokens = ids(30)[:, 0].numpy()
        whole = token_nats(live, tokens)
        for steps in (1, 3, 4, 7, 16):
            np.testing.assert_allclose(token_nats(live, tokens, steps=steps), whole, atol=1e-5)


def letters() -> tuple[Any, str]:
    from elman.data.vocabulary import build

    random = np.random.default_rng(0)
    return build("characters", ["abcdefg"]), "".join(random.choice(list("abcdefg"), 900))


def test_rows_are_lesions_of_their_own() -> None:
    model = small(layers=3)
    statistics = cell_statistics(model, *letters())
    rows = [
        [],
        [Intervention(1, "c", (1,))],
        [Intervention(2, "h", (0, 3), "mean")],
        [Intervention(1, "h", (4,), "set", 1.0, strength=0.5), Intervention(2, "c", (4,), "set", 0.5, "tanh")],
    ]
    tokens = ids(12, 3)
    several = Lesioned(model, rows, statistics=statistics)
    state = several.initial_state(12)
    wide, wide_after = several(tokens.repeat(1, 4), state)
    narrow, narrow_after = several(tokens, several.initial_state(12))
    torch.testing.assert_close(narrow, wide, atol=1e-6, rtol=0)
    for number, row in enumerate(rows):
        alone, after = lesioned(model, row, statistics)(tokens)
        part = slice(3 * number, 3 * number + 3)
        torch.testing.assert_close(wide[:, part], alone, atol=1e-5, rtol=0)
        for name, tensor in after.items():
            torch.testing.assert_close(wide_after[name][:, part], tensor, atol=1e-5, rtol=0)
            torch.testing.assert_close(narrow_after[name][:, part], tensor, atol=1e-5, rtol=0)


def test_rows_that_were_different_below_stay_so() -> None:
    model = small()
    live = Lesioned(model, [[], [Intervention(0, "c", (1,), "set", 2.0)]])
    _, state = live(ids(5), live.initial_state(2))
    live.apply([], [Intervention(1, "c", (1,))])
    scores, _ = live(ids(5), state)
    expected, _ = live(ids(5).repeat(1, 2), state)
    torch.testing.assert_close(scores, expected, atol=1e-6, rtol=0)
    plain, _ = model(ids(5), {name: tensor[:, :1] for name, tensor in state.items()})
    torch.testing.assert_close(scores[:, :1], plain, atol=1e-6, rtol=0)


def test_interventions_are_switched_and_cells_read_between_steps() -> None:
    model = small()
    live = lesioned(model, [Intervention(0, "c", (1,), "set", 2.0)])
    cells = [(0, "c", 1), (1, "h", 3)]
    with pytest.raises(MisuseError, match="Nothing was read"):
        live.values(cells)
    tokens, state = ids(6), live.initial_state(1)
    plain_state = state
    for step, on in enumerate([False, False, True, True]):
        live.on = on
        _, state = live(tokens[step : step + 1], state)
        _, plain_state = model(tokens[step : step + 1], plain_state)
        assert (live.values(cells)[0, 0] == 2.0) == on
        if not on:
            np.testing.assert_allclose(live.values(cells), values_in(plain_state, cells), atol=1e-6)
    live.apply([Intervention(1, "h", (3,))])
    live(tokens[4:5], state)
    assert live.values(cells)[0, 1] == 0
    assert live.values(cells)[0, 0] != 2
    for wrong in ((2, "c", 0), (0, "f", 0), (0, "c", HIDDEN), (-1, "c", 0)):
        with pytest.raises(MisuseError, match="no cell"):
            live.values([wrong])


def test_resampled_values_are_of_the_text_and_change_at_the_given_distance() -> None:
    model = small("rnn", 1)
    statistics = cell_statistics(model, *letters(), pool=50)
    live = lesioned(model, [Intervention(0, "h", (2,), "resample")], statistics, seed=3, redraw=5)
    seen, state = [], live.initial_state(4)
    for token in ids(20, 4):
        _, state = live(token[None], state)
        seen.append(live.values([(0, "h", 2)])[:, 0])
    drawn = np.array(seen)
    pool = statistics.pool[0, "h"][:, 2].numpy()
    assert len(pool) == 50
    assert np.isin(drawn, pool).all()
    assert all((np.diff(drawn[5 * k : 5 * k + 5], axis=0) == 0).all() for k in range(4))
    assert len(np.unique(drawn[::5])) > 8
    other = lesioned(model, [Intervention(0, "h", (2,), "resample")], statistics, seed=4, redraw=5)
    other(ids(20, 4))
    assert not np.array_equal(other.values([(0, "h", 2)]), live.values([(0, "h", 2)]))


def test_the_mean_is_that_of_the_text() -> None:
    model = small("gru", 1)
    statistics = cell_statistics(model, *letters())
    live = lesioned(model, [Intervention(0, "h", (2, 5), "mean", strength=1.0)], statistics)
    live(ids(7))
    expected = statistics.mean[0, "h"][[2, 5]].numpy()
    np.testing.assert_allclose(live.values([(0, "h", 2), (0, "h", 5)])[0], expected, atol=1e-6)
    assert np.abs(expected).min() > 1e-4


def test_all_that_takes_a_language_model_takes_a_lesioned_one() -> None:
    model, vocabulary = planted_model()
    text = planted_text(3000, seed=4)
    encoded = vocabulary.encode(text).ids.astype(np.int64)
    live = lesioned(model, interventions_on([(0, "c", 11)]))
    plain = generate(model, vocabulary, length=200, samples=3, seed=5)
    assert [each.text for each in generate(lesioned(model, []), vocabulary, length=200, samples=3, seed=5)] == [
        each.text for each in plain
    ]
    hurt = generate(live, vocabulary, length=200, samples=3, seed=5)
    assert [each.text for each in hurt] != [each.text for each in plain]
    assert hurt[1].text == generate(live, vocabulary, length=200, seed=6)[0].text
    assert beam_search(live, vocabulary, length=20, width=3, best=2)[0].logprob < 0
    loss = evaluate(live, encoded, streams=3, burn_in=100).nats
    assert loss == pytest.approx(token_nats(live, encoded).mean(), abs=1e-3)
    assert loss > evaluate(model, encoded).nats + 0.05


def test_the_planted_cell_is_used_inside_quotes_only() -> None:
    model, vocabulary = planted_model()
    text = planted_text(10_000, seed=8)
    encoded = vocabulary.encode(text).ids.astype(np.int64)
    inside = inside_quotes(text)[:-1] == 1
    plain = token_nats(model, encoded)
    cost = token_nats(lesioned(model, interventions_on([(0, "c", 11)])), encoded) - plain
    assert cost[inside].mean() > 0.2
    assert np.abs(cost[~inside]).max() < 1e-5
    pinned = token_nats(lesioned(model, interventions_on([(0, "c", 11)], "set", 1.0)), encoded) - plain
    assert np.abs(pinned[inside]).mean() < 1e-3
    assert pinned[~inside].mean() > 0.2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_holds_the_same_values() -> None:
    model, vocabulary = planted_model()
    text = planted_text(3000, seed=4)
    encoded = vocabulary.encode(text).ids.astype(np.int64)
    statistics = cell_statistics(model, vocabulary, text)
    for mode in ("zero", "mean", "resample"):
        cells = interventions_on([(0, "c", 11), (0, "h", 3)], mode)  # type: ignore[arg-type]
        expected = token_nats(lesioned(model.cpu(), cells, statistics), encoded)
        live = lesioned(model.cuda(), cells, statistics)
        np.testing.assert_allclose(token_nats(live, encoded), expected, atol=1e-2)
        assert live.values([(0, "c", 11)]).shape == (1, 1)


@pytest.mark.parametrize("mode", ["mean", "resample", "on", "off"])
def test_modes_that_need_statistics_say_so(mode: Any) -> None:
    with pytest.raises(MisuseError, match="cell_statistics"):
        lesioned(small(), [Intervention(0, "c", (1,), mode)])
    of_another_layer = cell_statistics(small(), *letters(), cells=[(1, "c")])
    with pytest.raises(MisuseError, match="cell_statistics"):
        lesioned(small(), [Intervention(0, "c", (1,), mode)], of_another_layer)
    without_label = cell_statistics(small(), *letters())
    if mode in ("on", "off"):
        with pytest.raises(MisuseError, match="of a label"):
            lesioned(small(), [Intervention(0, "c", (1,), mode)], without_label)


def test_misuse_is_refused() -> None:
    model = small()
    with pytest.raises(MisuseError, match="at least one set"):
        Lesioned(model, [])
    with pytest.raises(MisuseError, match="at least 1"):
        Lesioned(model, [[]], redraw=0)
    with pytest.raises(MisuseError, match="divided among 2 rows"):
        Lesioned(model, [[], []]).initial_state(3)
    with pytest.raises(MisuseError, match="layers 0 to 1"):
        lesioned(model, [Intervention(2, "c", (0,))])
