"""Every name that more than one process spells: keys in the store, labels, table rows."""

import hashlib
from typing import Final

GROUP: Final = "supreme.dev"
VERSION: Final = "v1alpha1"
KIND: Final = "UnlearningExperiment"
PLURAL: Final = "unlearningexperiments"
API_VERSION: Final = f"{GROUP}/{VERSION}"

KINDS: Final = (
    "dataset",
    "model",
    "scenario",
    "method",
    "wrapper",
    "metric",
    "probe",
    "seed_metric",
    "objective",
    "optimizer",
    "schedule",
    "augmentation",
)
"""Kinds of components, in the order of the registries."""

DEFAULT_STORE: Final = "supreme-store"
"""The folder that commands use where neither they nor the experiment name a store."""

LOCAL_NAMESPACE: Final = "local"
"""The namespace of an experiment that `supreme run` computes without a cluster."""

ORIGINAL: Final = "original"
RETRAINED: Final = "retrained"
UNTRAINED: Final = "untrained"
"""A model that some metrics compare with; no run of the table."""
REFERENCES: Final = (ORIGINAL, RETRAINED)
"""Rows of every table; no method may carry one of these as its label."""
NOISED: Final = "noised-original"
SANITY: Final = (UNTRAINED, NOISED)
"""Models of tuning seeds that an honest objective ranks low: they are no use to anybody."""

EXPERIMENT_LABEL: Final = f"{GROUP}/experiment"
UID_LABEL: Final = f"{GROUP}/experiment-uid"
SEED_LABEL: Final = f"{GROUP}/seed"
INDEX_LABEL: Final = f"{GROUP}/index"
ATTEMPT_LABEL: Final = f"{GROUP}/attempt"
PART_LABEL: Final = f"{GROUP}/part"
TUNING_PART: Final = "tuning"
"""Label of the objects of tuning seeds, and its value; those of the other seeds have none."""
MANAGED_BY_LABEL: Final = "app.kubernetes.io/managed-by"
OPERATOR: Final = "supreme-operator"

RETRIES_ANNOTATION: Final = f"{GROUP}/retries"
DISRUPTIONS_ANNOTATION: Final = f"{GROUP}/disruptions"
WORK_ANNOTATION: Final = f"{GROUP}/work"
BACKEND_ANNOTATION: Final = f"{GROUP}/backend"
TEMPLATE_ANNOTATION: Final = f"{GROUP}/template"
"""Annotations of a child: what its seed has cost so far, the digest of the work it computes, its
kind, and the digest of what it is made of."""

CONTAINER: Final = "pytorch"
"""The trainer's container in every pod; PyTorchJob accepts no other name."""

METRICS_PORT: Final = 9400
METRICS_PORT_VARIABLE: Final = "SUPREME_METRICS_PORT"
"""Port at which a pod serves the metrics of its trainer, and the variable that tells it to."""

PLUGINS_VARIABLE: Final = "SUPREME_PLUGINS"
"""The files of components that a trainer is given, separated as in PATH."""

TERMINATION_LOG: Final = "/dev/termination-log"
"""File for a container's last words, which Kubernetes keeps in the pod's status."""

ORDER_VOLUME: Final = "order"
ORDER_FOLDER: Final = "/etc/supreme"
ORDER_FILE: Final = "order.json"
"""The volume and the folder in which a pod finds its shared order, and its key there."""

DEVICES: Final = ("auto", "cpu", "cuda", "mps")
"""Devices on which `supreme run` can compute; pods have no mps, which is Apple's."""

MANIFEST: Final = "manifest.json"
LEASE: Final = "lease-"
"""Prefix of the names of leases, which end with a number of four digits or more."""
WEIGHTS: Final = "weights.safetensors"
PREDICTIONS: Final = "predictions.safetensors"
PROBE: Final = "probe.safetensors"
IMPORTANCES: Final = "importances.safetensors"
LOGIT_CONFIDENCE: Final = "margins.safetensors"  # as the stage `margins`: stored names stay


def family_name(experiment: str, uid: str) -> str:
    """Prefix of the names of an experiment's objects, at most 40 characters.

    Derived from the uid, so that an experiment that is deleted and made again under its name meets
    no object of its predecessor. Pods of a child append to it up to `-worker-127`: 63 in all.
    """
    return f"{experiment[:34].rstrip('-')}-{hashlib.sha256(uid.encode()).hexdigest()[:5]}"


def child_name(
    experiment: str, uid: str, *, index: int, attempt: int, is_tuning: bool = False
) -> str:
    """index: place of the seed among those of the experiment, or among its tuning seeds."""
    return f"{family_name(experiment, uid)}-{'t' if is_tuning else 's'}{index}-a{attempt}"


def order_name(experiment: str, uid: str, digest: str) -> str:
    """The ConfigMap of a shared order; another order has another name."""
    return f"{family_name(experiment, uid)}-order-{digest[:8]}"


def artefact_prefix(stage: str, key: str) -> str:
    """Folder of one content-addressed piece of work; shared by all experiments of a store."""
    return f"objects/{stage}/{key[:2]}/{key}"


def checkpoint_key(stage: str, key: str) -> str:
    """The newest checkpoint of a stage that is being computed; gone once the stage is done."""
    return f"{artefact_prefix(stage, key)}/checkpoint"


def lease_key(stage: str, key: str, epoch: int) -> str:
    """The lease of whoever computes a stage; epoch: 1, and one more each time it is taken over."""
    return f"{artefact_prefix(stage, key)}/{LEASE}{epoch:04d}"


def experiment_prefix(namespace: str, name: str, uid: str) -> str:
    return f"experiments/{namespace}/{name}-{uid[:8]}"


def import_prefix(name: str) -> str:
    """Folder of a summary of numbers that were computed elsewhere."""
    return f"imports/{name}"


def seed_prefix(experiment: str, seed: int) -> str:
    return f"{experiment}/seed={seed}"


def attempt_prefix(experiment: str, seed: int, attempt: int) -> str:
    return f"{seed_prefix(experiment, seed)}/attempt={attempt}"


def order_key(experiment: str) -> str:
    return f"{experiment}/order.json"


def result_key(attempt: str) -> str:
    return f"{attempt}/result.json"


def at_work_key(attempt: str) -> str:
    """The order of an attempt whose processes share out stages, for those of other seeds."""
    return f"{attempt}/at-work.json"


def progress_key(attempt: str) -> str:
    return f"{attempt}/progress.json"


def failed_run_key(attempt: str, crew: str, stage: str) -> str:
    """A run that failed in one of several processes of an attempt, or what several runs need.

    crew: name of these processes.  stage: the key of the run's metrics, or of what failed.
    """
    return f"{attempt}/failed-{crew}-{stage[:32]}.json"


def fault_key(attempt: str) -> str:
    return f"{attempt}/fault.json"


def log_key(attempt: str, machine: str = "") -> str:
    """machine: where it is not the one of rank 0."""
    return f"{attempt}/run-{machine}.log" if machine else f"{attempt}/run.log"


def proposals_key(experiment: str) -> str:
    """Key of the trials that a sampler has proposed, of the experiment whose folder is given."""
    return f"{experiment}/proposals.json"


def selection_key(experiment: str) -> str:
    """The settings that were chosen in tuning, with all that was looked at."""
    return f"{experiment}/selection.json"


def summary_key(experiment: str) -> str:
    return f"{experiment}/summary.json"


def table_key(experiment: str) -> str:
    return f"{experiment}/summary.csv"


def over_seeds_key(experiment: str) -> str:
    return f"{experiment}/over_seeds.csv"


def report_key(experiment: str) -> str:
    return f"{experiment}/report.html"


def checksums_key(experiment: str) -> str:
    return f"{experiment}/SHA256SUMS"


def summary_keys(experiment: str) -> tuple[str, ...]:
    """Everything that publishing an experiment writes; the digests, which say so, come first."""
    named = (checksums_key, report_key, table_key, over_seeds_key, summary_key)
    return tuple(key(experiment) for key in named)


def metric_row(title: str, on: str | None = None) -> str:
    """The row of one metric in every table: `forget_accuracy`, or `speed_up` without a set."""
    return f"{on}_{title}" if on else title


def trial_title(method: str, number: int) -> str:
    """Title of a trial of a method in a tuning seed; no method can be called so."""
    return f"{method}#{number}"


def trial_of(title: str) -> tuple[str, int]:
    """The method and the number of a trial, or the title itself and 0."""
    method, _, number = title.partition("#")
    return method, int(number or 0)


def as_given_title(method: str) -> str:
    """Title of a tuned method with the settings that the experiment gives, beside the chosen
    ones."""
    return f"{method}.as-given"
