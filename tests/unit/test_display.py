"""How the admin writes numbers, times and names."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ai_migration.admin import display
from ai_migration.engine.insight.metrics import busy_seconds

NOON = datetime(2025, 6, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (0.01, "<0.1"),
        (0.44, "0.4"),
        (3, "3"),
        (3.06, "3.1"),
        (9.96, "10"),
        (27.8, "28"),
        (391.2, "391"),
        (1192, "1,190"),
        (56_497.2, "56,500"),
        (1_234_567, "1,230,000"),
    ],
)
def test_a_measured_number_has_three_figures(value: float, shown: str) -> None:
    assert display.figures(value) == shown


def test_an_estimate_is_not_exact_to_the_last_figure() -> None:
    assert display.about(1_494_752, True) == "about 1,490,000"
    assert display.about(1_494_752, False) == "1,494,752"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0 %"),
        (0.4, "0.4 %"),
        (40.0, "40 %"),
        (61.7, "61 %"),
        (99.97, "99.9 %"),
        (100, "100 %"),
    ],
)
def test_a_percentage_is_not_rounded_up(value: float, shown: str) -> None:
    assert display.percent(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.2, "under a second"),
        (2.2, "2 s"),
        (43, "45 s"),
        (58, "1 min"),
        (200, "3 min"),
        (3590, "1 h"),
        (5000, "1 h 20 min"),
        (50_000, "14 h"),
        (100_000, "1 day 4 h"),
    ],
)
def test_an_estimated_time_is_rounded(seconds: float, shown: str) -> None:
    assert display.roughly(timedelta(seconds=seconds)) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "just now"), (59, "just now"), (150, "2 min ago"), (7500, "2 h 05 min ago")],
)
def test_how_long_ago(seconds: float, shown: str) -> None:
    assert display.ago(NOON - timedelta(seconds=seconds), NOON) == shown


def test_a_process_is_named_readably() -> None:
    assert display.process("vm/4026531836:16856") == "vm, process 16856"
    assert display.process("vm:16856") == "vm, process 16856"
    assert display.process("elsewhere") == "elsewhere"
    assert display.process("") == display.NOTHING


@pytest.mark.parametrize(
    ("seconds", "minutes", "slots", "busy"),
    [
        (20, 1, 1, 20),  # a part of a minute
        (300, 1, 1, 300),  # one long batch
        (30, 1, 2, 30),  # one after the other
        (120, 1, 2, 60),  # at once, all the time
        (0, 2, 1, 120),  # not measured
    ],
)
def test_no_rate_is_said_to_be_higher_than_it_was(
    seconds: float, minutes: int, slots: int, busy: float
) -> None:
    assert busy_seconds(seconds, minutes, slots) == busy
