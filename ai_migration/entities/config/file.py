"""Reads ``ai-entity-config.yml``; any error in it is an ``EntityConfigError``."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.scanner import RoundTripScanner

from ai_migration.entities.config.errors import Fault, Location, find_faults, listed, place_of
from ai_migration.entities.config.schema import ConfigDocument, EntityConfig, GlobalConfig
from ai_migration.exceptions import EntityConfigError

MAX_BYTES = 1024 * 1024
"""Size of a file, at most: parsing takes seconds a megabyte."""
MAX_NODES = 200_000
"""Values in a file, at most, counted where aliases repeat them."""
MAX_WRITTEN = 50_000
"""Values that are written in a file, at most: each of them takes time to parse."""
MAX_DEPTH = 50
"""Levels of nested values, at most."""
MAX_BITS = 64
"""Bits of a whole number: no key takes a larger one, and Python cannot write all of them."""
MAX_PATH = 255
"""Characters of the file's path that an error repeats: its end."""
_TOO_DEEP = "values are nested too deeply"


@dataclass(frozen=True)
class ConfigFile:
    """A file that was read and found valid.

    Attributes:
        path: Its path.
        document: Its content.
        entity_lines: Line of each entity type, from 1.
    """

    path: Path
    document: ConfigDocument
    entity_lines: Mapping[str, int] = field(default_factory=dict)

    @property
    def entities(self) -> dict[str, EntityConfig]:
        """The entity types by name; one without keys is there too."""
        return {name: each or EntityConfig() for name, each in self.document.ai_entities.items()}

    @property
    def global_config(self) -> GlobalConfig:
        """The section ``ai-config``, with its defaults."""
        return self.document.ai_config

    def source(self, entity_type: str) -> str:
        """Return the place of an entity type: ``ai-entity-config.yml:12``."""
        return f"{self.path.name}:{self.entity_lines[entity_type]}"


def load_config(path: Path) -> ConfigFile:
    """Read and validate a configuration.

    Args:
        path: The file. One without content is valid and has no entities.

    Raises:
        EntityConfigError: The file cannot be read, is not YAML or does not have the format; each
            fault on a line of its own, as ``file:line: the fault``.
    """
    text = _read(path)
    tree = _parse(path, text)
    try:
        data = _Plain().value(tree)
    except _TooMuchError as error:
        raise _error(path, _line(tree, error.location), str(error)) from None
    faults = _mismatched_names(data)
    try:
        document = ConfigDocument.model_validate({} if data is None else data)
    except ValidationError as error:
        faults += find_faults(error)
    if faults:
        numbered = sorted((_line(tree, fault.location), fault.text) for fault in faults)
        raise EntityConfigError(listed([f"{path}:{line}: {text}" for line, text in numbered]))
    lines = {name: _line(tree, ("ai-entities", name)) for name in document.ai_entities}
    return ConfigFile(path=path, document=document, entity_lines=lines)


def _read(path: Path) -> str:
    advice = "Correct AI_MIGRATION['ENTITY_CONFIG'], or set it to None to use no file."
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise _error(path, 1, f"this is not a file. {advice}")
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise _error(path, 1, f"the file does not exist. {advice}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise _error(path, 1, f"the file cannot be read: {reason}. {advice}") from None
    if len(raw) > MAX_BYTES:
        limit = f"{MAX_BYTES // 1024} KiB"
        raise _error(
            path, 1, f"the file is larger than {limit}, which no entity config needs. {advice}"
        )
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        byte = f"0x{raw[error.start]:02x}"
        raise _error(path, line, f"the byte {byte} is not UTF-8. Save the file as UTF-8.") from None


def _error(path: Path, line: int, text: str) -> EntityConfigError:
    where = str(path) if len(str(path)) <= MAX_PATH else f"…{str(path)[-MAX_PATH:]}"
    return EntityConfigError(listed([f"{where}:{line}: {text}"]))


def _parse(path: Path, text: str) -> Any:
    yaml = YAML(typ="rt")
    yaml.Scanner, yaml.Composer = _Scanner, _Composer
    yaml.composer.warn_double_anchors = False
    line = 1
    try:
        return yaml.load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        problem = " ".join(str(error.problem or error.context).split())
        if "\\t" in problem:
            problem += ". YAML indents with spaces, not with tabs"
    except YAMLError as error:  # of the reader: a character YAML does not allow
        position = getattr(error, "position", 0)
        line = text.count("\n", 0, position) + 1
        problem = f"the character {text[position : position + 1]!r} is not allowed in YAML"
    except _TooMuchError as error:
        line, problem = error.line, str(error)
    except RecursionError:
        problem = _TOO_DEEP
    except Exception as error:  # ruamel lets ValueError and others of a scalar's type pass
        problem = f"a value cannot be read: {error}"
    raise _error(path, line, problem)


class _TooMuchError(Exception):
    """There is more in the file, or a larger number, than any entity config needs.

    Args:
        text: The message.
        line: The line of the parser.
        location: Location of the value.
    """

    def __init__(self, text: str, *, line: int = 1, location: Location = ()) -> None:
        super().__init__(text)
        self.line = line
        self.location = location


class _Scanner(RoundTripScanner):
    """Limits nested brackets, whose time grows with the square of their depth."""

    def fetch_flow_collection_start(self, TokenClass: Any, to_push: str) -> None:  # noqa: N803
        super().fetch_flow_collection_start(TokenClass, to_push)
        if self.flow_level > MAX_DEPTH:
            raise _TooMuchError(_TOO_DEEP, line=self.reader.line + 1)


class _Composer(Composer):
    """Counts what it reads while it reads."""

    written = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.written += 1
        if self.written > MAX_WRITTEN:
            line = self.parser.peek_event().start_mark.line + 1
            raise _TooMuchError(f"there are more than {MAX_WRITTEN:,} values", line=line)
        return super().compose_node(parent, index)


class _Plain:
    """Makes plain dicts, lists and scalars of ruamel's nodes, up to a bounded number."""

    def __init__(self) -> None:
        self.left = MAX_NODES

    def value(self, node: Any, location: Location = ()) -> Any:
        self.left -= 1
        if self.left < 0 or len(location) > MAX_DEPTH:
            raise _TooMuchError(f"{_TOO_DEEP}, or aliases repeat too many of them")
        if isinstance(node, dict):
            keys = [self.value(key, location) for key in node]
            items = [self.value(item, (*location, key)) for key, item in node.items()]
            return dict(zip(keys, items, strict=True))
        if isinstance(node, list):
            return [self.value(item, (*location, index)) for index, item in enumerate(node)]
        if type(node).__name__ == "ScalarBoolean":  # an int, for ruamel
            return bool(node)
        if isinstance(node, int) and node.bit_length() > MAX_BITS:
            raise _TooMuchError(
                f"a number has more than {MAX_BITS} bits: no key takes it", location=location
            )
        for plain in (bool, str, int, float):
            if isinstance(node, plain):
                return plain(node)
        return node


def _mismatched_names(data: Any) -> list[Fault]:
    entities = data.get("ai-entities") if isinstance(data, dict) else None
    faults = []
    for name, entity in entities.items() if isinstance(entities, dict) else ():
        inner = entity.get("entity-type") if isinstance(entity, dict) else None
        if isinstance(inner, str) and isinstance(name, str) and inner != name:
            place = place_of(("ai-entities", name))
            text = f"{place} has entity-type {inner!r}. Write {name!r} there, or remove the key."
            faults.append(Fault(("ai-entities", name, "entity-type"), text))
    return faults


def _line(tree: Any, location: Location) -> int:
    """Return the line of the value at a location, from 1, or of its nearest parent with a line."""
    line = 1
    for part in location:
        marks = getattr(getattr(tree, "lc", None), "data", None) or {}
        keys = [key for key in marks if key == part or str(key) == part]
        if keys:
            line = marks[keys[0]][0] + 1
        try:
            tree = tree[part]
        except (LookupError, TypeError):
            break
    return line
