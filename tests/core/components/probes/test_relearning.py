"""Relearning against a loop of its own with torch's SGD, and what is known without a step."""

import pytest
import torch
from torch import nn, optim

from supreme_core.components.probes.relearning import relearning
from supreme_core.engine.training.sample_order import shuffled
from supreme_core.randomness import streams
from supreme_core.scoring.probe_settings import RelearningSettings
from tests.builders import plain, tiny_network
from tests.core.components.probes.probe_tasks import (
    ORIGINAL,
    UNLEARNED,
    accuracy_of,
    probe_task,
    sets,
)

FEW = RelearningSettings(lr=0.02, batch_size=4, max_steps=40, tolerance=0.0)


def knowing(network=None):
    """An Original that gets the whole forget set right: it always says class 1."""
    network = network or tiny_network(ORIGINAL)
    with torch.no_grad():
        network[4].bias[1] += 100
    return network


def steps_by_hand(params, *, wanted, seed=11):
    """The first step after which enough is known, by an ordinary loop over whole batches."""
    network, forget = tiny_network(UNLEARNED), sets()["forget"]
    optimizer = optim.SGD(network.parameters(), lr=params.lr)
    stream = streams.derive(seed, "relearning")
    order = shuffled(len(forget), params.batch_size)
    done = samples = 0
    epoch = 0
    while True:
        for positions in order(epoch, streams.derive(stream, "order", epoch)):
            if done == params.max_steps:
                return done, samples
            network.train()
            batch = forget.batch(positions)
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(batch.images), batch.labels).backward()
            optimizer.step()
            done, samples = done + 1, samples + len(batch)
            network.eval()
            if done % params.every == 0 and accuracy_of(network, forget) >= wanted:
                return done, samples
        epoch += 1


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("batch_size", [4, 5], ids=["even", "ragged"])
def test_it_counts_the_steps_of_an_ordinary_training(every, batch_size):
    params = FEW.model_copy(update={"every": every, "batch_size": batch_size})
    task = probe_task(original=knowing(), numerics=plain(1))

    found = relearning(task, params)

    steps, samples = steps_by_hand(params, wanted=1.0)
    assert found == {"steps": steps, "samples": samples}
    assert 1 < steps < params.max_steps


def test_original_knows_the_forget_set_without_a_step():
    found = relearning(probe_task(model=ORIGINAL), FEW)
    assert found == {"steps": 0.0, "samples": 0.0}


def test_tolerance_asks_for_less():
    asked = [FEW.model_copy(update={"tolerance": tolerance}) for tolerance in (0.0, 0.5, 0.99)]
    strict, half, lax = (
        relearning(probe_task(original=knowing(), numerics=plain(1)), params)["steps"]
        for params in asked
    )
    assert strict > half >= lax
    assert half == steps_by_hand(FEW, wanted=0.5)[0]


@pytest.mark.parametrize("max_steps", [1, 4])
def test_who_does_not_learn_in_time_has_the_most_steps(max_steps):
    params = FEW.model_copy(update={"lr": 1e-9, "max_steps": max_steps})
    found = relearning(probe_task(original=knowing()), params)
    assert found == {"steps": max_steps, "samples": max_steps * 4}


def test_who_diverges_has_the_most_steps():
    params = FEW.model_copy(update={"lr": 1e30, "max_steps": 7})
    found = relearning(probe_task(original=knowing()), params)
    assert found == {"steps": 7.0, "samples": 28.0}


def test_the_order_of_batches_is_that_of_the_seed():
    params = FEW.model_copy(update={"batch_size": 1})
    found = {
        seed: relearning(probe_task(original=knowing(), seed=seed), params)["steps"]
        for seed in range(6)
    }
    assert len(set(found.values())) > 1


def test_models_that_were_trained_in_half_precision_are_judged_in_full():
    half = relearning(probe_task(original=knowing(), numerics=plain(1, precision="bf16")), FEW)
    assert half == relearning(probe_task(original=knowing(), numerics=plain(1)), FEW)
