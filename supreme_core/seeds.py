"""Randomness has an address: every stream is a pure function of a seed and a path of words."""

import hashlib
import json


def derive(seed: int, *address: str | int) -> int:
    """A seed in [0, 2**63) for the stream at `address`.

    Streams of different addresses are independent for all practical purposes (sha256), so adding a
    method or a scenario never changes the numbers of another.
    """
    text = json.dumps([seed, *address], separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
