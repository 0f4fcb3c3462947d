"""Filters whose choices are known without looking through a large table."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy

from ai_migration.models import Collection, MigrationJob
from ai_migration.models.leases import our_database

_STARTERS = 100


class StarterFilter(admin.SimpleListFilter):
    """Who asked for jobs."""

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
    """The entity types that were ever indexed: each has a collection."""

    title = gettext_lazy("entity type")
    parameter_name = "entity_type"
    path = "entity_type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        known = Collection.objects.using(our_database()).order_by("entity_type")
        return [(name, name) for name in known.values_list("entity_type", flat=True).distinct()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset if value is None else queryset.filter(**{self.path: value})
