"""Checkpoints inside long trainings: go on after an interruption with the same bits.

What a step does depends on the seed, the position, the weights and the optimiser's state, and on
nothing else: orders, augmentation, dropout and rates are functions of the position. So these are
what a checkpoint holds, beside what observers remember, and it can be continued on another number
of ranks.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, nan
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn, optim
from torch.amp import GradScaler

from supreme_core.engine.evaluation.cost import CostMeter
from supreme_core.engine.networks.weights import laid_out_like, load_weights, on_cpu
from supreme_core.engine.ranks.interruption import Interruption, Terminated
from supreme_core.engine.ranks.ranks import Ranks
from supreme_core.engine.training.curve import TrainingCurve
from supreme_core.engine.training.observer import Observer
from supreme_core.errors import HeldElsewhere, SpecError
from supreme_core.scoring.evaluation import Cost
from supreme_core.store.artefacts import CHECKPOINT_DIGEST_BYTES, is_sound_checkpoint

log = logging.getLogger(__name__)

EVERY_SECONDS = 300.0
"""Time between two checkpoints of one training, the most work that is lost to a SIGKILL."""

VARIABLE = "SUPREME_CHECKPOINT_SECONDS"
"""Says otherwise, where machines are taken away often or a checkpoint is slow to write."""

STEPS_BETWEEN_AGREEMENTS = {"cpu": 1, "cuda": 10}
"""Steps between two questions of several ranks to each other whether one was told to stop. An
answer takes a fraction of a millisecond, which a step on a GPU would notice."""


def seconds_between(environment: Mapping[str, str]) -> float:
    """EVERY_SECONDS, or what the environment says; SpecError where that is no such number."""
    text = environment.get(VARIABLE)
    if text is None:
        return EVERY_SECONDS
    try:
        seconds = float(text)
    except ValueError:
        seconds = nan
    if not 0 < seconds < inf:
        raise SpecError(f"{VARIABLE} is {text!r}; it should be a number of seconds above 0")
    return seconds


NOTHING, SAVE, LOST, STOP = range(4)
"""Words of a rank to the others after a step, of which the greatest counts: it is time to save; its
stage is another process's by now; it was told to stop, as the process has to end."""


class Slot(Protocol):
    """The place of one stage's newest checkpoint; writing is atomic."""

    def read(self) -> bytes | None: ...

    def write(self, data: bytes) -> None:
        """HeldElsewhere where another process has taken the stage over."""


@dataclass(frozen=True)
class State:
    """Variables that a training changes, all of which its next step depends on."""

    model: nn.Module
    optimizer: optim.Optimizer
    scaler: GradScaler
    observers: Sequence[Observer] = ()


@dataclass
class Checkpoints:
    """Checkpoints of one stage. Each `fit` of the stage in turn calls `begin`, then `step` after
    steps.

    slot: None for a stage that keeps none.  meter: of what the stage costs, interrupted attempts
    included.  curves: of the stage's trainings so far.  Rank 0 writes; all ranks read.
    """

    ranks: Ranks
    interruption: Interruption
    slot: Slot | None = None
    every_seconds: float = EVERY_SECONDS
    clock: Callable[[], float] = time.monotonic
    meter: CostMeter = field(init=False)
    curves: list[TrainingCurve] = field(default_factory=list, init=False)
    _fits: int = 0
    _saved: float = field(init=False)
    _is_lost: bool = False

    def __post_init__(self) -> None:
        self.meter = CostMeter(self.ranks)
        self._saved = self.clock()

    @classmethod
    def none(cls, ranks: Ranks) -> "Checkpoints":
        """Checkpoints that are kept nowhere, for a training that is not worth one and that any
        signal may end at once."""
        return cls(ranks, Interruption(exit_code=1))

    def begin(self, state: State) -> int:
        """Steps of this fit that are done; the state is then as it was after them."""
        number, self._fits = self._fits, self._fits + 1
        found = self._read()
        if found is None:
            return 0
        tensors, position = found
        if position["fit"] != number:
            return 0  # an earlier fit runs again, which gives what it gave
        _restore(state, tensors)
        state.scaler.load_state_dict(position["scaler"])
        self.meter.go_on_from(Cost(**position["spent"]))
        log.info("going on after step %d", position["done"])
        return int(position["done"])

    def step(self, state: State, done: int, prove: Callable[[], None]) -> None:
        """Save where it is time to; after a request to stop save, and stop all ranks here.

        prove: raises an error where the state may be wrong; on each rank it looks at what that rank
        has computed.  HeldElsewhere, on all ranks, where another process has taken the stage over.
        """
        told = self._told(done)
        if told == LOST:
            raise HeldElsewhere("another process has taken over what these ranks compute")
        if self.slot and told in (SAVE, STOP):
            self._saved = self.clock()
            prove()
            self.ranks.each(0.0)  # rank 0 writes when no rank has raised an error
            if self.ranks.is_main:
                self._write(self.slot, self._pack(state, done))
        if told == STOP:
            self.ranks.each(0.0)  # no rank ends while rank 0 writes: torchrun would soon kill it
            self.interruption.requested = True  # also on ranks that no signal reached
            raise Terminated(self.interruption.exit_code)

    def _write(self, slot: Slot, data: bytes) -> None:
        """Write a checkpoint; ranks that have lost their stage hear of it when they agree next."""
        try:
            slot.write(data)
        except HeldElsewhere:
            if self.ranks.size == 1:
                raise
            self._is_lost = True

    def _told(self, done: int) -> int:
        """The same word for all ranks, which is NOTHING where they do not ask each other."""
        is_time = self.slot and self.clock() - self._saved >= self.every_seconds
        mine = SAVE if is_time else NOTHING
        mine = STOP if self.interruption.requested else LOST if self._is_lost else mine
        if self.ranks.size == 1:
            return mine
        if done % STEPS_BETWEEN_AGREEMENTS[self.ranks.device.type]:
            return NOTHING
        return int(max(self.ranks.each(float(mine))))

    def _pack(self, state: State, done: int) -> bytes:
        tensors = {f"model/{name}": tensor for name, tensor in state.model.state_dict().items()}
        for index, moments in state.optimizer.state_dict()["state"].items():
            for name, value in moments.items():
                if value is not None:
                    tensors[f"optimizer/{index}/{name}"] = torch.as_tensor(value)
        for place, observer in enumerate(state.observers):
            for name, value in observer.memory.items():
                tensors[f"observer/{place}/{name}"] = value
        position = {
            "fit": self._fits - 1,
            "done": done,
            "spent": self.meter.so_far().to_facts(),
            "scaler": state.scaler.state_dict(),
        }
        payload = save(on_cpu(tensors), metadata={"position": json.dumps(position)})
        return hashlib.sha256(payload).digest() + payload

    def _read(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The checkpoint, where every rank sees the same sound one."""
        data = self.slot.read() if self.slot else None
        payload = _sound_payload(data) if data is not None else b""
        mine = hashlib.sha256(payload).hexdigest()
        same = all(self.ranks.each(float(mine == self.ranks.share(mine))))
        if not payload or not same:
            return None
        try:
            return load(payload), json.loads(_metadata(payload)["position"])
        except (SafetensorError, KeyError, ValueError) as error:
            log.warning("a checkpoint of another kind is ignored: %s", error)
            return None


def _sound_payload(data: bytes) -> bytes:
    """Return what follows the digest, or nothing where it does not have that digest."""
    if not is_sound_checkpoint([data], has_origin=False):
        log.warning("a damaged checkpoint is ignored; the training begins again")
        return b""
    return data[CHECKPOINT_DIGEST_BYTES:]


def _metadata(payload: bytes) -> dict[str, str]:
    """Metadata of a safetensors file: its header is JSON after its length."""
    length = int.from_bytes(payload[:8], "little")
    found: dict[str, str] = json.loads(payload[8 : 8 + length])["__metadata__"]
    return found


def _restore(state: State, tensors: dict[str, Tensor]) -> None:
    weights = {
        name.removeprefix("model/"): tensor
        for name, tensor in tensors.items()
        if name.startswith("model/")
    }
    load_weights(state.model, weights)
    parameters = [each for group in state.optimizer.param_groups for each in group["params"]]
    moments: dict[int, dict[str, Tensor]] = {}
    for observer in state.observers:
        observer.memory.clear()
    for name, tensor in tensors.items():
        kind, _, rest = name.partition("/")
        index, _, what = rest.partition("/")
        if kind == "optimizer":
            moments.setdefault(int(index), {})[what] = laid_out_like(parameters[int(index)], tensor)
        elif kind == "observer":
            state.observers[int(index)].memory[what] = tensor
    state.optimizer.load_state_dict({**state.optimizer.state_dict(), "state": moments})
