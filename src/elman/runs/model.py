"""Saving and opening the trained model of a run folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from elman.data.vocabulary import Vocabulary, from_json
from elman.equations import EquationError
from elman.errors import ElmanError, FailureError, MisuseError
from elman.models.ngram import NgramModel
from elman.models.shapes import compare_shapes
from elman.runs.checkpoint import newest_tensors
from elman.runs.config import VERBS, read_config
from elman.runs.folder import RunFolder
from elman.runs.tensors import read_tensors, shapes, write_tensors

# by system the class of its network, loaded when it is asked for
NETWORKS = {
    "language": "elman.models.language:LanguageModel",
    "classify": "elman.models.classifier:Classifier",
    "tag": "elman.models.tagger:Tagger",
    "image": "elman.models.image_classifier:ImageClassifier",
    "caption": "elman.models.captioning:Captioner",
    "translate": "elman.models.translator:Translator",
    "video": "elman.models.video.describer:VideoNetwork",
    "vqa": "elman.models.questions.network:VisualQA",
}
# what reads and writes one text, token by token
LANGUAGE_MODELS = ("language", "ngram")


class LoadedRun(NamedTuple):
    """A trained model with what is needed to use it; ``vocabulary`` is that of its configuration, or None."""

    model: Any
    vocabulary: Any
    config: dict[str, Any]


def save_model(folder: RunFolder, tensors: Mapping[str, Tensor], **facts: object) -> None:
    """Replace the run's weights.

    Args:
        folder: the run.
        tensors: the model's state_dict.
        facts: what to store beside them, such as ``step`` and ``valid_nats``.
    """
    write_tensors(folder.model, tensors, {key: str(value) for key, value in facts.items()})


def load(
    run: str | os.PathLike[str],
    *,
    device: str | torch.device = "cpu",
    backend: str = "auto",
    unknown: str | None = None,
    systems: Sequence[str] | None = LANGUAGE_MODELS,
) -> LoadedRun:
    """Open a run folder: the model with its best weights, its vocabulary and its configuration.

    Nothing is unpickled and nothing evaluated: equations are parsed, a network's tensors are checked against the shapes
    that the configuration implies before memory is taken for them.

    Args:
        run: the run folder.
        device: where the model shall live; a run trained on a GPU opens on a CPU and back.
        backend: as for :class:`elman.nn.Recurrent`.
        unknown: another treatment of unseen symbols than the run's own.
        systems: which ones the caller can use; None for any.

    Returns:
        The model in evaluation mode, the vocabulary, the configuration.

    Raises:
        MisuseError: there is no run there, it is of an unknown format, or of another system than was asked for.
        FailureError: its files are damaged or do not fit together.
    """
    folder = RunFolder.existing(run)
    config = read_config(folder.config)
    if systems is not None and config["system"] not in systems:
        raise MisuseError(
            f"{folder.path} is a run of `elman train {VERBS[config['system']]}`; this takes one of "
            f"{', '.join(f'`elman train {VERBS[name]}`' for name in systems)}."
        )
    vocabulary = _vocabulary(folder, config)
    if not folder.model.is_file():
        raise FailureError(
            f"{folder.path} has no model.safetensors yet: its training was stopped before the first evaluation. "
            f"Go on with `elman resume {folder.path}`."
        )
    try:
        if config["system"] == "ngram":
            tensors, _ = read_tensors(folder.model)
            model: Any = NgramModel.from_configuration(config["model"])
            model.load_state_dict(tensors)
        else:
            model = _load_network(folder, config, device, backend)
    except (MisuseError, EquationError) as error:
        raise FailureError(f"{folder.config}: the model cannot be built. {error}") from error
    if vocabulary is not None:
        if model.vocabulary_size != vocabulary.size:
            raise FailureError(
                f"{folder.config}: the model knows {model.vocabulary_size} symbols, "
                f"the vocabulary has {vocabulary.size}."
            )
        if unknown is not None:
            vocabulary = vocabulary.with_unknown(unknown)
    return LoadedRun(model, vocabulary, config)


def _vocabulary(folder: RunFolder, config: Mapping[str, Any]) -> Vocabulary | None:
    if "vocabulary" not in config:
        if config["system"] in LANGUAGE_MODELS:
            raise FailureError(f"{folder.config} is damaged: it lacks the vocabulary.")
        return None
    try:
        return from_json(config["vocabulary"])
    except ElmanError as error:
        raise FailureError(f"{folder.config}: the vocabulary is damaged. {error}") from error


def _load_network(
    folder: RunFolder, config: Mapping[str, Any], device: str | torch.device, backend: str
) -> torch.nn.Module:
    check_shapes(folder.model, expected_shapes(folder, config))
    tensors, _ = read_tensors(folder.model)
    model = _network(config).from_configuration(config["model"], backend)
    model.load_state_dict(tensors)
    return model.to(device).eval()


def _network(config: Mapping[str, Any]) -> Any:
    """The class of a run's network.

    Raises:
        MisuseError: a system that this version does not know.
    """
    if config["system"] not in NETWORKS:
        raise MisuseError(f"Its system is {config['system']!r}; this version knows {', '.join(NETWORKS)} and ngram.")
    module, _, name = NETWORKS[config["system"]].partition(":")
    return getattr(import_module(module), name)


def check_resumable(folder: RunFolder, config: Mapping[str, Any]) -> None:
    """Compare a network's configuration with what is stored, before memory is taken for it.

    Raises:
        FailureError: the stored weights are of other shapes, or damaged.
        MisuseError, EquationError: the configuration describes no model.
    """
    expected = expected_shapes(folder, config)
    newest = newest_tensors(folder)
    if folder.model.is_file():
        check_shapes(folder.model, expected)
    elif newest is not None:
        check_shapes(newest, {f"model.{name}": shape for name, shape in expected.items()}, prefix="model.")


def expected_shapes(folder: RunFolder, config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a network's weights, found without memory, so that a hostile size is refused first.

    Raises:
        FailureError: the sizes are beyond all bounds.
        MisuseError, EquationError: the configuration describes no model.
    """
    try:
        with torch.device("meta"):
            state = _network(config).from_configuration(config["model"]).state_dict()
    except (RuntimeError, OverflowError) as error:
        raise FailureError(f"{folder.config}: the model cannot be built ({error}).") from error
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def check_shapes(path: Path, expected: Mapping[str, tuple[int, ...]], prefix: str = "") -> None:
    """Refuse a tensor file that does not hold exactly the named shapes, among the names that begin with ``prefix``.

    Raises:
        FailureError: naming the first tensor that is missing, unknown or of another shape.
    """
    stored = {name: shape for name, shape in shapes(path).items() if name.startswith(prefix)}
    compare_shapes(path, stored, expected, "the configuration")
