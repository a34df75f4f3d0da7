"""ASSD's threshold against numpy's percentile, and the method against SSD with that threshold."""

import numpy as np
import pytest
import torch

from supreme_core.api.model import parse
from supreme_core.components.methods.assd import AssdParams, assd, percentile
from supreme_core.components.methods.ssd import ssd
from supreme_core.engine.toolbox.dampening import DampeningParams
from supreme_core.engine.toolbox.importance import importance_sums, mean_importances
from supreme_core.engine.toolbox.importance_kinds import SQUARED_LOSS
from supreme_core.engine.training.loss import cross_entropy
from tests.builders import digest, tiny_network, tiny_task


@pytest.mark.parametrize("count", [1, 2, 3, 1000, 1001])
@pytest.mark.parametrize("q", [0, 12.5, 50, 97.3, 99.999, 100])
def test_percentile_is_that_of_numpy(count, q):
    values = torch.rand(count, dtype=torch.float64, generator=torch.Generator().manual_seed(count))
    expected = np.percentile(values.numpy(), q)
    assert percentile(values, q) == pytest.approx(expected, rel=1e-12)


def test_as_many_values_as_a_large_network_has_weights_are_no_matter():
    values = torch.arange(2**24 + 1, dtype=torch.float64)
    assert percentile(values, 25) == 2**22


def test_assd_is_ssd_at_the_percentile_of_the_ratios():
    task = tiny_task()
    pairs = zip(*mean_importances(task, SQUARED_LOSS), strict=True)
    ratios = np.concatenate([(of_f / of_d).numpy().ravel() for of_f, of_d in pairs])
    share = len(task.forget) / (len(task.forget) + len(task.retain))
    ratios = ratios[np.isfinite(ratios)]
    alpha = float(np.percentile(ratios, 100 - np.log(1 + 100 * share)))
    assd(task, AssdParams())
    expected = tiny_task()
    ssd(expected, parse(DampeningParams, {"alpha": alpha, "lambda": 1}))
    assert digest(task.model) == digest(expected.model) != digest(tiny_network(3))


def test_what_it_compares_with_may_be_the_retain_set_alone():
    """Ratios that are numbers are compared and multiplied, as in the authors' loop over tensors."""
    task, expected = tiny_task(), tiny_network(3)
    of_forget, of_retain = (
        [
            total.numpy() / len(samples)
            for total in importance_sums(
                tiny_network(3),
                samples,
                loss=cross_entropy,
                power="squared",
                reduction=task.reduction,
                report=task.report,
            )
        ]
        for samples in (task.forget, task.retain)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = [f / r for f, r in zip(of_forget, of_retain, strict=True)]
        flat = np.concatenate([each.ravel() for each in ratios])
        share = len(task.forget) / (len(task.forget) + len(task.retain))
        alpha = np.percentile(flat[np.isfinite(flat)], 100 - np.log(1 + 100 * share))
        for weight, f, r, ratio in zip(
            expected.parameters(), of_forget, of_retain, ratios, strict=True
        ):
            factor = np.where(f > alpha * r, np.minimum(1 / ratio, 1), 1)
            weight.data *= torch.from_numpy(factor).float()
    assd(task, AssdParams(compared_with="retain"))
    for one, other in zip(task.model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-8)
    whole = tiny_task()
    assd(whole, AssdParams())
    assert digest(task.model) != digest(whole.model)


def test_a_network_that_nothing_matters_to_stays_as_it_is():
    model = tiny_network(3)
    torch.nn.init.zeros_(model[-1].weight)
    with torch.no_grad():
        model[-1].bias.copy_(torch.tensor([0.0, 1e9, 0.0, 0.0]))
    only_class_1 = tiny_task().forget
    before = digest(model)
    task = tiny_task(model=model, retain=only_class_1, forget=only_class_1)
    assd(task, AssdParams())
    assert digest(model) == before
