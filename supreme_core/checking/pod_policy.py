"""Settings that the experiments of an installation may set on their pods. Pure.

An installation says it by lists of patterns. The default ones let in no code but plug-ins, no
volume over files of the image, and nothing by which a pod asks a controller or the node for more
than it is given here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from supreme_core.api import names
from supreme_core.api.v1alpha1 import ExperimentSpec
from supreme_core.checking.cluster_spec import TEMPLATE
from supreme_core.checking.patterns import holds_it, names_it
from supreme_core.errors import nearest_or_all

LABELS: Final = ("*", "sidecar.istio.io/inject")
"""Keys without a prefix are the users' own, as Kubernetes has it."""

ANNOTATIONS: Final = (
    *("cluster-autoscaler.kubernetes.io/safe-to-evict", "karpenter.sh/do-not-disrupt"),
    *("kueue.x-k8s.io/podset-*", "prometheus.io/*", "sidecar.istio.io/inject", "linkerd.io/inject"),
)
VARIABLES: Final = (
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
    *("http_proxy", "https_proxy", "no_proxy", "all_proxy"),
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
    *("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_CA_BUNDLE"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *("HF_HOME", "HF_TOKEN", "HF_ENDPOINT", "HF_HUB_*", "TORCH_HOME"),
    *("NCCL_*", "!NCCL_*PLUGIN*", "!NCCL_CONF_FILE"),  # which name libraries to load
    *("TORCH_NCCL_*", "GLOO_SOCKET_IFNAME", "UCX_NET_DEVICES", "UCX_TLS", "FI_PROVIDER"),
    *("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "CUDA_LAUNCH_BLOCKING"),
    *("TORCH_DISTRIBUTED_DEBUG", "TORCH_CPP_LOG_LEVEL", "PYTHONFAULTHANDLER", "TZ"),
    *("SUPREME_CHECKPOINT_SECONDS", "SUPREME_CUDA_GRAPHS", names.PLUGINS_VARIABLE),
)
MOUNT_PATHS: Final = (
    *("/data", "/datasets", "/models", "/cache", "/scratch", "/mnt", "/workspace", "/tmp"),
    *("/plug-ins", "/plugins", "/certificates", "/secrets"),
)


@dataclass(frozen=True, kw_only=True)
class PodPolicy:
    """Patterns of keys of labels and annotations, of names of variables and priority classes, and
    of folders in which and below which volumes may be mounted."""

    labels: Sequence[str] = LABELS
    annotations: Sequence[str] = ANNOTATIONS
    env: Sequence[str] = VARIABLES
    mount_paths: Sequence[str] = MOUNT_PATHS
    priority_classes: Sequence[str] = ()

    def violations(self, spec: ExperimentSpec) -> Iterator[str]:
        """List what is not allowed, a line for each, which names the setting."""
        template = spec.execution.template
        for key in template.labels:
            yield from _unless_named(f"{TEMPLATE}.labels has", key, self.labels, "allowedLabels")
        for key in template.annotations:
            at = f"{TEMPLATE}.annotations has"
            yield from _unless_named(at, key, self.annotations, "allowedAnnotations")
        for position, entry in enumerate(template.env):
            at = f"{TEMPLATE}.env[{position}].name is"
            yield from _unless_named(at, str(entry["name"]), self.env, "allowedEnv")
        for position, mount in enumerate(template.volume_mounts):
            path = str(mount["mountPath"])
            if not holds_it(self.mount_paths, path):
                at = f"{TEMPLATE}.volumeMounts[{position}].mountPath is"
                yield _refusal(at, path, self.mount_paths, "allowedMountPaths")
        if name := spec.execution.scheduling.priority_class_name:
            at = "spec.execution.scheduling.priorityClassName is"
            yield from _unless_named(at, name, self.priority_classes, "allowedPriorityClasses")


def _unless_named(at: str, name: str, allowed: Sequence[str], setting: str) -> Iterator[str]:
    if not names_it(allowed, name):
        yield _refusal(at, name, allowed, setting)


def _refusal(at: str, name: str, allowed: Sequence[str], setting: str) -> str:
    hint = nearest_or_all(name, allowed, what="allowed")
    return f"{at} {name!r}, which the operator's {setting} does not have{hint}"
