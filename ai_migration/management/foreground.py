"""Run a job in this process, with a progress bar, until it ends or is stopped."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from django.core.management.base import OutputWrapper
from django.db import InterfaceError, OperationalError, connections
from django.utils.translation import gettext_noop

from ai_migration.engine.insight.attendance import FOREGROUND
from ai_migration.engine.recovery import recover_opportunistically
from ai_migration.engine.worker import run_worker, settle_in
from ai_migration.jobs.service import migration_service
from ai_migration.management.calling import as_called
from ai_migration.management.views import WORKED_FOR, Silent, View, view_of
from ai_migration.types import MigrationProgress

_LOOK_EVERY = 0.3
"""Seconds between reads of the job's row."""
_REASONS: dict[int, str] = {
    signal.SIGINT: gettext_noop("stopped with Ctrl-C"),
    signal.SIGTERM: gettext_noop("its process was asked to end"),
}
"""What the audit log says of a job that a signal paused."""


class Interrupt:
    """Remembers the first SIGINT or SIGTERM. A SIGINT after it ends the process at once, as a kill
    would: unfinished entries are requeued later."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.hint = ""

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
            self._stop_at_once()
        self.signal = number

    def _stop_at_once(self) -> None:
        """Leave without waiting for threads: a request in flight may take minutes."""
        with suppress(OSError, RuntimeError, ValueError):  # it may be in the middle of a write
            assert sys.__stdout__ is not None
            sys.__stdout__.flush()
        show_cursor = "\x1b[?25h\n" if os.isatty(2) else ""
        words = f"Stopped at once; unfinished entries are requeued automatically. {self.hint}"
        with suppress(OSError):
            os.write(2, f"{show_cursor}{words.strip()}\n".encode())
        os._exit(128 + signal.SIGINT)


class Foreground:
    """Works for one job and shows how far it is.

    Args:
        job_id: The job.
        output: The stream of lines and bar.
        quiet: Show nothing.
        interrupt: Catches the signals; it is active already.
    """

    def __init__(
        self, job_id: str, output: OutputWrapper, *, quiet: bool, interrupt: Interrupt
    ) -> None:
        self.job_id = job_id
        self.progress = migration_service.get_progress(job_id)
        self._interrupt = interrupt
        self._view: View = Silent() if quiet else view_of(output)
        self._looked = 0.0
        self._is_pausing = False

    def run(self) -> MigrationProgress:
        """Work until the job has ended, was paused, or a signal came.

        Returns:
            The job's progress at the end. After a signal the job is PAUSED.
        """
        self._interrupt.hint = as_called(f"Resume with: {resume_command(self.job_id)}")
        settle_in()
        with self._view:
            run_worker(should_stop=self._poll_or_pause, only_jobs=[self.job_id], name=FOREGROUND)
            if self._interrupt.signal is not None:
                self._pause(self._interrupt.signal)
            self._look()
        return self.progress

    def watch(self) -> MigrationProgress:
        """Follow a job that other processes work for, until it ends or a signal comes."""
        with self._view:
            while not self._poll():
                recover_opportunistically()
                time.sleep(_LOOK_EVERY)
            self._look()
        return self.progress

    def _poll(self) -> bool:
        """Return whether to stop; read the job from time to time."""
        if time.monotonic() - self._looked >= _LOOK_EVERY:
            with self._patiently():
                self._look()
        return self._interrupt.signal is not None or self.progress.status not in WORKED_FOR

    def _poll_or_pause(self) -> bool:
        """As :meth:`_poll`, and pause the job at the first signal, before the batch in flight ends:
        after a second signal the job is paused already."""
        number = self._interrupt.signal
        if number is not None and not self._is_pausing:
            self._is_pausing = True
            again = " Ctrl-C again stops at once." if number == signal.SIGINT else ""
            self._view.say(f"Pausing: the batch in flight ends first.{again}")
            with self._patiently():
                self._pause(number)
        return self._poll()

    @contextmanager
    def _patiently(self) -> Iterator[None]:
        """Ignore an outage of the database: the worker reports it and waits."""
        try:
            yield
        except (OperationalError, InterfaceError):
            connections.close_all()
        finally:
            self._looked = time.monotonic()

    def _look(self) -> None:
        self.progress = migration_service.get_progress(self.job_id)
        self._view.update(self.progress)

    def _pause(self, number: int) -> None:
        if migration_service.get_job(self.job_id).status in WORKED_FOR:
            reason = _REASONS.get(number, "")
            migration_service.pause_migration(self.job_id, actor="terminal", reason=reason)


def resume_command(job_id: str) -> str:
    """Return the command that resumes a job."""
    return f"manage.py migrate_ai_entities --resume {job_id}"
