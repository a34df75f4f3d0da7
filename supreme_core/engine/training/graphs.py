"""Steps as CUDA graphs: recorded once for each shape, then replayed without a word of the host.

A graph is a micro-batch's way from the numbers of its samples to its gradients: images are chosen,
augmented and normalised, go forward and back. What a replay reads lies in tensors that stay where
they are, into which the host writes what differs from step to step:

    samples of the step            numbers on the device; or their images, where these do not lie
                                   there or are augmented by a plug-in
    random numbers of the epoch    one start for each stream of each augmentation
    dropout                        the device's generator, which a graph reads anew
    weights, statistics, scale     changed in place, by the optimiser and by the graph

All else that Python computes is as it was when the graph was recorded. So a graph is only made of
what is known to do the same in each step: a loss that says so, a network of layers of torch, timm,
torchvision and this package, without hooks of others. All tensors that it reads are held, and stay
where they are.
And a graph proves itself: its replays 1, 2, 4, 8, ... are compared with the same step without it,
bit by bit: gradients, loss, counts, all buffers of the network, and where the generators stand. At
a difference or an error the training goes on without graphs, from the state of the step without
one. At the end of each epoch and before each checkpoint the newest replay is made once more, and
compared. So no state leaves a training before its graphs have proved themselves, but for those that
were given up in between. A difference that comes after a graph was trusted ends the training, as
steps before may have had it too.

Sums over micro-batches and ranks and the optimiser's step are no part of a graph. BatchNorm over
the whole batch and torch's DistributedDataParallel are computed without.
"""

import logging
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from supreme_core.engine.images.augmentation import EpochAugmentation
from supreme_core.engine.images.randomness import (
    Draw,
    generator_states,
    seed_generators,
    set_generator_states,
)
from supreme_core.engine.images.samples import Augment, Batch, is_resident
from supreme_core.engine.networks import passes
from supreme_core.engine.ranks.device import finish_work, is_torch_since, release_memory
from supreme_core.engine.ranks.reduction import Leaf
from supreme_core.engine.training import precision
from supreme_core.engine.training.gradients import (
    EagerLeaves,
    Job,
    Leaves,
    MicroBatch,
    OptimizerStep,
    copy_all,
)
from supreme_core.engine.training.loss import is_steady
from supreme_core.errors import GraphFault, SpecError
from supreme_core.randomness import streams
from supreme_core.system.faults import raise_fault

log = logging.getLogger(__name__)

VARIABLE: Final = "SUPREME_CUDA_GRAPHS"
"""Says with 0 that no step is replayed."""

SINCE: Final = (2, 15)
"""The first torch that was seen to end all of a recording that failed. After one, a former torch
can keep the memory of its pool, and never use again what was sent in another stream."""

LEAVES_BEFORE: Final = 4
"""Micro-batches of a shape before one is recorded, which takes as long as a few of them."""

FEWEST_STEPS: Final = 64
"""Steps of a training that wins back what graphs cost it. By estimate, as no GPU has measured it: a
recording takes as long as 10 steps, six comparisons as 8, and a replay half of a step."""

KNOWN: Final = ("torch.nn.", "supreme_core.", "timm.", "torchvision.models.", "torchvision.ops.")
"""Packages whose layers do the same in each step: no way through one changes what Python keeps, and
random numbers come from torch's generators, by reading timm 1.0.31 and torchvision 0.29."""


HOOKS: Final = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
GLOBAL_HOOKS: Final = tuple(f"_global{each}" for each in HOOKS)
"""Where torch keeps the hooks of a module, and those of all modules."""

MOVED: Final = "tensors of the network or of the loss lie elsewhere now"


class Unrepeatable(Exception):
    """A part of a step is no function of the tensors that a graph reads."""


class StepGraph(Protocol):
    """Work of a device that is recorded once."""

    def record(self, run: Callable[[], Leaf]) -> Leaf:
        """Record what `run` does, and give the tensors into which every replay writes. What `run`
        changes in place may have been changed any number of times afterwards."""
        ...

    def replay(self) -> None: ...


NewStepGraph = Callable[[], StepGraph]

LeafShape = tuple[int, int, bool]
"""Samples of a micro-batch and of its step, and whether images stay as they are."""


def graphs_on(
    device: torch.device, environment: Mapping[str, str]
) -> Callable[[], NewStepGraph] | None:
    """Graphs of the trainings on a device, None where steps are computed without, as on a former
    torch; SpecError where the environment says neither."""
    asked = environment.get(VARIABLE, "1")
    if asked not in ("0", "1"):
        raise SpecError(f"{VARIABLE} is {asked!r}; it should be 0 or 1")
    if device.type != "cuda" or asked == "0" or not is_torch_since(SINCE):
        return None
    return lambda: _cuda_graphs(device)


def _cuda_graphs(device: torch.device) -> NewStepGraph:
    """Graphs of one training, which use the same memory, as no two of them run at a time."""
    pool: list[Any] = []

    def new() -> StepGraph:
        if not pool:
            pool.append(torch.cuda.graph_pool_handle())
        return CudaGraph(device, pool[0])

    return new


class CudaGraph:
    """A graph of a GPU of NVIDIA."""

    def __init__(self, device: torch.device, pool: Any) -> None:
        self._device, self._pool = device, pool
        self._graph = torch.cuda.CUDAGraph()

    def record(self, run: Callable[[], Leaf]) -> Leaf:
        here, aside = torch.cuda.current_stream(self._device), _stream_of_graphs(self._device)
        aside.wait_stream(here)
        try:
            # A capture that fails may leave its stream the current one: this block ends that.
            with torch.cuda.stream(aside):
                run()  # libraries make what they need at the first call in a stream
                # Other threads, which fetch images or tell of the progress, may use the device.
                with torch.cuda.graph(
                    self._graph, pool=self._pool, stream=aside, capture_error_mode="thread_local"
                ):
                    return run()
        finally:  # also after an error: what `run` has begun is done before statistics are put back
            here.wait_stream(aside)

    def replay(self) -> None:
        self._graph.replay()


@cache
def _stream_of_graphs(device: torch.device) -> torch.cuda.Stream:
    """The stream in which this process records, and nobody else works.

    torch takes streams in turn out of 32 for each priority: a later one of the priority of all
    others would at times be the one in which images are sent, and their copies would be recorded
    instead of made. One for all graphs, as graphs of one stream share memory, and cuBLAS keeps a
    workspace for each stream.
    """
    return torch.cuda.Stream(device, priority=-1)  # type: ignore[no-untyped-call]


class GraphedLeaves(Leaves):
    """Leaves that are replayed where their shape repeats, and computed one by one elsewhere.

    steps: of the training.
    """

    def __init__(self, eager: EagerLeaves, new: NewStepGraph, steps: int) -> None:
        job = eager.job
        self._eager, self._new, self._job = eager, new, job
        self._parameters, self._buffers = list(job.model.parameters()), list(job.model.buffers())
        self._device = job.reduction.ranks.device
        self._seen: Counter[LeafShape] = Counter()
        self._graphs: dict[LeafShape, _Replayed] = {}
        why = _why_not(job)
        self._is_on = why is None and steps >= FEWEST_STEPS
        if why:
            log.info("steps are computed without CUDA graphs: %s", why)

    def __call__(self, step: OptimizerStep, part: MicroBatch) -> Leaf:
        if not self._is_on or not len(part.positions):
            return self._eager(step, part)
        return self._leaf(step, part, (len(part.positions), step.size, step.augment is None))

    def prove(self) -> None:
        if any(graph.has_moved for graph in self._graphs.values()):
            self._turn_off(MOVED)
        for shape in list(self._graphs):
            # The first that fails has turned all graphs off.
            if shape in self._graphs and (unproven := self._graphs[shape].unproven):
                self._prove(*unproven, shape)

    def _prove(self, step: OptimizerStep, part: MicroBatch, shape: LeafShape) -> None:
        """Compute a leaf that was replayed once more, without and with its graph."""
        before, drawn = _copies(self._buffers), generator_states(self._device)
        with passes.uncounted():
            self._compared(step, part, shape)
        copy_all(self._buffers, before)
        set_generator_states(drawn, self._device)

    def _leaf(self, step: OptimizerStep, part: MicroBatch, shape: LeafShape) -> Leaf:
        # Nothing here holds a graph by a name of its own: `_turn_off` gives their memory back.
        if shape not in self._graphs:
            self._seen[shape] += 1
            if self._seen[shape] <= LEAVES_BEFORE:
                return self._alone(step, part)
            return self._compared(step, part, shape)
        if self._graphs[shape].has_moved:
            self._turn_off(MOVED)
            return self._eager(step, part)
        if self._graphs[shape].is_due:
            return self._compared(step, part, shape)
        return self._replayed(step, part, shape)

    def _replayed(self, step: OptimizerStep, part: MicroBatch, shape: LeafShape) -> Leaf:
        """Compute a leaf with a graph alone."""
        try:
            self._graphs[shape].prepare(step, part)
        except Exception as error:  # nothing of the network has changed yet
            why = _told(error)
        else:
            return self._graphs[shape].trusted(step, part)
        self._turn_off(why)
        return self._eager(step, part)

    def _alone(self, step: OptimizerStep, part: MicroBatch) -> Leaf:
        """Compute a leaf without a graph; where memory for it is lacking, in that of the graphs."""
        if not self._graphs:
            return self._eager(step, part)
        before, made = _copies(self._buffers), passes.so_far()
        try:
            return self._eager(step, part)
        except torch.OutOfMemoryError:
            pass  # with the error go the tensors that its traceback holds
        self._turn_off("the memory that they keep is needed")
        release_memory(self._device)
        copy_all(self._buffers, before)
        passes.add(-_count(passes.so_far() - made))
        return self._eager(step, part)

    def _compared(self, step: OptimizerStep, part: MicroBatch, shape: LeafShape) -> Leaf:
        """Compute a leaf without and with a graph, which is recorded where there is none yet."""
        if why := self._changed():
            self._turn_off(why)
            return self._eager(step, part)
        before, chance = _copies(self._buffers), _chance()
        made = passes.so_far()
        leaf = self._alone(step, part)
        took = _count(passes.so_far() - made)
        if not self._is_on:
            return leaf
        after, drawn = _copies(self._buffers), generator_states(self._device)
        graph = self._graphs.get(shape)
        is_trusted = graph is not None and graph.unproven is not None
        try:
            if _chance() != chance:
                raise Unrepeatable("it draws from random numbers of Python or of numpy")
            with passes.uncounted():
                graph = graph or self._recorded(step, part, took)
                copy_all(self._buffers, before)
                graph.prepare(step, part)
                again = graph.replay()
            is_same = _same_bits(leaf, again) and _same_bits(after, self._buffers)
            is_same &= _same_bits(drawn, generator_states(self._device))
            why = None if is_same else "a replay gives other bits"
        except Exception as error:
            is_trusted = False  # nothing is known to be wrong
            why = _told(error)
        if why is None and graph is not None:
            if shape not in self._graphs:
                log.info("micro-batches of %d are replayed as a CUDA graph", shape[0])
            self._graphs[shape] = graph
            graph.unproven = None
            return leaf
        if is_trusted:
            raise GraphFault(
                "a CUDA graph gave other bits than the same step without one, after it had given"
                f" the same ones; nothing since its last checkpoint is kept. Set {VARIABLE}=0, and"
                " please report it"
            )
        graph = None
        self._turn_off(why or "")
        copy_all(self._buffers, after)
        set_generator_states(drawn, self._device)
        return leaf

    def _recorded(self, step: OptimizerStep, part: MicroBatch, made: int) -> "_Replayed":
        inputs = _inputs(self._job, step, part)
        inputs.write(step, part)
        with _ExternalInputs() as external:  # also makes what is made once
            self._eager.computed(inputs.batch(), step.size)
        inputs.is_complete = True
        graph = self._new()
        found = graph.record(lambda: self._eager.computed(inputs.batch(), step.size))
        is_added_up = self._job.reduction.micro_batches > 1
        return _Replayed(graph, inputs, found, external, self._device, is_added_up, made)

    def _changed(self) -> str | None:
        """Reason for which the network may do something else than at the beginning."""
        now = *self._job.model.parameters(), *self._job.model.buffers()
        then = *self._parameters, *self._buffers
        if len(now) != len(then) or any(a is not b for a, b in zip(now, then, strict=True)):
            return MOVED
        return _why_not(self._job)

    def _turn_off(self, why: str) -> None:
        self._is_on = False
        self._graphs.clear()
        finish_work(self._device)  # a device that a graph has broken says so here
        log.warning("steps are computed without CUDA graphs from here on: %s", why)


class _ExternalInputs(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes which tensors the work inside is given, and keeps them.

    storages: their memory, which is nobody else's as long as a graph reads it.  tensors: those of
    them that no operation has made, such as the weights of a teacher and the tables of a method.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.storages: dict[int, torch.UntypedStorage] = {}
        self.tensors: dict[int, Tensor] = {}
        self._made: set[int] = set()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Say no, as nothing is compiled here: torch would wrap each call, which takes longer."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        given = _tensors_in((args, kwargs))
        for each in given:
            storage = each.untyped_storage()
            if storage._cdata in self._made:
                continue
            self.storages[storage._cdata] = storage
            if each.is_leaf:  # another one would keep the way by which it was computed
                self.tensors[id(each)] = each
        found = func(*args, **kwargs)
        made = {each.untyped_storage()._cdata for each in _tensors_in(found)}
        self._made |= made - self.storages.keys()
        return found

    def places(self) -> tuple[int, ...]:
        """Addresses of the tensors."""
        return tuple(each.data_ptr() for each in self.tensors.values())


def _tensors_in(values: Any) -> list[Tensor]:
    return [each for each in tree_leaves(values) if isinstance(each, Tensor)]


@dataclass
class _Replayed:
    """A graph and what it reads.

    found: into what it writes.  passes: of samples, in each replay.  targets: into which the next
    leaf is copied.  unproven: the newest use of a replay that was not compared, None if all before
    it were followed by one that was.
    """

    graph: StepGraph
    inputs: "_GraphInputs"
    found: Leaf
    external: _ExternalInputs
    device: torch.device
    is_added_up: bool
    passes: int
    targets: Leaf = field(default_factory=list)
    replays: int = 0
    unproven: tuple[OptimizerStep, MicroBatch] | None = None

    def __post_init__(self) -> None:
        self._places = self.external.places()

    @property
    def has_moved(self) -> bool:
        """True if a tensor that the graph reads or changes lies elsewhere now."""
        return self._places != self.external.places()

    @property
    def is_due(self) -> bool:
        """True if the next replay is to be compared, as its number is a power of two."""
        return not self.replays & (self.replays + 1)

    def prepare(self, step: OptimizerStep, part: MicroBatch) -> None:
        """Do all of a replay that may fail, and that changes nothing that a step leaves."""
        self.inputs.write(step, part)
        # Added up, a leaf is used after the next replay.
        copied = self.found if self.is_added_up else self.found[-2:]
        self.targets = [torch.empty_like(each) for each in copied]
        seed_generators(streams.derive(step.dropout, part.number), self.device)

    def replay(self) -> Leaf:
        """The leaf for which it was prepared."""
        targets, self.targets = self.targets, []
        self.replays += 1
        self.graph.replay()
        copied = self.found[len(self.found) - len(targets) :]
        copy_all(targets, copied)
        return [*self.found[: len(self.found) - len(targets)], *targets]

    def trusted(self, step: OptimizerStep, part: MicroBatch) -> Leaf:
        """The leaf for which it was prepared, where nobody compares it. GraphFault where it cannot
        be had, as nobody knows what has been changed by then."""
        self.unproven = step, part
        try:
            leaf = self.replay()
        except Exception as error:
            raise_fault(error)
            raise GraphFault(
                f"a CUDA graph could not be replayed ({_told(error)}); set {VARIABLE}=0"
            ) from error
        passes.add(self.passes)
        return leaf


class _GraphInputs(Protocol):
    """Tensors that a graph reads, and the batch that follows from them.

    is_complete: all tensors are made, so that none is made inside of the graph.
    """

    is_complete: bool

    def write(self, step: OptimizerStep, part: MicroBatch) -> None: ...

    def batch(self) -> Batch: ...


def _inputs(job: Job, step: OptimizerStep, part: MicroBatch) -> _GraphInputs:
    samples, augment = job.samples, step.augment
    is_known = augment is None or (
        isinstance(augment, EpochAugmentation)
        and not any(each.entry.plugin for each in augment.augmentations)
    )
    if is_known and is_resident(samples.source):
        return _SampleNumbers(job, len(part.positions))
    return _GivenBatch(job)


class _SampleNumbers:
    """Numbers of samples, and starts of the streams by which they are augmented."""

    def __init__(self, job: Job, count: int) -> None:
        self.is_complete = False
        self._samples, self._device = job.samples, job.reduction.ranks.device
        self._numbers = torch.empty((2, count), dtype=torch.int64, device=self._device)
        self._augment: EpochAugmentation | None = None
        self._starts: dict[tuple[int, int], Tensor] = {}

    def write(self, step: OptimizerStep, part: MicroBatch) -> None:
        ids = self._samples.ids
        positions = part.positions.to(ids.device)
        numbers = torch.stack([positions, ids[positions]])
        self._numbers.copy_(numbers, non_blocking=self._device.type == "cuda")
        if isinstance(step.augment, EpochAugmentation) and step.augment is not self._augment:
            self._augment = step.augment
            for place, stream in self._starts:
                self._write_start(place, stream)

    def batch(self) -> Batch:
        positions, ids = self._numbers
        images = self._samples.source.images(ids, self._drawing())
        return Batch(images, self._samples.labels[positions], ids)

    def _drawing(self) -> Augment | None:
        augment = self._augment
        if augment is None:
            return None
        return lambda images, ids: augment.drawn(
            images, lambda place: _StartedDraw(ids, lambda stream: self._start(place, stream))
        )

    def _start(self, place: int, stream: int) -> Tensor:
        if (place, stream) not in self._starts:
            if self.is_complete:
                raise Unrepeatable("an augmentation does not draw from the same streams each time")
            self._starts[place, stream] = self._numbers.new_empty(())
            self._write_start(place, stream)
        return self._starts[place, stream]

    def _write_start(self, place: int, stream: int) -> None:
        assert self._augment is not None
        start = Draw(self._augment.key(place), self._numbers[1]).start(stream)
        self._starts[place, stream].fill_(start)


class _StartedDraw(Draw):
    """Random numbers from streams whose starts lie on the device."""

    def __init__(self, ids: Tensor, started: Callable[[int], Tensor]) -> None:
        object.__setattr__(self, "ids", ids)
        object.__setattr__(self, "_started", started)

    @property
    def key(self) -> int:
        raise Unrepeatable("an augmentation reads the key of its random numbers")

    def start(self, stream: int) -> Tensor:
        found: Tensor = self._started(stream)  # type: ignore[attr-defined]
        return found


class _GivenBatch:
    """The batch itself, which is made without the graph."""

    def __init__(self, job: Job) -> None:
        self.is_complete = False
        self._job = job
        self._batch: Batch | None = None

    def write(self, step: OptimizerStep, part: MicroBatch) -> None:
        batch = self._job.batch(step, part)
        assert batch is not None
        if self._batch is None:
            self._batch = Batch(*_copies(_tensors(batch)))
            return
        for kept, given in zip(_tensors(self._batch), _tensors(batch), strict=True):
            if _form(kept) != _form(given):
                raise Unrepeatable("batches of one size have images of several forms")
            kept.copy_(given)

    def batch(self) -> Batch:
        assert self._batch is not None
        return self._batch


def _tensors(batch: Batch) -> list[Tensor]:
    return [batch.images, batch.labels, batch.ids]


def _form(tensor: Tensor) -> tuple[object, ...]:
    return tensor.shape, tensor.stride(), tensor.dtype


def _why_not(job: Job) -> str | None:
    """Reason for which nobody knows that a step does the same each time; None where it does."""
    if not is_steady(job.loss):
        return "the loss is not known to do the same in each step"
    if any(getattr(torch_module, name) for name in GLOBAL_HOOKS):
        return "all modules of this process have hooks"
    for module in job.model.modules():
        kind = type(module)
        if kind.__module__ == precision.__name__:
            kind = kind.__bases__[0]
        if not _is_known(kind) or "forward" in vars(module):
            return f"{kind.__name__} is not known to do the same in each step"
        for hook in _hooks(module):
            if not _is_known(hook):
                return f"{kind.__name__} has a hook that is not known to do the same in each step"
    return None


def _hooks(module: nn.Module) -> list[object]:
    """Functions that torch calls on the way through a module and back, and at its gradients."""
    sets = [getattr(module, name) for name in HOOKS]
    for parameter in module.parameters(recurse=False):
        sets += [parameter._backward_hooks, parameter._post_accumulate_grad_hooks]
    return [hook for each in sets for hook in (each or {}).values()]


def _is_known(code: object) -> bool:
    """True of classes and functions of the packages whose code does the same in each step."""
    return f"{getattr(code, '__module__', None)}.".startswith(KNOWN)


def _told(error: BaseException) -> str:
    """The error that led to all others: one inside of a recording also makes its end fail."""
    while error.__context__ is not None:
        error = error.__context__
    return f"{type(error).__name__}: {error}"


def _count(made: passes.Passes) -> int:
    return made.alike + made.own


def _copies(tensors: Sequence[Tensor]) -> list[Tensor]:
    copies = [torch.empty_like(each) for each in tensors]
    copy_all(copies, list(tensors))
    return copies


def _same_bits(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    """Compare tensors of one device, for which the host waits once."""
    pairs = list(zip(one, other, strict=True))
    if any(_form(mine) != _form(theirs) for mine, theirs in pairs):
        return False
    same = [(_bytes(mine) == _bytes(theirs)).all() for mine, theirs in pairs]
    return not same or bool(torch.stack(same).all())


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.detach().contiguous().flatten().view(torch.uint8)


def _chance() -> tuple[object, ...]:
    """Where the random numbers of Python and of numpy stand, which no graph replays."""
    of_numpy: Any = np.random.get_state()
    return random.getstate(), *(str(each) for each in of_numpy[2:]), of_numpy[1].tobytes()
