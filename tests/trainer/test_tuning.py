"""Tuning: trials on seeds and samples of their own, and the experiment with what they chose.

| what is done                                     | what is seen                        |
| ------------------------------------------------ | ----------------------------------- |
| test labels permuted, test images noise          | the same trials, values and choices |
| a method whose best setting is known             | it is chosen                        |
| an objective without Retrained                   | none is trained                     |
| more trials, another method                      | only these are computed             |
| stopped in a trial, and gone on with             | the same bits and the same passes   |
| a trial beyond its budget                        | stopped, failed, never chosen       |
| an untrained network, Original with noise        | worse than what is chosen           |
| a trial that fails, stopped before or not        | what it took until then is counted  |
| one worker, two workers                          | the same selection                  |
| rounds of trials, by halving and by proposals    | each trial computed once            |
| the plan is changed after the choice, `--retune` | refused, chosen anew                |
| the chosen settings given by hand                | the same numbers                    |

Left out: the choice itself (core/tuning/test_selection.py); what a space may be (test_space.py).
"""

import json
import shutil
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch

from supreme_core import registry
from supreme_core.api import names
from supreme_core.errors import EXIT_INVALID
from supreme_core.registry import catalog
from supreme_core.store.results import write_result
from supreme_core.store.trials import make_trials
from supreme_core.tuning import tpe
from supreme_core.tuning.order import with_choices
from supreme_core.tuning.selection import select
from tests.trainer.experiments import (
    FINETUNE,
    FULL_CLASS,
    LIGHT,
    RANDOM_SAMPLES,
    SIX_STEPS,
    artefacts_of,
    compute,
    computed,
    experiment,
    folder_of,
    folder_store,
    planned,
    run,
    stopped_in,
    supreme,
    written,
)

SEEDS = [9000, 9001]
SEARCH = {"lr": {"log": [1e-4, 1e-1]}}
METHOD = {**FINETUNE, "search": SEARCH}
LEARNS = deepcopy(LIGHT)
LEARNS["params"]["arguments"] |= {"embed_dim": 48, "num_heads": 2}
LEARNING = {
    "epochs": 8,
    "batchSize": 64,
    "optimizer": {"name": "adamw", "params": {"lr": 0.006}},
}
"""Network and recipe for tests whose models have to be of some use."""

ACCURACIES = {"forget_accuracy": 1.0, "retain_accuracy": 1.0}


def tuned(
    *,
    methods=(METHOD,),
    name="tuned",
    training=(),
    scenarios=(FULL_CLASS,),
    model=LIGHT,
    **tuning,
):
    tuning = {
        "trials": 2,
        "seeds": {"start": SEEDS[0], "count": len(SEEDS)},
        "objective": ACCURACIES,
        "budget": {"share": 5.0},
        **tuning,
    }
    return experiment(
        name=name,
        model=model,
        methods=methods,
        scenarios=list(scenarios),
        training={"validation": {"fraction": 0.2}, **dict(training)},
        tuning=tuning,
    )


def trials_of(document, store, **options):
    """The results of the tuning seeds, computed in this process."""
    whole = planned(document)
    return {
        seed: compute(document, store, seed=seed, whole=whole.trials, **options)
        for seed in whole.trials.seeds
    }


def selection_of(document, results):
    return select(planned(document), results, catalog.bundled())


def runs_of(results):
    return {
        (seed, each.scenario, each.method): (each.status, each.metrics, each.passes)
        for seed, result in results.items()
        for each in result.runs
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(document, folder, results) of a tuning whose trials are there."""
    folder = tmp_path_factory.mktemp("tuned")
    document = tuned(scenarios=[FULL_CLASS, RANDOM_SAMPLES])
    return document, folder, trials_of(document, folder_store(folder))


@contextmanager
def other_test_set():
    """Digits with noise for test images, and their labels permuted."""
    entry, draw = registry.dataset.get("digits"), np.random.default_rng(0)

    def spoilt(params):
        images = entry.function(params)
        shape = images.test_images.shape
        return replace(
            images,
            test_images=draw.integers(0, 256, shape, dtype=np.uint8),
            test_labels=draw.permutation(images.test_labels),
        )

    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(registry.dataset._entries, "digits", replace(entry, function=spoilt))
        yield


def test_nothing_of_the_test_set_leaks_into_a_choice(made, tmp_path):
    document, _, results = made
    with other_test_set():
        other = compute(document, folder_store(tmp_path), seed=9000, whole=planned(document).trials)
    assert other.dataset.digest != results[9000].dataset.digest
    others = {**results, 9000: other}
    assert runs_of(others) == runs_of(results)
    assert selection_of(document, others) == selection_of(document, results)


def test_a_half_of_what_is_set_aside_takes_the_place_of_the_test_set(made):
    """A tenth of 1442 samples of ten classes, which are 14 of one; the test set has 36 of it."""
    _, _, results = made
    for result in results.values():
        held = {each.scenario: each.forget_test_samples for each in result.cells}
        assert 13 <= held["full_class"] <= 16
        assert {run.metrics["test_accuracy"] is None for run in result.runs} == {False}


def test_passes_are_those_of_the_method(made):
    _, _, results = made
    for result in results.values():
        cells = {each.scenario: each for each in result.cells}
        for each in result.runs:
            wanted = None
            if each.method not in (*names.REFERENCES, *names.SANITY):
                wanted = 3 * FINETUNE["params"]["epochs"] * cells[each.scenario].retain_samples
            assert each.passes == wanted


def test_a_scenario_has_trials_of_its_own(made):
    document, _, results = made
    choices = {each.scenario: each for each in selection_of(document, results).choices}
    tried = [[each.params for each in choices[name].candidates] for name in choices]
    assert tried[0][0] == tried[1][0] == {}
    assert tried[0][1:] != tried[1][1:]


def test_more_trials_and_methods_compute_only_themselves(made, tmp_path):
    _, folder, _ = made
    store = folder_store(shutil.copytree(folder, tmp_path / "store"))

    def computed_by(document):
        return computed(compute(document, store, seed=9000, whole=planned(document).trials))

    scenarios = [FULL_CLASS, RANDOM_SAMPLES]
    again = tuned(scenarios=scenarios, name="again")
    more = tuned(scenarios=scenarios, name="more", trials=4)
    ssd = {"name": "ssd", "search": {"alpha": {"log": [1.0, 100.0]}}}
    others = tuned(scenarios=scenarios, name="others", trials=4, methods=[METHOD, ssd])
    assert computed_by(again) == {}
    assert computed_by(more) == {"trials": 4, "metrics": 4}
    assert computed_by(others) == {"trials": 10, "metrics": 10, "importances": 4}


def test_a_blind_objective_trains_no_retrained_model(tmp_path):
    document = tuned(objective="blind_gap", seeds={"start": 9000, "count": 1})
    result = trials_of(document, folder_store(tmp_path))[9000]
    stages = computed(result)
    assert "retrained" not in stages
    assert stages["originals"] == 1
    assert names.RETRAINED not in [each.method for each in result.runs]
    choice = selection_of(document, {9000: result})
    assert choice.track == "blind"
    assert all(value is not None for each in choice.choices[0].candidates for value in each.values)


def test_a_trial_that_was_stopped_gives_the_same_bits_and_passes(made, tmp_path):
    """The first fit of the method is done again where it is stopped in the second one."""
    document = tuned(
        methods=[{"name": "unsir", "params": {"noiseSteps": 2, "copies": 2}, "search": REPAIR}],
        seeds={"start": 9000, "count": 1},
        trials=1,
    )
    whole = trials_of(document, folder_store(tmp_path / "whole"))
    stopped = folder_store(tmp_path / "stopped")
    with stopped_in("unsir", call=2, step=6) as interruption:
        trials_of(document, stopped, interruption=interruption)
    assert runs_of(trials_of(document, stopped)) == runs_of(whole)
    assert artefacts_of(stopped) == artefacts_of(folder_store(tmp_path / "whole"))


REPAIR = {"repairLr": {"log": [1e-4, 1e-2]}}


def test_a_trial_beyond_its_budget_is_stopped_and_never_chosen(tmp_path):
    """One epoch of finetune takes as many passes as one of Retrained."""
    document = tuned(
        methods=[{**FINETUNE, "search": {"epochs": {"choice": [1, 3]}}}],
        sampler="grid",
        budget={"share": 1.0},
    )
    results = trials_of(document, folder_store(tmp_path))
    choice = selection_of(document, results).choices[0]
    given, one, three = choice.candidates
    assert given.values == one.values  # the given settings are those of the first point
    assert three.values == [None, None]
    assert "over its budget of" in three.reason
    assert "passes of samples, which is 1 of Retrained's" in three.reason
    assert choice.trial == 0
    (run,) = [each for each in results[9000].runs if each.method == "finetune#2"]
    assert (run.status, run.cause) == ("failed", "method")
    retained, batch = results[9000].cells[0].retain_samples, SIX_STEPS["batchSize"]
    assert run.passes == 3 * (retained + batch)  # to the end of the step that was too much


def test_what_a_failed_trial_took_is_part_of_the_cost_of_tuning(tmp_path):
    """A rate with which the loss is not finite in the first epoch."""
    document = tuned(
        methods=[{**FINETUNE, "search": {"lr": {"choice": [1e-3, 1e9]}}}],
        sampler="grid",
        seeds={"start": 9000, "count": 1},
    )
    results = trials_of(document, folder_store(tmp_path))
    given, _, failed = selection_of(document, results).choices[0].candidates
    assert failed.values == [None]
    assert "not finite" in failed.reason
    assert failed.passes == given.passes


def test_a_trial_beyond_its_budget_that_was_stopped_before_took_the_same(tmp_path):
    def made(folder, **options):
        document = tuned(
            methods=[{**FINETUNE, "search": {"epochs": {"choice": [3, 4]}}}],
            sampler="grid",
            budget={"share": 1.5},
            seeds={"start": 9000, "count": 1},
        )
        return trials_of(document, folder_store(folder), **options)

    whole = made(tmp_path / "whole")
    with stopped_in("finetune", call=2, step=6) as interruption:
        made(tmp_path / "stopped", interruption=interruption)
    again = made(tmp_path / "stopped")
    assert [each.status for each in again[9000].runs if "#" in each.method] == ["ok"] + 2 * [
        "failed"
    ]
    assert runs_of(again) == runs_of(whole)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder for tunings of one recipe, which have all but their metrics in common."""
    return tmp_path_factory.mktemp("trained")


@pytest.mark.parametrize("entry", registry.objective.entries(), ids=lambda entry: entry.name)
def test_models_without_use_rank_below_the_chosen_trial(entry, trained):
    """An untrained network, and Original with as much noise as costs it ten points."""
    settings = {"epochs": 2, "batchSize": 64}
    document = tuned(
        methods=[
            {"name": "random_labels", "params": settings, "search": {"lr": {"log": [1e-3, 0.01]}}}
        ],
        scenarios=[
            each for each in (FULL_CLASS, RANDOM_SAMPLES) if each["name"] not in entry.facts.not_for
        ],
        training=LEARNING,
        model=LEARNS,
        objective=entry.name,
        seeds={"start": 9000, "count": 1},
    )
    results = trials_of(document, folder_store(trained))
    found = selection_of(document, results)
    chosen = {each.scenario: each.chosen.mean for each in found.choices}
    useless = [each for each in found.sanity if each.model in names.SANITY]
    assert len(useless) == 2 * len(chosen)
    for each in useless:
        assert each.values[0] > chosen[each.scenario], (each.scenario, each.model)
    kept = {each.method: each.metrics["retain_test_accuracy"] for each in results[9000].runs}
    assert -0.2 < kept["noised-original"] - kept["original"] <= -0.1


def test_a_planted_best_setting_is_found(tmp_path):
    """Weights are disturbed the more, the farther the setting is from a third."""

    class PlantedParams(registry.Params):
        x: float = 0.9

    def planted(task, params: PlantedParams):
        """Disturb the weights (a test)."""
        generator = task.generator("noise")
        for weight in task.model.parameters():
            noise = torch.randn(weight.shape, generator=generator) * weight.std().nan_to_num()
            weight.data += 10 * abs(params.x - 1 / 3) * noise

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(registry.method, "_entries", {**registry.method._entries})
        registry.method(paper="a test")(planted)
        listed = catalog.Catalog(
            {**catalog.bundled().components, "method": catalog.live().components["method"]}
        )
        patched.setattr(catalog, "bundled", lambda: listed)
        document = tuned(
            methods=[{"name": "planted", "search": {"x": {"uniform": [0.0, 1.0]}}}],
            training=LEARNING,
            model=LEARNS,
            trials=8,
            objective={"retain_accuracy": 1.0},
            seeds={"start": 9000, "count": 1},
        )
        results = trials_of(document, folder_store(tmp_path))
        choice = selection_of(document, results).choices[0]
    away = {each.trial: abs(each.params.get("x", 0.9) - 1 / 3) for each in choice.candidates}
    assert choice.trial == min(away, key=away.__getitem__)


def test_validate_tells_the_trials_and_what_of_them_is_there(made, tmp_path):
    document, folder, _ = made
    file = written(tmp_path / "tuned.yaml", document)
    told = supreme("validate", file, "--plan", "--store", folder)
    assert told.code == 0, told.err
    lines = " ".join(told.out.split())
    assert "tuning: 2 trials and the given settings in 2 searches, on 2 seeds of their own" in lines
    assert "32 stages for each, 64 in all" in lines
    assert "before the seeds of the experiment, for tuning: plan: 64 stages of 2 seeds" in lines
    found = json.loads(supreme("validate", file, "--plan", "--json", "--store", folder).out)
    plan = found["experiments"][0]["tuningPlan"]
    assert plan["stages"]["unlearned"] == {"total": 12, "found": 0}  # without an order none counts


def rounds_of(document, store):
    """Make all rounds of a tuning: results, the last trials, and how many each seed computed."""
    stages = []

    def compute_round(number, part):
        results = {
            seed: compute(document, store, seed=seed, whole=part, attempt=len(stages))
            for seed in part.seeds
        }
        for result in results.values():
            write_result(store, result)
        stages.append({seed: computed(result)["trials"] for seed, result in results.items()})
        return results

    made = make_trials(store, planned(document), catalog.bundled(), compute_round)
    return made.results, made.trials, stages


def test_the_better_half_of_the_trials_goes_on_to_the_next_seed(made):
    """Trials 1 and 2 of both seeds are there already, with the settings as given."""
    _, folder, _ = made
    store = folder_store(folder)
    halved = tuned(name="halved", trials=4, rounds=2)
    results, last, stages = rounds_of(halved, store)
    numbers = [each.trial for each in last]
    assert numbers[0] == 0
    assert len(numbers) == 3
    assert stages == [{9000: 2}, {9001: len({*numbers} - {0, 1, 2})}]
    (choice,) = select(planned(halved), results, catalog.bundled(), last_round=last).choices
    assert choice.trial in numbers
    told = supreme("validate", written(folder / "halved.yaml", halved), "--store", folder)
    assert "on 2 seeds of their own in 2 rounds, at most" in " ".join(told.out.split())


def test_trials_are_proposed_once(made, monkeypatch):
    _, folder, _ = made
    store = folder_store(folder)
    document = tuned(name="proposed", trials=5, sampler="tpe")
    results, last, stages = rounds_of(document, store)
    assert stages == [{9000: 4, 9001: 4}, {9000: 1, 9001: 1}]
    (choice,) = select(planned(document), results, catalog.bundled(), last_round=last).choices
    assert [each.params for each in choice.candidates] == [each.params for each in last]
    # Whoever goes on makes the same trials, also without the sampler.
    monkeypatch.setattr(tpe, "proposed", None)
    assert rounds_of(document, store)[1:] == (last, [{9000: 0, 9001: 0}] * 2)


def test_the_chosen_settings_give_what_they_give_by_hand(made):
    """No number of a tuning seed is in a result of the experiment."""
    document, folder, results = made
    store, whole = folder_store(folder), planned(document)
    selection = selection_of(document, results)
    chosen = compute(document, store, whole=with_choices(whole, selection.choices))
    given = {**document, "spec": {**document["spec"]}}
    del given["spec"]["tuning"]
    for scenario, choice in zip(given["spec"]["scenarios"], selection.choices, strict=True):
        params = {**FINETUNE["params"], **choice.chosen.params}
        by_hand = given | {"metadata": {"name": f"by-hand-{choice.scenario.replace('_', '-')}"}}
        by_hand["spec"] |= {
            "methods": [{"name": "finetune", "params": params}],
            "scenarios": [scenario],
        }
        alone = compute(by_hand, store)
        assert computed(alone) == {}
        wanted = {(each.scenario, each.method): each.metrics for each in alone.runs}
        found = {(each.scenario, each.method): each.metrics for each in chosen.runs}
        assert {name: found[name] for name in wanted} == wanted
    titles = {each.method for each in chosen.runs} - {*names.REFERENCES}
    assert titles == {"finetune", "finetune.as-given"}


def test_two_workers_choose_alike_and_a_choice_is_sealed(made, tmp_path):
    _, folder, _ = made
    document = tuned(name="alike")
    results = trials_of(document, folder_store(folder))
    store = run(document, tmp_path, "--workers", "2")
    folder = folder_of(store, document)
    sealed = json.loads((folder / "selection.json").read_text())
    assert {**sealed, "sha256": ""} == {
        **selection_of(document, results).to_document(),
        "sha256": "",
    }
    assert {path.name for path in folder.glob("seed=*")} == {"seed=260", "seed=9000", "seed=9001"}
    summary = json.loads((folder / "summary.json").read_text())
    assert "9000" not in json.dumps(summary["seeds"])
    document["spec"]["tuning"]["trials"] = 4
    file = written(tmp_path / "more.yaml", document)
    refused = supreme("run", file, "--store", store, "--device", "cpu")
    assert refused.code == EXIT_INVALID
    assert refused.err.startswith("error: spec.tuning: settings of finetune in full_class")
    assert "or choose anew by --retune" in refused.err
    anew = supreme("run", file, "--store", store, "--device", "cpu", "--retune")
    assert anew.code == 0, anew.err
    assert json.loads((folder / "selection.json").read_text())["retuned"] == 1
    summary = (folder / "summary.json").read_bytes()
    for result in folder.glob("seed=900?/attempt=0/result.json"):
        edited = json.loads(result.read_text())
        for each in edited["runs"]:
            each["metrics"] = dict.fromkeys(each["metrics"], 0.123)
        result.write_text(json.dumps(edited))
    assert supreme("report", folder).code == 0
    assert (folder / "summary.json").read_bytes() == summary
