"""elman.nn.Recurrent: layers, directions, lengths, states, dropout, and what is refused."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from elman.equations import EquationError, Recurrence, cell, zoo
from elman.errors import MisuseError
from elman.nn import Recurrent
from elman.nn.dropout import dropout


def build(cell_: str | Recurrence, width: int = 4, hidden: int = 4, layers: int = 1, **options) -> Recurrent:
    generator = torch.Generator().manual_seed(1)
    layer = Recurrent(
        cell_, width, hidden, layers, dtype=torch.float64, generator=generator, widths=widths_of(cell_), **options
    )
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return layer


def widths_of(cell_: str | Recurrence) -> dict[str, int]:
    return {"v": 3} if cell_ == "rnn-image" else {}


def inputs_of(layer: Recurrent, batch: int) -> dict[str, Tensor]:
    return {n: torch.linspace(-1, 1, batch * w, dtype=torch.float64).view(batch, w) for n, w in layer.widths.items()}


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(a, b, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def bidirectional(name: str, layers: int) -> bool:
    return layers == 1 or "x" not in cell(name).square


@pytest.mark.parametrize("name", zoo())
def test_padded_batch_equals_its_ragged_parts_in_both_directions(name: str) -> None:
    layers = 2 if bidirectional(name, 2) else 1
    layer = build(name, layers=layers, bidirectional=True)
    lengths = [3, 6, 1, 4]
    x = draw(6, 4, 4)
    for row, length in enumerate(lengths):
        x[length:, row] = torch.nan
    x.requires_grad_()
    constants = inputs_of(layer, 4)
    state = {n: draw(2 * layers, 4, 4, seed=7) for n in layer.recurrence.states}
    y, final, sequences = layer(x, state, lengths=torch.tensor(lengths), return_states=True, **constants)
    weights = draw(*y.shape, seed=3)
    (y * weights).sum().backward()
    found = [parameter.grad.clone() for parameter in layer.parameters()]
    seen = x.grad.clone()
    layer.zero_grad()
    for row, length in enumerate(lengths):
        own = x[:length, row : row + 1].detach().requires_grad_()
        alone, last, every = layer(
            own,
            {n: t[:, row : row + 1] for n, t in state.items()},
            return_states=True,
            **{n: t[row : row + 1] for n, t in constants.items()},
        )
        close(y[:length, row : row + 1], alone)
        assert not y[length:, row].any()
        for n in state:
            close(final[n][:, row : row + 1], last[n])
            close(sequences[n][:, :length, row : row + 1], every[n])
            assert not sequences[n][:, length:, row].any()
        (alone * weights[:length, row : row + 1]).sum().backward()
        close(seen[:length, row : row + 1], own.grad, 1e-8)
        assert not seen[length:, row].any()
    for gradient, parameter in zip(found, layer.parameters(), strict=True):
        close(gradient, parameter.grad, 1e-8)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=5), st.sampled_from(["lstm", "gru", "mut2", "sru"]), st.booleans()
)
def test_lengths_in_any_order(lengths: list[int], name: str, both: bool) -> None:
    layer = build(name, bidirectional=both)
    x = draw(6, len(lengths), 4)
    y, final = layer(x, lengths=lengths)
    for row, length in enumerate(lengths):
        alone, last = layer(x[:length, row])
        close(y[:length, row], alone)
        for n, tensor in last.items():
            close(final[n][:, row], tensor)


@pytest.mark.parametrize("name", zoo())
def test_stack_is_layers_one_after_the_other(name: str) -> None:
    stack = build(name, layers=2)
    x, constants = draw(5, 3, 4), inputs_of(stack, 3)
    y, final = stack(x, **constants)
    for number in range(2):
        single = Recurrent(name, 4, 4, dtype=torch.float64, widths=stack.widths)
        with torch.no_grad():
            for parameter in (*single.recurrence.matrices, *single.recurrence.vectors):
                single.parameter(parameter).copy_(stack.parameter(parameter, layer=number))
        x, last = single(x, **constants)
        for n, tensor in last.items():
            close(final[n][number : number + 1], tensor)
    close(y, x)


def test_reverse_direction_runs_from_the_end() -> None:
    layer = build("gru", bidirectional=True)
    x = draw(5, 3, 4)
    y, final = layer(x)
    forward, backward = build("gru"), build("gru")
    for n in (*layer.recurrence.matrices, *layer.recurrence.vectors):
        forward.parameter(n).data.copy_(layer.parameter(n))
        backward.parameter(n).data.copy_(layer.parameter(n, reverse=True))
    a, b = forward(x), backward(x.flip(0))
    close(y, torch.cat((a[0], b[0].flip(0)), -1))
    close(final["h"], torch.cat((a[1]["h"], b[1]["h"])))


@pytest.mark.parametrize("name", zoo())
def test_carried_state_continues_a_sequence(name: str) -> None:
    layer = build(name, layers=2)
    x, constants = draw(7, 3, 4), inputs_of(layer, 3)
    whole, final = layer(x, **constants)
    first, state = layer(x[:3], **constants)
    saved = {n: t.clone() for n, t in state.items()}
    again = build(name, layers=2)
    again.load_state_dict(layer.state_dict())
    second, state = again(x[3:], saved, **constants)
    close(torch.cat((first, second)), whole)
    for n in final:
        close(state[n], final[n])


def test_layouts_single_sequences_and_shapes() -> None:
    layer = build("lstm", 3, 4, 2, bidirectional=True, batch_first=True)
    x = draw(2, 5, 3)
    y, state, every = layer(x, return_states=True)
    assert y.shape == (2, 5, 8)
    assert {n: tuple(t.shape) for n, t in state.items()} == {"c": (4, 2, 4), "h": (4, 2, 4)}
    assert every["c"].shape == (4, 2, 5, 4)
    close(every["h"][2], y[..., :4])
    close(every["h"][3], y[..., 4:])
    one, single_state, single_every = layer(x[1], return_states=True)
    close(one, y[1])
    close(single_state["c"], state["c"][:, 1])
    close(single_every["c"], every["c"][:, 1])
    resumed, _ = layer(x[1], single_state)
    close(resumed, layer(x[1:], {n: t[:, 1:] for n, t in state.items()})[0][0])


def test_a_cell_is_a_name_a_text_a_file_or_a_recurrence(tmp_path) -> None:
    text = "h = tanh(W @ x + U @ h + b)"
    assert build(text).parameter("U").shape == (4, 4)
    assert build(Recurrence(text)).recurrence == build(text).recurrence
    assert build("lstm").recurrence.name == "lstm"
    path = tmp_path / "mine.eq"
    path.write_text(f"# Mine\n{text}\n", encoding="utf-8")
    assert build(str(path)).recurrence == Recurrence(text)
    with pytest.raises(EquationError):
        Recurrent("h = open(x)", 4, 4)
    with pytest.raises(MisuseError):
        Recurrent(3, 4, 4)


def test_parameters_by_name() -> None:
    layer = build("lstm", 3, 4, 2, bidirectional=True)
    assert layer.parameter("Wi").shape == (4, 3)
    assert layer.parameter("Wi", layer=1, reverse=True).shape == (4, 8)
    assert layer.parameter("Wi", layer=1, reverse=True) is dict(layer.named_parameters())["layers.1_reverse.Wi"]
    with pytest.raises(MisuseError, match="no layer 2"):
        layer.parameter("Wi", layer=2)
    with pytest.raises(MisuseError, match="no parameter 'Wq'"):
        layer.parameter("Wq")


def test_a_text_names_its_own_inputs_and_output() -> None:
    text = "# inputs: v\n# output: c\nc = tanh(W @ x + V @ v + 0.5 * c)\nh = tanh(U @ c + h)"
    layer = Recurrent(text, 4, 4, widths={"v": 3})
    assert layer.recurrence.output == "c"
    assert layer.parameter("V").shape == (4, 3)
    y, state = layer(torch.ones(5, 2, 4), v=torch.ones(2, 3))
    close(y[-1], state["c"][0])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_equations_without_parameters_take_the_type_of_x(dtype: torch.dtype) -> None:
    layer = Recurrent("h = 0.5 * h + x", 4, 4, recurrent_dropout=0.5)
    x = torch.ones(2, 3, 4, dtype=dtype)
    y, state = layer(x)
    assert y.dtype == state["h"].dtype == dtype
    close(y[1], 1.5 * x[1])
    close(layer(x[:, 0])[0], y[:, 0])
    assert layer.initial_state(3, x.to("meta"))["h"].device.type == "meta"


@pytest.mark.parametrize("training", [True, False])
def test_a_name_that_the_equations_do_not_have_is_refused(training: bool) -> None:
    layer = build("gru", recurrent_dropout=0.5).train(training)
    with pytest.raises(MisuseError, match="no constant input 'mask'; it has: none"):
        layer(draw(3, 2, 4), mask=torch.zeros(2, 4))
    own = Recurrent(Recurrence("h = tanh(W @ x + U @ (mask * h))", inputs=("mask",)), 4, 4, recurrent_dropout=0.5)
    assert own(torch.ones(3, 2, 4), mask=torch.ones(2, 4))[0].shape == (3, 2, 4)
    for x in (torch.ones(3, 2, 4), torch.ones(3, 4)):
        with pytest.raises(MisuseError, match="constant input mask must be a tensor, not int"):
            own(x, mask=1)


def test_pruned_and_parametrised_weights_are_found() -> None:
    layer, plain = Recurrent("gru", 4, 4), Recurrent("gru", 4, 4)
    table = layer.layers["0"]
    prune.random_unstructured(table, "Ur", 0.5)
    parametrizations.weight_norm(table, "Wz")
    nn.utils.parametrize.register_parametrization(table, "bz", Doubled())
    with torch.no_grad():
        for name in plain.recurrence.parameters(4, 4):
            plain.parameter(name).copy_(layer.parameter(name))
    x = torch.ones(3, 2, 4)
    close(layer(x)[0], plain(x)[0], 1e-6)
    assert int((layer.parameter("Ur") == 0).sum()) == 8
    layer(x)[0].sum().backward()
    assert table.Ur_orig.grad is not None
    with torch.no_grad():
        table.Ur_orig.mul_(3)
    assert (layer(x)[0] - plain(x)[0]).abs().max() > 1e-4


class Doubled(nn.Module):
    def forward(self, tensor: Tensor) -> Tensor:
        return 2 * tensor


def test_parameters_may_be_called_as_methods_of_a_module() -> None:
    layer = build("h = tanh(forward @ x + train @ h + type)")
    assert set(layer.state_dict()) == {"layers.0.forward", "layers.0.train", "layers.0.type"}
    assert layer(draw(2, 1, 4))[0].shape == (2, 1, 4)


def test_copies_types_and_state_dicts() -> None:
    layer = build("gru", layers=2, recurrent_dropout=0.5)
    layer.eval()
    x = draw(4, 2, 4)
    twin = copy.deepcopy(layer)
    close(twin(x)[0], layer(x)[0])
    twin.parameter("Wr").data.zero_()
    assert layer.parameter("Wr").any()
    other = Recurrent("gru", 4, 4, 2)
    other.load_state_dict(layer.state_dict())
    close(other(x.float())[0], layer.to(torch.float32)(x.float())[0], 1e-6)


def test_learnt_initial_state() -> None:
    layer = build("lstm", layers=2, learn_initial_state=True)
    x = draw(4, 3, 4)
    y, _ = layer(x)
    given_state = {n: layer.initial()[n].unsqueeze(1).expand(2, 3, 4) for n in "ch"}
    close(layer(x, given_state)[0], y)
    assert build("lstm", layers=2)(x)[0].shape == y.shape
    y.sum().backward()
    assert layer.initial()["c"].grad.abs().sum() > 0
    assert "initial.c" in layer.state_dict()


def test_recurrent_dropout_is_one_mask_a_call() -> None:
    layer = build("h = tanh(W @ x + U @ h)", recurrent_dropout=0.5, backend="reference")
    x = draw(6, 3, 4)
    torch.manual_seed(0)
    y, _ = layer(x)
    torch.manual_seed(0)
    mask = dropout(torch.ones(3, 4, dtype=torch.float64), 0.5)
    w, u = layer.parameter("W"), layer.parameter("U")
    h = torch.zeros(3, 4, dtype=torch.float64)
    for t in range(6):
        h = torch.tanh(x[t] @ w.t() + (mask * h) @ u.t())
        close(y[t], h)
    layer.eval()
    close(layer(x)[0], layer(x)[0])
    assert (layer(x)[0] - y).abs().max() > 1e-3


def test_dropout_between_layers_only_in_training() -> None:
    layer = build("rnn", layers=2, dropout=0.9)
    x = draw(4, 2, 4)
    assert (layer(x)[0] - layer(x)[0]).abs().max() > 0
    layer.eval()
    close(layer(x)[0], layer(x)[0])


def test_backend_used_is_told() -> None:
    layer = build("lstm")
    assert layer.backend_used == ""
    layer(draw(3, 2, 4))
    assert layer.backend_used.startswith("torch")
    layer = build("mut1")
    layer(draw(3, 2, 4))
    assert "fused kernel only for" in layer.backend_used
    layer.float()(draw(3, 2, 4).float())
    assert layer.backend_used.startswith("cpu")
    with pytest.raises(MisuseError, match="not part of this version"):
        build("lstm", backend="gpu")(draw(3, 2, 4))


def test_printed_form_tells_what_differs() -> None:
    text = repr(Recurrent("gru", 3, 5, 2, bidirectional=True, dropout=0.1))
    assert "'gru', 3, 5, num_layers=2, bidirectional=True, dropout=0.1" in text


def test_misuse_is_told_in_words() -> None:
    with pytest.raises(MisuseError, match=r"use x elementwise.*hidden_size = 5.*input_size is 4"):
        Recurrent("mut1", 4, 5)
    with pytest.raises(MisuseError, match=r"bidirectional stack are fed 2 \* hidden_size = 8"):
        Recurrent("mut1", 4, 4, 2, bidirectional=True)
    with pytest.raises(MisuseError, match=r"constant input v is missing: give widths"):
        Recurrent("rnn-image", 4, 4)
    for rate in (1.0, "a", float("nan")):
        with pytest.raises(MisuseError, match=r"dropout is .*; it must be a number"):
            Recurrent("rnn", 4, 4, dropout=rate)
    with pytest.raises(MisuseError, match="num_layers is 0"):
        Recurrent("rnn", 4, 4, 0)
    with pytest.raises(MisuseError, match="no backend 'quick'"):
        Recurrent("rnn", 4, 4, backend="quick")
    layer = build("lstm")
    x = draw(5, 3, 4)
    state = layer.initial_state(3)
    calls = [
        (lambda: layer(x[..., :3]), r"x must be 4 wide; got \[5, 3, 3\]"),
        (lambda: layer(x[None]), r"x must be \[T, B, 4\]"),
        (lambda: layer(x.long()), "floating type"),
        (lambda: layer(x.float()), "torch.float32"),
        (lambda: layer(x, {"h": state["h"]}), "state must have"),
        (lambda: layer(x, {**state, "h": state["h"][:, :2]}), r"state h must be a tensor \[1, 3, 4\]; got \[1, 2, 4\]"),
        (lambda: layer(x, {**state, "h": 0}), r"state h must be a tensor \[1, 3, 4\]; got int"),
        (lambda: layer(x[:, 0], state["h"]), "dict by state name"),
        (lambda: layer(x[:, 0], state), r"state h must be a tensor \[1, 4\]; got \[1, 3, 4\]|state c"),
        (lambda: layer(x.numpy()), r"x must be a tensor \[T, B, 4\]"),
        (lambda: layer(x[:, 0, :3]), r"x must be 4 wide; got \[5, 3\]"),
        (lambda: layer(x, (state["h"], state["c"])), "dict by state name"),
        (lambda: layer(x, lengths=[1, 2]), r"\[3\]; got \[2\]"),
        (lambda: layer(x, lengths=[1, 2, 6]), "between 1 and the 5"),
        (lambda: layer(x, lengths=[0, 2, 3]), "between 1 and the 5"),
        (lambda: layer(x, lengths=torch.tensor([1.0, 2, 3])), "whole numbers"),
        (lambda: layer(x, context=x[0]), "no constant input 'context'"),
        (lambda: layer(x[:0]), "empty"),
    ]
    for call, message in calls:
        with pytest.raises(MisuseError, match=message):
            call()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
@pytest.mark.parametrize("name", zoo())
def test_layers_on_cuda_equal_the_cpu(name: str) -> None:
    layer = build(name, bidirectional=True)
    x, constants = draw(6, 4, 4), inputs_of(layer, 4)
    y, final = layer(x, lengths=[3, 6, 1, 4], **constants)
    twin = copy.deepcopy(layer).cuda()
    z, last = twin(x.cuda(), lengths=[3, 6, 1, 4], **{n: t.cuda() for n, t in constants.items()})
    close(z.cpu(), y)
    for n in final:
        close(last[n].cpu(), final[n])
