"""Emoji and their names in several languages as a caption file, with three lists of images.

    python examples/emoji_captions.py png72.tar.gz emoji names.en.json names.de.json names.fr.json names.es.json
    elman train caption png72.tar.gz emoji.csv --lists emoji.train.txt emoji.valid.txt emoji.test.txt \
        --weights squeezenet.safetensors --words plain --min-count 1

The pictures are Noto Emoji's, whose files are called after the code points (emoji_u1f600.png); the names are the short
names of the Unicode CLDR, as JSON objects {"😀": "grinning face"}, the language in the file's name. Pictures that
differ only in skin tone or gender are in one list: no test picture was seen in another tone.
"""

from __future__ import annotations

import csv
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from elman.data.images import open_images
from elman.errors import ElmanError, MisuseError

# says "as a picture"; the files' names leave it out
VARIATION = 0xFE0F
TONES = range(0x1F3FB, 0x1F400)
JOINER, SIGNS, PEOPLE = 0x200D, (0x2640, 0x2642), (0x1F468, 0x1F469, 0x1F9D1)
SHARES = {"train": 0.8, "valid": 0.1, "test": 0.1}


def picture_of(emoji: str) -> str:
    """The name of an emoji's picture."""
    return "emoji_u" + "_".join(f"{ord(sign):04x}" for sign in emoji if ord(sign) != VARIATION) + ".png"


def kind_of(emoji: str) -> tuple[int, ...]:
    """What is left of an emoji without skin tone and gender."""
    points = [ord(sign) for sign in emoji if ord(sign) not in (VARIATION, JOINER, *SIGNS, *TONES)]
    others = [point for point in points if point not in PEOPLE]
    return tuple(others or points)


def language_of(path: Path) -> str:
    """``names.de.json`` -> ``de``."""
    parts = path.name.split(".")
    if len(parts) < 3:
        raise MisuseError(f"{path}: the language is missing; the file must be called names.LANGUAGE.json.")
    return parts[-2]


def write_captions(pictures: str, stem: str, names: Sequence[str]) -> int:
    """Write a table image,caption,language and the lists.

    Args:
        pictures: folder or archive.
        stem: of the files that are written: STEM.csv, STEM.train.txt, STEM.valid.txt, STEM.test.txt.
        names: a file a language.

    Returns:
        How many captions there are.
    """
    there = {PurePosixPath(item.name).name for item in open_images(pictures).items}
    rows: list[tuple[str, str, str]] = []
    kinds: dict[tuple[int, ...], set[str]] = {}
    for path in map(Path, names):
        for emoji, name in json.loads(path.read_text(encoding="utf-8")).items():
            if picture_of(emoji) in there:
                # a narrow space stands before a colon in French
                rows.append((picture_of(emoji), " ".join(name.split()), language_of(path)))
                kinds.setdefault(kind_of(emoji), set()).add(picture_of(emoji))
    with Path(f"{stem}.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerows([("image", "caption", "language"), *rows])
    order = sorted(kinds)
    random.Random(1).shuffle(order)
    begin = 0.0
    for part, share in SHARES.items():
        chosen = order[round(begin * len(order)) : round((begin + share) * len(order))]
        begin += share
        lines = sorted(picture for kind in chosen for picture in kinds[kind])
        Path(f"{stem}.{part}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return len(rows)


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    try:
        print(f"{write_captions(sys.argv[1], sys.argv[2], sys.argv[3:]):,} captions")
    except ElmanError as error:
        sys.exit(str(error))
