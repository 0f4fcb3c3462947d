"""Filters whose choices are known without looking through a large table."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy

from ai_migration.admin.base import key_of
from ai_migration.models import Collection, EntityFailure, MigrationJob
from ai_migration.models.leases import our_database

_STARTERS = 100
_NEWEST = 1_000


class StarterFilter(admin.SimpleListFilter):
    """The users who started jobs."""

    title = gettext_lazy("started by")
    parameter_name = "created_by"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        jobs = MigrationJob.objects.using(our_database()).exclude(created_by="")
        names = jobs.order_by("created_by").values_list("created_by", flat=True).distinct()
        return [(name, name) for name in names[:_STARTERS]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset if value is None else queryset.filter(created_by=value)


class EntityTypeFilter(admin.SimpleListFilter):
    """The entity types that have a collection."""

    title = gettext_lazy("entity type")
    parameter_name = "entity_type"
    path = "entity_type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        known = Collection.objects.using(our_database()).order_by("entity_type")
        return [(name, name) for name in known.values_list("entity_type", flat=True).distinct()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset if value is None else queryset.filter(**{self.path: value})


class EntityTypeOfCollectionFilter(EntityTypeFilter):
    """The same, for rows that refer to a collection."""

    path = "collection__entity_type"


class CollectionFilter(admin.SimpleListFilter):
    """Collections whose ledger is still there."""

    title = gettext_lazy("collection")
    parameter_name = "collection"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        known = Collection.objects.using(our_database()).filter(dropped_at=None)
        return [(str(each.pk), str(each)) for each in known.order_by("entity_type", "-pk")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        if value is None:
            return queryset
        key = key_of(Collection, value)
        return queryset.none() if key is None else queryset.filter(collection=key)


class ErrorCodeFilter(admin.SimpleListFilter):
    """The codes of the newest failures."""

    title = gettext_lazy("error")
    parameter_name = "error_code"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        newest = EntityFailure.objects.using(our_database()).order_by("-pk")
        codes = sorted(set(newest.values_list("error_code", flat=True)[:_NEWEST]))
        return [(code, code) for code in codes]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset if value is None else queryset.filter(error_code=value)
