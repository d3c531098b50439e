"""Word vectors from text files and safetensors: the same rows, whatever the file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from elman.data.embeddings import read_embeddings
from elman.errors import MisuseError

VECTORS = {"cat": [1.0, 2.0, 3.0], "dog": [4.0, 5.0, 6.0], "new york": [7.0, 8.0, 9.5], "émile": [-1.0, 0.5, 0.25]}
WORDS = ["<unk>", "dog", "cat", "Dog", "fish", "émile", "new york", "CAT"]


def written(folder: Path, form: str) -> Path:
    path = folder / ("v.safetensors" if form == "safetensors" else "v.txt")
    if form == "safetensors":
        matrix = np.array(list(VECTORS.values()), dtype=np.float32)
        save_file({"vectors": matrix}, path, metadata={"words": json.dumps(list(VECTORS))})
        return path
    lines = [" ".join([word, *map(str, numbers)]) for word, numbers in VECTORS.items()]
    if form == "word2vec":
        lines = [f"{len(VECTORS)} 3", *(line + " " for line in lines)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("form", ["glove", "word2vec", "safetensors"])
def test_every_form_gives_the_rows_of_its_words(tmp_path: Path, form: str) -> None:
    read = read_embeddings(written(tmp_path, form), WORDS)
    for place, word in enumerate(WORDS):
        known = VECTORS.get(word, VECTORS.get(word.lower()))
        assert read.found[place] == (known is not None)
        if known is not None:
            assert read.matrix[place].tolist() == known
    assert (read.matrix.shape, read.lowered) == ((8, 3), 2)


def test_rows_of_missing_words_are_drawn_like_the_others(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    path = tmp_path / "v.txt"
    rows = generator.normal([5.0, -1.0], [0.5, 2.0], (3000, 2))
    path.write_text("".join(f"w{i} {a:.5f} {b:.5f}\n" for i, (a, b) in enumerate(rows)))
    words = [f"w{i}" for i in range(3000)] + [f"missing{i}" for i in range(3000)]
    read = read_embeddings(path, words, seed=3)
    drawn = read.matrix[3000:]
    assert not read.found[3000:].any()
    np.testing.assert_allclose(drawn.mean(0), [5.0, -1.0], atol=0.15)
    np.testing.assert_allclose(drawn.std(0), [0.5, 2.0], rtol=0.1)
    assert np.array_equal(read.matrix, read_embeddings(path, words, seed=3).matrix)
    assert not np.array_equal(read.matrix, read_embeddings(path, words, seed=4).matrix)


def test_the_word_itself_goes_before_its_lower_case_and_the_first_line_before_later_ones(tmp_path: Path) -> None:
    path = tmp_path / "v.txt"
    path.write_text("us 1 1\nUS 2 2\nUS 3 3\nus 4 4\n")
    read = read_embeddings(path, ["US", "us", "Us"])
    assert read.matrix[:, 0].tolist() == [2, 1, 1]
    assert read.lowered == 1


def test_words_that_are_no_utf8_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "v.txt"
    path.write_bytes(b"caf\xe9 1 1\ntea 2 2\n")
    read = read_embeddings(path, ["tea"])
    assert read.matrix.tolist() == [[2, 2]]
    assert read.notices == (f"{path}: 1 words that are not UTF-8 were left out.",)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"cat 1 2\ndog 3\n", "line 2: 1 columns after the word, where 2"),
        (b"2 2\ncat 1 2\ndog 3 x\n", "line 3: could not convert"),
        (b"cat\n", "does not begin like a file of word vectors"),
        (b"", "does not begin like a file of word vectors"),
        (b"cat nan 1\ndog 1 1\n", "no finite numbers"),
        (b"fish 1 2\n", "holds none of the 2 words"),
        (b"3 99999\n", "does not begin like"),
    ],
)
def test_faults_are_named(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "v.txt"
    path.write_bytes(content)
    with pytest.raises(MisuseError, match=sentence):
        read_embeddings(path, ["cat", "dog"])


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MisuseError, match="cannot be read"):
        read_embeddings(tmp_path / "missing.txt", ["cat"])
    path = tmp_path / "v.safetensors"
    save_file({"weight": np.ones((2, 3), dtype=np.float32)}, path)
    with pytest.raises(MisuseError, match="in its metadata 'words'"):
        read_embeddings(path, ["cat"])
    save_file({"weight": np.ones((2, 3), dtype=np.float32)}, path, metadata={"words": '["cat"]'})
    with pytest.raises(MisuseError, match=r"is \[2, 3\], for 1 words"):
        read_embeddings(path, ["cat"])
    path.write_bytes(b"no tensors")
    with pytest.raises(MisuseError, match="cannot be read as safetensors"):
        read_embeddings(path, ["cat"])


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "v.txt"
    with path.open("w") as stream:
        for number in range(4_000):
            stream.write(f"w{number} " + "0.5 " * 100 + "\n")
    tracemalloc.start()
    read = read_embeddings(path, ["w3999"])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert read.found.all()
    assert peak < 500_000 < path.stat().st_size / 3
