"""The option ``--filter name=value``, of migrations and of searches."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from ai_migration.exceptions import InvalidRequestError


def add_filter_argument(parser: CommandParser, text: str) -> None:
    """Add the option.

    Args:
        parser: The parser of the command.
        text: Its help.
    """
    parser.add_argument("--filter", action="append", default=[], metavar="K=V", help=text)


def filters_of(options: dict[str, Any]) -> dict[str, str]:
    """Return its values by name.

    Raises:
        InvalidRequestError: One is not ``name=value``.
    """
    filters = {}
    for item in options["filter"]:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise InvalidRequestError(
                f"--filter takes name=value, not {item[:50]!r}", field="filters"
            )
        filters[name] = value
    return filters
