"""How Django's command line was called, so that what a command says to run can be pasted."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

from django.core.management import get_commands
from django.core.management.base import OutputWrapper

_COMMAND = re.compile(r"(?<![\w./-])manage\.py ([a-z]\w*)")
"""A command as messages write it: they come from code that knows no terminal."""
_TENANT_COMMAND = "tenant_command"
"""django-tenants runs other commands by it, for one tenant."""


def as_called(text: str) -> str:
    """Return a message with its commands as they have to be typed here: ``manage.py migrate``
    becomes ``.venv/bin/python site/manage.py migrate`` in a process that was called so. In a
    process that is no management command it stays."""
    return _COMMAND.sub(lambda found: command_line(found[1]) or found[0], text)


def command_line(command: str) -> str | None:
    """Return how to run another command; None in a process that runs no command of Django's."""
    name, *given = sys.argv[1:] or [""]
    if name not in get_commands():
        return None
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for option in ("--settings", "--pythonpath"):
        parser.add_argument(option)
    tenant = name == _TENANT_COMMAND
    if tenant:
        parser.add_argument("--schema", "-s")
    words = [*_call(), name, command] if tenant else [*_call(), command]
    kept = vars(parser.parse_known_args(given)[0]).items()
    words += [f"--{option}={value}" for option, value in kept if value is not None]
    return shlex.join(words)


def _call() -> list[str]:
    """Return the words before the command's name."""
    before = len(sys.orig_argv) - len(sys.argv) + 1
    words, rest = sys.orig_argv[:before], sys.orig_argv[before:]
    if rest != sys.argv[1:] or len(words) < 2:  # embedded, or sys.argv was changed
        return ["python", "manage.py"]
    *interpreter, script = words
    if interpreter[-1] == "-m" or not _runs_by_itself(script, interpreter):
        return [_short(interpreter[0]), *interpreter[1:], script]
    return [_short(script)]


def _runs_by_itself(script: str, interpreter: list[str]) -> bool:
    """Return whether the script, without an interpreter, runs by the same one."""
    if not (os.sep in script and os.access(script, os.X_OK)) or len(interpreter) > 1:
        return False
    with open(script, "rb") as file:
        first = file.readline(500).decode(errors="replace")
    return first.startswith("#!") and first.split()[-1].removeprefix("#!") == interpreter[0]


def _short(program: str) -> str:
    """Return a program as short as it can be typed: by its name where the shell finds it, else
    from the current directory where it is below."""
    path = Path(program)
    if shutil.which(path.name) == program:
        return path.name
    if path.is_absolute() and path.is_relative_to(Path.cwd()):
        return str(path.relative_to(Path.cwd()))
    return program


class Telling(OutputWrapper):
    """An output whose messages name commands as they have to be typed here."""

    def write(  # type: ignore[override]  # as Django's own
        self, msg: str = "", style_func: Any = None, ending: str | None = None
    ) -> None:
        """Write a message."""
        super().write(as_called(msg), style_func, ending)
