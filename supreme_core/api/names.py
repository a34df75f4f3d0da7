"""Every name that more than one process spells: keys in the store, exit codes, table rows."""

from typing import Final

GROUP: Final = "supreme.dev"
VERSION: Final = "v1alpha1"
KIND: Final = "UnlearningExperiment"
API_VERSION: Final = f"{GROUP}/{VERSION}"

LOCAL_NAMESPACE: Final = "local"
"""The namespace of an experiment that `supreme run` computes without a cluster."""

EXIT_OK: Final = 0
EXIT_ERROR: Final = 1
EXIT_INVALID: Final = 2
EXIT_TEMPORARY: Final = 75
EXIT_INTERRUPTED: Final = 130
EXIT_TERMINATED: Final = 143

ORIGINAL: Final = "original"
RETRAINED: Final = "retrained"
REFERENCES: Final = (ORIGINAL, RETRAINED)
"""Rows of every table; no method may carry one of these as its label."""

MANIFEST: Final = "manifest.json"
WEIGHTS: Final = "weights.safetensors"
PREDICTIONS: Final = "predictions.safetensors"


def artefact_prefix(stage: str, key: str) -> str:
    """Where one content-addressed piece of work lies; shared by all experiments of a store."""
    return f"objects/{stage}/{key[:2]}/{key}"


def checkpoint_key(stage: str, key: str) -> str:
    """The newest checkpoint of a stage that is being computed; gone once the stage is done."""
    return f"{artefact_prefix(stage, key)}/checkpoint"


def experiment_prefix(namespace: str, name: str, uid: str) -> str:
    return f"experiments/{namespace}/{name}-{uid[:8]}"


def seed_prefix(experiment: str, seed: int) -> str:
    return f"{experiment}/seed={seed}"


def attempt_prefix(experiment: str, seed: int, attempt: int) -> str:
    return f"{seed_prefix(experiment, seed)}/attempt={attempt}"


def order_key(experiment: str) -> str:
    return f"{experiment}/order.json"


def result_key(attempt: str) -> str:
    return f"{attempt}/result.json"


def log_key(attempt: str) -> str:
    return f"{attempt}/run.log"


def summary_key(experiment: str) -> str:
    return f"{experiment}/summary.json"


def table_key(experiment: str) -> str:
    return f"{experiment}/summary.csv"


def report_key(experiment: str) -> str:
    return f"{experiment}/report.html"


def metric_row(title: str, on: str | None = None) -> str:
    """The row of one metric in every table: `forget_accuracy`, or `speed_up` without a set."""
    return f"{on}_{title}" if on else title
