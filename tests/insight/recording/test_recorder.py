"""What a recording holds, against the model fed one token at a time and against the surprisal of the same text."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from equations.interpreter import step_of_text
from insight.planted import inside_quotes, planted_model, planted_text

from elman.data.vocabulary import Vocabulary, build
from elman.equations import Recurrence
from elman.errors import CancelledError, FailureError, MisuseError
from elman.insight.recording import Recording, reading, record, recording_bytes, wanted
from elman.insight.surprisal import surprisal
from elman.models.language import LanguageModel
from elman.models.ngram import NgramModel
from elman.training.ngram import train_ngram_run

TEXT = planted_text(6_000, seed=3)


def language_model(vocabulary: Vocabulary, cell: str = "lstm", scale: float = 3.0, **sizes: Any) -> Any:
    torch.manual_seed(0)
    model = LanguageModel(cell, vocabulary.size, **{"hidden": 12, "layers": 2, **sizes})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale)  # 3: large enough that c leaves [-1, 1] and the gates their middle
    return model.eval()


@torch.no_grad()
def by_hand(model: LanguageModel, ids: list[int]) -> dict[tuple[int, str], np.ndarray]:
    """Every name of every layer [N, width] in float64: each line of the equations, step by step."""
    recurrence = model.recurrence
    known = [
        {
            name: model.recurrent.parameter(name, layer).double().numpy()
            for name in (*recurrence.matrices, *recurrence.vectors)
        }
        for layer in range(model.layers)
    ]
    table = model.embedding.weight.double().numpy()
    states = [{name: np.zeros(model.hidden) for name in recurrence.states} for _ in known]
    found: dict[tuple[int, str], list[np.ndarray]] = {}
    for token in ids:
        x = table[token]
        for layer, parameters in enumerate(known):
            values = step_of_text(recurrence.equations, parameters | states[layer] | {"x": x})
            states[layer] = {name: values[name] for name in recurrence.states}
            for name in (*recurrence.states, *recurrence.intermediates.names):
                found.setdefault((layer, name), []).append(values[name])
            x = values[recurrence.output]
    return {key: np.stack(series) for key, series in found.items()}


def stored(recording: Recording, layer: int, name: str) -> np.ndarray:
    """A quantity as it was recorded [N, width], in the scale of its transform."""
    first = recording.find(layer, name, 0)
    group, _ = recording.locate(first)
    return recording.values[first : first + group.count].T / 127


@pytest.mark.parametrize("cell", ["lstm", "gru", "mut1", "layernorm-lstm", "minlstm", "rnn-relu", "indrnn"])
def test_every_cell_at_every_position_is_what_the_equations_give(cell: str, tmp_path: Path) -> None:
    vocabulary = build("characters", [TEXT])
    model = language_model(vocabulary, cell, scale=1.0 if cell in ("rnn-relu", "indrnn") else 2.0).double()
    text = TEXT[:400]
    recording = record(model, vocabulary, text, tmp_path / "r", gates="all")
    newline, *ids = vocabulary.encode("\n" + text).ids.tolist()
    expected = by_hand(model, [newline, *ids])
    assert recording.ids.tolist() == ids
    assert {(group.layer, group.name) for group in recording.groups} == set(expected)
    for group in recording.groups:
        values = expected[group.layer, group.name][1:]
        bounded = np.abs(expected[group.layer, group.name]).max() <= 1
        assert group.transform == ("identity" if bounded else "tanh")
        values = values if bounded else np.tanh(values)
        assert np.abs(stored(recording, group.layer, group.name) - values).max() <= 0.5 / 127 + 1e-6
    assert {group.kind for group in recording.groups if group.name in model.recurrence.states} == {"state"}


def test_some_states_leave_the_unit_interval_and_some_do_not(tmp_path: Path) -> None:
    vocabulary = build("characters", [TEXT])
    recording = record(language_model(vocabulary), vocabulary, TEXT, tmp_path / "r", gates=["i", "g"])
    kinds = {(group.name, group.kind, group.transform) for group in recording.groups}
    assert kinds == {
        ("c", "state", "tanh"), ("h", "state", "identity"), ("i", "gate", "identity"), ("g", "gate", "identity")
    }  # fmt: skip
    assert [group.first for group in recording.groups] == list(range(0, 96, 12))
    assert (recording.cells, recording.length) == (96, len(TEXT))
    assert recording.find(1, "c", 5) == 53
    assert recording.describe(53) == "layer 1 c[5]"
    assert recording.locate(53) == (recording.groups[4], 5)
    assert recording.cell(53).tolist() == recording.values[53].tolist()


def test_surprise_and_the_likeliest_are_those_of_the_model(tmp_path: Path) -> None:
    vocabulary = build("characters", [TEXT])
    model = language_model(vocabulary)
    recording = record(model, vocabulary, TEXT, tmp_path / "r")
    np.testing.assert_allclose(recording.nats, surprisal(model, vocabulary, TEXT).nats, atol=2e-5)
    tokens = torch.from_numpy(vocabulary.encode("\n" + TEXT).ids.astype(np.int64))
    with torch.no_grad():
        logs = torch.log_softmax(model(tokens[:, None])[0][1:, 0], -1).numpy()
    order = np.argsort(-logs, axis=1)[:, :5]
    picked = np.take_along_axis(logs, recording.top_ids, 1)
    np.testing.assert_allclose(picked, np.take_along_axis(logs, order, 1), atol=1e-5)
    np.testing.assert_allclose(recording.top_logprobs, picked, rtol=2e-3)
    assert (np.diff(recording.top_logprobs.astype(float)) <= 0).all()
    assert recording.symbols == [vocabulary.symbol(token) for token in range(vocabulary.size)]


@pytest.mark.parametrize("steps", [1, 7, 100])
def test_blocks_do_not_show(steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vocabulary = build("characters", [TEXT])
    model = language_model(vocabulary)
    whole = record(model, vocabulary, TEXT[:500], tmp_path / "whole", gates="all")
    monkeypatch.setattr(reading, "STEPS", steps)
    cut = record(model, vocabulary, TEXT[:500], tmp_path / "cut", gates="all")
    # another way to round in a product may tip a value over to the next step
    assert np.abs(whole.values.astype(int) - cut.values).max() <= 1
    assert (whole.values != cut.values).mean() < 1e-3
    np.testing.assert_allclose(cut.nats, whole.nats, atol=1e-3)
    assert (cut.top_ids != whole.top_ids).mean() < 1e-2


@pytest.mark.parametrize("streams", [2, 3, 7])
def test_streams_give_what_one_pass_gives(streams: int, tmp_path: Path) -> None:
    """An LSTM that forgets: after the burn-in a stream has the state of the whole text to within rounding."""
    vocabulary = build("characters", [TEXT])
    model = language_model(vocabulary)
    with torch.no_grad():
        for layer in range(2):
            model.recurrent.parameter("bf", layer).fill_(-1.0)
    alone = record(model, vocabulary, TEXT, tmp_path / "one", gates="all", streams=1)
    beside = record(model, vocabulary, TEXT, tmp_path / "many", gates="all", streams=streams, burn_in=150)
    assert (beside.manifest["streams"], beside.manifest["burn_in"]) == (streams, 150)
    assert np.abs(alone.values.astype(int) - beside.values).max() <= 1
    assert (alone.values != beside.values).mean() < 1e-3
    np.testing.assert_allclose(beside.nats, alone.nats, atol=1e-4)
    assert (beside.ids.tolist(), beside.offsets.tolist()) == (alone.ids.tolist(), alone.offsets.tolist())
    assert (alone.manifest["unsettled"], beside.manifest["unsettled"]) == (0, 0)
    # without burn-in the places where streams begin are seen
    cold = record(model, vocabulary, TEXT, tmp_path / "cold", streams=streams, burn_in=0)
    assert np.abs(alone.values[:12].astype(int) - cold.values[:12]).max() > 10


def test_a_long_text_is_read_by_several_streams_and_a_short_one_is_not(tmp_path: Path) -> None:
    vocabulary = build("characters", [TEXT])
    model = language_model(vocabulary, layers=1)
    assert record(model, vocabulary, TEXT, tmp_path / "short").manifest["streams"] == 1
    assert record(model, vocabulary, TEXT * 8, tmp_path / "long").manifest["streams"] == 6


def test_the_planted_cell_is_found_where_it_was_planted(tmp_path: Path) -> None:
    model, vocabulary = planted_model()
    recording = record(model, vocabulary, TEXT, tmp_path / "r", states=["c"])
    inside = inside_quotes(recording.text)
    cell = recording.cell(recording.find(0, "c", 11))
    assert ((cell > 64) == inside.astype(bool)).all()


def test_a_smaller_vocabulary_than_five_leaves_room(tmp_path: Path) -> None:
    vocabulary = build("characters", ["abc"])
    model = language_model(vocabulary)
    recording = record(model, vocabulary, "abccba", tmp_path / "r")
    assert recording.top_ids[:, 3:].tolist() == [[-1, -1]] * 6
    assert np.isneginf(recording.top_logprobs[:, 3:]).all()
    assert sorted(recording.top_ids[0, :3].tolist()) == [0, 1, 2]
    # no newline, nothing stands before the first
    assert recording.nats[0] == pytest.approx(math.log(3))


def test_words_between_start_and_end(tmp_path: Path) -> None:
    vocabulary = build("words", ["the cat sat.\nthe mat.\n"])
    model = language_model(vocabulary)
    text = "the  dog sat.\n\nthe cat"
    recording = record(model, vocabulary, text, tmp_path / "r")
    scored = surprisal(model, vocabulary, text)
    assert [recording.symbols[token] for token in recording.ids] == [
        "<S>", "the", "<unk>", "sat", ".", "<E>", "<S>", "<E>", "<S>", "the", "cat"
    ]  # fmt: skip
    assert recording.offsets.tolist() == [0, 0, 5, 9, 12, 13, 14, 14, 15, 15, 19]
    np.testing.assert_allclose(recording.nats, scored.nats, atol=1e-5)
    assert np.isnan(recording.nats).tolist() == [token == 1 for token in recording.ids]
    assert recording.text == text


def test_symbols_that_the_policy_skips_are_not_read(tmp_path: Path) -> None:
    vocabulary = build("characters", ["abc\n"])
    model = language_model(vocabulary)
    recording = record(model, vocabulary, "aébüc\ud800", tmp_path / "r")
    known = record(model, vocabulary, "abc", tmp_path / "known")
    assert recording.offsets.tolist() == [0, 2, 4]
    assert (recording.values == known.values).all()
    assert recording.text == "aébüc\ud800"
    with pytest.raises(MisuseError, match="'é'"):
        record(model, vocabulary.with_unknown("error"), "aéb", tmp_path / "error")
    with pytest.raises(MisuseError, match="nothing to record"):
        record(model, vocabulary, "éü", tmp_path / "nothing")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["known", "r"]


def test_the_network_that_is_recorded_is_the_one_in_evaluation(tmp_path: Path) -> None:
    vocabulary = build("characters", [TEXT])
    model = language_model(vocabulary, dropout=0.5, input_dropout=0.5, recurrent_dropout=0.5)
    calm = record(model, vocabulary, TEXT[:300], tmp_path / "calm", gates="all")
    model.train()
    assert (record(model, vocabulary, TEXT[:300], tmp_path / "train", gates="all").values == calm.values).all()
    assert model.training


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types_of_weights(dtype: torch.dtype, tmp_path: Path) -> None:
    vocabulary = build("characters", [TEXT])
    model = language_model(vocabulary)
    single = record(model, vocabulary, TEXT[:300], tmp_path / "single", gates="all")
    other = record(model.to(dtype), vocabulary, TEXT[:300], tmp_path / "other", gates="all")
    assert np.abs(single.values[:12].astype(int) - other.values[:12]).mean() < (1 if dtype == torch.float64 else 4)


def test_progress_rises_to_one_and_cancelling_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vocabulary = build("characters", [TEXT])
    model = language_model(vocabulary)
    monkeypatch.setattr(reading, "STEPS", 500)
    shares: list[float] = []
    record(model, vocabulary, TEXT, tmp_path / "r", progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert len(shares) == 13
    shares.clear()
    with pytest.raises(CancelledError):
        record(model, vocabulary, TEXT, tmp_path / "not", progress=shares.append, cancel=lambda: len(shares) > 3)
    assert len(shares) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    vocabulary = build("characters", [TEXT])
    model = language_model(vocabulary)
    with torch.no_grad():
        model.recurrent.parameter("bf", 1)[3] = math.nan
    with pytest.raises(FailureError, match="not numbers"):
        record(model, vocabulary, TEXT, tmp_path / "r")

    def explode(share: float) -> None:
        raise RuntimeError("elsewhere")

    with pytest.raises(RuntimeError, match="elsewhere"):
        record(language_model(vocabulary), vocabulary, TEXT, tmp_path / "r", progress=explode)
    assert list(tmp_path.iterdir()) == []


def test_values_that_turn_large_later_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A counter of a's: within [-1, 1] in what is read first, beyond it later."""
    vocabulary = build("characters", ["ab\n"])
    model = LanguageModel(Recurrence("h = h + W @ x", output="h"), 3, hidden=1, layers=1, embedding=1).eval()
    with torch.no_grad():
        model.embedding.weight.copy_(torch.tensor([[0.0], [0.5], [0.0]]))
        model.recurrent.parameter("W").fill_(1.0)
    monkeypatch.setattr(reading, "PROBE", 3)
    recording = record(model, vocabulary, "aababb", tmp_path / "r")
    assert recording.values.tolist() == [[64, 127, 127, 127, 127, 127]]
    assert recording.groups[0].transform == "identity"
    assert recording.manifest["clipped"] == 3
    # what is read twice is counted once
    twice = record(model, vocabulary, "a" * 100, tmp_path / "twice", streams=4, burn_in=10)
    assert (twice.manifest["streams"], twice.manifest["clipped"]) == (4, 98)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"states": ["q"]}, r"no state 'q'; it has c, h"),
        ({"gates": ["z"]}, r"no gate 'z'; its equations assign i, f, o, g"),
        ({"gates": ["c"]}, r"no gate 'c'"),
        ({"states": []}, r"at least one state or gate"),
        ({"limit_bytes": 1000}, r"48 cells over 6,000 tokens take 0.00 GB.*shorter text"),
    ],
)
def test_what_cannot_be_recorded_is_refused(asked: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    vocabulary = build("characters", [TEXT])
    with pytest.raises(MisuseError, match=sentence):
        record(language_model(vocabulary), vocabulary, TEXT, tmp_path / "r", **asked)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_known_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vocabulary = build("characters", [TEXT])
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10_000})())
    with pytest.raises(FailureError, match="disk is too full"):
        record(language_model(vocabulary), vocabulary, TEXT, tmp_path / "deep" / "r")
    assert list(tmp_path.iterdir()) == []


def test_the_size_is_known_before(tmp_path: Path) -> None:
    vocabulary = build("characters", [TEXT])
    model = language_model(vocabulary)
    plan = wanted(model, vocabulary, TEXT, gates=["f"])
    recording = record(model, vocabulary, TEXT, tmp_path / "r", gates="f")
    assert plan.cells == recording.cells == 72
    on_disk = sum(path.stat().st_size for path in recording.path.glob("*.npy"))
    assert plan.bytes == recording_bytes(72, len(TEXT)) == pytest.approx(on_disk, abs=1000)


def test_a_taken_name_is_refused(tmp_path: Path) -> None:
    vocabulary = build("characters", [TEXT])
    model = language_model(vocabulary)
    (tmp_path / "r").mkdir()
    with pytest.raises(MisuseError, match="is there already"):
        record(model, vocabulary, TEXT, tmp_path / "r")


def test_a_model_without_states_is_refused(tmp_path: Path, text_file: Path) -> None:
    from elman.runs import load
    from elman.training.corpus import TextOptions
    from elman.training.display import QuietDisplay

    train_ngram_run([str(text_file)], TextOptions(), 3, "kneser-ney", tmp_path / "run", QuietDisplay())
    loaded = load(tmp_path / "run")
    assert isinstance(loaded.model, NgramModel)
    with pytest.raises(MisuseError, match="n-gram model has no states"):
        record(loaded.model, loaded.vocabulary, "abc", tmp_path / "r")


def test_a_vocabulary_of_another_model_is_refused(tmp_path: Path) -> None:
    model = language_model(build("characters", [TEXT]))
    with pytest.raises(MisuseError, match="vocabulary"):
        record(model, build("characters", ["ab"]), TEXT, tmp_path / "r")


def test_cells_that_outlast_the_burn_in_are_counted(tmp_path: Path) -> None:
    """Two counters: of all a's, which no burn-in finds out, and of the last few."""
    vocabulary = build("characters", ["ab\n"])
    model = LanguageModel(Recurrence("h = k * h + x"), 3, hidden=2, layers=1).eval()
    with torch.no_grad():
        model.embedding.weight.copy_(torch.tensor([[0.0, 0.0], [0.001, 0.2], [0.0, 0.0]]))
        model.recurrent.parameter("k").copy_(torch.tensor([1.0, 0.5]))
    text = "ab" * 300
    recording = record(model, vocabulary, text, tmp_path / "r", streams=3, burn_in=50)
    assert recording.manifest["streams"] == 3
    # at both seams the first cell differs and the second does not
    assert recording.manifest["unsettled"] == 0.5
    seams = np.flatnonzero(np.abs(np.diff(recording.values[0].astype(int))) > 5)
    assert len(seams) == 2
    one = record(model, vocabulary, text, tmp_path / "one", streams=1)
    assert (one.values[1] == recording.values[1]).all()
    assert (one.values[0, : seams[0] + 1] == recording.values[0, : seams[0] + 1]).all()


@pytest.mark.gpu
def test_a_model_on_a_gpu_gives_the_same_recording(tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    vocabulary = build("characters", [TEXT])
    model = language_model(vocabulary)
    here = record(model, vocabulary, TEXT, tmp_path / "here", gates="all")
    there = record(model.cuda(), vocabulary, TEXT, tmp_path / "there", gates="all")
    assert (np.abs(here.values.astype(int) - there.values) <= 1).mean() > 0.999
    np.testing.assert_allclose(there.nats, here.nats, atol=1e-2)


@pytest.mark.slow
def test_real_code_is_recorded_at_the_stated_speed(shared_data: Path, tmp_path: Path) -> None:
    """A million characters of C, 512 cells of an LSTM of two layers: well under a minute of two cores."""
    text = (shared_data / "text" / "linux_1_0.txt").read_text(encoding="utf-8", errors="replace")[:1_000_000]
    vocabulary = build("characters", [text])
    model = LanguageModel("lstm", vocabulary.size, hidden=256, layers=2)
    recording = record(model, vocabulary, text, tmp_path / "r", states=["c"])
    assert recording.values.shape == (512, len(text))
    assert recording.manifest["seconds"] < 120  # twice the target, for a machine that is busy
