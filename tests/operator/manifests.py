"""Children of one experiment as manifests, built so that a test names only what it is about."""

from supreme_operator.children import BACKENDS
from supreme_operator.children.backend import ChildOrder
from supreme_operator.deciding.facts import Attempt, Owner

from supreme_core.api import names
from supreme_core.api.model import parse
from supreme_core.api.v1alpha1 import ExperimentSpec
from tests.operator.looks import UID

OWNER = Owner("research", "three", UID)
ATTEMPT = Attempt(seed=260, index=4, number=2, retries=1, disruptions=1)
ORDER = ChildOrder(config_map="three-order", work="ab" * 32)
FAMILY = names.family_name("three", UID)
CHILD = f"{FAMILY}-s4-a2"


def spec(*, training=(), storage=(), **changes):
    """The spec of an experiment. changes: of its execution; `spec` is for the rest."""
    rest = changes.pop("spec", {})
    return parse(
        ExperimentSpec,
        {
            "dataset": {"name": "digits"},
            "model": {"name": "resnet18"},
            "scenarios": [{"name": "full_class"}],
            "methods": [{"name": "finetune"}],
            "training": {"microBatches": 16, **dict(training)},
            "execution": {"image": "trainer:1", "gpusPerNode": 0, **changes},
            "storage": {"uri": "s3://bucket/prefix", **dict(storage)},
            **rest,
        },
    )


def child(kind="Job", **changes):
    return BACKENDS[kind].render(OWNER, spec(**changes), ATTEMPT, ORDER)


def template_of(manifest):
    made = manifest["spec"]
    if manifest["kind"] == "PyTorchJob":
        return made["pytorchReplicaSpecs"]["Worker"]["template"]
    return made["template"]


def pod(kind="Job", **changes):
    return template_of(child(kind, **changes))["spec"]


def container(kind="Job", **changes):
    (only,) = pod(kind, **changes)["containers"]
    return only


def variables(kind="Job", **changes):
    """Names of variables to their values, or to where those come from."""
    found = container(kind, **changes)["env"]
    assert len({each["name"] for each in found}) == len(found)
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in found}


TERM = {"topologyKey": "zone", "labelSelector": {"matchLabels": {"team": "a"}}}
LARGE = {
    "labels": {"team": "a", "example.com/cost-centre": "", "a_b.c": "D-1"},
    "annotations": {"sidecar.istio.io/inject": "false", "k8s.v1.cni.cncf.io/networks": "rdma"},
    "env": [
        {"name": "NCCL_DEBUG", "value": "INFO"},
        {"name": "SUPREME_CHECKPOINT_SECONDS", "value": "60"},
        {"name": "SUPREME_PLUGINS", "value": "/plug-ins/mine.py"},
        {"name": "AWS_CA_BUNDLE", "value": "/certificates/ca.pem"},
        {"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k", "optional": True}}},
        {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}},
        {"name": "C", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "D", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
    ],
    "volumes": [
        {"name": "certificates", "configMap": {"name": "ca", "items": [{"key": "a", "path": "b"}]}},
        {"name": "token", "secret": {"secretName": "hub", "defaultMode": 256}},
        {"name": "data", "persistentVolumeClaim": {"claimName": "data", "readOnly": True}},
        {"name": "scratch", "emptyDir": {"sizeLimit": "9Gi"}},
        {
            "name": "fast",
            "ephemeral": {
                "volumeClaimTemplate": {
                    "spec": {
                        "accessModes": ["ReadWriteOnce"],
                        "resources": {"requests": {"storage": "1Gi"}},
                    }
                }
            },
        },
    ],
    "volumeMounts": [
        {"name": "certificates", "mountPath": "/certificates", "readOnly": True},
        {"name": "data", "mountPath": "/data", "subPath": "cifar"},
        {"name": "fast", "mountPath": "/tmp/fast"},
    ],
    "nodeSelector": {"node.kubernetes.io/instance-type": "large"},
    "tolerations": [
        {"operator": "Exists"},
        {"key": "gpu", "operator": "Equal", "value": "yes", "effect": "NoSchedule"},
        {"key": "x", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60},
    ],
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "gen", "operator": "Gt", "values": ["3"]}]}
                ]
            },
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {
                    "weight": 5,
                    "preference": {"matchExpressions": [{"key": "ssd", "operator": "Exists"}]},
                }
            ],
        },
        "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [TERM]},
        "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 1, "podAffinityTerm": TERM}
            ]
        },
    },
    "topologySpreadConstraints": [
        {
            "maxSkew": 1,
            "topologyKey": "zone",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchExpressions": [{"key": "team", "operator": "Exists"}]},
        }
    ],
}
"""A template with something of everything that it may say."""
