"""The jobs that a slice works for: their states, and changes to these."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from django.db import DatabaseError, transaction
from django.db.models import Q

from ai_migration.conf import get_settings
from ai_migration.entities import registry
from ai_migration.exceptions import (
    AIMigrationError,
    InvalidTransitionError,
    RemovalsRefusedError,
    ReplicaBehindError,
    UnsettledError,
)
from ai_migration.indexing.batches import Batch
from ai_migration.jobs.feed.following import is_superseded
from ai_migration.jobs.feed.ranges import feed
from ai_migration.jobs.steer.scheduling import start_waiting
from ai_migration.jobs.steer.transitions import transition
from ai_migration.models import MigrationJob, QueueEntry
from ai_migration.models.leases import Lease
from ai_migration.models.sql import clock
from ai_migration.models.sql.clock import Now
from ai_migration.models.sql.outages import is_outage
from ai_migration.redaction import redacted
from ai_migration.types import JobStatus

_LOOK_EVERY = 0.05
"""Seconds for which the jobs' states are cached."""
STANDBY_SECONDS = 2.0
"""Seconds between looks at a standby that is behind."""
UNSETTLED_SECONDS = 1.0
"""Seconds between looks at transactions that are older than an index."""
MIN_ROWS_TO_BREAK = 50
"""Rows since the last start from which on the failure ratio counts."""


class JobWatch:
    """The running jobs, read again at most twenty times a second.

    Args:
        lease: The worker's slot, held.
        only_jobs: The jobs this worker works for; None: all.
        clock: Seconds, monotonic.
    """

    def __init__(
        self, lease: Lease, only_jobs: Collection[str] | None, clock: Callable[[], float]
    ) -> None:
        self._lease = lease
        self._using = lease.using
        self._only_jobs = only_jobs
        self._clock = clock
        self._looked = float("-inf")
        self._running: dict[str, MigrationJob] = {}
        self.left: list[str] = []
        self._known: dict[str, MigrationJob] = {}
        self._claimed: Counter[str] = Counter()
        self._fed: set[str] = set()
        self._throttled: dict[str, float] = {}

    def get(self, job_id: str | None) -> MigrationJob:
        """Return a job by id, as it was when it was first read."""
        assert job_id is not None
        if job_id not in self._known:
            jobs = MigrationJob.objects.using(self._using).select_related("collection")
            self._known[job_id] = jobs.get(pk=job_id)
        return self._known[job_id]

    def is_running(self, job_id: str) -> bool:
        """Return whether a job is still running."""
        return job_id in self._look()

    @property
    def largest_batch(self) -> int:
        """Return the rows in an entry of the running jobs, at most."""
        return max((job.batch_size for job in self._look().values()), default=1)

    @property
    def entity_types(self) -> set[str] | None:
        """The entity types of which the worker takes live changes; None: all."""
        if self._only_jobs is None:
            return None
        return {job.entity_type for job in self._look().values()}

    def note_claims(self, entries: Iterable[QueueEntry]) -> None:
        """Remember how far the jobs' windows were emptied."""
        self._claimed.update(entry.job_id for entry in entries if entry.job_id)

    def feed_if_low(self) -> None:
        """Fill the windows that may be half empty."""
        for job_id in self._look():
            is_low = self._claimed[job_id] >= get_settings().QUEUE_WINDOW / 2
            if is_low or job_id not in self._fed:
                self._feed(job_id)

    def feed(self) -> int:
        """Fill all windows, and let finished jobs enter their next phase; return the entries
        added."""
        self._look_again()
        added, fed = 0, set[str]()
        while new := self._look().keys() - fed:  # one that fails makes room for another
            added += sum(self._feed(job_id) for job_id in sorted(new))
            fed |= new
        return added

    def fail(self, job_id: str | None, message: str, **values: Any) -> None:
        """Stop a job that cannot continue; its state stays for a resume.

        Args:
            job_id: The job; None for live changes.
            message: The reason.
            values: Columns to set along with its status.

        Raises:
            OwnershipLostError: The lease was lost, and the error may not concern the worker that
                owns the work now.
        """
        if job_id is None:
            return
        with self._stopping():
            stop_job(job_id, message, self._using, **values)

    def pause_spent(self, job_id: str, tokens: int, *, unused: int) -> None:
        """Pause a job whose next request has more tokens than its budget has left.

        Args:
            job_id: The job.
            tokens: Tokens of that request.
            unused: Tokens this worker has reserved beyond what it has sent.

        Raises:
            OwnershipLostError: As :meth:`fail`.
        """
        if not self.is_running(job_id):
            return
        job = MigrationJob.objects.using(self._using).get(pk=job_id)
        job.reserved_tokens -= unused
        reason = f"budget used up: {job.spent}, and the next request needs {tokens:,}"
        with self._stopping(), suppress(InvalidTransitionError):
            transition(
                job_id,
                JobStatus.PAUSED,
                using=self._using,
                actor="engine",
                reason=reason,
                sources=[JobStatus.RUNNING],
                throttle_reason=reason,
            )

    def throttle(self, job_id: str | None, seconds: float, reason: str) -> None:
        """Record that a job waits for its provider or its limit; its entries are not claimed until
        then. A longer wait that another worker has recorded stays."""
        until = self._clock() + seconds
        if job_id is None or until - self._throttled.get(job_id, 0.0) < 0.5:
            return
        self._throttled[job_id] = until
        is_shorter = Q(throttled_until=None) | Q(throttled_until__lt=clock.after(seconds))
        MigrationJob.objects.using(self._using).filter(is_shorter, pk=job_id).update(
            throttled_until=clock.after(seconds), throttle_reason=reason[:255]
        )

    def break_circuit(self, batch: Batch) -> None:
        """Fail a job if too many of its rows since the last start have failed."""
        if batch.job is None or not any(plan.failures or plan.embed.errors for plan in batch.plans):
            return
        if message := too_many_failures(batch.job.pk, self._using):
            self.fail(batch.job.pk, message)

    @contextmanager
    def _stopping(self) -> Iterator[None]:
        """Change a job's state while the lease is held, then start waiting jobs."""
        try:
            with transaction.atomic(using=self._using):
                self._lease.renew()
                yield
        finally:
            self._look_again()
        start_waiting(self._using)

    def _feed(self, job_id: str) -> int:
        self._claimed[job_id] = 0
        self._fed.add(job_id)
        try:
            return feed(job_id, self._using)
        except ReplicaBehindError as error:
            self.throttle(job_id, STANDBY_SECONDS, error.message)
            return 0
        except UnsettledError as error:
            MigrationJob.objects.using(self._using).filter(pk=job_id).update(horizon=error.horizon)
            self.throttle(job_id, UNSETTLED_SECONDS, error.message)
            return 0
        except RemovalsRefusedError as error:
            self.fail(job_id, error.message, cursor=None)  # a resume compares from the start
            return 0
        except (AIMigrationError, DatabaseError) as error:
            if is_outage(error):
                raise
            self.fail(job_id, str(error))
            return 0

    def _look_again(self) -> None:
        self._looked = float("-inf")

    def _look(self) -> dict[str, MigrationJob]:
        if self._clock() - self._looked >= _LOOK_EVERY:
            wanted = Q(status=JobStatus.RUNNING)
            if self._only_jobs is not None:
                wanted &= Q(pk__in=list(self._only_jobs))
            jobs = MigrationJob.objects.using(self._using).filter(wanted)
            running = {job.pk: job for job in jobs.select_related("collection")}
            self._known.update(running)
            self.left = [job_id for job_id, job in running.items() if _is_superseded(job)]
            self._running = {key: job for key, job in running.items() if key not in self.left}
            self._looked = self._clock()
        return self._running


def _is_superseded(job: MigrationJob) -> bool:
    with suppress(AIMigrationError):  # a wrong config is reported when the job is fed
        return bool(job.superseded_configs) and is_superseded(job, registry.get(job.entity_type))
    return False


def stop_job(job_id: str, message: str, using: str, **values: Any) -> None:
    """Move a job to FAILED, unless it was paused or cancelled meanwhile."""
    message = redacted(message)
    with suppress(InvalidTransitionError):
        transition(
            job_id,
            JobStatus.FAILED,
            using=using,
            actor="engine",
            reason=message[:1000],
            error_message=message[:5000],
            completed_at=Now(),
            **values,
        )


def too_many_failures(job_id: str, using: str) -> str:
    """Return an error message if more of a job's rows failed since it was last started than the
    setting ``MAX_FAILURE_RATIO`` allows; else an empty text."""
    job = MigrationJob.objects.using(using).get(pk=job_id)
    processed = job.processed_entities - job.breaker_processed
    failed = job.failed_entities - job.breaker_failed
    ratio = get_settings().MAX_FAILURE_RATIO
    if processed < MIN_ROWS_TO_BREAK or failed / processed <= ratio:
        return ""
    last = job.failures.order_by("-pk").first()
    return (
        f"{failed} of the last {processed} entities failed, more than MAX_FAILURE_RATIO "
        f"{ratio:g} allows. The last error: {last.error if last else 'unknown'}"
    )
