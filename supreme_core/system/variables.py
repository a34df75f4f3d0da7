"""Variables of a trainer's environment that libraries read once, when they start. Pure."""

import re
import sys
from collections.abc import Mapping, Sequence
from typing import Final

FIXED: Final[Mapping[str, str]] = {
    "OMP_NUM_THREADS": "1",  # partial sums, and so the bits, depend on the number of threads
    # Without it cuBLAS may take another workspace, and add in another order, each time.
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
}
"""Variables on which the bits of a result depend, whatever a user has set."""

HUGE_PAGES: Final[Mapping[str, str]] = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
"""Variables for Linux: memory comes in pages of 2 MiB where the system has them to give. It moves
no bit, and saves the processor the work for 512 small ones."""

WORKERS_ON_DEVICE: Final = "SUPREME_WORKERS_ON_DEVICE"
"""Variable with the number of trainers that were started to use the GPUs that a trainer sees, or
its cores where it uses no GPU."""


OF_RANKS: Final = re.compile(
    r"(PET|MASTER|TORCHELASTIC)_.*|((LOCAL|GROUP|ROLE)_)?(RANK|WORLD_SIZE)|ROLE_NAME"
)
"""Names of the variables by which torchrun and its ranks know where they meet, and which they
are."""

VISIBLE_GPUS: Final = "CUDA_VISIBLE_DEVICES"
"""Names the GPUs that a process may use, by number, UUID or MIG instance; unset: all."""

RANKS_MEET_AT: Final[Mapping[str, str]] = {
    "GLOO_SOCKET_IFNAME": "lo0" if sys.platform == "darwin" else "lo"
}
"""Variables by which the ranks of one machine meet. gloo would look up the machine's own name,
which on a laptop or in a container often leads nowhere."""


def gpus(count: int, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Values of VISIBLE_GPUS for each of the GPUs that torch counts here, in its order.

    A list that was given to this process stays the list of what may be used. CUDA reads it up to
    the first entry that is no GPU, so as many entries as it counts are the ones that it uses.
    """
    given = environment.get(VISIBLE_GPUS)
    if given is None:
        return tuple(map(str, range(count)))
    return tuple(map(str.strip, given.split(",")))[:count]


def of_ranks(given: Mapping[str, str], gpus: Sequence[str] = ()) -> dict[str, str]:
    """Variables over the given ones for the ranks of one machine.  gpus: theirs; none for all."""
    meeting = {name: given.get(name, own) for name, own in RANKS_MEET_AT.items()}
    return {**meeting, **({VISIBLE_GPUS: ",".join(gpus)} if gpus else {})}


def of_trainer(given: Mapping[str, str], platform: str = sys.platform) -> dict[str, str]:
    """Environment of a trainer that is started with what is given; a user's own tunables stay.

    Variables of other ranks do not, by which it would wait for them: whoever is started in a pod of
    a PyTorchJob, in its notebook or by torchrun has them.
    """
    pages = HUGE_PAGES if platform == "linux" else {}
    own = {name: value for name, value in given.items() if not OF_RANKS.fullmatch(name)}
    return {**pages, **own, **FIXED}


def of_torchrun(given: Mapping[str, str]) -> dict[str, str]:
    """Variables by which torchrun is told where the machines of its ranks meet."""
    return {name: value for name, value in given.items() if name.startswith("PET_")}
