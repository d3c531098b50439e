"""The words that mattered to a classifier: attention and gradient times input, as text and as a page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from elman.data.labelled import padded, spelled, token_ids, unknown_id
from elman.data.vocabulary import Vocabulary
from elman.errors import FailureError
from elman.generate.stream import visible
from elman.insight.figures.coloured_text import draw, page
from elman.insight.figures.colours import backgrounds, light_ink
from elman.insight.figures.passages import Passage
from elman.models.classifier import Classifier

if TYPE_CHECKING:
    from rich.text import Text

# an explanation needs gradients of every token, so texts are worked through in groups of this many
GROUP = 32


@dataclass(frozen=True)
class Explained:
    """One text, what it was taken for, and what each of its tokens did for that.

    Attributes:
        text: as given.
        classes: [K] names.
        probabilities: [K], calibrated.
        tokens: [T] as they stand in the text.
        unknown: [T] whether the vocabulary lacks the token.
        contributions: [T] gradient times input of the log-odds of the likeliest class, nats to first order;
            positive where the token speaks for it.
        attention: [T], sums to 1; None for a model that pools otherwise.
        unread: tokens beyond these, which the model was not given.

    A token that was not read, as an unseen one of a vocabulary without ``<unk>``, did nothing.
    """

    text: str
    classes: Sequence[str]
    probabilities: NDArray[np.float64]
    tokens: Sequence[str]
    unknown: NDArray[np.bool_]
    contributions: NDArray[np.float64]
    attention: NDArray[np.float64] | None
    unread: int = 0

    @property
    def best(self) -> str:
        """The likeliest class."""
        return self.classes[int(self.probabilities.argmax())]

    @property
    def shares(self) -> NDArray[np.float64]:
        """Contributions divided by the largest in size: [T] from -1 to 1."""
        largest = np.abs(self.contributions).max(initial=0.0)
        return self.contributions / largest if largest else self.contributions


def explain(
    model: Classifier, vocabulary: Vocabulary, classes: Sequence[str], texts: Sequence[str], longest: int
) -> list[Explained]:
    """Classify texts and say which of their tokens mattered.

    Gradient times input of the embedding: Simonyan et al. 2014; Shrikumar et al. 2017 (arXiv:1605.01713). It is the
    effect of taking the token's vector away, to first order.

    Args:
        model: in evaluation mode.
        vocabulary: of its tokens.
        classes: their names, by number.
        texts: N of them.
        longest: tokens of a text that are read.

    Returns:
        For each text its explanation.

    Raises:
        FailureError: scores that are no numbers.
    """
    device = model.readout.weight.device
    found: list[Explained] = []
    for begin in range(0, len(texts), GROUP):
        group = texts[begin : begin + GROUP]
        rows = [token_ids(vocabulary, text, longest) for text in group]
        ids, lengths = padded(rows)
        tokens, sizes = torch.from_numpy(ids).to(device), torch.from_numpy(lengths).to(device)
        with torch.no_grad():
            scores, weights = model.explained(tokens, sizes)
            if not torch.isfinite(scores).all():
                raise FailureError("The model's scores are no numbers: its weights are damaged or it diverged.")
            chances = torch.softmax(scores.double() / model.temperature, -1)
        slopes = model.contributions(tokens, sizes, scores.argmax(-1))
        for place, text in enumerate(group):
            whole = spelled(vocabulary, text)
            names = whole[:longest]
            known = vocabulary.ids(names) >= 0
            # a vocabulary without <unk> leaves out what it has not seen
            read = known if unknown_id(vocabulary) is None else np.ones(len(names), dtype=bool)
            found.append(
                Explained(
                    text,
                    classes,
                    chances[place].cpu().numpy(),
                    names,
                    ~known,
                    _where(read, slopes[:, place]),
                    None if weights is None else _where(read, weights[:, place]),
                    len(whole) - len(names),
                )
            )
    return found


def _where(read: NDArray[np.bool_], values: torch.Tensor) -> NDArray[np.float64]:
    """The values of the tokens that were read, in their places [T]; 0 elsewhere."""
    placed = np.zeros(len(read))
    placed[read] = values[: int(read.sum())].double().cpu().numpy()
    return placed


def places(vocabulary: Vocabulary, text: str, tokens: Sequence[str]) -> list[tuple[int, int]]:
    """Where the tokens of a text stand in it.

    Args:
        vocabulary: that cut the text.
        text: as given.
        tokens: of its beginning, as :func:`elman.data.labelled.spelled` gives them.

    Returns:
        For each token its first character and the one after its last; tokens that are parts of one character share it.
    """
    found: list[tuple[int, int]] = []
    if vocabulary.kind in ("bytes", "subwords"):
        # byte by byte: the character to which each byte belongs
        sizes = [len(sign.encode("utf-8", "surrogateescape")) for sign in text]
        owner = np.repeat(np.arange(len(text)), sizes)
        at = 0
        for token in tokens:
            # in byte-level spelling a character stands for a byte
            size = 1 if vocabulary.kind == "bytes" else len(token)
            covered = owner[at : at + size]
            at += size
            found.append((int(covered[0]), int(covered[-1]) + 1) if len(covered) else (len(text), len(text)))
        return found
    lowered = text.lower()
    # lower-casing may lengthen a text, as that of some Turkish letters; then places are sought in the text itself
    sought = lowered if len(lowered) == len(text) else text
    at = 0
    for token in tokens:
        exact, folded = text.find(token, at), sought.find(token, at)
        begin = min((place for place in (exact, folded) if place >= 0), default=at)
        end = begin + len(token) if max(exact, folded) >= 0 else at
        found.append((begin, end))
        at = end
    return found


def by_character(vocabulary: Vocabulary, explained: Explained, values: NDArray[np.floating]) -> NDArray[np.float64]:
    """A value of each token spread over the characters of the text; parts of one character add up.

    Args:
        vocabulary: that cut the text.
        explained: the text.
        values: [T].

    Returns:
        [characters], 0 between the tokens.
    """
    spread = np.zeros(len(explained.text))
    for (begin, end), value in zip(places(vocabulary, explained.text, explained.tokens), values, strict=True):
        spread[begin:end] += value
    return spread


def coloured(vocabulary: Vocabulary, explained: Explained, labels: bool = True) -> Text:
    """The text for a terminal: blue where it speaks for the class, orange where against; unknown words underlined.

    Args:
        vocabulary: that cut the text.
        explained: the text.
        labels: begin with the class and its probability.
    """
    from rich.style import Style
    from rich.text import Text

    line = Text()
    if labels:
        line.append(f"{explained.best} {explained.probabilities.max():.2f}  ", style="bold")
    values = by_character(vocabulary, explained, explained.shares)
    unknown = by_character(vocabulary, explained, explained.unknown.astype(np.float64)) > 0
    colours = backgrounds(values)
    light = light_ink(colours)
    for sign, value, lacking, colour, white in zip(explained.text, values, unknown, colours, light, strict=True):
        style = Style(underline=bool(lacking))
        if value:
            red, green, blue = colour.tolist()
            style += Style(bgcolor=f"rgb({red},{green},{blue})", color="white" if white else "black")
        line.append(" " if sign == "\n" else visible(sign), style=style)
    return line


def heaviest(explained: Explained, count: int = 5) -> list[tuple[str, float]]:
    """The tokens that did most for or against the class, the strongest first, with their contributions in nats."""
    order = np.argsort(-np.abs(explained.contributions), kind="stable")[:count]
    return [(explained.tokens[place], float(explained.contributions[place])) for place in order]


NOTES = (
    "Blue speaks for the class that was given, orange against it: gradient times input of each token, divided by the "
    "largest of the text.",
    "Underlined tokens are not in the vocabulary.",
)


def passages_of(vocabulary: Vocabulary, texts: Iterable[Explained]) -> list[Passage]:
    """Explained texts as passages with colours.

    Args:
        vocabulary: that cut the texts.
        texts: in their order.

    Returns:
        A passage for each text; where the model pools by attention a second one with its weights.
    """
    passages = []
    for each in texts:
        chances = sorted(zip(each.probabilities, each.classes, strict=True), key=lambda pair: -pair[0])[:4]
        lacking = (by_character(vocabulary, each, each.unknown.astype(np.float64)) > 0).astype(np.int64)
        said = ", ".join(f"{name} {chance:.3f}" for chance, name in chances)
        values = np.clip(by_character(vocabulary, each, each.shares), -1, 1)
        passages.append(Passage(f"{each.best} {each.probabilities.max():.2f}", each.text, values, lacking, said))
        if each.attention is not None:
            weights = each.attention / max(each.attention.max(initial=0.0), 1e-12)
            spread = np.clip(by_character(vocabulary, each, weights), 0, 1)
            passages.append(Passage("attention", each.text, spread, lacking))
    return passages


def page_of(vocabulary: Vocabulary, texts: Iterable[Explained], title: str) -> str:
    """A page of explained texts that needs nothing but a browser.

    Args:
        vocabulary: that cut the texts.
        texts: in the order of the page.
        title: of the page.

    Returns:
        HTML, UTF-8 when written.
    """
    return page(passages_of(vocabulary, texts), title, NOTES)


def picture_of(vocabulary: Vocabulary, texts: Iterable[Explained], picture: Path, title: str) -> None:
    """Draw explained texts below each other.

    Args:
        vocabulary, texts, title: as for :func:`page_of`.
        picture: the PNG, SVG or PDF to write.

    Raises:
        MisuseError: matplotlib is not installed, another kind of file, or too much text for a picture.
        FailureError: the picture cannot be written.
    """
    draw(passages_of(vocabulary, texts), picture, heading=title)
