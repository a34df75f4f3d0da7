"""Signals: stop soon, leave nothing half-written.

Everything that counts in the store is committed atomically, so a trainer can stop between any two
instructions; the next attempt goes on with the stage that was interrupted. Inside a training it
finishes the step and leaves a checkpoint, so that the next attempt goes on with that step.
"""

import signal
from typing import Final

from supreme_core.engine.ranks.interruption import Interruption
from supreme_core.errors import EXIT_TERMINATED

HAND_OVER: Final = signal.SIGUSR1
"""Asks for the same as SIGTERM, where another process of this machine goes on with the stage."""


def stop_on_sigterm() -> Interruption:
    """Make SIGTERM ask for an interruption from now on, after which the process exits with 143."""
    interruption = Interruption(EXIT_TERMINATED)
    signal.signal(HAND_OVER, lambda number, frame: interruption.request(hands_over=True))
    signal.signal(signal.SIGTERM, lambda number, frame: interruption.request())
    return interruption
