"""Promises of every registered metric, whoever wrote it.

    finite facts, with a direction that fits | value in its range | deterministic |
    inputs unchanged | order of samples irrelevant | best value for Retrained itself where it
    compares

On a cell that forgets classes and on one that forgets single samples, on each set that is there.
"""

import math
import subprocess
import sys
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from supreme_core import registry
from supreme_core.analysis.noise_floor import has_floor
from supreme_core.registry import Direction
from tests.core.components.metrics.evaluations import evaluation, findings, freeze, reordered

ENTRIES = registry.metric.entries()
every_metric = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
every_cell = pytest.mark.parametrize("forgets", ["classes", "samples"])


SETTINGS = {
    "mia_tpr_at_fpr": {"fpr": 0.95},  # the default asks for more samples than the cells have
    **{name: {"repeats": 1} for name in ("mia_entropy", "mia_logistic", "nomus")},  # to save time
}


def values(entry, evaluation):
    """The metric on each set of the cell; nothing where it is not defined for such cells."""
    probes = evaluation.probes or findings(entry.facts.probe, seed=evaluation.seed)
    evaluation = replace(evaluation, probes=probes)
    if evaluation.forgets not in entry.facts.forgets:
        return []
    cell = evaluation.predictions["unlearned"]
    sets = [on for on in entry.facts.sets or (None,) if on is None or on in cell]
    params = entry.params(**SETTINGS.get(entry.name, {}))
    return [entry.function(replace(evaluation, on=on), params) for on in sets]


@every_metric
def test_a_metric_has_the_settings_of_its_probe(entry):
    if entry.facts.probe:
        assert entry.params is registry.probe.get(entry.facts.probe).params
        assert not entry.facts.default  # it costs what nobody asked for
        assert not has_floor(entry)


@every_metric
def test_facts_are_finite_and_fit_together(entry):
    facts = entry.facts
    assert facts.unit
    assert all(bound is None or math.isfinite(bound) for bound in (facts.low, facts.high))
    assert None in (facts.low, facts.high) or facts.low < facts.high
    assert facts.measured == (facts.group == "cost")
    assert not (facts.compares and facts.measured)
    assert facts.forgets


@every_metric
def test_direction_fits_what_the_metric_is(entry):
    """A metric that is a distance to Retrained or a cost has a best end, and Retrained lies
    there."""
    facts = entry.facts
    assert facts.direction in get_args(Direction)
    if facts.compares or facts.measured:
        assert facts.direction != "retrained"
    if facts.compares:
        assert (facts.low if facts.direction == "lower" else facts.high) is not None


@every_metric
@every_cell
@pytest.mark.parametrize("seed", [0, 1])
def test_value_lies_in_the_range_that_the_facts_name(entry, forgets, seed):
    for value in values(entry, evaluation(forgets, seed=seed)):
        assert value is not None
        assert math.isfinite(value)
        assert entry.facts.low is None or value >= entry.facts.low
        assert entry.facts.high is None or value <= entry.facts.high


@every_metric
@every_cell
def test_same_evaluation_gives_the_same_bits(entry, forgets):
    assert values(entry, evaluation(forgets)) == values(entry, evaluation(forgets))


@every_metric
@every_cell
def test_inputs_are_not_modified(entry, forgets):
    cell = evaluation(forgets)
    freeze(cell)
    values(entry, cell)


@every_metric
@every_cell
def test_order_of_samples_does_not_matter(entry, forgets):
    cell = evaluation(forgets)
    assert values(entry, reordered(cell)) == pytest.approx(values(entry, cell), rel=1e-12)


@pytest.mark.parametrize(
    "entry", [entry for entry in ENTRIES if entry.facts.compares], ids=lambda entry: entry.name
)
def test_comparison_of_retrained_with_itself_is_the_best_value(entry):
    cell = evaluation()
    itself = {**cell.predictions, "unlearned": cell.predictions["retrained"]}
    nothing = {name: replace(layer, distance=0.0) for name, layer in cell.distances.items()}
    alike = {"unlearned": dict.fromkeys(("forget/retrained", "test/retrained"), np.asarray(1.0))}
    best = values(entry, replace(cell, predictions=itself, distances=nothing, probes=alike))
    facts = entry.facts
    assert set(best) == {facts.low if facts.direction == "lower" else facts.high}


def test_metrics_can_be_computed_without_torch():
    """A process of its own, since other tests import torch into this one."""
    program = (
        "import sys; from supreme_core import registry; from supreme_core.scoring import rows;"
        "registry.metric.entries();"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
