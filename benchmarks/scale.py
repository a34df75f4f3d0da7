"""Load of the operator with many children, on a real API server with pods that are played.

    python -m benchmarks.scale [single] [hundred] [thousand] [many]

The operator has its default settings. The API server, etcd, the Job controller, the store and the
pods too run on this machine and compete with the operator for its processors.
"""

import argparse
import contextlib
import json
import re
import ssl
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from http.client import HTTPException
from pathlib import Path
from typing import Any

from kubernetes import client
from supreme_operator.deciding.indexes import expanded
from supreme_operator.settings import Settings

from supreme_core.api import names
from supreme_core.api.model import parse_json
from supreme_core.api.orders import SharedOrder
from supreme_core.store.opening import open_storage
from supreme_core.store.results import write_result
from supreme_core.store.s3 import S3Credentials
from tests.cluster.access import Access
from tests.cluster.control_plane import control_plane
from tests.cluster.operators import RULES, Experiments, Operator, operator, started
from tests.cluster.processes import eventually
from tests.cluster.s3_server import serve
from tests.cluster.trainers import Trainers, always_succeed, made_up, storage_of
from tools.generate.generated import CRD

DEFAULTS = {
    name: str(getattr(Settings(), name))
    for name in ("status_interval", "progress_interval", "resync_interval")
}
EXPERIMENTS = 20
LONGEST = 600
"""Seconds that any one thing may take."""


def main() -> None:
    measurements = {"single": single, "hundred": hundred, "thousand": thousand, "many": many}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("measurements", nargs="*", choices=[*measurements, []])
    parser.add_argument("--most", type=int, default=1000, help="children of `thousand` and `many`")
    options = parser.parse_args()
    chosen = options.measurements or ("single", "hundred", "thousand")
    print("| measurement | value | target |\n|---|---:|---:|", flush=True)
    for name in chosen:
        controlled = name != "many"
        with tempfile.TemporaryDirectory() as folder, site(Path(folder), controlled) as found:
            measurements[name](found, options.most)


def row(measurement: str, value: str, target: str = "") -> None:
    print(f"| {measurement} | {value} | {target} |", flush=True)


class History:
    """Events that watches of a namespace have told, with their times."""

    def __init__(self, admin: Access, namespace: str) -> None:
        self.created: dict[tuple[str, int], float] = {}
        self.completed: dict[tuple[str, int], float] = {}
        self.ended: dict[tuple[str, str], float] = {}
        self.statuses: list[tuple[float, str, dict[str, Any]]] = []
        kinds: dict[str, Callable[[float, dict[str, Any]], None]] = {
            f"apis/batch/v1/namespaces/{namespace}/jobs": self._job,
            f"api/v1/namespaces/{namespace}/pods": self._pod,
            f"apis/{names.API_VERSION}/namespaces/{namespace}/{names.PLURAL}": self._experiment,
        }
        for path, note in kinds.items():
            threading.Thread(target=_watch, args=(admin, path, note), daemon=True).start()

    def is_told(self, experiment: str) -> bool:
        """Return whether a status counts all seeds."""
        found = (told for _, name, told in reversed(self.statuses) if name == experiment)
        newest = next(found, {})
        return newest.get("succeeded") == newest.get("seeds", 0) != 0

    def to_status(self, experiment: str) -> list[float]:
        """Seconds from each child's end to the status that counts its seed."""
        ends = {seed: at for (name, seed), at in self.completed.items() if name == experiment}
        told: dict[int, float] = {}
        for at, name, status in self.statuses:
            if name == experiment:
                for seed in expanded(status.get("completedIndexes", ""), below=len(ends)):
                    told.setdefault(seed, at)
        return [told[seed] - at for seed, at in ends.items()]

    def _job(self, now: float, job: dict[str, Any]) -> None:
        labels = job["metadata"]["labels"]
        child = labels[names.EXPERIMENT_LABEL], int(labels[names.SEED_LABEL])
        self.created.setdefault(child, now)
        if any(each["type"] == "Complete" for each in job["status"].get("conditions", ())):
            self.completed.setdefault(child, now)

    def _pod(self, now: float, pod: dict[str, Any]) -> None:
        if pod["status"]["phase"] == "Succeeded":
            metadata = pod["metadata"]
            experiment = metadata["labels"][names.EXPERIMENT_LABEL]
            self.ended.setdefault((experiment, metadata["uid"]), now)

    def _experiment(self, now: float, body: dict[str, Any]) -> None:
        self.statuses.append((now, body["metadata"]["name"], body.get("status") or {}))


def _watch(admin: Access, path: str, note: Callable[[float, dict[str, Any]], None]) -> None:
    """Watch until the API server ends."""
    request = urllib.request.Request(
        f"{admin.endpoint}/{path}?watch=true",
        headers={"Authorization": f"Bearer {admin.token}"},
    )
    trust = ssl.create_default_context(cafile=admin.certificate)
    with (
        contextlib.suppress(OSError, HTTPException),
        urllib.request.urlopen(request, context=trust) as answer,
    ):
        for line in answer:
            now = time.monotonic()
            event = json.loads(line)
            if event["type"] in ("ADDED", "MODIFIED"):
                note(now, event["object"])


@dataclass(frozen=True)
class Site:
    """A control plane of its own with an empty namespace and a bucket, and no operator yet."""

    folder: Path
    access: Access
    api: client.ApiClient
    namespace: str
    experiments: Experiments
    history: History
    credentials: S3Credentials

    def operator(self) -> contextlib.AbstractContextManager[Operator]:
        return operator(self.access, self.folder, python=sys.executable, **DEFAULTS)

    def trainers(self, script: Callable[[int, int], str] = always_succeed) -> Trainers:
        return Trainers(self.api, self.namespace, self.credentials, script)

    def apply(self, name: str, seeds: int, parallelism: int) -> None:
        self.experiments.apply(name, seeds={"start": 0, "count": seeds}, parallelism=parallelism)

    def jobs(self) -> dict[str, str]:
        """Return the uids of the Jobs by their names."""
        found = client.BatchV1Api(self.api).list_namespaced_job(self.namespace).items
        return {job.metadata.name: job.metadata.uid for job in found}


@contextlib.contextmanager
def site(folder: Path, controlled: bool) -> Iterator[Site]:
    """controlled: whether the Job controller makes pods of Jobs."""
    with contextlib.ExitStack() as stack:
        store = folder / "store"
        store.mkdir()
        server = stack.enter_context(serve(store))
        cluster = stack.enter_context(
            control_plane(folder, definitions=[CRD], controllers=controlled)
        )
        api = stack.enter_context(cluster.client())
        namespace = "default"
        yield Site(
            folder=folder,
            access=cluster.restricted_to(RULES),
            api=api,
            namespace=namespace,
            experiments=Experiments(
                api, namespace, storage_of(server, server.make_bucket()), server.credentials
            ),
            history=History(cluster.admin, namespace),
            credentials=server.credentials,
        )


def single(site: Site, most: int) -> None:
    """Experiments of one seed each, first one a second, then all at once."""
    history, count = site.history, 50
    with site.operator() as running:
        row("memory, idle", _megabytes(running), "200 MB")
        for title, pause in (("one a second", 1.0), ("all at once", 0.0)):
            applied = {}
            with site.trainers():
                for number in range(count):
                    name = f"{title.replace(' ', '-')}-{number}"
                    site.apply(name, 1, 1)
                    applied[name] = time.monotonic()
                    time.sleep(pause)
                for name in applied:
                    site.experiments.until(name, seconds=LONGEST, phase="Succeeded")
            waits = [history.created[name, 0] - at for name, at in applied.items()]
            target = "p50 1 s" if pause else ""
            row(f"apply to child, {count} experiments, {title}", _spread(waits, 95), target)
            waits = [wait for name in applied for wait in history.to_status(name)]
            target = "p99 5 s" if pause else ""
            row(f"child's end to status, {count} experiments, {title}", _spread(waits, 99), target)


def hundred(site: Site, most: int) -> None:
    for parallelism in (10, 100):
        title, name = f"100 seeds, parallelism {parallelism}", f"hundred-{parallelism}"
        with site.operator() as running, site.trainers():
            site.apply(name, 100, parallelism)
            site.experiments.until(name, seconds=LONGEST, phase="Succeeded")
            _tell_end(site, name, title)
            _tell_writes(running, title, 100)


def thousand(site: Site, count: int) -> None:
    """Run as many children at one time; restart while all run; then end all."""
    name, begun = "thousand", time.monotonic()
    title = f"{count} seeds, parallelism {count}"
    with site.operator() as running:
        site.apply(name, count, count)
        with site.trainers(lambda seed, attempt: "run"):
            eventually(lambda: _phases(site, name)["Running"] == count, seconds=LONGEST)
        row(f"apply to all running, {title}", f"{time.monotonic() - begun:.0f} s")
        _until_quiet(running)
        row(f"memory, {count} children running", _megabytes(running), "200 MB")
        _tell_writes(running, f"{title}, until all run", count)
    before = site.jobs()
    begun = time.monotonic()
    with started(site.access, site.folder, python=sys.executable, **DEFAULTS) as running:
        eventually(lambda: _is_ready(running), seconds=LONGEST)
        row(f"restart to ready, {count} children", f"{time.monotonic() - begun:.1f} s", "60 s")
        quiet_at = _until_quiet(running)
        row(f"restart to an empty queue, {count} children", f"{quiet_at - begun:.1f} s", "60 s")
        same = "the same" if site.jobs() == before else "others"
        row("children after the restart", f"{len(site.jobs())}, {same}", f"{count}, the same")
        row(f"memory after the restart, {count} children", _megabytes(running), "200 MB")
        with site.trainers():
            status = site.experiments.until(name, seconds=LONGEST, phase="Succeeded")
        _tell_end(site, name, title)
        _tell_writes(running, f"{title}, from the restart to the end", count)
        row(f"memory at the end, {count} children", _megabytes(running), "200 MB")
        same = "the same" if site.jobs() == before else "others"
        row("children at the end", f"{len(site.jobs())}, {same}", f"{count}, the same")
        size = max(len(_compact(status)) for _, _, status in site.history.statuses)
        row(f"largest status, {title}", f"{size / 1000:.0f} kB", "256 kB")
        row(f"last status, {title}", f"{len(_compact(status)) / 1000:.0f} kB", "256 kB")


def many(site: Site, count: int) -> None:
    """Children of 20 experiments that all run at one time and end one after the other.

    The states of Jobs are set as the Job controller would, which is not there: no pods are made.
    """
    each, ends_a_second = count // EXPERIMENTS, 50.0
    title = f"{EXPERIMENTS} experiments of {each} seeds"
    names_of = [f"many-{number}" for number in range(EXPERIMENTS)]
    begun = time.monotonic()
    with site.operator() as running:
        for name in names_of:
            site.apply(name, each, each)
        eventually(lambda: len(site.history.created) >= each * EXPERIMENTS, seconds=LONGEST)
        row(f"apply to all made, {title}", f"{time.monotonic() - begun:.0f} s")
        players = Jobs(site)
        for job in players.all():
            players.run(job)
        row(f"memory, all run, {title}", _megabytes(running), "400 MB")
        begun = time.monotonic()
        for number, job in enumerate(players.all()):
            time.sleep(max(0.0, begun + number / ends_a_second - time.monotonic()))
            players.complete(job)
        row(
            f"all end, {title}",
            f"{time.monotonic() - begun:.0f} s",
            f"{ends_a_second:.0f} a second",
        )
        for name in names_of:
            eventually(lambda name=name: site.history.is_told(name), seconds=LONGEST)
        waits = [wait for name in names_of for wait in site.history.to_status(name)]
        row(f"child's end to status, {title}", _spread(waits, 99), "p99 5 s")
        _tell_writes(running, title, each * EXPERIMENTS)
        row(f"memory at the end, {title}", _megabytes(running), "400 MB")
    extra = len(site.jobs()) - each * EXPERIMENTS
    row(f"children made twice, {title}", str(extra), "0")


RUNNING = {"active": 1, "ready": 1}


class Jobs:
    """Ends Jobs well, with a result in the store, where no controller does."""

    def __init__(self, site: Site) -> None:
        self._site, self._batch = site, client.BatchV1Api(site.api)
        self._order_of = cache(self._read_order)
        self._storage = cache(open_storage)

    def all(self) -> list[Any]:
        """Return the Jobs in an order in which experiments take turns."""
        found = self._batch.list_namespaced_job(self._site.namespace).items
        return sorted(found, key=lambda job: int(job.metadata.labels[names.SEED_LABEL]))

    def run(self, job: Any) -> None:
        self._patch(job, {"startTime": _time(job.metadata.creation_timestamp), **RUNNING})

    def complete(self, job: Any) -> None:
        volumes = job.spec.template.spec.volumes
        order = self._order_of(next(each.config_map.name for each in volumes if each.config_map))
        labels = job.metadata.labels
        storage = self._storage(
            order.store, endpoint=order.endpoint, credentials=self._site.credentials
        )
        seed, attempt = int(labels[names.SEED_LABEL]), int(labels[names.ATTEMPT_LABEL])
        write_result(storage, made_up(order, seed, attempt))
        now = _time(datetime.now(UTC))
        true = {"status": "True", "reason": "CompletionsReached", "lastTransitionTime": now}
        conditions = [{"type": each, **true} for each in ("SuccessCriteriaMet", "Complete")]
        ended = {"active": 0, "ready": 0, "succeeded": 1, "completionTime": now}
        self._patch(job, {**ended, "conditions": conditions})

    def _patch(self, job: Any, status: Mapping[str, Any]) -> None:
        self._batch.patch_namespaced_job_status(
            job.metadata.name, self._site.namespace, {"status": status}
        )

    def _read_order(self, config_map: str) -> SharedOrder:
        core = client.CoreV1Api(self._site.api)
        data = core.read_namespaced_config_map(config_map, self._site.namespace).data
        return parse_json(SharedOrder, data[names.ORDER_FILE].encode(), source=config_map)


def _time(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _tell_end(site: Site, name: str, title: str) -> None:
    history = site.history
    eventually(lambda: any(_has_succeeded(name, each) for each in history.statuses))
    done_at = next(each[0] for each in history.statuses if _has_succeeded(name, each))
    ends = [at for (experiment, _), at in history.ended.items() if experiment == name]
    first, last = min(ends), max(ends)
    row(f"child's end to status, {title}", _spread(history.to_status(name), 99), "p99 5 s")
    row(f"first pod's end to the last's, {title}", f"{last - first:.0f} s")
    row(f"last pod's end to Succeeded, {title}", f"{done_at - last:.1f} s")


def _has_succeeded(name: str, told: tuple[float, str, dict[str, Any]]) -> bool:
    return told[1] == name and told[2].get("phase") == "Succeeded"


def _tell_writes(running: Operator, title: str, children: int) -> None:
    pattern = r'^supreme_kube_requests_total{code="\d+",resource="([^"]+)",verb="(\w+)"} (\S+)$'
    counts: Counter[str] = Counter()
    for resource, verb, number in re.findall(pattern, running.get("metrics"), re.MULTILINE):
        if verb != "GET":
            counts[f"{verb} {resource}"] += round(float(number))
    told = ", ".join(f"{number} {what}" for what, number in sorted(counts.items()))
    share = counts.total() / children
    row(f"writes per child, {title}", f"{share:.2f} ({told})", "4")


def _phases(site: Site, name: str) -> Counter[str]:
    """Return the phases of the seeds, by the counts of the last status."""
    status = next((told for _, each, told in reversed(site.history.statuses) if each == name), {})
    active, queued = status.get("active", 0), status.get("queued", 0)
    return Counter(Running=active - queued, Queued=queued)


def _is_ready(running: Operator) -> bool:
    with contextlib.suppress(OSError):
        return running.get("readyz") == "ok\n"
    return False


def _until_quiet(running: Operator, seconds: float = 3) -> float:
    """The time since which nothing waits or is worked on, once that has been so for a while."""
    since = time.monotonic()
    while time.monotonic() < since + seconds:
        begun, done = (
            running.metric(f"workqueue_{part}_duration_seconds_count") for part in ("queue", "work")
        )
        if running.metric("workqueue_depth") or begun != done or not done:
            since = time.monotonic()
        time.sleep(0.1)
    return since


def _megabytes(running: Operator) -> str:
    """Return the memory of the operator's process, now and at most."""
    text = Path(f"/proc/{running.process.pid}/status").read_text()
    now, most = (
        int(re.search(rf"{each}:\s+(\d+) kB", text)[1]) * 1024 for each in ("VmRSS", "VmHWM")
    )
    return f"{now / 1e6:.0f} MB (at most {most / 1e6:.0f})"


def _spread(waits: Sequence[float], percent: int) -> str:
    cuts = statistics.quantiles(waits, n=100, method="inclusive")
    return f"p50 {cuts[49]:.2f} s, p{percent} {cuts[percent - 1]:.2f} s"


def _compact(document: Any) -> str:
    return json.dumps(document, separators=(",", ":"))


if __name__ == "__main__":
    main()
