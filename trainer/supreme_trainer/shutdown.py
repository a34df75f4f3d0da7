"""Signals: stop at once, leave nothing half-written.

Everything that counts in the store is committed atomically, so a trainer can stop between any two
instructions; the next attempt goes on with the stage that was interrupted.
"""

import signal
from types import FrameType

from supreme_core.api.names import EXIT_TERMINATED


class Terminated(SystemExit):
    """Raised by SIGTERM in the main thread; unwinds like Ctrl-C, exits with 143."""


def stop_on_sigterm() -> None:
    def stop(number: int, frame: FrameType | None) -> None:
        raise Terminated(EXIT_TERMINATED)

    signal.signal(signal.SIGTERM, stop)
