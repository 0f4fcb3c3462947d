"""What the foreground command shows."""

from __future__ import annotations

from io import StringIO
from typing import Any

from django.core.management.base import OutputWrapper

from ai_migration.management.views import Bar
from ai_migration.types import JobStatus, MigrationProgress


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def progress(processed: int) -> MigrationProgress:
    return MigrationProgress(
        job_id="mig-1",
        entity_type="product",
        status=JobStatus.RUNNING,
        total=10,
        total_is_estimate=False,
        processed=processed,
        indexed=processed,
        skipped=0,
        removed=0,
        failed=0,
        percent_complete=10.0 * processed,
        entities_per_second=0.0,
        estimated_time_remaining=None,
        throttle_reason="",
        throttled_until=None,
        tokens=0,
        cost=None,
        error_message="",
    )


def test_the_bar_is_drawn_in_place() -> None:
    """Commands called by commands have their output wrapped twice."""
    terminal = Terminal()
    inner: Any = OutputWrapper(terminal)
    bar = Bar(OutputWrapper(inner))
    with bar:
        for processed in range(10):
            bar.update(progress(processed))
            bar._progress.refresh()
        assert "9 of 10" in terminal.getvalue()
        assert "\n" not in terminal.getvalue()
