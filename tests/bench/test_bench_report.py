"""Ratios, JSON, tables and charts of what was measured."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from elman.bench.chart import check_picture, draw
from elman.bench.report import Machine, duration, machine, markdown, ratios, tables, to_json
from elman.bench.timing import Figures, Result
from elman.bench.work import Job, Shape
from elman.errors import MisuseError

SHAPE = Shape(64, 10, 20)
HERE = Machine("a processor", 2, {"fp32": 100.0, "bf16": None}, False, "2026-01-02T03:04:05+00:00", {"torch": "2.9"})


def result(cell: str, work: str = "train", **seconds: float) -> Result:
    figures = {name.replace("_", " "): Figures([0.9 * each, each, 1.3 * each]) for name, each in seconds.items()}
    figures["elman"].backend = "torch (its fused kernel): why"
    return Result(Job(cell, work, SHAPE), figures)


def measured() -> list[Result]:
    lstm = result("LSTM", elman=0.010, torch=0.020, torch_medium=0.015, eager=0.050, reference=0.03)
    lstm.figures["elman"].kept, lstm.figures["torch"].kept = 2_000_000, 3_000_000
    return [lstm, result("mut1", elman=0.004, eager=0.016), result("GRU", "infer", elman=0.001, torch=0.0005)]


def test_ratios() -> None:
    lstm, mut1, _ = measured()
    assert ratios(lstm) == pytest.approx(
        {"torch": 2.0, "torch_best": 1.5, "eager": 5.0, "reference": 3.0, "lstm_per_flop": None}
    )
    by_name = ratios(mut1, lstm)
    assert by_name["torch"] is None
    assert by_name["eager"] == pytest.approx(4.0)
    # MUT1 has half the LSTM's products and takes 0.4 of its time
    assert by_name["lstm_per_flop"] == pytest.approx(0.8)


def test_the_reference_may_be_what_elman_ran_on() -> None:
    own = result("mut1", elman=0.004, eager=0.016)
    own.figures["elman"].backend = "reference (eager torch): why"
    assert ratios(own)["reference"] == 1.0


def test_json_has_everything() -> None:
    values = json.loads(json.dumps(to_json(measured(), HERE, interrupted=True)))
    assert values["interrupted"] is True
    assert values["machine"]["threads"] == 2
    assert values["machine"]["peak"] == {"fp32": 100.0, "bf16": None}
    assert values["machine"]["date"].startswith("2026")
    assert [(each["cell"], each["work"]) for each in values["results"]] == [
        ("LSTM", "train"),
        ("mut1", "train"),
        ("GRU", "infer"),
    ]
    lstm, mut1, _ = values["results"]
    assert lstm["shape"] == {"hidden": 64, "batch": 10, "steps": 20, "ragged": False, "layers": 1, "tokens": 200}
    assert lstm["torch_best"] == "torch medium"
    ours = lstm["contenders"]["elman"]
    assert (ours["least"], ours["milliseconds"], ours["most"], ours["repeats"]) == pytest.approx((9.0, 10.0, 13.0, 3))
    # quartiles of 9, 10, 13 are 9.5 and 11.5
    assert ours["spread"] == pytest.approx(2.0)
    assert ours["gflops"] == pytest.approx(lstm["flops"] / 0.01 / 1e9)
    assert ours["share_of_peak"] == pytest.approx(ours["gflops"] / 100)
    assert ours["kept_bytes"] == 2_000_000
    assert ours["error"] == ""
    assert ours["backend"].startswith("torch")
    assert mut1["ratios"]["lstm_per_flop"] == pytest.approx(0.8)


def test_a_wrong_contender_has_no_figures_and_no_ratio() -> None:
    own = measured()[0]
    own.figures["torch medium"] = Figures([0.001], error="it computes something else")
    values = to_json([own], HERE, interrupted=False)["results"][0]
    assert values["torch_best"] == "torch"
    assert values["contenders"]["torch medium"]["gflops"] is None
    own.figures["elman"] = Figures(error="it failed")
    values = to_json([own], HERE, interrupted=False)["results"][0]
    assert values["contenders"]["elman"]["milliseconds"] is None
    assert set(values["ratios"].values()) == {None}
    assert "wrong" in printed([own])


def printed(results: list[Result]) -> str:
    console = Console(width=120, record=True, file=io.StringIO())
    for heading, table in tables(results, HERE):
        console.print(heading, table, sep="\n")
    return console.export_text()


def test_tables() -> None:
    text = printed(measured())
    assert "train, H 64 B 10 T 20, fp32" in text
    assert "infer, H 64 B 10 T 20, fp32" in text
    (line,) = [line for line in text.splitlines() if line.strip().startswith("LSTM")]
    assert line.split()[:7] == ["LSTM", "10", "ms", "2.00x", "1.50x", "5.00x", "torch"]
    assert "2.0 / 3.0" in line
    # nothing is kept in inference, so that the second table has no such column
    assert text.count("kept MB") == 1


@pytest.mark.parametrize(
    ("seconds", "text"), [(1.234, "1.23 s"), (0.0421, "42.1 ms"), (2.5e-6, "2.5 us"), (3e-8, "0.03 us"), (None, "")]
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_markdown() -> None:
    lines = markdown(measured(), HERE).splitlines()
    assert lines[0].startswith("a processor, 2 threads")
    assert "| LSTM | train, H 64 B 10 T 20, fp32 | 10 ms | 2.00x | 1.50x | 5.00x |" in "\n".join(lines)
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 2 + 3
    assert len({line.count("|") for line in rows}) == 1


def test_this_machine() -> None:
    here = machine(keeps_memory=False)
    assert here.cpu
    assert here.threads >= 1
    assert set(here.versions) >= {"elman", "torch", "python"}
    assert here.versions["torch"] in str(here)


@pytest.mark.parametrize(("name", "head"), [("a.png", b"\x89PNG"), ("b.SVG", b"<?xml")])
def test_charts(name: str, head: bytes, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / name
    check_picture(picture)
    draw(measured(), HERE, picture)
    content = picture.read_bytes()
    assert content.startswith(head)
    if name.endswith("SVG"):
        text = content.decode()
        for word in (
            "LSTM -",
            "mut1 -",
            "train, H 64 B 10 T 20, fp32 -",
            "times faster than ...; a processor, 2 threads",
        ):
            assert f"<!-- {word}" in text


def test_a_chart_of_another_kind_is_refused() -> None:
    with pytest.raises(MisuseError, match=r"ends in .png or .svg"):
        check_picture(Path("speed.pdf"))
