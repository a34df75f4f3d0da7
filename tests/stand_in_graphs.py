"""A stand-in for CUDA graphs: operations are noted once and run again on the same tensors.

As with a graph of CUDA, what Python computed while it was recorded stays as it was then; only what
lies in tensors can differ from replay to replay. What was recorded has no values before the first
replay, random numbers come from torch's generator as it stands at a replay, and neither a wait for
the device nor another seed may be recorded.

Not simulated: memory that graphs share, streams, and whether a GPU takes the same kernels.
"""

from contextlib import contextmanager

import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map

WAITING = {
    *("_local_scalar_dense", "equal", "nonzero", "masked_select", "_unique2", "unique_dim"),
    "bincount",
}
"""Operations whose result the host needs before it goes on."""

NOT_ALLOWED = "CUDA error: operation not permitted when stream is capturing"


class Recorder(TorchDispatchMode):
    """Notes operations with their tensors, all but views.

    made: tensors that were not there before.
    """

    def __init__(self):
        super().__init__()
        self.calls, self.made = [], []

    @classmethod
    def _should_skip_dynamo(cls):
        return False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func._schema.name.removeprefix("aten::") in WAITING:
            raise RuntimeError(NOT_ALLOWED)
        found = func(*args, **kwargs)
        given = {_storage(each) for each in _tensors((args, kwargs))}
        new = [each for each in _tensors(found) if _storage(each) not in given]
        if new or func._schema.is_mutable or not _tensors(found):
            self.calls.append((func, *_where_they_lie((args, kwargs)), found))
        self.made += new
        return found


class StandInGraph:
    """Graph in place of torch.cuda.CUDAGraph."""

    def __init__(self):
        self.calls, self.replays = [], 0

    def replay(self):
        self.replays += 1
        with torch._C._AutoDispatchBelowAutograd():
            for func, args, kwargs, found in self.calls:
                again = func(*args, **kwargs)
                for old, new in zip(_tensors(found), _tensors(again), strict=True):
                    if _storage(old) != _storage(new):
                        with _disable_current_modes():  # the same device, whatever is simulated
                            old.copy_(new)


@contextmanager
def recorded(graph, *, pool=None, stream=None, capture_error_mode="global"):
    """Record what happens inside, as torch.cuda.graph does."""
    seed, recorder = torch.default_generator.initial_seed(), Recorder()
    with recorder:
        yield
    if torch.default_generator.initial_seed() != seed:
        raise RuntimeError("the seed may not be changed while a stream is captured")
    graph.calls = recorder.calls
    with torch.no_grad():
        for each in recorder.made:
            if each.is_floating_point():
                each.detach().fill_(torch.nan)


class Graph(StandInGraph):
    """A graph as GraphedLeaves uses one."""

    def record(self, run):
        with recorded(self):
            return run()


def _tensors(values):
    return [each for each in tree_leaves(values) if isinstance(each, torch.Tensor)]


def _where_they_lie(values):
    """The values with tensors that stay in the memory of these, should these get another one."""
    with _disable_current_modes():
        return tree_map(
            lambda each: each.detach() if isinstance(each, torch.Tensor) else each, values
        )


def _storage(tensor):
    return tensor.untyped_storage()._cdata
