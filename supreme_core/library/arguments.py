"""Arguments of public functions, refused in the words of experiments."""

from collections.abc import Collection

from supreme_core.errors import SpecError, nearest_or_all


def one_of(name: str, value: object, allowed: Collection[object]) -> None:
    """Refuse a value that is none of those allowed; the SpecError names the nearest, or all."""
    if value not in allowed:
        known = nearest_or_all(str(value), map(str, allowed), what="allowed")
        raise SpecError(f"{name} is {value!r}{known}")
