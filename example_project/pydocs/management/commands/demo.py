"""``manage.py demo``: everything from an empty database to a search."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.text import Text

from ai_migration import migration_service, search
from ai_migration.exceptions import AIMigrationError
from ai_migration.models import MigrationJob
from ai_migration.types import JobStatus
from pydocs.introspect import STANDARD_LIBRARY, UnknownPackageError, UnreadablePackageError
from pydocs.loading import load_package

ENTITY_TYPE = "pydoc"
QUERIES = (
    "compress a file",
    "parse command line arguments",
    "wait for several threads to finish",
)


class Command(BaseCommand):
    """Migrate the database, load real text, index it and search it. Safe to run again."""

    help = "Index the documentation of Python's standard library, and search it."
    # There may be no table yet.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Add ``--package``."""
        parser.add_argument(
            "--package",
            action="append",
            default=[],
            metavar="NAME",
            help="also index this installed package, by its import name; may be repeated",
        )

    def handle(self, *args: Any, package: list[str], **options: Any) -> None:
        """Run all steps; a second run reports that nothing has changed."""
        self.console = Console(file=self.stdout, highlight=False)  # type: ignore[arg-type]
        try:
            call_command("migrate", verbosity=0, interactive=False)
            self._load(package)
            self._index()
            self._search()
        except AIMigrationError as error:
            raise CommandError(error.message) from error
        except KeyboardInterrupt:
            self.console.print("\nStopped. Run the demo again to continue where it stopped.")
            sys.exit(130)
        self._next_steps()

    def _load(self, packages: list[str]) -> None:
        self._headline("Reading documentation out of this Python")
        for name in dict.fromkeys([STANDARD_LIBRARY, *packages]):
            try:
                loaded = load_package(name)
            except (UnknownPackageError, UnreadablePackageError) as error:
                raise CommandError(str(error)) from error
            self.console.print(f"  {loaded}")

    def _index(self) -> None:
        self._headline("Indexing it with an embedding model that runs right here")
        last = self._last_job()
        if last is not None and (not last.is_finished or last.status == JobStatus.FAILED):
            self.console.print("  Continuing where the last run stopped.")
            call_command("migrate_ai_entities", resume=last.pk, stdout=self.stdout)
        else:
            call_command("migrate_ai_entities", ENTITY_TYPE, stdout=self.stdout)
        job = self._last_job()
        if job is None or job.status != JobStatus.COMPLETED:
            raise CommandError("The index is not complete. Run the demo again to continue.")
        if not (job.indexed_entities or job.removed_entities or job.failed_entities):
            self.console.print("  Nothing has changed: no text was embedded again.")

    def _last_job(self) -> MigrationJob | None:
        return next(iter(migration_service.list_jobs(entity_type=ENTITY_TYPE, limit=1)), None)

    def _search(self) -> None:
        self._headline("Searching by meaning")
        for query in QUERIES:
            hits = search(ENTITY_TYPE, query, limit=5)
            self.console.print(Text(f"\n  {query}", style="bold cyan"))
            names = [str(hit.metadata["qualified_name"]) for hit in hits]
            width = max(map(len, names), default=0)
            for name, hit in zip(names, hits, strict=True):
                summary = hit.text.splitlines()[-1] if hit.text else ""
                line = Text(f"    {hit.score:.2f}  ", style="dim")
                line.append(f"{name:<{width}}  ", style="not dim green")
                line.append(summary, style="not dim")
                self.console.print(line, no_wrap=True, overflow="ellipsis")

    def _next_steps(self) -> None:
        manage = _manage()
        self._headline("What next?")
        for what, command in (
            (
                "Search for something else",
                f'ai_migration search {ENTITY_TYPE} "draw random numbers"',
            ),
            ("Add a package you use", "demo --package django"),
            (
                "What a run would do, without doing it",
                f"migrate_ai_entities {ENTITY_TYPE} --dry-run",
            ),
            ("A shop with 100,000 products", "seed_catalog --products 100000"),
            ("Index it; press Ctrl-C to pause", "migrate_ai_entities product"),
            ("The jobs so far", "ai_migration jobs"),
        ):
            self.console.print(f"  [dim]# {what}[/]")
            self.console.print(Text(f"  {manage} {command}"), soft_wrap=True)

    def _headline(self, text: str) -> None:
        self.console.print(f"\n[bold]{text}[/]")


def _manage() -> str:
    """Return how this command was called, to be copied."""
    python = Path(sys.executable)
    if python.is_relative_to(Path.cwd()):
        python = python.relative_to(Path.cwd())
    return shlex.join([str(python), sys.argv[0]])
