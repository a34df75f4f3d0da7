"""tow, average_gap, aus, nomus, h_mean, retention_deviation and sape.

Against their formulas by hand on cells with chosen accuracies, exact fractions, and the attacks in
them against scikit-learn's own parts; limits: equal models, nothing right, nothing to forget.
"""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import RepeatedStratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from supreme_core.components.metrics.aus import aus
from supreme_core.components.metrics.average_gap import average_gap
from supreme_core.components.metrics.h_mean import h_mean
from supreme_core.components.metrics.nomus import nomus, weighed
from supreme_core.components.metrics.retention_deviation import retention_deviation
from supreme_core.components.metrics.sape import sape
from supreme_core.components.metrics.tow import tow
from supreme_core.registry import NoParams, metric
from supreme_core.scoring.fitted_membership import HoldOutParams, SvcParams, svc_efficacy
from supreme_core.scoring.rows import measure
from tests.core.components.metrics.evaluations import (
    evaluation,
    forget_and_held_out,
    made_up_logits,
    outputs,
)

SIZES = {"forget": 10, "retain": 20, "forget_test": 5, "retain_test": 8}
accuracies = st.fixed_dictionaries({name: st.integers(0, size) for name, size in SIZES.items()})


def predictions(right):
    """Outputs of a model that gets so many samples of each set right."""
    return {
        name: outputs(np.eye(2)[[0] * count + [1] * (SIZES[name] - count)])
        for name, count in right.items()
    }


def cell(*, unlearned, retrained=None, original=None, forgets="classes"):
    models = {"unlearned": unlearned, "retrained": retrained, "original": original}
    return replace(
        evaluation(forgets),
        forgets=forgets,
        predictions={name: predictions(right) for name, right in models.items() if right},
    )


def counts(forget, retain, retain_test, forget_test=0):
    return dict(zip(SIZES, (forget, retain, forget_test, retain_test), strict=True))


def share(right, name):
    return Fraction(right[name], SIZES[name])


@given(unlearned=accuracies, retrained=accuracies)
@settings(max_examples=40, deadline=None)
def test_tow_is_the_product_of_three_exact_fractions(unlearned, retrained):
    expected = Fraction(1)
    for name in ("forget", "retain", "retain_test"):
        expected *= 1 - abs(share(unlearned, name) - share(retrained, name))
    found = tow(cell(unlearned=unlearned, retrained=retrained), NoParams())
    assert found == pytest.approx(float(expected), abs=1e-14)


def test_tow_of_a_model_that_forgot_but_lost_the_task():
    """Forgetting is as Retrained's; 5 of 20 and 4 of 8 are gone: 1 * 3/4 * 1/2."""
    found = cell(unlearned=counts(0, 15, 4), retrained=counts(0, 20, 8))
    assert tow(found, NoParams()) == 3 / 8


def test_tow_reads_unseen_samples_of_the_classes_that_are_kept():
    one, other = counts(1, 2, 3, forget_test=0), counts(1, 2, 3, forget_test=5)
    assert tow(cell(unlearned=one, retrained=other), NoParams()) == 1.0


@given(unlearned=accuracies, retrained=accuracies)
@settings(max_examples=40, deadline=None)
def test_retention_deviation_is_a_sum_of_three_exact_fractions(unlearned, retrained):
    names = ("forget", "retain", "retain_test")
    found = retention_deviation(cell(unlearned=unlearned, retrained=retrained), NoParams())
    if any(retrained[name] == 0 for name in names):
        assert found is None
    else:
        ratios = [share(unlearned, name) / share(retrained, name) for name in names]
        assert found == pytest.approx(float(sum(abs(ratio - 1) for ratio in ratios)), abs=1e-12)


def test_retention_deviation_is_undefined_where_retrained_knows_nothing_of_the_class():
    """The unlearned model may know as little: 0 / 0 is no ratio either."""
    found = cell(unlearned=counts(0, 20, 8), retrained=counts(0, 20, 8))
    assert retention_deviation(found, NoParams()) is None


@pytest.mark.parametrize(
    ("unlearned", "retrained", "expected"),
    [(3, 3, 0.0), (0, 0, 0.0), (0, 3, 1.0), (3, 0, 1.0), (1, 3, 0.5), (3, 1, 0.5)],
)
def test_sape_is_the_difference_over_the_sum(unlearned, retrained, expected):
    found = cell(unlearned=counts(unlearned, 0, 0), retrained=counts(retrained, 0, 0))
    assert sape(replace(found, on="forget"), NoParams()) == pytest.approx(expected, abs=1e-15)


def test_aus_of_forgotten_classes_has_its_closed_form():
    """Kept 1 - (8 - 6) / 8, left to forget 2 of 5."""
    found = cell(
        unlearned=counts(0, 20, 6, forget_test=2), original=counts(10, 20, 8, forget_test=5)
    )
    assert aus(found, NoParams()) == pytest.approx((3 / 4) / (1 + 2 / 5), rel=1e-15)


def test_aus_of_forgotten_samples_wants_them_as_well_known_as_test_samples():
    """Kept 1 - (8 - 6) / 8; 6 of 8 test samples are known and 9 of 10 forgotten ones."""
    found = cell(unlearned=counts(9, 20, 6), original=counts(10, 20, 8), forgets="samples")
    assert aus(found, NoParams()) == pytest.approx((3 / 4) / (1 + abs(6 / 8 - 9 / 10)), rel=1e-15)


def test_aus_is_one_where_all_was_kept_and_all_forgotten():
    found = cell(unlearned=counts(0, 20, 8), original=counts(10, 20, 8, forget_test=5))
    assert aus(found, NoParams()) == 1.0


@given(unlearned=accuracies, original=accuracies, forgets=st.sampled_from(["classes", "samples"]))
@settings(max_examples=40, deadline=None)
def test_aus_and_h_mean_stay_in_their_ranges(unlearned, original, forgets):
    found = cell(unlearned=unlearned, original=original, forgets=forgets)
    assert 0.0 <= aus(found, NoParams()) <= 2.0
    assert 0.0 <= h_mean(found, NoParams()) <= 1.0


def test_h_mean_is_the_harmonic_mean_of_what_is_kept_and_of_the_drop():
    """Kept 6 of 8, dropped from 5 to 1 of 5."""
    found = cell(
        unlearned=counts(0, 20, 6, forget_test=1), original=counts(10, 20, 8, forget_test=5)
    )
    assert h_mean(found, NoParams()) == pytest.approx(2 / (1 / (6 / 8) + 1 / (4 / 5)), rel=1e-15)


@pytest.mark.parametrize(("kept", "before", "after"), [(8, 3, 3), (8, 3, 4), (0, 5, 0), (0, 3, 3)])
def test_h_mean_is_zero_where_nothing_was_kept_or_nothing_forgotten(kept, before, after):
    found = cell(
        unlearned=counts(0, 20, kept, forget_test=after),
        original=counts(10, 20, 8, forget_test=before),
    )
    assert h_mean(found, NoParams()) == 0.0


def test_h_mean_has_no_value_where_single_samples_are_forgotten():
    entry = metric.get("h_mean")
    asked = [("h_mean", entry, NoParams())]
    assert measure(asked, evaluation("samples")) == {"h_mean": None}
    assert measure(asked, evaluation("classes"))["h_mean"] is not None


@pytest.mark.parametrize("score", [aus, h_mean])
def test_score_of_forgotten_classes_needs_test_samples_of_them(score):
    found = cell(unlearned=counts(0, 20, 6), original=counts(10, 20, 8))
    for sets in found.predictions.values():
        del sets["forget_test"]
    assert score(found, NoParams()) is None


def test_average_gap_is_the_mean_of_four_gaps():
    found = evaluation("samples")
    gaps = [
        abs(found.accuracy("unlearned", on) - found.accuracy("retrained", on))
        for on in ("forget", "retain", "test")
    ]
    attacks = [svc_efficacy(found, model, SvcParams()) for model in ("unlearned", "retrained")]
    expected = np.mean([*gaps, abs(attacks[0] - attacks[1])])
    assert attacks[0] != attacks[1]
    assert average_gap(found, SvcParams()) == pytest.approx(expected, rel=1e-14)


def test_average_gap_has_no_value_where_the_attack_has_none():
    found = evaluation("samples")
    broken = outputs(np.full((9, 4), np.nan), [0] * 9)
    sets = {**found.predictions["unlearned"], "forget": broken}
    found = replace(found, predictions={**found.predictions, "unlearned": sets})
    assert average_gap(found, SvcParams()) is None


def test_nomus_is_the_mean_of_accuracy_and_of_what_scikit_learn_finds():
    """One class and as many on both sides, so all weights are 1 and accuracies are balanced."""
    forget = made_up_logits(40, scale=3), np.zeros(40, dtype=int)
    held_out = made_up_logits(40, scale=1, seed=1), np.zeros(40, dtype=int)
    found = forget_and_held_out(forget, held_out, forgets="samples")
    sets = found.predictions["unlearned"]
    sets["retain_test"] = sets["test"]
    # the folds are drawn by position, so in the order of membership and loss
    loss = np.concatenate([np.sort(sets["test"].loss), np.sort(sets["forget"].loss)])
    is_member = np.repeat([0, 1], 40)
    state = int(found.generator("nomus").integers(2**32))
    accuracy = cross_val_score(
        make_pipeline(StandardScaler(), LogisticRegression()),
        loss[:, None],
        is_member,
        cv=RepeatedStratifiedKFold(n_splits=5, n_repeats=5, random_state=state),
    ).mean()
    expected = 0.5 * sets["test"].accuracy + 0.5 * (1 - 2 * abs(accuracy - 0.5))
    assert abs(accuracy - 0.5) > 0.02
    assert nomus(found, HoldOutParams()) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("sharpness", "expected"), [(20.0, 0.5), (0.0, 1.0)], ids=["remembered", "not told apart"]
)
def test_nomus_takes_off_what_the_attack_finds(sharpness, expected):
    """All is right, so accuracy gives 1/2; the attack finds everything, or tosses a coin."""
    forget, held_out = [[2 + sharpness, 0.0]] * 9, [[2.0, 0.0]] * 9
    found = forget_and_held_out((forget, [0] * 9), (held_out, [0] * 9), forgets="samples")
    sets = found.predictions["unlearned"]
    sets["retain_test"] = sets["test"]
    assert nomus(found, HoldOutParams()) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize(
    ("accuracy", "apart", "published"),
    [
        (0.5951, 0.2136, 0.5839),
        (0.4880, 0.0445, 0.6995),
        (0.5984, 0.1415, 0.6577),
        (0.8852, 0.0568, 0.8858),
        (0.9835, 0.0306, 0.9611),
    ],
    ids=["Original", "Retrained", "SCRUB", "Original of MUCAC", "Original of its two classes"],
)
def test_nomus_is_weighed_as_in_the_tables_of_its_authors(accuracy, apart, published):
    assert weighed(accuracy, 0.5 + apart) == pytest.approx(published, abs=1e-4)
    assert weighed(accuracy, 0.5 - apart) == pytest.approx(published, abs=1e-4)


def test_nomus_says_nothing_without_held_out_samples_of_the_classes():
    found = forget_and_held_out(
        (made_up_logits(9), [0] * 9), (made_up_logits(9), [1] * 9), forgets="samples"
    )
    assert nomus(found, HoldOutParams()) is None
