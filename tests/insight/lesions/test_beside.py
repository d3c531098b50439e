"""Two texts from one seed, one of them lesioned, over a span if wished."""

from __future__ import annotations

import pytest
from insight.planted import UNIT, planted_model

from elman.errors import MisuseError
from elman.generate import generate
from elman.insight.lesions import interventions_on, lesioned, sample_beside, within

MODEL, VOCABULARY = planted_model()
QUOTES = interventions_on([(0, "c", UNIT)])
PROMPT = '\n"the sea'


def closings(text: str, opened: int = 1) -> int:
    """Quotation marks that close something."""
    return (text.count('"') + opened) // 2


def test_the_texts_differ_by_the_lesion_alone() -> None:
    found = sample_beside(MODEL, VOCABULARY, QUOTES, prompt=PROMPT, length=1500, seed=9)
    plain = generate(MODEL, VOCABULARY, prompt=PROMPT, length=1500, seed=9)[0]
    hurt = generate(lesioned(MODEL, QUOTES), VOCABULARY, prompt=PROMPT, length=1500, seed=9)[0]
    assert (found.plain.ids, found.lesioned.ids) == (plain.ids, hurt.ids)
    assert found.plain.logprob == pytest.approx(plain.logprob, abs=0.1)
    assert closings(found.plain.text) > 8
    # without the cell nothing closes: marks stand at the beginnings of lines only
    lines = (PROMPT + found.lesioned.text).split("\n")
    assert sum('"' in line[1:] for line in lines) <= 1
    assert found.parted is not None
    assert found.plain.ids[: found.parted] == found.lesioned.ids[: found.parted]
    assert found.plain.ids[found.parted] != found.lesioned.ids[found.parted]


def test_the_same_seed_draws_the_same_two_texts_and_none_a_fresh_one() -> None:
    first, again = (sample_beside(MODEL, VOCABULARY, QUOTES, length=50, seed=3) for _ in range(2))
    assert (first.plain.text, first.lesioned.text) == (again.plain.text, again.lesioned.text)
    fresh = sample_beside(MODEL, VOCABULARY, QUOTES, length=50)
    assert sample_beside(MODEL, VOCABULARY, QUOTES, length=50, seed=fresh.seed).plain.text == fresh.plain.text


def test_no_lesion_gives_the_same_text_twice() -> None:
    found = sample_beside(MODEL, VOCABULARY, [], length=100, seed=3)
    assert found.parted is None
    assert found.plain.text == found.lesioned.text


@pytest.mark.parametrize("span", [(0, 0), (600, None)])
def test_a_span_without_symbols_changes_nothing(span: tuple[int, int | None]) -> None:
    assert sample_beside(MODEL, VOCABULARY, QUOTES, length=500, seed=5, span=span).parted is None


def test_the_lesion_holds_while_the_symbols_of_the_span_are_read() -> None:
    values: list[float] = []
    # a cell that forgets at once
    forced = interventions_on([(0, "c", 3)], "set", 5.0)
    live = lesioned(MODEL, forced)
    seen = within(live, (3, 6), lambda *_: values.append(float(live.values([(0, "c", 3)])[0, 0])))
    generate(live, VOCABULARY, prompt=PROMPT, length=12, seed=1, on_token=seen)
    # when symbol k is drawn, the model has read the symbols before it
    assert [value == 5.0 for value in values] == [False] * 4 + [True] * 3 + [False] * 5
    whole = lesioned(MODEL, forced)
    generate(whole, VOCABULARY, prompt=PROMPT, length=1, seed=1)
    assert whole.values([(0, "c", 3)])[0, 0] == 5.0


def test_both_texts_are_told_as_they_grow() -> None:
    told: list[tuple[str, str]] = []
    found = sample_beside(
        MODEL,
        VOCABULARY,
        QUOTES,
        length=40,
        seed=2,
        span=(0, None),
        on_token=lambda which, _, t: told.append((which, t)),
    )
    for which in ("plain", "lesioned"):
        assert "".join(text for each, text in told if each == which) == getattr(found, which).text


def test_options_of_drawing_are_passed_on() -> None:
    greedy = sample_beside(MODEL, VOCABULARY, QUOTES, length=60, temperature=0, stop=["\n"])
    assert greedy.plain.text == generate(MODEL, VOCABULARY, length=60, temperature=0, stop=["\n"])[0].text
    assert (
        sample_beside(MODEL, VOCABULARY, QUOTES, length=60, temperature=0, stop=["\n"], seed=8).parted == greedy.parted
    )


@pytest.mark.parametrize("span", [(-1, 3), (5, 2)])
def test_a_span_that_is_none_is_refused(span: tuple[int, int]) -> None:
    with pytest.raises(MisuseError, match="span"):
        sample_beside(MODEL, VOCABULARY, QUOTES, length=5, span=span)
