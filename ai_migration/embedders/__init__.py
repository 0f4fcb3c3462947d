"""Embedders by alias: ``embedders["default"]``."""

from __future__ import annotations

from ai_migration.backends import BackendRegistry
from ai_migration.embedders.base import Embedder

embedders: BackendRegistry[Embedder] = BackendRegistry("EMBEDDERS", lambda: Embedder)

__all__ = ["Embedder", "embedders"]
