"""Importances as stages: which methods share them, when they are made, and what they cost.

method                  | reads of the original     | computes itself
ssd, assd               | squared_loss of each part |
lfssd                   | absolute_output of each   |
ssd, lfssd in batches   |                           | its batches' own
any of them in wrappers |                           | those of the model and the sets it is given

Left out: what importances are (tests/core/engine/test_importance.py), and ranks (test_same_bits).
"""

import json
from dataclasses import replace
from io import StringIO

import pytest
from supreme_trainer.process.progress import Board
from supreme_trainer.seed import importances as stage
from supreme_trainer.seed.components import Unlearner

from supreme_core import registry
from supreme_core.errors import MethodFailed
from supreme_core.plan import steps
from supreme_core.registry.catalog import bundled
from tests.trainer.experiments import (
    FULL_CLASS,
    LIGHT,
    SSD,
    artefacts_of,
    compute,
    computed,
    experiment,
    folder_store,
    manifests,
    planned,
)

SHARP = {**SSD, "label": "sharp", "params": {"alpha": 2}}
LFSSD, ASSD = {"name": "lfssd"}, {"name": "assd"}
BATCHES = {**SSD, "label": "batches", "params": {"variant": "batch"}}
WRAPPED = {**SSD, "label": "pruned", "wrappers": [{"name": "prune_first"}]}
PARTS = 2


def document(*methods, **changes):
    fields = {"model": LIGHT, "scenarios": [FULL_CLASS], "metrics": [{"name": "accuracy"}]}
    fields |= {"training": {"epochs": 0}, "storage": {"keepUnlearnedModels": True}}
    return experiment(methods=methods, **{**fields, **changes})


EVERY = document(SSD, SHARP, LFSSD, ASSD, BATCHES, WRAPPED)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with the seed of EVERY, its result and its events."""
    folder, events = tmp_path_factory.mktemp("finished"), StringIO()
    result = compute(EVERY, folder_store(folder), stream=events)
    return folder, result, events.getvalue()


def test_methods_that_read_the_same_kind_share_one_stage_for_each_part(finished):
    folder, result, _ = finished
    assert computed(result)["importances"] == PARTS * len(["squared_loss", "absolute_output"])
    assert all(run.status == "ok" for run in result.runs)
    kinds = [each["meaning"]["importance"]["name"] for each in manifests(folder, "importances")]
    assert sorted(kinds) == ["absolute_output"] * PARTS + ["squared_loss"] * PARTS


def test_unlearned_models_have_the_keys_and_the_bits_that_they_have_without_such_stages(
    finished, tmp_path, monkeypatch
):
    monkeypatch.setattr(Unlearner, "importances", None)
    result = compute(EVERY, folder_store(tmp_path))
    assert "importances" not in computed(result)
    ours, theirs = (
        {
            key: left
            for key, left in artefacts_of(folder_store(each)).items()
            if key[0] == "unlearned"
        }
        for each in (finished[0], tmp_path)
    )
    assert ours == theirs
    assert len(ours) == 6
    assert len({files["weights.safetensors"] for files, _ in ours.values()}) > 3


def test_whoever_reads_importances_pays_for_them_whoever_asked_first(finished):
    folder, result, _ = finished
    of_kind = dict.fromkeys(("squared_loss", "absolute_output"), 0.0)
    for each in manifests(folder, "importances"):
        of_kind[each["meaning"]["importance"]["name"]] += each["facts"]["cost"]["device_seconds"]
    costs = {
        each["key"]: each["facts"]["cost"]["device_seconds"]
        for each in manifests(folder, "unlearned")
    }
    paid = {run.method: costs.get(run.predictions["unlearned"]) for run in result.runs}
    for method in ("ssd", "sharp", "assd"):
        assert paid[method] > of_kind["squared_loss"] > 0
    assert paid["lfssd"] > of_kind["absolute_output"] > 0


def test_every_step_of_the_plan_is_told_with_importances_before_what_reads_them(finished):
    told = told_steps(EVERY, finished[2])
    assert told.index(("importances", "retain")) < told.index(("unlearned", "ssd"))
    assert told.count(("importances", "retain")) == 2  # one for each kind


def told_steps(document, events):
    """(stage, method) of the steps that ended, all of which the plan has."""
    board = Board([260], steps(planned(document).work, [], bundled()), parallel=1)
    found = []
    for line in events.splitlines():
        event = json.loads(line)
        board.apply(260, event)
        if event["event"] == "stage-finished":
            found.append((event["stage"], event["method"]))
    assert board.done == board.total
    return found


def test_a_method_that_comes_later_finds_them_and_one_that_is_found_asks_for_none(tmp_path):
    storage = folder_store(tmp_path)
    first = compute(document(SSD), storage)
    assert computed(first)["importances"] == PARTS

    second = compute(document(SSD, ASSD), storage)
    assert computed(second) == {"unlearned": 1, "metrics": 1}
    assert {each.status for each in second.stages if each.stage == "importances"} == {"reused"}

    events = StringIO()
    third = compute(document(SSD, ASSD), storage, stream=events)
    assert "importances" not in {each.stage for each in third.stages}
    assert ("importances", "forget") in told_steps(document(SSD, ASSD), events.getvalue())


def test_an_interrupted_seed_goes_on_with_those_that_were_made(tmp_path, monkeypatch):
    entry = registry.method.get("ssd")

    def killed(task, params):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setitem(registry.method._entries, "ssd", replace(entry, function=killed))
        with pytest.raises(KeyboardInterrupt):
            compute(document(SSD), folder_store(tmp_path))

    assert computed(compute(document(SSD), folder_store(tmp_path))) == {
        "unlearned": 1,
        "metrics": 1,
    }


def test_importances_that_cannot_be_computed_fail_the_runs_that_read_them_and_no_other(
    tmp_path, monkeypatch
):
    tried = []

    def fails(*arguments, **settings):
        tried.append(None)
        raise MethodFailed("the importances of the weights are not finite")

    monkeypatch.setattr(stage, "importance_sums", fails)
    result = compute(document(SSD, ASSD, BATCHES), folder_store(tmp_path))
    failed = {run.method: run.reason for run in result.runs if run.status == "failed"}
    assert failed.keys() == {"ssd", "assd"}
    assert "not finite" in failed["ssd"]
    assert failed["ssd"] == failed["assd"]
    assert len(tried) == 1, "they fail for each who needs them"
