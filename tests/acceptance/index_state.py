"""Everything an index is, row by row, to compare what a killed run left with a control run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields

from ai_migration.models import EntityFailure, MigrationJob, QueueEntry, SearchableEntity
from ai_migration.stores import stores
from ai_migration.types import CollectionStatus, EntryStatus, JobStatus


@dataclass(frozen=True)
class IndexState:
    """The ACTIVE collection of an entity type and its newest job.

    Attributes:
        vectors: By entity and chunk: the vector's bytes and its payload.
        ledger: By entity: content hash, metadata hash, chunks; without tombstones.
        failures: By entity: the error's code.
        counters: The job's.
    """

    vectors: Mapping[tuple[str, int], tuple[bytes, str]]
    ledger: Mapping[str, tuple[bytes, bytes, int]]
    failures: Mapping[str, str]
    counters: Mapping[str, int]

    def differences(self, other: IndexState) -> list[str]:
        """What is not the same, at most ten of each kind."""
        found = []
        for field in fields(self):
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            keys = [key for key in {**mine, **theirs} if mine.get(key) != theirs.get(key)]
            found += [
                f"{field.name}[{key}]: {mine.get(key)!r} != {theirs.get(key)!r}"
                for key in keys[:10]
            ]
        return found


def index_state(entity_type: str) -> IndexState:
    """The state now, in the databases Django is connected to."""
    job = newest_job(entity_type)
    [collection] = job.collection.__class__.objects.filter(
        entity_type=entity_type, status=CollectionStatus.ACTIVE
    )
    vectors = {}
    for batch in stores[collection.store].scroll(collection.ref):
        payloads = batch.metadata or [{}] * len(batch)
        for entity_id, chunk, vector, payload in zip(
            batch.entity_ids, batch.chunks, batch.vectors, payloads, strict=True
        ):
            vectors[entity_id, chunk] = vector.tobytes(), json.dumps(payload, sort_keys=True)
    ledger = {
        row.entity_id: (bytes(row.content_hash), bytes(row.metadata_hash), row.chunk_count)
        for row in SearchableEntity.objects.filter(collection=collection)
        if row.chunk_count or row.content_hash
    }
    failures = dict(EntityFailure.objects.filter(job=job).values_list("entity_id", "error_code"))
    names = ["total", "processed", "indexed", "skipped", "removed", "failed"]
    counters = {name: getattr(job, f"{name}_entities") for name in names}
    return IndexState(vectors, ledger, failures, {**counters, "embedded_texts": job.embedded_texts})


def newest_job(entity_type: str) -> MigrationJob:
    """The job that was started last."""
    job = MigrationJob.objects.filter(entity_type=entity_type).order_by("-pk").first()
    assert job is not None
    return job


def unsettled(entity_type: str) -> list[str]:
    """What a finished run must not leave behind."""
    job = newest_job(entity_type)
    entries = QueueEntry.objects.filter(
        status__in=[EntryStatus.CLAIMED, EntryStatus.PENDING, EntryStatus.FAILED]
    )
    problems = [str(entry) for entry in entries]
    if job.status != JobStatus.COMPLETED:
        problems.append(f"{job} {job.error_message}")
    counted = (
        job.indexed_entities + job.skipped_entities + job.removed_entities + job.failed_entities
    )
    if not job.total_entities == job.processed_entities == counted:
        problems.append(f"{job.total_entities} {job.processed_entities} {counted}")
    building = job.collection.__class__.objects.filter(
        entity_type=entity_type, status=CollectionStatus.BUILDING
    )
    return problems + [str(collection) for collection in building]
