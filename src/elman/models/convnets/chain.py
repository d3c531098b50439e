"""A ConvNet as a chain of named steps, so that any of them can be tapped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from elman.errors import MisuseError


class ConvNet(nn.Module):
    """An image classifier whose parts run one after the other.

    A part that is an ``nn.Sequential`` counts as many steps as it has members (``features.0``, ``layer3.1``); the
    parameters keep the names that the parts give them.

    Args:
        parts: the modules by name, in running order; each image is a tensor [channels, H, W].
        trunk: the part (or step) after which the last feature map [D, h, w] stands.
        head: the module that gives the class scores, ``nn.Linear`` or ``nn.Conv2d``.
        auxiliary: the steps behind which an auxiliary classifier listens, with the name of its part; these run only
            in :meth:`scores_with_auxiliary`. The last layer of each is called ``fc2``.
    """

    def __init__(
        self, parts: Mapping[str, nn.Module], trunk: str, head: str, auxiliary: Mapping[str, str] | None = None
    ) -> None:
        super().__init__()
        self.auxiliary = dict(auxiliary or {})
        steps: list[str] = []
        for name, module in parts.items():
            self.add_module(name, module)
            if name in self.auxiliary.values():
                continue
            if isinstance(module, nn.Sequential):
                steps += [f"{name}.{child}" for child, _ in module.named_children()]
            else:
                steps.append(name)
        self.steps = tuple(steps)
        self.trunk, self.head = trunk, head
        self.name = ""
        self.options: dict[str, Any] = {}

    @property
    def classes(self) -> int:
        """How many scores an image gets."""
        weight = self.get_submodule(self.head).weight
        assert isinstance(weight, Tensor)
        return weight.shape[0]

    @property
    def heads(self) -> tuple[str, ...]:
        """The modules whose size depends on the number of classes: the head, then those of auxiliary classifiers."""
        return (self.head, *(f"{part}.fc2" for part in self.auxiliary.values()))

    def configuration(self) -> dict[str, Any]:
        """What :func:`build` needs to make this net again, as JSON values: name, classes, options."""
        return {"name": self.name, "classes": self.classes, **self.options}

    def position(self, layer: str) -> int:
        """How many steps have run when a layer's output stands.

        Args:
            layer: a step, or a part of several (its last step is meant): ``"layer3"`` is ``"layer3.5"``.

        Raises:
            MisuseError: the net has no such layer; the text lists those that it has.
        """
        found = [at for at, step in enumerate(self.steps, 1) if step == layer or step.startswith(f"{layer}.")]
        if not found:
            raise MisuseError(f"{self.name or 'The net'} has no layer {layer!r}; it has {', '.join(self.steps)}.")
        return found[-1]

    def forward(self, x: Tensor) -> Tensor:
        """Class scores before the softmax.

        Args:
            x: images [B, 3, H, W], preprocessed.

        Returns:
            Scores [B, classes].

        Raises:
            MisuseError: images of another shape than the net takes.
        """
        return self.run(x, 0, len(self.steps))

    def after(self, x: Tensor, layer: str) -> Tensor:
        """What stands after a layer; the steps behind it are not computed.

        Args:
            x: images [B, 3, H, W].
            layer: as for :meth:`position`.

        Returns:
            A feature map [B, D, h, w], or [B, D] in the classifier.
        """
        return self.run(x, 0, self.position(layer))

    def run(self, x: Tensor, begin: int, end: int) -> Tensor:
        """Run the steps from ``begin`` to before ``end`` on what stands after the first ``begin`` of them."""
        if not begin and (x.ndim != 4 or x.shape[1] != 3):
            raise MisuseError(f"{self.name} takes images [B, 3, H, W]; this tensor is {list(x.shape)}.")
        for step in self.steps[begin:end]:
            module = self.get_submodule(step)
            if isinstance(module, nn.Linear) and x.shape[-1] != module.in_features:
                raise MisuseError(
                    f"{self.name} takes images of one size only: these leave {x.shape[-1]} numbers before {step}, "
                    f"which reads {module.in_features}."
                )
            x = module(x)
        return x

    def scores_with_auxiliary(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Class scores [B, classes], and those of each auxiliary classifier (Szegedy et al. 2015, section 5)."""
        at, others = 0, []
        for step, part in self.auxiliary.items():
            after = self.position(step)
            x, at = self.run(x, at, after), after
            others.append(self.get_submodule(part)(x))
        return self.run(x, at, len(self.steps)), others
