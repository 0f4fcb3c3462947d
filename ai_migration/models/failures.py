"""Failures: the entities that could not be indexed, each with its error."""

from __future__ import annotations

from django.db import models
from django.db.models import Case, F, When
from django.utils.translation import gettext_lazy as _

from ai_migration.models.base import OwnModel
from ai_migration.models.collections import Collection
from ai_migration.models.jobs import MigrationJob
from ai_migration.models.sql.clock import MomentField


class EntityFailure(OwnModel):
    """One entity that could not be indexed, with its error. Deleted when a retry succeeds."""

    job = models.ForeignKey(
        MigrationJob, null=True, on_delete=models.CASCADE, related_name="failures", db_index=False
    )
    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, db_index=False)
    entity_id = models.CharField(_("entity id"), max_length=255)
    error_code = models.CharField(_("error code"), max_length=50)
    error = models.TextField(help_text=_("Without secrets and without the text itself."))
    attempts = models.PositiveIntegerField(_("attempts"), default=1)
    first_failed_at = MomentField(auto_now_add=True)
    last_failed_at = MomentField(auto_now=True)
    live_in = models.GeneratedField(  # unique, as `Collection.role`
        expression=Case(When(job=None, then=F("collection"))),
        output_field=models.BigIntegerField(null=True),
        db_persist=True,
    )

    class Meta(OwnModel.Meta):
        db_table = "ai_entity_failures"
        verbose_name = _("entity failure")
        verbose_name_plural = _("entity failures")
        constraints = [
            models.UniqueConstraint(fields=["job", "entity_id"], name="ai_entity_failures_once"),
            models.UniqueConstraint(
                fields=["live_in", "entity_id"], name="ai_entity_failures_live"
            ),
        ]
        indexes = [
            models.Index(fields=["collection", "entity_id"], name="ai_entity_failures_entity"),
            models.Index(fields=["last_failed_at"], name="ai_entity_failures_recent"),
        ]

    def __str__(self) -> str:
        return f"{self.entity_id}: {self.error_code}"
