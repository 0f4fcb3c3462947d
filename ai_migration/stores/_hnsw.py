"""Building the HNSW index of a pgvector table, beside its writers."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ai_migration.types import CollectionRef, Metric

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

logger = logging.getLogger(__name__)

MAX_DIMENSIONS = 2000
"""What HNSW takes of the type ``vector``."""

_OPERATORS = {
    Metric.COSINE: "vector_cosine_ops",
    Metric.INNER_PRODUCT: "vector_ip_ops",
    Metric.L2: "vector_l2_ops",
}


@dataclass(frozen=True)
class IndexOptions:
    """How the index is built; see :class:`~ai_migration.stores.pgvector.PgVectorStore`."""

    metric: Metric
    m: int
    ef_construction: int
    maintenance_work_mem: str | None
    workers: int | None

    def name(self, collection: CollectionRef) -> str:
        """The index of this collection and metric."""
        return f"{collection.name}_hnsw_{self.metric}"


def build(
    connection: BaseDatabaseWrapper, collection: CollectionRef, options: IndexOptions
) -> None:
    """Create the index, unless it is there or somebody is creating it.

    Outside a transaction the table stays writable meanwhile; inside one it does not.

    Raises:
        django.db.Error: What the database answered.
    """
    from ai_migration.models.sql.raw import execute_raw

    name = options.name(collection)
    if _is_there(connection, collection, name):
        return
    concurrently = "" if connection.in_atomic_block else "CONCURRENTLY "
    settings = {
        "maintenance_work_mem": options.maintenance_work_mem,
        "max_parallel_maintenance_workers": options.workers,
    }
    changed = {setting: str(value) for setting, value in settings.items() if value is not None}
    local = connection.in_atomic_block
    try:
        for setting, value in changed.items():
            execute_raw(
                connection,
                "SELECT set_config($1::text, $2::text, $3::bool)",
                (setting, value, local),
            )
        execute_raw(
            connection,
            f"CREATE INDEX {concurrently}IF NOT EXISTS {name} ON {collection.name} "
            f"USING hnsw (embedding {_OPERATORS[options.metric]}) "
            f"WITH (m = {int(options.m)}, ef_construction = {int(options.ef_construction)})",
        )
    finally:
        if not local and connection.connection is not None and connection.is_usable():
            for setting in changed:
                execute_raw(connection, f"RESET {setting}")


def _is_there(connection: BaseDatabaseWrapper, collection: CollectionRef, name: str) -> bool:
    """Whether the index is there or being built; removes what a killed build left."""
    from ai_migration.models.sql.raw import execute_raw

    row = execute_raw(
        connection,
        "SELECT indisvalid, EXISTS (SELECT 1 FROM pg_stat_progress_create_index "
        "WHERE relid = to_regclass($1::text)) "
        "FROM pg_index WHERE indexrelid = to_regclass($2::text)",
        (collection.name, name),
    ).fetchone()
    if row is None:
        return False
    is_valid, is_being_built = row
    if is_valid or is_being_built:
        return True
    logger.warning("%s: dropping the index %s, which is incomplete", collection.name, name)
    execute_raw(connection, f"DROP INDEX IF EXISTS {name}")
    return False
