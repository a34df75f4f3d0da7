"""The operator's image is what a restricted pod needs, and small; two builds give the same layers.

Left out: the trainer's image, which has 6 GB, and a base that comes from a registry.
"""

import json

import pytest

from supreme_core.registry import catalog
from tests.e2e.operator_image import LABELS
from tests.e2e.pods import Pods, restricted

pytestmark = pytest.mark.e2e

SAYS = """
import importlib.util, json, os
import supreme_core.publishing.publish, supreme_operator.results.worker, supreme_operator.main
from supreme_core.registry import catalog
from supreme_core.tuning import tpe
from supreme_core.tuning.ranges import Range
known = [({"lr": 0.5}, 1.0), ({"lr": 0.1}, 0.5)]
print(json.dumps({
    "user": os.getuid(),
    "has torch": importlib.util.find_spec("torch") is not None,
    "methods": list(catalog.bundled().components["method"]),
    "proposed": len(tpe.proposed({"lr": Range("uniform", (0.0, 1.0))}, known, 4, ("", ""))),
}))
"""


def test_it_has_less_than_500_megabytes(operator_image):
    assert operator_image.unpacked_bytes < 500_000_000


def test_it_starts_the_operator_as_a_user_without_rights(operator_image):
    settings = operator_image.settings
    assert (settings["User"], settings["Entrypoint"]) == ("65532:65532", ["supreme-operator"])


def test_its_labels_say_what_it_is(operator_image):
    labels = operator_image.settings["Labels"]
    wanted = ("title", "description", "licenses", "version", "revision", "created")
    assert [name for name in wanted if not labels.get(f"{LABELS}.{name}")] == []
    assert operator_image.reference.endswith(f"/supreme-operator:{labels[f'{LABELS}.version']}")


def test_two_builds_give_the_same_image(operator_image, second_image):
    assert second_image.digest == operator_image.digest


@pytest.fixture
def ended(cluster, api, namespace, operator_image):
    """ended(*command, **of its container): what a restricted pod of the image wrote."""
    cluster.load(operator_image.archive)
    pods = Pods(api, namespace)

    def run(*command, **container):
        spec = restricted(cluster, {}, *command, image=operator_image.reference, **container)
        del spec["securityContext"]["runAsUser"]  # the image has its own
        pods.create("operator", spec)
        return pods.ended("operator")

    return run


def test_a_restricted_pod_runs_the_operator(ended):
    assert "usage: supreme-operator" in ended(args=["--help"])


def test_a_restricted_pod_has_the_catalogue_the_report_and_a_sampler_without_torch(ended):
    assert json.loads(ended("python", "-c", SAYS)) == {
        "user": 65532,
        "has torch": False,
        "methods": list(catalog.bundled().components["method"]),
        "proposed": 4,
    }
