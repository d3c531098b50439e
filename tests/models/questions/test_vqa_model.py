"""The model of questions about images, against independent formulations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from elman.errors import MisuseError
from elman.models.questions.gridnet import GridNet
from elman.models.questions.network import ATTENTIONS, Choices, VisualQA

VOCABULARY, ANSWERS = 11, 4


def model(attention: str = "read", **options: Any) -> VisualQA:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"images": "features", "channels": 6, "height": 2, "width": 3, "hidden": 5, "embedding": 4}
    known = 1 if options.get("head") == "choices" else ANSWERS
    made = VisualQA("rnn", VOCABULARY, known, attention=attention, **{**sizes, **options}).double().eval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return made


def inputs(rows: int = 5, images: int = 3) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    lengths = torch.tensor([4, 1, 3, 6, 2][:rows])
    tokens = torch.randint(3, VOCABULARY, (6, rows), generator=generator)
    tokens[0] = 1
    seen = torch.randn(images, 6, 2, 3, generator=generator, dtype=torch.float64)
    return tokens, lengths, seen, torch.tensor([0, 2, 1, 2, 0][:rows])


def weights(made: VisualQA) -> dict[str, np.ndarray]:
    return {name: tensor.detach().numpy() for name, tensor in made.state_dict().items()}


def layer_norm(x: np.ndarray, w: dict[str, np.ndarray]) -> np.ndarray:
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return x * w["normalise.weight"] + w["normalise.bias"]


def linear(w: dict[str, np.ndarray], name: str, x: np.ndarray) -> np.ndarray:
    y = x @ w[f"{name}.weight"].T
    return y + w[f"{name}.bias"] if f"{name}.bias" in w else y


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max())
    return e / e.sum()


def attend(w: dict[str, np.ndarray], name: str, query: np.ndarray, keys: np.ndarray) -> np.ndarray:
    scores = np.tanh(linear(w, f"{name}.from_query", query) + linear(w, f"{name}.from_key", keys))
    return softmax(linear(w, f"{name}.combine", scores)[:, 0])


def one_question(made: VisualQA, words: list[int], image: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """The equations of the docstring for one question, in numpy; image is [S, 6]. Gives u and the maps."""
    w = weights(made)
    cell = {name: made.recurrent.parameter(name).detach().numpy() for name in ("Wx", "Wh", "b")}
    places = layer_norm(image, w)
    h, maps = np.zeros(made.hidden), []
    for t, word in enumerate(words):
        x = w["embedding.weight"][word]
        if made.attention == "read":
            x = linear(w, "show", places.mean(0)) if t == 0 else x
            maps.append(attend(w, "look", h, places))
            x = np.concatenate([x, maps[-1] @ places])
        h = np.tanh(cell["Wx"] @ x + cell["Wh"] @ h + cell["b"])
    if made.attention == "read":
        return h, maps
    if made.attention == "none":
        return np.tanh(linear(w, "ask", h)) * np.tanh(linear(w, "meet", places.mean(0))), maps
    u, memory = linear(w, "ask", h), np.tanh(linear(w, "meet", places))
    for k in range(made.hops):
        maps.append(attend(w, f"looks.{k}", u, memory))
        u = u + maps[-1] @ memory
    return u, maps


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_a_batch_gives_what_the_equations_give_question_by_question(attention: str) -> None:
    made = model(attention)
    tokens, lengths, seen, which = inputs()
    understood, maps = made.understood(tokens, lengths, seen, which)
    scores = made(tokens, lengths, seen, which)
    w = weights(made)
    for row, length in enumerate(lengths.tolist()):
        image = seen[which[row]].flatten(1).T.numpy()
        u, own = one_question(made, tokens[:length, row].tolist(), image)
        assert understood[row].detach().numpy() == pytest.approx(u, abs=1e-9)
        expected = linear(w, "last", np.maximum(linear(w, "first", u), 0))
        assert scores[row].detach().numpy() == pytest.approx(expected, abs=1e-9)
        for t, weight in enumerate(own):
            assert maps is not None
            assert maps[t, row].detach().numpy() == pytest.approx(weight, abs=1e-9)
        if attention == "read":
            assert maps is not None
            assert not maps[length:, row].any()


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_gradients_are_finite_differences(attention: str) -> None:
    made = model(attention, hidden=3, embedding=2)
    tokens, lengths, seen, which = inputs(3, 3)
    tokens = tokens[:4]
    names = [name for name, _ in made.named_parameters()]

    def loss(seen: Tensor, *parameters: Tensor) -> Tensor:
        return torch.func.functional_call(
            made, dict(zip(names, parameters, strict=True)), (tokens, lengths, seen, which)
        )

    given = [seen.requires_grad_(), *(p.detach().clone().requires_grad_() for p in made.parameters())]
    assert torch.autograd.gradcheck(loss, tuple(given), atol=1e-6)


@pytest.mark.parametrize(
    ("cell", "attention"), [("lstm", "read"), ("mut1", "read"), ("gru", "after"), ("mut1", "after"), ("lstm", "none")]
)
def test_any_cell_learns_to_tell_images_apart(cell: str, attention: str) -> None:
    """Two questions about two images, the answers an exclusive or: neither half alone decides."""
    torch.manual_seed(0)
    made = VisualQA(
        cell,
        VOCABULARY,
        2,
        images="features",
        channels=6,
        height=2,
        width=3,
        hidden=16,
        attention=attention,
        backend="reference",
    )
    seen = torch.randn(2, 6, 2, 3)
    tokens = torch.tensor([[1, 1, 1, 1], [3, 3, 4, 4], [5, 5, 5, 5]])
    which, targets = torch.tensor([0, 1, 0, 1]), torch.tensor([0, 1, 1, 0])
    optimiser = torch.optim.Adam(made.parameters(), 0.01)
    for _ in range(100):
        loss = functional.cross_entropy(made(tokens, torch.full((4,), 3), seen, which), targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.05


def test_a_question_only_model_has_no_image_side() -> None:
    made = model(control="question-only")
    tokens, lengths, seen, which = inputs()
    assert not [name for name, _ in made.named_parameters() if name.split(".")[0] in ("net", "look", "show")]
    assert torch.equal(made(tokens, lengths, seen, which), made(tokens, lengths, None, which))


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_an_image_only_model_reads_no_word(attention: str) -> None:
    made = model(attention, control="image-only")
    tokens, lengths, seen, which = inputs()
    other = tokens.clone()
    other[1:] = 3
    assert torch.equal(made(tokens, lengths, seen, which), made(other, lengths.flip(0), seen, which))
    assert not torch.allclose(made(tokens, lengths, seen, which)[0], made(tokens, lengths, seen, which)[1])


def test_choices_are_scored_by_the_mean_of_their_words() -> None:
    made = model(head="choices")
    tokens, lengths, seen, which = inputs(2)
    offered = [[[3, 4], [5], [6, 7, 8]], [[9], [10, 3]]]
    rows = [words for question in offered for words in [*question, *[[0]] * (3 - len(question))]]
    padded = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows])
    choices = Choices(padded, torch.tensor([len(row) for row in rows]), torch.tensor([3, 2]))
    understood, _ = made.understood(tokens, lengths, seen, which)
    found = made.choice_scores(understood, choices).detach()
    w = weights(made)
    for row, question in enumerate(offered):
        u = linear(w, "last", np.maximum(linear(w, "first", understood[row].detach().numpy()), 0))
        for place, words in enumerate(question):
            expected = u @ w["embedding.weight"][words].mean(0) / np.sqrt(len(u))
            assert float(found[row, place]) == pytest.approx(expected)
    assert found[1, 2] == -torch.inf


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("control", ["none", "question-only", "image-only"])
def test_a_configuration_rebuilds_the_model(attention: str, control: str) -> None:
    made = model(attention, control=control, hops=3, layers=2)
    again = VisualQA.from_configuration(made.configuration()).double().eval()
    again.load_state_dict(made.state_dict())
    tokens, lengths, seen, which = inputs()
    assert torch.equal(again(tokens, lengths, seen, which), made(tokens, lengths, seen, which))


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"attention": "sometimes"}, "attention is 'sometimes'"),
        ({"control": "blind"}, "control is 'blind'"),
        ({"head": "none"}, "head is 'none'"),
        ({"hidden": 0}, "hidden is 0"),
        ({"hops": 17}, "hops is 17"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"recurrent_dropout": 0.5}, "attention read cannot keep"),
    ],
)
def test_impossible_models_are_refused(changed: dict[str, Any], reason: str) -> None:
    with pytest.raises(MisuseError, match=reason):
        model(**changed)


def test_an_unknown_entry_of_a_configuration_is_refused() -> None:
    stored = model().configuration()
    with pytest.raises(MisuseError, match="unknown entries: extra"):
        VisualQA.from_configuration({**stored, "extra": 1})
    del stored["hops"]
    with pytest.raises(MisuseError, match="hops"):
        VisualQA.from_configuration(stored)


@pytest.mark.parametrize(("height", "width", "halvings"), [(16, 16, 2), (15, 33, 3), (8, 40, 1)])
def test_a_grid_has_the_size_it_says_and_coordinates(height: int, width: int, halvings: int) -> None:
    torch.manual_seed(0)
    net = GridNet(height, width, 4, halvings).eval()
    grid = net(torch.zeros(2, 3, height, width, dtype=torch.uint8))
    assert grid.shape == (2, *net.grid_shape)
    rows, columns = net.grid_shape[1:]
    assert (rows, columns) == (-(-height // 2**halvings), -(-width // 2**halvings))
    assert torch.allclose(grid[0, -2, 0], torch.linspace(-1, 1, columns))
    assert torch.allclose(grid[0, -1, :, 0], torch.linspace(-1, 1, rows))


def test_a_grid_is_local_and_tells_places_apart() -> None:
    """A changed pixel changes only the vectors whose window holds it; equal squares at two places look different."""
    torch.manual_seed(0)
    net = GridNet(32, 32, 4, 2).eval()
    image = torch.rand(1, 3, 32, 32)
    changed = image.clone()
    changed[..., 2, 2] += 1
    difference = (net(image) - net(changed)).abs().sum(1)[0]
    assert difference[0, 0] > 0
    # three 3x3 convolutions, the first two of stride 2, see 15 pixels around every fourth pixel
    assert not difference[3:, :].any()
    assert not difference[:, 3:].any()
    blank = net(torch.zeros(1, 3, 32, 32))[0, :-2]
    assert not torch.allclose(blank[:, 3, 3], blank[:, 3, 5])
