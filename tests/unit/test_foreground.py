"""What the foreground command shows."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
from django.core.management.base import OutputWrapper

from ai_migration.management.views import Bar, Lines
from ai_migration.types import IndexBuild, JobStatus, MigrationProgress


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


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (None, "10 of 10 · 500/s · finishing"),
        (IndexBuild(62.5, "building index"), "10 of 10 · building the index: 62 %"),
        (
            IndexBuild(100.0, "waiting for old snapshots"),
            "10 of 10 · building the index: 100 %, waiting for old snapshots",
        ),
    ],
)
def test_it_says_how_far_the_index_is(build: IndexBuild | None, said: str) -> None:
    output = StringIO()
    now = replace(progress(10), entities_per_second=500.0, index_build=build)
    Lines(OutputWrapper(output)).update(now)
    assert output.getvalue() == f"product: 100 % · {said}\n"
