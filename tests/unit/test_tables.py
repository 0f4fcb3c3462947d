"""Tables, on terminals of any width and elsewhere."""

from __future__ import annotations

import pytest

from ai_migration.management import tables

HEADERS = ["job", "type", "status", "done", "rows", "failed", "created"]
ROW = ["01a220f3-6c", "product", "COMPLETED", "100 %", "100,000", "12", "2026-01-31 12:00"]


def drawn(monkeypatch: pytest.MonkeyPatch, columns: int, *rows: list[str]) -> list[str]:
    monkeypatch.setenv("FORCE_COLOR", "1")  # it is a terminal then
    monkeypatch.setenv("COLUMNS", str(columns))
    return tables.table(HEADERS, rows or [ROW], prose=["created"]).splitlines()


def test_where_there_is_room_a_row_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    header, rule, line = drawn(monkeypatch, 80)
    assert header.split() == HEADERS
    assert set(rule.strip()) == {"─"}
    assert line.split() == [word for value in ROW for word in value.split()]
    assert max(map(len, (header, rule, line))) <= 80


def test_prose_is_folded_first_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = drawn(monkeypatch, 70)
    assert max(map(len, lines)) <= 70
    assert len(lines) == 4
    assert lines[2].endswith("2026-01-31")
    assert lines[3].strip() == "12:00"


@pytest.mark.parametrize("columns", [60, 40])
def test_on_a_narrow_terminal_a_row_is_a_paragraph(
    monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    lines = drawn(monkeypatch, columns, ROW, ROW)
    assert max(map(len, lines)) <= columns
    assert lines[0].startswith("01a220f3-6c · type product")
    assert [line for line in lines if not line.startswith(" ")] == [lines[0]] * 2
    text = " ".join(line.strip() for line in lines)
    for header, value in zip(HEADERS[1:], ROW[1:], strict=True):
        assert text.count(f"{header} {value}") == 2


def test_what_is_no_terminal_gets_every_value_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setenv("COLUMNS", "40")
    text = tables.table(["job", "why"], [["mig-" + "1" * 36, "x " * 40]], prose=["why"])
    assert text.splitlines()[2].split() == ["mig-" + "1" * 36, *["x"] * 40]
