"""Noise that costs a network a share of its accuracy."""

import pytest
import torch

from supreme_core.engine.evaluation.noise import HALVINGS, MOST, add_noise
from tests.builders import digest, tiny_network


def noised(accuracy, *, seed=1, loss=0.1):
    """(network after noise, distance of its first weight in root mean squares)"""
    network = tiny_network(3)
    before = network[0].weight.detach().clone()

    def distance():
        moved = (network[0].weight.detach() - before).square().mean().sqrt()
        return float(moved / before.square().mean().sqrt())

    generator = torch.Generator().manual_seed(seed)
    add_noise(network, lambda: accuracy(distance()), loss=loss, generator=generator)
    return network, distance()


@pytest.mark.parametrize("where", [0.01, 0.3, 5.0])
def test_there_is_as_much_noise_as_takes_the_accuracy_away(where):
    """Accuracy falls at once, where the weights have moved so far."""
    _, reached = noised(lambda distance: 0.9 if distance < where else 0.2)
    assert where <= reached <= where * (1 + 2.0 ** (1 - HALVINGS))


def test_noise_is_that_of_its_seed_and_of_no_other():
    def accuracy(distance):
        return 0.9 - distance

    assert digest(noised(accuracy)[0]) == digest(noised(accuracy)[0])
    assert digest(noised(accuracy)[0]) != digest(noised(accuracy, seed=2)[0])


def test_a_network_whose_accuracy_cannot_fall_gets_the_most():
    _, reached = noised(lambda distance: 0.1)
    assert reached == pytest.approx(MOST, rel=0.5)


def test_statistics_and_modes_stay():
    network, _ = noised(lambda distance: 0.9 - distance)
    assert torch.equal(network[1].running_mean, tiny_network(3)[1].running_mean)
    assert not network.training
