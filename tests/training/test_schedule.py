import pytest

from ript.training.schedule import Schedule

RATES = {"model": 1e-3, "header": 1e-4}


def factors(schedule: Schedule, iterations: range) -> list[float]:
    return [schedule.factor(i) for i in iterations]


def test_a_cosine_falls_from_one_to_zero_after_a_linear_warm_up() -> None:
    found = factors(Schedule(RATES, "cosine", warmup_steps=3, n_steps=103), range(104))
    assert found[:4] == pytest.approx([1 / 4, 2 / 4, 3 / 4, 1])
    assert found[53] == pytest.approx(0.5) and found[103] == pytest.approx(0)
    assert found[3:] == sorted(found[3:], reverse=True)


def test_constant_stays() -> None:
    assert set(factors(Schedule(RATES, "constant", n_steps=5), range(10))) == {1.0}


def test_a_longer_schedule_after_a_resumption_never_raises_the_rate_again() -> None:
    first = Schedule(RATES, "cosine", n_steps=100)
    longer = Schedule(RATES, "cosine", n_steps=200)
    longer.resume(80, first.factor(80))
    found = factors(longer, range(80, 200))
    assert found[0] == first.factor(80)
    assert found == sorted(found, reverse=True) and found[-1] < 1e-3


def test_a_resumption_within_the_warm_up_goes_on_warming_up() -> None:
    schedule = Schedule(RATES, "cosine", warmup_steps=10, n_steps=100)
    schedule.resume(4, schedule.factor(4))
    assert schedule.factor(10) == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [({"lr_schedule": "linear"}, "constant, cosine"), ({"warmup_steps": -1}, "algo.warmup_steps=-1")],
)
def test_bad_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Schedule(RATES, **options)  # type: ignore[arg-type]
