"""mia_auc, mia_advantage, mia_ks and mia_tpr_at_fpr, and the signals that they put thresholds on.

Against scikit-learn's ROC curve with weights, scipy's distribution functions, all thresholds
in a loop, and the modified entropy in exact arithmetic; limits: ties, certainty, equal and disjoint
samples, too few of them, logits that are not numbers.
"""

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from scipy.stats import ecdf
from sklearn.metrics import roc_auc_score, roc_curve

from supreme_core.components.metrics.mia_advantage import mia_advantage
from supreme_core.components.metrics.mia_auc import MiaAucParams, mia_auc
from supreme_core.components.metrics.mia_ks import mia_ks
from supreme_core.components.metrics.mia_loss_auc import mia_loss_auc
from supreme_core.components.metrics.mia_tpr_at_fpr import MiaTprAtFprParams, mia_tpr_at_fpr
from supreme_core.registry import NoParams
from supreme_core.scoring.membership import (
    SIGNALS,
    Contest,
    SignalParams,
    operating_points,
    signal_contest,
)
from tests.core.components.metrics.evaluations import (
    evaluation,
    forget_and_held_out,
    made_up_logits,
    outputs,
)

ATTACKS = {
    mia_auc: MiaAucParams,
    mia_advantage: SignalParams,
    mia_ks: SignalParams,
    mia_tpr_at_fpr: MiaTprAtFprParams,
}
LEAST = {mia_tpr_at_fpr: {"fpr": 0.9}}
"""Settings by which an attack says something of few samples."""

every_attack = pytest.mark.parametrize("attack", ATTACKS, ids=lambda each: each.__name__)
every_signal = pytest.mark.parametrize("signal", SIGNALS)


def run(attack, cell, **params):
    return attack(cell, ATTACKS[attack](**{**LEAST.get(attack, {}), **params}))


def one_class(members, non_members, **how):
    """A contest between two-class logits [value, 0], all of class 0: each value is φ."""
    forget, held_out = (
        ([[value, 0.0] for value in side], [0] * len(side)) for side in (members, non_members)
    )
    return forget_and_held_out(forget, held_out, **how)


def of_scikit_learn(cell, signal):
    """Membership, signals and weights as roc_curve takes them, of a cell that forgets samples."""
    forget, test = (cell.predictions["unlearned"][name] for name in ("forget", "test"))
    shares = np.bincount(forget.labels, minlength=4) / np.bincount(test.labels, minlength=4)
    return {
        "y_true": np.repeat([1, 0], [len(forget), len(test)]),
        "y_score": np.concatenate([SIGNALS[signal](forget), SIGNALS[signal](test)]),
        "sample_weight": np.concatenate([np.ones(len(forget)), shares[test.labels]]),
    }


@every_signal
def test_area_is_that_of_scikit_learn_with_weights(signal):
    cell = evaluation("samples")
    expected = roc_auc_score(**of_scikit_learn(cell, signal))
    assert run(mia_auc, cell, signal=signal) == pytest.approx(expected, rel=1e-12)


@every_signal
def test_advantage_and_distance_are_read_off_scikit_learns_curve(signal):
    cell = evaluation("samples")
    false, true, _ = roc_curve(**of_scikit_learn(cell, signal), drop_intermediate=False)
    assert run(mia_advantage, cell, signal=signal) == pytest.approx(max(true - false), abs=1e-12)
    assert run(mia_ks, cell, signal=signal) == pytest.approx(max(abs(true - false)), abs=1e-12)


@every_signal
@pytest.mark.parametrize("fpr", [0.2, 0.5])
def test_true_positive_rate_is_read_off_scikit_learns_curve(signal, fpr):
    cell = evaluation("samples")
    false, true, _ = roc_curve(**of_scikit_learn(cell, signal), drop_intermediate=False)
    expected = max(true[false <= fpr + 1e-12])
    assert run(mia_tpr_at_fpr, cell, signal=signal, fpr=fpr) == pytest.approx(expected, abs=1e-12)


values = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=15)


@given(members=values, non_members=values)
@settings(max_examples=40, deadline=None)
def test_distance_of_one_class_is_that_of_scipys_distribution_functions(members, non_members):
    of_members, of_others = (
        ecdf(side).cdf.evaluate([*members, *non_members]) for side in (members, non_members)
    )
    expected = max(abs(of_members - of_others))
    assert run(mia_ks, one_class(members, non_members)) == pytest.approx(expected, abs=1e-12)


@given(members=values, non_members=values, data=st.data())
@settings(max_examples=40, deadline=None)
def test_operating_points_are_those_of_a_loop_over_thresholds(members, non_members, data):
    size = len(non_members)
    weights = data.draw(st.lists(st.floats(0.1, 9), min_size=size, max_size=size))
    false, true = operating_points(
        Contest(np.array(members), np.array(non_members), np.array(weights))
    )
    thresholds = [math.inf, *sorted({*members, *non_members}, reverse=True)]
    for point, threshold in enumerate(thresholds):
        accused = sum(w for x, w in zip(non_members, weights, strict=True) if x >= threshold)
        found = sum(x >= threshold for x in members)
        assert false[point] == pytest.approx(accused / sum(weights), abs=1e-12)
        assert true[point] == pytest.approx(found / len(members), abs=1e-12)
    assert (len(false), false[0], true[0]) == (len(thresholds), 0.0, 0.0)


def test_signals_that_confidence_decides_rank_alike():
    """The area of the confidence is that of the loss, whose metric it would double."""
    cell = evaluation("samples")
    area = run(mia_auc, cell, signal="confidence")
    assert area == mia_loss_auc(cell, NoParams())
    assert run(mia_auc, cell) == run(mia_auc, cell, signal="modified_entropy") != area


def test_area_of_correctness_is_half_the_gap_of_accuracy_above_one_half():
    cell = one_class([1, 1, 1, -1], [1, -1, -1, -1, -1])
    assert run(mia_auc, cell, signal="correctness") == pytest.approx(0.5 + (3 / 4 - 1 / 5) / 2)


@every_attack
@pytest.mark.parametrize("signal", ["confidence", "modified_entropy", "max_margin"])
def test_attack_wins_where_forgotten_samples_stand_out(attack, signal):
    assert run(attack, one_class([5, 6, 7], range(-20, 0)), signal=signal) == 1.0


@pytest.mark.parametrize(
    ("attack", "expected"),
    [(mia_auc, 0.5), (mia_advantage, 0.0), (mia_ks, 0.0), (mia_tpr_at_fpr, 0.0)],
    ids=lambda each: getattr(each, "__name__", ""),
)
@every_signal
def test_attack_learns_nothing_where_all_samples_are_alike(attack, expected, signal):
    """A threshold that calls one sample a member calls all of them members, with every false
    alarm."""
    assert run(attack, one_class([2] * 9, [2] * 20), signal=signal) == expected


def test_over_forgotten_samples_are_seen_by_the_distance_and_not_by_the_advantage():
    cell = one_class(range(-20, -10), range(10, 20))
    assert (run(mia_advantage, cell), run(mia_ks, cell), run(mia_auc, cell)) == (0.0, 1.0, 0.0)


@pytest.mark.parametrize(("samples", "defined"), [(99, False), (100, True)])
def test_low_false_positive_rate_needs_ten_false_alarms_to_be_expected(samples, defined):
    found = run(mia_tpr_at_fpr, one_class(range(9), range(samples)), fpr=0.1)
    assert (found is not None) == defined


def test_true_positive_rate_at_a_rate_that_is_met_exactly():
    """Ten of 100 held-out samples, those above 89, are allowed; members lie at 90 and 89."""
    cell = one_class([90, 90, 90, 89], range(100))
    assert run(mia_tpr_at_fpr, cell, fpr=0.1) == 3 / 4


@every_attack
@every_signal
def test_attack_says_nothing_without_held_out_samples_of_the_classes(attack, signal):
    cell = forget_and_held_out(
        (made_up_logits(20), [0] * 20), (made_up_logits(20), [1] * 20), forgets="samples"
    )
    assert run(attack, cell, signal=signal) is None


@every_attack
@pytest.mark.parametrize("signal", [name for name in SIGNALS if name != "correctness"])
def test_attack_says_nothing_of_a_model_without_finite_outputs(attack, signal):
    logits = made_up_logits(20)
    logits[4, 1] = np.nan
    cell = forget_and_held_out((logits, [0] * 20), (made_up_logits(20), [0] * 20))
    assert run(attack, cell, signal=signal) is None


def test_sample_without_finite_outputs_is_a_wrong_answer():
    cell = forget_and_held_out(([[np.nan, 0.0], [1.0, 0.0]], [0, 0]), ([[1.0, 0.0]] * 2, [0, 0]))
    assert run(mia_auc, cell, signal="correctness") == pytest.approx(0.5 - 0.25)


@every_signal
def test_signal_points_towards_the_label(signal):
    """More certain of the label never looks less like a member; entropy is blind to the label."""
    sure, unsure = (outputs([[value, 0.0, 0.0]]) for value in (9.0, 1.0))
    found = [SIGNALS[signal](each).item() for each in (unsure, sure)]
    assert found == sorted(found)


def test_modified_entropy_is_the_formula_in_exact_arithmetic():
    logits = made_up_logits(40, classes=5, scale=8)
    labels = np.arange(40) % 5
    found = -SIGNALS["modified_entropy"](outputs(logits, labels))
    for row, label, value in zip(logits.tolist(), labels, found, strict=True):
        assert value == pytest.approx(exactly(row, label), rel=1e-12)


def exactly(logits, label):
    """-(1 - p_y) ln p_y - sum of p_c ln(1 - p_c), with 400 digits."""
    with localcontext() as context:
        context.prec = 400
        powers = [Decimal(logit).exp() for logit in logits]
        p = [power / sum(powers) for power in powers]
        terms = [
            -(1 - p[c]) * p[c].ln() if c == label else -p[c] * (1 - p[c]).ln()
            for c in range(len(p))
        ]
        return float(sum(terms))


@pytest.mark.parametrize(
    ("logits", "expected"),
    [
        pytest.param([50.0, 0.0], exactly([50, 0], 0), id="right"),
        pytest.param([-50.0, 0.0], exactly([-50, 0], 0), id="wrong"),
        pytest.param([0.0, 60.0, 0.0], exactly([0, 60, 0], 0), id="surely another class"),
        pytest.param([0.0, 0.0], 2 * 0.5 * math.log(2), id="undecided"),
        pytest.param([1e4, 0.0], 0.0, id="right beyond any float"),
        pytest.param([0.0, 1e4], 2e4, id="wrong beyond any float"),
    ],
)
def test_modified_entropy_does_not_drown_in_rounding(logits, expected):
    """The softmax of a sure prediction is 1, of which ln(1 - p) is minus infinity."""
    found = -SIGNALS["modified_entropy"](outputs([logits])).item()
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-300)


def test_modified_entropy_tells_sure_of_the_label_from_sure_of_another_class():
    right, wrong = outputs([[9.0, 0.0]], [0]), outputs([[9.0, 0.0]], [1])
    assert SIGNALS["entropy"](right) == SIGNALS["entropy"](wrong)
    assert SIGNALS["modified_entropy"](right) > SIGNALS["modified_entropy"](wrong) + 10


def test_the_lead_over_the_next_class_is_that_of_a_loop():
    logits, labels = made_up_logits(30, classes=5), np.arange(30) % 5
    found = SIGNALS["max_margin"](outputs(logits, labels))
    for row, label, value in zip(logits.tolist(), labels, found, strict=True):
        assert value == row[label] - max(row[:label] + row[label + 1 :])


def test_signals_are_what_their_names_say():
    cell = evaluation("samples").predictions["unlearned"]["forget"]
    p = softmax(cell.logits, axis=1)
    label = p[np.arange(len(p)), cell.labels]
    assert SIGNALS["confidence"](cell) == pytest.approx(np.log(label / (1 - label)), rel=1e-9)
    assert SIGNALS["entropy"](cell) == pytest.approx(np.sum(p * np.log(p), axis=1), rel=1e-9)
    assert SIGNALS["correctness"](cell).tolist() == (p.argmax(axis=1) == cell.labels).tolist()


def test_contest_of_a_signal_is_that_of_its_values():
    found = signal_contest(one_class([3, 4], [1, 2, 5]), "confidence")
    assert (found.members.tolist(), found.non_members.tolist()) == ([3, 4], [1, 2, 5])
