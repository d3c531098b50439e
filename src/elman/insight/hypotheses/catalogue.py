"""The hypotheses that come with Elman."""

from __future__ import annotations

from functools import cache

from elman.insight.hypotheses import code, lines, quotes, words
from elman.insight.hypotheses.hypothesis import Hypothesis, Kind, Language


def builtin() -> dict[str, Hypothesis]:
    """All built-in hypotheses by name.

    Returns:
        A new dictionary, in the order in which tables show them.
    """
    return dict(_all())


@cache
def _all() -> dict[str, Hypothesis]:
    known = [
        _of("double_quotes", "inside double quotes", "prose", quotes.double_quotes),
        _of("single_quotes", "inside single quotes", "prose", quotes.single_quotes),
        _of("speaker", "in the name of who speaks next", "prose", words.speaker),
        *_nestings("any"),
        _of("comment_c", "inside a C comment", "c", code.comment_c),
        _of("string_c", "inside a C string", "c", code.string_c),
        _of("preprocessor_c", "in a preprocessor directive", "c", code.preprocessor_c),
        _of("if_condition", "inside the condition of an if", "c", code.if_condition),
        *_nestings("c"),
        _of("comment_python", "inside a Python comment", "python", code.comment_python),
        _of("string_python", "inside a Python string", "python", code.string_python),
        *_nestings("python"),
        _of("digits", "inside a number", "any", words.digits),
        _of("url", "inside an address of the web", "any", words.url),
        _of("capitalised", "in a word with a capital", "any", words.capitalised),
        _of("indentation", "columns of indentation", "any", lines.indentation, "graded"),
        _of("line_position", "columns filled in the line", "any", lines.line_position, "graded"),
        _of("since_newline", "characters since the newline", "any", lines.since_newline, "graded"),
        _of("word_position", "place in the word", "any", words.word_position, "graded"),
    ]
    return {hypothesis.name: hypothesis for hypothesis in known}


def _of(name: str, title: str, language: Language, labels, kind: Kind = "binary") -> Hypothesis:  # type: ignore[no-untyped-def]
    said = (labels.__doc__ or title).partition("\n\n")[0].replace("``", "")
    return Hypothesis(name, title, kind, language, labels, " ".join(said.split()))


def _nestings(language: Language) -> list[Hypothesis]:
    suffix, of = ("", "") if language == "any" else (f"_{language}", f" of {language.capitalize()} code")
    seen = "" if language == "any" else ", those in strings and comments not counted"
    made = []
    for pair, signs in code.PAIRS.items():
        title, said = (
            f"inside {pair}{of}",
            f"Inside {signs[0]} and {signs[1]}{seen}: from the opening one to before the closing one.",
        )
        made.append(Hypothesis(f"{pair}{suffix}", title, "binary", language, code.nesting(pair, language, False), said))
    for pair, signs in code.PAIRS.items():
        title, said = f"depth of {pair}{of}", f"How many {signs[0]} are open{seen}."
        made.append(
            Hypothesis(f"{pair}_depth{suffix}", title, "graded", language, code.nesting(pair, language, True), said)
        )
    return made
