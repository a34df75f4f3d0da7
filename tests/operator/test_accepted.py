"""Orders of children against the present spec, where a status does not say what was accepted.

That the API server guards the same by the status is tests/cluster/test_crd.py's, and that the
operator reads the orders, test_mending.py's there.
"""

from dataclasses import replace
from datetime import timedelta

import pytest
from supreme_operator.children.order import order_config_map, read_order
from supreme_operator.deciding.accepted import (
    changes,
    is_the_same,
    methods_of,
    orders_of,
    other_seeds,
)
from supreme_operator.deciding.admission import admit, admit_accepted, shared_order

from supreme_core.api.orders import work_digest
from tests.operator.looks import (
    CATALOG,
    NOW,
    child,
    condition,
    decided,
    look,
    publication,
    resource,
    told,
    valid,
)

FINETUNE = {"name": "finetune", "params": {"epochs": 2}}
BEFORE = {
    "methods": [FINETUNE, {"name": "ssd", "label": "mild"}],
    "training": {"epochs": 6},
    "metrics": [{"name": "accuracy"}],
}


def admitted(**spec):
    return admit(resource(**{**BEFORE, **spec}), CATALOG, defaults={})


def order(**spec):
    found = admitted(**spec)
    return shared_order(found.experiment, found.order)


def differ(**spec):
    found, given = admitted(**spec), resource(**spec)["spec"]["storage"]
    return [*changes(order(), found.order, found.experiment.spec, given)]


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"methods": [*BEFORE["methods"], {"name": "finetune", "label": "more"}]},
        {"methods": BEFORE["methods"][::-1]},
        {"seeds": {"list": [7, 8, 9, 10]}},
        {"parallelism": 9, "execution": {"image": "trainer:2", "nodes": 1}},
        {"failurePolicy": {"maxFailedSeeds": 3}},
        {"methods": [{"name": "finetune"}, {"name": "ssd", "label": "mild"}]},
        {"metrics": []},
    ],
    ids=[
        "nothing",
        "a method more",
        "another order",
        "a seed more",
        "another image",
        "more failures",
        "a setting that may have been a default",
        "metrics that may have been the default",
    ],
)
def test_what_may_change(spec):
    assert differ(**spec) == []


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        ({"dataset": {"name": "svhn"}}, 'spec.dataset.name was "digits" and is "svhn"'),
        ({"model": {"name": "timm/resnet34"}}, "spec.model.name was "),
        ({"training": {"epochs": 7}}, "spec.training.epochs was 6 and is 7"),
        (
            {"scenarios": [{"name": "full_class", "params": {"classes": [4]}}]},
            "spec.scenarios was [",
        ),
        ({"metrics": [{"name": "loss"}], "primaryMetric": "forget_loss"}, "spec.metrics was ["),
        (
            {"seeds": {"list": [7, 8, 9], "unlearningRepeats": 2}},
            "spec.seeds.unlearningRepeats was 1 and is 2",
        ),
        (
            {"seeds": {"list": [7, 8, 9], "protocol": "matched"}},
            'spec.seeds.protocol was not given and is "matched"',
        ),
        ({"methods": [FINETUNE]}, "spec.methods: 'mild' was there and is left out"),
        (
            {"methods": [{**FINETUNE, "params": {"epochs": 3}}, BEFORE["methods"][1]]},
            "spec.methods: 'finetune'.params.epochs was 2 and is 3",
        ),
        (
            {"methods": [FINETUNE, {"name": "lfssd", "label": "mild"}]},
            'spec.methods: \'mild\'.name was "ssd" and is "lfssd"',
        ),
        (
            {
                "methods": [
                    {**FINETUNE, "wrappers": [{"name": "prune_first"}]},
                    BEFORE["methods"][1],
                ]
            },
            "spec.methods: 'finetune'.wrappers was not given and is [",
        ),
        (
            {"storage": {"uri": "s3://another"}},
            'spec.storage.uri was "s3://bucket/prefix" and is "s3://another"',
        ),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_what_was_accepted_and_may_not_is_told_with_its_field(spec, line):
    (found,) = differ(**spec)
    assert found.startswith(line)
    assert found.endswith("; it was accepted, so put it back, or make another experiment")


def test_a_store_that_only_the_settings_name_may_be_another():
    found = admitted(storage={"uri": "s3://of-the-operator"})
    assert [*changes(order(), found.order, found.experiment.spec, {})] == []


@pytest.mark.parametrize(
    ("seeds", "lines"),
    [
        ([7, 8, 9], []),
        ([7, 8, 9, 4], []),
        ([7, 4, 9], ["spec.seeds: number 2 of them was 8 and is 4"]),
        ([8, 7], ["number 1 of them was 7 and is 8", "2 of them was 8 and is 7"]),
        ([7], ["spec.seeds: number 2 of them was 8 and is left out"]),
    ],
    ids=["same", "more", "another", "order", "fewer"],
)
def test_seeds_that_have_a_child_stay_in_their_places(seeds, lines):
    found = [*other_seeds(admitted(seeds={"list": seeds}).order, [child(7), child(8)])]
    assert len(found) == len(lines)
    assert all(line in told for line, told in zip(lines, found, strict=True))


def test_the_orders_of_the_newest_children_count():
    old = NOW - timedelta(hours=1)
    children = [
        child(7, order="old", created_at=old),
        child(8, order="new", created_at=NOW),
        child(9, order="", created_at=NOW),
    ]
    assert orders_of(children) == {"new"}
    assert orders_of([]) == set()


def test_children_that_were_told_this_work_need_no_comparison():
    found = admitted().order
    work = work_digest(found.work)
    assert is_the_same(found, [child(7, work=work), child(8, work=work)])
    assert not is_the_same(found, [child(7, work=work), child(8, work="other")])


def test_an_order_is_read_back_from_its_config_map():
    shared = order()
    found = read_order(order_config_map(admitted().experiment.owner, shared))
    assert found == shared
    assert methods_of([shared, order(methods=[{"name": "cf_k"}])]) == ["finetune", "mild", "cf_k"]


@pytest.mark.parametrize("data", [None, {}, {"order.json": "{"}, {"order.json": '{"a": 1}'}])
def test_what_is_no_order_tells_nothing(data):
    assert read_order({"data": data}) is None


WRONG = {"name": "ssd", "label": "", "params": {"alhpa": 9}}


class TestTheAcceptedRest:
    @pytest.mark.parametrize(
        ("spec", "methods", "kept"),
        [
            ({"methods": [FINETUNE, WRONG]}, ["finetune"], ["finetune"]),
            ({"methods": [FINETUNE, {"name": "ssdd", "label": ""}]}, ["finetune"], ["finetune"]),
            ({"methods": [FINETUNE, WRONG]}, [], None),
            ({"methods": [FINETUNE, WRONG]}, ["finetune", "ssd"], None),
            ({"methods": [FINETUNE, WRONG], "model": {"name": "no"}}, ["finetune"], None),
        ],
        ids=["a setting", "a name", "nothing accepted", "nothing added", "something else is wrong"],
    )
    def test_what_is_wrong_is_left_out_where_it_was_added(self, spec, methods, kept):
        rest = admit_accepted(
            resource(**spec), CATALOG, defaults={}, methods=methods, refusal="a typo"
        )
        assert (rest and [each.name for each in rest.order.work.methods]) == kept
        assert rest is None or rest.refusal == "a typo"

    def test_it_goes_on_and_says_what_is_refused(self):
        assert [each.seed for each in decided(refusal="a typo").create] == [7, 8]
        status = told(child(7), refusal="a typo")
        assert condition(status, "Accepted") == ("False", "InvalidSpec")
        assert (status.phase, status.reason, status.message) == ("Running", "InvalidSpec", "a typo")
        assert status.accepted_methods == ["finetune"]

    def test_done_it_is_published_but_not_complete(self):
        done = [child(seed, "Succeeded") for seed in (7, 8, 9)]
        assert decided(*done, observations=valid(7, 8, 9), refusal="a typo").publish == {7, 8, 9}
        observations = replace(valid(7, 8, 9), publication=publication(7, 8, 9))
        status = told(*done, observations=observations, refusal="a typo")
        assert (status.phase, status.reason) == ("Failed", "InvalidSpec")
        assert condition(status, "Complete") is None
        assert condition(status, "Progressing") == ("False", "InvalidSpec")
        assert condition(status, "ResultsAggregated") == ("True", "AggregationSucceeded")
        again = told(*done, status=status, refusal="a typo", now=NOW + timedelta(hours=1))
        assert (again.phase, again.conditions) == (status.phase, status.conditions)
        mended = told(status=status)
        assert (mended.phase, mended.completion_time) == ("Succeeded", "2026-03-01T12:00:00Z")

    def test_what_was_complete_is_so_again_and_is_not_deleted_meanwhile(self):
        given = {"ttlSecondsAfterFinished": 60}
        complete = told(
            *[child(seed, "Succeeded") for seed in (7, 8, 9)],
            observations=replace(valid(7, 8, 9), publication=publication(7, 8, 9)),
            **given,
        )
        later = NOW + timedelta(hours=1)
        status = told(status=complete, refusal="a typo", now=later, **given)
        assert condition(status, "Complete") == ("False", "Reopened")
        assert not decided(status=complete, refusal="a typo", now=later, **given).delete_experiment
        assert told(status=status, now=later, **given).completion_time == complete.completion_time


def test_a_status_tells_what_was_accepted():
    status = told(methods=[FINETUNE, {"name": "ssd", "label": "mild"}])
    assert (status.accepted_methods, status.seeds) == (["finetune", "mild"], 3)
    assert look(methods=[FINETUNE]).refusal == ""
