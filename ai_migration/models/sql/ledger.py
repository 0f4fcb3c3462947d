"""The ledger's bulk reads and writes. A row whose version is newer than the writer's read stays as
it is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from operator import itemgetter
from typing import NamedTuple

from django.db.models import QuerySet

from ai_migration.models.ledger import SearchableEntity
from ai_migration.models.sql.dialects import dialect
from ai_migration.models.sql.dialects.base import LedgerRow

_CHUNK = 500
"""Parameters in one statement: below the smallest limit of any database."""

_entity_id = itemgetter(0)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class KnownEntity(NamedTuple):
    """The ledger row of one entity. ``content_hash`` is empty for a tombstone, and if the vectors
    must be made again whatever the text is. ``checksum`` is that of its vectors, None if it is not
    known."""

    entity_id: str
    content_hash: bytes
    metadata_hash: bytes
    chunk_count: int
    version: int
    checksum: int | None

    @property
    def read_at(self) -> datetime:
        """The time at which the source row was read."""
        return _EPOCH + timedelta(microseconds=self.version)


_known = partial(tuple.__new__, KnownEntity)
"""``KnownEntity._make``, without a Python call for each row."""


def lookup(using: str, collection_id: int, entity_ids: Sequence[str]) -> dict[str, KnownEntity]:
    """Return the ledger rows of these entities by entity id; unknown ones are absent."""
    if not entity_ids:
        return {}
    rows = dialect(using).known_entities(collection_id, entity_ids)
    return {row[0]: _known(row) for row in rows}


def in_range(
    using: str, collection_id: int, lower: str | None, upper: str
) -> dict[str, KnownEntity]:
    """Return the ledger rows of the entities that have vectors and are in a range of ids:
    ``lower < id <= upper``; no lower: from the first."""
    rows = dialect(using).entities_between(collection_id, lower, upper)
    return {row[0]: _known(row) for row in rows}


def listed(
    using: str, collection_id: int, lower: str | None = None, upper: str | None = None
) -> QuerySet[SearchableEntity]:
    """Return the rows of the entities that have vectors, in a range of ids; None: no bound."""
    rows = SearchableEntity.objects.using(using).filter(collection=collection_id, chunk_count__gt=0)
    if lower is not None:
        rows = rows.filter(entity_id__gt=lower)
    if upper is not None:
        rows = rows.filter(entity_id__lte=upper)
    return rows


def upsert(
    using: str, collection_id: int, rows: Sequence[LedgerRow], *, read_started: int, version: int
) -> set[str]:
    """Write what was indexed, except where another process wrote meanwhile.

    Call it inside a transaction, before the vectors are written: it locks the entities.
    A row is written if it still has the version it was looked up with (else what was
    planned, such as which chunks to remove, may be wrong) and that version is not newer
    than the read the row comes from.

    Args:
        using: Database alias of our tables.
        collection_id: The collection.
        rows: At most one for each entity; written in the order of their ids.
        read_started: When the read these rows come from began, microseconds.
        version: When it ended.

    Returns:
        The entities that were *not* written: they have to be read again.
    """
    if not rows:
        return set()
    ordered = sorted(rows, key=_entity_id)
    stale = {row.entity_id for row in rows if row.known_version > read_started}
    if stale:
        ordered = [row for row in ordered if row.entity_id not in stale]
    absent = [row for row in ordered if row.known_version == 0]
    present = [row for row in ordered if row.known_version]
    database = dialect(using)
    written = database.insert_entities(collection_id, absent, version) if absent else 0
    written += database.update_entities(collection_id, present, version) if present else 0
    if written < len(ordered):
        stale |= _others(using, collection_id, [row.entity_id for row in ordered], version)
    return stale


def _others(using: str, collection_id: int, entity_ids: Sequence[str], version: int) -> set[str]:
    rows = SearchableEntity.objects.using(using).filter(collection_id=collection_id)
    found: set[str] = set()
    for start in range(0, len(entity_ids), _CHUNK):
        found |= set(
            rows.filter(entity_id__in=entity_ids[start : start + _CHUNK])
            .exclude(version=version)
            .values_list("entity_id", flat=True)
        )
    return found
