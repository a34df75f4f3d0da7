"""Partition: groups by sorted probabilities, margins and entropies written out with scipy; what
each group's method is given, and methods that are applied to groups by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import entropy

from supreme_core.api.model import parse
from supreme_core.components.wrappers.partition import PartitionParams, memorisation, partition
from supreme_core.errors import SpecError
from supreme_core.randomness import streams
from tests.builders import digest, tiny_network, tiny_task
from tests.core.components.wrappers.inside import METHODS, chosen


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


def in_groups(task, *methods):
    """Each method on its group by hand, from the group that is learnt most easily on."""
    found = scores(logits_of(task.forget), task.forget.labels.numpy(), "confidence")
    order = np.argsort(found, kind="stable")
    for number, (method, group) in enumerate(
        zip(methods, np.array_split(order, len(methods)), strict=True)
    ):
        forget = task.forget.take(torch.from_numpy(np.sort(group)))
        method(replace(task, forget=forget, seed=streams.derive(task.seed, "group", number)))
    return digest(task.model)


def params_of(*methods, groups=3):
    return parse(PartitionParams, {"groups": groups, "methods": list(methods)})


FINETUNE = {"name": "finetune", "params": METHODS["finetune"]}
SSD = {"name": "ssd", "params": METHODS["ssd"]}


@pytest.mark.parametrize("named", [(), (FINETUNE,), (SSD, FINETUNE), (FINETUNE, SSD, FINETUNE)])
def test_the_first_groups_have_the_methods_that_are_named_for_them(named):
    one = tiny_task()
    partition(chosen("neg_grad"), one, params_of(*named))
    inside = [*(chosen(each["name"]) for each in named), *[chosen("neg_grad")] * 3][:3]
    assert digest(one.model) == in_groups(tiny_task(), *inside)


def test_more_methods_than_groups_are_refused():
    with pytest.raises(SpecError) as error:
        params_of(SSD, FINETUNE, SSD, groups=2)
    assert str(error.value) == (
        "methods names 3 and groups is 2; there is at most one method for each group"
    )


def test_what_named_methods_need_is_needed():
    assert params_of().needs() == ()
    assert params_of({"name": "msg"}, FINETUNE).needs() == ("retain", "convolutions")


def test_a_result_is_named_by_all_settings_of_named_methods_and_else_as_ever():
    assert params_of().identity() == {"groups": 3, "proxy": "confidence"}
    short, whole = (params_of({"name": "ssd", "params": p}) for p in ({}, {"alpha": 10}))
    assert short.identity() == whole.identity()
    (named,) = short.identity()["methods"]
    assert (named["name"], named["version"], named["params"]["alpha"]) == ("ssd", 1, 10)
    assert short.identity() != params_of(SSD).identity()
