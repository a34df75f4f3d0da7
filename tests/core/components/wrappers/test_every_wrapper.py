"""Promises of each registered wrapper around methods of every kind, on a task that takes a fraction
of a second: the same bits again, on two ranks, and after an interruption anywhere."""

import re
from dataclasses import dataclass
from functools import cache
from itertools import count

import pytest
import torch
from torch import nn

from supreme_core import registry
from supreme_core.api.model import parse
from supreme_core.engine.ranks.interruption import Interruption, Terminated
from supreme_core.engine.ranks.ranks import Ranks
from supreme_core.engine.ranks.reduction import Reduction
from supreme_core.engine.training.checkpoint import Checkpoints
from supreme_core.engine.training.numerics import NumericsPolicy
from tests.builders import Slot, digest, plain, tiny_task
from tests.core.components.wrappers.inside import METHODS, chosen, task_of
from tests.real_ranks import on_two_ranks

WRAPPERS = {entry.name: entry for entry in registry.wrapper.entries()}

SETTINGS = {"early_stop": {"accuracy": 0.3}}
"""Settings with which a wrapper does something here."""

CASES = [
    (wrapper, method)
    for wrapper, entry in WRAPPERS.items()
    for method in METHODS
    if registry.method.get(method).facts.iterative or not entry.facts.iterative
]
every_case = pytest.mark.parametrize(("wrapper", "method"), CASES, ids=map("-".join, CASES))
every_entry = pytest.mark.parametrize("entry", WRAPPERS.values(), ids=WRAPPERS)


def wrapped(wrapper, method, **changes):
    entry, task = WRAPPERS[wrapper], task_of(**changes)
    entry.function(chosen(method), task, parse(entry.params, SETTINGS.get(wrapper, {})))
    return task.model


def stopped(slot, *, after=None):
    """Parts of a task that is told to stop after so many reports; None for never."""
    interruption, reports = Interruption(exit_code=143), count(1)

    def report(**step):
        if next(reports) == after:
            interruption.request()

    checkpoints = Checkpoints(Ranks.alone(torch.device("cpu")), interruption, slot)
    return {"report": report, "checkpoints": checkpoints}


@cache
def unwrapped(method):
    """Return the digest of a model after a method without a wrapper."""
    task = task_of()
    chosen(method)(task)
    return digest(task.model)


def digests(ranks):
    """Return a digest of every case with two micro-batches, which one rank adds up as two do."""
    numerics = NumericsPolicy(Reduction(ranks, micro_batches=2))
    return {case: digest(wrapped(*case, numerics=numerics)) for case in CASES}


@pytest.fixture(scope="module")
def digests_of_two_ranks():
    return on_two_ranks(digests)


@dataclass(frozen=True)
class Known:
    """A model after a wrapped method that nobody stopped, and the number of its reports."""

    model: nn.Module
    digest: str
    reports: int


@cache
def known(wrapper, method):
    """For tests that judge it or compare with it, and change nothing of it."""
    told = []
    model = wrapped(wrapper, method, report=lambda **step: told.append(step))
    return Known(model, digest(model), len(told))


@every_case
def test_it_does_something(wrapper, method):
    found = known(wrapper, method).digest
    assert found != digest(tiny_task().model)
    if wrapper in ("saliency_mask", "prune_first", "partition"):
        assert found != unwrapped(method)


@every_case
def test_two_ranks_give_the_bits_of_one(wrapper, method, digests_of_two_ranks):
    expected = digest(wrapped(wrapper, method, numerics=plain(2)))
    assert [rank[wrapper, method] for rank in digests_of_two_ranks] == [expected, expected]


def dealt(values):
    """One of the values for each case, so that each wrapper and each method meets them all."""
    methods = list(METHODS)
    wrappers = sorted(WRAPPERS, key=lambda name: WRAPPERS[name].facts.iterative)
    for wrapper, method in CASES:
        turn = wrappers.index(wrapper) + methods.index(method)
        yield wrapper, method, values[turn % len(values)]


SHARES = (0.3, 0.6, 0.9)
"""Shares of its reports after which a method is stopped."""


@pytest.mark.parametrize(("wrapper", "method", "share"), list(dealt(SHARES)))
def test_stopped_on_the_way_it_goes_on_to_the_same_bits(wrapper, method, share):
    expected, slot = known(wrapper, method), Slot()
    with pytest.raises(Terminated):
        wrapped(wrapper, method, **stopped(slot, after=max(1, int(share * expected.reports))))
    assert digest(wrapped(wrapper, method, **stopped(slot))) == expected.digest


ARITHMETIC = ({"batch_norm": "batch"}, {"precision": "bf16"})


@pytest.mark.parametrize(("wrapper", "method", "numerics"), list(dealt(ARITHMETIC)), ids=str)
def test_it_works_in_other_arithmetic_too(wrapper, method, numerics):
    state = wrapped(wrapper, method, numerics=plain(2, **numerics)).state_dict()
    assert all(tensor.isfinite().all() for tensor in state.values())


@every_case
def test_it_leaves_the_model_in_order(wrapper, method):
    model = known(wrapper, method).model
    assert not any(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not any(module._forward_pre_hooks for module in model.modules())


@every_entry
def test_it_cites_a_paper_and_documents_its_settings(entry):
    assert re.fullmatch(r"arXiv:\d{4}\.\d{5}", entry.facts.paper)
    assert entry.summary.endswith(".")
    assert all(field.description for field in entry.params.model_fields.values())
