"""``manage.py load_pydocs``."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from pydocs.introspect import STANDARD_LIBRARY, UnknownPackageError, UnreadablePackageError
from pydocs.loading import load_package


class Command(BaseCommand):
    """Load documentation; running it again writes only differences."""

    help = "Load the documentation of Python's standard library, and of other packages."
    requires_migrations_checks = True

    def add_arguments(self, parser: CommandParser) -> None:
        """Add ``--package``."""
        parser.add_argument(
            "--package",
            action="append",
            default=[],
            metavar="NAME",
            help="also load this installed package, by its import name; may be repeated",
        )

    def handle(self, *args: Any, package: list[str], **options: Any) -> None:
        """Load the standard library and each named package."""
        for name in dict.fromkeys([STANDARD_LIBRARY, *package]):
            try:
                loaded = load_package(name)
            except (UnknownPackageError, UnreadablePackageError) as error:
                raise CommandError(str(error)) from error
            if options["verbosity"]:
                self.stdout.write(f"{loaded}")
