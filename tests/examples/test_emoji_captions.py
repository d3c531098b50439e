"""examples/emoji_captions.py: names find their pictures, in every language, and variants stay together."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("PIL")

NAMES = {
    "en": {"😀": "grinning face", "👋🏻": "waving hand: light skin tone", "❤️": "red heart", "🦄": "no picture"},
    "fr": {"😀": "visage rieur", "👋🏻": "signe de la main\u202f: peau claire"},
}


def test_pictures_are_called_after_code_points(load_example: Callable[[str], ModuleType]) -> None:
    example = load_example("emoji_captions")
    assert example.picture_of("❤️") == "emoji_u2764.png"
    assert example.picture_of("#️⃣") == "emoji_u0023_20e3.png"
    assert example.picture_of("👋🏻") == "emoji_u1f44b_1f3fb.png"


def test_a_table_and_three_lists(run_example: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    pictures = tmp_path / "png"
    pictures.mkdir()
    signs = [*"😀😁😂😃😄😅", "👋🏻", "👋🏼", "👋", "❤"]
    for sign in signs:
        (pictures / ("emoji_u" + "_".join(f"{ord(c):04x}" for c in sign) + ".png")).write_bytes(b"")
    files = []
    for language, names in NAMES.items():
        more = {sign: f"{language} {sign}" for sign in signs if sign not in names}
        files.append(tmp_path / f"names.{language}.json")
        files[-1].write_text(json.dumps(names | more), encoding="utf-8")
    done = run_example("emoji_captions", pictures, tmp_path / "emoji", *files)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((tmp_path / "emoji.csv").open(encoding="utf-8")))
    assert {"image": "emoji_u1f44b_1f3fb.png", "caption": "signe de la main : peau claire", "language": "fr"} in rows
    assert not any("1f984" in row["image"] for row in rows)
    parts = {part: set((tmp_path / f"emoji.{part}.txt").read_text().split()) for part in ("train", "valid", "test")}
    assert set.union(*parts.values()) == {row["image"] for row in rows}
    assert sum(map(len, parts.values())) == len({row["image"] for row in rows})
    # skin tones of one gesture are in one part
    assert sum(any("1f44b" in name for name in own) for own in parts.values()) == 1
