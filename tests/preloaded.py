"""Processes that need no seconds to import what they use: forked from one that has imported it.

trainer     torch, and all that a trainer imports
operator    what the operator and its workers import; its workers may take little memory, of which
            torch would be the most
"""

import threading
from functools import cache, partial
from multiprocessing import forkserver, popen_forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COMPONENTS = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "supreme_core" / "components").glob("*/[!_]*.py")
)
MODULES = {
    "trainer": (
        "supreme_trainer.command.run",
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
"""Modules whose import takes a process seconds; one that is missing costs them again, nothing
else."""


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
    found = forkserver.ForkServer()
    found.set_forkserver_preload(list(MODULES[of]))
    return found
