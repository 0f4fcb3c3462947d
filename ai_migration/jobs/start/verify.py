"""Start a verify: a job that compares source, ledger and store."""

from __future__ import annotations

from django.db import DatabaseError, IntegrityError, transaction

from ai_migration.conf import get_settings
from ai_migration.dispatch import wake
from ai_migration.embedders import embedders
from ai_migration.entities import registry
from ai_migration.entities.entity import Entity
from ai_migration.exceptions import (
    AIMigrationError,
    InvalidRequestError,
    NotIndexedError,
    StoreError,
)
from ai_migration.indexing.standbys import source_position
from ai_migration.indexing.targets import target_for
from ai_migration.jobs.feed.collections import active_collection, conflict_among
from ai_migration.jobs.steer.scheduling import start_waiting
from ai_migration.jobs.steer.transitions import write_event
from ai_migration.jobs.values import require_text
from ai_migration.models import Collection, MigrationJob
from ai_migration.models.leases import our_database
from ai_migration.models.sql import clock, ledger
from ai_migration.models.sql.counting import bounded_count
from ai_migration.models.sql.outages import in_words
from ai_migration.models.sql.savepoints import sparing
from ai_migration.models.sql.tenants import require_own_schema
from ai_migration.stores import stores
from ai_migration.types import JobKind

MAX_NAME = 255
BATCH_SIZE = 2_000
"""Source rows that are compared at once."""


def verify(
    entity_type: str,
    *,
    repair: bool = False,
    allow_removals: bool = False,
    created_by: str = "",
) -> MigrationJob:
    """Start a verify: compare the rows of an entity type, the ledger and the store, and count what
    differs. It writes nothing, unless it repairs.

    Args:
        entity_type: The entity type's name.
        repair: Bring in line what differs. Only what has to be is embedded; entities whose rows are
            gone are removed if they still are after ``ORPHAN_GRACE_SECONDS``.
        allow_removals: Allow the repair to remove more than half of a large index.
        created_by: The user who asks.

    Returns:
        The job: RUNNING, or PENDING while ``MAX_CONCURRENT_JOBS`` others run. ``get_findings()``
        returns what it finds.

    Raises:
        UnknownEntityTypeError: No such entity type; names the known ones.
        NotIndexedError: It has no index yet.
        ConflictingJobError: Another verify of it is open.
        RebuildRequiredError: It repairs, and the config names another embedder or store.
        StoreError: The collection is gone from the store.
        AIMigrationError: The settings, the config or the table of its rows are wrong.
    """
    using = our_database()
    require_own_schema(using)
    if not get_settings().ENABLED:
        raise InvalidRequestError("AI migration is switched off: AI_MIGRATION['ENABLED'] is False")
    require_text(created_by, "created_by")
    entity = registry.get(entity_type)
    entity.require_indexable()
    collection = _collection(entity, using, repair=repair)
    total, is_estimate = _total(entity, collection, using)
    job = MigrationJob(
        kind=JobKind.VERIFY,
        repair=repair,
        allow_removals=allow_removals,
        entity_type=entity.name,
        collection=collection,
        config_snapshot=entity.snapshot,
        created_by=created_by[:MAX_NAME],
        batch_size=BATCH_SIZE,
        rate_limit=_rate_limit(entity) if repair else None,
        total_entities=total,
        total_is_estimate=is_estimate,
        epoch=clock.now_microseconds(using),  # before the position, so it is no later
        source_position=source_position(entity),
    )
    verifies = MigrationJob.objects.using(using).filter(collection=collection, kind=job.kind)
    try:
        with transaction.atomic(using=using):
            job.save(using=using, force_insert=True)
            why = "started: verify and repair" if repair else "started: verify"
            write_event(job.pk, "", job.status, why, using=using, actor=job.created_by)
    except IntegrityError as error:
        if (conflict := conflict_among(verifies)) is not None:
            raise conflict from error
        raise
    start_waiting(using)
    wake()
    job.refresh_from_db()
    return job


def _collection(entity: Entity, using: str, *, repair: bool) -> Collection:
    """Return the collection that answers searches."""
    collection = active_collection(entity.name, using)
    if collection is None:
        raise NotIndexedError(
            f"{entity.name!r} has no index to verify yet. Build it with: "
            f"manage.py migrate_ai_entities {entity.name}"
        )
    store = target_for(entity, collection).store if repair else stores[collection.store]
    if not store.exists(collection.ref):
        raise StoreError(
            f"The vectors of {entity.name!r} are gone from store {collection.store!r}: there is "
            f"nothing to compare. Rebuild with: manage.py migrate_ai_entities {entity.name} "
            f"--rebuild"
        )
    return collection


def _total(entity: Entity, collection: Collection, using: str) -> tuple[int, bool]:
    """Return the rows, entities and vectors to compare, and whether that is an estimate. Of
    vectors there are at least as many as entities."""
    rows = entity.rows()
    try:
        with sparing(rows.db):
            source, is_estimate = bounded_count(rows)
    except DatabaseError as error:
        raise AIMigrationError(
            f"The table of {entity.model._meta.label} cannot be read: {in_words(error)}"
        ) from error
    listed, is_rough = bounded_count(ledger.listed(using, collection.pk))
    return source + 2 * listed, is_estimate or is_rough


def _rate_limit(entity: Entity) -> int | None:
    """Return the default limit, which is for embedders that call a remote API."""
    return get_settings().DEFAULT_RATE_LIMIT if embedders[entity.embedder].is_remote else None
