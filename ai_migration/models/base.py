"""The base of all our models, which are read from the database they are written to."""

from __future__ import annotations

from typing import Any, TypeVar

from django.db import models, router

_ModelT = TypeVar("_ModelT", bound=models.Model, covariant=True)


class OwnQuerySet(models.QuerySet[_ModelT]):
    """A queryset that reads from the database it would write to.

    The tables are the state of the engine: a read from a replica that lags would feed a
    range twice, or not find a job. A router may send other reads elsewhere, but not these.
    """

    @property
    def db(self) -> str:
        """Database alias the query runs on: the named one, else where routers send writes."""
        hints: dict[str, Any] = self._hints  # type: ignore[attr-defined]
        alias: str | None = self._db  # type: ignore[attr-defined]
        return alias or router.db_for_write(self.model, **hints)


class OwnManager(models.Manager[_ModelT]):
    """The manager that returns :class:`OwnQuerySet`."""

    def get_queryset(self) -> OwnQuerySet[_ModelT]:
        """Return all rows, from the database they are written to."""
        hints: dict[str, Any] = self._hints  # type: ignore[attr-defined]
        return OwnQuerySet(self.model, using=self._db, hints=hints)


class OwnModel(models.Model):
    """Base of all our models.

    Its manager is the base manager too, so that foreign keys, related managers and
    ``refresh_from_db`` obey the same rule.
    """

    objects = OwnManager()

    class Meta:
        abstract = True
        base_manager_name = "objects"
