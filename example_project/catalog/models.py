"""A shop: rows of an existing application."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.utils import timezone

from ai_migration import ai_capable


class Category(models.Model):
    """A category of products; categories form a tree."""

    name = models.CharField(max_length=100)
    slug = models.SlugField(max_length=100, unique=True)
    parent = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.CASCADE, related_name="children"
    )

    class Meta:
        verbose_name_plural = "categories"

    def __str__(self) -> str:
        return self.name


class Product(models.Model):
    """Something to sell. Its entity type is declared in ai-entity-config.yml."""

    name = models.CharField(max_length=200)
    sku = models.CharField("SKU", max_length=40, unique=True)
    description = models.TextField(blank=True)
    brand = models.CharField(max_length=100, db_index=True)
    price = models.DecimalField(max_digits=10, decimal_places=2)
    category = models.ForeignKey(Category, on_delete=models.PROTECT, related_name="products")
    attributes = models.JSONField(default=dict, blank=True)
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now, db_index=True)
    updated_at = models.DateTimeField(default=timezone.now, editable=False)

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save with a new ``updated_at``. (Not ``auto_now``: seeding twice gives the same rows.)"""
        self.updated_at = timezone.now()
        super().save(*args, **kwargs)


@ai_capable(
    entity_type="order",
    fields=[
        "number",
        "customer_name",
        "status",
        "note",
        {"name": "products__name", "label": "products"},
    ],
    metadata_fields=["number", "status"],
    created_at_field="created_at",
)
class Order(models.Model):
    """A customer's order. Its entity type is declared by the decorator."""

    class Status(models.TextChoices):
        """State of an order."""

        NEW = "new"
        PAID = "paid"
        SHIPPED = "shipped"
        RETURNED = "returned"

    number = models.CharField(max_length=40, unique=True)
    customer_name = models.CharField(max_length=200)
    status = models.CharField(max_length=10, choices=Status, default=Status.NEW)
    note = models.TextField(blank=True)
    products = models.ManyToManyField(Product, through="OrderLine", related_name="orders")
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    def __str__(self) -> str:
        return self.number


class OrderLine(models.Model):
    """One product of an order."""

    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="lines")
    product = models.ForeignKey(Product, on_delete=models.PROTECT, related_name="lines")
    quantity = models.PositiveIntegerField(default=1)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["order", "product"], name="catalog_orderline_product_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.quantity} × product {self.product_id}"
