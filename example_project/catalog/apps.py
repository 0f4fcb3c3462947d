"""The app of the shop."""

from __future__ import annotations

from django.apps import AppConfig


class CatalogConfig(AppConfig):
    """Products, categories and orders, in any number."""

    name = "catalog"
