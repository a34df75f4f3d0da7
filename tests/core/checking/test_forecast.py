"""Forecast of an experiment's cost from results of the same recipe.

recipe | seed | scenario and settings | method and settings |  step   | its kind's seconds
same   | same |         same          |        same         |  found  |        known
same   | other|         same          |        same         | missing |        known
same   | same |         other         |        same         | missing |        known
same   | same |         same          |        other        | missing |       unknown
other  |                       any                          | missing |       unknown

Orders and results are made up here; tests/trainer/test_validate.py compares a forecast with what a
run then computes.
"""

from dataclasses import replace

import pytest

from supreme_core.api.orders import Revision, work_digest
from supreme_core.api.records import StageRecord
from supreme_core.api.v1alpha1 import Component, LabelledComponent, MethodEntry
from supreme_core.checking.forecast import StepCount, forecast, forecast_of_trials
from supreme_core.registry import catalog
from supreme_core.store.inventory import StoredExperiment
from supreme_core.tuning.rounds import order_of_round, proposals_with, trials_of_round
from tests.core.analysis import summaries
from tests.core.analysis.summaries import digest, failed, run
from tests.core.tuning import trials as tuned
from tests.core.tuning.test_rounds import NOTHING, computed, halved, proposing

STAGES = {"datasets": 8.0, "originals": 10.0, "retrained": 9.0, "predictions": 1.0, "metrics": 0.5}
SCRUB_SECONDS = 4.0
WEIGHTS = 1000


def order(seeds=(7, 8), *, methods=("scrub",), name="tiny", **changes):
    made = summaries.question(seeds, methods=methods, **changes).order
    experiment = made.experiment.model_copy(update={"name": name})
    return made.model_copy(update={"experiment": experiment})


def with_work(made, **changes):
    return made.model_copy(update={"work": made.work.model_copy(update=changes)})


def with_params(made, params):
    """The order with other settings of its first method."""
    method = made.work.methods[0].model_copy(update={"params": params})
    return with_work(made, methods=[method])


def record(stage, key, seconds, status="computed"):
    return StageRecord(
        stage=stage,
        key=digest(key),
        status=status,
        wall_seconds=seconds,
        environment=digest("cpu"),
    )


def stored(made, *, seeds=(7,), status="ok", **changes):
    """An experiment whose results say what STAGES and SCRUB_SECONDS have."""
    results = {}
    for seed in seeds:
        mine = run("scrub") if status == "ok" else failed("scrub", "it diverged")
        mine = mine.model_copy(update={"predictions": {"unlearned": digest(f"scrub {seed}")}})
        stages = [record(stage, f"{stage} {seed}", STAGES[stage]) for stage in STAGES]
        stages.append(record("unlearned", f"scrub {seed}", SCRUB_SECONDS))
        fields = {
            "experiment": made.experiment,
            "work_digest": work_digest(made.work),
            "stages": stages,
            "environments": {digest("cpu"): {"device": "cpu"}},
        }
        runs = [run("original"), run("retrained"), mine]
        results[f"{seed}"] = summaries.result(seed, runs, **(fields | changes))
    return StoredExperiment(made.prefix, made, results)


def sizes(*seeds):
    """Return the sizes of the stages of these seeds: 1,000 bytes of weights, 100 of anything
    else."""
    found = {("unlearned", digest(f"scrub {seed}")): 100 for seed in seeds}
    for seed in seeds:
        for stage in STAGES:
            size = WEIGHTS if stage in ("originals", "retrained") else 100
            found[stage, digest(f"{stage} {seed}")] = size
    return found


def seen(made, *experiments, of=(7, 8, 9)):
    return forecast(made, experiments, sizes(*of), catalog.bundled())


class TestFound:
    def test_an_empty_store_has_nothing(self):
        found = seen(order())
        assert found.counts == {
            "dataset": StepCount(2, 1),  # the second seed finds what the first one prepared
            "original": StepCount(2, 0),
            "predictions": StepCount(4, 0),
            "retrained": StepCount(2, 0),
            "unlearned": StepCount(2, 0),
            "metrics": StepCount(6, 0),
        }
        assert (found.finished, found.stages, found.passes) == (0, StepCount(18, 1), 6)

    def test_a_finished_seed_leaves_nothing(self):
        found = seen(order(), stored(order()))
        assert (found.finished, found.stages) == (1, StepCount(18, 10))

    def test_of_a_seed_whose_method_failed_the_method_is_missing(self):
        found = seen(order([7]), stored(order([7]), status="failed"))
        assert (found.finished, found.stages.missing) == (0, 2)  # and its metrics
        assert found.counts["unlearned"] == StepCount(1, 0)

    def test_models_of_another_experiment_with_the_same_recipe_are_found(self):
        found = seen(order([7], methods=["scrub", "finetune"]), stored(order([7], name="other")))
        assert found.finished == 0
        assert found.counts["unlearned"] == StepCount(2, 1)
        assert found.stages.missing == 2

    def test_importances_are_missing_only_where_a_run_that_reads_them_is(self):
        wanted = order([7], methods=["scrub", "ssd"])
        past = stored(order([7], methods=["scrub", "ssd"], name="other"))
        assert seen(wanted, past).counts["importances"] == StepCount(2, 0)
        (result,) = past.results.values()
        done = result.model_copy(update={"runs": [*result.runs, run("ssd")]})
        past = replace(past, results={"7": done})
        assert seen(wanted, past).counts["importances"] == StepCount(2, 2)
        elsewhere = order([7], methods=["ssd", "lfssd"], name="elsewhere")
        assert seen(elsewhere, past).counts["importances"] == StepCount(4, 2)

    def test_what_is_not_to_be_reused_is_missing(self):
        anew = order([7], name="anew").model_copy(update={"reuse": "None"})
        found = seen(anew, stored(order([7])))
        assert (found.stages, found.counts["dataset"]) == (StepCount(9, 1), StepCount(1, 1))

    @pytest.mark.parametrize(
        ("made", "missing"),
        [
            (order([9]), 8),
            (order([7], scenarios=["random_samples"]), 7),
            (with_params(order([7]), {"epochs": 3}), 2),
            (order([7], protocol="matched"), 9),
        ],
        ids=["another seed", "another scenario", "other settings", "another protocol"],
    )
    def test_what_means_something_else_is_missing(self, made, missing):
        assert seen(made, stored(order([7]))).stages.missing == missing

    @pytest.mark.parametrize(
        ("named", "revision", "missing"),
        [
            (
                {"metrics": [LabelledComponent(name="quantised_accuracy")]},
                Revision(kind="probe", name="quantisation", version=2),
                {"probes", "metrics"},
            ),
            (
                {
                    "methods": [
                        MethodEntry(
                            name="scrub",
                            wrappers=[
                                Component(name="partition", params={"methods": [{"name": "ssd"}]})
                            ],
                        )
                    ]
                },
                Revision(kind="method", name="ssd", version=2),
                {"unlearned", "metrics"},
            ),
        ],
        ids=["probe of a metric", "method in a wrapper"],
    )
    def test_another_version_of_what_a_component_names_is_missing(self, named, revision, missing):
        before = with_work(order([7]), **named)
        now = with_work(before, revisions=[revision])
        assert seen(before, stored(before)).stages.missing == 0
        found = seen(now, stored(before)).counts
        assert {stage for stage, each in found.items() if each.missing} == missing

    def test_another_recipe_tells_nothing(self):
        training = order().work.training.model_copy(update={"epochs": 99})
        other = order()
        other = other.model_copy(
            update={"work": other.work.model_copy(update={"training": training})}
        )
        found = seen(order(), stored(other))
        assert (found.stages.found, found.seconds.value, found.experiments) == (1, None, [])


class TestCost:
    def test_nothing_is_invented_where_nothing_was_computed(self):
        found = seen(order([7]))
        assert (found.seconds.value, found.bytes.value) == (None, None)
        assert found.seconds.unknown == {
            "dataset": 1,
            "original": 1,
            "predictions": 2,
            "retrained": 1,
            "scrub": 1,
            "metrics": 3,
        }

    def test_the_seconds_and_bytes_are_those_of_such_stages(self):
        """A seed: original, Retrained, two predictions, a method, and three runs' metrics."""
        found = seen(order([7, 8, 9]), stored(order([7, 8, 9]), seeds=[7]))
        assert found.seconds.value == 2 * (10 + 9 + 2 * 1 + 4 + 3 * 0.5)
        assert found.bytes.value == 2 * (2 * WEIGHTS + 3 * 100 + 3 * 100)
        assert (found.seconds.unknown, found.measured, found.devices) == ({}, 6, ["cpu"])

    def test_a_finished_experiment_costs_nothing_more(self):
        found = seen(order([7]), stored(order([7])))
        assert (found.seconds.value, found.bytes.value) == (0.0, 0.0)

    def test_a_method_that_never_ran_is_unknown(self):
        found = seen(order([8], methods=["scrub", "finetune"]), stored(order([7])))
        assert found.seconds.unknown == {"finetune": 1}
        assert found.seconds.value == 10 + 9 + 2 + 4 + 4 * 0.5

    def test_a_stage_that_was_found_by_a_later_attempt_has_the_seconds_of_the_first(self):
        first = stored(order([7]))
        (result,) = first.results.values()
        again = [
            each.model_copy(update={"status": "reused", "wall_seconds": 0.0})
            for each in result.stages
        ]
        later = result.model_copy(update={"attempt": 1, "stages": again})
        both = replace(first, results={"0": result, "1": later})
        assert seen(order([8]), both).seconds.value == seen(order([8]), first).seconds.value

    @pytest.mark.parametrize(("kept", "wanted", "more"), [(0, 1, 1), (1, 0, -1), (1, 1, 0)])
    def test_weights_of_unlearned_models_count_where_they_are_kept(self, kept, wanted, more):
        wanting = order([8]).model_copy(update={"keep_unlearned_models": bool(wanted)})
        before = seen(order([8]), stored(order([7]))).bytes.value
        found = seen(wanting, stored(order([7]), kept_unlearned_models=bool(kept)))
        assert found.bytes.value == before + more * WEIGHTS


class TestRoundsOfTrials:
    """The trials of a round follow from results, so an order does not say what was computed."""

    def after(self, order, rounds):
        """The experiment with the results of so many rounds."""
        results, there, proposals = {}, {}, NOTHING
        for number in range(1, rounds + 1):
            trials = trials_of_round(order, number, there, tuned.CATALOG, proposals)
            proposals = proposals_with(order, trials, proposals)
            part = order_of_round(order, number, trials)
            found = computed(part, lambda trial, seed: float(trial))
            done = {"work_digest": work_digest(part.work), "attempt": number}
            there |= {seed: each.model_copy(update=done) for seed, each in found.items()}
            results |= {f"{seed} {number}": there[seed] for seed in part.seeds}
        return StoredExperiment(order.prefix, order, results, proposals)

    def unlearned(self, order, *stored):
        found = forecast_of_trials(order, stored, {}, tuned.CATALOG)
        return found.counts["unlearned"], found.finished

    @pytest.mark.parametrize(
        ("rounds", "unlearned", "finished"),
        [(0, StepCount(27, 0), 0), (1, StepCount(19, 9), 1), (2, StepCount(19, 19), 3)],
    )
    def test_of_halving_those_that_are_left_are_to_be_made(self, rounds, unlearned, finished):
        order = halved()
        assert self.unlearned(order, self.after(order, rounds)) == (unlearned, finished)

    @pytest.mark.parametrize(
        ("rounds", "unlearned", "finished"),
        [(0, StepCount(21, 0), 0), (1, StepCount(21, 15), 0), (2, StepCount(21, 21), 3)],
    )
    def test_of_proposals_those_that_were_made_are_found(self, rounds, unlearned, finished):
        order = proposing(6)
        assert self.unlearned(order, self.after(order, rounds)) == (unlearned, finished)

    def test_what_another_experiment_has_made_is_found(self):
        order = halved()
        name = order.experiment.model_copy(update={"name": "other"})
        other = order.model_copy(update={"experiment": name})
        assert self.unlearned(other, self.after(order, 2)) == (StepCount(27, 19), 0)
