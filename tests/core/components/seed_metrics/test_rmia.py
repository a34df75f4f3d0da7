"""rmia against a loop over all pairs of samples, and who is compared with whom."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import roc_auc_score, roc_curve

from supreme_core.components.seed_metrics.rmia import RmiaParams, in_population, rmia
from supreme_core.scoring.membership import Contest, held_out_set
from tests.core.components.seed_metrics.ensemble_pairs import ensemble_pair


def slow(found, params):
    """Mean area and mean share at the rate of false alarms over the unlearned models, all samples
    being of classes that both sides have."""
    held_out = found.held_out

    def ratio(model, name, sample):
        mean = np.mean([expit(m[sample]) for m in found.retrained.logit_confidence[name]])
        reference = ((1 + params.scale) * mean + 1 - params.scale) / 2
        return expit(found.unlearned.logit_confidence[name][model, sample]) / reference

    areas, shares = [], []
    for model in range(len(found.unlearned.logit_confidence["forget"])):
        population = [ratio(model, held_out, z) for z in range(len(found.labels[held_out]))]
        scores, members = [], []
        for x in range(len(found.labels["forget"])):
            own = ratio(model, "forget", x)
            scores.append(np.mean([own / z >= params.gamma for z in population]))
            members.append(1)
        for x, own in enumerate(population):
            others = [z for i, z in enumerate(population) if i != x]
            scores.append(np.mean([own / z >= params.gamma for z in others]))
            members.append(0)
        areas.append(roc_auc_score(members, scores))
        false, true, _ = roc_curve(members, scores, drop_intermediate=False)
        shares.append(np.interp(params.false_positive_rate + 1e-12, false, true))
    return np.mean(areas), np.mean(shares)


@pytest.mark.parametrize("gamma", [0.9, 1.0, 1.1])
@pytest.mark.parametrize("forgets", ["classes", "samples"])
def test_it_is_the_loop_over_all_pairs(gamma, forgets):
    found = replace(ensemble_pair(3, 2, samples=30, shift=0.5), forgets=forgets)
    params = RmiaParams(gamma=gamma)
    assert rmia(found, params)["auc"] == pytest.approx(slow(found, params)[0], abs=1e-9)


@pytest.mark.parametrize("samples", [99, 100, 101])
def test_a_share_at_a_rate_needs_ten_false_alarms(samples):
    found = replace(ensemble_pair(2, 2, samples=samples, shift=0.5), forgets="samples")
    params = RmiaParams(false_positive_rate=0.1)
    value, (area, share) = rmia(found, params), slow(found, params)
    assert value["auc"] == pytest.approx(area, abs=1e-9)
    assert value["tpr"] == (None if samples < 100 else pytest.approx(share, abs=1e-6))


def test_the_only_held_out_sample_has_nobody_to_beat():
    ratios = Contest(np.array([0.3, -0.2]), np.array([0.1]), np.ones(1))
    found = in_population(ratios, gamma=1.0)
    assert found.members.tolist() == [0.0, 1.0]  # in the order of the ratios
    assert found.non_members.tolist() == [0.5]


def test_without_held_out_samples_of_the_classes_there_is_no_value():
    found = ensemble_pair()
    elsewhere = {**found.labels, "forget_test": np.full(40, 7)}
    assert rmia(replace(found, labels=elsewhere), RmiaParams()) == {"auc": None, "tpr": None}
    without = {name: labels for name, labels in found.labels.items() if name != "forget_test"}
    assert rmia(replace(found, labels=without), RmiaParams()) == {"auc": None, "tpr": None}


def test_what_every_model_finds_hard_is_no_sign_of_memory():
    """An attack on the loss alone is fooled where forgotten samples are easier for everyone."""
    found = ensemble_pair(4, 4, samples=400)
    easier = [
        replace(
            each,
            logit_confidence={
                **each.logit_confidence,
                "forget": each.logit_confidence["forget"] + 3,
            },
        )
        for each in (found.unlearned, found.retrained)
    ]
    value = rmia(replace(found, unlearned=easier[0], retrained=easier[1]), RmiaParams(scale=1.0))
    assert value["auc"] == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    ("forgets", "there", "expected"),
    [
        ("classes", {"forget", "test", "forget_test"}, "forget_test"),
        ("samples", {"forget", "test"}, "test"),
        ("samples", {"forget", "test", "forget_test"}, "forget_test"),  # poisoned, or of identities
    ],
)
def test_unseen_samples_are_those_that_attacks_on_single_runs_take(forgets, there, expected):
    labels = {name: np.zeros(3, dtype=int) for name in there}
    found = replace(ensemble_pair(), forgets=forgets, labels=labels)
    assert found.held_out == expected == held_out_set(forgets, there)
