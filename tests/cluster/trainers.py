"""Trainers, played: pods that a control plane without nodes would never run.

Each pod follows a script, by default to the end: it writes a result as a trainer would, with the
same code and made-up numbers that follow from the seed, and tells its digest.
"""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

from kubernetes import client
from kubernetes.client.exceptions import ApiException

from supreme_core.api import names
from supreme_core.api.model import parse_json
from supreme_core.api.orders import SharedOrder, work_digest
from supreme_core.api.records import CellRecord, DatasetRecord, RunRecord, RunResult
from supreme_core.plan import exclusions
from supreme_core.registry.catalog import bundled
from supreme_core.store.opening import open_storage
from supreme_core.store.results import write_result
from supreme_core.store.s3 import S3Credentials
from supreme_core.tuning.entries import entries_of
from tests.cluster.kubelet import Kubelet
from tests.cluster.watching import Watch

Script = Callable[[int, int], str]
"""Behaviour of the pod of (seed, attempt): succeed, run, wait, or fail with a code as in
`fail 1`."""

CATALOG = bundled()


def always_succeed(seed: int, attempt: int) -> str:
    return "succeed"


class Trainers(threading.Thread):
    """Plays the pods of one namespace until it is stopped."""

    def __init__(
        self,
        api: client.ApiClient,
        namespace: str,
        credentials: S3Credentials,
        script: Script = always_succeed,
        endpoint: str | None = None,
    ) -> None:
        """endpoint: where results are written, if it is not where the order says."""
        super().__init__(daemon=True)
        self._core, self._namespace = client.CoreV1Api(api), namespace
        self._kubelet = Kubelet(api, namespace)
        self._credentials, self._script, self._endpoint = credentials, script, endpoint
        self._open_storage = cache(open_storage)
        self._stopped = threading.Event()
        self._idle = threading.Lock()
        self._watch = Watch()
        self._played: dict[str, str] = {}
        self.trouble: BaseException | None = None

    @property
    def script(self) -> Script:
        return self._script

    @script.setter
    def script(self, script: Script) -> None:
        """All pods are looked at anew."""
        self._script = script
        self._watch.end()

    def __enter__(self) -> "Trainers":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._watch.end()
        self.join()
        if self.trouble:
            raise self.trouble

    @contextmanager
    def pausing(self) -> Iterator[None]:
        """Nothing is played while the block runs."""
        with self._idle:
            yield

    def run(self) -> None:
        try:
            self._play_all()
        except BaseException as error:
            self.trouble = error

    def _play_all(self) -> None:
        ask = partial(
            self._core.list_namespaced_pod, self._namespace, label_selector=names.UID_LABEL
        )
        while True:
            watch = self._watch = Watch()
            if self._stopped.is_set():
                return
            with self._idle:
                there = json.loads(ask(_preload_content=False).data)
                for pod in there["items"]:
                    self._play(pod)
            for pod in watch.changes(ask, since=there["metadata"]["resourceVersion"]):
                with self._idle:
                    self._play(pod)

    def _play(self, pod: Mapping[str, Any]) -> None:
        metadata = pod["metadata"]
        labels, name = metadata["labels"], metadata["name"]
        if "deletionTimestamp" in metadata or pod["status"]["phase"] in ("Succeeded", "Failed"):
            return
        seed, attempt = int(labels[names.SEED_LABEL]), int(labels[names.ATTEMPT_LABEL])
        act = self.script(seed, attempt)
        if self._played.get(metadata["uid"]) == act:
            return
        with _gone_is_fine():
            match act.split():
                case ["wait"]:
                    pass
                case ["run"]:
                    self._kubelet.run(name)
                case ["fail", code]:
                    self._kubelet.fail(name, int(code))
                case ["disrupt"]:
                    self._kubelet.disrupt(name)
                case ["refuse", reason]:
                    self._kubelet.refuse(name, reason)
                case ["give", "up"]:
                    self._kubelet.give_up(name)
                case ["unschedulable", *words]:
                    self._kubelet.cannot_be_scheduled(name, " ".join(words))
                case ["waits", reason]:
                    self._kubelet.waits(name, reason)
                case ["succeed"]:
                    digest = self._write_result(pod, seed, attempt)
                    told = json.dumps({"schemaVersion": 1, "result": digest})
                    self._kubelet.succeed(name, told)
                case ["succeed", "without", "result"]:
                    self._kubelet.succeed(name)
                case other:
                    raise ValueError(f"no such act: {other}")
        self._played[metadata["uid"]] = act

    def _write_result(self, pod: Mapping[str, Any], seed: int, attempt: int) -> str:
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        name = volumes["order"]["configMap"]["name"]
        data = self._core.read_namespaced_config_map(name, self._namespace).data
        order = parse_json(SharedOrder, data[names.ORDER_FILE].encode(), source=name)
        endpoint = self._endpoint or order.endpoint
        storage = self._open_storage(order.store, endpoint=endpoint, credentials=self._credentials)
        result = made_up(order, seed, attempt)
        write_result(storage, result)
        experiment = order.experiment
        prefix = names.experiment_prefix(experiment.namespace, experiment.name, experiment.uid)
        key = names.result_key(names.attempt_prefix(prefix, seed, attempt))
        return hashlib.sha256(storage.read(key)).hexdigest()


def made_up(order: SharedOrder, seed: int, attempt: int) -> RunResult:
    """A complete result whose numbers follow from seed, scenario and method alone."""
    left_out = {(each.scenario, each.method) for each in exclusions(order.work, CATALOG)}
    runs = [
        _run(seed, scenario.title, method)
        for scenario in order.work.scenarios
        for method in [*names.REFERENCES, *entries_of(order.work, scenario.title)]
        if (scenario.title, names.trial_of(method)[0]) not in left_out
    ]
    return RunResult(
        experiment=order.experiment,
        work_digest=work_digest(order.work),
        seed=seed,
        attempt=attempt,
        dataset=DatasetRecord(
            name=order.work.dataset.name,
            digest=_sha256("data"),
            train_samples=1437,
            test_samples=360,
            classes=10,
        ),
        cells=[_cell(scenario.title) for scenario in order.work.scenarios],
        runs=runs,
        stages=[],
        environments={_sha256("cpu"): {"device": "cpu"}},
        started_at="2026-01-01T00:00:00Z",
        finished_at="2026-01-01T00:10:00Z",
    )


def _run(seed: int, scenario: str, method: str) -> RunRecord:
    number = int(_sha256(f"{seed} {scenario} {method}")[:6], 16) / 16**6
    return RunRecord(
        scenario=scenario, method=method, status="ok", metrics={"forget_accuracy": number}
    )


def _cell(scenario: str) -> CellRecord:
    return CellRecord(
        scenario=scenario,
        forgets="classes",
        forget_digest=_sha256(scenario),
        forget_samples=146,
        retain_samples=1291,
        forget_test_samples=37,
    )


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def _gone_is_fine() -> Iterator[None]:
    """A pod that is deleted while it is played is no trouble."""
    try:
        yield
    except ApiException as error:
        if error.status not in (404, 409):
            raise


def storage_of(server: Any, bucket: str) -> Mapping[str, Any]:
    """spec.storage for a bucket of a test's server."""
    return {
        "uri": f"s3://{bucket}/store",
        "endpoint": server.endpoint,
        "credentialsSecretRef": {"name": "s3"},
    }
