"""Requests to this process to stop, and the places where it may do so."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from supreme_core.errors import HeldElsewhere


class Terminated(SystemExit):
    """This process was told to stop; raised where nothing is lost by it."""


@dataclass
class Interruption:
    """State of a request to stop this process, and whether it may end at any instruction.

    hands_over: a process of this machine is about to go on with what this one has claimed.
    """

    exit_code: int
    requested: bool = False
    is_deferred: bool = False
    hands_over: bool = False

    def request(self, *, hands_over: bool = False) -> None:
        """Called by the signal's handler: stop here, or at the end of the step that is running.

        Only the first time: what is torn down then must not be torn down in its turn.
        """
        self.hands_over = hands_over  # the machine may be told to stop meanwhile
        if self.requested:
            return
        self.requested = True
        if not self.is_deferred:
            raise Terminated(self.exit_code)

    def ignore(self) -> None:
        """Ignore a request from now on, because this process ends anyway."""
        self.requested = True

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside, a request waits until somebody asks for `requested`, or for the end."""
        self.is_deferred = True
        try:
            yield
        except HeldElsewhere:  # there is nothing to save, and nothing to look for after a request
            if not self.requested:
                raise
        finally:
            self.is_deferred = False
        if self.requested:
            raise Terminated(self.exit_code)
