"""What rebuilds a model without its weights, as plain JSON values that may come from anybody."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from torch import nn

from elman.equations import EquationError, Recurrence
from elman.errors import MisuseError

# larger ones are a slip of the keyboard, or a configuration that wants to exhaust the memory
MOST_LAYERS = 256
WIDEST = 2**20


class Configured:
    """A network that is rebuilt from its entries: what its constructor takes, under the same names as its attributes.

    An entry may also be a part that was made from it: an embedding for its width, a layer for its recurrence, an
    optional part for whether it is there.

    Attributes:
        ENTRIES: by name of the entry its type, as for :func:`read_configuration`.
    """

    ENTRIES: ClassVar[Mapping[str, type]]

    def configuration(self) -> dict[str, Any]:
        """Everything that rebuilds this model without its weights, as JSON values."""
        return {name: _entry(getattr(self, name), kind) for name, kind in self.ENTRIES.items()}

    @classmethod
    def from_configuration(cls, configuration: Mapping[str, Any], backend: str = "auto") -> Self:
        """The model that :meth:`configuration` describes, with fresh weights.

        Args:
            configuration: parsed JSON, which may come from anybody.
            backend: as for :class:`elman.nn.Recurrent`.

        Raises:
            MisuseError: sizes that do not fit together or are missing.
            EquationError: equations that are not a recurrence.
        """
        return cls(**read_configuration(configuration, cls.ENTRIES) | {"backend": backend})


def _entry(value: Any, kind: type) -> Any:
    if kind is Recurrence:
        return recurrence_entry(value if isinstance(value, Recurrence) else value.recurrence)
    if kind is bool:
        return value is not None and value is not False
    return value.embedding_dim if isinstance(value, nn.Embedding) else value


def recurrence_entry(recurrence: Recurrence) -> dict[str, str]:
    """A recurrence as JSON values."""
    return {"name": recurrence.name, "equations": recurrence.equations, "output": recurrence.output}


def read_configuration(configuration: Mapping[str, Any], kinds: Mapping[str, type]) -> dict[str, Any]:
    """The entries of a stored configuration, each of its kind.

    Args:
        configuration: parsed JSON.
        kinds: by name of the entry its type: int, float, bool, str, or Recurrence.

    Returns:
        By name the value.

    Raises:
        MisuseError: an entry that is missing, unknown or of another kind.
        EquationError: equations that are not a recurrence.
    """
    entries: dict[str, Any] = {}
    try:
        for name, kind in kinds.items():
            value = configuration[name]
            if kind is Recurrence:
                if not all(isinstance(value[key], str) for key in ("equations", "output", "name")):
                    raise TypeError("equations, output and name must be texts")
                entries[name] = Recurrence(value["equations"], output=value["output"], name=value["name"])
            elif kind is str and not isinstance(value, str):
                raise TypeError(f"{name} must be a text")
            else:
                entries[name] = kind(value)
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        if isinstance(error, EquationError):
            raise
        raise MisuseError(f"The model's configuration is incomplete or malformed ({error!r}).") from error
    if unknown := [str(name) for name in configuration if name not in kinds]:
        raise MisuseError(f"The model's configuration has unknown entries: {', '.join(unknown)}.")
    return entries


def check_sizes(bounds: Mapping[str, tuple[int, int]]) -> None:
    """Refuse sizes that cannot be.

    Args:
        bounds: by name (the size, the largest possible).

    Raises:
        MisuseError: a size below 1 or above its bound.
    """
    for name, (size, most) in bounds.items():
        if not 1 <= size <= most:
            raise MisuseError(f"{name} is {size}; it must be from 1 to {most:,}.")


def check_rates(**rates: float) -> None:
    """Refuse rates of dropout that cannot be.

    Raises:
        MisuseError: a rate outside [0, 1).
    """
    for name, rate in rates.items():
        if not 0 <= rate < 1:
            raise MisuseError(f"{name} is {rate}; it must be a share from 0 to below 1.")
