"""Compare source, ledger and store, part by part.

Each part is compared twice. What differs at first may only be in motion: it is read again, and
counts if it still differs, no change of it is under way, and its ledger row was the same before and
after. In this order: row, ledger, queue, ledger. A change is in the queue as soon as its row can be
read, until the ledger has it.

Entities are looked up by their ids and never merged by their order, in which databases differ.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection as AbstractCollection
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from django.db import router
from django.db.models import F
from numpy.typing import NDArray

from ai_migration.entities.entity import Entity
from ai_migration.entities.rows.reader import EntityReader, SourceRow
from ai_migration.entities.text import metadata_hash
from ai_migration.indexing import checksums
from ai_migration.indexing.batches import vanished
from ai_migration.indexing.differences import Compared, Difference
from ai_migration.indexing.motion import in_motion
from ai_migration.models import Collection, EntityFailure
from ai_migration.models.sql import ledger
from ai_migration.models.sql.ledger import KnownEntity
from ai_migration.models.sql.lookups import AmongKeys
from ai_migration.stores import VectorStore
from ai_migration.types import JSONValue, VectorBatch

APART_SECONDS = 1.0
"""Time in which a change of a row in another database gets into the queue after its commit."""

_NO_PAYLOAD: Mapping[str, JSONValue] = {}

Known = Mapping[str, KnownEntity]


@dataclass(frozen=True)
class Comparison:
    """Compares one collection.

    Attributes:
        entity: Its entity type.
        reader: The entity type's reader.
        collection: The collection.
        store: Its store.
        using: Database alias of our tables.
    """

    entity: Entity
    reader: EntityReader
    collection: Collection
    store: VectorStore
    using: str

    def of_rows(self, lower: JSONValue, upper: JSONValue) -> Compared:
        """Compare a range of source rows with the ledger."""
        ranged = self.entity.key.in_range(self.entity.rows(), lower, upper)
        rows = {row.entity_id: row for row in self.reader.read(ranged)}
        result = Compared(source_rows=len(rows))
        suspects = _unlike(rows.values(), self._lookup(rows))
        if suspects:
            self._confirm_rows(suspects, result)
        return result

    def of_ledger(self, lower: str | None, upper: str) -> Compared:
        """Compare a range of the ledger with the source and the store."""
        known = ledger.in_range(self.using, self.collection.pk, lower, upper)
        result = Compared(ledger_rows=len(known))
        listed = ledger.listed(self.using, self.collection.pk, lower, upper)
        gone = {*known} & {*vanished(listed, self.entity, self.reader)}
        if gone:
            self._confirm_gone(gone, known, result)
        suspects = self._look([each for each in known if each not in gone], known).differences
        if suspects:
            self._confirm_stored(suspects, result)
        return result

    def of_store(self, after: JSONValue, limit: int, *, whole: bool) -> Compared:
        """Compare a part of the store with the ledger.

        Args:
            after: The cursor of the part before.
            limit: The number of vectors, at most.
            whole: Count all vectors of an entity that the ledger does not know, not only those of
                this part: they are removed together.
        """
        keys, following = self.store.keys(self.collection.ref, after=after, limit=limit)
        result = Compared(vectors=len(keys), following=following)
        ids = [entity_id for entity_id, _ in keys]
        strays = _without_vectors(ids, self._lookup({*ids}))
        if not strays:
            return result
        known = self._lookup(strays)
        pages = self.store.fetch(self.collection.ref, [*_without_vectors(strays, known)])
        there = [entity_id for page in pages for entity_id in page.entity_ids]
        result.known.update(known)
        left = {*there} - self._changed(there, known)
        result.found[Difference.VECTOR_WITHOUT_LEDGER] = [
            entity_id for entity_id in (there if whole else ids) if entity_id in left
        ]
        return result

    # Source and ledger

    def _confirm_rows(self, suspects: AbstractCollection[str], result: Compared) -> None:
        self._let_settle()
        found = self.reader.read_entities(self.entity.rows(fresh=True), [*suspects])
        known = self._lookup(suspects)
        unlike = _unlike(found, known)
        moving = self._moving(unlike, known)
        failed = {row.entity_id for row in found if row.error}
        failed |= self._listed_as_failed([*unlike], known)
        for entity_id, difference in unlike.items():
            if entity_id in moving:
                result.pending += 1
            elif entity_id in failed:
                result.failed.append(entity_id)
            else:
                result.found[difference].append(entity_id)

    def _confirm_gone(self, gone: set[str], known: Known, result: Compared) -> None:
        self._let_settle()
        gone = gone - self.reader.present(self.entity.rows(fresh=True), [*gone])
        moving = self._moving(gone, known)
        result.pending += len(moving)
        result.found[Difference.ORPHANED] = [each for each in known if each in gone - moving]

    def _listed_as_failed(self, entity_ids: Sequence[str], known: Known) -> set[str]:
        """Return those of which a failure is listed that came after what the ledger has."""
        if not entity_ids:
            return set()
        failures = EntityFailure.objects.using(self.using).filter(collection=self.collection)
        listed = failures.filter(AmongKeys(F("entity_id"), entity_ids))
        return {
            failure.entity_id
            for failure in listed
            if failure.entity_id not in known
            or known[failure.entity_id].read_at < failure.last_failed_at
        }

    # Ledger and store

    def _confirm_stored(self, suspects: AbstractCollection[str], result: Compared) -> None:
        known = self._lookup(suspects)
        seen = self._look(suspects, known)
        changed = self._changed(seen.differences, known)
        payloads = [each for each, kind in seen.differences.items() if kind is Difference.STALE]
        same = self._as_in_source(payloads, known, seen.payloads)
        for entity_id, difference in seen.differences.items():
            if entity_id in changed:
                result.pending += 1
            elif entity_id not in same:
                result.found[difference].append(entity_id)
                row = known[entity_id]
                if difference is Difference.WRONG_CHUNKS:  # all of them have to go
                    chunks = max(row.chunk_count, seen.number_of(entity_id)) + 1
                    row = row._replace(chunk_count=chunks)
                result.known[entity_id] = row

    def _as_in_source(
        self,
        entity_ids: Sequence[str],
        known: Known,
        payloads: Mapping[str, Sequence[Mapping[str, JSONValue]]],
    ) -> set[str]:
        """Return those whose payloads are those of their rows, although a database wrote a number
        in another way; and those whose rows changed, which are compared as rows."""
        if not entity_ids:
            return set()
        rows = self.reader.read_entities(self.entity.rows(fresh=True), entity_ids)
        different = {
            row.entity_id
            for row in rows
            if row.metadata_hash == known[row.entity_id].metadata_hash
            and any(each != (row.metadata or {}) for each in payloads[row.entity_id])
        }
        return {*entity_ids} - different

    def _look(self, entity_ids: Iterable[str], known: Known) -> _Seen:
        """Compare the vectors of entities with what the ledger says of them. Those that it does not
        trust itself are compared as rows."""
        trusted = [
            each
            for each in entity_ids
            if each in known and known[each].chunk_count and known[each].content_hash
        ]
        seen = _Seen(trusted, known)
        if trusted:
            for page in self.store.fetch(self.collection.ref, trusted):
                if len(page):
                    seen.add(page)
            seen.judge()
        return seen

    # Meanwhile

    def _let_settle(self) -> None:
        """Wait for changes of rows in another database, which are put in the queue on commit."""
        if router.db_for_write(self.entity.model) != self.using:
            time.sleep(APART_SECONDS)

    def _moving(self, entity_ids: AbstractCollection[str], known: Known) -> set[str]:
        moving = in_motion(self.entity, self.reader, self.collection.pk, entity_ids, self.using)
        return moving | self._changed(entity_ids, known)

    def _changed(self, entity_ids: Iterable[str], known: Known) -> set[str]:
        """Return those whose ledger row is not as it was."""
        now = self._lookup({*entity_ids})
        return {each for each in entity_ids if now.get(each) != known.get(each)}

    def _lookup(self, entity_ids: Iterable[str]) -> dict[str, KnownEntity]:
        return ledger.lookup(self.using, self.collection.pk, [*entity_ids])


class _Seen:
    """What the store has of some entities, compared with their ledger rows column by column.

    Args:
        entity_ids: The entities.
        known: Their ledger rows.

    Attributes:
        chunks: The chunks that the store has of those with several, or with another than the first.
        payloads: The payloads of those with one that is not as the ledger says.
        differences: The differences of those that have any, after :meth:`judge`.
    """

    def __init__(self, entity_ids: Sequence[str], known: Known) -> None:
        self._rows = [known[entity_id] for entity_id in entity_ids]
        self._positions = {entity_id: i for i, entity_id in enumerate(entity_ids)}
        self._expected = np.array([row.chunk_count for row in self._rows], dtype=np.int64)
        self._counts = np.zeros(len(entity_ids), dtype=np.int64)
        self._sums = np.zeros((len(entity_ids), checksums.PROJECTIONS))
        self.chunks: dict[str, list[int]] = defaultdict(list)
        self.payloads: dict[str, list[Mapping[str, JSONValue]]] = {}
        self.differences: dict[str, Difference] = {}

    def add(self, page: VectorBatch) -> None:
        """Note vectors of the store."""
        owners = np.array([self._positions[each] for each in page.entity_ids], dtype=np.int64)
        chunks = np.array(page.chunks, dtype=np.int64)
        self._counts += np.bincount(owners, minlength=len(self._rows))
        self._sums += checksums.project(page.vectors, owners, chunks, len(self._rows))
        for i in np.flatnonzero((chunks != 0) | (self._expected[owners] > 1)).tolist():
            self.chunks[page.entity_ids[i]].append(int(chunks[i]))
        payloads = [_NO_PAYLOAD] * len(page) if page.metadata is None else page.metadata
        for owner, payload in zip(owners.tolist(), payloads, strict=True):
            row = self._rows[owner]
            if (metadata_hash(payload) if payload else b"") != row.metadata_hash:
                self.payloads.setdefault(row.entity_id, []).append(payload)

    def number_of(self, entity_id: str) -> int:
        """Return the number of vectors of an entity."""
        return int(self._counts[self._positions[entity_id]])

    def judge(self) -> None:
        """Find the differences; of several, the gravest counts."""
        found = dict.fromkeys(self.payloads, Difference.STALE)
        found |= self._at(self._replaced(), Difference.WRONG_VECTORS)
        found |= self._at(self._counts != self._expected, Difference.WRONG_CHUNKS)
        for entity_id, chunks in self.chunks.items():
            if sorted(chunks) != list(range(self._expected[self._positions[entity_id]])):
                found[entity_id] = Difference.WRONG_CHUNKS
        found |= self._at(np.isnan(self._sums[:, 0]), Difference.WRONG_DIMENSIONS)
        found |= self._at(self._counts == 0, Difference.LEDGER_WITHOUT_VECTOR)
        self.differences = found

    def _at(self, flags: NDArray[np.bool_], difference: Difference) -> dict[str, Difference]:
        return {self._rows[i].entity_id: difference for i in np.flatnonzero(flags)}

    def _replaced(self) -> NDArray[np.bool_]:
        """Return whether each has other vectors than were written."""
        sums = [row.checksum for row in self._rows]
        is_known = checksums.are_of(sums, [row.content_hash for row in self._rows])
        return is_known & checksums.differs(self._sums, sums, self._expected)


def _unlike(rows: Iterable[SourceRow], known: Known) -> dict[str, Difference]:
    """Return the differences of rows from the ledger."""
    unlike = {}
    for row in rows:
        before = known.get(row.entity_id)
        if before is None or not before.chunk_count:
            if row.text or row.error:
                unlike[row.entity_id] = Difference.MISSING
        elif (
            before.content_hash != row.hash_in(before.chunk_count)
            or before.metadata_hash != row.metadata_hash
            or row.error
        ):
            unlike[row.entity_id] = Difference.STALE
    return unlike


def _without_vectors(entity_ids: Iterable[str], known: Known) -> dict[str, None]:
    """Return those of which the ledger says that the store has no vectors."""
    return {each: None for each in entity_ids if each not in known or not known[each].chunk_count}
