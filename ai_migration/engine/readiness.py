"""Requirements of a worker: the schema of our tables, and enough connections."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from django.apps import apps
from django.db import connections, router

from ai_migration.conf import get_settings
from ai_migration.entities import registry
from ai_migration.exceptions import AIMigrationError, SettingsError
from ai_migration.models.leases import our_database
from ai_migration.models.sql.apart import CONNECTIONS, pool_size
from ai_migration.models.sql.tenants import require_own_schema
from ai_migration.stores import stores


def require_ready() -> None:
    """Refuse to work where work would fail or hang.

    Raises:
        TenantError: The connection is in a schema that our tables are not in.
        SettingsError: A pool gives fewer connections than a worker needs.
    """
    require_own_schema(our_database())
    for problem in small_pools().values():
        raise SettingsError(
            f"{problem} Raise DATABASES[...]['OPTIONS']['pool']['max_size'], or remove 'pool'."
        )


def small_pools() -> dict[str, str]:
    """Return, by alias, the problem of each database whose pool is too small for a worker."""
    aliases = {alias for alias in _aliases() if alias in connections}  # others fail a check
    sizes = {alias: pool_size(alias) for alias in sorted(aliases)}
    return {
        alias: f"The pool of the database {alias!r} gives {size} connections at most, and a "
        f"worker needs {CONNECTIONS} at once: to work, to read ahead, and to build an index."
        for alias, size in sizes.items()
        if size is not None and size < CONNECTIONS
    }


def _aliases() -> Iterator[str]:
    """The databases a worker connects to."""
    yield our_database()
    with suppress(AIMigrationError):  # reported by the checks
        for definition in registry.discover().definitions.values():
            with suppress(LookupError, ValueError):
                if definition.using:
                    yield definition.using
                elif definition.model:
                    yield router.db_for_write(apps.get_model(definition.model))
    for name in get_settings().STORES:
        with suppress(Exception):  # a custom class can raise anything
            if alias := getattr(stores[name], "using", None):
                yield alias
