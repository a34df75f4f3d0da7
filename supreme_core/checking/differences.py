"""Differences between two documents, in words."""

from typing import Any

from supreme_core.api.model import shown

ABSENT = object()


def differences(before: Any, now: Any, at: str) -> list[str]:
    """`params.lr was 0.1 and is 0.2` for each value that differs."""
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            line
            for name in {**before, **now}
            for line in differences(
                before.get(name, ABSENT), now.get(name, ABSENT), f"{at}.{name}" if at else name
            )
        ]
    if before == now and type(before) is type(now):
        return []
    return [f"{at} was {_shown(before)} and is {_shown(now)}"]


def _shown(value: object) -> str:
    return "not given" if value is ABSENT else shown(value)
