"""The ledger: per collection and entity, what was indexed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.db import models
from django.utils.translation import gettext_lazy as _

from ai_migration.models.base import OwnModel
from ai_migration.models.collections import Collection

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SearchableEntity(OwnModel):
    """The state of one entity in the index. The fingerprint is the collection's.

    ``chunk_count`` 0 means: known, and nothing is in the store: its text is empty, or it
    was removed. Such a row is kept as a tombstone, so that a write made from an older
    read cannot bring the entity back.
    """

    # No database constraint: checking it costs a look-up for every row of a bulk write.
    collection = models.ForeignKey(
        Collection,
        on_delete=models.CASCADE,
        db_index=False,
        db_constraint=False,
        verbose_name=_("collection"),
    )
    entity_id = models.CharField(_("entity id"), max_length=255)
    content_hash = models.BinaryField(max_length=16, help_text=_("BLAKE2b of text and chunking."))
    metadata_hash = models.BinaryField(max_length=16)
    chunk_count = models.PositiveIntegerField(_("chunk count"))
    checksum = models.BigIntegerField(
        null=True, help_text=_("Of its vectors, to find them replaced; null: unknown.")
    )
    version = models.PositiveBigIntegerField(
        help_text=_("When the read it was made from ended: microseconds since 1970.")
    )

    class Meta(OwnModel.Meta):
        db_table = "ai_searchable_entities"
        verbose_name = _("searchable entity")
        verbose_name_plural = _("searchable entities")
        constraints = [
            models.UniqueConstraint(
                fields=["collection", "entity_id"], name="ai_searchable_entities_once"
            ),
        ]

    def __str__(self) -> str:
        return self.entity_id

    @property
    def indexed_at(self) -> datetime:
        """The time at which the source row was read."""
        return _EPOCH + timedelta(microseconds=self.version)
