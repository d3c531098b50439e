"""``config.json``: what a run is, as text that is checked and never executed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from elman.errors import FailureError, MisuseError
from elman.files import write_whole

FORMAT = 1
# by system the name that `elman train` has for it
VERBS = {
    "language": "lm",
    "ngram": "ngram",
    "classify": "classify",
    "tag": "tag",
    "translate": "translate",
    "image": "image",
    "caption": "caption",
    "vqa": "vqa",
    "video": "video",
}


def write_config(path: Path, config: dict[str, Any]) -> None:
    """Store a run's configuration with its checksum.

    Args:
        path: ``config.json`` of the run folder.
        config: JSON values; "system" and "model" must be there.
    """
    config = {
        "format": FORMAT,
        **{key: value for key, value in config.items() if key not in ("format", "checksum")},
    }
    config["checksum"] = _checksum(config)
    write_whole(path, json.dumps(config, indent=2, ensure_ascii=False) + "\n")


def read_config(path: Path) -> dict[str, Any]:
    """The configuration of a run, checked.

    Raises:
        FailureError: truncated, damaged or changed since it was written.
        MisuseError: a format or system that this version does not know.
    """
    try:
        config = json.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise FailureError(f"{path} cannot be read: {error.strerror}.") from error
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise FailureError(f"{path} cannot be read as JSON ({error}): it is damaged or cut short.") from error
    if not isinstance(config, dict):
        raise FailureError(f"{path} is damaged: a JSON object was expected, not {type(config).__name__}.")
    if config.get("format") != FORMAT:
        raise MisuseError(f"{path} has format {config.get('format')!r}; this version reads format {FORMAT}.")
    if config.get("checksum") != _checksum(config):
        raise FailureError(f"{path} was changed or damaged since it was written: its checksum does not match.")
    if config.get("system") not in VERBS:
        raise MisuseError(f"{path} describes a system {config.get('system')!r}; known are {', '.join(VERBS)}.")
    if not isinstance(config.get("model"), dict) or not isinstance(config.get("vocabulary", {}), dict):
        raise FailureError(f"{path} is damaged: it lacks the model, or its vocabulary is none.")
    return config


def _checksum(config: dict[str, Any]) -> str:
    body = {key: value for key, value in config.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
