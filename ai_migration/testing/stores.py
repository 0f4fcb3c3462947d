"""The contract of every vector store."""

from __future__ import annotations

from django.core.checks import CheckMessage

from ai_migration.stores.base import VectorStore
from ai_migration.testing.store_lookups import LookingUp
from ai_migration.testing.store_reads import Scrolling, Searching
from ai_migration.testing.store_refusals import Crowds, Faults, Refusals
from ai_migration.testing.store_suite import batch_of, unit_vectors
from ai_migration.testing.store_writes import Collections, Removals, Writes

__all__ = ["VectorStoreContract", "batch_of", "unit_vectors"]


class VectorStoreContract(
    Collections, Writes, Removals, Refusals, Faults, Crowds, Scrolling, LookingUp, Searching
):
    """Subclass it and define a fixture ``store`` that returns your store; then override three
    methods for what the suite cannot know. Without them their tests are skipped.

    Attributes:
        tolerance: The largest error of a stored element and of a score.
        min_recall: Share of the exact nearest vectors a search finds at least.
    """

    def test_check_lists_messages(self, store: VectorStore) -> None:
        messages = [*store.check(), *store.check_server()]
        assert all(isinstance(message, CheckMessage) and message.id for message in messages)
        assert not any(message.is_serious() for message in messages)
