"""Processes that need no seconds to import what they use: forked from one that has imported it.

trainer     torch, and all that a trainer imports
operator    what the operator and its workers import; its workers may take little memory, of which
            torch would be the most
tests       both, and every module of tests that is collected: of this one the processes of
            `pytest -n` are
"""

import os
import socket
import threading
from functools import cache, partial
from multiprocessing import forkserver, popen_forkserver
from multiprocessing.connection import arbitrary_address
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

import pytest

from supreme_core.registry import REGISTRIES

ROOT = Path(__file__).parents[1]
COMPONENTS = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "supreme_core" / "components").glob("*/[!_]*.py")
)
MODULES = {
    "trainer": (
        "supreme_trainer.command.run",
        *("supreme_core.publishing.publish", "supreme_trainer.command.screen"),  # in its end
        "supreme_trainer.process.trainer",
        "torch._inductor.config",  # by torch.use_deterministic_algorithms, and by each optimiser
        "sklearn.datasets",
        "sklearn.linear_model",
        "timm",
        "tests.trainer.trainers",
        "tests.real_ranks",
        *COMPONENTS,
    ),
    "operator": (
        "supreme_operator.main",
        "supreme_operator.results.worker",
        "supreme_core.publishing.publish",
        "matplotlib.backends.backend_svg",
        "tests.warm",
    ),
}
MODULES["tests"] = ("tests.collected", *MODULES["operator"], *MODULES["trainer"])
MODULES["operator"] += ("tests.published",)
"""Modules whose import takes a process seconds; one that is missing costs them again, nothing
else."""

COLLECTED = "SUPREME_TESTS_COLLECTED"
"""Variable with the arguments of a run of tests, as JSON, for tests.collected."""


def context(of="trainer"):
    """Return a context of multiprocessing. All processes of a test process fork from one of each
    kind, made when needed."""
    found = ForkServerContext()
    found.Process = partial(Process, of)
    return found


class Process(ForkServerProcess):
    def __init__(self, of, **options):
        super().__init__(**options)
        self.of = of

    @staticmethod
    def _Popen(process):
        """multiprocessing knows one server only, by a function that is another one meanwhile."""
        with _LOCK, pytest.MonkeyPatch.context() as patch:
            ours = _server(process.of).connect_to_new_process
            patch.setattr(forkserver, "connect_to_new_process", ours)
            return popen_forkserver.Popen(process)


_LOCK = threading.Lock()


@cache
def _server(of):
    found = Server()
    found.set_forkserver_preload([*MODULES[of], "tests.frozen"])
    return found


def fork_server(of):
    """Fork that server from this process, which has imported all that it needs and has no other
    thread yet."""
    _server(of).fork()


class Server(forkserver.ForkServer):
    def fork(self):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(address := arbitrary_address("AF_UNIX"))
            listener.listen()
            alive, self._forkserver_alive_fd = os.pipe()
            self._forkserver_pid = os.fork()
            if self._forkserver_pid == 0:
                self._serve(listener, alive)
            os.close(alive)
            self._forkserver_address = address

    def _serve(self, listener, alive):
        """Serve until nobody has the other end of `alive`; each process looks for plug-ins anew."""
        try:
            for each in REGISTRIES:
                each._discovered = False
            os.close(self._forkserver_alive_fd)
            with open(os.devnull, "r+b") as nothing:
                for number in (0, 1):
                    os.dup2(nothing.fileno(), number)
            forkserver.main(listener.fileno(), alive, ())
        finally:
            os._exit(0)
