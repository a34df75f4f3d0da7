"""The metrics of supreme-unlearning, under names that no metric of ours has."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from supreme_core.analysis.provenance import RowFacts
from supreme_core.api import names
from supreme_core.importing.known_errors import KNOWN_ERRORS
from supreme_core.registry import Direction, SetName

SOURCE: Final = "supreme-unlearning, arXiv:2606.00380"
LARGEST: Final = 1e12
"""Largest number of a metric without a bound of its own; a larger one comes from no such file."""

ACCURACY: Final = "reference_accuracy"

SECONDS: Final = "core_time_elapsed"
"""Field of the run's time, which every metric repeats; imported as a metric of this name."""

OF_THE_RUN: Final = re.compile(
    rf"{SECONDS}[._].+|(?:memory_usage|compute_utilisation|gpu_ids)(?:[._].*)?"
)
"""Other fields that every metric repeats of the run; in tables those below them too."""

OWN: Final = "reference_own_"
"""Beginning of the titles of metrics that were registered with the reference, before their own
names."""

NAME: Final = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,47}"
"""Name of a method, a data set, a network, a target or an own metric of the reference."""

ALLOWED: Final = "up to 48 letters, digits and _ . -"
"""NAME in words."""


@dataclass(frozen=True, kw_only=True)
class ImportedMetric:
    """title: ours.  leaves: of a file, with the set that each is of, None for the whole run."""

    title: str
    leaves: Mapping[str, Literal["whole", "retain", "forget"] | None]
    summary: str
    unit: str
    group: str
    compares: bool = False
    direction: Direction = "retrained"
    measured: bool = False
    factor: float = 1.0
    low: float | None = None
    high: float | None = None
    margin: float | None = None


def _of_sets(stem: str) -> dict[str, Literal["whole", "retain", "forget"] | None]:
    return {f"{stem}_whole": "whole", f"{stem}_retain": "retain", f"{stem}_forget": "forget"}


METRICS: Final[Mapping[str, ImportedMetric]] = {
    "accuracy": ImportedMetric(
        title=ACCURACY,
        leaves={"whole_acc": "whole", "retain_acc": "retain", "forget_acc": "forget"},
        summary="Mean over batches of the share of right answers.",
        unit="fraction",
        group="accuracy",
        factor=0.01,
        low=0.0,
        high=1.0,
        margin=0.01,
    ),
    "loss": ImportedMetric(
        title="reference_loss",
        leaves={"whole_loss": "whole", "retain_loss": "retain", "forget_loss": "forget"},
        summary="Mean over batches of the cross-entropy.",
        unit="nats",
        group="accuracy",
        low=0.0,
    ),
    "jsdiv": ImportedMetric(
        title="reference_js",
        leaves=_of_sets("jsdiv"),
        summary="Not the JS divergence: half of KL(m, p) + KL(m, q), by the number of classes.",
        unit="nats per class",
        group="distance",
        compares=True,
        direction="lower",
        low=0.0,
    ),
    "activation_distance": ImportedMetric(
        title="reference_activation_distance",
        leaves=_of_sets("activation_distance"),
        summary="Root mean square of the distances between softmax outputs.",
        unit="probability",
        group="distance",
        compares=True,
        direction="lower",
        low=0.0,
        high=1.4143,
    ),
    "completeness": ImportedMetric(
        title="reference_completeness",
        leaves=_of_sets("completeness"),
        summary="Share of samples with Retrained's answer.",
        unit="fraction",
        group="distance",
        compares=True,
        direction="higher",
        factor=0.01,
        low=0.0,
        high=1.0,
    ),
    "layerwise_distance": ImportedMetric(
        title="reference_layer_distance",
        leaves={"layerwise_distance": None},
        summary="Euclidean distance of all parameters to Retrained's.",
        unit="parameter",
        group="distance",
        compares=True,
        direction="lower",
        low=0.0,
    ),
    "zrf": ImportedMetric(
        title="reference_zrf",
        leaves={"final_zrf": "forget"},
        summary="1 minus reference_js to a network that was never trained.",
        unit="fraction",
        group="distance",
        high=1.0,
    ),
    "membership_inference_attack": ImportedMetric(
        title="reference_mia",
        leaves={"mia": None},
        summary="Share of the forget set that an attack on entropy takes for members.",
        unit="fraction",
        group="membership",
        low=0.0,
        high=1.0,
    ),
    "time": ImportedMetric(
        title="reference_speed_up",
        leaves={"speedup": None},
        summary="Time of Retrained divided by the method's.",
        unit="ratio",
        group="cost",
        measured=True,
        direction="higher",
        low=0.0,
    ),
    SECONDS: ImportedMetric(
        title="reference_wall_seconds",
        leaves={SECONDS: None},
        summary="Seconds on the clock that the model took, on its slowest GPU.",
        unit="seconds",
        group="cost",
        measured=True,
        direction="lower",
        low=0.0,
    ),
}
"""Imported metrics by the name in a file, in the order of the table."""


@dataclass(frozen=True)
class RowOf:
    """Row to which a number of a file belongs.  low, high: no number beyond them is one."""

    name: str
    factor: float
    low: float
    high: float

    @property
    def allowed(self) -> str:
        """Range of the numbers, in the unit of the file."""
        low, high = (f"{end / self.factor:g}" for end in (self.low, self.high))
        if self.low == -LARGEST:
            return f"up to {high}"
        return f"from {low} on" if self.high == LARGEST else f"{low} to {high}"


def row_of(metric: str, leaf: str, scenario: str) -> RowOf | None:
    """None for what is no row: a leaf that its metric does not have, the second pass over the same
    samples, or an own metric whose name cannot be one."""
    found = METRICS.get(metric)
    if found is None:
        return _own_row(metric, leaf)
    if leaf not in found.leaves:
        return None
    part, on = found.leaves[leaf], None
    if part is not None:
        on = SETS["samples" if scenario == "random_" else "classes"].get(part)
        if on is None:
            return None
    low = -LARGEST if found.low is None else found.low
    high = LARGEST if found.high is None else found.high
    return RowOf(names.metric_row(found.title, on), found.factor, low, high)


def _own_row(metric: str, leaf: str) -> RowOf | None:
    if not (re.fullmatch(NAME, metric) and re.fullmatch(NAME, leaf)):
        return None
    title = OWN + (metric if leaf == metric else f"{metric}_{leaf}")
    return RowOf(title, 1.0, -LARGEST, LARGEST)


SETS: Final[Mapping[str, Mapping[str, SetName]]] = {
    "classes": {"forget": "forget_test", "retain": "retain_test", "whole": "test"},
    "samples": {"forget": "forget", "whole": "test"},
}
"""Names of the reference's sets by kind of scenario. Where samples are forgotten, "forget"
are training samples and "retain" is all of the test set once more."""


def facts_of(forgets: str) -> dict[str, RowFacts]:
    """The rows of a table of the reference, each with the numbers of its known errors."""
    rows = {}
    for metric in METRICS.values():
        on: list[SetName | None] = [
            SETS[forgets].get(part) if part else None
            for part in metric.leaves.values()
            if part is None or part in SETS[forgets]
        ]
        for each in on:
            rows[names.metric_row(metric.title, each)] = RowFacts(
                metric=metric.title,
                on=each,
                group=metric.group,
                unit=metric.unit,
                compares=metric.compares,
                measured=metric.measured,
                random=False,
                low=metric.low,
                high=metric.high,
                direction=metric.direction,
                margin=metric.margin,
                references=["retrained"] if metric.measured else ["original", "retrained"],
                summary=metric.summary + _errors_of(metric.title),
                source=SOURCE,
            )
    return rows


def own_facts(title: str) -> RowFacts:
    """Facts of a row of an own metric, of which nothing is known but the number."""
    return RowFacts(
        metric=title,
        on=None,
        group="others",
        unit="",
        compares=False,
        measured=False,
        random=False,
        low=None,
        high=None,
        direction="retrained",
        margin=None,
        references=["original", "retrained"],
        summary="A metric that was registered with the reference, as it was computed there.",
        source=SOURCE,
    )


def _errors_of(title: str) -> str:
    numbers = [str(error.number) for error in KNOWN_ERRORS if title in error.metrics]
    return f" Known errors {', '.join(numbers)}." if numbers else ""
