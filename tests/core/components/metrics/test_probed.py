"""Metrics of probes are numbers that the probe found, on the right set, of the right model; what
probes find is compared with scikit-learn and slow loops in the tests of the probes."""

from dataclasses import replace

import numpy as np
import pytest

from supreme_core import registry
from supreme_core.components.metrics.anamnesis_index import anamnesis_index
from supreme_core.scoring.rows import measure
from tests.core.components.metrics.evaluations import evaluation

SETS = ("forget", "retain", "test", "forget_test", "retain_test")
SIMILARITIES = {
    "forget/retrained": 0.25,
    "test/retrained": 0.5,
    "forget/original": 0.75,
    "test/original": 0.875,
}
NUMBERS = {on: number / 10 for number, on in enumerate(SETS, start=1)}


def rows(name, found, *, retrained=None, forgets="classes"):
    """The rows of one metric."""
    probes = {
        model: {name: np.asarray(value) for name, value in numbers.items()}
        for model, numbers in (("unlearned", found), ("retrained", retrained or {}))
    }
    entry = registry.metric.get(name)
    asked = [(name, entry, entry.params())]
    return measure(asked, replace(evaluation(forgets), probes=probes))


@pytest.mark.parametrize(("name", "other"), [("feature_cka", 0.25), ("feature_cka_original", 0.75)])
def test_similarity_of_each_set_to_the_right_model(name, other):
    found = rows(name, SIMILARITIES)
    assert found == {f"forget_{name}": other, f"test_{name}": {0.25: 0.5, 0.75: 0.875}[other]}


@pytest.mark.parametrize("name", ["knn_recovery", "linear_recovery"])
def test_recovery_of_each_part_of_what_was_forgotten(name):
    assert rows(name, NUMBERS) == {f"forget_{name}": 0.1, f"forget_test_{name}": 0.4}
    alone = rows(name, {"forget": 0.1}, forgets="samples")
    assert alone == {f"forget_{name}": 0.1, f"forget_test_{name}": None}


@pytest.mark.parametrize(
    ("name", "found", "expected"),
    [
        (
            "quantised_accuracy",
            NUMBERS,
            {f"{on}_quantised_accuracy": value for on, value in NUMBERS.items()},
        ),
        ("relearn_time", {"steps": 12, "samples": 700}, {"relearn_time": 12.0}),
        ("relearn_samples", {"steps": 12, "samples": 700}, {"relearn_samples": 700.0}),
    ],
)
def test_what_the_probe_found_as_it_is(name, found, expected):
    assert rows(name, found) == expected


@pytest.mark.parametrize(
    ("steps", "of_retrained", "index"), [(12, 48, 0.25), (48, 48, 1.0), (0, 48, 0.0), (12, 0, None)]
)
def test_the_anamnesis_index_is_the_ratio_to_retrained(steps, of_retrained, index):
    found = rows(anamnesis_index.__name__, {"steps": steps}, retrained={"steps": of_retrained})
    assert found == {"anamnesis_index": index}


def test_features_without_an_answer_have_no_value():
    unknown = dict.fromkeys(SIMILARITIES, float("nan"))
    assert set(rows("feature_cka", unknown).values()) == {None}
