"""The collections that a batch is written to, and the one that a search asks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from django.utils.translation import gettext as _

from ai_migration.conf import get_settings
from ai_migration.embedders import Embedder, embedders
from ai_migration.embedders.recipes import Recipe
from ai_migration.entities.entity import Entity
from ai_migration.exceptions import AIMigrationError, RebuildRequiredError
from ai_migration.indexing.batches import Target
from ai_migration.models import Collection
from ai_migration.stores import stores
from ai_migration.types import CollectionStatus


def target_of(collection: Collection) -> Target:
    """Return a collection with its embedder and store, for a job that fills it.

    Raises:
        RebuildRequiredError: The embedder is no longer the one the vectors were made by.
        SettingsError: The embedder or the store is not configured any more.
    """
    embedder = embedders[collection.embedder]
    if not embedder.made(collection.fingerprint):
        fact = unusable(collection, differences(collection, embedder))
        raise RebuildRequiredError(fact, collection.entity_type)
    return Target(collection, embedder, stores[collection.store])


def target_for(entity: Entity, collection: Collection) -> Target:
    """Return a collection with embedder and store, for a job that brings it in line with the config
    as it is now.

    Raises:
        RebuildRequiredError: The config names another embedder or another store.
        SettingsError: As :func:`target_of`.
    """
    if reason := rebuild_reason(collection, entity):
        raise RebuildRequiredError(unusable(collection, reason), entity.name)
    return Target(collection, embedders[entity.embedder], stores[collection.store])


def serving_target(collection: Collection) -> Target:
    """Return a collection with the embedder that made its vectors, for searches and live changes:
    that of its alias, that of another alias, or one with the settings that the collection keeps.

    Raises:
        RebuildRequiredError: That embedder cannot be made any more.
        SettingsError: The embedder or the store is wrong, or not configured any more.
    """
    try:
        return target_of(collection)
    except Exception:  # a class can raise anything
        embedder = next(_other_embedders(collection), None)
        if embedder is None:
            raise
        return Target(collection, embedder, stores[collection.store])


def outage(collection: Collection) -> str:
    """Return why searches of a collection are refused; empty: they are answered. What tells users
    of it asks here, and a search does the same. No network is called."""
    try:
        serving_target(collection)
    except AIMigrationError as error:
        return error.message
    except Exception as error:
        return f"its embedder raised {type(error).__name__}"
    return ""


def searches_meanwhile(collection: Collection) -> str:
    """Return what becomes of searches until a rebuild is done, for people."""
    return _("searches are refused") if outage(collection) else _("searches use the old index")


def rebuild_reason(collection: Collection, entity: Entity) -> str:
    """Return what differs between a collection and the present config so much that only a rebuild
    helps, for people; empty: nothing."""
    embedder, reasons = embedders[entity.embedder], []
    if not embedder.made(collection.fingerprint):
        reasons.append(differences(collection, embedder))
    if entity.store != collection.store:
        reasons.append(f"store {collection.store}, now {entity.store}")
    return "; ".join(reasons)


def differences(collection: Collection, embedder: Embedder) -> str:
    """Return what differs between the embedder that made a collection's vectors and another one,
    for people."""
    recipe = Recipe.load(collection.made_by)
    pairs: list[tuple[str, object, object]] = [
        ("model", collection.model_id, embedder.model_id),
        ("dimensions", collection.dimensions, embedder.dimensions),
    ]
    if recipe.backend:
        pairs += [
            ("provider", recipe.provider, embedder.provider),
            ("input type", recipe.input_type, embedder.input_type),
        ]
    found = [
        f"{what} {before or 'none'}, now {now or 'none'}"
        for what, before, now in pairs
        if before != now
    ]
    return "; ".join(found) or "the same model with another class or another option"


def unusable(collection: Collection, reason: str) -> str:
    """Return the sentence that a collection does not fit the present config."""
    return (
        f"The index of {collection.entity_type!r} cannot be used with the present config: {reason}."
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


def _other_embedders(collection: Collection) -> Iterator[Embedder]:
    """Yield the embedder that made a collection's vectors, if its alias has another one now."""
    for alias in embedders:
        with suppress(Exception):  # the checks report it
            if _made(embedders[alias], collection):
                yield embedders[alias]
    with suppress(Exception):
        kept = _recipe(collection).make(collection.embedder, f"collection #{collection.pk}")
        if _made(kept, collection):
            yield kept


def _made(embedder: Embedder, collection: Collection) -> bool:
    # The model first: to know its dimensions, an embedder may have to load it.
    return embedder.model_id == collection.model_id and embedder.made(collection.fingerprint)


def _recipe(collection: Collection) -> Recipe:
    """Return the settings that a collection keeps. One from before they were kept is taken for made
    with the present ones, but another model."""
    if collection.made_by:
        return Recipe.load(collection.made_by)
    configured = get_settings().EMBEDDERS[collection.embedder]
    options = {"model": collection.model_id, "dimensions": collection.dimensions}
    return Recipe(configured.BACKEND, options, sorted(configured.OPTIONS.keys() - options.keys()))
