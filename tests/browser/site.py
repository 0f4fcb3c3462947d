"""What the tests do with a browser."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client


class Site:
    """The admin as a browser sees it.

    Args:
        browser: Playwright's.
        base: Where it is served.
    """

    def __init__(self, browser: Any, base: str) -> None:
        self._browser = browser
        self._contexts: list[Any] = []
        self.base = base
        self.complaints: list[str] = []

    def visit(self, path: str, user: User, **context: Any) -> Any:
        """Open a page as somebody, in a browser of their own.

        Args:
            path: Of the page.
            user: Who.
            context: What the browser is like: ``color_scheme``, ``viewport``…
        """
        opened = self._browser.new_context(**context)
        self._contexts.append(opened)
        client = Client()
        client.force_login(user)
        cookie = client.cookies[settings.SESSION_COOKIE_NAME].value
        opened.add_cookies(
            [{"name": settings.SESSION_COOKIE_NAME, "value": cookie, "url": self.base}]
        )
        opened.set_default_timeout(15_000)
        page = opened.new_page()
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(self.base + path)
        return page

    def close(self) -> None:
        """Close all browsers."""
        for context in self._contexts:
            context.close()

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning") and "favicon" not in message.location["url"]:
            self.complaints.append(f"{message.text} {message.location}")
