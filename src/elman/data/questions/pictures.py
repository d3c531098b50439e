"""Images of several folders and archives as one source, and where in it a name is."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from elman.data.images.sources import ImageSource, Item, open_images
from elman.errors import MisuseError

_SEVERAL = -1
# SET-SENTENCE-NUMBER-LAYOUT, as NLVR names its images; a question is about SENTENCE-NUMBER in any layout
_NLVR = re.compile(r"[a-z]+\d?-(\d+-\d+)-\d+")


def open_pictures(places: Sequence[str | Path], notices: list[str] | None = None) -> ImageSource:
    """Open folders and archives as one source of images.

    Args:
        places: at least one folder or tar archive.
        notices: receives a sentence about what was left out.

    Returns:
        Their images, one source after the other; where a name occurs in several, it has its source's name before it.

    Raises:
        MisuseError, FailureError: as :func:`elman.data.images.open_images`.
    """
    if not places:
        raise MisuseError("No images were named: give a folder or a tar archive with --images.")
    sources = [open_images(place, notices=notices, classed=False) for place in places]
    if len(sources) == 1:
        return sources[0]
    times = Counter(item.name for source in sources for item in source.items)
    whose: dict[str, tuple[ImageSource, int]] = {}
    for source in sources:
        for index, item in enumerate(source.items):
            name = item.name if times[item.name] == 1 else f"{source.path.name}/{item.name}"
            if name in whose:
                raise MisuseError(f"{source.path} is named twice among the images, or holds {item.name} twice.")
            whose[name] = (source, index)

    def read(name: str) -> bytes:
        source, index = whose[name]
        return source.data(index)

    items = [Item(name, None) for name in whose]
    return ImageSource(sources[0].path, items, (), read, sources[0].limits)


class Lookup:
    """Finds images by what a file of questions calls them.

    Args:
        source: the images.
    """

    def __init__(self, source: ImageSource) -> None:
        self._endings: dict[str, int] = {}
        self._layouts: dict[str, list[int]] = {}
        for index, item in enumerate(source.items):
            parts = PurePosixPath(item.name).parts
            for begin in range(len(parts)):
                ending = "/".join(parts[begin:])
                # the whole name always finds its own image
                taken = begin and ending in self._endings
                self._endings[ending] = _SEVERAL if taken else index
            if named := _NLVR.fullmatch(PurePosixPath(item.name).stem):
                self._layouts.setdefault(named[1], []).append(index)

    def find(self, names: Sequence[str]) -> int | None:
        """The image with one of these names, or with a path that ends in one.

        Args:
            names: the best first; with ``/`` between folders.

        Returns:
            Its index, None where there is none.

        Raises:
            MisuseError: a name that several images have.
        """
        for name in names:
            index = self._endings.get("/".join(PurePosixPath(name).parts))
            if index == _SEVERAL:
                raise MisuseError(f"several images are called {name}; name its folder too")
            if index is not None:
                return index
        return None

    def layouts(self, identifier: str) -> Sequence[int]:
        """All images of an NLVR identifier such as ``"1572-0"``, one for each order of the boxes that is there."""
        return self._layouts.get(identifier, ())
