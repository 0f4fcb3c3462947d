"""The public names of the package."""

from __future__ import annotations

import asyncio
import inspect
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.exceptions import SynchronousOnlyOperation

import ai_migration


def test_dir_lists_the_public_names() -> None:
    public = {name for name in dir(ai_migration) if not name.startswith("_")}
    assert public == set(ai_migration.__all__)
    assert "__version__" in dir(ai_migration)
    for name in public:
        assert getattr(ai_migration, name) is not None


def test_search_in_a_coroutine_says_what_to_use(monkeypatch: pytest.MonkeyPatch) -> None:
    # A browser of another test may keep an event loop in this thread, and allow what is refused.
    monkeypatch.delenv("DJANGO_ALLOW_ASYNC_UNSAFE", raising=False)

    async def view() -> None:
        ai_migration.search("article", "words")

    with (
        ThreadPoolExecutor(1) as executor,
        pytest.raises(SynchronousOnlyOperation, match="await ai_migration.asearch"),
    ):
        executor.submit(lambda: asyncio.run(view())).result()


def test_both_searches_take_the_same() -> None:
    one, other = map(inspect.signature, (ai_migration.search, ai_migration.asearch))
    assert one.parameters == other.parameters
    assert inspect.iscoroutinefunction(ai_migration.asearch)
