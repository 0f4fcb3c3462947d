"""The limits of providers in their HTTP headers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from ai_migration.types import Headroom

_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[dhms]))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[dhms])")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds a provider asks to wait, however many; None if it does not say.

    ``retry-after-ms`` (OpenAI, Azure), else ``retry-after`` in seconds or as a date (RFC
    9110, 10.2.3), by the provider's own clock where it tells the time; else the time until the
    exhausted limit is reset.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    said = headers.get("retry-after")
    seconds = _number(said)
    if seconds is not None:
        return seconds
    until = _moment(said)
    if until is not None:
        now = _moment(headers.get("date")) or datetime.now(UTC)
        return max(0.0, (until - now).total_seconds())
    left = headroom(headers) or Headroom()
    resets = [
        reset
        for remaining, reset in (
            (left.requests, left.requests_reset),
            (left.tokens, left.tokens_reset),
        )
        if remaining == 0 and reset is not None
    ]
    return max(resets, default=None)


def headroom(headers: Mapping[str, str]) -> Headroom | None:
    """Return the ``x-ratelimit-*`` headers of OpenAI and similar providers; None if there are none.

    https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers
    """
    left = Headroom(
        requests=_count(_limit(headers, "remaining", "requests", "req-minute")),
        requests_reset=duration(_limit(headers, "reset", "requests", "requests-minute")),
        tokens=_count(_limit(headers, "remaining", "tokens", "tokens-minute")),
        tokens_reset=duration(_limit(headers, "reset", "tokens", "tokens-minute")),
    )
    return None if left == Headroom() else left


def duration(text: str | None) -> float | None:
    """Return the seconds of ``6m0s``, ``20ms``, ``1h2m3.5s`` or ``12``; None for anything else."""
    if text and _DURATION.fullmatch(text):
        return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
    return _number(text)


def _limit(headers: Mapping[str, str], what: str, *names: str) -> str | None:
    """Return a limit by its name at OpenAI, else at Mistral, which adds the window."""
    found = (headers.get(f"x-ratelimit-{what}-{name}") for name in names)
    return next(filter(None, found), None)


def _number(text: str | None) -> float | None:
    return float(text) if text and re.fullmatch(r"\d+(\.\d+)?", text) else None


def _count(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None


def _moment(text: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text or "")
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
