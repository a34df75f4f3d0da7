"""Variables of a trainer's environment that libraries read once, when they start. Pure."""

import sys
from collections.abc import Mapping
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

WORKERS_ON_GPUS: Final = "SUPREME_WORKERS_ON_GPUS"
"""Variable with the number of trainers that were started to use the GPUs that a trainer sees, or
its cores where it uses no GPU."""


def of_trainer(given: Mapping[str, str], platform: str = sys.platform) -> dict[str, str]:
    """Environment of a trainer that is started with what is given; a user's own tunables stay."""
    pages = HUGE_PAGES if platform == "linux" else {}
    return {**pages, **given, **FIXED}
