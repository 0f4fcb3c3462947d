"""Worker slots: the leases of workers."""

from __future__ import annotations

from django.db import models

from ai_migration.models.base import OwnModel
from ai_migration.models.sql.clock import MomentField


class WorkerSlot(OwnModel):
    """A place for one worker. Holding it is a lease by the database's clock; each
    holder gets a new fencing ``token``, which all its claims carry."""

    name = models.CharField(max_length=255, unique=True)
    token = models.PositiveBigIntegerField(default=0, db_column="generation")
    lease_expires_at = MomentField(null=True)
    holder = models.CharField(max_length=255, blank=True, default="", help_text="host:pid")
    last_seen_at = MomentField(null=True)
    woken_at = MomentField(null=True, help_text="When a worker was last asked to take this slot.")

    class Meta(OwnModel.Meta):
        db_table = "ai_worker_slots"

    def __str__(self) -> str:
        return f"{self.name} (token {self.token})"
