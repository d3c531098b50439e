"""Pairs of sentences from files, tables and made tasks."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from elman.data.parallel import (
    Pairs,
    borders,
    build_vocabularies,
    divide,
    encode_pairs,
    encode_sentences,
    padded,
    read_pairs,
)
from elman.data.vocabulary import KINDS, build
from elman.errors import MisuseError


def files(folder: Path, source: bytes, target: bytes, suffix: str = "") -> list[str]:
    names = [folder / f"one{suffix}", folder / f"two{suffix}"]
    for name, content in zip(names, (source, target), strict=True):
        name.write_bytes(gzip.compress(content) if suffix == ".gz" else content)
    return [str(name) for name in names]


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_two_files_line_by_line(tmp_path: Path, suffix: str) -> None:
    names = files(
        tmp_path, "Ein Hund .\n\n Äpfel\u2028hier\nEnde\n".encode(), b"A dog .\nnothing\nApples here \r\nEnd", suffix
    )
    notices: list[str] = []
    pairs = read_pairs(names, notices=notices)
    assert pairs.source == ("Ein Hund .", "Äpfel\u2028hier", "Ende")
    assert pairs.target == ("A dog .", "Apples here", "End")
    assert len(notices) == 1
    assert "1 pairs with an empty side were left out, the first in line 2" in notices[0]
    assert read_pairs(names, lower=True).source[1] == "äpfel\u2028hier"


def test_a_table_with_further_columns(tmp_path: Path) -> None:
    table = tmp_path / "pairs.tsv"
    table.write_text("Go.\tGeh.\tCC-BY 2.0\nHi!\tHallo!\n\tleer\n\n")
    notices: list[str] = []
    assert read_pairs([str(table)], notices=notices) == Pairs(("Go.", "Hi!"), ("Geh.", "Hallo!"))
    assert "2 pairs with an empty side" in notices[0]
    table.write_text("Go.\tGeh.\nno tab here\n")
    with pytest.raises(MisuseError, match=r"line 2: 'no tab here' has no tab"):
        read_pairs([str(table)])


def test_files_that_are_no_pairs(tmp_path: Path) -> None:
    with pytest.raises(MisuseError, match=r"one has 2 lines and .*two has 3"):
        read_pairs(files(tmp_path, b"a\nb\n", b"a\nb\nc\n"))
    with pytest.raises(MisuseError, match="there is no pair"):
        read_pairs(files(tmp_path, b"\n", b"\n"))
    with pytest.raises(MisuseError, match="3 are named"):
        read_pairs(["a", "b", "c"])
    broken = files(tmp_path, b"a\n" * 100, b"a\n" * 100, ".gz")
    Path(broken[1]).write_bytes(Path(broken[1]).read_bytes()[:-9])
    with pytest.raises(MisuseError, match=r"two\.gz is no whole gzip file"):
        read_pairs(broken)
    Path(broken[1]).write_bytes(b"plain text")
    with pytest.raises(MisuseError, match="no whole gzip file"):
        read_pairs(broken)


def test_division_by_position() -> None:
    pairs = Pairs(tuple("abcdefghij"), tuple("ABCDEFGHIJ"))
    parts = divide(pairs, "70/20/10")
    assert [part.source for part in parts.values()] == [tuple("abcdefg"), ("h", "i"), ("j",)]
    assert parts["valid"].target == ("H", "I")
    with pytest.raises(MisuseError, match="leaves none to train on"):
        divide(pairs.part(0, 1), "50/50")


# no line ends, nothing that is white space at an end, no surrogates
SENTENCES = st.lists(
    st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=20).filter(
        lambda text: text == text.strip()
    ),
    min_size=1,
    max_size=6,
)


@pytest.mark.parametrize("kind", KINDS)
@given(texts=SENTENCES)
def test_each_sentence_comes_back_with_its_end(kind: str, texts: list[str]) -> None:
    options = {"size": 300} if kind == "subwords" else {}
    vocabulary = build(kind, [*(f"{text}\n" for text in texts), "more words\n"], **options)
    start, end = borders(vocabulary)
    encoded = encode_sentences(vocabulary, texts)
    assert len(encoded) == len(texts)
    for ids, text in zip(encoded, texts, strict=True):
        assert ids[-1] == end
        assert start not in ids[:-1].tolist()
        assert end not in ids[:-1].tolist()
        if kind == "words":
            assert vocabulary.tokenize(text)[1:] == [vocabulary.words[place - 3] for place in ids[:-1].tolist()]
        else:
            assert vocabulary.decode(ids[:-1]) == text


def test_a_sentence_of_several_lines_is_refused() -> None:
    with pytest.raises(MisuseError, match="line end within"):
        encode_sentences(build("words", ["a b\n"]), ["a\nb"])


def test_batches_have_every_pair_and_the_start_symbol() -> None:
    pairs = Pairs(("a b c", "c", "b a"), ("x", "y x y z", "z z"))
    source, target = build_vocabularies(pairs, "words", False)
    assert (source.size, target.size) == (6, 6)
    encoded = encode_pairs(pairs, source, target)
    assert encoded.lengths.tolist() == [4 + 2, 2 + 5, 3 + 3]
    batch = encoded.batch([1, 2])
    assert [lengths.tolist() for lengths in batch[1::2]] == [[2, 3], [5, 3]]
    for row, at in enumerate((1, 2)):
        assert source.decode(batch[0][: batch[1][row], row].numpy()) == pairs.source[at] + "\n"
        assert batch[2][0, row] == target.start
        assert target.decode(batch[2][1 : 1 + batch[3][row], row].numpy()) == pairs.target[at] + "\n"
    joint = build_vocabularies(pairs, "words", True)
    assert joint[0] is joint[1]
    assert joint[0].size == 3 + 6


def test_long_pairs_are_left_out_and_said() -> None:
    pairs = Pairs(("a", "a a a a", "a"), ("b", "b", "b b b"))
    vocabularies = build_vocabularies(pairs, "words", False)
    notices: list[str] = []
    kept = encode_pairs(pairs, *vocabularies, longest=3, notices=notices)
    assert [len(ids) for ids in kept.source] == [2]
    assert "2 pairs" in notices[0]
    with pytest.raises(MisuseError, match="All 3 pairs"):
        encode_pairs(pairs, *vocabularies, longest=1)


def test_padding() -> None:
    table, lengths = padded([np.array([1, 2, 3]), np.array([4])])
    assert table.tolist() == [[1, 4], [2, 0], [3, 0]]
    assert lengths.tolist() == [3, 1]
    assert table.dtype == torch.long
