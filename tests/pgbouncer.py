"""A real PgBouncer in transaction mode before the tests' PostgreSQL, from the system's
packages, as root too."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg

SESSIONS = 3
"""Sessions with the server, which its clients share."""
START_SECONDS = 30.0
CONFIG = """
[databases]
* = host={host} port={port} user={user}

[pgbouncer]
logfile = {directory}/log
unix_socket_dir = {directory}
listen_port = 6432
auth_type = any
ignore_startup_parameters = extra_float_digits
pool_mode = transaction
default_pool_size = {sessions}
min_pool_size = {sessions}
; Each transaction gets the session that was idle for longest.
server_round_robin = 1
"""


@contextmanager
def pgbouncer(url: str) -> Iterator[str]:
    """A PgBouncer before the database of that URL; the URL that goes through it.

    Raises:
        FileNotFoundError: It is not installed.
    """
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        raise FileNotFoundError("pgbouncer is not installed")
    server = urlsplit(url)
    host = Path(parse_qs(server.query)["host"][0])
    directory = Path(tempfile.mkdtemp(prefix="aim-pgb-"))  # short: a socket's path has 107 bytes
    try:
        config = directory / "config.ini"
        config.write_text(
            CONFIG.format(
                host=host,
                port=server.port or 5432,
                user=server.username or "postgres",
                directory=directory,
                sessions=SESSIONS,
            )
        )
        owner = host.stat()
        if os.geteuid() == 0:  # as which it refuses to run
            for path in (directory, config):
                os.chown(path, owner.st_uid, owner.st_gid)
        process = subprocess.Popen(
            [program, "-q", str(config)],
            user=owner.st_uid if os.geteuid() == 0 else None,
            group=owner.st_gid if os.geteuid() == 0 else None,
            extra_groups=[] if os.geteuid() == 0 else None,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            through = f"postgresql://any@{server.path}?host={directory}&port=6432"
            _wait_for(through, process, directory / "log")
            yield through
        finally:
            process.kill()
            process.wait()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    ends = time.monotonic() + START_SECONDS
    while True:
        try:
            with psycopg.connect(url):
                return
        except psycopg.OperationalError as error:
            if process.poll() is not None or time.monotonic() > ends:
                said = log.read_text() if log.exists() else ""
                raise RuntimeError(f"PgBouncer did not start: {said}") from error
            time.sleep(0.02)
