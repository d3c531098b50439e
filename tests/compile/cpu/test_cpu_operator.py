"""The compiled passes as operators: what torch.compile, torch.export and make_fx record computes the same numbers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

import elman.nn
from elman.compile import run
from elman.compile.cpu import operator, passes
from elman.compile.cpu.target import host_target, unsupported
from elman.equations import Recurrence, cell, zoo
from elman.errors import FailureError, MisuseError
from elman.models.language import LanguageModel

pytestmark = [
    pytest.mark.skipif(unsupported() is not None, reason=str(unsupported())),
    pytest.mark.filterwarnings("ignore:.*lru_cache.*:UserWarning"),
]

ROOMS = ("rnn", "lstm", "gru-reset-after", "layernorm-lstm", "mingru")


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    torch.manual_seed(0)
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def texts_of(recurrence: Recurrence) -> list[str]:
    return list(operator._described(recurrence)[0])


def operands_of(recurrence: Recurrence, steps: int, batch: int, hidden: int, grad: bool = False) -> list[Tensor]:
    """Random operands of the operators, in their order; x is as wide as the state."""
    generator = torch.Generator().manual_seed(1)
    inputs, vectors, rows = passes.inputs_of(recurrence)
    shapes: list[tuple[int, ...]] = [(hidden, hidden)] * len(recurrence.matrices)
    shapes += [(batch, hidden)] * len(recurrence.states) + [(steps * batch, hidden)] * len(inputs)
    shapes += [(hidden,)] * len(vectors) + [(batch, hidden)] * len(rows)
    return [(torch.randn(shape, generator=generator) * 0.3).requires_grad_(grad) for shape in shapes]


def results(module: nn.Module, *inputs: Any) -> dict[str, Tensor]:
    """What a call gives, and the gradients of all parameters and of inputs of a floating type."""
    own = [each.detach().clone().requires_grad_(each.is_floating_point()) for each in inputs]
    y, state = module(*own)
    states = list(state.values()) if isinstance(state, dict) else [*state] if isinstance(state, tuple) else [state]
    weights = torch.cos(torch.arange(y.numel(), dtype=torch.float32)).view(y.shape)
    total = (y.float() * weights).sum() + sum((each * each).sum() for each in states)
    leaves = {name: p for name, p in module.named_parameters() if p.requires_grad}
    leaves |= {f"input {number}": each for number, each in enumerate(own) if each.requires_grad}
    found = torch.autograd.grad(total, list(leaves.values()))
    gradients = {name.removeprefix("_orig_mod."): each for name, each in zip(leaves, found, strict=True)}
    return {"y": y, **{f"state {i}": each for i, each in enumerate(states)}, **gradients}


def assert_same(left: dict[str, Tensor], right: dict[str, Tensor], tolerance: float = 1e-5) -> None:
    assert left.keys() == right.keys()
    for name in left:
        torch.testing.assert_close(
            left[name], right[name], rtol=tolerance, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}"
        )


def reference_of(module: elman.nn.Recurrent) -> elman.nn.Recurrent:
    other = elman.nn.Recurrent(
        module.recurrence,
        module.input_size,
        module.hidden_size,
        module.num_layers,
        bidirectional=module.bidirectional,
        backend="reference",
    )
    other.load_state_dict(module.state_dict())
    return other


@pytest.mark.parametrize("name", zoo())
def test_a_text_gives_the_recurrence_back(name: str) -> None:
    recurrence = cell(name)
    again = operator._recurrence(tuple(texts_of(recurrence)))
    assert (again, again.graph) == (recurrence, recurrence.graph)


@pytest.mark.parametrize(
    "recurrence",
    [
        cell("lstm"),
        cell("rnn-image"),
        # in these the mask's name stands in the text, where it means something else
        Recurrence("mask = tanh(W @ x)\nh = tanh(mask + U @ h)"),
        Recurrence("unread = mask * x\nh = tanh(W @ x + U @ h)"),
    ],
)
def test_a_mask_is_told_from_an_input(recurrence: Recurrence) -> None:
    masked = recurrence.with_recurrent_mask("mask")
    again = operator._recurrence(tuple(texts_of(masked)))
    assert again.graph == masked.graph
    assert again.graph != recurrence.graph


def test_a_program_of_another_version_is_refused() -> None:
    recurrence = cell("rnn")
    equations, output, _, *inputs = texts_of(recurrence)
    operands = operands_of(recurrence, 2, 2, 4)
    with pytest.raises(FailureError, match="another version"):
        torch.ops.elman.passes([equations, output, "0" * 16, *inputs], ["h"], False, 2, operands)


@pytest.mark.parametrize("hidden", [16, 5])
@pytest.mark.parametrize("name", ["lstm", "layernorm-lstm"])
def test_the_operators_are_what_torch_demands(name: str, hidden: int) -> None:
    recurrence = cell(name)
    steps, batch = 3, 2
    halves = [False, True] if host_target().bf16 else [False]
    for half in halves:
        common = (texts_of(recurrence), [recurrence.output], half, steps)
        torch.library.opcheck(torch.ops.elman.passes, (*common, operands_of(recurrence, steps, batch, hidden, True)))
        operands = operands_of(recurrence, steps, batch, hidden)
        # what pads the rows of memory may be anything, so that no two calls give equal tensors
        same = ("test_schema", "test_faketensor")
        torch.library.opcheck(torch.ops.elman.passes_kept, (*common, operands), test_utils=same)
        kept = torch.ops.elman.passes_kept(*common, operands)[len(recurrence.states) :]
        dtype = torch.bfloat16 if half else torch.float32
        gradients = [torch.randn(steps * batch, hidden).to(dtype)]
        gradients += [torch.randn(batch, hidden) for _ in recurrence.states]
        for needed in ([True] * len(operands), [index % 2 == 0 for index in range(len(operands))]):
            arguments = (*common, operands, kept, gradients, needed)
            torch.library.opcheck(torch.ops.elman.passes_backward, arguments)
        arguments = (*common, operands, kept, [None, *gradients[1:]], [True] * len(operands))
        torch.library.opcheck(torch.ops.elman.passes_backward, arguments)


@pytest.mark.parametrize("name", ROOMS)
def test_a_compiled_layer_computes_what_the_reference_computes(name: str) -> None:
    module = elman.nn.Recurrent(name, 5, 12, 1, backend="cpu")
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    x = torch.randn(4, 3, 5)
    assert_same(results(compiled, x), results(reference_of(module), x))


def test_layers_and_directions_of_any_length_need_one_program() -> None:
    module = elman.nn.Recurrent("lstm", 5, 12, 2, bidirectional=True, backend="cpu")
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True, dynamic=True)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for steps, batch in ((4, 3), (7, 5), (2, 9)):
            x = torch.randn(steps, batch, 5)
            assert_same(results(compiled, x), results(reference_of(module), x))


def test_constant_inputs_and_all_states() -> None:
    module = elman.nn.Recurrent("rnn-image", 5, 12, backend="cpu", widths={"v": 7})
    x, v = torch.randn(4, 3, 5), torch.randn(3, 7)
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    y, final, sequences = compiled(x, v=v, return_states=True)
    expected = reference_run(module, x, {"v": v})
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(sequences["h"][0], expected)
    torch.testing.assert_close(final["h"][0], expected[-1])


def reference_run(module: elman.nn.Recurrent, x: Tensor, constants: dict[str, Tensor]) -> Tensor:
    state = {name: tensor[0] for name, tensor in module.initial_state(x.shape[1]).items()}
    parameters = module.layers["0"]()
    return run(module.recurrence, parameters, x, state, constants, backend="reference").outputs["h"]


def test_a_mask_in_a_compiled_program() -> None:
    module = elman.nn.Recurrent("gru", 5, 12, backend="cpu")
    masked = module.recurrence.with_recurrent_mask("mask")
    parameters, state = module.layers["0"](), {"h": torch.zeros(3, 12)}
    x, mask = torch.randn(4, 3, 5), torch.rand(3, 12)

    def call(x: Tensor, mask: Tensor, backend: str) -> Tensor:
        return run(masked, parameters, x, state, {"mask": mask}, backend=backend).outputs["h"]

    compiled = torch.compile(call, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, mask, "cpu"), call(x, mask, "reference"))


def test_autocast_is_recorded() -> None:
    if not host_target().bf16:
        pytest.skip("this CPU has no dot products of bfloat16")
    module = elman.nn.Recurrent("lstm", 5, 12, 2, backend="cpu")
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    x = torch.randn(4, 3, 5)
    with torch.autocast("cpu", torch.bfloat16):
        left, right = results(compiled, x), results(module, x)
    assert left["y"].dtype == torch.bfloat16
    assert_same(left, right)


def test_a_result_may_be_changed_in_place() -> None:
    module = elman.nn.Recurrent("rnn", 5, 16, backend="cpu")

    def changed(x: Tensor) -> Tensor:
        y = module(x)[0]
        y.mul_(2.0)
        return y.square().sum()

    x = torch.randn(4, 3, 5, requires_grad=True)
    (left,) = torch.autograd.grad(torch.compile(changed, backend="aot_eager", fullgraph=True)(x), x)
    (right,) = torch.autograd.grad((reference_of(module)(x)[0] * 2.0).square().sum(), x)
    torch.testing.assert_close(left, right)


@pytest.mark.parametrize("tied", [False, True])
def test_a_compiled_language_model(tied: bool) -> None:
    torch.manual_seed(3)
    model = LanguageModel("lstm", 11, 12, 2, tied=tied, backend="cpu")
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    tokens = torch.randint(0, 11, (4, 3))
    plain = LanguageModel("lstm", 11, 12, 2, tied=tied, backend="reference")
    plain.load_state_dict(model.state_dict())
    assert_same(results(compiled, tokens), results(plain, tokens))


def test_dropout_in_one_program() -> None:
    model = LanguageModel("lstm", 11, 12, 2, dropout=0.2, input_dropout=0.2, recurrent_dropout=0.2, backend="cpu")
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    tokens = torch.randint(0, 11, (4, 3))
    assert not torch.equal(compiled(tokens)[0], compiled(tokens)[0])
    model.eval()
    torch.testing.assert_close(compiled(tokens)[0], model(tokens)[0])


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_a_layer_in_the_place_of_torchs(kind: str) -> None:
    module = getattr(elman.nn, kind)(5, 12, 2, backend="cpu")
    own = getattr(nn, kind)(5, 12, 2)
    own.load_state_dict(module.state_dict())
    x = torch.randn(4, 3, 5)
    expected = results(own, x)
    assert_same(results(torch.export.export(module, (x,)).module(), x), expected)
    # torch.compile refuses to look into whatever is a torch.nn.RNNBase unless it is told to
    with torch._dynamo.config.patch(allow_rnn=True):
        assert_same(results(torch.compile(module, backend="aot_eager", fullgraph=True), x), expected)


def test_rows_of_unequal_length_are_left_out_of_the_program() -> None:
    module = elman.nn.Recurrent("lstm", 5, 12, 2, bidirectional=True, backend="cpu")
    x, lengths = torch.randn(6, 3, 5), torch.tensor([6, 2, 4])
    expected, final = reference_of(module)(x, lengths=lengths)
    y, state = torch.compile(module, backend="aot_eager")(x, lengths=lengths)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(state["c"], final["c"])


def test_lengths_are_not_exported_silently() -> None:
    class Ragged(nn.Module):
        def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
            parameters = {"Wx": torch.ones(4, 5), "Wh": torch.ones(4, 4), "b": torch.ones(4)}
            state = {"h": torch.zeros(3, 4)}
            return run(cell("rnn"), parameters, x, state, backend="cpu", lengths=lengths).outputs["h"]

    with pytest.raises(MisuseError, match="cannot be exported with lengths"):
        torch.export.export(Ragged(), (torch.randn(6, 3, 5), torch.tensor([6, 2, 4])))


@pytest.mark.parametrize("strict", [False, True])
def test_an_exported_layer_of_any_length(strict: bool) -> None:
    module = elman.nn.Recurrent("lstm", 5, 12, 2, backend="cpu")
    sizes = {0: torch.export.Dim("T", min=2, max=100), 1: torch.export.Dim("B", min=2, max=100)}
    program = torch.export.export(module, (torch.randn(4, 3, 5),), dynamic_shapes={"x": sizes}, strict=strict)
    assert {str(node.target) for node in program.graph.nodes if "elman" in str(node.target)} == {"elman.passes.default"}
    x = torch.randn(7, 2, 5)
    assert_same(results(program.module(), x), results(reference_of(module), x))
    torch.testing.assert_close(program.run_decompositions().module()(x)[0], module(x)[0])


def test_gradients_of_an_exported_layer_can_be_differentiated() -> None:
    module = elman.nn.Recurrent("gru", 5, 12, backend="cpu")
    x = torch.randn(4, 3, 5, requires_grad=True)
    program = torch.export.export(module, (x.detach(),)).module()
    seconds = []
    for each in (program, reference_of(module)):
        (first,) = torch.autograd.grad(each(x)[0].square().sum(), x, create_graph=True)
        seconds.append(torch.autograd.grad(first.square().sum(), x)[0])
    torch.testing.assert_close(*seconds)


def test_an_exported_file_runs_in_another_process(tmp_path: Path) -> None:
    module = elman.nn.Recurrent("gru", 5, 12, 2, backend="cpu").requires_grad_(False)
    x = torch.randn(4, 3, 5)
    torch.export.save(torch.export.export(module, (x,)), tmp_path / "layer.pt2")
    torch.save((x, module(x)[0]), tmp_path / "numbers.pt")
    program = (
        "import torch, elman.nn\n"
        "x, expected = torch.load('numbers.pt')\n"
        "y, state = torch.export.load('layer.pt2').module()(x)\n"
        "torch.testing.assert_close(y, expected)\n"
    )
    run_python(program, tmp_path)


def run_python(program: str, folder: Path) -> None:
    paths: Sequence[str] = [path for path in sys.path if path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_importing_layers_does_not_load_the_compiler(tmp_path: Path) -> None:
    run_python("import sys, elman.nn\nassert 'torch._dynamo' not in sys.modules", tmp_path)


def test_make_fx_records_the_operator_instead_of_its_numbers() -> None:
    module = elman.nn.Recurrent("rnn", 5, 12, backend="cpu").requires_grad_(False)
    recorded = make_fx(lambda x: module(x)[0])(torch.randn(4, 3, 5))
    x = torch.randn(4, 3, 5)
    torch.testing.assert_close(recorded(x), module(x)[0])


@pytest.mark.slow
def test_inductor() -> None:
    if not (shutil.which("g++") or shutil.which("clang++")):
        pytest.skip("inductor needs a C++ compiler")
    model = LanguageModel("lstm", 11, 20, 2, backend="cpu")
    tokens = torch.randint(0, 11, (4, 3))
    assert_same(results(torch.compile(model, fullgraph=True), tokens), results(model, tokens))
    module = elman.nn.Recurrent("gru", 5, 16, 2, bidirectional=True, backend="cpu")
    compiled = torch.compile(module, fullgraph=True, dynamic=True)
    for steps, batch in ((4, 3), (7, 5)):
        x = torch.randn(steps, batch, 5)
        assert_same(results(compiled, x), results(module, x))
