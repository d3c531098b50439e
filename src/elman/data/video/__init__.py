"""Clips as training material: films, poses, drawings that are replayed. Decoding films needs PyAV.

clips.py     frames of many clips in one tensor; batches, splits, a random order, a random pace
archive.py   .npz of poses or strokes
poses.py     joints, their differences and distances; variations
drawings.py  strokes as points or pictures over time; films of two drawings
reader.py    a film as a stream of frames at a rate, bounded
films.py     films in class folders or a table, with labels and descriptions
"""

from elman.data.video.archive import read_archive
from elman.data.video.clips import Clips, divide, shuffled, stretched
from elman.data.video.films import Films, open_films
from elman.data.video.reader import BadClipError, ClipLimits, Frame, read_frames

__all__ = [
    "BadClipError",
    "ClipLimits",
    "Clips",
    "Films",
    "Frame",
    "divide",
    "open_films",
    "read_archive",
    "read_frames",
    "shuffled",
    "stretched",
]
