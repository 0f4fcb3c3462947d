"""The indexes of a pgvector table: built beside its writers, and searched."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import isqrt
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from ai_migration.stores.pgvector.precision import Precision
from ai_migration.types import Metric

if TYPE_CHECKING:
    from ai_migration.stores.pgvector.table import PgVectorTable

logger = logging.getLogger(__name__)

_OPERATORS = {Metric.COSINE: "cosine_ops", Metric.INNER_PRODUCT: "ip_ops", Metric.L2: "l2_ops"}
_METADATA = "metadata"
CANDIDATES = 100
"""Candidates of a search for ten, at least: with fewer it misses too many of the nearest."""
_MAX_EF_SEARCH = 1000
"""pgvector's maximum."""


@dataclass(frozen=True)
class HnswIndex:
    """A graph. It can be built at any time; vectors written later are added to it."""

    m: int
    ef_construction: int
    ef_search: int
    method: ClassVar[str] = "hnsw"

    def parameters(self, table: PgVectorTable) -> dict[str, int] | None:
        """Return its parameters on this table; None: it cannot be built yet."""
        return {"m": self.m, "ef_construction": self.ef_construction}

    def suffix(self, parameters: Mapping[str, int]) -> str:
        """Return the part of its name that depends on the parameters."""
        return ""

    def is_met_by(self, found: Mapping[str, int], wanted: Mapping[str, int]) -> bool:
        """Return whether an index with these parameters may stay."""
        return True

    def candidates(self, limit: int) -> int:
        """Return the number of candidates of a search for ``limit`` vectors."""
        return max(self.ef_search, 2 * limit)

    def prepare_search(self, table: PgVectorTable, limit: int) -> None:
        """Set the number of candidates until the transaction ends, and continue a scan while it has
        found too few. The order is relaxed: the strict one discards what is found late and is
        nearer than what was found before."""
        table.execute(
            "SELECT set_config('hnsw.ef_search', $1::text, true), "
            "set_config('hnsw.iterative_scan', 'relaxed_order', true)",
            str(min(_MAX_EF_SEARCH, self.candidates(limit))),
        )


@dataclass(frozen=True)
class IvfflatIndex:
    """Lists of vectors around centres, which are computed from the vectors present when it is
    built."""

    lists: int | None
    probes: int | None
    method: ClassVar[str] = "ivfflat"

    def parameters(self, table: PgVectorTable) -> dict[str, int] | None:
        """Return its parameters on this table; None: it cannot be built yet, as there is no
        vector."""
        rows = table.count()
        return {"lists": self.lists or default_lists(rows)} if rows else None

    def suffix(self, parameters: Mapping[str, int]) -> str:
        """Return the part of its name that depends on the lists: two indexes may exist at once."""
        return f"_{parameters['lists']}"

    def is_met_by(self, found: Mapping[str, int], wanted: Mapping[str, int]) -> bool:
        """Return whether it has as many lists as asked for; by default, within a factor of two."""
        if self.lists:
            return found["lists"] == wanted["lists"]
        return wanted["lists"] <= 2 * found["lists"] <= 4 * wanted["lists"]

    def candidates(self, limit: int) -> int:
        """Return the number of candidates of a search for ``limit`` vectors."""
        return max(CANDIDATES, 2 * limit)

    def prepare_search(self, table: PgVectorTable, limit: int) -> None:
        """Set the number of lists to search until the transaction ends, by default the root of
        their number, and continue a scan while it has found too few."""
        table.execute(
            "SELECT set_config('ivfflat.iterative_scan', 'relaxed_order', true), "
            "set_config('ivfflat.probes', "
            "coalesce($2::int, ceil(sqrt(max(option_value::int))), 1)::int::text, true) "
            "FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid, "
            "pg_options_to_table(reloptions) "
            "WHERE indrelid = to_regclass($1::text) AND option_name = 'lists'",
            table.name,
            self.probes,
        )


Index = HnswIndex | IvfflatIndex


def default_lists(rows: int) -> int:
    """Return the number of lists that pgvector recommends
    (https://github.com/pgvector/pgvector#ivfflat)."""
    return max(1, rows // 1000 if rows <= 1_000_000 else isqrt(rows))


@dataclass(frozen=True)
class BuildOptions:
    """The options for building an index; see
    :class:`~ai_migration.stores.pgvector.PgVectorStore`."""

    metric: Metric
    maintenance_work_mem: str | None
    workers: int | None

    @property
    def server_settings(self) -> dict[str, str]:
        """The server's settings during the build."""
        values = {
            "maintenance_work_mem": self.maintenance_work_mem,
            "max_parallel_maintenance_workers": self.workers,
        }
        return {name: str(value) for name, value in values.items() if value is not None}


class _Found(NamedTuple):
    """An existing index of ours."""

    name: str
    is_valid: bool
    is_being_built: bool
    parameters: dict[str, int]


def build_indexes(
    table: PgVectorTable, precision: Precision, index: Index | None, options: BuildOptions
) -> None:
    """Create the index of the vectors, and one of the payloads if there are any, unless they exist
    or are being created; then drop others of ours.

    Outside a transaction the table stays writable meanwhile; inside one it does not.

    Raises:
        django.db.Error: The database's error.
    """
    found = []
    for each in _indexes(table):
        if each.is_valid or each.is_being_built:
            found.append(each)
        else:
            logger.warning("%s: dropping the index %s, which is incomplete", table.name, each.name)
            _drop(table, each)
    wanted = {}
    if index is not None and (parameters := index.parameters(table)):
        prefix = f"{table.name}_{index.method}_{options.metric}"
        fitting = (
            each.name
            for each in found
            if each.name.startswith(prefix) and index.is_met_by(each.parameters, parameters)
        )
        storage = ", ".join(f"{name} = {int(value)}" for name, value in parameters.items())
        wanted[next(fitting, prefix + index.suffix(parameters))] = (
            f"{index.method} (embedding {table.type_of(precision)}_{_OPERATORS[options.metric]}) "
            f"WITH ({storage})"
        )
    if table.has_metadata():
        wanted[f"{table.name}_{_METADATA}"] = "gin (metadata jsonb_path_ops)"
    for name in wanted.keys() - {each.name for each in found}:
        with _server_settings(table, options):
            table.execute(
                f"CREATE INDEX {_concurrently(table)}IF NOT EXISTS {name} ON {table.name} "
                f"USING {wanted[name]}"
            )
    for each in found:
        if each.name not in wanted and not each.is_being_built:
            logger.info("%s: dropping the index %s, no longer asked for", table.name, each.name)
            _drop(table, each)


@contextmanager
def _server_settings(table: PgVectorTable, options: BuildOptions) -> Iterator[None]:
    """Apply the options' server settings within the block, or until the transaction ends."""
    connection, settings = table.connection, options.server_settings
    local = connection.in_atomic_block
    if settings and not local and not table.is_own_session():
        # The next statement may run in another session, and this one may serve another client.
        logger.warning(
            "%s: the connection goes through a pooler, so the index is built without %s",
            table.name,
            " and ".join(settings),
        )
        settings = {}
    try:
        for name, value in settings.items():
            table.execute("SELECT set_config($1::text, $2::text, $3::bool)", name, value, local)
        yield
    finally:
        if not local and connection.connection is not None and connection.is_usable():
            for name in settings:
                table.execute(f"RESET {name}")


def _drop(table: PgVectorTable, index: _Found) -> None:
    table.execute(f"DROP INDEX {_concurrently(table)}IF EXISTS {index.name}")


def _concurrently(table: PgVectorTable) -> str:
    return "" if table.connection.in_atomic_block else "CONCURRENTLY "


def _indexes(table: PgVectorTable) -> list[_Found]:
    """Return the indexes that :func:`build_indexes` made, by their names: others are not ours."""
    rows = table.execute(
        "SELECT relname, indisvalid, EXISTS (SELECT 1 FROM pg_stat_progress_create_index "
        "WHERE index_relid = indexrelid), reloptions "
        "FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid "
        "WHERE indrelid = to_regclass($1::text) AND relname ~ $2::text",
        table.name,
        f"^{table.name}_({HnswIndex.method}_|{IvfflatIndex.method}_|{_METADATA}$)",
    )
    return [
        _Found(name, is_valid, is_being_built, _parameters(storage or ()))
        for name, is_valid, is_being_built, storage in rows
    ]


def _parameters(storage: Iterable[str]) -> dict[str, int]:
    return {name: int(value) for name, value in (each.split("=") for each in storage)}
