"""Recordings of a run, made once and found again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from elman.errors import ElmanError, MisuseError
from elman.files import cache_folder, disk_failure
from elman.insight.recording.layout import FORMAT, Group
from elman.insight.recording.opened import Recording, open_recording, read_manifest
from elman.insight.recording.plan import groups_of, network_of
from elman.insight.recording.recorder import LIMIT_BYTES, fingerprint, record
from elman.insight.recording.writing import remove_abandoned
from elman.models.language import LanguageModel
from elman.runs import LoadedRun, RunFolder, load


def recorded(
    run: str | os.PathLike[str],
    text: str,
    *,
    gates: Sequence[str] | str = (),
    states: Sequence[str] | None = None,
    untrained_seed: int | None = None,
    loaded: LoadedRun | None = None,
    streams: int | None = None,
    burn_in: int = 1000,
    limit_bytes: int = LIMIT_BYTES,
    progress: Callable[[float], None] | None = None,
    cancel: Callable[[], bool] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Recording:
    """The recording of a text by a run's model, made unless it is there already.

    It is kept in the run folder under ``insight/recordings/``, or in the user's cache where that cannot be written. A
    damaged one is made again.

    Args:
        run: the run folder.
        text: the text.
        untrained_seed: record the same network with fresh weights from this seed instead: the baseline.
        loaded: the run, where it is open already.
        gates, states, streams, burn_in, limit_bytes, progress, cancel, extra: as of :func:`record`.

    Raises:
        MisuseError, FailureError, CancelledError: as of :func:`record` and :func:`elman.runs.load`.
    """
    if untrained_seed is not None:
        opened = untrained(run, untrained_seed)
    else:
        opened = load(run) if loaded is None else loaded
    network = network_of(opened.model)
    key = _key(network, opened, text, groups_of(network, gates, states), streams, burn_in)
    for folder in _folders(run):
        if os.path.lexists(folder / key):
            with contextlib.suppress(ElmanError):
                return open_recording(folder / key)
    parent = _writable(run)
    remove_abandoned(parent)
    _remove(parent / key)
    facts = {"untrained": untrained_seed is not None, "seed": untrained_seed, **(extra or {})}
    try:
        return record(
            network,
            opened.vocabulary,
            text,
            parent / key,
            gates=gates,
            states=states,
            streams=streams,
            burn_in=burn_in,
            limit_bytes=limit_bytes,
            progress=progress,
            cancel=cancel,
            extra=facts,
        )
    except MisuseError:
        # somebody else has made the same one meanwhile
        if os.path.lexists(parent / key):
            return open_recording(parent / key)
        raise


def list_recordings(run: str | os.PathLike[str]) -> list[tuple[Path, dict[str, Any]]]:
    """The folders and manifests of a run's recordings, the newest first; damaged manifests are left out.

    Args:
        run: the run folder.

    Raises:
        MisuseError: there is no such run.
    """
    found = []
    for parent in _folders(run):
        for folder in parent.glob("[!.]*") if parent.is_dir() else ():
            with contextlib.suppress(ElmanError):
                found.append((folder, read_manifest(folder)))
    return sorted(found, key=lambda each: each[1]["created"], reverse=True)


def untrained(run: str | os.PathLike[str], seed: int = 0) -> LoadedRun:
    """A run's network with fresh weights, as its training would begin from that seed.

    Args:
        run: the run folder.
        seed: of the weights.

    Raises:
        MisuseError: there is no such run, or its model has no weights to draw.
        FailureError: its files are damaged.
    """
    with torch.random.fork_rng(devices=[]):
        opened = load(run)
        network = network_of(opened.model)
        torch.manual_seed(seed)
        fresh = LanguageModel.from_configuration(network.configuration())
    return LoadedRun(fresh.eval(), opened.vocabulary, opened.config)


def _key(
    network: LanguageModel, opened: LoadedRun, text: str, groups: Sequence[Group], streams: int | None, burn_in: int
) -> str:
    content = {
        "format": FORMAT,
        "model": fingerprint(network, opened.vocabulary),
        "text": hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(),
        "groups": [group.to_json() for group in groups],
        "streams": streams,
        "burn_in": burn_in,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def _folders(run: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Where a run's recordings may be: with the run, or in the user's cache under the run's place."""
    folder = RunFolder.existing(run).path
    place = hashlib.sha256(os.fsencode(os.path.realpath(folder))).hexdigest()[:16]
    return folder / "insight" / "recordings", cache_folder("recordings") / place


def _remove(folder: Path) -> None:
    """Remove a damaged recording, so that its successor can have the name."""
    try:
        if folder.is_symlink() or folder.is_file():
            folder.unlink()
        elif folder.exists():
            shutil.rmtree(folder)
    except OSError as error:
        raise disk_failure(folder, error) from error


def _writable(run: str | os.PathLike[str]) -> Path:
    own, other = _folders(run)
    try:
        for folder in (own.parent, own):
            # a link in a folder from somebody else must not lead to where the user did not mean to write
            if folder.is_symlink():
                return other
            folder.mkdir(exist_ok=True)
    except OSError:
        return other
    return own if os.access(own, os.W_OK) else other
