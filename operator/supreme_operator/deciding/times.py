"""Times as Kubernetes writes them: ISO 8601, to the second. Pure."""

from datetime import UTC, datetime


def time_of(text: object) -> datetime | None:
    """The time that is written; None where nothing is."""
    return datetime.fromisoformat(text) if isinstance(text, str) else None


def newest(*times: object) -> datetime | None:
    """The latest of those that are there."""
    return max(filter(None, map(time_of, times)), default=None)


def written(time: datetime) -> str:
    """The time in UTC, such as 2026-01-01T00:00:00Z."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
