"""The entity types as an operator sees them: config, rows, index, last job."""

from __future__ import annotations

from dataclasses import dataclass, replace

from django.db import DatabaseError

from ai_migration.entities import registry
from ai_migration.exceptions import AIMigrationError
from ai_migration.jobs.collections import ConfigChange, active_collection, config_change
from ai_migration.models import MigrationJob, SearchableEntity
from ai_migration.models.leases import our_database
from ai_migration.models.sql.counting import bounded_count
from ai_migration.types import JSONValue


@dataclass(frozen=True)
class EntityOverview:
    """One entity type.

    Attributes:
        rows: Source rows; None where the table cannot be read.
        rows_is_estimate: Whether ``rows`` was estimated.
        indexed: Entities the ACTIVE collection has.
        state: What the ACTIVE collection is, against the config now.
        problem: What is wrong with the config; empty when nothing is.
    """

    entity_type: str
    model: str
    fields: tuple[str, ...]
    embedder: str
    store: str
    rows: int | None = None
    rows_is_estimate: bool = False
    indexed: int = 0
    state: str = ""
    last_job: str = ""
    problem: str = ""

    @property
    def rows_text(self) -> str:
        """``rows`` for people."""
        if self.rows is None:
            return "?"
        return f"{'about ' if self.rows_is_estimate else ''}{self.rows:,}"

    def as_json(self) -> dict[str, JSONValue]:
        """The document of ``entities --json``."""
        return {
            "entityType": self.entity_type,
            "model": self.model,
            "fields": list(self.fields),
            "embedder": self.embedder,
            "store": self.store,
            "rows": self.rows,
            "rowsIsEstimate": self.rows_is_estimate,
            "indexed": self.indexed,
            "state": self.state,
            "lastJob": self.last_job or None,
            "problem": self.problem or None,
        }


def describe_entities() -> list[EntityOverview]:
    """Every entity type that has a model; one whose config is wrong says so.

    Raises:
        EntityConfigError: The config file itself is wrong.
    """
    return [_describe(name) for name in registry.names()]


def _describe(name: str) -> EntityOverview:
    definition = registry.discover().definitions[name]
    using = our_database()
    overview = EntityOverview(
        entity_type=name,
        model=definition.model or "",
        fields=tuple(field.name for field in definition.text_fields),
        embedder=definition.embedder or "default",
        store=definition.store or "default",
    )
    try:
        entity = registry.get(name)
        collection = active_collection(name, using)
        state = "not indexed"
        if collection is not None:
            change = config_change(collection, entity)
            state = "up to date" if change is ConfigChange.NONE else change.value
    except AIMigrationError as error:
        return replace(overview, problem=error.message)
    try:
        rows, is_estimate = bounded_count(entity.rows())
    except DatabaseError as error:
        problem = f"the table of {entity.model._meta.label} cannot be read: {error}"
        return replace(overview, state=state, problem=problem)
    indexed = 0
    if collection is not None:
        listed = SearchableEntity.objects.using(using).filter(
            collection=collection, chunk_count__gt=0
        )
        indexed, _ = bounded_count(listed)
    last = MigrationJob.objects.using(using).filter(entity_type=name).order_by("-pk").first()
    return replace(
        overview,
        fields=tuple(field.name for field in entity.text_fields),
        rows=rows,
        rows_is_estimate=is_estimate,
        indexed=indexed,
        state=state,
        last_job=f"{last.pk} {last.status}" if last else "",
    )
