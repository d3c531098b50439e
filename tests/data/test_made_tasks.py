"""Made tasks: right answers, different questions, the same from the same source."""

from __future__ import annotations

import pytest

from elman.data.made_tasks import is_made, made_pairs
from elman.data.parallel import read_pairs
from elman.errors import MisuseError


@pytest.mark.parametrize("digits", [1, 4, 9])
@pytest.mark.parametrize("turned", [0, 1])
def test_sums_are_right(digits: int, turned: int) -> None:
    count = 60
    for question, answer in made_pairs(f"made:addition,digits={digits},count={count},reversed={turned}"):
        first, second = question.split("+")
        assert len(first) == len(second) == digits
        assert first[0] != "0"
        assert int(answer[::-1] if turned else answer) == int(first) + int(second)


def test_sorting_and_reversal_are_right() -> None:
    lengths = set()
    for question, answer in made_pairs("made:sorting,count=500,shortest=1,longest=5,digits=3"):
        numbers = [int(number) for number in question.split(" ")]
        lengths.add(len(numbers))
        assert [int(number) for number in answer.split(" ")] == sorted(numbers)
        assert all(0 <= number < 1000 for number in numbers)
    assert lengths == {1, 2, 3, 4, 5}
    for question, answer in made_pairs("made:reversal,count=500,shortest=3,longest=7"):
        assert answer == "".join(reversed(question))
        assert 3 <= len(question) <= 7


@pytest.mark.parametrize("task", ["addition", "sorting", "reversal"])
def test_examples_are_different_and_chosen_by_the_seed(task: str) -> None:
    pairs = made_pairs(f"made:{task},count=2000")
    assert len({question for question, _ in pairs}) == len(pairs) == 2000
    assert pairs == made_pairs(f"made:{task},seed=1,count=2000")
    assert pairs != made_pairs(f"made:{task},seed=2,count=2000")
    assert read_pairs([f"made:{task},count=2000"]).target == tuple(answer for _, answer in pairs)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("made:division", "made:addition, made:sorting, made:reversal"),
        ("made:addition,longest=3", r"'longest=3' is no option; this task takes digits=NUMBER"),
        ("made:addition,digits", "is no option"),
        ("made:addition,digits=-1", "is no option"),
        ("made:addition,digits=0", "digits is 0; it takes 1 to 17"),
        ("made:reversal,shortest=5,longest=4", "longest is 4; it takes 5 to"),
        ("made:reversal,longest=1,count=27", "26 were found, 27 are asked for"),
    ],
)
def test_what_cannot_be(source: str, sentence: str) -> None:
    assert is_made(source)
    with pytest.raises(MisuseError, match=sentence):
        made_pairs(source)
