"""`make cluster-demo`: a Kubernetes of this machine computes examples/digits.yaml with three seeds.

Asks before it installs what the node needs, brings up the node of the end-to-end tests, an S3
server and the operator, applies the experiment, shows how far each pod is, prints the table and
where the report is, and takes everything down again.
"""

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from supreme_trainer.command import screen

from supreme_core.api import names
from supreme_core.api.model import parse_json
from supreme_core.api.summary import Summary
from supreme_core.errors import EXIT_ERROR, EXIT_INTERRUPTED
from tests.cluster import s3_server
from tests.cluster.go_tools import GoTools
from tests.cluster.operators import operator
from tests.cluster.programs import VERSITYGW
from tests.cluster.trainers import storage_of
from tests.e2e import node
from tests.e2e.environment import ALLOWED
from tests.e2e.machine import PAUSE
from tests.e2e.packages import FOR_NODE, CannotInstall, install
from tools.generate.generated import CRD

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "digits.yaml"
REPORT = Path("cluster-demo-report.html")
SEEDS = 3
RESOURCES = {
    "cpu": "1",
    "requests": {"cpu": "300m"},  # so that all pods run at once on two cores
    "memory": "3Gi",
    "sharedMemory": "256Mi",
}
PROGRAMS = (node.KUBERNETES, node.COREDNS, node.PYTORCHJOB, PAUSE, VERSITYGW)
YES = "YES"
"""Variable that, set to 1, is the answer to every question."""
Ask = Callable[[str], str]
"""Puts a question to the user; None stands for nobody who could answer."""


def main() -> None:
    console = Console(highlight=False, soft_wrap=True)
    started = time.monotonic()
    if "SUPREME_E2E_KUBECONFIG" not in os.environ:
        prepare(console, ask=input if sys.stdin.isatty() else None)
    with tempfile.TemporaryDirectory(prefix="supreme-demo-") as text:
        folder = Path(text)
        console.print("starting Kubernetes on this machine")
        with contextlib.ExitStack() as stack:
            cluster = stack.enter_context(node.cluster(folder))
            cluster.serve(CRD)
            s3 = stack.enter_context(s3_server.serve(folder, cluster.host))
            logs = folder / "operator"
            stack.enter_context(operator(cluster.kubeconfig, logs, log_format="text", **ALLOWED))
            namespace = stack.enter_context(cluster.namespace())
            file = folder / "experiment.yaml"
            file.write_text(yaml.safe_dump(experiment(cluster, namespace, s3)))
            console.print(f"kubectl apply -f {EXAMPLE.relative_to(ROOT)}, with {SEEDS} seeds")
            cluster.kubectl("apply", "-n", namespace, "-f", str(file))
            status = follow(cluster, namespace, console)
            show(console, s3, status)
            took = time.monotonic() - started
            console.print(f"{took // 60:.0f} min {took % 60:.0f} s; taking everything down")


def prepare(console: Console, ask: Ask | None) -> None:
    """Installs packages of Debian that are missing, and has Go build what is not built yet."""
    if os.geteuid():
        sys.exit("error: a Kubernetes node needs root; sudo make cluster-demo")
    if missing := FOR_NODE.missing():
        consent(missing, console, ask)
        install(missing)
    unbuilt = [tools for tools in PROGRAMS if not tools.folder.exists()]
    for place, tools in enumerate(unbuilt, 1):
        console.print(f"building {tools.module} ({place} of {len(unbuilt)}, once for all)")
        built(tools)


def consent(packages: Sequence[str], console: Console, ask: Ask | None) -> None:
    """Ends the program unless the user wants these packages."""
    command = f"apt-get install {' '.join(packages)}"
    console.print(f"{FOR_NODE.purpose} needs {len(packages)} more of Debian's packages:")
    if os.environ.get(YES) == "1":
        console.print(command)
    elif ask is None or ask(f"{command}? [y/N] ").strip().lower() not in ("y", "yes"):
        sys.exit(f"error: nothing was installed; {command}, or make cluster-demo {YES}=1")


def built(tools: GoTools) -> None:
    try:
        tools.built()
    except pytest.skip.Exception as reason:
        sys.exit(f"error: {reason}; install Go from https://go.dev/doc/install")


def experiment(cluster: node.Cluster, namespace: str, s3: s3_server.S3Server) -> dict[str, Any]:
    """The example, with what this cluster has in place of an image and a store."""
    document: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
    storage = storage_of(s3, s3.make_bucket())
    secret = {"AWS_ACCESS_KEY_ID": s3.access_key, "AWS_SECRET_ACCESS_KEY": s3.secret_key}
    with cluster.client() as api:
        client.CoreV1Api(api).create_namespaced_secret(
            namespace, {"metadata": {"name": "s3"}, "stringData": secret}
        )
    execution = {"image": cluster.image, "gpusPerNode": 0, "resources": RESOURCES}
    document["spec"]["seeds"]["count"] = SEEDS
    document["spec"] |= {
        "storage": storage,
        "execution": execution | {"template": cluster.template(namespace)},
        "parallelism": SEEDS,
    }
    return document


def follow(cluster: node.Cluster, namespace: str, console: Console) -> dict[str, Any]:
    """The status at the end; until then how far each pod is, wherever that changes."""
    with cluster.client() as api, seeds_shown(console) as update:
        objects = client.CustomObjectsApi(api)
        where = (*names.API_VERSION.split("/"), namespace, names.PLURAL, "digits")
        while True:
            status = objects.get_namespaced_custom_object(*where).get("status") or {}
            update(status.get("seedStatuses") or ())
            if status.get("completionTime"):
                return status
            time.sleep(1)


@contextlib.contextmanager
def seeds_shown(console: Console) -> Iterator[Callable[[Sequence[dict[str, Any]]], None]]:
    """Takes the seeds of a status: a bar for each on a terminal, else a line for each news."""
    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    tasks: dict[int, TaskID] = {}
    told: dict[int, str] = {}

    def update(seeds: Sequence[dict[str, Any]]) -> None:
        for each in seeds:
            seed, share, note = each["seed"], progress(each), words(each)
            if seed not in tasks:
                tasks[seed] = bars.add_task(f"seed {seed}", total=1.0, note="")
            bars.update(tasks[seed], completed=share, note=note)
            news = f"{each['phase']} {int(4 * share)}"  # a line for each quarter
            if not console.is_terminal and told.get(seed) != news:
                console.print(f"seed {seed}: {note}")
                told[seed] = news

    with bars:
        yield update


def progress(seed: dict[str, Any]) -> float:
    """The share of its stages that a seed has behind it; 0 where no pod has told yet."""
    done, _, total = seed.get("progress", "0/1").partition("/")
    return 1.0 if seed["phase"] == "Succeeded" else int(done) / int(total)


def words(seed: dict[str, Any]) -> str:
    """Return the state of a seed in words: `Running, 12/35 stages`."""
    stages = f"{seed['progress']} stages" if "progress" in seed else ""
    return ", ".join(filter(None, (seed["phase"], stages, seed.get("message", ""))))


def show(console: Console, s3: s3_server.S3Server, status: dict[str, Any]) -> None:
    console.print(f"{status['phase']}: {status.get('message', '')}")
    if "results" not in status:
        sys.exit(EXIT_ERROR)
    bucket, _, key = status["results"]["uri"].removeprefix("s3://").partition("/")
    store = s3.client()
    summary = store.get_object(Bucket=bucket, Key=key)["Body"].read()
    screen.show(parse_json(Summary, summary, source=key), console, elsewhere=screen.ELSEWHERE)
    page = key.removesuffix("summary.json") + "report.html"
    REPORT.write_bytes(store.get_object(Bucket=bucket, Key=page)["Body"].read())
    console.print(f"report:     {REPORT}")


if __name__ == "__main__":
    try:
        main()
    except (pytest.fail.Exception, pytest.skip.Exception, CannotInstall) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
