"""The collections that a batch is written to."""

from __future__ import annotations

from ai_migration.embedders import embedders
from ai_migration.entities.entity import Entity
from ai_migration.exceptions import RebuildRequiredError
from ai_migration.indexing.batches import Target
from ai_migration.models import Collection
from ai_migration.stores import stores
from ai_migration.types import CollectionStatus


def target_of(collection: Collection) -> Target:
    """Return a collection with its embedder and store.

    Raises:
        RebuildRequiredError: The embedder is no longer the one the vectors were made by.
        SettingsError: The embedder or the store is not configured any more.
    """
    _require_same(collection, collection.embedder)
    return Target(collection, embedders[collection.embedder], stores[collection.store])


def target_for(entity: Entity, collection: Collection) -> Target:
    """Return :func:`target_of`, for a job that brings a collection in line with the config as it
    is now.

    Raises:
        RebuildRequiredError: As :func:`target_of`, or the config names another embedder or
            another store.
    """
    _require_same(collection, entity.embedder)
    if entity.store != collection.store:
        raise RebuildRequiredError(
            f"The index of {entity.name!r} is in store {collection.store!r}, and its config names "
            f"store {entity.store!r} now. Fill that one with: manage.py migrate_ai_entities "
            f"{entity.name} --rebuild"
        )
    return target_of(collection)


def _require_same(collection: Collection, alias: str) -> None:
    embedder = embedders[alias]
    if not embedder.made(collection.fingerprint):
        raise RebuildRequiredError(
            f"The index of {collection.entity_type!r} was built by {collection.model_id} "
            f"({collection.dimensions} dimensions), and embedder {alias!r} is "
            f"{embedder.model_id} ({embedder.dimensions} dimensions). Vectors of two models "
            f"cannot be compared: rebuild the index with: manage.py migrate_ai_entities "
            f"{collection.entity_type} --rebuild"
        )


def live_collections(entity_type: str, using: str) -> list[Collection]:
    """Return the collections of live changes: the ACTIVE one, and the BUILDING one beside it."""
    return list(
        Collection.objects.using(using)
        .filter(
            entity_type=entity_type,
            status__in=[CollectionStatus.ACTIVE, CollectionStatus.BUILDING],
        )
        .order_by("pk")  # every writer locks them in the same order
    )
