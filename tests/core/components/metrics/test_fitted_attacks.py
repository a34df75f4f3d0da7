"""mia_svc_efficacy, mia_entropy_published and mia_logistic.

Against scikit-learn's own parts put together as the papers did, the multinomial objective minimised
by scipy, and what they must say of samples that are alike or far apart.
"""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import RepeatedStratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from supreme_core.components.metrics.mia_entropy_published import mia_entropy_published
from supreme_core.components.metrics.mia_logistic import mia_logistic
from supreme_core.components.metrics.mia_svc_efficacy import mia_svc_efficacy
from supreme_core.registry import NoParams
from supreme_core.scoring.fitted_membership import HoldOutParams, SvcParams
from supreme_core.scoring.membership import SIGNALS
from tests.core.components.metrics.evaluations import (
    evaluation,
    forget_and_held_out,
    made_up_logits,
    outputs,
    reordered,
)

PUBLISHED = [(mia_svc_efficacy, SvcParams()), (mia_entropy_published, NoParams())]
both_published = pytest.mark.parametrize(
    ("attack", "params"), PUBLISHED, ids=lambda each: getattr(each, "__name__", "")
)


def sets(forget, retain, test, *, forgets="samples"):
    """A cell of one class; each side is its log-odds, the logits of class 0 with 0 for class 1."""
    found = {
        name: outputs(np.reshape([[value, 0.0] for value in phi], (-1, 2)))
        for name, phi in [("forget", forget), ("retain", retain), ("test", test)]
    }
    found["retain_test"] = found["test"]
    return replace(evaluation(forgets), forgets=forgets, predictions={"unlearned": found})


def spread(samples, *, around, seed):
    return around + np.random.default_rng(seed).normal(size=samples)


def some_cell():
    """The forget set lies between retained and test samples, of which there are as many."""
    return sets(
        spread(50, around=2, seed=1), spread(60, around=4, seed=2), spread(60, around=1, seed=3)
    )


def test_efficacy_is_that_of_scikit_learns_machine_on_confidences():
    cell = some_cell()
    forget, retain, test = (
        expit(cell.predictions["unlearned"][name].logit_confidence)[:, None]
        for name in ("forget", "retain", "test")
    )
    machine = SVC(C=3, gamma="auto", kernel="rbf")
    machine.fit(np.concatenate([retain, test]), [1] * 60 + [0] * 60)
    expected = 1 - machine.predict(forget).mean()
    assert 0.1 < expected < 0.9
    assert mia_svc_efficacy(cell, SvcParams()) == pytest.approx(expected, abs=1e-12)


def test_efficacy_reads_the_test_samples_of_classes_that_are_kept():
    cell = evaluation("classes")
    before = mia_svc_efficacy(cell, SvcParams())
    own = cell.predictions["unlearned"]
    other = evaluation("classes", seed=9).predictions["unlearned"]
    changed = {**own, "forget_test": other["forget_test"], "test": other["test"]}
    cell = replace(cell, predictions={**cell.predictions, "unlearned": changed})
    assert mia_svc_efficacy(cell, SvcParams()) == before


def test_efficacy_fits_as_many_members_as_non_members():
    """600 retained samples are cut to the number of test samples: no side outnumbers the other."""
    cell = sets([0.5] * 9, [3.0] * 600, [-3.0] * 6)
    assert mia_svc_efficacy(cell, SvcParams()) in (0.0, 1.0)
    assert mia_svc_efficacy(sets([-3.0] * 9, [3.0] * 600, [-3.0] * 6), SvcParams()) == 1.0
    assert mia_svc_efficacy(sets([3.0] * 9, [3.0] * 600, [-3.0] * 6), SvcParams()) == 0.0


def test_efficacy_draws_only_where_there_are_more_samples_than_it_may_fit():
    """60 of 1,000 retained samples are drawn, by the seed; of 60 all are taken."""
    cell = sets(
        spread(300, around=2, seed=1), spread(1000, around=4, seed=2), spread(60, around=1, seed=3)
    )
    drawn = {mia_svc_efficacy(replace(cell, seed=seed), SvcParams()) for seed in range(6)}
    assert len(drawn) > 1
    everything = some_cell()
    drawn = {mia_svc_efficacy(replace(everything, seed=seed), SvcParams()) for seed in range(6)}
    assert len(drawn) == 1


def test_efficacy_of_fewer_samples_is_near_that_of_all():
    cell = sets(
        spread(400, around=2, seed=1), spread(400, around=4, seed=2), spread(400, around=1, seed=3)
    )
    everything = mia_svc_efficacy(cell, SvcParams())
    assert mia_svc_efficacy(cell, SvcParams(samples=200)) == pytest.approx(everything, abs=0.1)


def test_published_entropy_attack_is_scikit_learns_regression_on_all_samples():
    """A doubled C makes a binary regression of the published multinomial one."""
    cell = evaluation("classes")
    own = cell.predictions["unlearned"]
    known = np.concatenate([own["retain"].entropy, own["test"].entropy])[:, None]
    is_member = np.repeat([1, 0], [len(own["retain"]), len(own["test"])])
    attack = LogisticRegression(class_weight="balanced", C=2.0, tol=1e-10).fit(known, is_member)
    expected = attack.predict(own["forget"].entropy[:, None]).mean()
    assert mia_entropy_published(cell, NoParams()) == pytest.approx(expected, abs=1e-12)


def test_published_multinomial_regression_is_a_binary_one_with_doubled_c():
    """The published objective has weights for both classes; scipy minimises it as it stands."""
    random = np.random.default_rng(0)
    x, y = random.normal(size=30), random.integers(0, 2, 30)
    found = published_fit(x, y)
    binary = LogisticRegression(class_weight="balanced", C=2.0, tol=1e-10).fit(x[:, None], y)
    assert found[1] - found[0] == pytest.approx(binary.coef_.item(), abs=1e-5)
    assert found[3] - found[2] == pytest.approx(binary.intercept_.item(), abs=1e-5)


def published_fit(x, y):
    """Slopes and intercepts of both classes."""
    weights = len(y) / (2 * np.bincount(y))[y]

    def objective(parameters):
        slopes, intercepts = parameters[:2], parameters[2:]
        scores = x[:, None] * slopes + intercepts
        loss = -log_softmax(scores, axis=1)[np.arange(len(y)), y] @ weights
        return loss + np.square(slopes).sum() / 2

    return minimize(objective, np.zeros(4), method="BFGS", options={"gtol": 1e-7}).x


def test_published_attack_is_fitted_as_long_as_the_published_one():
    """Samples lie on both sides of the exact border, and one side is called members. A tolerance on
    the mean of the losses instead of their sum would move the border."""
    cell = sets(
        [1.0, 1.0], spread(400, around=4, seed=2), spread(300, around=1, seed=3), forgets="samples"
    )
    own = cell.predictions["unlearned"]
    known = np.concatenate([own["retain"].entropy, own["test"].entropy])
    low_slope, high_slope, low, high = published_fit(known, np.repeat([1, 0], [400, 300]))
    border = -(high - low) / (high_slope - low_slope)
    near = replace(own["forget"], entropy=border * np.array([1 - 2e-6, 1 + 2e-6]))
    cell = replace(cell, predictions={"unlearned": {**own, "forget": near}})
    assert mia_entropy_published(cell, NoParams()) == 0.5


@both_published
def test_forget_set_that_looks_like_one_side_is_called_that(attack, params):
    sure, unsure = spread(40, around=9, seed=1), spread(40, around=0, seed=2) / 10
    like_members = attack(sets(sure[:20], sure, unsure), params)
    like_test = attack(sets(unsure[:20], sure, unsure), params)
    called_members = attack is mia_entropy_published
    assert (like_members, like_test) == ((1.0, 0.0) if called_members else (0.0, 1.0))


@both_published
@pytest.mark.parametrize("where", ["forget", "retain", "test"])
def test_attack_says_nothing_of_a_model_without_finite_outputs(attack, params, where):
    phi = {name: spread(9, around=1, seed=1) for name in ("forget", "retain", "test")}
    phi[where][3] = np.nan
    assert attack(sets(**phi), params) is None


@both_published
def test_attack_says_nothing_without_retained_samples(attack, params):
    assert attack(sets([1.0], [], [1.0]), params) is None


@both_published
def test_attack_bears_samples_that_are_all_alike(attack, params):
    assert attack(sets([2.0] * 4, [2.0] * 6, [2.0] * 5), params) in (0.0, 1.0)


def logistic_cell(members, others):
    """Samples of one class: (number, scale of the logits) of each side."""
    forget, held_out = (
        (made_up_logits(number, scale=scale, seed=seed), np.zeros(number, dtype=int))
        for seed, (number, scale) in enumerate([members, others])
    )
    return forget_and_held_out(forget, held_out)


def test_logistic_attack_is_that_of_scikit_learns_own_parts():
    """One class and as many on both sides, so all weights are 1."""
    cell = logistic_cell((30, 4), (30, 1))
    own = cell.predictions["unlearned"]
    table = [
        np.stack([signal(own[name]) for signal in SIGNALS.values()], axis=1)
        for name in ("forget_test", "forget")
    ]
    # the folds are drawn by position: by membership, then by the signals, the last one first
    table = np.concatenate([side[np.lexsort(side.T)] for side in table])
    is_member = np.repeat([0, 1], 30)
    state = int(cell.generator("mia_logistic").integers(2**32))
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    areas = [
        roc_auc_score(
            is_member[judge],
            model.fit(table[fit], is_member[fit]).decision_function(table[judge]),
        )
        for fit, judge in RepeatedStratifiedKFold(
            n_splits=5, n_repeats=5, random_state=state
        ).split(table, is_member)
    ]
    assert np.mean(areas) > 0.55
    assert mia_logistic(cell, HoldOutParams()) == pytest.approx(np.mean(areas), rel=1e-9)


def test_logistic_attack_sees_what_no_threshold_on_the_confidence_does():
    """Members are sure of another class or of the label; others are undecided between the two."""
    random = np.random.default_rng(0)
    forget = np.zeros((60, 3))
    forget[np.arange(60), random.integers(0, 2, 60)] = 6 + random.random(60)
    held_out = np.concatenate([random.random((60, 2)), -6 * np.ones((60, 1))], axis=1)
    cell = forget_and_held_out((forget, [0] * 60), (held_out, [0] * 60))
    assert mia_logistic(cell, HoldOutParams(repeats=1)) > 0.99


@pytest.mark.parametrize(
    ("members", "others", "expected"),
    [([9.0] * 6, [1.0] * 8, 1.0), ([2.0] * 6, [2.0] * 8, 0.5)],
    ids=["apart", "alike"],
)
def test_logistic_attack_of_samples_that_are_apart_or_alike(members, others, expected):
    forget, held_out = (
        ([[value, 0.0] for value in side], [0] * len(side)) for side in (members, others)
    )
    assert mia_logistic(forget_and_held_out(forget, held_out), HoldOutParams()) == expected


@pytest.mark.parametrize(("members", "others"), [(1, 9), (9, 1)])
def test_logistic_attack_says_nothing_where_a_side_has_a_single_sample(members, others):
    assert mia_logistic(logistic_cell((members, 1), (others, 1)), HoldOutParams()) is None


def test_logistic_attack_finds_nothing_in_noise():
    """An area for the samples it was fitted on would be well above one half."""
    cells = [
        forget_and_held_out(
            (made_up_logits(25, seed=seed), [0] * 25),
            (made_up_logits(25, seed=100 + seed), [0] * 25),
        )
        for seed in range(12)
    ]
    areas = [mia_logistic(cell, HoldOutParams(repeats=1)) for cell in cells]
    assert np.mean(areas) == pytest.approx(0.5, abs=0.08)


def test_signals_of_a_logistic_attack_do_not_depend_on_the_order_of_the_samples():
    cell = evaluation("samples")
    params = HoldOutParams(repeats=1)
    assert mia_logistic(reordered(cell, seed=3), params) == mia_logistic(cell, params)
