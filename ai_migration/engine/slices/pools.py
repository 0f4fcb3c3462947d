"""The embed pools of a slice: one for each embedder and job."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from ai_migration.entities import registry
from ai_migration.indexing.batches import Batch, Target
from ai_migration.indexing.embedding.pool import EmbedPool, InFlight
from ai_migration.indexing.embedding.retries import RetryPolicy
from ai_migration.models import MigrationJob
from ai_migration.pace.budgets import Budget
from ai_migration.pace.limits import JobLimit, RateLimits

MAX_CONCURRENCY = 64
"""Requests of one job in flight at once, at most, whatever the embedder allows."""

PoolKey = tuple[int, str | None]
"""The embedder, by identity, and the job. Two embedders of one alias never share a pool: one would
make the vectors of the other's index."""


class EmbedPools:
    """Makes pools at first use; requests of different jobs never mix, because each job has
    a rate limit of its own.

    Args:
        using: Database alias of our tables.
        clock: Seconds, monotonic.
    """

    def __init__(self, using: str, clock: Callable[[], float]) -> None:
        self._using = using
        self._clock = clock
        self._pools: dict[PoolKey, EmbedPool] = {}
        self._threads = ExitStack()

    def __enter__(self) -> EmbedPools:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self.drop_waiting()
        self._threads.close()
        for pool in self._pools.values():
            if kind is None and pool.budget is not None:
                pool.budget.close()

    def __iter__(self) -> Iterator[tuple[str | None, EmbedPool]]:
        """Yield each pool with the job it works for."""
        for (_, job_id), pool in self._pools.items():
            yield job_id, pool

    def pool(self, target: Target, job: MigrationJob | None) -> EmbedPool:
        """Return the pool that embeds for a collection on behalf of a job, or of live changes."""
        key = (id(target.embedder), job.pk if job else None)
        if key not in self._pools:
            self._pools[key] = self._create(target, job)
        return self._pools[key]

    @property
    def in_flight(self) -> list[InFlight]:
        """All requests that wait for an answer."""
        return [future for pool in self._pools.values() for future in pool.in_flight]

    @property
    def answered(self) -> int:
        """The number of requests that were answered, or failed."""
        return sum(pool.answered for pool in self._pools.values())

    @property
    def want_more(self) -> bool:
        """Return whether some pool could run dry before the next claim is read."""
        ready = [pool for pool in self._pools.values() if pool.blocked_for <= 0]
        return not ready or any(pool.wants_more for pool in ready)

    @property
    def can_send(self) -> bool:
        """Return whether some pool has something to send now."""
        return any(pool.can_send for pool in self._pools.values())

    @property
    def wakes_in(self) -> float | None:
        """Seconds until some pool can continue; None if none waits for the clock."""
        moments = [pool.wakes_in for pool in self._pools.values()]
        return min((moment for moment in moments if moment is not None), default=None)

    def is_busy_with(self, batch: Batch) -> bool:
        """Return whether a request in flight carries texts of the batch."""
        plans = {id(plan.embed) for plan in batch.plans}
        return any(pool.carries(plans) for pool in self._pools.values())

    def blocked_for(self, batch: Batch) -> float:
        """Return the seconds until a pool that embeds for the batch may send its next request."""
        pools = [self.pool(plan.target, batch.job) for plan in batch.plans]
        return max(pool.blocked_for for pool in pools)

    def drop_waiting(self) -> None:
        """Send nothing more."""
        for pool in self._pools.values():
            pool.drop_waiting()

    def _create(self, target: Target, job: MigrationJob | None) -> EmbedPool:
        config = registry.global_config()
        default = RetryPolicy()
        limits = RateLimits(
            target.collection.embedder,
            self._using,
            job=JobLimit(job.pk, job.rate_limit) if job and job.rate_limit else None,
            is_live=job is None,
            clock=self._clock,
        )
        concurrency = min(
            target.embedder.concurrency,
            config.max_concurrent_requests or target.embedder.concurrency,
            MAX_CONCURRENCY,
        )
        threads = ThreadPoolExecutor(concurrency, thread_name_prefix="embed")
        return EmbedPool(
            target.embedder,
            self._threads.enter_context(threads),
            concurrency=concurrency,
            policy=RetryPolicy(
                attempts=(
                    default.attempts if config.retry_attempts is None else 1 + config.retry_attempts
                ),
                initial_delay=(
                    default.initial_delay
                    if config.retry_delay_ms is None
                    else config.retry_delay_ms / 1000
                ),
            ),
            limits=limits,
            budget=Budget(job.pk, self._using) if job else None,
            counts_tokens=(
                target.embedder.is_remote
                or limits.needs_tokens
                or (job is not None and job.token_limit is not None)
            ),
            is_untried=(target.embedder.is_remote and job is not None and not job.embedded_texts),
            clock=self._clock,
        )
