"""What callers get: the documents of :mod:`ai_migration.jobs.report.documents` and of the service's
answers, described for OpenAPI. They are sent as they are made: nothing renders them here."""

from __future__ import annotations

from rest_framework import serializers

from ai_migration.jobs.report.overview import EntityState
from ai_migration.rest.camel_case import CamelCase
from ai_migration.rest.fields import Choice
from ai_migration.types import JobStatus, MigrationMode


class JobFilters(CamelCase):
    """Which rows a job takes."""

    created_before = serializers.CharField(allow_null=True)
    created_after = serializers.CharField(allow_null=True)
    entity_ids = serializers.ListField(
        child=serializers.CharField(), help_text="The first hundred of them."
    )
    entity_id_count = serializers.IntegerField()
    lookups = serializers.DictField()


class Job(CamelCase):
    """A migration: what was asked for, and how far it is."""

    id = serializers.CharField()
    entity_type = serializers.CharField()
    status = Choice("JobStatus", JobStatus.values)
    mode = Choice("Mode", MigrationMode.values)
    rebuild = serializers.BooleanField()
    reindex_existing = serializers.BooleanField()
    allow_removals = serializers.BooleanField()
    filters = JobFilters()
    total_entities = serializers.IntegerField()
    processed_entities = serializers.IntegerField()
    failed_entities = serializers.IntegerField()
    created_by = serializers.CharField()
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    completed_at = serializers.DateTimeField(allow_null=True)
    last_updated_at = serializers.DateTimeField()
    batch_size = serializers.IntegerField()
    rate_limit = serializers.IntegerField(allow_null=True)
    max_tokens = serializers.IntegerField(allow_null=True)
    max_cost = serializers.CharField(allow_null=True)
    tokens = serializers.IntegerField()
    error_message = serializers.CharField(allow_null=True)


class Progress(CamelCase):
    """How far a job is; `processed` is the sum of the four counts after it."""

    total = serializers.IntegerField()
    processed = serializers.IntegerField()
    indexed = serializers.IntegerField()
    skipped = serializers.IntegerField()
    removed = serializers.IntegerField()
    failed = serializers.IntegerField()
    percent_complete = serializers.FloatField()
    entities_per_second = serializers.FloatField()
    estimated_time_remaining = serializers.CharField(
        allow_null=True, help_text="ISO 8601, such as `PT45M`."
    )


class Throttle(CamelCase):
    """Why a job is slowed down."""

    reason = serializers.CharField(allow_null=True)
    until = serializers.DateTimeField(allow_null=True)
    requests_per_minute = serializers.IntegerField(allow_null=True)


class JobProgress(CamelCase):
    """Where a job stands."""

    job_id = serializers.CharField()
    entity_type = serializers.CharField()
    status = Choice("JobStatus", JobStatus.values)
    progress = Progress()
    throttle = Throttle(allow_null=True)
    tokens = serializers.IntegerField()
    cost = serializers.CharField(allow_null=True)
    error_message = serializers.CharField(allow_null=True)
    events = serializers.URLField()
    failures = serializers.URLField()


class Event(CamelCase):
    """A line of a job's audit log."""

    at = serializers.DateTimeField()
    actor = serializers.CharField()
    to = Choice("JobStatus", JobStatus.values)
    reason = serializers.CharField()

    def get_fields(self) -> dict[str, serializers.Field]:  # type: ignore[type-arg]
        nowhere = Choice("JobStatus", JobStatus.values, allow_null=True)
        return {**super().get_fields(), "from": nowhere}  # no name for an attribute


class Failure(CamelCase):
    """An entity that could not be indexed."""

    entity_id = serializers.CharField()
    code = serializers.CharField()
    error = serializers.CharField()
    attempts = serializers.IntegerField()


class Probe(CamelCase):
    """What the provider said to one plain text."""

    is_answered = serializers.BooleanField()
    error = serializers.CharField(allow_null=True)


class Plan(CamelCase):
    """What a migration would do."""

    entity_type = serializers.CharField()
    total = serializers.IntegerField()
    to_embed = serializers.IntegerField()
    to_update_metadata = serializers.IntegerField()
    to_skip = serializers.IntegerField()
    to_remove = serializers.IntegerField()
    texts = serializers.IntegerField()
    tokens = serializers.IntegerField()
    requests = serializers.IntegerField()
    cost = serializers.CharField(allow_null=True)
    duration_at_rate_limit = serializers.CharField(allow_null=True)
    examined = serializers.IntegerField()
    is_estimate = serializers.BooleanField()
    rebuild_required = serializers.CharField(allow_null=True)
    removals_refused = serializers.CharField(allow_null=True)
    probe = Probe(allow_null=True)


class ActiveCollection(CamelCase):
    """The collection that answers searches."""

    id = serializers.IntegerField()
    name = serializers.CharField()
    model = serializers.CharField()
    dimensions = serializers.IntegerField()
    activated_at = serializers.DateTimeField(allow_null=True)


class LastJob(CamelCase):
    """The newest job of an entity type."""

    job_id = serializers.CharField()
    status = Choice("JobStatus", JobStatus.values)


class EntityType(CamelCase):
    """An entity type: its config, its rows, its index."""

    entity_type = serializers.CharField()
    model = serializers.CharField()
    embedder = serializers.CharField()
    store = serializers.CharField()
    collection = ActiveCollection(allow_null=True)
    rows = serializers.IntegerField(allow_null=True)
    rows_is_estimate = serializers.BooleanField()
    indexed = serializers.IntegerField()
    state = Choice("EntityState", EntityState.values, allow_null=True)
    last_job = LastJob(allow_null=True)
    problem = serializers.CharField(allow_null=True)

    def get_fields(self) -> dict[str, serializers.Field]:  # type: ignore[type-arg]
        names = serializers.ListField(child=serializers.CharField())
        return {**super().get_fields(), "fields": names}  # an attribute of all serializers


class Hit(CamelCase):
    """An entity that was found."""

    id = serializers.CharField()
    score = serializers.FloatField()
    metadata = serializers.DictField()
    text = serializers.CharField()


class _Page(CamelCase):
    next = serializers.URLField(allow_null=True, help_text="The next page, if there is one.")


class JobPage(_Page):
    """Some of the jobs."""

    results = Job(many=True)


class EventPage(_Page):
    """Some of a job's events."""

    results = Event(many=True)


class FailurePage(_Page):
    """Some of a job's failures."""

    results = Failure(many=True)


class ErrorItem(CamelCase):
    """One thing that is wrong."""

    code = serializers.CharField()
    detail = serializers.CharField()
    attr = serializers.CharField(allow_null=True, help_text="The field at fault, if one is.")


class Error(CamelCase):
    """Why it was refused."""

    type = Choice("ErrorType", ["validation_error", "client_error", "server_error"])
    errors = ErrorItem(many=True)  # type: ignore[assignment]  # no error list here


class Problem(CamelCase):
    """The same as RFC 9457 has it, for those who take `application/problem+json`."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField()
    code = serializers.CharField()
    errors = ErrorItem(many=True)  # type: ignore[assignment]  # no error list here
