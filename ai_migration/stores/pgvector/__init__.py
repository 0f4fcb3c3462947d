"""PostgreSQL with pgvector."""

from __future__ import annotations

from ai_migration.stores.pgvector.store import PgVectorStore

__all__ = ["PgVectorStore"]
