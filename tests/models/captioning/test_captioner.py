"""The captioner: every way of telling of the image, beside formulations that do not use it."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from caption_models import WORDS, captioner, encoder, features
from torch.nn import functional

from elman.equations import Recurrence, zoo
from elman.equations import cell as zoo_cell
from elman.errors import MisuseError
from elman.models.captioning import WAYS, Captioner, way_of
from elman.models.captioning.encoding import coarser
from elman.models.captioning.ways import with_image

TOKENS = torch.randint(0, WORDS, (6, 4), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("cell", ["rnn", "gru"])
def test_words_one_by_one_are_words_at_once(way: str, cell: str):
    model = captioner(way, cell)
    state = model.begin(features(model, 4))
    whole, after = model(TOKENS, dict(state))
    steps = []
    for word in TOKENS.split(1):
        scores, state = model(word, state)
        steps.append(scores)
    torch.testing.assert_close(torch.cat(steps), whole, atol=2e-6, rtol=1e-5)
    for name, tensor in after.items():
        torch.testing.assert_close(state[name], tensor, atol=2e-6, rtol=1e-5)
        assert tensor.shape[1] == 4


@pytest.mark.parametrize("way", WAYS)
def test_what_is_beyond_a_rows_words_is_not_read(way: str):
    model = captioner(way)
    state = model.begin(features(model, 4))
    lengths = torch.tensor([6, 1, 3, 2])
    changed = torch.where(torch.arange(6).unsqueeze(1) < lengths, TOKENS, (TOKENS + 1) % WORDS)
    first, second = (model.read(tokens, dict(state), lengths)[0] for tokens in (TOKENS, changed))
    alone = model.read(TOKENS, dict(state))[0]
    for row, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(first[:length, row], second[:length, row])
        torch.testing.assert_close(first[:length, row], alone[:length, row], atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("way", WAYS)
def test_the_image_matters_and_learns(way: str):
    model = captioner(way)
    seen = features(model, 4).requires_grad_()
    scores, _ = model(TOKENS, model.begin(seen))
    others, _ = model(TOKENS, model.begin(features(model, 4, seed=9)))
    assert (scores - others).abs().amax((1, 2)).min() > 1e-4
    scores[-1].logsumexp(-1).sum().backward()
    assert seen.grad is not None
    assert (seen.grad.flatten(1).abs().amax(1) > 0).all()
    assert model.project.weight.grad is not None
    assert model.project.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_rounded_to_bfloat16_it_says_nearly_the_same(way: str, cell: str):
    model = captioner(way, cell)
    seen = features(model, 4)
    exact = model(TOKENS, model.begin(seen))[0]
    with torch.autocast("cpu", torch.bfloat16):
        scores, state = model(TOKENS[:3], model.begin(seen))
        later, _ = model(TOKENS[3:], state)
        both = torch.cat((scores, later)).float()
    assert (both - exact).abs().max() < 0.1
    both.logsumexp(-1).sum().backward()
    assert model.project.weight.grad is not None
    assert torch.isfinite(model.project.weight.grad).all()


def looked(model: Captioner, seen: torch.Tensor) -> torch.Tensor:
    """v of an image, written out."""
    return seen / math.sqrt(seen.shape[1]) @ model.project.weight.T + model.project.bias


def tanh_steps(weights: dict[str, torch.Tensor], x: list[torch.Tensor], image: list[torch.Tensor] | None = None):
    """h_t = tanh(Wx x_t + V v_t + Wh h_{t-1} + b)."""
    h, out = torch.zeros(x[0].shape[0], 9), []
    for step, row in enumerate(x):
        inner = row @ weights["Wx"].T + h @ weights["Wh"].T + weights["b"]
        if image is not None:
            inner = inner + image[step] @ weights["V_Wx"].T
        h = torch.tanh(inner)
        out.append(h)
    return out


@pytest.mark.parametrize("way", [name for name in WAYS if name != "attention"])
def test_equations_of_every_way(way: str):
    model = captioner(way, "rnn")
    seen = features(model, 4)
    v, x = looked(model, seen), list(model.embedding(TOKENS))
    upper = model.decoder.upper
    weights = [upper._table(layer, False) for layer in range(upper.num_layers)]
    if way_of(way).lower:
        for layer in range(way_of(way).lower):
            x = tanh_steps(model.decoder.lower._table(layer, False), x)
    if way == "first":
        out = tanh_steps(weights[0], [v, *x])[1:]
    elif way.startswith("constant"):
        images = [v if step == 0 or way == "constant" else torch.zeros_like(v) for step in range(len(x))]
        out = tanh_steps(weights[0], x, images)
    else:
        out = [torch.cat((row, v), 1) for row in x]
        for own in weights:
            out = tanh_steps(own, out)
    expected = functional.linear(torch.stack(out), model.softmax.weight, model.softmax.bias)
    torch.testing.assert_close(model(TOKENS, model.begin(seen))[0], expected, atol=3e-6, rtol=1e-5)


def test_layers_below_the_image_do_not_see_it():
    model = captioner("four-layer-factored")
    _, one = model(TOKENS, model.begin(features(model, 4)))
    _, other = model(TOKENS, model.begin(features(model, 4, seed=5)))
    assert one["lower.h"].shape[0] == one["upper.h"].shape[0] == 2
    torch.testing.assert_close(one["lower.h"], other["lower.h"], rtol=0, atol=0)
    assert not torch.allclose(one["upper.h"], other["upper.h"])


def test_attention_by_hand():
    model = captioner("attention", "rnn")
    seen = features(model, 2)
    decoder, weights = model.decoder, model.decoder.recurrent._table(0, False)
    grid = torch.stack([looked(model, seen[:, :, i, j]) for i in range(3) for j in range(3)])  # [S, B, image]
    h = torch.tanh(grid.mean(0) @ decoder.starts["h"].weight.T + decoder.starts["h"].bias)
    scores, alphas = [], []
    for word in TOKENS[:, :2]:
        look = decoder.attention
        energy = torch.stack(
            [look.combine(torch.tanh(look.from_query(h) + look.from_key(place))).squeeze(-1) for place in grid]
        )
        alpha = torch.exp(energy) / torch.exp(energy).sum(0)
        gate = torch.sigmoid(decoder.gate(h))
        z = gate * sum(alpha[place].unsqueeze(1) * grid[place] for place in range(9))
        x = model.embedding(word)
        h = torch.tanh(torch.cat((x, z), 1) @ weights["Wx"].T + h @ weights["Wh"].T + weights["b"])
        out = x + decoder.from_hidden(h) + decoder.from_context(z)
        scores.append(model.softmax(out))
        alphas.append(alpha.T)
    read, _, found = model.read(TOKENS[:, :2], model.begin(seen))
    torch.testing.assert_close(model.softmax(read), torch.stack(scores), atol=3e-6, rtol=1e-5)
    torch.testing.assert_close(found, torch.stack(alphas), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", zoo())
def test_the_image_enters_every_cell_of_the_zoo_or_is_refused(name: str):
    cell = zoo_cell(name)
    if "@ x" not in cell.canonical or cell.inputs:
        return
    told = with_image(cell)
    matrices = [matrix for matrix in cell.matrices if f"{matrix} @ x" in cell.canonical]
    assert told.inputs == ("v",)
    assert set(told.states) == set(cell.states)
    assert told.output == cell.output
    assert len(told.matrices) == len(cell.matrices) + len(matrices)
    shapes = told.parameters(5, 5, v=3)
    assert sum(shape == (5, 3) for shape in shapes.values()) == len(matrices)


def test_the_image_as_a_constant_input_is_neuraltalks():
    told = with_image(Recurrence("h = tanh(Wx @ x + Wh @ h + b)"))
    assert told.graph.nodes
    assert told.matrices.count("V_Wx") == 1
    own = Recurrence("h = tanh(Wx @ x + Wv @ v + Wh @ h + b)", inputs=("v",))
    assert with_image(own) is own
    with pytest.raises(MisuseError, match="applies no matrix to x"):
        with_image(Recurrence("h = tanh(x + Wh @ h)"))
    with pytest.raises(MisuseError, match="asks for w"):
        with_image(Recurrence("h = tanh(x + Wh @ h + Ww @ w)", inputs=("w",)))


def test_features_are_measured_against_the_training_images():
    model = captioner()
    rows = 3 + 2 * torch.randn(50, 84)
    rows[:, 0] = 4.0
    model.fit_features(rows)
    torch.testing.assert_close(model.feature_mean, rows.mean(0))
    state = model.begin(rows)["image"][0]
    # a feature that never varies, and so an image that is the mean, tells nothing
    torch.testing.assert_close(state.mean(0), model.project.bias, atol=1e-5, rtol=0)
    changed = rows.clone()
    changed[:, 0] = 9.0
    torch.testing.assert_close(model.begin(changed)["image"][0], state)
    blind = model.begin(model.average_image(2))["image"][0]
    torch.testing.assert_close(blind, model.project.bias.expand(2, -1))


def test_a_grid_is_measured_by_channel():
    model = captioner("attention")
    grids = torch.randn(20, 16, 3, 3) * torch.arange(1, 17).view(-1, 1, 1) + 5
    model.fit_features(grids)
    torch.testing.assert_close(model.feature_mean, grids.mean((0, 2, 3)))
    torch.testing.assert_close(model.feature_scale, grids.transpose(0, 1).flatten(1).std(1))
    assert model.average_image(3).shape == (3, 16, 3, 3)


def test_coarser_grids_are_means():
    grid = torch.randn(2, 3, 4, 6)
    assert coarser(grid, 6) is grid
    torch.testing.assert_close(coarser(grid, 2), grid.view(2, 3, 2, 2, 2, 3).mean((3, 5)))


def test_the_encoder_is_part_of_the_model_and_stays_in_evaluation_mode():
    model = captioner().train()
    assert model.training
    assert not model.encoder.training
    assert not model.encoder.net.training
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    model.features(images).sum().backward()
    assert model.encoder.net.conv1.weight.grad is not None
    model.encoder.zero_grad()
    assert captioner("attention").features(images).shape == (2, 16, 3, 3)


@pytest.mark.parametrize("way", ["constant", "attention", "four-layer-factored"])
def test_a_configuration_rebuilds_the_model(way: str):
    model = captioner(way, "gru", dropout=0.25, feature_dropout=0.5)
    with torch.device("meta"):
        shapes = {k: v.shape for k, v in Captioner.from_configuration(model.configuration()).state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in model.state_dict().items()}
    twin = Captioner.from_configuration(model.configuration()).eval()
    twin.load_state_dict(model.state_dict())
    seen = features(model, 4)
    torch.testing.assert_close(twin(TOKENS, twin.begin(seen))[0], model(TOKENS, model.begin(seen))[0])
    assert twin.encoder.fingerprint == model.encoder.fingerprint
    assert twin.configuration() == model.configuration()


def test_configurations_that_cannot_be_are_refused():
    good = captioner().configuration()
    for change, message in (
        ({"way": "telepathy"}, "--way is 'telepathy'"),
        ({"hidden": 0}, "hidden is 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"encoder": {"net": {"name": "net"}}}, "encoder is malformed"),
        ({"places": None}, "incomplete or malformed"),
        ({"extra": 1}, "unknown entries: extra"),
    ):
        with pytest.raises(MisuseError, match=message):
            Captioner.from_configuration(copy.deepcopy(good) | change)
    with pytest.raises(MisuseError, match="Attention gives no constant input"):
        Captioner(encoder(), "rnn-image", WORDS, way="attention")


def test_dropout_is_of_training_only():
    model = captioner(dropout=0.5, feature_dropout=0.5)
    seen = features(model, 4)
    torch.testing.assert_close(model(TOKENS, model.begin(seen))[0], model(TOKENS, model.begin(seen))[0])
    model.train()
    assert not torch.allclose(model.begin(seen)["image"], model.begin(seen)["image"])
