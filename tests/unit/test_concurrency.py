"""Requests in flight: as many as the provider keeps up with."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ai_migration.pace.concurrency import AdaptiveConcurrency


def test_it_starts_with_what_is_allowed_and_stays_there() -> None:
    adaptive = AdaptiveConcurrency(8)
    for _ in range(100):
        adaptive.answered(0.05, 100)
    assert adaptive.limit == 8


def test_it_halves_when_throttled_and_grows_by_one() -> None:
    adaptive = AdaptiveConcurrency(8)
    adaptive.throttled()
    assert adaptive.limit == 4
    for _ in range(4):
        adaptive.answered(0.05, 100)
    assert adaptive.limit == 5
    for _ in range(4):
        adaptive.throttled()
    assert adaptive.limit == 1


def test_it_shrinks_while_the_provider_lags_and_comes_back() -> None:
    adaptive = AdaptiveConcurrency(8)
    adaptive.answered(0.05, 100)
    for _ in range(8):
        adaptive.answered(0.5, 100)
    assert adaptive.limit == 7
    for _ in range(2_000):
        adaptive.answered(0.5, 100)
    assert adaptive.limit == 8, "that is how fast it is now"


def test_one_slow_answer_among_many_is_nothing() -> None:
    adaptive = AdaptiveConcurrency(2)
    for _ in range(50):
        adaptive.answered(0.05, 100)
        adaptive.answered(5.0, 100)
    assert adaptive.limit == 2


def test_small_requests_say_nothing_of_large_ones() -> None:
    adaptive = AdaptiveConcurrency(2)
    adaptive.answered(0.5, 100)
    for _ in range(10):
        adaptive.answered(0.001, 1)
        adaptive.answered(0.5, 100)
    assert adaptive.limit == 2


@given(
    st.integers(1, 64),
    st.lists(st.one_of(st.none(), st.floats(0, 100)), max_size=200),
)
def test_it_stays_within_its_bounds(maximum: int, events: list[float | None]) -> None:
    adaptive = AdaptiveConcurrency(maximum)
    for seconds in events:
        if seconds is None:
            adaptive.throttled()
        else:
            adaptive.answered(seconds, 100)
        assert 1 <= adaptive.limit <= maximum
