"""``manage.py ai_migration verify``: compare source, ledger and store in the foreground."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from django.core.management.base import CommandParser

from ai_migration.engine.readiness import require_ready
from ai_migration.entities import registry
from ai_migration.exceptions import AIMigrationError, NotIndexedError
from ai_migration.jobs.findings import Findings
from ai_migration.jobs.report.verification import Verification
from ai_migration.jobs.service import migration_service
from ai_migration.management.base import DONE, FAILED, ServiceCommand
from ai_migration.management.foreground import Foreground, Interrupt, resume_command
from ai_migration.management.tables import table
from ai_migration.types import JobStatus
from ai_migration.words import counted

_SHOWN = 5
"""Entities that the table names of each kind; the JSON document has more."""


def add_arguments(parser: CommandParser) -> None:
    """Add the options of the action."""
    parser.add_argument(
        "types", nargs="*", metavar="TYPE", help="Entity types; default: all that have an index."
    )
    parser.add_argument(
        "--repair", action="store_true", help="Bring in line what differs, and only that."
    )
    parser.add_argument(
        "--allow-removals",
        action="store_true",
        help="Allow the repair to remove more than half of a large index.",
    )
    parser.add_argument(
        "--noinput", "--no-input", action="store_false", dest="interactive", help="Never ask."
    )


def run(command: ServiceCommand, *, types: Sequence[str], repair: bool, **options: Any) -> int:
    """Verify one entity type after the other. If one cannot be verified, the others are.

    Returns:
        The exit code: 0 if all agree, or were repaired; after a signal that of the signal.
    """
    require_ready()  # before a job is started that this process could not work for
    names = _names(types)
    if repair and not _confirmed(command, names, is_asked=options["interactive"]):
        command.stderr.write("Nothing was changed.")
        return FAILED
    interrupt = Interrupt()
    found, refused = [], 0
    with interrupt.caught():
        for name in names:
            try:
                job = migration_service.verify(
                    name,
                    repair=repair,
                    allow_removals=options["allow_removals"],
                    created_by="terminal",
                )
            except AIMigrationError as error:
                if len(names) == 1:
                    raise
                command.stderr.write(f"{name}: {error.message}")
                refused += 1
                continue
            found.append(_work(command, job.pk, interrupt))
            if interrupt.signal is not None:
                break
    if command.as_json:
        documents = [Verification.of(each) for each, _ in found]
        command.write_json(documents[0] if len(documents) == 1 else documents)
    if interrupt.signal is not None:
        return 128 + interrupt.signal
    return FAILED if refused or not all(is_well for _, is_well in found) else DONE


def describe(found: Findings) -> str:
    """Return the result of a verify as text: one sentence, and a table of what differs."""
    seen = (
        f"{counted(found.source_rows, 'source row')}, {found.ledger_rows:,} in the ledger, "
        f"{counted(found.vectors, 'vector')}"
    )
    if found.status != JobStatus.COMPLETED:
        head = f"{found.entity_type}: not all was compared ({found.status}); so far {seen}."
    elif found.agrees:
        head = f"{found.entity_type}: source, ledger and store agree: {seen}."
    else:
        head = f"{found.entity_type}: {counted(found.differences, 'difference')}: {seen}."
    lines = [head]
    if found.pending:
        lines.append(f"Pending, no difference: {found.pending:,}, of which a change is under way.")
    if found.failed:
        lines.append(f"Listed as failed, no difference: {_examples(found, 'failed', found.failed)}")
    if found.differences:
        rows = [
            [str(kind.label), f"{count:,}", _examples(found, kind, count)]
            for kind, count in found.by_kind.items()
            if count
        ]
        lines.append(table(["difference", "count", "for example"], rows, prose=["difference"]))
    return "\n".join(lines)


def _examples(found: Findings, kind: str, count: int) -> str:
    ids = found.samples.get(kind, [])[:_SHOWN]
    return ", ".join([*ids, "…"] if count > len(ids) else ids)


def _names(types: Sequence[str]) -> list[str]:
    if types:
        for name in types:
            registry.get(name)  # check all names before the first is started
        return list(dict.fromkeys(types))
    indexed = [each.entity_type for each in migration_service.list_entities() if each.collection]
    if not indexed:
        raise NotIndexedError(
            "No entity type has an index to verify yet. Build one with: "
            "manage.py migrate_ai_entities TYPE"
        )
    return indexed


def _confirmed(command: ServiceCommand, names: Sequence[str], *, is_asked: bool) -> bool:
    if not is_asked or command.as_json or not sys.stdin.isatty():
        return True
    answer = input(
        f"Embed what is missing or wrong in the index of {', '.join(names)}, and remove what is "
        f"left over? [y/N] "
    )
    return answer.strip().lower() in {"y", "yes"}


def _work(command: ServiceCommand, job_id: str, interrupt: Interrupt) -> tuple[Findings, bool]:
    """Work for a job until it ends; return what it found, and whether all is well now."""
    quiet = command.as_json
    if not quiet:
        command.stdout.write(f"Job {job_id}")
    progress = Foreground(job_id, command.stdout, quiet=quiet, interrupt=interrupt).run()
    found = migration_service.get_findings(job_id)
    is_done = progress.status == JobStatus.COMPLETED and not progress.failed
    is_well = found.agrees or (is_done and found.repair)
    if quiet:
        return found, is_well
    command.stdout.write(describe(found))
    if progress.status in (JobStatus.PAUSED, JobStatus.FAILED):
        if progress.error_message:
            command.stdout.write(progress.error_message)
        command.stdout.write(f"Resume with: {resume_command(job_id)}")
    elif found.repair and found.differences:
        command.stdout.write(
            "All of it is repaired."
            if is_well
            else f"Not all of it could be repaired: manage.py ai_migration show {job_id}"
        )
    elif found.differences:
        command.stdout.write(
            f"Repair it with: manage.py ai_migration verify {found.entity_type} --repair"
        )
    return found, is_well
