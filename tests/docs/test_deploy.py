"""The units of docs/howto/deploy.md are units, by systemd's own word."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, blocks_of

PAGE = ROOT / "docs" / "howto" / "deploy.md"
TOOL = shutil.which("systemd-analyze")


@pytest.mark.skipif(TOOL is None, reason="systemd is not installed")
def test_units_are_verified(tmp_path: Path) -> None:
    units = []
    for block in blocks_of(PAGE):
        if block.language == "ini":
            path = tmp_path / block.body.splitlines()[0].rpartition("/")[2]
            path.write_text(block.body.replace("/srv/shop/.venv/bin/python", sys.executable))
            units.append(str(path))
    assert len(units) == 3
    done = subprocess.run(
        [str(TOOL), "verify", *units], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
