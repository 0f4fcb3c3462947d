"""Field names of a config, resolved against a model."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import partialmethod
from typing import Any

from django.core.exceptions import FieldDoesNotExist, FieldError, ObjectDoesNotExist
from django.db.models import CharField, Field, ForeignObjectRel, JSONField, Model, TextField
from django.db.models.manager import BaseManager, ManagerDescriptor
from pydantic.alias_generators import to_snake

from ai_migration.exceptions import EntityConfigError, nearest

_PLAIN_KEY = re.compile(r"\w+(-\w+)*", re.ASCII)
"""Keys of JSON that every database looks up by name, and Django takes as a column's."""
_HTML_FIELDS = frozenset(
    {
        "CKEditor5Field",  # django-ckeditor-5
        "CleansedRichTextField",  # feincms3
        "FroalaField",  # django-froala-editor
        "HTMLField",  # django-tinymce, djangocms-text
        "ProseEditorField",  # django-prose-editor
        "RedactorField",  # django-redactor-editor
        "RichTextField",  # django-ckeditor, Wagtail, Mezzanine, django-richtextfield
        "RichTextUploadingField",  # django-ckeditor
        "SummernoteTextField",  # django-summernote
    }
)
"""Names of model fields whose values are HTML. By name: none of them has to be installed."""
_SHORT = 255
"""Characters of a short text, at most."""


class FieldKind(Enum):
    """The ways to read a field's value."""

    COLUMN = "column"
    """One value a row, joined into the row's query."""
    MANY = "many"
    """Several values a row, one extra query a batch."""
    ATTRIBUTE = "attribute"
    """A property or a method: needs model instances."""


@dataclass(frozen=True)
class ResolvedField:
    """One field of a config and where its value comes from.

    Attributes:
        name: As the config writes it.
        path: As Django's queries write it, ``category__name``.
        kind: The way to read it.
        field: The model field at the end of the path; None for attributes and JSON keys.
        joins: Relations on the way, for ``select_related``.
        prefetch: A generic foreign key on the way, for ``prefetch_related``.
        attributes: The same path over an instance.
        keys: Keys and positions inside the JSON value at its end.
        is_annotation: Whether the queryset has it, and not the model.
    """

    name: str
    path: str
    kind: FieldKind
    field: Field[Any, Any] | None = None
    joins: str = ""
    prefetch: str = ""
    attributes: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    is_annotation: bool = False

    @property
    def column(self) -> str:
        """The column a query reads: the path, or the whole JSON value where one of its keys is not
        plain. :meth:`picked` does the rest."""
        if all(map(_PLAIN_KEY.fullmatch, self.keys)):
            return self.path
        return self.path.removesuffix("__" + "__".join(self.keys))

    def picked(self, value: Any) -> Any:
        """Return the field's value from the value of :attr:`column`."""
        if self.column != self.path:
            for key in self.keys:
                value = _inside(value, key)
        return value

    def value_of(self, instance: Model) -> Any:
        """Return the value from a model instance: the same that a query gives.
        None where something on the way is None."""
        value: Any = instance
        *way, last = self.attributes
        for part in way:
            try:
                value = getattr(value, part)
            except ObjectDoesNotExist:  # a one-to-one relation without a row
                return None
            if value is None:
                return None
        if self.kind is FieldKind.ATTRIBUTE:
            return _called(getattr(value, last))
        try:
            value = getattr(value, last)
        except ObjectDoesNotExist:
            return None
        if isinstance(value, Model):  # a relation seen from its other side: its key
            return value.pk
        for key in self.keys:
            value = _inside(value, key)
        return value


def resolve_field(model: type[Model], name: str, *, entity_type: str) -> ResolvedField:
    """Resolve a name in a config.

    Args:
        model: The entity type's model.
        name: A field, a path over relations (``category__name`` or ``category.name``),
            a key of a JSON field, a property or a method without arguments. camelCase
            stands for snake_case.
        entity_type: For the error message.

    Raises:
        EntityConfigError: There is no such field; names the nearest one.
    """
    try:
        return _Walk(model, name).resolve()
    except _NotFoundError as error:
        raise EntityConfigError(f"Entity type {entity_type!r}: {error}") from None


def annotated_field(name: str, annotations: Mapping[str, Any]) -> ResolvedField | None:
    """Return the field for an annotation of a queryset, if there is one.

    Args:
        name: As a config writes it.
        annotations: Those of the queryset, by name.
    """
    for spelling in _spellings(name):
        if spelling in annotations:
            output = None
            with suppress(FieldError):  # of mixed types
                output = annotations[spelling].output_field
            return ResolvedField(
                name,
                spelling,
                FieldKind.COLUMN,
                output,
                attributes=(spelling,),
                is_annotation=True,
            )
    return None


def snake_case(name: str) -> str:
    """``createdAt`` → ``created_at``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def text_columns(model: type[Model]) -> list[str]:
    """Names of the model's own text columns, to suggest in messages."""
    return [
        field.name
        for field in model._meta.concrete_fields
        if field.get_internal_type() in {"CharField", "TextField"} and not field.primary_key
    ]


def holds_html(field: ResolvedField) -> bool:
    """Return whether the class of the model field says that its values are HTML."""
    return any(cls.__name__ in _HTML_FIELDS for cls in type(field.field).__mro__)


def is_short(field: ResolvedField) -> bool:
    """Return whether the value is one short text: a name, say."""
    column = field.field
    return (
        field.kind is FieldKind.COLUMN
        and isinstance(column, CharField)
        and (column.max_length or math.inf) <= _SHORT
    )


def is_long(field: ResolvedField) -> bool:
    """Return whether the value is text of any length."""
    return isinstance(field.field, TextField)


class _NotFoundError(Exception):
    """A name cannot be resolved; the message says why."""


class _Walk:
    """From a model along the parts of a name, relation by relation."""

    def __init__(self, model: type[Model], name: str) -> None:
        self.model = self.current = model
        self.name = name
        self.parts = name.replace(".", "__").split("__")
        self.path: list[str] = []
        self.attributes: list[str] = []
        self.joins: list[str] = []
        self.many = False

    def resolve(self) -> ResolvedField:
        for position, part in enumerate(self.parts):
            rest = self.parts[position + 1 :]
            field = _find_field(self.current, part)
            if field is None:
                return self._attribute(part, rest)
            if field.is_relation and field.related_model is None:
                return self._generic(field.name, rest)
            self._step(field, part, is_last=not rest)
            if not rest:
                return self._found(field if isinstance(field, Field) else None)
            if isinstance(field, JSONField):
                self.path += rest
                return self._found(None, keys=tuple(rest))
            if not field.is_relation:
                raise _NotFoundError(
                    f"{self._label()} has no field {self.name!r}: {part!r} is not a relation"
                )
            self.current = field.related_model
        raise AssertionError("a name has at least one part")

    def _step(self, field: Any, part: str, *, is_last: bool) -> None:
        accessor = part if part == "pk" else field.name
        self.path.append(accessor)
        if isinstance(field, ForeignObjectRel):
            accessor = field.get_accessor_name() or field.name
        elif is_last:
            accessor = getattr(field, "attname", None) or accessor
        self.attributes.append("pk" if part == "pk" else accessor)
        if field.many_to_many or field.one_to_many:
            self.many = True
        elif isinstance(field, ForeignObjectRel) or (field.is_relation and not is_last):
            self.joins.append(field.name)

    def _found(self, field: Field[Any, Any] | None, keys: tuple[str, ...] = ()) -> ResolvedField:
        return ResolvedField(
            self.name,
            "__".join(self.path),
            FieldKind.MANY if self.many else FieldKind.COLUMN,
            field,
            joins="" if self.many else "__".join(self.joins),
            attributes=tuple(self.attributes),
            keys=keys,
        )

    def _attribute(self, part: str, rest: list[str]) -> ResolvedField:
        attribute = next((item for item in _spellings(part) if _has(self.current, item)), None)
        if attribute is None:
            raise _NotFoundError(self._unknown(part))
        where = f"{self._label()} cannot be read by {self.name!r}: "
        problem = _unusable(self.current, attribute)
        if problem:
            raise _NotFoundError(f"{where}{attribute!r} {problem}")
        if rest:
            raise _NotFoundError(f"{where}nothing can follow the property or method {part!r}")
        if self.many:
            raise _NotFoundError(
                f"{where}{part!r} is a property or a method of many related rows. Write a "
                f"property of {self._label()} that returns the value."
            )
        joins = "__".join(self.joins)
        path = "__".join([*self.path, attribute])
        return ResolvedField(
            self.name,
            path,
            FieldKind.ATTRIBUTE,
            joins=joins,
            attributes=(*self.attributes, attribute),
        )

    def _generic(self, name: str, rest: list[str]) -> ResolvedField:
        """A generic foreign key: the model behind it differs from row to row."""
        if self.many:
            raise _NotFoundError(
                f"{self._label()} cannot be read by {self.name!r}: {name!r} is a generic "
                f"relation of many related rows"
            )
        return ResolvedField(
            self.name,
            "__".join([*self.path, name, *rest]),
            FieldKind.ATTRIBUTE,
            joins="__".join(self.joins),
            prefetch="__".join([*self.attributes, name]),
            attributes=(*self.attributes, name, *rest),
        )

    def _unknown(self, part: str) -> str:
        known = sorted(field.name for field in self.current._meta.get_fields())
        close = nearest(snake_case(part), known)
        near = "__".join([*self.path, close or ""])
        hint = f"Did you mean {near!r}?" if close else f"It has: {', '.join(known)}."
        if self.current is not self.model and not close:
            hint = f"{self.current._meta.label} has: {', '.join(known)}."
        return f"{self._label()} has no field, property or method {self.name!r}. {hint}"

    def _label(self) -> str:
        return self.model._meta.label


def _spellings(part: str) -> Iterable[str]:
    return dict.fromkeys((part, snake_case(part), to_snake(part)))


def _find_field(model: type[Model], part: str) -> Any:
    """Find a field or a relation by its name, or by its name on instances."""
    if part == "pk":
        return model._meta.pk
    for name in _spellings(part):
        try:
            return model._meta.get_field(name)
        except FieldDoesNotExist:
            for relation in model._meta.related_objects:
                if relation.get_accessor_name() == name:
                    return relation
    return None


def _has(model: type[Model], attribute: str) -> bool:
    return not attribute.startswith("_") and hasattr(model, attribute)


def _unusable(model: type[Model], attribute: str) -> str:
    """Return the reason why an attribute is not a value of rows; empty when it is one."""
    if hasattr(Model, attribute):  # delete, save...
        return "is Django's own: it is never called"
    found = inspect.getattr_static(model, attribute, None)
    if isinstance(found, type | BaseManager | ManagerDescriptor):
        return "is a class or a manager: name a field, a property or a method"
    if isinstance(found, property | partialmethod) or not callable(getattr(model, attribute)):
        return ""
    function = getattr(found, "__func__", found)
    if getattr(function, "alters_data", False):
        return "changes data: it is never called"
    if inspect.iscoroutinefunction(function):
        return "is a coroutine: write a plain method"
    if not inspect.isfunction(function):
        return ""
    parameters = list(inspect.signature(function).parameters.values())
    if not isinstance(found, staticmethod):
        parameters = parameters[1:]
    needed = [
        item.name
        for item in parameters
        if item.default is item.empty and item.kind not in (item.VAR_POSITIONAL, item.VAR_KEYWORD)
    ]
    return f"needs arguments: {', '.join(needed)}" if needed else ""


def _called(value: Any) -> Any:
    """Call a method, unless it is a class, or says that it changes data."""
    if not callable(value) or isinstance(value, type | Model):
        return value
    if getattr(value, "alters_data", False):
        raise TypeError("a method that changes data is never called")
    return value()


def _inside(value: Any, key: str) -> Any:
    """Return a key or a position inside a JSON value; None where there is none."""
    if isinstance(value, dict):
        return value.get(key)
    if isinstance(value, list) and key.isascii() and key.isdecimal():
        position = int(key)
        return value[position] if position < len(value) else None
    return None
