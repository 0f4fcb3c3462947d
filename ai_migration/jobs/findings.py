"""What a verify has found so far, as its job keeps it and as it is reported."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ai_migration.entities.keys import in_order
from ai_migration.indexing.differences import Compared, Difference
from ai_migration.models import MigrationJob
from ai_migration.types import JobStatus, JSONValue
from ai_migration.words import counted

SAMPLES = 20
"""Entities that are named of each kind, at most."""
WALK_SIZE = 10_000
"""Vectors in one part of the store: only their keys are read."""
_FAILED = "failed"


@dataclass(frozen=True)
class Findings:
    """The result of a verify, so far.

    Attributes:
        job_id: The job.
        entity_type: Its entity type.
        status: Its state; only a COMPLETED one has seen everything.
        repair: Whether it repairs what it finds.
        source_rows: Source rows.
        ledger_rows: Entities in the ledger that have vectors.
        vectors: Vectors in the store.
        pending: Entities that differ because a change of them is under way: no difference.
        failed: Rows that differ and are listed as failed: no difference.
        missing: As the others from here, a number of differences; see :class:`Difference`.
        samples: Up to 20 of the entities, by kind.
    """

    job_id: str
    entity_type: str
    status: JobStatus
    repair: bool
    source_rows: int = 0
    ledger_rows: int = 0
    vectors: int = 0
    pending: int = 0
    failed: int = 0
    missing: int = 0
    stale: int = 0
    orphaned: int = 0
    ledger_without_vector: int = 0
    vector_without_ledger: int = 0
    wrong_dimensions: int = 0
    wrong_chunks: int = 0
    wrong_vectors: int = 0
    samples: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def by_kind(self) -> dict[Difference, int]:
        """The number of differences of each kind."""
        return {kind: getattr(self, kind) for kind in Difference}

    @property
    def differences(self) -> int:
        """The number of differences."""
        return sum(self.by_kind.values())

    @property
    def agrees(self) -> bool:
        """Return whether everything was compared, and source, ledger and store agree."""
        return self.status == JobStatus.COMPLETED and not self.differences


def findings_of(job: MigrationJob) -> Findings:
    """Return what a verify has found so far."""
    kept = job.findings or {}
    samples = {name: in_order(ids) for name, ids in kept.get("samples", {}).items()}
    return Findings(
        job_id=job.pk,
        entity_type=job.entity_type,
        status=JobStatus(job.status),
        repair=job.repair,
        **{**kept, "samples": samples},
    )


def merged(before: Mapping[str, Any] | None, compared: Compared) -> dict[str, JSONValue]:
    """Return the findings of a job with those of one more part.

    Args:
        before: As the job keeps them; None: there are none yet.
        compared: The part.
    """
    samples = {name: [*ids] for name, ids in (before or {}).get("samples", {}).items()}
    counts = Counter({name: n for name, n in (before or {}).items() if name != "samples"})
    found = {str(kind): ids for kind, ids in compared.found.items()} | {_FAILED: compared.failed}
    for name, ids in found.items():
        counts[name] += len(ids)
        new = [*samples.get(name, []), *ids]
        samples[name] = list(dict.fromkeys(new))[:SAMPLES]
    counts.update(
        source_rows=compared.source_rows,
        ledger_rows=compared.ledger_rows,
        vectors=compared.vectors,
        pending=compared.pending,
    )
    return {**counts, "samples": {name: ids for name, ids in samples.items() if ids}}


def in_words(job: MigrationJob) -> str:
    """Return the result of a verify for its audit log."""
    found = findings_of(job)
    if not found.differences:
        return "source, ledger and store agree"
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in found.by_kind.items() if count)
    words = f"{counted(found.differences, 'difference')}: {kinds.replace('_', ' ')}"
    return f"{words}; repaired" if job.repair else words
