"""A ConvNet that names what it sees: the net, the names of its classes, and the preprocessing fitted for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from elman.data.images.preprocessing import KINDS, MOST_NUMBERS, Preprocessing, expected_shapes
from elman.data.images.resizing import fit_square, to_float
from elman.errors import MisuseError
from elman.models.configuration import check_sizes
from elman.models.convnets import ConvNet, build
from elman.models.convnets.blocks import POINTWISE
from elman.models.convnets.table import MOST_CLASSES

LARGEST_SIDE = 4096


class ImageClassifier(nn.Module):
    """Gives an image one of K classes.

        x = preprocessing(image)
        P(class) = softmax(net(x))

    The tensors of the preprocessing are buffers, so that they are stored and moved with the weights.

    Args:
        net: as many scores as there are classes.
        classes: their names.
        side: of the square images that it reads, pixels.
        shorter: shorter side to which an image is resized before the middle is cut out; default ``side``.
        preprocessing: None takes levels from 0 to 1 as they are.

    Raises:
        MisuseError: a number of scores that is not that of the classes, or sizes that cannot be.
    """

    def __init__(
        self,
        net: ConvNet,
        classes: Sequence[str],
        side: int,
        shorter: int | None = None,
        preprocessing: Preprocessing | None = None,
    ) -> None:
        super().__init__()
        shorter = side if shorter is None else shorter
        check_sizes({"side": (side, LARGEST_SIDE), "shorter": (shorter, 2 * LARGEST_SIDE)})
        if shorter < side:
            raise MisuseError(f"A square of {side} pixels cannot be cut out of images with a side of {shorter}.")
        if len(classes) != net.classes or len(set(classes)) != len(classes):
            raise MisuseError(f"{net.name} gives {net.classes} scores; these are {len(classes)} names of classes.")
        self.net, self.classes = net, tuple(classes)
        self.side, self.shorter = side, shorter
        self.preprocessing_facts = preprocessing.facts() if preprocessing else None
        self._fitted = nn.Module()
        for name, tensor in (preprocessing.tensors if preprocessing else {}).items():
            self._fitted.register_buffer(name, tensor)
        # set by what trains it: batch norms whose weights are frozen keep the statistics that they were trained with
        self.frozen: frozenset[str] = frozenset()

    @property
    def preprocessing(self) -> Preprocessing | None:
        """What is done to images before the net; its tensors are the model's buffers."""
        facts = self.preprocessing_facts
        if facts is None:
            return None
        channels, height, width = facts["shape"]
        shape = (int(channels), int(height), int(width))
        tensors = dict(self._fitted.named_buffers())
        return Preprocessing(
            facts["kind"], shape, int(facts["images"]), str(facts["fingerprint"]), float(facts["epsilon"]), tensors
        )

    def prepare(self, image: Tensor) -> Tensor:
        """An image of any size, [3, H, W] uint8, as the model reads it: [3, side, side], uint8."""
        return fit_square(image, self.side, self.shorter)

    def forward(self, images: Tensor) -> Tensor:
        """Scores of the classes.

        Args:
            images: [B, 3, side, side], uint8 or 0..1.

        Returns:
            Scores before the softmax [B, K].
        """
        fitted = self.preprocessing
        # whitening divides by small deviations, for which 16 bits are too few
        with torch.autocast(images.device.type, enabled=False):
            x = fitted.as_images(images) if fitted else to_float(images)
        # torch's convolutions on a CPU take about half the time with the channels last in memory
        scores: Tensor = self.net(x.contiguous(memory_format=torch.channels_last))
        return scores

    @torch.inference_mode()
    def probabilities(self, images: Sequence[Tensor]) -> Tensor:
        """P(class) of images of any size; the model must be in evaluation mode.

        Args:
            images: [3, H, W] each, uint8.

        Returns:
            [N, K], on the CPU.
        """
        place = next(self.net.parameters()).device
        prepared = torch.stack([self.prepare(image) for image in images]).to(place)
        return self(prepared).float().softmax(1).cpu()

    def train(self, mode: bool = True) -> ImageClassifier:
        """Training or evaluation mode; parts all of whose weights are frozen stay in evaluation mode."""
        super().train(mode)
        if mode and self.frozen:
            for name, module in self.net.named_modules():
                own = [f"{name}.{parameter}" for parameter, _ in module.named_parameters(recurse=False)]
                if isinstance(module, POINTWISE) and own and self.frozen.issuperset(own):
                    module.eval()
        return self

    def freeze(self, names: Iterable[str]) -> None:
        """Take parameters of the net out of training, and batch norms all of whose parameters are among them.

        Args:
            names: of parameters, as the net has them.
        """
        self.frozen = frozenset(names)
        for name, parameter in self.net.named_parameters():
            parameter.requires_grad_(name not in self.frozen)
        self.train(self.training)

    def configuration(self) -> dict[str, Any]:
        """Everything that rebuilds this model without its weights, as JSON values."""
        fitted = dict(self._fitted.named_buffers())
        count = fitted["directions"].shape[1] if "directions" in fitted else 0
        return {
            "net": self.net.configuration(),
            "classes": list(self.classes),
            "side": self.side,
            "shorter": self.shorter,
            "preprocessing": self.preprocessing_facts and {**self.preprocessing_facts, "directions": count},
        }

    @classmethod
    def from_configuration(cls, configuration: Mapping[str, Any], backend: str = "auto") -> ImageClassifier:
        """The model that :meth:`configuration` describes, with fresh weights and an empty preprocessing.

        Args:
            configuration: JSON values, which may come from anybody.
            backend: of recurrences, which this model has not.

        Raises:
            MisuseError: sizes that do not fit together or are missing.
        """
        try:
            net = dict(configuration["net"])
            name, count = str(net.pop("name")), int(net.pop("classes"))
            classes, side, shorter = configuration["classes"], int(configuration["side"]), int(configuration["shorter"])
            if not isinstance(classes, list) or not all(isinstance(word, str) for word in classes):
                raise TypeError("classes must be texts")
            if not 1 <= count <= MOST_CLASSES:
                raise ValueError(f"{count} classes")
            preprocessing = _empty(configuration["preprocessing"])
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise MisuseError(f"The model's configuration is incomplete or malformed ({error!r}).") from error
        return cls(build(name, count, **net), classes, side, shorter, preprocessing)


def _empty(facts: Mapping[str, Any] | None) -> Preprocessing | None:
    """A preprocessing of zeros with the shapes that the facts imply."""
    if facts is None:
        return None
    kind, (channels, height, width), count = str(facts["kind"]), map(int, facts["shape"]), int(facts["directions"])
    sound = channels == 3 and 1 <= height <= LARGEST_SIDE and 1 <= width <= LARGEST_SIDE and 0 <= count <= MOST_NUMBERS
    if kind not in KINDS or not sound:
        raise ValueError(f"{kind} of {channels} x {height} x {width}")
    shape = (channels, height, width)
    tensors = {name: torch.zeros(sizes) for name, sizes in expected_shapes(kind, shape, count).items()}
    return Preprocessing(kind, shape, int(facts["images"]), str(facts["fingerprint"]), float(facts["epsilon"]), tensors)
