"""The public names of the package."""

from __future__ import annotations

import asyncio
import inspect

import pytest
from django.core.exceptions import SynchronousOnlyOperation

import ai_migration


def test_dir_lists_the_public_names() -> None:
    public = {name for name in dir(ai_migration) if not name.startswith("_")}
    assert public == set(ai_migration.__all__)
    assert "__version__" in dir(ai_migration)
    for name in public:
        assert getattr(ai_migration, name) is not None


def test_search_in_a_coroutine_says_what_to_use() -> None:
    async def view() -> None:
        ai_migration.search("article", "words")

    with pytest.raises(SynchronousOnlyOperation, match="await ai_migration.asearch"):
        asyncio.run(view())


def test_both_searches_take_the_same() -> None:
    one, other = map(inspect.signature, (ai_migration.search, ai_migration.asearch))
    assert one.parameters == other.parameters
    assert inspect.iscoroutinefunction(ai_migration.asearch)
