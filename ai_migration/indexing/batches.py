"""Claimed entries become a batch: read fresh, compared with the ledger, planned."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from django.db import DataError
from django.db.models import BigIntegerField, Count, Exists, OuterRef, QuerySet
from django.db.models.functions import Cast

from ai_migration.embedders import Embedder
from ai_migration.embedders.chunking import chunk_text
from ai_migration.entities.entity import Entity
from ai_migration.entities.filtering.filters import apply_filters, load_filters
from ai_migration.entities.rows.reader import EntityReader, SourceRow
from ai_migration.indexing.embedding.plan import EmbedPlan
from ai_migration.indexing.standbys import require_shown
from ai_migration.models import Collection, MigrationJob, QueueEntry, SearchableEntity
from ai_migration.models.sql import clock, ledger
from ai_migration.models.sql.ledger import KnownEntity
from ai_migration.stores import VectorStore
from ai_migration.types import MigrationMode, Operation


@dataclass(frozen=True)
class Target:
    """A collection a batch is written to, with its embedder and store."""

    collection: Collection
    embedder: Embedder
    store: VectorStore


@dataclass(frozen=True)
class Failure:
    """The error of an entity that is not indexed. ``retryable``: it may work later."""

    code: str
    message: str
    retryable: bool = False


@dataclass
class TargetPlan:
    """The plan of a batch for one collection.

    Attributes:
        target: The collection.
        rows: Rows to embed.
        spans: For each of ``rows`` its texts in ``embed``, as ``(start, stop)``.
        embed: Their texts, and the vectors as they come.
        metadata_rows: Rows of which only the metadata differs.
        empty: Rows without text: known to the ledger, absent from the store.
        removed: Entities that are gone from the source.
        shrunk: Entities of which the store has more vectors than it will get.
        failures: The failures by entity.
        unchanged: Rows that the index has already.
        unmatched: Entities whose rows the job's filters exclude.
    """

    target: Target
    rows: list[SourceRow]
    spans: list[tuple[int, int]]
    embed: EmbedPlan
    metadata_rows: list[SourceRow]
    known: dict[str, KnownEntity]
    empty: list[SourceRow] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    shrunk: list[str] = field(default_factory=list)
    failures: dict[str, Failure] = field(default_factory=dict)
    unchanged: list[SourceRow] = field(default_factory=list)
    unmatched: int = 0

    @property
    def skipped(self) -> int:
        """The number of entities without anything to do."""
        return len(self.unchanged) + self.unmatched


@dataclass
class Batch:
    """One range entry, or the live entries of one entity type that were claimed together.

    Attributes:
        entries: The claimed entries.
        entity: The entity type.
        job: The job of the entry; None for live entries.
        plans: One for each collection that is written.
        read_started: Before the source was read, microseconds by the database's clock.
        read_ended: After it was.
        since: The same by this process's monotonic clock, seconds.
    """

    entries: list[QueueEntry]
    entity: Entity
    job: MigrationJob | None
    plans: list[TargetPlan]
    read_started: int
    read_ended: int
    since: float = field(default_factory=time.monotonic)

    @property
    def is_embedded(self) -> bool:
        """Return whether every text has its vector or its error."""
        return all(plan.embed.open == 0 for plan in self.plans)

    @property
    def spent(self) -> int:
        """Tokens of the requests that were answered."""
        return sum(plan.embed.spent for plan in self.plans)

    @property
    def entry_ids(self) -> list[int]:
        """The entries' primary keys."""
        return [entry.pk for entry in self.entries]


@dataclass(frozen=True)
class _Read:
    rows: list[SourceRow]
    gone: list[str]
    unmatched: int = 0
    shown_since: int | None = None
    """For rows from a standby: everything committed before this is in them, later commits may not
    be; microseconds by our database's clock."""


def read_batch(
    entries: list[QueueEntry],
    entity: Entity,
    reader: EntityReader,
    targets: Sequence[Target],
    job: MigrationJob | None,
    using: str,
) -> Batch:
    """Read the rows of claimed entries now, and decide what to do for each.

    Args:
        entries: One entry of a job, or any number of live ones of the same operation.
        entity: Their entity type.
        reader: Its reader.
        targets: The collections to write.
        job: The job, if it is a job's entry.
        using: Database alias of our tables.

    Raises:
        ReplicaBehindError: The rows come from a standby, which does not show yet what was
            committed when the job began.
    """
    read_started = clock.now_microseconds(using)
    read = _read(entries, entity, reader, job, using)
    read_ended = clock.now_microseconds(using)
    if read.shown_since is not None:
        read_started = read_ended = read.shown_since
    mode = MigrationMode(job.mode) if job else MigrationMode.CHANGED
    epoch = job.epoch if job else 0
    plans = [
        plan_rows(target, read.rows, entity, mode, epoch=epoch, gone=read.gone, using=using)
        for target in targets
    ]
    for plan in plans:
        plan.unmatched = read.unmatched
    return Batch(entries, entity, job, plans, read_started, read_ended)


def _read(
    entries: list[QueueEntry],
    entity: Entity,
    reader: EntityReader,
    job: MigrationJob | None,
    using: str,
) -> _Read:
    first = entries[0]
    if first.operation == Operation.SWEEP:
        assert job is not None
        listed = ledger.listed(using, job.collection_id, first.lower, first.upper)
        return _Read([], vanished(listed, entity, reader))
    ids = list(dict.fromkeys(item for entry in entries for item in entry.entity_ids or ()))
    if first.operation == Operation.DELETE:
        return _Read([], ids)
    is_range = first.entity_ids is None
    rows = entity.rows(fresh=not is_range)  # one by one, from the primary: a standby lags
    filters = load_filters(job.filter_config) if job else None
    matching = apply_filters(entity, rows, filters) if filters else rows
    if is_range:
        since = require_shown(job, entity) if job else None
        ranged = entity.key.in_range(matching, first.lower, first.upper)
        return _Read(reader.read(ranged), [], shown_since=since)
    found = reader.read_entities(matching, ids)
    seen = {row.entity_id for row in found}
    absent = [entity_id for entity_id in ids if entity_id not in seen]
    present = reader.present(rows, absent) if absent and filters else set()
    gone = [entity_id for entity_id in absent if entity_id not in present]
    return _Read(found, gone, unmatched=len(absent) - len(gone))


def _count_present(entity: Entity, entity_ids: Sequence[str]) -> int:
    counted = Count("pk", distinct=True)
    parts = entity.key.among(entity.rows(), entity_ids)
    if entity.key.is_composite:
        return sum(part.count() for part in parts)
    return sum(part.aggregate(found=counted)["found"] for part in parts)


def vanished(rows: QuerySet[SearchableEntity], entity: Entity, reader: EntityReader) -> list[str]:
    """Return the entities among some rows of the ledger that the source no longer has."""
    source = entity.rows()
    if entity.key.is_integer and source.db == rows.db:
        # Keys of other kinds look different in the database and in the ledger.
        key = Cast(OuterRef("entity_id"), BigIntegerField())
        with suppress(DataError):  # ids from before the model had integer keys
            absent = rows.exclude(Exists(source.filter(pk=key)))
            return list(absent.values_list("entity_id", flat=True))
    listed = list(rows.values_list("entity_id", flat=True))
    # The usual case, without a row read; but what was renamed from ``AT`` to ``at`` counts too.
    if not entity.key.is_text and _count_present(entity, listed) == len(listed):
        return []
    # From the primary: a row that a standby does not show yet is not gone.
    present = reader.present(entity.rows(fresh=True), listed)
    return [entity_id for entity_id in listed if entity_id not in present]


def plan_rows(
    target: Target,
    found: Sequence[SourceRow],
    entity: Entity,
    mode: MigrationMode,
    *,
    epoch: int = 0,
    gone: Sequence[str] = (),
    using: str,
) -> TargetPlan:
    """Compare rows with the ledger and decide what each needs.

    Args:
        target: The collection.
        found: Source rows.
        entity: Their entity type.
        mode: Decides which of them are embedded.
        epoch: Mode ALL embeds again what was indexed before this time; microseconds.
        gone: Entities the source no longer has.
        using: Database alias of our tables.
    """
    unique = {row.entity_id: row for row in found}
    known = ledger.lookup(using, target.collection.pk, [*unique, *gone])
    plan = TargetPlan(target, [], [], EmbedPlan([], 0), [], known, removed=list(gone))
    texts: list[str] = []
    heads: list[str] = []
    limit = _safe_length(target, entity)
    for row in unique.values():
        before = known.get(row.entity_id)
        if (
            before is not None
            and before.content_hash == row.hash_in(before.chunk_count)
            and before.metadata_hash == row.metadata_hash
            and mode is not MigrationMode.ALL
            and not row.error
        ):
            plan.unchanged.append(row)  # the usual case of a second run
        elif row.error:
            plan.failures[row.entity_id] = Failure("invalid_row", row.error)
        elif before is not None and _is_current(row, before, mode, epoch):
            if mode is MigrationMode.MISSING or before.metadata_hash == row.metadata_hash:
                plan.unchanged.append(row)
            elif before.chunk_count:
                plan.metadata_rows.append(row)
            else:
                plan.empty.append(row)
        elif not row.text:
            plan.empty.append(row)
        else:
            start = len(texts)
            if len(row.text) <= limit:
                texts.append(row.text)
            else:
                texts.extend(chunks_of(row.text, target, entity, head=row.head))
            heads.extend([row.head] * (len(texts) - start))
            if before is not None and before.chunk_count > len(texts) - start:
                plan.shrunk.append(row.entity_id)
            plan.rows.append(row)
            plan.spans.append((start, len(texts)))
    overlap = entity.definition.chunking.overlap
    plan.embed = EmbedPlan(texts, target.embedder.dimensions, plan.spans, overlap, heads)
    return plan


def chunks_of(text: str, target: Target, entity: Entity, *, head: str) -> list[str]:
    """Return the pieces in which a text is embedded, with their head; usually only one, without."""
    chunking = entity.definition.chunking
    if len(text) <= _safe_length(target, entity):
        return [text]
    return chunk_text(text, target.embedder, chunking.size, chunking.overlap, head)


def _safe_length(target: Target, entity: Entity) -> float:
    """Return the length up to which a text is one piece, whatever its tokens: a character is
    4 bytes at most, and a token one byte at least."""
    limits = (entity.definition.chunking.size, target.embedder.max_input_tokens)
    return min((limit // 4 for limit in limits if limit is not None), default=math.inf)


def _is_current(row: SourceRow, before: KnownEntity, mode: MigrationMode, epoch: int) -> bool:
    """Return whether an entity's vectors are up to date."""
    if mode is MigrationMode.MISSING:
        return before.content_hash != b""  # a tombstone, or vectors that may be stale
    if before.content_hash != row.hash_in(before.chunk_count):
        return False
    return mode is MigrationMode.CHANGED or before.version >= epoch
