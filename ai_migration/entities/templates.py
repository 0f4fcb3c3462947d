"""Texts written in Django's template language."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from django.template import Context, Engine, TemplateSyntaxError
from django.template.base import Node, NodeList, Template, Variable
from django.template.defaulttags import FilterNode, ForNode, WithNode
from django.template.loader_tags import ExtendsNode, IncludeNode

from ai_migration.entities.template_tags import CHUNK_MARK
from ai_migration.entities.text import as_text
from ai_migration.exceptions import EntityConfigError

_BUILTIN = frozenset({"True", "False", "None", "forloop", "block"})
_NAMING = ("asvar", "var_name", "variable_name", "target_var")
"""Attributes in which nodes keep the name that they give to something (``as name``)."""
_HTML_FILTER = re.compile(r"\|\s*html_text\b")
_ELSEWHERE = ("origin", "token", "source", "engine", "parser")


class TextTemplate:
    """A text written in Django's template language, without escaping.

    Args:
        source: The template; ``{{ name }}`` and ``{{ category__name }}`` are fields.
        entity_type: For the error message.

    Raises:
        EntityConfigError: The template does not compile.
    """

    def __init__(self, source: str, entity_type: str) -> None:
        where = f"Entity type {entity_type!r}: its template"
        try:
            self._template = Template(source, engine=_engine())
        except TemplateSyntaxError as error:
            raise EntityConfigError(f"{where} does not compile: {error}") from error
        except RecursionError:
            raise EntityConfigError(f"{where} is nested too deeply") from None
        nodes = self._template.nodelist
        if nodes.get_nodes_by_type(ExtendsNode) or nodes.get_nodes_by_type(IncludeNode):
            raise EntityConfigError(
                f"{where} uses 'include' or 'extends', and there are no other templates. "
                f"Write it as one."
            )

    @property
    def takes_html(self) -> bool:
        """Return whether it uses the filter ``html_text``."""
        return _HTML_FILTER.search(self._template.source) is not None

    @property
    def names(self) -> list[str]:
        """The fields it uses, wherever it does, in order of appearance."""
        nodes = self._template.nodelist
        given = {
            name
            for node in nodes.get_nodes_by_type(Node)
            for attribute in _NAMING
            if isinstance(name := getattr(node, attribute, None), str)
        }
        return list(dict.fromkeys("__".join(way) for way in _variables(nodes, _BUILTIN | given)))

    def render(self, values: Mapping[str, Any]) -> str:
        """Return the text of one row.

        Args:
            values: By field name; ``category__name`` is also reached as ``category.name``.
                None prints nothing, and a list its values with commas.
        """
        return self.render_with_head(values)[0]

    def render_with_head(self, values: Mapping[str, Any]) -> tuple[str, str]:
        """Return the text of one row, and what stands before ``{% chunk %}`` in it: the head of
        its chunks."""
        before, mark, after = self._rendered(values).partition(CHUNK_MARK)
        text = before + after.replace(CHUNK_MARK, "")
        return text.strip(), before.strip() if mark else ""

    def _rendered(self, values: Mapping[str, Any]) -> str:
        context: dict[str, Any] = {}
        for name, value in values.items():
            printable = _printable(value)
            context[name] = printable
            head, *rest = name.split("__")
            branch = context
            for part in rest:
                branch[head] = _branch(branch.get(head))
                branch, head = branch[head], part
            branch[head] = _merged(branch.get(head), printable)
        # Numbers and dates as they are, not in the language of the current user.
        bound = Context(context, autoescape=False, use_l10n=False)
        return self._template.render(bound)


def _engine() -> Engine:
    return Engine(autoescape=False, builtins=["ai_migration.entities.template_tags"])


class _Branch(dict[str, Any]):
    """The values behind a relation. It can have a value itself: the relation's key."""

    own: Any = None

    def __str__(self) -> str:
        return as_text(self.own)

    def __bool__(self) -> bool:
        return bool(self.own) or any(self.values())


class _Listed(list[Any]):
    """Values of a to-many relation: printed with commas, as in a text without template."""

    def __str__(self) -> str:
        return as_text(list(self))


def _branch(value: Any) -> _Branch:
    """Return the branch for another part of a name; keeps a value that was there."""
    if isinstance(value, _Branch):
        return value
    branch = _Branch(value if isinstance(value, dict) else {})
    branch.own = value
    return branch


def _merged(before: Any, value: Any) -> Any:
    if not isinstance(before, _Branch):
        return value
    before.own = value
    if isinstance(value, dict):
        for key, item in value.items():
            before.setdefault(key, item)
    return before


def _printable(value: Any) -> Any:
    if value is None:
        return ""
    return _Listed(value) if type(value) is list else value


def _variables(value: Any, local: frozenset[str] | set[str]) -> Iterator[tuple[str, ...]]:
    """Yield the names that a part of a compiled template looks up, in order."""
    if isinstance(value, Variable):
        lookups = value.lookups
        if lookups and lookups[0] not in local:
            yield tuple(lookups)
    elif isinstance(value, ForNode):
        yield from _variables(value.sequence, local)
        yield from _variables(value.nodelist_loop, local | set(value.loopvars))
        yield from _variables(value.nodelist_empty, local)
    elif isinstance(value, WithNode):
        yield from _variables(value.extra_context, local)
        yield from _variables(value.nodelist, local | set(value.extra_context))
    elif isinstance(value, dict):
        for item in value.values():
            yield from _variables(item, local)
    elif isinstance(value, list | tuple | NodeList):
        for item in value:
            yield from _variables(item, local)
    elif isinstance(value, Node) or type(value).__module__.startswith("django.template"):
        if isinstance(value, FilterNode):
            local = local | {"var"}
        for item in _attributes(value):
            yield from _variables(item, local)


def _attributes(value: Any) -> Iterator[Any]:
    """Yield the parts of a part of a compiled template, without its origin."""
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
    for name in [*getattr(value, "__dict__", ()), *slots]:
        if name not in _ELSEWHERE and hasattr(value, name):
            yield getattr(value, name)
