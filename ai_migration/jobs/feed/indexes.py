"""Collections without an index. A full run ends with building it; a collection that only grows by
live changes and filtered runs has none."""

from __future__ import annotations

from django.db import Error

from ai_migration.conf import LARGE_WITHOUT_INDEX, get_settings
from ai_migration.exceptions import AIMigrationError
from ai_migration.models import Collection, MigrationJob
from ai_migration.stores import stores
from ai_migration.types import CollectionStatus, JobKind, JobStatus


def lacks_index(collection: Collection) -> bool:
    """Return whether a collection is large, and each search compares all of its vectors. False if
    its store does not answer."""
    above = get_settings().BUILD_INDEX_ABOVE or LARGE_WITHOUT_INDEX
    try:
        return stores[collection.store].needs_index(collection.ref, above=above)
    except (AIMigrationError, Error):
        return False


def missing_indexes(using: str) -> list[Collection]:
    """Return the ACTIVE collections that lack an index and are not being filled by a job."""
    active = Collection.objects.using(using).filter(status=CollectionStatus.ACTIVE)
    return [
        each
        for each in active.order_by("pk")
        if lacks_index(each) and not _is_being_filled(each, using)
    ]


def _is_being_filled(collection: Collection, using: str) -> bool:
    """Return whether a job fills it, or a full run may go on to do so: into an index it would take
    several times longer, and its end builds the index."""
    jobs = MigrationJob.objects.using(using).filter(collection=collection, kind=JobKind.MIGRATION)
    if jobs.filter(status__in=[JobStatus.PENDING, JobStatus.RUNNING]).exists():
        return True
    full = jobs.filter(filter_config={}).order_by("-pk").values_list("status", flat=True)
    return full.first() in (JobStatus.PAUSED, JobStatus.FAILED)
