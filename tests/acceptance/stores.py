"""A store that does not share the transaction of the ledger."""

from __future__ import annotations

from django.db import connections

from ai_migration.models.vectors import StoredVector
from ai_migration.stores.database import DatabaseStore


class ElsewhereStore(DatabaseStore):
    """Keeps its vectors in the database `other`."""

    @property
    def using(self) -> str:
        return "other"

    @staticmethod
    def create_table() -> None:
        """Make the table, which the migrations make in `default` only."""
        with connections["other"].schema_editor() as editor:
            editor.create_model(StoredVector)
