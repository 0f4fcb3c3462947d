"""Errors of pydantic as messages that name the place and the nearest known key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, get_args

from pydantic import ValidationError

from ai_migration.entities.config import schema
from ai_migration.exceptions import ShortRepr, nearest_key

Location: TypeAlias = tuple[int | str, ...]

MAX_FAULTS = 20
"""Faults in one message, at most."""

_SHAPES = {
    schema.NAME_PATTERN: "should be a name without spaces",
    schema.TYPE_PATTERN: "should be a name without spaces and slashes",
    schema.MODEL_PATTERN: "should be a model's label, like shop.Product",
}
_MAPPING_TYPES = ("model_type", "model_attributes_type", "dict_type", "mapping_type")
_repr = ShortRepr()
_repr.maxstring = _repr.maxother = 60
_repr.maxlist = _repr.maxdict = 3
_repr.maxlevel = 2
_short = _repr.repr


@dataclass(frozen=True)
class Fault:
    """A fault: its place in the document, and a sentence."""

    location: Location
    text: str


def find_faults(
    error: ValidationError, root: Location = (), spell: Callable[[str], str] = str
) -> list[Fault]:
    """Return every fault of a validation.

    Args:
        error: The error that pydantic raised.
        root: The place of the validated value in the document.
        spell: Converts a key to its spelling in the format.
    """
    details = error.errors(include_url=False)
    # Where the key itself is wrong, messages about its value only confuse.
    wrong_keys = [key for detail in details if (key := _wrong_key(detail))]
    found: dict[Fault, None] = {}
    for detail in details:
        own = _wrong_key(detail)
        inside = [key for key in wrong_keys if detail["loc"][: len(key)] == key]
        if own or not inside:
            location = (*root, *detail["loc"])
            found[Fault(location, _sentence(detail, location, len(root), spell))] = None
    return list(found)


def listed(lines: Sequence[str]) -> str:
    """Return faults as one message, a line each, and the number of those left out.

    Whatever the input was, the message can be printed."""
    more = len(lines) - MAX_FAULTS
    shown = [*lines[:MAX_FAULTS], *([f"... and {more} more"] if more > 0 else [])]
    text = "\n".join(shown).replace("\0", "\\0")
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def place_of(location: Location, spell: Callable[[str], str] = str) -> str:
    """``ai-entities.product.searchable-fields[0].weight``; list items count from 0."""
    place = ""
    for part in location:
        if isinstance(part, int):
            place += f"[{part}]"
        else:
            place += f"{'.' if place else ''}{_printable(spell(part))}"
    return place


def _wrong_key(detail: Any) -> Location:
    """Return the location of the wrong key; empty where a value is wrong."""
    location: Location = detail["loc"]
    if location[-1:] == ("[key]",):
        return location[:-1]
    return location if _kind(detail) in ("extra_forbidden", "invalid_key") else ()


def _kind(detail: Any) -> str:
    kind: str = detail["type"]
    pattern = detail.get("ctx", {}).get("pattern")
    return "extra_forbidden" if pattern == schema.SWITCH_PATTERN else kind


def _sentence(detail: Any, location: Location, root: int, spell: Callable[[str], str]) -> str:
    *parents, key = location or ("",)
    kind = _kind(detail)
    inside = place_of(tuple(parents[root:]), spell)
    if kind == "extra_forbidden":
        known = sorted(map(spell, _known_keys(tuple(parents))))
        where = f" in {inside}" if inside else ""
        return f"unknown key {_short(spell(str(key)))}{where}. {nearest_key(key, known)}"
    if kind == "missing":
        return f"{inside or 'the file'} lacks the key {spell(str(key))!r}"
    if kind == "invalid_key":
        return _key_sentence(detail, location, inside or "the file")
    if key == "[key]":
        return _key_sentence(detail, location, place_of(tuple(parents[root:-1]), spell))
    place = place_of(location[root:], spell) or "the file"
    return f"{place} {_reason(detail, kind)}"


def _key_sentence(detail: Any, location: Location, inside: str) -> str:
    if detail["type"] == "literal_error":
        known = sorted(schema.OPERATIONS)
        return f"unknown key {_short(location[-2])} in {inside}. {nearest_key(location[-2], known)}"
    if detail["type"] == "invalid_key":
        return f"the key {_printable(str(location[-1]))} in {inside} should be text; quote it"
    reasons = {
        "string_type": "should be text; quote it",
        "string_too_long": "is longer than 255 characters",
        "string_unicode": "is not valid Unicode",
    }
    reason = reasons.get(detail["type"]) or _reason(detail, detail["type"])
    return f"the key {_short(detail['input'])} in {inside} {reason}"


def _reason(detail: Any, kind: str) -> str:
    value = _short(detail["input"])
    if kind == "string_pattern_mismatch":
        return f"{_SHAPES[detail['ctx']['pattern']]}, not {value}"
    if kind in _MAPPING_TYPES:
        return f"should be a mapping of keys to values, not {value}"
    if kind == "tuple_type":
        return f"should be a list, not {value}"
    if kind == "string_unicode":
        return f"is not valid Unicode: {value}"
    if detail["msg"].startswith("Input "):
        words = detail["msg"].removeprefix("Input ").partition(", unable to")[0]
        return f"{words}, not {value}"
    return f"is wrong: {detail['msg']}"


def _known_keys(parents: Location) -> list[str]:
    section: type[schema.Section] = schema.ConfigDocument
    match parents:
        case ("ai-config", *_):
            section = schema.GlobalConfig
        case ("ai-entities", _):
            section = schema.EntityConfig
        case ("ai-entities", _, str(part), *_):
            keys = schema.EntityConfig.model_fields.items()
            types = {schema.kebab(name): field.annotation for name, field in keys}
            section = _section_in(types.get(part)) or schema.EntityConfig
    return [schema.kebab(name) for name in section.model_fields]


def _section_in(annotation: object) -> type[schema.Section] | None:
    if isinstance(annotation, type) and issubclass(annotation, schema.Section):
        return annotation
    return next(filter(None, map(_section_in, get_args(annotation))), None)


def _printable(text: str) -> str:
    return text if text.isprintable() and len(text) <= 100 else _short(text)
