"""Words without secrets and without texts, whatever form these are in."""

from __future__ import annotations

import base64
import html
import json
import logging
import re
import traceback
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_migration import redaction
from ai_migration.embedders import embedders
from ai_migration.embedders.hash import HashEmbedder
from ai_migration.exceptions import SettingsError, StoreError
from ai_migration.redaction import (
    LONGEST,
    SHORTEST_RUN,
    Address,
    guard_loggers,
    redacted,
    scrub,
    secrets_in,
    secrets_of,
    without_secrets,
    without_texts,
)

HERE = __name__
KEY = "sk-a/secret+of=ours"


class Naming(HashEmbedder):
    """It names a secret that stands nowhere in the settings."""

    named: Any = (KEY,)

    def secrets(self) -> Any:
        return self.named


@pytest.fixture
def use(settings: Any) -> Any:
    def use(backend: str = "ai_migration.embedders.hash.HashEmbedder", **options: Any) -> None:
        default = {"BACKEND": backend, "OPTIONS": options}
        settings.AI_MIGRATION = {**settings.AI_MIGRATION, "EMBEDDERS": {"default": default}}

    return use


# Which secrets there are


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"api_key": KEY, "model": "plain"}, [KEY]),
        ({"http": {"headers": {"X-Api-Key": KEY, "X-Of": "us"}}}, [KEY]),
        ({"auth": {"user": "somebody", "value": [KEY]}}, ["somebody", KEY]),
        ({"headers": {"Authorization": f"Bearer {KEY}"}}, [f"Bearer {KEY}", KEY]),
        ({"headers": [("Authorization", KEY), ("Accept", "json")]}, [KEY]),
        ({"headers": [f"X-Proxy: Bearer {KEY}"]}, [KEY]),
        ({"extra": "Basic dXNlcjpwYXNz"}, ["dXNlcjpwYXNz", "user:pass", "pass"]),
        ({"extra": "Basic training"}, ["training"]),
        ({"password": KEY.encode()}, [KEY]),
        ({"base_url": "https://host/v1", "endpoint": "http://host"}, []),
        ({"base_url": "https://user:p%40ss@host/v1"}, ["user:p@ss", "p@ss"]),
        ({"extra": [["redis://:word@host/0"]]}, [":word", "word"]),
        ({"url": "https://token@host"}, ["token"]),
        ({"url": f"https://host/v1?model=x&api_key={quote(KEY, safe='')}"}, [KEY]),
        ({"url": "http://[broken"}, []),
        ({"dsn": "host=x password=yes"}, ["host=x password=yes", "yes"]),
        ({"extra": "Server=x;Pwd=yes;Port=1"}, ["yes"]),
        ({"retries": 3, "key": None, "token": 7}, []),
    ],
)
def test_secrets_of_options(options: Any, found: list[str]) -> None:
    assert [secret for secret in secrets_in(options) if secret] == found


def test_secrets_of_pydantic() -> None:
    from pydantic import SecretStr

    assert list(secrets_in({"whatever": SecretStr(KEY)})) == [KEY]


@pytest.mark.parametrize("named", [(KEY,), [f" {KEY}\n"], iter([KEY])])
def test_a_backend_names_its_secrets(use: Any, named: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Naming, "named", named)
    use(f"{HERE}.Naming", dimensions=8)
    assert redacted(f"with {KEY}") == f"with {KEY}"
    assert embedders["default"].dimensions == 8
    assert redacted(f"with {KEY}") == "with ***"


@pytest.mark.parametrize("named", [None, 5, [None]])
def test_a_backend_that_names_nothing(named: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Naming, "named", named)
    assert [secret for secret in secrets_of(Naming(8)) if secret != "None"] == []
    assert list(secrets_of(print)) == []


def test_other_settings_are_other_secrets(use: Any) -> None:
    use(dimensions=8, api_key="the first key")
    assert redacted("the first key, the second key") == "***, the second key"
    use(dimensions=8, api_key="the second key")
    assert redacted("the first key, the second key") == "the first key, ***"


def test_wrong_settings_hide_what_was_known(use: Any, settings: Any) -> None:
    use(dimensions=8, api_key=KEY)
    assert redacted(KEY) == "***"
    settings.AI_MIGRATION = {"NOPE": 1}
    assert redacted(f"{SettingsError.code} {KEY}") == "invalid_settings ***"


# In which form they are


def in_base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def small(found: re.Match[str]) -> str:
    return found[0].lower()


FORMS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "percent": lambda secret: quote(secret, safe=""),
    "percent, some": quote,
    "percent, small": lambda secret: re.sub("%..", small, quote(secret, safe="")),
    "a form": quote_plus,
    "json": json.dumps,
    "json, unicode": lambda secret: json.dumps(secret, ensure_ascii=False),
    "python": repr,
    "bytes": lambda secret: repr(secret.encode()),
    "html": html.escape,
    "base64": in_base64,
    "base64 in an address": lambda secret: base64.urlsafe_b64encode(secret.encode()).decode(),
    "base64, percent": lambda secret: quote(in_base64(secret), safe=""),
    "after a user": lambda secret: in_base64(f"user:{secret}"),
    "after another": lambda secret: in_base64(f"some user:{secret}"),
    "before a colon": lambda secret: in_base64(f"{secret}:"),
    "in JSON in base64": lambda secret: in_base64(f'{{"the_key": "{secret}", "x": 1}}'),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "secret", [KEY, 'a word\'s "quotes" & <tags>\\', "Schlüssel 鍵", "line one\nline two", "abcd"]
)
def test_every_form_of_a_secret(form: str, secret: str) -> None:
    written = FORMS[form](secret)
    cleaned = without_secrets(f"before {written} after", [secret])
    assert cleaned.startswith("before ")
    assert cleaned.endswith(" after")
    assert "***" in cleaned
    core = written.strip("b'\"=")
    if "base64" not in form and "fore" not in form and "after" not in form:
        assert core not in cleaned
    else:  # what stands before it may stay
        assert not any(core[at : at + 8] in cleaned for at in range(len(core) - 12, len(core) - 8))


def test_a_secret_within_another_does_not_spoil_it() -> None:
    assert without_secrets("x abcdefgh y abcd", ["abcd", "abcdefgh"]) == "x *** y ***"


def test_what_is_too_short_is_no_secret() -> None:
    assert without_secrets("a or abc", ["a", "abc", ""]) == "a or abc"


@pytest.mark.parametrize(
    ("said", "cleaned"),
    [
        ("Authorization: Bearer abc.def-1", "Authorization: Bearer ***"),
        ('{"authorization": "Basic abcd=="}', '{"authorization": "Basic ***"}'),
        ("(b'Authorization', b'Bearer abcd')", "(b'Authorization', b'Bearer ***')"),
        ("x-goog-api-key=abcd, x", "x-goog-api-key=***, x"),
        ("no route to http://user:word@host:1/v1", "no route to http://***@host:1/v1"),
        ("set the option 'api_key', or leave it", "set the option 'api_key', or leave it"),
        ("the authorization header is missing", "the authorization header is missing"),
        ("see https://example.com/a@b", "see https://example.com/a@b"),
    ],
)
def test_what_is_repeated_as_a_secret_is_one(said: str, cleaned: str) -> None:
    assert redacted(said) == cleaned


LETTERS = st.characters(codec="utf-8", exclude_characters="*")


@given(st.text(LETTERS, min_size=4, max_size=40), st.text(LETTERS), st.text(LETTERS))
def test_no_secret_is_left(secret: str, before: str, after: str) -> None:
    assert secret not in without_secrets(f"{before}{secret}{after}", [secret])


# Addresses


@pytest.mark.parametrize(
    ("address", "parsed"),
    [
        ("https://host:1/v1", Address("https://host:1/v1")),
        ("https://user:p%40%2Fss@host:1/v1", Address("https://host:1/v1", "user", "p@/ss")),
        ("https://user@host", Address("https://host", "user")),
        ("https://:word@host", Address("https://host", "", "word")),
        ("https://a@b:c@host", Address("https://host", "a@b", "c")),
        ("user:word@host:1", Address("host:1", "user", "word")),
        ("https://host/a@b", Address("https://host/a@b")),
        ("", Address("")),
    ],
)  # fmt: skip
def test_credentials_are_taken_out_of_an_address(address: str, parsed: Address) -> None:
    assert Address.parse(address) == parsed
    assert "word" not in repr(parsed)


def test_credentials_are_sent_as_a_header() -> None:
    assert Address.parse("http://user:word@host").headers == {"Authorization": "Basic dXNlcjp3b3Jk"}
    assert Address.parse("http://host").headers == {}


# Texts

TEXT = 'The patient was treated for scarlet fever in "spring"; it\'s said\nto be well again. é'


@pytest.mark.parametrize(
    "form",
    [
        TEXT,
        TEXT[:30],
        TEXT[11:],
        repr(TEXT),
        json.dumps(TEXT),
        json.dumps(TEXT, ensure_ascii=False)[3:-3],
        " ".join(TEXT.split()),
        f"{TEXT[:25]} and {TEXT[40:65]}",
    ],
)
def test_every_long_run_of_a_text_is_cut_out(form: str) -> None:
    cleaned = without_texts(f"refused: {form}!", ["another text", TEXT])
    assert cleaned.startswith("refused: ")
    assert cleaned.endswith("!")
    assert "<text>" in cleaned
    assert len(cleaned) < 60


def test_what_is_no_long_run_stays() -> None:
    words = "no patient was treated for too many tokens"
    assert without_texts(words, [TEXT]) == words.replace(" patient was treated for ", "<text>")
    assert without_texts("scarlet fever is refused", [TEXT]) == "scarlet fever is refused"


def test_a_short_text_is_cut_out_whole() -> None:
    assert without_texts("'Diary' is refused, text 2", ["Diary", "text", "ab"]) == (
        "'<text>' is refused, <text> 2"
    )


def test_of_long_words_the_beginning_is_kept() -> None:
    assert without_texts("x" * 100_000, ["a text"]) == "x" * LONGEST


@given(
    st.text("ab \n'\"", max_size=300),
    st.lists(st.tuples(st.text("ab ", max_size=30), st.integers(0, 280), st.integers(0, 60))),
)
def test_no_long_run_is_left(text: str, parts: list[tuple[str, int, int]]) -> None:
    words = "".join(said + text[at : at + size] for said, at, size in parts)
    for left in without_texts(words, [text]).split("<text>"):
        runs = (left[at : at + SHORTEST_RUN] for at in range(len(left) - SHORTEST_RUN + 1))
        assert not any(run in text for run in runs)


# Errors and logs


def raised(secret: str) -> StoreError:
    try:
        try:
            raise ValueError(f"with {secret}")
        except ValueError as error:
            raise StoreError(f"not with {secret}") from error
    except StoreError as error:
        return error


def test_an_error_is_cleaned_with_all_it_comes_from() -> None:
    error = raised(KEY)
    error.add_note(f"because of {KEY}")
    scrub(error, iter([KEY]))
    assert error.message == "not with ***"
    assert KEY not in f"{error!r} {error} {traceback.format_exception(error)}"


def test_what_an_innocent_error_comes_from_stays() -> None:
    error = raised("nothing")
    scrub(error, [KEY])
    assert isinstance(error.__cause__, ValueError)


@pytest.fixture
def talking(use: Any, caplog: pytest.LogCaptureFixture) -> logging.Logger:
    use(dimensions=8, api_key=KEY)
    caplog.set_level(logging.DEBUG)
    logger = logging.getLogger("httpx")
    guard_loggers()
    guard_loggers()
    assert logger.filters.count(redaction._filter) == 1
    return logger


def test_libraries_log_no_secret(talking: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    talking.info("POST %s with %s", "http://host", {"api-key": KEY})
    talking.info("POST %s", "http://host")
    try:
        raise ValueError(KEY)
    except ValueError:
        talking.exception("no answer")
    first, second, third = caplog.records
    assert first.getMessage() == "POST http://host with {'api-key': '***'}"
    assert second.args == ("http://host",)
    assert KEY not in caplog.text
    assert "ValueError: ***" in caplog.text
    assert third.exc_info is None


def test_a_record_that_cannot_be_formatted_is_not_lost(talking: logging.Logger) -> None:
    record = talking.makeRecord("httpx", logging.INFO, "f", 1, "%d", ("x",), None)
    assert talking.filter(record)
