"""Training, resuming and evaluating models of questions about images."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from vqa_cases import SIDE, write_questions

from elman.data.questions import Question, QuestionOptions
from elman.data.words import Words
from elman.equations import cell
from elman.errors import FailureError, MisuseError
from elman.models.convnets import build
from elman.runs import load
from elman.training.settings import Settings
from elman.training.start import Reports
from elman.training.systems import resume_run
from elman.training.systems.vqa.examples import (
    QuestionSet,
    answer_all,
    encode_choices,
    log_likelihood,
    scores_of,
    shuffle_panels,
    shuffled_rows,
)
from elman.training.systems.vqa.run import Wishes, evaluate_run, train

SMALL = Wishes(channels=8, halvings=2, hidden=24)
SETTINGS = Settings(steps=150, batch=8, lr=1e-2, eval_every=25, backend="reference")
QUIET = Reports(quiet=True)


def trained(data: Path, out: Path, wishes: Wishes = SMALL, settings: Settings = SETTINGS, **options: Any) -> Path:
    read = QuestionOptions(**options)
    train(str(data), read, cell("gru"), wishes, settings, QUIET, out, eval_every=settings.eval_every, warmup=5)
    return out


def scores(run: Path, part: str | None = "test", **options: Any) -> dict[str, Any]:
    sources = options.pop("sources", None)
    return dict(evaluate_run(load(run, systems=("vqa",)), run, sources, part, options).rows)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_questions(tmp_path_factory.mktemp("squares"))


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that looks while it reads."""
    return trained(data, tmp_path_factory.mktemp("runs") / "read")


def test_it_answers_and_the_controls_do_not(run: Path, data: Path, tmp_path: Path) -> None:
    """Colour and side of squares: the image is needed for both, the question to know which."""
    full = scores(run)
    assert full["accuracy"] > 0.9
    assert full["questions"] == 36
    assert full["shuffled_images"] < 0.7
    short = replace(SETTINGS, steps=60)
    question = scores(trained(data, tmp_path / "q", replace(SMALL, control="question-only"), short))
    image = scores(trained(data, tmp_path / "i", replace(SMALL, control="image-only"), short))
    assert question["accuracy"] < 0.7
    assert image["accuracy"] < 0.7
    assert "shuffled_images" not in question


def test_attention_after_the_question_learns_it_too(data: Path, tmp_path: Path) -> None:
    short = replace(SETTINGS, steps=100)
    assert scores(trained(data, tmp_path / "after", replace(SMALL, attention="after"), short))["accuracy"] > 0.8


def test_the_priors_are_those_counted_by_hand(run: Path, data: Path) -> None:
    rows = json.loads((data / "test" / "questions.json").read_text())
    found = scores(run)
    train_rows = json.loads((data / "train" / "questions.json").read_text())
    config = json.loads((run / "config.json").read_text())
    assert config["data"]["parts"] == {"train": 86, "valid": 10, "test": 36}
    # few images are in the validation part, so the most frequent answer is that of all
    answers = [answer for _, answer, _ in train_rows]
    best = max(set(answers), key=answers.count)
    assert found["most_frequent_answer"] == pytest.approx(np.mean([answer == best for _, answer, _ in rows]))
    by_kind = {kind: [a for q, a, _ in train_rows if q.startswith(kind)] for kind in ("what", "on")}
    # colours come in turn, and which is the most frequent depends on the validation part: a third of them in any case
    side = max(set(by_kind["on"]), key=by_kind["on"].count)
    right = [1 / 3 if question.startswith("what") else answer == side for question, answer, _ in rows]
    assert found["most_frequent_by_kind"] == pytest.approx(np.mean(right))


def test_a_resumed_training_is_the_one_that_did_not_stop(data: Path, tmp_path: Path) -> None:
    """Bit for bit, with dropout and shuffled images in play."""
    settings = replace(SETTINGS, steps=8, schedule="constant", eval_every=4)
    wishes = replace(SMALL, dropout=0.2)
    whole = trained(data, tmp_path / "whole", wishes, settings)
    part = trained(data, tmp_path / "part", wishes, replace(settings, steps=4))
    resume_run(part, steps=8, reports=QUIET)
    states = [load(path, systems=("vqa",)).model.state_dict() for path in (whole, part)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_changed_data_are_not_resumed(tmp_path: Path) -> None:
    data = write_questions(tmp_path / "data", train=12, test=3)
    made = trained(data, tmp_path / "run", settings=replace(SETTINGS, steps=2))
    path = data / "train" / "questions.json"
    path.write_text(path.read_text().replace("red", "pink"))
    with pytest.raises(FailureError, match="not those that"):
        resume_run(made, steps=4, reports=QUIET)
    with pytest.raises(FailureError, match="not those that"):
        scores(made)


def test_other_questions_can_be_asked(run: Path, tmp_path: Path) -> None:
    other = write_questions(tmp_path / "other", train=9, test=3, seed=5)
    found = scores(run, None, sources=[str(other)])
    assert found["questions"] == 24
    assert found["accuracy"] > 0.8
    table = tmp_path / "q.csv"
    table.write_text("image,question,answer\n0.png,what color is the square?,red\n0.png,what?,purple\n")
    asked = scores(run, None, sources=[str(table)], images=str(other / "train" / "images"))
    assert (asked["questions"], asked["answer_unknown"], asked["accuracy"]) == (2, 1, 0.5)
    with pytest.raises(MisuseError, match="no option 'beam'"):
        scores(run, beam=3)


def test_bad_images_are_refused_or_left_out(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = write_questions(tmp_path / "data", train=12, test=3)
    (data / "train" / "images" / "4.png").write_bytes(b"broken")
    with pytest.raises(MisuseError, match=r"4\.png"):
        trained(data, tmp_path / "refused", settings=replace(SETTINGS, steps=1))
    capfd.readouterr()
    made = trained(data, tmp_path / "skipped", settings=replace(SETTINGS, steps=1), bad="skip")
    lines = capfd.readouterr().err.splitlines()
    assert len([line for line in lines if "4.png" in line]) == 1
    assert sum(json.loads((made / "config.json").read_text())["data"]["parts"].values()) == 2 * (11 + 3)


@pytest.mark.slow
def test_a_model_of_choices_takes_any_text(tmp_path: Path) -> None:
    """Choices that no training question had, made of words that it knows."""
    data = write_questions(tmp_path / "data")
    rows = []
    for part in ("train", "test"):
        for question, answer, number in json.loads((data / part / "questions.json").read_text()):
            if question.startswith("what"):
                wrong = [c for c in ("red", "green", "blue") if c != answer]
                choices = [f"a {c} one" for c in (wrong[number % 2], answer)]
                rows.append({"image": f"{part}/images/{number}.png", "question": question, "part": part})
                rows[-1] |= {"answer": f"a {answer} one", "choices": choices}
    table = data / "q.jsonl"
    table.write_text("\n".join(map(json.dumps, rows)))
    made = trained(table, tmp_path / "run", replace(SMALL, head="choices", attention="after"))
    assert scores(made)["accuracy"] > 0.8
    with pytest.raises(MisuseError, match="offers no choices"):
        trained(data, tmp_path / "none", replace(SMALL, head="choices"))


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"encoder": "squeezenet1_0"}, "needs --weights"),
        ({"weights": "w.safetensors"}, "belong to an --encoder"),
        ({"panels": 3}, "do not have 3 squares"),
        ({"encoder": "squeezenet1_0", "weights": "w", "size": (8, 8)}, "not to an --encoder"),
    ],
)
def test_wishes_that_do_not_fit_are_refused(data: Path, tmp_path: Path, changed: dict[str, Any], reason: str) -> None:
    with pytest.raises(MisuseError, match=reason):
        trained(data, tmp_path / "run", replace(SMALL, **changed))
    assert not (tmp_path / "run").exists()


def question(text: str, image: int, answers: tuple[str, ...], choices: tuple[str, ...] = ()) -> Question:
    return Question(text, image, answers, "", choices, "train", str(image), "here")


def test_targets_are_shares_of_people() -> None:
    words = Words.build(["what is it?\n"], lower=True)
    asked = [
        question("what is it?", 7, ("dog",) * 6 + ("cat",) * 2 + ("bird",) * 2),
        question("What?", 3, ("bird",)),
        question("it", 7, ("cat",)),
    ]
    rows = {3: 0, 7: 1}
    made = QuestionSet(asked, rows, words, ["dog", "cat"])
    batch = made.collate(np.arange(3), torch.arange(2.0).view(2, 1), made.rows)
    # of ten people two said what is not known: those who are left count as all
    assert torch.allclose(batch.targets, torch.tensor([[0.75, 0.25], [0.0, 0.0], [0.0, 1.0]]))
    assert batch.images is not None
    assert batch.images[batch.which].flatten().tolist() == [1.0, 0.0, 1.0]
    assert batch.lengths.tolist() == [5, 3, 2]
    assert [own.tolist() for own in made.by_image] == [[1], [0, 2]]
    assert len(QuestionSet(asked, rows, words, ["dog", "cat"], only_known=True)) == 2


def test_the_loss_is_the_cross_entropy_with_those_shares() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 5, generator=generator)
    logits[1, 3] = -torch.inf
    targets = torch.tensor([[1, 0, 0, 0, 0], [0.5, 0.5, 0, 0, 0], [0.2, 0.2, 0.2, 0.2, 0.2], [0, 0, 0, 0, 0]])
    logits.requires_grad_()
    found = log_likelihood(logits, targets)
    expected = -torch.nn.functional.cross_entropy(logits[[0, 2]], targets[[0, 2]], reduction="none")
    assert torch.allclose(found[[0, 2]], expected)
    assert found[3] == 0
    found.sum().backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_shuffled_images_are_all_those_of_others() -> None:
    words = Words.build(["what?\n"])
    asked = [question("what?", image, ("a",)) for image in [4, 4, 5, 6, 8, 8, 9]]
    made = QuestionSet(asked, {4: 0, 5: 1, 6: 2, 8: 3, 9: 4}, words, ["a"])
    for seed in range(5):
        instead = shuffled_rows(made, seed)
        assert (instead != made.rows).all()
        assert instead[0] == instead[1]
        assert sorted(set(instead)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("height", "width"), [(50, 200), (10, 37), (12, 36)])
def test_panels_change_places_and_nothing_else(height: int, width: int) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (64, 3, height, width), dtype=torch.uint8, generator=generator)
    begins = [0, round((width - height) / 2), width - height]
    shuffled = shuffle_panels(images, 3, generator)
    orders = set()
    for before, after in zip(images, shuffled, strict=True):
        boxes = [before[..., begin : begin + height] for begin in begins]
        order = [
            next(k for k, box in enumerate(boxes) if torch.equal(box, after[..., begin : begin + height]))
            for begin in begins
        ]
        orders.add(tuple(order))
        gaps = [column for column in range(width) if not any(b <= column < b + height for b in begins)]
        assert torch.equal(before[..., gaps], after[..., gaps])
    assert len(orders) == 6


def test_a_question_is_answered_alike_alone_and_among_others(run: Path, data: Path) -> None:
    loaded = load(run, systems=("vqa",))
    generator = torch.Generator().manual_seed(0)
    seen = torch.randint(0, 256, (3, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    texts = ["what color is the square?", "is it red?", "what?", "on which side is it?"]
    asked = [question(text, image, ("red",)) for text in texts for image in range(3)]
    rows = {image: image for image in range(3)}
    answers = loaded.config["answers"]
    together = answer_all(loaded.model, QuestionSet(asked, rows, loaded.vocabulary, answers), seen)
    for one, answered in zip(asked, together, strict=True):
        (alone,) = answer_all(loaded.model, QuestionSet([one], rows, loaded.vocabulary, answers), seen)
        assert alone.answer == answered.answer
        assert alone.probability == pytest.approx(answered.probability, abs=1e-5)


def test_a_known_answer_is_chosen_among_those_offered(run: Path) -> None:
    loaded = load(run, systems=("vqa",))
    seen = torch.full((1, 3, SIDE, SIDE), 255, dtype=torch.uint8)
    asked = [
        question("what color is the square?", 0, ("left",), ("left", "right", "up")),
        question("what color is the square?", 0, ("up",), ("up", "down")),
    ]
    first, second = answer_all(
        loaded.model, QuestionSet(asked, {0: 0}, loaded.vocabulary, loaded.config["answers"]), seen
    )
    assert first.answer in ("left", "right")
    assert second.nats is None
    batch = QuestionSet(asked[:1], {0: 0}, loaded.vocabulary, loaded.config["answers"]).collate(
        np.arange(1), seen, np.zeros(1, dtype=np.int64)
    )
    chances = torch.softmax(scores_of(loaded.model, batch)[0], -1).detach()
    left, right = (float(chances[loaded.config["answers"].index(side)]) for side in ("left", "right"))
    assert first.probability == pytest.approx(max(left, right) / (left + right), rel=1e-4)


def test_choices_without_words_have_one_all_the_same() -> None:
    words = Words.build(["red green\n"])
    made = encode_choices(words, [["red green", ""], ["green"]])
    assert made.lengths.tolist() == [2, 1, 1, 1]
    assert made.offered.tolist() == [2, 1]
    assert made.tokens[:, 0].tolist() == words.encode("red green").ids[1:].tolist()


@pytest.mark.slow
def test_features_of_a_net_that_is_not_trained_are_seen(
    data: Path, tmp_path: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Published weights, which know colours and places without having seen these squares."""
    monkeypatch.setenv("ELMAN_CACHE_DIR", str(tmp_path / "cache"))
    weights = tmp_path / "w.safetensors"
    shutil.copy(shared_data / "models" / "squeezenet1_0.safetensors", weights)
    wishes = replace(SMALL, encoder="squeezenet1_0", weights=str(weights), attention="after")
    made = trained(data, tmp_path / "run", wishes, replace(SETTINGS, steps=80, eval_every=80))
    names = {name.split(".")[0] for name in load(made, systems=("vqa",)).model.state_dict()}
    assert "net" not in names
    assert "normalise" in names
    found = scores(made)
    assert found["accuracy"] > 0.9
    assert found["shuffled_images"] < 0.7
    save_file(build("squeezenet1_0", generator=torch.Generator().manual_seed(1)).state_dict(), weights)
    with pytest.raises(FailureError, match="other weights"):
        scores(made)
