"""The arithmetic of limits, over any sequence of requests."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_migration.pace.pacing import FIRST_COOLDOWN, Limit, ProviderState, Wait

START = 1_700_000_000_000
"""Milliseconds."""


def limit(per_minute: float, *, burst: float = 1, weight: int = 1, key: str = "a") -> Limit:
    return Limit(key, per_minute, burst, weight, f"{per_minute:g} a minute")


def send_until(
    state: ProviderState, limits: list[Limit], now: int, end: int
) -> tuple[ProviderState, list[int]]:
    """Send whenever it is allowed: when that was."""
    sent = []
    while now < end:
        state, wait = state.take(limits, now)
        if not wait.seconds:
            sent.append(now)
        now += round(wait.seconds * 1000)
    return state, sent


@given(
    st.integers(1, 3_000),
    st.integers(1, 50),
    st.lists(st.integers(0, 3_000), min_size=1, max_size=200),
)
def test_no_minute_has_more_than_the_limit_and_one_burst(
    per_minute: int, burst: int, gaps: list[int]
) -> None:
    state, now = ProviderState(), START
    granted = []
    for gap in gaps:
        now += gap
        state, wait = state.take([limit(per_minute, burst=burst)], now)
        if not wait.seconds:
            granted.append(now)
    for first in granted:
        within = [moment for moment in granted if first <= moment < first + 60_000]
        assert len(within) <= per_minute + burst


@pytest.mark.parametrize("per_minute", [1, 7, 100, 3_000, 12_345_678])
def test_whoever_waits_as_told_gets_the_whole_limit(per_minute: int) -> None:
    weight = max(1, per_minute // 100)
    _, sent = send_until(
        ProviderState(), [limit(per_minute, weight=weight)], START, START + 600_000
    )
    assert len(sent) * weight == pytest.approx(10 * per_minute, rel=0.01, abs=weight)


def test_a_request_larger_than_the_limit_passes_and_is_paid_off_afterwards() -> None:
    limits = [limit(1_000, weight=5_000)]
    _, sent = send_until(ProviderState(), limits, START, START + 600_000)
    assert [moment - START for moment in sent] == [0, 300_000]


def test_a_refused_request_takes_nothing_of_any_limit() -> None:
    narrow, wide = limit(60, key="narrow"), limit(600, key="wide")
    state, _ = ProviderState().take([narrow, wide], START)
    same, wait = state.take([wide, narrow], START + 500)
    assert same is state
    assert wait.reason == "60 a minute"
    assert wait.seconds == pytest.approx(0.5, abs=0.01)
    assert state.take([wide], START + 500)[1] == Wait()


def test_full_buckets_are_forgotten() -> None:
    state, _ = ProviderState().take([limit(60, key="job:1")], START)
    state, _ = state.take([limit(60, key="job:2")], START + 100_000)
    assert list(state.arrivals) == ["job:2"]


# What the provider said


def test_nobody_sends_before_the_moment_the_provider_named() -> None:
    state, wait = ProviderState().cooled_down(20, "429", START)
    assert wait == 20
    assert state.take([], START + 19_999)[1] == Wait(0.001, "429")
    assert state.take([], START + 20_000)[1] == Wait()
    later, _ = state.cooled_down(5, "again", START + 1_000)
    assert later.take([], START + 6_001)[1].reason == "429", "a shorter wait ends no longer one"


def test_a_provider_that_does_not_say_how_long_is_left_alone_ever_longer() -> None:
    state, now, waits = ProviderState(), START, []
    for _ in range(7):
        state, wait = state.cooled_down(None, "429", now)
        waits.append(wait)
        assert state.cooled_down(None, "429", now + 900) == (
            replace(state, blocked_until=now + 900 + round(1000 * wait)),
            wait,
        ), "a burst of refusals is one"
        now += round(1000 * wait)
    assert waits == [1, 2, 4, 8, 16, 30, 30]
    assert state.recovered().cooled_down(None, "429", now)[1] == FIRST_COOLDOWN
    assert ProviderState().recovered() == ProviderState()


def test_a_state_survives_json_and_other_versions() -> None:
    state, _ = ProviderState().cooled_down(None, "429", START)
    assert ProviderState.from_json(json.loads(json.dumps(state.as_json))) == state
    assert ProviderState.from_json([1, 2]) == ProviderState()
    assert ProviderState.from_json({"patience": 5.0, "pace": 420}) == ProviderState(patience=5.0)
