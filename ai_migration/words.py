"""Words of messages: counts with the right form of their noun."""

from __future__ import annotations


def counted(number: int, one: str, many: str = "") -> str:
    """Return a count with its noun: ``1 request``, ``1,200 requests``, ``2 entries``.

    Args:
        number: The count.
        one: The noun, with its adjectives, for one.
        many: The same for other counts; default: with an ``s``, or ``ies`` for ``y``.
    """
    if number == 1:
        return f"1 {one}"
    regular = f"{one[:-1]}ies" if one.endswith(("ry", "ty", "cy")) else f"{one}s"
    return f"{number:,} {many or regular}"
