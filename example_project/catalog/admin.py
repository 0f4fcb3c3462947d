"""The shop in the admin: failures and indexed entities link to these pages."""

from __future__ import annotations

from django.contrib import admin  # noqa: TID251  (a project, not the library)

from catalog.models import Category, Order, Product


@admin.register(Category)
class CategoryAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Categories of products."""

    search_fields = ["name"]


@admin.register(Product)
class ProductAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Products."""

    list_display = ["name", "sku", "brand", "price"]
    list_select_related = ["category"]
    search_fields = ["name", "sku"]
    raw_id_fields = ["category"]


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Orders."""

    list_display = ["number", "customer_name", "status", "created_at"]
    search_fields = ["number", "customer_name"]
