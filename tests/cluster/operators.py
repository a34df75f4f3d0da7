"""The operator as a process of this machine, and the experiments that a test gives it."""

import contextlib
import os
import re
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from supreme_core.api.names import EXPERIMENT_LABEL
from supreme_core.store.s3 import S3Credentials
from tests import warm
from tests.cluster.access import Access
from tests.cluster.processes import SECONDS, answers, does_not_start, free_port, running
from tests.cluster.watching import changes

Answer = TypeVar("Answer")

ROOT = Path(__file__).parents[2]
RULES = yaml.safe_load((ROOT / "operator" / "rbac.yaml").read_text())["rules"]
"""Rules of the role that users are told to grant the operator."""

QUICK = {
    "retry-wait": "0.2",
    "disruption-wait": "0.2",
    "resync-interval": "5",
    "status-interval": "0.2",
    "progress-interval": "1",
    "inquiry-wait": "2",
}
"""Settings with which tests do not wait."""


@dataclass(frozen=True)
class Operator:
    process: subprocess.Popen
    port: int
    log: Path

    def get(self, path: str) -> str:
        address = f"http://127.0.0.1:{self.port}/{path}"
        with urllib.request.urlopen(address, timeout=SECONDS) as answer:
            return answer.read().decode()

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        lines = re.findall(rf"^{name}(?:{{.*}})? (\S+)$", self.get("metrics"), re.MULTILINE)
        return sum(map(float, lines))


@contextlib.contextmanager
def operator(
    access: Access | Path, folder: Path, *, python: str = "", **settings: str | None
) -> Iterator[Operator]:
    """A running operator that may do what `access`, or the user of a kubeconfig, may."""
    with started(access, folder, python=python, **settings) as found:
        if not answers(found.process, partial(_ready, found)):
            does_not_start("supreme-operator", found.log)
        yield found


@contextlib.contextmanager
def started(
    access: Access | Path, folder: Path, *, python: str = "", **settings: str | None
) -> Iterator[Operator]:
    """An operator that may not be ready yet, or never get so.

    python: by which it runs, if not by one in which its modules are imported already.
    settings: beside QUICK; None leaves one out, which an older version does not know.
    """
    port = free_port()
    folder.mkdir(exist_ok=True, parents=True)
    kubeconfig = access
    if isinstance(access, Access):
        kubeconfig = access.write_kubeconfig(folder / f"kubeconfig-{port}")
    log = folder / f"operator-{port}.log"
    chosen: dict[str, str | None] = {"host": "127.0.0.1", "port": str(port), **QUICK}
    chosen |= {name.replace("_", "-"): value for name, value in settings.items()}
    flags = [f"--{name}={value}" for name, value in chosen.items() if value is not None]
    command = [python or warm.python("operator"), "-m", "supreme_operator.main", *flags]
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
    with running(command, log=log, environment=environment) as process:
        yield Operator(process, port, log)


def _ready(found: Operator) -> bool:
    return found.get("readyz") == "ok\n"


SPEC: Mapping[str, Any] = {
    "seeds": {"list": [7, 8, 9]},
    "dataset": {"name": "digits"},
    "model": {"name": "resnet18"},
    "scenarios": [{"name": "full_class", "params": {"classes": [3]}}],
    "methods": [{"name": "finetune"}],
    "execution": {"image": "registry.example/trainer:1", "gpusPerNode": 0},
}


class Experiments:
    """The experiments of one namespace, through the API server."""

    def __init__(
        self,
        api: client.ApiClient,
        namespace: str,
        storage: Mapping[str, Any],
        credentials: S3Credentials,
    ) -> None:
        """Makes the Secret that spec.storage names."""
        self.namespace = namespace
        metadata = {"name": storage["credentialsSecretRef"]["name"]}
        data = {
            "AWS_ACCESS_KEY_ID": credentials.access_key,
            "AWS_SECRET_ACCESS_KEY": credentials.secret_key,
        }
        secret = {"metadata": metadata, "stringData": data}
        client.CoreV1Api(api).create_namespaced_secret(namespace, secret)
        self._storage = storage
        self._objects = partial(_call, client.CustomObjectsApi(api), namespace)
        self._jobs = client.BatchV1Api(api)
        self._core = client.CoreV1Api(api)

    def apply(self, name: str = "three", **spec: Any) -> str:
        """Create an experiment, SPEC but for what is given; its name."""
        wanted = {**deepcopy(dict(SPEC)), "storage": dict(self._storage)}
        for key, value in spec.items():
            is_section = key in ("execution", "storage")
            wanted[key] = {**wanted[key], **value} if is_section else value
        body = {
            "apiVersion": "supreme.dev/v1alpha1",
            "kind": "UnlearningExperiment",
            "metadata": {"name": name},
            "spec": wanted,
        }
        self._objects("create_namespaced_custom_object", body=body)
        return name

    def change(self, name: str = "three", **spec: Any) -> None:
        """A merge patch of the spec."""
        body = {"spec": spec}
        self._objects("patch_namespaced_custom_object", name=name, body=body)

    def write_status(self, status: Mapping[str, Any], name: str = "three") -> None:
        """Write a status as only the operator should; {} removes everything that it has written."""
        body = {**self.read(name), "status": status}
        self._objects("replace_namespaced_custom_object_status", name=name, body=body)

    def delete(self, name: str = "three") -> None:
        self._objects("delete_namespaced_custom_object", name=name)

    def read(self, name: str = "three") -> dict[str, Any]:
        return self._objects("get_namespaced_custom_object", name=name)

    def exists(self, name: str = "three") -> bool:
        try:
            self.read(name)
        except ApiException as error:
            if error.status == 404:
                return False
            raise
        return True

    def status(self, name: str = "three") -> dict[str, Any]:
        return self.read(name).get("status") or {}

    def until(
        self, name: str = "three", *, seconds: float = SECONDS, **wanted: Any
    ) -> dict[str, Any]:
        """The status as soon as its fields are what is wanted, such as phase="Succeeded"."""

        def question(status: dict[str, Any]) -> dict[str, Any]:
            is_so = all(status.get(field) == value for field, value in wanted.items())
            return status if status and is_so else {}

        try:
            return self.told(question, name, seconds=seconds)
        except pytest.fail.Exception:
            raise AssertionError(f"not {wanted} but {self.status(name)}") from None

    def condition(
        self, type_: str, name: str = "three", *, seconds: float = SECONDS, **wanted: str
    ) -> dict[str, Any]:
        """A condition as soon as its fields are what is wanted, such as reason="Unschedulable"."""

        def question(status: dict[str, Any]) -> dict[str, Any]:
            for each in status.get("conditions") or ():
                is_so = all(each.get(field) == value for field, value in wanted.items())
                if each["type"] == type_ and is_so:
                    return each
            return {}

        try:
            return self.told(question, name, seconds=seconds)
        except pytest.fail.Exception:
            raise AssertionError(f"no {type_} {wanted} in {self.status(name)}") from None

    def told(
        self,
        question: Callable[[dict[str, Any]], Answer],
        name: str = "three",
        *,
        seconds: float = SECONDS,
    ) -> Answer:
        """The first answer of a status that is not empty, from the status of now on."""
        ask = partial(self._objects, "list_namespaced_custom_object")
        ask = partial(ask, field_selector=f"metadata.name={name}")
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            now = self.read(name)
            since = now["metadata"]["resourceVersion"]
            for body in chain([now], changes(ask, since, left)):
                if answer := question(body.get("status") or {}):
                    return answer
        pytest.fail(f"{name} did not become so within {seconds} s")

    def config_map(self, name: str) -> dict[str, str]:
        return self._core.read_namespaced_config_map(name, self.namespace).data

    def jobs(self, name: str = "") -> dict[str, Any]:
        """The Jobs of one experiment, or of all, by the end of their name, such as s0-a0."""
        selector = f"{EXPERIMENT_LABEL}={name}" if name else ""
        found = self._jobs.list_namespaced_job(self.namespace, label_selector=selector).items
        return {"-".join(job.metadata.name.split("-")[-2:]): job for job in found}


def _call(
    objects: client.CustomObjectsApi, namespace: str, method: str, **arguments: Any
) -> dict[str, Any]:
    place = ("supreme.dev", "v1alpha1", namespace, "unlearningexperiments")
    options = {}
    if method.startswith("patch"):
        options["_content_type"] = "application/merge-patch+json"
    return getattr(objects, method)(*place, **arguments, **options)
