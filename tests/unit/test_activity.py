"""Spans of time: what two of them have in common, and how long they are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ai_migration.jobs.activity import Span, common, joined, length

NOON = datetime(2025, 6, 1, 12, tzinfo=UTC)


def span(start: int, end: int) -> Span:
    """From and to these seconds after noon."""
    return Span(NOON + timedelta(seconds=start), NOON + timedelta(seconds=end))


def test_what_overlaps_is_covered_once() -> None:
    assert joined([span(5, 9), span(0, 6), span(20, 30), span(2, 3)]) == [span(0, 9), span(20, 30)]
    assert joined([span(0, 1), span(1, 2)]) == [span(0, 2)]
    assert joined([]) == []


def test_short_gaps_are_bridged() -> None:
    bridge = timedelta(seconds=10)
    assert joined([span(0, 5), span(15, 20), span(31, 40)], bridge=bridge) == [
        span(0, 20),
        span(31, 40),
    ]


def test_common_time_is_what_both_cover() -> None:
    some, others = [span(0, 10), span(20, 30)], [span(5, 22), span(25, 26), span(40, 50)]
    assert common(some, others) == [span(5, 10), span(20, 22), span(25, 26)]
    assert common(others, some) == common(some, others)
    assert common(some, []) == []


def test_length() -> None:
    assert length([span(0, 10), span(20, 21)]) == timedelta(seconds=11)
    assert length([]) == timedelta()
