"""Work in passes of samples: a forward pass is one, a backward pass two."""

from typing import Final

FORWARD: Final = 1
BACKWARD: Final = 2
TRAINING: Final = FORWARD + BACKWARD
"""Passes of one sample that is trained on."""


def retraining_passes(epochs: int, samples: int) -> int:
    """Passes of Retrained's training.  samples: that are retained."""
    return TRAINING * epochs * samples
