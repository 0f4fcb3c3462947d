"""Our place in the admin's lists of apps and models, which Django sorts by name."""

from __future__ import annotations

from functools import wraps
from typing import Any

from django.contrib.admin import AdminSite
from django.http import HttpRequest
from django.urls import reverse

APP = "ai_migration"
ORDER = (
    "Dashboard",
    "MigrationJob",
    "EntityFailure",
    "SearchableEntity",
    "Collection",
    "QueueEntry",
    "RateLimitState",
)
"""What an operator looks at first stands first, internals last."""


def put_in_order(site: AdminSite) -> None:
    """List our pages in this order, and let the app's name lead to the dashboard. Sites that make
    their own list keep it.

    Args:
        site: A site our pages are registered with.
    """
    if type(site).get_app_list is not AdminSite.get_app_list or "get_app_list" in vars(site):
        return
    listed = site.get_app_list

    @wraps(listed)
    def get_app_list(request: HttpRequest, app_label: str | None = None) -> list[Any]:
        apps = listed(request, app_label)
        for app in apps:
            if app["app_label"] == APP:
                app["models"].sort(key=_rank)
                dashboard = f"admin:{APP}_dashboard_changelist"
                app["app_url"] = reverse(dashboard, current_app=site.name)
        return apps

    site.get_app_list = get_app_list  # type: ignore[method-assign]


def _rank(listed: dict[str, Any]) -> int:
    name = listed["object_name"]
    return ORDER.index(name) if name in ORDER else len(ORDER)
