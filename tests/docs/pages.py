"""The examples of the documentation: fenced code blocks, found and run.

What stands behind the language of a block says what it is:

    ```python file=shop/models.py      this is the whole file
    ```python append=config/settings.py   this is added to a file
    ```console run                     `$ ` lines are run by bash, the rest is their output
    ```pycon run                       a session of the Python shell, like a doctest
    ```python run                      a script, with Django set up
    ```python norun                    only has to compile

In expected output a line `…` stands for any lines; job ids (also short ones), times, scores and
how far a job is stand for any others; `^C` is a press of Ctrl-C as soon as what stands before it
was printed.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TUTORIAL = ROOT / "docs" / "tutorial.md"
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])

_FENCE = re.compile(r"^```(\w+)([^\n`]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SNAPSHOT = re.compile(r"^<!-- snapshot: (\w+) -->$", re.MULTILINE)
_ANY = [
    (re.compile(r"mig-[0-9a-f-]{36}"), "JOB"),
    (re.compile(r"^ *01[0-9a-f]{6}[0-9a-f-]*(?= )", re.MULTILINE), "JOB"),
    (re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d)?(\.\d+)?(\+00:00)?"), "WHEN"),
    (re.compile(r"^\w+: [\d.]+ % · .*$", re.MULTILINE), "PROGRESS"),
    (re.compile(r"PAUSED: [\d,]+ indexed"), "PAUSED: N indexed"),
    (re.compile(r"\b[\d.]+ %"), "N %"),
    (re.compile(r"\b-?\d\.\d{2,6}\b"), "SCORE"),
    (re.compile(r"─+"), "─"),
]


@dataclass(frozen=True)
class Block:
    """One fenced code block.

    Attributes:
        language: ``python``, ``console``, ``yaml``…
        info: What stands behind the language.
        body: The code.
        line: Where it begins in its page, from 1.
        start: The same in characters.
    """

    language: str
    info: str
    body: str
    line: int
    start: int

    def option(self, name: str) -> str | None:
        """The value of ``name=value`` in the info."""
        match = re.search(rf"\b{name}=(\S+)", self.info)
        return match[1] if match else None

    @property
    def is_run(self) -> bool:
        """Whether something happens to it, more than being read."""
        return "run" in self.info.split() or bool(self.option("file") or self.option("append"))


def blocks_of(page: Path) -> list[Block]:
    """All fenced code blocks of a page that name a language."""
    text = page.read_text()
    return [
        Block(
            found[1],
            found[2].strip(),
            found[3],
            text.count("\n", 0, found.start()) + 1,
            found.start(),
        )
        for found in _FENCE.finditer(text)
    ]


def snapshots_of(page: Path) -> dict[str, int]:
    """Where a page says ``<!-- snapshot: name -->``, by name, in characters."""
    return {found[1]: found.start() for found in _SNAPSHOT.finditer(page.read_text())}


class Project:
    """A Django project that the examples of one page are typed into.

    Args:
        directory: Where it is; made, as a copy of ``origin`` if there is one.
        origin: Where another page left off.
    """

    def __init__(self, directory: Path, origin: Path | None = None) -> None:
        self.directory = directory
        if origin is None:
            directory.mkdir()
        else:
            shutil.copytree(origin, directory)
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DJANGO")}
        kept.pop("DATABASE_URL", None)
        self.environment = {**kept, "PATH": path, "COLUMNS": "120", "PYTHONUNBUFFERED": "1"}

    def run(self, page: Path, *, snapshots: Path | None = None) -> None:
        """Type in the blocks of a page, in their order, and compare what is printed.

        Args:
            page: The page.
            snapshots: Where the project is copied to, as it is at each snapshot.
        """
        waiting = snapshots_of(page) if snapshots else {}
        for block in blocks_of(page):
            for name in [name for name, position in waiting.items() if position < block.start]:
                shutil.copytree(self.directory, (snapshots or Path()) / name)
                del waiting[name]
            self.type_in(block, f"{page.relative_to(ROOT)}:{block.line}")

    def type_in(self, block: Block, where: str) -> None:
        """Do what a block says, and compare what is printed.

        Args:
            block: The block.
            where: Where it stands, for messages.
        """
        if block.option("file") or block.option("append"):
            self._write(block)
        elif block.is_run and block.language == "console":
            for command, expected in commands_of(block.body):
                self.enter(command, expected, where)
        elif block.is_run:
            self._python(where, block)

    def enter(self, command: str, expected: str, where: str) -> None:
        """Enter a command, and compare what it prints."""
        require_alike(where, command, expected, self._shell(command, expected))

    def _write(self, block: Block) -> None:
        name, mode = block.option("file"), "w"
        if name is None:
            name, mode = block.option("append"), "a"
        assert name is not None
        target = self.directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open(mode) as file:
            file.write(block.body if mode == "w" else f"\n{block.body}")

    def _python(self, where: str, block: Block) -> None:
        runner = Path(__file__).with_name("run_python.py")
        done = subprocess.run(
            [sys.executable, runner, block.language],
            cwd=self.directory,
            env={**self.environment, "DJANGO_SETTINGS_MODULE": "config.settings"},
            input=block.body,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, f"{where}\n{done.stdout}\n{done.stderr}"

    def _shell(self, command: str, expected: str) -> str:
        before, interrupt, _ = expected.partition("^C")
        with subprocess.Popen(
            ["bash", "-c", command],
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            assert process.stdout is not None
            printed = ""
            if interrupt:
                while not is_alike(before, printed):
                    line = process.stdout.readline()
                    assert line, f"{command}\nended before Ctrl-C:\n{printed}"
                    printed += line
                os.killpg(process.pid, signal.SIGINT)
                printed += "^C\n"
            rest, _ = process.communicate(timeout=600)
        return printed + rest


def commands_of(body: str) -> Iterator[tuple[str, str]]:
    """Each command of a console block, with the output that is shown for it."""
    for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
        lines = part.splitlines(keepends=True)
        length = 1
        while lines[length - 1].endswith("\\\n") or "".join(lines[:length]).count("'") % 2:
            length += 1
        yield "".join(lines[:length]).strip(), "".join(lines[length:])


def require_alike(where: str, command: str, expected: str, printed: str) -> None:
    """Fail unless the output is what the page shows; a page that shows none accepts any
    that is no error."""
    if not expected.strip():
        assert "Error" not in printed, f"{where}: {command}\n{printed}"
        return
    assert is_alike(expected, printed), (
        f"{where}: {command}\n--- the page says\n{expected}\n--- it printed\n{printed}"
    )


def is_alike(expected: str, printed: str) -> bool:
    """Whether output is what a page shows, apart from what differs from run to run."""
    pattern = ""
    for line in _normalised(expected):
        pattern += r"(?:[^\n]*\n)*?" if line == "…" else re.escape(line) + r"\n"
    lines = "".join(f"{line}\n" for line in _normalised(printed))
    return re.fullmatch(pattern, lines) is not None


def _normalised(text: str) -> list[str]:
    for pattern, word in _ANY:
        text = pattern.sub(word, text)
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]
