"""Partition: groups by sorted probabilities, margins and entropies written out with scipy; what
each group's method is given, and a method that is applied to groups by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import entropy

from supreme_core import seeds
from supreme_core.wrappers.partition import PartitionParams, memorisation, partition
from tests.builders import digest, tiny_network, tiny_task
from tests.core.wrappers.inside import chosen


def logits_of(samples):
    with torch.no_grad():
        return tiny_network(3)(samples.batch(torch.arange(len(samples))).images).double().numpy()


def scores(logits, labels, proxy):
    """Lower where it is learnt more easily."""
    probabilities = softmax(logits, axis=1)
    found = []
    for row, values, label in zip(probabilities, logits, labels, strict=True):
        others = [value for c, value in enumerate(values) if c != label]
        found.append(
            {
                "confidence": -np.log(row[label]),
                "margin": max(others) - values[label],
                "entropy": entropy(row),
            }[proxy]
        )
    return np.array(found)


def groups_of(task, **params):
    """The ids that each call of the method was given, and its seeds."""
    given = []
    partition(
        lambda part: given.append((part.forget.ids.tolist(), part.seed)),
        task,
        PartitionParams(**params),
    )
    return given


@pytest.mark.parametrize("proxy", ["confidence", "margin", "entropy"])
@pytest.mark.parametrize(("groups", "sizes"), [(1, [12]), (3, [4] * 3), (5, [3, 3, 2, 2, 2])])
def test_groups_are_those_of_the_sorted_proxy_low_to_high(proxy, groups, sizes):
    task = tiny_task()
    found = scores(logits_of(task.forget), task.forget.labels.numpy(), proxy)
    ranked = task.forget.ids[np.argsort(found, kind="stable")].tolist()
    given = groups_of(task, groups=groups, proxy=proxy)
    assert [len(ids) for ids, _ in given] == sizes
    start = 0
    for ids, _ in given:
        assert ids == sorted(ranked[start : start + len(ids)])
        start += len(ids)


@pytest.mark.parametrize("proxy", ["confidence", "margin", "entropy"])
def test_a_proxy_is_its_formula(proxy):
    generator = np.random.default_rng(3)
    logits, labels = generator.normal(0, 4, (50, 6)), generator.integers(0, 6, 50)
    np.testing.assert_allclose(
        memorisation(logits, labels, proxy), scores(logits, labels, proxy), rtol=1e-9
    )


def test_there_are_no_more_groups_than_samples():
    assert [len(ids) for ids, _ in groups_of(tiny_task(), groups=100)] == [1] * 12


def test_each_group_has_random_streams_of_its_own():
    assert len({seed for _, seed in groups_of(tiny_task(), groups=3)}) == 3


def test_the_retain_set_is_the_same_for_each_group():
    task, given = tiny_task(), []
    partition(lambda part: given.append(part.retain.ids.tolist()), task, PartitionParams())
    assert given == [task.retain.ids.tolist()] * 3


def test_the_method_is_applied_to_one_group_after_the_other():
    one, other = tiny_task(), tiny_task()
    partition(chosen("neg_grad"), one, PartitionParams(groups=2))
    found = scores(logits_of(other.forget), other.forget.labels.numpy(), "confidence")
    order = np.argsort(found, kind="stable")
    for number, group in enumerate((order[:6], order[6:])):
        forget = other.forget.take(torch.from_numpy(np.sort(group)))
        seed = seeds.derive(other.seed, "group", number)
        chosen("neg_grad")(replace(other, forget=forget, seed=seed))
    assert digest(one.model) == digest(other.model)
