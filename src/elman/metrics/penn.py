"""Words of a caption, in the manner of the Penn Treebank, as the evaluation of COCO captions splits them.

pycocoevalcap runs Stanford's tokenizer (a Java program) and then drops punctuation. This is a formulation in Python of
what occurs in captions: the rules are those of :func:`penn_words`.
"""

from __future__ import annotations

import re

DROPPED = frozenset({"''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"})
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
# words that are written together and counted as two
_PAIRS = {"cannot": 3, "gonna": 3, "wanna": 3, "gotta": 3, "lemme": 3, "gimme": 3}
_CLITIC = re.compile(r"(.+?)(n't|'(?:s|m|d|re|ve|ll))$")
_TOKEN = re.compile(
    r"""
    [\w.+-]+@[\w-]+(?:\.[\w-]+)+                              # an address
  | (?:https?://|www\.)\S+\w
  | (?:mr|mrs|ms|dr|st|vs|jr|sr|etc|prof)\.(?!\w)             # abbreviations keep their period
  | (?:[^\W\d_]\.){2,}                                        # so do initials: u.s.
  | '(?:\d\ds?|n')(?!\w)                                      # '80s, rock 'n' roll
  | '(?:s|m|d|re|ve|ll)(?!\w)
  | \w+(?:(?:[-./]|(?<=\d)[,:](?=\d)|(?<=[^\W\d_])'(?=[^\W\d_]))\w+)*
  | \.\.+ | --+ | [?!]+ | ''
  | \S
    """,
    re.VERBOSE,
)


def penn_words(text: str) -> list[str]:
    """Split a caption.

    - Letters become lower-case; words keep inner hyphens, slashes and periods (``t-shirt``, ``black/white``), numbers
      their commas and colons (``1,000``, ``3:30``).
    - ``n't`` and the endings ``'s 'm 'd 're 've 'll`` are words of their own (``does n't``, ``dog 's``), ``cannot`` is
      ``can not``.
    - Round, square and curly brackets become ``-lrb-`` and so on.
    - ``DROPPED`` is left out: single quotes, periods, commas, colons, semicolons, hyphens, dashes, and one question or
      exclamation mark; double quotes too. Two marks together (``?!``) stay, as in the original.

    Args:
        text: one caption.

    Returns:
        Its words.
    """
    words: list[str] = []
    for token in _TOKEN.findall(text.lower().replace("’", "'").replace("‘", "'")):
        if token in DROPPED or token in ('"', "“", "”") or set(token) <= {"."} or set(token) == {"-"}:
            continue
        if token in _BRACKETS:
            words.append(_BRACKETS[token])
        elif token in _PAIRS:
            words += [token[: _PAIRS[token]], token[_PAIRS[token] :]]
        else:
            words += _without_clitics(token)
    return words


def _without_clitics(word: str) -> list[str]:
    endings: list[str] = []
    while found := _CLITIC.match(word):
        word, ending = found.groups()
        endings.insert(0, ending)
    return [word, *endings]
