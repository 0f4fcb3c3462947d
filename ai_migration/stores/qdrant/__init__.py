"""Qdrant, in a process of its own or local."""

from __future__ import annotations

from ai_migration.stores.qdrant.store import QdrantStore

__all__ = ["QdrantStore"]
