"""Answers to one question about one image, and where the model looked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from elman.data.words import Words
from elman.errors import MisuseError
from elman.models.questions.network import Choices, VisualQA


@dataclass(frozen=True)
class Answers:
    """What a model says.

    Attributes:
        words: the question as the model read it; "<unk>" for a word that it does not know. The first stands for the
            image.
        unknown: the words that it does not know.
        ranked: answers with their probabilities, the best first.
        attention: [T, h, w], for each word where the state before it looked, or [hops, h, w] of a model that looks
            after the question; each sums to 1. None without attention.
        hops: whether ``attention`` has hops instead of words.
    """

    words: tuple[str, ...]
    unknown: tuple[str, ...]
    ranked: tuple[tuple[str, float], ...]
    attention: Tensor | None
    hops: bool


@torch.inference_mode()
def answer(
    model: VisualQA,
    words: Words,
    answers: Sequence[str],
    seen: Tensor,
    question: str,
    choices: Sequence[str] | None = None,
    top: int = 5,
) -> Answers:
    """Answer a question.

    Args:
        model: in evaluation mode.
        words: its vocabulary.
        answers: its known answers; empty for a model that compares choices.
        seen: the image as :meth:`elman.models.questions.sight.Sight.see` gives it, [1, ...].
        question: in any words.
        choices: to choose from; a model with known answers takes only those among them.
        top: how many answers at most; all choices where there are choices.

    Returns:
        The answers.

    Raises:
        MisuseError: an empty question; choices that are missing or not known to the model.
    """
    text = " ".join(question.split())
    if not text:
        raise MisuseError("The question is empty.")
    offered = tuple(dict.fromkeys(" ".join(choice.split()) for choice in choices or () if choice.strip()))
    if choices is not None and not offered:
        raise MisuseError("There is no choice among --choices.")
    device = next(model.parameters()).device
    ids = torch.from_numpy(words.encode(text).ids.astype("int64"))
    tokens, lengths = ids.unsqueeze(1).to(device), torch.tensor([len(ids)])
    which = torch.zeros(1, dtype=torch.long, device=device)
    understood, weights = model.understood(tokens, lengths, seen.to(device) if model.sees else None, which)
    if model.head == "choices":
        if not offered:
            raise MisuseError("This model compares choices: give them with --choices red,green,blue.")
        names = offered
        scores = model.choice_scores(understood, _encoded(words, offered, device))[0]
    else:
        number = {name: place for place, name in enumerate(answers)}
        if lost := [choice for choice in offered if choice not in number]:
            shown = ", ".join(answers[:20]) + (", ..." if len(answers) > 20 else "")
            raise MisuseError(f"The model has never learned the answer {lost[0]!r}; it knows {shown}.")
        names = offered or tuple(answers)
        scores = model.scores(understood)[0, [number[name] for name in names]]
    chances = torch.softmax(scores.double(), -1)
    order = torch.argsort(chances, descending=True, stable=True).tolist()
    ranked = tuple((names[place], float(chances[place])) for place in order)
    read = words.tokenize(text)
    return Answers(
        tuple(words.symbol(int(place)) for place in ids),
        tuple(token for token, place in zip(read, words.ids(read), strict=True) if place < 0),
        ranked if offered else ranked[:top],
        None if weights is None else weights[:, 0].reshape(-1, *model.grid_shape[1:]).cpu(),
        model.attention == "after",
    )


def _encoded(words: Words, offered: Sequence[str], device: torch.device) -> Choices:
    # the first id is the start symbol; what has no word at all is the unknown one
    rows = [torch.from_numpy(words.encode(choice).ids[1:].astype("int64")) for choice in offered]
    rows = [row if len(row) else torch.zeros(1, dtype=torch.long) for row in rows]
    return Choices(
        torch.nn.utils.rnn.pad_sequence(rows).to(device),
        torch.tensor([len(row) for row in rows], device=device),
        torch.tensor([len(offered)], device=device),
    )
