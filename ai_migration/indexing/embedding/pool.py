"""Embed requests: packed by count and tokens, sent on threads, retried, bisected.

Requests know nothing of batches: a request may carry the end of one batch and the start
of the next. All state is touched by one thread only, the one that calls :meth:`pump` and
:meth:`collect`; the threads only run ``embed``. That one thread also writes to the database, and
hands out nothing meanwhile: so, where no limit counts them, as many requests as are in flight wait
ready for the threads.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextvars import copy_context
from dataclasses import dataclass, replace

import numpy as np

from ai_migration.embedders import Embedder
from ai_migration.exceptions import (
    EmbedderError,
    FatalEmbedderError,
    InputRefusedError,
    TextTooLongError,
    ThrottledError,
    TransientEmbedderError,
)
from ai_migration.indexing.embedding.plan import EmbedPlan, Request
from ai_migration.indexing.embedding.retries import RetryPolicy, as_embedder_error
from ai_migration.indexing.embedding.trials import Trial
from ai_migration.pace.budgets import Budget
from ai_migration.pace.concurrency import AdaptiveConcurrency
from ai_migration.pace.limits import RateLimits
from ai_migration.pace.pacing import FIRST_COOLDOWN, Wait
from ai_migration.types import EmbedAnswer

LONGEST_BLOCK = 2.0
"""Seconds that an ending slice waits for its turn, to finish the rows it has begun."""


class _NotSentError(Exception):
    """The provider refused the requests before this one."""


@dataclass(frozen=True)
class _Answer:
    """The result of a request, and the seconds it took."""

    answer: EmbedAnswer
    seconds: float


InFlight = Future[_Answer]


class EmbedPool:
    """Sends the texts of one embedder on behalf of one job, or of live changes.

    Args:
        embedder: The embedder.
        executor: The threads, as many as requests may be in flight.
        concurrency: Their number.
        policy: The retries of failed requests.
        limits: Asked before each request, and told the provider's answers; None: no limits.
        budget: The job's budget; None: no budget.
        counts_tokens: Whether to count the tokens that are sent.
        is_untried: Whether nothing of the job was embedded yet: then one text is sent at a
            time, until one was answered.
        clock: Seconds, monotonic.

    Attributes:
        tokens_missing: Tokens of the request that waits because it has more; 0: none does.
    """

    def __init__(
        self,
        embedder: Embedder,
        executor: Executor,
        *,
        concurrency: int,
        policy: RetryPolicy,
        limits: RateLimits | None = None,
        budget: Budget | None = None,
        counts_tokens: bool = False,
        is_untried: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.embedder = embedder
        self.answered = 0
        self.budget = budget
        self.tokens_missing = 0
        self.blocked_until = 0.0
        self.block_reason = ""
        self._executor = executor
        self._policy = policy
        self._limits = limits
        self._counts_tokens = counts_tokens or embedder.max_batch_tokens is not None
        self._adaptive = AdaptiveConcurrency(concurrency)
        self._clock = clock
        self._pieces: deque[tuple[EmbedPlan, int, int]] = deque()
        self._again: list[Request] = []
        self._ready: Request | None = None
        self.in_flight: dict[InFlight, Request] = {}
        self._is_refused = False
        self._trial = Trial(embedder, is_on=is_untried)

    @property
    def concurrency(self) -> int:
        """Requests in flight at once, at most, as the provider keeps up."""
        return self._adaptive.limit

    @property
    def _room(self) -> int:
        """Requests handed to the threads at once: those that wait ready count as sent, and more
        threads than may be in flight would take them."""
        if self._trial.is_on:
            return 1
        adaptive = self._adaptive
        is_counted = self._limits is not None and self._limits.is_counted
        is_free = not is_counted and adaptive.limit == adaptive.maximum
        is_free = is_free and (self.budget is None or self.budget.limit is None)
        return 2 * adaptive.limit if is_free else adaptive.limit

    @property
    def waiting_texts(self) -> int:
        """Texts that were not sent yet, and are not being repeated."""
        return sum(stop - start for _, start, stop in self._pieces)

    @property
    def wants_more(self) -> bool:
        """Return whether fewer texts wait than would keep every request slot busy once more."""
        ahead = self.embedder.max_batch_size * (self.concurrency + 1)
        return self.waiting_texts < ahead

    @property
    def blocked_for(self) -> float:
        """Seconds until the provider or the rate limit allows the next request."""
        return max(0.0, self.blocked_until - self._clock())

    def carries(self, plans: Collection[int]) -> bool:
        """Return whether a request in flight has texts of one of these plans, given by ``id``, or
        will have them soon."""
        sent = (part for request in self.in_flight.values() for part in request.parts)
        soon = [*self._pieces, *(self._ready.parts if self._ready else ())]
        if self.blocked_for > LONGEST_BLOCK:
            soon = []
        return any(id(plan) in plans for plan, _, _ in (*sent, *soon))

    @property
    def is_idle(self) -> bool:
        """Return whether nothing waits and nothing is in flight."""
        return not (self._pieces or self._again or self.in_flight or self._ready)

    def add(self, plan: EmbedPlan) -> None:
        """Queue the texts of a plan."""
        if plan.texts:
            self._pieces.append((plan, 0, len(plan.texts)))
            if self._counts_tokens:
                plan.tokens = list(self.embedder.count_tokens(plan.texts))

    def drop_waiting(self, plan: EmbedPlan | None = None, *, but_finish_rows: bool = False) -> None:
        """Drop texts that were not sent yet: of one plan, or of all.

        Args:
            plan: The plan.
            but_finish_rows: Keep the missing texts of rows that were begun.
        """

        def kept(owner: EmbedPlan) -> bool:
            return plan is not None and owner is not plan

        self._pieces = deque(piece for piece in self._pieces if kept(piece[0]))
        self._recall()
        repeated = [*self._again, *([self._ready] if self._ready else [])]
        self._ready = None
        self._again = []
        suspects = [request for request, _ in self._trial.suspects]
        failed = [part[1:] for each in suspects for part in each.parts if part[0] is plan]
        probes = [each for each in repeated if self._trial.is_probe(each)]
        self._trial.forget(kept)
        if not self._trial.suspects:
            repeated = [each for each in repeated if each not in probes]
        for request in repeated:
            parts = [part for part in request.parts if kept(part[0])]
            if parts:
                self._again.append(replace(request, parts=parts))
            if request.has_failed:
                failed += [part[1:] for part in request.parts if part[0] is plan]
        if plan is not None and but_finish_rows:
            self._pieces.extend((plan, *gap) for gap in self._gaps(plan, failed))

    def pump(self, *, flush: bool) -> None:
        """Send as much as concurrency, limits and cool-down allow.

        Args:
            flush: Also send a request that is not full: nothing more is coming now.
        """
        while len(self.in_flight) < self._room:
            now = self._clock()
            if now < self.blocked_until or self._is_refused:
                return
            request = self._ready or self._next(now, flush)
            if request is None:
                return
            self._ready = request
            if not self._may_send(request, now):
                return
            self._ready = None
            sent = self._executor.submit(copy_context().run, self._embed, request.texts)
            self.in_flight[sent] = request

    def _may_send(self, request: Request, now: float) -> bool:
        self.tokens_missing = 0
        if self.budget is not None and not self.budget.take(request.tokens):
            self.tokens_missing = request.tokens
            return False
        if self._limits is not None:
            wait = self._limits.acquire(request.tokens if self._limits.needs_tokens else 0)
            if wait.seconds > 0:
                self._correct(request, 0)
                self._block(wait, now)
                return False
        self.block_reason = ""
        return True

    def _correct(self, request: Request, tokens: int) -> None:
        if self.budget is not None:
            self.budget.correct(request.tokens, tokens)

    def _block(self, wait: Wait, now: float) -> None:
        if now + wait.seconds > self.blocked_until:
            self.blocked_until = now + wait.seconds
            self.block_reason = wait.reason

    def collect(self) -> None:
        """Take in the requests that were answered.

        Raises:
            FatalEmbedderError: The provider will not answer until the cause is corrected.
        """
        for future in [future for future in self.in_flight if future.done()]:
            request = self.in_flight.pop(future)
            error = future.exception()
            if isinstance(error, _NotSentError):
                self._correct(request, 0)
                self._again.append(request)
                continue
            self.answered += 1
            if error is None:
                self._accept(request, future.result())
            else:
                self._reject(request, as_embedder_error(error, request.texts))

    @property
    def can_send(self) -> bool:
        """Return whether :meth:`pump` would send something now, full or repeated."""
        if len(self.in_flight) >= self._room or self.blocked_for > 0 or self._is_refused:
            return False
        if self._ready or self.waiting_texts >= self.embedder.max_batch_size:
            return True
        return any(request.not_before <= self._clock() for request in self._again)

    @property
    def wakes_in(self) -> float | None:
        """Seconds until something can be sent that cannot now; None if there is nothing."""
        if self.is_idle:
            return None
        moments = [request.not_before for request in self._again]
        if self._pieces or self._ready:
            moments.append(self.blocked_until)
        if not moments:
            return None
        return max(0.0, max(min(moments), self.blocked_until) - self._clock())

    def _embed(self, texts: list[str]) -> _Answer:
        if self._is_refused:
            raise _NotSentError
        started = time.monotonic()
        try:
            answer = self.embedder.request(texts)
        except (ThrottledError, FatalEmbedderError):
            self._is_refused = True
            raise
        seconds = time.monotonic() - started
        vectors = self.embedder.validated(answer.vectors, len(texts))
        return _Answer(replace(answer, vectors=vectors), seconds)

    def _gaps(
        self, plan: EmbedPlan, failed: Sequence[tuple[int, int]]
    ) -> Iterator[tuple[int, int]]:
        """Return the missing texts of rows whose other texts are embedded or in flight. Rows with
        an error are tried again as a whole."""
        if not plan.long:
            return
        begun, lost = plan.done.copy(), np.zeros_like(plan.done)
        for request in self.in_flight.values():
            for owner, start, stop in request.parts:
                begun[start:stop] |= owner is plan
        for start, stop in failed:
            lost[start:stop] = True
        lost[[*plan.errors, *plan.cuts]] = True
        for start, stop in plan.long:
            if begun[start:stop].any() and not lost[start:stop].any():
                yield from ((i, i + 1) for i in range(start, stop) if not begun[i])

    def _recall(self) -> None:
        """Take back the requests no thread has taken yet."""
        for future in [future for future in self.in_flight if future.cancel()]:
            request = self.in_flight.pop(future)
            self._correct(request, 0)
            self._again.append(request)

    def _next(self, now: float, flush: bool) -> Request | None:
        for index, request in enumerate(self._again):
            if request.not_before <= now:
                return self._again.pop(index)
        if not self._pieces or not (flush or self.waiting_texts >= self.embedder.max_batch_size):
            return None
        parts: list[tuple[EmbedPlan, int, int]] = []
        room = 1 if self._trial.is_on else self.embedder.max_batch_size
        tokens = self.embedder.max_batch_tokens
        while self._pieces and room:
            plan, start, stop = self._pieces.popleft()
            end = min(stop, start + room)
            if tokens is not None:
                end, tokens = _fit(plan.tokens, start, end, tokens, at_least_one=not parts)
            if end > start:
                parts.append((plan, start, end))
                room -= end - start
            if end < stop:
                self._pieces.appendleft((plan, end, stop))
                break
        return Request(parts)

    def _accept(self, request: Request, done: _Answer) -> None:
        answer, texts = done.answer, len(request.texts)
        tokens = request.tokens if answer.tokens is None else answer.tokens
        self._correct(request, tokens)
        position = 0
        for plan, start, stop in request.parts:
            end = position + stop - start
            plan.vectors[start:stop] = answer.vectors[position:end]
            plan.done[start:stop] = True
            plan.open -= stop - start
            plan.spent += tokens * end // texts - tokens * position // texts
            position = end
        if self._trial.is_on:
            self._trial.end()
        self._adaptive.answered(done.seconds, texts)
        if self._limits is not None:
            self._limits.answered()
            self._block(self._limits.heed(answer.headroom, tokens), self._clock())

    def _reject(self, request: Request, error: EmbedderError) -> None:
        self._correct(request, 0)
        if isinstance(error, (FatalEmbedderError, ThrottledError)):
            self._recall()
            self._is_refused = False  # nothing waits ready that it could hold back
        if isinstance(error, FatalEmbedderError):
            self._again.append(request)  # not lost: it is still waiting when the job resumes
            raise error
        now = self._clock()
        if isinstance(error, ThrottledError):
            after = error.retry_after
            wait = Wait(FIRST_COOLDOWN if after is None else after, error.message)
            if self._limits is not None:
                wait = self._limits.cool_down(after, error.message)
            if now >= self.blocked_until:  # else it is still the same burst
                self._adaptive.throttled()
            self._block(wait, now)
            self._again.append(request)
        elif isinstance(error, TransientEmbedderError) and request.attempt < self._policy.attempts:
            request.not_before = now + self._policy.delay(request.attempt)
            request.attempt += 1
            request.has_failed = True
            self._again.append(request)
        elif isinstance(error, TextTooLongError) and len(request.texts) > 1:
            self._again[:0] = request.halves()  # one text to its end: it may be hopeless
        elif isinstance(error, InputRefusedError) and len(request.texts) > 1:
            self._again.extend(request.halves())
        elif isinstance(error, TextTooLongError) and (pieces := self._cut(request)):
            self._again[:0] = pieces
        elif self._trial.is_probe(request):
            self._trial.judge(error)
        elif self._trial.is_on and isinstance(error, InputRefusedError):
            if probe := self._trial.suspect(request, error):
                self._again.insert(0, probe)
        else:
            request.fail(error)

    def _cut(self, request: Request) -> list[Request]:
        """Return a text that was refused as too long in pieces; nothing where it cannot be cut."""
        [(plan, position, _)] = request.parts
        if not plan.cut(position, self.embedder):
            return []
        start, stop = plan.cuts[position]
        step = self.embedder.max_batch_size
        return [Request([(plan, i, min(i + step, stop))]) for i in range(start, stop, step)]


def _fit(
    counts: Sequence[int], start: int, stop: int, budget: int, *, at_least_one: bool
) -> tuple[int, int]:
    """Return how many texts fit into a budget of tokens: ``(end, tokens left)``."""
    end = start
    while end < stop and (counts[end] <= budget or (at_least_one and end == start)):
        budget = max(0, budget - counts[end])
        end += 1
    return end, budget
