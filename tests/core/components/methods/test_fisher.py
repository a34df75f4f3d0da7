"""The Fisher information by a loop over samples and classes, and the noise that follows from it."""

import pytest
import torch

from supreme_core.api.model import parse
from supreme_core.components.methods import fisher as module
from supreme_core.components.methods.fisher import FisherParams, _information, fisher
from tests.builders import digest, tiny_network, tiny_task


def information(model, samples):
    """Σ over samples and classes of p (∂ log p / ∂θ)², one backward pass each, and divided."""
    totals = [torch.zeros_like(each, dtype=torch.float64) for each in model.parameters()]
    for i in range(len(samples)):
        image = samples.batch(torch.tensor([i])).images
        for label in range(4):
            model.zero_grad()
            log_probability = model(image).log_softmax(dim=1)[0, label]
            log_probability.backward()
            for total, parameter in zip(totals, model.parameters(), strict=True):
                total += log_probability.exp().item() * parameter.grad.double() ** 2
    return [total / len(samples) for total in totals]


def test_information_is_that_of_the_models_own_answers():
    task = tiny_task()
    expected = information(tiny_network(3), task.retain)
    actual = _information(task, 1.0)
    assert list(actual) == [name for name, _ in task.model.named_parameters()]
    for one, other in zip(actual.values(), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-12)


def test_a_part_of_the_retain_set_is_drawn_at_random():
    half, whole = (_information(tiny_task(), part)["4.weight"] for part in (0.5, 1.0))
    assert not torch.allclose(half, whole)
    assert (half.mean() / whole.mean()).item() == pytest.approx(1, abs=0.5)


def variances(task):
    """Return the variances of the authors' code, tensor by tensor, for a head that is named by
    hand."""
    found = []
    for values in information(tiny_network(3), task.retain):
        in_head = len(found) >= 4
        variance = (1 / (values + 1e-8)).clamp(max=1e2 if in_head else 1e3)
        if values.ndim > 1:
            variance = variance.mean(dim=1, keepdim=True).expand_as(values)
        found.append(variance * (10 if in_head or values.ndim == 1 else 1))
    return found


def test_noise_has_the_variance_of_the_paper_over_many_seeds(monkeypatch):
    """The standard deviation of every weight over 400 draws is within five standard errors.

    The information of the whole retain set, which is used, depends on no seed: the first draw
    computes it for all.
    """
    task = tiny_task(forget_classes=())
    expected = variances(task)
    known = {}

    def computed_once(*given):
        known.update({} if known else _information(*given))
        return known

    monkeypatch.setattr(module, "_information", computed_once)
    draws = []
    for seed in range(400):
        model = tiny_network(3)
        fisher_noise = tiny_task(forget_classes=(), model=model, seed=seed)
        fisher(fisher_noise, parse(FisherParams, {"alpha": 1e-4}))
        draws.append([parameter.detach() for parameter in model.parameters()])
    for place, variance in enumerate(expected):
        values = torch.stack([draw[place] for draw in draws]).double()
        spread = values.var(dim=0) / (1e-4 * variance)
        assert (spread - 1).abs().max() < 5 * (2 / 400) ** 0.5
        error = (values.mean(dim=0) - list(tiny_network(3).parameters())[place].detach()).abs()
        assert (error < 5 * (1e-4 * variance / 400).sqrt()).all()


def test_the_noise_is_by_default_that_of_the_authors_notebook():
    """The default of the function there, 3e-6, is another, and every caller sets it."""
    by_default, given, other = tiny_task(), tiny_task(), tiny_task()
    fisher(by_default, FisherParams())
    fisher(given, FisherParams(alpha=1e-6))
    fisher(other, FisherParams(alpha=3e-6))
    assert digest(by_default.model) == digest(given.model) != digest(other.model)


@pytest.mark.parametrize("classes", [(1,), (0, 3)], ids=str)
def test_the_rows_of_forgotten_classes_begin_anew_even_without_noise(classes):
    task = tiny_task(forget_classes=classes)
    fisher(task, FisherParams(alpha=0))
    before, after = tiny_network(3), task.model
    for label in range(4):
        same = torch.equal(after[4].weight[label], before[4].weight[label])
        assert same == (label not in classes)
    assert after[4].weight[list(classes)].std().item() == pytest.approx(1e-3**0.5, rel=0.25)
    assert torch.equal(after[0].weight, before[0].weight)


def test_no_noise_leaves_single_samples_as_they_are():
    task = tiny_task(forget_classes=())
    fisher(task, FisherParams(alpha=0))
    assert digest(task.model) == digest(tiny_network(3))
