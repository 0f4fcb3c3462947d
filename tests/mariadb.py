"""A real MariaDB for one test session, from the system's packages, as root too."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import MySQLdb
from MySQLdb.cursors import Cursor

START_SECONDS = 60.0
OPTIONS = (
    "--skip-networking",
    "--skip-grant-tables",
    "--skip-log-bin",
    "--skip-name-resolve",
    # Far from UTC: whoever takes the server's time of day for a moment is found out.
    "--default-time-zone=+05:30",
    # Never wait for the disk: these databases need not survive the machine.
    "--innodb-flush-log-at-trx-commit=2",
    "--innodb-flush-method=nosync",
    "--innodb-doublewrite=0",
    "--innodb-buffer-pool-size=32M",
    "--innodb-log-file-size=16M",
    "--innodb-use-native-aio=0",
    "--innodb-lock-wait-timeout=20",
    "--performance-schema=0",
)


class MariaDBServer:
    """A server on a socket in a directory of its own. Start it with :func:`mariadb_server`."""

    def __init__(self, directory: Path) -> None:
        self._socket = directory / "socket"
        self._log = directory / "log"
        # A server that starts removes the temporary tables of others from a common `/tmp`.
        self._options = [
            "--no-defaults",
            f"--datadir={directory / 'data'}",
            f"--tmpdir={directory}",
        ]
        if os.geteuid() == 0:
            self._options.append("--user=root")
        install = self._command("mariadb-install-db", "--skip-test-db", "--skip-name-resolve")
        subprocess.run(install, check=True, stdout=subprocess.DEVNULL)
        self._start()

    def url(self, name: str) -> str:
        """The URL of one of its databases."""
        return f"mysql://root@localhost/{name}?unix_socket={self._socket}"

    def create(self, name: str, *, template: str = "") -> str:
        """Create a database, as a copy of another one if asked, and return its URL."""
        with self._cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
            cursor.execute(f"USE {name}")
            # Not strict, or generated columns would have to be left out.
            cursor.execute("SET foreign_key_checks = 0, sql_mode = 'NO_AUTO_VALUE_ON_ZERO'")
            if template:
                cursor.execute(f"SHOW TABLES FROM {template}")
                tables = [table for (table,) in cursor.fetchall()]
                for table in tables:
                    cursor.execute(f"SHOW CREATE TABLE {template}.{table}")
                    cursor.execute(cursor.fetchone()[1])
                    cursor.execute(f"INSERT INTO {table} SELECT * FROM {template}.{table}")
        return self.url(name)

    def drop(self, name: str) -> None:
        """Drop a database, whoever is still connected."""
        with self._cursor() as cursor:
            cursor.execute("SELECT id FROM information_schema.processlist WHERE db = %s", [name])
            for (connected,) in cursor.fetchall():
                with suppress(MySQLdb.OperationalError):  # it just left
                    cursor.execute(f"KILL {connected}")
            cursor.execute(f"DROP DATABASE IF EXISTS {name}")

    def restart(self) -> None:
        """Crash the server and start it again: every connection breaks, nothing committed
        is lost."""
        self.stop()
        self._start()

    def stop(self) -> None:
        """Stop it at once."""
        self._process.kill()
        self._process.wait()

    def _start(self) -> None:
        self._socket.unlink(missing_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command("mariadbd", f"--socket={self._socket}", *OPTIONS),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        ends = time.monotonic() + START_SECONDS
        while True:
            try:
                with self._cursor():
                    return
            except MySQLdb.OperationalError as error:
                if self._process.poll() is not None or time.monotonic() > ends:
                    raise RuntimeError(f"MariaDB did not start: {self._log.read_text()}") from error
                time.sleep(0.05)

    @contextmanager
    def _cursor(self) -> Iterator[Cursor]:
        connected = MySQLdb.connect(unix_socket=str(self._socket), user="root", autocommit=True)
        with closing(connected), connected.cursor() as cursor:
            yield cursor

    def _command(self, program: str, *arguments: str) -> list[str]:
        found = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
        if found is None:
            raise FileNotFoundError(f"{program} is not installed")
        return [found, *self._options, *arguments]


@contextmanager
def mariadb_server() -> Iterator[MariaDBServer]:
    """A running server, gone with all its data afterwards.

    Raises:
        FileNotFoundError: It is not installed.
    """
    directory = Path(tempfile.mkdtemp(prefix="aim-my-"))  # short: a socket's path has 107 bytes
    try:
        server = MariaDBServer(directory)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
