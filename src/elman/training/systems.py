"""The systems that can be resumed, by their name in config.json."""

from __future__ import annotations

from functools import partial

from elman.training.language_run import rebuild_language_task
from elman.training.start import Rebuild, resume

REBUILD: dict[str, Rebuild] = {"language": rebuild_language_task}

resume_run = partial(resume, rebuild=REBUILD)
