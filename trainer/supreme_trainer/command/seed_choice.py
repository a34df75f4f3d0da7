"""`supreme run --seeds`: which of an experiment's seeds one process computes."""

import re
from collections.abc import Sequence
from itertools import islice

from supreme_core.errors import SpecError
from supreme_core.report.words import seed_ranges

PART = re.compile(r"\s*([0-9]{1,10})(?:\s*-\s*([0-9]{1,10}))?\s*")
SHOWN = 5


def chosen_seeds(text: str, seeds: Sequence[int]) -> list[int]:
    """The seeds that `3`, `3,7` or `3-5,9` names, in the experiment's order.

    SpecError where the experiment does not have all of them.
    """
    ranges = [_range(part, text) for part in text.split(",")]
    there = set(seeds)
    unknown = (seed for each in ranges for seed in each if seed not in there)
    if missing := [*islice(unknown, SHOWN)]:
        more = ", ..." if len(missing) == SHOWN else ""
        raise SpecError(
            f"--seeds names {', '.join(map(str, missing))}{more}, which the experiment does not"
            f" have; its seeds are {seed_ranges(seeds)}"
        )
    return [seed for seed in seeds if any(seed in each for each in ranges)]


def _range(part: str, text: str) -> range:
    found = PART.fullmatch(part)
    if found is None:
        raise SpecError(f"--seeds is {text!r}; it should be like 3, 3,7 or 3-5,9")
    first, last = int(found[1]), int(found[2] or found[1])
    if last < first:
        raise SpecError(f"--seeds is {text!r}, where {part.strip()} ends before it begins")
    return range(first, last + 1)
