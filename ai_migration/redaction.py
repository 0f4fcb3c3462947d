"""Redaction: removes secrets of backends and texts of rows from messages.

Every message of a provider, a library or a custom backend passes through here before it becomes
an error, a log line or a row of ours.
"""

from __future__ import annotations

import base64
import html
import json
import logging
import re
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, lru_cache
from itertools import groupby
from typing import Any
from urllib.parse import unquote

from ai_migration.conf import Settings, get_settings
from ai_migration.exceptions import AIMigrationError, SettingsError

HIDDEN = "***"
"""The replacement of a secret."""
LONGEST = 2_000
"""Characters of a message that are searched for texts, at most; no more are kept."""
SHORTEST_RUN = 20
"""Length of a run that a message and a text may not have in common."""
_SHORTEST_SECRET = 4

_NAME = re.compile("key|token|secret|pass|pwd|auth|credential|cookie", re.IGNORECASE)
"""Parts of the names of options that hold secrets."""
_PLACE = re.compile("url|dsn", re.IGNORECASE)
"""Parts of the names of options that do, unless they are addresses, of which parts are hidden."""
_HEADER = re.compile(r"(?:[\w-]+\s*:\s*)?(?:basic|bearer|token|apikey)\s+(\S+)", re.IGNORECASE)
"""Values that are sent as a header, whatever the name of the option."""
_ASSIGNED = re.compile(rf"[\w-]*(?:{_NAME.pattern})[\w-]*\s*=\s*([^\s;&]+)", re.IGNORECASE)
"""A parameter of an address, or of how a database is connected to."""
_LOGIN = re.compile(r"(?P<scheme>[a-z][a-z0-9+.:-]*//|//|)(?P<login>[^/?#\s]+)@", re.IGNORECASE)
_REPEATED = re.compile(
    r"""(?P<name>(?:authorization|api[_-]?key|security-token|cookie)"""
    r"""(?:["']?\s*[:=]|["'],)\s*(?:b?["'])?(?:(?:basic|bearer|token|apikey)\s+)?)"""
    r"""[^\s"',;)}\]]{4,}"""
    r"""|(?P<address>://)[^/?#\s@"'<>]+(?=@)""",
    re.IGNORECASE,
)
"""A header or an address in a message, with a secret that no backend names."""

sources: list[Callable[[], Iterable[str]]] = []
"""Other sources of secrets: the registries, for the backends they have made."""


@dataclass(frozen=True)
class Address:
    """An address without its user and password.

    HTTP libraries print addresses, but not headers.

    Attributes:
        url: The address without them.
        user: The user.
        password: The password.
    """

    url: str
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    @classmethod
    def parse(cls, address: str) -> Address:
        """Take an address apart."""
        found = _LOGIN.match(address)
        if found is None:
            return cls(address)
        user, _, password = found["login"].partition(":")
        return cls(found["scheme"] + address[found.end() :], unquote(user), unquote(password))

    @property
    def headers(self) -> dict[str, str]:
        """The headers that carry the credentials."""
        if not (self.user or self.password):
            return {}
        login = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        return {"Authorization": f"Basic {login}"}

    @property
    def secrets(self) -> Iterator[str]:
        """The secrets in it: a user without a password is a token."""
        if self.password:
            yield f"{self.user}:{self.password}"
        yield self.password or self.user


def is_secret_name(name: str) -> bool:
    """Return whether an option of that name holds a secret."""
    return bool(_NAME.search(name))


def secrets_in(value: Any, *, is_secret: bool = False) -> Iterator[str]:
    """Yield the secrets in options, at any depth.

    Args:
        value: Options, or a part of them.
        is_secret: Whether all texts in it are secrets, by its name.
    """
    if hasattr(value, "get_secret_value"):  # pydantic's
        value, is_secret = value.get_secret_value(), True
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if isinstance(value, Mapping):
        for name, item in value.items():
            is_named = _NAME.search(str(name)) or (
                _PLACE.search(str(name)) and not _is_address(item)
            )
            yield from secrets_in(item, is_secret=is_secret or bool(is_named))
    elif isinstance(value, (list, tuple, set, frozenset)):
        match value:
            case [str(name), item] if not is_secret and _NAME.search(name):  # of a header
                yield from secrets_in(item, is_secret=True)
            case _:
                for item in value:
                    yield from secrets_in(item, is_secret=is_secret)
    elif isinstance(value, str):
        yield from _secrets_of(value.strip(), is_secret)


def _is_address(value: object) -> bool:
    return isinstance(value, str) and "://" in value


def _secrets_of(value: str, is_secret: bool) -> Iterator[str]:
    if is_secret:
        yield value
    if _is_address(value):
        yield from Address.parse(value).secrets
    yield from map(unquote, _ASSIGNED.findall(value))
    if header := _HEADER.fullmatch(value):
        yield header[1]
        with suppress(ValueError):
            login = base64.b64decode(header[1], validate=True).decode()
            yield from (login, login.partition(":")[2])


def secrets_of(backend: object) -> Iterator[str]:
    """Yield the secrets that a backend names by its method ``secrets``; never raises."""
    with suppress(Exception):  # custom code, called while an error is being handled
        named = getattr(backend, "secrets", ())
        for secret in named() if callable(named) else named:
            yield str(secret).strip()


_of_settings: tuple[Settings | None, frozenset[str]] = (None, frozenset())


def _known() -> frozenset[str]:
    """Return all present secrets; those of the settings are cached as long as the settings."""
    global _of_settings
    with suppress(SettingsError):
        configured = get_settings()
        if _of_settings[0] is not configured:
            aliases = (*configured.EMBEDDERS.values(), *configured.STORES.values())
            options = [backend.OPTIONS for backend in (*aliases, *configured.THROTTLE)]
            _of_settings = configured, frozenset(secrets_in(options))
    return _of_settings[1].union(*(source() for source in sources))


def redacted(words: str, also: Iterable[str] = ()) -> str:
    """Return a message without the secrets of our backends, in any form in which they are sent:
    plain, escaped, percent-encoded, or in base64 among other things.

    Args:
        words: The message at full length: half a secret is not found.
        also: More secrets.
    """
    return _REPEATED.sub(_unrepeated, without_secrets(words, _known().union(also)))


def without_secrets(words: str, secrets: Iterable[str]) -> str:
    """Return a message without these secrets, in any form."""
    pattern = _pattern(frozenset(secrets))
    return words if pattern is None else pattern.sub(HIDDEN, words)


def _unrepeated(found: re.Match[str]) -> str:
    return (found["name"] or found["address"]) + HIDDEN


@lru_cache(maxsize=64)
def _pattern(secrets: frozenset[str]) -> re.Pattern[str] | None:
    known = sorted(filter(lambda each: len(each) >= _SHORTEST_SECRET, secrets), key=len)
    forms = [form for secret in reversed(known) for form in _forms(secret)]
    return re.compile("|".join(forms)) if forms else None


def _forms(secret: str) -> Iterator[str]:
    """Yield patterns of the forms of a secret that is sent, or repeated."""
    yield "".join(map(_written, secret))
    for encoding in ("utf-8",) if secret.isascii() else ("utf-8", "latin-1"):
        raw = secret.encode(encoding, "replace")
        # Three bytes are four characters: the text before it shifts it by none, one or two.
        for before in range(3):
            whole = base64.b64encode(bytes(before) + raw).decode()
            core = whole[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6]
            yield "".join(map(_written, core)) + "(?:[A-Za-z0-9_/+-]|%2[BbFf])*(?:=|%3[Dd])*"


@lru_cache(maxsize=1024)
def _written(char: str) -> str:
    """Return a pattern of the ways to write a character."""
    if char.isascii() and (char.isalnum() or char in "-_.~"):
        return re.escape(char)
    percent = "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "replace"))
    written = {char, percent, percent.lower(), html.escape(char), repr(char)[1:-1], f"\\{char}"}
    written |= {json.dumps(char)[1:-1], repr(char.encode("utf-8", "replace"))[2:-1]}
    written |= {"+": {"-"}, "/": {"_"}, " ": {"+"}}.get(char, set())  # base64 in addresses
    return f"(?:{'|'.join(map(re.escape, sorted(written, key=len, reverse=True)))})"


# Texts


def without_texts(words: str, texts: Sequence[str]) -> str:
    """Return a message without the texts that it is about.

    Every run of :data:`SHORTEST_RUN` characters and more that is also in a text is cut out,
    and every shorter text that is repeated as a whole; so are they as JSON and Python write
    them. Of a long message the beginning is kept.
    """
    words = words[:LONGEST]
    forms = {form for text in texts for form in _forms_of(text)}
    haystack = "\0".join(form for form in forms if len(form) >= SHORTEST_RUN)
    is_text = bytearray(len(words))
    for start, stop in (*_runs(words, haystack), *_occurrences(words, forms)):
        is_text[start:stop] = b"\1" * (stop - start)
    return "".join(
        "<text>" if hidden else "".join(char for char, _ in run)
        for hidden, run in groupby(zip(words, is_text, strict=True), key=lambda each: each[1])
    )


def _forms_of(text: str) -> Iterator[str]:
    yield from (text, repr(text)[1:-1], " ".join(text.split()))
    yield from (json.dumps(text, ensure_ascii=is_ascii)[1:-1] for is_ascii in (True, False))


def _runs(words: str, haystack: str) -> Iterator[tuple[int, int]]:
    """Yield the long runs that the words have in common with the haystack, which may be megabytes:
    every run contains a whole block, so elsewhere only blocks are searched for."""
    block = SHORTEST_RUN // 2
    is_in = cache(lambda start, stop: words[start:stop] in haystack)
    start = 0
    while start + SHORTEST_RUN <= len(words):
        first = -(-start // block) * block
        if not is_in(first, first + block):
            start = first + 1
        elif not is_in(start, start + SHORTEST_RUN):
            start += 1
        else:
            least, most = start + SHORTEST_RUN, len(words)
            while least < most:
                middle = (least + most + 1) // 2
                least, most = (middle, most) if is_in(start, middle) else (least, middle - 1)
            yield start, least
            start = max(start + 1, least - SHORTEST_RUN + 1)


def _occurrences(words: str, forms: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Yield where a short text appears in the words."""
    for form in forms:
        if 3 < len(form) < SHORTEST_RUN:
            for found in re.finditer(re.escape(form), words):
                yield found.span()


# Errors and logs


def scrub(error: Exception, also: Iterable[str] = ()) -> None:
    """Remove secrets from an exception in place, and also what it was raised from, if printing that
    would still show one."""
    also = frozenset(also)
    error.args = tuple(redacted(arg, also) if isinstance(arg, str) else arg for arg in error.args)
    if isinstance(error, AIMigrationError):
        error.message = redacted(error.message, also)
    printed = "".join(traceback.format_exception(error))
    if redacted(printed, also) != printed:
        forget_origin(error)


def forget_origin(error: BaseException) -> None:
    """Remove what an exception was raised from, and its notes."""
    error.__cause__ = error.__context__ = None
    error.__suppress_context__ = True
    vars(error).pop("__notes__", None)


_TALKATIVE = (
    *("ai_migration", "boto3", "botocore", "cohere", "google", "google_genai", "httpcore"),
    *("httpcore2", "httpx", "httpx2", "openai", "qdrant_client", "requests", "urllib3"),
)
"""Libraries whose loggers repeat requests to a provider, or its answers."""


class _Redacting(logging.Filter):
    """The last line of defence: a record without secrets, its traceback too."""

    def filter(self, record: logging.LogRecord) -> bool:
        with suppress(Exception):  # handlers deal with a record that cannot be formatted
            said = record.getMessage()
            if (clean := redacted(said)) != said:
                record.msg, record.args = clean, ()
            if record.exc_info and record.exc_info[0]:
                printed = "".join(traceback.format_exception(*record.exc_info)).rstrip()
                if (clean := redacted(printed)) != printed:
                    record.exc_info, record.exc_text = None, clean
        return True


_filter = _Redacting()


def guard_loggers() -> None:
    """Keep secrets out of our loggers, and out of those of the libraries that were imported."""
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if name.partition(".")[0] in _TALKATIVE and isinstance(logger, logging.Logger):
            logger.addFilter(_filter)
