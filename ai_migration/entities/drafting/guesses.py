"""Guesses from a model what says something about its rows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from django.db import router, transaction
from django.db.models import (
    BooleanField,
    CharField,
    DateField,
    DecimalField,
    EmailField,
    Field,
    FilePathField,
    FloatField,
    ForeignKey,
    IntegerField,
    Model,
    SlugField,
    TextField,
    URLField,
)
from django.db.models.functions import Left

from ai_migration.entities.fields import FieldKind, ResolvedField, holds_html

SAMPLE = 50
"""Rows that are looked at for HTML, of each model."""
_SAMPLED_LENGTH = 2_000
_MAX_FILTERS = 8

_NAMES = ("name", "title", "headline", "subject", "label")
_NO_TEXT = (SlugField, EmailField, URLField, FilePathField)
_NO_TEXT_NAMES = re.compile(
    r"(^|_)(password|token|secret|hash|salt|key|email|e_?mail|phone|mobile|fax|iban|ssn|ip|url|uri|"
    r"slug|path|file|mime|locale|language|currency|timezone|uuid|guid|sku|isbn|ean|code|checksum|"
    r"colou?r|icon|zip|postcode)(_|$|\d)",
    re.IGNORECASE,
)
"""Codes, addresses, and what should not leave the database."""
_NO_FILTER_NAMES = re.compile(
    r"(^|_)(position|order|ordering|sort|lft|rght|tree_id|level|version)$"
)
_CREATED = (
    "created_at",
    "created",
    "created_on",
    "date_created",
    "pub_date",
    "published_at",
    "date",
)
_SHOWN = re.compile(r"^(is_)?(active|live|published|visible|enabled|public)$")
_HIDDEN = re.compile(r"^(is_)?(deleted|removed|hidden|archived|draft)$")
_TAGS = re.compile(
    r"</(p|div|span|a|b|i|em|strong|ul|ol|li|h[1-6]|table|tr|td|blockquote|pre)\s*>|<br\s*/?>"
    r"|<(p|div|img)\b[^<>]*>",
    re.IGNORECASE,
)


def text_columns(model: type[Model]) -> list[Field[Any, Any]]:
    """Return the columns with text: names, other short ones, long ones."""
    found = [
        column
        for column in model._meta.concrete_fields
        if isinstance(column, CharField | TextField)
        and not isinstance(column, _NO_TEXT)
        and not column.primary_key
        and not column.choices
        and not _NO_TEXT_NAMES.search(column.name)
    ]
    return sorted(found, key=lambda column: (isinstance(column, TextField), not _is_name(column)))


def _is_name(column: Field[Any, Any]) -> bool:
    return column.name in _NAMES


def related_names(model: type[Model]) -> Iterator[tuple[str, str]]:
    """Yield the names of related rows as paths, each with its label."""
    for column in model._meta.concrete_fields:
        related: Any = column.related_model if isinstance(column, ForeignKey) else None
        if related is None or related._meta.app_label == "auth" or related is model:
            continue
        if getattr(column.remote_field, "parent_link", False) or column.primary_key:
            continue
        for other in text_columns(related):
            if _is_name(other):
                yield f"{column.name}__{other.name}", column.name.replace("_", " ")
                break


def filter_paths(model: type[Model]) -> list[str]:
    """Return the columns that rows are likely to be filtered by."""
    found = []
    for column in model._meta.concrete_fields:
        if column.primary_key or _NO_FILTER_NAMES.search(column.name):
            continue
        if isinstance(column, ForeignKey):
            slugs = [f for f in column.related_model._meta.fields if isinstance(f, SlugField)]
            if not getattr(column.remote_field, "parent_link", False):
                found.append(f"{column.name}__{slugs[0].name}" if slugs else column.name)
        elif column.choices or isinstance(
            column, BooleanField | DecimalField | FloatField | IntegerField
        ):
            found.append(column.name)
    return found[:_MAX_FILTERS]


def created_at(model: type[Model]) -> str:
    dates = [column for column in model._meta.concrete_fields if isinstance(column, DateField)]
    by_itself = [column.name for column in dates if getattr(column, "auto_now_add", False)]
    named = [name for name in _CREATED if name in {column.name for column in dates}]
    return next(iter([*by_itself, *named]), "")


def row_condition(model: type[Model]) -> str:
    """Return a condition that probably should hold for rows in the index, as YAML; or nothing."""
    for column in model._meta.concrete_fields:
        if isinstance(column, BooleanField) and _SHOWN.match(column.name):
            return f"{column.name}: true"
        if isinstance(column, BooleanField) and _HIDDEN.match(column.name):
            return f"{column.name}: false"
        if isinstance(column, DateField) and column.null and column.name == "deleted_at":
            return f"{column.name}: null"
        values = [str(value) for value, _ in column.flatchoices] if column.choices else []
        for value in values:
            if value.lower() in {"published", "live", "active"}:
                return f"{column.name}: {json.dumps(value)}"
    return ""


def html_columns(model: type[Model], texts: Sequence[Field[Any, Any]]) -> dict[str, str]:
    """Return how it is known that columns hold HTML, by their name."""
    found = {
        column.name: f"a {type(column).__name__}"
        for column in texts
        if holds_html(ResolvedField(column.name, column.name, FieldKind.COLUMN, column))
    }
    using = router.db_for_write(model)
    beginnings = [Left(column.name, _SAMPLED_LENGTH) for column in texts]
    try:
        with transaction.atomic(using=using):
            rows = model._default_manager.using(using).order_by("pk").values_list(*beginnings)
            sampled = list(rows[:SAMPLE])
    except Exception:  # no table yet, or a manager that needs a request
        return found
    for column, values in zip(texts, zip(*sampled, strict=True), strict=False):
        written = [value for value in values if isinstance(value, str) and value.strip()]
        marked = sum(_TAGS.search(value) is not None for value in written)
        if marked * 2 > len(written):
            found.setdefault(column.name, f"{marked} of {len(written)} sampled rows")
    return found
