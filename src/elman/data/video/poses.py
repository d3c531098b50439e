"""Poses as two streams: where the joints are, and how they move."""

from __future__ import annotations

import torch
from torch import Tensor

from elman.errors import MisuseError

STREAMS = ("joints", "differences", "distances")

JHMDB_JOINTS = (
    "neck",
    "belly",
    "face",
    "right shoulder",
    "left shoulder",
    "right hip",
    "left hip",
    "right elbow",
    "left elbow",
    "right knee",
    "left knee",
    "right wrist",
    "left wrist",
    "right ankle",
    "left ankle",
)

#: the joints that a figure joins by lines, by number
BONES = (
    *((2, 0), (0, 1)),
    *((0, 3), (3, 7), (7, 11), (0, 4), (4, 8), (8, 12)),
    *((1, 5), (5, 9), (9, 13), (1, 6), (6, 10), (10, 14)),
)

# a person seen from one side may stand still at one place
_LEAST_SIZE = 1e-3


def mirror_of(joints: int) -> list[int] | None:
    """The joint on the other side of the body for each joint; None for a skeleton whose joints are not known."""
    if joints != len(JHMDB_JOINTS):
        return None
    swap = {"left": "right", "right": "left"}
    places = []
    for name in JHMDB_JOINTS:
        side, _, rest = name.partition(" ")
        places.append(JHMDB_JOINTS.index(f"{swap[side]} {rest}" if side in swap else name))
    return places


def stream(poses: Tensor, lengths: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """The frames of a stream.

        c_t = mean_j p_tj                       the body's centre
        s   = sqrt(mean_tj |p_tj - c_t|^2)      the body's size, over the clip
        joints       (p_tj - c_t) / s  and  (c_t - mean_t c_t) / s
        differences  (p_tj - p_(t-1)j) / s      zero at the first frame
        distances    |p_ti - p_tj| / s, i < j   the joint collection distances of Yang et al. 2019 (DD-Net)

    Middle and size are those of the whole clip and not of its beginning: joints and distances of frames in another
    order are the same frames, and only differences know of time.

    Args:
        poses: [T, B, J, 2 or 3].
        lengths: [B].
        name: one of ``STREAMS``.

    Returns:
        [T, B, D], and the lengths.

    Raises:
        MisuseError: there is no such stream.
    """
    if name not in STREAMS:
        raise MisuseError(f"--stream is {name}; poses have {', '.join(STREAMS)}.")
    centre = poses.mean(2, keepdim=True)
    size = _size(poses, lengths)
    if name == "joints":
        middle = _mean(centre, lengths)
        return torch.cat([(poses - centre) / size, (centre - middle) / size], 2).flatten(2), lengths
    if name == "differences":
        return (torch.diff(poses, dim=0, prepend=poses[:1]) / size).flatten(2), lengths
    first, second = torch.triu_indices(poses.shape[2], poses.shape[2], 1, device=poses.device)
    return (poses[:, :, first] - poses[:, :, second]).norm(dim=-1) / size[..., 0], lengths


def vary(poses: Tensor, lengths: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """The same actions by other bodies, seen from elsewhere: mirrored, turned, stretched, measured less exactly.

    Each clip is mirrored (left and right joints exchanged) with probability 1/2, turned in the picture's plane by up
    to 0.25 radians, stretched by up to 20 % each way, and every joint of it moved by a constant of its own of standard
    deviation 0.03, all times ``strength``; then every number by noise of 0.01 times ``strength``, in units of the body.

    Args:
        poses: [T, B, J, 2 or 3]; a third number of a joint is its depth, which is only moved.
        lengths: [B].
        strength: 0 changes nothing, not even mirrors.
        generator: on the CPU.

    Returns:
        Poses of the same shape.
    """
    if not strength:
        return poses
    batch, joints, axes = poses.shape[1:]
    size = _size(poses, lengths)
    if (other := mirror_of(joints)) is not None:
        mirrored = poses[:, :, other] * poses.new_tensor([-1.0] + [1.0] * (axes - 1))
        chosen = torch.rand(batch, generator=generator) < 0.5
        poses = torch.where(chosen.to(poses.device)[:, None, None], mirrored, poses)
    draws = (2 * torch.rand(3, batch, generator=generator) - 1).to(poses) * strength
    angle, stretch = 0.25 * draws[0], 1 + 0.2 * draws[1:]
    cosine, sine = angle.cos()[:, None], angle.sin()[:, None]
    x, y = poses[..., 0] * stretch[0][:, None], poses[..., 1] * stretch[1][:, None]
    turned = torch.stack([cosine * x - sine * y, sine * x + cosine * y], -1)
    poses = torch.cat([turned, poses[..., 2:]], -1)
    shift = torch.randn(batch, joints, axes, generator=generator).to(poses)
    noise = torch.randn(poses.shape, generator=generator).to(poses)
    return poses + strength * size * (0.03 * shift + 0.01 * noise)


def _size(poses: Tensor, lengths: Tensor) -> Tensor:
    """Each body's size over its clip [B, 1, 1]."""
    squares = (poses - poses.mean(2, keepdim=True)).square().sum(-1).mean(-1)
    return _mean(squares, lengths).sqrt().clamp(min=_LEAST_SIZE)[:, None, None]


def _mean(values: Tensor, lengths: Tensor) -> Tensor:
    """The mean of [T, B, ...] over each clip's own frames: [B, ...]."""
    inside = torch.arange(len(values), device=values.device).unsqueeze(1) < lengths.to(values.device)
    wide = inside.view(*inside.shape, *(1,) * (values.dim() - 2))
    return (values * wide).sum(0) / wide.sum(0)
