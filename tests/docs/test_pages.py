"""The pages themselves: links lead somewhere, code is code, all of it is reachable."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.docs.pages import PAGES, ROOT, blocks_of

LINKING = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md"]
_FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def prose(page: Path) -> str:
    return re.sub(r"`[^`\n]*`", "", _FENCED.sub("", page.read_text()))


def anchors(page: Path) -> set[str]:
    """The anchors a page's headings get on GitHub."""
    headings = re.findall(r"^#+ (.+)$", _FENCED.sub("", page.read_text()), re.MULTILINE)
    plain = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", LINKING, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(prose(page)):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name(page)} links to {link}"
        if anchor:
            assert anchor in anchors(target), f"{name(page)} links to {link}"


def test_every_page_is_reached_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        paths = (link.partition("#")[0] for link in _LINK.findall(prose(page)))
        waiting += [(page.parent / path).resolve() for path in paths if path and ":" not in path]
    assert set(PAGES) <= reached


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_example_says_what_it_is(page: Path) -> None:
    """Nobody forgets to have one run: those that are not, say so."""
    for block in blocks_of(page):
        if block.language in ("python", "pycon", "console", "yaml"):
            assert block.is_run or "norun" in block.info.split(), f"{name(page)}:{block.line}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_examples_that_are_not_run_can_be_read(page: Path) -> None:
    for block in blocks_of(page):
        if block.language == "python":
            body = block.body if not block.body.startswith('"') else f"{{{block.body}}}"
            compile(body, f"{name(page)}:{block.line}", "exec")
        elif block.language == "yaml":
            YAML(typ="safe").load(block.body)
        elif block.language == "json":
            json.loads(block.body)


def test_the_commands_of_the_readme_stand_in_its_first_screen() -> None:
    screen = "\n".join((ROOT / "README.md").read_text().splitlines()[:30])
    for line in (
        'python3 -m venv .venv && .venv/bin/pip install -q -e ".[demo]" && '
        ".venv/bin/python example_project/manage.py demo",
        'python3 -m venv .venv && .venv/bin/pip install -q -e ".[dev]" && .venv/bin/pytest',
    ):
        assert f"\n{line}\n" in screen
