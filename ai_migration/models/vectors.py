"""Vectors kept in the application's own database, for ``stores.database``."""

from __future__ import annotations

from django.db import models

from ai_migration.models.base import OwnModel
from ai_migration.models.collections import Collection


class StoredVector(OwnModel):
    """One vector of one chunk of one entity: float32, little endian, in a binary column."""

    # No database constraint: checking it costs a look-up for every row of a bulk write.
    collection = models.ForeignKey(
        Collection, on_delete=models.CASCADE, db_index=False, db_constraint=False
    )
    entity_id = models.CharField(max_length=255)
    chunk = models.PositiveIntegerField()
    vector = models.BinaryField()
    metadata = models.JSONField(null=True)

    class Meta(OwnModel.Meta):
        db_table = "ai_vectors"
        constraints = [
            models.UniqueConstraint(
                fields=["collection", "entity_id", "chunk"], name="ai_vectors_one_per_chunk"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.entity_id}#{self.chunk}"
