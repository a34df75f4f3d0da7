"""Objectives: each by hand, what makes it infinite, and what an experiment may ask for.

average_gap and tow are compared with the metrics of the same names, which have oracles of their
own (tests/core/components/metrics).
"""

from math import inf, sqrt

import pytest

from supreme_core import registry
from supreme_core.api.v1alpha1 import LabelledComponent
from supreme_core.errors import SpecError
from supreme_core.plan import metric_rows
from supreme_core.registry import catalog
from supreme_core.tuning.objective_rows import ObjectiveRows
from supreme_core.tuning.objectives import check_objective, is_oracle, metrics_of, objective_value

CATALOG = catalog.bundled()

ACCURACIES = ("forget_accuracy", "retain_accuracy", "retain_test_accuracy")
ORIGINAL = {"forget_accuracy": 1.0, "retain_accuracy": 1.0, "retain_test_accuracy": 0.9}
RETRAINED = {
    "forget_accuracy": 0.88,
    "retain_accuracy": 0.99,
    "retain_test_accuracy": 0.91,
    "mia_svc_efficacy": 0.2,
}


def rows(unlearned, *, forgets="samples", retrained=RETRAINED):
    return ObjectiveRows(forgets, unlearned, ORIGINAL, retrained)


def trial(forget, retain=1.0, test=0.9, **others):
    return dict(zip(ACCURACIES, (forget, retain, test), strict=True)) | others


BY_HAND = {
    "average gap": (
        "average_gap",
        rows(trial(0.98, 0.97, 0.89, mia_svc_efficacy=0.1)),
        (0.10 + 0.02 + 0.02 + 0.10) / 4,
    ),
    "tow": ("tow", rows(trial(0.98, 0.97, 0.89)), 1 - 0.90 * 0.98 * 0.98),
    "deepunlearn": (  # nomus is (a_V + 1 - 2 |m - 1/2|) / 2, here of m = 0.55
        "deepunlearn",
        rows(trial(0.98, 0.97, 0.89, nomus=(0.89 + 0.9) / 2)),
        sqrt((0.02 / 3) ** 2 + (0.10 / 3) ** 2 + (0.02 / 3) ** 2 + 0.1**2),
    ),
    "blind gap of samples, to all": ("blind_gap", rows(trial(0.98), retrained={}), 0.08),
    "blind gap of samples, to those like them": (
        "blind_gap",
        rows(trial(0.98, forget_test_accuracy=0.95), retrained={}),
        0.03,
    ),
    "blind gap of classes": (
        "blind_gap",
        rows(trial(0.25, forget_test_accuracy=0.2), forgets="classes", retrained={}),
        0.25,
    ),
    "blind gap without utility": (
        "blind_gap",
        rows(trial(0.9, 0.95, 0.80), retrained={}),
        1 + 0.03 + 0.08,
    ),
    "within the slack": ("blind_gap", rows(trial(0.88, 0.985, 0.885), retrained={}), 0.005),
    "blind membership": (
        "blind_membership",
        rows(trial(0.9, mia_loss_auc=0.47), retrained={}),
        0.06,
    ),
    "blind membership without utility": (
        "blind_membership",
        rows(trial(0.9, 0.5, mia_loss_auc=0.5), retrained={}),
        1.48,
    ),
    "weighted rows": (
        {"forget_accuracy": 3.0, "retain_accuracy": 1.0},
        rows(trial(0.98, 0.97)),
        (3 * 0.10 + 0.02) / 4,
    ),
}


@pytest.mark.parametrize("case", BY_HAND)
def test_by_hand(case):
    objective, given, value = BY_HAND[case]
    assert objective_value(objective, given) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("name", ["average_gap", "tow", "deepunlearn"])
def test_an_oracle_is_0_for_retrained_itself(name):
    perfect = {**RETRAINED, "nomus": (0.91 + 1) / 2}
    assert objective_value(name, rows(perfect, retrained=perfect)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("entry", registry.objective.entries(), ids=lambda entry: entry.name)
def test_a_row_that_is_missing_is_worse_than_any_value(entry):
    """forget_test_accuracy has no value where nothing is like the forget set in particular."""
    whole = trial(0.9, 1.0, 0.9, mia_svc_efficacy=0.2, nomus=0.9, mia_loss_auc=0.5)
    assert objective_value(entry.name, rows(whole)) < inf
    for row in {*entry.facts.rows} - {"forget_test_accuracy"}:
        for broken in (None, float("nan")):
            assert objective_value(entry.name, rows({**whole, row: broken})) == inf, row


@pytest.mark.parametrize("entry", registry.objective.entries(), ids=lambda entry: entry.name)
def test_an_objective_reads_rows_that_its_metrics_give(entry):
    given = metric_rows(metrics_of(entry.name, CATALOG), CATALOG)
    assert {*entry.facts.rows, "retain_test_accuracy"} <= {*given}
    assert entry.facts.gamed_by
    assert entry.facts.source
    assert is_oracle(entry.name, CATALOG) == (entry.facts.track == "oracle")


def test_weighted_rows_compare_with_retrained():
    assert is_oracle({"forget_accuracy": 1.0}, CATALOG)
    assert [each.name for each in metrics_of({"forget_loss": 1.0}, CATALOG)] == ["loss", "accuracy"]


REFUSED = [
    ("average_gab", "full_class", "unknown objective 'average_gab'; did you mean 'average_gap'?"),
    ("blind_gap", "subclass", "is blind_gap, which has no meaning for subclass of spec.scenarios"),
    ("blind_membership", "full_class", "is blind_membership, which has no meaning for full_class"),
    ({"forget_acuracy": 1.0}, "full_class", "no metric gives a row 'forget_acuracy'; did you mean"),
    ({"tow": 1.0}, "full_class", "row 'tow' is nearness to Retrained itself, and has no gap"),
    ({"wall_seconds": 1.0}, "full_class", "row 'wall_seconds' is measured, and has no gap"),
    ({"relearn_time": 1.0}, "full_class", "row 'relearn_time' is of a probe of the model"),
]


@pytest.mark.parametrize(("objective", "scenario", "message"), REFUSED)
def test_what_cannot_be_compared_is_refused(objective, scenario, message):
    with pytest.raises(SpecError) as refused:
        check_objective(objective, [LabelledComponent(name=scenario)], CATALOG)
    assert str(refused.value).startswith("spec.tuning.objective")
    assert message in str(refused.value)
