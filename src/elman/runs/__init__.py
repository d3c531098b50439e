"""The run folder: all there is to a trained model, on any machine, without unpickling anything.

model.safetensors   the best weights so far
config.json         system, equations, sizes, vocabulary, data fingerprint, versions, command
metrics.jsonl       a line an evaluation or a report
samples/            texts drawn while it learnt
snapshots/          weights after chosen steps, where they were asked for
resume/             complete checkpoints: weights, optimiser, random states, data position, carried hidden state
"""

from elman.runs.checkpoint import Checkpoint, drop_newest, latest_checkpoint, newest_step, write_checkpoint
from elman.runs.config import read_config, write_config
from elman.runs.folder import RunFolder
from elman.runs.model import LoadedRun, load, save_model
from elman.runs.snapshots import list_snapshots, load_snapshot

__all__ = [
    "Checkpoint",
    "LoadedRun",
    "RunFolder",
    "drop_newest",
    "latest_checkpoint",
    "list_snapshots",
    "load",
    "load_snapshot",
    "newest_step",
    "read_config",
    "save_model",
    "write_checkpoint",
    "write_config",
]
