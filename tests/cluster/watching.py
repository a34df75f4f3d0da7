"""Objects of a cluster as they change: who waits for something is told, and need not ask.

A look takes the API server and a test some milliseconds of a processor, and there would be ten a
second.
"""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from urllib3 import HTTPResponse
from urllib3.exceptions import HTTPError

Ask = Callable[..., Any]
"""Method of a client that lists objects, with all that says which."""


def changes(ask: Ask, since: str, seconds: float) -> Iterator[dict[str, Any]]:
    """Each object that is made or changed after a resourceVersion.

    They end after so many seconds, or earlier where the server or the connection does.
    """
    yield from _objects(_watch(ask, since, seconds))


class Watch:
    """Changes that another thread may end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answer: HTTPResponse | None = None
        self._is_over = False

    def changes(self, ask: Ask, since: str) -> Iterator[dict[str, Any]]:
        answer = _watch(ask, since, seconds=3600)
        with self._lock:
            self._answer = answer
            if self._is_over:
                self._end()
        yield from _objects(answer)

    def end(self) -> None:
        """End what is watched now or next."""
        with self._lock:
            self._is_over = True
            self._end()

    def _end(self) -> None:
        connection = self._answer.connection if self._answer else None
        if connection and connection.sock:
            with suppress(OSError):  # it is closed already
                # Not that of SSL, after which whoever reads has a socket without SSL.
                socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)


def _watch(ask: Ask, since: str, seconds: float) -> HTTPResponse:
    answer: HTTPResponse = ask(
        watch=True,
        resource_version=since,
        timeout_seconds=max(1, round(seconds)),
        _preload_content=False,
    )
    return answer


def _objects(answer: HTTPResponse) -> Iterator[dict[str, Any]]:
    try:
        for event in map(json.loads, _lines(answer)):
            if event.get("type") not in ("ADDED", "MODIFIED", "DELETED"):
                return  # an error, such as a version that the server no longer knows
            if event["type"] != "DELETED":
                yield event["object"]
    except (HTTPError, OSError):  # the server is gone, or somebody ended it
        return
    finally:
        answer.close()


def _lines(answer: HTTPResponse) -> Iterator[bytes]:
    rest = b""
    for chunk in answer.stream(None):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
