"""Tracks of the methods of a tuned experiment: chosen settings, and settings as given. Pure.

Methods of one track had the same help. Only they are tested against one another, share a correction
and a ranking, and stand in one order; what tuning gained is told for each method by itself.
"""

from collections.abc import Collection, Iterable
from typing import Literal

from supreme_core.api import names

SettingsTrack = Literal["original", "chosen", "given"]


def track_of(method: str, tuned: Collection[str]) -> SettingsTrack:
    """Track of a row.  tuned: titles of the methods that were tuned, which have the chosen
    settings; Original, which no method is, has a track of its own."""
    if method == names.ORIGINAL:
        return "original"
    return "chosen" if method in tuned else "given"


def by_track(methods: Iterable[str], tuned: Collection[str]) -> list[list[str]]:
    """The methods of each track that has any, the chosen ones first and Original last."""
    found = [*methods]
    tracks = (
        [each for each in found if track_of(each, tuned) == track]
        for track in ("chosen", "given", "original")
    )
    return [track for track in tracks if track]
