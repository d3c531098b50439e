"""Weight files: what is read, what is refused and how it is said."""

from __future__ import annotations

import contextlib
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from elman.errors import FailureError
from elman.models.convnets import ConvNet, build, load_weights, read_state


def small(classes: int = 10, seed: int = 0) -> ConvNet:
    return build("net", classes, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=["zip", "legacy"])
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The state_dict of a net in each of torch's two formats."""
    path = tmp_path / "net.pth"
    torch.save(small().state_dict(), path, _use_new_zipfile_serialization=request.param == "zip")
    return path


def test_a_state_dict_is_read_as_torch_reads_it(saved: Path) -> None:
    expected = torch.load(saved, weights_only=True)
    found = read_state(saved)
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("new", [True, False])
def test_views_types_and_wrappers_are_read(tmp_path: Path, new: bool) -> None:
    base = torch.arange(24.0)
    state = OrderedDict(
        a=base.view(2, 3, 4)[:, 1],
        b=base.view(4, 6).T,
        half=torch.randn(3).half(),
        brain=torch.randn(3).bfloat16(),
        double=torch.randn(2, 2).double(),
        count=torch.tensor(7),
        flags=torch.tensor([True, False]),
        empty=torch.zeros(0, 3),
        parameter=torch.nn.Parameter(torch.ones(2)),
    )
    wrapped = {"epoch": 3, "rate": 0.1, "state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}
    path = tmp_path / "checkpoint.pth"
    torch.save(wrapped, path, _use_new_zipfile_serialization=new)
    found = read_state(path)
    assert found.keys() == state.keys()
    for name, tensor in state.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor.detach())


class _Attack:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("new", [True, False])
def test_nothing_in_a_file_is_run(tmp_path: Path, new: bool) -> None:
    path, trap = tmp_path / "evil.pth", tmp_path / "trap"
    torch.save({"weight": torch.ones(1), "bias": _Attack(str(trap))}, path, _use_new_zipfile_serialization=new)
    with pytest.raises(FailureError, match=r"evil\.pth is not a file of weights alone: .*mkdir"):
        read_state(path)
    assert not trap.exists()


def test_a_whole_pickled_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    torch.save(small(), path)
    with pytest.raises(FailureError, match="not a file of weights alone"):
        read_state(path)


def test_a_plain_pickle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plain.pth"
    path.write_bytes(pickle.dumps({"weight": 1}, protocol=2))
    with pytest.raises(FailureError, match=r"none that torch\.save writes"):
        read_state(path)


def test_more_numbers_than_there_are_are_refused(tmp_path: Path) -> None:
    """A stride of zero makes terabytes out of one number."""
    path = tmp_path / "wide.pth"
    torch.save({"w": torch.ones(1).expand(1 << 40)}, path)
    with pytest.raises(FailureError, match="more numbers than are stored"):
        read_state(path)


def test_a_storage_that_claims_more_than_the_file_takes_no_memory(tmp_path: Path) -> None:
    path, lying = tmp_path / "a.pth", tmp_path / "b.pth"
    torch.save({"w": torch.ones(70_000)}, path)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(lying, "w") as new:
        for member in old.infolist():
            data = old.read(member)
            # 70,000 as a four-byte number becomes two thousand million
            new.writestr(member.filename, data.replace(b"J\x70\x11\x01\x00", b"J\x00\x00\x00\x7f"))
    with pytest.raises(FailureError, match="shorter than its list of tensors says"):
        read_state(lying)


def test_a_missing_and_an_unknown_file_are_said(tmp_path: Path) -> None:
    with pytest.raises(FailureError, match=r"none\.pth cannot be read"):
        read_state(tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(FailureError, match="neither safetensors nor a state_dict"):
        read_state(tmp_path / "text.pth")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1), value=st.integers(1, 255), keep=st.floats(0, 1), cut=st.booleans())
def test_damage_is_an_error_of_ours_or_harmless(saved: Path, place: float, value: int, keep: float, cut: bool) -> None:
    content = bytearray(saved.read_bytes())
    # the list of tensors stands near the beginning in both formats
    content[int(place * 3000)] ^= value
    damaged = saved.with_name("damaged.pth")
    damaged.write_bytes(content[: int(keep * len(content))] if cut else content)
    # anything but a FailureError fails the test
    with contextlib.suppress(FailureError):
        read_state(damaged)


@pytest.mark.parametrize("opcode", [b"\x8e", b"\x8d", b"\x96"])  # bytes, text and a byte array of eight-byte length
def test_a_length_beyond_the_file_takes_no_memory(tmp_path: Path, opcode: bytes) -> None:
    path = tmp_path / "long.pth"
    path.write_bytes(b"\x80\x05" + opcode + (2**62).to_bytes(8, "little") + b".")
    with pytest.raises(FailureError, match=r"long\.pth"):
        read_state(path)


def test_weights_are_taken(tmp_path: Path) -> None:
    source, target = small(seed=0), small(seed=1)
    save_file(source.state_dict(), tmp_path / "net.safetensors")
    assert load_weights(target, tmp_path / "net.safetensors") is target
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), target.parameters(), strict=True))


def test_another_number_of_classes(saved: Path) -> None:
    net = small(classes=3, seed=1)
    head = net.get_parameter("fc3.weight").clone()
    with pytest.raises(FailureError, match=r"fc3\.bias has shape \(10,\), net asks for \(3,\)\. Only the layer of the"):
        load_weights(net, saved)
    load_weights(net, saved, keep_head=True)
    assert torch.equal(net.get_parameter("fc3.weight"), head)
    assert torch.equal(net.get_parameter("fc1.weight"), small().get_parameter("fc1.weight"))


def test_the_first_wrong_tensor_is_named_and_the_right_net_told(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    state = build("squeezenet1_1", 10, generator=torch.Generator().manual_seed(0)).state_dict()
    save_file(state, path)
    words = r"features\.0\.bias has shape \(64,\), squeezenet1_0 asks for \(96,\)\. These are .* of squeezenet1_1"
    with pytest.raises(FailureError, match=words):
        load_weights(build("squeezenet1_0", 10), path)
    state["extra"] = torch.zeros(1)
    save_file(state, path)
    with pytest.raises(FailureError, match="holds a tensor extra that squeezenet1_1 does not know"):
        load_weights(build("squeezenet1_1", 10), path)
    del state["extra"], state["features.12.squeeze.weight"]
    save_file(state, path)
    with pytest.raises(FailureError, match=r"lacks the tensor features\.12\.squeeze\.weight"):
        load_weights(build("squeezenet1_1", 10), path)


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    state = small().state_dict()
    state["fc1.bias"] = torch.full_like(state["fc1.bias"], torch.nan)
    torch.save(state, tmp_path / "nan.pth")
    before = small(seed=1)
    with pytest.raises(FailureError, match=r"fc1\.bias holds numbers that are not finite"):
        load_weights(before, tmp_path / "nan.pth")
    assert all(torch.equal(a, b) for a, b in zip(before.parameters(), small(seed=1).parameters(), strict=True))


def test_old_files_lack_counters_and_googlenets_have_more(tmp_path: Path) -> None:
    full = build("googlenet", 10, auxiliary=True, generator=torch.Generator().manual_seed(0))
    state = {name: tensor for name, tensor in full.state_dict().items() if "num_batches" not in name}
    torch.save(state, tmp_path / "old.pth")
    net = load_weights(build("googlenet", 10), tmp_path / "old.pth")
    assert torch.equal(net.get_parameter("fc.weight"), full.get_parameter("fc.weight"))
    assert int(net.get_buffer("conv1.bn.num_batches_tracked")) == 0
    plain = {name: tensor for name, tensor in state.items() if not name.startswith("aux")}
    torch.save(plain, tmp_path / "plain.pth")
    with pytest.raises(FailureError, match=r"lacks the tensor aux1\.conv\.bn\.bias"):
        load_weights(full, tmp_path / "plain.pth")
