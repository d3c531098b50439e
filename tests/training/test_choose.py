"""What is chosen for a text and a time, and that what the user gives stands."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elman.errors import MisuseError
from elman.training.choose import Facts, Request, Sizes, choose, recurrent_weights, usual_dropout, usual_rate
from elman.training.settings import Settings

FLOPS = 300e9


def facts(tokens: int = 1_000_000, seconds: float | None = None, unit: str = "character") -> Facts:
    return Facts(tokens, unit, seconds, bf16_pays=lambda hidden: hidden >= 128)


def probe(sizes: Sizes, settings: Settings) -> float:
    """A machine of a steady speed, with a millisecond of overhead a step."""
    weights = recurrent_weights(sizes, facts())
    return 1e-3 + 6 * weights * settings.batch * settings.unroll / FLOPS


def no_probe(sizes: Sizes, settings: Settings) -> float:
    raise AssertionError("a limit in steps must not depend on the clock")


def request(**values: object) -> Request:
    given = {name: values.pop(name) for name in list(values) if name in Request.__dataclass_fields__}
    return replace(Request(settings=Settings(**values)), **given)  # type: ignore[arg-type]


def test_three_minutes_of_a_megabyte_get_the_measured_recipe() -> None:
    choice = choose(request(minutes=3), facts(seconds=180), probe)
    assert choice.sizes == Sizes(256, 2, None, 0.2)
    assert (choice.settings.batch, choice.settings.unroll, choice.settings.precision) == (50, 100, "bf16")
    assert choice.settings.lr == pytest.approx(4e-3)
    assert 6 <= choice.steps / choice.settings.eval_every <= 14
    assert any("hidden 256" in reason for reason in choice.reasons)


def test_more_time_gives_wider_models_and_a_small_text_bounds_them() -> None:
    widths = [choose(request(minutes=m), facts(seconds=60 * m), probe).sizes.hidden for m in (0.1, 1, 10, 100, 1000)]
    assert widths == sorted(widths)
    assert widths[0] < 256 < widths[-1]
    small = choose(request(minutes=1000), facts(tokens=20_000, seconds=60_000), probe)
    assert small.sizes.hidden < 128
    assert small.sizes.layers == 1


def test_steps_choose_without_a_clock_and_twice_the_same() -> None:
    first = choose(request(steps=500), facts(), no_probe)
    assert first == choose(request(steps=500), facts(), no_probe)
    assert first.steps == 500


def test_epochs_become_steps() -> None:
    choice = choose(request(epochs=2.5, batch=10, unroll=20), facts(tokens=100_000), no_probe)
    assert choice.steps == 1250


def test_the_first_limit_ends_the_training() -> None:
    assert choose(request(steps=7, minutes=60), facts(seconds=3600), probe).steps == 7
    with pytest.raises(MisuseError, match="--minutes, --steps or --epochs"):
        choose(request(), facts(), no_probe)


def test_what_is_given_stands() -> None:
    wished = request(
        minutes=5, hidden=100, layers=3, dropout=0.33, batch=7, unroll=9, lr=0.5, precision="fp32", eval_every=11,
        warmup=2, decay=0.7, schedule="step", optimizer="sgd",
    )  # fmt: skip
    choice = choose(wished, facts(seconds=300), probe)
    settings = choice.settings
    assert choice.sizes == Sizes(100, 3, None, 0.33)
    assert (settings.batch, settings.unroll, settings.lr, settings.precision) == (7, 9, 0.5, "fp32")
    assert (settings.eval_every, settings.warmup, settings.decay, settings.optimizer) == (11, 2, 0.7, "SGD")
    assert choice.reasons == []


@given(tokens=st.integers(2, 10**9), steps=st.integers(1, 10**6), unit=st.sampled_from(["character", "word"]))
def test_any_text_gets_something_that_can_run(tokens: int, steps: int, unit: str) -> None:
    choice = choose(request(steps=steps), facts(tokens=tokens, unit=unit), no_probe)
    settings = choice.settings
    assert settings.batch >= 1
    assert 1 <= settings.unroll <= max(1, tokens)
    assert settings.batch * settings.unroll <= max(1, tokens)
    assert 1 <= settings.eval_every <= steps
    assert 0 <= choice.sizes.dropout <= 0.5
    assert settings.warmup <= steps


def test_tables_of_usual_values() -> None:
    assert [usual_dropout(passes) for passes in (1, 3, 9, 20, 40, 100)] == [0.0, 0.1, 0.2, 0.25, 0.4, 0.5]
    assert usual_rate("AdamW", 256) == usual_rate("AdamW", 64) == 4e-3
    assert usual_rate("AdamW", 1024) == pytest.approx(2e-3)
    assert usual_rate("SGD", 1024) == 1.0
