"""The chart on a real API server: what it installs, and what the operator may do and does with it.

Covered: strict validation of every file of ci/, pods under the restricted Pod Security standard,
the exact list of rights, an operator with the rights and settings that the chart gives it, the
policy of trainer images, the roles of users, upgrades, and what is left of a release.
Left out: pods, as there is no node; `helm test` is its script, run here against that operator.
"""

import json
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from typing import Any

import pytest
import yaml
from kubernetes import client
from kubernetes.client.exceptions import ApiException
from supreme_operator.main import _defaults

from tests.chart.helm import (
    LEAST,
    NAMESPACE,
    VALUES,
    admitted,
    documents,
    only,
    settings,
    settings_of,
    triples,
)
from tests.cluster.operators import RULES, operator
from tests.cluster.processes import eventually
from tests.cluster.trainers import always_succeed
from tools.generate.chart import CHART
from tools.generate.generated import CRD as DEFINITION

CRD = "unlearningexperiments.supreme.dev"
KEPT = f"customresourcedefinition.apiextensions.k8s.io/{CRD}"
DIGEST = f"sha256:{'0' * 64}"
POLICY = ("trainerPolicy.enabled=true", "trainerPolicy.requireDigest=true")

every_file = pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)


@pytest.fixture(scope="module")
def upgrade(helm_there, api):
    """A function that installs a release called supreme, or upgrades it, and gives its manifests.

    It has the least values, and those that the function is given, and none of those before.
    """

    def upgrade(*values, chart=CHART):
        chosen = [word for value in values for word in ("--set", value)]
        place = ["supreme", chart, "--namespace", NAMESPACE]
        # Fields are looked at above, by the server; Helm would read all that the server knows.
        options = ["--output", "json", "--disable-openapi-validation"]
        told = helm_there("upgrade", "--install", *place, *options, *LEAST, *chosen)
        eventually(lambda: is_served(api))
        return documents(json.loads(told)["manifest"])

    yield upgrade
    remove(helm_there, api)


@pytest.fixture
def install(upgrade, helm_there, api):
    """The same function, for who begins without a release."""
    remove(helm_there, api)
    return upgrade


def remove(helm, api):
    """Uninstall the release, and delete the definition of experiments."""
    helm("uninstall", "supreme", "--namespace", NAMESPACE, "--ignore-not-found")
    if is_defined(api):
        client.ApiextensionsV1Api(api).delete_custom_resource_definition(CRD)
    eventually(lambda: not is_defined(api))


@pytest.fixture
def run(cluster, api, tmp_path):
    """Starts an operator with the rights and the settings that a release gives it."""

    def start(manifests):
        access = cluster.service_account(NAMESPACE, "supreme")
        return operator(access, tmp_path, **settings(only(manifests, "Deployment")))

    yield start
    # One that is killed gives its lease back to nobody, and the next would wait for its end.
    client.CoordinationV1Api(api).delete_collection_namespaced_lease(NAMESPACE)


class TestEveryFileOfValues:
    @every_file
    def test_the_server_takes_each_manifest_and_knows_each_field(
        self, helm, cluster, values, tmp_path
    ):
        path = tmp_path / "manifests.yaml"
        path.write_text(helm.template("--values", values))
        options = ["--server-side", "--dry-run=server", "--validate=strict"]
        cluster.kubectl("apply", *options, "-f", path)

    @every_file
    def test_its_pods_satisfy_the_restricted_standard(self, helm, api, values):
        manifests = helm.manifests("--values", values)
        template = only(manifests, "Deployment")["spec"]["template"]
        # Its own is not there yet.
        spec = {**template["spec"], "serviceAccountName": "default"}
        for pod in ({"metadata": {"name": "operator"}, "spec": spec}, only(manifests, "Pod")):
            client.CoreV1Api(api).create_namespaced_pod(NAMESPACE, pod, dry_run="All")

    @every_file
    def test_the_notes_have_an_experiment_that_can_be_done(self, helm_there, values):
        place = ["--namespace", NAMESPACE, "--dry-run=client"]
        printed = helm_there("install", "supreme", CHART, "--values", values, *place)
        manifests, told = printed.split("MANIFEST:\n")[1].split("NOTES:\n")
        deployment = only(documents(manifests), "Deployment")
        name = deployment["metadata"]["name"]
        assert f"kubectl rollout status deployment/{name} -n {NAMESPACE}" in told
        [text] = re.findall(r"<<EOF\n(.*?)\nEOF\n", told, re.DOTALL)
        given = settings_of(deployment)
        experiment = admitted(yaml.safe_load(text), _defaults(given))
        assert experiment.spec.storage.uri
        assert experiment.spec.execution.image


class TestTheOperatorsRights:
    def test_in_a_cluster_they_are_these_and_no_other(self, upgrade, cluster):
        upgrade("leaderElection.enabled=true")
        wanted = {each for each in triples(RULES) if each[1] != "leases"}
        leases = {
            ("coordination.k8s.io", "leases", "create"),
            ("coordination.k8s.io", "leases/supreme", "get"),
            ("coordination.k8s.io", "leases/supreme", "update"),
        }
        assert rights(cluster, "research", wanted) == wanted
        assert rights(cluster, NAMESPACE, wanted | leases) == wanted | leases

    def test_in_named_namespaces_they_are_these_and_none_elsewhere(self, upgrade, cluster):
        upgrade("namespaces={research}", "readSecrets=false")
        left_out = {"leases", "secrets"}
        wanted = {each for each in triples(RULES) if each[1] not in left_out}
        assert rights(cluster, "research", wanted) == wanted
        assert rights(cluster, "teaching", set()) == rights(cluster, NAMESPACE, set()) == set()


class TestTheOperator:
    def test_it_computes_an_experiment_in_a_named_namespace(
        self, upgrade, run, experiments, trainers, helm
    ):
        namespaces = f"namespaces={{{experiments.namespace}}}"
        with run(upgrade(namespaces, "leaderElection.enabled=true")) as found:
            experiments.apply(seeds={"list": [7]})
            experiments.until(phase="Succeeded")
            assert found.metric("supreme_leader") == 1
            assert "forbidden" not in found.log.read_text().lower()

            [test] = only(helm.manifests(), "Pod")["spec"]["containers"]
            script, _ = test["args"]
            url = f"http://127.0.0.1:{found.port}/readyz"
            done = subprocess.run(
                [sys.executable, "-c", script, url], check=True, capture_output=True, text=True
            )
            assert done.stdout.strip() == "ok"

    def test_one_that_waits_for_the_lease_is_ready_so_that_a_rollout_goes_on(self, upgrade, run):
        manifests = upgrade("replicas=2", "leaderElection.enabled=true")
        with run(manifests) as one:
            eventually(lambda: one.metric("supreme_leader") == 1)
            with run(manifests) as two:
                assert two.metric("supreme_leader") == 0

    def test_in_a_cluster_an_upgrade_leaves_what_runs_alone_and_is_for_what_comes(
        self, upgrade, run, experiments, trainers
    ):
        image = "trainer.image.repository=registry.example/trainer"
        trainers.script = lambda seed, attempt: "run"
        with run(upgrade(image, "trainer.image.tag=v1")):
            experiments.apply(seeds={"list": [7, 8]}, parallelism=0)
            experiments.change(execution={"image": None}, parallelism=1)
            experiments.until(phase="Running")
            before = experiments.read()["metadata"]["uid"], experiments.jobs()["s0-a0"].metadata.uid

        with run(upgrade(image, "trainer.image.tag=v2", "settings.workers=3")):
            trainers.script = always_succeed
            experiments.until(phase="Succeeded")

        jobs = experiments.jobs()
        after = experiments.read()["metadata"]["uid"], jobs["s0-a0"].metadata.uid
        assert after == before
        tags = {name: tag_of(job) for name, job in jobs.items()}
        assert tags == {"s0-a0": "v1", "s1-a0": "v2"}


@pytest.fixture(scope="class")
def installed(upgrade):
    """A release with the least values."""
    upgrade()


@pytest.mark.usefixtures("installed")
class TestUsers:
    @pytest.mark.parametrize("role", ["view", "edit", "admin"])
    def test_the_clusters_roles_have_experiments(self, api, experiments, role):
        access = client.RbacAuthorizationV1Api(api)
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
        user = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": f"jane-{role}"}
        body = {"metadata": {"name": "jane"}, "roleRef": reference, "subjects": [user]}
        access.create_namespaced_role_binding(experiments.namespace, body)

        def may(verb, subresource=""):
            asked = {"group": "supreme.dev", "resource": "unlearningexperiments", "verb": verb}
            asked |= {"subresource": subresource, "namespace": experiments.namespace}
            review = {"spec": {"user": user["name"], "resourceAttributes": asked}}
            answer = client.AuthorizationV1Api(api).create_subject_access_review(review)
            return answer.status.allowed

        edits = role != "view"
        # A controller puts the chart's roles into those of the cluster, one after the other.
        eventually(lambda: may("watch") and may("create") == edits)
        assert may("get", "status")
        assert {may("create"), may("delete"), may("patch"), may("update", "scale")} == {edits}
        assert not may("update", "status")


def test_an_upgrade_brings_the_definition_up_to_date(install, experiments, api, tmp_path):
    older = shutil.copytree(CHART, tmp_path / "supreme")
    path = older / "files" / "crd-spec.yaml"
    path.write_text(path.read_text().replace("- uexp", "- old"))
    install(chart=older)
    assert short_names(api) == ["old"]
    experiments.apply()
    uid = experiments.read()["metadata"]["uid"]

    install()

    assert short_names(api) == ["uexp"]
    assert experiments.read()["metadata"]["uid"] == uid


class TestWhatIsLeft:
    def test_only_the_definition_and_experiments_which_the_next_release_takes_up(
        self, install, helm_there, there, experiments
    ):
        manifests = install(*POLICY, "leaderElection.enabled=true")
        experiments.apply(execution={"image": f"registry.example/trainer@{DIGEST}"})
        uid = experiments.read()["metadata"]["uid"]
        assert len(there(manifests)) == len(manifests)

        helm_there("uninstall", "supreme", "--namespace", NAMESPACE)

        eventually(lambda: there(manifests) == [KEPT])
        install()
        assert experiments.read()["metadata"]["uid"] == uid

    def test_what_kubectl_has_applied_is_taken_over_with_its_experiments(
        self, install, helm_there, cluster, api, experiments
    ):
        cluster.kubectl("apply", "-f", DEFINITION)
        eventually(lambda: is_served(api))
        experiments.apply()
        with pytest.raises(RuntimeError, match="invalid ownership metadata"):
            install()
        options = ["--namespace", NAMESPACE, *LEAST, "--take-ownership"]
        helm_there("upgrade", "--install", "supreme", CHART, *options)
        assert experiments.exists()
        install("replicas=1")  # the next upgrade needs no option

    def test_nothing_where_the_definition_is_not_to_be_kept(self, install, helm_there, there, api):
        manifests = install("crds.keep=false")
        assert is_defined(api)
        helm_there("uninstall", "supreme", "--namespace", NAMESPACE)
        eventually(lambda: not is_defined(api))
        eventually(lambda: there(manifests) == [])


def test_a_policy_lets_experiments_that_were_there_go_on(upgrade, experiments):
    upgrade()
    experiments.apply()
    upgrade(*POLICY)

    def is_refused():
        try:
            experiments.apply("another")
        except ApiException:
            return True
        experiments.delete("another")
        return False

    eventually(is_refused)
    experiments.change(suspend=True)
    assert experiments.read()["spec"]["suspend"]


@pytest.fixture(scope="class")
def policy(upgrade):
    """A release that lets in only images by digest of a registry and of a repository."""
    upgrade(
        *POLICY, "trainerPolicy.registries={registry.example,registry.example.net/ours/trainer}"
    )


@pytest.mark.usefixtures("policy")
class TestTheTrainerPolicy:
    @pytest.fixture
    def tried(self, experiments):
        """Return the server's answer to an experiment with this image; "" where it accepts it."""

        def answer(image):
            try:
                experiments.apply(execution={"image": image})
            except ApiException as error:
                return json.loads(error.body)["message"]
            experiments.delete()
            return ""

        # It takes a moment until a policy is known, and longer until one before is no more.
        eventually(lambda: "allowed is what" in answer(f"docker.io/theirs/trainer@{DIGEST}"))
        return answer

    @pytest.mark.parametrize(
        "name",
        [
            "registry.example/any/trainer",
            "registry.example.net/ours/trainer",
            "registry.example.net/ours/trainer/a",
        ],
    )
    def test_it_lets_in_what_is_listed(self, tried, name):
        assert tried(f"{name}:1@{DIGEST}") == tried(f"{name}@{DIGEST}") == ""

    @pytest.mark.parametrize(
        "name",
        [
            "trainer",
            "registry.example.net/theirs/trainer",
            "registry.example.net/ours/trainer-of-theirs",
            "registry.example.org/trainer",
            "registry.example:5000/trainer",
        ],
    )
    def test_it_names_what_is_not_and_what_is(self, tried, name):
        image = f"{name}@{DIGEST}"
        told = f"spec.execution.image is {image}; allowed is what begins with"
        assert f"{told} registry.example, registry.example.net/ours/trainer" in tried(image)

    @pytest.mark.parametrize("ending", ["", ":1", "@sha256:0", f"@{DIGEST}0"])
    def test_it_wants_a_digest(self, tried, ending):
        image = f"registry.example/trainer{ending}"
        told = "name it by its digest, as in registry.example/trainer"
        assert f"spec.execution.image is {image}; {told}" in tried(image)

    def test_it_is_for_images_that_are_changed_too(self, tried, experiments):
        experiments.apply(execution={"image": f"registry.example/trainer@{DIGEST}"})
        with pytest.raises(ApiException, match=r"spec\.execution\.image is registry"):
            experiments.change(execution={"image": "registry.example/other:1"})
        experiments.change(execution={"image": None})
        assert "image" not in experiments.read()["spec"]["execution"]


def is_defined(api):
    """Return whether the server knows experiments, even if it is about to forget them."""
    try:
        client.ApiextensionsV1Api(api).read_custom_resource_definition(CRD)
    except ApiException as error:
        if error.status == 404:
            return False
        raise
    return True


def short_names(api):
    return (
        client.ApiextensionsV1Api(api).read_custom_resource_definition(CRD).spec.names.short_names
    )


def is_served(api):
    try:
        client.CustomObjectsApi(api).list_cluster_custom_object(
            "supreme.dev", "v1alpha1", "unlearningexperiments"
        )
    except ApiException:
        return False
    return True


@pytest.fixture
def there(cluster, tmp_path):
    """A function that gives the objects of manifests that are still there, as kind/name."""
    file = tmp_path / "released.json"

    def found(manifests):
        file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests}))
        return cluster.kubectl("get", "-f", file, "--ignore-not-found", "-o", "name").split()

    return found


def rights(cluster, namespace, wanted) -> set[tuple[str, str, str]]:
    """(group, resource, verb) of what the chart's account may do in a namespace and any account may
    not; a right to one object has its name behind the resource.

    wanted: what is waited for, as it takes a moment until the server knows other roles.
    """
    accounts = ((NAMESPACE, "supreme"), ("default", "default"))
    accesses = [cluster.service_account(*account) for account in accounts]

    def own():
        ours, anyones = (_rights(access, namespace) for access in accesses)
        assert anyones <= ours
        return ours - anyones

    with suppress(pytest.fail.Exception):
        eventually(lambda: own() == wanted)
    return own()


def _rights(access, namespace):
    review: dict[str, Any] = {"spec": {"namespace": namespace}}
    with access.client() as api:
        status = client.AuthorizationV1Api(api).create_self_subject_rules_review(review).status
    assert not status.incomplete
    return {
        (group, f"{resource}/{name}" if name else resource, verb)
        for rule in status.resource_rules
        for group in rule.api_groups
        for resource in rule.resources
        for verb in rule.verbs
        for name in rule.resource_names or [""]
    } | {
        ("", path, verb)
        for rule in status.non_resource_rules
        for path in rule.non_resource_urls or []
        for verb in rule.verbs
    }


def tag_of(job):
    return job.spec.template.spec.containers[0].image.rpartition(":")[2]
