"""What the documentation shows is what happens: its examples are typed in and compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, TUTORIAL, Project, blocks_of

ORIGINS = {
    "README.md": "shop",
    "docs/howto/own-project.md": "indexed",
    "docs/reference/python-api.md": "indexed",
}
"""Where in the tutorial's project a page begins."""


@pytest.mark.gate
def test_the_tutorial_works(tutorial: Path) -> None:
    assert {path.name for path in tutorial.iterdir()} > set(ORIGINS.values())


@pytest.mark.gate
@pytest.mark.parametrize("name", ORIGINS)
def test_the_examples_work(name: str, tutorial: Path, tmp_path: Path) -> None:
    Project(tmp_path / "shop", tutorial / ORIGINS[name]).run(ROOT / name)


def test_no_page_with_examples_is_forgotten() -> None:
    with_examples = {
        str(page.relative_to(ROOT))
        for page in PAGES
        if any(block.is_run for block in blocks_of(page))
    }
    elsewhere = {"docs/reference/rest.md"}  # test_rest.py
    assert with_examples <= {*ORIGINS, *elsewhere, str(TUTORIAL.relative_to(ROOT))}
