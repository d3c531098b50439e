"""The encoder-decoder against its formulas, written out step by step; padding does not matter."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import functional_call
from torch.nn import functional

from elman.errors import MisuseError
from elman.models.translator import ATTENTIONS, FED, Translator

PLAIN = "h = tanh(Wx @ x + Wh @ h + b)"
SOURCE, TARGET = 9, 7


def model(cell: str = "gru", **options: object) -> Translator:
    from elman.equations import recurrence_of

    torch.manual_seed(3)
    decoder = options.pop("decoder", None)
    chosen = {"hidden": 4, "embedding": 4, "attention": "general"} | options
    sizes = (TARGET, TARGET) if chosen.get("tied") == "all" else (SOURCE, TARGET)
    return (
        Translator(recurrence_of(cell), *sizes, decoder=recurrence_of(decoder) if decoder else None, **chosen)
        .double()
        .eval()
    )


def batch(lengths: list[tuple[int, int]], size: int = SOURCE, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Sources and targets of these lengths, with symbols beyond their ends that must not matter."""
    generator = torch.Generator().manual_seed(seed)
    source_lengths, target_lengths = (torch.tensor(side) for side in zip(*lengths, strict=True))
    source = torch.randint(0, size, (int(source_lengths.max()), len(lengths)), generator=generator)
    target = torch.randint(0, TARGET, (int(target_lengths.max()) + 1, len(lengths)), generator=generator)
    return source, source_lengths, target, target_lengths


def by_hand(made: Translator, source: list[int], target: list[int]) -> float:
    """Nats of one pair for the plain recurrence, general attention and a tied softmax, from the parameters alone."""
    weights = dict(made.named_parameters())

    def step(layers: str, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        p = {name: weights[f"{layers}.{name}"] for name in ("Wx", "Wh", "b")}
        return torch.tanh(p["Wx"] @ x + p["Wh"] @ h + p["b"])

    read_from, embedded = weights["source_embedding.weight"], weights["target_embedding.weight"]
    forward, backward = [], []
    h = torch.zeros(made.hidden, dtype=torch.float64)
    for symbol in source:
        h = step("encoder.layers.0", read_from[symbol], h)
        forward.append(h)
    h = torch.zeros(made.hidden, dtype=torch.float64)
    for symbol in reversed(source):
        h = step("encoder.layers.0_reverse", read_from[symbol], h)
        backward.insert(0, h)
    memory = [torch.cat(pair) for pair in zip(forward, backward, strict=True)]
    h = torch.tanh(weights["bridge.0.weight"] @ torch.cat((forward[-1], backward[0])) + weights["bridge.0.bias"])
    fed = torch.zeros(made.embedding, dtype=torch.float64)
    nats = 0.0
    for before, symbol in itertools.pairwise(target):
        x = embedded[before]
        h = step("decoder.layers.0", torch.cat((x, fed)) if made.input_feeding else x, h)
        look = torch.softmax(torch.stack([h @ (weights["look.from_key.weight"] @ m) for m in memory]), 0)
        context = sum(a * m for a, m in zip(look, memory, strict=True))
        fed = torch.tanh(weights["combine.weight"] @ torch.cat((context, h)) + weights["combine.bias"])
        nats -= torch.log_softmax(embedded @ fed + weights["readout_bias"], 0)[symbol].item()
    return nats


@pytest.mark.parametrize("input_feeding", [False, True])
def test_the_loss_is_that_of_the_formulas(input_feeding: bool) -> None:
    made = model(PLAIN, bidirectional=True, tied="target", embedding=5, input_feeding=input_feeding)
    source, target = [1, 5, 8, 2], [0, 3, 6, 6, 1]
    nats = made.nats(torch.tensor([source]).t(), torch.tensor([4]), torch.tensor([target]).t(), torch.tensor([4]))
    assert nats.item() == pytest.approx(by_hand(made, source, target), abs=1e-10)


CHOICES = st.fixed_dictionaries(
    {
        "cell": st.sampled_from(["gru", "lstm"]),
        "attention": st.sampled_from(ATTENTIONS),
        "bidirectional": st.booleans(),
        "reverse_source": st.booleans(),
        "layers": st.sampled_from([1, 2]),
        "input_feeding": st.booleans(),
        "tied": st.sampled_from(["none", "target", "all"]),
        "embedding": st.sampled_from([4, 3]),
    }
)


@given(
    choices=CHOICES,
    lengths=st.lists(st.tuples(st.integers(1, 5), st.integers(1, 4)), min_size=1, max_size=4),
    seed=st.integers(0, 100),
)
@settings(max_examples=40, deadline=None)
def test_a_batch_has_the_loss_of_its_pairs_alone(choices: dict, lengths: list[tuple[int, int]], seed: int) -> None:
    if choices["attention"] == "none":
        choices = choices | {"input_feeding": False}
    if choices["attention"] in ("dot", "scaled-dot"):
        choices = choices | {"bidirectional": False}
    made = model(**choices)
    source, source_lengths, target, target_lengths = batch(lengths, made.source_size, seed)
    together = made.nats(source, source_lengths, target, target_lengths).item()
    alone = 0.0
    for row, (s, t) in enumerate(lengths):
        sides = source[:s, row : row + 1], source_lengths[row : row + 1], target[: t + 1, row : row + 1]
        scores = made(sides[0], sides[1], sides[2][:-1])
        alone += functional.cross_entropy(scores[:, 0], sides[2][1:, 0], reduction="sum").item()
    assert together == pytest.approx(alone, rel=1e-9)


@pytest.mark.parametrize(
    ("attention", "input_feeding"), [(name, False) for name in ATTENTIONS] + [(name, True) for name in ATTENTIONS[1:]]
)
def test_gradients_of_every_attention_are_right(attention: str, input_feeding: bool) -> None:
    made = model(hidden=2, embedding=2, attention=attention, input_feeding=input_feeding, reverse_source=True)
    pairs = batch([(3, 2), (2, 3)])
    names = [name for name, _ in made.named_parameters()]

    class Loss(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.made = made

        def forward(self) -> torch.Tensor:
            return self.made.nats(*pairs)

    loss = Loss()

    def nats(*tensors: torch.Tensor) -> torch.Tensor:
        return functional_call(loss, {f"made.{name}": each for name, each in zip(names, tensors, strict=True)})

    # a random direction through all of a tensor's numbers at once: one for one they would take a minute
    assert torch.autograd.gradcheck(nats, tuple(made.parameters()), fast_mode=True)


@pytest.mark.parametrize("attention", ["none", "additive"])
def test_a_reversed_source_is_the_source_from_its_end(attention: str) -> None:
    straight, turned = model(attention=attention), model(attention=attention, reverse_source=True)
    source, lengths, target, _ = batch([(5, 3), (2, 3)])
    by_hand = source.clone()
    for row, length in enumerate(lengths.tolist()):
        by_hand[:length, row] = source[:length, row].flip(0)
    torch.testing.assert_close(turned(source, lengths, target[:-1]), straight(by_hand, lengths, target[:-1]))
    if attention == "none":
        return
    memory, state = straight.encode(by_hand, lengths)
    _, _, weights = straight.decode(target[:-1], state, memory)
    memory, state = turned.encode(source, lengths)
    _, _, in_order = turned.decode(target[:-1], state, memory)
    assert weights is not None
    assert in_order is not None
    torch.testing.assert_close(in_order[:, 0], weights[:, 0].flip(-1))
    torch.testing.assert_close(in_order[:, 1, :2], weights[:, 1, :2].flip(-1))
    assert (in_order[:, 1, 2:] == 0).all()


def test_every_state_is_handed_on() -> None:
    made = model("lstm", layers=2, attention="none")
    source, lengths, *_ = batch([(4, 1), (2, 1)])
    _, state = made.encode(source, lengths)
    _, final = made.encoder(source, lengths=lengths, table=made.source_embedding.weight)
    assert set(state) == {"h", "c"}
    for name in state:
        torch.testing.assert_close(state[name], final[name])
        assert (final[name] != 0).any()


def test_a_decoder_of_another_cell_begins_through_a_bridge() -> None:
    made = model("gru", decoder="lstm", attention="none")
    source, lengths, target, target_lengths = batch([(4, 2), (2, 3)])
    _, state = made.encode(source, lengths)
    _, final = made.encoder(source, lengths=lengths, table=made.source_embedding.weight)
    for name, layer in zip(made.decoder.recurrence.states, made.bridge, strict=True):
        torch.testing.assert_close(state[name][0], torch.tanh(layer(final["h"][0])))
    made.nats(source, lengths, target, target_lengths).backward()
    assert all(p.grad is not None and (p.grad != 0).any() for p in made.encoder.parameters())


@pytest.mark.parametrize("input_feeding", [False, True])
def test_several_rows_of_a_source_are_as_many_sources(input_feeding: bool) -> None:
    made = model("lstm", bidirectional=True, input_feeding=input_feeding)
    source, lengths, _, _ = batch([(5, 1), (3, 1)])
    memory, state = made.encode(source, lengths)
    symbols = torch.tensor([[1, 2, 3, 4, 5, 6], [2, 2, 0, 1, 4, 0]])
    wide, after, weights = made.decode(symbols, {name: s.repeat(1, 3, 1) for name, s in state.items()}, memory)
    for row in range(6):
        at = torch.tensor([row % 2])
        own, own_after, own_weights = made.decode(
            symbols[:, row : row + 1], {name: s[:, at] for name, s in state.items()}, memory.select(at)
        )
        torch.testing.assert_close(wide[:, row : row + 1], own)
        torch.testing.assert_close(weights[:, row : row + 1], own_weights)
        for name in after:
            torch.testing.assert_close(after[name][:, row : row + 1], own_after[name])
    assert (FED in after) == input_feeding


def test_a_configuration_comes_back() -> None:
    made = model("lstm", decoder="gru", layers=2, tied="all", embedding=3, input_feeding=True, bidirectional=True)
    again = Translator.from_configuration(made.configuration()).double().eval()
    again.load_state_dict(made.state_dict())
    assert again.configuration() == made.configuration()
    pairs = batch([(3, 2), (4, 3)], TARGET)
    torch.testing.assert_close(again.nats(*pairs), made.nats(*pairs))
    assert sum(p.numel() for p in made.parameters()) == sum(p.numel() for p in again.parameters())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"attention": "cosine"}, "attention is 'cosine'; it takes none, additive"),
        ({"attention": "none", "input_feeding": True}, "needs an attention"),
        ({"attention": "dot", "bidirectional": True}, "Take additive or general"),
        ({"tied": "all"}, "9 source and 7 target symbols"),
        ({"tied": "some"}, "it takes none, target, all"),
        ({"layers": 0}, "layers is 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_what_cannot_be(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(MisuseError, match=sentence):
        Translator("gru", SOURCE, TARGET, **options)
