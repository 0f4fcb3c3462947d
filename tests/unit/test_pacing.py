"""The arithmetic of limits, over any sequence of requests."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_migration.pace import pacing
from ai_migration.pace.pacing import Limit, ProviderState, Wait

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


def busy(requests: int, milliseconds: int) -> ProviderState:
    """A provider that got so many requests in that time, from START on."""
    state = ProviderState()
    for number in range(requests):
        state, _ = state.take([], START + number * milliseconds // requests)
    return state


def test_nobody_sends_before_the_moment_the_provider_named() -> None:
    state = busy(1, 1).slowed(20, "429", START)
    assert state.take([], START + 19_999)[1] == Wait(0.001, "429")
    assert state.take([], START + 20_000)[1] == Wait()
    later = state.slowed(5, "again", START + 1_000)
    assert later.take([], START + 6_001)[1].reason == "429", "a shorter wait ends no longer one"


def test_it_goes_on_more_slowly_and_faster_with_time() -> None:
    now = START + 10_000
    state = busy(100, 10_000).slowed(1, "429", now)
    first = state.pace_at(now) or 0.0
    assert first == pytest.approx(420, rel=0.01)
    assert state.pace_at(now + 60_000) == pytest.approx(first * pacing.GROWTH)
    assert state.pace_at(now + 15 * 60_000) is None, "it is forgotten"


def test_a_burst_of_refusals_is_one() -> None:
    now = START + 10_000
    once = busy(100, 10_000).slowed(1, "429", now)
    assert once.counted(50, now).slowed(1, "429", now + 1_000).pace == once.pace


def run(state: ProviderState, minutes: float, refuses: Callable[[float], float]) -> ProviderState:
    """A provider that refuses a share of the requests, by how many it gets a minute; looked
    at every five seconds."""
    now = START + 10_000
    state = state.slowed(0, "429", now)
    refused = 0.0
    for _ in range(round(60 * minutes)):
        now += 1_000
        pace = min(600.0, state.pace_at(now) or 600.0)
        state = state.counted(max(1, round(pace / 60)), now)
        refused += pace / 60 * refuses(pace)
        while refused >= 1:
            state, refused = state.slowed(0, "429", now), refused - 1
    return state


@pytest.mark.parametrize("limit", [60, 150, 300, 500])
def test_the_pace_finds_the_limit_of_a_provider(limit: int) -> None:
    def refuses(pace: float) -> float:
        return max(0.0, 1 - limit / pace)

    for minutes in (1.5, 2, 3.5, 7):
        pace = run(busy(100, 10_000), minutes, refuses).pace
        assert 0.5 * limit <= pace <= 1.6 * limit


def test_a_provider_that_refuses_whatever_the_pace_is_not_asked_ever_less() -> None:
    for minutes in (1, 2, 3.5, 7):
        assert run(busy(100, 10_000), minutes, lambda pace: 0.3).pace >= 200


def test_few_requests_say_nothing_of_the_pace() -> None:
    state = busy(pacing.ENOUGH, 10).slowed(1, "429", START + 20)
    assert state.pace_at(START + 20) is None
    assert state.blocked_until == START + 1_020


def test_a_state_survives_json_and_other_versions() -> None:
    state = busy(20, 1_000).slowed(1, "429", START + 1_000)
    assert ProviderState.from_json(json.loads(json.dumps(state.as_json))) == state
    assert ProviderState.from_json([1, 2]) == ProviderState()
    assert ProviderState.from_json({"pace": 5.0, "colour": "red"}) == ProviderState(pace=5.0)
