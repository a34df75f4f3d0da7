"""Randomness has an address: every stream is a pure function of a seed and a path of words."""

import hashlib
import json
from dataclasses import dataclass

from supreme_core.api.v1alpha1 import SeedProtocol


def derive(seed: int, *address: str | int) -> int:
    """A seed in [0, 2**63) for the stream at `address`.

    Streams of different addresses are independent for all practical purposes (sha256), so adding a
    method or a scenario never changes the numbers of another.
    """
    text = json.dumps([seed, *address], separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


@dataclass(frozen=True)
class Streams:
    """The streams of one training seed, by what they are for.

    independent: each has its own address, so that a training seed, an unlearning repeat j and an
    evaluation repeat k (whose own address `measure` appends) give a stream that no other has.
    matched: that of Original serves all, as where training, unlearning and evaluation are given the
    same number as seed. What each adds to the spread cannot be told apart then.
    """

    seed: int
    protocol: SeedProtocol = "independent"

    def training(self, replica: int = 0) -> int:
        """Stream of Original, and of Retrained's first replica: initial weights and order of
        samples."""
        return derive(self.seed, "training", replica)

    def unlearning(self, repeat: int, method: str) -> int:
        if self.protocol == "matched":
            return self.training()
        return derive(self.seed, "unlearning", repeat, "methods", method)

    def evaluation(self, repeat: int = 0) -> int:
        """Stream of evaluation, the same for every method of the cell. repeat: of unlearning."""
        if self.protocol == "matched":
            return self.training()
        return derive(self.seed, "evaluation", *([repeat] if repeat else []))
