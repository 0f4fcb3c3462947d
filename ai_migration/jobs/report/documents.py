"""The answers as JSON: ``--json`` prints them, the REST API sends them, and the OpenAPI document
describes them with their examples. One line is one field."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, TypeVar

from pydantic import (
    AliasGenerator,
    AliasPath,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel

from ai_migration.jobs.report.overview import EntityState
from ai_migration.models import MigrationJob
from ai_migration.types import (
    DurationBasis,
    JobKind,
    JobStatus,
    JSONValue,
    MigrationMode,
    MigrationProgress,
)

JOB_ID = "mig-019bd2a4-7c10-7cc3-98c4-dc0c0c07398f"
"""The id and the times of the examples."""
_JOB = f"https://example.com/api/ai/migration/jobs/{JOB_ID}"
_AT = "2025-12-18T10:00:00+00:00"
_SHOWN_IDS = 100
"""Entity ids a job's document shows; it may have ten thousand, and a page many jobs."""


def iso_duration(length: timedelta) -> str:
    """Return a duration in ISO 8601: ``PT45M``, ``PT26H3S``."""
    minutes, seconds = divmod(round(length.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "H"), (minutes, "M"), (seconds, "S"))
    return "PT" + ("".join(f"{number}{unit}" for number, unit in parts if number) or "0S")


Item = TypeVar("Item")
OrNone = Annotated[Item | None, BeforeValidator(lambda value: value or None)]
"""A value that is null where it is empty."""
Moment = Annotated[
    datetime,
    PlainSerializer(datetime.isoformat),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
Link = Annotated[str, Field(json_schema_extra={"format": "uri"})]
Money = Annotated[Decimal, PlainSerializer(str), WithJsonSchema({"type": "string"})]
Length = Annotated[timedelta, PlainSerializer(iso_duration), WithJsonSchema({"type": "string"})]
Wait = Annotated[float, PlainSerializer(lambda seconds: round(seconds, 3), return_type=float)]
Count = Annotated[int, BeforeValidator(len)]
Total = Annotated[int, BeforeValidator(lambda counts: sum(counts.values()))]
Score = Annotated[float, PlainSerializer(lambda score: round(score, 6), return_type=float)]


def told(description: str, example: JSONValue, *, source: Any = None, name: Any = None) -> Any:
    """Return a field of a document.

    Args:
        description: Its description in OpenAPI.
        example: A value of it.
        source: The attribute it is read from, if its name differs.
        name: Its name in JSON, if it is not the name in camelCase.
    """
    return Field(
        description=description,
        examples=[example],
        validation_alias=source,
        serialization_alias=name,
    )


class Document(BaseModel):
    """A JSON object, in camelCase; made of any object with attributes of its fields' names."""

    model_config = ConfigDict(
        alias_generator=AliasGenerator(serialization_alias=to_camel),
        from_attributes=True,
        frozen=True,
    )

    @classmethod
    def of(cls, source: Any) -> dict[str, JSONValue]:
        """Return the document of a row, or of an answer of the service."""
        return cls.model_validate(source).model_dump(by_alias=True)


def example_of(model: type[BaseModel]) -> dict[str, JSONValue]:
    """Return an object of the examples of its fields, without the fields that have none."""
    fields = model.model_fields.items()
    return {
        field.serialization_alias or to_camel(name): field.examples[0]
        for name, field in fields
        if field.examples
    }


class JobFilters(Document):
    """The rows a job takes."""

    created_before: str | None = told("Rows created before this time.", "2024-01-01")
    created_after: str | None = told("Rows created at or after it.", None)
    entity_ids: list[str] = told("Only these entities: the first hundred ids.", [])
    entity_id_count: int = told("The number of ids.", 0)
    lookups: dict[str, Any] = told("Lookups on the model.", {"category__slug": "shoes"})

    @model_validator(mode="before")
    @classmethod
    def _kept(cls, filters: dict[str, JSONValue]) -> dict[str, JSONValue]:
        """Fill in the filters that a job does not keep because they are empty."""
        ids = filters.get("entity_ids", [])
        shown = {"entity_ids": ids[:_SHOWN_IDS], "entity_id_count": len(ids)}
        return {"created_before": None, "created_after": None, "lookups": {}, **filters, **shown}


class Job(Document):
    """A migration: its request and its progress."""

    id: str = told("Its id.", JOB_ID)
    entity_type: str = told("Its entity type.", "product")
    status: JobStatus = told("Its state.", "RUNNING")
    kind: JobKind = told("Whether it migrates or verifies.", "migration")
    mode: MigrationMode = told("The matching entities it embeds.", "changed")
    rebuild: bool = told("Whether it fills a new collection.", False)
    reindex_existing: bool = told("Whether `mode` is `all`.", False)
    allow_removals: bool = told("Whether it may remove more than half of a large index.", False)
    filters: JobFilters = told("The rows it takes.", example_of(JobFilters), source="filter_config")
    total_entities: int = told("Rows that matched when it began.", 100_000)
    processed_entities: int = told("Entities it is done with.", 0)
    failed_entities: int = told("Entities that could not be indexed.", 0)
    created_by: str = told("The user who asked for it.", "ops")
    created_at: Moment = told("When it was created.", _AT)
    started_at: Moment | None = told("When it began.", _AT)
    completed_at: Moment | None = told("When it ended.", None)
    last_updated_at: Moment = told("When it last changed.", _AT)
    batch_size: int = told("Rows in one batch.", 500)
    rate_limit: int | None = told("Embedding requests a minute; null: no limit.", 100)
    max_tokens: int | None = told("It pauses before it embeds more; null: no budget.", None)
    max_cost: Money | None = told("The budget in money; null: no budget.", None)
    tokens: int = told("Tokens it was charged for.", 0, source="charged_tokens")
    error_message: OrNone[str] = told("Why it failed or was paused.", None)


class IndexProgress(Document):
    """The progress of an index that the store builds."""

    percent: float = told("From 0 to 100.", 63.2)
    phase: str = told("What the store does, in its words.", "building index: loading tuples")


class Progress(Document):
    """The counts of a job; `processed` is the sum of the four counts after it."""

    total: int = told("Rows that match.", 100_000)
    processed: int = told("Entities the job is done with.", 25_000)
    indexed: int = told("Entities whose vectors are in the index.", 24_988)
    skipped: int = told("Entities that needed nothing, or have no text.", 0)
    removed: int = told("Entities whose rows are gone.", 0)
    failed: int = told("Entities that could not be indexed.", 12)
    percent_complete: float = told("100 when it is done.", 25.0)
    entities_per_second: float = told("Its recent rate, without pauses.", 27.8)
    estimated_time_remaining: Length | None = told("ISO 8601; null: unknown.", "PT45M")
    index_build: IndexProgress | None = told("The index it waits for; null: none.", None)


class Throttle(Document):
    """The reason a job is slowed down."""

    reason: str = told("Why it waits.", "Slow down", source="throttle_reason")
    until: Moment | None = told("When it continues.", _AT, source="throttled_until")


class JobStanding(Document):
    """The state and progress of a job."""

    job_id: str = told("The job.", JOB_ID)
    entity_type: str = told("Its entity type.", "product")
    status: JobStatus = told("Its state.", "RUNNING")
    progress: Progress = told("Its progress.", example_of(Progress))
    throttle: Throttle | None = told("Why it is slowed down; null: it is not.", None)
    tokens: int = told("Tokens it was charged for.", 1_250_000)
    cost: Money | None = told("Their cost; null: no price is configured.", "0.03")
    error_message: OrNone[str] = told("Why it failed or was paused.", None)

    @classmethod
    def of(cls, source: MigrationProgress, **more: Any) -> dict[str, JSONValue]:
        """Return the document of a job's progress, with the further fields of its kind."""
        throttle = source if source.throttle_reason else None
        return super().of({**vars(source), "progress": source, "throttle": throttle, **more})


class JobDetail(JobStanding, Job):
    """A job with its progress."""

    @classmethod
    def of_job(
        cls, job: MigrationJob, progress: MigrationProgress, **more: Any
    ) -> dict[str, JSONValue]:
        """Return the document of a job's row and its progress, with the further fields of its
        kind."""
        return cls.of(progress, **{**vars(job), **more})


class JobProgress(JobDetail):
    """A job with its progress, and links."""

    events: Link = told("Its audit log.", f"{_JOB}/events")
    failures: Link = told("Its failures.", f"{_JOB}/failures")


class Event(Document):
    """A line of a job's audit log."""

    at: Moment = told("The time.", _AT)
    actor: str = told("The user or process.", "ops")
    from_status: OrNone[JobStatus] = told("Its state before.", "RUNNING", name="from")
    to_status: JobStatus = told("Its state afterwards.", "PAUSED", name="to")
    reason: str = told("The reason.", "paused")


class Failure(Document):
    """An entity that could not be indexed."""

    entity_id: str = told("Its primary key.", "4711")
    code: str = told("A code for programs.", "embedder_input", source="error_code")
    error: str = told("The error.", "These texts are refused")
    attempts: int = told("How often it was tried.", 1)


class JobHistory(JobDetail):
    """A job with its progress, its audit log and its failures."""

    events: list[Event] = told("Its audit log, oldest first.", [example_of(Event)])
    failures: list[Failure] = told("Its first failures.", [example_of(Failure)])


class Probe(Document):
    """The provider's answer to one plain text."""

    is_answered: bool = told("Whether it answered with a vector that fits.", True)
    error: OrNone[str] = told("The error, if it did not.", None)


class ExpectedTime(Document):
    """An estimate of the time a migration takes."""

    time: Length = told("ISO 8601, while workers work for it.", "PT5M")
    basis: DurationBasis = told("The ground it stands on.", "earlier_job")


class Plan(Document):
    """The plan of a migration: what it would do."""

    entity_type: str = told("The entity type.", "product")
    total: int = told("Entities it would be done with: `rows` and `toRemove`.", 100_003)
    rows: int = told("Rows that match.", 100_000)
    to_embed: int = told("Rows it would embed.", 1_200)
    to_update_metadata: int = told("Rows of which it would write only the metadata.", 0)
    to_skip: int = told("Rows that need nothing.", 98_800)
    to_fail: int = told("Rows that cannot be read.", 0)
    to_remove: int = told("Entities it would remove.", 3)
    texts: int = told("Texts it would embed; a long one is cut into several.", 1_200)
    tokens: int = told("Their tokens, approximately.", 60_000)
    requests: int = told("Requests to the provider.", 12)
    cost: Money | None = told("The cost; null: no price is configured.", "0.01")
    duration_at_rate_limit: Length | None = told("ISO 8601, at least; null: no limit.", "PT7S")
    duration: ExpectedTime | None = told("The time it takes; null: unknown.", None)
    examined: int = told("Rows that were examined.", 100_000)
    is_estimate: bool = told("Whether the rest was extrapolated from them.", False)
    rebuild_required: OrNone[str] = told("Why a rebuild is needed.", None)
    removals_refused: OrNone[str] = told("Why it would stop before it removes anything.", None)
    probe: Probe | None = told("The provider's answer, if it was asked.", None)


class ActiveCollection(Document):
    """The collection that answers searches."""

    id: int = told("Its id.", 1)
    name: str = told("Its name in the store.", "ai_vectors_1", source=AliasPath("ref", "name"))
    model: str = told("The embedding model.", "text-embedding-3-small", source="model_id")
    dimensions: int = told("Numbers in a vector.", 1536)
    activated_at: Moment | None = told("When it was activated.", _AT)


class LastJob(Document):
    """The newest job of an entity type."""

    job_id: str = told("Its id.", JOB_ID, source="id")
    status: JobStatus = told("Its state.", "COMPLETED")


class EntityType(Document):
    """An entity type: its config, its rows, its index."""

    entity_type: str = told("Its name.", "product")
    model: str = told("The Django model.", "shop.Product")
    fields: list[str] = told("The fields its texts are made of.", ["name", "description"])
    embedder: str = told("The embedder, by alias.", "default")
    store: str = told("The vector store, by alias.", "default")
    collection: ActiveCollection | None = told(
        "The collection that is searched.", example_of(ActiveCollection)
    )
    rows: int | None = told("Source rows; null: they cannot be read.", 100_000)
    rows_is_estimate: bool = told("Whether `rows` is an estimate.", False)
    indexed: int = told("Entities in its index.", 98_800)
    state: EntityState | None = told(
        "The index compared with the present config.", "config_unchanged"
    )
    last_job: LastJob | None = told("The newest job.", example_of(LastJob))
    problem: OrNone[str] = told("The problem with its config or its table.", None)


class Freshness(Document):
    """Live changes that became searchable, and how soon; to 5 %."""

    changes: int = told("Their number.", 1_240)
    p50: Wait | None = told("Seconds within which half of them were; null: there were none.", 0.21)
    p95: Wait | None = told("Seconds within which 95 % of them were.", 0.48)


class Abandoned(Document):
    """Live changes that no worker takes."""

    changes: int = told("Their number, at most 10,000.", 12)
    entity_types: list[str] = told("Their entity types.", ["product"])
    since: Moment = told("When the oldest was made.", _AT)


class Engine(Document):
    """The workers and the queue."""

    at: Moment = told("The present time, by the database's clock.", _AT)
    jobs: dict[str, int] = told("Open jobs by their state.", {"RUNNING": 1})
    waiting: Total = told("Queue entries that can be claimed, at most 10,000.", 3)
    oldest_waiting: Moment | None = told("When the oldest of them was made.", _AT)
    workers: Count = told("Workers that hold a slot.", 1)
    entities_per_second: float = told("In the last whole minute, while somebody worked.", 775.3)
    failures_last_hour: int = told("Entities that failed in the last hour.", 0)
    freshness: Freshness = told("Of the last hour.", example_of(Freshness))
    abandoned: Abandoned | None = told(
        "Live changes that wait and that no worker takes; null: there are none.", None
    )


class Hit(Document):
    """An entity that was found."""

    id: str = told("Its primary key.", "17")
    score: Score = told("Higher is nearer.", 0.83)
    metadata: dict[str, Any] = told("Its metadata.", {"category__name": "Shoes"})
    text: str = told(
        "Its text, as its row reads now.", "name: Runner\ndescription: A light red shoe."
    )


class Page(Document):
    """A page of a list."""

    next: Link | None = told("The next page, if there is one.", None)


class JobPage(Page):
    """A page of jobs."""

    results: list[Job] = told("Jobs.", [example_of(Job)])


class EventPage(Page):
    """A page of a job's events."""

    results: list[Event] = told("Events, oldest first.", [example_of(Event)])


class FailurePage(Page):
    """A page of a job's failures."""

    results: list[Failure] = told("Failures, in the order they happened.", [example_of(Failure)])
