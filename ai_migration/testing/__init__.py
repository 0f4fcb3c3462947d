"""Contract suites for embedders, vector stores and dispatchers, to run against your own backend.

In a pytest module of your project::

    from ai_migration.testing import VectorStoreContract

    class TestMyStore(VectorStoreContract):
        @pytest.fixture
        def store(self):
            return MyStore(url="http://localhost:6333")

Needs pytest; a store that lives in a Django database also needs database access for its
tests, with real transactions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ai_migration.testing.dispatchers import DispatcherContract
    from ai_migration.testing.embedders import EmbedderContract
    from ai_migration.testing.remote import RemoteEmbedderContract
    from ai_migration.testing.stores import VectorStoreContract

__all__ = [
    "DispatcherContract",
    "EmbedderContract",
    "RemoteEmbedderContract",
    "VectorStoreContract",
]


def __getattr__(name: str) -> Any:
    # Late, because the suites import pytest.
    if name == "DispatcherContract":
        from ai_migration.testing.dispatchers import DispatcherContract

        return DispatcherContract
    if name == "EmbedderContract":
        from ai_migration.testing.embedders import EmbedderContract

        return EmbedderContract
    if name == "RemoteEmbedderContract":
        from ai_migration.testing.remote import RemoteEmbedderContract

        return RemoteEmbedderContract
    if name == "VectorStoreContract":
        from ai_migration.testing.stores import VectorStoreContract

        return VectorStoreContract
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
