"""What callers send."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers
from rest_framework.request import Request

from ai_migration.conf import MAX_BATCH_SIZE
from ai_migration.indexing.search import MAX_LIMIT
from ai_migration.jobs.values import MAX_RATE_LIMIT, MAX_TOKENS
from ai_migration.rest.camel_case import CamelCase
from ai_migration.rest.fields import (
    Choice,
    EntityIds,
    Flag,
    Moment,
    Money,
    Object,
    Text,
    WholeNumber,
)
from ai_migration.types import (
    JobChanges,
    JobStatus,
    MigrationFilters,
    MigrationMode,
    MigrationRequest,
)

MAX_PAGE = 200
_NEWEST, _OLDEST = "-createdAt", "createdAt"
_ORDERS = {_NEWEST: "-id", _OLDEST: "id"}
"""Ids are ordered by time."""
_ALLOW_REMOVALS = "Let more than half of a large index go, if that many rows are gone."


class FiltersBody(CamelCase):
    """Which rows. Further keys are look-ups on the entity type's filterable fields, such as
    `category__slug`; `lookups` takes those that are named like one of ours."""

    takes_more = True

    created_before = Moment(required=False, allow_null=True)
    created_after = Moment(required=False, allow_null=True)
    entity_ids = EntityIds(required=False)
    lookups = Object(required=False)

    def to_internal_value(self, data: Any) -> MigrationFilters:
        ours, theirs = data, {}
        if isinstance(data, Mapping):
            ours = {name: value for name, value in data.items() if name in self.fields}
            theirs = {name: value for name, value in data.items() if name not in self.fields}
        values = super().to_internal_value(ours)
        return MigrationFilters(**{**values, "lookups": {**theirs, **values.get("lookups", {})}})


class StartBody(CamelCase):
    """What to migrate, and how. Only `entityType` is required."""

    entity_type = Text()
    mode = Choice("Mode", MigrationMode.values, required=False)
    batch_size = WholeNumber(MAX_BATCH_SIZE, required=False, allow_null=True)
    rate_limit = WholeNumber(MAX_RATE_LIMIT, required=False, allow_null=True)
    max_tokens = WholeNumber(MAX_TOKENS, required=False, allow_null=True)
    max_cost = Money(required=False, allow_null=True)
    reindex_existing = Flag(required=False)
    rebuild = Flag(required=False)
    allow_removals = Flag(required=False, help_text=_ALLOW_REMOVALS)
    filters = FiltersBody(required=False)
    created_by = Text(
        required=False,
        allow_blank=True,
        help_text="Kept as a note in the job's first event: who asks is the user.",
    )

    def migration(self, user_name: str, **values: Any) -> MigrationRequest:
        """What is asked for.

        Args:
            user_name: Who asks, whatever the body says.
            values: What stands elsewhere than in the body.
        """
        asked = dict(self.validated_data)
        asked.pop("probe", None)
        claimed = asked.pop("created_by", "")
        note = f"createdBy: {claimed}" if claimed and claimed != user_name else ""
        return MigrationRequest(**asked, **values, created_by=user_name, note=note)


class PlanBody(StartBody):
    """What a migration would be."""

    probe = Flag(
        required=False,
        help_text="Ask the provider for the vector of one plain text, and say what it says.",
    )

    @property
    def probes(self) -> bool:
        """Whether the provider is asked."""
        return bool(self.validated_data.get("probe"))


class ResumeBody(CamelCase):
    """What of the job changes, such as a budget that is used up."""

    rate_limit = WholeNumber(MAX_RATE_LIMIT, required=False, allow_null=True)
    max_tokens = WholeNumber(MAX_TOKENS, required=False, allow_null=True)
    max_cost = Money(required=False, allow_null=True)
    allow_removals = Flag(required=False, help_text=_ALLOW_REMOVALS)

    def changes(self) -> JobChanges:
        """What of the job changes."""
        return JobChanges(**self.validated_data)


class SearchBody(CamelCase):
    """What to look for. `filters` are values of metadata fields that must be equal."""

    entity_type = Text()
    query = Text(max_length=None)
    limit = WholeNumber(MAX_LIMIT, required=False, allow_null=True)
    filters = Object(required=False)


class PageQuery(CamelCase):
    """Which page of a job's events or failures."""

    cursor = serializers.IntegerField(
        required=False, min_value=0, max_value=2**63 - 1, help_text="Take it from `next`."
    )
    limit = serializers.IntegerField(default=50, min_value=1, max_value=MAX_PAGE)


class JobsQuery(CamelCase):
    """Which jobs, and in which order."""

    status = Choice("JobStatus", JobStatus.values, required=False)
    entity_type = Text(required=False)
    created_by = Text(required=False)
    started_after = Moment(required=False, help_text="Began at this moment or later.")
    started_before = Moment(required=False, help_text="Began before this moment.")
    ordering = Choice("Ordering", list(_ORDERS), default=_NEWEST)
    cursor = Text(required=False, help_text="Take it from `next`.")
    limit = serializers.IntegerField(default=50, min_value=1, max_value=MAX_PAGE)

    def selection(self) -> dict[str, Any]:
        """The arguments of ``list_jobs``."""
        asked = dict(self.validated_data)
        ordering, cursor = asked.pop("ordering"), asked.pop("cursor", None)
        return {**asked, "order": _ORDERS[ordering], "before": cursor}


def parsed(kind: type[CamelCase], request: Request) -> Any:
    """The body of a request, or the query of one that has none.

    Raises:
        ValidationError: Says what is wrong with each field.
    """
    serializer = kind(data=request.query_params.dict() if request.method == "GET" else request.data)
    serializer.is_valid(raise_exception=True)
    return serializer
