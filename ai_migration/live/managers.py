"""Querysets whose bulk writes reach the index: Django sends no signals for them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from typing import Any, TypeVar

from django.db import transaction
from django.db.models import Manager, Model, QuerySet

from ai_migration.entities.config.schema import Operation
from ai_migration.live.changes import MOST_IDS, record, record_rows
from ai_migration.live.signals import watch_of
from ai_migration.live.suspension import suspend_sync
from ai_migration.live.watching import Own, Related

M = TypeVar("M", bound=Model)


class IndexedQuerySet(QuerySet[M, M]):
    """A queryset whose ``bulk_create``, ``bulk_update``, ``update`` and ``delete`` put the rows
    they touch in the queue: in the same transaction, with few statements, however many they are.

    Derive your queryset from it, or use :class:`IndexedManager`. A model that is not indexed pays
    nothing.
    """

    def bulk_create(self, objs: Iterable[M], *args: Any, **kwargs: Any) -> list[M]:
        """Insert the objects, and put them in the queue."""
        objs = list(objs)
        own, related = self._own("create"), self._related()
        if not own and not related:
            return super().bulk_create(objs, *args, **kwargs)
        with transaction.atomic(using=self._written, savepoint=False):
            last = self._last_key()
            made = super().bulk_create(objs, *args, **kwargs)
            self._record_objects(made, own)
            if any(obj.pk is None for obj in made):  # the database tells no keys
                self._record_after(last, own)
            for each in related:
                if each.dependency.is_link:
                    self._record_related(each, [getattr(o, each.dependency.key) for o in made])
        return made

    bulk_create.alters_data = True  # type: ignore[attr-defined]

    def bulk_update(
        self, objs: Iterable[M], fields: Iterable[str], *args: Any, **kwargs: Any
    ) -> int:
        """Update the objects, and put them in the queue if one of the fields matters."""
        objs, fields = tuple(objs), tuple(fields)
        with transaction.atomic(using=self._written, savepoint=False):
            # It calls update(), which would record each part by itself.
            with suspend_sync():
                updated = super().bulk_update(objs, fields, *args, **kwargs)
            self._record_objects(objs, self._own("update", fields))
            for each in self._related(fields):
                self._record_related(each, [getattr(o, each.dependency.key) for o in objs])
        return updated

    bulk_update.alters_data = True  # type: ignore[attr-defined]

    def update(self, **kwargs: Any) -> int:
        """Update the rows, and put them in the queue if one of the fields matters."""
        own, related = self._own("update", kwargs), self._related(kwargs)
        if not own and not related:
            return super().update(**kwargs)
        with transaction.atomic(using=self._written, savepoint=False):
            keys = self._touched_keys()
            values = [(each, self._read_values(each)) for each in related]
            updated = super().update(**kwargs)
            for each in own:
                record_rows(each.entity, keys, self.model, self._written)
            for reading, found in values:
                key = reading.dependency.key
                self._record_related(reading, [*found, *([kwargs[key]] if key in kwargs else [])])
        return updated

    update.alters_data = True  # type: ignore[attr-defined]

    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete the rows, and put them in the queue."""
        own = self._own("delete")
        if not own or self._is_cut:
            return super().delete()
        with transaction.atomic(using=self._written, savepoint=False):
            keys = self._touched_keys()
            if len(keys) > MOST_IDS:  # a walk of the rows would not meet them
                return super().delete()
            with suspend_sync(*(each.entity.name for each in own)):
                deleted = super().delete()
            for each in own:
                record_rows(each.entity, keys, self.model, self._written)
        return deleted

    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]

    @property
    def _written(self) -> str:
        self._for_write = True
        return self.db

    @property
    def _is_cut(self) -> bool:
        return self.query.is_sliced or bool(self.query.distinct)

    def _own(self, operation: Operation, fields: Collection[str] | None = None) -> list[Own]:
        return [
            each
            for each in watch_of(self.model).own
            if each.follows(operation, self._written, fields)
        ]

    def _related(self, fields: Collection[str] | None = None) -> list[Related]:
        return [
            each for each in watch_of(self.model).related if each.follows(self._written, fields)
        ]

    def _touched_keys(self) -> list[Any]:
        """Return the keys of the rows, at most one more than :data:`MOST_IDS`."""
        keys = self.using(self._written).order_by("pk").values_list("pk", flat=True)
        return list(islice(keys.iterator(), MOST_IDS + 1))

    def _read_values(self, each: Related) -> list[Any]:
        rows = self.using(self._written).order_by()
        return list(rows.values_list(each.dependency.key, flat=True).distinct())

    def _record_objects(self, objs: Sequence[M], own: Iterable[Own]) -> None:
        keyed = [obj for obj in objs if obj.pk is not None]
        for each in own:
            keys = [getattr(obj, each.key) for obj in keyed]
            for start in range(0, len(keys), MOST_IDS):
                part = keys[start : start + MOST_IDS]
                record_rows(each.entity, part, self.model, self._written)

    def _record_related(self, each: Related, values: Iterable[Any]) -> None:
        record(each.changes(values), self.model, self._written)

    def _last_key(self) -> Any:
        rows = self.model._base_manager.using(self._written).order_by("-pk")
        return rows.values_list("pk", flat=True).first()

    def _record_after(self, key: Any, own: Iterable[Own]) -> None:
        rows = self.model._base_manager.using(self._written)
        if key is not None:
            rows = rows.filter(pk__gt=key)
        keys = list(rows.order_by("pk").values_list("pk", flat=True)[: MOST_IDS + 1])
        for each in own:
            record_rows(each.entity, keys, self.model, self._written)


class IndexedManager(Manager.from_queryset(IndexedQuerySet)):  # type: ignore[misc]
    """A manager of :class:`IndexedQuerySet`: ``objects = IndexedManager()``."""
