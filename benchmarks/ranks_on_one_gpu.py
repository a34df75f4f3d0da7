"""A trainer that is one of several ranks on one GPU, which NCCL refuses.

    torchrun --standalone --nproc-per-node=2 -m benchmarks.ranks_on_one_gpu ORDER.json --device cuda

Bytes of the GPU travel by gloo through the host. The additions, and with them the bits, are those
of ranks on GPUs of their own.
"""

import os
import runpy
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def share_the_gpu() -> None:
    """Let the collective operations of torch go through the host, and all ranks take GPU 0."""
    os.environ["LOCAL_RANK"] = "0"
    start = dist.init_process_group

    def by_gloo(backend: str, *, device_id: object = None, **named: Any) -> None:
        start("gloo", **named)

    dist.init_process_group = by_gloo
    for name in ("all_to_all_single", "all_gather_into_tensor"):
        setattr(dist, name, _into_one(getattr(dist, name)))
    dist.all_gather, dist.broadcast = _into_many(dist.all_gather), _of_one(dist.broadcast)


def _into_one(collective: Callable[[Tensor, Tensor], Any]) -> Callable[[Tensor, Tensor], None]:
    def through_the_host(target: Tensor, source: Tensor) -> None:
        host = torch.empty(target.shape, dtype=target.dtype)
        collective(host, source.cpu())
        target.copy_(host)

    return through_the_host


def _into_many(collective: Callable[[list[Tensor], Tensor], Any]) -> Callable[..., None]:
    def through_the_host(targets: list[Tensor], source: Tensor) -> None:
        hosts = [torch.empty(target.shape, dtype=target.dtype) for target in targets]
        collective(hosts, source.cpu())
        for target, host in zip(targets, hosts, strict=True):
            target.copy_(host)

    return through_the_host


def _of_one(collective: Callable[..., Any]) -> Callable[..., None]:
    def through_the_host(tensor: Tensor, *, src: int) -> None:
        host = tensor.cpu().contiguous()
        collective(host, src=src)
        tensor.copy_(host)

    return through_the_host


if __name__ == "__main__":
    share_the_gpu()
    runpy.run_module("supreme_trainer.process.trainer", run_name="__main__")
