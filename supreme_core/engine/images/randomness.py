"""Random numbers on the device that belong to samples, and generators that belong to addresses."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from supreme_core.errors import SpecError
from supreme_core.randomness import streams
from supreme_core.randomness.permutation import FIRST_MULTIPLIER, GOLDEN_GAMMA, SECOND_MULTIPLIER


def generator(seed: int, *address: str | int) -> torch.Generator:
    """A CPU generator for the stream at `address`: the same draws on every device and rank."""
    return torch.Generator().manual_seed(streams.derive(seed, *address))


@contextmanager
def global_seed(seed: int, *address: str | int) -> Iterator[None]:
    """torch's global generator at a known state inside, and as it was before outside.

    Only for code of torch that takes no generator: the initialisation of layers.
    """
    with torch.random.fork_rng(devices=[]):
        seed_generators(streams.derive(seed, *address), torch.device("cpu"))
        yield


def seed_generators(seed: int, device: torch.device) -> None:
    """Put torch's global generators of the CPU and of `device` at the start of the same stream."""
    # torch.manual_seed would note, for each kind of device that has not started yet, from where it
    # was called: half a millisecond each time, on which a small network trains on a batch.
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index].manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


def generator_states(device: torch.device) -> list[Tensor]:
    """States of torch's global generators of the CPU and of `device`."""
    states = [torch.random.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    return states


def set_generator_states(states: Sequence[Tensor], device: torch.device) -> None:
    """Put the generators where they were when `generator_states` was asked."""
    torch.random.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)


@contextmanager
def kept_global_generator(device: torch.device) -> Iterator[None]:
    """torch's global generators of the CPU and of `device` are afterwards as they were before."""
    kind = None if device.type == "cpu" else device.type
    with torch.random.fork_rng(devices=[device] if kind else [], device_type=kind):
        yield


@dataclass(frozen=True)
class Draw:
    """Random numbers of one augmentation for the samples of one batch.

    They depend on (key, sample id, stream) only: not on the batch, the rank or the device.  key
    holds seed, epoch and the augmentation's place in the recipe.
    """

    key: int
    ids: Tensor

    def start(self, stream: int) -> int | Tensor:
        """Where a stream begins, an int64."""
        return _signed(streams.derive(self.key, stream))

    def bits(self, stream: int) -> Tensor:
        """(n,) int64, 63 random bits: splitmix64 of the sample's counter in a stream."""
        z = (self.ids + 1) * _signed(GOLDEN_GAMMA) + self.start(stream)
        z = (z ^ _shifted(z, 30)) * _signed(FIRST_MULTIPLIER)
        z = (z ^ _shifted(z, 27)) * _signed(SECOND_MULTIPLIER)
        return _shifted(z ^ _shifted(z, 31), 1)

    def integers(self, stream: int, limit: int) -> Tensor:
        """(n,) int64 in [0, limit); the bias of the remainder is below limit / 2**63."""
        return self.bits(stream) % limit

    def uniform(self, stream: int) -> Tensor:
        """(n,) float32 in [0, 1), multiples of 2**-24."""
        return _shifted(self.bits(stream), 39).to(torch.float32) * 2.0**-24


def check_draws(device: torch.device) -> None:
    """SpecError where the device's integers of 64 bits are not those of a CPU, so that no image
    would be augmented as it is elsewhere."""
    ids = torch.arange(1000)
    here, there = (Draw(0, where).integers(0, 4097) for where in (ids, ids.to(device)))
    if not torch.equal(here, there.cpu()):
        raise SpecError(
            f"torch {torch.__version__} computes with integers of 64 bits on {device.type} in"
            " another way than on a CPU; use another version of torch, or --device cpu"
        )


def _signed(value: int) -> int:
    """The int64 with the same 64 bits; products of int64 wrap, as splitmix64 wants."""
    return value - 2**64 if value >= 2**63 else value


def _shifted(value: Tensor, by: int) -> Tensor:
    """Logical right shift; torch's own keeps the sign."""
    return (value >> by) & ((1 << (64 - by)) - 1)
