"""Coverage of each entity type by its index: counted on request, and cached for a minute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from django.contrib import messages
from django.core.cache import cache
from django.db.models import Count
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from ai_migration.admin import display
from ai_migration.entities import registry
from ai_migration.exceptions import AIMigrationError
from ai_migration.jobs.report.overview import EntityOverview, EntityState
from ai_migration.jobs.service import migration_service
from ai_migration.models import EntityFailure
from ai_migration.models.leases import our_database
from ai_migration.types import OPEN_STATUSES

KEPT = 60
"""Seconds for which counts are cached; pages show the time of the count."""
_KEY = "ai_migration:coverage"
_STALE = (EntityState.METADATA, EntityState.TEXT, EntityState.EMBEDDER)


@dataclass(frozen=True)
class Covered:
    """One entity type.

    Attributes:
        overview: Its config, its rows and its index.
        failed: Entities that failed and are not indexed.
    """

    overview: EntityOverview
    failed: int

    @property
    def rows(self) -> str:
        rows = self.overview.rows
        if rows is None:
            return "?"
        about = _("about") + " " if self.overview.rows_is_estimate else ""
        return about + display.number(rows)

    @property
    def missing(self) -> str:
        """Rows that are not indexed. Too low while the index has orphans: a migration finds out."""
        rows = self.overview.rows
        return "?" if rows is None else display.number(max(0, rows - self.overview.indexed))

    @property
    def stale(self) -> str:
        """Differences that are visible without reading rows: a changed config, or more entities
        indexed than there are rows."""
        seen = self.overview
        words = [str(seen.state.label)] if seen.state in _STALE else []
        if seen.rows is not None and seen.rows < seen.indexed:
            words.append(seen.difference)
        return "; ".join(filter(None, [*words, seen.slowness]))

    @property
    def is_open(self) -> bool:
        """Return whether its last job is open."""
        job = self.overview.last_job
        return job is not None and job.status in OPEN_STATUSES

    @property
    def status(self) -> SafeString | str:
        """The status of its last job."""
        job = self.overview.last_job
        return display.NOTHING if job is None else display.badge(job.status)


@dataclass(frozen=True)
class Coverage:
    """All entity types.

    Attributes:
        at: Time of the count.
        entities: Each of them.
        problem: The error in the config, or empty.
    """

    at: datetime
    entities: Sequence[Covered] = ()
    problem: str = ""

    @property
    def moment(self) -> str:
        return display.moment(self.at)


def kept() -> Coverage | None:
    """Return the counts of the last minute, if there are any."""
    found = cache.get(_KEY)
    return found if isinstance(found, Coverage) else None


def names(request: HttpRequest) -> list[str]:
    """Return the entity types, without counts; show a message if the config is wrong."""
    try:
        return registry.names()
    except AIMigrationError as error:
        messages.error(request, error.message)
        return []


def count() -> Coverage:
    """Count now: bounded where the database can estimate, but still not free."""
    try:
        overviews = migration_service.list_entities()
    except AIMigrationError as error:
        return Coverage(datetime.now(UTC), problem=error.message)
    active = [each.collection for each in overviews if each.collection]
    failures = EntityFailure.objects.using(our_database()).filter(collection__in=active)
    failed = dict(failures.values_list("collection").annotate(count=Count("pk")).order_by())
    coverage = Coverage(
        datetime.now(UTC),
        [
            Covered(each, failed.get(each.collection.pk, 0) if each.collection else 0)
            for each in overviews
        ],
    )
    cache.set(_KEY, coverage, KEPT)
    return coverage
