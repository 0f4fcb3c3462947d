"""``ai_migration triggers``: installs, removes and lists database triggers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.management.base import CommandParser

from ai_migration.indexing.triggers import service
from ai_migration.indexing.triggers.service import TriggerStanding
from ai_migration.management.base import DONE, ServiceCommand
from ai_migration.management.tables import table
from ai_migration.words import counted


def add_arguments(parser: CommandParser) -> None:
    """Add the arguments of ``triggers``."""
    parser.add_argument(
        "what",
        choices=["install", "remove", "status"],
        help="Install them, or bring them up to date; remove them; or say which are there.",
    )
    parser.add_argument(
        "entity_types", nargs="*", metavar="TYPE", help="Entity types; default: all."
    )


def run(command: ServiceCommand, *, what: str, entity_types: Sequence[str], **_: Any) -> int:
    """Install, remove or list triggers.

    Raises:
        AIMigrationError: See :mod:`ai_migration.indexing.triggers.service`.
    """
    if what == "remove":
        removed = service.remove(entity_types)
        if command.as_json:
            command.write_json({"removed": removed})
        else:
            command.stdout.write(f"Removed {counted(removed, 'trigger')}.")
        return DONE
    act = service.install if what == "install" else service.status
    standings = act(entity_types)
    if command.as_json:
        command.write_json(list(map(_document, standings)))
    elif not standings:
        command.stdout.write("No entity types.")
    else:
        command.stdout.write(
            table(
                ["type", "triggers", "tables", "reason"],
                [
                    [each.entity_type, each.state, ", ".join(each.tables), each.reason]
                    for each in standings
                ],
                prose=["tables", "reason"],
            )
        )
    return DONE


def _document(standing: TriggerStanding) -> dict[str, Any]:
    return {
        "entityType": standing.entity_type,
        "state": standing.state,
        "tables": list(standing.tables),
        "reason": standing.reason,
    }
