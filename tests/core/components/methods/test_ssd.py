"""SSD from end to end against a slow version that goes sample by sample and weight by weight.

Importances by themselves are in engine/test_importance.py.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from supreme_core.api.model import parse
from supreme_core.components.methods.ssd import ssd
from supreme_core.engine.ranks.reduction import Reduction
from supreme_core.engine.toolbox.dampening import DampeningParams
from supreme_core.engine.training.numerics import NumericsPolicy
from supreme_core.randomness import streams
from supreme_core.randomness.permutation import permutation
from tests.builders import alone, digest, tiny_network, tiny_task
from tests.real_ranks import on_two_ranks


def dampened(task, **params):
    """The weights after the method."""
    ssd(task, parse(DampeningParams, params))
    return [parameter.detach().numpy() for parameter in task.model.parameters()]


def mean_squares(model, samples):
    """Mean over samples of the squared gradient, one backward pass each, all weights flat."""
    total = 0
    for i in range(len(samples)):
        batch = samples.batch(torch.tensor([i]))
        model.zero_grad()
        functional.cross_entropy(model(batch.images), batch.labels).backward()
        gradient = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
        total = total + gradient.double().numpy() ** 2
    return total / len(samples)


@pytest.mark.parametrize(("alpha", "lambda_"), [(1.5, 1), (1, 0.3), (10, 1)], ids=str)
def test_ssd_equals_the_papers_rule_weight_by_weight(alpha, lambda_):
    task, model = tiny_task(), tiny_network(3)
    of_forget = mean_squares(model, task.forget)
    of_all = mean_squares(model, task.forget.join(task.retain))
    expected = np.concatenate([p.detach().numpy().ravel() for p in model.parameters()])
    for i in range(expected.size):
        if of_forget[i] > alpha * of_all[i]:
            expected[i] *= min(1, lambda_ * of_all[i] / of_forget[i])
    actual = np.concatenate([w.ravel() for w in dampened(task, alpha=alpha, **{"lambda": lambda_})])
    np.testing.assert_allclose(actual, expected, rtol=1e-4)


def test_buffers_keep_their_bits():
    task = tiny_task()
    dampened(task, alpha=1)
    for one, other in zip(task.model.buffers(), tiny_network(3).buffers(), strict=True):
        assert torch.equal(one, other)


def test_no_weight_grows_or_changes_its_sign():
    for now, before in zip(
        dampened(tiny_task(), alpha=1), tiny_network(3).parameters(), strict=True
    ):
        old = before.detach().numpy()
        assert (now * old >= 0).all()
        assert (abs(now) <= abs(old)).all()


def test_unused_weights_with_no_importance_at_all_stay_as_they_are():
    """0 / 0: a head of zeros lets no gradient through to the layers before it."""
    model = tiny_network(3)
    torch.nn.init.zeros_(model[-1].weight)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    after = dampened(tiny_task(model=model), alpha=1e-3)
    assert all(np.isfinite(weights).all() for weights in after)
    for weights, old in zip(after[:4], before[:4], strict=True):
        assert weights.tobytes() == old.numpy().tobytes()


def test_defect_20_the_order_of_samples_does_not_matter():
    task = tiny_task()
    turned = replace(task, forget=task.forget.take(torch.arange(11, -1, -1)), model=tiny_network(3))
    for one, other in zip(dampened(task, alpha=1), dampened(turned, alpha=1), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)


class TestVariantBatch:
    """The authors' own importances, of the mean gradients of batches."""

    @staticmethod
    def mean_squares_of_batches(samples, seed, batch_size):
        """One backward pass for each batch, all weights flat."""
        batches = torch.from_numpy(permutation(seed, len(samples))).split(batch_size)
        total = 0
        for positions in batches:
            model, batch = tiny_network(3), samples.batch(positions)
            functional.cross_entropy(model(batch.images), batch.labels).backward()
            gradient = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
            total = total + gradient.double().numpy() ** 2
        return total / len(batches)

    @pytest.mark.parametrize("batch_size", [1, 5, 64])
    def test_squares_are_those_of_the_means_of_batches_that_are_drawn_at_random(self, batch_size):
        task = tiny_task()
        of_forget, of_all = (
            self.mean_squares_of_batches(
                samples, streams.derive(task.seed, "batches", address), batch_size
            )
            for address, samples in (
                ("forget", task.forget),
                ("all", task.forget.join(task.retain)),
            )
        )
        model = tiny_network(3)
        expected = np.concatenate([p.detach().numpy().ravel() for p in model.parameters()])
        selected = of_forget > 1.5 * of_all
        expected[selected] *= np.minimum(1, of_all / of_forget)[selected]
        actual = dampened(task, alpha=1.5, variant="batch", batchSize=batch_size)
        np.testing.assert_allclose(np.concatenate([w.ravel() for w in actual]), expected, rtol=1e-3)

    def test_batches_of_one_sample_are_the_other_variant(self):
        for one, other in zip(
            dampened(tiny_task(), alpha=1.5, variant="batch", batchSize=1),
            dampened(tiny_task(), alpha=1.5),
            strict=True,
        ):
            np.testing.assert_allclose(one, other, rtol=1e-4)

    def test_only_this_variant_depends_on_the_seed(self):
        batch, per_sample = (
            [
                np.concatenate([w.ravel() for w in dampened(tiny_task(seed=seed), **params)])
                for seed in (7, 8)
            ]
            for params in (
                {"alpha": 1.5, "variant": "batch", "batchSize": 5},
                {"alpha": 1.5, "batchSize": 5},
            )
        )
        assert not np.array_equal(*batch)
        assert np.array_equal(*per_sample)

    def test_two_ranks_give_the_bits_of_one(self):
        assert on_two_ranks(batch_variant) == [batch_variant(alone(2).ranks)] * 2

    def test_what_was_computed_before_there_was_a_variant_keeps_its_key(self):
        assert parse(DampeningParams, {}).identity() == {"alpha": 10.0, "lambda": 1.0}
        assert parse(DampeningParams, {"variant": "batch"}).identity() == {
            "alpha": 10.0,
            "lambda": 1.0,
            "variant": "batch",
            "batchSize": 64,
        }


def batch_variant(ranks):
    """The digest of the model on one of some ranks."""
    task = tiny_task(numerics=NumericsPolicy(Reduction(ranks, micro_batches=2)))
    dampened(task, alpha=1.5, variant="batch", batchSize=5)
    return digest(task.model)
