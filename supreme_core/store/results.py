"""Results of seeds in the store: where they lie, and which of them count.

A result is untrusted input: it is read with a size limit and strictly, and counts only for the
work that it names.
"""

import hashlib
import logging
import re
from collections.abc import Iterator, Sequence

from supreme_core.api import names
from supreme_core.api.orders import ExperimentName, ExperimentOrder, RunOrder, work_digest
from supreme_core.api.records import FaultRecord, RunRecord, RunResult
from supreme_core.errors import SpecError, nearest_or_all, one_line
from supreme_core.store.sealed import parse_sealed, parse_unchanged, sealed_json
from supreme_core.store.storage import (
    MissingObject,
    ObjectInfo,
    ObjectTooLarge,
    Storage,
    require_unlinked,
)
from supreme_core.system.warnings import Warn, once

log = logging.getLogger(__name__)

EXPERIMENTS = "experiments"

RESULT_BYTES = 64 * 1024 * 1024
"""A seed with 10,000 runs of 100 rows each needs 54 MiB."""

FAULT_BYTES = 64 * 1024

FAILED_RUN_BYTES = 1024 * 1024


def write_result(storage: Storage, result: RunResult, *, is_shared: bool = False) -> str:
    """The last thing that a trainer writes; gives the sha256 of the bytes that are there then.

    is_shared: several processes compute the attempt, of which the first one's result counts.
    """
    experiment = _prefix(result)
    attempt = names.attempt_prefix(experiment, result.seed, result.attempt)
    key, data = names.result_key(attempt), sealed_json(result.to_document())
    if not is_shared:
        storage.write(key, data)
    elif not storage.write_if_absent(key, data):
        data = storage.read(key, limit=RESULT_BYTES)
    return hashlib.sha256(data).hexdigest()


def write_order(storage: Storage, order: ExperimentOrder) -> None:
    storage.write(names.order_key(order.prefix), sealed_json(order.to_document()))


def read_order(storage: Storage, experiment: str) -> ExperimentOrder:
    """The order of the experiment whose folder is `experiment`; SpecError where there is none.

    A warning says where an edit of it would not be noticed.
    """
    order, has_digest = read_sealed_order(storage, experiment)
    if not has_digest:
        log.warning(
            "%s is of an older version and has no digest, so an edit of it is not noticed;"
            " `supreme run FILE` writes one",
            names.order_key(experiment),
        )
    return order


def read_sealed_order(storage: Storage, experiment: str) -> tuple[ExperimentOrder, bool]:
    """Read the order of an experiment, and whether it carries its digest.

    One that was put there from another experiment is refused: by it the files of that one would be
    written, and with `--replace` its results deleted.
    """
    key = names.order_key(experiment)
    try:
        data = storage.read(key, limit=RESULT_BYTES)
    except MissingObject:
        raise no_experiment(storage, experiment) from None
    except ObjectTooLarge as error:
        raise SpecError(str(error)) from None
    order, has_digest = parse_order(data, key)
    if order.prefix != experiment:
        raise SpecError(f"{key} is that of another experiment, {order.prefix}")
    return order, has_digest


def parse_order(data: bytes, key: str) -> tuple[ExperimentOrder, bool]:
    """An order, and whether it carries its digest; SpecError where it was edited or is none."""
    try:
        return parse_sealed(ExperimentOrder, data, source=key)
    except SpecError as error:
        raise SpecError(f"{error}; `supreme run FILE` writes it anew from the experiment") from None


def no_experiment(storage: Storage, experiment: str) -> SpecError:
    """Error where there is no experiment of that folder; it names the nearest, or those there
    are."""
    asked = experiment.removeprefix(f"{EXPERIMENTS}/")
    known = nearest_or_all(asked, experiments_in(storage), what="experiments there")
    return SpecError(f"there is no experiment at {experiment} in {storage.uri}{known}")


def experiments_in(storage: Storage) -> list[str]:
    """The experiments of a store, each as `NAMESPACE/NAME-UID`."""
    paths = (info.key.split("/") for info in storage.list(EXPERIMENTS))
    return sorted({"/".join(parts[1:3]) for parts in paths if len(parts) > 3})


def computed_seeds(storage: Storage, order: ExperimentOrder) -> list[int]:
    """The order's seeds that have a result, of whatever work."""
    return [seed for seed, attempts in attempts_by_seed(storage, order).items() if attempts]


def drop_results(
    storage: Storage, before: ExperimentOrder, now: ExperimentOrder, results: "ResultReader"
) -> dict[int, list[int]]:
    """Delete what does not answer the order `now`: attempts of `before`, tables and report.

    Gives the attempts by seed. Stages stay, for they belong to no single experiment. Where the same
    is tried as before, no trial is asked about: which ones a round has follows from their results.
    """
    require_unlinked(storage, storage.list(before.prefix))
    for key in names.summary_keys(before.prefix):
        storage.delete(key)
    wanted = {seed: work_digest(part.work) for part in now.parts for seed in part.seeds}
    dropped: dict[int, list[int]] = {}
    parts = [before] if before.tuning == now.tuning else before.parts
    for seed, attempt, item in [each for part in parts for each in result_objects(storage, part)]:
        result = results.read(before, seed, attempt, item)
        if result and result.work_digest == wanted.get(seed):
            continue
        storage.delete(item.key)  # first, since it is what counts
        for other in [*storage.list(names.attempt_prefix(before.prefix, seed, attempt))]:
            storage.delete(other.key)
        dropped.setdefault(seed, []).append(attempt)
    return dropped


class ResultReader:
    """Reader of results in a store, each once for as long as listings show it unchanged.

    One may have 64 MiB, and whoever computes, publishes and reports looks at all of them each time.
    Of one that cannot be trusted, and of an order that cannot be read, a warning says so once.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._known: dict[tuple[ExperimentName, ObjectInfo], RunResult | None] = {}
        self._warn = once(log.warning)

    def find_order(self, experiment: str) -> ExperimentOrder | None:
        """The order as it is now; None where there is none, or one that cannot be read."""
        if self._storage.stat(names.order_key(experiment)) is None:
            return None
        try:
            return read_sealed_order(self._storage, experiment)[0]
        except SpecError as error:
            self._warn(f"an order counts as absent: {one_line(error)}")
            return None

    def of(self, order: ExperimentOrder) -> dict[int, RunResult]:
        """Return the newest result that answers the order's work, for each seed that has one."""
        wanted = work_digest(order.work)
        known: dict[tuple[ExperimentName, ObjectInfo], RunResult | None] = {}
        found: dict[int, RunResult] = {}
        listed = sorted(result_objects(self._storage, order), key=lambda each: each[:2])
        for seed, attempt, item in reversed(listed):
            if seed in found:
                continue
            result = known[order.experiment, item] = self.read(order, seed, attempt, item)
            if result and result.work_digest == wanted:
                found[seed] = result
        self._known = known  # and no older ones, which may be large
        return {seed: found[seed] for seed in order.seeds if seed in found}

    def read(
        self, order: ExperimentOrder, seed: int, attempt: int, item: ObjectInfo
    ) -> RunResult | None:
        """The result in an object that a listing shows; None where it cannot be trusted."""
        object_ = order.experiment, item
        if object_ not in self._known:
            self._known[object_] = _read(self._storage, order, seed, attempt)
        return self._known[object_]


def is_finished(result: RunResult, order: ExperimentOrder) -> bool:
    """Return whether a result that answers the order's work leaves nothing to do for its seed.

    A failed method is tried again, and unlearned models that are to be kept now are computed again.
    A trial that failed has had its answer, unless its machine gave out.
    By which policy of reuse it was computed does not matter.
    """
    excused = ("method", "metric") if order.work.tuning else ()
    complete = all(run.status == "ok" or run.cause in excused for run in result.runs)
    return complete and (result.kept_unlearned_models or not order.keep_unlearned_models)


def attempts_by_seed(storage: Storage, order: ExperimentOrder) -> dict[int, Sequence[int]]:
    """The attempts of the order's seeds that left a result."""
    attempts: dict[int, list[int]] = {seed: [] for seed in order.seeds}
    for seed, attempt, _ in result_objects(storage, order):
        attempts[seed].append(attempt)
    return dict(attempts)


def last_attempts(storage: Storage, order: ExperimentOrder) -> dict[int, int]:
    """The last attempt of each of the order's seeds that left a result or a fault; -1 for none."""
    last = dict.fromkeys(order.seeds, -1)
    below = re.compile(
        re.escape(order.prefix) + r"/seed=(\d+)/attempt=(\d+)/(?:result|fault)\.json"
    )
    for item in storage.list(order.prefix):
        match = below.fullmatch(item.key)
        if match and int(match[1]) in last:
            last[int(match[1])] = max(last[int(match[1])], int(match[2]))
    return last


def write_fault(storage: Storage, order: RunOrder, fault: FaultRecord) -> None:
    """Say why the attempt of the order ends, for the attempts that come after it."""
    storage.write(names.fault_key(order.prefix), sealed_json(fault.to_document()))


def parse_failed_run(data: bytes, key: str) -> RunRecord:
    """The record of a run that failed; SpecError where it was edited or is none."""
    return parse_sealed(RunRecord, data, source=key)[0]


def write_at_work(storage: Storage, order: RunOrder) -> None:
    """Say that the attempt of the order is at work, and that others may take part in it."""
    storage.write(names.at_work_key(order.prefix), sealed_json(order.to_document()))


def attempts_at_work(
    storage: Storage, order: RunOrder, *, warn: Warn = log.warning
) -> list[RunOrder]:
    """Orders of other seeds of the experiment whose newest attempt is at work and has no result.

    Only those of the same work and settings, such as not those of tuning beside the seeds that come
    after it. From the seed after the order's own, so that processes of several seeds spread.

    warn: takes a line for each that cannot be read.
    """
    experiment = _prefix(order)
    below = re.compile(re.escape(experiment) + r"/seed=(\d+)/attempt=(\d+)/(at-work|result)\.json")
    found: dict[int, dict[int, set[str]]] = {}
    for item in storage.list(experiment):
        if match := below.fullmatch(item.key):
            attempts = found.setdefault(int(match[1]), {})
            attempts.setdefault(int(match[2]), set()).add(match[3])
    newest = {seed: max(attempts) for seed, attempts in found.items() if seed != order.seed}
    at_work = [
        order.model_copy(update={"seed": seed, "attempt": attempt})
        for seed, attempt in newest.items()
        if found[seed][attempt] == {"at-work"}
    ]
    at_work.sort(key=lambda other: (other.seed < order.seed, other.seed))
    return [other for other in at_work if _is_at_work(storage, other, warn)]


def _is_at_work(storage: Storage, order: RunOrder, warn: Warn) -> bool:
    """Return whether the attempt of the order computes just this; what cannot be read does not."""
    key = names.at_work_key(order.prefix)
    try:
        there = parse_unchanged(RunOrder, storage.read(key, limit=RESULT_BYTES), source=key)
    except MissingObject:
        return False
    except (SpecError, ObjectTooLarge) as error:
        warn(f"an attempt at work counts as absent: {one_line(error)}")
        return False
    return there == order


def read_faults(storage: Storage, order: RunOrder) -> list[FaultRecord]:
    """The faults that ended the attempts before the order's, back to the seed's last result.

    That result has settled older ones: whoever computes the seed once more tries everything again.
    """
    if not order.attempt:
        return []
    found: dict[str, dict[int, str]] = {"result": {}, "fault": {}}
    folder = order.prefix.rpartition("/")[0]
    below = re.compile(re.escape(folder) + r"/attempt=(\d+)/(result|fault)\.json")
    for item in storage.list(folder):
        match = below.fullmatch(item.key)
        if match and int(match[1]) < order.attempt:
            found[match[2]][int(match[1])] = item.key
    settled = max(found["result"], default=-1)
    keys = [key for attempt, key in sorted(found["fault"].items()) if attempt > settled]
    return [fault for key in keys if (fault := _read_fault(storage, key))]


def _read_fault(storage: Storage, key: str) -> FaultRecord | None:
    """None where it cannot be read, which a warning says: it costs a stage one more try."""
    try:
        return parse_fault(storage.read(key, limit=FAULT_BYTES), key)
    except (MissingObject, ObjectTooLarge, SpecError) as error:
        log.warning("a fault counts as absent: %s", one_line(error))
        return None


def parse_fault(data: bytes, key: str) -> FaultRecord:
    """A fault that is as it was written; SpecError where it is not."""
    fault, has_seal = parse_sealed(FaultRecord, data, source=key)
    if not has_seal:
        raise SpecError(f"{key} has been changed since it was written")
    return fault


def result_objects(
    storage: Storage, order: ExperimentOrder
) -> Iterator[tuple[int, int, ObjectInfo]]:
    """Seed, attempt and object of each result of the order's seeds, none of which is read."""
    pattern = re.compile(re.escape(order.prefix) + r"/seed=(\d+)/attempt=(\d+)/result\.json")
    seeds = set(order.seeds)
    for item in storage.list(order.prefix):
        match = pattern.fullmatch(item.key)
        if match and int(match[1]) in seeds:
            yield int(match[1]), int(match[2]), item


def _read(storage: Storage, order: ExperimentOrder, seed: int, attempt: int) -> RunResult | None:
    """A result, or None where it cannot be trusted, which a warning says."""
    key = order.result_key(seed, attempt)
    try:
        result = parse_result(storage.read(key, limit=RESULT_BYTES), key)
        check_origin(result, order, seed, attempt)
    except (MissingObject, ObjectTooLarge, SpecError) as error:
        log.warning("a result counts as absent: %s", one_line(error))
        return None
    return result


def check_origin(result: RunResult, order: ExperimentOrder, seed: int, attempt: int) -> None:
    """Refuse, by a SpecError, a result that was put where that of another run belongs."""
    if (result.experiment, result.seed, result.attempt) != (order.experiment, seed, attempt):
        raise SpecError(f"{order.result_key(seed, attempt)} is that of another run")


def parse_result(data: bytes, key: str) -> RunResult:
    """A result that is as it was written; SpecError where it is not."""
    return parse_unchanged(RunResult, data, source=key)


def _prefix(result: RunResult | RunOrder) -> str:
    name = result.experiment
    return names.experiment_prefix(name.namespace, name.name, name.uid)
