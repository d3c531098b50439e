"""Small captioners of made images, in run folders."""

from __future__ import annotations

from pathlib import Path

from made_captions import write_data, write_weights


def captioner(folder: Path, name: str, *, languages: bool, steps: int = 10) -> Path:
    """Train a captioner in ``folder/runs/name``, in two languages with attention, or in one without.

    Returns:
        The folder of runs.
    """
    from elman.equations import cell
    from elman.training.settings import Settings
    from elman.training.start import Reports
    from elman.training.systems.caption.data import CaptionOptions
    from elman.training.systems.caption.examples import Teaching
    from elman.training.systems.caption.run import Wishes, train

    data, runs = folder / f"data-{name}", folder / "runs"
    data.mkdir()
    runs.mkdir(exist_ok=True)
    images, table, lists = write_data(data, 12, languages=languages)
    options = CaptionOptions(lists=tuple(map(str, lists)), min_count=1)
    shape = {"hidden": 12, "embedding": 8, "image": 8, "places": 3, "way": "attention" if languages else "constant"}
    if not languages:
        del shape["places"]
    wishes = Wishes(weights=str(write_weights(data)), shape=shape)
    settings = Settings(steps=steps, batch=4, lr=2e-2, threads=1)
    train(
        str(images), [str(table)], options, cell("gru"), wishes, Teaching(), settings, Reports(quiet=True), runs / name
    )
    return runs
