"""saliency_mask and prune_first: which entries stay, by sorting all of them; that they keep their
bits after each step; and the mask around plain relabelling, which is SalUn to the bit."""

from functools import partial

import pytest
import torch
from torch import optim
from torch.nn import functional

from supreme_core.components.methods.salun import SalunParams, salun
from supreme_core.components.wrappers.prune_first import PruneFirstParams, prune_first
from supreme_core.components.wrappers.saliency_mask import SaliencyMaskParams, saliency_mask
from supreme_core.engine.toolbox.relabelling import wrong_labels
from supreme_core.engine.training.sample_order import one_after_other
from tests.builders import digest, tiny_network, tiny_task
from tests.core.components.wrappers.inside import METHODS, chosen


def flat(parameters):
    return torch.cat([parameter.detach().flatten() for parameter in parameters])


def matrices(model):
    return [parameter for parameter in model.parameters() if parameter.ndim > 1]


def watched(entries_of):
    """A task whose entries are collected at each report, and the list of them."""
    seen = []

    def report(**step):
        seen.append(flat(entries_of(task.model)))

    task = tiny_task(report=report)
    return task, seen


def test_the_mask_around_relabelling_is_salun():
    params = SalunParams(epochs=2, batch_size=10)

    def relabelling(task):
        task.fit(
            task.forget.with_labels(wrong_labels(task, "labels")).join(task.retain),
            name="relabelled",
            epochs=2,
            batch_size=10,
            optimizer=partial(optim.SGD, lr=params.lr, momentum=0.9, weight_decay=5e-4),
            order=one_after_other(len(task.forget), len(task.retain), batch_size=10),
        )

    one, other = tiny_task(), tiny_task()
    salun(one, params)
    saliency_mask(relabelling, other, SaliencyMaskParams())
    assert digest(one.model) == digest(other.model)


@pytest.mark.parametrize("method", ["finetune", "neg_grad", "scrub"])
def test_what_is_not_salient_keeps_its_bits_after_each_step(method):
    original = tiny_network(3)
    totals = [torch.zeros_like(each, dtype=torch.float64) for each in original.parameters()]
    forget = tiny_task().forget
    for i in range(len(forget)):  # one backward pass for each sample
        batch = forget.batch(torch.tensor([i]))
        original.zero_grad()
        functional.cross_entropy(original(batch.images), batch.labels).backward()
        for total, parameter in zip(totals, original.parameters(), strict=True):
            total += parameter.grad
    scores = flat([total.abs() for total in totals])
    salient = torch.zeros(len(scores), dtype=torch.bool)
    salient[scores.argsort(descending=True)[: round(0.3 * len(scores))]] = True

    task, seen = watched(lambda model: model.parameters())
    saliency_mask(chosen(method), task, SaliencyMaskParams(fraction=0.3))
    before = flat(original.parameters())
    assert len(seen) > 3
    assert all(torch.equal(each[~salient], before[~salient]) for each in seen)
    assert (seen[-1][salient] != before[salient]).float().mean() > 0.9


@pytest.mark.parametrize("method", METHODS)
def test_the_smallest_entries_of_all_matrices_are_0_from_the_first_step_to_the_end(method):
    sizes = flat(matrices(tiny_network(3))).abs()
    kept = torch.zeros(len(sizes), dtype=torch.bool)
    kept[sizes.argsort(descending=True)[: round(0.1 * len(sizes))]] = True

    task, seen = watched(matrices)
    prune_first(chosen(method), task, PruneFirstParams(sparsity=0.9))
    seen.append(flat(matrices(task.model)))
    same_head = [each for each in seen if len(each) == len(kept)]
    assert all((each[~kept] == 0).all() for each in same_head)
    assert (same_head[-1][kept] != 0).all()


def test_without_sparsity_the_method_is_alone():
    one, other = tiny_task(), tiny_task()
    chosen("finetune")(one)
    prune_first(chosen("finetune"), other, PruneFirstParams(sparsity=0))
    assert digest(one.model) == digest(other.model)
