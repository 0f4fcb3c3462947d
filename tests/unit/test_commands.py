"""The command line: what Python's own parser does not take is refused in words."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import get_commands, load_command_class

from ai_migration.management.calling import as_called

OPTIONS = [
    ("migrate_ai_entities", ["article", "--filter=--"], "--filter"),
    ("migrate_ai_entities", ["article", "--max-cost=--", "--json"], "--max-cost"),
    ("migrate_ai_entities", ["--resume=--"], "--resume"),
    ("ai_migration", ["jobs", "--type=--"], "--type"),
    ("ai_migration", ["worker", "--slots=--"], "--slots"),
]


def parse(name: str, *arguments: str) -> Any:
    command: Any = load_command_class("ai_migration", name)
    command._called_from_command_line = True
    parser = command.create_parser("manage.py", name)
    return parser.parse_args(list(arguments))


@pytest.mark.parametrize(("name", "arguments", "option"), OPTIONS)
def test_two_dashes_are_no_value(
    capsys: pytest.CaptureFixture[str], name: str, arguments: list[str], option: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(name, *arguments)
    assert caught.value.code == 2
    assert f"argument {option}: expected one argument" in capsys.readouterr().err


def test_two_dashes_end_the_options() -> None:
    assert parse("ai_migration", "search", "article", "--", "--x=--").query == "--x=--"
    assert parse("migrate_ai_entities", "--filter=a=--").filter == ["a=--"]


# What it says


def actions_of(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for added in action.choices.values():
                yield from actions_of(added)


@pytest.mark.parametrize("name", ["ai_migration", "migrate_ai_entities"])
def test_every_argument_says_what_it_is(name: str) -> None:
    parser = load_command_class("ai_migration", name).create_parser("manage.py", name)
    for action in actions_of(parser):
        if not isinstance(action, argparse._SubParsersAction):
            assert action.help, action


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (["ai_migration", "serch", "article", "x"], "'search'"),
        (["ai_migration", "retry_failed", "last"], "'retry-failed'"),
        (["ai_migration", "doctor", "--heartbeat", "wroker"], "'worker'"),
        (["migrate_ai_entities", "article", "--mode", "chnaged"], "'changed'"),
    ],
)
def test_a_mistyped_choice_gets_the_nearest(
    capsys: pytest.CaptureFixture[str], arguments: list[str], nearest: str
) -> None:
    with pytest.raises(SystemExit):
        parse(*arguments)
    assert f"Did you mean {nearest}?" in capsys.readouterr().err


def test_what_is_like_no_choice_gets_all(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("ai_migration", "zzz")
    error = capsys.readouterr().err
    assert "Did you mean" not in error
    assert "search" in error


# How it was called

TEXT = "Resume with: manage.py migrate_ai_entities --resume mig-1"
COMMAND = ["ai_migration", "jobs"]


@pytest.mark.parametrize(
    ("called", "script", "typed"),
    [
        (["python", "manage.py", *COMMAND], "manage.py", "python manage.py migrate_ai_entities"),
        (
            ["{cwd}/.venv/bin/python", "site/manage.py", *COMMAND],
            "site/manage.py",
            ".venv/bin/python site/manage.py migrate_ai_entities",
        ),
        (
            ["python3.12", "-X", "dev", "manage.py", *COMMAND],
            "manage.py",
            "python3.12 -X dev manage.py migrate_ai_entities",
        ),
        (["python", "./manage.py", *COMMAND], "./manage.py", "./manage.py migrate_ai_entities"),
        (
            ["python3", "./manage.py", *COMMAND],
            "./manage.py",
            "python3 ./manage.py migrate_ai_entities",
        ),
        (
            ["python", "-m", "django", *COMMAND],
            "/lib/django/__main__.py",
            "python -m django migrate_ai_entities",
        ),
        (
            ["{cwd}/bin/python", "{cwd}/bin/django-admin", *COMMAND, "--settings", "config.base"],
            "{cwd}/bin/django-admin",
            "django-admin migrate_ai_entities --settings=config.base",
        ),
        (
            ["/py thon", "manage.py", *COMMAND, "--json"],
            "manage.py",
            "'/py thon' manage.py migrate_ai_entities",
        ),
        (
            ["python", "manage.py", "tenant_command", *COMMAND, "--schema=acme"],
            "manage.py",
            "python manage.py tenant_command migrate_ai_entities --schema=acme",
        ),
        # Somebody changed sys.argv: then nothing is known but that it is a command.
        (["server", "--port", "1"], "ai_migration", "python manage.py migrate_ai_entities"),
        # No command at all.
        (["python", "-m", "gunicorn", "site.wsgi"], "gunicorn", "manage.py migrate_ai_entities"),
    ],
)
def test_commands_are_said_as_they_have_to_be_typed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, called: list[str], script: str, typed: str
) -> None:
    monkeypatch.setitem(get_commands(), "tenant_command", "django_tenants")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    for path, interpreter in (
        ("manage.py", "/usr/bin/env python"),
        ("bin/django-admin", f"{tmp_path}/bin/python"),
    ):
        (tmp_path / path).write_text(f"#!{interpreter}\n")
        (tmp_path / path).chmod(0o755)
    called = [word.replace("{cwd}", str(tmp_path)) for word in called]
    first = next((place for place, word in enumerate(called) if word in get_commands()), None)
    arguments = called[first:] if first is not None else called[3:]
    if script == "ai_migration":
        arguments = COMMAND
    monkeypatch.setattr(sys, "orig_argv", called)
    monkeypatch.setattr(sys, "argv", [script.replace("{cwd}", str(tmp_path)), *arguments])
    assert as_called(TEXT) == f"Resume with: {typed} --resume mig-1"


def test_only_commands_are_said_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["python", "manage.py", *COMMAND])
    monkeypatch.setattr(sys, "argv", ["manage.py", *COMMAND])
    for text in ("next to manage.py.", "site/manage.py migrate", "my_manage.py migrate"):
        assert as_called(text) == text
    assert as_called("'manage.py migrate', manage.py check") == (
        "'python manage.py migrate', python manage.py check"
    )
