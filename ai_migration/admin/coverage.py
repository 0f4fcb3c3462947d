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
from django.utils.translation import ngettext

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
        return display.about(rows, self.overview.rows_is_estimate)

    @property
    def rows_words(self) -> str:
        """The number of rows in words."""
        words = ngettext("%(count)s row", "%(count)s rows", self.overview.rows or 0)
        return words % {"count": self.rows}

    @property
    def missing(self) -> int | None:
        """Rows that are not indexed; None: unknown. Too low while the index has orphans: a
        migration finds out."""
        rows = self.overview.rows
        return None if rows is None else max(0, rows - self.overview.indexed)

    @property
    def has_missing(self) -> bool:
        """Return whether something may be missing."""
        return self.missing != 0

    @property
    def meter(self) -> SafeString | str:
        """The share of rows that are indexed, as a bar."""
        if not self.overview.rows:
            return display.NOTHING
        share = min(100.0, 100 * self.overview.indexed / self.overview.rows)
        label = _("%(entity_type)s: indexed") % {"entity_type": self.overview.entity_type}
        return display.meter(share, label)

    @property
    def counts(self) -> str:
        """The rows that are indexed, and those that are missing, in words."""
        if self.overview.rows == 0 and not self.overview.indexed:
            return _("no rows")
        shown = {"indexed": display.number(self.overview.indexed), "rows": self.rows}
        words = _("%(indexed)s of %(rows)s") % shown
        if not self.missing:
            return words
        missing = ngettext("%(count)s missing", "%(count)s missing", self.missing)
        return f"{words} · " + missing % {"count": display.number(self.missing)}

    @property
    def notes(self) -> list[str]:
        """Whatever needs attention and is visible without reading rows: a problem, a changed
        config, or more entities indexed than there are rows."""
        seen = self.overview
        words = [seen.problem]
        if seen.state in _STALE:
            words.append(seen.standing)
        if seen.rows is not None and seen.rows < seen.indexed:
            words.append(seen.difference)
        return list(filter(None, [*words, seen.slowness]))

    @property
    def is_open(self) -> bool:
        """Return whether its last job is open."""
        job = self.overview.last_job
        return job is not None and job.status in OPEN_STATUSES

    @property
    def status(self) -> SafeString | str:
        """The status of its last job."""
        job = self.overview.last_job
        if job is None:
            return display.NOTHING
        return display.badge(job.status, job.failed_entities)


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

    @property
    def failed(self) -> int:
        """Entities of all types that failed and are not indexed."""
        return sum(each.failed for each in self.entities)

    @property
    def headline(self) -> str:
        """All entity types in one sentence."""
        seen = [each.overview for each in self.entities if each.overview.rows is not None]
        rows = sum(each.rows or 0 for each in seen)
        if not rows:
            return _("There are no rows to index.")
        indexed = sum(min(each.indexed, each.rows or 0) for each in seen)
        is_estimate = any(each.rows_is_estimate or each.indexed_is_estimate for each in seen)
        words = ngettext(
            "%(indexed)s of %(rows)s row is indexed",
            "%(indexed)s of %(rows)s rows are indexed",
            rows,
        )
        if is_estimate:
            words = _("About %(indexed)s of %(rows)s rows are indexed")
        return words % {"indexed": display.number(indexed), "rows": display.number(rows)}

    @property
    def failed_words(self) -> str:
        """The failures in words."""
        words = ngettext("%(count)s failed", "%(count)s failed", self.failed)
        return words % {"count": display.number(self.failed)}


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
