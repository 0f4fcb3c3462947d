"""What callers send. One line is one field: how it is checked, and how OpenAPI describes it."""

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
"""So many unknown fields are named: a body may hold a million."""
BatchSize = Annotated[int, WholeNumber(MAX_BATCH_SIZE)]
RateLimit = Annotated[int, WholeNumber(MAX_RATE_LIMIT)]
Tokens = Annotated[int, WholeNumber(MAX_TOKENS)]
PageSize = Annotated[int, Field(ge=1, le=MAX_PAGE)]
_RATE = "Embedding requests a minute."
_TOKENS = "Pause before more tokens than this are embedded."
_COST = "The same in money."
_REMOVALS = "Let more than half of a large index go, if that many rows are gone."
_CURSOR = "Take it from `next`."
_LIMIT = "How many, at most."
_Kind = TypeVar("_Kind", bound="Body")


def asked(description: str, *example: Any, **options: Any) -> Any:
    """A field of a request.

    Args:
        description: What it says.
        example: A value of it, where the example of the whole has it.
        options: As of :func:`pydantic.Field`; without a default it is required.
    """
    return Field(description=description, examples=list(example) or None, **options)


class Body(BaseModel):
    """A JSON object or a query, in camelCase. A field it does not know is refused: a typing error
    must not start something else."""

    model_config = ConfigDict(
        alias_generator=to_camel, extra="forbid", frozen=True, hide_input_in_errors=True
    )

    @classmethod
    def names(cls) -> list[str]:
        """Its fields, as they are written."""
        return [str(field.alias) for field in cls.model_fields.values()]

    def given(self) -> dict[str, Any]:
        """What stands in it, by its names in Python."""
        return {name: getattr(self, name) for name in self.model_fields_set}


class RequestFilters(Body):
    """Which rows. Further keys are look-ups on the entity type's filterable fields, such as
    `category__slug`; `lookups` takes those that are named like one of ours."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"additionalProperties": True})

    created_before: Moment | None = asked("Rows made before it.", default=None)
    created_after: Moment | None = asked("Rows made at or after it.", default=None)
    entity_ids: EntityIds = asked("Only these, by primary key.", default=())
    lookups: Object = asked("Look-ups.", default={})

    @model_validator(mode="before")
    @classmethod
    def _gathered(cls, data: Any) -> Any:
        """All look-ups in one place."""
        if not isinstance(data, Mapping):
            return data
        known = cls.names()
        ours = {name: value for name, value in data.items() if name in known}
        theirs = {name: value for name, value in data.items() if name not in ours}
        lookups = ours.get("lookups", {})
        return {**ours, "lookups": {**theirs, **lookups} if isinstance(lookups, dict) else lookups}


class StartRequest(Body):
    """What to migrate, and how. Only `entityType` is required."""

    entity_type: Name = asked("The entity type.", "product")
    mode: MigrationMode = asked("Which matching entities are embedded.", default="changed")
    batch_size: BatchSize | None = asked("Rows in one batch.", 500, default=None)
    rate_limit: RateLimit | None = asked(_RATE, 100, default=None)
    max_tokens: Tokens | None = asked(_TOKENS, default=None)
    max_cost: Amount | None = asked(_COST, default=None)
    reindex_existing: Flag = asked("The same as `mode` `all`.", False, default=False)
    rebuild: Flag = asked("Fill a new collection with every row.", default=False)
    allow_removals: Flag = asked(_REMOVALS, default=False)
    filters: RequestFilters = asked(
        "Which rows.",
        {"createdBefore": "2024-01-01", "category__slug": "shoes"},
        default_factory=RequestFilters,
    )
    created_by: Annotated[Words, Field(max_length=MAX_NAME)] = asked(
        "Kept as a note in the job's first event: who asks is the user.", default=""
    )

    def migration(self, user_name: str, **values: Any) -> MigrationRequest:
        """What is asked for.

        Args:
            user_name: Who asks, whatever the body says.
            values: What stands elsewhere than in the body.
        """
        given = {**self.given(), "filters": MigrationFilters(**self.filters.given())}
        given.pop("probe", None)
        claimed = given.pop("created_by", "")
        note = f"createdBy: {claimed}" if claimed and claimed != user_name else ""
        return MigrationRequest(**given, **values, created_by=user_name, note=note)


class PlanRequest(StartRequest):
    """What a migration would be."""

    probe: Flag = asked(
        "Ask the provider for the vector of one plain text, and say what it says.", default=False
    )


class ResumeRequest(Body):
    """What of the job changes, such as a budget that is used up."""

    rate_limit: RateLimit | None = asked(_RATE, 50, default=None)
    max_tokens: Tokens | None = asked(_TOKENS, 5_000_000, default=None)
    max_cost: Amount | None = asked(_COST, default=None)
    allow_removals: Flag = asked(_REMOVALS, default_factory=bool)  # absent: stays as it is

    def changes(self) -> JobChanges:
        """What of the job changes."""
        return JobChanges(**self.given())


class SearchRequest(Body):
    """What to look for."""

    entity_type: Name = asked("Among which entities.", "product")
    query: Text = asked("What to look for, in words.", "red running shoes")
    limit: Annotated[int, WholeNumber(MAX_LIMIT)] | None = asked(_LIMIT, 5, default=None)
    filters: Object = asked("Values of metadata fields that must be equal.", default={})


class PageQuery(Body):
    """Which page of a job's events or failures."""

    cursor: Annotated[int, Field(ge=0, le=2**63 - 1)] = asked(_CURSOR, default=0)
    limit: PageSize = asked(_LIMIT, default=50)


class JobsQuery(Body):
    """Which jobs, and in which order."""

    status: JobStatus = asked("In this state.", default=None)
    entity_type: Name = asked("Of this entity type.", default=None)
    created_by: Name = asked("Asked for by this user.", default=None)
    started_after: Moment = asked("Began at this moment or later.", default=None)
    started_before: Moment = asked("Began before this moment.", default=None)
    ordering: Ordering = asked("By when they were asked for.", default=Ordering.NEWEST)
    cursor: Name = asked(_CURSOR, default=None)
    limit: PageSize = asked(_LIMIT, default=50)

    def selection(self) -> dict[str, Any]:
        """The arguments of ``list_jobs``; ids are ordered by time."""
        order = "-id" if self.ordering is Ordering.NEWEST else "id"
        chosen = {name: value for name, value in self if name not in ("ordering", "cursor")}
        return {**chosen, "order": order, "before": self.cursor}


def parsed(kind: type[_Kind], request: Request) -> _Kind:
    """The body of a request, or the query of one that has none.

    Raises:
        rest_framework.exceptions.ValidationError: Says what is wrong with each field.
    """
    data: Any = request.query_params.dict() if request.method == "GET" else request.data
    serializers.Serializer(data=data).is_valid(raise_exception=True)  # says what is no object
    known = kind.names()
    words = ErrorDetail(
        f"There is no such field. Known fields: {', '.join(known)}.", "unknown_field"
    )
    unknown = (name[:50] for name in data if name not in known)
    errors: dict[str, Any] = {name: [words] for name in islice(unknown, _MOST_UNKNOWN)}
    try:
        body = kind.model_validate({name: data[name] for name in known if name in data})
    except ValidationError as error:
        errors = {**errors_of(error), **errors}
    if errors:
        raise exceptions.ValidationError(errors)
    return body
