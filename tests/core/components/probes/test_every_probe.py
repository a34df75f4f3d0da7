"""Promises of each registered probe, on tiny networks.

repeats its bits | two ranks give those of one | leaves the
model, the images and torch's random numbers alone | a number for each set that there is
"""

import pytest
import torch

from supreme_core import registry
from supreme_core.engine.ranks.reduction import Reduction
from supreme_core.engine.training.checkpoint import Checkpoints
from supreme_core.engine.training.numerics import NumericsPolicy
from tests.builders import digest, plain, tiny_network
from tests.core.components.probes.probe_tasks import ORIGINAL, RETRAINED, UNLEARNED, probe_task
from tests.real_ranks import on_two_ranks

ENTRIES = {entry.name: entry for entry in registry.probe.entries()}
every_probe = pytest.mark.parametrize("name", ENTRIES)
every_cell = pytest.mark.parametrize("forgets", ["classes", "samples"])


def found(name, forgets="classes", **changes):
    entry = ENTRIES[name]
    return dict(entry.function(probe_task(forgets=forgets, **changes), entry.params()))


def findings(ranks):
    """Return the findings of every probe with two micro-batches, which one rank adds up as
    two do."""
    numerics = NumericsPolicy(Reduction(ranks, micro_batches=2))
    return {name: found(name, numerics=numerics) for name in ENTRIES}


@pytest.fixture(scope="module")
def findings_of_two_ranks():
    return on_two_ranks(findings)


@every_probe
@every_cell
def test_a_probe_repeats_its_bits(name, forgets):
    assert found(name, forgets) == found(name, forgets)


@every_probe
def test_two_ranks_find_what_one_finds(name, findings_of_two_ranks):
    expected = found(name, numerics=plain(2))
    assert [rank[name] for rank in findings_of_two_ranks] == [expected, expected]


@every_probe
@every_cell
def test_a_probe_leaves_models_images_and_random_numbers_alone(name, forgets):
    networks = {name: tiny_network(name) for name in (UNLEARNED, RETRAINED, ORIGINAL)}
    task = probe_task(
        forgets=forgets,
        model=networks[UNLEARNED],
        retrained=networks[RETRAINED],
        original=networks[ORIGINAL],
    )
    pixels = task.sets["forget"].source.pixels.values.clone()
    state = torch.get_rng_state()

    ENTRIES[name].function(task, ENTRIES[name].params())

    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(task.sets["forget"].source.pixels.values, pixels)
    for seed, network in networks.items():
        assert digest(network) == digest(tiny_network(seed))
        assert not any(module.training for module in network.modules())
        assert not any(module._forward_pre_hooks for module in network.modules())
        assert all(parameter.requires_grad for parameter in network.parameters())
        assert all(parameter.grad is None for parameter in network.parameters())


@every_probe
@pytest.mark.parametrize("numerics", [{"batch_norm": "batch"}, {"precision": "bf16"}], ids=str)
def test_a_probe_works_in_other_arithmetic_too(name, numerics):
    numbers = found(name, numerics=plain(2, **numerics))
    assert torch.tensor(list(numbers.values())).isfinite().all()


@every_probe
def test_every_number_that_a_metric_reads_is_found(name):
    """The cell has all sets."""
    asked = {
        on
        for metric in registry.metric.entries()
        if metric.facts.probe == name
        for on in metric.facts.sets
    }
    numbers = found(name)
    assert asked <= {number.partition("/")[0] for number in numbers}


def test_the_network_of_a_subject_is_made_once_and_only_when_somebody_looks():
    made = []
    task = probe_task()
    make, task.subject._make = task.subject._make, None
    task.subject._make = lambda checkpoints: made.append(checkpoints) or make(checkpoints)
    assert not made

    checkpoints = Checkpoints.none(task.ranks)
    task.subject.load(checkpoints)
    task.subject.features("forget")
    task.subject.accuracy("test")
    task.subject.copy()

    assert made == [checkpoints]


def test_features_are_computed_once_for_all_probes():
    task = probe_task()
    assert task.subject.features("forget") is task.subject.features("forget")
