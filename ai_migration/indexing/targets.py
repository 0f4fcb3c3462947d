"""Which collections a batch is written to."""

from __future__ import annotations

from ai_migration.embedders import embedders
from ai_migration.exceptions import RebuildRequiredError
from ai_migration.indexing.batches import Target
from ai_migration.models import Collection
from ai_migration.stores import stores
from ai_migration.types import CollectionStatus


def target_of(collection: Collection) -> Target:
    """A collection with its embedder and store.

    Raises:
        RebuildRequiredError: The embedder is no longer the one the vectors were made by.
        SettingsError: The embedder or the store is not configured any more.
    """
    embedder = embedders[collection.embedder]
    if embedder.fingerprint != collection.fingerprint:
        raise RebuildRequiredError(
            f"The index of {collection.entity_type!r} was built by {collection.model_id} "
            f"({collection.dimensions} dimensions), and embedder {collection.embedder!r} is now "
            f"{embedder.model_id} ({embedder.dimensions} dimensions). Vectors of two models "
            f"cannot be compared: rebuild the index with: manage.py migrate_ai_entities "
            f"{collection.entity_type} --rebuild"
        )
    return Target(collection, embedder, stores[collection.store])


def live_collections(entity_type: str, using: str) -> list[Collection]:
    """Where live changes go: the ACTIVE collection, and the BUILDING one beside it."""
    return list(
        Collection.objects.using(using).filter(
            entity_type=entity_type,
            status__in=[CollectionStatus.ACTIVE, CollectionStatus.BUILDING],
        )
    )
