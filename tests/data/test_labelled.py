"""Labelled texts in every form, and the line of each fault."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.data.labelled import padded, read_labelled, spelled, token_ids, unknown_id
from elman.data.vocabulary import build
from elman.errors import MisuseError


def write(folder: Path, name: str, content: str) -> str:
    path = folder / name
    path.write_bytes(content.encode())
    return str(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "1 good , really\n0 bad\n"),
        ("a.txt", "__label__1 good , really\n__label__0\tbad\n"),
        ("a.csv", 'text,label\n"good , really",1\nbad,0\n'),
        ("a.csv", 'id,sentiment,review\n7,1,"good , really"\n8,0,bad\n'),
        ("a.csv", '1,"good , really"\n0,bad\n1,"  "\n'),
        ("a.tsv", "sentence\tlabel\ngood , really\t1\nbad\t0\n"),
        ("a.jsonl", '{"text": "good , really", "label": 1}\n\n{"label": "0", "text": "bad"}\n'),
        ("a.csv", '\ufefftext,label\r\n"good , really",1\r\nbad,0\r\n'),
    ],
)
def test_every_form_gives_the_same(tmp_path: Path, name: str, content: str) -> None:
    read = read_labelled([write(tmp_path, name, content)])
    assert (read.texts, read.labels) == (("good , really", "bad"), ("1", "0"))
    assert read.classes == ("0", "1")


def test_numbers_are_ordered_as_numbers_and_words_after_them(tmp_path: Path) -> None:
    read = read_labelled([write(tmp_path, "a.txt", "10 a\n9 b\nzoo c\nape d\n-1 e\n")])
    assert read.classes == ("-1", "9", "10", "ape", "zoo")


def test_a_line_feed_in_quotes_and_the_lines_after_it(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", 'text,label\n"two\nlines",a\nb,b\n')
    read = read_labelled([path])
    assert read.texts[0] == "two\nlines"
    assert read.places == (f"{path}, line 2", f"{path}, line 4")


def test_characters_that_only_python_takes_for_line_ends_stay_in_the_text(tmp_path: Path) -> None:
    read = read_labelled([write(tmp_path, "a.txt", "1 a\x85b\u2028c\n0 d\n")])
    assert read.texts == ("a\x85b\u2028c", "d")


def test_columns_by_name_and_by_number(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "id,words,mood\n1,a,x\n2,b,y\n")
    for text, label in (("words", "mood"), ("2", "3")):
        read = read_labelled([path], text_column=text, label_column=label)
        assert "a" in read.texts
        assert "x" in read.labels


def test_texts_without_labels(tmp_path: Path) -> None:
    notices: list[str] = []
    read = read_labelled([write(tmp_path, "a.txt", "one text\n\nanother\n")], labels_needed=False, notices=notices)
    assert (read.texts, read.labels) == (("one text", "another"), (None, None))
    assert notices == ["1 empty texts were left out."]
    only = read_labelled([write(tmp_path, "b.csv", "text\nfirst\nsecond\n")], labels_needed=False)
    assert only.texts == ("first", "second")
    wide = write(tmp_path, "c.csv", "id,sentence,when\n1,first,now\n2,second,then\n")
    assert read_labelled([wide], labels_needed=False).texts == ("first", "second")
    assert read_labelled([wide], labels_needed=False, text_column="when").texts == ("now", "then")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.txt", "1 good\nbad\n", r"a.txt, line 2: 'bad' is not a label, a space and a text"),
        ("a.csv", "id,words,mood\n1,a,x\n", "which of the columns id, words, mood is the text"),
        ("a.csv", "text,label\na,1\nb\n", "line 3: 1 columns where column 2 is needed"),
        ("a.csv", 'text,label\n"a,1\n', "line 2: unexpected end of data"),
        ("a.csv", "text,label\na,\n", "line 2: the text has no label"),
        ("a.jsonl", '{"text": "a", "label": 1}\n{"text": "a"\n', "line 2: this is not JSON"),
        ("a.jsonl", '["a", 1]\n', "line 1: expected an object"),
        ("a.jsonl", '{"text": 3, "label": 1}\n', "line 1: the text is 3"),
        ("a.jsonl", '{"text": "a", "label": [1]}\n', r"line 1: the label is \[1\]"),
        ("a.jsonl", '{"words": "a", "label": 1}\n', "no key text or sentence"),
        ("a.txt", "\n\n", "holds no labelled text"),
    ],
)
def test_a_fault_is_named_with_its_line(tmp_path: Path, name: str, content: str, sentence: str) -> None:
    with pytest.raises(MisuseError, match=sentence):
        read_labelled([write(tmp_path, name, content)])


def test_columns_that_are_not_there(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,label\na,1\n")
    with pytest.raises(MisuseError, match="no column 'mood' for the label; its first line has: text, label"):
        read_labelled([path], label_column="mood")
    with pytest.raises(MisuseError, match="have no columns to name"):
        read_labelled([write(tmp_path, "a.txt", "1 a\n")], label_column="mood")
    with pytest.raises(MisuseError, match="--format is 'xml'"):
        read_labelled([path], form="xml")


VOCABULARIES = {
    "words": build("words", ["the cat isn't a dog .\n"], lower=True),
    "characters": build("characters", ["the cat isn't a dog.\n"], unknown="unk"),
    "bytes": build("bytes", []),
}


@pytest.mark.parametrize("kind", VOCABULARIES)
def test_a_text_becomes_ids_without_marks_of_sentences(kind: str) -> None:
    vocabulary = VOCABULARIES[kind]
    text = "The cat\nisn't zebra"
    ids = token_ids(vocabulary, text)
    tokens = spelled(vocabulary, text)
    assert len(ids) == len(tokens)
    if kind == "words":
        assert tokens == ["the", "cat", "isn't", "zebra"]
        assert [vocabulary.symbol(int(place)) for place in ids] == ["the", "cat", "isn't", "<unk>"]
    elif kind == "characters":
        assert ids[text.index("z")] == unknown_id(vocabulary) == vocabulary.size - 1
        assert vocabulary.decode(ids[:3]) == "\ufffdhe"
    else:
        assert vocabulary.decode(ids) == text
        assert unknown_id(vocabulary) is None
    assert token_ids(vocabulary, text, 2).tolist() == ids[:2].tolist()


def test_a_vocabulary_without_unk_leaves_unseen_tokens_out() -> None:
    vocabulary = build("characters", ["abc"])
    assert token_ids(vocabulary, "axbyc").tolist() == [0, 1, 2]
    assert token_ids(vocabulary, "xyz").tolist() == [0]


def test_sequences_side_by_side() -> None:
    ids, lengths = padded([np.array([3, 4, 5]), np.array([6])])
    assert ids.tolist() == [[3, 6], [4, 0], [5, 0]]
    assert lengths.tolist() == [3, 1]


def test_some_of_the_texts(tmp_path: Path) -> None:
    read = read_labelled([write(tmp_path, "a.txt", "1 a\n0 b\n1 c\n")]).take([2, 0])
    assert (read.texts, read.labels) == (("c", "a"), ("1", "1"))
    assert read.places[0].endswith("line 3")


TEXTS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\r\0"), min_size=1).filter(str.strip)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(TEXTS, st.sampled_from(["pos", "neg", "3"])), min_size=1, max_size=5))
def test_what_csv_and_json_write_is_read_back(tmp_path_factory: pytest.TempPathFactory, rows: list) -> None:
    folder = tmp_path_factory.mktemp("labelled")
    with open(folder / "a.csv", "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, lineterminator="\n").writerows([("text", "label"), *rows])
    lines = "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows)
    for path in (str(folder / "a.csv"), write(folder, "a.jsonl", lines)):
        read = read_labelled([path])
        assert list(zip(read.texts, read.labels, strict=True)) == rows


def test_the_review_sets(shared_data: Path) -> None:
    folder = shared_data / "sentiment"
    reviews = read_labelled([str(folder / "rt-polarity.all")], encoding="latin-1")
    assert (len(reviews), reviews.classes) == (10662, ("0", "1"))
    questions = read_labelled([str(folder / "TREC.train.all")], encoding="latin-1")
    assert (len(questions), len(questions.classes)) == (5452, 6)
