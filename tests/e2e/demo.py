"""`make cluster-demo`: a Kubernetes of this machine computes examples/digits.yaml.

Brings up the node of the end-to-end tests, an S3 server and the operator, applies the experiment,
follows it, prints the table and where the report is, and takes everything down again.
"""

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import yaml
from kubernetes import client
from rich.console import Console
from supreme_trainer import screen

from supreme_core.api import names
from supreme_core.api.model import parse_json
from supreme_core.api.run import Summary
from tests.cluster import s3_server
from tests.cluster.operators import operator
from tests.cluster.trainers import storage_of
from tests.contracts.generated import CRD
from tests.e2e import node

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "digits.yaml"
REPORT = Path("cluster-demo-report.html")
RESOURCES = {"cpu": "800m", "memory": "3Gi", "sharedMemory": "256Mi"}


def main() -> None:
    console = Console(highlight=False, soft_wrap=True)
    with tempfile.TemporaryDirectory(prefix="supreme-demo-") as text:
        folder = Path(text)
        console.print("starting Kubernetes on this machine")
        with contextlib.ExitStack() as stack:
            cluster = stack.enter_context(node.cluster(folder))
            cluster.serve(CRD)
            s3 = stack.enter_context(s3_server.serve(folder, cluster.host))
            logs = folder / "operator"
            stack.enter_context(operator(cluster.kubeconfig, logs, log_format="text"))
            namespace = stack.enter_context(cluster.namespace())
            file = folder / "experiment.yaml"
            file.write_text(yaml.safe_dump(experiment(cluster, namespace, s3)))
            console.print(f"kubectl apply -f {EXAMPLE.relative_to(ROOT)}")
            cluster.kubectl("apply", "-n", namespace, "-f", str(file))
            status = follow(cluster, namespace)
            show(console, s3, status)


def experiment(cluster: node.Cluster, namespace: str, s3: s3_server.S3Server) -> dict:
    """The example, with what this cluster has in place of an image and a store."""
    document = yaml.safe_load(EXAMPLE.read_text())
    storage = storage_of(s3, s3.make_bucket())
    secret = {"AWS_ACCESS_KEY_ID": s3.access_key, "AWS_SECRET_ACCESS_KEY": s3.secret_key}
    with cluster.client() as api:
        client.CoreV1Api(api).create_namespaced_secret(
            namespace, {"metadata": {"name": "s3"}, "stringData": secret}
        )
    execution = {"image": cluster.image, "gpusPerNode": 0, "resources": RESOURCES}
    document["spec"] |= {
        "storage": storage,
        "execution": execution | {"template": cluster.template(namespace)},
        "parallelism": 2,
    }
    return document


def follow(cluster: node.Cluster, namespace: str) -> dict:
    """What `kubectl get uexp -w` shows, until there is no more to come."""
    command = [cluster.kubectl_binary, "--kubeconfig", cluster.kubeconfig, "-n", namespace]
    watch = subprocess.Popen([*command, "get", "uexp", "-w"], stdout=sys.stdout)
    try:
        while True:
            told = cluster.kubectl("get", "uexp", "digits", "-n", namespace, "-o", "json")
            status = json.loads(told).get("status") or {}
            if status.get("completionTime"):
                return status
            time.sleep(1)
    finally:
        watch.terminate()
        watch.wait()


def show(console: Console, s3: s3_server.S3Server, status: dict) -> None:
    console.print(f"{status['phase']}: {status.get('message', '')}")
    if "results" not in status:
        sys.exit(names.EXIT_ERROR)
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
    except (pytest.fail.Exception, pytest.skip.Exception) as error:
        sys.exit(f"error: {error}")
