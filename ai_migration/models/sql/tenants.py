"""Tenants that have a PostgreSQL schema each, as with django-tenants.

Its connections know their schema, and its settings list the apps that have tables in each tenant's
schema. If ours is one of them, each tenant has its own queue, jobs and index, and a worker works
for one tenant.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

from django.apps import apps
from django.conf import settings
from django.db import connections

from ai_migration.exceptions import TenantError

_OUR_TABLE = "ai_collections"
_SCHEMA_OF = (
    "SELECT nspname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace "
    "WHERE pg_class.oid = to_regclass(%s)"
)


def schema_of(using: str) -> str | None:
    """Return the schema a connection is in; None: its backend has no tenants."""
    schema: str | None = getattr(connections[using], "schema_name", None)
    return schema


def is_per_tenant(app_label: str) -> bool:
    """Return whether each tenant has its own tables of an app."""
    app = apps.get_app_config(app_label)
    names = {app.name, f"{type(app).__module__}.{type(app).__name__}"}
    return any(not names.isdisjoint(listed) for listed in _apps_of_tenants())


def collection_scope(using: str) -> str:
    """Return what distinguishes a tenant's collections from those of other tenants, which have the
    same ids, in a store they share; empty: there are no other tenants."""
    schema = schema_of(using)
    if schema is None or schema == _public() or not is_per_tenant("ai_migration"):
        return ""
    return blake2b(schema.encode(), digest_size=4).hexdigest()


def require_own_schema(using: str) -> None:
    """Refuse to work in a schema without our tables: the search path would decide which tenant's
    rows are read, and into whose index they go.

    Raises:
        TenantError: They are in another schema, or missing.
    """
    schema = schema_of(using)
    if schema is None:
        return
    with connections[using].cursor() as cursor:
        cursor.execute(_SCHEMA_OF, [_OUR_TABLE])
        row = cursor.fetchone()
    if row is None:
        raise TenantError(
            f"The schema {schema!r} has no tables of ai_migration. If it is in TENANT_APPS, "
            f"work for one tenant, for example with: manage.py tenant_command ai_migration worker "
            f"--schema=NAME. Otherwise run: manage.py migrate_schemas"
        )
    if row[0] != schema:
        raise TenantError(
            f"The connection is in the schema {schema!r}, and the tables of ai_migration are in "
            f"{row[0]!r}. Work in that schema, or add ai_migration to TENANT_APPS and run: "
            f"manage.py migrate_schemas"
        )


def choose(using: str, schema: str | None) -> None:
    """Work for the tenant with that schema from now on, in this thread.

    Args:
        using: Database alias.
        schema: The schema, as :func:`schema_of` returned it elsewhere.
    """
    if schema in (None, _public()):
        return
    tenants: Any = apps.get_model(settings.TENANT_MODEL)  # type: ignore[misc]
    tenant = tenants.objects.using(using).get(schema_name=schema)
    connections[using].set_tenant(tenant)  # type: ignore[attr-defined]


def _apps_of_tenants() -> Iterator[Any]:
    types: dict[str, Any] = getattr(settings, "TENANT_TYPES", {})
    yield from (each["APPS"] for name, each in types.items() if name != _public())
    yield getattr(settings, "TENANT_APPS", ())


def _public() -> str:
    return str(getattr(settings, "PUBLIC_SCHEMA_NAME", "public"))
