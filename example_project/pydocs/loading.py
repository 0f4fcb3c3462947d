"""Load what :mod:`pydocs.introspect` reads into the table."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass

from django.db import transaction
from django.utils import timezone

from ai_migration.words import counted
from pydocs.introspect import Doc, read_docs
from pydocs.models import DocEntry

BATCH_SIZE = 1000
FIELDS = ("title", "module", "kind", "signature", "summary", "docstring", "package")
MAX_NAME = 255


@dataclass(frozen=True)
class Loaded:
    """Result of loading one package."""

    package: str
    total: int
    created: int
    updated: int
    removed: int

    @property
    def changed(self) -> bool:
        """True if the table differs from before."""
        return bool(self.created or self.updated or self.removed)

    def __str__(self) -> str:
        if not self.changed:
            return f"{self.package}: {counted(self.total, 'entry')}, nothing changed"
        changes = {"new": self.created, "changed": self.updated, "removed": self.removed}
        listed = ", ".join(f"{count:,} {what}" for what, count in changes.items() if count)
        return f"{self.package}: {counted(self.total, 'entry')} ({listed})"


def load_package(package: str) -> Loaded:
    """Make the table's rows of one package equal its documentation.

    Unchanged rows are not written. An entry that belongs to another package stays there.

    Args:
        package: An import name, or ``pydocs.introspect.STANDARD_LIBRARY``.

    Raises:
        UnknownPackageError: The package is not installed.
        UnreadablePackageError: It could not be imported, or documents nothing.
    """
    wanted = {
        doc.qualified_name: _values(doc)
        for doc in read_docs(package)
        if len(doc.qualified_name) <= MAX_NAME
    }
    with transaction.atomic():
        stored = DocEntry.objects.filter(package=package).in_bulk(field_name="qualified_name")
        created, updated = [], []
        elsewhere = set(
            DocEntry.objects.exclude(package=package).values_list("qualified_name", flat=True)
        )
        for name, values in wanted.items():
            entry = stored.get(name)
            if entry is None:
                if name not in elsewhere:
                    created.append(DocEntry(qualified_name=name, **values))
            elif any(getattr(entry, field) != value for field, value in values.items()):
                entry.updated_at = timezone.now()
                for field, value in values.items():
                    setattr(entry, field, value)
                updated.append(entry)
        gone = [entry.pk for name, entry in stored.items() if name not in wanted]
        DocEntry.objects.bulk_create(created, batch_size=BATCH_SIZE)
        DocEntry.objects.bulk_update(updated, [*FIELDS, "updated_at"], batch_size=BATCH_SIZE // 10)
        for start in range(0, len(gone), BATCH_SIZE):
            DocEntry.objects.filter(pk__in=gone[start : start + BATCH_SIZE]).delete()
    return Loaded(package, len(wanted), len(created), len(updated), len(gone))


def in_words(qualified_name: str) -> str:
    """Return ``zipfile.ZipFile.extract_all`` as ``zipfile Zip File extract all``, which an
    embedding model understands better."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", qualified_name)
    return " ".join(re.split(r"[._\s]+", spaced)).strip()


def _values(doc: Doc) -> dict[str, str]:
    values = asdict(doc)
    name = values.pop("qualified_name")
    return values | {"title": in_words(name)[:MAX_NAME]}
