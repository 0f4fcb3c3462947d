"""Shared by the pages: permissions, and lists that stay fast at any size."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME as TICKED
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db import DatabaseError
from django.db.models import Model, QuerySet
from django.forms.widgets import Script
from django.http import HttpRequest, HttpResponse
from django.utils.functional import cached_property
from django.utils.text import capfirst

from ai_migration.entities.keys import KeyCodec
from ai_migration.exceptions import InvalidRequestError
from ai_migration.models.leases import our_database
from ai_migration.models.sql.counting import bounded_count
from ai_migration.models.sql.outages import is_outage
from ai_migration.models.sql.savepoints import sparing

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
    AnyPaginator = Paginator[Any]
else:
    ModelAdmin, AnyPaginator = admin.ModelAdmin, Paginator

VIEW = "ai_migration.view_migrationjob"
START = "ai_migration.start_migrationjob"
CONTROL = "ai_migration.control_migrationjob"

COUNTED = 10_000
"""Rows a list counts and pages through, at most. Filters reach the rest: an OFFSET costs as much as
the rows it skips."""


class EstimatingPaginator(AnyPaginator):
    """Counts to :data:`COUNTED` and no further. ``estimate`` is the database's estimate of all
    rows, if it has one; ``is_more`` says whether there are more than were counted."""

    @cached_property
    def count(self) -> int:
        return self._counted[0]

    @property
    def is_more(self) -> bool:
        return self._counted[1] > COUNTED

    @property
    def estimate(self) -> int | None:
        found = self._counted[1]
        return found if found > COUNTED + 1 else None

    @cached_property
    def _counted(self) -> tuple[int, int]:
        rows = self.object_list
        if not isinstance(rows, QuerySet):
            return len(rows), len(rows)
        found = at_least(rows)
        return min(found, COUNTED), found


def at_least(rows: QuerySet[Any]) -> int:
    """Return the number of rows, if it is small; else the planner's estimate, or ``COUNTED + 1``
    where the database has none."""
    counted, _ = bounded_count(rows, COUNTED, everywhere=True)
    return counted


class EstimatedList(ChangeList):
    """Shows the number of rows once, below the list."""

    def get_queryset(self, request: HttpRequest, *args: Any, **kwargs: Any) -> QuerySet[Any]:
        with as_a_wrong_address(request):
            return super().get_queryset(request, *args, **kwargs)

    def get_results(self, request: HttpRequest) -> None:
        with as_a_wrong_address(request), sparing(our_database()):
            super().get_results(request)
            len(self.result_list)  # read now: a value that fits no column is found here
        self.full_result_count = self.result_count


@contextmanager
def as_a_wrong_address(request: HttpRequest) -> Iterator[None]:
    """Treat an error of the database, or its driver, about a value in an address as any other
    invalid look-up of the admin."""
    try:
        yield
    except (DatabaseError, OverflowError, ValueError) as error:
        if not request.GET or is_outage(error):
            raise
        raise IncorrectLookupParameters(error) from error


def key_of(model: type[Model], text: str) -> Any:
    """Return the primary key that a text, such as one from an address, stands for, if any."""
    try:
        return KeyCodec.of(model).from_entity_id(text)
    except InvalidRequestError:
        return None


class ReadOnlyAdmin(ModelAdmin):
    """Read-only rows, which only the engine writes."""

    paginator = EstimatingPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    list_max_show_all = 50

    class Media:
        css = {"all": ["ai_migration/admin.css"]}
        js = [Script("ai_migration/admin.js", defer=True)]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return EstimatedList

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        title = capfirst(self.opts.verbose_name_plural)
        return super().changelist_view(request, {"title": title, **(extra_context or {})})

    def response_action(
        self, request: HttpRequest, queryset: QuerySet[Any], *args: Any, **kwargs: Any
    ) -> HttpResponse | None:
        """Act on the selected rows whose keys are valid: a client can send anything."""
        sent = request.POST.copy()
        ticked = [key for key in sent.getlist(TICKED) if key_of(self.model, key) is not None]
        sent.setlist(TICKED, ticked)
        request.POST = sent  # type: ignore[assignment]
        return super().response_action(request, queryset, *args, **kwargs)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Read from where the engine writes: a replica lags."""
        return super().get_queryset(request).using(our_database())

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm(VIEW)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_control_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may use the actions with the permission ``control``."""
        return self.has_view_permission(request) and request.user.has_perm(CONTROL)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
