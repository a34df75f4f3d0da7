"""The chart on a real node: the image of the operator, upgrades and ends while seeds are computed.

Pods of experiments run this environment, mounted into them in place of the trainer's image.
"""

import shutil
from contextlib import contextmanager

import pytest
import yaml
from kubernetes import client

from tests.chart.helm import NAMESPACE, Helm
from tests.cluster.fault_proxy import Hold
from tests.cluster.processes import eventually
from tests.cluster.programs import HELM
from tests.e2e.experiments import MIDDLE, SECONDS, SEEDS, digest_of
from tools.generate.chart import CHART

pytestmark = pytest.mark.e2e

RELEASE = "supreme"
KINDS = "all,configmaps,leases,roles,rolebindings,serviceaccounts,networkpolicies"


@pytest.fixture(scope="module")
def helm(cluster, operator_image, tmp_path_factory):
    """Helm with the cluster, whose node has the operator's image."""
    if not cluster.ours:
        pytest.skip("the operator's image is loaded into the node of tests only")
    cluster.load(operator_image.archive)
    program = HELM.built() / "helm"
    options = ("--kubeconfig", str(cluster.kubeconfig))
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    with cluster.client() as api:
        body = {"metadata": {"name": NAMESPACE, "labels": labels}}
        client.CoreV1Api(api).create_namespace(body)
    return Helm(program, tmp_path_factory.mktemp("helm"), options)


@pytest.fixture
def release(helm, operator_image):
    """A function that installs the chart or upgrades it, and waits until its operator is ready."""
    name, _, tag = operator_image.reference.rpartition(":")
    image = [f"image.registry={name.split('/')[0]}", f"image.tag={tag}"]
    image.append(f"image.repository={name.partition('/')[2]}")
    image.append("trainer.allowedEnv={*},trainer.allowedMountPaths={/*}")  # for environment.mounted

    def install(*values, chart=CHART):
        chosen = [word for value in (*image, *values) for word in ("--set", value)]
        # The definition of experiments may be there from other tests.
        options = [
            "--namespace",
            NAMESPACE,
            "--take-ownership",
            "--wait",
            "--timeout",
            f"{SECONDS}s",
        ]
        helm("upgrade", "--install", RELEASE, chart, *options, *chosen)

    yield install
    uninstall(helm)


def uninstall(helm):
    helm("uninstall", RELEASE, "--namespace", NAMESPACE, "--ignore-not-found", "--wait")


@pytest.fixture
def older_chart(tmp_path):
    """The chart as an older version of it would be."""
    folder = tmp_path / "supreme"
    shutil.copytree(CHART, folder)
    facts = yaml.safe_load((folder / "Chart.yaml").read_text())
    (folder / "Chart.yaml").write_text(yaml.safe_dump(facts | {"version": "0.0.1"}))
    return folder


@contextmanager
def while_a_seed_is_computed(experiments, core, proxy):
    """Within it a pod of the first seed runs, which is the same at the end: it gets no further than
    the middle."""
    with proxy.fault(Hold(), **MIDDLE):
        experiments.until_seed(260, phase="Running")
        before = running_pods(core, experiments)
        yield
        assert running_pods(core, experiments) == before != []


def running_pods(core, experiments):
    pods = core.list_namespaced_pod(experiments.all.namespace).items
    return [pod.metadata.uid for pod in pods if pod.status.phase == "Running"]


def test_an_upgrade_in_the_middle_of_an_experiment_changes_no_number(
    release, older_chart, helm, experiments, core, proxy, s3, expected
):
    release(chart=older_chart)
    experiments.apply(parallelism=1, storage={"endpoint": proxy.endpoint})
    with while_a_seed_is_computed(experiments, core, proxy):
        release("podAnnotations.upgraded=yes")
    assert "Phase:          Succeeded" in helm("test", RELEASE, "--namespace", NAMESPACE)
    status = experiments.succeeded()
    assert [each["attempt"] for each in status["seedStatuses"]] == [0, 0]
    assert digest_of(status, s3) == expected(*SEEDS)


def test_what_an_uninstallation_leaves_is_computed_and_taken_up_by_the_next(
    release, helm, cluster, experiments, api, core, proxy
):
    release("leaderElection.enabled=true")
    experiments.apply(seeds={"list": [260]}, storage={"endpoint": proxy.endpoint})
    with while_a_seed_is_computed(experiments, core, proxy):
        uninstall(helm)
        eventually(lambda: ours(cluster) == [])
        assert "unlearningexperiments.supreme.dev" in cluster.kubectl("get", "crds", "-o", "name")
    job = client.BatchV1Api(api).list_namespaced_job(experiments.all.namespace).items[0]
    read = client.BatchV1Api(api).read_namespaced_job_status
    done = lambda: read(job.metadata.name, experiments.all.namespace).status.succeeded  # noqa: E731
    eventually(done, seconds=SECONDS)
    release()
    assert [each["attempt"] for each in experiments.succeeded()["seedStatuses"]] == [0]


def ours(cluster):
    """Return the objects of the release that are left in its namespace."""
    place = ("-n", NAMESPACE, "-l", f"app.kubernetes.io/instance={RELEASE}")
    return cluster.kubectl("get", KINDS, *place, "-o", "name").split()
