"""Who may call what, and how often: nobody anything, unless a permission says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rest_framework.exceptions import MethodNotAllowed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.settings import api_settings
from rest_framework.throttling import ScopedRateThrottle
from rest_framework.views import APIView

if TYPE_CHECKING:
    from ai_migration.rest.base import MigrationView

READ, WRITE = "ai-migration-read", "ai-migration-write"
"""Throttle scopes: keys of ``REST_FRAMEWORK["DEFAULT_THROTTLE_RATES"]``."""


@dataclass(frozen=True)
class Access:
    """What a call needs.

    Attributes:
        permission: The permission its user must have.
        scope: The throttle scope it counts in.
    """

    permission: str
    scope: str


VIEW = Access("ai_migration.view_migrationjob", READ)
START = Access("ai_migration.start_migrationjob", WRITE)
PLAN = Access("ai_migration.start_migrationjob", READ)
CONTROL = Access("ai_migration.control_migrationjob", WRITE)
SEARCH = Access("ai_migration.search_index", READ)


def access_of(request: Request, view: APIView) -> Access:
    """What this call needs.

    Raises:
        MethodNotAllowed: There is no such call.
    """
    accesses: dict[str, Access] = getattr(view, "access", {})
    method = "GET" if request.method == "HEAD" else str(request.method)
    if method not in accesses:
        raise MethodNotAllowed(method)
    return accesses[method]


class HasPermission(BasePermission):
    """The user has the permission of the call; Django's own class lets everybody read."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return bool(request.user and request.user.has_perm(access_of(request, view).permission))


class ScopeThrottle(ScopedRateThrottle):
    """The rate of the call's scope; none where the host has not set one."""

    def allow_request(self, request: Request, view: MigrationView) -> bool:  # type: ignore[override]
        view.throttle_scope = access_of(request, view).scope
        return super().allow_request(request, view)

    def get_rate(self) -> str | None:
        rates: dict[str, Any] = api_settings.DEFAULT_THROTTLE_RATES
        rate: str | None = rates.get(self.scope or "")
        return rate
