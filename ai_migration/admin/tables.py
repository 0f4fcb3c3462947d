"""Lists of the engine's tables: the queue, failures, the ledger, collections, cool-downs."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from typing import Any, cast

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db.models import Case, QuerySet, Value, When
from django.db.models.functions import Length
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.text import Truncator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from ai_migration.admin import base, display
from ai_migration.admin.base import EstimatedList, ReadOnlyAdmin, as_a_wrong_address, at_least
from ai_migration.admin.controls import Answer, report, retry_some
from ai_migration.admin.filters import (
    CollectionFilter,
    EntityTypeFilter,
    EntityTypeOfCollectionFilter,
    ErrorCodeFilter,
)
from ai_migration.admin.rows import NamedRow, named_rows
from ai_migration.entities import registry
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
from ai_migration.models.sql.savepoints import sparing
from ai_migration.pace.pacing import ProviderState
from ai_migration.types import CollectionStatus


def _job_link(job_id: str | None) -> str:
    if job_id is None:
        return _("live changes")
    page = reverse("admin:ai_migration_migrationjob_change", args=[job_id])
    return format_html('<a href="{}">{}</a>', page, display.job_id(job_id))


class NamedList(EstimatedList):
    """A page of rows about entities, each with the entity's own row."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows = list(self.result_list)
        keys = [(row.collection.entity_type, row.entity_id) for row in rows]
        named = named_rows(request, self.model_admin.admin_site, keys)
        for row, key in zip(rows, keys, strict=True):
            row.named = named[key]
        self.result_list = cast("QuerySet[Any]", rows)


class OfEntitiesAdmin(ReadOnlyAdmin):
    """Rows about entities."""

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return NamedList

    @admin.display(description=gettext_lazy("entity"))
    def entity(self, row: Any) -> str:
        named: NamedRow = row.named
        kind = row.collection.entity_type
        note = f"{kind} · {named.note}" if named.note else kind
        return format_html('{}<div class="help">{}</div>', named.link, note)


@admin.register(QueueEntry)
class QueueEntryAdmin(ReadOnlyAdmin):
    """Entries that wait, are being processed, or were processed for a job."""

    list_display = ["work", "state", "of_job", "created"]
    list_filter = ["status", "operation", "priority", EntityTypeFilter]
    list_select_related = False
    sortable_by = ()
    ordering = ["-id"]

    @admin.display(description=gettext_lazy("work"))
    def work(self, entry: QueueEntry) -> str:
        words = f"{entry.get_operation_display()} {self._what(entry)}"
        shown = (entry.entity_type, words)
        return format_html('<strong>{}</strong><span class="help">{}</span>', *shown)

    def _what(self, entry: QueueEntry) -> str:
        if entry.entity_ids is not None:
            count = len(entry.entity_ids)
            return ngettext("%(count)s entity", "%(count)s entities", count) % {"count": count}
        upper = "" if entry.upper is None else _short(entry.upper)
        return f"{display.NOTHING if entry.lower is None else _short(entry.lower)} … {upper}"

    @admin.display(description=gettext_lazy("status"))
    def state(self, entry: QueueEntry) -> str:
        notes = [_("priority: %(priority)s") % {"priority": entry.get_priority_display()}]
        if entry.attempts:
            words = ngettext(
                "%(count)s failed attempt", "%(count)s failed attempts", entry.attempts
            )
            notes.append(words % {"count": display.number(entry.attempts)})
        shown = (entry.get_status_display(), " · ".join(notes))
        return format_html('{}<div class="help">{}</div>', *shown)

    @admin.display(description=gettext_lazy("job"))
    def of_job(self, entry: QueueEntry) -> str:
        return _job_link(entry.job_id)

    @admin.display(description=gettext_lazy("created"))
    def created(self, entry: QueueEntry) -> str:
        at = display.moment(entry.created_at)
        if entry.available_at is None:
            return at
        until = display.moment(entry.available_at)
        return format_html('{}<div class="help">{} {}</div>', at, _("not before"), until)


@admin.register(EntityFailure)
class EntityFailureAdmin(OfEntitiesAdmin):
    """Entities that are not indexed, and why."""

    list_display = ["entity", "words", "failed_at", "of_job"]
    list_display_links = ["words"]
    list_filter = [EntityTypeOfCollectionFilter, ErrorCodeFilter]
    list_select_related = ["collection"]
    search_fields = ["entity_id__exact"]
    search_help_text = gettext_lazy("The id of an entity")
    sortable_by = ()
    ordering = ["-id"]
    actions = ["retry", "discard"]

    @admin.display(description=gettext_lazy("error"))
    def words(self, failure: EntityFailure) -> str:
        words = Truncator(failure.error).chars(200)
        return format_html('{}<span class="help">{}</span>', failure.error_code, words)

    @admin.display(description=gettext_lazy("last failed"))
    def failed_at(self, failure: EntityFailure) -> str:
        words = ngettext("%(count)s attempt", "%(count)s attempts", failure.attempts)
        attempts = words % {"count": display.number(failure.attempts)}
        at = display.moment(failure.last_failed_at)
        return format_html('{}<div class="help">{}</div>', at, attempts)

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
        words = ngettext(
            "Done: %(count)s failure is no longer listed; the entity stays unindexed.",
            "Done: %(count)s failures are no longer listed; the entities stay unindexed.",
            count,
        )
        messages.success(request, words % {"count": display.number(count)})


class LedgerList(NamedList):
    """The ledger, whose ids are in order as numbers where they are numbers."""

    def get_results(self, request: HttpRequest) -> None:
        """Sort by number what is small enough to be sorted; the rest by its index, as text."""
        with as_a_wrong_address(request), sparing(our_database()):
            is_small = at_least(self.queryset) <= base.COUNTED
        if is_small:
            self.queryset = self.queryset.order_by("collection_id", _digits(), "entity_id")
        super().get_results(request)


@admin.register(SearchableEntity)
class SearchableEntityAdmin(OfEntitiesAdmin):
    """The ledger: what the index has of each entity."""

    list_display = ["entity", "chunks", "indexed", "of_collection"]
    list_display_links = ["indexed"]
    list_filter = [CollectionFilter]
    list_select_related = ["collection"]
    search_fields = ["entity_id__exact"]
    search_help_text = gettext_lazy("The id of an entity")
    sortable_by = ()
    ordering = ["collection_id", "entity_id"]  # the order of its index
    fields = ["entity_id", "collection", "chunk_count", "indexed", "content", "metadata"]
    readonly_fields = ("indexed", "content", "metadata")

    @admin.display(description=gettext_lazy("chunks"))
    def chunks(self, entity: SearchableEntity) -> str:
        return display.labelled(_("chunks"), display.number(entity.chunk_count))

    @admin.display(description=gettext_lazy("collection"))
    def of_collection(self, entity: SearchableEntity) -> str:
        return _collection(entity.collection)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return LedgerList

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

    list_display = ["generation", "status", "vectors", "since"]
    list_filter = ["status", EntityTypeFilter]
    ordering = ["-id"]
    sortable_by = ()

    @admin.display(description=gettext_lazy("collection"))
    def generation(self, collection: Collection) -> str:
        return format_html("<strong>{}</strong> #{}", collection.entity_type, collection.pk)

    @admin.display(description=gettext_lazy("vectors"))
    def vectors(self, collection: Collection) -> str:
        words = _("%(dimensions)s dimensions, embedder “%(embedder)s”, store “%(store)s”") % {
            "dimensions": display.number(collection.dimensions),
            "embedder": collection.embedder,
            "store": collection.store,
        }
        return format_html('{}<div class="help">{}</div>', collection.model_id, words)

    @admin.display(description=gettext_lazy("since"))
    def since(self, collection: Collection) -> str:
        reached = {
            CollectionStatus.ACTIVE: collection.activated_at,
            CollectionStatus.RETIRED: collection.retired_at,
        }
        at = reached.get(CollectionStatus(collection.status)) or collection.created_at
        created = display.moment(collection.created_at)
        shown = (display.moment(at), _("created"), created)
        return format_html('{}<div class="help">{} {}</div>', *shown)


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
    words = ngettext(
        "Done: %(count)s of %(entity_type)s is in the queue again.",
        "Done: %(count)s of %(entity_type)s are in the queue again.",
        count,
    )
    shown = {"count": display.number(count), "entity_type": entity_type}
    return Answer(words % shown, messages.SUCCESS)


def _collection(collection: Collection) -> str:
    shown = (collection.pk, collection.get_status_display())
    return format_html('#{}<div class="help">{}</div>', *shown)


def _digits() -> Case:
    """Return the number of digits of an entity id that is a number; 0 of any other."""
    known = Collection.objects.using(our_database()).filter(dropped_at=None)
    numbered = [pk for pk, name in known.values_list("pk", "entity_type") if _is_numbered(name)]
    return Case(When(collection__in=numbered, then=Length("entity_id")), default=Value(0))


def _is_numbered(entity_type: str) -> bool:
    try:
        return registry.get(entity_type).key.is_integer
    except AIMigrationError:
        return False


def _short(key: object) -> str:
    return str(key)[:40]
