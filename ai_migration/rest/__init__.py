"""The REST API: parse, call the service, translate the answer.

Include :mod:`ai_migration.rest.urls` in a project's urls. Nothing has to be set for it in
``REST_FRAMEWORK``: the views bring their own classes, and take authentication and throttle
rates from there.
"""

from __future__ import annotations

from importlib.util import find_spec

from ai_migration.exceptions import MissingDependencyError

for _library in (
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "drf_standardized_errors",
):
    if find_spec(_library) is None:
        raise MissingDependencyError(_library, "rest", "The REST API (ai_migration.rest)")
