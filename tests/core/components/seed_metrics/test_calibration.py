"""calibration: z against scipy's t test, and its nominal share on independent samples."""

import numpy as np
import pytest
from scipy import stats

from supreme_core.components.seed_metrics.calibration import calibration, deviates
from supreme_core.registry import NoParams
from tests.core.components.seed_metrics.ensemble_pairs import ensemble_pair


def test_z_has_the_p_of_the_t_test_with_a_common_variance():
    unlearned, retrained = ensemble_pair(4, 6, shift=1.0).logit_confidence
    p = stats.ttest_ind(unlearned, retrained).pvalue
    z = deviates(unlearned, retrained)
    assert 2 * stats.norm.sf(np.abs(z)) == pytest.approx(p, rel=1e-9)
    assert np.array_equal(np.sign(z), np.sign(unlearned.mean(axis=0) - retrained.mean(axis=0)))


@pytest.mark.parametrize("models", [2, 5, 20])
def test_by_chance_as_many_samples_as_it_says_however_few_the_models(models):
    same = ensemble_pair(models, models, samples=20_000)
    assert calibration(same, NoParams())[""] == pytest.approx(0.0455, abs=0.006)


def test_models_that_never_differ_give_nothing_away():
    same = np.full((3, 4), 1.5)
    assert deviates(same, same).tolist() == [0, 0, 0, 0]
