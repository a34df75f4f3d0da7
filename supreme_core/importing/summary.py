"""Evaluations of the reference as a Summary of ours: paired gaps, verdicts, collapses. Pure."""

from collections.abc import Iterator, Sequence
from importlib import metadata

from supreme_core import DISTRIBUTION
from supreme_core.analysis.aggregate import Question, aggregate
from supreme_core.analysis.provenance import provenance_of
from supreme_core.api import names
from supreme_core.api.canonical import digest
from supreme_core.api.orders import Exclusion, ExperimentName, ExperimentOrder, Work, work_digest
from supreme_core.api.records import CellRecord, DatasetRecord, RunRecord, RunResult
from supreme_core.api.summary import Summary
from supreme_core.api.v1alpha1 import MAX_SEEDS, Component, LabelledComponent, MethodEntry, Training
from supreme_core.errors import SpecError, number_of
from supreme_core.importing.known_errors import KNOWN_ERRORS, KnownError
from supreme_core.importing.metrics import ACCURACY, METRICS, OWN, facts_of, own_facts
from supreme_core.importing.results import FoundResults, ImportedResult, ImportedSetting

TITLES = {"original": names.ORIGINAL, "retrain": names.RETRAINED}
MOST_TITLES = 64
MOST_SKIPPED = 20


def summaries(found: FoundResults, name: str) -> Iterator[tuple[str, ImportedSetting, Summary]]:
    """One for each setting, with a name of its own; settings are never mixed."""
    settings = sorted({evaluation.setting for evaluation in found.evaluations})
    for setting in settings:
        chosen = [each for each in found.evaluations if each.setting == setting]
        words = [name, setting.dataset, setting.model, setting.forgets]
        if len({(s.precision, s.gpus, s.classes, s.batches_per_gpu) for s in settings}) > 1:
            words += [setting.precision] * bool(setting.precision)
            words += [f"{setting.gpus}gpus"] * bool(setting.gpus)
            words += [str(setting.classes)] * bool(setting.classes)
            words += ["batches-per-gpu"] * setting.batches_per_gpu
        title = "-".join(words).lower()
        also = [*sorted(found.assumed), *skipped(found)]
        yield title, setting, summary_of(chosen, setting, title, also)


def summary_of(
    evaluations: Sequence[ImportedResult], setting: ImportedSetting, title: str, also: Sequence[str]
) -> Summary:
    """also: notes beside those on known errors."""
    question = _question(evaluations, setting, title)
    results = [_result(evaluations, question, seed) for seed in question.order.seeds]
    summary = aggregate(results, question)
    notes = [
        "These numbers were computed by supreme-unlearning and not by SUPREME, with definitions and"
        " recipes of its own. Do not compare them with numbers of SUPREME.",
        *_touched(evaluations, setting),
        *also,
    ]
    # What a result of ours has to say beyond its numbers, nobody knows of these.
    known = provenance_of(summary).model_copy(
        update={"imported": notes, "datasets": [], "cells": []}
    )
    document = known.model_dump(mode="json", by_alias=True)
    return summary.model_copy(update={"provenance": document})


def skipped(found: FoundResults) -> list[str]:
    """Lines on what was not read, the most frequent first."""
    most = sorted(found.skipped.items(), key=lambda item: (-item[1], item[0]))
    lines = [f"Skipped, {number_of(count, 'time')}: {what}." for what, count in most[:MOST_SKIPPED]]
    if len(most) > MOST_SKIPPED:
        lines.append(f"Skipped: {number_of(len(most) - MOST_SKIPPED, 'more kind')} of things.")
    return lines


def _question(
    evaluations: Sequence[ImportedResult], setting: ImportedSetting, title: str
) -> Question:
    seeds = sorted({each.train_seed for each in evaluations})
    scenarios = sorted({_scenario(each) for each in evaluations})
    methods = sorted({each.method for each in evaluations} - TITLES.keys())
    own = sorted({row for each in evaluations for row in each.values if row.startswith(OWN)})
    for what, count, most in (
        ("training seeds", len(seeds), MAX_SEEDS),
        ("scenarios", len(scenarios), MOST_TITLES),
        ("methods", len(methods), MOST_TITLES),
        ("own metrics", len(own), MOST_TITLES),
    ):
        if count > most:
            raise SpecError(f"{setting}: {count} {what} are more than {most}")
    if not methods:
        raise SpecError(f"{setting}: there is no method beside the references")
    work = Work(
        dataset=Component(name=setting.dataset),
        model=Component(name=setting.model),
        training=Training(),
        scenarios=[LabelledComponent(name=scenario) for scenario in scenarios],
        methods=[MethodEntry(name=method) for method in methods],
        metrics=[
            LabelledComponent(name=title)
            for title in [*(metric.title for metric in METRICS.values()), *own]
        ],
        unlearning_repeats=max(_repeats(evaluations, seed) for seed in seeds),
        evaluation_repeats=1,
        retrained_replicas=1,
    )
    there = {(_scenario(each), each.method) for each in evaluations}
    excluded = [
        Exclusion(scenario=scenario, method=method, reason="there is no result of it")
        for scenario in scenarios
        for method in methods
        if (scenario, method) not in there
    ]
    on = "forget" if setting.forgets == "samples" else "forget_test"
    order = ExperimentOrder(
        experiment=ExperimentName(namespace="reference", name=title[:63], uid=digest({"t": title})),
        work=work,
        seeds=seeds,
        excluded=excluded,
        primary_metric=names.metric_row(ACCURACY, on),
    )
    return Question(
        order=order,
        work_digest=work_digest(work),
        metrics=facts_of(setting.forgets) | {title: own_facts(title) for title in own},
        versions={"supreme": metadata.version(DISTRIBUTION)},
    )


def _repeats(evaluations: Sequence[ImportedResult], seed: int) -> int:
    return len({each.unlearn_seed for each in evaluations if each.train_seed == seed})


def _result(evaluations: Sequence[ImportedResult], question: Question, seed: int) -> RunResult:
    """Several seeds of unlearning within a training seed are repeats, which are averaged."""
    of_seed = [each for each in evaluations if each.train_seed == seed]
    repeats = sorted({each.unlearn_seed for each in of_seed})
    runs = {
        (_scenario(each), TITLES.get(each.method, each.method), each.unlearn_seed): each.values
        for each in of_seed
    }
    return RunResult(
        experiment=question.order.experiment,
        work_digest=question.work_digest,
        seed=seed,
        attempt=0,
        dataset=DatasetRecord(
            name=question.order.work.dataset.name,
            digest="0" * 64,
            train_samples=0,
            test_samples=0,
            classes=1,
        ),
        cells=[
            _cell(scenario, seed, forgets)
            for scenario, forgets in {_scenario(e): e.setting.forgets for e in of_seed}.items()
        ],
        runs=[
            RunRecord(
                scenario=scenario,
                method=method,
                repeat=repeats.index(unlearn_seed),
                status="ok",
                metrics=dict(values),
            )
            for (scenario, method, unlearn_seed), values in runs.items()
        ],
        stages=[],
        environments={},
        started_at="",
        finished_at="",
    )


def _cell(scenario: str, seed: int, forgets: str) -> CellRecord:
    """A class is the same samples for every seed, which the noise of Retrained is taken from."""
    same = {"scenario": scenario} if forgets == "classes" else {"scenario": scenario, "seed": seed}
    return CellRecord(
        scenario=scenario,
        forgets="classes" if forgets == "classes" else "samples",
        forget_digest=digest(same),
        forget_samples=0,
        retain_samples=0,
        forget_test_samples=0,
    )


def _scenario(evaluation: ImportedResult) -> str:
    return f"{evaluation.scenario}-{evaluation.target}"


def _touched(evaluations: Sequence[ImportedResult], setting: ImportedSetting) -> Iterator[str]:
    """The known errors that touch something of the table, and what."""
    methods = {each.method for each in evaluations}
    scenarios = {each.scenario for each in evaluations}
    several = {
        "gpus": setting.gpus != 1,
        "unlearning seeds": any(_repeats(evaluations, e.train_seed) > 1 for e in evaluations),
        None: True,
    }
    for error in KNOWN_ERRORS:
        applies = (
            several[error.several]
            and (not error.datasets or setting.dataset in error.datasets)
            and (not error.models or setting.model in error.models)
            and (not error.methods or methods & set(error.methods))
            and (not error.scenarios or scenarios & set(error.scenarios))
        )
        if applies:
            yield f"Known error {error.number}, in {_what(error)}: {error.what}"


def _what(error: KnownError) -> str:
    parts = [", ".join(each) for each in (error.methods, error.scenarios) if each]
    return " of ".join([", ".join(error.metrics) or "every row", *parts])
