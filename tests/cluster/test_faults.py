"""An operator on a bad day: each story ends as a good day would, with every seed counted once.

    the operator      killed at each of its requests, before and after; two of them at once
    the API server    refuses, resets, is away; its watches lose, repeat, expire, fall silent
    the store         is away when results are read
    namespaces        one of several is deleted
    permissions       each rule of the role taken away

The pods are played; what real ones do in such cases is tested by tests/e2e and tests/trainer.
"""

import hashlib
import json
import socket
import socketserver
import threading
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from urllib.error import HTTPError
from urllib.parse import urlsplit

import pytest
from kubernetes import client

from supreme_core.store.opening import open_storage
from tests.cluster.fault_proxy import (
    WATCH,
    Expire,
    Kill,
    Lose,
    Refuse,
    Repeat,
    Reset,
    Silence,
    fault_proxy,
    first,
    share,
)
from tests.cluster.operators import RULES, Experiments, operator, started
from tests.cluster.processes import SECONDS, answers, eventually
from tests.cluster.trainers import Trainers, always_succeed, storage_of

pytestmark = pytest.mark.e2e  # minutes of stories, which need no node
TIMES = ("lastTransitionTime", "startTime", "completionTime")


@pytest.fixture
def proxy(cluster):
    with fault_proxy(cluster.admin) as found:
        yield found


@pytest.fixture
def struck(proxy, account, tmp_path):
    """Starts an operator that talks through the proxy."""
    with ExitStack() as stack:

        def start(**settings):
            access = proxy.through(account)
            return stack.enter_context(operator(access, tmp_path, **settings))

        yield start


def succeeded(experiments):
    """The status of an experiment that has ended well, with all that every story promises."""
    status = experiments.until(phase="Succeeded")
    assert (status["completedIndexes"], status["failedIndexes"]) == ("0-2", "")
    assert status["succeeded"] == len(status["seedStatuses"]) == 3
    return status


def numbers(status):
    """Return the summary's numbers, which follow from seeds, scenarios and methods alone."""
    return [(row["method"], row["n"], row["mean"], row["low"]) for row in status["summary"]]


@pytest.fixture(scope="module")
def good_day():
    """`numbers` of the first story that ends; each must give the same."""
    return []


@pytest.fixture
def same(good_day):
    def check(status):
        good_day.append(numbers(status))
        assert good_day[-1] == good_day[0]

    return check


def fails_once(seed, attempt):
    return "fail 1" if (seed, attempt) == (8, 0) else "succeed"


def killed_at_each(proxy, method, step_of, start, experiments):
    """SIGKILL before and after each request that is a step of its own, until the experiment ends.

    Gives how many operators it took.
    """
    kills, operators = Counter(), []

    def kill():
        operators[-1].kill()
        operators[-1].wait()

    def when(request, body):
        if operators[-1].poll() is not None:
            return None  # the last words of a killed one
        step = step_of(request, body)
        kills[step] += 1
        return {1: False, 2: True}.get(kills[step])

    def goes_on(process):
        return process.poll() is None and experiments.status().get("phase") != "Succeeded"

    with proxy.fault(Kill(kill, when), method=method):
        while len(operators) < 200:
            with start() as found:
                operators.append(found.process)
                while goes_on(found.process):
                    time.sleep(0.05)
                if found.process.poll() is None:
                    break
    return len(operators)


class TestTheOperator:
    @pytest.mark.parametrize(("method", "at_least"), [("POST|PUT|PATCH|DELETE", 15), ("GET", 15)])
    def test_is_killed_at_each_of_its_requests(
        self, experiments, trainers, proxy, account, tmp_path, same, method, at_least
    ):
        """One seed is retried."""
        trainers.script = fails_once
        experiments.apply(parallelism=2)

        def step_of(request, body):
            return request.method, request.path, meaning(request.path, body) if body else ""

        operators = killed_at_each(
            proxy, method, step_of, lambda: started(proxy.through(account), tmp_path), experiments
        )
        status = succeeded(experiments)
        same(status)
        assert {name[-5:] for name in experiments.jobs()} == {"s0-a0", "s1-a0", "s1-a1", "s2-a0"}
        assert [each["retries"] for each in status["seedStatuses"]] == [0, 1, 0]
        assert operators > at_least

    def test_is_killed_at_each_request_to_the_store(
        self, controlled, restricted, s3_server, account, tmp_path, same
    ):
        """The operator's workers make these requests."""
        with (
            fault_proxy(s3_server.endpoint) as proxy,
            Trainers(controlled, restricted, s3_server.credentials, endpoint=s3_server.endpoint),
        ):
            bucket = storage_of(s3_server, s3_server.make_bucket())
            storage = {**bucket, "endpoint": proxy.endpoint}
            experiments = Experiments(controlled, restricted, storage, s3_server.credentials)
            experiments.apply()
            operators = killed_at_each(
                proxy,
                ".*",
                lambda request, body: (request.method, request.path),
                lambda: started(account, tmp_path),
                experiments,
            )
            same(succeeded(experiments))
            assert operators > 10

    def test_works_beside_another_one(
        self, experiments, trainers, proxy, account, tmp_path, struck, same
    ):
        trainers.script = fails_once
        struck()
        with operator(account, tmp_path / "second"):
            experiments.apply()
            status = succeeded(experiments)
        same(status)
        assert set(experiments.jobs()) == {"s0-a0", "s1-a0", "s1-a1", "s2-a0"}

    def test_only_the_holder_of_the_lease_acts(self, experiments, trainers, account, tmp_path):
        lease = {"leader_election": "true", "lease_namespace": experiments.namespace}
        lease["lease_time"] = "10"  # for which an operator that has no processor may be late
        with operator_without_readiness(account, tmp_path, **lease) as one:
            eventually(lambda: one.metric("supreme_leader") == 1)
            with operator_without_readiness(account, tmp_path / "two", **lease) as two:
                experiments.apply(seeds={"list": [7]})
                experiments.until(phase="Succeeded")
                assert two.metric("supreme_leader") == 0
                one.process.kill()
                eventually(lambda: two.metric("supreme_leader") == 1)
                experiments.change(seeds={"list": [7, 8]})
                experiments.until(phase="Succeeded", progress="2/2")

    def test_ends_in_order_when_it_is_told_to(self, account, tmp_path):
        with operator(account, tmp_path) as found:
            found.process.terminate()
            assert found.process.wait(timeout=SECONDS) == 0
            assert "Traceback" not in found.log.read_text()


@contextmanager
def operator_without_readiness(account, folder, **settings):
    with started(account, folder, **settings) as found:
        assert answers(found.process, lambda: found.get("livez") == "ok\n")
        yield found


def meaning(path, body):
    """Return a write's content without times and meaningless names."""
    if path.endswith("/events"):
        return json.loads(body)["reason"]
    if not path.endswith("/status"):
        return ""
    status = json.loads(body)["status"]
    return json.dumps(without_times(status), sort_keys=True)


def without_times(value):
    if isinstance(value, dict):
        return {k: without_times(each) for k, each in value.items() if k not in TIMES}
    return [without_times(each) for each in value] if isinstance(value, list) else value


class TestTheApiServer:
    @pytest.mark.parametrize(
        ("effect", "method", "path"),
        [
            (Refuse(409), "PUT", "/status$"),
            (Refuse(429, retry_after=1), "POST", "/jobs$"),
            (Refuse(500), "POST", "/configmaps$"),
            (Refuse(503), "GET", "/secrets/"),
            (Reset(carried_out=False), "POST", "/jobs$"),
            (Reset(carried_out=True), "POST", "/jobs$"),
            (Reset(carried_out=True), "PUT", "/status$"),
            (Expire(), WATCH, "/pods|/jobs"),
            (Repeat(), WATCH, "/"),
        ],
        ids=lambda value: str(value).replace("/", ""),
    )
    def test_does_wrong_a_few_times(
        self, experiments, trainers, proxy, struck, same, effect, method, path
    ):
        struck()
        with proxy.fault(effect, method=method, path=path, which=first(3)) as fault:
            experiments.apply(parallelism=2)
            same(succeeded(experiments))
            assert fault.struck > 0
        assert set(experiments.jobs()) == {"s0-a0", "s1-a0", "s2-a0"}

    def test_loses_a_fifth_of_all_events(self, experiments, trainers, proxy, struck, same):
        found = struck(resync_interval="2")
        with proxy.fault(Lose(), method=WATCH, path="/", which=share(0.2, seed=1)) as fault:
            experiments.apply(parallelism=1)
            same(succeeded(experiments))
            assert fault.struck > 0
        assert found.get("livez") == "ok\n"
        assert set(experiments.jobs()) == {"s0-a0", "s1-a0", "s2-a0"}

    def test_loses_the_end_of_an_experiment_that_is_made_again(
        self, experiments, trainers, proxy, struck, same
    ):
        """Chance decides which uid comes first in order, so it is made again a few times."""
        trainers.script = lambda seed, attempt: "run"
        struck(resync_interval="3600")
        for _ in range(4):
            experiments.apply()
            experiments.until(phase="Running")
            with proxy.fault(Lose(), method=WATCH, path="/"):
                experiments.delete()
                eventually(lambda: not experiments.exists() and not experiments.jobs())
        trainers.script = always_succeed
        experiments.apply()
        same(succeeded(experiments))

    def test_is_away_for_half_a_minute(
        self, experiments, trainers, cluster, account, tmp_path, same
    ):
        trainers.script = lambda seed, attempt: "run"
        with operator(account, tmp_path) as found:
            experiments.apply()
            experiments.until(phase="Running", active=3)
            with trainers.pausing(), cluster.outage():
                eventually(lambda: not is_ready(found))
                time.sleep(30)
                assert found.get("livez") == "ok\n"
            trainers.script = always_succeed
            same(succeeded(experiments))
            eventually(lambda: is_ready(found))

    def test_a_watch_that_falls_silent_is_noticed(self, experiments, trainers, proxy, struck):
        found = struck(resync_interval="1")
        with proxy.fault(Silence(), method=WATCH, path="/jobs"):
            experiments.apply(parallelism=1)
            succeeded(experiments)  # by the lists alone
            for number in range(4, 14):
                experiments.change(seeds={"list": [*range(7, 7 + number)]})
                experiments.until(phase="Succeeded", succeeded=number)
                if troubles(found):
                    break
            assert troubles(found) == "the watch of jobs is silent\n"


def is_ready(found):
    try:
        return found.get("readyz") == "ok\n"
    except HTTPError:
        return False


def troubles(found):
    try:
        found.get("livez")
    except HTTPError as error:
        return error.read().decode()
    return ""


class TestTheStore:
    def test_is_away_when_results_are_read(
        self, controlled, restricted, s3_server, account, tmp_path, same
    ):
        with (
            switch(s3_server.endpoint) as line,
            Trainers(controlled, restricted, s3_server.credentials, endpoint=s3_server.endpoint),
            operator(account, tmp_path),
        ):
            storage = {**storage_of(s3_server, s3_server.make_bucket()), "endpoint": line.endpoint}
            experiments = Experiments(controlled, restricted, storage, s3_server.credentials)
            experiments.apply()
            told = experiments.condition("ResultsAggregated", reason="ResultsUnavailable")
            assert line.endpoint in told["message"]
            assert experiments.status()["failed"] == 0
            line.is_on = True
            same(succeeded(experiments))

    def test_has_the_same_files_as_supreme_run_leaves(
        self, experiments, trainers, account, tmp_path, s3_server
    ):
        with operator(account, tmp_path):
            experiments.apply()
            reference = succeeded(experiments)["results"]
        bucket, _, key = reference["uri"].removeprefix("s3://").partition("/")
        store = open_storage(
            f"s3://{bucket}", endpoint=s3_server.endpoint, credentials=s3_server.credentials
        )
        folder = key.removesuffix("/summary.json")
        files = {item.key.removeprefix(f"{folder}/") for item in store.list(folder)}
        assert {"order.json", "summary.json", "summary.csv", "report.html"} < files
        assert hashlib.sha256(store.read(key)).hexdigest() == reference["sha256"]


class Switch(socketserver.ThreadingTCPServer):
    """Passes connections on to a server while it is on; else it drops them."""

    daemon_threads = True
    is_on = False
    endpoint = ""


@contextmanager
def switch(endpoint):
    host, port = urlsplit(endpoint).hostname, urlsplit(endpoint).port

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            if not self.server.is_on:
                return
            with socket.create_connection((host, port)) as behind:
                back = threading.Thread(target=copy, args=(behind, self.request), daemon=True)
                back.start()
                copy(self.request, behind)
                back.join()

    with Switch(("127.0.0.1", 0), Handler) as server:
        server.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def copy(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def without(resource):
    """The operator's rules but for those of a resource."""
    kept = []
    for rule in RULES:
        resources = [each for each in rule["resources"] if each != resource]
        if resources:
            kept.append({**rule, "resources": resources})
    return kept


def without_verb(verb):
    """The rights of the operator, but for one to Jobs."""
    return [
        {**rule, "verbs": [each for each in rule["verbs"] if each != verb]}
        if "jobs" in rule["resources"]
        else rule
        for rule in RULES
    ]


def open_to_the_operator(api, namespace):
    """Give the role in one namespace, to whoever is a service account of the namespace default."""
    rights, named = client.RbacAuthorizationV1Api(api), {"metadata": {"name": "operator"}}
    group = "rbac.authorization.k8s.io"
    role = {"apiGroup": group, "kind": "Role", "name": "operator"}
    subject = {"apiGroup": group, "kind": "Group", "name": "system:serviceaccounts:default"}
    rights.create_namespaced_role(namespace, {**named, "rules": RULES})
    rights.create_namespaced_role_binding(
        namespace, {**named, "roleRef": role, "subjects": [subject]}
    )


class TestNamespaces:
    def test_one_that_is_deleted_with_the_role_in_it_holds_up_no_other(
        self, experiments, trainers, controlled, cluster, tmp_path
    ):
        """A tenant who may delete a namespace stops no other team. The rights in it go with it, and
        without them a namespace that is gone cannot be told from one that is closed."""
        core, gone = client.CoreV1Api(controlled), f"gone-{experiments.namespace}"
        body = {"metadata": {"name": gone}}
        settings = {"namespaces": f"{gone},{experiments.namespace}"}
        rightless = cluster.restricted_to([])
        core.create_namespace(body)
        for namespace in (gone, experiments.namespace):
            open_to_the_operator(controlled, namespace)
        with operator(rightless, tmp_path, **settings) as found:
            core.delete_namespace(gone)
            eventually(
                lambda: gone not in {each.metadata.name for each in core.list_namespace().items}
            )
            eventually(lambda: f"namespace {gone} cannot be listed" in found.log.read_text())
            experiments.apply()
            succeeded(experiments)
        with operator(rightless, tmp_path, **settings) as found:
            experiments.apply("after")
            experiments.until("after", phase="Succeeded")
            core.create_namespace(body)
            open_to_the_operator(controlled, gone)
            eventually(lambda: f"namespace {gone} can be listed again" in found.log.read_text())
            assert found.get("readyz") == "ok\n"
        core.delete_namespace(gone)


class TestPermissions:
    @pytest.mark.parametrize(
        ("resource", "type_"),
        [
            ("jobs/create", "ChildrenScheduled"),
            ("configmaps", "ChildrenScheduled"),
            ("secrets", "ResultsAggregated"),
        ],
    )
    def test_what_may_not_be_done_is_a_condition(
        self, experiments, trainers, cluster, tmp_path, resource, type_
    ):
        rules = without(resource)
        if resource == "jobs/create":
            rules = without_verb("create")
        with operator(cluster.restricted_to(rules), tmp_path) as found:
            experiments.apply(seeds={"list": [7]})
            told = experiments.condition(type_, status="False", reason="RBACDenied")
            assert "forbidden" in told["message"]
            assert found.process.poll() is None

    def test_what_may_not_be_deleted_holds_up_no_other_and_is_a_condition(
        self, experiments, trainers, cluster, tmp_path
    ):
        with operator(cluster.restricted_to(without_verb("delete")), tmp_path):
            experiments.apply(seeds={"list": [7, 8]}, parallelism=1, childTtlSecondsAfterFinished=0)
            experiments.until(phase="Succeeded")
            told = experiments.condition("ChildrenScheduled", reason="ChildNotDeleted")
            assert 'cannot delete resource "jobs"' in told["message"]

    @pytest.mark.parametrize("resource", ["unlearningexperiments", "jobs", "pods"])
    def test_what_may_not_be_seen_makes_it_not_ready(self, cluster, tmp_path, resource):
        with started(cluster.restricted_to(without(resource)), tmp_path) as found:
            assert answers(found.process, lambda: found.get("livez") == "ok\n")
            eventually(lambda: "forbidden" in found.log.read_text())
            with pytest.raises(HTTPError) as error:
                found.get("readyz")
            assert error.value.read() == b"not everything has been listed yet\n"
            assert found.process.poll() is None

    def test_without_the_right_to_write_a_status_it_says_so_in_its_log(
        self, experiments, cluster, tmp_path
    ):
        rules = without("unlearningexperiments/status")
        with operator(cluster.restricted_to(rules), tmp_path) as found:
            experiments.apply()
            eventually(lambda: found.metric("controller_runtime_reconcile_errors_total") > 0)
            eventually(lambda: "unlearningexperiments/status" in found.log.read_text())
            assert found.process.poll() is None
            assert experiments.jobs() == {}

    def test_events_are_a_courtesy(self, experiments, trainers, cluster, tmp_path):
        with operator(cluster.restricted_to(without("events")), tmp_path):
            experiments.apply()
            succeeded(experiments)

    def test_services_are_for_several_nodes_only(self, experiments, trainers, cluster, tmp_path):
        with operator(cluster.restricted_to(without("services")), tmp_path):
            experiments.apply()
            succeeded(experiments)
            experiments.apply("several", training={"microBatches": 2}, execution={"nodes": 2})
            experiments.condition("ChildrenScheduled", "several", reason="RBACDenied")
