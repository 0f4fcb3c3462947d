"""What is answered, as JSON: ``--json`` prints it, the REST API sends it, and the OpenAPI document
describes it, examples and all. One line is one field."""

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
from ai_migration.types import JobStatus, JSONValue, MigrationMode, MigrationProgress

JOB_ID = "mig-019bd2a4-7c10-7cc3-98c4-dc0c0c07398f"
"""Of the examples."""
_JOB = f"https://example.com/api/ai/migration/jobs/{JOB_ID}"
_AT = "2025-12-18T10:00:00+00:00"
_SHOWN_IDS = 100
"""Entity ids a job's document shows; it may have ten thousand, and a page many jobs."""


def iso_duration(length: timedelta) -> str:
    """A length of time in ISO 8601, as people write it: ``PT45M``, ``PT26H3S``."""
    minutes, seconds = divmod(round(length.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "H"), (minutes, "M"), (seconds, "S"))
    return "PT" + ("".join(f"{number}{unit}" for number, unit in parts if number) or "0S")


Item = TypeVar("Item")
OrNone = Annotated[Item | None, BeforeValidator(lambda value: value or None)]
"""Empty is null."""
Moment = Annotated[
    datetime,
    PlainSerializer(datetime.isoformat),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
Link = Annotated[str, Field(json_schema_extra={"format": "uri"})]
Money = Annotated[Decimal, PlainSerializer(str), WithJsonSchema({"type": "string"})]
Length = Annotated[timedelta, PlainSerializer(iso_duration), WithJsonSchema({"type": "string"})]
Score = Annotated[float, PlainSerializer(lambda score: round(score, 6), return_type=float)]


def told(description: str, example: JSONValue, *, source: Any = None, name: Any = None) -> Any:
    """A field of a document.

    Args:
        description: What it says.
        example: A value of it.
        source: The attribute it is read from, if that has another name.
        name: Its name in JSON, if that is not its own in camelCase.
    """
    return Field(
        description=description,
        examples=[example],
        validation_alias=source,
        serialization_alias=name,
    )


class Document(BaseModel):
    """A JSON object, in camelCase; made of whatever has attributes of its fields' names."""

    model_config = ConfigDict(
        alias_generator=AliasGenerator(serialization_alias=to_camel),
        from_attributes=True,
        frozen=True,
    )

    @classmethod
    def of(cls, source: Any) -> dict[str, JSONValue]:
        """The document of a row, or of an answer of the service."""
        return cls.model_validate(source).model_dump(by_alias=True)


def example_of(model: type[BaseModel]) -> dict[str, JSONValue]:
    """An object of the examples of its fields; those that have none are not there."""
    fields = model.model_fields.items()
    return {
        field.serialization_alias or to_camel(name): field.examples[0]
        for name, field in fields
        if field.examples
    }


class JobFilters(Document):
    """Which rows a job takes."""

    created_before: str | None = told("Rows made before this moment.", "2024-01-01")
    created_after: str | None = told("Rows made at or after it.", None)
    entity_ids: list[str] = told("Only these: the first hundred of them.", [])
    entity_id_count: int = told("How many ids it takes.", 0)
    lookups: dict[str, Any] = told("Look-ups on the model.", {"category__slug": "shoes"})

    @model_validator(mode="before")
    @classmethod
    def _kept(cls, filters: dict[str, JSONValue]) -> dict[str, JSONValue]:
        """Of what a job keeps: what is empty is not there."""
        ids = filters.get("entity_ids", [])
        shown = {"entity_ids": ids[:_SHOWN_IDS], "entity_id_count": len(ids)}
        return {"created_before": None, "created_after": None, "lookups": {}, **filters, **shown}


class Job(Document):
    """A migration: what was asked for, and how far it is."""

    id: str = told("Its id.", JOB_ID)
    entity_type: str = told("What it indexes.", "product")
    status: JobStatus = told("Its state.", "RUNNING")
    mode: MigrationMode = told("Which matching entities it embeds.", "changed")
    rebuild: bool = told("Whether it fills a new collection.", False)
    reindex_existing: bool = told("Whether `mode` is `all`.", False)
    allow_removals: bool = told("Whether more than half of a large index may go.", False)
    filters: JobFilters = told("Which rows.", example_of(JobFilters), source="filter_config")
    total_entities: int = told("Rows that matched when it began.", 100_000)
    processed_entities: int = told("Entities it is done with.", 0)
    failed_entities: int = told("Entities that could not be indexed.", 0)
    created_by: str = told("Who asked for it.", "ops")
    created_at: Moment = told("When it was asked for.", _AT)
    started_at: Moment | None = told("When it began.", _AT)
    completed_at: Moment | None = told("When it ended.", None)
    last_updated_at: Moment = told("When it last changed.", _AT)
    batch_size: int = told("Rows in one batch.", 500)
    rate_limit: int | None = told("Embedding requests a minute; null: no limit.", 100)
    max_tokens: int | None = told("It pauses before it embeds more; null: no budget.", None)
    max_cost: Money | None = told("The same in money.", None)
    tokens: int = told("Tokens it was charged for.", 0, source="charged_tokens")
    error_message: OrNone[str] = told("Why it failed or was paused.", None)


class Progress(Document):
    """How far a job is; `processed` is the sum of the four counts after it."""

    total: int = told("Rows that match.", 100_000)
    processed: int = told("Entities the job is done with.", 25_000)
    indexed: int = told("Entities whose vectors are in the index.", 24_988)
    skipped: int = told("Entities that needed nothing, or have no text.", 0)
    removed: int = told("Entities whose rows are gone.", 0)
    failed: int = told("Entities that could not be indexed.", 12)
    percent_complete: float = told("100 when it is done.", 25.0)
    entities_per_second: float = told("Its rate of late.", 27.8)
    estimated_time_remaining: Length | None = told("ISO 8601; null: unknown.", "PT45M")


class Throttle(Document):
    """Why a job is slowed down."""

    reason: str = told("Why it waits.", "Slow down", source="throttle_reason")
    until: Moment | None = told("When it goes on.", _AT, source="throttled_until")


class JobStanding(Document):
    """Where a job stands."""

    job_id: str = told("The job.", JOB_ID)
    entity_type: str = told("What it indexes.", "product")
    status: JobStatus = told("Its state.", "RUNNING")
    progress: Progress = told("How far it is.", example_of(Progress))
    throttle: Throttle | None = told("Why it goes slower than it could.", None)
    tokens: int = told("Tokens it was charged for.", 1_250_000)
    cost: Money | None = told("What they cost; null: nobody set a price.", "0.03")
    error_message: OrNone[str] = told("Why it failed or was paused.", None)

    @classmethod
    def of(cls, source: MigrationProgress, **more: Any) -> dict[str, JSONValue]:
        """The document of a job's progress, with what else belongs to its kind."""
        throttle = source if source.throttle_reason else None
        return super().of({**vars(source), "progress": source, "throttle": throttle, **more})


class JobProgress(JobStanding):
    """Where a job stands, and where to read on."""

    events: Link = told("Its audit log.", f"{_JOB}/events")
    failures: Link = told("What failed.", f"{_JOB}/failures")


class Event(Document):
    """A line of a job's audit log."""

    at: Moment = told("When.", _AT)
    actor: str = told("Who.", "ops")
    from_status: OrNone[JobStatus] = told("Its state before.", "RUNNING", name="from")
    to_status: JobStatus = told("Its state since.", "PAUSED", name="to")
    reason: str = told("Why.", "paused")


class Failure(Document):
    """An entity that could not be indexed."""

    entity_id: str = told("Its primary key.", "4711")
    code: str = told("What kind of error it is.", "embedder_input", source="error_code")
    error: str = told("The error.", "These texts are refused")
    attempts: int = told("How often it was tried.", 1)


class JobHistory(JobStanding):
    """Where a job stands, with its audit log and what failed."""

    events: list[Event] = told("Its audit log, oldest first.", [example_of(Event)])
    failures: list[Failure] = told("What failed: the first of it.", [example_of(Failure)])


class Probe(Document):
    """What the provider said to one plain text."""

    is_answered: bool = told("Whether it answered with a vector that fits.", True)
    error: OrNone[str] = told("Its words, where it did not.", None)


class Plan(Document):
    """What a migration would do."""

    entity_type: str = told("What it would index.", "product")
    total: int = told("Rows that match.", 100_000)
    to_embed: int = told("Rows it would embed.", 1_200)
    to_update_metadata: int = told("Rows of which only metadata would be written.", 0)
    to_skip: int = told("Rows that need nothing.", 98_800)
    to_remove: int = told("Entities it would remove.", 3)
    texts: int = told("Texts it would embed; a long one is cut into several.", 1_200)
    tokens: int = told("Their tokens, about.", 60_000)
    requests: int = told("Requests to the provider.", 12)
    cost: Money | None = told("What it would cost; null: nobody set a price.", "0.01")
    duration_at_rate_limit: Length | None = told("ISO 8601, at least; null: no limit.", "PT7S")
    examined: int = told("Rows that were looked at.", 100_000)
    is_estimate: bool = told("Whether the rest was extrapolated from them.", False)
    rebuild_required: OrNone[str] = told("Why only a rebuild can go on.", None)
    removals_refused: OrNone[str] = told("Why it would stop before it removes anything.", None)
    probe: Probe | None = told("What the provider said, if it was to be asked.", None)


class ActiveCollection(Document):
    """The collection that answers searches."""

    id: int = told("Its id.", 1)
    name: str = told("Its name in the store.", "ai_vectors_1", source=AliasPath("ref", "name"))
    model: str = told("Who embedded it.", "text-embedding-3-small", source="model_id")
    dimensions: int = told("Numbers in a vector.", 1536)
    activated_at: Moment | None = told("Since when it answers.", _AT)


class LastJob(Document):
    """The newest job of an entity type."""

    job_id: str = told("Its id.", JOB_ID, source="id")
    status: JobStatus = told("Its state.", "COMPLETED")


class EntityType(Document):
    """An entity type: its config, its rows, its index."""

    entity_type: str = told("Its name.", "product")
    model: str = told("Whose rows.", "shop.Product")
    fields: list[str] = told("What its texts are made of.", ["name", "description"])
    embedder: str = told("Who embeds them, by alias.", "default")
    store: str = told("Where its vectors are, by alias.", "default")
    collection: ActiveCollection | None = told("What is searched.", example_of(ActiveCollection))
    rows: int | None = told("Source rows; null: they cannot be read.", 100_000)
    rows_is_estimate: bool = told("Whether they were not counted to the end.", False)
    indexed: int = told("Entities in its index.", 98_800)
    state: EntityState | None = told("The index against the config now.", "config_unchanged")
    last_job: LastJob | None = told("The newest one.", example_of(LastJob))
    problem: OrNone[str] = told("What is wrong with its config or its table.", None)


class Hit(Document):
    """An entity that was found."""

    id: str = told("Its primary key.", "17")
    score: Score = told("Higher is nearer.", 0.83)
    metadata: dict[str, Any] = told("What is kept beside it.", {"category__name": "Shoes"})
    text: str = told("As its row reads now.", "name: Runner\ndescription: A light red shoe.")


class Page(Document):
    """Some of a list."""

    next: Link | None = told("The next page, if there is one.", None)


class JobPage(Page):
    """Some of the jobs."""

    results: list[Job] = told("Jobs.", [example_of(Job)])


class EventPage(Page):
    """Some of a job's events."""

    results: list[Event] = told("Events, oldest first.", [example_of(Event)])


class FailurePage(Page):
    """Some of a job's failures."""

    results: list[Failure] = told("Failures, in the order they happened.", [example_of(Failure)])
