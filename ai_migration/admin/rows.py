"""Source rows by their names, with links to their own admin pages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.admin.utils import quote
from django.core.exceptions import FieldError
from django.db import DatabaseError, connections
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.translation import gettext as _

from ai_migration.entities import registry
from ai_migration.entities.entity import Entity
from ai_migration.exceptions import AIMigrationError
from ai_migration.models.sql.savepoints import sparing

NAME_LENGTH = 80

EntityKey = tuple[str, str]
"""An entity type and an entity id."""


@dataclass(frozen=True)
class NamedRow:
    """A source row, as a list shows it.

    Attributes:
        entity_id: Its id.
        name: What it calls itself; empty: unknown, or not for the user.
        url: Its own admin page, where it has one that the user may see.
        is_gone: Whether the row is not there any more.
    """

    entity_id: str
    name: str = ""
    url: str = ""
    is_gone: bool = False

    @property
    def link(self) -> SafeString | str:
        """The name, or else the id, with a link where there is one."""
        text = self.name or self.entity_id
        return format_html('<a href="{}">{}</a>', self.url, text) if self.url else text

    @property
    def note(self) -> str:
        """What stands below the name: the id, if it is not the name, and whether it is gone."""
        parts = [self.entity_id] if self.name else []
        if self.is_gone:
            parts.append(_("the row is gone"))
        return " · ".join(parts)


def named_rows(
    request: HttpRequest, site: AdminSite, wanted: Iterable[EntityKey]
) -> Mapping[EntityKey, NamedRow]:
    """Return source rows by entity type and id: one query for each entity type.

    A name is shown to those who may view the model, and only if reading it takes no query of its
    own: a list must not cost a query for each of its rows.

    Args:
        request: The request; its user's permissions count.
        site: The admin site.
        wanted: The entities.
    """
    ids: dict[str, set[str]] = defaultdict(set)
    for entity_type, entity_id in wanted:
        ids[entity_type].add(entity_id)
    found: dict[EntityKey, NamedRow] = {}
    for entity_type, some in ids.items():
        rows = _rows_of(request, site, entity_type, sorted(some))
        found |= {(entity_type, each.entity_id): each for each in rows}
    return found


def _rows_of(
    request: HttpRequest, site: AdminSite, entity_type: str, ids: list[str]
) -> list[NamedRow]:
    plain = [NamedRow(entity_id) for entity_id in ids]
    try:
        entity = registry.get(entity_type)
        if not _may_view(request, site, entity.model):
            return plain
        rows = _read(request, site, entity, ids)
    except (AIMigrationError, DatabaseError, FieldError, TypeError, ValueError):
        return plain
    names = _names(rows)
    return [
        NamedRow(entity_id, names.get(entity_id, ""), _url(site, rows[entity_id]))
        if entity_id in rows
        else NamedRow(entity_id, is_gone=True)
        for entity_id in ids
    ]


def _may_view(request: HttpRequest, site: AdminSite, model: type[Model]) -> bool:
    if site.is_registered(model):
        return site.get_model_admin(model).has_view_permission(request)
    return request.user.has_perm(f"{model._meta.app_label}.view_{model._meta.model_name}")


def _read(
    request: HttpRequest, site: AdminSite, entity: Entity, ids: list[str]
) -> Mapping[str, Model]:
    """Read the rows as their own admin page would find them, with the rows they refer to."""
    rows: QuerySet[Any] = entity.model._default_manager.using(entity.rows().db)
    if site.is_registered(entity.model):
        rows = site.get_model_admin(entity.model).get_queryset(request)
    relations = [f.name for f in entity.model._meta.concrete_fields if f.is_relation]
    if relations:
        rows = rows.select_related(*relations)
    with sparing(rows.db):
        return {
            entity.key.to_entity_id(row.pk): row
            for part in entity.key.among(rows, ids)
            for row in part
        }


class _TakesAQueryError(Exception):
    """To read a name takes a query."""


def _names(rows: Mapping[str, Model]) -> Mapping[str, str]:
    """Return what rows call themselves; nothing at all if that takes a query for one of them."""
    names = {}
    with ExitStack() as stack:
        for connection in connections.all(initialized_only=True):
            stack.enter_context(connection.execute_wrapper(_refuse))
        for entity_id, row in rows.items():
            if type(row).__str__ is Model.__str__:  # it has no name but its key
                continue
            try:
                names[entity_id] = Truncator(str(row)).chars(NAME_LENGTH)
            except _TakesAQueryError:
                return {}
            except Exception:  # the model is not ours: its name may do anything
                continue
    return names


def _refuse(*args: Any) -> Any:
    raise _TakesAQueryError


def _url(site: AdminSite, row: Model) -> str:
    if not site.is_registered(type(row)):
        return ""
    name = f"{site.name}:{row._meta.app_label}_{row._meta.model_name}_change"
    try:
        return reverse(name, args=[quote(row.pk)])
    except NoReverseMatch:
        return ""
