"""Tables for terminals."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterable, Sequence
from io import StringIO

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDE = 200
"""Columns where the output is not a terminal: nothing is folded that a script may look for."""
_AROUND = 2
"""Spaces around a column."""
_KEPT = "\N{NO-BREAK SPACE}"


def table(
    headers: Sequence[str], rows: Iterable[Sequence[object]], *, prose: Collection[str] = ()
) -> str:
    """Return rows under headers as text, each value as it is (no markup); as a paragraph each on a
    terminal that is too narrow for a table.

    Args:
        headers: The names of the columns.
        rows: A value for each column.
        prose: Columns that are folded where the terminal is too narrow. The others never
            are: an id that is cut cannot be copied.
    """
    lines = [[str(value) for value in row] for row in rows]
    drawn = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    needed = _AROUND * len(headers)
    for header, *values in zip(headers, *lines, strict=True):
        words = [word for each in values for word in each.split()] if header in prose else values
        least = max(map(cell_len, [header, *words]))
        drawn.add_column(header, overflow="fold", no_wrap=header not in prose, min_width=least)
        needed += least
    for line in lines:
        drawn.add_row(*map(Text, line))
    terminal = Console()
    width = terminal.width if terminal.is_terminal else WIDE
    if needed > width and terminal.is_terminal:
        return "\n".join(_paragraph(headers, line, width) for line in lines)
    output = StringIO()
    Console(file=output, color_system=None, width=max(width, needed)).print(drawn)
    return "\n".join(line.rstrip() for line in output.getvalue().splitlines()).strip("\n")


def _paragraph(headers: Sequence[str], row: Sequence[str], width: int) -> str:
    first, *named = zip(headers, row, strict=True)
    parts = [first[1], *(f"{header}{_KEPT}{value}" for header, value in named if value)]
    filled = textwrap.fill(
        " · ".join(parts),
        width,
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return filled.replace(_KEPT, " ")
