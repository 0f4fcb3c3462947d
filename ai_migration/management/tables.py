"""Tables for terminals."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from io import StringIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

WIDE = 200
"""Columns where the output is not a terminal: nothing is folded that a script may look for."""


def table(
    headers: Sequence[str], rows: Iterable[Sequence[object]], *, prose: Collection[str] = ()
) -> str:
    """Return rows under headers as text, each value as it is (no markup).

    Args:
        headers: The names of the columns.
        rows: A value for each column.
        prose: Columns that are folded where the terminal is too narrow. The others never
            are: an id that is cut cannot be copied.
    """
    drawn = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for header in headers:
        drawn.add_column(header, overflow="fold", no_wrap=header not in prose)
    for row in rows:
        drawn.add_row(*(Text(str(value)) for value in row))
    terminal = Console()
    width = terminal.width if terminal.is_terminal else WIDE
    needed = Measurement.get(terminal, terminal.options.update(width=1000), drawn).minimum
    needed += len(headers) + 1  # without the space around them
    output = StringIO()
    Console(file=output, color_system=None, width=max(width, needed)).print(drawn)
    return "\n".join(line.rstrip() for line in output.getvalue().splitlines()).strip("\n")
