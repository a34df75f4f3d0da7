"""Files that a user names: opened only where they are files, and read only up to a limit.

Opening a pipe waits for somebody to write into it, and a device may never end.
"""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO, Final

OTHERS: Final = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}

STREAMS: Final = ("/proc/", "/dev/fd/")
"""Folders of the pipes that a shell hands over, as in `supreme run <(envsubst <
experiment.yaml)`."""


class NotAFile(OSError):
    """Something else lies under the name of a file; `strerror` says what."""


def require_file(path: Path) -> None:
    """Raise NotAFile for what is no regular file, and OSError where nothing can be found."""
    _require(os.stat(path).st_mode, path)


def open_file(path: Path) -> BinaryIO:
    """Open a regular file for reading; raises NotAFile, or OSError, and waits for nobody."""
    require_file(path)  # a socket cannot even be opened
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _require(os.fstat(descriptor).st_mode, path)  # it may be another one by now
    except OSError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def read_file(path: Path, *, limit: int, streams: bool = False) -> bytes:
    """All bytes of a file; OSError beyond `limit`.

    streams: a pipe that a shell has opened for the command is read too.
    """
    with path.open("rb") if streams and _is_stream(path) else open_file(path) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"it has more than the {limit:,} bytes that are read", str(path))
    return data


def _is_stream(path: Path) -> bool:
    is_pipe = stat.S_ISFIFO(os.stat(path).st_mode)
    return is_pipe and os.path.realpath(path).startswith(STREAMS)


def _require(mode: int, path: Path) -> None:
    if not stat.S_ISREG(mode):
        kind = OTHERS.get(stat.S_IFMT(mode), "a device")
        raise NotAFile(errno.EINVAL, f"it is {kind}, not a file", str(path))
