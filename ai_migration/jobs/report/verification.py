"""The result of a verify, as it is asked for and as a document."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator
from pydantic.alias_generators import to_camel

from ai_migration.exceptions import InvalidRequestError
from ai_migration.jobs.findings import Findings, findings_of
from ai_migration.jobs.report.documents import JOB_ID, Document, told
from ai_migration.jobs.steer.transitions import find_job
from ai_migration.models.leases import our_database
from ai_migration.types import JobKind, JobStatus


def get_findings(job_id: str) -> Findings:
    """Return what a verify has found so far.

    Raises:
        UnknownJobError: There is no such job.
        InvalidRequestError: It is not a verify.
    """
    job = find_job(job_id, our_database())
    if job.kind != JobKind.VERIFY:
        raise InvalidRequestError(
            f"{job.pk} is not a verify: it has progress and failures, and no findings",
            field="job_id",
        )
    return findings_of(job)


Samples = Annotated[
    dict[str, list[str]],
    BeforeValidator(lambda by_kind: {to_camel(name): ids for name, ids in by_kind.items()}),
]


class Verification(Document):
    """The result of a verify: exact counts, and up to 20 of the entities of each kind."""

    job_id: str = told("The job.", JOB_ID)
    entity_type: str = told("Its entity type.", "product")
    status: JobStatus = told("Its state: only a COMPLETED one has compared all.", "COMPLETED")
    repair: bool = told("Whether it repairs what it finds.", False)
    agrees: bool = told("Whether source, ledger and store agree.", False)
    source_rows: int = told("Source rows.", 100_000)
    ledger_rows: int = told("Entities in the ledger that have vectors.", 99_998)
    vectors: int = told("Vectors in the store.", 99_999)
    missing: int = told("Rows that are not in the index.", 3)
    stale: int = told("Entities whose text or payload differs from what was indexed.", 0)
    orphaned: int = told("Entities whose row is gone, or not selected any more.", 1)
    ledger_without_vector: int = told("Entities without a vector in the store.", 0)
    vector_without_ledger: int = told("Vectors that the ledger does not know.", 1)
    wrong_dimensions: int = told("Entities with a vector of other dimensions.", 0)
    wrong_chunks: int = told("Entities with too few, too many or double chunks.", 0)
    wrong_vectors: int = told("Entities with other vectors than were written.", 0)
    pending: int = told("Entities that a change in the queue will bring in line.", 12)
    failed: int = told("Rows that differ and are listed as failed.", 0)
    samples: Samples = told(
        "Up to 20 entities of each kind.",
        {"missing": ["17", "18", "19"], "orphaned": ["4711"], "vectorWithoutLedger": ["9000"]},
    )
