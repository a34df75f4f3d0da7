"""Manifests that the chart makes of values, without a cluster.

Covered: Helm's own lint and kube-score for every file of ci/, values that are refused, and that
settings, rights, images and the chart's facts agree with the rest of the repository.
Left out: whether an API server takes the manifests and what they do there (test_install.py).
"""

import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml
from supreme_operator.settings import Settings

from tests.chart.helm import (
    NAMESPACE,
    VALUES,
    admitted,
    documents,
    only,
    settings_of,
    triples,
)
from tests.cluster.operators import ROOT, RULES
from tests.cluster.programs import KUBE_SCORE
from tools.generate import crd
from tools.generate.chart import CHART, path_of

FACTS = yaml.safe_load((CHART / "Chart.yaml").read_text())
DIGEST = f"sha256:{'0' * 64}"
NOT_ASKED = {
    "container-image-pull-policy": "tags are of releases, which do not move",
    "deployment-replicas": "one operator is enough, and more want leader election",
    "deployment-strategy": "one that is alone is stopped before the next one is started",
    "pod-networkpolicy": "off by default, as where the API server is cannot be known",
}
"""Checks of kube-score that do not hold for every file of ci/."""

every_file = pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)


class TestEveryFileOfValues:
    @every_file
    def test_helm_has_nothing_to_warn_of(self, helm, values):
        assert "0 chart(s) failed" in helm("lint", "--strict", CHART, "--values", values)

    @every_file
    def test_kube_score_has_nothing_to_warn_of(self, helm, values, tmp_path):
        manifests = tmp_path / "manifests.yaml"
        manifests.write_text(helm.template("--values", values))
        command = [KUBE_SCORE.built() / "kube-score", "score", manifests]
        command += ["--kubernetes-version", "v1.33", "--output-format", "ci"]
        command += ["--exit-one-on-warning", *(f"--ignore-test={name}" for name in NOT_ASKED)]
        # A limit of processor time makes an operator slow, and no node safer.
        command.append("--ignore-container-cpu-limit")
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "[OK]" in done.stdout

    @every_file
    def test_the_operator_can_read_its_settings(self, helm, values):
        deployment = only(helm.manifests("--values", values), "Deployment")
        assert settings_of(deployment).port == 8080


class TestValues:
    @pytest.mark.parametrize(
        ("wrong", "told"),
        [
            ("replica=2", "additional properties 'replica' not allowed"),
            ("replicas=x", "at '/replicas': got string, want integer"),
            ("image.digest=sha256:1", "at '/image/digest': 'sha256:1' does not match pattern"),
            ("image.pullPolicy=Sometimes", "at '/image/pullPolicy': value must be one of"),
            ("trainer.image.tag=a b", "at '/trainer/image/tag': 'a b' does not match"),
            ("namespaces={Research}", "at '/namespaces/0': 'Research' does not match"),
            ("namespaces={a,a}", "at '/namespaces': items at 0 and 1 are equal"),
            ("storage.uri=/data", "at '/storage/uri': '/data' does not match"),
            ("storage.allowedEndpoints={s3.example.org}", "at '/storage/allowedEndpoints/0'"),
            ("storage.allowedStores={s3.example.org}", "at '/storage/allowedStores/0'"),
            ("settings.worker=2", "at '/settings': additional properties 'worker' not allowed"),
            ("settings.port=2", "at '/settings': additional properties 'port' not allowed"),
            ("settings.workers=-1", "at '/settings/workers': minimum: got -1, want 0"),
            ("port=70000", "at '/port': maximum: got 70,000, want 65,535"),
            ("extraEnv[0].name=SUPREME_OPERATOR_PORT", "at '/extraEnv/0/name'"),
            ("networkPolicy.toPorts={https}", "at '/networkPolicy/toPorts/0': got string"),
            ("trainerPolicy.registries={registry.example/}", "at '/trainerPolicy/registries/0'"),
            ("monitoring.podMonitor.interval=often", "at '/monitoring/podMonitor/interval'"),
            ("monitoring.prometheusRule.pages=docs", "at '/monitoring/prometheusRule/pages'"),
            ("replicas=2", "replicas is 2, and each would do everything; set leaderElection"),
            ("trainerPolicy.enabled=true", "trainerPolicy refuses nothing; set registries or"),
        ],
    )
    def test_a_wrong_one_is_named(self, helm, wrong, told):
        with pytest.raises(RuntimeError, match=re.escape(told)):
            helm.manifests("--set", wrong)

    @pytest.mark.parametrize(
        "given", ["replicas=1", "image.registry=registry.example,image.tag=v1"]
    )
    def test_the_operators_image_has_to_be_named(self, helm, given):
        told = "image.repository is empty: build the operator's image as docs/container-images.md"
        with pytest.raises(RuntimeError, match=re.escape(told)):
            helm.template("--set", given)

    @pytest.mark.parametrize("part", ["registry=registry.example", "tag=v1", f"digest={DIGEST}"])
    def test_the_trainers_image_is_named_or_nothing_is_said_of_it(self, helm, part):
        told = "trainer.image.repository is empty, but trainer.image has a registry, a tag or a"
        with pytest.raises(RuntimeError, match=re.escape(told)):
            helm.manifests("--set", f"trainer.image.{part}")

    def test_those_that_the_schema_knows_are_all_in_the_file_that_explains_them(self):
        schema = json.loads((CHART / "values.schema.json").read_text())
        values = yaml.safe_load((CHART / "values.yaml").read_text())
        of_helm = {"global", "enabled"}  # where this chart is part of another
        of_the_operator = set(schema["properties"].pop("settings")["properties"])
        assert of_the_operator
        assert set(closed(schema)) - of_helm <= set(paths(values))

    def test_every_setting_of_the_operator_can_be_given(self, helm, tmp_path):
        wanted = {name: another(each.default) for name, each in Settings.model_fields.items()}
        wanted |= {"image": "registry.example/mine:1", "storage_uri": "s3://mine", "port": 8081}
        wanted |= {"storage_endpoint": "http://mine", "allowed_endpoints": ("http://a", "http://b")}
        wanted["allowed_mount_paths"] = ("/a", "!/a/b*")
        wanted |= {"allowed_stores": ("s3://a", "s3://b-*/{namespace}@http://b")}
        values: dict[str, Any] = {}
        for name, value in wanted.items():
            put(values, path_of(name), value)
        image = {"registry": "registry.example", "repository": "mine", "tag": "1"}
        put(values, "trainer.image", image)
        (tmp_path / "values.json").write_text(json.dumps(values))

        manifests = helm.manifests("--values", tmp_path / "values.json")

        assert settings_of(only(manifests, "Deployment")) == Settings(**wanted)

    def test_defaults_are_the_operators_own(self, helm):
        assert settings_of(only(helm.manifests(), "Deployment")) == Settings()

    def test_nothing_allowed_is_not_the_default(self, helm):
        values = "trainer.allowedEnv=[],trainer.allowedLabels=[],trainer.allowedMountPaths=[]"
        manifests = helm.manifests("--set-json", values)
        given = settings_of(only(manifests, "Deployment"))
        assert (given.allowed_env, given.allowed_labels, given.allowed_mount_paths) == ((), (), ())

    @pytest.mark.parametrize(
        ("given", "are_fixed"),
        [("fixedUser=true", True), ("fixedUser=null", True), ("fixedUser=false", False)],
    )
    def test_user_and_group_can_be_left_to_the_platform(self, helm, given, are_fixed):
        """null: as by --reuse-values from a chart that did not have it."""
        manifests = helm.manifests("--set", given)
        deployment = only(manifests, "Deployment")
        pods = (deployment["spec"]["template"]["spec"], only(manifests, "Pod")["spec"])
        ids = {"runAsUser", "runAsGroup", "fsGroup"}
        for pod in pods:
            assert pod["securityContext"]["runAsNonRoot"] is True
            assert bool(ids & pod["securityContext"].keys()) is are_fixed
        assert settings_of(deployment).fixed_user is are_fixed

    def test_images_without_a_tag_have_the_version(self, helm):
        trainer = "trainer.image.registry=registry.example:5000,trainer.image.repository=trainer"
        manifests = helm.manifests("--set", f"{trainer},image.registry=,image.repository=operator")
        assert images(manifests) == {f"operator:{version()}"}
        given = settings_of(only(manifests, "Deployment"))
        assert given.image == f"registry.example:5000/trainer:{version()}"

    def test_a_digest_wins_over_a_tag(self, helm):
        manifests = helm.manifests("--set", f"image.tag=v1,image.digest={DIGEST}")
        assert images(manifests) == {f"registry.example/supreme-operator@{DIGEST}"}


class TestRights:
    def test_they_are_those_that_the_operator_is_tested_with(self, helm):
        manifests = helm.manifests("--set", "leaderElection.enabled=true,rbac.userRoles=false")
        granted = only(manifests, "ClusterRole")["rules"] + only(manifests, "Role")["rules"]
        assert triples(granted) == triples(RULES)
        assert only(manifests, "Role")["metadata"]["namespace"] == NAMESPACE

    @pytest.mark.parametrize(
        ("value", "resource"),
        [("readSecrets=false", "secrets"), ("rbac.pytorchJobs=false", "pytorchjobs")],
    )
    def test_some_can_be_left_out(self, helm, value, resource):
        role = only(helm.manifests("--set", f"{value},rbac.userRoles=false"), "ClusterRole")
        left_out = triples(RULES) - triples(role["rules"])
        assert {found for _, found, _ in left_out} == {resource, "leases"}

    def test_in_named_namespaces_there_is_none_for_the_cluster(self, helm):
        manifests = helm.manifests("--set", "namespaces={a,b},rbac.userRoles=false")
        roles = [each for each in manifests if each["kind"] == "Role"]
        assert {role["metadata"]["namespace"] for role in roles} == {"a", "b"}
        assert not any(each["kind"].startswith("ClusterRole") for each in manifests)

    def test_there_is_none_where_others_grant_them(self, helm):
        manifests = helm.manifests("--set", "rbac.create=false,rbac.userRoles=false")
        assert not any("Role" in each["kind"] for each in manifests)


class TestMonitoring:
    @pytest.mark.parametrize("address", ["", "https://git.example.org/supreme/blob/main"])
    def test_rules_are_carried_as_they_are_with_the_addresses_of_their_pages(self, helm, address):
        rules = yaml.safe_load((CHART / "files" / "rules.yaml").read_text())
        for group in rules["groups"]:
            for rule in group["rules"]:
                page = rule["annotations"]["runbook_url"]
                assert (ROOT / page).is_file()
                rule["annotations"]["runbook_url"] = f"{address}/{page}" if address else page
        section = "monitoring.prometheusRule"
        manifests = helm.manifests("--set", f"{section}.enabled=true,{section}.pages={address}")
        assert only(manifests, "PrometheusRule")["spec"] == rules

    def test_dashboards_are_carried_as_they_are(self, helm):
        config_map = only(helm.manifests("--values", VALUES["everything"]), "ConfigMap")
        files = (CHART / "files" / "dashboards").iterdir()
        assert config_map["data"] == {file.name: file.read_text() for file in files}
        assert config_map["metadata"]["labels"]["grafana_dashboard"] == "1"


class TestFacts:
    def test_the_versions_are_that_of_the_package(self):
        assert (FACTS["version"], FACTS["appVersion"]) == (version(), version())

    def test_no_registry_and_no_address_is_the_charts_own(self):
        values = yaml.safe_load((CHART / "values.yaml").read_text())
        for image in (values["image"], values["trainer"]["image"]):
            assert (image["registry"], image["repository"]) == ("", "")
        assert not {"home", "sources", "icon"} & FACTS.keys()
        assert not {"artifacthub.io/images", "artifacthub.io/links"} & FACTS["annotations"].keys()

    def test_the_kind_that_is_listed_is_the_one_that_is_defined(self, helm):
        [listed] = yaml.safe_load(FACTS["annotations"]["artifacthub.io/crds"])
        definition = crd.custom_resource_definition()
        assert listed["name"] == definition["metadata"]["name"]
        assert listed["kind"] == definition["spec"]["names"]["kind"]
        assert listed["version"] == definition["spec"]["versions"][0]["name"]
        assert only(helm.manifests(), "CustomResourceDefinition")["spec"] == definition["spec"]

    def test_the_example_can_be_done(self):
        [example] = yaml.safe_load(FACTS["annotations"]["artifacthub.io/crdsExamples"])
        defaults = {"execution": {"image": "registry.example/trainer:1"}}
        assert admitted(example, defaults).owner.name == "digits"


class TestPages:
    @pytest.mark.parametrize("page", ["README.md", "docs/cluster.md", "charts/supreme/README.md"])
    def test_the_command_of_a_page_installs_images_that_were_built(self, helm, page):
        """With nothing to fill in but the registry, to which `make images` gives these names."""
        text = (ROOT / page).read_text().replace("\\\n", " ")
        [command] = re.findall(r"^\$ helm install supreme charts/supreme (.+)$", text, re.MULTILINE)
        words = shlex.split(command.replace("$REGISTRY", "registry.example/team"))

        manifests = documents(helm("template", "supreme", CHART, *words))

        built = "registry.example/team/supreme-{}:" + version()
        assert images(manifests) == {built.format("operator")}
        assert settings_of(only(manifests, "Deployment")).image == built.format("trainer")
        assert "No image is published yet" in text or "None is published yet" in text


def images(manifests: list[dict[str, Any]]) -> set[str]:
    """Return the images of the operator's pod and of the pod of `helm test`."""
    pods = (only(manifests, "Deployment")["spec"]["template"], only(manifests, "Pod"))
    return {each["image"] for pod in pods for each in pod["spec"]["containers"]}


def version() -> str:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def closed(schema: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """The path of each value that the schema knows by its name."""
    for name, below in schema.get("properties", {}).items():
        yield f"{path}{name}"
        yield from closed(below, f"{path}{name}.")


def paths(values: Mapping[str, Any], path: str = "") -> Iterator[str]:
    for name, value in values.items():
        yield f"{path}{name}"
        if isinstance(value, Mapping):
            yield from paths(value, f"{path}{name}.")


def put(values: dict[str, Any], path: str, value: Any) -> None:
    *sections, name = path.split(".")
    for section in sections:
        values = values.setdefault(section, {})
    values[name] = value


def another(default: Any) -> Any:
    """A value of a setting that is not its default."""
    match default:
        case bool():
            return not default
        case int() | float():
            return default + 4_000_000 if default > 1000 else default + 1
        case tuple():
            return ("a", "b")
        case _:
            return {"info": "debug", "json": "text"}.get(default, "another")
