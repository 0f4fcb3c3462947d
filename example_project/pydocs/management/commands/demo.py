"""``manage.py demo``: everything from an empty database to a search."""

from __future__ import annotations

import secrets
import sys
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.urls import reverse
from rich.console import Console
from rich.text import Text

from ai_migration import migration_service
from ai_migration.exceptions import AIMigrationError
from ai_migration.management.calling import command_line
from ai_migration.models import MigrationJob
from ai_migration.types import JobStatus
from pydocs.introspect import STANDARD_LIBRARY, UnknownPackageError, UnreadablePackageError
from pydocs.loading import load_package
from pydocs.questions import ENTITY_TYPE, answered

USER = "demo"
PORT = 8000


class Command(BaseCommand):
    """Migrate the database, load real text, index it and search it. Safe to run again."""

    help = "Index the documentation of Python's standard library, and search it by meaning."
    # There may be no table yet.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Add ``--package`` and ``--serve``."""
        parser.add_argument(
            "--package",
            action="append",
            default=[],
            metavar="NAME",
            help="also index this installed package, by its import name; may be repeated",
        )
        parser.add_argument(
            "--serve",
            nargs="?",
            type=int,
            const=PORT,
            metavar="PORT",
            help=f"then serve the admin on this machine, for a user made for it; default: {PORT}",
        )

    def handle(
        self, *args: Any, package: list[str], serve: int | None = None, **options: Any
    ) -> None:
        """Run all steps; a second run reports that nothing has changed."""
        self.console = Console(file=self.stdout, highlight=False)  # type: ignore[arg-type]
        try:
            call_command("migrate", verbosity=0, interactive=False)
            self._load(package)
            self._index()
            for name in dict.fromkeys(package) or [STANDARD_LIBRARY]:
                self._search(name)
        except AIMigrationError as error:
            raise CommandError(error.message) from error
        except KeyboardInterrupt:
            self.console.print("\nStopped. Run the demo again to continue where it stopped.")
            sys.exit(130)
        if serve is None:
            self._next_steps()
        else:
            self._serve(serve)

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

    def _search(self, package: str) -> None:
        self._headline(f"Searching {package} by meaning: the answers have other words")
        for question, hits in answered(package):
            self.console.print(Text(f"\n  {question}", style="bold cyan"))
            names = [str(hit.metadata["qualified_name"]) for hit in hits]
            width = max(map(len, names), default=0)
            for name, hit in zip(names, hits, strict=True):
                summary = hit.text.splitlines()[-1] if hit.text else ""
                line = Text(f"    {hit.score:.2f}  ", style="dim")
                line.append(f"{name:<{width}}  ", style="not dim green")
                line.append(summary, style="not dim")
                self.console.print(line, no_wrap=True, overflow="ellipsis")

    def _next_steps(self) -> None:
        self._headline("What next?")
        for what, command, arguments in (
            ("See the index and its jobs in Django's admin", "demo", "--serve"),
            ("Search for something else", "ai_migration", f'search {ENTITY_TYPE} "open a website"'),
            ("Search the documentation of a package you use", "demo", "--package django"),
            ("What a run would do, without doing it", "migrate_ai_entities", "pydoc --dry-run"),
            ("A shop with 100,000 products", "seed_catalog", "--products 100000"),
            ("Index it; press Ctrl-C to pause", "migrate_ai_entities", "product"),
            ("The jobs so far", "ai_migration", "jobs"),
        ):
            typed = command_line(command) or f"python manage.py {command}"
            self.console.print(f"  [dim]# {what}[/]")
            self.console.print(Text(f"  {typed} {arguments}"), soft_wrap=True)

    def _serve(self, port: int) -> None:
        """Serve the admin to this machine only, until Ctrl-C."""
        password = secrets.token_urlsafe(9)
        user, _ = get_user_model()._default_manager.get_or_create(
            username=USER, defaults={"is_staff": True, "is_superuser": True}
        )
        user.set_password(password)
        user.save()
        page = reverse("admin:ai_migration_dashboard_changelist")
        self._headline("The dashboard")
        self.console.print(f"  http://127.0.0.1:{port}{page}", soft_wrap=True)
        self.console.print(Text(f"  user {USER}, password {password} (until the next --serve)\n"))
        # Without DEBUG, which keeps every statement in memory.
        options = {"use_reloader": False, "insecure_serving": True}
        call_command("runserver", f"127.0.0.1:{port}", stdout=self.stdout, **options)

    def _headline(self, text: str) -> None:
        self.console.print(f"\n[bold]{text}[/]")
