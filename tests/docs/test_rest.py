"""The examples of docs/reference/rest.md: a server runs, and answers as the page says."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from ai_migration.rest.access import CONTROL, READ, SEARCH, START, VIEW, WRITE
from ai_migration.rest.documentation import openapi_document
from ai_migration.rest.openapi import ERRORS
from ai_migration.rest.requests import JobsQuery, ResumeMigration, SearchIndex, StartMigration
from tests.docs.pages import ROOT, Project, require_alike

PAGE = ROOT / "docs" / "reference" / "rest.md"
PORT = "8000"
"""Of the page's server."""

_OURS = re.compile(r"mig-[0-9a-f]{8}-[0-9a-f-]{27}|\b[0-9a-f]{40}\b")
"""Job ids and tokens: the page's stand for those that are made when it is tried."""
_RATE = re.compile(r'("entitiesPerSecond": )[\d.]+')


class Terminal(Project):
    """Where the page is typed in. Its server runs until the end, what is exported lasts, and
    the page's ids, tokens and port stand for ours.

    Args:
        directory: Where the project is made.
        origin: Where another page left off.
        stack: Ends the server.
    """

    def __init__(self, directory: Path, origin: Path, stack: ExitStack) -> None:
        super().__init__(directory, origin)
        self._stack = stack
        self._exports: list[str] = []
        self._names: dict[str, str] = {}

    def enter(self, command: str, expected: str, where: str) -> None:
        command, expected = self._with_ours(command), self._with_ours(expected)
        if "runserver" in command:
            self._serve(command)
        elif command.startswith("export "):
            self._exports.append(command)
        else:
            printed = indented(self._shell("\n".join([*self._exports, command]), expected))
            for theirs, ours in zip(_OURS.findall(expected), _OURS.findall(printed), strict=False):
                self._names.setdefault(theirs, ours)
            require_alike(where, command, anyhow(self._with_ours(expected)), anyhow(printed))

    def _serve(self, command: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = self._names[PORT] = str(free.getsockname()[1])
        process = subprocess.Popen(
            ["bash", "-c", f"exec {command} --noreload {port}"],
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        wait_for(int(port))

    def _with_ours(self, text: str) -> str:
        for theirs, ours in self._names.items():
            text = text.replace(theirs, ours)
        return text


def wait_for(port: int) -> None:
    """Until somebody listens there."""
    until = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert time.monotonic() < until, "the server does not start"
            time.sleep(0.05)


def indented(printed: str) -> str:
    """JSON as the page shows it, and what stands behind it."""
    document, newline, rest = printed.partition("\n")
    try:
        return json.dumps(json.loads(document), indent=2) + newline + rest
    except ValueError:
        return printed


def anyhow(text: str) -> str:
    """Without what differs from run to run."""
    return _RATE.sub(r"\1N", text)


@pytest.mark.gate
def test_the_examples_work(tutorial: Path, tmp_path: Path) -> None:
    with ExitStack() as stack:
        Terminal(tmp_path / "here", tutorial / "indexed", stack).run(PAGE)


def test_every_call_field_and_error_is_on_the_page() -> None:
    page = PAGE.read_text()
    document = openapi_document("/")
    calls = {
        f"{method.upper()} {path.removeprefix('/').replace('job_id', 'id')}"
        for path, methods in document["paths"].items()
        for method in methods
    }
    headings = re.findall(r"^## (.*)$", page, re.MULTILINE)
    assert {call for call in calls if not any(call in heading for heading in headings)} == set()
    sent = (StartMigration, ResumeMigration, SearchIndex, JobsQuery)
    fields = [field for body in sent for field in body.names()]
    described = {f"`{name}`" for name in [*fields, *ERRORS, READ, WRITE]}
    described |= {
        f"`{name}`" for access in (VIEW, START, CONTROL, SEARCH) for name in access.permissions
    }
    assert {words for words in described if words not in page} == set()
