"""The values on the way: the nodes of every name that the equations assign, as the text has them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from elman.equations.graph import Node, keep


@dataclass(frozen=True, slots=True)
class Intermediates:
    """The names of a text that are no states, in a graph that was not simplified away.

    Attributes:
        nodes: arguments before their users.
        names: node id of each name, in the order of first assignment; of a name that is assigned twice the last value.
    """

    nodes: tuple[Node, ...]
    names: dict[str, int]

    def only(self, names: Iterable[str]) -> Intermediates:
        """These names, and no node that none of them needs."""
        wanted = {name: self.names[name] for name in names}
        nodes, moved = keep(list(self.nodes), wanted.values())
        return Intermediates(nodes, {name: moved[index] for name, index in wanted.items()})
