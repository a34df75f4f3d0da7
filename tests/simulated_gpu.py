"""A GPU that is not here: tensors of the CPU that say that they lie on cuda:0, or on mps.

Kernels run on the CPU with real values. As on a GPU, tensors of two devices do not mix, a generator
of the CPU draws nothing there, numpy sees nothing of it, an operation without a deterministic
kernel is refused, and the GPU has a generator of its own. Each time that the host would wait for
the device is noted, with the functions of the product that led there. A GPU of Apple has no float64
besides, and its BatchNorm raises in the backward pass of images that lie channels last.

Not simulated: bits and speed of a GPU, its memory, NCCL, more devices than one, the order of
streams, and functions of torch that are written in Python, inside which a tensor says that it lies
on the CPU.
"""

import linecache
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from types import FrameType, SimpleNamespace
from unittest import mock

import torch
from torch import Tensor
from torch._C import _functorch as functorch
from torch._ops import OpOverload
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.stand_in_graphs import WAITING as ENDS_A_CAPTURE
from tests.stand_in_graphs import StandInGraph, recorded

GPU, MPS, CPU = torch.device("cuda", 0), torch.device("mps"), torch.device("cpu")

PRODUCT = ("/supreme_core/", "/supreme_trainer/")
TRAINING = "fit.py fit"
ASIDE = (" after_epoch", " is_enough", " paused", " _compared", " prove")
"""Ends of places that are no part of a step: looks at the model, the clock around them, and the
comparison of a CUDA graph with the step without it."""

WAITING = {
    "_local_scalar_dense": "a number",
    "equal": "a comparison",
    **dict.fromkeys(ENDS_A_CAPTURE - {"_local_scalar_dense", "equal"}, "a size"),
}
"""Operations whose result the host needs before it goes on."""

POSITIONS = {
    **dict.fromkeys(("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"), 1),
    "index_fill_": 2,  # as torch carries out t[[0, 1]] = 0
}
"""Operations that take positions from the host too and wait for them to arrive, with the number of
that argument."""

MOVING = {"copy_", "_foreach_copy_"}
"""Operations that take tensors of two devices."""

WITHOUT_A_WAY = {
    *("_adaptive_avg_pool2d_backward", "_adaptive_avg_pool3d_backward", "avg_pool3d_backward"),
    *("adaptive_max_pool2d_backward", "max_pool3d_with_indices_backward", "max_unpool2d"),
    *("upsample_linear1d_backward", "upsample_bilinear2d_backward", "upsample_bicubic2d_backward"),
    *("upsample_trilinear3d_backward", "reflection_pad1d_backward", "reflection_pad2d_backward"),
    *("replication_pad2d_backward", "nll_loss2d_forward", "_ctc_loss_backward", "histc"),
    *("grid_sampler_2d_backward", "put_", "median", "kthvalue", "_embedding_bag_dense_backward"),
}
"""Operations that torch.use_deterministic_algorithms refuses on CUDA, by its documentation."""

SUMMING = {"cumsum", "cumsum_"}
"""Operations of which the same is true where numbers are not whole."""

WITHOUT_A_WAY_ON_MPS = {
    *("scatter_reduce", "scatter_reduce_", "kthvalue", "embedding_dense_backward"),
    *("_embedding_bag_dense_backward", "grid_sampler_2d_backward", "grid_sampler_3d_backward"),
    *("max_pool2d_with_indices_backward", "max_pool3d_with_indices_backward"),
    *("avg_pool3d_backward", "upsample_bilinear2d_backward", "upsample_bicubic2d_backward"),
}
"""Operations that torch.use_deterministic_algorithms refuses on mps, by its documentation."""

ACCUMULATING = {"index_put", "index_put_", "_index_put_impl_"}
"""Operations that it refuses on mps where they add up numbers that are not whole."""

NOT_ON_MPS = {"linalg_eig", "linalg_eigvals", "mode"}
"""Operations that torch's own tests of mps list as not implemented."""

NO_FLOAT64 = (
    "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64."
    " Please use float32 instead."
)


@dataclass(frozen=True)
class Wait:
    """A wait of the host for the device.

    places: `file.py function` of the product, from the inside out.  line: where the first one is.
    """

    what: str
    places: tuple[str, ...]
    line: str

    @property
    def place(self) -> str:
        return self.places[0] if self.places else "outside"


@dataclass
class SimulatedGpu:
    """The GPU and what was noted of it."""

    device: torch.device = GPU
    waits: list[Wait] = field(default_factory=list)
    generator: torch.Generator = field(default_factory=torch.Generator)
    captures: list["SimulatedStream"] = field(default_factory=list)
    """Streams in which graphs were recorded."""

    def __post_init__(self) -> None:
        self._default = SimulatedStream(self)
        self._of_thread = threading.local()

    @property
    def current_stream(self) -> "SimulatedStream":
        """Stream of this thread."""
        return getattr(self._of_thread, "stream", self._default)

    @contextmanager
    def stream(self, stream: "SimulatedStream") -> Iterator[None]:
        before = self.current_stream
        self._of_thread.stream = stream
        try:
            yield
        finally:
            self._of_thread.stream = before

    @contextmanager
    def recorded(self, graph: StandInGraph, *, stream: "SimulatedStream", **how) -> Iterator[None]:
        """Record what happens inside, and leave a capture that fails as torch before 2.15 did: its
        stream stays the current one."""
        before = self.current_stream
        self._of_thread.stream = stream
        self.captures.append(stream)
        with recorded(graph, **how):
            yield
        self._of_thread.stream = before

    def wait(self, what: str) -> None:
        frames = list(_frames_of_the_product())
        places = tuple(_place(f.f_code.co_filename, f.f_code.co_name) for f in frames)
        line = ""
        if frames:
            line = linecache.getline(frames[0].f_code.co_filename, frames[0].f_lineno).strip()
        self.waits.append(Wait(what, places, line))

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """torch's global generator of the CPU stands for the GPU's meanwhile."""
        before = torch.default_generator.get_state()
        torch.default_generator.set_state(self.generator.get_state())
        try:
            yield
        finally:
            self.generator.set_state(torch.default_generator.get_state())
            torch.default_generator.set_state(before)

    def counted(self) -> Counter[str]:
        """Number of waits by place."""
        return Counter(wait.place for wait in self.waits)

    def in_steps(self) -> Counter[str]:
        """Number of waits inside steps of trainings, by place and line.

        Left out are the look at the loss and observers, once an epoch, and the question of a caller
        whether the model has learnt enough, which is asked as often as the caller wants it.
        """
        return Counter(
            f"{wait.place}: {wait.line}"
            for wait in self.waits
            if TRAINING in wait.places
            if not wait.line.startswith("if not finite")
            if not any(place.endswith(ASIDE) for place in wait.places)
        )


@dataclass(eq=False)
class SimulatedStream:
    """A stream, in which work is done at once.  waited_for: streams, in order."""

    gpu: SimulatedGpu
    priority: int = 0
    waited_for: list["SimulatedStream"] = field(default_factory=list)

    def wait_stream(self, other: "SimulatedStream") -> None:
        self.waited_for.append(other)

    def synchronize(self) -> None:
        self.gpu.wait("a stream")

    def is_capturing(self) -> bool:
        return False


def _frames_of_the_product() -> Iterator[FrameType]:
    frame = sys._getframe(2)
    while frame:
        if _is_of_the_product(frame.f_code.co_filename):
            yield frame
        frame = frame.f_back


@cache
def _is_of_the_product(file: str) -> bool:
    return any(part in file for part in PRODUCT)


@cache
def _place(file: str, function: str) -> str:
    return f"{Path(file).name} {function}"


def lies_there(tensor: Tensor) -> bool:
    """Return whether a tensor lies on the GPU, as all do that share its memory."""
    while functorch.is_functorch_wrapped_tensor(tensor):
        tensor = functorch.get_unwrapped(tensor)
    return getattr(tensor.untyped_storage(), "lies_on_the_gpu", False)


def _placed(found: object, *, there: bool, on: torch.device = GPU) -> object:
    for leaf in _tensors((found,)):
        if there and on == MPS and leaf.dtype == torch.float64:
            raise TypeError(NO_FLOAT64)
        while functorch.is_functorch_wrapped_tensor(leaf):
            leaf = functorch.get_unwrapped(leaf)
        leaf.untyped_storage().lies_on_the_gpu = there
    return found


def _tensors(values: Iterable[object]) -> list[Tensor]:
    """Find the tensors of what an operation takes or gives: by itself, as torch's trees of
    anything would take longer than the operation."""
    found = []
    for each in values:
        if isinstance(each, Tensor):
            found.append(each)
        elif isinstance(each, list | tuple):
            found += _tensors(each)
    return found


@cache
def _facts(func: OpOverload) -> tuple[str, bool, bool]:
    """Give the name of an operation, and if it draws numbers and if it goes element by element."""
    name = func._schema.name.removeprefix("aten::")
    draws = torch.Tag.nondeterministic_seeded in func.tags
    return name, draws, torch.Tag.pointwise in func.tags or name.startswith("_foreach")


class Kernels(TorchDispatchMode):
    """Runs operations where their tensors lie, and refuses those that a GPU refuses."""

    def __init__(self, gpu: SimulatedGpu) -> None:
        super().__init__()
        self._gpu = gpu

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Say no, as nothing is compiled here: torch would wrap each call, which takes longer."""
        return False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        with torch._C.DisableTorchFunction():
            here, there = [], []
            for tensor in _tensors(args) + _tensors(kwargs.values()):
                (there if lies_there(tensor) else here).append(tensor)
            if not there:
                return func(*args, **kwargs)
            name, draws, is_pointwise = _facts(func)
            self._refuse(func, name, is_pointwise, args, kwargs, here, there)
            self._note(name, args)
            on = self._gpu.device
            if draws:
                with self._gpu.drawing():
                    return _placed(func(*args, **kwargs), there=True, on=on)
            found = func(*args, **kwargs)
            return found if name in MOVING else _placed(found, there=True, on=on)

    def _refuse(self, func, name, is_pointwise, args, kwargs, here, there):
        if kwargs.get("generator") is not None:
            raise RuntimeError(FOREIGN_GENERATOR)
        if here and name not in MOVING:
            positions = _positions(name, args)
            # A single number of the host goes into a kernel as its argument.
            takes_numbers = is_pointwise or name in POSITIONS
            if any(
                each.ndim > 0 or not takes_numbers
                for each in here
                if not any(each is other for other in positions)
            ):
                raise RuntimeError(
                    "Expected all tensors to be on the same device, but found at least two"
                    f" devices, {self._gpu.device} and {CPU}! (when checking arguments for {func})"
                )
        is_apple = self._gpu.device == MPS
        if is_apple:
            _refuse_on_mps(name, here + there)
        adds = name in ACCUMULATING and args[3:4] == (True,) if is_apple else name in SUMMING
        never = WITHOUT_A_WAY_ON_MPS if is_apple else WITHOUT_A_WAY
        if (
            (name in never or adds)
            and torch.are_deterministic_algorithms_enabled()
            and (name in never or any(tensor.is_floating_point() for tensor in there))
        ):
            raise RuntimeError(
                f"{name} does not have a deterministic implementation, but you set"
                " 'torch.use_deterministic_algorithms(True)'"
            )

    def _note(self, name, args):
        positions = _positions(name, args)
        if name in WAITING:
            self._gpu.wait(WAITING[name])
        elif name in MOVING:
            self._note_copy(args)
        elif any(not lies_there(each) for each in positions):
            self._gpu.wait("positions from the host")
        elif any(each.dtype in (torch.bool, torch.uint8) for each in positions):
            self._gpu.wait("a size")

    def _note_copy(self, args):
        target, source, *aside = args
        pairs = zip(tree_leaves(target), tree_leaves(source), strict=True)
        crossing = [lies_there(to) for to, of in pairs if lies_there(to) != lies_there(of)]
        if crossing and not all(crossing):
            self._gpu.wait("a copy to the host")
        elif crossing and not any(aside):
            self._gpu.wait("a copy to the device")


def _refuse_on_mps(name: str, tensors: list[Tensor]) -> None:
    if name in NOT_ON_MPS:
        raise NotImplementedError(
            f"The operator 'aten::{name}' is not currently implemented for the MPS device."
        )
    if name == "native_batch_norm_backward" and any(map(_lies_channels_last, tensors)):
        raise RuntimeError("view size is not compatible with input tensor's size and stride")


def _lies_channels_last(tensor: Tensor) -> bool:
    channels_last = tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    return channels_last and not tensor.is_contiguous()


def _positions(name: str, args: tuple) -> list[Tensor]:
    number = POSITIONS.get(name)
    return _tensors((args[number],)) if number else []


FOREIGN_GENERATOR = "Expected a 'cuda' device type for generator but found 'cpu'"


class Words(TorchFunctionMode):
    """Answers of tensors about themselves in Python, and the ways from one device to the other."""

    def __init__(self, gpu: SimulatedGpu) -> None:
        super().__init__()
        self._gpu = gpu
        self._instead = {
            Tensor.device.__get__: lambda each: gpu.device if lies_there(each) else CPU,
            Tensor.is_cuda.__get__: lambda each: gpu.device == GPU and lies_there(each),
            Tensor.is_mps.__get__: lambda each: gpu.device == MPS and lies_there(each),
            Tensor.is_cpu.__get__: lambda each: not lies_there(each),
            Tensor.get_device: lambda each: 0 if lies_there(each) else -1,
            Tensor.to: self._to,
            Tensor.cpu: lambda each, **how: self._moved(each, CPU, **how),
            Tensor.cuda: lambda each, device=GPU, **how: self._moved(each, GPU, **how),
            Tensor.numpy: self._numpy(Tensor.numpy),
            Tensor.__array__: self._numpy(Tensor.__array__),
            Tensor.tolist: self._list,
            Tensor.__deepcopy__: self._copied,
        }

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        instead = self._instead.get(func)
        if instead:
            return instead(*args, **kwargs)
        if kwargs.get("pin_memory"):
            kwargs = {**kwargs, "pin_memory": False}
        if kwargs.get("device") is None:
            return func(*args, **kwargs)
        return self._made(func, args, **kwargs)

    def _made(self, func, args, *, device, **kwargs):
        """A new tensor on a device."""
        there = torch.device(device).type == self._gpu.device.type
        if there and kwargs.get("generator") is not None:
            raise RuntimeError(FOREIGN_GENERATOR)
        if there and func in (torch.tensor, torch.as_tensor, torch.asarray):
            self._gpu.wait("a copy to the device")
        with self._gpu.drawing() if there else nullcontext():
            made = func(*args, device=CPU, **kwargs)
            return _placed(made, there=there, on=self._gpu.device)

    def _to(self, tensor, *words, copy=False, **named):
        other = words[0] if words and isinstance(words[0], Tensor) else named.pop("other", None)
        if other is not None:
            device = self._gpu.device if lies_there(other) else CPU
            words = (other.dtype, *words[1:])
        else:
            device = None
        asked, dtype, aside, layout = torch._C._nn._parse_to(*words, **named)
        return self._moved(tensor, device or asked, dtype, aside, layout, copy)

    def _moved(
        self, tensor, device, dtype=None, non_blocking=False, memory_format=None, copy=False
    ):
        there = lies_there(tensor)
        target = there if device is None else torch.device(device).type == self._gpu.device.type
        layout = {"memory_format": memory_format} if memory_format else {}
        dtype = dtype or tensor.dtype
        if target == there:
            return torch.Tensor.to(tensor, dtype, copy=copy, **layout)
        if there or not non_blocking:
            self._gpu.wait("a copy to the host" if there else "a copy to the device")
        moved = torch.ops.aten._to_copy.default(tensor, dtype=dtype, **layout)
        return _placed(moved, there=target, on=self._gpu.device)

    def _numpy(self, function):
        def refused(tensor, *words, **named):
            if lies_there(tensor):
                raise TypeError(
                    f"can't convert {self._gpu.device} device type tensor to numpy. Use"
                    " Tensor.cpu() to copy the tensor to host memory first."
                )
            return function(tensor, *words, **named)

        return refused

    def _list(self, tensor):
        if lies_there(tensor):
            self._gpu.wait("a number")
        return Tensor.tolist(tensor)

    def _copied(self, tensor, memo):
        return _placed(Tensor.__deepcopy__(tensor, memo), there=lies_there(tensor))


@contextmanager
def simulated_gpu(device: torch.device = GPU) -> Iterator[SimulatedGpu]:
    """Inside, torch has one GPU of NVIDIA or, with MPS, of Apple; so have threads begun there."""
    gpu = SimulatedGpu(device)
    of_gpu = _of_cuda(gpu) if device == GPU else _of_mps(gpu)
    run, autocast = threading.Thread.run, torch.autocast

    def run_with_gpu(thread):
        with Kernels(gpu), Words(gpu):
            run(thread)

    def autocast_here(device_type, **how):
        assert device_type == "cuda"  # the product names the device of the model
        return autocast("cpu", **how)

    with ExitStack() as stack:
        for target, name, value in (
            *((getattr(torch, device.type), name, value) for name, value in of_gpu.items()),
            (torch.backends.mps, "is_available", cache(lambda: device == MPS)),
            (torch, "autocast", autocast_here),
            (Tensor, "record_stream", lambda tensor, stream: None),
            (torch.accelerator, "current_stream", of_gpu.get("current_stream")),
            (threading.Thread, "run", run_with_gpu),
            (import_module("torch.cuda.amp.common"), "amp_definitely_not_available", lambda: False),
        ):
            stack.enter_context(mock.patch.object(target, name, value))
        stack.enter_context(Kernels(gpu))
        stack.enter_context(Words(gpu))
        yield gpu


def _of_cuda(gpu: SimulatedGpu) -> dict[str, object]:
    """Functions of torch.cuda that the product and torch's optimisers call."""
    properties = SimpleNamespace(
        major=9, minor=0, total_memory=2**36, multi_processor_count=132, uuid="simulated"
    )
    return {
        "is_available": lambda: True,
        "is_current_stream_capturing": lambda: False,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": lambda device: None,
        "default_generators": (gpu.generator,),
        "get_rng_state": lambda device=GPU: gpu.generator.get_state(),
        "set_rng_state": lambda state, device=GPU: gpu.generator.set_state(state),
        "synchronize": lambda device=GPU: gpu.wait("all work"),
        "Stream": lambda device=GPU, priority=0: SimulatedStream(gpu, priority),
        "current_stream": lambda device=GPU: gpu.current_stream,
        "stream": gpu.stream,
        "CUDAGraph": StandInGraph,
        "graph": gpu.recorded,
        "graph_pool_handle": lambda: (0, 1),
        "empty_cache": lambda: None,
        "mem_get_info": lambda device=GPU: (2**35, 2**36),
        "memory_allocated": lambda device=GPU: 2**20,
        "max_memory_allocated": lambda device=GPU: 2**21,
        "reset_peak_memory_stats": lambda device=GPU: None,
        "get_device_name": lambda device=GPU: "a simulated GPU",
        "get_device_properties": lambda device=GPU: properties,
    }


def _of_mps(gpu: SimulatedGpu) -> dict[str, object]:
    """Functions of torch.mps that the product calls."""
    return {
        "manual_seed": gpu.generator.manual_seed,
        "get_rng_state": lambda device=MPS: gpu.generator.get_state(),
        "set_rng_state": lambda state, device=MPS: gpu.generator.set_state(state),
        "synchronize": lambda: gpu.wait("all work"),
        "empty_cache": lambda: None,
        "driver_allocated_memory": lambda: 2**20,
    }
