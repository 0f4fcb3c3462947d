"""Values of requests and adjustments of jobs, each with its bounds."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import get_type_hints

from ai_migration.conf import get_settings
from ai_migration.exceptions import InvalidRequestError, shown
from ai_migration.types import JobChanges, MigrationRequest

MAX_COST = 10**9
CENT = Decimal("0.01")
"""The smallest amount of money that is distinguished."""


@dataclass(frozen=True)
class Budget:
    """The tokens or the money a job may use before it is paused.

    Attributes:
        max_tokens: Tokens; None: any number.
        max_cost: Money; None: any amount.
        token_price: The price of a million tokens; None: not configured.
    """

    max_tokens: int | None = None
    max_cost: Decimal | None = None
    token_price: Decimal | None = None


def check_budget(
    max_tokens: int | None, max_cost: Decimal | float | str | None, embedder: str
) -> Budget:
    """Return a budget that can be kept.

    Args:
        max_tokens: Tokens within their bounds, or None.
        max_cost: Money, or None.
        embedder: Alias of the embedder.

    Raises:
        InvalidRequestError: A value is not acceptable, or the embedder has no price.
    """
    configured = get_settings().EMBEDDERS.get(embedder)
    price = configured.PRICE_PER_MILLION_TOKENS if configured else None
    cost = None if max_cost is None else _money(max_cost)
    if cost is not None and not price:
        raise InvalidRequestError(
            f"max_cost needs a price: set AI_MIGRATION['EMBEDDERS'][{embedder!r}]"
            f"['PRICE_PER_MILLION_TOKENS'], or limit the tokens with max_tokens",
            field="max_cost",
        )
    return Budget(max_tokens, cost, price)


def _money(value: Decimal | float | str) -> Decimal:
    try:
        amount = Decimal(str(value)).quantize(CENT)
    except InvalidOperation:
        amount = Decimal(0)
    if not amount.is_finite() or not 0 < amount <= MAX_COST or isinstance(value, bool):
        raise InvalidRequestError(
            f"max_cost must be an amount from 0.01 to {MAX_COST}, not {shown(value, 20)}",
            field="max_cost",
        )
    return amount


def require_text(value: str, field: str, most: int | None = None) -> None:
    """Refuse text that a database does not accept, or that is too long.

    Raises:
        InvalidRequestError: ``field`` says which.
    """
    if most is not None and len(value) > most:
        raise InvalidRequestError(
            f"{field} has {len(value)} characters: at most {most} are kept", field=field
        )
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise InvalidRequestError(
            f"{field} has a character that no database accepts (NUL, or half of a surrogate pair)",
            field=field,
        )


def require_bounds(asked: MigrationRequest | JobChanges) -> None:
    """Refuse a whole number that is outside the bounds of its field.

    Raises:
        InvalidRequestError: ``field`` says which.
    """
    for name, hint in get_type_hints(type(asked), include_extras=True).items():
        for bound in getattr(hint, "__metadata__", ()):
            require_range(getattr(asked, name), name, bound.most)


def require_range(value: int | None, field: str, most: int) -> None:
    """Refuse what is not a whole number from 1 to ``most``.

    Raises:
        InvalidRequestError: ``field`` says which.
    """
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise InvalidRequestError(
            f"{field} must be a whole number from 1 to {most}, not {shown(value, 20)}",
            field=field,
        )
