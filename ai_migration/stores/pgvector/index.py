"""The indexes of a pgvector table: built beside its writers, and searched."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from django.db import Error

from ai_migration.stores.pgvector.building import (
    BuildOptions,
    BuildSettings,
    applied,
    is_short_of_memory,
)
from ai_migration.stores.pgvector.faults import SAFE_IN_PARALLEL, dotted
from ai_migration.stores.pgvector.precision import Precision
from ai_migration.types import IndexBuild, Metric

if TYPE_CHECKING:
    from ai_migration.stores.pgvector.table import PgVectorTable

logger = logging.getLogger(__name__)

_OPERATORS = {Metric.COSINE: "cosine_ops", Metric.INNER_PRODUCT: "ip_ops", Metric.L2: "l2_ops"}
_METADATA = "metadata"
CANDIDATES = 100
"""Candidates of a search for ten, at least: with fewer it misses too many of the nearest."""
_MAX_EF_SEARCH = 1000
"""pgvector's maximum."""
_NODE, _LINK = 160, 16
"""Bytes of a node of pgvector's graph without its vector, and of a link."""
_SAMPLE, _SMALLEST_SAMPLE = 50, 10_000
"""Vectors that pgvector takes for each list to compute the centres, and in all, at least."""
_BEFORE = ("initializing", "waiting for writers before build")
"""Phases in which PostgreSQL has not begun to build an index."""
_SPARE = 1.05
"""For vectors that are written while the index is built."""
_RESERVE = 4 << 20
"""Bytes that a parallel build leaves to other uses."""


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

    def memory(self, vectors: int, size: int, parameters: Mapping[str, int]) -> int:
        """Return the bytes that building it in memory takes: pgvector's nodes, and their links in
        the lowest layer and, of one in ``m``, in those above (``hnswutils.c``).

        Args:
            vectors: The number of vectors.
            size: The bytes of one.
            parameters: Those of :meth:`parameters`.
        """
        above = 1 / (self.m - 1)
        links = 16 + 2 * self.m * _LINK + above * (16 + self.m * _LINK)
        return int(vectors * (_NODE + links + size) * _SPARE) + _RESERVE

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

    def memory(self, vectors: int, size: int, parameters: Mapping[str, int]) -> int:
        """Return the bytes that computing the centres takes: a sample of vectors, two arrays of
        centres, and the distances between all of these (``ivfkmeans.c``); arguments as for
        :meth:`HnswIndex.memory`."""
        lists = parameters["lists"]
        sample = max(_SMALLEST_SAMPLE, _SAMPLE * lists)
        distances = 4 * lists * (sample + lists)
        return int(((sample + 3 * lists) * (size + 8) + distances) * _SPARE) + _RESERVE

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
            _drop(table, each.name)
    wanted, payloads = {}, f"{table.name}_{_METADATA}"
    parameters = index.parameters(table) if index is not None else None
    if index is not None and parameters:
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
        wanted[payloads] = "gin (metadata jsonb_path_ops)"
    for name in [name for name in wanted if name not in {each.name for each in found}]:
        attempts: Sequence[BuildSettings] = [options.explicit]
        if index is not None and parameters and name != payloads:
            attempts = _attempts(table, precision, index, parameters, options)
        _create(table, name, wanted[name], attempts)
    for each in found:
        if each.name not in wanted and not each.is_being_built:
            logger.info("%s: dropping the index %s, no longer asked for", table.name, each.name)
            _drop(table, each.name)


def lacks_index(table: PgVectorTable, metric: Metric, above: int) -> bool:
    """Return whether there are more vectors than ``above``, which an index could have, and no index
    of either kind answers searches or will when it is built."""
    column = table.column()
    if column is None or column.dimensions > column.precision.indexable:
        return False
    prefixes = tuple(f"{table.name}_{each.method}_{metric}" for each in (HnswIndex, IvfflatIndex))
    has_one = any(
        each.name.startswith(prefixes) and (each.is_valid or each.is_being_built)
        for each in _indexes(table)
    )
    return not has_one and table.has_more_than(above)


def build_progress(table: PgVectorTable) -> IndexBuild | None:
    """Return the progress of the index that is being built on the table. The server counts the
    blocks of the table in each phase anew: only those of the phase "building index" count here.
    (https://www.postgresql.org/docs/current/progress-reporting.html)"""
    rows = table.execute(
        "SELECT phase, blocks_done, blocks_total FROM pg_stat_progress_create_index "
        "WHERE relid = to_regclass($1::text) AND datname = current_database()",
        table.name,
    )
    for phase, done, total in rows:
        if phase is not None:  # another role's, which this one may not see
            return IndexBuild(_percent(phase, done, total), phase)
    return None


def _percent(phase: str, done: int, total: int) -> float:
    if phase.startswith("building index"):
        return round(100 * done / total, 1) if total else 0.0
    return 0.0 if phase in _BEFORE else 100.0


def _attempts(
    table: PgVectorTable,
    precision: Precision,
    index: Index,
    parameters: Mapping[str, int],
    options: BuildOptions,
) -> Sequence[BuildSettings]:
    """Return the settings to build the index of the vectors with, one after the other."""
    version = table.extension_version()
    is_unsafe = isinstance(index, HnswIndex) and version < SAFE_IN_PARALLEL
    if is_unsafe:
        logger.warning(
            "%s: the index is built without parallel workers, because those of pgvector %s can "
            "write beyond their memory (CVE-2026-3172). Update pgvector to 0.8.2 or later",
            table.name,
            dotted(version),
        )
    size = 8 + precision.element.itemsize * table.collection.dimensions
    needed = index.memory(table.count(), size, parameters)
    return options.attempts(table.server(), needed, is_serial=is_unsafe)


def _create(
    table: PgVectorTable, name: str, definition: str, attempts: Sequence[BuildSettings]
) -> None:
    """Create an index with the first of these settings for which the server has the memory."""
    for number, settings in enumerate(attempts, start=1):
        try:
            with applied(table, settings):
                table.execute(
                    f"CREATE INDEX {_concurrently(table)}IF NOT EXISTS {name} ON {table.name} "
                    f"USING {definition}"
                )
            return
        except Error as error:
            is_final = number == len(attempts) or table.connection.in_atomic_block
            if is_final or not is_short_of_memory(error):
                raise
            logger.warning(
                "%s: the server has too little memory to build %s with %s, trying with %s: %s",
                *(table.name, name, settings, attempts[number], error),
            )
            _drop(table, name)


def _drop(table: PgVectorTable, index: str) -> None:
    table.execute(f"DROP INDEX {_concurrently(table)}IF EXISTS {index}")


def _concurrently(table: PgVectorTable) -> str:
    return "" if table.connection.in_atomic_block else "CONCURRENTLY "


def _indexes(table: PgVectorTable) -> list[_Found]:
    """Return the indexes that :func:`build_indexes` made, by their names: others are not ours."""
    rows = table.execute(
        "SELECT relname, indisvalid, EXISTS (SELECT 1 FROM pg_stat_progress_create_index "
        "WHERE index_relid = indexrelid AND datname = current_database()), reloptions "
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
