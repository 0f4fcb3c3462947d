"""Management commands on the databases of the test, in processes of their own or here."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from django.core.management import get_commands, load_command_class
from django.test import override_settings

from tests.databases import FreshDatabase
from tests.settings import AI_MIGRATION

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Manage:
    """`manage.py` for a test; see the fixture `manage`."""

    database: FreshDatabase

    def __call__(
        self,
        *arguments: str,
        ai_migration: Mapping[str, Any] | None = None,
        stdin: str = "",
        timeout: float = 600,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end.

        Args:
            arguments: As on the command line.
            ai_migration: Keys of AI_MIGRATION to set.
            stdin: What it reads.
            timeout: Seconds; then it is killed and the test fails.

        Returns:
            `returncode`, `stdout` and `stderr`; a non-zero exit is no error here.
        """
        return subprocess.run(
            self._command(arguments),
            cwd=ROOT,
            env=self.database.environ(**(ai_migration or {})),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    @contextmanager
    def started(
        self, *arguments: str, ai_migration: Mapping[str, Any] | None = None
    ) -> Iterator[subprocess.Popen[str]]:
        """Start a command, to be signalled or killed; it is killed at the end at the latest.
        Read its output, or `communicate()`: a full pipe stops it."""
        with self._open(arguments, ai_migration, subprocess.PIPE) as process:
            try:
                yield process
            finally:
                process.kill()

    @contextmanager
    def watched(
        self, *arguments: str, ai_migration: Mapping[str, Any] | None = None
    ) -> Iterator[subprocess.Popen[str]]:
        """As :meth:`started`, with nobody needed to read its output: pytest shows it when the
        test fails, and where each thread of the command stood by then."""
        with (
            tempfile.TemporaryFile("w+") as output,
            self._open(arguments, ai_migration, output) as process,
        ):
            try:
                yield process
            except BaseException:
                process.send_signal(signal.SIGABRT)  # has faulthandler write the stacks
                with suppress(subprocess.TimeoutExpired):
                    process.wait(10)
                raise
            finally:
                process.kill()
                process.wait()
                output.seek(0)
                print(output.read())  # noqa: T201

    def _open(
        self, arguments: tuple[str, ...], ai_migration: Mapping[str, Any] | None, output: Any
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self._command(arguments),
            cwd=ROOT,
            env=self.database.environ(**(ai_migration or {})),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @staticmethod
    def _command(arguments: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-m", "django", *arguments]


@dataclass(frozen=True)
class ManageHere(Manage):
    """`manage.py` in this process; see the fixture `manage_here`."""

    def __call__(
        self,
        *arguments: str,
        ai_migration: Mapping[str, Any] | None = None,
        stdin: str = "",
        timeout: float = 600,
    ) -> subprocess.CompletedProcess[str]:
        name, returncode = arguments[0], 0
        settings = {**AI_MIGRATION, **json.loads(json.dumps(ai_migration or {}))}
        with (
            override_settings(AI_MIGRATION=settings),
            redirect_stdout(StringIO()) as out,
            redirect_stderr(StringIO()) as err,
        ):
            try:
                command = load_command_class(get_commands()[name], name)
                command.run_from_argv(["manage.py", *arguments])
            except SystemExit as end:
                returncode = int(end.code or 0)
        return subprocess.CompletedProcess(arguments, returncode, out.getvalue(), err.getvalue())
