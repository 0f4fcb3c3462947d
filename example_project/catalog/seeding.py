"""Rows for the shop: varied, and always the same for the same seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import TypeVar

from django.core.management.color import no_style
from django.db import connections, models, router, transaction
from django.db.models import Max
from django.utils.text import slugify

from catalog import words
from catalog.models import Category, Order, OrderLine, Product

BATCH_SIZE = 5000
EPOCH = datetime(2020, 1, 1, tzinfo=UTC)
STEP = timedelta(minutes=13)
SKU_PREFIX = "DEMO"
ORDER_PREFIX = "ORD"

M = TypeVar("M", bound=models.Model)
Progress = Callable[[int], None]


def seed_categories() -> dict[str, Category]:
    """Create missing categories, and return all of them by slug."""
    for group in words.GROUPS:
        parent, _ = Category.objects.get_or_create(
            slug=slugify(group.parent), defaults={"name": group.parent}
        )
        Category.objects.get_or_create(
            slug=_slug(group), defaults={"name": group.name, "parent": parent}
        )
    return {category.slug: category for category in Category.objects.all()}


def seed_products(count: int, seed: int, progress: Progress) -> int:
    """Create the first ``count`` products of a seed; existing ones are not touched.

    Args:
        count: Number of products of this seed.
        seed: Seed of the products.
        progress: Called after each batch with the number of products so far.

    Returns:
        Number of rows created.
    """
    categories = seed_categories()
    prefix = f"{SKU_PREFIX}{seed}-"
    last = Product.objects.filter(sku__startswith=prefix).aggregate(last=Max("sku"))["last"]
    start = _number(last)

    def product(number: int) -> Product:
        return make_product(number, seed, f"{prefix}{number:09d}", categories)

    for first, batch in _batches(start, count, product):
        Product.objects.bulk_create(batch)
        progress(first + len(batch))
    return max(0, count - start)


def seed_orders(count: int, seed: int, progress: Progress) -> int:
    """Create the first ``count`` orders of a seed, each of one to four seeded products.

    Returns:
        Number of rows created.
    """
    products = list(
        Product.objects.filter(sku__startswith=f"{SKU_PREFIX}{seed}-")
        .order_by("sku")
        .values_list("pk", flat=True)[:100_000]
    )
    prefix = f"{ORDER_PREFIX}{seed}-"
    last = Order.objects.filter(number__startswith=prefix).aggregate(last=Max("number"))["last"]
    start = _number(last)

    def order(number: int) -> Order:
        return make_order(number, seed, f"{prefix}{number:09d}")

    for first, batch in _batches(start, count, order):
        with transaction.atomic():
            Order.objects.bulk_create(batch)
            saved = batch
            if any(order.pk is None for order in batch):  # MySQL does not say the keys
                saved = list(Order.objects.filter(number__in=[order.number for order in batch]))
            OrderLine.objects.bulk_create(
                line for order in saved for line in _lines(order, seed, products)
            )
        progress(first + len(batch))
    return max(0, count - start)


def clear() -> None:
    """Empty the shop; keys start at 1 again."""
    tables = [model._meta.db_table for model in (OrderLine, Order, Product, Category)]
    connection = connections[router.db_for_write(Product)]
    statements = connection.ops.sql_flush(no_style(), tables, reset_sequences=True)
    connection.ops.execute_sql_flush(statements)


def make_product(number: int, seed: int, sku: str, categories: dict[str, Category]) -> Product:
    """Return the product of this number, with about 300 characters of text."""
    random = Random(seed << 40 | number)
    pick = random.choice
    group = pick(words.GROUPS)
    colour, material, quality = pick(words.COLOURS), pick(words.MATERIALS), pick(words.QUALITIES)
    brand, noun = pick(words.BRANDS), pick(group.nouns)
    weight = random.randrange(80, 9000)
    values = {
        "material": material,
        "quality": pick(words.QUALITIES),
        "colour": colour,
        "colour2": pick(words.COLOURS),
        "weight": weight,
        "months": random.randrange(2, 25),
        "years": random.randrange(2, 11),
        "since": random.randrange(1790, 1999),
    }
    article = "An" if quality[0] in "aeiou" else "A"
    opening = f"{article} {quality} {noun} for {pick(group.uses)}."
    sentences = random.sample(words.SENTENCES, 4)
    created_at = EPOCH + number * STEP
    return Product(
        name=f"{brand} {quality} {noun}, {colour}",
        sku=sku,
        description=" ".join([opening, *sentences]).format_map(values),
        brand=brand,
        price=Decimal(random.randrange(500, 90_000)) / 100,
        category=categories[_slug(group)],
        attributes={"colour": colour, "material": material, "weight": weight},
        is_active=random.random() < 0.95,
        created_at=created_at,
        updated_at=created_at,
    )


def make_order(number: int, seed: int, order_number: str) -> Order:
    """Return the order of this number."""
    random = Random(seed << 40 | number)
    return Order(
        number=order_number,
        customer_name=f"{random.choice(words.FIRST_NAMES)} {random.choice(words.LAST_NAMES)}",
        status=random.choice(Order.Status.values),
        note=random.choice(words.NOTES),
        created_at=EPOCH + number * STEP,
    )


def _lines(order: Order, seed: int, products: list[int]) -> Iterator[OrderLine]:
    random = Random(seed << 40 | _number(order.number))
    for product_id in random.sample(products, min(len(products), random.randint(1, 4))):
        yield OrderLine(order=order, product_id=product_id, quantity=random.randint(1, 3))


def _batches(start: int, count: int, make: Callable[[int], M]) -> Iterator[tuple[int, list[M]]]:
    """Yield rows ``start + 1`` to ``count`` in batches, each with the number of rows before it."""
    for first in range(start, count, BATCH_SIZE):
        last = min(first + BATCH_SIZE, count)
        yield first, [make(number) for number in range(first + 1, last + 1)]


def _number(code: str | None) -> int:
    return int(code.rpartition("-")[2]) if code else 0


def _slug(group: words.Group) -> str:
    return slugify(f"{group.parent} {group.name}")
