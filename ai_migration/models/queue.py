"""The indexing queue: durable work, one entry is a batch and not a row."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from ai_migration.models.base import OwnModel
from ai_migration.models.jobs import MigrationJob
from ai_migration.models.sql.clock import MomentField
from ai_migration.models.workers import WorkerSlot
from ai_migration.types import EntryStatus, Operation, Priority

OPEN_ENTRIES = (EntryStatus.PENDING, EntryStatus.CLAIMED)
"""States of an entry whose work is not done yet."""


class QueueEntry(OwnModel):
    """A primary-key range of one entity type (of a job), or explicit ids (of live changes).

    A range is ``lower < key <= upper``; ``lower`` is null for the first one. An EXPAND entry is
    one change that touches many rows: those of a range, or those that read the related rows
    ``entity_ids`` over the relation ``path``.
    A claimed entry belongs to ``claimed_by`` under the slot's token ``fence``.
    """

    job = models.ForeignKey(
        MigrationJob, null=True, on_delete=models.CASCADE, related_name="entries", db_index=False
    )
    entity_type = models.CharField(_("entity type"), max_length=255)
    operation = models.CharField(_("operation"), max_length=10, choices=Operation)
    priority = models.PositiveSmallIntegerField(_("priority"), choices=Priority)
    status = models.CharField(
        _("status"), max_length=10, choices=EntryStatus, default=EntryStatus.PENDING
    )
    lower = models.JSONField(null=True)
    upper = models.JSONField(null=True)
    entity_ids = models.JSONField(null=True)
    path = models.CharField(
        max_length=255,
        blank=True,
        default="",
        db_default="",  # workers of the version before do not know it
        help_text=_("Relation over which rows read the changed ones; empty: their own rows."),
    )
    coalescing_key = models.CharField(  # noqa: DJ001  # null: never the same as another
        null=True,
        max_length=255,
        help_text=_("Changes with the same key are one entry until it is claimed."),
    )

    available_at = MomentField(null=True, help_text=_("Not before; null: at once."))
    attempts = models.PositiveIntegerField(
        _("attempts"),
        default=0,
        help_text=_("Failed attempts; being throttled or deferred does not count."),
    )
    claims = models.PositiveIntegerField(
        default=0,
        help_text=_("Claims that no worker came back from, and the present one."),
    )
    claimed_by = models.ForeignKey(
        WorkerSlot, null=True, on_delete=models.SET_NULL, related_name="entries", db_index=False
    )
    fence = models.PositiveBigIntegerField(default=0)
    claimed_at = MomentField(null=True)
    created_at = MomentField(default=timezone.now)
    completed_at = MomentField(null=True)
    error = models.TextField(blank=True, default="")

    indexed = models.PositiveIntegerField(default=0)
    skipped = models.PositiveIntegerField(default=0)
    removed = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)

    class Meta(OwnModel.Meta):
        db_table = "ai_indexing_queue"
        verbose_name = _("queue entry")
        verbose_name_plural = _("queue entries")
        constraints = [
            models.CheckConstraint(
                condition=Q(status__in=EntryStatus.values), name="ai_indexing_queue_status"
            ),
            models.CheckConstraint(
                condition=Q(job__isnull=False) | Q(entity_ids__isnull=False),
                name="ai_indexing_queue_has_work",
            ),
        ]
        indexes = [
            models.Index(fields=["status", "priority", "id"], name="ai_indexing_queue_next"),
            models.Index(fields=["status", "job", "id"], name="ai_indexing_queue_job"),
            models.Index(fields=["status", "claims"], name="ai_indexing_queue_suspects"),
            # Without the status: MySQL checks the foreign key again with each change of the
            # index it uses for it, and would lock the job's row for each entry.
            models.Index(fields=["job"], name="ai_indexing_queue_of_job"),
            models.Index(
                fields=["entity_type", "coalescing_key"], name="ai_indexing_queue_coalesce"
            ),
        ]

    def __str__(self) -> str:
        return f"#{self.pk} {self.operation} {self.entity_type} {self.status}"

    @property
    def rows(self) -> int:
        """The number of entities it processed; 0 before it is completed."""
        return self.indexed + self.skipped + self.removed + self.failed
