"""Permissions and throttle rates of the calls: without a permission, no call is allowed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rest_framework.exceptions import MethodNotAllowed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.settings import api_settings
from rest_framework.throttling import ScopedRateThrottle
from rest_framework.views import APIView

READ, WRITE = "ai-migration-read", "ai-migration-write"
"""Throttle scopes: keys of ``REST_FRAMEWORK["DEFAULT_THROTTLE_RATES"]``."""


@dataclass(frozen=True)
class Access:
    """The requirements of a call.

    Attributes:
        permissions: The permissions its user must have, all of them.
        scope: The throttle scope it counts towards.
    """

    permissions: tuple[str, ...]
    scope: str


_VIEW = "ai_migration.view_migrationjob"
_START = "ai_migration.start_migrationjob"
VIEW = Access((_VIEW,), READ)
START = Access((_VIEW, _START), WRITE)
PLAN = Access((_VIEW, _START), READ)
CONTROL = Access((_VIEW, "ai_migration.control_migrationjob"), WRITE)
SEARCH = Access(("ai_migration.search_index",), READ)
"""``SEARCH_PERMISSION`` may restrict it to some entity types."""


def access_of(request: Request, view: APIView) -> Access:
    """Return the requirements of this call.

    Raises:
        MethodNotAllowed: There is no such call.
    """
    accesses: dict[str, Access] = getattr(view, "access", {})
    method = "GET" if request.method == "HEAD" else str(request.method)
    if method not in accesses:
        raise MethodNotAllowed(method)
    return accesses[method]


class HasPermission(BasePermission):
    """Requires the permissions of the call; Django's own class lets every user read."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return bool(request.user and request.user.has_perms(access_of(request, view).permissions))


class ScopeThrottle(ScopedRateThrottle):
    """The rate of the call's scope; no limit if the host has not set one."""

    def allow_request(self, request: Request, view: APIView) -> bool:
        setattr(view, self.scope_attr, access_of(request, view).scope)
        return super().allow_request(request, view)

    def get_rate(self) -> str | None:
        rates: dict[str, Any] = api_settings.DEFAULT_THROTTLE_RATES
        rate: str | None = rates.get(self.scope or "")
        return rate
