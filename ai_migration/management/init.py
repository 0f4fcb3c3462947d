"""``ai_migration init``: writes a first ``ai-entity-config.yml``, and never overwrites one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from ai_migration.conf import entity_config_path
from ai_migration.entities import registry
from ai_migration.entities.drafting.draft import ConfigDraft, draft_config
from ai_migration.exceptions import EntityConfigError
from ai_migration.management.base import DONE, ServiceCommand


def add_arguments(parser: CommandParser) -> None:
    """Add the arguments of ``init``."""
    parser.add_argument(
        "apps",
        nargs="*",
        metavar="APP",
        help="Labels of apps; default: those of the project, not of installed packages.",
    )
    parser.add_argument(
        "--stdout", dest="prints", action="store_true", help="Print the file, and write nothing."
    )


def run(command: ServiceCommand, *, apps: list[str], prints: bool, **_: Any) -> int:
    """Draft the config, and write it or print it.

    Raises:
        EntityConfigError: The file is there, or cannot be written.
        InvalidRequestError: There is no such app, or no model with text.
    """
    draft = draft_config(apps)
    path = None if prints else _path()
    if path is not None:
        _write(path, draft.text)
        registry.reset()
    if command.as_json:
        where = {"config": draft.text} if path is None else {"path": str(path)}
        command.write_json({**where, "entityTypes": draft.entity_types})
    elif path is None:
        command.stdout.write(draft.text, ending="")
    else:
        command.stdout.write(_summary(path, draft))
    return DONE


def _path() -> Path:
    path = entity_config_path()
    if path is None:
        raise EntityConfigError(
            "AI_MIGRATION['ENTITY_CONFIG'] is None: no file is read. Set it to a path, or print "
            "the file with: manage.py ai_migration init --stdout"
        )
    if path.exists():
        raise _exists(path)
    return path


def _write(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise _exists(path) from None
    except OSError as error:
        raise EntityConfigError(f"{path} cannot be written: {error.strerror or error}") from error


def _exists(path: Path) -> EntityConfigError:
    return EntityConfigError(
        f"{path} exists, and is not overwritten. See what it would be with: "
        f"manage.py ai_migration init --stdout"
    )


def _summary(path: Path, draft: ConfigDraft) -> str:
    first, *more = draft.entity_types
    kind, which = ("types", "--all") if more else ("type", first)
    lines = [f"Wrote {path}, with the entity {kind} {', '.join(draft.entity_types)}."]
    if draft.declared:
        lines.append(f"Declared with @ai_capable, and not in it: {', '.join(draft.declared)}.")
    if draft.raw_html:
        lines.append(
            f"These fields hold HTML and are embedded as they are: {', '.join(draft.raw_html)}. To "
            f"turn it to text, run: pip install 'django-ai-migration[html]', and set 'html: true'."
        )
    lines.append("Look through it, and then run:")
    lines += ["  manage.py migrate", f"  manage.py migrate_ai_entities {which}"]
    return "\n".join(lines)
