"""Numbers that supreme-unlearning computed, by setting, scenario, method and seeds.

A metric's numbers stand in a file as

    {metric: {"test": {"unlearning_method": {name: {"final_value": number}}}}}

without "test" for metrics that have no data. Beside the metrics stand resources, whose names begin
with a capital. Whatever is not understood is skipped and said.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from supreme_core.errors import SpecError, number_of, one_line
from supreme_core.importing.metrics import ALLOWED, METRICS, OF_THE_RUN, SECONDS, RowOf, row_of

MOST_RESULTS: Final = 100_000
ROUNDING: Final = 1e-6
"""Distance from its range at which a number is the end of the range: the reference subtracts in
single precision, and finds -1e-10 nats between a model and itself."""


@dataclass(frozen=True, order=True)
class ImportedSetting:
    """Experimental setting of imported results; each has a table of its own.

    precision, gpus, classes: "" and 0 where a table of runs does not say.
    """

    dataset: str
    model: str
    forgets: str
    precision: str
    gpus: int
    classes: int
    batches_per_gpu: bool = False

    def __str__(self) -> str:
        told = [self.dataset, self.model, f"forgets {self.forgets}"]
        told += [f"precision {self.precision}"] * bool(self.precision)
        told += [number_of(self.gpus, "GPU")] * bool(self.gpus)
        told += [number_of(self.classes, "class", "classes")] * bool(self.classes)
        told += ["batches per GPU"] * self.batches_per_gpu
        return ", ".join(told)


@dataclass(frozen=True)
class ImportedResult:
    """One run.  values: by row, in the unit of ours; None where it has no number for it."""

    setting: ImportedSetting
    scenario: str
    target: str
    method: str
    train_seed: int
    unlearn_seed: int
    values: Mapping[str, float | None]


@dataclass
class FoundResults:
    """skipped: what was not read, and why, with how often.  assumed: sentences on what tables do
    not say."""

    skipped: dict[str, int] = field(default_factory=dict)
    assumed: set[str] = field(default_factory=set)
    _runs: dict[tuple[object, ...], ImportedResult] = field(default_factory=dict)

    @property
    def evaluations(self) -> list[ImportedResult]:
        return list(self._runs.values())

    def add(self, found: ImportedResult, *, source: str) -> None:
        """Take a run, once.  source: of a message."""
        seeds = found.train_seed, found.unlearn_seed
        first = self._runs.setdefault(
            (found.setting, found.scenario, found.target, found.method, *seeds), found
        )
        if first is not found:
            also = "" if first.values == found.values else ", and has other numbers"
            self.skip(f"{source}: {found.method} was there with the same seeds before{also}")

    def check(self) -> None:
        """Refuse more runs than there can be."""
        if len(self._runs) > MOST_RESULTS:
            raise SpecError(f"there are more than {MOST_RESULTS} results; give a part of them")

    def skip(self, what: str) -> None:
        what = one_line(what, 200)
        if what in self.skipped or len(self.skipped) < MOST_RESULTS:
            self.skipped[what] = self.skipped.get(what, 0) + 1


def values_in(document: object, scenario: str, found: FoundResults) -> dict[str, float | None]:
    """The rows of a file; whatever else stands in it is skipped and said."""
    if not isinstance(document, dict):
        raise SpecError(f"a file holds a {type(document).__name__} and no metrics")
    values: dict[str, float | None] = {}
    for metric, content in document.items():
        leaves = _leaves(content)
        if leaves is not None:
            for name, leaf in leaves.items():
                put(values, metric, name, leaf, scenario, found)
        elif not metric[:1].isupper():
            found.skip(f"metric {metric!r}: there is no number of a model in it")
    return values


def put(
    values: dict[str, float | None],
    metric: str,
    name: str,
    leaf: object,
    scenario: str,
    found: FoundResults,
) -> None:
    """Put a number into its row; what belongs to no row is skipped and said."""
    if OF_THE_RUN.fullmatch(name):
        return
    if name == SECONDS:
        if leaf is None:
            return  # of a model that was loaded without its time
        metric = SECONDS
    row = row_of(metric, name, scenario)
    if row is not None:
        values[row.name] = _number(leaf, row, found)
    elif metric in METRICS:
        found.skip(f"{metric}.{name}: nothing of ours in scenario {scenario}")
    else:
        found.skip(f"own metric {metric!r}: its name is not {ALLOWED}")


def _leaves(content: object) -> Mapping[str, object] | None:
    """Values by name, wherever the metric has them; None where it has no such thing."""
    if isinstance(content, dict) and "test" in content:
        content = content["test"]
    leaves = content.get("unlearning_method") if isinstance(content, dict) else None
    return leaves if isinstance(leaves, dict) else None


def _number(leaf: object, row: RowOf, found: FoundResults) -> float | None:
    """Return the number in our unit; None for no number, for infinity, and for what the metric
    cannot be."""
    value = leaf.get("final_value") if isinstance(leaf, dict) else leaf
    if isinstance(value, bool) or not isinstance(value, int | float):
        found.skip(f"{row.name}: it is no number")
        return None
    try:
        number = float(value) * row.factor
    except OverflowError:
        number = float("inf")
    if not row.low - ROUNDING <= number <= row.high + ROUNDING:  # nor is NaN
        found.skip(f"{row.name}: it is not finite or out of its range, {row.allowed}")
        return None
    return min(max(number, row.low), row.high)
