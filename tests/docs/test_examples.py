"""What the documentation shows is what happens: its examples are typed in and compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, Project, blocks_of, snapshot_position

TUTORIAL = ROOT / "docs" / "tutorial.md"
ORIGINS = {
    "README.md": "shop",
    "docs/howto/own-project.md": "indexed",
    "docs/reference/python-api.md": "indexed",
}
"""Where in the tutorial's project a page begins."""

Origin = Callable[[str], Path]


@pytest.fixture(scope="session")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Origin:
    """Makes the tutorial's project up to one of its snapshots, once."""
    made: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in made:
            directory = tmp_path_factory.mktemp("origin") / name
            Project(directory).run(TUTORIAL, until=snapshot_position(TUTORIAL, name))
            made[name] = directory
        return made[name]

    return make


def test_the_tutorial_works(tmp_path: Path) -> None:
    Project(tmp_path / "shop").run(TUTORIAL)


@pytest.mark.parametrize("name", ORIGINS)
def test_the_examples_work(name: str, origin: Origin, tmp_path: Path) -> None:
    Project(tmp_path / "shop", origin(ORIGINS[name])).run(ROOT / name)


def test_no_page_with_examples_is_forgotten() -> None:
    with_examples = {
        str(page.relative_to(ROOT))
        for page in PAGES
        if any(block.is_run for block in blocks_of(page))
    }
    assert with_examples <= {*ORIGINS, str(TUTORIAL.relative_to(ROOT))}
