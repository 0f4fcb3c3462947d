"""The demo, as the README says to run it."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.commands import ROOT

pytestmark = pytest.mark.gate

COMMAND = [sys.executable, "example_project/manage.py", "demo"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An empty SQLite database, and nothing else."""
    environment = {**os.environ, "DATABASE_URL": f"sqlite:///{tmp_path / 'demo.sqlite3'}"}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    return environment


def demo(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def found(output: str, query: str) -> list[str]:
    """The names a search listed."""
    lines = output.partition(f"  {query}\n")[2].partition("\n\n")[0].splitlines()
    return [line.split()[1] for line in lines]


def test_the_demo_indexes_6000_texts_and_finds_what_is_meant(
    environment: dict[str, str],
) -> None:
    done = demo(environment)
    assert done.returncode == 0, done.stderr
    indexed = re.search(r"COMPLETED: ([\d,]+) indexed", done.stdout)
    assert indexed is not None
    assert int(indexed[1].replace(",", "")) > 6000
    files = found(done.stdout, "compress a file")
    assert len(files) == 5
    assert any(name.startswith(("gzip.", "zipfile.", "shutil.")) for name in files)
    assert "argparse.ArgumentParser" in found(done.stdout, "parse command line arguments")
    assert "threading.Thread.join" in found(done.stdout, "wait for several threads to finish")
    for line in done.stdout.partition("What next?")[2].splitlines():
        if "manage.py" in line:
            assert line.split()[-1] != "manage.py"

    again = demo(environment)
    assert again.returncode == 0, again.stderr
    assert "nothing changed" in again.stdout
    assert "Nothing has changed: no text was embedded again." in again.stdout
    assert found(again.stdout, "compress a file") == files


def test_what_the_demo_says_to_try_next_works(environment: dict[str, str]) -> None:
    done = demo(environment)
    said = [line for line in done.stdout.splitlines() if "manage.py" in line]
    assert len(said) >= 5
    for line in said:
        command = line.strip().replace("--products 100000", "--products 100")
        tried = subprocess.run(
            command,
            shell=True,
            cwd=ROOT,
            env=environment,
            capture_output=True,
            timeout=600,
            stdin=subprocess.DEVNULL,
            check=False,
            text=True,
        )
        assert tried.returncode == 0, f"{command}\n{tried.stdout}\n{tried.stderr}"
        assert tried.stdout.strip()


def test_an_unknown_package_is_named(environment: dict[str, str]) -> None:
    done = demo(environment, "--package", "no_such_package")
    assert done.returncode == 1
    assert "No package 'no_such_package' is installed" in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_pauses_and_running_again_goes_on(environment: dict[str, str]) -> None:
    with _in_terminal(environment, until=b" of 6,", then=signal.SIGINT) as (returncode, output):
        assert returncode == 130
        assert "Traceback" not in output
        assert "PAUSED" in output
        assert "--resume mig-" in output
    done = demo(environment)
    assert done.returncode == 0, done.stderr
    assert "Continuing where the last run stopped." in done.stdout
    assert "gzip.compress" in found(done.stdout, "compress a file")


@contextmanager
def _in_terminal(
    environment: dict[str, str], *, until: bytes, then: signal.Signals
) -> Iterator[tuple[int, str]]:
    """Run the demo in a terminal and send it a signal when it has shown something."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        COMMAND,
        cwd=ROOT,
        env={**environment, "COLUMNS": "120"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        watchdog = threading.Timer(600, process.kill)
        watchdog.start()
        output, is_sent = b"", False
        while True:
            try:
                output += os.read(ours, 65_536)
            except OSError:  # the other end is closed
                break
            if until in output and not is_sent:
                process.send_signal(then)
                is_sent = True
        watchdog.cancel()
        os.close(ours)
        yield process.wait(), output.decode()
