"""BatchNorm over the whole batch, of which each rank computes some micro-batches.

What a BatchNorm layer gives for one sample depends on all others, so the micro-batches must go
through the network side by side. Each has a lane: a thread of its own, of which one runs at a time,
up to its next BatchNorm layer. When all have come there, the statistics of the lanes are added up
in the reduction's tree, first here, then over ranks, and every lane goes on. A single backward pass
then goes through the graph of all lanes, which meet again at each BatchNorm.

One step of one rank that has two lanes. Only one of the three threads runs at any time; the others
wait for a semaphore: the main thread for `_handed_back`, a lane for its `turn`. === is a place
where all ranks meet.

    main thread, in fit()                    lane 0                   lane 1, the last one
    WholeBatchGradients(step)
      Lanes.run
        _give_turn(lane 0)  ----start--->    forward pass up to
                            <-----------     a BatchNorm: _meet
        _give_turn(lane 1)  ---------------------------start--->      forward pass up to
                                                                      the same one: _meet
                                                                      _Normalise.forward
                                                                      === statistics ===
                            <-----------------------------------      answers for all lanes
        _give_turn(lane 0)  ----turn---->    _meet returns; on to
                            <-----------     the next one
        _give_turn(lane 1)  ----------------------------turn--->      and so on
        ...                                  loss, end                loss, end
      _leaves: one backward pass
        at each BatchNorm, from the last to the first: _Normalise.backward
        === sums of gradients, by channel ===
      Reduction.sum of the lanes' gradients and losses
      === gradients ===
      sets .grad of all parameters

On a GPU autograd calls _Normalise.backward in a thread of its own, and the main thread waits for
it. Every rank meets the others as often and in the same order, also one whose samples are none: its
lanes go through the network with a stand-in that counts nowhere. A lane that fails hands back its
error, which `_give_turn` raises in the main thread, and the other lanes end as abandoned.

Why not a larger batch: the last bits of a convolution can depend on the number of samples that it
is given, and how many micro-batches a rank has is not to be seen in the result. Why threads: where
a network stands, whether it is under autocast, and whether it records gradients belong to a thread.
"""

import copy
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from supreme_core.engine.images.randomness import (
    generator_states,
    seed_generators,
    set_generator_states,
)
from supreme_core.engine.images.samples import Batch
from supreme_core.engine.networks.weights import trainable
from supreme_core.engine.ranks.reduction import Reduction
from supreme_core.engine.training.batch_norm import NORMAL, batch_norm_is
from supreme_core.engine.training.gradients import (
    Gradients,
    Job,
    OptimizerStep,
    StepOutcome,
    added,
    as_laid_out,
    batch_counts,
    copy_all,
    set_gradients,
)
from supreme_core.errors import SupremeError
from supreme_core.randomness import streams


class WholeBatchGradients(Gradients):
    """Gradients where BatchNorm sees the whole batch, however many micro-batches it has.

    Its statistics are those of an ordinary layer that is given the batch in one piece, and so are
    its gradients, but for the order of additions (Ioffe & Szegedy 2015, arXiv:1502.03167).
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        here = job.reduction.micro_batches // job.reduction.ranks.size
        self._networks = [_same_weights(job.model) for _ in range(here)]
        self._own = [trainable(network) for network in self._networks]
        self._parameters, self._counts = trainable(job.model), batch_counts(job.model)

    def __call__(self, step: OptimizerStep) -> StepOutcome:
        job = self._job
        parts = list(job.parts(step))
        sizes = [len(batch) if batch else 0 for _, batch in parts]
        counts_after = added(self._counts, 1)

        counts = [torch.zeros(2, device=job.reduction.ranks.device) for _ in parts]

        def lane(place: int, network: nn.Module, batch: Batch) -> Callable[[], Tensor]:
            def mean() -> Tensor:
                total, right = job.looked_at(network, batch)
                if sizes[place]:  # a stand-in counts nowhere
                    counts[place] = right
                return total / step.size

            return mean

        lanes = Lanes(
            [
                lane(place, network, batch or job.stand_in(step))
                for place, (network, (_, batch)) in enumerate(
                    zip(self._networks, parts, strict=True)
                )
            ],
            seeds=[streams.derive(step.dropout, number) for number, _ in parts],
            norm=_WholeBatchNorm(job.reduction, sizes, step.size),
            device=job.reduction.ranks.device,
        )
        means = lanes.run()
        copy_all(self._counts, counts_after)
        sums = job.reduction.sum(self._leaves(means, sizes, counts))
        *gradients, mean, right = sums
        set_gradients(self._parameters, gradients)
        return StepOutcome(mean, right)

    def _leaves(
        self, means: Sequence[Tensor], sizes: Sequence[int], counts: Sequence[Tensor]
    ) -> Iterator[list[Tensor]]:
        """Gradients of each lane's own view of the weights, its mean and its counts."""
        counted = [mean for mean, size in zip(means, sizes, strict=True) if size]
        everything = [parameter for parameters in self._own for parameter in parameters]
        # A rank without samples goes through the backward pass all the same, to meet the others.
        total = torch.stack(counted).sum() if counted else means[0] * 0
        gradients = torch.autograd.grad(self._job.scale(total), everything, materialize_grads=True)
        for place, (parameters, mean, size) in enumerate(zip(self._own, means, sizes, strict=True)):
            first = place * len(parameters)
            share = mean.detach() if size else torch.zeros_like(mean)
            found = gradients[first : first + len(parameters)]
            yield [*as_laid_out(parameters, found), share, counts[place].to(share.dtype)]


def _same_weights(model: nn.Module) -> nn.Module:
    """A model of its own parameters, which lie in the memory of `model`'s, and of its buffers.

    So a lane's gradients are its own, and the optimiser's steps are seen by all lanes.
    """
    memo: dict[int, Any] = {id(buffer): buffer for buffer in model.buffers()}
    for parameter in model.parameters():
        alias = nn.Parameter(parameter.detach(), requires_grad=parameter.requires_grad)
        memo[id(parameter)] = alias
    return copy.deepcopy(model, memo)


@dataclass
class _Call:
    """One lane's call of torch's batch_norm, and what it will be answered."""

    images: Tensor
    running_mean: Tensor | None
    running_var: Tensor | None
    weight: Tensor | None
    bias: Tensor | None
    momentum: float
    eps: float


@dataclass
class _Lane:
    work: Callable[[], Tensor]
    generators: Sequence[Tensor]
    turn: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    call: _Call | None = None
    answer: Tensor | None = None
    result: Tensor | None = None
    error: BaseException | None = None
    abandoned: bool = False


class _Abandoned(BaseException):
    """Ends a lane whose neighbour failed."""


class Lanes:
    """Functions that run in turns, from one BatchNorm to the next."""

    def __init__(
        self,
        works: Sequence[Callable[[], Tensor]],
        *,
        seeds: Sequence[int],
        norm: "_WholeBatchNorm",
        device: torch.device,
    ) -> None:
        self._device, self._norm = device, norm
        self._lanes = [
            _Lane(work, _generators_at(seed, device))
            for work, seed in zip(works, seeds, strict=True)
        ]
        self._handed_back = threading.Semaphore(0)
        self._here = threading.local()

    def run(self) -> list[Tensor]:
        """Result of each function. The first error of one ends all of them."""
        threads = [
            threading.Thread(target=self._live, args=(lane, torch.get_num_threads()), daemon=True)
            for lane in self._lanes
        ]
        with _neighbours_meet(self._meet):
            try:
                for lane, thread in zip(self._lanes, threads, strict=True):
                    self._give_turn(lane, thread.start)
                while self._all_wait():
                    for lane in self._lanes:
                        self._give_turn(lane, lane.turn.release)
            finally:
                for lane in self._lanes:
                    lane.abandoned = True
                    lane.turn.release()
                for thread in threads:
                    if thread.ident is not None:
                        thread.join()
        return [lane.result for lane in self._lanes if lane.result is not None]

    def _give_turn(self, lane: _Lane, start: Callable[[], None]) -> None:
        """Let a lane run to its next BatchNorm or to its end, with random numbers of its own."""
        set_generator_states(lane.generators, self._device)
        start()
        self._handed_back.acquire()
        lane.generators = generator_states(self._device)
        if lane.error is not None:
            raise lane.error

    def _live(self, lane: _Lane, threads: int) -> None:
        torch.set_num_threads(threads)  # which would else be the machine's, with other bits
        self._here.lane = lane
        try:
            if self._device.type == "cuda":
                torch.cuda.set_device(self._device)
            lane.result = lane.work()
        except _Abandoned:
            return
        except BaseException as error:
            lane.error = error
        self._handed_back.release()

    def _meet(self, call: _Call) -> Tensor:
        """Wait in a lane for the others, then go on with the answer."""
        lane: _Lane = self._here.lane
        lane.call = call
        is_last = lane is self._lanes[-1]
        if is_last and self._all_wait():
            calls = [each.call for each in self._lanes if each.call]
            for each, normal in zip(self._lanes, self._norm(calls), strict=True):
                each.answer = normal
        self._handed_back.release()
        lane.turn.acquire()
        if lane.abandoned:
            raise _Abandoned
        answer, lane.answer, lane.call = lane.answer, None, None
        assert answer is not None
        # Autograd goes back in the order in which a thread recorded its operations. The last lane's
        # thread has recorded the normalisation; so that the others count as it does, with however
        # many lanes, each records an operation too, one that hands gradients on as they come.
        return answer if is_last else torch.ops.aten.alias(answer)

    def _all_wait(self) -> bool:
        """Return whether all lanes have come to a BatchNorm; none waits where all have come to the
        end."""
        waiting = [lane.call is not None for lane in self._lanes]
        if any(waiting) and not all(waiting):
            raise SupremeError(
                "spec.training.batchNorm is 'batch', but this network does not pass each"
                " micro-batch through the same BatchNorm layers; use 'micro_batch'"
            )
        return all(waiting)


@contextmanager
def _neighbours_meet(meet: Callable[[_Call], Tensor]) -> Iterator[None]:
    """Inside, every layer that normalises by its batch meets its neighbours first."""

    def batch_norm(
        input: Tensor,  # noqa: A002 (torch's own names)
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        if not training:
            return NORMAL(input, running_mean, running_var, weight, bias, False, momentum, eps)
        return meet(_Call(input, running_mean, running_var, weight, bias, momentum, eps))

    with batch_norm_is(batch_norm):
        yield


@dataclass(frozen=True)
class _WholeBatchNorm:
    """One BatchNorm layer, for all lanes at once.

    sizes: samples of each lane that count.  total: samples of the whole batch.
    """

    reduction: Reduction
    sizes: Sequence[int]
    total: int

    def __call__(self, calls: Sequence[_Call]) -> Sequence[Tensor]:
        weights = [call.weight for call in calls]
        biases = [call.bias for call in calls]
        images = [call.images for call in calls]
        answers: Sequence[Tensor] = _Normalise.apply(self, calls[0], *images, *weights, *biases)
        return answers

    def statistics(self, images: Sequence[Tensor]) -> tuple[Tensor, Tensor, int]:
        """Mean and variance of each channel, (channels,) float64, and the number of values."""

        def leaves() -> Iterator[list[Tensor]]:
            for part, size in zip(images, self.sizes, strict=True):
                mean, variance = _mean_and_variance(part)
                count = size * _values_per_sample(part)
                yield [mean * count, (variance + mean.square()) * count]

        values = self.total * _values_per_sample(images[0])
        first, second = (total / values for total in self.reduction.sum(leaves()))
        return first, (second - first.square()).clamp_(min=0), values


class _Normalise(torch.autograd.Function):
    """(norm, first call, images, weights, biases of each lane) to images of each lane."""

    @staticmethod
    def forward(ctx: Any, norm: _WholeBatchNorm, call: _Call, *tensors: Tensor) -> Any:
        lanes = len(norm.sizes)
        images, weights, biases = (tensors[i * lanes : (i + 1) * lanes] for i in range(3))
        mean, variance, values = norm.statistics(images)
        _move(call, mean, variance * (values / max(values - 1, 1)))
        mean, variance = (each.to(_wide(images[0])) for each in (mean, variance))
        ctx.norm, ctx.eps, ctx.values = norm, call.eps, values
        ctx.has_weight, ctx.has_bias = call.weight is not None, call.bias is not None
        ctx.save_for_backward(mean, variance, *images, *weights)
        return tuple(
            NORMAL(part, mean, variance, weight, bias, False, 0.0, call.eps)
            for part, weight, bias in zip(images, weights, biases, strict=True)
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """dx = (w / s) (dy - mean(dy) - x̂ mean(dy x̂)), the means over the whole batch."""
        norm: _WholeBatchNorm = ctx.norm
        mean, variance, *tensors = ctx.saved_tensors
        lanes = len(norm.sizes)
        images, weights = tensors[:lanes], tensors[lanes:]
        scale = (variance + ctx.eps).rsqrt()
        own = [
            _sums(gradient, part, mean, scale)
            for gradient, part in zip(gradients, images, strict=True)
        ]
        totals = norm.reduction.sum([each.double() for each in pair] for pair in own)
        of_gradients, of_products = (total / ctx.values for total in totals)
        factor = scale.double()
        by_image = (-factor * of_products).to(mean.dtype)
        constant = (factor * mean.double() * of_products - of_gradients).to(mean.dtype)
        found = [
            _combined(gradient, part, weight, scale, by_image, constant)
            if size
            else torch.zeros_like(part)  # no statistic has seen it, so it moves none
            for gradient, part, weight, size in zip(
                gradients, images, weights, norm.sizes, strict=True
            )
        ]
        of_weights = [product if ctx.has_weight else None for _, product in own]
        of_biases = [total if ctx.has_bias else None for total, _ in own]
        return None, None, *found, *of_weights, *of_biases


def _sums(gradient: Tensor, images: Tensor, mean: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Σ dy and Σ dy x̂ of one lane, by channel."""
    ones = torch.ones_like(mean)
    _, product, total = torch.ops.aten.native_batch_norm_backward(
        gradient, images, ones, None, None, mean, scale, True, 0.0, [False, True, True]
    )
    return total, product


def _combined(
    gradient: Tensor,
    images: Tensor,
    weight: Tensor | None,
    scale: Tensor,
    by_image: Tensor,
    constant: Tensor,
) -> Tensor:
    """(w / s) (dy + by_image x + constant), by channel."""
    shape = (1, -1) + (1,) * (images.ndim - 2)
    factor = scale if weight is None else scale * weight
    wide = gradient.to(scale.dtype).addcmul(images.to(scale.dtype), by_image.view(shape))
    return wide.add_(constant.view(shape)).mul_(factor.view(shape)).to(images.dtype)


def _move(call: _Call, mean: Tensor, variance: Tensor) -> None:
    """Running statistics, which all lanes share, move once."""
    for running, value in ((call.running_mean, mean), (call.running_var, variance)):
        if running is not None:
            running.lerp_(value.to(running.dtype), call.momentum)


def _mean_and_variance(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each channel, as float64; computed by torch's own kernel in fp32 or
    fp64."""
    unused = torch.zeros(images.shape[1], dtype=_wide(images), device=images.device)
    mean, variance = torch.batch_norm_update_stats(images, unused, unused, 0.0)
    return mean.double(), variance.double()


def _wide(images: Tensor) -> torch.dtype:
    """The type in which statistics of images are computed and kept."""
    return torch.float64 if images.dtype == torch.float64 else torch.float32


def _values_per_sample(images: Tensor) -> int:
    return images[0, 0].numel()


def _generators_at(seed: int, device: torch.device) -> Sequence[Tensor]:
    seed_generators(seed, device)
    return generator_states(device)
