"""The former place of :mod:`ai_migration.entities.rows.reader`."""

from __future__ import annotations

from ai_migration.entities.rows.reader import EntityReader

__all__ = ["EntityReader"]
