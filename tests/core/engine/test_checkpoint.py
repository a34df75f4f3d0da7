"""Interrupted and continued is the same as never interrupted, to the bit.

| what varies                  | values                                                       |
| ---------------------------- | ------------------------------------------------------------ |
| where the training stops     | after every single step: in an epoch, at its border, the last |
| optimiser                    | SGD with momentum, AdamW                                     |
| ranks before and after       | 1-1, 1-2, 2-1                                                |
| what the checkpoint is       | sound, damaged, of another fit, of a stage that is another's |

Left out: CUDA, and processes that are really killed (tests/trainer/test_resume.py).
"""

import logging
from dataclasses import dataclass, field

import pytest
import torch
from torch import optim

from supreme_core.api.v1alpha1 import Training
from supreme_core.engine.ranks.interruption import Interruption, Terminated
from supreme_core.engine.ranks.ranks import Ranks
from supreme_core.engine.ranks.reduction import Reduction
from supreme_core.engine.training.checkpoint import (
    EVERY_SECONDS,
    Checkpoints,
    State,
    seconds_between,
)
from supreme_core.engine.training.curve import TrainingCurve
from supreme_core.engine.training.fit import Fit, fit, unreported
from supreme_core.engine.training.loss import cross_entropy
from supreme_core.engine.training.numerics import NumericsPolicy
from supreme_core.engine.training.precision import loss_scaler
from supreme_core.engine.training.recipe import Recipe
from supreme_core.errors import GraphFault, HeldElsewhere, RankLost, SpecError
from supreme_core.scoring.evaluation import Cost
from tests.builders import digest, tiny_network, tiny_samples
from tests.real_ranks import on_two_ranks

ALONE = Ranks.alone(torch.device("cpu"))
EPOCHS, BATCH_SIZE, STEPS = 2, 20, 6

RECIPES = ("sgd", "adamw", "fp16", "batch")
NUMERICS = {"fp16": {"precision": "fp16"}, "batch": {"batch_norm": "batch"}}
"""48 samples: batches of 20, 20 and a ragged one of 8."""


@dataclass
class Memory:
    """A slot that remembers."""

    data: bytes | None = None
    writes: list = field(default_factory=list)

    def read(self):
        return self.data

    def write(self, data):
        self.data = data
        self.writes.append(data)


def network():
    return tiny_network(3).to(memory_format=torch.channels_last)


def how(optimizer="sgd", epochs=EPOCHS):
    training = {
        "epochs": epochs,
        "batchSize": BATCH_SIZE,
        "optimizer": {"name": optimizer, "params": {"lr": 0.01}},
        "schedule": {"name": "cosine", "warmupEpochs": 1},
        "augmentation": [{"name": "random_crop", "params": {"padding": 1}}],
    }
    return Recipe.of(Training.model_validate(training, by_name=False)).fit(7)


def overflowing(model, batch):
    """A loss so large that gradients in half precision overflow until the scale has come down."""
    return 1e3 * cross_entropy(model, batch)


def trained(ranks, slot, *, recipe="sgd", stop_after=None, every_seconds=1e9, clock=None):
    """The digest of a model trained from `slot`, or None where it was told to stop after a step."""
    interruption = Interruption(exit_code=143)
    checkpoints = Checkpoints(
        ranks, interruption, slot, every_seconds=every_seconds, clock=clock or (lambda: 0.0)
    )

    def report(*, done, **_):
        if done == stop_after:
            interruption.request()

    model = network()
    try:
        fit(
            model,
            tiny_samples(48),
            how("adamw" if recipe == "adamw" else "sgd"),
            seed=7,
            numerics=NumericsPolicy(Reduction(ranks, 2), **NUMERICS.get(recipe, {})),
            report=report,
            loss=overflowing if recipe == "fp16" else cross_entropy,
            checkpoints=checkpoints,
        )
    except Terminated:
        return None
    return digest(model)


def on_rank(ranks, data, stop_after):
    """(digest, checkpoint) of one of two ranks."""
    slot = Memory(data)
    return trained(ranks, slot, stop_after=stop_after), slot.data


@pytest.fixture(scope="module")
def whole():
    torch.set_num_threads(1)
    return {name: trained(ALONE, None, recipe=name) for name in RECIPES}


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("stop_after", range(1, STEPS + 1))
def test_stopped_after_any_step_and_continued_gives_the_same_bits(whole, recipe, stop_after):
    slot = Memory()

    assert trained(ALONE, slot, recipe=recipe, stop_after=stop_after) is None
    assert trained(ALONE, slot, recipe=recipe) == whole[recipe]


def test_stopped_again_and_again_gives_the_same_bits(whole):
    slot = Memory()
    for stop_after in range(1, STEPS):
        assert trained(ALONE, slot, stop_after=stop_after) is None
    assert trained(ALONE, slot) == whole["sgd"]


def test_continued_on_two_ranks_after_one_gives_the_same_bits(whole):
    slot = Memory()
    trained(ALONE, slot, stop_after=4)

    found = on_two_ranks(on_rank, slot.data, None)
    assert [digest for digest, _ in found] == [whole["sgd"]] * 2


def test_continued_on_one_rank_after_two_gives_the_same_bits(whole):
    (first, data), (second, nothing) = on_two_ranks(on_rank, None, 4)

    assert (first, second) == (None, None)
    assert nothing is None, "only rank 0 writes"
    assert trained(ALONE, Memory(data)) == whole["sgd"]


def only_rank_one_is_told(ranks):
    return trained(ranks, Memory(), stop_after=3 if ranks.rank == 1 else None)


def scale_after(slot):
    """Return the scale of the loss, in a fresh state that a checkpoint was read into."""
    model = network()
    optimizer = optim.SGD(model.parameters(), 0.01)
    state = State(model, optimizer, loss_scaler("fp16", ALONE.device), [TrainingCurve()])
    Checkpoints(ALONE, Interruption(exit_code=143), slot).begin(state)
    return state.scaler.get_scale()


def test_the_scale_of_the_loss_is_what_it_had_come_to():
    slot = Memory()
    trained(ALONE, slot, recipe="fp16", stop_after=3)
    assert 1 <= scale_after(slot) < 2**16 == scale_after(Memory())


def test_a_signal_to_one_rank_stops_all_of_them():
    assert on_two_ranks(only_rank_one_is_told) == [None, None]


class TakenOver(Memory):
    """A slot of a stage that is another process's from the second checkpoint on."""

    def write(self, data):
        if self.data:
            raise HeldElsewhere("taken over")
        super().write(data)


def in_vain(ranks):
    """Steps that a rank takes before it leaves a stage that another one has taken over."""
    steps = []

    def report(*, done, **_):
        steps.append(done)

    checkpoints = Checkpoints(ranks, Interruption(143), TakenOver(), every_seconds=0.0)
    numerics = NumericsPolicy(Reduction(ranks, 2))
    with pytest.raises(HeldElsewhere):
        fit(
            network(), tiny_samples(48), how(),
            seed=7, numerics=numerics, report=report, checkpoints=checkpoints,
        )  # fmt: skip
    return steps


def test_ranks_whose_stage_was_taken_over_leave_it_together():
    """Ranks ask each other a step after the checkpoint that is in vain."""
    assert in_vain(ALONE) == [1, 2]
    assert on_two_ranks(in_vain) == [[1, 2, 3]] * 2


def unproven(ranks):
    """Checkpoints that are written where the last rank finds that its share of the state is wrong,
    and whether the others end with it."""
    slot, model = Memory(), network()
    checkpoints = Checkpoints(ranks, Interruption(143), slot, every_seconds=0.0)
    state = State(model, optim.SGD(model.parameters()), loss_scaler("fp32", ranks.device))
    checkpoints.begin(state)

    def prove():
        if ranks.rank == ranks.size - 1:
            raise GraphFault("other bits")

    with pytest.raises(GraphFault if ranks.rank == ranks.size - 1 else RankLost):
        checkpoints.step(state, 1, prove)
    return len(slot.writes)


def test_nothing_is_written_that_a_rank_finds_wrong():
    assert unproven(ALONE) == 0
    assert on_two_ranks(unproven) == [0, 0]


def test_a_checkpoint_is_written_when_it_is_time_and_only_the_newest_is_kept(whole):
    slot, now = Memory(), iter(range(1000))

    trained(ALONE, slot, every_seconds=4, clock=lambda: next(now))
    assert 1 <= len(slot.writes) < STEPS
    assert trained(ALONE, slot) == whole["sgd"]


def test_without_a_request_and_before_its_time_nothing_is_written():
    slot = Memory()
    trained(ALONE, slot)
    assert not slot.writes


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data[: len(data) // 2],
        lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:],
        lambda data: b"",
    ],
    ids=["a byte short", "half", "one bit", "empty"],
)
def test_a_damaged_checkpoint_is_reported_and_ignored(whole, damage, caplog):
    slot = Memory()
    trained(ALONE, slot, stop_after=4)

    with caplog.at_level(logging.WARNING):
        assert trained(ALONE, Memory(damage(slot.data))) == whole["sgd"]
    assert "a damaged checkpoint is ignored" in caplog.text


def two_fits(slot, *, stop_in=None, stop_after=None):
    """Train on all samples, then on half of them, as methods do that impair and repair."""
    interruption = Interruption(exit_code=143)
    checkpoints = Checkpoints(ALONE, interruption, slot, clock=lambda: 0.0)
    model, samples = tiny_network(3), tiny_samples(48)
    for number, part in enumerate((samples, samples.take(torch.arange(24)))):

        def report(*, done, number=number, **_):
            if (number, done) == (stop_in, stop_after):
                interruption.request()

        fitting = Fit(
            epochs=2, batch_size=10, optimizer=lambda params: optim.SGD(params, 0.1, momentum=0.9)
        )
        try:
            fit(
                model,
                part,
                fitting,
                seed=number,
                numerics=NumericsPolicy(Reduction(ALONE, 2)),
                report=report,
                checkpoints=checkpoints,
            )
        except Terminated:
            return None
    return digest(model)


@pytest.mark.parametrize(("stop_in", "stop_after"), [(0, 3), (0, 10), (1, 1), (1, 6)])
def test_a_stage_of_several_fits_goes_on_in_the_right_one(stop_in, stop_after):
    slot = Memory()

    assert two_fits(slot, stop_in=stop_in, stop_after=stop_after) is None
    assert two_fits(slot) == two_fits(None)


def test_what_interrupted_attempts_took_is_counted():
    slot, interruption = Memory(), Interruption(exit_code=143)

    def report(*, done, **_):
        if done == 2:
            interruption.request()

    def attempt(interruption, report):
        checkpoints = Checkpoints(ALONE, interruption, slot)
        numerics = NumericsPolicy(Reduction(ALONE, 2))
        told = {"seed": 7, "numerics": numerics, "report": report, "checkpoints": checkpoints}
        with checkpoints.meter.measured() as meter:
            fit(network(), tiny_samples(48), how(), **told)
        return meter

    with pytest.raises(Terminated):
        attempt(interruption, report)
    meter = attempt(Interruption(exit_code=143), unreported)
    assert isinstance(meter.earlier, Cost)
    assert 0 < meter.earlier.wall_seconds < meter.cost.wall_seconds
    assert 0 < meter.earlier.device_seconds < meter.cost.device_seconds
    assert 0 < meter.earlier.peak_memory_bytes <= meter.cost.peak_memory_bytes


def test_outside_a_training_a_request_ends_the_process_at_once():
    interruption = Interruption(exit_code=143)
    with pytest.raises(Terminated) as stopped:
        interruption.request()
    assert stopped.value.code == 143


def test_a_second_request_does_not_disturb_what_the_first_one_ends():
    interruption = Interruption(exit_code=143)
    with pytest.raises(Terminated):
        interruption.request()

    interruption.request()

    assert interruption.requested


def test_a_request_in_the_last_step_ends_the_process_after_the_training():
    interruption, done = Interruption(exit_code=143), []

    def last_step():
        with interruption.deferred():
            interruption.request()
            done.append("the step")

    with pytest.raises(Terminated):
        last_step()
    assert done == ["the step"]


def test_a_report_to_nobody_leaves_the_bits_alone(whole):
    model = network()
    fit(
        model,
        tiny_samples(48),
        how(),
        seed=7,
        numerics=NumericsPolicy(Reduction(ALONE, 2)),
        report=unreported,
    )
    assert digest(model) == whole["sgd"]


def test_checkpoints_come_every_five_minutes_unless_the_environment_says_otherwise():
    assert seconds_between({}) == EVERY_SECONDS == 300
    assert seconds_between({"SUPREME_CHECKPOINT_SECONDS": "0.5"}) == 0.5


@pytest.mark.parametrize("text", ["", "often", "0", "-1", "nan", "inf"])
def test_what_is_no_time_between_checkpoints_is_refused_in_one_line(text):
    with pytest.raises(SpecError) as refused:
        seconds_between({"SUPREME_CHECKPOINT_SECONDS": text})

    assert str(refused.value) == (
        f"SUPREME_CHECKPOINT_SECONDS is {text!r}; it should be a number of seconds above 0"
    )


def test_a_request_ends_a_process_that_has_lost_its_stage_to_another():
    """Else the process waits for what the other one computes, and hears no further request."""
    interruption = Interruption(exit_code=143)

    def lost(*, is_requested):
        with interruption.deferred():
            if is_requested:
                interruption.request()
            raise HeldElsewhere("taken over")

    with pytest.raises(HeldElsewhere):
        lost(is_requested=False)
    with pytest.raises(Terminated):
        lost(is_requested=True)
