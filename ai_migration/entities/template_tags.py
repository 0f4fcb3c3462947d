"""The tags and filters that templates of texts have besides Django's own."""

from __future__ import annotations

from django.template import Context, Library
from django.template.base import Node, NodeList, Parser, Token

from ai_migration.entities.markup import html_as_text

CHUNK_MARK = "\0chunk\0"
"""Printed where the part of a text begins that is cut; texts have no NUL."""

register = Library()
register.filter("html_text", html_as_text)


class ChunkNode(Node):
    """``{% chunk %}…{% endchunk %}``: what stands before it heads every chunk."""

    def __init__(self, nodelist: NodeList) -> None:
        self.nodelist = nodelist

    def render(self, context: Context) -> str:
        return CHUNK_MARK + self.nodelist.render(context)


@register.tag
def chunk(parser: Parser, token: Token) -> ChunkNode:
    """Compile the tag."""
    nodelist = parser.parse(("endchunk",))
    parser.delete_first_token()
    return ChunkNode(nodelist)
