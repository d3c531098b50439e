"""Drawings as films: the strokes replayed, as points over time or as pictures of what is on the paper so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from elman.data.video.clips import Clips, fingerprint_of
from elman.errors import MisuseError

STREAMS = ("points", "pictures")
#: width and height of a picture, and pictures of a drawing
SIDE, PICTURES = 28, 10
# dots of ink along a drawing; at 28 pixels a side, long ones have gaps of at most about a pixel
_DOTS = 600


def stream(drawings: Tensor, lengths: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """The frames of a stream.

        points    4 (x_t - x_(t-1)),  x_t,  1 if the pen was down on the way, 1 if it is lifted after the point
        pictures  see :func:`pictures`; of films of several drawings, those of one after the other

    with x in the drawing's own frame, its larger side from -1 to 1.

    Args:
        drawings: [T, B, 3]: x, y (downwards), and how the pen goes on: 0 down, 1 lifted, 2 on a fresh paper.
        lengths: [B].
        name: one of ``STREAMS``.

    Returns:
        [T, B, 6] for points, [PICTURES, B, SIDE * SIDE] for pictures (of every paper); and the lengths [B].

    Raises:
        MisuseError: there is no such stream, or films differ in their number of papers.
    """
    if name not in STREAMS:
        raise MisuseError(f"--stream is {name}; drawings have {', '.join(STREAMS)}.")
    if name == "pictures":
        sheets = [pictures(paper, counts) for paper, counts in _papers(drawings, lengths)]
        frames = torch.cat(sheets)
        return frames, torch.full_like(lengths, len(frames))
    places = centred(drawings, lengths)
    moves = torch.diff(places, dim=0, prepend=places[:1])
    lifted = drawings[..., 2:].clamp(max=1)
    arrived = torch.cat([torch.zeros_like(lifted[:1]), 1 - lifted[:-1]])
    return torch.cat([4 * moves, places, arrived, lifted], -1), lengths


def _papers(drawings: Tensor, lengths: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Each paper of the films by itself, with its lengths."""
    inside = torch.arange(len(drawings), device=drawings.device).unsqueeze(1) < lengths.to(drawings.device)
    fresh = (drawings[..., 2] == 2) & inside
    count = int(fresh.sum(0).max())
    if not count:
        return [(drawings, lengths)]
    if (fresh.sum(0) != count).any():
        raise MisuseError("Films side by side must have the same number of papers.")
    papers, begin = [], torch.zeros_like(lengths)
    for number in range(count + 1):
        ends = (fresh.cumsum(0) > number).int().argmax(0) + 1 if number < count else lengths
        steps = torch.arange(int((ends - begin).max())).unsqueeze(1)
        index = torch.minimum(begin + steps, ends - 1)
        papers.append((drawings.gather(0, index.unsqueeze(-1).expand(-1, -1, 3)), ends - begin))
        begin = ends
    return papers


def pictures(drawings: Tensor, lengths: Tensor, side: int = SIDE, count: int = PICTURES) -> Tensor:
    """What is on the paper while the drawing is made: picture k shows the first (k + 1) / count of the ink.

    The pen moves at a constant pace along the strokes and leaves dots, each shared among the four pixels around it; no
    pixel is darker than 1.

    Args:
        drawings: as for :func:`stream`.
        lengths: [B].
        side: width and height in pixels.
        count: pictures.

    Returns:
        [count, B, side * side], 0 (paper) to 1 (ink), rows from the top.
    """
    batch = drawings.shape[1]
    places = centred(drawings, lengths)
    # the way to a point is ink if the pen was not lifted at the point before, and the drawing goes on so far
    time = torch.arange(1, len(drawings), device=drawings.device).unsqueeze(1)
    ink = (drawings[:-1, :, 2] == 0) & (time < lengths.to(drawings.device))
    length = torch.diff(places, dim=0).norm(dim=-1) * ink
    done = torch.cat([length.new_zeros(1, batch), length.cumsum(0)]).T.contiguous()
    whole = done[:, -1:]
    share = (torch.arange(_DOTS, device=drawings.device) + 0.5) / _DOTS
    wanted = (share * whole).contiguous()
    # the segment in which each dot lies: the last that begins at or before it
    after = torch.searchsorted(done, wanted, right=True).clamp(1, max(1, done.shape[1] - 1))
    if done.shape[1] == 1:
        spots = places.transpose(0, 1).expand(batch, _DOTS, 2)
    else:
        low, high = done.gather(1, after - 1), done.gather(1, after)
        part = ((wanted - low) / (high - low).clamp(min=1e-9)).clamp(0, 1).unsqueeze(-1)
        index = after.unsqueeze(-1).expand(-1, -1, 2)
        rows = places.transpose(0, 1)
        spots = rows.gather(1, index - 1) * (1 - part) + rows.gather(1, index) * part
    # a margin of one pixel keeps the neighbours of every dot inside
    spot = ((spots + 1) / 2 * (side - 3) + 1).clamp(0, side - 1.001)
    corner = spot.floor()
    beyond = spot - corner
    picture = (torch.arange(_DOTS, device=drawings.device) * count // _DOTS).expand(batch, -1)
    sheet = drawings.new_zeros(batch, count, side, side)
    base = torch.arange(batch, device=drawings.device).unsqueeze(1) * count + picture
    strength = 2.0 * whole * side / 2 / _DOTS
    for right in (0, 1):
        for below in (0, 1):
            weight = (beyond[..., 0] if right else 1 - beyond[..., 0]) * (
                beyond[..., 1] if below else 1 - beyond[..., 1]
            )
            cell = (base * side + corner[..., 1].long() + below) * side + corner[..., 0].long() + right
            sheet.view(-1).index_add_(0, cell.flatten(), (weight * strength).flatten())
    return sheet.cumsum(1).clamp(max=1).transpose(0, 1).flatten(2)


def vary(drawings: Tensor, lengths: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """The same drawings by other hands: mirrored, turned, stretched, a little shaky.

    Mirrored left to right with probability 1/2; turned by up to 0.2 radians; stretched by up to 20 % each way; each
    point moved by noise of 2 % of the drawing's half side; all times ``strength``.

    Args:
        drawings: [T, B, 3].
        lengths: [B].
        strength: 0 changes nothing.
        generator: on the CPU.

    Returns:
        Drawings of the same shape, in the frame -1 to 1.
    """
    if not strength:
        return drawings
    places = centred(drawings, lengths)
    batch = drawings.shape[1]
    draws = (2 * torch.rand(3, batch, generator=generator) - 1).to(places) * strength
    angle, stretch = 0.2 * draws[0], 1 + 0.2 * draws[1:]
    side = torch.where(torch.rand(batch, generator=generator) < 0.5, -1.0, 1.0).to(places)
    x, y = places[..., 0] * stretch[0] * side, places[..., 1] * stretch[1]
    turned = torch.stack([angle.cos() * x - angle.sin() * y, angle.sin() * x + angle.cos() * y], -1)
    shaken = turned + 0.02 * strength * torch.randn(turned.shape, generator=generator).to(turned)
    return torch.cat([shaken, drawings[..., 2:]], -1)


def described(clips: Clips) -> Clips:
    """Drawings with sentences made from what is known of them: "a drawing of a cat with 5 strokes"."""
    strokes = [int(part.sum()) for part in torch.split(clips.frames[:, 2], clips.lengths.tolist())]
    told = tuple(
        () if label is None else (f"a drawing of {label} with {count} stroke{'s' if count != 1 else ''}",)
        for label, count in zip(clips.labels, strokes, strict=True)
    )
    return replace(clips, descriptions=told)


def keep(clips: Clips, names: Sequence[str]) -> Clips:
    """Only the drawings with these names.

    Raises:
        MisuseError: a name that no drawing has.
    """
    if unknown := [name for name in names if name not in clips.classes]:
        some = ", ".join(clips.classes[:8])
        raise MisuseError(f"No drawing is called {unknown[0]!r}; there are, among others, {some}.")
    wanted = set(names)
    return clips.select([row for row, label in enumerate(clips.labels) if label in wanted])


def pairs(clips: Clips, count: int, seed: int) -> Clips:
    """Films of two drawings, one after the other on a fresh paper: "first a cat then a house".

    The two names always differ, every ordered pair of names is as likely as every other, and which drawing of a name is
    taken is drawn: whoever knows both names still has to know which came first.

    Args:
        clips: labelled drawings of at least two names.
        count: films.
        seed: of the choice.

    Returns:
        The films; each has the points of both drawings, centred and scaled each by itself.

    Raises:
        MisuseError: fewer than two names.
    """
    classes = clips.classes
    if len(classes) < 2:
        raise MisuseError("Films of two different drawings need drawings of at least two names.")
    by_name = {name: [row for row, label in enumerate(clips.labels) if label == name] for name in classes}
    random = np.random.default_rng(seed)
    points, lengths, told, names = [], [], [], []
    for _ in range(count):
        first, second = random.choice(len(classes), 2, replace=False)
        rows = [int(random.choice(by_name[classes[name]])) for name in (first, second)]
        points.append(joined(clips, rows))
        lengths.append(len(points[-1]))
        told.append((f"first {classes[first]} then {classes[second]}",))
        names.append(" + ".join(clips.names[row] for row in rows))
    return Clips(
        clips.kind,
        torch.cat(points),
        np.array(lengths, dtype=np.int64),
        (None,) * count,
        tuple(told),
        tuple(names),
        fingerprint_of(clips.fingerprint.encode(), f"pairs {count} {seed} {classes}".encode()),
    )


def joined(clips: Clips, rows: Sequence[int]) -> Tensor:
    """Drawings one after the other, each on a fresh paper and in its own frame: [T, 3]."""
    parts = []
    for row in rows:
        drawing, length = clips.batch([row])
        parts.append(torch.cat([centred(drawing, length), drawing[..., 2:]], -1)[:, 0])
    for part in parts[:-1]:
        part[-1, 2] = 2
    return torch.cat(parts)


def centred(drawings: Tensor, lengths: Tensor) -> Tensor:
    """x and y in the drawing's own frame, its larger side from -1 to 1: [T, B, 2]."""
    places = drawings[..., :2]
    # beyond its end a clip repeats its last point, which changes neither least nor greatest
    least, greatest = places.amin(0), places.amax(0)
    half = ((greatest - least).amax(-1, keepdim=True) / 2).clamp(min=1e-6)
    return (places - (least + greatest) / 2) / half
