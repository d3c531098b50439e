"""Captioners from files to a run and back, on pictures whose captions are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_captions import png, write_data, write_weights

from elman.equations import cell
from elman.errors import FailureError, MisuseError
from elman.generate.captioning import Manner, write
from elman.metrics.cider import CiderD
from elman.metrics.penn import penn_words
from elman.runs import load
from elman.training.epoch_task import EpochTask
from elman.training.settings import Settings
from elman.training.start import Reports
from elman.training.systems import resume_run
from elman.training.systems.caption.data import IGNORED, CaptionOptions, collate, read_captioned
from elman.training.systems.caption.examples import Batch, CaptionExamples, Teaching
from elman.training.systems.caption.run import Wishes, evaluate_run, train
from elman.training.systems.caption.scores import shuffled, views_of
from elman.training.systems.caption.self_critical import DRAWS, SelfCritical

SHAPE = {"hidden": 24, "embedding": 12, "image": 12, "places": 5}
QUIET = Reports(quiet=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Images, captions, lists and weights."""
    folder = tmp_path_factory.mktemp("captions")
    images, table, lists = write_data(folder)
    return {"folder": folder, "images": str(images), "captions": [str(table)], "lists": tuple(map(str, lists))} | {
        "weights": str(write_weights(folder))
    }


def options_of(made: dict[str, Any]) -> CaptionOptions:
    return CaptionOptions(lists=made["lists"], min_count=1)


def run(made: dict[str, Any], out: Path, steps: int = 60, *, teaching: Teaching | None = None, **wishes: Any) -> Path:
    shape = SHAPE | wishes.pop("shape", {})
    eval_every = wishes.pop("eval_every", 30)
    settings = Settings(steps=steps, batch=6, lr=wishes.pop("lr", 2e-2), threads=1, checkpoint_every=10)
    train(
        made["images"],
        made["captions"],
        options_of(made),
        cell("gru"),
        Wishes(**{"encoder": "net", "weights": made["weights"], "pooled": "fc1", "shape": shape} | wishes),
        teaching or Teaching(),
        settings,
        QUIET,
        out,
        eval_every=eval_every,
    )
    return out


@pytest.fixture(scope="module")
def trained(made: dict[str, Any]) -> Path:
    """A run that can caption."""
    return run(made, made["folder"] / "run")


def test_it_learns_what_is_on_the_pictures(made: dict[str, Any], trained: Path):
    loaded = load(trained, systems=("caption",))
    found = evaluate_run(loaded, trained, None, "test", {"beam": 2})
    columns = found.details["captions"]
    model, blind, other = (columns[view] for view in ("model", "image-blind", "shuffled"))
    assert model["CIDEr-D"] > 200
    assert model["BLEU-4"] > 60
    assert max(blind["CIDEr-D"], other["CIDEr-D"]) < model["CIDEr-D"] / 2
    losses = found.details["nats"]
    assert losses["model"]["nats a word"] < 0.8 * losses["image-blind"]["nats a word"]
    assert losses["model"]["nats a word"] < 0.8 * losses["shuffled"]["nats a word"]
    assert found.rows == {"part": "test", "images": 6, "captions": 12}
    for direction in ("image of a caption", "caption of an image, less the blind score"):
        assert found.details[direction]["model"]["R@1"] > found.details[direction]["image-blind"]["R@1"]
    # what does not see the image cannot tell which it was: ties are against it
    assert found.details["image of a caption"]["image-blind"]["R@1"] == 0
    assert found.details["image of a caption"]["image-blind"]["median rank"] == 6
    assert "image-blind" in found.text
    assert "CIDEr-D" in found.text


def test_its_own_data_are_read_again_and_others_refused(made: dict[str, Any], trained: Path, tmp_path: Path):
    loaded = load(trained, systems=("caption",))
    images, table, _ = write_data(tmp_path, 30)
    (images / "000.png").write_bytes(png("blue", "disc", 0))
    others = evaluate_run(loaded, trained, [str(images), str(table)], None, {"retrieval": 0})
    assert others.rows["images"] == 30
    assert "image of a caption" not in others.details
    with pytest.raises(FailureError, match=r"not those that .* was trained on"):
        resume_run(trained, sources=[str(images), str(table)], steps=70, reports=QUIET)
    with pytest.raises(MisuseError, match="no option 'beams'"):
        evaluate_run(loaded, trained, None, "test", {"beams": 2})
    with pytest.raises(MisuseError, match="--part is 'dev'"):
        evaluate_run(loaded, trained, None, "dev", {})


def test_a_resumed_training_is_one_that_never_stopped(made: dict[str, Any], tmp_path: Path):
    teaching = Teaching(scheduled=0.3)
    whole = run(made, tmp_path / "whole", 24, teaching=teaching, shape={"dropout": 0.3})
    run(made, tmp_path / "part", 12, teaching=teaching, shape={"dropout": 0.3})
    resume_run(tmp_path / "part", steps=24, reports=QUIET)
    again = run(made, tmp_path / "again", 24, teaching=teaching, shape={"dropout": 0.3})
    first, second = (load(path, systems=("caption",)).model.state_dict() for path in (whole, again))
    assert all(torch.equal(first[name], second[name]) for name in first)
    # the schedule of 12 steps is another than that of 24: what is resumed goes on from its own weights
    third = load(tmp_path / "part", systems=("caption",)).model.state_dict()
    assert all(torch.equal(third[name], first[name]) for name in first if name.startswith("encoder."))
    assert any(not torch.equal(third[name], first[name]) for name in first)


def test_the_encoder_is_frozen_until_it_is_fine_tuned(made: dict[str, Any], trained: Path, tmp_path: Path):
    before = load(trained, systems=("caption",)).model.state_dict()
    stored = {name: tensor.clone() for name, tensor in before.items()}
    fresh = run(made, tmp_path / "fine", 6, run=trained, teaching=Teaching(fine_tune=True), lr=1e-3, encoder_rate=0.1)
    after = load(fresh, systems=("caption",)).model.state_dict()
    moved = {name for name in after if not torch.equal(after[name], stored[name])}
    assert {"encoder.net.conv1.weight", "decoder.upper.layers.0.Wz", "embedding.weight"} <= moved
    # the layer behind the vector has no part in it
    assert "encoder.net.fc3.weight" not in moved
    largest = {
        name: float((after[name] - stored[name]).abs().max()) for name in ("encoder.net.conv1.weight", "softmax.weight")
    }
    assert largest["encoder.net.conv1.weight"] < largest["softmax.weight"]
    with pytest.raises(MisuseError, match="--weights is missing"):
        run(made, tmp_path / "none", 2, weights=None)


def examples_of(made: dict[str, Any], trained: Path, kind: type = CaptionExamples, **teaching: Any) -> CaptionExamples:
    loaded = load(trained, systems=("caption",))
    data = read_captioned(made["images"], made["captions"], options_of(made), [])
    images = torch.stack([loaded.model.encoder.prepare(data.source.image(index)) for index in data.indices])
    with torch.no_grad():
        features = loaded.model.features(images).half()
    settings = Settings(batch=6)
    return kind(loaded.model, loaded.vocabulary, data, features, options_of(made), settings, Teaching(**teaching))


def test_a_batch_is_images_with_all_their_captions(made: dict[str, Any], trained: Path):
    examples = examples_of(made, trained)
    batch, count = examples.batch(np.array([2, 0]), torch.Generator())
    assert batch.own.tolist() == [0, 0, 1, 1]
    assert batch.images.shape[0] == 2
    assert (
        count == int((batch.targets != IGNORED).sum()) == sum(len(c.split()) + 1 for c in captions_of(examples, 2, 0))
    )
    # nats by hand, one caption at a time
    examples.model.eval()
    total = 0.0
    for row in (2, 0):
        for ids in examples.ids[row]:
            begun = examples.model.begin(examples.features[row : row + 1].float())
            scores, _ = examples.model(torch.tensor(ids[:-1]).unsqueeze(1), begun)
            nats = torch.log_softmax(scores[:, 0], -1)[torch.arange(len(ids) - 1), torch.tensor(ids[1:])]
            total -= float(nats.detach().sum())
    assert float(examples.loss(batch).detach()) == pytest.approx(total, rel=1e-5)


def captions_of(examples: CaptionExamples, *rows: int) -> list[str]:
    return [" ".join(penn_words(caption.text)) for row in rows for caption in examples.data.captions[row]]


def test_attentions_penalty_by_hand(made: dict[str, Any], tmp_path: Path):
    path = run(made, tmp_path / "looks", 4, shape={"way": "attention"}, pooled=None)
    with_penalty = examples_of(made, path, penalty=2.0)
    without = examples_of(made, path, penalty=0.0)
    batch, _ = without.batch(np.array([1]), torch.Generator())
    expected = 0.0
    for ids in without.ids[1]:
        begun = without.model.begin(without.features[1:2].float())
        _, _, weights = without.model.read(torch.tensor(ids[:-1]).unsqueeze(1), begun)
        expected += float(((1 - weights[:, 0].detach().sum(0)) ** 2).sum())
    difference = float((with_penalty.loss(batch) - without.loss(batch)).detach())
    assert difference == pytest.approx(2 * expected, rel=1e-4)
    assert expected > 0.1


def test_scheduled_sampling_changes_what_is_read_and_not_what_is_predicted(made: dict[str, Any], trained: Path):
    plain, _ = examples_of(made, trained).batch(np.arange(6), torch.Generator())
    mixed, _ = examples_of(made, trained, scheduled=1.0).batch(np.arange(6), torch.Generator().manual_seed(0))
    torch.testing.assert_close(mixed.targets, plain.targets)
    assert (mixed.tokens[0] == plain.tokens[0]).all()
    assert (mixed.tokens != plain.tokens).any()
    # a model that is certain draws what it would have read
    shares = []
    for share in (0.0, 0.5, 1.0):
        found, _ = examples_of(made, trained, scheduled=share).batch(np.arange(18), torch.Generator().manual_seed(0))
        whole, _ = examples_of(made, trained).batch(np.arange(18), torch.Generator())
        shares.append(float((found.tokens != whole.tokens).float().mean()))
    assert 0 == shares[0] < shares[1] < shares[2]


def test_self_critical_gradient_is_that_of_the_definition(made: dict[str, Any], trained: Path):
    examples = examples_of(made, trained, SelfCritical)
    batch, count = examples.batch(np.array([0, 4]), torch.Generator().manual_seed(3))
    assert batch.own.tolist() == [0] * DRAWS + [1] * DRAWS
    assert count == int((batch.targets >= 0).sum())
    rows = examples.data.parts["train"]
    references = [[penn_words(c.text) for c in examples.data.captions[row]] for row in rows]
    scorer = CiderD.of(references)
    greedy = examples.greedy(np.array([0, 4]), "")
    total = 0.0
    for column, own in enumerate(batch.own.tolist()):
        ids = [int(token) for token in batch.targets[:, column] if token >= 0]
        text = examples.vocabulary.decode([token for token in ids if token != examples.end])
        row = (0, 4)[own]
        pair = scorer.scores([penn_words(text), penn_words(greedy[own])], [references[row]] * 2)
        assert float(batch.advantages[column]) == pytest.approx(pair[0] - pair[1], abs=1e-5)
        tokens = torch.tensor([1, *ids[:-1]]).unsqueeze(1)
        scores, _ = examples.model(tokens, examples.model.begin(examples.features[row : row + 1].float()))
        nats = -torch.log_softmax(scores[:, 0], -1)[torch.arange(len(ids)), torch.tensor(ids)].sum()
        total += float(nats.detach()) * (pair[0] - pair[1])
    examples.model.eval()
    assert float(examples.loss(batch).detach()) == pytest.approx(total, abs=1e-3)


def test_self_critical_training_raises_the_reward(made: dict[str, Any], tmp_path: Path):
    weak = run(made, tmp_path / "weak", 12, eval_every=12)
    better = run(made, tmp_path / "better", 30, run=weak, self_critical=True, lr=5e-3, eval_every=30)

    def reward(path: Path) -> float:
        """Mean CIDEr-D of what is drawn for the training images, the quantity that is climbed."""
        examples = examples_of(made, path)
        rows = examples.data.parts["train"]
        references = [[penn_words(c.text) for c in examples.data.captions[row]] for row in rows]
        drawn = write(
            examples.model, examples.vocabulary, examples.features[rows].float(), "", Manner(20, temperature=1)
        )
        candidates = [[penn_words(each.text) for each in own] for own in drawn]
        scorer = CiderD.of(references)
        return float(
            np.mean([scorer.scores(own, [r] * 20).mean() for own, r in zip(candidates, references, strict=True)])
        )

    assert reward(better) > 1.2 * reward(weak)
    with pytest.raises(MisuseError, match="name its run with --from"):
        run(made, tmp_path / "none", 2, self_critical=True)


def test_two_languages_from_one_model(made: dict[str, Any], tmp_path: Path):
    images, table, lists = write_data(tmp_path, languages=True)
    options = CaptionOptions(lists=tuple(map(str, lists)), min_count=1, words="plain")
    wishes = Wishes("net", made["weights"], "fc1", SHAPE)
    out = tmp_path / "run"
    settings = Settings(steps=80, batch=6, lr=2e-2, threads=1)
    train(str(images), [str(table)], options, cell("gru"), wishes, Teaching(), settings, QUIET, out, eval_every=40)
    loaded = load(out, systems=("caption",))
    data = read_captioned(str(images), [str(table)], options, [])
    rows = data.parts["test"]
    prepared = torch.stack([loaded.model.encoder.prepare(data.source.image(data.indices[row])) for row in rows])
    seen = loaded.model.features(prepared).detach()
    right = 0
    for tag in ("en", "de"):
        written = write(loaded.model, loaded.vocabulary, seen, tag, Manner())
        texts = [{c.tag: c.text for c in data.captions[row]}[tag] for row in rows]
        right += sum(found[0].text == text for found, text in zip(written, texts, strict=True))
    assert right >= 10
    found = evaluate_run(loaded, out, None, "test", {"tag": "de", "retrieval": 3})
    assert "captions de" in found.details
    assert "captions en" not in found.details
    with pytest.raises(MisuseError, match="tag=fr: this part has de, en"):
        evaluate_run(loaded, out, None, "test", {"tag": "fr"})


def test_bad_images_and_captions_are_named_in_a_line(made: dict[str, Any], tmp_path: Path):
    images, table, _ = write_data(tmp_path, 12)
    (images / "000.png").write_bytes(png("red", "disc", 1)[:80])
    (images / "extra.png").write_bytes(png("red", "disc", 1))
    with table.open("a", encoding="utf-8") as file:
        file.write("gone.png,a picture that is not there\n001.png,\n002.png,...\n")
    settings = Settings(steps=2, batch=4, threads=1)
    wishes = Wishes("net", made["weights"], "fc1", SHAPE)

    def go(bad: str, out: str) -> Path:
        options = CaptionOptions(split="60/20/20", min_count=1, bad=bad)
        train(str(images), [str(table)], options, cell("gru"), wishes, Teaching(), settings, QUIET, tmp_path / out)
        return tmp_path / out

    with pytest.raises(MisuseError, match=r"the caption of 001.png is empty"):
        go("refuse", "one")
    run_folder = go("skip", "two")
    notices: list[str] = []
    data = read_captioned(str(images), [str(table)], CaptionOptions(bad="skip", min_count=1), notices)
    assert len(data) == 12
    for part in (
        "gone.png has captions, but",
        "001.png is empty",
        "002.png has no word: '...'",
        "extra.png has no cap",
    ):
        assert sum(part in notice for notice in notices) == 1
    counts = load(run_folder, systems=("caption",)).config["data"]["images"]
    assert sum(counts.values()) == 11


def test_some_tags_and_some_not_are_refused(tmp_path: Path):
    images, table, _ = write_data(tmp_path, 6, languages=True)
    table.write_text(table.read_text(encoding="utf-8").replace("rot, Quadrat,de", "rot Quadrat,", 1), encoding="utf-8")
    table.write_text(table.read_text(encoding="utf-8").replace('"rot, Quadrat",de', "rot,", 1), encoding="utf-8")
    with pytest.raises(MisuseError, match="Some captions have a tag"):
        read_captioned(str(images), [str(table)], CaptionOptions(), [])


def test_pieces():
    tokens, targets, lengths = collate([[1, 7, 4, 5, 2], [1, 7, 2]], 2, 2)
    assert tokens.T.tolist() == [[1, 7, 4, 5], [1, 7, 2, 2]]
    assert targets.T.tolist() == [[IGNORED, 4, 5, 2], [IGNORED, 2, IGNORED, IGNORED]]
    assert lengths.tolist() == [4, 2]
    for count in (2, 3, 50):
        order = shuffled(count, 1)
        assert sorted(order) == list(range(count))
        assert (order != np.arange(count)).all()
    for wrong in ({"keep": "bleu"}, {"scheduled": 1.5}, {"penalty": -1.0}, {"scored": 0}):
        with pytest.raises(MisuseError):
            Teaching(**wrong)
    with pytest.raises(MisuseError, match="--words"):
        CaptionOptions(words="bytes")
    with pytest.raises(MisuseError, match="three files"):
        CaptionOptions(lists=("a",))


def test_the_shuffled_view_shows_another_image(made: dict[str, Any], trained: Path):
    examples = examples_of(made, trained)
    rows = examples.data.parts["test"]
    own, blind, other = views_of(examples, rows, 1)
    assert isinstance(EpochTask(examples, Settings(batch=6)).advance(), int)
    assert (own.features != other.features).any(1).all()
    assert (blind.features == blind.features[0]).all()
    assert isinstance(replace(other, name="x"), type(own))
    assert Batch._fields[0] == "images"
