"""From values to texts, payloads and hashes: the same in every process."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_migration.entities.templates import TextTemplate
from ai_migration.entities.text import (
    LineRenderer,
    as_text,
    clean,
    clean_all,
    content_hasher,
    metadata_hash,
    metadata_value,
)
from ai_migration.exceptions import EntityConfigError

SALT = b"s" * 16
ANY_TEXT = st.text(st.characters())  # lone surrogates too


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        ("  a b\n", "a b"),
        (0, "0"),
        (False, "False"),
        (1.5, "1.5"),
        (Decimal("1.50"), "1.50"),
        (date(2024, 1, 2), "2024-01-02"),
        (datetime(2024, 1, 2, 3, 4, tzinfo=UTC), "2024-01-02T03:04:00+00:00"),
        (time(3, 4), "03:04:00"),
        ([], ""),
        (["a", None, " ", "b"], "a, b"),
        (("a", ["b", "c"]), "a, b, c"),
        ({"b", "a", "c"}, "a, b, c"),
        ({"a": 1, "b": None, "c": ""}, "a: 1"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    ],
)
def test_a_value_as_text(value: Any, text: str) -> None:
    assert as_text(value) == text


def test_a_value_without_a_text_of_its_own_has_none() -> None:
    """Its address in memory would differ in each process, and be paid for each time."""
    with pytest.raises(TypeError, match="object has no text"):
        as_text(object())


@given(ANY_TEXT)
def test_a_clean_text_can_be_stored_anywhere(text: str) -> None:
    cleaned = clean(text)
    assert "\0" not in cleaned
    assert cleaned.encode().decode() == cleaned
    assert clean(cleaned) == cleaned


@given(st.text())
def test_a_text_that_is_clean_stays_as_it_is(text: str) -> None:
    assert clean(text.replace("\0", "")) == text.replace("\0", "")


def test_a_hash_depends_on_text_and_salt() -> None:
    first = content_hasher(SALT)("a")
    assert len(first) == 16
    assert first == content_hasher(SALT)("a")
    assert len({first, content_hasher(SALT)("b"), content_hasher(b"t" * 16)("a")}) == 3


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT | st.decimals(),
    lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner),
)


@given(JSON, st.sampled_from(["TEXT", "NUMERIC", "double", ""]))
def test_a_payload_is_json_that_every_database_takes(value: Any, declared: str) -> None:
    document = json.dumps(metadata_value(value, declared), allow_nan=False)
    assert "\\u0000" not in document.replace("\\\\", "")
    json.dumps(metadata_value(value, declared), ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("value", "declared", "expected"),
    [
        (Decimal("1.5"), "NUMERIC", 1.5),
        (Decimal("1.5"), "double", 1.5),
        (Decimal("1.50"), "STRING", "1.50"),
        (float("nan"), "", None),
        (float("inf"), "NUMERIC", None),
        (True, "", True),
        (timedelta(hours=1), "", "P0DT01H00M00S"),
        (date(2024, 1, 2), "", "2024-01-02"),
        (["a\0", 1], "", ["a", 1]),
        ({1: "x"}, "", {"1": "x"}),
    ],
)
def test_a_value_as_payload(value: Any, declared: str, expected: Any) -> None:
    assert metadata_value(value, declared) == expected


def test_the_order_of_a_payloads_keys_is_no_change() -> None:
    assert metadata_hash({"a": 1, "b": 2}) == metadata_hash({"b": 2, "a": 1})
    assert metadata_hash({"a": 1}) != metadata_hash({"a": 2})
    assert metadata_hash(None) == metadata_hash({}) == b""


def test_a_line_for_each_value_that_is_not_empty() -> None:
    render = LineRenderer(["name", "price", "tags"]).render
    assert render(("key", " x ", None, [])) == "name: x"
    assert render(("key", "", Decimal(2), ["a", "b"], "metadata")) == "price: 2\ntags: a, b"
    assert render(("key", "", "  ", None)) == ""


VALUES = ANY_TEXT | st.none() | st.integers() | st.lists(ANY_TEXT)


@given(st.lists(st.tuples(st.integers(), VALUES, VALUES, st.just("metadata"))))
def test_many_rows_at_once_are_rendered_as_one_by_one(rows: list[tuple[Any, ...]]) -> None:
    lines = LineRenderer(["100 %s", "b"])
    assert lines.render_all(rows) == [lines.render(row) for row in rows]


@given(st.lists(ANY_TEXT))
def test_many_texts_at_once_are_cleaned_as_one_by_one(texts: list[str]) -> None:
    stripped = [text.strip() for text in texts]
    assert clean_all(list(stripped)) == [clean(text).strip() for text in stripped]


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("nothing", []),
        ("{{ a }} {{ b.c }} {{ a }}", ["a", "b__c"]),
        ("{{ a|default:b|upper }} {{ 'x'|add:c }}", ["a", "b", "c"]),
        (
            "{% if a and not b == 'x' or c.d > 3 %}{{ e }}{% else %}{{ f }}{% endif %}",
            ["a", "b", "c__d", "e", "f"],
        ),
        (
            "{% for x in xs %}{{ x }}{{ forloop.counter }}{{ y }}{% empty %}{{ z }}{% endfor %}",
            ["xs", "y", "z"],
        ),
        ("{% with w=v.u %}{{ w }}{{ t }}{% endwith %}", ["v__u", "t"]),
        ("{% firstof a b 'c' %}{% if True %}{{ None }}{% endif %}", ["a", "b"]),
    ],
)
def test_a_template_says_which_fields_it_uses(source: str, names: list[str]) -> None:
    assert sorted(TextTemplate(source, "e").names) == sorted(names)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ a }} & <{{ b__c }}>", "1 & <x>"),
        ("{{ b.c }}", "x"),
        ("{% if b %}{{ b.c }}{% endif %}", "x"),
        ("{% for x in l %}[{{ x }}]{% endfor %}", "[p][q]"),
        ("{{ l }}", "p, q"),
        ("{{ n }}|{{ unknown }}", "|"),
        ("{{ j.k.deep }}", "d"),
        ("  {{ a }}  ", "1"),
    ],
)
def test_a_template_renders_without_escaping(source: str, text: str) -> None:
    values = {"a": 1, "b__c": "x", "l": ["p", "q"], "n": None, "j__k__deep": "d"}
    assert TextTemplate(source, "e").render(values) == text


@pytest.mark.parametrize(
    "source", ["{% if a %}", "{{ a b }}", "{% nosuch %}", "{{ a|nosuch }}", "{% include 'x' %}"]
)
def test_a_template_that_cannot_work_is_refused_by_name(source: str) -> None:
    with pytest.raises(EntityConfigError, match="Entity type 'thing'"):
        TextTemplate(source, "thing")
