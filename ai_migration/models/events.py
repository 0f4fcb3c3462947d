"""The audit log of jobs."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from ai_migration.models.base import OwnModel
from ai_migration.models.jobs import MigrationJob
from ai_migration.models.sql.clock import MomentField
from ai_migration.types import JobStatus


class JobEvent(OwnModel):
    """One line of a job's audit log: who moved it from which state to which, when and why. Written
    in the same transaction."""

    job = models.ForeignKey(
        MigrationJob, on_delete=models.CASCADE, related_name="events", db_index=False
    )
    at = MomentField(auto_now_add=True)
    actor = models.CharField(max_length=255, blank=True, default="")
    from_status = models.CharField(max_length=10, blank=True, choices=JobStatus)
    to_status = models.CharField(max_length=10, choices=JobStatus)
    reason = models.TextField(blank=True, default="")

    class Meta(OwnModel.Meta):
        db_table = "ai_job_events"
        verbose_name = _("job event")
        verbose_name_plural = _("job events")
        ordering = ["id"]
        indexes = [models.Index(fields=["job", "id"], name="ai_job_events_job")]

    def __str__(self) -> str:
        return f"{self.from_status or 'new'} → {self.to_status}"
