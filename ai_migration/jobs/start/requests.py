"""A request, checked once, with everything a job or a plan needs to know of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from django.db import DatabaseError
from django.db.models import QuerySet

from ai_migration.conf import get_settings
from ai_migration.embedders import embedders
from ai_migration.entities import registry
from ai_migration.entities.entity import Entity
from ai_migration.entities.filtering.filters import (
    MAX_ENTITY_IDS,
    apply_filters,
    dump_filters,
    unfit_filter,
)
from ai_migration.exceptions import AIMigrationError, InvalidRequestError, shown
from ai_migration.jobs.values import (
    Budget,
    check_budget,
    require_bounds,
    require_text,
)
from ai_migration.models import MigrationJob
from ai_migration.models.sql.counting import bounded_count
from ai_migration.models.sql.outages import in_words
from ai_migration.models.sql.savepoints import sparing
from ai_migration.pace.batch_sizes import first_batch_size
from ai_migration.stores import stores
from ai_migration.types import JSONValue, MigrationFilters, MigrationMode, MigrationRequest

MAX_KEY = 255
MAX_NOTE = 1_000
_REFUSALS = (DatabaseError, OverflowError, ValueError, TypeError)
"""Errors of a statement, or of a value in the driver. Lost connections raise others."""


@dataclass(frozen=True)
class CheckedRequest:
    """A :class:`~ai_migration.types.MigrationRequest` that was checked.

    Attributes:
        request: The request as it was made.
        entity: The entity type.
        mode: The matching entities to embed.
        filters: The filters, with each id once, as the ledger writes it.
        filter_config: The filters as the job stores them.
        rows: The source rows that match; explicit ids are not applied.
        batch_size: Source rows in one queue entry.
        adapts_batch_size: Whether ``batch_size`` is only a start, because none was asked for.
        rate_limit: Embedding requests a minute; None: no limit.
        budget: The job's budget.
    """

    request: MigrationRequest
    entity: Entity
    mode: MigrationMode
    filters: MigrationFilters
    filter_config: dict[str, JSONValue]
    rows: QuerySet[Any]
    batch_size: int
    adapts_batch_size: bool
    rate_limit: int | None
    budget: Budget

    @property
    def columns(self) -> dict[str, Any]:
        """The values of the request that the job keeps, by column."""
        columns = {field.name for field in MigrationJob._meta.get_fields()}
        asked = {name: value for name, value in vars(self.request).items() if name in columns}
        return {
            **asked,
            "entity_type": self.entity.name,
            "mode": self.mode,
            "reindex_existing": self.mode is MigrationMode.ALL,
            "filter_config": self.filter_config,
            "config_snapshot": self.entity.snapshot,
            "batch_size": self.batch_size,
            "adapts_batch_size": self.adapts_batch_size,
            "rate_limit": self.rate_limit,
            "created_by": self.request.created_by[:MAX_KEY],
            **asdict(self.budget),
        }

    def selections(self) -> Sequence[QuerySet[Any]]:
        """Return the matching rows with explicit ids applied, in as many querysets as needed."""
        if not self.filters.entity_ids:
            return [self.rows]
        entity_ids = [str(item) for item in self.filters.entity_ids]
        return list(self.entity.key.among(self.rows, entity_ids))

    def count(self) -> tuple[int, bool]:
        """Return the number of entities that match, counted once and with a bound, and whether it
        is an estimate.

        Raises:
            AIMigrationError: The table cannot be read.
            InvalidRequestError: A filter's value does not fit its column.
        """
        given = len(self.filters.entity_ids)
        if given and not self.filters.lookups:
            return given, False
        try:
            total, is_estimate = _count(self.rows)
        except _REFUSALS as error:
            raise self._refused(error) from error
        return (given, False) if given else (total, is_estimate)

    def _refused(self, error: Exception) -> AIMigrationError:
        """Return why the rows cannot be counted: because of a filter, or of the table."""
        if not self.filters.lookups or _refusal(self.entity.rows()):
            return AIMigrationError(
                f"The table of {self.entity.model._meta.label} cannot be read: {in_words(error)}"
            )
        for name, value in self.filters.lookups.items():
            alone = MigrationFilters(lookups={name: value})
            if reason := _refusal(apply_filters(self.entity, self.entity.rows(), alone)):
                return unfit_filter(name, value, reason)
        return InvalidRequestError(
            f"The filters do not fit together: {in_words(error)}", field="filters"
        )


def _count(rows: QuerySet[Any]) -> tuple[int, bool]:
    with sparing(rows.db):
        return bounded_count(rows)


def _refusal(rows: QuerySet[Any]) -> Exception | None:
    """Return why these rows cannot be counted; None: they can."""
    try:
        _count(rows)
    except _REFUSALS as error:
        return error
    return None


def check_request(request: MigrationRequest) -> CheckedRequest:
    """Check a request against the settings and its entity type.

    Raises:
        UnknownEntityTypeError: No such entity type; names the known ones.
        InvalidRequestError: A value is not acceptable; ``field`` says which.
        EntityConfigError: The entity type's config is wrong.
        SettingsError: The embedder or the store it names is wrong.
    """
    if not get_settings().ENABLED:
        raise InvalidRequestError("AI migration is switched off: AI_MIGRATION['ENABLED'] is False")
    entity = registry.get(request.entity_type)
    entity.require_indexable()
    if not registry.global_config().enable_embedding_generation:
        raise InvalidRequestError(
            "Embedding is switched off: 'enable-embedding-generation: false' in ai-config",
            field="entity_type",
        )
    if request.mode not in MigrationMode.values:
        raise InvalidRequestError(
            f"Unknown mode {shown(request.mode)}. Known: {', '.join(MigrationMode.values)}.",
            field="mode",
        )
    require_bounds(request)
    require_text(request.created_by, "created_by")
    require_text(request.idempotency_key, "idempotency_key", MAX_KEY)
    require_text(request.note, "note", MAX_NOTE)
    if request.rebuild and request.filters:
        raise InvalidRequestError(
            "A rebuild fills a new collection with every row: it takes no filters",
            field="filters",
        )
    for registered, alias in ((embedders, entity.embedder), (stores, entity.store)):
        registered[alias]  # raises if it is wrong
    filters = _canonical(request.filters, entity)
    batch_size = request.batch_size or entity.definition.batch_size
    adapts = batch_size is None and get_settings().TARGET_BATCH_SECONDS is not None
    return CheckedRequest(
        request=request,
        entity=entity,
        mode=MigrationMode.ALL if request.reindex_existing else MigrationMode(request.mode),
        filters=filters,
        rows=apply_filters(entity, entity.rows(), filters),
        filter_config=dump_filters(filters),
        batch_size=(
            first_batch_size(embedders[entity.embedder])
            if adapts
            else batch_size or get_settings().DEFAULT_BATCH_SIZE
        ),
        adapts_batch_size=adapts,
        rate_limit=_rate_limit(request, entity),
        budget=check_budget(request.max_tokens, request.max_cost, entity.embedder),
    )


def _rate_limit(request: MigrationRequest, entity: Entity) -> int | None:
    """Return the rate limit; the default is for remote embedders, as local ones have no
    provider."""
    if request.rate_limit is not None or not embedders[entity.embedder].is_remote:
        return request.rate_limit
    return get_settings().DEFAULT_RATE_LIMIT


def _canonical(filters: MigrationFilters, entity: Entity) -> MigrationFilters:
    if len(filters.entity_ids) > MAX_ENTITY_IDS:
        raise InvalidRequestError(
            f"{len(filters.entity_ids)} ids are too many for one migration "
            f"(at most {MAX_ENTITY_IDS}): use a filter, or several migrations",
            field="entity_ids",
        )
    ids = dict.fromkeys(entity.key.parse(item) for item in filters.entity_ids)
    return replace(filters, entity_ids=tuple(ids))
