"""Comments, strings, directives, conditions and brackets of C and Python, against slow readers and Python's own."""

from __future__ import annotations

import io
import re
import sys
import sysconfig
import tokenize
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from elman.insight.hypotheses import builtin

KNOWN = builtin()


def label(name: str, text: str) -> str:
    return "".join(map(str, KNOWN[name].label(text).tolist()))


def read_c(text: str) -> tuple[list[int], list[int], list[bool]]:
    """Comment, string, and whether it is code, by a machine that reads character by character."""
    comment, string = [0] * len(text), [0] * len(text)
    code = [True] * len(text)
    ending, beginning = text.find("*/"), text.find("/*")
    state = "/*" if ending >= 0 and not 0 <= beginning < ending else ""
    place = 0
    while place < len(text):
        sign, two = text[place], text[place : place + 2]
        if state == "/*":
            code[place] = False
            if two == "*/":
                comment[place], code[place + 1], state = 1, False, ""
                place += 2
                continue
            comment[place] = 1
        elif state == "//":
            if sign == "\n":
                state = ""
            else:
                comment[place], code[place] = 1, False
                if sign == "\\" and place + 1 < len(text):
                    comment[place + 1], code[place + 1] = 1, False
                    place += 1
        elif state == '"':
            if sign == "\n":
                state = ""
            else:
                code[place] = False
                if sign == '"':
                    state = ""
                else:
                    string[place] = 1
                    if sign == "\\" and place + 1 < len(text):
                        string[place + 1], code[place + 1] = 1, False
                        place += 1
        elif two in ("/*", "//"):
            code[place : place + 2] = [False, False]
            comment[place + 1], state = 1, two
            place += 1
        elif sign == '"':
            string[place], code[place], state = 1, False, '"'
        elif sign == "'" and (found := re.match(r"'(?:[^'\\\n]|\\[^\n][0-9a-fA-F]{0,8})'", text[place:])):
            code[place : place + found.end()] = [False] * found.end()
            place += found.end() - 1
        place += 1
    return comment, string, code


@given(st.text("/*\"'\\\nab0 ", max_size=80))
@example('x */ y /* z */ "a')
@example('/*/ not closed */ "s"')
@example("'\"' \"'\" '\\'' \"\\\"\" '/*'")
@example('// a \\\n b\n"c\\\nd" "e\nf"')
def test_c_is_read_as_by_a_machine(text: str) -> None:
    comment, string, _ = read_c(text)
    assert KNOWN["comment_c"].label(text).tolist() == comment
    assert KNOWN["string_c"].label(text).tolist() == string


@pytest.mark.parametrize(
    ("name", "marked"),
    [
        ("comment_c", "a/«* b *»/c"),
        ("comment_c", "a /«/b»\nc"),
        ("string_c", r"""f(«"x\"y»", '"');"""),
        ("string_c", 'x = «"never closed»\n\'"\' «"c\\\nd»"'),
        ("parentheses_c", 'f«("(", (1)»)'),
        ("parentheses_c", "f«(')', /* ) */ 1»)"),
        # a condition ends with its own parenthesis, with its paragraph, or with the function
        ("if_condition", "if «(a(b) && c») d();"),
        ("if_condition", "#if (A)\nifx (b) if«(c»)x;"),
        ("if_condition", '/* if (a) */ "if (b)" else if\n  «(")"») {'),
        ("if_condition", "if «(a\n»\n b"),
        ("if_condition", "if «(a\n»} b"),
        ("preprocessor_c", "«#define A \\\n  b»\n«# include <x>»\n/* \n#if no\n*/ # not\n#other\n \t«#endif // x»"),
        # what is never closed ends where code begins anew
        ("braces_c", "«{\n if {{\n»}\n«{ x »}"),
        ("parentheses", "a «(b\n»\nc"),
        ("parentheses_python", "x = «(1,\n\n2\n»def f«(a»): pass"),
        ("comment_python", "x = '#' «# a '»\n"),
        ("string_python", "x = r«'\\'»' + f«\"{a}»\" + «'''a'b\n''»' # 'c'"),
    ],
)
def test_one_is_inside_once_one_knows_it(name: str, marked: str) -> None:
    text, expected, inside = "", "", "0"
    for sign in marked:
        if sign in "«»":
            inside = "1" if sign == "«" else "0"
        else:
            text, expected = text + sign, expected + inside
    assert label(name, text) == expected


def test_depth_counts_what_is_open() -> None:
    assert label("parentheses_depth_c", "f((1), 2)") == "012211110"
    assert label("braces_depth_c", "{\n {{\n}\n{ x }") == "111" + "233" + "00" + "11110"


@given(
    st.lists(st.sampled_from(["if ", "if", "(", ")", "x", "\n\n", '"("', "/*(*/", "}\n}", " ", "#if "]), max_size=25)
)
def test_conditions_are_those_of_a_loop(words: list[str]) -> None:
    text = "".join(words)
    _, _, code = read_c(text)
    expected, depth, inside, line = [], 0, 0, ""
    directive = [False] * len(text)
    for found in re.finditer(r"(?m)^[ \t]*(#[ \t]*if\b[^\n]*)", text):
        if code[found.start(1)]:
            directive[found.start(1) : found.end()] = [True] * len(found[1])
    for place, sign in enumerate(text):
        if (sign in "{}" and (place == 0 or text[place - 1] == "\n")) or (sign == "\n" and not line.strip()):
            depth = inside = 0
        line = "" if sign == "\n" else line + sign
        if code[place] and sign == "(":
            depth += 1
            if not inside and not directive[place] and re.search(r"(?<![\w#])if[ \t\n]*$", text[:place]):
                inside = depth
        elif code[place] and sign == ")":
            if inside and depth == inside:
                inside = 0
            depth = max(0, depth - 1)
        expected.append(int(inside > 0))
    assert KNOWN["if_condition"].label(text).tolist() == expected


def python_sources() -> list[Path]:
    """Every eighth module of the standard library."""
    folder = Path(sysconfig.get_path("stdlib"))
    return sorted(folder.glob("*.py"))[::8]


def read_python(text: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Comment and string labels from Python's own tokenizer; None where fields of f-strings hold strings."""
    lines = [0]
    for line in io.StringIO(text, newline=""):
        lines.append(lines[-1] + len(line))
    comment, string = np.zeros(len(text), dtype=int), np.zeros(len(text), dtype=int)
    opened: list[int] = []
    for token in tokenize.generate_tokens(io.StringIO(text, newline="").readline):
        begin, end = lines[token.start[0] - 1] + token.start[1], lines[token.end[0] - 1] + token.end[1]
        kind = tokenize.tok_name[token.type]
        if kind == "COMMENT":
            comment[begin:end] = 1
        elif kind == "FSTRING_START":
            opened.append(begin + re.match("[a-zA-Z]*", token.string).end())  # type: ignore[union-attr]
        elif kind == "FSTRING_END":
            string[opened.pop() : end - 1] = 1
        elif kind == "STRING":
            if opened:
                return None
            string[begin + re.match("[a-zA-Z]*", token.string).end() : end - 1] = 1  # type: ignore[union-attr]
    return comment, string


@pytest.mark.parametrize("path", python_sources(), ids=lambda path: path.stem)
def test_python_is_read_as_python_reads_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    expected = read_python(text)
    if expected is None:
        assert sys.version_info >= (3, 12)
        pytest.skip("strings within f-strings")
    comment, string = expected
    assert np.array_equal(KNOWN["comment_python"].label(text), comment)
    assert np.array_equal(KNOWN["string_python"].label(text), string)


def test_a_python_text_may_begin_inside_a_docstring() -> None:
    text = Path(sysconfig.get_path("stdlib"), "argparse.py").read_text(encoding="utf-8")
    place = text.index("Basic usage") if "Basic usage" in text else text.index('"""') + 40
    whole = KNOWN["string_python"].label(text)
    assert whole[place] == 1
    assert np.array_equal(KNOWN["string_python"].label(text[place:]), whole[place:])


def test_a_kernel_is_read(shared_data: Path) -> None:
    text = (shared_data / "text" / "linux_1_0.txt").read_text(encoding="utf-8", errors="replace")[:400_000]
    comment, string, code = read_c(text)
    assert np.array_equal(KNOWN["comment_c"].label(text), comment)
    assert np.array_equal(KNOWN["string_c"].label(text), string)
    depth = KNOWN["braces_depth_c"].label(text)
    # a function's last brace stands in the first column
    last = [found.start() + 1 for found in re.finditer(r"\n\}", text) if code[found.start() + 1]]
    assert len(last) > 100
    assert depth[last].max() == 0
