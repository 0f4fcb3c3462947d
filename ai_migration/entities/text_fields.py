"""What the fields of a text are: the head of its chunks, and HTML."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import takewhile

from ai_migration.entities.config.definitions import EntityDefinition
from ai_migration.entities.fields import ResolvedField, holds_html, is_long, is_short
from ai_migration.entities.markup import require_library
from ai_migration.entities.templates import TextTemplate
from ai_migration.exceptions import EntityConfigError, MissingDependencyError


def context_of(
    definition: EntityDefinition,
    text_fields: Sequence[ResolvedField],
    resolve: Callable[[list[str]], Iterable[ResolvedField]],
) -> Iterator[tuple[ResolvedField, str]]:
    """Yield the fields that head every chunk, each with its label: those of the config, else the
    short fields before the first long one.

    Args:
        definition: The config.
        text_fields: The fields of the text.
        resolve: Returns the fields of names; none for a wrong name.
    """
    declared = definition.chunking.context
    labels = {field.name: field.words for field in definition.text_fields}
    for field in declared or ():
        words = field.label or labels.get(field.name) or field.words
        for resolved in resolve([field.name]):
            yield resolved, words
    if declared is None and not definition.template:
        for resolved in takewhile(lambda field: not is_long(field), text_fields):
            if is_short(resolved):
                yield resolved, labels[resolved.name]


def html_fields(
    definition: EntityDefinition, fields: Iterable[ResolvedField]
) -> frozenset[ResolvedField]:
    """Return the fields whose values are HTML: the config says so, else their class."""
    declared = [*(definition.chunking.context or ()), *definition.text_fields]
    says = {field.name: field.html for field in declared if field.html is not None}
    return frozenset(field for field in fields if says.get(field.name, holds_html(field)))


def require_html_library(
    definition: EntityDefinition,
    html: Collection[ResolvedField],
    template: TextTemplate | None,
) -> None:
    """Refuse HTML where the library that turns it to text is missing.

    Raises:
        EntityConfigError: It is; names the fields and the extra.
    """
    if not html and (template is None or not template.takes_html):
        return
    names = ", ".join(sorted(field.name for field in html))
    what = f"the HTML of {names}" if names else "'html_text' in its template"
    try:
        require_library(f"Entity type {definition.entity_type!r} ({definition.source}): {what}")
    except MissingDependencyError as error:
        words = f"{error.message}, or set 'html: false' to embed it as it is"
        raise EntityConfigError(words) from None
