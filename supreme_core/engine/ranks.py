"""The processes that compute one stage together. Passed on, never global."""

import json
import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self

import torch
import torch.distributed as dist
from torch import Tensor

TIMEOUT = timedelta(minutes=30)
"""Longest wait for another rank: rank 0 alone prepares a dataset and writes to the store."""


@dataclass(frozen=True)
class Ranks:
    """rank of size, and the device of this rank."""

    rank: int
    size: int
    device: torch.device

    @classmethod
    def alone(cls, device: torch.device) -> Self:
        return cls(0, 1, device)

    @classmethod
    def start(cls, device: str) -> Self:
        """The ranks that torchrun started, or this process alone.

        device: cpu or cuda. On CUDA each rank takes the GPU of its local rank.
        """
        size = int(os.environ.get("WORLD_SIZE", "1"))
        chosen = torch.device(device)
        if device == "cuda":
            chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
            torch.cuda.set_device(chosen)
        if size == 1:
            return cls.alone(chosen)
        dist.init_process_group("nccl" if device == "cuda" else "gloo", timeout=TIMEOUT)
        return cls(dist.get_rank(), size, chosen)

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def close(self) -> None:
        if self.size > 1:
            dist.destroy_process_group()

    def tree_sum(self, values: Tensor) -> Tensor:
        """The sum of a flat tensor over ranks, in a fixed binary tree; the same bits on each rank.

        all_to_all gives each rank the same shard of everybody, which it adds pairwise; all_gather
        spreads the sums. Both only move bytes, so the order of additions is ours, and the volume
        is that of a ring.
        """
        if self.size == 1:
            return values
        width = -(-values.numel() // self.size)
        mine = torch.nn.functional.pad(values, (0, width * self.size - values.numel()))
        shards = torch.empty_like(mine)
        dist.all_to_all_single(shards, mine)
        rows = shards.view(self.size, width)
        while len(rows) > 1:
            even = len(rows) // 2 * 2
            rows = torch.cat([rows[0:even:2] + rows[1:even:2], rows[even:]])
        total = torch.empty_like(mine)
        dist.all_gather_into_tensor(total, rows[0].contiguous())
        return total[: values.numel()]

    def gather_rows(self, rows: Tensor, counts: list[int]) -> Tensor:
        """(sum of counts, ...): the rows of rank 0, then of rank 1, ...; rank r has counts[r]."""
        if self.size == 1:
            return rows
        longest = max(counts)
        padded = rows.new_zeros((longest, *rows.shape[1:]))
        padded[: len(rows)] = rows
        everyone = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(everyone, padded)
        return torch.cat([part[:count] for part, count in zip(everyone, counts, strict=True)])

    def each(self, value: float) -> list[float]:
        """A number of each rank, by rank."""
        if self.size == 1:
            return [value]
        mine = torch.tensor([value], dtype=torch.float64, device=self.device)
        everyone = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(everyone, mine)
        return [float(other) for other in everyone]

    def share(self, document: Any) -> Any:
        """A JSON document of rank 0, on every rank. JSON, because torch's own way unpickles."""
        if self.size == 1:
            return document
        data = json.dumps(document).encode() if self.is_main else b""
        length = torch.tensor([len(data)], device=self.device)
        dist.broadcast(length, src=0)
        size = int(length)
        bytes_ = torch.zeros(size, dtype=torch.uint8, device=self.device)
        if self.is_main:
            bytes_ = torch.frombuffer(bytearray(data), dtype=torch.uint8).to(self.device)
        dist.broadcast(bytes_, src=0)
        return json.loads(bytes(bytes_.cpu().tolist()))
