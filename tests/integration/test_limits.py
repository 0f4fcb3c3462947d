"""Limits hold over all jobs and processes: in the database, and in Redis."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from django.core.cache import caches
from django.db import connection

from ai_migration import enqueue
from ai_migration.exceptions import ThrottledError
from ai_migration.models import RateLimitState
from ai_migration.pace import limits as rate_limits
from ai_migration.pace.limits import JobLimit, RateLimits
from ai_migration.pace.pacing import FIRST_COOLDOWN, ProviderState, Wait
from ai_migration.pace.states import (
    DatabaseLimitStates,
    RedisLimitStates,
    limit_states,
)
from ai_migration.testing.threads import at_once
from ai_migration.types import Headroom
from tests.integration.embedders import Script
from tests.integration.support import Project, make_articles, progress, run_slice, start
from tests.redis_server import redis_server
from tests.testapp.models import Article


@pytest.fixture(params=["database", "redis"])
def project(request: pytest.FixtureRequest, project: Project, settings: Any) -> Iterator[Project]:
    """The states are kept in the database, then in Redis."""
    if request.param == "database":
        yield project
        return
    if connection.vendor != "sqlite":
        pytest.skip("the states are in Redis: the database does not matter")
    with redis_server() as server:
        settings.CACHES = {
            "default": {
                "BACKEND": "django.core.cache.backends.redis.RedisCache",
                "LOCATION": server.url,
            }
        }
        assert isinstance(limit_states("default"), RedisLimitStates)
        yield project
        assert not RateLimitState.objects.exists()
        caches["default"]._cache.get_client(write=True).close()  # type: ignore[attr-defined]


def limit(project: Project, **limits: Any) -> None:
    """Limits of the default embedder."""
    project.set(
        EMBEDDERS={
            "default": {
                "BACKEND": "ai_migration.embedders.hash.HashEmbedder",
                "OPTIONS": {"dimensions": 32},
                **limits,
            }
        }
    )


def limits_of(
    job_id: str | None = None, per_minute: int | None = None, **options: Any
) -> RateLimits:
    job = JobLimit(job_id, per_minute) if job_id and per_minute else None
    return RateLimits("default", "default", job=job, is_live=job_id is None, **options)


def burst(limits: RateLimits, tokens: int = 0) -> int:
    """How many requests pass at once."""
    return until_refused(limits, tokens)[0]


def until_refused(limits: RateLimits, tokens: int = 0) -> tuple[int, Wait]:
    """How many requests pass at once, and what the next has to wait for."""
    passed = 0
    while not (wait := limits.acquire(tokens)).seconds:
        passed += 1
    return passed, wait


def test_a_job_has_a_limit_of_its_own(project: Project) -> None:
    one = limits_of("mig-a", 60)
    assert one.acquire(0) == Wait()
    wait = one.acquire(0)
    assert 0 < wait.seconds <= 1
    assert wait.reason == "rate limit: 60 requests a minute"
    assert limits_of("mig-a", 60).acquire(0).seconds, "one budget for all its workers"
    assert not limits_of("mig-b", 60).acquire(0).seconds


def test_the_limit_of_an_embedder_holds_over_its_jobs(project: Project) -> None:
    limit(project, REQUESTS_PER_MINUTE=60, LIVE_SHARE=0.0)
    assert not limits_of("mig-a").acquire(0).seconds
    wait = limits_of("mig-b").acquire(0)
    assert 0 < wait.seconds <= 1
    assert wait.reason == "the embedder 'default' may get 60 requests a minute"


def test_a_burst_is_a_setting(project: Project) -> None:
    limit(project, REQUESTS_PER_MINUTE=6, LIVE_SHARE=0.0, BURST_SECONDS=50.0)
    assert burst(limits_of("mig-a")) in (5, 6)


def test_a_migration_leaves_a_share_to_live_traffic(project: Project) -> None:
    limit(project, REQUESTS_PER_MINUTE=10, BURST_SECONDS=60.0)  # ten, and one more every 6 s
    migration = limits_of("mig-a")
    passed, wait = until_refused(migration)
    assert passed in (8, 9)
    assert "20% are kept for live changes" in wait.reason
    assert burst(limits_of()) >= 2, "live traffic passes at once"
    assert migration.acquire(0).seconds > 0


def test_live_traffic_passes_whatever_migrations_have_taken(project: Project) -> None:
    limit(project, REQUESTS_PER_MINUTE=1, LIVE_SHARE=0.0)
    assert burst(limits_of("mig-a")) == 1
    assert burst(limits_of()) == 1


def test_tokens_are_limited_too(project: Project) -> None:
    limit(project, TOKENS_PER_MINUTE=6_000, LIVE_SHARE=0.0)
    limits = limits_of("mig-a")
    assert limits.needs_tokens
    assert not limits.acquire(100).seconds
    wait = limits.acquire(50)
    assert 0.3 <= wait.seconds <= 0.5
    assert wait.reason == "the embedder 'default' may get 6,000 tokens a minute"


def test_the_default_token_limit_is_for_remote_embedders(project: Project) -> None:
    project.set(DEFAULT_TOKEN_LIMIT=1_000)
    assert not limits_of().needs_tokens
    project.embedder(is_remote=True)
    assert limits_of().needs_tokens


def test_two_at_once_never_get_more_than_the_limit(project: Project) -> None:
    limit(project, REQUESTS_PER_MINUTE=600, LIVE_SHARE=0.0)
    passed: list[int] = []

    def send(limits: RateLimits) -> None:
        passed.append(burst(limits))

    _, began = limit_states("default").read([])
    errors = at_once([partial(send, limits_of("mig-a")) for _ in range(4)])
    assert errors == []
    _, now = limit_states("default").read([])
    seconds = (now - began) / 1000
    assert 10 <= sum(passed) <= 11 + 10 * seconds


# What the provider said


def test_all_leave_alone_who_asked_to_wait(project: Project) -> None:
    limits_of("mig-a", 60).cool_down(30, "429: slow down")
    for other in (limits_of("mig-b"), limits_of("mig-c", 100), limits_of()):
        wait = other.acquire(0)
        assert 29 < wait.seconds <= 30
        assert wait.reason == "429: slow down"


def test_who_has_no_limits_looks_now_and_then_whether_the_provider_asked_to_wait(
    project: Project,
) -> None:
    now = [100.0]
    free = limits_of("mig-a", clock=lambda: now[0])
    assert not free.is_counted
    assert burst_is_free(free)
    limits_of("mig-b").cool_down(30, "429")
    now[0] += rate_limits.LOOK_EVERY
    assert free.acquire(0).seconds > 29


def burst_is_free(limits: RateLimits) -> bool:
    return not any(limits.acquire(0).seconds for _ in range(100))


def test_who_does_not_say_how_long_is_left_alone_ever_longer_until_it_answers(
    project: Project,
) -> None:
    assert limits_of("mig-a").cool_down(None, "429").seconds == FIRST_COOLDOWN
    over()
    other = limits_of("mig-b")
    assert other.cool_down(None, "429").seconds == 2 * FIRST_COOLDOWN, "whoever asks"
    over()
    assert not other.acquire(0).seconds
    other.answered()
    assert limits_of("mig-a").cool_down(None, "429").seconds == FIRST_COOLDOWN


def over() -> None:
    """The provider may be asked again."""

    def change(state: ProviderState, now: int) -> tuple[ProviderState, None]:
        return replace(state, blocked_until=now), None

    limit_states("default").change("embedder:default", change)


def test_headroom_is_heeded(project: Project) -> None:
    limits = limits_of("mig-a")
    assert limits.heed(None, 10) == Wait()
    assert limits.heed(Headroom(), 10) == Wait()
    assert limits.heed(Headroom(requests=0, requests_reset=9), 10).seconds == 9
    assert limits_of("mig-b").acquire(0).reason == "the provider has no requests left"


# In the engine


@pytest.fixture
def throttling(script: Script) -> Callable[[float], None]:
    def throttle(seconds: float) -> None:
        def react(texts: Sequence[str]) -> None:
            raise ThrottledError("429: not now", retry_after=seconds)

        script.react = react

    return throttle


def test_a_429_of_one_job_cools_down_all(
    project: Project, script: Script, throttling: Callable[[float], None]
) -> None:
    project.embedder(script=script, max_batch_size=5)
    make_articles(20)
    throttling(3600)
    job = start(batch_size=5)
    run_slice(seconds=60)
    assert script.asked == 1
    assert "429: not now" in progress(job).throttle_reason
    article = Article.objects.latest("pk")
    enqueue("article", [article.pk])
    run_slice(seconds=60)
    assert script.asked == 1, "nor does live traffic ask"


# Where the states are


@pytest.mark.vendors("sqlite")
@pytest.mark.parametrize("project", ["database"], indirect=True)
def test_the_database_keeps_them_while_redis_is_away(
    project: Project, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with redis_server() as server:
        settings.CACHES = {
            "limits": {
                "BACKEND": "django.core.cache.backends.redis.RedisCache",
                "LOCATION": server.url,
            }
        }
        assert isinstance(limit_states("default"), DatabaseLimitStates)
        project.set(RATE_LIMIT_CACHE="limits")
        limits = limits_of("mig-a", 60)
        server.stop()
        before = RateLimitState.objects.count()
        assert not limits.acquire(0).seconds
        assert limits.acquire(0).seconds
        assert RateLimitState.objects.count() == before + 1
        assert "kept in the database" in caplog.text
        server.start()
        caches["limits"]._cache.get_client(write=True).close()  # type: ignore[attr-defined]
    RateLimitState.objects.all().delete()


@pytest.mark.vendors("sqlite")
@pytest.mark.parametrize("project", ["database"], indirect=True)
@pytest.mark.parametrize("alias", [None, "absent"])
def test_no_cache_is_no_redis(project: Project, alias: str | None) -> None:
    project.set(RATE_LIMIT_CACHE=alias)
    assert isinstance(limit_states("default"), DatabaseLimitStates)
