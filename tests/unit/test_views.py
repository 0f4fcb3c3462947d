"""How lengths of time, tables and lines look."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management.base import OutputWrapper

from ai_migration.jobs.report.progress import duration
from ai_migration.management.tables import table
from ai_migration.management.views import Bar, Lines, view_of


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (60, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3_599.6, "1 h 00 min"),
        (7_800, "2 h 10 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_a_length_of_time_is_said_as_people_do(seconds: float, said: str) -> None:
    assert duration(timedelta(seconds=seconds)) == said


@pytest.mark.parametrize("columns", ["100", "300"])
def test_only_prose_is_folded(monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("FORCE_COLOR", "1")  # as if it were a terminal
    job = "mig-01a20486-2e01-752b-bf3f-0293816a8351"
    drawn = table(
        ["job", "status", "why", "when"],
        [[job, "COMPLETED", "[bold]a long story[/] of " * 8, "2026-11-22 18:30"]],
        prose=["why"],
    )
    line = next(line for line in drawn.splitlines() if job in line)
    assert line.split()[1] == "COMPLETED"
    assert line.endswith("2026-11-22 18:30")
    assert "[bold]a" in drawn
    assert "\x1b" not in drawn


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_needs_a_terminal_that_can_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(view_of(OutputWrapper(Terminal())), Bar)
    assert isinstance(view_of(OutputWrapper(StringIO())), Lines)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(view_of(OutputWrapper(Terminal())), Lines)
