"""Lists of the engine's tables: the queue, failures, the ledger, collections, cool-downs."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from ai_migration.admin import display
from ai_migration.admin.base import ReadOnlyAdmin
from ai_migration.admin.controls import Answer, report, retry_some
from ai_migration.admin.filters import (
    CollectionFilter,
    EntityTypeFilter,
    EntityTypeOfCollectionFilter,
    ErrorCodeFilter,
)
from ai_migration.exceptions import AIMigrationError
from ai_migration.indexing.queue import enqueue
from ai_migration.jobs.service import migration_service
from ai_migration.models import (
    Collection,
    EntityFailure,
    QueueEntry,
    RateLimitState,
    SearchableEntity,
)
from ai_migration.models.leases import our_database
from ai_migration.pace.pacing import ProviderState


def _job_link(job_id: str | None) -> str:
    if job_id is None:
        return _("live changes")
    page = reverse("admin:ai_migration_migrationjob_change", args=[job_id])
    return format_html('<a href="{}">{}</a>', page, job_id)


@admin.register(QueueEntry)
class QueueEntryAdmin(ReadOnlyAdmin):
    """Entries that wait, are being processed, or were processed for a job."""

    list_display = [
        "id",
        "entity_type",
        "operation",
        "status",
        "priority",
        "what",
        "of_job",
        "attempts",
        "waits_until",
        "created",
    ]
    list_filter = ["status", "operation", "priority", EntityTypeFilter]
    list_select_related = False
    sortable_by = ()
    ordering = ["-id"]

    @admin.display(description=gettext_lazy("what"))
    def what(self, entry: QueueEntry) -> str:
        if entry.entity_ids is not None:
            count = len(entry.entity_ids)
            return ngettext("%(count)s entity", "%(count)s entities", count) % {"count": count}
        upper = "" if entry.upper is None else _short(entry.upper)
        return f"{display.NOTHING if entry.lower is None else _short(entry.lower)} … {upper}"

    @admin.display(description=gettext_lazy("job"))
    def of_job(self, entry: QueueEntry) -> str:
        return _job_link(entry.job_id)

    @admin.display(description=gettext_lazy("not before"))
    def waits_until(self, entry: QueueEntry) -> str:
        return display.moment(entry.available_at)

    @admin.display(description=gettext_lazy("created"))
    def created(self, entry: QueueEntry) -> str:
        return display.moment(entry.created_at)


@admin.register(EntityFailure)
class EntityFailureAdmin(ReadOnlyAdmin):
    """Entities that are not indexed, and why."""

    list_display = [
        "entity_id",
        "entity_type",
        "error_code",
        "words",
        "attempts",
        "failed_at",
        "of_job",
    ]
    list_filter = [EntityTypeOfCollectionFilter, ErrorCodeFilter]
    list_select_related = ["collection"]
    search_fields = ["entity_id__exact"]
    search_help_text = gettext_lazy("The id of an entity")
    sortable_by = ()
    ordering = ["-id"]
    actions = ["retry", "discard"]

    @admin.display(description=gettext_lazy("entity type"))
    def entity_type(self, failure: EntityFailure) -> str:
        return failure.collection.entity_type

    @admin.display(description=gettext_lazy("error"))
    def words(self, failure: EntityFailure) -> str:
        return failure.error[:200]

    @admin.display(description=gettext_lazy("last failed"))
    def failed_at(self, failure: EntityFailure) -> str:
        return display.moment(failure.last_failed_at)

    @admin.display(description=gettext_lazy("job"))
    def of_job(self, failure: EntityFailure) -> str:
        return _job_link(failure.job_id)

    @admin.action(description=gettext_lazy("Retry"), permissions=["control"])
    def retry(self, request: HttpRequest, failures: QuerySet[EntityFailure]) -> None:
        """Let each job retry its own; enqueue those of live changes again."""
        columns = ("pk", "job", "collection__entity_type", "entity_id")
        of_jobs: dict[str, list[int]] = defaultdict(list)
        live: dict[str, list[str]] = defaultdict(list)
        for pk, job, entity_type, entity_id in failures.order_by().values_list(*columns):
            if job is None:
                live[entity_type].append(entity_id)
            else:
                of_jobs[job].append(pk)
        actor = request.user.get_username()
        answers = [retry_some(job, pks, actor=actor) for job, pks in sorted(of_jobs.items())]
        answers += [_enqueue(entity_type, ids) for entity_type, ids in sorted(live.items())]
        report(request, answers)

    @admin.action(description=gettext_lazy("Discard"), permissions=["control"])
    def discard(self, request: HttpRequest, failures: QuerySet[EntityFailure]) -> None:
        pks = list(failures.order_by().values_list("pk", flat=True))
        count = migration_service.discard_failures(pks, actor=request.user.get_username())
        words = _("Done: %(count)s failures are no longer listed; the entities stay unindexed.")
        messages.success(request, words % {"count": display.number(count)})


@admin.register(SearchableEntity)
class SearchableEntityAdmin(ReadOnlyAdmin):
    """The ledger: what the index has of each entity."""

    list_display = ["entity_id", "collection", "chunk_count", "indexed"]
    list_filter = [CollectionFilter]
    list_select_related = ["collection"]
    search_fields = ["entity_id__exact"]
    search_help_text = gettext_lazy("The id of an entity")
    sortable_by = ()
    ordering = ["collection_id", "entity_id"]  # the order of its index
    fields = ["entity_id", "collection", "chunk_count", "indexed", "content", "metadata"]
    readonly_fields = ("indexed", "content", "metadata")

    @admin.display(description=gettext_lazy("as of"))
    def indexed(self, entity: SearchableEntity) -> str:
        return display.moment(entity.indexed_at)

    @admin.display(description=gettext_lazy("hash of its text"))
    def content(self, entity: SearchableEntity) -> str:
        return bytes(entity.content_hash).hex()

    @admin.display(description=gettext_lazy("hash of its metadata"))
    def metadata(self, entity: SearchableEntity) -> str:
        return bytes(entity.metadata_hash).hex()

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Search by an index, which begins with the collection."""
        found, may_repeat = super().get_search_results(request, queryset, search_term)
        if search_term:
            known = Collection.objects.using(our_database()).values_list("pk", flat=True)
            found = found.filter(collection__in=list(known))
        return found, may_repeat


@admin.register(Collection)
class CollectionAdmin(ReadOnlyAdmin):
    """The generations of the indexes."""

    list_display = [
        "id",
        "entity_type",
        "status",
        "embedder",
        "model_id",
        "dimensions",
        "store",
        "created",
        "activated",
        "retired",
    ]
    list_filter = ["status", EntityTypeFilter]
    ordering = ["-id"]
    sortable_by = ()

    @admin.display(description=gettext_lazy("created"))
    def created(self, collection: Collection) -> str:
        return display.moment(collection.created_at)

    @admin.display(description=gettext_lazy("active since"))
    def activated(self, collection: Collection) -> str:
        return display.moment(collection.activated_at)

    @admin.display(description=gettext_lazy("retired"))
    def retired(self, collection: Collection) -> str:
        return display.moment(collection.retired_at)


@admin.register(RateLimitState)
class RateLimitStateAdmin(ReadOnlyAdmin):
    """The limits of providers, where they are kept in the database."""

    list_display = ["key", "waits_until", "reason"]
    sortable_by = ()

    @admin.display(description=gettext_lazy("no request before"))
    def waits_until(self, row: RateLimitState) -> str:
        until = ProviderState.from_json(row.state).blocked_until
        return display.moment(datetime.fromtimestamp(until / 1000, tz=UTC) if until else None)

    @admin.display(description=gettext_lazy("message"))
    def reason(self, row: RateLimitState) -> str:
        return ProviderState.from_json(row.state).reason or display.NOTHING


def _enqueue(entity_type: str, ids: list[str]) -> Answer:
    try:
        count = enqueue(entity_type, ids)
    except AIMigrationError as error:
        return Answer(_("Not done: %(reason)s") % {"reason": error.message}, messages.ERROR)
    words = _("Done: %(count)s of %(entity_type)s are in the queue again.")
    shown = {"count": display.number(count), "entity_type": entity_type}
    return Answer(words % shown, messages.SUCCESS)


def _short(key: object) -> str:
    return str(key)[:40]
