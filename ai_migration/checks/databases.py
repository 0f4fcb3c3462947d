"""Checks of the database of our tables, of querysets, and of indexes with another config."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from django.core.checks import CheckMessage
from django.db import Error, connections, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from ai_migration.checks import codes
from ai_migration.checks.entities import fault_messages
from ai_migration.checks.settings import OBJECT, settings_are_valid
from ai_migration.conf import get_settings
from ai_migration.dispatch import get_dispatcher
from ai_migration.engine.readiness import small_pools
from ai_migration.entities import registry
from ai_migration.entities.config.definitions import EntityDefinition
from ai_migration.entities.entity import Entity
from ai_migration.entities.resolving import examine_entity
from ai_migration.exceptions import AIMigrationError, EntityConfigError
from ai_migration.indexing.targets import rebuild_reason, searches_meanwhile, unusable
from ai_migration.jobs.feed.collections import ConfigChange, config_change
from ai_migration.models import Collection
from ai_migration.models.leases import our_database
from ai_migration.models.sql.dialects import dialect, dialect_of
from ai_migration.models.sql.tenants import is_per_tenant, schema_of
from ai_migration.types import CollectionStatus


def check_databases(app_configs: object = None, **kwargs: Any) -> list[CheckMessage]:
    """Check the database of our tables, as far as possible without a query."""
    connection = connections[our_database()]
    return [
        *_check_driver(connection),
        *_check_writers(connection),
        *_check_pools(),
        *_check_dispatcher(connection.alias),
    ]


def check_indexes(
    app_configs: object = None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Check that querysets give rows with the configured fields, and that indexes were built with
    the present config."""
    using = our_database()
    if using not in (databases or ()) or not settings_are_valid():
        return []
    try:
        definitions = registry.discover().definitions.values()
    except EntityConfigError:
        return []  # reported by check_entities
    examined = [examine_entity(item) for item in definitions if item.model]
    entities = [item for item in examined if isinstance(item, Entity)]
    messages = [
        message
        for entity in entities
        for found in (_check_rows(entity.definition), _check_replica(entity))
        for message in found
    ]
    if get_settings().ON_CONFIG_CHANGE != "ignore":
        messages += _check_collections({entity.name: entity for entity in entities}, using)
    return messages


def _check_driver(connection: BaseDatabaseWrapper) -> Iterator[CheckMessage]:
    if driver := dialect_of(connection).refused_driver():
        text = (
            f"The database {connection.alias!r} is used through {driver}; ai_migration "
            f"needs psycopg 3."
        )
        yield codes.PSYCOPG.message(text, obj=f"DATABASES[{connection.alias!r}]")


def _check_writers(connection: BaseDatabaseWrapper) -> Iterator[CheckMessage]:
    if lacks := dialect_of(connection).lacks_for_writers():
        text = (
            f"The SQLite database {connection.alias!r} is used without {' and '.join(lacks)}: "
            f"a worker and a web server that write at once lock each other out."
        )
        yield codes.SQLITE.message(text, obj=f"DATABASES[{connection.alias!r}]")


def _check_pools() -> Iterator[CheckMessage]:
    if settings_are_valid():
        for alias, problem in small_pools().items():
            yield codes.POOL.message(problem, obj=f"DATABASES[{alias!r}]")


def _check_dispatcher(using: str) -> Iterator[CheckMessage]:
    if not settings_are_valid() or schema_of(using) is None or not is_per_tenant("ai_migration"):
        return
    with suppress(AIMigrationError):  # reported by check_settings
        if get_dispatcher().supports_messages:
            text = (
                "Every tenant has its own workers, and the messages of "
                f"{get_settings().DISPATCHER} do not name the tenant."
            )
            yield codes.TENANTS_CLUSTER.message(text, obj=OBJECT)


def _check_rows(definition: EntityDefinition) -> Iterator[CheckMessage]:
    try:
        found = examine_entity(definition, calls_queryset=True)
    except Error:  # no connection, or no tables yet: Django reports it
        return
    except AIMigrationError as error:
        yield codes.ENTITY_QUERYSET.message(error.message, obj=definition.source)
    else:
        if isinstance(found, list):
            yield from fault_messages(found, definition)


def _check_replica(entity: Entity) -> Iterator[CheckMessage]:
    """Report entity types that are read from a replica whose lag cannot be measured."""
    try:
        using = entity.rows().db
        is_known = using == router.db_for_write(entity.model) or entity.primary is not None
        if is_known or not dialect(using).is_standby():
            return
    except (Error, AIMigrationError):
        return
    text = (
        f"Entity type {entity.name!r} is read from the replica {using!r}, and how far that is "
        f"behind its primary cannot be told: changes of the last seconds may be missed."
    )
    yield codes.REPLICA.message(text, obj=entity.definition.source)


def _check_collections(entities: dict[str, Entity], using: str) -> Iterator[CheckMessage]:
    try:
        with transaction.atomic(using=using):  # after a failure the caller's is still usable
            collections = list(
                Collection.objects.using(using)
                .filter(status=CollectionStatus.ACTIVE, entity_type__in=entities)
                .order_by("entity_type")
            )
    except Error:  # no connection, or no tables yet: Django reports it
        return
    for collection in collections:
        entity = entities[collection.entity_type]
        try:
            change = config_change(collection, entity)
        except Exception:
            continue  # the embedder cannot be made: reported by check_backends
        where = f"The index of {entity.name!r}"
        command = f"manage.py migrate_ai_entities {entity.name}"
        if change is ConfigChange.EMBEDDER:
            text = unusable(collection, rebuild_reason(collection, entity))
            hint = f"Run: {command} --rebuild. Until it is done, {searches_meanwhile(collection)}."
            yield codes.OTHER_EMBEDDER.message(text, hint=hint, obj=entity.definition.source)
        elif change in (ConfigChange.TEXT, ConfigChange.METADATA):
            text = f"{where} was built with another config: {change.value}."
            hint = f"Run: {command}. Unchanged texts are not embedded again."
            yield codes.OTHER_CONFIG.message(text, hint=hint, obj=entity.definition.source)
