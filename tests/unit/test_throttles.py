"""The hours of the day, and what THROTTLE takes."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
from django.utils import timezone

from ai_migration.throttles import HoursOfDay


@pytest.mark.parametrize(
    ("start", "end", "inside", "outside"),
    [
        ("09:00", "17:30", ["09:00", "12:00", "17:29"], ["08:59", "17:30", "00:00"]),
        ("22:00", "06:00", ["22:00", "23:59", "00:00", "05:59"], ["06:00", "12:00", "21:59"]),
        ("00:00", "06:00", ["00:00", "05:59"], ["06:00", "23:59"]),
        ("22:00", "00:00", ["22:00", "23:59"], ["00:00", "21:59"]),
    ],
)
def test_a_window_may_pass_midnight(
    start: str, end: str, inside: list[str], outside: list[str]
) -> None:
    hours = HoursOfDay(start, end)
    assert all(hours.contains(time.fromisoformat(each)) for each in inside)
    assert not any(hours.contains(time.fromisoformat(each)) for each in outside)


@pytest.mark.parametrize("active", ["UTC", "Asia/Tokyo"])
def test_the_time_is_that_of_the_settings(settings: Any, active: str) -> None:
    """Whatever time zone is activated for a request, or the server's."""
    now = datetime.now(UTC)
    start, end = (now + timedelta(hours=hours) for hours in (-1, 1))
    hours = HoursOfDay(f"{start:%H:%M}", f"{end:%H:%M}")
    with timezone.override(active):
        settings.TIME_ZONE = "UTC"
        assert hours() is None
        settings.TIME_ZONE = "Asia/Tokyo"
        assert hours() == f"it is not between {start:%H:%M} and {end:%H:%M}"


@pytest.mark.parametrize(
    ("start", "end"), [("22:00", "22:00"), ("10 pm", "6 am"), ("22:00+02:00", "06:00"), (22, 6)]
)
def test_what_is_no_window(start: Any, end: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        HoursOfDay(start, end)
