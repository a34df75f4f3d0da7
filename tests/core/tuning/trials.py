"""A tuned experiment and results of its trials, as tests of tuning need them."""

from copy import deepcopy

from supreme_core.api import names
from supreme_core.api.model import parse
from supreme_core.api.orders import ExperimentOrder, work_digest
from supreme_core.api.records import DatasetRecord, RunRecord, RunResult
from supreme_core.api.v1alpha1 import UnlearningExperiment
from supreme_core.plan import plan
from supreme_core.registry import catalog

CATALOG = catalog.bundled()
SEEDS = [9000, 9001, 9002]
TRIALS = 4
ROW = "forget_accuracy"

SPEC = {
    "seeds": {"start": 5, "count": 2},
    "dataset": {"name": "digits"},
    "model": {"name": "resnet18", "params": {"width": 4}},
    "training": {"epochs": 10, "validation": {"fraction": 0.1}},
    "scenarios": [{"name": "full_class", "params": {"classes": [3]}}],
    "methods": [{"name": "finetune"}, {"name": "assd"}],
    "metrics": [{"name": "accuracy"}],
    "tuning": {
        "trials": TRIALS,
        "seeds": {"start": SEEDS[0], "count": len(SEEDS)},
        "objective": {ROW: 1.0},
    },
}


def document(**changes):
    spec = {**deepcopy(SPEC), **changes}
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": "tuned"},
        "spec": spec,
    }


def order_of(**changes) -> ExperimentOrder:
    experiment = parse(UnlearningExperiment, document(**changes))
    return plan(experiment, CATALOG, namespace="local")


def tuning(**changes):
    return {"tuning": {**SPEC["tuning"], **changes}}


ORDER = order_of()


def run(method, value, *, passes=100, kept=0.9, **record):
    metrics = {ROW: value, "retain_test_accuracy": kept}
    record = {"status": "ok", "metrics": metrics, "passes": passes, **record}
    return RunRecord(scenario="full_class", method=method, **record)


def failed(method, cause="method"):
    return run(method, None, status="failed", reason="broken", cause=cause, passes=None)


def result(seed, runs):
    references = [run("original", 1.0, passes=None), run("retrained", 0.0, passes=None)]
    return RunResult(
        experiment=ORDER.experiment,
        work_digest=work_digest(ORDER.trials.work),
        seed=seed,
        attempt=0,
        dataset=DatasetRecord(
            name="digits", digest="0" * 64, train_samples=9, test_samples=1, classes=10
        ),
        cells=[],
        runs=[*references, *runs],
        stages=[],
        environments={},
        started_at="",
        finished_at="",
    )


def results(table):
    """Results of all seeds.  table: for each trial the value of each seed, or a RunRecord."""
    return {
        seed: result(
            seed,
            [
                each[place] if isinstance(each[place], RunRecord) else run(title, each[place])
                for title, each in table.items()
            ],
        )
        for place, seed in enumerate(SEEDS)
    }


def values(*of_trials):
    return {f"finetune#{number}": each for number, each in enumerate(of_trials)}
