"""Small experiments with made-up results, for the tests of aggregate and report."""

from hashlib import sha256

from supreme_core.analysis.across import PublishedExperiment
from supreme_core.analysis.aggregate import Question, aggregate
from supreme_core.analysis.provenance import RowFacts
from supreme_core.api.orders import ExperimentName, ExperimentOrder, TuningOrder, Work
from supreme_core.api.records import CellRecord, DatasetRecord, RunRecord, RunResult
from supreme_core.api.summary import SearchSummary, TuningSummary
from supreme_core.api.v1alpha1 import Component, LabelledComponent, MethodEntry, Training

NAME = ExperimentName(namespace="local", name="tiny", uid="0123456789")


def digest(text):
    return sha256(text.encode()).hexdigest()


WORK_DIGEST = digest("work")


def row_fact(metric, on=None, **changes):
    facts = {
        "group": "accuracy",
        "unit": "fraction",
        "compares": False,
        "measured": False,
        "random": False,
        "low": 0.0,
        "high": 1.0,
        "direction": "retrained",
        "margin": 0.01,
        "references": ["original", "retrained"],
        "summary": f"What {metric} says.",
        "source": "Someone 2020, arXiv:2001.00001",
    }
    return RowFacts(metric=metric, on=on, **(facts | changes))


FACTS = {
    "forget_accuracy": row_fact("accuracy", "forget"),
    "test_accuracy": row_fact("accuracy", "test"),
    "forget_js_divergence": row_fact(
        "js_divergence", "forget", group="distance", unit="nats", compares=True
    ),
    "mia_loss_auc": row_fact("mia_loss_auc", group="membership"),
    "wall_seconds": row_fact(
        "wall_seconds",
        group="cost",
        unit="seconds",
        measured=True,
        high=None,
        references=["retrained"],
    ),
}


def work(*, scenarios=("full_class",), methods=("scrub",), **repeats):
    counts = {"unlearning_repeats": 1, "evaluation_repeats": 1, "retrained_replicas": 1}
    return Work(
        dataset=Component(name="digits"),
        model=Component(name="tiny"),
        training=Training(),
        scenarios=[LabelledComponent(name=name) for name in scenarios],
        methods=[MethodEntry(name=name) for name in methods],
        metrics=[],
        **(counts | repeats),
    )


def question(
    seeds,
    *,
    primary="forget_accuracy",
    metrics=FACTS,
    excluded=(),
    floors=None,
    margins=None,
    tuned=(),
    **of_work,
):
    """tuned: methods that are tuned."""
    tuning = None
    if tuned:
        trials = work(methods=tuned)
        tuning = TuningOrder(work=trials, seeds=[9000], objective="average_gap", excluded=[])
    order = ExperimentOrder(
        experiment=NAME,
        work=work(**of_work),
        seeds=list(seeds),
        excluded=list(excluded),
        primary_metric=primary,
        margins=margins or {},
        tuning=tuning,
    )
    return Question(
        order=order,
        work_digest=WORK_DIGEST,
        metrics=metrics,
        floors=floors or {},
        versions={"supreme": "0.1.0"},
    )


def run(method, *, scenario="full_class", repeat=0, **metrics):
    return RunRecord(scenario=scenario, method=method, repeat=repeat, status="ok", metrics=metrics)


def failed(method, reason, *, scenario="full_class", repeat=0, cause="method"):
    return RunRecord(
        scenario=scenario,
        method=method,
        repeat=repeat,
        status="failed",
        cause=cause,
        reason=reason,
    )


def result(seed, runs, **changes):
    scenarios = dict.fromkeys(run.scenario for run in runs)
    fields = {
        "experiment": NAME,
        "work_digest": WORK_DIGEST,
        "seed": seed,
        "attempt": 0,
        "dataset": DatasetRecord(
            name="digits", digest=digest("digits"), train_samples=1437, test_samples=360, classes=10
        ),
        "cells": [cell(scenario) for scenario in scenarios],
        "runs": runs,
        "stages": [],
        "environments": {digest("cpu"): {"device": "cpu", "torch": "2.9.1"}},
        "started_at": "2025-01-01T00:00:00Z",
        "finished_at": "2025-01-01T00:10:00Z",
    }
    return RunResult(**(fields | changes))


def cell(scenario, *, forget="three"):
    return CellRecord(
        scenario=scenario,
        forgets="classes",
        forget_digest=digest(forget),
        forget_samples=146,
        retain_samples=1291,
        forget_test_samples=37,
    )


def results(seeds, *, scenarios=("full_class",), methods=("scrub",)):
    """Complete results whose numbers differ between seeds, methods and scenarios."""
    found = []
    for i, seed in enumerate(seeds):
        runs = []
        for j, scenario in enumerate(scenarios):
            for k, method in enumerate(("original", "retrained", *methods)):
                step = (7 * i + 3 * j + 5 * k) % 11 / 100
                numbers = {
                    "forget_accuracy": 0.2 + 0.05 * k + step,
                    "test_accuracy": 0.9 - step,
                    "forget_js_divergence": 0.0 if method == "retrained" else 0.1 + step,
                    "mia_loss_auc": 0.5 + step,
                    "wall_seconds": None if method == "original" else 10 + 100 * step,
                }
                runs.append(run(method, scenario=scenario, **numbers))
        found.append(result(seed, runs))
    return found


def summary(seeds=range(5), *, scenarios=("full_class",), methods=("scrub",), **changes):
    asked = question(seeds, scenarios=scenarios, methods=methods, **changes)
    return aggregate(results(seeds, scenarios=scenarios, methods=methods), asked)


def with_choices(found, *methods, scenarios=("full_class",), note="", **changes):
    """The summary with a search for the settings of these methods."""
    searches = [
        SearchSummary(
            scenario=scenario,
            method=method,
            trial=1,
            note=note,
            objective=0.1,
            given=0.2,
            values=[0.2, 0.1],
            beaten=0.0,
            best_of=[0.1],
            retrainings=1.0,
            uncounted=0,
            settings=[],
        )
        for scenario in scenarios
        for method in methods
    ]
    fields = {
        "objective": "average_gap",
        "track": "oracle",
        "seeds": [9000],
        "trials": 1,
        "sampler": "random",
        "share": 1.0,
        "retuned": 0,
        "searches": searches,
        "sanity": [],
    }
    return found.model_copy(update={"tuning": TuningSummary(**(fields | changes))})


def published(source="A", *, dataset="digits", model="tiny", changes=None, **facts):
    """A published experiment of made-up results.  changes: fields of its work."""
    found = summary(**facts)
    work = {**found.provenance["work"], **(changes or {})}
    work["dataset"], work["model"] = {"name": dataset}, {"name": model}
    provenance = {**found.provenance, "work": work}
    return PublishedExperiment(source, found.model_copy(update={"provenance": provenance}))


def six_blocks(methods=("scrub", "ssd", "finetune"), seeds=range(5)):
    """Three experiments of two scenarios each."""
    of = {"methods": methods, "seeds": seeds, "scenarios": ("full_class", "random")}
    return [
        published("A", model="resnet18", **of),
        published("B", model="vit", **of),
        published("C", model="vit", dataset="cifar10", **of),
    ]
