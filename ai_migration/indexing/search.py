"""Search: find the entities that are nearest to a query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from asgiref.sync import sync_to_async
from django.utils.asyncio import async_unsafe

from ai_migration.entities import registry
from ai_migration.entities.config.definitions import payload_types
from ai_migration.entities.entity import Entity
from ai_migration.entities.filtering.payloads import payload_filters
from ai_migration.entities.rows.reader import EntityReader, SourceRow
from ai_migration.entities.text import clean
from ai_migration.exceptions import InvalidRequestError, NotIndexedError, shown
from ai_migration.indexing.batches import Target, chunks_of
from ai_migration.indexing.queries import query_vector
from ai_migration.indexing.targets import serving_target
from ai_migration.models import Collection
from ai_migration.models.leases import our_database
from ai_migration.models.sql import ledger
from ai_migration.stores import matches
from ai_migration.types import AnyOf, CollectionStatus, JSONValue, SearchHit, StoreHit

MAX_LIMIT = 1000


@async_unsafe(
    "search() waits for the database and the embedder, and would block the event loop. In a "
    "coroutine: await ai_migration.asearch(...)"
)
def search(
    entity_type: str,
    query: str,
    *,
    limit: int | None = None,
    filters: Mapping[str, JSONValue] | None = None,
) -> list[SearchHit]:
    """Search an entity type's ACTIVE collection.

    Args:
        entity_type: The entity type's name.
        query: The text to search for.
        limit: Entities, at most; default: the config's ``default-search-limit``, 10.
        filters: Values of metadata fields that must be equal, or ``field__in`` with several
            values, of which one must be.

    Returns:
        Entities, best first, each once with its best chunk. ``text`` is read from the
        source row now; an entity whose row is gone is left out.

    Raises:
        UnknownEntityTypeError: No such entity type.
        NotIndexedError: It was never indexed, or before a filter's field was configured.
        RebuildRequiredError: The embedder is not the one that made the vectors.
        InvalidRequestError: The query is empty or the limit out of range.
        EmbedderError: The query could not be embedded.
        StoreError: The store could not be searched.
    """
    entity = registry.get(entity_type)
    limit = registry.global_config().default_search_limit if limit is None else limit
    _require_valid(entity, query, limit)
    given = dict(filters or {})
    payload_filters(entity, given)  # a mistake is one whether there is an index or not
    target = _target(entity)
    filters = _filters(entity, target.collection, given)
    if any(value == AnyOf([]) for value in filters.values()):
        return []
    asked = filters
    if not target.store.supports_any_of:
        asked = {name: value for name, value in filters.items() if not isinstance(value, AnyOf)}
    vector = query_vector(target.embedder, clean(query))
    best: dict[str, StoreHit] = {}
    wanted, rows = limit, {}
    while True:
        found = target.store.search(
            target.collection.ref, vector, limit=wanted, filters=asked or None
        )
        best = {}
        for hit in found:
            if matches(hit.metadata, filters):  # not every store filters
                best.setdefault(hit.entity_id, hit)
        rows = _rows(entity, list(best))
        if len(rows) >= limit or len(found) < wanted:
            break
        wanted *= 3  # several chunks of one entity, rows that are gone, or filtered out here
    hits = [hit for hit in best.values() if hit.entity_id in rows][:limit]
    texts = _texts([(rows[hit.entity_id], hit) for hit in hits], target)
    return [SearchHit(h.entity_id, h.score, h.metadata, texts[h.entity_id]) for h in hits]


async def asearch(
    entity_type: str,
    query: str,
    *,
    limit: int | None = None,
    filters: Mapping[str, JSONValue] | None = None,
) -> list[SearchHit]:
    """Search from a coroutine; as :func:`search`, on the thread of its database connections."""
    return await sync_to_async(search)(entity_type, query, limit=limit, filters=filters)


def _require_valid(entity: Entity, query: str, limit: int) -> None:
    if not entity.definition.enable_search:
        raise InvalidRequestError(
            f"Entity type {entity.name!r} has 'enable-search: false'", field="entity_type"
        )
    if not isinstance(query, str) or not clean(query).strip():
        raise InvalidRequestError("The query is empty: say what to look for", field="query")
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_LIMIT:
        raise InvalidRequestError(
            f"limit must be a whole number from 1 to {MAX_LIMIT}, not {shown(limit, 20)}",
            field="limit",
        )


def _filters(
    entity: Entity, collection: Collection, filters: Mapping[str, JSONValue]
) -> dict[str, JSONValue]:
    """Return the filters as stores take them, with the types the index was built with.

    Raises:
        InvalidRequestError: A filter does not fit.
        NotIndexedError: The index was built before its field was configured.
    """
    kept = payload_types(collection.config_snapshot)
    wanted = payload_filters(entity, filters, kept)
    for name in wanted:
        if kept is not None and name not in kept:
            raise NotIndexedError(
                f"The index of {entity.name!r} does not have {name!r} yet: it was built before "
                f"that was configured. Add it, without embedding anything, with: manage.py "
                f"migrate_ai_entities {entity.name}",
                field="filters",
            )
    return wanted


def _target(entity: Entity) -> Target:
    collection = (
        Collection.objects.using(our_database())
        .filter(entity_type=entity.name, status=CollectionStatus.ACTIVE)
        .first()
    )
    if collection is None:
        raise NotIndexedError(
            f"{entity.name!r} is not indexed yet. Run: manage.py migrate_ai_entities {entity.name}"
        )
    return serving_target(collection)


def _rows(entity: Entity, entity_ids: list[str]) -> dict[str, SourceRow]:
    found = EntityReader(entity).read_entities(entity.rows(), entity_ids)
    return {row.entity_id: row for row in found}


def _texts(found: Sequence[tuple[SourceRow, StoreHit]], target: Target) -> dict[str, str]:
    """Return, by entity, the chunk that was found, as the row reads now; the whole text where its
    chunks are not those in the index, because the embedder refused some of them."""
    entity = registry.get(target.collection.entity_type)
    rows = {row.entity_id: row for row, _ in found}
    chunks = {
        each: chunks_of(row.text, target, entity, head=row.head) for each, row in rows.items()
    }
    texts = {row.entity_id: row.text for row, _ in found}
    hits = {hit.entity_id: hit.chunk for _, hit in found}
    long = [each for each in chunks if len(chunks[each]) > 1 or hits[each] > 0]
    known = ledger.lookup(our_database(), target.collection.pk, long)
    for entity_id, pieces in chunks.items():
        row = rows[entity_id]
        if row.head and entity_id in known and known[entity_id].content_hash == row.content_hash:
            # In several chunks: cut without heads, by an earlier version.
            pieces = chunks_of(row.text, target, entity, head="")
        is_as_indexed = entity_id in known and known[entity_id].chunk_count == len(pieces)
        if entity_id not in long or is_as_indexed:
            texts[entity_id] = pieces[hits[entity_id]]
    return texts
