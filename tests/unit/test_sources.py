"""What holds for every file of the repository."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DIRECTIONS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""What turns the direction of the text around it (Unicode's Bidi_Control)."""


def test_no_file_reads_otherwise_than_it_runs() -> None:
    """A raw character of direction shows code in another order than it has: escape it."""
    if not (ROOT / ".git").exists():
        pytest.skip("only git knows which files are the repository's")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    files = {name: ROOT / name for name in listed.split("\0") if (ROOT / name).is_file()}
    found = [
        f"{name}:{number}"
        for name, file in files.items()
        for content in [file.read_bytes()]
        if b"\0" not in content  # an image is no text
        for number, line in enumerate(content.decode().split("\n"), start=1)
        if DIRECTIONS.search(line)
    ]
    assert found == []
