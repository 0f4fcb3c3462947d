"""Enumerations and values that cross the boundaries between floors. All of them are frozen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, TypeAlias

import numpy as np
from django.db.models import IntegerChoices, TextChoices
from django.utils.translation import gettext_lazy as _
from numpy.typing import NDArray

from ai_migration.conf import MAX_BATCH_SIZE

Vectors: TypeAlias = NDArray[np.float32]
"""float32, shape (n, dimensions)."""

JSONValue: TypeAlias = Any
"""Any value that :mod:`json` reads and writes."""

VectorKey: TypeAlias = tuple[str, int]
"""Entity and chunk of a vector."""


MAX_RATE_LIMIT = 1_000_000
MAX_TOKENS = 10**15


@dataclass(frozen=True)
class UpTo:
    """Annotation of a field that is a whole number from 1 to ``most``, or None."""

    most: int


@dataclass(frozen=True)
class Headroom:
    """The rest of a provider's limits, as it reports them (``x-ratelimit-*``); None: not reported.

    Attributes:
        requests: Requests left.
        requests_reset: Seconds until all of them are back.
        tokens: Tokens left.
        tokens_reset: Seconds until all of them are back.
    """

    requests: int | None = None
    requests_reset: float | None = None
    tokens: int | None = None
    tokens_reset: float | None = None


@dataclass(frozen=True)
class EmbedAnswer:
    """The vectors of one request, with the usage that the provider reports.

    Attributes:
        vectors: float32, shape ``(n, dimensions)``.
        tokens: Tokens the provider charges for; None: not reported.
        headroom: The rest of its limits; None: not reported.
    """

    vectors: Vectors
    tokens: int | None = None
    headroom: Headroom | None = None


class JobStatus(TextChoices):
    """The states of a job."""

    PENDING = "PENDING", _("Pending")
    RUNNING = "RUNNING", _("Running")
    PAUSED = "PAUSED", _("Paused")
    COMPLETED = "COMPLETED", _("Completed")
    FAILED = "FAILED", _("Failed")
    CANCELLED = "CANCELLED", _("Cancelled")


OPEN_STATUSES = (JobStatus.PENDING, JobStatus.RUNNING, JobStatus.PAUSED)
"""States of a job that writes to its collection, now or later."""


class JobKind(TextChoices):
    """The kinds of jobs."""

    MIGRATION = "migration", _("Migration")
    VERIFY = "verify", _("Verify")


class MigrationMode(TextChoices):
    """The selection of the matching entities that a job embeds."""

    MISSING = "missing", _("only entities the index does not have")
    CHANGED = "changed", _("entities that are missing or whose text differs")
    ALL = "all", _("every entity, whatever the ledger says")


class CollectionStatus(TextChoices):
    """The states of a collection: built, then searched, then kept for a rollback."""

    BUILDING = "BUILDING", _("Building")
    ACTIVE = "ACTIVE", _("Active")
    RETIRED = "RETIRED", _("Retired")


class EntryStatus(TextChoices):
    """The states of a queue entry."""

    PENDING = "PENDING", _("Pending")
    CLAIMED = "CLAIMED", _("Claimed")
    COMPLETED = "COMPLETED", _("Completed")
    FAILED = "FAILED", _("Failed")


class Operation(TextChoices):
    """The operations a queue entry can ask for.

    INDEX brings the index in line with the source rows: rows that exist are
    indexed, rows that do not are removed. DELETE removes without looking.
    EXPAND walks the rows that one change touches, and enqueues them in parts.
    SWEEP walks a range of the ledger and removes what the source no longer has; a verify
    compares the range with source and store instead.
    COMPARE compares source rows with the ledger.
    WALK walks a part of the store, to find vectors that the ledger does not know.
    RETRY is INDEX for entities that failed in the same job.
    FINISH ends a job: build indexes, verify, activate.
    """

    INDEX = "INDEX", _("Index")
    DELETE = "DELETE", _("Delete")
    EXPAND = "EXPAND", _("Expand")
    SWEEP = "SWEEP", _("Sweep")
    COMPARE = "COMPARE", _("Compare")
    WALK = "WALK", _("Walk")
    RETRY = "RETRY", _("Retry")
    FINISH = "FINISH", _("Finish")


class Priority(IntegerChoices):
    """Priorities of queue entries, claimed in ascending order: live changes overtake a
    migration."""

    CRITICAL = 0, _("Critical")
    HIGH = 1, _("High")
    STANDARD = 5, _("Standard")
    LOW = 10, _("Low")


class Metric(TextChoices):
    """The measures by which vectors are compared."""

    COSINE = "cosine"
    INNER_PRODUCT = "inner_product"
    L2 = "l2"


@dataclass(frozen=True)
class MigrationFilters:
    """The source rows a job takes. Stored with the job, never as a list of millions of ids.

    Attributes:
        created_before: Rows whose ``created-at-field`` is before this instant (a date
            means its start; a naive one is in the time zone of the settings).
        created_after: Rows created at or after it.
        entity_ids: Only these entities: primary keys, or their string form.
        lookups: Django lookups on those of the entity's ``metadata-fields`` that are database
            fields, such as ``{"category__slug": "shoes"}``.
    """

    created_before: date | datetime | None = None
    created_after: date | datetime | None = None
    entity_ids: Sequence[object] = ()
    lookups: Mapping[str, JSONValue] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.created_before or self.created_after or self.entity_ids or self.lookups)


@dataclass(frozen=True)
class MigrationRequest:
    """A request to start a migration.

    Attributes:
        entity_type: The entity type's name.
        mode: Which matching entities are embedded; see :class:`MigrationMode`.
        reindex_existing: The same as ``mode="all"``.
        batch_size: Source rows in one queue entry; None takes the entity config's
            ``batch-size`` or the setting ``DEFAULT_BATCH_SIZE``.
        rate_limit: Embedding requests a minute for this job; None takes the setting
            ``DEFAULT_RATE_LIMIT`` where the embedder calls a remote API.
        max_tokens: Pause before more tokens than this are embedded; None: no budget.
        max_cost: The same in money, by the embedder's ``PRICE_PER_MILLION_TOKENS``.
        filters: The rows to migrate.
        rebuild: Ignore the ledger and fill a fresh collection.
        allow_removals: Allow removing more than half of a large index, if that many rows are gone.
        created_by: The user who asks.
        idempotency_key: A second request of the same ``created_by`` with this key returns the first
            job; empty: each request starts a job.
        note: The reason, shown in the job's first event.
    """

    entity_type: str
    mode: MigrationMode | str = MigrationMode.CHANGED
    reindex_existing: bool = False
    batch_size: Annotated[int | None, UpTo(MAX_BATCH_SIZE)] = None
    rate_limit: Annotated[int | None, UpTo(MAX_RATE_LIMIT)] = None
    max_tokens: Annotated[int | None, UpTo(MAX_TOKENS)] = None
    max_cost: Decimal | float | str | None = None
    filters: MigrationFilters = field(default_factory=MigrationFilters)
    rebuild: bool = False
    allow_removals: bool = False
    created_by: str = ""
    idempotency_key: str = ""
    note: str = ""


@dataclass(frozen=True)
class JobChanges:
    """The adjustments of a job that is resumed; None leaves a value as it is.

    Attributes:
        rate_limit: Embedding requests a minute.
        max_tokens: The job's budget of tokens, counted from its start.
        max_cost: The same in money.
        allow_removals: Allow removing more than half of a large index, if that many rows are gone.
    """

    rate_limit: Annotated[int | None, UpTo(MAX_RATE_LIMIT)] = None
    max_tokens: Annotated[int | None, UpTo(MAX_TOKENS)] = None
    max_cost: Decimal | float | str | None = None
    allow_removals: bool | None = None


@dataclass(frozen=True)
class IndexBuild:
    """The progress of an index that a store builds.

    Attributes:
        percent: From 0 to 100.
        phase: What the store does, or waits for, in its own words.
    """

    percent: float
    phase: str = ""

    def __str__(self) -> str:
        text = f"{self.percent:.0f} %"
        return text if 0 < self.percent < 100 or not self.phase else f"{text}, {self.phase}"


@dataclass(frozen=True)
class MigrationProgress:
    """The progress of a job. ``processed`` counts every entity the job is done with: indexed,
    skipped, removed or failed. ``entities_per_second`` and ``active_time`` leave pauses out.
    ``cost`` is None if no price is configured. ``index_build`` is set while the job waits for the
    store's index."""

    job_id: str
    entity_type: str
    status: JobStatus
    total: int
    total_is_estimate: bool
    processed: int
    indexed: int
    skipped: int
    removed: int
    failed: int
    percent_complete: float
    entities_per_second: float
    estimated_time_remaining: timedelta | None
    throttle_reason: str
    throttled_until: datetime | None
    tokens: int
    cost: Decimal | None
    error_message: str
    active_time: timedelta = timedelta()
    index_build: IndexBuild | None = None


@dataclass(frozen=True)
class Probe:
    """A provider's answer to one plain text.

    Attributes:
        is_answered: Whether it answered with a vector that fits.
        error: The error, if it did not.
    """

    is_answered: bool
    error: str = ""


class DurationBasis(TextChoices):
    """The ground that an estimate of a migration's duration stands on."""

    EARLIER_JOB = "earlier_job", _("the pace of the last migration")
    SAMPLE = "sample", _("a sample that was embedded, with one worker")
    LIMIT = "limit", _("the rate limit: it takes at least that")
    NOTHING = "nothing", _("nothing has to be embedded")


@dataclass(frozen=True)
class Duration:
    """An estimate of the time a migration takes.

    Attributes:
        time: The time, while workers work for it.
        basis: The ground it stands on.
    """

    time: timedelta
    basis: DurationBasis


@dataclass(frozen=True)
class MigrationPlan:
    """The result of a dry run: what a migration would do. ``total`` is that of its progress at the
    end: the ``rows`` that match, and the entities to remove. ``is_estimate`` is True if it was
    extrapolated from ``examined`` rows. ``removals_refused`` says why the migration would stop
    before it removes anything; empty: it would not. ``probe`` is set if the provider was asked.
    ``duration`` is None if there is nothing to estimate it by."""

    entity_type: str
    total: int
    to_embed: int
    to_update_metadata: int
    to_skip: int
    to_remove: int
    texts: int
    tokens: int
    requests: int
    cost: Decimal | None
    duration_at_rate_limit: timedelta | None
    examined: int
    is_estimate: bool
    rebuild_required: str
    removals_refused: str = ""
    probe: Probe | None = None
    duration: Duration | None = None
    to_fail: int = 0

    @property
    def rows(self) -> int:
        """The number of source rows that match."""
        return self.total - self.to_remove


@dataclass(frozen=True)
class CollectionRef:
    """A collection as stores see it: enough to name it and to check dimensions.

    Attributes:
        id: Primary key of the collection; never used twice.
        entity_type: The entity type's name.
        dimensions: Length of every vector in it.
        scope: The tenant it belongs to, where tenants have their own tables and so the same ids; or
            empty.
    """

    id: int
    entity_type: str
    dimensions: int
    scope: str = ""

    @property
    def name(self) -> str:
        """A name that is valid in every store, and never used twice: ``ai_vectors_<id>``, or
        ``ai_vectors_<scope>_<id>``."""
        return "_".join(filter(None, ["ai_vectors", self.scope, str(self.id)]))


@dataclass(frozen=True)
class AnyOf:
    """A filter of a store that several values of a payload match, instead of one."""

    values: Sequence[JSONValue]


@dataclass(frozen=True)
class VectorBatch:
    """Vectors on their way to or from a store, column by column.

    Attributes:
        entity_ids: Entity of each vector, length n.
        chunks: Chunk number of each vector within its entity, length n.
        vectors: float32, shape (n, dimensions).
        metadata: Payload of each vector, length n; None when the entity type has none.
    """

    entity_ids: Sequence[str]
    chunks: Sequence[int]
    vectors: Vectors
    metadata: Sequence[Mapping[str, JSONValue]] | None = None

    def __len__(self) -> int:
        return len(self.entity_ids)

    def pairs(self) -> Iterator[VectorKey]:
        """Return the entity and chunk of each vector."""
        return zip(self.entity_ids, self.chunks, strict=True)

    def part(self, rows: Sequence[int]) -> VectorBatch:
        """Return some of the vectors, by their positions."""
        return VectorBatch(
            [self.entity_ids[row] for row in rows],
            [self.chunks[row] for row in rows],
            self.vectors[rows],
            None if self.metadata is None else [self.metadata[row] for row in rows],
        )


@dataclass(frozen=True)
class StoreHit:
    """One vector a store found. ``score``: higher is nearer."""

    entity_id: str
    chunk: int
    score: float
    metadata: Mapping[str, JSONValue]


@dataclass(frozen=True)
class SearchHit:
    """One entity a search found, with the text as its source row reads now."""

    id: str
    score: float
    metadata: Mapping[str, JSONValue]
    text: str
