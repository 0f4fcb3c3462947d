"""The demo, as the README says to run it."""

from __future__ import annotations

import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, Request, build_opener

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


def block(output: str, query: str) -> list[str]:
    """The lines of a search's answers."""
    return output.partition(f"  {query}\n")[2].partition("\n\n")[0].splitlines()


def found(output: str, query: str) -> list[str]:
    """The names a search listed."""
    return [line.split()[1] for line in block(output, query)]


def words(text: str) -> set[str]:
    """The words of a line; those of a name, too."""
    return set(re.findall("[a-z]+", re.sub("(?<=[a-z])(?=[A-Z])", " ", text).lower()))


def test_the_demo_indexes_6000_texts_and_finds_what_is_meant(
    environment: dict[str, str],
) -> None:
    done = demo(environment)
    assert done.returncode == 0, done.stderr
    indexed = re.search(r"COMPLETED: ([\d,]+) indexed", done.stdout)
    assert indexed is not None
    assert int(indexed[1].replace(",", "")) > 6000
    for question, module in (
        ("coin toss", "random"),
        ("how long until christmas", "calendar"),
        ("typical income", "statistics"),
    ):
        answers = found(done.stdout, question)
        assert len(answers) == 5
        assert sum(name.split(".")[0] == module for name in answers) >= 3
        for line in block(done.stdout, question):
            assert not words(question) & words(line), "it would be found without its meaning"
    for line in done.stdout.partition("What next?")[2].splitlines():
        if "manage.py" in line:
            assert line.split()[-1] != "manage.py"

    again = demo(environment)
    assert again.returncode == 0, again.stderr
    assert "nothing changed" in again.stdout
    assert "Nothing has changed: no text was embedded again." in again.stdout
    assert found(again.stdout, "coin toss") == found(done.stdout, "coin toss")


def test_what_the_demo_says_to_try_next_works(environment: dict[str, str]) -> None:
    done = demo(environment)
    said = [line for line in done.stdout.splitlines() if "manage.py" in line]
    assert len(said) >= 6
    served, *said = said
    assert served.endswith("demo --serve")
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
    assert found(done.stdout, "coin toss")[0].startswith("random")


def test_a_package_is_asked_what_it_has_answers_to(environment: dict[str, str]) -> None:
    done = demo(environment, "--package", "rich")
    assert done.returncode == 0, done.stderr
    searches = done.stdout.partition("Searching rich")[2].partition("What next?")[0]
    names = re.findall(r"^    [\d.]+  (\S+)", searches, re.MULTILINE)
    assert len(names) == 15
    assert all(name.startswith("rich") for name in names)


def test_the_admin_is_served_to_a_user_made_for_it(environment: dict[str, str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with subprocess.Popen(
        [*COMMAND, "--serve", str(port)],
        cwd=ROOT,
        env={**environment, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        watchdog = threading.Timer(600, process.kill)
        watchdog.start()
        try:
            assert process.stdout is not None
            printed = ""
            while "Quit the server" not in printed:
                line = process.stdout.readline()
                assert line, printed
                printed += line
            page = re.search(r"http://127\.0\.0\.1:\d+/admin/\S*dashboard/", printed)
            signed_in = re.search(r"user (\S+), password (\S+)", printed)
            assert page is not None
            assert signed_in is not None
            assert "Rebuild" in _dashboard(page[0], *signed_in.groups())
        finally:
            watchdog.cancel()
            process.kill()  # not SIGINT, which a shell's background processes ignore
            process.communicate()


def _dashboard(address: str, user: str, password: str) -> str:
    """The page, after signing in as a browser does."""
    browser = build_opener(HTTPCookieProcessor())
    form = browser.open(address)
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form.read().decode())
    assert token is not None
    fields = {"csrfmiddlewaretoken": token[1], "username": user, "password": password}
    with browser.open(Request(form.url, urlencode(fields).encode())) as page:
        assert page.url == address
        return str(page.read().decode())


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
