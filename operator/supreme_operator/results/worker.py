"""The short-lived process that reads what users' pods wrote.

    python -m supreme_operator.results.worker

It gets one Task on standard input and gives answers on standard output, each a line of JSON, as
soon as it has them. `processes` starts it, and `reader` reads of all results only these answers.
"""

import hashlib
import logging
import math
import os
import resource
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final, Literal

from supreme_core.api import names
from supreme_core.api.orders import ExperimentOrder, work_digest
from supreme_core.api.records import RunResult
from supreme_core.api.status import ResultsReference, SummaryRow
from supreme_core.api.summary import Summary
from supreme_core.api.v1alpha1 import MAX_SUMMARY_ROWS
from supreme_core.errors import (
    SpecError,
    StoreUnavailable,
    StoreUnusable,
    SupremeError,
    number_of,
    one_line,
)
from supreme_core.registry import catalog
from supreme_core.store.results import (
    RESULT_BYTES,
    ResultReader,
    check_origin,
    parse_result,
    write_order,
)
from supreme_core.store.s3 import S3Credentials, S3Storage
from supreme_core.store.selections import read_selection, selection_digest, write_selection
from supreme_core.store.storage import MissingObject, ObjectTooLarge
from supreme_core.store.trials import make_trials
from supreme_core.tuning.selection import lost_runs, select, tried
from supreme_operator.results.location import Location
from supreme_operator.results.protocol import (
    Answer,
    ChosenSettings,
    Claim,
    NextRound,
    Publication,
    Reading,
    Refusal,
    ResultCheck,
    Task,
)

MEBIBYTE: Final = 1024 * 1024

ROUNDS: Final = 10
"""Tries of a publication: results that change under each of them change for ever."""

PREDICTIONS_SHARE: Final = 32
"""Two models' predictions and what a noise floor needs of them take 26 times the size of a file."""


def preload() -> None:
    """Import and read what the first store of a process does, for those that are forked from it."""
    nowhere = "http://localhost"
    Location(uri="s3://none", endpoint=nowhere, credentials=S3Credentials("", "")).open()


def main() -> None:
    task = Task.model_validate_json(sys.stdin.buffer.read(), by_alias=True, by_name=False)
    logging.basicConfig(stream=sys.stderr, format="%(message)s")
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as output:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # for whatever else wants to print
        confine(task)
        for answer in answers(task):
            output.write(answer.model_dump_json(by_alias=True).encode() + b"\n")
            output.flush()


def confine(task: Task) -> None:
    """Give up for good whatever the task does not need."""
    memory = task.memory_mebibytes * MEBIBYTE
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    file = largest_file(task)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file, file))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core has the credentials in it
    # The operator itself comes first. Seeds wait for their results to be checked, in milliseconds.
    os.nice(1 if task.kind == "verify" else 5)


def largest_file(task: Task) -> int:
    """Bytes of the largest file that is written; larger predictions give no noise floor."""
    return task.memory_mebibytes * MEBIBYTE // PREDICTIONS_SHARE


def answers(task: Task) -> Iterator[Answer]:
    try:
        yield from _answers(task)
    except StoreUnavailable as error:
        yield Refusal(kind="StoreUnavailable", message=one_line(error))
    except StoreUnusable as error:
        yield Refusal(kind="StoreUnusable", message=one_line(error))
    except SupremeError as error:
        yield Refusal(kind="WorkerFailed", message=one_line(error))
    except MemoryError:
        reason = f"the worker needs more than its {task.memory_mebibytes} MiB of memory"
        yield Refusal(kind="WorkerFailed", message=reason)


def _answers(task: Task) -> Iterator[Answer]:
    storage = task.location.open()
    match task.kind:
        case "verify":
            for claim in task.claims:
                allow_cpu(task.cpu_seconds)
                yield from judged(claim, task.order, storage)
        case "choose":
            allow_cpu(task.cpu_seconds)
            yield chosen_settings(task, storage)
        case "publish":
            allow_cpu(task.cpu_seconds)
            yield publication(task, storage)


def allow_cpu(seconds: int) -> None:
    """Let the kernel end this process after so much more processor time."""
    used = math.ceil(time.process_time())
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (used + seconds, most))


def judged(
    claim: Claim, order: ExperimentOrder, storage: S3Storage
) -> Iterator[Reading | ResultCheck]:
    seed, attempt = claim.seed, claim.attempt
    try:
        data = storage.read(order.result_key(seed, attempt), limit=RESULT_BYTES)
    except MissingObject as error:
        yield ResultCheck(seed=seed, attempt=attempt, state="missing", message=one_line(error))
        return
    except ObjectTooLarge as error:
        yield ResultCheck(seed=seed, attempt=attempt, state="invalid", message=one_line(error))
        return
    yield Reading(seed=seed, attempt=attempt)
    state, problem = what_is_wrong(data, claim, order)
    yield ResultCheck(seed=seed, attempt=attempt, state=state, message=one_line(problem))


def what_is_wrong(
    data: bytes, claim: Claim, order: ExperimentOrder
) -> tuple[Literal["valid", "incomplete", "invalid"], str]:
    """State of these bytes as the result that was claimed, and why they do not count."""
    key = order.result_key(claim.seed, claim.attempt)
    found = hashlib.sha256(data).hexdigest()
    if claim.sha256 not in (None, found):
        changed = f"{key} is not what its pod wrote: it has sha256 {found}, not {claim.sha256}"
        return "invalid", changed
    try:
        result = parse_result(data, key)
        check_origin(result, order, claim.seed, claim.attempt)
    except SpecError as error:
        return "invalid", str(error)
    except MemoryError:
        return "invalid", f"{key} needs more memory to be read than there is for it"
    if result.work_digest != work_digest(order.work):
        return "invalid", f"{key} answers other work ({result.work_digest[:12]})"
    if order.work.tuning and (lost := next(lost_runs(result), None)):
        return "incomplete", f"{lost.method} in {lost.scenario} was lost to its machine"
    return "valid", ""


def chosen_settings(task: Task, storage: S3Storage) -> ChosenSettings | NextRound:
    """Choose settings by the trials, or say which trials come next; what was chosen before stays.

    What lies in the store before anything was chosen is no choice: a user may have put it there.
    """
    order, before = task.order, task.selection
    tuning = order.tuning
    assert tuning is not None
    wanted = {(scenario.title, entry.title) for scenario, entry in tried(tuning)}
    selection = read_selection(storage, order.prefix, sha256=before) if before else None
    known = {(each.scenario, each.method) for each in selection.choices} if selection else set()
    if before is None or selection is None or not wanted <= known:
        made = make_trials(storage, order, catalog.bundled(), partial(results_of, task, storage))
        if made.results is None:
            methods = [entry.title for entry in tuning.work.methods]
            return NextRound(number=made.round, methods=methods, trials=made.trials)
        is_lost = before is not None and selection is None
        selection = select(
            order,
            made.results,
            catalog.bundled(),
            earlier=selection,
            last_round=made.trials,
        )
        if is_lost and selection_digest(selection) != before:
            raise SpecError(
                f"{names.selection_key(order.prefix)} is gone, and by the trials that there are now"
                " other settings would be chosen; put it back, or make another experiment, which"
                " reuses what was computed"
            )
        before = write_selection(storage, order.prefix, selection)
    return ChosenSettings(
        methods=[entry.title for entry in tuning.work.methods],
        selected=[choice.selected for choice in selection.choices],
        searches=len(selection.choices),
        changed=sum(choice.trial > 0 for choice in selection.choices),
        not_tunable=sum(bool(choice.note) for choice in selection.choices),
        sha256=before,
    )


def results_of(
    task: Task, storage: S3Storage, number: int, part: ExperimentOrder
) -> dict[int, RunResult] | None:
    """Results of a round of trials; None where it lacks one and is not known to have ended."""
    found = ResultReader(storage).of(part)
    gone = [seed for seed in part.seeds if seed not in found]
    if gone and number <= task.round:
        seeds = number_of(len(gone), "tuning seed")
        raise SpecError(f"the results of {seeds} are gone, first of {gone[0]}")
    return None if gone else found


def publication(task: Task, storage: S3Storage) -> Publication:
    """Publish what results there are; the order first, since `supreme report` needs it."""
    from supreme_core.analysis.files import summary_json  # with scipy and matplotlib: seconds
    from supreme_core.publishing.publish import publish
    from supreme_core.store.artefacts import Artefacts

    write_order(storage, task.order)
    artefacts = Artefacts(storage, Path.cwd() / "predictions", largest=largest_file(task))
    # A user may write to this store, and a status must not pass on what somebody put there.
    summary = publish(storage, artefacts, task.order, believed=False, rounds=ROUNDS)
    lost = {failure.seed for failure in summary.failures if failure.scenario is None}
    seeds = [seed for seed in task.order.seeds if seed not in lost]
    return Publication(
        rows=rows_of(summary),
        results=ResultsReference(
            uri=f"{storage.uri}/{names.summary_key(task.order.prefix)}",
            sha256=hashlib.sha256(summary_json(summary)).hexdigest(),
            seeds=len(seeds),
        ),
        seeds=seeds,
        partial=summary.partial,
    )


def rows_of(summary: Summary) -> list[SummaryRow]:
    """The primary metric, as the status of an experiment shows it: the first rows of many."""
    primary = [row for row in summary.rows if row.metric == summary.primary_metric]
    collapsed = {(rate.scenario, rate.method): rate.collapsed for rate in summary.collapse_rates}
    return [
        SummaryRow(
            scenario=row.scenario,
            method=row.method,
            n=row.n,
            asked=row.seeds.asked,
            mean=row.mean,
            low=row.low,
            high=row.high,
            gap=row.gap.mean if row.gap else None,
            gap_low=row.gap.low if row.gap else None,
            gap_high=row.gap.high if row.gap else None,
            verdict=row.gap.verdict if row.gap else None,
            margin=row.gap.margin if row.gap else None,
            margin_source=row.gap.margin_source if row.gap else None,
            reason=one_line("; ".join(row.gap.remarks) if row.gap else row.lack, limit=256) or None,
            collapsed=collapsed[row.scenario, row.method],
            failed=row.seeds.failed,
            undefined=row.seeds.undefined,
            infrastructure=row.seeds.infrastructure,
            pending=row.seeds.pending,
        )
        for row in primary[:MAX_SUMMARY_ROWS]
    ]


if __name__ == "__main__":
    main()
