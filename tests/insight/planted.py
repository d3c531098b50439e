"""A language model built by hand, in which one cell knows whether a quotation is open, and the text that it models.

The cell is unit :data:`UNIT` of ``c`` of layer 0: 1 from an opening quotation mark to the last character before the
closing one, 0 elsewhere. The other units carry the character that was read last, spread over all of them; what they add
to the scores is the table of character pairs. Only the planted cell makes the closing mark likely after a stop.

    from insight.planted import planted_run, planted_text, inside_quotes
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.data.vocabulary import Vocabulary, build
from elman.models.language import LanguageModel
from elman.runs import RunFolder, save_model, write_config
from elman.training import machine
from elman.training.corpus import TextOptions, describe_data
from elman.training.evaluate import evaluate
from elman.training.journal import Journal
from elman.training.settings import Settings

HIDDEN = 32
LAYER, STATE, UNIT = 0, "c", 11
SYMBOLS = '\n ",.?adeghilmnorstuw'
VOCABULARY = (
    "the and a his her no yes old tall red long house road sea ship rain wind stone garden water letter morning "
    "window silent green ran sat sang walked waited listened returned told asked is was will in on under near it man "
    "woman sailor horse lantern what where who nothing something again rather indeed almost"
)
WORDS = [word for word in VOCABULARY.split() if set(word) <= set(SYMBOLS)]

# scores of the quotation mark by what was read last, where no quotation is open
AFTER_STOP, AFTER_LETTER = -9.0, -18.0
# P(closing mark | a stop, inside), as the text has it
CLOSING = 0.67
# added to the counts of pairs: a flat table needs small weights
SMOOTHING = 20.0


def planted_text(characters: int = 200_000, seed: int = 0) -> str:
    """Prose with dialogue in whole lines, in which quotation marks are balanced, with an empty line now and then."""
    generator = np.random.default_rng(seed)

    def sentence(end: str, longest: int) -> str:
        words = [str(generator.choice(WORDS)) for _ in range(generator.integers(2, longest))]
        if len(words) > 4 and generator.random() < 0.4:
            words[2] += ","
        return " ".join(words) + end

    lines: list[str] = []
    length = 0
    while True:
        spoken = generator.random() < 0.6
        stops = generator.choice([".", ".", "?"], generator.integers(1, 3))
        line = " ".join(sentence(str(stop), 6 if spoken else 9) for stop in stops)
        if spoken:
            line = f'"{line}" {sentence(".", 9)}'
        line += "\n\n" if generator.random() < 0.3 else "\n"
        if length + len(line) > characters:
            break
        lines.append(line)
        length += len(line)
    # a last line of the length that is left
    rest = characters - length
    return "".join(lines) + ("the rain and the wind and " * 10)[: max(0, rest - 2)] + ".\n"[2 - min(rest, 2) :]


def inside_quotes(text: str) -> NDArray[np.uint8]:
    """1 from an opening mark to the last character before its closing mark: after these a quotation is open."""
    marks = np.array([character == '"' for character in text])
    return (np.cumsum(marks) % 2).astype(np.uint8)


def planted_model() -> tuple[LanguageModel, Vocabulary]:
    """The model, an LSTM of one layer of 32 units, and its vocabulary of characters."""
    vocabulary = build("characters", [SYMBOLS])
    size = vocabulary.size
    model = LanguageModel("lstm", size, HIDDEN, 1, embedding=size).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.embedding.weight.copy_(torch.eye(size))
        _carry_the_last_character(model, generator)
        _plant(model, vocabulary)
        _read_out(model, vocabulary)
    return model, vocabulary


def _part(model: LanguageModel, name: str) -> Tensor:
    return model.recurrent.parameter(name, LAYER)


def _carry_the_last_character(model: LanguageModel, generator: torch.Generator) -> None:
    """Gates open for the new, nearly shut for the old; the candidate is a code of the character, one bit a unit.

    The codes are rows of a Hadamard matrix, so that every unit carries as much as any other and none of them much.
    """
    size = model.vocabulary_size
    signs = torch.ones(1, 1)
    for _ in range(5):
        signs = torch.cat((torch.cat((signs, signs), 1), torch.cat((signs, -signs), 1)))
    signs[[0, UNIT]] = signs[[UNIT, 0]]  # the planted unit takes the place of the one that tells nothing
    sizes = torch.rand(HIDDEN, 1, generator=generator) + 0.3
    _part(model, "Wg").copy_(signs[:, 1 : size + 1] * sizes)
    for name in ("Ui", "Uf", "Uo", "Ug"):
        _part(model, name).copy_(torch.randn(HIDDEN, HIDDEN, generator=generator) * 0.03)
    _part(model, "bi").fill_(4.0)
    _part(model, "bo").fill_(4.0)
    _part(model, "bf").fill_(-4.0)


def _plant(model: LanguageModel, vocabulary: Vocabulary) -> None:
    """c = 1 - c at a mark, 0 at a newline, else c: f shuts at both, and i opens at a mark if h was 0.

    Without the newlines, whoever begins to read within a quotation would take inside for outside for ever.
    """
    mark, newline = (int(vocabulary.encode(symbol).ids[0]) for symbol in '"\n')
    for name in ("Wi", "Wf", "Wo", "Wg", "Ui", "Uf", "Uo", "Ug"):
        _part(model, name)[UNIT] = 0.0
    for name in ("Ui", "Uf", "Uo", "Ug"):
        _part(model, name)[:, UNIT] = 0.0  # nobody else is told
    open_wide = 30.0
    _part(model, "Wf")[UNIT, [mark, newline]] = -2 * open_wide
    _part(model, "bf")[UNIT] = open_wide
    _part(model, "Wi")[UNIT, mark] = 2 * open_wide
    _part(model, "bi")[UNIT] = -open_wide
    _part(model, "Ui")[UNIT, UNIT] = -4 * open_wide
    _part(model, "bg")[UNIT] = 5.0
    _part(model, "bo")[UNIT] = open_wide


def _read_out(model: LanguageModel, vocabulary: Vocabulary) -> None:
    """The least weights that give the log-probabilities of pairs, and the planted cell's own weights."""
    text = planted_text(60_000, seed=99)
    ids = torch.from_numpy(vocabulary.encode(text).ids.astype(np.int64))
    hidden = model.features(ids[:, None])[0][:, 0]
    means = torch.stack([hidden[ids == symbol].mean(0) for symbol in range(model.vocabulary_size)], dim=1)
    means[UNIT] = 0.0
    scale = means.abs().mean(1, keepdim=True).clamp(min=1e-6)
    pairs = torch.from_numpy(_pairs(vocabulary, text)).float()
    middle = pairs.mean(1)
    weight = (pairs - middle[:, None]) @ torch.linalg.pinv(means / scale) / scale.T
    model.readout_bias.copy_(middle)
    mark, newline = (int(vocabulary.encode(symbol).ids[0]) for symbol in '"\n')
    # inside, a mark after a stop gets its probability, and a line does not end
    weight[mark, UNIT] = (np.log(CLOSING / (1 - CLOSING)) - AFTER_STOP) / np.tanh(1.0)
    weight[newline, UNIT] = -9.0
    model.readout_weight.copy_(weight)


def _pairs(vocabulary: Vocabulary, text: str) -> NDArray[np.float64]:
    """log P(next | last), [next, last]: counted where no quotation is open, but for the marks."""
    size = vocabulary.size
    ids = vocabulary.encode(text).ids.astype(np.int64)
    mark, newline = (int(vocabulary.encode(symbol).ids[0]) for symbol in '"\n')
    stops = vocabulary.encode(".?").ids.astype(np.int64)
    counts = np.full((size, size), SMOOTHING)
    known = (inside_quotes(text)[:-1] == 0) | ~np.isin(ids[:-1], stops)
    np.add.at(counts, (ids[1:][known], ids[:-1][known]), 1.0)
    scores = np.log(counts / counts.sum(axis=0))
    scores[mark, np.arange(size) != newline] = AFTER_LETTER
    scores[mark, stops] = AFTER_STOP
    return np.maximum(scores, AFTER_LETTER)


def planted_run(folder: Path, characters: int = 200_000) -> Path:
    """A run folder with the model, made as a training makes one, and beside it the text of its record.

    Args:
        folder: an existing folder; ``planted.txt`` and ``planted/`` are made in it.
        characters: of the text.

    Returns:
        The run folder.
    """
    source = folder / "planted.txt"
    # the validation part begins with a line of its own
    before = characters * 9 // 10
    source.write_text(planted_text(before) + planted_text(characters - before, seed=1), encoding="utf-8")
    model, vocabulary = planted_model()
    options = TextOptions()
    corpus = options.read([str(source)], vocabulary)
    run = RunFolder.create(folder / "planted")
    valid = evaluate(model, corpus.valid, streams=4, burn_in=100)
    write_config(
        run.config,
        {
            "system": "language",
            "model": model.configuration(),
            "vocabulary": vocabulary.to_json(),
            "data": describe_data([str(source)], options, corpus),
            "training": {"settings": Settings().to_json(), "steps": 1, "chosen": [], "tensorboard": False},
            "versions": machine.versions(),
            "command": "built by hand",
        },
    )
    journal = Journal(run.metrics)
    standing = {"step": 1, "seconds": 1.0, "tokens": len(corpus.train), "epoch": 1.0, "train_nats": valid.nats}
    journal.write(standing | {"valid_nats": valid.nats, "valid_bits": valid.bits, "valid_tokens": valid.tokens})
    journal.close()
    save_model(run, model.state_dict(), step=1, valid_nats=valid.nats)
    return run.path
