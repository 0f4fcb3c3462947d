"""The waits of live changes, counted in steps."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_migration.engine.insight.freshness import ACCURACY, LONGEST, SHORTEST, Freshness

NOW = datetime(2025, 6, 1, 12, tzinfo=UTC)
REL = ACCURACY * 1.0001


def waits(*seconds: float) -> Freshness:
    return Freshness.of(((NOW - timedelta(seconds=each), 1) for each in seconds), NOW)


def test_nothing_has_no_percentiles() -> None:
    assert not Freshness()
    assert (Freshness().changes, Freshness().p50, Freshness().p95) == (0, None, None)
    assert not Freshness.from_json(None)


def test_percentiles_are_of_the_changes_not_of_the_entries() -> None:
    changes = [(NOW - timedelta(seconds=1), 96), (NOW - timedelta(seconds=60), 4)]
    found = Freshness.of(changes, NOW)
    assert found.changes == 100
    assert found.p50 == pytest.approx(1, rel=REL)
    assert found.p95 == pytest.approx(1, rel=REL)
    assert found.within(0.97) == pytest.approx(60, rel=REL)
    assert not Freshness.of([(NOW, 0)], NOW), "none of them could be indexed"


@given(st.lists(st.floats(SHORTEST, LONGEST), min_size=1, max_size=60), st.floats(0.01, 1))
def test_a_percentile_is_as_exact_as_it_says(seconds: list[float], share: float) -> None:
    ranked = sorted(seconds)
    exact = next(each for rank, each in enumerate(ranked, 1) if rank >= share * len(ranked) - 1e-9)
    found = waits(*seconds).within(share)
    assert found is not None
    assert found == pytest.approx(exact, rel=REL, abs=1e-5)  # datetimes are in microseconds


@given(st.lists(st.floats(-10, 10 * LONGEST), max_size=30), st.integers(0, 30))
def test_parts_add_up_and_are_kept_whole(seconds: list[float], cut: int) -> None:
    """Clocks may be set back, and an entry may wait for years."""
    whole = waits(*seconds)
    assert waits(*seconds[:cut]) + waits(*seconds[cut:]) == whole
    assert Freshness.from_json(json.loads(json.dumps(whole.to_json()))) == whole
    assert whole.changes == len(seconds)


def test_it_is_small_whatever_there_is() -> None:
    everything = waits(*(SHORTEST * 1.01**i for i in range(2500)))
    assert len(everything.steps) < 250
