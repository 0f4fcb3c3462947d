"""Management commands in processes of their own, on the databases of the test."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.databases import FreshDatabase

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
        timeout: float = 120,
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
        with subprocess.Popen(
            self._command(arguments),
            cwd=ROOT,
            env=self.database.environ(**(ai_migration or {})),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    @staticmethod
    def _command(arguments: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-m", "django", *arguments]
