"""A rank that trains nothing: a real process under a real watch, which is there without torch.

    python -m tests.watched_rank FOLDER RANK SIZE WORK

The ranks meet in FOLDER. Each says `ready` once it is connected, does its WORK (a function below),
and says the end of the run, if there is one, in the one line that goes to standard error.
"""

import ctypes
import struct
import sys
import threading
import time
from pathlib import Path

from supreme_trainer.process.shutdown import stop_on_sigterm

from supreme_core.engine.ranks.failure_watch import SETTLE_SECONDS, End, RankWatch
from supreme_core.engine.ranks.interruption import Terminated
from supreme_core.errors import RankLost, StoreUnavailable, SupremeError

SILENCE_SECONDS, GRACE_SECONDS = 4, 1.0


class FolderStore:
    """Keys are files."""

    def __init__(self, folder):
        self._folder = folder

    def set(self, key, value):
        path = self._folder / key.replace("/", "-")
        path.with_suffix(".new").write_text(value)
        path.with_suffix(".new").rename(path)

    def get(self, key):
        path = self._folder / key.replace("/", "-")
        while not path.exists():
            time.sleep(0.01)
        return path.read_bytes()


def finish(watch):
    """Is done at once."""


def wait(watch):
    """Wait for a word, in Python."""
    sys.stdin.readline()


def hang(watch):
    """Wait in C for ever, deaf to signals, as for a rank that is gone in a collective of NCCL."""
    mutex = ctypes.create_string_buffer(64)  # zeros are an unlocked one
    for _ in range(2):
        ctypes.CDLL(None).pthread_mutex_lock(mutex)


def hold(watch):
    """Let no other thread of Python run for longer than a silence may be."""
    ctypes.PyDLL(None).sleep(SILENCE_SECONDS + 2)


def fail(watch):
    """Wait for a word, and fail."""
    wait(watch)
    raise StoreUnavailable("the store is away")


def fail_alike(watch):
    """Go on only where the others meet the same failure, twice."""
    for _ in range(2):
        if not watch.all_failed("a method"):
            raise SupremeError("a method failed on this rank only")


def vanish(watch):
    """Wait for a word, and be a machine without a network: nothing from rank 0 gets in any more.

    Nor does anything from here get to a rank 0 that is `deaf_to_the_last`, where it matters: the
    kernel that misses the other first sends it a reset, which a real machine without a network
    would not get out.
    """
    _filter(watch._links[0], NO_RESETS)
    print("deaf", flush=True)
    wait(watch)
    _filter(watch._links[0], NOTHING)
    threading.Event().wait()


def deaf_to_the_last(watch):
    """Be rank 0, which gets no reset from the last rank. Wait for a word."""
    _filter(watch._links[watch.size - 1], NO_RESETS)
    print("deaf", flush=True)
    wait(watch)


NOTHING = [(0x06, 0, 0, 0)]
"""A BPF program that lets no packet in: return 0."""

NO_RESETS = [
    (0x30, 0, 0, 13),  # the byte of the flags in the header of TCP
    (0x45, 1, 0, 0x04),  # where RST is set, skip
    (0x06, 0, 0, 0xFFFFFFFF),  # let it in
    *NOTHING,
]


def _filter(link, program):
    """Let in to the connection what the program does."""
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in program)
    held = ctypes.create_string_buffer(code)
    found = struct.pack("HP", len(program), ctypes.addressof(held))
    link.socket.setsockopt(1, 26, found)  # SOL_SOCKET, SO_ATTACH_FILTER


def collect(watch):
    """Rank 1 joins a group of gloo, says so and waits for a word; the others wait for a number."""
    from torch.distributed import FileStore  # takes seconds

    from supreme_core.engine.ranks.ranks import Ranks

    meeting = FileStore(str(Path(sys.argv[1]) / "meeting"), watch.size)
    ranks = Ranks.start("cpu", watch, meeting)
    if watch.rank == 1:
        print("joined", flush=True)
        sys.stdin.readline()
    ranks.each(1.0)


def say(end):
    print(end.line, file=sys.stderr, flush=True)


def main(folder, rank, size, work):
    interruption = stop_on_sigterm()
    watch = RankWatch(rank, size, interruption, say, silence=SILENCE_SECONDS, grace=GRACE_SECONDS)
    try:
        watch.connect(FolderStore(folder), "localhost", seconds=60)
        print("ready", flush=True)
        work(watch)
    except (SupremeError, Terminated) as error:
        interruption.ignore()
        end = End(rank, f"rank {rank} was told to stop", 143)
        if isinstance(error, SupremeError):
            end = End(rank, f"rank {rank}: {error}", error.exit_code)
        follows = isinstance(error, RankLost | Terminated)
        watch.end(end, is_said=False, wait=SETTLE_SECONDS if follows else 0.0)
    watch.leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), globals()[sys.argv[4]])
