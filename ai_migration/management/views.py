"""Views of a job's progress: a bar on a terminal, lines elsewhere, or nothing."""

from __future__ import annotations

import os
import time
from typing import IO, Any, cast

from django.core.management.base import OutputWrapper
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
)
from rich.text import Text

from ai_migration.jobs.report.progress import duration
from ai_migration.types import JobStatus, MigrationProgress

WORKED_FOR = (JobStatus.RUNNING, JobStatus.PENDING)
"""States in which a job makes progress."""
_LINE_EVERY = 5.0
"""Seconds between lines where the output is not a terminal."""
_FACTS_WIDTH = 54
"""Columns of a terminal that are reserved for the text beside the bar."""


def summary(progress: MigrationProgress) -> str:
    """Return one line with the results of a job."""
    counts = ", ".join(
        f"{count:,} {word}"
        for word, count in (
            ("indexed", progress.indexed),
            ("skipped", progress.skipped),
            ("removed", progress.removed),
            ("failed", progress.failed),
        )
        if count or word == "indexed"
    )
    about = "about " if progress.total_is_estimate else ""
    return f"{progress.job_id} {progress.status}: {counts} of {about}{progress.total:,}"


def view_of(output: OutputWrapper) -> View:
    """Return the view that suits an output."""
    is_dumb = os.environ.get("TERM", "") in {"dumb", "unknown"}
    return Bar(output) if output.isatty() and not is_dumb else Lines(output)


class View:
    """Base of the views."""

    def __enter__(self) -> View:
        return self

    def __exit__(self, *exc: object) -> None:
        return None

    def update(self, progress: MigrationProgress) -> None:
        """Show the job's progress."""

    def say(self, text: str) -> None:
        """Show a message."""


class Silent(View):
    """A view for ``--json``, which shows nothing."""


class Lines(View):
    """A view for logs: a line from time to time."""

    def __init__(self, output: OutputWrapper) -> None:
        self._output = output
        self._written = float("-inf")
        self._last = ""

    def update(self, progress: MigrationProgress) -> None:
        now = time.monotonic()
        line = f"{progress.entity_type}: {progress.percent_complete:g} % · {_facts(progress)}"
        is_over = progress.status not in WORKED_FOR
        if line != self._last and (is_over or now - self._written >= _LINE_EVERY):
            self.say(line)
            self._written, self._last = now, line

    def say(self, text: str) -> None:
        self._output.write(text)
        self._output.flush()


class Bar(View):
    """A view for terminals."""

    def __init__(self, output: OutputWrapper) -> None:
        console = Console(file=_unwrapped(output), highlight=False)
        self._progress = Progress(
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=min(40, max(8, console.width - _FACTS_WIDTH))),
            TaskProgressColumn(),
            _FactsColumn(),
            console=console,
        )
        self._task = self._progress.add_task("", total=None)

    def __enter__(self) -> View:
        self._progress.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._progress.stop()

    def update(self, progress: MigrationProgress) -> None:
        is_done = progress.status == JobStatus.COMPLETED  # also without any rows
        self._progress.update(
            self._task,
            description=progress.entity_type,
            total=progress.total or (1 if is_done else None),
            completed=progress.processed or int(is_done),
            progress=progress,
        )

    def say(self, text: str) -> None:
        self._progress.console.print(text, markup=False)


class _FactsColumn(TextColumn):
    """Rows, failures, rate and time left."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Task) -> Text:
        progress: Any = task.fields.get("progress")
        return Text(_facts(progress) if progress else "", no_wrap=True, overflow="ellipsis")


def _unwrapped(output: OutputWrapper) -> IO[str]:
    """Return the underlying stream. Django's wrapper adds a newline to each write without one, and
    a bar that is drawn in place would run down the screen."""
    stream: Any = output
    while isinstance(stream, OutputWrapper):
        stream = stream._out
    return cast("IO[str]", stream)


def _facts(progress: MigrationProgress) -> str:
    about = "about " if progress.total_is_estimate else ""
    facts = [f"{progress.processed:,} of {about}{progress.total:,}"]
    if progress.failed:
        facts.append(f"{progress.failed:,} failed")
    is_running = progress.status == JobStatus.RUNNING
    if progress.status == JobStatus.PENDING:
        facts.append("waiting: MAX_CONCURRENT_JOBS others run")
    elif not is_running:
        facts.append(str(progress.status).lower())
    if progress.index_build is not None:
        return " · ".join([*facts, f"building the index: {progress.index_build}"])
    if progress.entities_per_second:
        facts.append(f"{progress.entities_per_second:,.0f}/s")
    remaining = progress.estimated_time_remaining
    if is_running and progress.processed >= progress.total:
        facts.append("finishing")
    elif remaining is not None:
        facts.append(f"{duration(remaining)} left")
    if progress.throttle_reason and is_running:
        facts.append(f"throttled: {progress.throttle_reason}")
    return " · ".join(facts)
