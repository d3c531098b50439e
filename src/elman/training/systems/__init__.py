"""What is trained: a module a system, loaded when it is asked for.

A module has ``rebuild(config, settings, run, sources) -> Task`` for a resume. Except for language models, which have
more to say, it also has ``evaluate_run(loaded, run, sources, part, options) -> Scores`` for ``elman eval``.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

from elman.errors import MisuseError
from elman.runs import RunFolder
from elman.training.progress import Outcome
from elman.training.start import resume

MODULES = {
    "language": "elman.training.systems.language.run",
    "classify": "elman.training.systems.classify.run",
    "tag": "elman.training.systems.tag.run",
    "image": "elman.training.systems.image.run",
    "caption": "elman.training.systems.caption.run",
    "translate": "elman.training.systems.translate.run",
    "video": "elman.training.systems.video.run",
    "vqa": "elman.training.systems.vqa.run",
}


def module(system: str) -> ModuleType:
    """The module of a system, by its name in config.json.

    Raises:
        MisuseError: the system is not trained step by step.
    """
    if system not in MODULES:
        raise MisuseError(f"This is a {system} model, which is trained in one go: there is nothing to resume.")
    return import_module(MODULES[system])


def resume_run(run: Any, **changes: Any) -> tuple[Outcome, RunFolder, Mapping[str, Any]]:
    """Go on with a stopped training of any system; the arguments are those of :func:`elman.training.start.resume`."""
    return resume(run, lambda system: module(system).rebuild, **changes)
