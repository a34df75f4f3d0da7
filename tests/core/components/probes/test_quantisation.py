"""Rounded weights against torch's own fake quantisation and a loop over images."""

import pytest
import torch

from supreme_core.components.probes.quantisation import quantisation, quantise
from supreme_core.scoring.probe_settings import QuantisationSettings
from tests.builders import digest, tiny_network
from tests.core.components.probes.probe_tasks import UNLEARNED, accuracy_of, probe_task


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_weights_are_those_of_torchs_fake_quantisation(bits):
    network, plain = tiny_network(UNLEARNED), tiny_network(UNLEARNED)
    quantise(network, bits=bits)
    levels = 2 ** (bits - 1) - 1
    for name in ("0.weight", "4.weight"):
        before, after = (each.get_parameter(name).detach() for each in (plain, network))
        expected = torch.fake_quantize_per_tensor_affine(
            before, float(before.abs().max()) / levels, 0, -levels, levels
        )
        torch.testing.assert_close(after, expected)
        assert len(after.unique()) <= 2 * levels + 1


def test_biases_norms_and_statistics_keep_their_bits():
    network, plain = tiny_network(UNLEARNED), tiny_network(UNLEARNED).state_dict()
    quantise(network, bits=2)
    changed = [name for name, each in network.state_dict().items() if not each.equal(plain[name])]
    assert changed == ["0.weight", "4.weight"]


def test_a_layer_of_zeros_stays_one():
    network = tiny_network(UNLEARNED)
    with torch.no_grad():
        network[4].weight.zero_()
    quantise(network, bits=8)
    assert not network[4].weight.any()


@pytest.mark.parametrize("bits", [2, 8])
def test_accuracies_are_those_of_the_rounded_model(bits):
    task = probe_task()
    network = tiny_network(UNLEARNED)
    quantise(network, bits=bits)

    found = quantisation(task, QuantisationSettings(bits=bits))

    assert found == {on: accuracy_of(network, samples) for on, samples in task.sets.items()}


def test_with_many_bits_it_is_the_model_itself():
    task = probe_task()
    found = quantisation(task, QuantisationSettings(bits=16))
    assert found == {on: task.subject.accuracy(on) for on in task.sets}


def test_a_set_that_is_not_there_has_no_number():
    found = quantisation(probe_task(forgets="samples"), QuantisationSettings())
    assert found.keys() == {"forget", "retain", "test", "retain_test"}


def test_a_model_that_is_rounded_already_stays_as_it_is():
    network = tiny_network(UNLEARNED)
    quantise(network, bits=4)
    before = digest(network)
    quantise(network, bits=4)
    assert digest(network) == before
