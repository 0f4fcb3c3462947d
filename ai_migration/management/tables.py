"""Tables for terminals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from io import StringIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows under headers, as wide as the terminal, each value as it is (no markup)."""
    drawn = Table(box=SIMPLE_HEAD, pad_edge=False)
    for header in headers:
        drawn.add_column(header, overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(str(value)) for value in row))
    output = StringIO()
    console = Console(file=output, no_color=True, width=max(Console().width, 100))
    console.print(drawn)
    return "\n".join(line.rstrip() for line in output.getvalue().splitlines()).strip("\n")
