"""The engine's metrics, minute by minute."""

from __future__ import annotations

from django.db import models

from ai_migration.models.base import OwnModel
from ai_migration.models.sql.clock import MomentField
from ai_migration.models.workers import WorkerSlot


class EngineMetrics(OwnModel):
    """One minute of one worker slot. Written once a slice, and only if it did something."""

    minute = MomentField()
    slot = models.ForeignKey(
        WorkerSlot, on_delete=models.CASCADE, related_name="metrics", db_index=False
    )
    slices = models.PositiveBigIntegerField(default=0)
    claims = models.PositiveBigIntegerField(default=0, help_text="Entries that were claimed.")
    batches = models.PositiveBigIntegerField(default=0, help_text="Batches that were written.")
    batch_seconds = models.FloatField(
        default=0.0, help_text="From read to written, added up over the batches."
    )
    entities = models.PositiveBigIntegerField(default=0)
    texts = models.PositiveBigIntegerField(default=0, help_text="Texts that were embedded.")
    recoveries = models.PositiveBigIntegerField(
        default=0, help_text="Entries of dead workers that were requeued."
    )
    leases_lost = models.PositiveBigIntegerField(
        db_column="fences_lost",
        default=0,
        help_text="Results dropped because another worker owned the work by then.",
    )
    freshness = models.JSONField(
        null=True,
        help_text="Live changes that became searchable, by their wait; see Freshness.",
    )

    class Meta(OwnModel.Meta):
        db_table = "ai_engine_metrics"
        constraints = [
            models.UniqueConstraint(fields=["minute", "slot"], name="ai_engine_metrics_one"),
        ]
        verbose_name_plural = "engine metrics"

    def __str__(self) -> str:
        return f"{self.slot_id} at {self.minute:%Y-%m-%d %H:%M}"
