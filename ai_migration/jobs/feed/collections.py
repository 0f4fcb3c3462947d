"""Choose the collection a job fills, activate it, and compare its config with the present one."""

from __future__ import annotations

from datetime import timedelta
from enum import Enum

from django.db import IntegrityError, transaction
from django.db.models import QuerySet, Sum
from django.utils.translation import gettext_noop

from ai_migration.embedders import embedders
from ai_migration.embedders.recipes import Recipe
from ai_migration.entities.config.definitions import comparable
from ai_migration.entities.entity import Entity
from ai_migration.exceptions import AIMigrationError, ConflictingJobError, StoreError
from ai_migration.indexing.targets import rebuild_reason, target_for
from ai_migration.jobs.steer.transitions import conflict_with, transition
from ai_migration.models import Collection, MigrationJob, SearchableEntity
from ai_migration.models.sql import clock
from ai_migration.models.sql.clock import Now
from ai_migration.stores import stores
from ai_migration.types import OPEN_STATUSES, CollectionStatus, JobKind, JobStatus, JSONValue
from ai_migration.words import counted


class ConfigChange(Enum):
    """The effect of a new config on a collection built with an old one."""

    NONE = gettext_noop("nothing changed")
    OPERATIONAL = gettext_noop("nothing to do for what is indexed")
    METADATA = gettext_noop("metadata is written again, nothing is embedded")
    TEXT = gettext_noop("texts that differ are embedded again")
    EMBEDDER = gettext_noop("the index has to be rebuilt")


def config_change(collection: Collection, entity: Entity) -> ConfigChange:
    """Classify the difference between the present config and the one a collection was built
    with."""
    if rebuild_reason(collection, entity):
        return ConfigChange.EMBEDDER
    return snapshot_change(collection.config_snapshot, entity.snapshot)


def snapshot_change(before: dict[str, JSONValue], after: dict[str, JSONValue]) -> ConfigChange:
    """Classify the difference between two snapshots of the same entity type and embedder."""
    before = comparable(before)
    if before == after:
        return ConfigChange.NONE
    rows_and_text = ("text", "model", "queryset", "filter", "using")
    if any(before.get(key) != after.get(key) for key in rows_and_text):
        return ConfigChange.TEXT
    if before.get("metadata") != after["metadata"]:
        return ConfigChange.METADATA
    return ConfigChange.OPERATIONAL


def active_collection(entity_type: str, using: str) -> Collection | None:
    """Return the collection that answers searches, if there is one."""
    return (
        Collection.objects.using(using)
        .filter(entity_type=entity_type, status=CollectionStatus.ACTIVE)
        .first()
    )


def collection_for(entity: Entity, *, rebuild: bool, using: str) -> Collection:
    """Return the collection a new job fills: the ACTIVE one, or a new one where there is none
    or a rebuild is asked for. Call it inside the transaction that saves the job.

    Raises:
        ConflictingJobError: Another open job fills it, or builds one.
        RebuildRequiredError: The config names another embedder or store.
        StoreError: The store cannot create it, or it is not empty there.
        AIMigrationError: Its vectors are gone.
    """
    active = active_collection(entity.name, using)
    conflict = None if active is None else conflict_among(writers_of(active, using))
    if active is None or (
        rebuild and (conflict is None or stores[active.store].exists(active.ref))
    ):
        return _new_collection(entity, active, using)
    if conflict is not None:
        raise conflict
    if not target_for(entity, active).store.exists(active.ref):
        raise AIMigrationError(
            f"The vectors of {entity.name!r} are gone from store {active.store!r}, while the "
            f"ledger still lists them. Rebuild with: manage.py migrate_ai_entities "
            f"{entity.name} --rebuild"
        )
    _keep_embedder(active, entity, using)
    return active


def _keep_embedder(active: Collection, entity: Entity, using: str) -> None:
    """Keep the present settings of the embedder that made a collection's vectors, by any alias:
    searches go on with them after a change of the settings."""
    kept = {"embedder": entity.embedder, "made_by": Recipe.of(entity.embedder).dump()}
    if any(getattr(active, name) != value for name, value in kept.items()):
        Collection.objects.using(using).filter(pk=active.pk).update(**kept)
        for name, value in kept.items():
            setattr(active, name, value)


def writers_of(collection: Collection, using: str) -> QuerySet[MigrationJob]:
    """Return the migrations of a collection."""
    return collection.jobs.using(using).filter(kind=JobKind.MIGRATION)


def conflict_among(jobs: QuerySet[MigrationJob]) -> ConflictingJobError | None:
    """Return the conflict with the first of these jobs that is open."""
    job = jobs.filter(status__in=OPEN_STATUSES).first()
    return None if job is None else conflict_with(job)


def _new_collection(entity: Entity, active: Collection | None, using: str) -> Collection:
    """Return a new collection: ACTIVE at once where nothing serves searches now (the first
    backfill, or the store was lost), else BUILDING beside the ACTIVE one."""
    embedder = embedders[entity.embedder]
    if active is not None and not stores[active.store].exists(active.ref):
        Collection.objects.using(using).filter(pk=active.pk).update(
            status=CollectionStatus.RETIRED, retired_at=Now()
        )
        active = None
    _abandon_building(entity.name, using)
    collection = Collection.objects.using(using).create(
        entity_type=entity.name,
        status=CollectionStatus.ACTIVE if active is None else CollectionStatus.BUILDING,
        embedder=entity.embedder,
        model_id=embedder.model_id,
        dimensions=embedder.dimensions,
        fingerprint=embedder.fingerprint,
        made_by=Recipe.of(entity.embedder).dump(),
        store=entity.store,
        config_snapshot=entity.snapshot,
        activated_at=Now() if active is None else None,
    )
    _create_empty(collection)
    return collection


def _create_empty(collection: Collection) -> None:
    """Create it in the store. If our tables were lost, or another site uses the same store, its id
    is not new there, and the owner of such vectors is unknown."""
    store, ref = stores[collection.store], collection.ref
    if found := store.count(ref):
        raise StoreError(
            f"The store {collection.store!r} already has {counted(found, 'vector')} in {ref.name}, "
            f"which this index did not write. Does another site use it? Then give each its own. If "
            f"they are left from an index that is gone, remove {ref.name} and start again."
        )
    store.drop_collection(ref)  # an empty one may have other dimensions
    store.ensure_collection(ref)


def _abandon_building(entity_type: str, using: str) -> None:
    """Drop a BUILDING collection that no job fills any longer."""
    for collection in Collection.objects.using(using).filter(
        entity_type=entity_type, status=CollectionStatus.BUILDING
    ):
        if (conflict := conflict_among(writers_of(collection, using))) is not None:
            raise conflict
        drop(collection, using)


def drop(collection: Collection, using: str) -> None:
    """Remove a collection's vectors and ledger; its row stays, for the jobs that filled it."""
    if collection.store in stores:
        stores[collection.store].drop_collection(collection.ref)
    with transaction.atomic(using=using):
        Collection.objects.using(using).filter(pk=collection.pk).update(
            status=CollectionStatus.RETIRED,
            retired_at=collection.retired_at or Now(),
            dropped_at=Now(),
        )
        SearchableEntity.objects.using(using).filter(collection=collection).delete()


def verify(job: MigrationJob, using: str, max_failure_ratio: float) -> str:
    """Check whether a new collection may answer searches.

    Returns:
        The problem; empty if there is none.
    """
    collection = job.collection
    ledger = SearchableEntity.objects.using(using).filter(collection=collection)
    expected = [_chunks(ledger)]
    stored = stores[collection.store].count(collection.ref)
    expected.append(_chunks(ledger))  # live changes go on meanwhile
    if not min(expected) <= stored <= max(expected):
        return (
            f"the store has {counted(stored, 'vector')} and the ledger {expected[-1]:,}: another "
            f"program writes to it, or it lost some. Rebuild with --rebuild."
        )
    total = job.processed_entities
    if total and job.failed_entities / total > max_failure_ratio:
        return f"{job.failed_entities:,} of {total:,} entities failed; see the job's failures"
    return ""


def _chunks(ledger: QuerySet[SearchableEntity]) -> int:
    return ledger.aggregate(chunks=Sum("chunk_count"))["chunks"] or 0


def activate(collection: Collection, using: str) -> None:
    """Let a collection answer searches, in place of the present one. Call it inside a
    transaction."""
    if collection.status != CollectionStatus.BUILDING:
        return
    rows = Collection.objects.using(using)
    replaced = rows.filter(entity_type=collection.entity_type, status=CollectionStatus.ACTIVE)
    for job in MigrationJob.objects.using(using).filter(
        collection__in=list(replaced), status__in=OPEN_STATUSES
    ):
        transition(
            job.pk,
            JobStatus.CANCELLED,
            using=using,
            actor="engine",
            reason=f"its collection was replaced by #{collection.pk}",
            completed_at=Now(),
        )
    replaced.update(status=CollectionStatus.RETIRED, retired_at=Now())
    try:
        rows.filter(pk=collection.pk, status=CollectionStatus.BUILDING).update(
            status=CollectionStatus.ACTIVE, activated_at=Now()
        )
    except IntegrityError as error:
        raise StoreError(f"another collection of {collection.entity_type!r} is active") from error


def drop_retired(using: str, keep_days: int) -> int:
    """Drop the collections that were retired more than ``keep_days`` days ago.

    Returns:
        The number of collections dropped.
    """
    before = clock.now(using) - timedelta(days=keep_days)
    retired = Collection.objects.using(using).filter(
        status=CollectionStatus.RETIRED, retired_at__lt=before, dropped_at=None
    )
    for collection in retired:
        drop(collection, using)
    return len(retired)
