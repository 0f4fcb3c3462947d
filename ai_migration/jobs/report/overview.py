"""An overview of the entity types: config, rows, index, last job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.db import Error
from django.db.models import Q, QuerySet, TextChoices
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ai_migration.entities import registry
from ai_migration.exceptions import AIMigrationError
from ai_migration.indexing.targets import searches_meanwhile
from ai_migration.jobs.feed.collections import ConfigChange, config_change
from ai_migration.jobs.feed.indexes import lacks_index
from ai_migration.models import Collection, MigrationJob, SearchableEntity
from ai_migration.models.leases import our_database
from ai_migration.models.sql.counting import bounded_count
from ai_migration.models.sql.outages import in_words
from ai_migration.models.sql.savepoints import sparing
from ai_migration.types import CollectionStatus, JobStatus


class EntityState(TextChoices):
    """The ACTIVE collection of an entity type compared with the present config. The rows are not
    compared: whether each is indexed as it is can only be known by reading it."""

    NOT_INDEXED = "not_indexed", gettext_lazy("not indexed")
    UNCHANGED = "config_unchanged", gettext_lazy("config unchanged")
    OPERATIONAL = "config_operational", ConfigChange.OPERATIONAL.value
    METADATA = "config_metadata", ConfigChange.METADATA.value
    TEXT = "config_text", ConfigChange.TEXT.value
    EMBEDDER = "config_embedder", ConfigChange.EMBEDDER.value

    @classmethod
    def after(cls, change: ConfigChange) -> EntityState:
        """Return the state of what was indexed before a config change."""
        return cls.UNCHANGED if change is ConfigChange.NONE else cls[change.name]


@dataclass(frozen=True)
class EntityOverview:
    """One entity type.

    Attributes:
        rows: Source rows; None where the table cannot be read.
        rows_is_estimate: Whether ``rows`` was estimated.
        collection: The ACTIVE one; None: nothing is indexed.
        indexed: Entities the ACTIVE collection has.
        indexed_is_estimate: Whether ``indexed`` was estimated.
        lacks_index: Whether the ACTIVE collection is large and has no index.
        state: The ACTIVE collection compared with the present config; None: the config is wrong.
        meanwhile: What becomes of searches until a rebuild that is needed; else empty.
        last_job: The newest one of this entity type, if there is one.
        problem: The error in the config; empty if there is none.
    """

    entity_type: str
    model: str
    fields: tuple[str, ...]
    embedder: str
    store: str
    rows: int | None = None
    rows_is_estimate: bool = False
    collection: Collection | None = None
    indexed: int = 0
    indexed_is_estimate: bool = False
    lacks_index: bool = False
    state: EntityState | None = None
    meanwhile: str = ""
    last_job: MigrationJob | None = None
    problem: str = ""

    @property
    def rows_text(self) -> str:
        """``rows`` for people."""
        if self.rows is None:
            return "?"
        return f"{'about ' if self.rows_is_estimate else ''}{self.rows:,}"

    @property
    def difference(self) -> str:
        """The difference between the counts of rows and index, for people; empty if they agree.
        Estimates agree within a tenth."""
        if self.rows is None or self.collection is None:
            return ""
        more = self.rows - self.indexed
        is_estimate = self.rows_is_estimate or self.indexed_is_estimate
        if not more or (is_estimate and abs(more) * 10 <= self.rows):
            return ""
        words = _("%(count)s more rows than are indexed")
        if more < 0:
            words = _("%(count)s more indexed than there are rows")
        count = f"{abs(more):,}"
        return words % {"count": _("about %(count)s") % {"count": count} if is_estimate else count}

    @property
    def summary(self) -> str:
        """Its state for people, with what else is known of its index without reading the rows."""
        if self.problem:
            return self.problem
        last = self.last_job.status if self.last_job else JobStatus.COMPLETED
        job = "" if last == JobStatus.COMPLETED else f"last job {last}"
        return "; ".join(filter(None, (self.standing, self.difference, self.slowness, job)))

    @property
    def standing(self) -> str:
        """Its state for people, and what becomes of searches if it has to be rebuilt."""
        state = str(self.state.label) if self.state else ""
        if not self.meanwhile:
            return state
        words = _("%(state)s; until then, %(meanwhile)s")
        return words % {"state": state, "meanwhile": self.meanwhile}

    @property
    def slowness(self) -> str:
        """Why its searches are slow, for people; empty if nothing is known to slow them down."""
        return _("no index yet: each search compares all vectors") if self.lacks_index else ""


def list_entities() -> list[EntityOverview]:
    """Return every entity type that has a model, sorted by name, with its index and its last job: a
    few queries each. One whose config is wrong has a ``problem``.

    Raises:
        EntityConfigError: The config file itself is wrong.
    """
    using = our_database()
    names = registry.names()
    active = Collection.objects.using(using).filter(status=CollectionStatus.ACTIVE)
    collections = {each.entity_type: each for each in active.filter(entity_type__in=names)}
    jobs = _last_jobs(names, using)
    return [_describe(name, collections.get(name), jobs.get(name), using) for name in names]


def _last_jobs(names: Sequence[str], using: str) -> dict[str, MigrationJob]:
    jobs = MigrationJob.objects.using(using)
    newest = Q(pk__in=[])
    for name in names:
        newest |= Q(pk=jobs.filter(entity_type=name).order_by("-pk").values("pk")[:1])
    return {job.entity_type: job for job in jobs.filter(newest)}


def _describe(
    name: str, collection: Collection | None, last_job: MigrationJob | None, using: str
) -> EntityOverview:
    definition = registry.discover().definitions[name]
    overview = EntityOverview(
        entity_type=name,
        model=definition.model or "",
        fields=tuple(field.name for field in definition.text_fields),
        embedder=definition.embedder or "default",
        store=definition.store or "default",
        collection=collection,
        last_job=last_job,
    )
    if collection is not None:
        indexed, is_estimate = _indexed(collection, using)
        overview = replace(
            overview,
            indexed=indexed,
            indexed_is_estimate=is_estimate,
            lacks_index=lacks_index(collection),
        )
    try:
        entity = registry.get(name)
        state = EntityState.NOT_INDEXED
        if collection is not None:
            state = EntityState.after(config_change(collection, entity))
            if state is EntityState.EMBEDDER:
                overview = replace(overview, meanwhile=searches_meanwhile(collection))
    except AIMigrationError as error:
        return replace(overview, problem=error.message)
    overview = replace(
        overview, state=state, fields=tuple(field.name for field in entity.text_fields)
    )
    try:
        rows, is_estimate = _count(entity.rows())
    except Error as error:
        problem = f"the table of {entity.model._meta.label} cannot be read: {in_words(error)}"
        return replace(overview, problem=problem)
    return replace(overview, rows=rows, rows_is_estimate=is_estimate)


def _indexed(collection: Collection, using: str) -> tuple[int, bool]:
    ledger = SearchableEntity.objects.using(using)
    return bounded_count(ledger.filter(collection=collection, chunk_count__gt=0))


def _count(rows: QuerySet[Any]) -> tuple[int, bool]:
    with sparing(rows.db):
        return bounded_count(rows)
