"""``manage.py seed_catalog``."""

from __future__ import annotations

import sys
from argparse import ArgumentTypeError
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ai_migration.words import counted
from catalog.models import Order, Product
from catalog.seeding import clear, seed_orders, seed_products

MAX_ROWS = 10**9 - 1
MAX_SEED = 10**6


def _number(maximum: int) -> Any:
    def parse(value: str) -> int:
        if value.isascii() and value.isdigit() and int(value) <= maximum:
            return int(value)
        raise ArgumentTypeError(f"{value!r} is not a whole number from 0 to {maximum:,}")

    return parse


class Command(BaseCommand):
    """Fill the shop. Running it again adds only missing rows."""

    help = "Create products and orders, always the same for the same seed."
    requires_migrations_checks = True

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the numbers, the seed and ``--reset``."""
        rows, seed = _number(MAX_ROWS), _number(MAX_SEED)
        parser.add_argument("--products", type=rows, default=1000, metavar="N")
        parser.add_argument("--orders", type=rows, default=0, metavar="N")
        parser.add_argument("--seed", type=seed, default=0, metavar="N")
        parser.add_argument(
            "--reset", action="store_true", help="delete all products, orders and categories first"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Create missing rows."""
        products, orders, seed = options["products"], options["orders"], options["seed"]
        if orders and not products:
            raise CommandError("Orders need products: use --products as well.")
        if options["reset"]:
            clear()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        shown = options["verbosity"] > 0 and sys.stdout.isatty()
        with Progress(*columns, TimeRemainingColumn(), disable=not shown) as bars:
            made = 0
            for name, count, make in (
                ("products", products, seed_products),
                ("orders", orders, seed_orders),
            ):
                if count:
                    task = bars.add_task(name, total=count)
                    made += make(
                        count, seed, lambda done, task=task: bars.update(task, completed=done)
                    )
                    bars.update(task, completed=count)
        if options["verbosity"]:
            counts = (Product.objects.count(), "product"), (Order.objects.count(), "order")
            there = " and ".join(counted(*each) for each in counts)
            self.stdout.write(f"Created {counted(made, 'row')}. There are now {there}.")
