"""A slice: a bounded time in which one worker feeds jobs, claims entries and indexes them.

One thread claims and writes; another reads and plans ahead of it; ``embed`` runs on more,
and results are written as they come. No transaction is open during an embed call. The
slice knows nothing of where it runs: the foreground command, a worker process and a
cluster run this same code.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import DatabaseError

from ai_migration.conf import get_settings
from ai_migration.engine.insight.freshness import Freshness
from ai_migration.engine.insight.metrics import Tally, add_to_minute
from ai_migration.engine.slices.comparisons import Comparisons
from ai_migration.engine.slices.finishing import finish_job
from ai_migration.engine.slices.jobs import STANDBY_SECONDS, JobWatch
from ai_migration.engine.slices.pools import EmbedPools
from ai_migration.engine.slices.reading import ReadAhead
from ai_migration.engine.slices.verifying import is_comparison, settle
from ai_migration.entities import registry
from ai_migration.entities.entity import Entity
from ai_migration.entities.rows.reader import EntityReader
from ai_migration.exceptions import (
    AIMigrationError,
    FatalEmbedderError,
    OwnershipLostError,
    RebuildRequiredError,
    ReplicaBehindError,
    StoreError,
)
from ai_migration.indexing import queue
from ai_migration.indexing.batches import Batch, Target, read_batch
from ai_migration.indexing.embedding.pool import EmbedPool
from ai_migration.indexing.embedding.retries import backoff
from ai_migration.indexing.expanding import expand
from ai_migration.indexing.targets import live_collections, serving_target, target_of
from ai_migration.indexing.writing import write_batch
from ai_migration.models import QueueEntry
from ai_migration.models.leases import Lease
from ai_migration.models.sql import clock as database_clock
from ai_migration.models.sql.dialects import dialect
from ai_migration.models.sql.outages import is_outage
from ai_migration.pace import throttling
from ai_migration.types import Operation

logger = logging.getLogger("ai_migration")

CLAIM_SIZE = 8
"""Entries claimed at once, at most; of live changes more, until they have ``LIVE_ROWS`` rows. More
would wait here while live entries come."""
LIVE_ROWS = 500
"""Rows of live changes claimed at once, which are one batch."""
LIVE_AHEAD = 4
"""Batches of live changes in hand, at most, that are claimed beside those of a job."""
ROWS_AHEAD = 8_000
"""Rows claimed at once, at most, unless one batch has more: they are held in memory."""
MAX_OPEN = 64
"""Batches that wait for vectors, at most: they are held in memory."""
_LONGEST_WAIT = 0.25
"""Seconds between looks at pause, cancel and shutdown while providers are silent."""
_LOOK_EVERY = 0.2
"""Seconds between looks for live changes while nothing else is claimed."""


@dataclass(frozen=True)
class SliceReport:
    """The result of a slice.

    Attributes:
        batches: Batches written.
        is_idle: Whether it ended because there was nothing to claim.
        wait: Seconds to wait before looking again.
    """

    batches: int
    is_idle: bool
    wait: float


class Slice:
    """One slice of one worker.

    Args:
        lease: The worker's slot, held.
        should_stop: Called between steps; True ends the slice after the requests in flight.
        only_jobs: Work for these jobs only; default: for everything in the queue.
        only_live: Index live changes only.
        seconds: Its length; default: the setting ``SLICE_SECONDS``.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        lease: Lease,
        *,
        should_stop: Callable[[], bool] = lambda: False,
        only_jobs: Collection[str] | None = None,
        only_live: bool = False,
        seconds: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lease = lease
        self._should_stop = should_stop
        self._only_live = only_live
        self._only_jobs = only_jobs
        self._clock = clock
        self._ends = clock() + (seconds or get_settings().SLICE_SECONDS)
        self._renewed = clock()
        self._looked = clock()
        self._jobs = JobWatch(lease, () if only_live else only_jobs, clock)
        self._open: list[Batch] = []
        self._readers: dict[str, EntityReader] = {}
        self._written = 0
        self._counted = 0.0  # until when time was counted as busy
        self._tally = Tally()
        self._has_suspect = False  # in hand, or waiting until nothing is in hand

    def run(self) -> SliceReport:
        """Work until time is up, nothing is left, or a stop is requested.

        Raises:
            OwnershipLostError: The lease was lost; nothing was half done.
            django.db.Error: The database is unavailable; the lease will run out.
        """
        using = self.lease.using
        try:
            with (
                # Half a lease: a worker that waits for these locks does not lose its own lease.
                dialect(using).idle_timeout(get_settings().LEASE_SECONDS / 2),
                EmbedPools(using, self._clock) as self._pools,
            ):
                with ReadAhead[Batch](using) as self._reading, Comparisons(using) as self._compared:
                    is_idle = self._loop()
                wait = self._pools.wakes_in or 0.0
        except OwnershipLostError:
            self._tally += Tally(leases_lost=1)
            raise
        finally:
            add_to_minute(self.lease.slot_id, self._tally, using)
        return SliceReport(self._written, is_idle, wait)

    def _loop(self) -> bool:
        is_dry = False
        while True:
            was_empty_handed = not self._in_hand
            self._heartbeat()
            stopping = self._should_stop() or self._time_is_up
            if stopping:
                unread = [*self._reading.cancel(), *self._compared.cancel()]
                queue.requeue(self.lease, [entry.pk for entry in unread])
            elif not is_dry and self._wants_more:
                is_dry = not self._claim()
            elif self._live_is_due:
                self._claim(only_live=True)
            self._take_read()
            self._compare()
            halted = self._halt(stopping)
            # Whether nothing more comes for now.
            is_all = is_dry or self._has_suspect or len(self._open) >= MAX_OPEN
            self._send(flush=(is_all or stopping) and not self._reading)
            self._write_ready(halted)
            if not self._in_hand:
                if stopping:
                    return False
                # What was written since it was dry may have left entries to be read again.
                if is_dry and not self._jobs.feed() and was_empty_handed:
                    return True
                is_dry = False
            else:
                self._wait()

    @property
    def _time_is_up(self) -> bool:
        """Return whether to end. Not before there is a first result: a batch that takes longer to
        read than a slice lasts would be read for ever."""
        if self._clock() < self._ends:
            return False
        is_begun = self._reading or self._compared or self._pools.in_flight or self._pools.can_send
        return bool(self._written or self._pools.answered or not is_begun)

    # Claiming and reading

    @property
    def _wants_more(self) -> bool:
        if self._has_suspect and self._in_hand:
            return False
        is_full = len(self._reading) >= 2 or len(self._compared) >= 2
        return not is_full and len(self._open) < MAX_OPEN and self._pools.want_more

    @property
    def _in_hand(self) -> bool:
        return bool(self._open or self._reading or self._compared)

    @property
    def _live_is_due(self) -> bool:
        """Return whether live changes wait that may be taken now: they wait neither for the texts
        that were read ahead of a busy provider, nor for the last batches of a job. Looks at most
        five times a second."""
        in_hand = (*self._reading.entries, *(batch.entries for batch in self._open))
        live = sum(not entries[0].job_id for entries in in_hand)
        if (self._has_suspect and self._in_hand) or live >= LIVE_AHEAD:
            return False
        if self._clock() - self._looked < _LOOK_EVERY:
            return False
        self._looked = self._clock()
        return queue.live_is_due(self.lease.using, self._jobs.entity_types)

    def _wait(self) -> None:
        """Wait for an answer, a batch that is read, or the clock."""
        pending: list[Future[Any]] = [
            *self._pools.in_flight,
            *self._reading.futures,
            *self._compared.futures,
        ]
        timeout = min(_LONGEST_WAIT, self._pools.wakes_in or _LONGEST_WAIT)
        if pending:
            wait(pending, timeout, return_when=FIRST_COMPLETED)
        elif self._pools.wakes_in:
            time.sleep(min(timeout, 0.05))

    def _claim(self, *, only_live: bool = False) -> bool:
        """Claim the next entries and start to read them; return whether there were any, or will be
        once nothing is in hand."""
        self._looked = self._clock()
        if not only_live:
            throttling.hold_jobs(self.lease.using)
            self._jobs.feed_if_low()
        limit = min(CLAIM_SIZE, max(1, ROWS_AHEAD // self._jobs.largest_batch))
        in_hand = self._in_hand
        entries = queue.claim(
            self.lease,
            limit,
            live_rows=LIVE_ROWS,
            only_live=only_live or self._only_live,
            only_jobs=self._only_jobs,
            except_jobs=self._jobs.left,
            in_hand=in_hand,
        )
        waits = in_hand and not entries and queue.suspects_wait(self.lease.using)
        self._has_suspect = waits or any(entry.claims for entry in entries)
        self._jobs.note_claims(entries)
        if entries:
            self._tally += Tally(slices=not self._tally.slices, claims=len(entries))
        for group in _groups(entries):
            self._start(group)
        return bool(entries) or waits

    def _start(self, entries: list[QueueEntry]) -> None:
        """Start to read and plan a group of entries that make one batch."""
        first = entries[0]
        try:
            if first.operation == Operation.FINISH:
                finish_job(first, self.lease, self._heartbeat)
                self._written += 1
                return
            entity = registry.get(first.entity_type)
            if first.entity_type not in self._readers:
                self._readers[first.entity_type] = EntityReader(entity)
            if first.job_id and is_comparison(first, self._jobs.get(first.job_id)):
                self._compared.add(
                    first, self._jobs.get(first.job_id), self._readers[first.entity_type]
                )
                return
            targets = self._targets(first)
            if not targets:  # never indexed: the first backfill will read these rows
                queue.owned(self.lease, [entry.pk for entry in entries]).delete()
                return
            if first.operation == Operation.EXPAND:
                self._written += len(entries)
                for entry in entries:
                    expand(entry, entity, self.lease)
                return
            job = self._jobs.get(first.job_id) if first.job_id else None
            reader = self._readers[first.entity_type]

            def read(entity: Entity) -> Batch:
                return read_batch(entries, entity, reader, targets, job, self.lease.using)

            self._reading.submit(entries, reader, read)
        except OwnershipLostError as error:
            self._note_loss(error)
        except Exception as error:
            self._give_up(entries, error)

    def _note_loss(self, error: OwnershipLostError) -> None:
        """Drop a result, and go on if only the entries are no longer ours.

        Raises:
            OwnershipLostError: The lease was lost, too.
        """
        logger.warning("%s", error)
        self._tally += Tally(leases_lost=1)
        self.lease.renew()

    def _compare(self) -> None:
        """Settle what was compared for verifies, and go on with what waits."""
        for entry, future in self._compared.take_done():
            try:
                part = future.result()
                settle(entry, self._jobs.get(entry.job_id), part, self.lease)
            except OwnershipLostError as error:
                self._note_loss(error)
            except Exception as error:
                self._give_up([entry], error)
            else:
                self._written += 1
                self._renewed = self._clock()
                self._tally += Tally(
                    batches=1,
                    batch_seconds=self._busy_since(part.since),
                    entities=part.compared.seen,
                )
        dropped = self._compared.go_on(self._jobs.is_running)
        if dropped:
            queue.requeue(self.lease, [entry.pk for entry in dropped])

    def _take_read(self) -> None:
        """Open the batches that were read."""
        for entries, future in self._reading.take_done():
            try:
                batch = future.result()
            except Exception as error:
                self._give_up(entries, error)
                continue
            self._open.append(batch)
            for plan in batch.plans:
                self._pools.pool(plan.target, batch.job).add(plan.embed)

    def _targets(self, entry: QueueEntry) -> list[Target]:
        if entry.job_id is not None:
            return [target_of(self._jobs.get(entry.job_id).collection)]
        targets, wrong = [], None
        for collection in live_collections(entry.entity_type, self.lease.using):
            try:
                targets.append(serving_target(collection))
            except RebuildRequiredError as error:  # a rebuild will read these rows
                logger.warning("%s", error)
            except AIMigrationError as error:  # another worker may have the right settings
                logger.warning("%s", error)
                wrong = error
        if wrong is not None and not targets:
            raise wrong
        return targets

    # Embedding

    def _send(self, *, flush: bool) -> None:
        live_comes = any(not entries[0].job_id for entries in self._reading.entries)
        for job_id, pool in self._pools:
            try:
                pool.collect()
                if job_id is not None and pool.budget is not None:
                    pool.budget.limit = self._jobs.get(job_id).token_limit
                # A live change does not wait until others fill its request.
                pool.pump(flush=flush or (job_id is None and not live_comes))
            except FatalEmbedderError as error:
                pool.drop_waiting()
                self._jobs.fail(job_id, error.message)
                if job_id is None:
                    self._requeue_live(pool, error)
            if pool.tokens_missing and job_id is not None and pool.budget is not None:
                unused = pool.budget.unused
                self._jobs.pause_spent(job_id, pool.tokens_missing, unused=unused)
            if pool.blocked_for > 1:
                self._jobs.throttle(job_id, pool.blocked_for, pool.block_reason)

    def _requeue_live(self, pool: EmbedPool, error: FatalEmbedderError) -> None:
        for batch in [batch for batch in self._open if batch.job is None]:
            if all(plan.target.embedder is not pool.embedder for plan in batch.plans):
                continue
            self._open.remove(batch)
            queue.requeue(
                self.lease, batch.entry_ids, delay=60, error=error.message, is_attempt=True
            )

    def _halt(self, stopping: bool) -> set[int]:
        """Stop sending when the slice ends, except for rows that were begun, and for jobs that were
        paused, cancelled or failed. Return the stopped batches by ``id``: decided once a round, so
        that nothing is sent for a batch that is then requeued."""
        halted = set()
        for batch in self._open:
            is_wanted = batch.job is None or self._jobs.is_running(batch.job.pk)
            if stopping or not is_wanted:
                halted.add(id(batch))
                for plan in batch.plans:
                    pool = self._pools.pool(plan.target, batch.job)
                    pool.drop_waiting(plan.embed, but_finish_rows=is_wanted)
        return halted

    # Writing

    def _write_ready(self, halted: set[int]) -> None:
        for batch in list(self._open):
            is_dropped = id(batch) in halted and not self._pools.is_busy_with(batch)
            if batch.is_embedded or is_dropped:
                self._open.remove(batch)
                self._write(batch)

    def _write(self, batch: Batch) -> None:
        attempts = 1 + max(entry.attempts for entry in batch.entries)
        settings = get_settings()
        is_last = attempts >= settings.MAX_ATTEMPTS or not self._has_retryable(batch)
        delay = None
        if not batch.is_embedded:
            delay = self._pools.blocked_for(batch)
        elif not is_last:
            delay = backoff(attempts, settings.RETRY_DELAY_SECONDS)
        budget = self._pools.pool(batch.plans[0].target, batch.job).budget
        released = budget.released_with(batch.spent) if budget else 0
        try:
            counts = write_batch(batch, self.lease, retry_delay=delay, released=released)
        except (StoreError, DatabaseError) as error:
            if budget is not None:
                budget.forfeit(batch.spent)
            self._give_up(batch.entries, error)
        except OwnershipLostError as error:
            if budget is not None:
                budget.forfeit(batch.spent)
            self._note_loss(error)
        else:
            if budget is not None:
                budget.settle(batch.spent, released)
            self._written += 1
            self._renewed = self._clock()
            self._tally += Tally(
                batches=1,
                batch_seconds=self._busy_since(min(each.since for each in (*self._open, batch))),
                entities=counts.processed,
                texts=counts.texts,
                freshness=self._freshness(counts.changes),
            )
            self._jobs.break_circuit(batch)

    def _freshness(self, changes: Sequence[tuple[datetime, int]]) -> Freshness:
        """Return the waits of live changes that were committed just now."""
        return (
            Freshness.of(changes, database_clock.now(self.lease.using)) if changes else Freshness()
        )

    def _busy_since(self, since: float) -> float:
        """Return the seconds since a moment that were not counted yet, and count them."""
        now = time.monotonic()
        seconds = now - max(since, self._counted)
        self._counted = now
        return seconds

    def _has_retryable(self, batch: Batch) -> bool:
        return any(plan.embed.has_transient_errors for plan in batch.plans)

    def _give_up(self, entries: list[QueueEntry], error: Exception) -> None:
        """Requeue entries that could not be read or written; stop their job when trying again
        cannot help. An outage of the database is not their fault: it ends the slice."""
        if is_outage(error):
            raise error
        if isinstance(error, ReplicaBehindError):
            self._jobs.throttle(entries[0].job_id, STANDBY_SECONDS, error.message)
            queue.requeue(self.lease, [entry.pk for entry in entries], delay=STANDBY_SECONDS)
            return
        message = str(error) or type(error).__name__
        if not isinstance(error, AIMigrationError):
            logger.error("Indexing %s failed", entries[0].entity_type, exc_info=error)
            message = f"{type(error).__name__}: {message}"
        attempts = 1 + max(entry.attempts for entry in entries)
        transient = isinstance(error, StoreError) and error.transient
        if not transient or attempts >= get_settings().MAX_ATTEMPTS:
            self._jobs.fail(entries[0].job_id, message)
        queue.requeue(
            self.lease,
            [entry.pk for entry in entries],
            delay=backoff(attempts + 1, get_settings().RETRY_DELAY_SECONDS),
            error=message,
            is_attempt=True,
        )

    def _heartbeat(self) -> None:
        """Renew the lease while no commit does."""
        if self._clock() - self._renewed > get_settings().LEASE_SECONDS / 4:
            self.lease.renew()
            self._renewed = self._clock()


def _groups(entries: Iterable[QueueEntry]) -> list[list[QueueEntry]]:
    """Group entries into batches: each of a job alone, live ones together."""
    groups: dict[object, list[QueueEntry]] = defaultdict(list)
    for entry in entries:
        key = entry.pk if entry.job_id else (entry.entity_type, entry.operation)
        groups[key].append(entry)
    return list(groups.values())
