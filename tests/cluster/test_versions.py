"""Versions side by side: an upgrade of definition and operator, and the way back.

older/ has what commit 70bdfe2 of the project left in a cluster and in a store, put there as it was:
one experiment that is done, and one with a seed done, one at its second attempt and one waiting. It
also has the modules of that commit's operator, which runs here with the packages of today: on other
experiments, before the upgrade and after the rollback. Trainers are played, by today's code.

The modules lie in an archive, so that clones without that commit have them, as those of CI; it is
what this prints, without the components that only trainers import:

    git archive 70bdfe2 operator/supreme_operator supreme_core ':!supreme_core/engine' ... | xz -9e
"""

import json
import subprocess
import sys
import tarfile
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client

from supreme_core.api.names import GROUP, PLURAL, VERSION
from tests.cluster.control_plane import control_plane
from tests.cluster.operators import RULES, Experiments, operator
from tests.cluster.processes import SECONDS, eventually
from tests.cluster.trainers import Trainers, always_succeed, storage_of
from tools.generate.generated import CRD

ROOT = Path(__file__).parents[2]
OLDER = Path(__file__).parent / "older"
MODULES = OLDER / "operator.tar.xz"
COMMIT = "70bdfe2"
NAMESPACE = "research"
MOVING = "moving"
"""Namespace of the experiments on which both versions work, one after the other."""


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
            for name in (NAMESPACE, MOVING):
                core.create_namespace({"metadata": {"name": name}})
                eventually(lambda name=name: core.list_namespaced_service_account(name).items)
        for body in objects:
            found.store(body)
        yield found


@pytest.fixture(scope="module")
def access(cluster):
    """The rights that users grant the operator."""
    return cluster.restricted_to(RULES)


@pytest.fixture(scope="module")
def moving(cluster, s3_server):
    """The experiments of MOVING, of which there are none yet."""
    with cluster.client() as api:
        storage = storage_of(s3_server, s3_server.make_bucket())
        yield Experiments(api, MOVING, storage, s3_server.credentials)


@pytest.fixture(scope="module")
def older(access, moving, tmp_path_factory):
    """Start the older version's operator for MOVING."""
    folder = tmp_path_factory.mktemp("modules")
    with tarfile.open(MODULES) as archive:
        archive.extractall(folder, filter="data")
    # Its summaries tell the version of the distribution, which had another name.
    about = folder / "supreme-0.1.0.dist-info" / "METADATA"
    about.parent.mkdir()
    about.write_text("Metadata-Version: 2.1\nName: supreme\nVersion: 0.1.0\n")
    python, path = folder / "python", f"{folder}:{folder / 'operator'}"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{path}" exec "{sys.executable}" -P "$@"\n')
    python.chmod(0o755)

    @contextmanager
    def start():
        log = tmp_path_factory.mktemp("operator")
        with operator(
            access, log, python=str(python), namespaces=MOVING, inquiry_wait=None
        ) as found:
            yield found

    return start


@dataclass(frozen=True)
class Snapshot:
    """State of an experiment: its status, and the uids of its children by their names."""

    status: dict[str, Any]
    children: dict[str, str]


def snapshot(experiments, name):
    uids = {end: job.metadata.uid for end, job in experiments.jobs(name).items()}
    return Snapshot(experiments.status(name), uids)


def unfinished(seed, attempt):
    """One seed done, one at its second attempt, one that waits; parallelism leaves one to make."""
    match seed % 10, attempt:
        case (1, _):
            return "succeed"
        case (2, 0):
            return "fail 1"
        case (2, _):
            return "run"
    return "wait"


def half_done(experiments, name, first):
    """Apply an experiment of four seeds and wait until it stands where `unfinished` leaves it.

    The last seed comes later: it would take the place of the second attempt where that one has to
    wait a moment.
    """
    experiments.apply(name, seeds={"start": first, "count": 3}, parallelism=2)
    wanted = {"s0-a0", "s1-a0", "s1-a1", "s2-a0"}
    eventually(lambda: snapshot(experiments, name).children.keys() == wanted)
    experiments.change(name, seeds={"start": first, "count": 4})
    experiments.until(name, phase="Running", succeeded=1, active=2, queued=1, pending=1)
    return snapshot(experiments, name)


@pytest.fixture(scope="module")
def before_upgrade(cluster, s3_server, older, moving):
    """Snapshot of an experiment that the older operator has begun."""
    with (
        cluster.client() as api,
        Trainers(api, MOVING, s3_server.credentials, unfinished),
        older(),
    ):
        return half_done(moving, "up", 11)


@pytest.fixture(scope="module")
def upgraded(cluster, access, s3_server, bucket, tmp_path_factory, before_upgrade, moving):
    """The experiments of that cluster under the operator and the definition of today."""
    with cluster.client() as api:
        storage = storage_of(s3_server, bucket)
        found = Experiments(api, NAMESPACE, storage, s3_server.credentials)
        define(cluster, CRD)
        with (
            operator(access, tmp_path_factory.mktemp("operator")),
            Trainers(api, NAMESPACE, s3_server.credentials),
            Trainers(api, MOVING, s3_server.credentials),
        ):
            found.until("older", phase="Succeeded")
            moving.until("up", phase="Succeeded")
        yield found


@pytest.fixture(scope="module")
def before_rollback(cluster, access, s3_server, upgraded, moving, tmp_path_factory):
    """Snapshot of an experiment that the operator of today has begun."""
    define(cluster, CRD)  # the definition of before may have come back since
    with (
        cluster.client() as api,
        Trainers(api, MOVING, s3_server.credentials, unfinished),
        operator(access, tmp_path_factory.mktemp("operator"), namespaces=MOVING),
    ):
        return half_done(moving, "back", 21)


@pytest.fixture(scope="module")
def rolled_back(cluster, s3_server, older, moving, before_rollback):
    """The same experiments under the older operator and definition."""
    define(cluster, OLDER / "crd.yaml")
    with (
        cluster.client() as api,
        Trainers(api, MOVING, s3_server.credentials, always_succeed),
        older(),
    ):
        # Its summary is written by a process that gives way to all others.
        moving.until("back", seconds=3 * SECONDS, phase="Succeeded")
    return moving


def define(cluster, definition):
    """Apply a definition as `kubectl apply` or an upgrade of the chart does."""
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(definition))


def stored(objects, kind):
    return {each["metadata"]["name"]: each for each in objects if each["kind"] == kind}


def assert_taken_over(before, after):
    """The children of before are those that ended, one more was made, and no result is missing."""
    assert before.children.items() <= after.children.items()
    assert after.children.keys() - before.children.keys() == {"s3-a0"}
    costs = [(0, 0, 0), (1, 1, 0), (0, 0, 0), (0, 0, 0)]
    assert [
        (each["attempt"], each["retries"], each["disruptions"])
        for each in after.status["seedStatuses"]
    ] == costs
    assert after.status["startTime"] == before.status["startTime"]
    assert after.status["workDigest"] == before.status["workDigest"]
    assert after.status["results"]["seeds"] == 4
    assert {row["n"] for row in after.status["summary"]} == {4}


def test_the_modules_are_those_of_the_older_commit():
    with tarfile.open(MODULES) as archive:
        kept = {each.name: archive.extractfile(each).read() for each in archive if each.isfile()}
    command = ["git", "-C", str(ROOT), "archive", COMMIT, *kept]
    try:
        made = subprocess.run(command, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip(f"commit {COMMIT} is not in this clone")
    with tarfile.open(fileobj=BytesIO(made)) as archive:
        there = {each.name: archive.extractfile(each).read() for each in archive if each.isfile()}
    assert there == kept


def test_an_operator_takes_over_what_an_older_one_has_begun(upgraded, before_upgrade, moving):
    assert_taken_over(before_upgrade, snapshot(moving, "up"))


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


def test_an_older_operator_takes_over_what_a_newer_one_has_begun(rolled_back, before_rollback):
    assert_taken_over(before_rollback, snapshot(rolled_back, "back"))


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
