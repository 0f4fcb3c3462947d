"""The command line: what Python's own parser does not take is refused in words."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import load_command_class

OPTIONS = [
    ("migrate_ai_entities", ["article", "--filter=--"], "--filter"),
    ("migrate_ai_entities", ["article", "--max-cost=--", "--json"], "--max-cost"),
    ("migrate_ai_entities", ["--resume=--"], "--resume"),
    ("ai_migration", ["jobs", "--type=--"], "--type"),
    ("ai_migration", ["worker", "--slots=--"], "--slots"),
]


def parse(name: str, *arguments: str) -> Any:
    command = load_command_class("ai_migration", name)
    parser = command.create_parser("manage.py", name)
    parser.called_from_command_line = True
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
