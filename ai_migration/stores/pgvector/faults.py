"""Versions of pgvector that have faults."""

from __future__ import annotations

from django.core.checks import CheckMessage, Info, Warning

SAFE_IN_PARALLEL = (0, 8, 2)
"""The first version whose parallel HNSW builds are safe
(https://github.com/pgvector/pgvector/issues/959)."""
SAFE_TO_VACUUM = (0, 8, 4)
"""The first version whose VACUUM of an HNSW index does not fail while others write
(https://github.com/pgvector/pgvector/issues/993)."""


def check_version(version: tuple[int, ...]) -> list[CheckMessage]:
    """Return the message about the worst fault of a version; empty: of no version."""
    if not version:
        return []
    hint = (
        f"Install pgvector {dotted(SAFE_TO_VACUUM)} or later on the server, then run: "
        f"ALTER EXTENSION vector UPDATE"
    )
    if version < SAFE_IN_PARALLEL:
        text = (
            f"pgvector {dotted(version)} can leak data of other tables or crash the server when "
            f"parallel workers build an HNSW index (CVE-2026-3172). Jobs build it with one "
            f"process, which is slower."
        )
        return [Warning(text, hint=hint, id="ai_migration.W113")]
    if version < SAFE_TO_VACUUM:
        text = (
            f"VACUUM of an HNSW index can fail with pgvector {dotted(version)} "
            f'("hnsw graph not repaired") while rows are inserted and deleted.'
        )
        return [Info(text, hint=hint, id="ai_migration.I114")]
    return []


def dotted(version: tuple[int, ...]) -> str:
    """Return a version as text."""
    return ".".join(map(str, version))
