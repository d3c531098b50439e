"""Labelled words in columns: every layout of columns, and the line of each fault."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.data.conll import LONGEST_SENTENCE, read_tagged
from elman.errors import MisuseError


def write(folder: Path, content: str, name: str = "a.conll") -> str:
    path = folder / name
    path.write_bytes(content.encode())
    return str(path)


OF_2003 = """-DOCSTART- -X- -X- O

EU NNP B-NP B-ORG
rejects VBZ B-VP O

Peter NNP B-NP B-PER
Blackburn NNP I-NP I-PER
# NN B-NP O


"""


def test_the_layout_of_2003(tmp_path: Path) -> None:
    notices: list[str] = []
    path = write(tmp_path, OF_2003)
    read = read_tagged([path], notices=notices)
    assert read.sentences == (("EU", "rejects"), ("Peter", "Blackburn", "#"))
    assert read.labels == (("B-ORG", "O"), ("B-PER", "I-PER", "O"))
    assert read.places == (f"{path}, line 3", f"{path}, line 6")
    assert (read.words, read.tags) == (5, ("O", "B-ORG", "B-PER", "I-PER"))
    assert notices == ["1 lines -DOCSTART- were left out."]
    assert read_tagged([path], tag_column="2").labels[0] == ("NNP", "VBZ")
    assert read_tagged([path], tag_column="-2").labels[0] == ("B-NP", "B-VP")


TREEBANK = """# sent_id = 1
# text = don't # go
1-2	don't	_	_	_	_	_	_	_	_
1	do	do	AUX	VBP	_	3	aux	_	_
2	n't	not	PART	RB	_	3	advmod	_	_
2.1	x	x	X	X	_	_	_	_	_
3	#	go	VERB	VB	_	0	root	_	_

"""


def test_treebanks_by_name(tmp_path: Path) -> None:
    path = write(tmp_path, TREEBANK, "a.conllu")
    read = read_tagged([path], tag_column="UPOS")
    assert (read.sentences, read.labels) == ((("do", "n't", "#"),), (("AUX", "PART", "VERB"),))
    named = "# global.columns = FORM PARSEME:MWE\nof\t*\ncourse\tB-x\n"
    read = read_tagged([write(tmp_path, named, "b.txt")], tag_column="MWE")
    assert (read.sentences, read.labels) == ((("of", "course"),), (("*", "B-x"),))


def test_tabs_let_words_hold_spaces_and_windows_writes_lines_its_own_way(tmp_path: Path) -> None:
    path = write(tmp_path, "\ufeffNew York\tLOC\r\nis\tO\r\n\r\nbig\tO")
    read = read_tagged([path])
    assert read.sentences == (("New York", "is"), ("big",))


def test_words_alone(tmp_path: Path) -> None:
    read = read_tagged([write(tmp_path, "a\nb\n\nc\n")], tags_needed=False)
    assert (read.sentences, read.labels) == ((("a", "b"), ("c",)), ())


@pytest.mark.parametrize(
    ("content", "options", "sentence"),
    [
        ("a O\nb\n", {}, r"a.conll, line 2: 1 columns, where the lines before have 2: 'b'"),
        ("a\nb\n", {}, "line 1: column 1 of 1 would be both"),
        ("a O\n", {"tag_column": "3"}, "line 1: there is no column '3' for the tag; the line has 2"),
        ("a O\n", {"word_column": "FORM"}, "there is no column 'FORM' for the word"),
        ("a O\n", {"tag_column": "0"}, "there is no column '0'"),
        ("a\tO\nb\t\n", {}, "line 2: the label is empty"),
        ("\n\n", {}, "holds no words"),
        ("a O\n" * (LONGEST_SENTENCE + 1), {}, "line 1: a sentence of more than 5,000 words"),
    ],
)
def test_a_fault_is_named_with_its_line(tmp_path: Path, content: str, options: dict, sentence: str) -> None:
    with pytest.raises(MisuseError, match=sentence):
        read_tagged([write(tmp_path, content)], **options)


WORD = st.text(st.characters(exclude_categories=("Z", "C")), min_size=1, max_size=5).filter(
    lambda word: "global.columns" not in word and word.split() == [word]
)
SENTENCES = st.lists(st.lists(st.tuples(WORD, WORD), min_size=1, max_size=4), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.tuples(WORD, WORD), min_size=1, max_size=4), min_size=1, max_size=4), st.sampled_from(" \t")
)
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, sentences: list, separator: str
) -> None:
    content = "\n\n".join("\n".join(separator.join(pair) for pair in sentence) for sentence in sentences)
    read = read_tagged([write(tmp_path_factory.mktemp("conll"), content)])
    assert [list(zip(*both, strict=True)) for both in zip(read.sentences, read.labels, strict=True)] == sentences
