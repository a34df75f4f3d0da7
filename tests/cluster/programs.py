"""Programs of other projects that `make test` runs, and what becomes of tests where one is missing.

python -m tests.cluster.programs    builds those that are not in the cache
"""

import re

from tests.cluster.go_tools import TOOLS, GoTools, go

NEEDED_IF = "SUPREME_REQUIRE_CLUSTER"
MONITORS = ("podmonitors", "prometheusrules", "servicemonitors")
OLDEST = {"k8sVersionMajor": "1", "k8sVersionMinor": "33"}
"""The Kubernetes that Helm assumes where it has no cluster: the oldest that the chart is for."""


def _kubernetes_flags() -> str:
    """Version flags, because without them the server calls itself v0.0.0."""
    text = (TOOLS / "kubernetes" / "go.mod").read_text()
    found = re.search(r"k8s.io/kubernetes (v(\d+)\.(\d+)\S*)", text)
    assert found is not None
    version, major, minor = found.groups()
    package = "k8s.io/component-base/version"
    facts = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
    flags = [f"-X {package}.{name}={value}" for name, value in facts.items()]
    return " ".join(["-s", "-w", *flags])


VERSITYGW = GoTools("versitygw", needed_if="SUPREME_REQUIRE_REAL_S3")
KUBERNETES = GoTools("kubernetes", NEEDED_IF, link=_kubernetes_flags())
HELM = GoTools(
    "helm",
    NEEDED_IF,
    link=" ".join(
        ["-s", "-w"]
        + [f"-X helm.sh/helm/v3/pkg/chartutil.{name}={value}" for name, value in OLDEST.items()]
    ),
    files=tuple(
        (
            "github.com/prometheus-operator/prometheus-operator",
            f"example/prometheus-operator-crd/monitoring.coreos.com_{kind}.yaml",
        )
        for kind in MONITORS
    ),
)
KUBE_SCORE = GoTools("kube-score", NEEDED_IF)
ACTIONLINT = GoTools("actionlint", NEEDED_IF)

WITHOUT = {
    VERSITYGW: "moto stands in for a real S3 server",
    KUBERNETES: "tests on a Kubernetes control plane are skipped",
    HELM: "tests of the chart are skipped",
    KUBE_SCORE: "what kube-score says of the chart is skipped",
    ACTIONLINT: "what actionlint says of GitHub's workflows is skipped",
}
"""Consequence for tests without a program; in the order in which the programs are built."""


def missing() -> list[GoTools]:
    """Return the programs that are not in the cache."""
    return [tools for tools in WITHOUT if not tools.folder.exists()]


def outlook() -> list[str]:
    """Lines that say what is built while tests run, or what is done without and why."""
    absent = missing()
    if absent and go():
        names = ", ".join(tools.module for tools in absent)
        return [f"building once, beside the tests: {names}; Kubernetes takes some minutes"]
    return [f"no {tools.module}, and no Go to build it with: {WITHOUT[tools]}" for tools in absent]


if __name__ == "__main__":
    for tools in missing():
        tools.built()
