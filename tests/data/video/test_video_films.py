"""Films on disk: class folders, tables, and films that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from test_video_reader import film

from elman.data.video.films import each_film, open_films, small_pictures
from elman.data.video.reader import BadClipError
from elman.errors import MisuseError


def test_the_class_of_a_film_is_its_folder(tmp_path: Path) -> None:
    for name in ("run/b.mp4", "run/a.avi", "jump/c.mp4", "jump/.hidden.mp4", "jump/notes.txt", "loose.mkv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    notices: list[str] = []
    films = open_films(tmp_path, notices)
    assert films.names == ("jump/c.mp4", "loose.mkv", "run/a.avi", "run/b.mp4")
    assert films.labels == ("jump", None, "run", "run")
    assert "1 files that are no films" in notices[0]
    assert films.select([3, 0]).names == ("run/b.mp4", "jump/c.mp4")


def test_a_table_gives_labels_and_all_descriptions(tmp_path: Path) -> None:
    table = tmp_path / "clips.csv"
    table.write_text(
        'clip,label,description\na.mp4,run,"A man runs, fast."\nb.mp4,jump,He jumps.\na.mp4,run,He runs.\n'
    )
    films = open_films(table)
    assert films.paths == (tmp_path / "a.mp4", tmp_path / "b.mp4")
    assert films.labels == ("run", "jump")
    assert films.descriptions == (("A man runs, fast.", "He runs."), ("He jumps.",))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "must name a column clip"),
        ("clip,place\na,b\n", "must name a column clip and a column label or description; it has clip, place"),
        ("clip,label\na.mp4\n", "line 2: 1 columns where the first line has 2"),
        ("clip,label\n,run\n", "line 2: the clip has no name"),
        ("clip,label\na.mp4,run\na.mp4,jump\n", "line 3: a.mp4 is labelled jump, and run above"),
        ("clip,label\n", "names no clip"),
    ],
)
def test_tables_that_cannot_be_read_are_refused(tmp_path: Path, text: str, sentence: str) -> None:
    table = tmp_path / "clips.csv"
    table.write_text(text)
    with pytest.raises(MisuseError, match=sentence):
        open_films(table)


def test_no_film_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MisuseError, match="holds no film"):
        open_films(tmp_path)
    with pytest.raises(MisuseError, match="no folder of films"):
        open_films(tmp_path / "none")


def test_small_pictures_are_grey_squares_from_the_middle(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", count=4)
    pictures = torch.stack(list(small_pictures(path, 10, 8)))
    assert pictures.shape == (4, 64)
    for number, picture in enumerate(pictures):
        torch.testing.assert_close(picture, torch.full((64,), (10 + 10 * number) / 255), atol=0.02, rtol=0)


def test_bad_films_are_refused_or_left_out(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4")
    (tmp_path / "b.mp4").write_bytes(b"")
    films = open_films(tmp_path)

    def read(path: Path) -> torch.Tensor:
        return torch.stack(list(small_pictures(path, 5, 4)))

    with pytest.raises(BadClipError, match="the file is empty"):
        list(each_film(films, read))
    notices: list[str] = []
    kept = list(each_film(films, read, "skip", notices))
    assert [row for row, _ in kept] == [0]
    assert notices == ["Skipped b.mp4: the file is empty."]
    with pytest.raises(MisuseError, match="'refuse' or 'skip'"):
        list(each_film(films, read, "ignore"))
