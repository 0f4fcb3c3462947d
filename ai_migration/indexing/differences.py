"""What a verify finds: the differences between source, ledger and store, by their kind."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from django.db.models import TextChoices
from django.utils.translation import gettext_lazy as _

from ai_migration.models.sql.ledger import KnownEntity


class Difference(TextChoices):
    """The kinds of differences. An entity is counted once, by the first that applies; only what is
    not in the ledger can be missing as well."""

    MISSING = "missing", _("rows that are not in the index")
    STALE = "stale", _("entities whose text or payload differs from what was indexed")
    ORPHANED = "orphaned", _("entities whose row is gone or not selected any more")
    LEDGER_WITHOUT_VECTOR = "ledger_without_vector", _("entities without a vector in the store")
    VECTOR_WITHOUT_LEDGER = "vector_without_ledger", _("vectors that the ledger does not know")
    WRONG_DIMENSIONS = "wrong_dimensions", _("entities with a vector of other dimensions")
    WRONG_CHUNKS = "wrong_chunks", _("entities with too few, too many or double chunks")
    WRONG_VECTORS = "wrong_vectors", _("entities with other vectors than were written")


@dataclass
class Compared:
    """The result of comparing one part of source, ledger or store.

    Attributes:
        source_rows: Source rows that were read.
        ledger_rows: Entities of the ledger that were compared.
        vectors: Vectors of the store that were walked.
        pending: Entities that differ because a change of them is under way.
        failed: Rows that differ and are listed as failed.
        found: The entities that differ; one for each vector that the ledger does not know.
        known: Their ledger rows.
        following: Where the walk of the store goes on; None: nowhere.
    """

    source_rows: int = 0
    ledger_rows: int = 0
    vectors: int = 0
    pending: int = 0
    failed: list[str] = field(default_factory=list)
    found: dict[Difference, list[str]] = field(default_factory=lambda: defaultdict(list))
    known: dict[str, KnownEntity] = field(default_factory=dict)
    following: object = None

    @property
    def seen(self) -> int:
        """The number of rows, entities and vectors that were looked at."""
        return self.source_rows + self.ledger_rows + self.vectors

    def ids_of(self, kinds: Iterable[Difference]) -> list[str]:
        """Return the entities with differences of some kinds, each once."""
        return list(dict.fromkeys(each for kind in kinds for each in self.found.get(kind, ())))
