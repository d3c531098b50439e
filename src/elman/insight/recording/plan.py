"""What a recording will hold, before anything is computed."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elman.data.vocabulary import Vocabulary
from elman.errors import FailureError, MisuseError
from elman.generate.stepping import check_sizes
from elman.insight.recording.layout import LONGEST, Group, recording_bytes
from elman.insight.recording.positions import Tokens, tokens_of
from elman.insight.recording.writing import check_text
from elman.models.language import LanguageModel


@dataclass(frozen=True)
class Wanted:
    """What is to be recorded.

    Attributes:
        groups: the cells; transforms are decided once the model has read a little.
        tokens: the text as the model reads it.
    """

    groups: tuple[Group, ...]
    tokens: Tokens

    @property
    def cells(self) -> int:
        """Number of cells C."""
        return sum(group.count for group in self.groups)

    @property
    def bytes(self) -> int:
        """What the recording will take on the disk."""
        return recording_bytes(self.cells, len(self.tokens.ids))


def wanted(
    model: Any,
    vocabulary: Vocabulary,
    text: str,
    *,
    gates: Sequence[str] | str = (),
    states: Sequence[str] | None = None,
) -> Wanted:
    """What a recording will hold, and how large it will be; arguments as of :func:`record`.

    Raises:
        MisuseError: a model without states, a state or gate that it has not, or a text that cannot be recorded.
    """
    network = network_of(model)
    check_sizes(network, vocabulary)
    groups = groups_of(network, gates, states)
    if len(text) > LONGEST:
        check_text(text, 1)
    tokens = tokens_of(vocabulary, text)
    check_text(text, len(tokens.ids))
    return Wanted(groups, tokens)


def groups_of(network: LanguageModel, gates: Sequence[str] | str, states: Sequence[str] | None) -> tuple[Group, ...]:
    """The cells of a recording, layer by layer, the states of each before its gates; arguments as of :func:`record`.

    Raises:
        MisuseError: a state or gate that the model has not, or none at all.
    """
    recurrence = network.recurrence
    known = recurrence.intermediates
    if isinstance(gates, str):
        gates = list(known.names) if gates == "all" else [gates]
    chosen = dict.fromkeys(recurrence.states if states is None else states, "state")
    for name in chosen:
        if name not in recurrence.states:
            raise MisuseError(f"The model has no state {name!r}; it has {', '.join(recurrence.states)}.")
    for name in gates:
        if name not in known.names:
            has = ", ".join(known.names) or "nothing but states"
            raise MisuseError(f"The model has no gate {name!r}; its equations assign {has}.")
        chosen[name] = "gate"
    if not chosen:
        raise MisuseError("Nothing is to be recorded: name at least one state or gate.")
    groups: list[Group] = []
    first = 0
    for layer in range(network.layers):
        for name, kind in chosen.items():
            of_input = kind == "gate" and known.nodes[known.names[name]].width == "input"
            count = network.embedding.embedding_dim if of_input and layer == 0 else network.hidden
            groups.append(Group(layer, name, kind, "identity", first, count))
            first += count
    return tuple(groups)


def network_of(model: Any) -> LanguageModel:
    """The model, if it has states.

    Raises:
        MisuseError: it is an n-gram model or another without states.
    """
    if not isinstance(model, LanguageModel):
        kind = "An n-gram model" if "gram" in type(model).__name__.lower() else f"A {type(model).__name__}"
        raise MisuseError(f"{kind} has no states to record; take a run of `elman train lm` with a recurrent network.")
    return model


def check_room(plan: Wanted, folder: Path, limit_bytes: int) -> None:
    size = f"{plan.cells:,} cells over {len(plan.tokens.ids):,} tokens take {plan.bytes / 1e9:.2f} GB"
    if plan.bytes > limit_bytes:
        raise MisuseError(
            f"The recording is too large: {size}, and {limit_bytes / 1e9:.2f} GB are allowed. Give a shorter text, "
            "fewer states or gates, or a higher limit."
        )
    parent = next((each for each in folder.absolute().parents if each.is_dir()), Path("/"))
    free = shutil.disk_usage(parent).free
    if plan.bytes > free:
        raise FailureError(
            f"The disk is too full for the recording: {size}, and {parent} has {free / 1e9:.2f} GB left. "
            "Free some space, or give a shorter text."
        )
