"""State that an older version left in a cluster and in its store is adopted, and given back.

older/ has the definition of experiments, the objects and the store of the project at commit
70bdfe2: its operator had one experiment done, and of another one seed done, one running at its
second attempt and one waiting. Only trainers were played. Its operator itself is not run here.
"""

import json
from pathlib import Path

import pytest
import yaml
from kubernetes import client

from supreme_core.api.names import GROUP, PLURAL, VERSION
from tests.cluster.control_plane import control_plane
from tests.cluster.operators import RULES, Experiments, operator
from tests.cluster.processes import eventually
from tests.cluster.trainers import Trainers, storage_of
from tools.generate.generated import CRD

OLDER = Path(__file__).parent / "older"
NAMESPACE = "research"


@pytest.fixture(scope="module")
def bucket(s3_server):
    """One with the store of the older version."""
    made = s3_server.make_bucket()
    for path in (OLDER / "store").rglob("*.*"):
        key = f"store/{path.relative_to(OLDER / 'store')}"
        s3_server.client().put_object(Bucket=made, Key=key, Body=path.read_bytes())
    return made


@pytest.fixture(scope="module")
def objects(s3_server, bucket):
    """Return the objects of the older version's cluster."""
    text = (OLDER / "objects.json").read_text()
    text = text.replace("http://endpoint.test", s3_server.endpoint)
    return json.loads(text.replace("bucket-of-test", bucket))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, objects):
    """One with the older version's definition and objects."""
    folder = tmp_path_factory.mktemp("older")
    definition = OLDER / "crd.yaml"
    with control_plane(folder, definitions=[definition], controllers=True) as found:
        with found.client() as api:
            core = client.CoreV1Api(api)
            core.create_namespace({"metadata": {"name": NAMESPACE}})
            eventually(lambda: core.list_namespaced_service_account(NAMESPACE).items)
        for body in objects:
            found.store(body)
        yield found


@pytest.fixture(scope="module")
def upgraded(cluster, s3_server, bucket, tmp_path_factory):
    """The experiments of that cluster under the operator and the definition of today."""
    with cluster.client() as api:
        storage = storage_of(s3_server, bucket)
        found = Experiments(api, NAMESPACE, storage, s3_server.credentials)
        define(cluster, CRD)
        access = cluster.restricted_to(RULES)
        with (
            operator(access, tmp_path_factory.mktemp("operator")),
            Trainers(api, NAMESPACE, s3_server.credentials),
        ):
            found.until("older", phase="Succeeded")
        yield found


def define(cluster, definition):
    """Apply a definition as `kubectl apply` or an upgrade of the chart does."""
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(definition))


def stored(objects, kind):
    return {each["metadata"]["name"]: each for each in objects if each["kind"] == kind}


def test_what_was_being_computed_goes_on_and_costs_nothing(upgraded):
    seeds = upgraded.status("older")["seedStatuses"]
    assert [(each["attempt"], each["retries"], each["disruptions"]) for each in seeds] == [
        (0, 0, 0),
        (1, 1, 0),
        (0, 0, 0),
    ]


def test_no_child_is_made_again(upgraded, cluster, objects):
    with cluster.client() as api:
        found = client.BatchV1Api(api).list_namespaced_job(NAMESPACE).items
    before = {name: body["metadata"]["uid"] for name, body in stored(objects, "Job").items()}
    after = {job.metadata.name: job.metadata.uid for job in found}
    assert after.items() <= before.items()
    assert sum(name.startswith("older") for name in after) >= 3


def test_results_of_before_are_in_the_summary(upgraded, s3_server):
    status = upgraded.status("older")
    assert status["results"]["seeds"] == 3
    assert {row["n"] for row in status["summary"]} == {3}


def test_what_was_done_stays_done(upgraded, objects):
    before = stored(objects, "UnlearningExperiment")["done"]["status"]
    after = upgraded.status("done")
    kept = ("phase", "completedIndexes", "completionTime", "results", "workDigest")
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}


def test_after_a_rollback_all_can_be_read_and_written(upgraded, cluster):
    """The definition of before is for the status of today too: what it does not know is dropped."""
    define(cluster, OLDER / "crd.yaml")
    for name in ("done", "older"):
        body = upgraded.read(name)
        assert body["status"]["phase"] == "Succeeded"
        with cluster.client() as api:
            write = client.CustomObjectsApi(api).replace_namespaced_custom_object_status
            written = write(GROUP, VERSION, NAMESPACE, PLURAL, name, body)
        known = yaml.safe_load((OLDER / "crd.yaml").read_text())["spec"]["versions"][0]
        fields = known["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]
        assert written["status"].keys() <= fields.keys()
        upgraded.change(name, parallelism=3)
