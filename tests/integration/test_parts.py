"""Core; + REST; + admin; + both: what is not there is not missed, and what is there but not
used is not exposed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.commands import ROOT

pytest.importorskip("rest_framework", reason="the REST extra is not installed")
NOTHING = {"rest": 404, "schema": 404, "admin": 404}


def run(directory: Path, installed: str, used: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-m",
            "tests.integration.parts",
            str(directory),
            installed,
            used,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.mark.gate
@pytest.mark.parametrize(
    ("installed", "used", "loaded", "answers"),
    [
        ("", "", [], NOTHING),
        pytest.param("rest", "", [], NOTHING, marks=pytest.mark.gate),
        pytest.param(
            *("rest", "rest", ["rest"], {**NOTHING, "rest": 403, "schema": 403}),
            marks=pytest.mark.gate,
        ),
        pytest.param(
            "admin", "admin", ["admin"], {**NOTHING, "admin": 302}, marks=pytest.mark.gate
        ),
        pytest.param("rest,admin", "", ["admin"], NOTHING, marks=pytest.mark.gate),
        (
            "rest,admin",
            "rest,admin",
            ["rest", "admin"],
            {"rest": 403, "schema": 403, "admin": 302},
        ),
    ],
)
def test_a_part_is_there_when_it_is_used(
    tmp_path: Path, installed: str, used: str, loaded: list[str], answers: dict[str, int]
) -> None:
    done = run(tmp_path, installed, used)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert report == {"answers": answers, "loaded": loaded}


def test_urls_without_their_library_say_what_to_install(tmp_path: Path) -> None:
    done = run(tmp_path, "", "rest")
    assert done.returncode != 0
    assert "pip install 'django-ai-migration[rest]'" in done.stderr
