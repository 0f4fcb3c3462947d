"""The part of a batch that is ready to be written."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from ai_migration.entities.rows.reader import SourceRow
from ai_migration.exceptions import TransientEmbedderError
from ai_migration.indexing.batches import Failure, TargetPlan
from ai_migration.indexing.checksums import checksums
from ai_migration.models.sql.dialects.base import LedgerRow


@dataclass
class Outcome:
    """The part of a plan that is ready to be written."""

    plan: TargetPlan
    rows: list[SourceRow] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)
    failures: dict[str, Failure] = field(default_factory=dict)
    waiting: int = 0

    @cached_property
    def ledger_rows(self) -> list[LedgerRow]:
        """The ledger rows of what is written."""
        plan = self.plan
        hashes = [
            row.hash_in(stop - start)
            for row, (start, stop) in zip(self.rows, self.spans, strict=True)
        ]
        sums = checksums(plan.embed.vectors, self.spans, hashes)
        rows = [
            LedgerRow(
                row.entity_id,
                content_hash,
                row.metadata_hash,
                stop - start,
                self._version(row.entity_id) if plan.known else 0,  # not in a first run
                checksum,
            )
            for row, content_hash, (start, stop), checksum in zip(
                self.rows, hashes, self.spans, sums, strict=True
            )
        ]
        rows += [
            self._listed(row, plan.known[row.entity_id].chunk_count) for row in plan.metadata_rows
        ]
        rows += [self._listed(row, 0) for row in plan.empty]
        rows += [
            LedgerRow(entity_id, b"", b"", 0, self._version(entity_id))
            for entity_id in plan.removed
        ]
        return rows

    @property
    def unchanged_rows(self) -> list[LedgerRow]:
        """The ledger rows of what is unchanged. They are written where no later read follows, as
        after the last change of a row: a worker that read the row before that, and has not written
        yet, is then known to be late."""
        known = self.plan.known
        return [self._listed(r, known[r.entity_id].chunk_count) for r in self.plan.unchanged]

    def _listed(self, row: SourceRow, chunks: int) -> LedgerRow:
        version = self._version(row.entity_id)
        return LedgerRow(row.entity_id, row.hash_in(chunks), row.metadata_hash, chunks, version)

    def _version(self, entity_id: str) -> int:
        known = self.plan.known.get(entity_id)
        return known.version if known else 0


def outcome_of(plan: TargetPlan, *, final: bool) -> Outcome:
    """Return the ready part of a plan, to which nothing is added from now on.

    Args:
        plan: Usually with all its vectors.
        final: Whether retryable failures are final.
    """
    embed = plan.embed
    if embed.cuts:
        plan.spans = embed.join(plan.spans)
    if embed.open == 0 and not embed.errors:
        return Outcome(plan, plan.rows, plan.spans, plan.failures)
    outcome = Outcome(plan, failures=dict(plan.failures))
    for row, (start, stop) in zip(plan.rows, plan.spans, strict=True):
        errors = [embed.errors[i] for i in range(start, stop) if i in embed.errors]
        if embed.done[start:stop].all():
            outcome.rows.append(row)
            outcome.spans.append((start, stop))
        elif errors and (final or not isinstance(errors[0], TransientEmbedderError)):
            outcome.failures[row.entity_id] = Failure(errors[0].code, errors[0].message)
        else:
            outcome.waiting += 1
    return outcome
