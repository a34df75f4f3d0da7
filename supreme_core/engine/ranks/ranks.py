"""The processes that compute one stage together. Passed on, never global."""

import gc
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Self

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import Store
from torch.distributed.rendezvous import rendezvous

from supreme_core.engine.ranks.failure_watch import Watch
from supreme_core.errors import RankLost, SpecError
from supreme_core.system.cores import cores
from supreme_core.system.faults import fault_of
from supreme_core.system.variables import WORKERS_ON_DEVICE

TIMEOUT = timedelta(minutes=30)
"""Longest wait for another rank: rank 0 alone prepares a dataset and writes to the store."""

FEW_NUMBERS = 2**12
"""Most numbers of a tensor that every rank sends to every other one as a whole."""


def meet(watch: Watch) -> Store | None:
    """Connect the watches of all ranks; gives the place where they met, None for a process alone.

    Raises RankLost.
    """
    if watch.size == 1:
        return None
    with _together():
        store: Store
        store, _, _ = next(rendezvous("env://", timeout=TIMEOUT))
        watch.connect(store, os.environ["MASTER_ADDR"], seconds=TIMEOUT.total_seconds())
    return store


@dataclass(frozen=True)
class Ranks:
    """rank of size, and the device of this rank.

    all_failed: see Watch.  shares_device: other processes use the device too, or these are a team,
    so that times are not those of one process by itself.
    """

    rank: int
    size: int
    device: torch.device
    all_failed: Callable[[str], bool] = lambda work: True
    shares_device: bool = False

    @classmethod
    def alone(cls, device: torch.device) -> Self:
        return cls(0, 1, device)

    @classmethod
    def start(cls, device: str, watch: Watch, store: Store | None) -> Self:
        """The ranks that met at the store, or this process alone. Raises RankLost.

        device: cpu, cuda, or mps for a process alone. On CUDA each rank takes the GPU of its local
        rank; SpecError where there is none. Processes that are alone may share one.
        """
        chosen = torch.device(device)
        if device == "cuda":
            local_rank = int(os.environ.get("LOCAL_RANK", "0"))
            alone = store is None
            chosen = _own_gpu(local_rank % torch.cuda.device_count() if alone else local_rank)
        if store is None:
            return replace(cls.alone(chosen), shares_device=_is_shared(device))
        # Numbers of the work travel by NCCL; words travel by gloo, so that a rank that waits while
        # rank 0 prepares keeps no GPU busy, and none is aborted by NCCL when that takes long.
        backend, bound = ("cpu:gloo,cuda:nccl", chosen) if device == "cuda" else ("gloo", None)
        with _together():
            dist.init_process_group(
                backend,
                store=store,
                rank=watch.rank,
                world_size=watch.size,
                timeout=TIMEOUT,
                device_id=bound,
            )
        return cls(watch.rank, watch.size, chosen, watch.all_failed)

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def close(self) -> None:
        """Part, once all are here: a failure of rank 0 in its last write is one of all ranks."""
        if self.size > 1:
            self.each(0.0)
            gc.collect()  # of what still holds the group, such as a DistributedDataParallel
            dist.destroy_process_group()

    def tree_sum(self, values: Tensor) -> Tensor:
        """The sum of a flat tensor over ranks, in a fixed binary tree; the same bits on each rank.

        all_to_all gives each rank the same shard of everybody, which it adds pairwise; all_gather
        spreads the sums. Both only move bytes, so the order of additions is ours, and the volume
        is that of a ring. Of a few numbers, for which two messages take longer than their bytes,
        everybody gets all in one and adds them the same way.
        """
        if self.size == 1:
            return values
        if values.numel() <= FEW_NUMBERS:
            everyone = values.new_empty(self.size * values.numel())
            with _together():
                dist.all_gather_into_tensor(everyone, values.contiguous())
            return _pairwise_sum(everyone.view(self.size, -1))
        width = -(-values.numel() // self.size)
        mine = torch.nn.functional.pad(values, (0, width * self.size - values.numel()))
        shards = torch.empty_like(mine)
        with _together():
            dist.all_to_all_single(shards, mine)
        total = torch.empty_like(mine)
        with _together():
            dist.all_gather_into_tensor(total, _pairwise_sum(shards.view(self.size, width)))
        return total[: values.numel()]

    def gather_rows(self, rows: Tensor, counts: list[int]) -> Tensor:
        """(sum of counts, ...): the rows of rank 0, then of rank 1, ...; rank r has counts[r]."""
        if self.size == 1:
            return rows
        longest = max(counts)
        padded = rows.new_zeros((longest, *rows.shape[1:]))
        padded[: len(rows)] = rows
        everyone = [torch.empty_like(padded) for _ in counts]
        with _together():
            dist.all_gather(everyone, padded)
        return torch.cat([part[:count] for part, count in zip(everyone, counts, strict=True)])

    def of_main(self, values: Tensor) -> Tensor:
        """The tensor of rank 0, on every rank; all have one of that shape and type."""
        with _together():
            dist.broadcast(values, src=0)
        return values

    def each(self, value: float) -> list[float]:
        """A number of each rank, by rank."""
        if self.size == 1:
            return [value]
        mine = torch.tensor([value], dtype=torch.float64)
        everyone = [torch.empty_like(mine) for _ in range(self.size)]
        with _together():
            dist.all_gather(everyone, mine)
        return [float(other) for other in everyone]

    def share(self, document: Any) -> Any:
        """A JSON document of rank 0, on every rank. JSON, because torch's own way unpickles."""
        if self.size == 1:
            return document
        data = json.dumps(document).encode() if self.is_main else b""
        length = torch.tensor([len(data)])
        with _together():
            dist.broadcast(length, src=0)
        size = int(length)
        bytes_ = torch.zeros(size, dtype=torch.uint8)
        if self.is_main:
            bytes_ = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        with _together():
            dist.broadcast(bytes_, src=0)
        return json.loads(bytes(bytes_.tolist()))


def _is_shared(device: str) -> bool:
    """Return whether there are fewer GPUs, or cores, than processes that were started for them."""
    count = {"cpu": cores, "cuda": torch.cuda.device_count}.get(device, lambda: 1)()
    return int(os.environ.get(WORKERS_ON_DEVICE, "1")) > count


def _own_gpu(local_rank: int) -> torch.device:
    """Make the GPU of a local rank that of this process."""
    count = torch.cuda.device_count()
    if local_rank >= count:
        raise SpecError(
            f"LOCAL_RANK is {local_rank}, and torch sees {count} CUDA devices, of which each rank"
            " takes one; use no more ranks on a machine (processesPerNode, --ranks) than it has"
        )
    chosen = torch.device("cuda", local_rank)
    torch.cuda.set_device(chosen)
    return chosen


def _pairwise_sum(rows: Tensor) -> Tensor:
    """The sum of rows in a binary tree, in memory of its own."""
    while len(rows) > 1:
        even = len(rows) // 2 * 2
        rows = torch.cat([rows[0:even:2] + rows[1:even:2], rows[even:]])
    return rows[0].contiguous()


@contextmanager
def _together() -> Iterator[None]:
    """Turn an error of torch where a rank is gone into RankLost; unlike an error of the work it is
    nobody's result.

    A fault of this rank's own device often shows in a collective operation first.
    """
    try:
        yield
    except RuntimeError as error:
        if fault_of(error) in ("device", "memory"):
            raise
        first_line = str(error).partition("\n")[0]
        raise RankLost(f"the ranks cannot reach one another: {first_line}") from error
