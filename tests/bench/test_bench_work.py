"""Sizes, operations and plans of a benchmark."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elman.bench.work import QUICK_CELLS, SYMBOLS, WORKS, Job, Shape, every_cell, plan
from elman.equations import zoo
from elman.errors import MisuseError

TINY = Shape(8, 3, 4)


def test_operations_of_known_cells() -> None:
    tokens, gate = 3 * 4, 2 * 8 * (8 + 8)
    assert Job("LSTM", "infer", TINY).flops == tokens * 4 * gate
    assert Job("LSTM", "train", TINY).flops == 3 * tokens * 4 * gate
    assert Job("GRU", "train", TINY).flops == 3 * tokens * 3 * gate
    # MUT1 applies Wxz, Wxr, Whr and Whh
    assert Job("mut1", "infer", TINY).flops == tokens * 4 * 2 * 8 * 8
    readout = 2 * 8 * len(SYMBOLS)
    assert Job("RNN", "model", TINY).flops == 3 * tokens * (2 * gate + readout)
    assert Job("RNN", "sample", Shape(8, 1, 50)).flops == 2 * gate + readout


def test_what_runs_once_a_sequence_does_not_count() -> None:
    """The image of this cell enters every step, but its product is the same at each."""
    assert Job("rnn-image", "infer", TINY).flops == Job("rnn", "infer", TINY).flops


@given(batch=st.integers(1, 40), steps=st.integers(1, 60))
def test_ragged_rows_have_a_padded_twin(batch: int, steps: int) -> None:
    shape = Shape(8, batch, steps, ragged=True)
    own = shape.lengths
    assert own is not None
    assert len(own) == batch
    assert max(1, steps // 4 - 1) <= min(own) <= max(own) <= steps
    assert shape.tokens == sum(own)
    assert shape.tokens % batch == 0


def test_operations_of_ragged_rows_are_those_of_their_tokens() -> None:
    shape = Shape(8, 6, 16, ragged=True)
    even = Shape(8, 6, shape.tokens // 6)
    assert Job("gru", "train", shape).flops == Job("gru", "train", even).flops


def test_the_plans() -> None:
    assert {job.cell for job in plan(extent="quick")} == set(QUICK_CELLS)
    assert {job.work for job in plan()} == set(WORKS)
    full = plan(extent="full")
    assert {job.cell for job in full} == {*zoo(), "LSTM", "GRU", "RNN"} == set(every_cell())
    assert {(job.shape.hidden, job.shape.batch) for job in full} >= {(128, 50), (256, 64), (512, 64), (128, 4)}
    assert any(job.shape.ragged for job in full)
    assert len(full) == len(set(full))
    # whole models know the LSTM once, layers know torch's and the zoo's
    assert not [job for job in full if job.cell == "lstm" and job.work in ("model", "sample")]
    assert [job for job in full if job.cell == "lstm" and job.work == "train"]


def test_what_was_asked_for_replaces_the_plan() -> None:
    jobs = plan(cells=["mut1"], works=["train", "sample"], precisions=["bf16", "fp32"], shape=TINY)
    assert jobs == [
        Job("mut1", "train", TINY, "bf16"),
        Job("mut1", "train", TINY, "fp32"),
        # sampling has one row, and no bf16
        Job("mut1", "sample", Shape(8, 1, 4), "fp32"),
    ]


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"works": ["tain"]}, "--work is 'tain'"),
        ({"precisions": ["fp8"]}, "--precision is 'fp8'"),
        ({"cells": ["lstmm"]}, "no cell 'lstmm'"),
        ({"works": ["sample"], "precisions": ["bf16"]}, "Nothing is left"),
        ({"cells": ["rnn-image"], "works": ["model"]}, "Nothing is left"),
    ],
)
def test_misuse(asked: dict, named: str) -> None:
    with pytest.raises(MisuseError, match=named):
        plan(**asked)
