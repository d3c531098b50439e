"""A search folder shared by those who work on it: who has which trial, what is drawn, when one is ended."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("optuna")

from elman.errors import FailureError, MisuseError
from elman.runs import RunFolder
from elman.training.progress import Outcome, Progress
from elman.training.search.space import divided, parse_space
from elman.training.search.study import MARKS, MOST_ATTEMPTS, Definition, Study, Trial
from elman.training.search.trials import MOST_FAILURES, Runner, command_of, work
from elman.training.watch import present

KINDS = {"lr": float, "hidden": int}
SPACE = ("lr=1e-4..1:log", "hidden=8,16,32")


def opened(folder: Path, *, trials: int | None = None, **changes: Any) -> Study:
    space = parse_space(SPACE, KINDS)
    if changes.get("sampler") == "grid":
        space = divided(space, trials)
    texts = tuple(entry.text for entry in space)
    return Study(folder, Definition("lm", ("input.txt",), texts, **changes), space)


def flag(words: Sequence[str], name: str) -> str:
    return words[list(words).index(f"--{name}") + 1]


def bowl(words: Sequence[str]) -> float:
    """Lowest at lr 0.01 and hidden 16."""
    return (math.log10(float(flag(words, "lr"))) + 2) ** 2 + abs(int(flag(words, "hidden")) - 16) / 16


def runner(
    told: list[Trial] | None = None, *, fails: Callable[[Sequence[str]], Exception | None] = lambda _: None
) -> Runner:
    """Trains nothing: evaluates five times, each time half as far above where it goes."""

    def train(words: Sequence[str]) -> None:
        if error := fails(words):
            raise error
        watch, goal = present(), bowl(words)
        assert watch is not None
        best, reason = math.inf, "done"
        for place in range(1, 6):
            best = goal + 4 * 2.0**-place
            if watch.evaluated(place / 5, best):
                reason = "pruned"
                break
        progress = Progress(best_criterion=best)
        watch.ended(Outcome(reason, progress), RunFolder(Path(flag(words, "out"))))

    return Runner(
        train, lambda run: pytest.fail("there is no run to resume"), (told if told is not None else []).append
    )


def points(study: Study) -> list[dict[str, Any]]:
    return [dict(trial.point) for trial in study.trials()]


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_search_in_sittings_is_the_search_in_one(tmp_path: Path, sampler: str) -> None:
    told: list[Trial] = []
    assert work(opened(tmp_path / "one", sampler=sampler), 14, runner(told))
    for wanted in (3, 4, 14):
        assert work(opened(tmp_path / "two", sampler=sampler), wanted, runner())
    one, two = opened(tmp_path / "one", sampler=sampler), opened(tmp_path / "two", sampler=sampler)
    assert points(one) == points(two)
    assert [trial.value for trial in one.trials()] == [trial.value for trial in two.trials()]
    assert [trial.number for trial in told] == list(range(14))
    assert len({trial.point["lr"] for trial in told}) == 14
    assert points(opened(tmp_path / "three", sampler=sampler, seed=2)) == []
    assert work(opened(tmp_path / "three", sampler=sampler, seed=2), 2, runner())
    assert points(opened(tmp_path / "three", sampler=sampler, seed=2)) != points(one)[:2]


def test_a_grid_visits_every_point_once(tmp_path: Path) -> None:
    study = opened(tmp_path / "grid", trials=12, sampler="grid", pruner="none")
    assert work(study, 5, runner())
    assert work(study, 12, runner())
    visited = points(study)
    assert len({(point["lr"], point["hidden"]) for point in visited}) == len(visited) == 12
    assert sorted({point["lr"] for point in visited}) == pytest.approx(
        [1e-4, 1e-4 * 1e4 ** (1 / 3), 1e-4 * 1e4 ** (2 / 3), 1]
    )
    assert {trial.state for trial in study.trials()} == {"complete"}


def test_many_who_work_at_once_share_the_trials(tmp_path: Path) -> None:
    problems: list[BaseException] = []
    by_whom: dict[int, list[int]] = {worker: [] for worker in range(4)}

    def worker(number: int) -> None:
        mine: list[Trial] = []
        try:
            work(opened(tmp_path / "shared"), 20, runner(mine))
        except BaseException as error:
            problems.append(error)
        by_whom[number] = [trial.number for trial in mine]

    threads = [threading.Thread(target=worker, args=(number,)) for number in by_whom]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    assert sorted(number for numbers in by_whom.values() for number in numbers) == list(range(20))
    assert work(opened(tmp_path / "alone", pruner="none"), 20, runner())
    assert points(opened(tmp_path / "shared")) == points(opened(tmp_path / "alone", pruner="none"))


def test_a_trial_that_is_held_is_not_given_away_and_an_abandoned_one_is_gone_on_with(tmp_path: Path) -> None:
    first, second = opened(tmp_path / "s"), opened(tmp_path / "s")
    with first.claim(5) as mine, second.claim(5) as other:
        assert mine is not None
        assert other is not None
        assert (mine.number, other.number) == (0, 1)
        other.complete(1.0)
    point = mine.point
    with second.claim(5) as again:
        assert again is not None
        assert (again.number, again.point, again.attempt) == (0, point, 2)
    with first.claim(5) as again:
        assert again is not None
        assert again.attempt == MOST_ATTEMPTS
    # it has ended three processes by now
    with first.claim(5) as fresh:
        assert fresh is not None
        assert fresh.number == 2
        fresh.complete(2.0)
    assert [trial.state for trial in first.trials()] == ["failed", "complete", "complete"]
    assert "3 times" in first.trials()[0].error
    with first.claim(3) as none:
        assert none is None


def test_an_interrupted_trial_is_resumed(tmp_path: Path) -> None:
    def stop(words: Sequence[str]) -> Exception | None:
        folder = Path(flag(words, "out"))
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        raise KeyboardInterrupt

    assert not work(opened(tmp_path / "s"), 2, runner(fails=stop))
    resumed: list[Path] = []

    def resume(run: Path) -> None:
        resumed.append(run)
        watch = present()
        assert watch is not None
        watch.ended(Outcome("done", Progress(best_criterion=1.5)), RunFolder(run))

    plain = runner()
    assert work(opened(tmp_path / "s"), 2, Runner(plain.train, resume, plain.tell))
    trials = opened(tmp_path / "s").trials()
    assert resumed == [trials[0].folder]
    assert (trials[0].value, [trial.state for trial in trials]) == (1.5, ["complete", "complete"])


def test_a_trial_that_falls_behind_is_ended(tmp_path: Path) -> None:
    study = opened(tmp_path / "s", pruner="median")
    for _ in range(5):
        with study.claim(99) as claim:
            assert claim is not None
            assert not any(claim.report(share, 2.0 - share) for share in (0.2, 0.5, 0.8, 1.0))
            claim.complete(1.0)
    with study.claim(99) as claim:
        assert claim is not None
        # too early to tell, then better than the others, then worse
        assert not claim.report(0.15, 9.0)
        assert not claim.report(0.5, 1.4)
        assert claim.report(0.8, 1.3)
        claim.prune()
    assert study.trials()[-1].state == "pruned"
    assert study.trials()[-1].value == 1.3


def test_between_evaluations_the_last_one_stands(tmp_path: Path) -> None:
    study = opened(tmp_path / "s", pruner="none")
    with study.claim(1) as claim:
        assert claim is not None
        for share, best in ((0.26, 3.0), (0.27, 2.9), (0.5, 2.0), (1.0, 1.0)):
            claim.report(share, best)
        known = study._study.trials[0].intermediate_values
    # 0.26 is past the fifth of twenty marks; nothing was known before it
    assert known == {
        5: 3.0,
        **dict.fromkeys(range(6, 10), 3.0),
        10: 2.0,
        **dict.fromkeys(range(11, MARKS), 2.0),
        MARKS: 1.0,
    }


def test_failures_are_counted_and_do_not_end_a_search(tmp_path: Path) -> None:
    def explode(words: Sequence[str]) -> Exception | None:
        return FailureError("the loss exploded") if float(flag(words, "lr")) > 0.1 else None

    told: list[Trial] = []
    study = opened(tmp_path / "s", pruner="none")
    assert work(study, 30, runner(told, fails=explode))
    states = {trial.number: trial.state for trial in study.trials()}
    assert 0 < sum(state == "failed" for state in states.values()) < 20
    assert all((trial.state == "failed") == (float(trial.point["lr"]) > 0.1) for trial in told)
    assert {trial.error for trial in told if trial.state == "failed"} == {"the loss exploded"}
    best = min((trial for trial in told if trial.value is not None), key=lambda trial: trial.value or 0)
    assert study.importances().keys() == {"lr", "hidden"}
    assert command_of(study, best)[:2] == ["lm", "input.txt"]
    assert flag(command_of(study, best), "seed") == str(1 + best.number)


def test_what_no_trial_can_do_ends_a_search(tmp_path: Path) -> None:
    with pytest.raises(MisuseError, match="no such file"):
        work(opened(tmp_path / "s"), 30, runner(fails=lambda _: MisuseError("no such file")))
    assert len(opened(tmp_path / "s").trials()) == 1
    with pytest.raises(FailureError, match="disk is full"):
        work(opened(tmp_path / "t"), 30, runner(fails=lambda _: FailureError("the disk is full")))
    assert len(opened(tmp_path / "t").trials()) == MOST_FAILURES


def test_another_search_or_a_damaged_folder_is_refused(tmp_path: Path) -> None:
    opened(tmp_path / "s")
    with pytest.raises(MisuseError, match="its seed is 1, not 2"):
        opened(tmp_path / "s", seed=2)
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "letters.txt").write_text("mine")
    with pytest.raises(MisuseError, match="not empty and not a search"):
        opened(tmp_path / "t")
    (tmp_path / "s" / "search.json").write_text("{")
    with pytest.raises(FailureError, match="cannot be read"):
        opened(tmp_path / "s")
    with pytest.raises(MisuseError, match="random, tpe, grid"):
        Definition("lm", (), (), sampler="sobol")


def test_a_record_cut_short_by_a_power_cut_is_read_up_to_there(tmp_path: Path) -> None:
    assert work(opened(tmp_path / "s"), 3, runner())
    record = tmp_path / "s" / "journal.log"
    whole = record.read_bytes()
    assert all(json.loads(line) for line in whole.splitlines())
    record.write_bytes(whole + whole.splitlines()[-1][:20])
    assert len(opened(tmp_path / "s").trials()) == 3
    assert work(opened(tmp_path / "s"), 5, runner())
    assert [trial.finished for trial in opened(tmp_path / "s").trials()] == [True] * 5
