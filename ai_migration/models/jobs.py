"""Jobs: one row is one migration, with its whole state."""

from __future__ import annotations

import secrets
import time
import uuid
from decimal import Decimal

from django.db import models
from django.db.models import Case, F, Q, When
from django.utils.translation import gettext_lazy as _

from ai_migration.models.base import OwnModel
from ai_migration.models.collections import Collection
from ai_migration.models.sql.clock import MomentField
from ai_migration.types import OPEN_STATUSES, JobKind, JobStatus, MigrationMode
from ai_migration.words import counted

MILLION = 1_000_000


def new_job_id() -> str:
    """``mig-`` and a time-ordered UUID (RFC 9562, version 7): newer ids sort after older."""
    value = time.time_ns() // 1_000_000 << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 0x7 << 76  # version
    value = value & ~(0x3 << 62) | 0x2 << 62  # variant
    return f"mig-{uuid.UUID(int=value)}"


class JobPhase(models.TextChoices):
    """The phase of a job: what it feeds into the queue next."""

    SOURCE = "source", "ranges of the source table"
    SWEEP = "sweep", "ranges of the ledger, to remove what the source no longer has"
    WALK = "walk", "parts of the store, to find vectors that the ledger does not know"
    RETRY = "retry", "the job's failures, to try them again"
    FINISH = "finish", "build indexes, verify, activate"
    DONE = "done", "nothing more"


class MigrationJob(OwnModel):
    """One migration, or one verify: it feeds the queue range by range and counts the results."""

    id = models.CharField(primary_key=True, max_length=64, default=new_job_id, editable=False)
    entity_type = models.CharField(_("entity type"), max_length=255)
    collection = models.ForeignKey(Collection, on_delete=models.PROTECT, related_name="jobs")
    status = models.CharField(
        _("status"), max_length=10, choices=JobStatus, default=JobStatus.PENDING
    )
    kind = models.CharField(
        _("kind"),
        max_length=10,
        choices=JobKind,
        default=JobKind.MIGRATION,
        db_default=JobKind.MIGRATION,  # workers of the version before do not know it
    )
    repair = models.BooleanField(
        _("repair"), default=False, db_default=False, help_text=_("Of what a verify finds.")
    )
    findings = models.JSONField(null=True, help_text=_("What a verify has found so far."))
    mode = models.CharField(max_length=10, choices=MigrationMode, default=MigrationMode.CHANGED)
    rebuild = models.BooleanField(default=False)
    reindex_existing = models.BooleanField(default=False)
    allow_removals = models.BooleanField(
        _("allow removals"), default=False, help_text=_("Of more than half of the index.")
    )
    filter_config = models.JSONField(default=dict)
    config_snapshot = models.JSONField(default=dict)
    superseded_configs = models.JSONField(
        default=dict,
        db_column="left_configs",
        help_text=_("Configs it followed before: when they were superseded, microseconds."),
    )

    total_entities = models.PositiveBigIntegerField(default=0)
    total_is_estimate = models.BooleanField(default=False)
    processed_entities = models.PositiveBigIntegerField(default=0)
    indexed_entities = models.PositiveBigIntegerField(default=0)
    skipped_entities = models.PositiveBigIntegerField(default=0)
    removed_entities = models.PositiveBigIntegerField(default=0)
    failed_entities = models.PositiveBigIntegerField(default=0)
    embedded_texts = models.PositiveBigIntegerField(default=0)
    embedded_tokens = models.PositiveBigIntegerField(default=0)
    reserved_tokens = models.PositiveBigIntegerField(
        default=0,
        help_text=_("Sent and not settled yet, or by workers that died: with a budget only."),
    )
    token_price = models.DecimalField(
        null=True,
        max_digits=12,
        decimal_places=6,
        help_text=_("Of a million tokens, at its start."),
    )
    max_tokens = models.PositiveBigIntegerField(null=True)
    max_cost = models.DecimalField(null=True, max_digits=12, decimal_places=2)

    phase = models.CharField(max_length=10, choices=JobPhase, default=JobPhase.SOURCE)
    cursor = models.JSONField(null=True, help_text=_("Key of the last row that was fed."))
    retry_failed = models.BooleanField(
        default=False, help_text=_("Feed the failures again before finishing.")
    )
    epoch = models.PositiveBigIntegerField(
        default=0,
        help_text=_("Microseconds since 1970: mode 'all' embeds what the ledger has from before."),
    )
    batch_size = models.PositiveIntegerField()
    adapts_batch_size = models.BooleanField(
        default=False, help_text=_("No size was asked for: it follows TARGET_BATCH_SECONDS.")
    )
    source_position = models.CharField(
        max_length=32,
        blank=True,
        default="",
        help_text=_("What a standby has to have replayed before its rows are read."),
    )
    horizon = models.BigIntegerField(
        null=True,
        help_text=_("Transactions before this one have to end before rows are read."),
    )
    rate_limit = models.PositiveIntegerField(null=True, help_text=_("Embedding requests a minute."))
    breaker_processed = models.PositiveBigIntegerField(
        default=0, help_text=_("processed_entities when the job was last (re)started.")
    )
    breaker_failed = models.PositiveBigIntegerField(default=0)

    throttled_until = MomentField(null=True)
    throttle_reason = models.CharField(max_length=255, blank=True, default="")
    error_message = models.TextField(blank=True, default="")
    created_by = models.CharField(max_length=255, blank=True, default="")
    idempotency_key = models.CharField(  # noqa: DJ001  # unique: NULLs differ
        null=True, max_length=64, help_text=_("Hash of the user and the idempotency key.")
    )
    request_fingerprint = models.CharField(blank=True, default="", max_length=64)
    created_at = MomentField(auto_now_add=True)
    started_at = MomentField(null=True)
    completed_at = MomentField(null=True)
    last_updated_at = MomentField(auto_now=True)
    writes_to = models.GeneratedField(  # unique, as `Collection.role`
        expression=Case(When(status__in=OPEN_STATUSES, then=F("collection"))),
        output_field=models.BigIntegerField(null=True),
        db_persist=True,
    )

    class Meta(OwnModel.Meta):
        db_table = "ai_migration_jobs"
        verbose_name = _("migration job")
        verbose_name_plural = _("migration jobs")
        ordering = ["-id"]
        permissions = [
            ("start_migrationjob", "Can start migrations"),
            ("control_migrationjob", "Can pause, resume, retry and cancel migrations"),
            ("search_index", "Can search the index"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["writes_to", "kind"], name="ai_migration_jobs_one_open_each"
            ),
            models.UniqueConstraint(
                fields=["idempotency_key"], name="ai_migration_jobs_asked_once"
            ),
            models.CheckConstraint(
                condition=Q(status__in=JobStatus.values), name="ai_migration_jobs_status"
            ),
            models.CheckConstraint(
                condition=Q(
                    processed_entities=F("indexed_entities")
                    + F("skipped_entities")
                    + F("removed_entities")
                    + F("failed_entities")
                ),
                name="ai_migration_jobs_counts",
            ),
            models.CheckConstraint(
                condition=Q(batch_size__gte=1), name="ai_migration_jobs_batch_size"
            ),
        ]
        indexes = [
            models.Index(fields=["status"], name="ai_migration_jobs_status_idx"),
            models.Index(fields=["entity_type", "-id"], name="ai_migration_jobs_type_idx"),
            models.Index(fields=["started_at"], name="ai_migration_jobs_started_idx"),
        ]

    def __str__(self) -> str:
        return f"{self.id} {self.entity_type} {self.status}"

    @property
    def cost(self) -> Decimal | None:
        """The cost of its tokens so far; None: no price is configured."""
        if self.token_price is None:
            return None
        return self.charged_tokens * self.token_price / MILLION

    @property
    def charged_tokens(self) -> int:
        """Tokens it was charged for, or may have been: if it has a budget, also those sent by
        workers that were killed."""
        return self.embedded_tokens + self.reserved_tokens

    @property
    def token_limit(self) -> int | None:
        """The tokens of its budget in all; None: no budget."""
        limits = [] if self.max_tokens is None else [self.max_tokens]
        if self.max_cost is not None and self.token_price:
            limits.append(int(self.max_cost * MILLION / self.token_price))
        return min(limits, default=None)

    @property
    def tokens_left(self) -> int | None:
        """The tokens left of its budget; None: no budget."""
        limit = self.token_limit
        return None if limit is None else max(0, limit - self.charged_tokens)

    @property
    def spent(self) -> str:
        """The tokens and cost it has used, with its budget, for messages."""
        words = counted(self.charged_tokens, "token")
        if self.max_tokens is not None:
            words += f" of {self.max_tokens:,}"
        if self.cost is not None:
            words += f", {self.cost:.2f}"
            if self.max_cost is not None:
                words += f" of {self.max_cost:.2f}"
        return words

    @property
    def is_finished(self) -> bool:
        """True if the job ended: completed, failed or cancelled."""
        return self.status not in OPEN_STATUSES
