"""pgvector without its HNSW index, which takes longer to build than all vectors to load."""

from __future__ import annotations

from ai_migration.stores.pgvector import PgVectorStore
from ai_migration.types import CollectionRef


class UnindexedPgVectorStore(PgVectorStore):
    """Builds nothing after the load."""

    def optimize(self, collection: CollectionRef) -> None:
        """Do nothing."""
