"""Runs a job in this process, with a progress bar, until it ends or somebody stops it."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
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

from ai_migration.engine.worker import run_worker
from ai_migration.jobs.service import migration_service
from ai_migration.types import JobStatus, MigrationProgress

_LOOK_EVERY = 0.3
"""Seconds between looks at the job's row."""
_LINE_EVERY = 5.0
"""Seconds between lines where the output is no terminal."""
_WORKED_FOR = (JobStatus.RUNNING, JobStatus.PENDING)


class Interrupt:
    """Remembers the first SIGINT or SIGTERM; the second SIGINT raises KeyboardInterrupt."""

    def __init__(self) -> None:
        self.signal: int | None = None

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Catch the signals within the block."""
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number in before:
            signal.signal(number, self._handle)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number


class Foreground:
    """Works for one job and shows how far it is.

    Args:
        job_id: The job.
        output: Where lines and the bar go.
        quiet: Show nothing.
    """

    def __init__(self, job_id: str, output: OutputWrapper, *, quiet: bool) -> None:
        self.job_id = job_id
        self.interrupt = Interrupt()
        self.progress = migration_service.get_progress(job_id)
        self._view: _View = _Silent() if quiet else _view(output)
        self._looked = 0.0

    def run(self) -> MigrationProgress:
        """Work until the job has ended, was paused, or a signal came.

        Returns:
            The job's progress at the end. After a signal the job is PAUSED.
        """
        with self.interrupt.caught(), self._view:
            run_worker(should_stop=self._poll, only_jobs=[self.job_id], name="foreground")
            if self.interrupt.signal is not None:
                self._pause()
            self._look()
        return self.progress

    def watch(self) -> MigrationProgress:
        """Follow a job that others work for, until it ends or a signal came."""
        with self.interrupt.caught(), self._view:
            while not self._poll():
                time.sleep(_LOOK_EVERY)
            self._look()
        return self.progress

    def _poll(self) -> bool:
        """Whether to stop; looks at the job from time to time."""
        if time.monotonic() - self._looked >= _LOOK_EVERY:
            self._look()
        return self.interrupt.signal is not None or self.progress.status not in _WORKED_FOR

    def _look(self) -> None:
        self.progress = migration_service.get_progress(self.job_id)
        self._looked = time.monotonic()
        self._view.update(self.progress)

    def _pause(self) -> None:
        assert self.interrupt.signal is not None
        name = signal.Signals(self.interrupt.signal).name
        if migration_service.get_job(self.job_id).status in _WORKED_FOR:
            migration_service.pause_migration(self.job_id, actor="terminal", reason=name)


def summary(progress: MigrationProgress) -> str:
    """One line: what came of a job."""
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
    return f"{progress.job_id} {progress.status}: {counts} of {progress.total:,}"


class _View:
    """Shows a job's progress."""

    def __enter__(self) -> _View:
        return self

    def __exit__(self, *exc: object) -> None:
        return None

    def update(self, progress: MigrationProgress) -> None:
        """Show where the job is now."""


class _Silent(_View):
    """For ``--json``."""


class _Lines(_View):
    """For logs: a line from time to time."""

    def __init__(self, output: OutputWrapper) -> None:
        self._output = output
        self._written = float("-inf")
        self._last = ""

    def update(self, progress: MigrationProgress) -> None:
        now = time.monotonic()
        line = _line(progress)
        is_over = progress.status not in _WORKED_FOR
        if line != self._last and (is_over or now - self._written >= _LINE_EVERY):
            self._output.write(line)
            self._written, self._last = now, line


class _Bar(_View):
    """For terminals."""

    def __init__(self, output: OutputWrapper) -> None:
        self._progress = Progress(
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            _FactsColumn(),
            console=Console(file=_unwrapped(output)),
            expand=True,
        )
        self._task = self._progress.add_task("", total=None)

    def __enter__(self) -> _View:
        self._progress.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._progress.stop()

    def update(self, progress: MigrationProgress) -> None:
        self._progress.update(
            self._task,
            description=progress.entity_type,
            total=progress.total or None,
            completed=progress.processed,
            progress=progress,
        )


class _FactsColumn(TextColumn):
    """Rows, rate, time left and failures."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Task) -> Text:
        progress: Any = task.fields.get("progress")
        return Text(_facts(progress) if progress else "", no_wrap=True)


def _unwrapped(output: OutputWrapper) -> IO[str]:
    """The stream beneath: Django's wrapper adds a newline to each write that has none, and a
    bar that is drawn in place would run down the screen."""
    stream: Any = output
    while isinstance(stream, OutputWrapper):
        stream = stream._out
    return cast("IO[str]", stream)


def _view(output: OutputWrapper) -> _View:
    return _Bar(output) if output.isatty() else _Lines(output)


def _line(progress: MigrationProgress) -> str:
    return f"{progress.entity_type}: {progress.percent_complete:g} % · {_facts(progress)}"


def _facts(progress: MigrationProgress) -> str:
    about = "about " if progress.total_is_estimate else ""
    facts = [f"{progress.processed:,} of {about}{progress.total:,}"]
    if progress.status == JobStatus.PENDING:
        facts.append("waits for a free slot")
    elif progress.status != JobStatus.RUNNING:
        facts.append(str(progress.status).lower())
    if progress.entities_per_second:
        facts.append(f"{progress.entities_per_second:,.0f}/s")
    remaining = progress.estimated_time_remaining
    if remaining is not None:
        facts.append(f"{remaining} left")
    if progress.failed:
        facts.append(f"{progress.failed:,} failed")
    if progress.throttle_reason:
        facts.append(f"throttled: {progress.throttle_reason}")
    return " · ".join(facts)
