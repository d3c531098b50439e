"""Tables as named tensors and back.

Order n is three or four tensors: ``n.symbols`` the last symbol of every n-gram, ``n.children`` how many
(n+1)-grams begin with each, ``n.probabilities``, and ``n.weights`` as contexts; the empty context is order 0.
Neither sorted keys nor pointers are stored: they follow from symbols and children, and cannot contradict
them.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch

from elman.errors import MisuseError
from elman.models.ngram.counting import LARGEST_KEY
from elman.models.ngram.tables import NgramTables

COMPACT = (np.uint8, np.int16, np.int32)
WHOLE = (torch.uint8, torch.int16, torch.int32, torch.int64)


def to_tensors(tables: NgramTables) -> dict[str, torch.Tensor]:
    """The tensors of some tables, integers in the smallest type that holds them.

    Args:
        tables: the tables.

    Returns:
        Flat tensors by name.
    """
    tensors = {}
    parents = 1
    for n, keys in enumerate(tables.keys):
        contexts, symbols = np.divmod(keys, tables.vocabulary_size)
        tensors[f"{n}.children"] = _compact(np.bincount(contexts, minlength=parents))
        tensors[f"{n}.weights"] = torch.from_numpy(tables.weights[n].copy())
        tensors[f"{n + 1}.symbols"] = _compact(symbols)
        tensors[f"{n + 1}.probabilities"] = torch.from_numpy(tables.probabilities[n].copy())
        parents = len(keys)
    return tensors


def from_tensors(tensors: Mapping[str, torch.Tensor], order: int, vocabulary_size: int) -> NgramTables:
    """Tables from tensors that may come from anywhere.

    Args:
        tensors: as of :func:`to_tensors`.
        order: the length of the longest n-gram.
        vocabulary_size: V.

    Returns:
        The tables.

    Raises:
        MisuseError: a tensor is missing, unknown or of another type, lengths disagree, symbols are out of
            range or not in order, or a probability is not a number from 0 to 1.
    """
    names = {f"{n}.{part}" for n in range(order) for part in ("children", "weights")}
    names |= {f"{n}.{part}" for n in range(1, order + 1) for part in ("symbols", "probabilities")}
    if unlike := sorted(names ^ set(tensors)):
        raise MisuseError(
            f"An n-gram model of order {order} has the tensors 0.children to {order}.probabilities; "
            f"missing or unknown: {', '.join(unlike[:4])}."
        )
    for name, tensor in tensors.items():
        if not isinstance(tensor, torch.Tensor) or tensor.dim() != 1:
            raise MisuseError(f"Tensor {name} is damaged: it is not a flat tensor.")
    keys, probabilities, weights = [], [], []
    parents = 1
    for n in range(order):
        if parents * vocabulary_size > LARGEST_KEY:
            raise MisuseError(f"{parents} contexts of {vocabulary_size} symbols do not fit 63 bits.")
        # No context has more continuations than there are n-grams; so the sum cannot overflow.
        limit = min(vocabulary_size, len(tensors[f"{n + 1}.symbols"])) + 1
        children = _integers(tensors, f"{n}.children", parents, limit)
        weights.append(_fractions(tensors, f"{n}.weights", parents))
        grams = int(children.sum())
        symbols = _integers(tensors, f"{n + 1}.symbols", grams, vocabulary_size)
        probabilities.append(_fractions(tensors, f"{n + 1}.probabilities", grams))
        packed = np.repeat(np.arange(parents, dtype=np.int64), children) * vocabulary_size + symbols
        if (np.diff(packed) <= 0).any():
            raise MisuseError(f"Tensor {n + 1}.symbols is damaged: symbols of a context must rise.")
        keys.append(packed)
        parents = grams
    return NgramTables(vocabulary_size, tuple(keys), tuple(probabilities), tuple(weights))


def _compact(values: npt.NDArray[np.int64]) -> torch.Tensor:
    largest = int(values.max(initial=0))
    for kind in COMPACT:
        if largest <= np.iinfo(kind).max:
            return torch.from_numpy(values.astype(kind))
    return torch.from_numpy(values.copy())


def _flat(tensors: Mapping[str, torch.Tensor], name: str, length: int) -> torch.Tensor:
    tensor = tensors[name]
    if len(tensor) != length:
        raise MisuseError(f"Tensor {name} is damaged: {len(tensor)} numbers where {length} are expected.")
    return tensor.detach().cpu()


def _integers(tensors: Mapping[str, torch.Tensor], name: str, length: int, limit: int) -> npt.NDArray[np.int64]:
    tensor = _flat(tensors, name, length)
    if tensor.dtype not in WHOLE:
        raise MisuseError(f"Tensor {name} is damaged: {tensor.dtype} where integers are expected.")
    values = tensor.to(torch.int64).numpy()
    if length and not 0 <= values.min() <= values.max() < limit:
        raise MisuseError(f"Tensor {name} is damaged: a value is outside 0 to {limit - 1}.")
    return values


def _fractions(tensors: Mapping[str, torch.Tensor], name: str, length: int) -> npt.NDArray[np.float32]:
    tensor = _flat(tensors, name, length)
    if tensor.dtype != torch.float32:
        raise MisuseError(f"Tensor {name} is damaged: {tensor.dtype} where torch.float32 is expected.")
    values = tensor.numpy()
    # A comparison with NaN is false, so this refuses NaN too.
    if not ((values >= 0) & (values <= 1.000001)).all():
        raise MisuseError(f"Tensor {name} is damaged: a value is not a probability.")
    return values.copy()
