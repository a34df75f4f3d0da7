"""A real Prometheus that reads a real operator and a real trainer: what dashboards and alerts find.

The operator computes two experiments on a real API server, whose pods are played; the real process
of a pod trains beside it. Of DCGM, which needs GPUs, the text of its exporter is served.

Covered: that each query of each panel gives a number, and that Prometheus takes the rules.
Left out: Grafana itself.
"""

import json
import os
import sys
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from tests.cluster.operators import RULES, Experiments, operator
from tests.cluster.processes import eventually, free_port, running
from tests.cluster.trainers import Trainers, storage_of
from tests.monitoring.prometheus import Target, prometheus
from tests.monitoring.queries import panels
from tests.monitoring.test_names import FOREIGN
from tests.monitoring.test_rules import ALERTS
from tests.monitoring.test_rules import RULES as ALERTING
from tests.trainer.experiments import FINETUNE, FULL_CLASS, experiment, planned
from tools.generate.dashboards import DASHBOARDS

pytestmark = pytest.mark.e2e  # a trainer that imports torch, and two experiments: half a minute

POD = "digits-0a1b2-s0-a0-x7k2p"
USED_GPU = (
    '{gpu="0",UUID="GPU-0",modelName="NVIDIA H100",namespace="gpu-operator",pod="dcgm-exporter-x",'
    'exported_namespace="%s",exported_pod="' + POD + '",exported_container="pytorch"} 57'
)
"""A line of DCGM's exporter but for the metric, as its own labels and Kubernetes' make it."""


@contextmanager
def serving(text):
    """The port of a page that has this text."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@contextmanager
def training(folder):
    """The port of the metrics of a pod's process, which trains for longer than any test takes."""
    document = experiment(
        scenarios=[FULL_CLASS], methods=[FINETUNE], training={"epochs": 10_000, "batchSize": 64}
    )
    order = planned(document).shared(store=str(folder / "store"), endpoint=None, region=None)
    path, port = folder / "order.json", free_port()
    path.write_text(json.dumps(order.to_document()))
    options = ("--seed", "260", "--attempt", "0", "--device", "cpu", "--order", path)
    termination = "--termination", folder / "termination"
    command = [sys.executable, "-m", "supreme_trainer.pod", *options, *termination]
    environment = {**os.environ, "SUPREME_METRICS_PORT": str(port)}
    with running(command, log=folder / "pod.log", environment=environment):
        yield port


def script(seed, attempt):
    """Seed 7 fails once; seed 9 does not end."""
    if seed == 9:
        return "run"
    return "fail 1" if (seed, attempt) == (7, 0) else "succeed"


@pytest.fixture(scope="module")
def monitored(cluster, s3_server, tmp_path_factory):
    """Prometheus and the namespace of experiments, which it has watched since before they began."""
    folder = tmp_path_factory.mktemp("monitored")
    with ExitStack() as stack:
        namespace = stack.enter_context(cluster.namespace(restricted=True))
        api = stack.enter_context(cluster.client())
        access = cluster.restricted_to(RULES)
        port = stack.enter_context(operator(access, folder)).port
        gpus = "\n".join(f"{name}{USED_GPU % namespace}" for name in sorted(FOREIGN)) + "\n"
        of_pod = {"namespace": namespace, "pod": POD, "experiment": "again", "seed": "260"}
        targets = [
            Target("supreme-operator", port, {"namespace": "supreme-system"}),
            Target("supreme-trainers", stack.enter_context(training(folder)), of_pod),
            Target("dcgm-exporter", stack.enter_context(serving(gpus)), {}),
        ]
        found = stack.enter_context(prometheus(folder, targets, rules=[ALERTING]))
        stack.enter_context(Trainers(api, namespace, s3_server.credentials, script))
        storage = storage_of(s3_server, s3_server.make_bucket())
        experiments = Experiments(api, namespace, storage, s3_server.credentials)
        experiments.apply("endless", seeds={"list": [9]})
        for name in ("before", "again"):
            experiments.apply(name, seeds={"list": [7, 8]})
            experiments.until(name, phase="Succeeded")
            # The first may be over before Prometheus has looked twice; the second is seen to rise.
            done = f'supreme_experiment_completion_timestamp_seconds{{experiment="{name}"}}'
            eventually(lambda done=done: found.query(done))
        yield found, namespace


@pytest.mark.parametrize(
    "panel", panels(DASHBOARDS), ids=lambda panel: f"{panel.dashboard}-{panel.title}"
)
def test_each_query_of_each_panel_gives_a_number(monitored, panel):
    found, namespace = monitored
    chosen = {
        "$cluster": ".*",
        "$job": ".*",
        "$namespace": namespace,
        "$experiment": "again" if panel.dashboard == "experiment" else ".*",
        "$__rate_interval": "5m",
        "$__range:1m": "5m:1s",  # a range begins at a whole minute, which may not be there yet
        "$__range": "5m",
    }
    expression = panel.expression
    for variable, value in chosen.items():
        expression = expression.replace(variable, value)
    assert eventually(lambda: [each for each in found.query(expression) if is_number(each)])


def test_prometheus_takes_the_rules_and_sees_nothing_to_alert_of(monitored):
    found, _ = monitored
    groups = eventually(lambda: evaluated(found))
    rules = {rule["name"]: rule for group in groups for rule in group["rules"]}
    assert {name: rule["health"] for name, rule in rules.items()} == dict.fromkeys(ALERTS, "ok")
    # What was so a moment before, such as a seed that waits, stands there until the next look.
    eventually(lambda: alerting(found) == [])


def evaluated(found):
    """The groups of rules as soon as each rule was looked at."""
    groups = found.get("rules")["groups"]
    looked = [rule["health"] != "unknown" for group in groups for rule in group["rules"]]
    return groups if looked and all(looked) else []


def alerting(found):
    groups = found.get("rules")["groups"]
    return [rule["name"] for group in groups for rule in group["rules"] if rule["alerts"]]


def is_number(series):
    return series["value"][1] != "NaN"
