"""Refuse what pods cannot be made of when an experiment is admitted, not when a pod is refused.

The operator makes pods for people who may not make any, so what a user may shape is a short list:
nothing of the node, of other controllers, or of the credentials of other identities. Everything in
a namespace that a pod can name, such as a Secret, is within reach of who makes experiments there.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from supreme_core.api import names
from supreme_core.api.model import Document, parse
from supreme_core.api.v1alpha1 import ExperimentSpec, Quantity
from supreme_core.checking.on_cluster import (
    PROCESS_HAS_A_GPU,
    RANKS_DIVIDE_BATCHES,
    STAGES_NEED_TREE,
    STORE_IS_A_BUCKET,
)
from supreme_core.errors import SpecError
from supreme_core.store.s3 import bucket_and_prefix
from supreme_core.system.variables import OF_RANKS

CREDENTIALS: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
SESSION_TOKEN: Final = "AWS_SESSION_TOKEN"

OUR_MOUNTS: Final = {names.ORDER_VOLUME: names.ORDER_FOLDER, "tmp": "/tmp", "dshm": "/dev/shm"}
"""Volume to path of what every pod has."""

CLOSED_FOLDERS: Final = (names.ORDER_FOLDER, "/dev", "/proc", "/sys", "/var/run/secrets")
"""Nothing of a user's is mounted in them either."""

FREE_VARIABLES: Final = (
    "SUPREME_CHECKPOINT_SECONDS",
    "SUPREME_CUDA_GRAPHS",
    names.PLUGINS_VARIABLE,
)
OUR_VARIABLES: Final = re.compile(
    rf"SUPREME_.*|{OF_RANKS.pattern}|JOB_COMPLETION_INDEX|OMP_NUM_THREADS"
)
RESERVED: Final = re.compile(
    r"((.*\.)?(supreme\.dev|kubeflow\.org)|(app|batch)\.kubernetes\.io)/.*|job-name|controller-uid"
)
"""Labels and annotations by which the operator and the controllers of its children find pods. What
else has a meaning for somebody is for `pod_policy`, as an installation may want it."""

SUBDOMAIN: Final = re.compile(
    r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
)
LABEL_KEY: Final = re.compile(
    r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)
OF_EVERY_NODE: Final = re.compile(r"(cpu|memory|ephemeral-storage|hugepages-.+)$")
"""Resources of a container without a domain."""
LABEL_VALUE: Final = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")

Text = Annotated[str, StringConstraints(min_length=1, max_length=253)]
Value = Annotated[str, StringConstraints(max_length=65_536)]
TextList = Annotated[list[Text], Field(max_length=128)]


class Choice(Document):
    """Fields of which exactly one is given."""

    @model_validator(mode="after")
    def _one_is_given(self) -> Self:
        given = [name for name, value in self if value is not None]
        if len(given) != 1:
            fields = ", ".join(field.alias or "" for field in type(self).model_fields.values())
            raise ValueError(f"give exactly one of {fields}")
        return self


class KeyReference(Document):
    name: Text
    key: Text
    optional: bool | None = None


class FieldReference(Document):
    field_path: Text
    api_version: Text | None = None


class ResourceReference(Document):
    resource: Text
    container_name: Text | None = None
    divisor: Quantity | None = None


class ValueSource(Choice):
    secret_key_ref: KeyReference | None = None
    config_map_key_ref: KeyReference | None = None
    field_ref: FieldReference | None = None
    resource_field_ref: ResourceReference | None = None


class Variable(Document):
    name: Annotated[Text, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$")]
    value: Value | None = None
    value_from: ValueSource | None = None

    @model_validator(mode="after")
    def _one_value(self) -> Self:
        if self.value is not None and self.value_from is not None:
            raise ValueError("give either value or valueFrom, not both")
        return self


class Item(Document):
    key: Text
    path: Text
    mode: int | None = None


class ConfigMapVolume(Document):
    name: Text
    items: list[Item] | None = None
    default_mode: int | None = None
    optional: bool | None = None


class SecretVolume(Document):
    secret_name: Text
    items: list[Item] | None = None
    default_mode: int | None = None
    optional: bool | None = None


class ClaimVolume(Document):
    claim_name: Text
    read_only: bool | None = None


class EmptyVolume(Document):
    medium: Literal["", "Memory"] | None = None
    size_limit: Quantity | None = None


class EphemeralVolume(Document):
    """volumeClaimTemplate: of a claim that comes and goes with its pod."""

    volume_claim_template: dict[str, Any]


class VolumeSource(Choice):
    """No hostPath, which is the node's; neither csi nor projected, which give tokens of identities
    that the pod does not have."""

    config_map: ConfigMapVolume | None = None
    secret: SecretVolume | None = None
    persistent_volume_claim: ClaimVolume | None = None
    empty_dir: EmptyVolume | None = None
    ephemeral: EphemeralVolume | None = None


class NamedObject(Document):
    name: Annotated[
        str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)
    ]


class Mount(NamedObject):
    mount_path: Text
    read_only: bool | None = None
    sub_path: Text | None = None


class Toleration(Document):
    key: Text | None = None
    operator: Literal["Exists", "Equal"] | None = None
    value: Annotated[str, StringConstraints(max_length=253)] | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute", ""] | None = None
    toleration_seconds: int | None = None


class Requirement(Document):
    key: Text
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: TextList | None = None


class NodeRequirement(Document):
    key: Text
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
    values: TextList | None = None


class NodeTerm(Document):
    match_expressions: list[NodeRequirement] | None = None
    match_fields: list[NodeRequirement] | None = None


class NodeTerms(Document):
    node_selector_terms: list[NodeTerm]


class NodePreference(Document):
    weight: int = Field(ge=1, le=100)
    preference: NodeTerm


class NodeAffinity(Document):
    required_during_scheduling_ignored_during_execution: NodeTerms | None = None
    preferred_during_scheduling_ignored_during_execution: list[NodePreference] | None = None


class Selector(Document):
    match_labels: dict[str, str] | None = None
    match_expressions: list[Requirement] | None = None


class PodTerm(Document):
    topology_key: Text
    label_selector: Selector | None = None
    namespaces: TextList | None = None
    namespace_selector: Selector | None = None
    match_label_keys: TextList | None = None
    mismatch_label_keys: TextList | None = None


class PodPreference(Document):
    weight: int = Field(ge=1, le=100)
    pod_affinity_term: PodTerm


class PodAffinity(Document):
    required_during_scheduling_ignored_during_execution: list[PodTerm] | None = None
    preferred_during_scheduling_ignored_during_execution: list[PodPreference] | None = None


class Affinity(Document):
    node_affinity: NodeAffinity | None = None
    pod_affinity: PodAffinity | None = None
    pod_anti_affinity: PodAffinity | None = None


class Spread(Document):
    max_skew: int = Field(ge=1)
    topology_key: Text
    when_unsatisfiable: Literal["DoNotSchedule", "ScheduleAnyway"]
    label_selector: Selector | None = None
    min_domains: int | None = Field(None, ge=1)
    node_affinity_policy: Literal["Honor", "Ignore"] | None = None
    node_taints_policy: Literal["Honor", "Ignore"] | None = None
    match_label_keys: TextList | None = None


def check_cluster_spec(spec: ExperimentSpec) -> None:
    """SpecError, a line for each mistake, where pods cannot be made of the spec as it stands."""
    mistakes = [
        *_missing(spec),
        *_processes(spec),
        *_resources(spec),
        *_names(spec),
        *_metadata(spec),
        *_environment(spec),
        *_volumes(spec),
        *_places(spec),
    ]
    if mistakes:
        raise SpecError("\n".join(mistakes))


TEMPLATE: Final = "spec.execution.template"


def _missing(spec: ExperimentSpec) -> Iterator[str]:
    if not spec.execution.image:
        yield "spec.execution.image is missing; a cluster needs the trainer's image"
    uri = spec.storage.uri
    if not uri:
        yield "spec.storage.uri is missing; pods share results at s3://bucket/prefix"
    elif not is_bucket(uri):
        yield f"spec.storage.{STORE_IS_A_BUCKET.message.format(uri=uri)}"


def is_bucket(uri: str) -> bool:
    """Return whether pods can use a store at this address."""
    try:
        bucket_and_prefix(uri)
    except SpecError:
        return False
    return uri.startswith("s3://")


def _processes(spec: ExperimentSpec) -> Iterator[str]:
    execution, micro_batches = spec.execution, spec.training.micro_batches
    is_tree, asked = spec.training.reduction == "tree", execution.distribution
    if asked == "Stages" and not is_tree:
        yield f"spec.execution.{STAGES_NEED_TREE.message}"
    if asked != "Stages" and 0 < execution.gpus_per_node < execution.processes:
        words = PROCESS_HAS_A_GPU.message.format(
            processes=execution.processes, gpus=execution.gpus_per_node
        )
        yield f"spec.execution.{words}"
    if asked == "Data" and is_tree and micro_batches % execution.all_processes:
        words = RANKS_DIVIDE_BATCHES.message.format(
            parts=micro_batches, ranks=execution.all_processes
        )
        yield f"spec.training.{words}"


def _resources(spec: ExperimentSpec) -> Iterator[str]:
    execution, at = spec.execution, "spec.execution.resources"
    if not _is_extended(execution.gpu_resource_name):
        yield (
            f"spec.execution.gpuResourceName is {execution.gpu_resource_name!r}, which is no"
            " resource of a device plug-in; use one such as nvidia.com/gpu or amd.com/gpu"
        )
    for field, amounts in (
        ("limits", execution.resources.limits),
        ("requests", execution.resources.requests),
    ):
        for name in amounts or ():
            if name == execution.gpu_resource_name:
                yield f"{at}.{field} has {name!r}; say how many by spec.execution.gpusPerNode"
            elif not LABEL_KEY.fullmatch(name) or not ("/" in name or OF_EVERY_NODE.match(name)):
                yield (
                    f"{at}.{field} has {name!r}, which can be no resource; use cpu, memory,"
                    " ephemeral-storage, hugepages-<size>, or one with a domain like rdma/hca"
                )


def _is_extended(name: str) -> bool:
    """Return whether a resource of this name may be one that only some nodes have, by Kubernetes'
    rule."""
    is_native = "/" not in name or "kubernetes.io/" in name or name.startswith("requests.")
    return not is_native and LABEL_KEY.fullmatch(name) is not None


def _names(spec: ExperimentSpec) -> Iterator[str]:
    """Mistakes in the names of other objects."""
    template, scheduling = spec.execution.template, spec.execution.scheduling
    reference = spec.storage.credentials_secret_ref
    given = {
        "spec.storage.credentialsSecretRef.name": reference.name if reference else None,
        f"{TEMPLATE}.serviceAccountName": template.service_account_name,
        "spec.execution.scheduling.queueName": scheduling.queue_name,
        "spec.execution.scheduling.workloadPriorityClass": scheduling.workload_priority_class,
        "spec.execution.scheduling.priorityClassName": scheduling.priority_class_name,
        "spec.execution.scheduling.schedulerName": scheduling.scheduler_name,
        "spec.execution.scheduling.runtimeClassName": scheduling.runtime_class_name,
    }
    for position, secret in enumerate(template.image_pull_secrets):
        given[f"{TEMPLATE}.imagePullSecrets[{position}]"] = secret
    for field, name in given.items():
        if name is not None and not SUBDOMAIN.fullmatch(name):
            yield f"{field} is {name!r}, which can be no name; use lower-case letters, digits, '-.'"


def _metadata(spec: ExperimentSpec) -> Iterator[str]:
    template = spec.execution.template
    for field, texts in (("labels", template.labels), ("annotations", template.annotations)):
        for key in texts:
            if not LABEL_KEY.fullmatch(key):
                yield f"{TEMPLATE}.{field} has {key!r}, which can be no key of {field}"
            elif RESERVED.fullmatch(key):
                yield f"{TEMPLATE}.{field} has {key!r}, which is reserved for controllers"
    yield from _label_values(template.labels, f"{TEMPLATE}.labels")


def _label_values(labels: Mapping[str, str], at: str) -> Iterator[str]:
    for key, value in labels.items():
        if not LABEL_VALUE.fullmatch(value):
            yield f"{at} has {key!r}: {value!r}; use letters, digits and, between them, '-_.'"


def _environment(spec: ExperimentSpec) -> Iterator[str]:
    reserved = {*CREDENTIALS, SESSION_TOKEN} if spec.storage.credentials_secret_ref else set()
    seen = set[str]()
    for position, entry in enumerate(spec.execution.template.env):
        at = f"{TEMPLATE}.env[{position}]"
        yield from _mistakes(Variable, entry, at)
        name = str(entry.get("name"))
        if name in reserved:
            yield f"{at}.name is {name}, which spec.storage.credentialsSecretRef gives"
        elif OUR_VARIABLES.fullmatch(name) and name not in FREE_VARIABLES:
            yield f"{at}.name is {name}, which the trainer's processes are told by; leave it out"
        if name in seen:
            yield f"{at}.name is {name}, which stands there twice"
        seen.add(name)


def _volumes(spec: ExperimentSpec) -> Iterator[str]:
    template = spec.execution.template
    known = set[str]()
    for position, volume in enumerate(template.volumes):
        at = f"{TEMPLATE}.volumes[{position}]"
        source = {key: value for key, value in volume.items() if key != "name"}
        yield from _mistakes(VolumeSource, source, at)
        yield from _mistakes(NamedObject, {"name": volume.get("name")}, at)
        name = str(volume.get("name"))
        if name in OUR_MOUNTS or name in known:
            yield f"{at}.name is {name!r}, which is taken; give it another name"
        known.add(name)
    paths = set[str]()
    for position, mount in enumerate(template.volume_mounts):
        at = f"{TEMPLATE}.volumeMounts[{position}]"
        yield from _mistakes(Mount, mount, at)
        name, path = str(mount.get("name")), str(mount.get("mountPath"))
        if name not in known:
            yield f"{at}.name is {name!r}, which is none of {TEMPLATE}.volumes"
        if not re.fullmatch(r"(/[^/:]+)+", path) or {".", ".."} & set(path.split("/")):
            yield f"{at}.mountPath is {path!r}; write a plain path from / on, such as /data"
        elif path in paths or any(_is_within(ours, path) for ours in OUR_MOUNTS.values()):
            yield f"{at}.mountPath is {path!r}, which is taken"
        elif any(_is_within(path, folder) for folder in CLOSED_FOLDERS):
            yield f"{at}.mountPath is {path!r}, where nothing can be mounted"
        paths.add(path)


def _is_within(path: str, folder: str) -> bool:
    return f"{path}/".startswith(f"{folder}/")


def _places(spec: ExperimentSpec) -> Iterator[str]:
    """Yield the settings that decide where pods may run."""
    template = spec.execution.template
    for key in template.node_selector:
        if not LABEL_KEY.fullmatch(key):
            yield f"{TEMPLATE}.nodeSelector has {key!r}, which can be no label"
    yield from _label_values(template.node_selector, f"{TEMPLATE}.nodeSelector")
    for field, model, entries in (
        ("tolerations", Toleration, template.tolerations),
        ("topologySpreadConstraints", Spread, template.topology_spread_constraints),
    ):
        yield from _mistakes_of_each(model, entries, f"{TEMPLATE}.{field}")
    if template.affinity is not None:
        yield from _mistakes(Affinity, template.affinity, f"{TEMPLATE}.affinity")


def _mistakes_of_each(
    model: type[Document], entries: Sequence[Mapping[str, Any]], at: str
) -> Iterator[str]:
    for position, entry in enumerate(entries):
        yield from _mistakes(model, entry, f"{at}[{position}]")


def _mistakes(model: type[Document], document: object, at: str) -> Iterator[str]:
    try:
        parse(model, document, at=at)
    except SpecError as error:
        yield from str(error).splitlines()
