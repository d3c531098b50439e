"""The words of captions beside Stanford's PTBTokenizer as pycocoevalcap calls it; the right sides are its output."""

from __future__ import annotations

import pytest

from elman.metrics.penn import DROPPED, penn_words

STANFORD = {
    "A man's dog doesn't bark , it's (loud) .": "a man 's dog does n't bark it 's -lrb- loud -rrb-",
    "Two 10-year-old girls -- one in red -- run; they can't stop!": (
        "two 10-year-old girls one in red run they ca n't stop"
    ),
    "He said \"hello\" and 'bye' ... then left": "he said hello and bye then left",
    "a T-shirt w/ U.S. flag & a $5 bill, 50% off": "a t-shirt w / u.s. flag & a $ 5 bill 50 % off",
    "black/white cat; cannot gonna wanna rock 'n' roll": "black/white cat can not gon na wan na rock 'n' roll",
    "1,000 people at 3:30 p.m. on St. Mark's": "1,000 people at 3:30 p.m. on st. mark 's",
    "children`s toys o'clock women's dogs'": "children s toys o'clock women 's dogs",
    "e-mail: a@b.com #3 item_2": "e-mail a@b.com # 3 item_2",
    "[brackets] {braces}": "-lsb- brackets -rsb- -lcb- braces -rcb-",
    "I'd've he'll we're I'm rock-n-roll": "i 'd 've he 'll we 're i 'm rock-n-roll",
    "girl,boy.And end.": "girl boy.and end",
    "signe de la main\u202f: peau claire": "signe de la main peau claire",
    "un garçon d'école à l'été": "un garçon d'école à l'été",
    "Mr. Smith vs. Dr. No etc.": "mr. smith vs. dr. no etc.",
    "what?! no!!": "what ?! no !!",
    "he *stars* ~ + = < >  | \\ ^": "he * stars * ~ + = < > | \\ ^",
    "'s 've lemme gimme": "'s 've lem me gim me",
    "3/4 of 1/2 a half-eaten": "3/4 of 1/2 a half-eaten",
    "the 90's and '80s music": "the 90 's and '80s music",
    "a boy -he is 5- runs": "a boy he is 5 runs",
    "it's 10am 5pm word--word": "it 's 10am 5pm word word",
    "A dog&cat 50cents $20.50 #1": "a dog & cat 50cents $ 20.50 # 1",
    "A dog .": "a dog",
    "...": "",
    "": "",
}


@pytest.mark.parametrize("caption", STANFORD)
def test_words_are_stanfords(caption: str):
    assert " ".join(penn_words(caption)) == STANFORD[caption]


def test_no_word_is_dropped_punctuation_or_holds_space():
    for caption in STANFORD:
        for word in penn_words(caption):
            assert word not in DROPPED
            assert word.split() == [word]
            assert word == word.lower()


def test_splitting_again_changes_only_what_brackets_became():
    for caption in STANFORD:
        once = [word for word in penn_words(caption) if not word.startswith("-")]
        assert penn_words(" ".join(once)) == once
