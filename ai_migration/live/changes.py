"""Records changes in the queue, and has this process index them where it is asked to."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

from django.db.models import Model

from ai_migration.conf import get_settings
from ai_migration.entities.entity import Entity
from ai_migration.indexing import outbox
from ai_migration.indexing.outbox import Change
from ai_migration.live import immediate
from ai_migration.models.leases import our_database

MOST_IDS = 100_000
"""Entities listed one by one, at most; more are a range that a worker walks."""


def record(changes: Sequence[Change], model: type[Model], using: str) -> None:
    """Record changes of single rows; see :func:`ai_migration.indexing.outbox.record`. There are
    none where triggers record them."""
    if changes:
        outbox.record(dict.fromkeys(changes), model, using)
    _drain()


def record_ids(entity: Entity, entity_ids: Sequence[str], model: type[Model], using: str) -> None:
    """Record changes of many entities: a few entries, however many they are."""
    if entity_ids:
        outbox.record_many(entity.name, entity_ids, model, using)
        _drain()


def record_rows(entity: Entity, keys: Sequence[Any], model: type[Model], using: str) -> None:
    """Record the change of the rows with these keys, in order and at most one more than
    :data:`MOST_IDS`: then there may be further ones, and the range up to the last key of the table
    is walked."""
    if len(keys) <= MOST_IDS:
        record_ids(entity, [entity.key.to_entity_id(key) for key in keys], model, using)
        return
    rows = entity.model._base_manager.using(using).order_by("-pk").values_list("pk", flat=True)
    outbox.record_range(entity.name, None, entity.key.to_json(rows.first()), model, using)
    _drain()


def record_readers(
    entity: Entity, path: str, values: Sequence[Any], model: type[Model], using: str
) -> None:
    """Record the change of all entities that read related rows which are about to go."""
    rows = entity.model._base_manager.using(using).filter(**{f"{path}__in": values})
    keys = rows.order_by("pk").values_list("pk", flat=True).distinct()
    record_rows(entity, list(islice(keys.iterator(), MOST_IDS + 1)), model, using)


def _drain() -> None:
    if get_settings().SYNC == "immediate":
        outbox.on_commit_once(immediate.drain, our_database())
