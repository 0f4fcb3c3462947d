"""Primary keys of every kind travel as JSON and as text, and come back as they were."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_migration.entities.keys import KeyCodec
from ai_migration.exceptions import InvalidRequestError
from tests.integration.odd_models import Logged, Slow
from tests.testapp.models import (
    Article,
    ChildThing,
    Country,
    Document,
    ProxyArticle,
    TenantNote,
)

BIG = 2**63 - 1
INTEGERS = st.integers(-BIG, BIG)
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
MOMENTS = st.datetimes(timezones=st.just(UTC))
KEYS: dict[type[Any], st.SearchStrategy[Any]] = {
    Article: INTEGERS,
    ProxyArticle: INTEGERS,
    ChildThing: INTEGERS,
    Slow: INTEGERS,
    Document: st.uuids(),
    Country: TEXTS,
    Logged: MOMENTS,
    TenantNote: st.tuples(INTEGERS, INTEGERS),
}


@pytest.mark.parametrize("model", KEYS)
def test_a_key_comes_back_as_it_was(model: type[Any]) -> None:
    codec = KeyCodec.of(model)

    @given(KEYS[model])
    def check(key: Any) -> None:
        assert codec.from_json(json.loads(json.dumps(codec.to_json(key)))) == key
        entity_id = codec.to_entity_id(key)
        assert isinstance(entity_id, str)
        assert codec.from_entity_id(entity_id) == key
        assert codec.parse(key) == codec.parse(entity_id) == entity_id

    check()


@pytest.mark.parametrize("model", [Article, Country, TenantNote])
def test_different_keys_are_different_ids(model: type[Any]) -> None:
    codec = KeyCodec.of(model)

    @given(KEYS[model], KEYS[model])
    def check(one: Any, other: Any) -> None:
        assert (codec.to_entity_id(one) == codec.to_entity_id(other)) == (one == other)

    check()


@pytest.mark.parametrize(
    ("model", "spellings", "entity_id"),
    [
        (Article, [7, "7", " 7", "07", "+7"], "7"),
        (
            Document,
            [uuid.UUID(int=10), uuid.UUID(int=10).hex, str(uuid.UUID(int=10)).upper()],
            "00000000-0000-0000-0000-00000000000a",
        ),
        (Country, ["AT"], "AT"),
        (
            Logged,
            [
                datetime(2024, 1, 2, tzinfo=UTC),
                "2024-01-02T00:00:00+00:00",
                "2024-01-02 00:00+00:00",
            ],
            "2024-01-02T00:00:00+00:00",
        ),
        (TenantNote, [(1, 2), [1, 2], "[1,2]", "[1, 2]", '["1", 2]'], "[1,2]"),
    ],
)
def test_every_spelling_is_one_id(model: type[Any], spellings: list[Any], entity_id: str) -> None:
    assert {KeyCodec.of(model).parse(item) for item in spellings} == {entity_id}


@pytest.mark.parametrize(
    ("model", "value"),
    [
        (Article, "x"),
        (Article, ""),
        (Article, None),
        (Article, "1.5"),
        (Article, 2**63),
        (Article, "9" * 5000),
        (Article, [1]),
        (Article, object()),
        (Document, "nope"),
        (Document, "1" * 31),
        (Country, "a\0b"),
        (Country, None),
        (Logged, "yesterday"),
        (Logged, "2024-02-31T00:00:00+00:00"),
        (TenantNote, 5),
        (TenantNote, "5"),
        (TenantNote, "[1]"),
        (TenantNote, "[1,2,3]"),
        (TenantNote, "[1,null]"),
        (TenantNote, '[1,"x"]'),
        (TenantNote, '{"a":1}'),
        (TenantNote, "[1,2"),
        (TenantNote, (1, None)),
    ],
)
def test_what_is_no_key_is_refused_with_what_the_model_takes(model: type[Any], value: Any) -> None:
    with pytest.raises(InvalidRequestError, match=f"not a primary key of {model._meta.label}") as e:
        KeyCodec.of(model).parse(value)
    assert e.value.field == "entity_ids"
    assert len(e.value.message) < 400


@given(st.text() | st.integers() | st.none() | st.lists(st.integers()) | st.binary())
def test_whatever_somebody_types_is_a_key_or_refused(value: Any) -> None:
    for model in KEYS:
        codec = KeyCodec.of(model)
        try:
            entity_id = codec.parse(value)
        except InvalidRequestError:
            continue
        assert codec.parse(entity_id) == entity_id
