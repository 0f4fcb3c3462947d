"""What our tables have in common: they are read where they are written."""

from __future__ import annotations

from typing import Any, TypeVar

from django.db import models, router

_ModelT = TypeVar("_ModelT", bound=models.Model, covariant=True)


class OwnQuerySet(models.QuerySet[_ModelT]):
    """A queryset that reads where it would write.

    The tables are the state of the engine: a read from a replica that lags would feed a
    range twice, or take a job for unknown. A router may send reads elsewhere; not these.
    """

    @property
    def db(self) -> str:
        """Database alias the query runs on: the named one, else where routers send writes."""
        hints: dict[str, Any] = self._hints  # type: ignore[attr-defined]
        alias: str | None = self._db  # type: ignore[attr-defined]
        return alias or router.db_for_write(self.model, **hints)


class OwnManager(models.Manager[_ModelT]):
    """Gives :class:`OwnQuerySet`."""

    def get_queryset(self) -> OwnQuerySet[_ModelT]:
        """All rows, from where they are written."""
        hints: dict[str, Any] = self._hints  # type: ignore[attr-defined]
        return OwnQuerySet(self.model, using=self._db, hints=hints)


class OwnModel(models.Model):
    """Base of every table of ours.

    Its manager is the base manager too, so that foreign keys, related managers and
    ``refresh_from_db`` obey the same rule.
    """

    objects = OwnManager()

    class Meta:
        abstract = True
        base_manager_name = "objects"
