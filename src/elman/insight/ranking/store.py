"""Hunts that were made before, found again beside their recording."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from elman.errors import ElmanError, FailureError
from elman.files import write_whole
from elman.insight.hypotheses import Hypothesis
from elman.insight.ranking.findings import FORMAT, Hunt
from elman.insight.ranking.hunting import TOP, hunt
from elman.insight.ranking.scan import Cancel, Progress
from elman.insight.recording import Recording

# of a stored hunt; a cell takes half a kilobyte
MOST_BYTES = 2**26


def hunt_cached(
    recording: Recording,
    hypotheses: Sequence[Hypothesis],
    *,
    shifts: int | None = None,
    seed: int = 0,
    cells: Sequence[int] | None = None,
    top: int = TOP,
    baseline: Recording | None = None,
    probe: bool = False,
    progress: Progress = None,
    cancel: Cancel = None,
) -> Hunt:
    """The hunt, made unless the same one is there already.

    It is kept as ``hunt-KEY.json`` in the recording's folder, where that can be written. The same means: the same
    recording, labels of the text, settings and baseline; two functions of one name with different labels differ.

    Args:
        recording, hypotheses, shifts, seed, cells, top, baseline, probe, progress, cancel: as of :func:`hunt`.

    Raises:
        MisuseError, CancelledError: as of :func:`hunt`.
    """
    settings: dict[str, Any] = {"shifts": shifts, "seed": seed, "top": top, "probe": probe}
    settings["cells"] = None if cells is None else [int(cell) for cell in cells]
    settings["baseline"] = None if baseline is None else [baseline.manifest["model"], baseline.manifest["groups"]]
    path = recording.path / f"hunt-{_key(recording, hypotheses, settings)}.json"
    with contextlib.suppress(ElmanError, OSError):
        return stored_hunt(path)
    made = hunt(
        recording,
        hypotheses,
        shifts=shifts,
        seed=seed,
        cells=cells,
        top=top,
        baseline=baseline,
        probe=probe,
        progress=progress,
        cancel=cancel,
    )
    # a folder that cannot be written costs the next hunt its time, no more
    with contextlib.suppress(FailureError):
        write_whole(path, json.dumps(made.to_json()))
    return made


def stored_hunt(path: str | os.PathLike[str]) -> Hunt:
    """Read a hunt that was stored.

    Args:
        path: a file ``hunt-KEY.json``, from anybody.

    Raises:
        FailureError: it is damaged.
        OSError: it cannot be read.
    """
    handle = os.open(Path(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(handle, "rb") as file:
        content = file.read(MOST_BYTES + 1)
    try:
        data = json.loads(content) if len(content) <= MOST_BYTES else None
    except (ValueError, RecursionError) as error:
        raise FailureError(f"{path} cannot be read as JSON: it is damaged or cut short. Hunt again.") from error
    return Hunt.from_json(data)


def _key(recording: Recording, hypotheses: Sequence[Hypothesis], settings: dict[str, Any]) -> str:
    facts = {name: recording.manifest[name] for name in ("model", "text", "groups", "created", "untrained", "seed")}
    digest = hashlib.sha256(json.dumps([FORMAT, facts, settings], sort_keys=True).encode())
    for each in hypotheses:
        digest.update(json.dumps([each.name, each.title, each.kind, each.description]).encode())
        digest.update(each.label(recording.text).tobytes())
    return digest.hexdigest()[:32]
