"""Admission of experiments: components that only an image knows, where that is allowed.

Components, settings and combinations are core/test_plan.py's; fields of a cluster, test_children's.
"""

import pytest
from supreme_operator.deciding.admission import admit, status_in

from supreme_core.api.status import ExperimentStatus
from supreme_core.errors import SpecError
from tests.operator.looks import CATALOG, decided, resource

THEIRS = {"name": "theirs", "params": {"strength": 3}}
WITH_THEIRS = {
    "methods": [{"name": "finetune"}, THEIRS],
    "model": {"name": "their_network"},
    "execution": {"allowUnlistedComponents": True},
}


def order(**spec):
    return admit(resource(**spec), CATALOG, defaults={}).order


def test_a_component_that_is_not_listed_is_an_invalid_spec():
    with pytest.raises(SpecError) as error:
        order(methods=[THEIRS])
    assert str(error.value).startswith("spec.methods[0].name: unknown method 'theirs'")


def test_it_goes_to_the_trainers_as_it_is_written_where_that_is_allowed():
    work = order(**WITH_THEIRS).work
    assert work.methods[1].to_document() == {**THEIRS, "label": ""}
    assert work.model.name == "their_network"


def test_seeds_of_such_an_experiment_are_started():
    assert len(decided(**WITH_THEIRS).create) == 2


def test_a_metric_that_is_not_listed_is_refused_all_the_same():
    with pytest.raises(SpecError, match="does not go for a metric, without which nobody here"):
        order(**WITH_THEIRS, metrics=[{"name": "theirs"}])


WRITTEN = {
    "phase": "Running",
    "completedIndexes": "0",
    "seedStatuses": [{"seed": 7, "phase": "Running"}],
}


@pytest.mark.parametrize(
    "newer",
    [{"waits": 3}, {"seedStatuses": [{**WRITTEN["seedStatuses"][0], "device": "cuda:1"}]}],
    ids=["field", "field within"],
)
def test_of_a_newer_versions_status_is_read_what_this_one_knows(newer):
    """A rollback must not begin anew what is done, where the definition is not rolled back too."""
    body = {**resource(), "status": {**WRITTEN, **newer}}
    assert status_in(body) == status_in({**resource(), "status": WRITTEN})
    assert status_in(body).completed_indexes == "0"


def test_a_status_that_nobody_wrote_so_counts_as_none():
    assert status_in({**resource(), "status": {"phase": "Sleeping"}}) == ExperimentStatus()
