"""Limits of requests and tokens: one budget over all processes and hosts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from ai_migration.conf import EmbedderSettings, get_settings
from ai_migration.embedders import embedders
from ai_migration.pace.pacing import Limit, ProviderState, Wait
from ai_migration.pace.states import limit_states
from ai_migration.types import Headroom
from ai_migration.words import counted

LOOK_EVERY = 0.5
"""Seconds for which the state of a provider without limits is not read again."""
_LONGEST_RESET = 60.0
_SHORTEST_RESET = 1.0


@dataclass(frozen=True)
class JobLimit:
    """A job's own limit, within its embedder's."""

    job_id: str
    per_minute: int


class RateLimits:
    """The limits that one job, or live changes, share with all others that use an embedder.

    A migration leaves ``LIVE_SHARE`` of the embedder's limits to live changes, which may use all of
    them and come first when they run out.

    Args:
        alias: The embedder's.
        using: Database alias of our tables.
        job: The job's own limit, if it has one.
        is_live: Whether this is for live changes.
        clock: A monotonic clock, in seconds.
    """

    def __init__(
        self,
        alias: str,
        using: str,
        *,
        job: JobLimit | None = None,
        is_live: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._alias = alias
        self._key = _key(alias)
        self._states = limit_states(using)
        self._job = job
        self._is_live = is_live
        self._clock = clock
        self._looked = float("-inf")
        self._is_cautious = False
        self._settings = embedder_settings(alias)

    @property
    def needs_tokens(self) -> bool:
        """True if the tokens of a request are limited."""
        return self._settings.TOKENS_PER_MINUTE is not None

    @property
    def is_counted(self) -> bool:
        """True if each request has to be asked for, because a limit counts it."""
        return self.needs_tokens or bool(self._settings.REQUESTS_PER_MINUTE or self._job)

    def acquire(self, tokens: int) -> Wait:
        """Ask to send one request; never waits.

        Args:
            tokens: The tokens of the request; 0 unless :attr:`needs_tokens`.

        Returns:
            The wait, with its reason; 0 seconds: it was granted.
        """
        if not self.is_counted and self._clock() - self._looked < LOOK_EVERY:
            return Wait()

        def take(state: ProviderState, now: int) -> tuple[ProviderState, tuple[Wait, float]]:
            state, wait = state.take(list(self._limits(tokens)), now)
            return state, (wait, state.patience)

        wait, patience = self._states.change(self._key, take)
        self._is_cautious = patience > 0
        if not wait.seconds and not self.is_counted:
            self._looked = self._clock()
        return wait

    def cool_down(self, seconds: float | None, reason: str) -> Wait:
        """Let no process send requests to the provider for a while.

        Args:
            seconds: For how long; None: the provider did not say.
            reason: The provider's message.

        Returns:
            The seconds of the cool-down.
        """
        self._looked = float("-inf")

        def cooled_down(state: ProviderState, now: int) -> tuple[ProviderState, float]:
            return state.cooled_down(seconds, reason, now)

        return Wait(self._states.change(self._key, cooled_down), reason)

    def answered(self) -> None:
        """Take note that the provider answers, if it asked to wait before."""
        if self._is_cautious:
            self._is_cautious = False
            self._states.change(self._key, lambda state, now: (state.recovered(), None))

    def heed(self, headroom: Headroom | None, tokens: int) -> Wait:
        """Cool down before a provider has to say no.

        Args:
            headroom: The rest of its limits, as it reports them.
            tokens: The tokens of the next request.

        Returns:
            The seconds to send it no requests.
        """
        if headroom is None:
            return Wait()
        wait = Wait()
        if headroom.requests is not None and headroom.requests < 1:
            wait = Wait(_reset(headroom.requests_reset), "the provider has no requests left")
        elif headroom.tokens is not None and headroom.tokens < tokens:
            wait = Wait(_reset(headroom.tokens_reset), "the provider has no tokens left")
        if wait.seconds:
            self.cool_down(wait.seconds, wait.reason)
        return wait

    def _limits(self, tokens: int) -> Iterator[Limit]:
        settings, job = self._settings, self._job
        if settings.REQUESTS_PER_MINUTE:
            limit = settings.REQUESTS_PER_MINUTE
            about = f"the embedder {self._alias!r} may get {counted(limit, 'request')} a minute"
            yield from self._shared("requests", limit, 1, about)
        if settings.TOKENS_PER_MINUTE:
            limit = settings.TOKENS_PER_MINUTE
            about = f"the embedder {self._alias!r} may get {counted(limit, 'token')} a minute"
            yield from self._shared("tokens", limit, tokens, about)
        if job is not None:
            about = f"rate limit: {counted(job.per_minute, 'request')} a minute"
            yield Limit(f"job:{job.job_id}", job.per_minute, job.per_minute / 60, 1, about)

    def _shared(self, key: str, per_minute: float, weight: int, reason: str) -> Iterator[Limit]:
        share, burst = self._settings.LIVE_SHARE, per_minute / 60 * self._settings.BURST_SECONDS
        if self._is_live:  # room beyond what a migration can have taken at any time
            yield Limit(key, per_minute, max(burst, weight) + weight, weight, reason)
            return
        if share:
            rest = 1 - share
            words = f"{reason}; {share:.0%} are kept for live changes"
            yield Limit(f"{key}:migrations", rest * per_minute, rest * burst, weight, words)
        yield Limit(key, per_minute, burst, weight, reason)


def embedder_settings(alias: str) -> EmbedderSettings:
    """Return the limits and the price of an embedder, with the setting's defaults filled in."""
    configured = get_settings()
    settings = configured.EMBEDDERS[alias]
    if settings.TOKENS_PER_MINUTE is None and embedders[alias].is_remote:
        return settings.model_copy(update={"TOKENS_PER_MINUTE": configured.DEFAULT_TOKEN_LIMIT})
    return settings


@dataclass(frozen=True)
class CoolDown:
    """The cool-down of a provider.

    Attributes:
        embedder: Alias of the embedder.
        until: No request before this time.
        reason: The provider's message.
    """

    embedder: str
    until: datetime
    reason: str


def cool_downs(using: str) -> list[CoolDown]:
    """Return the cool-downs of all embedders' providers that have not ended.

    Args:
        using: Database alias of our tables.
    """
    aliases = list(get_settings().EMBEDDERS)
    states, now = limit_states(using).read([_key(alias) for alias in aliases])
    return [
        CoolDown(alias, datetime.fromtimestamp(state.blocked_until / 1000, tz=UTC), state.reason)
        for alias, state in zip(aliases, states, strict=True)
        if state.blocked_until > now
    ]


def _key(alias: str) -> str:
    return f"embedder:{alias}"


def _reset(seconds: float | None) -> float:
    return min(_LONGEST_RESET, max(_SHORTEST_RESET, seconds or 0.0))
