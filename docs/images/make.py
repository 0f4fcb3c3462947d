"""Makes the pictures of the README out of what the commands really print in a terminal.

    .venv/bin/python docs/images/make.py

Runs the example project's demo, and a migration of its shop that is interrupted and resumed,
on a database that is thrown away. Needs the extra ``demo``, and a system with ``pty``.
"""

from __future__ import annotations

import os
import pty
import re
import shutil
import signal
import struct
import sys
import tempfile
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ

from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI
from rich.text import Text

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
WIDTH = 100
_REDRAWN = re.compile(r"\r(?:\x1b\[2K|\x1b\[1A)+|\r(?!\n)")
_CURSOR = re.compile(r"\x1b\[\??\d*[A-JKhl]")
_FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
"""Fetched from another host; the reader's own monospaced font will do."""
_JOB = re.compile(r"mig-[0-9a-f-]{36}")
_ENOUGH = re.compile(r"4\d%.* left")
"""What the bar shows when Ctrl-C is pressed."""


def run(project: Path, *arguments: str, stop_at: re.Pattern[str] | None = None) -> str:
    """What ``manage.py`` prints in a terminal; Ctrl-C is pressed once ``stop_at`` is found."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(project)
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        os.execvpe(  # called by its name, as commands in messages are then, too
            "python",
            ["python", "manage.py", *arguments],
            {**os.environ, "PATH": path, "TERM": "xterm-256color", "COLUMNS": str(WIDTH)},
        )
    ioctl(terminal, TIOCSWINSZ, struct.pack("HHHH", 60, WIDTH, 0, 0))
    printed, stopped = b"", False
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # the other end is closed
            break
        printed += part
        if stop_at and not stopped and stop_at.search(printed.decode("utf-8", "replace")):
            stopped = True
            os.kill(pid, signal.SIGINT)
    os.waitpid(pid, 0)
    return printed.decode()


def screens(printed: str, until: re.Pattern[str] | None = None) -> str:
    """What stands on the screen: of a line that was redrawn its last state, or the last one
    that ``until`` is found in."""
    lines = []
    for line in printed.replace("\r\n", "\n").split("\n"):
        states = [_CURSOR.sub("", state) for state in _REDRAWN.split(line)]
        states = [state for state in states if state.strip()] or [""]
        running = [state for state in states if until and until.search(state)]
        lines.append((running or states)[-1])
        if running:
            break
    return "\n".join(lines).strip("\n")


def draw(name: str, title: str, *parts: tuple[str, str]) -> None:
    """Write a picture of commands and their output."""
    with open(os.devnull, "w") as nowhere:
        console = Console(record=True, width=WIDTH, file=nowhere, force_terminal=True)
        for number, (command, printed) in enumerate(parts):
            console.print(Text(f"{chr(10) if number else ''}$ {command}", style="bold"))
            console.print(Text.from_ansi(printed))
    svg = _FONTS.sub("", console.export_svg(title=title, theme=DIMMED_MONOKAI, unique_id=name))
    (HERE / f"{name}.svg").write_text(svg)


def main() -> None:
    """Make all pictures."""
    with tempfile.TemporaryDirectory() as directory:
        project = Path(directory) / "example_project"
        shutil.copytree(
            ROOT / "example_project", project, ignore=shutil.ignore_patterns("*.sqlite3*")
        )
        demo = screens(run(project, "demo")).partition("What next?")[0].rstrip()
        draw("demo", "demo", ("python example_project/manage.py demo", demo))
        run(project, "seed_catalog", "--products", "100000", "--verbosity", "0")
        index = ("migrate_ai_entities", "product")
        paused = run(project, *index, stop_at=_ENOUGH)
        job = _JOB.search(paused)
        assert job is not None
        resume = ("migrate_ai_entities", "--resume", job[0])
        resumed = screens(run(project, *resume))
        first, second = (f"python manage.py {' '.join(each)}" for each in (index, resume))
        draw("progress", "a migration", (first, screens(paused, _ENOUGH)))
        draw("pause", "Ctrl-C, and later", (first, screens(paused)), (second, resumed))


if __name__ == "__main__":
    main()
