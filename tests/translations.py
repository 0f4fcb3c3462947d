"""The words that users read, and their translations.

``python -m tests.translations`` brings each catalogue up to date with the code: new messages are
added without a translation, those that changed a little get the old one and are marked fuzzy.
Neither GNU gettext nor Django's ``makemessages`` is needed.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from babel.messages import Catalog
from babel.messages.extract import extract
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from django.utils.translation.template import templatize

PACKAGE = Path(__file__).parent.parent / "ai_migration"
LOCALE = PACKAGE / "locale"
KEYWORDS = {
    "_": None,
    "gettext": None,
    "gettext_lazy": None,
    "gettext_noop": None,
    "ngettext": (1, 2),
    "ngettext_lazy": (1, 2),
    "pgettext": ((1, "c"), 2),
    "pgettext_lazy": ((1, "c"), 2),
    "npgettext": ((1, "c"), 2, 3),
}
HEADER = "# Translations of django-ai-migration.\n#"


def catalogues() -> list[Path]:
    """Return the catalogue of each language."""
    return sorted(LOCALE.glob("*/LC_MESSAGES/django.po"))


def read(path: Path) -> Catalog:
    """Return a catalogue."""
    with path.open("rb") as file:
        return read_po(file, locale=path.parts[-3], domain="django")


def compiled(catalogue: Catalog) -> bytes:
    """Return what Django reads of a catalogue: the content of ``django.mo``."""
    file = BytesIO()
    write_mo(file, catalogue)
    return file.getvalue()


def messages() -> Catalog:
    """Return all messages of the package's modules and templates."""
    found = Catalog(domain="django", charset="utf-8", header_comment=HEADER)
    for path in sorted([*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.html")]):
        source = path.read_text(encoding="utf-8")
        if path.suffix == ".html":
            # In brackets, where Python ignores how lines are indented.
            source = f"({templatize(source)})"
        where = path.relative_to(PACKAGE.parent).as_posix()
        for _, message, comments, context in extract(
            "python", BytesIO(source.encode()), KEYWORDS, ["Translators:"]
        ):
            # Without line numbers, which would change with every commit.
            found.add(message, locations=[(where, 0)], auto_comments=comments, context=context)
    return found


def update() -> None:
    """Bring all catalogues up to date, and compile them."""
    for path in catalogues():
        catalogue = read(path)
        catalogue.update(messages(), update_header_comment=True)
        catalogue.obsolete.clear()
        with path.open("wb") as file:
            write_po(file, catalogue, width=100, sort_output=True, omit_header=False)
        path.with_suffix(".mo").write_bytes(compiled(read(path)))
        empty = sum(1 for each in catalogue if each.id and (each.fuzzy or not each.string))
        print(f"{path}: {len(catalogue)} messages, {empty} to translate")  # noqa: T201


if __name__ == "__main__":
    update()
