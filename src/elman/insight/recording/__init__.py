"""Recordings: the value of every cell of a recurrent language model at every position of a text, on disk.

A recording folder holds ``manifest.json``, ``text.txt`` (UTF-8), ``symbols.json``, and arrays that are mapped into
memory: ``values.npy`` int8 [cells, tokens], a row a cell, ``ids.npy``, ``offsets.npy``, ``nats.npy``, ``top_ids.npy``
and ``top_logprobs.npy``.
"""

from elman.insight.recording.layout import SCALE, TOP, Group, recording_bytes
from elman.insight.recording.opened import Recording, open_recording, read_manifest
from elman.insight.recording.plan import Wanted, network_of, wanted
from elman.insight.recording.recorder import LIMIT_BYTES, fingerprint, record
from elman.insight.recording.store import list_recordings, recorded, untrained
from elman.insight.recording.writing import write_recording

__all__ = [
    "LIMIT_BYTES",
    "SCALE",
    "TOP",
    "Group",
    "Recording",
    "Wanted",
    "fingerprint",
    "list_recordings",
    "network_of",
    "open_recording",
    "read_manifest",
    "record",
    "recorded",
    "recording_bytes",
    "untrained",
    "wanted",
    "write_recording",
]
