"""The requests that clients send. One line is one field: its check and its description in
OpenAPI."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel
from rest_framework import exceptions, serializers
from rest_framework.exceptions import ErrorDetail
from rest_framework.request import Request

from ai_migration.conf import MAX_BATCH_SIZE
from ai_migration.indexing.search import MAX_LIMIT
from ai_migration.rest.fields import (
    MAX_NAME,
    Amount,
    EntityIds,
    Flag,
    Moment,
    Name,
    Object,
    Ordering,
    Text,
    WholeNumber,
    Words,
    errors_of,
)
from ai_migration.types import (
    MAX_RATE_LIMIT,
    MAX_TOKENS,
    JobChanges,
    JobStatus,
    MigrationFilters,
    MigrationMode,
    MigrationRequest,
)

MAX_PAGE = 200
_MOST_UNKNOWN = 10
"""Unknown fields named in an error, at most: a body may have a million."""
BatchSize = Annotated[int, WholeNumber(MAX_BATCH_SIZE)]
RateLimit = Annotated[int, WholeNumber(MAX_RATE_LIMIT)]
Tokens = Annotated[int, WholeNumber(MAX_TOKENS)]
PageSize = Annotated[int, Field(ge=1, le=MAX_PAGE)]
_RATE = "Embedding requests a minute."
_TOKENS = "Pause before more tokens than this are embedded."
_COST = "Pause before more than this is spent."
_REMOVALS = "Allow removing more than half of a large index, if that many rows are gone."
_CURSOR = "The position of the page, from `next`."
_LIMIT = "Results, at most."
_Kind = TypeVar("_Kind", bound="Body")


def asked(description: str, *example: Any, **options: Any) -> Any:
    """Return a field of a request.

    Args:
        description: Its description in OpenAPI.
        example: A value of it, where the example of the whole has it.
        options: As of :func:`pydantic.Field`; without a default it is required.
    """
    return Field(description=description, examples=list(example) or None, **options)


class Body(BaseModel):
    """A JSON object or a query, in camelCase. Unknown fields are refused: a typing error must not
    start something else."""

    model_config = ConfigDict(
        alias_generator=to_camel, extra="forbid", frozen=True, hide_input_in_errors=True
    )

    @classmethod
    def names(cls) -> list[str]:
        """Return the names of its fields in JSON."""
        return [str(field.alias) for field in cls.model_fields.values()]

    def given(self) -> dict[str, Any]:
        """Return the given values by their names in Python."""
        return {name: getattr(self, name) for name in self.model_fields_set}


class Filters(Body):
    """The rows to migrate. Further keys are lookups on the entity type's metadata fields, such as
    `category__slug`; `lookups` takes those with the name of another field here."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"additionalProperties": True})

    created_before: Moment | None = asked("Rows created before it.", default=None)
    created_after: Moment | None = asked("Rows created at or after it.", default=None)
    entity_ids: EntityIds = asked("Only these rows, by primary key.", default=())
    lookups: Object = asked("Lookups.", default={})

    @model_validator(mode="before")
    @classmethod
    def _gathered(cls, data: Any) -> Any:
        """Gather all lookups in one place."""
        if not isinstance(data, Mapping):
            return data
        known = cls.names()
        ours = {name: value for name, value in data.items() if name in known}
        theirs = {name: value for name, value in data.items() if name not in ours}
        lookups = ours.get("lookups", {})
        return {**ours, "lookups": {**theirs, **lookups} if isinstance(lookups, dict) else lookups}


class StartMigration(Body):
    """A migration to start. Only `entityType` is required."""

    entity_type: Name = asked("The entity type.", "product")
    mode: MigrationMode = asked("The matching entities to embed.", default="changed")
    batch_size: BatchSize | None = asked("Rows in one batch.", 500, default=None)
    rate_limit: RateLimit | None = asked(_RATE, 100, default=None)
    max_tokens: Tokens | None = asked(_TOKENS, default=None)
    max_cost: Amount | None = asked(_COST, default=None)
    reindex_existing: Flag = asked("The same as `mode` `all`.", False, default=False)
    rebuild: Flag = asked("Fill a new collection with every row.", default=False)
    allow_removals: Flag = asked(_REMOVALS, default=False)
    filters: Filters = asked(
        "The rows to migrate.",
        {"createdBefore": "2024-01-01", "category__slug": "shoes"},
        default_factory=Filters,
    )
    created_by: Annotated[Words, Field(max_length=MAX_NAME)] = asked(
        "A note for the job's first event: the job itself belongs to the calling user.", default=""
    )

    def migration(self, user_name: str, **values: Any) -> MigrationRequest:
        """Return the request for the service.

        Args:
            user_name: The user who asks, whatever the body says.
            values: Values from outside the body.
        """
        given = {**self.given(), "filters": MigrationFilters(**self.filters.given())}
        given.pop("probe", None)
        claimed = given.pop("created_by", "")
        note = f"createdBy: {claimed}" if claimed and claimed != user_name else ""
        return MigrationRequest(**given, **values, created_by=user_name, note=note)


class PlanMigration(StartMigration):
    """A migration to plan."""

    probe: Flag = asked(
        "Ask the provider for the vector of one plain text, and report its answer.", default=False
    )


class ResumeMigration(Body):
    """The adjustments of a job, such as a larger budget."""

    rate_limit: RateLimit | None = asked(_RATE, 50, default=None)
    max_tokens: Tokens | None = asked(_TOKENS, 5_000_000, default=None)
    max_cost: Amount | None = asked(_COST, default=None)
    allow_removals: Flag = asked(_REMOVALS, default_factory=bool)  # absent: stays as it is

    def changes(self) -> JobChanges:
        """Return the adjustments."""
        return JobChanges(**self.given())


class VerifyIndex(Body):
    """What a verify is to do."""

    repair: Flag = asked("Bring in line what differs, and only that.", False, default=False)
    allow_removals: Flag = asked(_REMOVALS, default=False)


class SearchIndex(Body):
    """A search."""

    entity_type: Name = asked("The entity type to search.", "product")
    query: Text = asked("The text to search for.", "red running shoes")
    limit: Annotated[int, WholeNumber(MAX_LIMIT)] | None = asked(_LIMIT, 5, default=None)
    filters: Object = asked(
        "Values of metadata fields that must be equal; `field__in`: one of several.", default={}
    )


class PageQuery(Body):
    """A page of a job's events or failures."""

    cursor: Annotated[int, Field(ge=0, le=2**63 - 1)] = asked(_CURSOR, default=0)
    limit: PageSize = asked(_LIMIT, default=50)


class JobsQuery(Body):
    """The jobs to list, and their order."""

    status: JobStatus = asked("Only jobs in this state.", default=None)
    entity_type: Name = asked("Only jobs of this entity type.", default=None)
    created_by: Name = asked("Only jobs created by this user.", default=None)
    started_after: Moment = asked("Only jobs that began at this time or later.", default=None)
    started_before: Moment = asked("Only jobs that began before this time.", default=None)
    ordering: Ordering = asked("The order, by creation time.", default=Ordering.NEWEST)
    cursor: Name = asked(_CURSOR, default=None)
    limit: PageSize = asked(_LIMIT, default=50)

    def selection(self) -> dict[str, Any]:
        """Return the arguments of ``list_jobs``; ids are ordered by time."""
        order = "-id" if self.ordering is Ordering.NEWEST else "id"
        chosen = {name: value for name, value in self if name not in ("ordering", "cursor")}
        return {**chosen, "order": order, "before": self.cursor}


def parsed(kind: type[_Kind], request: Request) -> _Kind:
    """Return the body of a request, or its query if it has no body.

    Raises:
        rest_framework.exceptions.ValidationError: Says what is wrong with each field.
    """
    data: Any = request.query_params.dict() if request.method == "GET" else request.data
    serializers.Serializer(data=data).is_valid(raise_exception=True)  # refuses non-objects
    known = kind.names()
    words = ErrorDetail(f"Unknown field. Known fields: {', '.join(known)}.", "unknown_field")
    unknown = (name[:50] for name in data if name not in known)
    errors: dict[str, Any] = {name: [words] for name in islice(unknown, _MOST_UNKNOWN)}
    try:
        body = kind.model_validate({name: data[name] for name in known if name in data})
    except ValidationError as error:
        errors = {**errors_of(error), **errors}
    if errors:
        raise exceptions.ValidationError(errors)
    return body
