"""Self-critical sequence training: a captioner learns from the score of what it writes.

Rennie, Marcheret, Mroueh, Ross and Goel 2017, Self-critical sequence training for image captioning, CVPR,
arXiv:1612.00563.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from elman.generate.captioning import Drawn, draw, opening_of
from elman.generate.stepping import State, select
from elman.metrics.cider import CiderD
from elman.metrics.penn import penn_words
from elman.training.systems.caption.data import collate
from elman.training.systems.caption.examples import CaptionExamples, tags

# captions that are drawn for each image
DRAWS = 5


class Critical(NamedTuple):
    """Drawn captions and how much better than the greedy ones they are.

    Attributes:
        images: as :attr:`elman.training.systems.caption.examples.Batch.images`.
        own: [N] the image of each caption.
        tokens, targets: [T, N].
        lengths: [N].
        advantages: [N], CIDEr-D of the drawn caption less that of the image's greedy one.
    """

    images: Tensor
    own: Tensor
    tokens: Tensor
    targets: Tensor
    lengths: Tensor
    advantages: Tensor


class SelfCritical(CaptionExamples):
    """The same images, taught by the reward.

        w ~ P(. | image),   w^ = the greedy caption
        gradient = -(r(w) - r(w^)) grad log P(w | image)         equations 6 and 9

    The reward r is CIDEr-D with the document frequencies of the training captions. What the greedy caption scores at
    test time is the baseline: only draws that are better become likelier. The training loss that is reported is the one
    with this gradient, and not in nats a word.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.references = {
            tag: {
                int(row): [penn_words(caption.text) for caption in self.data.captions[row] if caption.tag == tag]
                for row in self.data.parts["train"]
            }
            for tag in tags(self.data, self.data.parts["train"])
        }
        self.scorers = {
            tag: CiderD.of([found for found in own.values() if found]) for tag, own in self.references.items()
        }

    def describe(self) -> str:
        return f"{super().describe()}, self-critical"

    def batch(self, rows: NDArray[np.int64], generator: torch.Generator) -> tuple[Any, int]:
        chosen = self.data.parts["train"][rows]
        images = self.seen(chosen)
        own: list[int] = []
        ids: list[list[int]] = []
        advantages: list[float] = []
        # both captions are written as at test time, without dropout
        self.model.eval()
        with torch.no_grad():
            begun = self.begun(images)
            for tag, references in self.references.items():
                places = [place for place, row in enumerate(chosen.tolist()) if references[row]]
                if not places:
                    continue
                wanted = [references[int(chosen[place])] for place in places]
                opening = opening_of(self.vocabulary, tag)
                greedy = self._drawn(begun, places, opening, 0.0, generator)
                baseline = self._rewards(greedy, tag, wanted)
                drawn = self._drawn(begun, [p for p in places for _ in range(DRAWS)], opening, 1.0, generator)
                rewards = self._rewards(drawn, tag, [each for each in wanted for _ in range(DRAWS)])
                own += [place for place in places for _ in range(DRAWS)]
                advantages += (rewards - np.repeat(baseline, DRAWS)).tolist()
                columns = zip(drawn.tokens.T.tolist(), drawn.lengths.tolist(), strict=True)
                ids += [[*opening, *column[:length]] for column, length in columns]
        self.model.train()
        tokens, targets, lengths = collate(ids, self.opening, self.end)
        device = self.settings.device
        batch = Critical(
            images,
            torch.tensor(own, device=device),
            tokens.to(device),
            targets.to(device),
            lengths,
            torch.tensor(advantages, device=device),
        )
        return batch, int(sum(len(each) - self.opening for each in ids))

    def loss(self, batch: Any) -> Tensor:
        state = select(self.begun(batch.images), batch.own)
        read, _, _ = self.model.read(batch.tokens, state, batch.lengths)
        wanted = batch.targets >= 0
        nats = functional.cross_entropy(
            self.model.softmax(read[wanted]).float(), batch.targets[wanted], reduction="none"
        )
        return (nats * batch.advantages.expand_as(batch.targets)[wanted]).sum()

    def _drawn(
        self,
        begun: State,
        places: list[int],
        opening: list[int],
        temperature: float,
        random: torch.Generator,
    ) -> Drawn:
        return draw(
            self.model,
            select(begun, places),
            opening,
            end=self.end,
            banned=self.banned,
            length=self.options.longest,
            temperature=temperature,
            generator=random,
        )

    def _rewards(self, drawn: Drawn, tag: str, references: list[list[list[str]]]) -> NDArray[np.float64]:
        candidates = [penn_words(self.vocabulary.decode(ids)) for ids in drawn.rows(self.end)]
        return self.scorers[tag].scores(candidates, references)
