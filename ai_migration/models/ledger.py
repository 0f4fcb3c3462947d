"""The ledger: per collection and entity, what was indexed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.db import models

from ai_migration.models.collections import Collection

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SearchableEntity(models.Model):
    """What the index has of one entity. The embed fingerprint is the collection's.

    ``chunk_count`` 0 means: known, and nothing is in the store: its text is empty, or it
    was removed. Such a row is kept as a tombstone, so that a write made from an older
    read cannot bring the entity back.
    """

    # No database constraint: checking it costs a look-up for every row of a bulk write.
    collection = models.ForeignKey(
        Collection, on_delete=models.CASCADE, db_index=False, db_constraint=False
    )
    entity_id = models.CharField(max_length=255)
    content_hash = models.BinaryField(max_length=16, help_text="BLAKE2b of text and chunking.")
    metadata_hash = models.BinaryField(max_length=16)
    chunk_count = models.PositiveIntegerField()
    version = models.PositiveBigIntegerField(
        help_text="When the read it was made from ended: microseconds since 1970."
    )

    class Meta:
        db_table = "ai_searchable_entities"
        constraints = [
            models.UniqueConstraint(
                fields=["collection", "entity_id"], name="ai_searchable_entities_once"
            ),
        ]
        verbose_name_plural = "searchable entities"

    def __str__(self) -> str:
        return self.entity_id

    @property
    def indexed_at(self) -> datetime:
        """When the source row was read."""
        return _EPOCH + timedelta(microseconds=self.version)
