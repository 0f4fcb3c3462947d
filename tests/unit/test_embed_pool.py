"""Embed requests: packed, repeated, bisected; each text is answered exactly once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_migration.embedders.base import Embedder
from ai_migration.embedders.hash import HashEmbedder
from ai_migration.embedders.probing import PROBE, say_the_same
from ai_migration.exceptions import (
    EmbedderError,
    FatalEmbedderError,
    InputRefusedError,
    TextTooLongError,
    ThrottledError,
    TransientEmbedderError,
)
from ai_migration.indexing.embedding.plan import EmbedPlan
from ai_migration.indexing.embedding.pool import EmbedPool
from ai_migration.indexing.embedding.retries import RetryPolicy, as_embedder_error
from ai_migration.pace.budgets import Budget
from ai_migration.pace.limits import RateLimits
from ai_migration.pace.pacing import FIRST_COOLDOWN, Wait
from ai_migration.types import EmbedAnswer, Headroom, Vectors

POLICY = RetryPolicy(attempts=3, initial_delay=1.0, max_delay=10.0)


class Inline(Executor):
    """Runs a call at once, or when the test says so; ``threads`` calls are begun before."""

    def __init__(self, threads: int, *, is_late: bool = False) -> None:
        self.late: list[Callable[[], None]] = []
        self.threads = threads
        self.is_late = is_late

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def run() -> None:
            if not future.running() and not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(fn(*args, **kwargs))
            except Exception as error:
                future.set_exception(error)

        if self.is_late:
            if len(self.late) < self.threads:
                future.set_running_or_notify_cancel()
            self.late.append(run)
        else:
            run()
        return future


class Clock:
    """A clock that moves when the test moves it."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class NumberEmbedder(Embedder):
    """Texts are `number:size`; the vector is the number. Refuses what it is told to."""

    def __init__(self, max_batch_size: int = 4, max_batch_tokens: int | None = None) -> None:
        self.max_batch_size = max_batch_size
        self.max_batch_tokens = max_batch_tokens
        self.refused: set[str] = set()
        self.down: set[str] = set()
        self.troubles: list[Exception] = []
        self.requests: list[list[str]] = []
        self.answered: Counter[str] = Counter()

    model_id = "numbers"
    dimensions = 1

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [int(text.partition(":")[2] or 1) for text in texts]

    def embed(self, texts: Sequence[str]) -> Vectors:
        self.requests.append(list(texts))
        if self.troubles:
            raise self.troubles.pop()
        if self.down & set(texts):
            raise TransientEmbedderError("503")
        if self.refused & set(texts):
            raise InputRefusedError("refused")
        self.answered.update(texts)
        return np.array([[float(text.partition(":")[0])] for text in texts], dtype=np.float32)


class Limits(RateLimits):
    """Answers with the waits it is given, then lets everything through."""

    needs_tokens = is_counted = True

    def __init__(self, *waits: float) -> None:
        self.waits = list(waits)
        self.asked: list[int] = []
        self.cooled: list[float | None] = []
        self.answers = 0

    def acquire(self, tokens: int) -> Wait:
        self.asked.append(tokens)
        seconds = self.waits.pop(0) if self.waits else 0.0
        return Wait(seconds, "60 requests a minute" if seconds else "")

    def cool_down(self, seconds: float | None, reason: str) -> Wait:
        self.cooled.append(seconds)
        return Wait(FIRST_COOLDOWN if seconds is None else seconds, reason)

    def answered(self) -> None:
        self.answers += 1


def make_pool(
    embedder: Embedder, *, concurrency: int = 1, is_late: bool = False, **options: Any
) -> tuple[EmbedPool, Clock, Inline]:
    clock, executor = Clock(), Inline(concurrency, is_late=is_late)
    pool = EmbedPool(
        embedder, executor, concurrency=concurrency, policy=POLICY, clock=clock, **options
    )
    return pool, clock, executor


def make_plan(first: int, sizes: Sequence[int]) -> EmbedPlan:
    return EmbedPlan([f"{first + i}:{size}" for i, size in enumerate(sizes)], 1)


def drive(pool: EmbedPool, clock: Clock, rounds: int = 10_000) -> None:
    """As a slice does, until nothing is left."""
    for _ in range(rounds):
        pool.pump(flush=True)
        pool.collect()
        if pool.is_idle:
            return
        if not pool.can_send:
            clock.now += (pool.wakes_in or 0.0) + 1e-6
    raise AssertionError("the pool never comes to an end")


def numbers(plan: EmbedPlan) -> list[float | None]:
    return [float(plan.vectors[i, 0]) if plan.done[i] else None for i in range(len(plan.texts))]


sizes_of_batches = st.lists(st.lists(st.integers(1, 12), max_size=12), max_size=6)


@settings(max_examples=300)
@given(
    batches=sizes_of_batches,
    max_batch_size=st.integers(1, 7),
    max_batch_tokens=st.none() | st.integers(1, 30),
    concurrency=st.integers(1, 4),
    data=st.data(),
)
def test_each_text_is_answered_exactly_once(
    batches: list[list[int]],
    max_batch_size: int,
    max_batch_tokens: int | None,
    concurrency: int,
    data: st.DataObject,
) -> None:
    embedder = NumberEmbedder(max_batch_size, max_batch_tokens)
    pool, clock, _ = make_pool(embedder, concurrency=concurrency)
    plans, first = [], 0
    for sizes in batches:
        plans.append(make_plan(first, sizes))
        first += len(sizes)
    texts = [text for plan in plans for text in plan.texts]
    embedder.refused = data.draw(st.sets(st.sampled_from(texts)) if texts else st.just(set()))
    embedder.troubles = data.draw(
        st.lists(
            st.sampled_from(
                [TransientEmbedderError("503"), ThrottledError("429", retry_after=2.0)]
            ),
            max_size=POLICY.attempts - 1,
        )
    )
    for plan in plans:
        pool.add(plan)
        if data.draw(st.booleans()):
            pool.pump(flush=data.draw(st.booleans()))
            pool.collect()
    drive(pool, clock)
    for plan in plans:
        assert plan.open == 0
        for index, text in enumerate(plan.texts):
            if text in embedder.refused:
                assert not plan.done[index]
                assert isinstance(plan.errors[index], InputRefusedError)
            else:
                assert plan.done[index]
                assert index not in plan.errors
                assert plan.vectors[index, 0] == float(text.partition(":")[0]), "its own vector"
    assert embedder.answered == Counter(text for text in texts if text not in embedder.refused)
    for request in embedder.requests:
        assert 1 <= len(request) <= max_batch_size
        tokens = sum(embedder.count_tokens(request))
        assert max_batch_tokens is None or len(request) == 1 or tokens <= max_batch_tokens
        assert request == sorted(request, key=texts.index), "in the order of the texts"


@given(batches=sizes_of_batches, max_batch_size=st.integers(1, 7))
def test_requests_are_full_across_batches(batches: list[list[int]], max_batch_size: int) -> None:
    embedder = NumberEmbedder(max_batch_size)
    pool, clock, _ = make_pool(embedder)
    first = 0
    for sizes in batches:
        pool.add(make_plan(first, sizes))
        first += len(sizes)
    drive(pool, clock)
    assert len(embedder.requests) == -(-first // max_batch_size)


def test_what_is_not_full_waits_for_more() -> None:
    embedder = NumberEmbedder(4)
    pool, _, _ = make_pool(embedder)
    pool.add(make_plan(0, [1] * 3))
    pool.pump(flush=False)
    assert (embedder.requests, pool.can_send, pool.is_idle) == ([], False, False)
    pool.add(make_plan(3, [1] * 2))
    assert pool.can_send
    pool.pump(flush=False)
    pool.collect()
    assert [len(request) for request in embedder.requests] == [4]
    assert pool.waiting_texts == 1
    pool.pump(flush=True)
    assert [len(request) for request in embedder.requests] == [4, 1]


def test_as_many_requests_stand_ready_as_are_in_flight() -> None:
    pool, _, executor = make_pool(NumberEmbedder(1), concurrency=3, is_late=True)
    plan = make_plan(0, [1] * 9)
    pool.add(plan)
    pool.pump(flush=True)
    assert (len(pool.in_flight), len(executor.late), pool.can_send) == (6, 6, False)
    pool.drop_waiting(plan)
    assert len(pool.in_flight) == 3, "what no thread has taken is taken back"
    for run in executor.late:
        run()
    pool.collect()
    assert (plan.open, pool.is_idle) == (6, True)


def test_what_is_dropped_is_no_row_that_was_begun() -> None:
    pool, _, executor = make_pool(NumberEmbedder(2), concurrency=1, is_late=True)
    plan = EmbedPlan([f"{i}:1" for i in range(9)], 1, [(0, 1), (1, 5), (5, 9)])
    pool.add(plan)
    pool.pump(flush=True)  # 0 and 1 are being embedded, 2 and 3 stand ready
    pool.drop_waiting(plan, but_finish_rows=True)
    assert pool.carries({id(plan)})
    while not pool.is_idle:
        pool.pump(flush=True)
        executor.late.pop(0)()
        pool.collect()
    assert plan.done.tolist() == [True] * 5 + [False] * 4, "the row 1 to 5 is whole"


def test_a_row_that_met_with_an_error_is_not_finished() -> None:
    embedder = NumberEmbedder(2)
    embedder.troubles = [TransientEmbedderError("503")]
    pool, _, _ = make_pool(embedder, concurrency=1)
    plan = EmbedPlan([f"{i}:1" for i in range(4)], 1, [(0, 4)])
    pool.add(plan)
    pool.pump(flush=True)
    pool.collect()  # the first two failed and wait, the others are embedded
    pool.pump(flush=True)
    pool.collect()
    pool.drop_waiting(plan, but_finish_rows=True)
    assert (pool.is_idle, pool.carries({id(plan)})) == (True, False)


@pytest.mark.parametrize("error", [ThrottledError("429"), FatalEmbedderError("bad key")])
def test_what_stands_ready_is_not_sent_once_the_provider_refuses(error: EmbedderError) -> None:
    embedder = NumberEmbedder(1)
    embedder.troubles = [error]
    pool, clock, executor = make_pool(embedder, is_late=True)
    plan = make_plan(0, [1] * 2)
    pool.add(plan)
    pool.pump(flush=True)
    for run in executor.late:  # the second before anybody has looked at the first
        run()
    with suppress(FatalEmbedderError):
        pool.collect()
    pool.collect()
    assert (embedder.requests, pool.answered, pool.in_flight) == ([["0:1"]], 1, {})
    clock.now += FIRST_COOLDOWN
    executor.late.clear()
    pool.pump(flush=True)
    for run in executor.late:
        run()
    pool.collect()
    assert numbers(plan) == [0.0, 1.0], "both are sent again"


def test_nothing_more_is_sent_while_a_refusal_waits_to_be_looked_at() -> None:
    embedder = NumberEmbedder(1)
    embedder.troubles = [ThrottledError("429")]
    pool, _, _ = make_pool(embedder, concurrency=2)
    pool.add(make_plan(0, [1] * 4))
    pool.pump(flush=True)  # the first is answered while the others are being handed out
    assert embedder.requests == [["0:1"]]
    assert not pool.can_send
    pool.collect()
    assert pool.block_reason == "429"


def test_what_stands_ready_is_taken_back_when_the_provider_throttles() -> None:
    embedder = NumberEmbedder(1)
    embedder.troubles = [ThrottledError("429")]
    pool, _, executor = make_pool(embedder, is_late=True)
    pool.add(make_plan(0, [1] * 2))
    pool.pump(flush=True)
    executor.late[0]()
    pool.collect()
    assert not pool.in_flight
    executor.late[1]()
    assert embedder.requests == [["0:1"]]


def test_no_more_requests_are_in_flight_than_may_be() -> None:
    embedder = NumberEmbedder(1)
    pool, _, executor = make_pool(embedder, concurrency=3, is_late=True, limits=Limits())
    plan = make_plan(0, [1] * 5)
    pool.add(plan)
    pool.pump(flush=True)
    assert (len(pool.in_flight), len(executor.late), pool.can_send) == (3, 3, False)
    assert pool.carries({id(plan)})
    assert not pool.carries({id(make_plan(0, [1]))})
    executor.late.pop(1)()
    pool.collect()
    assert numbers(plan) == [None, 1.0, None, None, None], "written as they come"
    assert pool.can_send
    pool.pump(flush=True)
    assert len(pool.in_flight) == 3


def test_one_refused_text_of_many_costs_a_logarithm() -> None:
    embedder = NumberEmbedder(1024)
    embedder.refused = {"700:1"}
    pool, clock, _ = make_pool(embedder)
    plan = make_plan(0, [1] * 1024)
    pool.add(plan)
    drive(pool, clock)
    assert list(plan.errors) == [700]
    assert len(embedder.requests) == 1 + 2 * 10
    assert embedder.answered.total() == 1023


def test_what_fails_in_passing_is_sent_again_later_and_later() -> None:
    embedder = NumberEmbedder()
    embedder.troubles = [TransientEmbedderError("503")] * 2
    pool, clock, _ = make_pool(embedder)
    plan = make_plan(0, [1])
    pool.add(plan)
    waits = []
    for _ in range(2):
        pool.pump(flush=True)
        pool.collect()
        assert pool.wakes_in is not None
        waits.append(pool.wakes_in)
        pool.pump(flush=True)
        assert not pool.in_flight, "not before its time"
        clock.now += pool.wakes_in
    assert 1.0 <= waits[0] <= 2.0 <= waits[1] <= 3.0
    drive(pool, clock)
    assert numbers(plan) == [0.0]


def test_what_does_not_pass_is_an_error_of_its_texts() -> None:
    embedder = NumberEmbedder(2)
    embedder.down = {"1:1"}
    pool, clock, _ = make_pool(embedder)
    plan = make_plan(0, [1] * 4)
    pool.add(plan)
    drive(pool, clock)
    assert plan.open == 0
    assert plan.has_transient_errors
    assert plan.errors.keys() == {0, 1}, "the request it is in"
    assert numbers(plan) == [None, None, 2.0, 3.0]
    assert len(embedder.requests) == POLICY.attempts + 1


@pytest.mark.parametrize(("retry_after", "seconds"), [(7.5, 7.5), (None, FIRST_COOLDOWN)])
def test_being_throttled_cools_everything_down(retry_after: float | None, seconds: float) -> None:
    embedder = NumberEmbedder(1)
    embedder.troubles = [ThrottledError("429", retry_after=retry_after)]
    pool, clock, _ = make_pool(embedder)
    plan = make_plan(0, [1] * 3)
    pool.add(plan)
    pool.pump(flush=True)
    pool.collect()
    assert pool.blocked_for == pool.wakes_in == seconds
    assert pool.block_reason == "429"
    pool.pump(flush=True)
    assert not pool.in_flight
    assert not pool.can_send
    clock.now += seconds
    drive(pool, clock)
    assert numbers(plan) == [0.0, 1.0, 2.0]


def test_being_throttled_for_ever_is_never_an_error() -> None:
    embedder = NumberEmbedder(1)
    embedder.troubles = [ThrottledError("429", retry_after=1.0)] * 50
    pool, clock, _ = make_pool(embedder)
    plan = make_plan(0, [1])
    pool.add(plan)
    drive(pool, clock)
    assert (plan.errors, numbers(plan)) == ({}, [0.0])


def test_a_rate_limit_is_asked_once_for_each_request() -> None:
    embedder = NumberEmbedder(1)
    limits = Limits(0.0, 3.0)
    pool, clock, _ = make_pool(embedder, limits=limits)
    plan = make_plan(0, [1] * 3)
    pool.add(plan)
    pool.pump(flush=True)
    pool.collect()
    pool.pump(flush=True)
    assert (pool.blocked_for, pool.block_reason) == (3.0, "60 requests a minute")
    assert len(embedder.requests) == 1
    clock.now += 3.0
    drive(pool, clock)
    assert (len(limits.asked), len(embedder.requests)) == (4, 3)


def test_a_fatal_error_is_raised_and_the_request_is_not_lost() -> None:
    embedder = NumberEmbedder(2)
    embedder.troubles = [FatalEmbedderError("bad key")]
    pool, clock, _ = make_pool(embedder)
    plan = make_plan(0, [1] * 4)
    pool.add(plan)
    with pytest.raises(FatalEmbedderError, match="bad key"):
        drive(pool, clock)
    assert (plan.open, plan.errors) == (4, {})
    drive(pool, clock)
    assert numbers(plan) == [0.0, 1.0, 2.0, 3.0]


def test_what_waits_can_be_dropped_for_one_batch_or_all() -> None:
    embedder = NumberEmbedder(2)
    embedder.troubles = [TransientEmbedderError("503")]
    pool, clock, _ = make_pool(embedder, limits=Limits())
    plans = [make_plan(i * 10, [1] * 3) for i in range(3)]
    for plan in plans:
        pool.add(plan)
    pool.pump(flush=True)
    pool.collect()  # the first request waits to be repeated
    pool.drop_waiting(plans[0])
    pool.drop_waiting(plans[2])
    drive(pool, clock)
    assert [plan.open for plan in plans] == [3, 0, 3]
    assert numbers(plans[1]) == [10.0, 11.0, 12.0]
    pool.add(plans[0])
    pool.drop_waiting()
    assert pool.is_idle


def test_a_dropped_batch_in_flight_is_answered_all_the_same() -> None:
    pool, _, executor = make_pool(NumberEmbedder(2), is_late=True)
    plan = make_plan(0, [1] * 4)
    pool.add(plan)
    pool.pump(flush=True)
    pool.drop_waiting(plan)
    executor.late[0]()
    pool.collect()
    assert numbers(plan) == [0.0, 1.0, None, None]
    assert plan.open == 2


# What an embedder raises


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionResetError("x"), TransientEmbedderError),
        (TimeoutError("x"), TransientEmbedderError),
        (ValueError("x"), InputRefusedError),
        (KeyError("x"), InputRefusedError),
        (RuntimeError(), InputRefusedError),
        (ThrottledError("x"), ThrottledError),
        (FatalEmbedderError("x"), FatalEmbedderError),
    ],
)
def test_what_an_embedder_raises_is_one_of_four_kinds(
    error: Exception, kind: type[EmbedderError]
) -> None:
    assert type(as_embedder_error(error, ["a text"])) is kind


@given(st.text(min_size=8), st.sampled_from(["{}", "{!r}", "<{}>"]))
def test_no_text_is_left_in_an_error(text: str, form: str) -> None:
    error = as_embedder_error(ValueError("cannot embed " + form.format(text)), ["x", text])
    assert error.message.startswith("ValueError: cannot embed")
    assert text not in error.message.removeprefix("ValueError: cannot embed ")


def test_a_long_error_is_cut() -> None:
    assert len(as_embedder_error(ValueError("x" * 10_000), []).message) <= 500
    assert len(as_embedder_error(FatalEmbedderError("x" * 10_000), []).message) <= 500


def test_the_delay_doubles_up_to_its_bound() -> None:
    for attempt, least in [(1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (5, 10.0), (50, 10.0)]:
        assert least <= POLICY.delay(attempt) <= least + 1.0


# Limits, budgets, and what the provider said


class Telling(NumberEmbedder):
    """Says what it charges and what is left."""

    def __init__(self, charge: int, headroom: Headroom | None = None, **limits: Any) -> None:
        super().__init__(**limits)
        self.charge = charge
        self.headroom = headroom

    def request(self, texts: Sequence[str]) -> EmbedAnswer:
        return EmbedAnswer(self.embed(texts), self.charge, self.headroom)


def test_a_limit_is_told_the_tokens_of_each_request() -> None:
    limits = Limits()
    pool, clock, _ = make_pool(NumberEmbedder(2), limits=limits, counts_tokens=True)
    pool.add(make_plan(0, [5, 6, 7]))
    drive(pool, clock)
    assert limits.asked == [11, 7]


def test_everybody_is_told_that_the_provider_asked_to_wait() -> None:
    embedder, limits = NumberEmbedder(1), Limits()
    embedder.troubles = [ThrottledError("429"), ThrottledError("429", retry_after=7)]
    pool, clock, _ = make_pool(embedder, limits=limits, concurrency=4)
    pool.add(make_plan(0, [1] * 3))
    drive(pool, clock)
    assert limits.cooled == [7, None]
    assert limits.answers == 3


def test_fewer_requests_are_in_flight_after_a_burst_of_refusals() -> None:
    embedder = NumberEmbedder(1)
    embedder.troubles = [ThrottledError("429", retry_after=1) for _ in range(4)]
    pool, clock, executor = make_pool(embedder, limits=Limits(), concurrency=8, is_late=True)
    pool.add(make_plan(0, [1] * 40))
    pool.pump(flush=True)
    assert len(pool.in_flight) == 8
    for run in executor.late[:4]:
        run()
    pool.collect()
    assert pool.concurrency == 4, "one burst halves it once"
    clock.now += 1
    executor.late.clear()
    pool.pump(flush=True)
    assert len(pool.in_flight) == 4


def test_what_a_request_cost_is_shared_by_its_batches() -> None:
    pool, clock, _ = make_pool(Telling(charge=100, max_batch_size=7))
    plans = [make_plan(0, [1] * 3), make_plan(10, [1] * 4)]
    for plan in plans:
        pool.add(plan)
    drive(pool, clock)
    assert [plan.spent for plan in plans] == [42, 58]


def test_the_count_stands_in_where_the_provider_says_nothing() -> None:
    pool, clock, _ = make_pool(NumberEmbedder(2), counts_tokens=True)
    plan = make_plan(0, [5, 6, 7])
    pool.add(plan)
    drive(pool, clock)
    assert plan.spent == 18


@pytest.mark.parametrize(
    ("headroom", "wait"),
    [
        (Headroom(requests=0, requests_reset=6.5), 6.5),
        (Headroom(requests=0), 1.0),
        (Headroom(requests=0, requests_reset=3600.0), 60.0),
        (Headroom(tokens=9, tokens_reset=4.0), 4.0),
        (Headroom(requests=1, tokens=10, tokens_reset=4.0), 0.0),
    ],
)
def test_it_waits_before_the_provider_has_to_say_no(headroom: Headroom, wait: float) -> None:
    limits = Limits()
    pool, _, _ = make_pool(Telling(10, headroom, max_batch_size=1), limits=limits)
    pool.add(make_plan(0, [1]))
    pool.pump(flush=True)
    pool.collect()
    assert pool.blocked_for == wait
    assert limits.cooled == ([wait] if wait else [])


class Purse(Budget):
    """A budget that nobody else spends."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.committed = self.reserved = 0

    def take(self, tokens: int) -> bool:
        assert self.limit is not None
        if self.committed + tokens > self.limit:
            return False
        self.committed += tokens
        return True


def test_a_budget_stops_before_the_request_that_would_exceed_it() -> None:
    embedder, purse = NumberEmbedder(2), Purse(25)
    pool, _, _ = make_pool(embedder, counts_tokens=True, budget=purse)
    pool.add(make_plan(0, [5, 6, 7, 8]))
    pool.pump(flush=True)
    pool.collect()
    pool.pump(flush=True)
    assert (pool.tokens_missing, len(embedder.requests)) == (15, 1)
    purse.limit = 26
    pool.pump(flush=True)
    pool.collect()
    assert (pool.tokens_missing, pool.is_idle) == (0, True)


def test_what_is_in_flight_counts_against_the_budget() -> None:
    purse = Purse(25)
    pool, _, executor = make_pool(
        NumberEmbedder(1), counts_tokens=True, is_late=True, concurrency=4, budget=purse
    )
    pool.add(make_plan(0, [10] * 4))
    pool.pump(flush=True)
    assert (len(executor.late), purse.committed) == (2, 20)


def test_what_was_not_answered_is_not_charged_and_what_was_as_the_provider_says() -> None:
    purse = Purse(1_000)
    embedder = Telling(charge=33, max_batch_size=1)
    embedder.troubles = [TransientEmbedderError("503"), ThrottledError("429", retry_after=1)]
    embedder.refused = {"2:50"}
    pool, clock, _ = make_pool(embedder, counts_tokens=True, budget=purse, limits=Limits(0.0, 3.0))
    plan = make_plan(0, [50] * 4)
    pool.add(plan)
    drive(pool, clock)
    assert (purse.committed, plan.spent) == (99, 99)
    pool.add(make_plan(10, [50] * 4))
    embedder.troubles = [FatalEmbedderError("bad key")]
    with pytest.raises(FatalEmbedderError):
        drive(pool, clock)
    pool.drop_waiting()
    assert purse.committed == 99


# Texts that are too long, whatever was counted


class Limited(NumberEmbedder):
    """Takes so many words and no more, and counts half as many as there are."""

    words = 4

    def __init__(self, **limits: Any) -> None:
        super().__init__(**limits)
        self.answered_texts: list[str] = []

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [-(-len(text.split()) // 2) for text in texts]

    def embed(self, texts: Sequence[str]) -> Vectors:
        self.requests.append(list(texts))
        if any(len(text.split()) > self.words for text in texts):
            raise TextTooLongError("400: maximum context length")
        self.answered_texts += texts
        return np.array([[float(text.split()[0])] for text in texts], dtype=np.float32)


def words(first: int, count: int) -> str:
    return " ".join(str(number) for number in range(first, first + count))


@pytest.mark.parametrize("counts_tokens", [False, True])
@pytest.mark.parametrize("max_batch_size", [1, 3, 100])
def test_a_text_that_is_too_long_is_cut_and_sent_again(
    max_batch_size: int, counts_tokens: bool
) -> None:
    embedder = Limited(max_batch_size=max_batch_size)
    pool, clock, _ = make_pool(embedder, counts_tokens=counts_tokens)
    texts = [words(0, 3), words(10, 30), words(40, 4), words(50, 20), words(70, 9)]
    spans = [(0, 1), (1, 2), (2, 4), (4, 5)]
    plan = EmbedPlan(texts, 1, spans)
    pool.add(plan)
    drive(pool, clock)
    assert (plan.open, plan.errors) == (0, {})
    spans = plan.join(spans)
    assert plan.done.all()
    assert [" ".join(plan.texts[start:stop]) for start, stop in spans] == [
        texts[0], texts[1], f"{texts[2]} {texts[3]}", texts[4],
    ]  # fmt: skip
    for text, vector in zip(plan.texts, plan.vectors, strict=True):
        assert len(text.split()) <= Limited.words
        assert vector[0] == float(text.split()[0]), "its own vector"
    assert len(embedder.answered_texts) == len(set(embedder.answered_texts)) == len(plan.texts)


def test_the_pieces_of_a_text_that_is_cut_have_its_head_however_often() -> None:
    head = "name: Boots"
    plan = EmbedPlan([f"{head}\n" + "word " * 400, "short"], 8, [(0, 1), (1, 2)], 0, [head, ""])
    embedder = HashEmbedder(8)
    assert plan.cut(0, embedder)
    assert plan.cut(3, embedder)
    ((start, stop), short) = plan.join([(0, 1), (1, 2)])
    pieces = plan.texts[start:stop]
    assert len(pieces) > 3
    assert all(piece.startswith(f"{head}\nword") for piece in pieces)
    assert sum(piece.count("word") for piece in pieces) == 400
    assert plan.texts[slice(*short)] == ["short"]


def test_a_provider_for_which_everything_is_too_long_is_not_asked_for_ever() -> None:
    embedder = Limited(max_batch_size=10)
    embedder.words = 0
    pool, clock, _ = make_pool(embedder)
    plan = EmbedPlan([words(0, 5_000)], 1, [(0, 1)])
    pool.add(plan)
    drive(pool, clock)
    assert plan.open == 0
    assert plan.errors
    assert len(embedder.requests) < 80
    assert plan.join([(0, 1)]) == [(0, len(plan.texts))]
    assert plan.errors.keys() == set(range(len(plan.texts)))


def test_what_cannot_be_cut_is_an_error_of_its_row() -> None:
    embedder = Limited(max_batch_size=10)
    embedder.words = 0
    pool, clock, _ = make_pool(embedder)
    plan = EmbedPlan(["7"], 1, [(0, 1)])
    pool.add(plan)
    drive(pool, clock)
    assert isinstance(plan.errors[0], TextTooLongError)


def test_a_row_of_which_a_text_was_cut_is_not_finished_when_a_slice_ends() -> None:
    embedder = Limited(max_batch_size=1)
    pool, _, executor = make_pool(embedder, is_late=True)
    plan = EmbedPlan([words(0, 2), words(10, 8), words(20, 2)], 1, [(0, 3)])
    pool.add(plan)
    for _ in range(2):
        pool.pump(flush=True)
        executor.late.pop(0)()
        pool.collect()
    pool.drop_waiting(plan, but_finish_rows=True)
    for run in executor.late:
        run()
    pool.collect()
    assert (pool.is_idle, [len(request) for request in embedder.requests][:2]) == (True, [1, 1])


# A provider that refuses everything


class Refusing(NumberEmbedder):
    """Refuses all texts but those of ``good``."""

    is_remote = True

    def __init__(self, *good: str, says: str = "unknown parameter 'x' (request {})") -> None:
        super().__init__(max_batch_size=64)
        self.good = set(good)
        self.says = says

    def embed(self, texts: Sequence[str]) -> Vectors:
        if not self.good.issuperset(texts):
            self.requests.append(list(texts))
            raise InputRefusedError(self.says.format(len(self.requests) * 1_000_003))
        self.requests.append(list(texts))
        return np.zeros((len(texts), 1), dtype=np.float32)


def test_a_provider_that_refuses_everything_is_found_out_with_two_requests() -> None:
    embedder = Refusing()
    pool, clock, _ = make_pool(embedder, is_untried=True, concurrency=8)
    plan = make_plan(0, [1] * 60)
    pool.add(plan)
    with pytest.raises(FatalEmbedderError, match="unknown parameter 'x'"):
        drive(pool, clock)
    assert embedder.requests == [["0:1"], [PROBE]]
    assert (plan.open, plan.errors) == (60, {}), "nothing is recorded: resume goes on"


def test_the_first_request_is_small_and_the_next_are_full() -> None:
    texts = [f"{i}:1" for i in range(60)]
    embedder = Refusing(*texts)
    pool, _, executor = make_pool(embedder, is_untried=True, concurrency=8, is_late=True)
    plan = make_plan(0, [1] * 60)
    pool.add(plan)
    pool.pump(flush=True)
    assert len(executor.late) == 1
    executor.late.pop()()
    pool.collect()
    pool.pump(flush=True)
    executor.late.pop()()
    pool.collect()
    assert [len(request) for request in embedder.requests] == [1, 59]
    assert plan.open == 0


def test_rows_at_fault_cost_themselves_even_if_they_are_the_first() -> None:
    texts = [f"{i}:1" for i in range(3, 60)]
    embedder = Refusing(PROBE, *texts)
    pool, clock, _ = make_pool(embedder, is_untried=True)
    plan = make_plan(0, [1] * 60)
    pool.add(plan)
    drive(pool, clock)
    assert plan.errors.keys() == {0, 1, 2}
    assert (plan.open, plan.done.sum()) == (0, 57)


def test_once_something_was_embedded_nothing_is_doubted() -> None:
    embedder = Refusing()
    pool, clock, _ = make_pool(embedder)
    plan = make_plan(0, [1] * 4)
    pool.add(plan)
    drive(pool, clock)
    assert plan.errors.keys() == {0, 1, 2, 3}
    assert [PROBE] not in embedder.requests


def test_a_plain_text_that_is_refused_for_another_reason_proves_nothing() -> None:
    class Odd(Refusing):
        def embed(self, texts: Sequence[str]) -> Vectors:
            if list(texts) == [PROBE]:
                raise InputRefusedError("documents have at least two pages here")
            return super().embed(texts)

    pool, clock, _ = make_pool(Odd(), is_untried=True)
    plan = make_plan(0, [1] * 3)
    pool.add(plan)
    drive(pool, clock)
    assert plan.errors.keys() == {0, 1, 2}


def test_a_job_that_is_paused_meanwhile_sends_no_plain_text() -> None:
    embedder = Refusing()
    pool, clock, _ = make_pool(embedder, is_untried=True)
    plan = make_plan(0, [1] * 3)
    pool.add(plan)
    pool.pump(flush=True)
    pool.collect()
    pool.drop_waiting(plan, but_finish_rows=True)
    drive(pool, clock)
    assert embedder.requests == [["0:1"]]
    assert pool.is_idle


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("OpenAI answered 400: Unknown 'a'", "OpenAI answered 400: Unknown 'b c'", True),
        ("400: no such model (req_a1b2)", "400: no such model (req_77ff)", True),
        ("400: <text> is refused", "400: <text> is refused", True),
        ("400: against our policies", "400: too short", False),
    ],
)
def test_words_are_the_same_but_for_what_is_quoted(one: str, other: str, same: bool) -> None:
    assert say_the_same(one, other) == same
