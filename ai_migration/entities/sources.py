"""The source of an entity type's rows: a manager, or a callable of the project; and conditions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db import Error, router
from django.db.models import Model, Q, QuerySet
from django.db.models.manager import BaseManager
from django.utils.module_loading import import_string

from ai_migration.entities.config.definitions import EntityDefinition
from ai_migration.entities.fields import FieldKind, ResolvedField
from ai_migration.exceptions import AIMigrationError, EntityConfigError, QuerysetError


@dataclass(frozen=True)
class RowCondition:
    """One condition of a ``filter``.

    Attributes:
        name: As the config writes it.
        field: The field it compares.
        wanted: The condition as Django's queries write it.
    """

    name: str
    field: ResolvedField
    wanted: Q

    def applied(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows that match."""
        return matching(rows, self.field, self.wanted)


def matching(rows: QuerySet[Any], field: ResolvedField, wanted: Q) -> QuerySet[Any]:
    """Return the rows that match, each once.

    Args:
        rows: The rows.
        field: The field of the condition.
        wanted: The condition.
    """
    if field.kind is FieldKind.MANY:  # joining would repeat rows
        found = rows.model._base_manager.using(rows.db).filter(wanted)
        return rows.filter(pk__in=found.values("pk"))
    return rows.filter(wanted)


@dataclass(frozen=True)
class RowSource:
    """The ``queryset`` of a definition.

    Attributes:
        definition: The config.
        model: Its Django model.
    """

    definition: EntityDefinition
    model: type[Model]

    @property
    def using(self) -> str:
        """Database alias of the rows: that of their writes, unless the config names another. A
        replica lags, and a stale read would undo what is newer."""
        return self.definition.using or router.db_for_write(self.model)

    @property
    def is_manager(self) -> bool:
        """Return whether it is a manager of the model, and not code that may query."""
        return "." not in (self.definition.queryset or "")

    def rows(self) -> QuerySet[Any]:
        """Return all source rows, unordered.

        Raises:
            QuerysetError: ``queryset`` raised something.
            EntityConfigError: It does not give rows of the model.
        """
        function = self.function()
        try:
            rows = function()
        except (Error, AIMigrationError):
            raise
        except Exception as error:
            raise QuerysetError(self._unfit(f"raised {error!r}").message) from error
        if not isinstance(rows, QuerySet):
            raise self._unfit(f"gives no rows, but a {type(rows).__name__}")
        if rows.model._meta.concrete_model is not self.model._meta.concrete_model:
            raise self._unfit(f"gives rows of {rows.model._meta.label}")
        # A job pages through the rows by primary key, and adds its own filters.
        if rows.query.is_sliced or rows.query.combinator or rows.query.distinct_fields:
            raise self._unfit("gives a queryset that is sliced, combined or distinct by fields")
        if getattr(rows, "_fields", None) is not None:
            raise self._unfit("gives values(), not rows")
        using = self.definition.using or getattr(rows, "_db", None) or self.using
        return rows.using(using).order_by()

    def function(self) -> Callable[[], Any]:
        """Return the callable of :meth:`rows`, without calling it.

        Raises:
            EntityConfigError: ``queryset`` names neither a manager nor a callable.
        """
        name = self.definition.queryset
        if not name:
            manager: Any = self.model._default_manager
            return manager.all  # type: ignore[no-any-return]
        if self.is_manager:
            manager = getattr(self.model, name, None)
            if isinstance(manager, BaseManager):
                return manager.all
            managers = ", ".join(item.name for item in self.model._meta.managers)
            raise EntityConfigError(
                f"Entity type {self.definition.entity_type!r}: {self.model._meta.label} has no "
                f"manager {name!r}. It has: {managers}. A callable is named by its dotted path."
            )
        try:
            function = import_string(name)
        except Exception as error:  # a module can raise anything while it is imported
            words = str(error) if isinstance(error, ImportError) else repr(error)
            raise self._unfit(f"cannot be imported: {words}") from error
        if not callable(function):
            raise self._unfit("is not callable")
        return function  # type: ignore[no-any-return]

    def _unfit(self, problem: str) -> EntityConfigError:
        name = self.definition.queryset or "the default manager"
        return EntityConfigError(
            f"Entity type {self.definition.entity_type!r}: queryset {name!r} {problem}. It should "
            f"give all rows of {self.model._meta.label}, as a plain queryset."
        )
