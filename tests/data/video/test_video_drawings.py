"""Drawings replayed: ink goes where the pen went, when it went there; pairs hold what their sentence says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from elman.data.video.clips import Clips
from elman.data.video.drawings import PICTURES, SIDE, described, joined, keep, pairs, pictures, stream, vary
from elman.errors import MisuseError

# two strokes: down the left side, then along the top to the right
L_SHAPE = [[0, 0, 0], [0, 100, 1], [0, 0, 0], [100, 0, 1]]


def clips(count: int = 4, names: tuple[str, ...] = ("cat", "house")) -> Clips:
    random = np.random.default_rng(0)
    lengths = random.integers(2, 9, count * len(names))
    frames = torch.from_numpy(random.integers(0, 256, (int(lengths.sum()), 3)).astype(np.float32))
    frames[:, 2] = torch.from_numpy(random.integers(0, 2, int(lengths.sum())))
    labels = tuple(names[row % len(names)] for row in range(len(lengths)))
    places = tuple(f"d:{row}" for row in range(len(lengths)))
    return Clips("drawings", frames, lengths, labels, ((),) * len(lengths), places, "print")


def drawn(points: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor(points, dtype=torch.float32).unsqueeze(1), torch.tensor([len(points)])


def test_points_say_where_how_far_and_whether_there_was_ink() -> None:
    found, lengths = stream(*drawn(L_SHAPE), "points")
    assert lengths.tolist() == [4]
    expected = [
        [0, 0, -1, -1, 0, 0],
        [0, 8, -1, 1, 1, 1],
        [0, -8, -1, -1, 0, 0],
        [8, 0, 1, -1, 1, 1],
    ]
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-6)


def test_ink_appears_in_the_order_of_the_strokes() -> None:
    found = pictures(*drawn(L_SHAPE), side=28, count=10)[:, 0].view(10, 28, 28)
    assert ((found >= 0) & (found <= 1)).all()
    # ink stays
    assert (torch.diff(found, dim=0) >= -1e-6).all()
    left, top = found[:, 5:, :4].sum((1, 2)), found[:, :4, 5:].sum((1, 2))
    assert left[4] == pytest.approx(float(left[9]), rel=0.02)
    assert top[4] < 0.05 * top[9]
    assert left[9] == pytest.approx(float(top[9]), rel=0.05)
    # nothing inside the angle, where the pen never was
    assert found[9, 6:, 6:].sum() == 0


def test_the_pen_that_is_lifted_leaves_no_ink() -> None:
    apart = [[0, 0, 0], [0, 100, 1], [100, 0, 0], [100, 100, 1]]
    found = pictures(*drawn(apart))[-1, 0].view(SIDE, SIDE)
    assert found[:, 6:-6].sum() == 0
    assert found[:, :4].sum() == pytest.approx(float(found[:, -4:].sum()), rel=0.05)


@pytest.mark.parametrize("corners", [40, 3])
def test_a_line_has_no_gaps(corners: int) -> None:
    # a zigzag of many long lines has its dots farthest apart
    zigzag = [[0 if number % 2 else 255, number * 255 // corners, 0] for number in range(corners + 1)]
    found = pictures(*drawn(zigzag))[-1, 0].view(SIDE, SIDE)
    assert float(found[:, 2:-2].sum(0).min()) >= 1.0


def test_pictures_do_not_depend_on_who_stands_beside() -> None:
    some = clips()
    frames, lengths = some.batch(range(len(some)))
    together = pictures(frames, lengths)
    for row in range(len(some)):
        torch.testing.assert_close(pictures(*some.batch([row]))[:, 0], together[:, row], atol=1e-4, rtol=1e-4)


def test_a_drawing_of_one_point_is_empty_paper() -> None:
    found = pictures(*drawn([[7, 7, 1]]))
    assert found.shape == (PICTURES, 1, SIDE * SIDE)
    assert float(found.abs().max()) == 0


def test_drawings_one_after_the_other_are_their_own_pictures() -> None:
    some = clips()
    rows = [(0, 3), (5, 2), (1, 6)]
    films = [joined(some, pair) for pair in rows]
    lengths = torch.tensor([len(film) for film in films])
    frames = torch.zeros(int(lengths.max()), 3, 3)
    for column, film in enumerate(films):
        frames[:, column] = torch.cat([film, film[-1:].expand(len(frames) - len(film), 3)])
    found, counts = stream(frames, lengths, "pictures")
    assert counts.tolist() == [2 * PICTURES] * 3
    for column, pair in enumerate(rows):
        for number, row in enumerate(pair):
            alone = pictures(*some.batch([row]))[:, 0]
            mine = found[number * PICTURES : (number + 1) * PICTURES, column]
            torch.testing.assert_close(mine, alone, atol=1e-4, rtol=1e-4)


def test_films_of_two_drawings_say_what_came_first() -> None:
    some = clips(5, ("cat", "house", "tree"))
    films = pairs(some, 60, seed=1)
    assert len(films) == 60
    assert films.fingerprint == pairs(some, 60, seed=1).fingerprint
    assert films.fingerprint != pairs(some, 60, seed=2).fingerprint
    orders = set()
    for row in range(60):
        both = [int(name.split(":")[1]) for name in films.names[row].split(" + ")]
        first, second = (some.labels[drawing] for drawing in both)
        assert films.descriptions[row] == (f"first {first} then {second}",)
        assert first != second
        orders.add((first, second))
        frames, length = films.batch([row])
        torch.testing.assert_close(frames[:, 0], joined(some, both))
        assert int((frames[: int(length), 0, 2] == 2).sum()) == 1
    assert len(orders) == 6


def test_sentences_count_the_strokes() -> None:
    frames, _ = drawn(L_SHAPE)
    some = Clips("drawings", frames[:, 0], np.array([4]), ("cat",), ((),), ("d:0",), "p")
    assert described(some).descriptions == (("a drawing of cat with 2 strokes",),)


def test_names_that_no_drawing_has_are_refused() -> None:
    assert set(keep(clips(), ["cat"]).labels) == {"cat"}
    with pytest.raises(MisuseError, match="No drawing is called 'dog'"):
        keep(clips(), ["cat", "dog"])
    with pytest.raises(MisuseError, match="at least two names"):
        pairs(keep(clips(), ["cat"]), 5, 0)


def test_variations_move_every_point_a_little_and_keep_the_pen() -> None:
    some = clips(20)
    frames, lengths = some.batch(range(len(some)))
    assert vary(frames, lengths, 0.0, torch.Generator()) is frames
    varied = vary(frames, lengths, 1.0, torch.Generator().manual_seed(0))
    assert torch.equal(varied[..., 2], frames[..., 2])
    assert torch.equal(varied, vary(frames, lengths, 1.0, torch.Generator().manual_seed(0)))
    seen, _ = stream(frames, lengths, "points")
    places = seen[..., 2:4]
    mirrored = places * torch.tensor([-1.0, 1.0])
    gaps = torch.stack([(varied[..., :2] - side).norm(dim=-1).mean(0) for side in (places, mirrored)])
    assert float(gaps.amin(0).max()) < 0.6
    nearer = float((gaps[1] < gaps[0]).double().mean())
    assert 0.2 < nearer < 0.8
