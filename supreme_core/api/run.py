"""The documents between plan, trainer and report: RunOrder, RunResult, Summary."""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from supreme_core.api import names
from supreme_core.api.model import Document, parse
from supreme_core.api.v1alpha1 import (
    MAX_SEEDS,
    SEED_LIMIT,
    Component,
    DataPlacement,
    LabelledComponent,
    Reuse,
    Training,
)

SCHEMA_VERSION: Literal[1] = 1
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
ShortText = Annotated[str, StringConstraints(max_length=1024)]
Title = Annotated[str, StringConstraints(max_length=128)]
JSON_VALUES = Annotated[dict[str, Any], Field(max_length=64)]


class ExperimentName(Document):
    """Which experiment of which namespace; uid tells two of the same name apart."""

    namespace: str = Field(max_length=63)
    name: str = Field(max_length=63)
    uid: str = Field(min_length=8, max_length=64)


class Work(Document):
    """What every seed of an experiment computes: the part of the spec that trainers read."""

    dataset: Component
    model: Component
    training: Training
    scenarios: list[LabelledComponent] = Field(min_length=1, max_length=64)
    methods: list[LabelledComponent] = Field(min_length=1, max_length=64)
    metrics: list[LabelledComponent] = Field(max_length=64)
    unlearning_repeats: int = Field(ge=1)
    evaluation_repeats: int = Field(ge=1)
    retrained_replicas: int = Field(ge=1)


class Keeping(Document):
    """What is reused, what is kept and where images lie: no number depends on it, unlike Work."""

    reuse: Reuse = "Any"
    data_placement: DataPlacement = "Auto"
    keep_unlearned_models: bool = False


class SharedOrder(Keeping):
    """What the trainers of all seeds are told; pods get it as a file, and their seed beside it."""

    schema_version: Literal[1] = SCHEMA_VERSION
    experiment: ExperimentName
    work: Work
    store: ShortText
    endpoint: ShortText | None = None
    region: ShortText | None = None

    def of_seed(self, seed: int, *, attempt: int) -> "RunOrder":
        """The whole order of one attempt; SpecError where the two numbers cannot be."""
        return parse(RunOrder, {**self.to_document(), "seed": seed, "attempt": attempt})


class RunOrder(SharedOrder):
    """What a trainer is to do: one seed, one attempt."""

    seed: int = Field(ge=0, le=SEED_LIMIT)
    attempt: int = Field(0, ge=0)

    @property
    def prefix(self) -> str:
        """The attempt's folder in the store."""
        return names.attempt_prefix(_prefix(self.experiment), self.seed, self.attempt)


class Progress(Document):
    """progress.json: how far an attempt is. Advisory: nothing is decided by it."""

    schema_version: Literal[1] = SCHEMA_VERSION
    seed: int = Field(ge=0, le=SEED_LIMIT)
    attempt: int = Field(ge=0)
    done: int = Field(ge=0, le=1_000_000, description="Stages that are finished.")
    total: int = Field(ge=0, le=1_000_000, description="Stages of the seed.")
    now: ShortText = Field("", description="What is being computed.")
    updated_at: ShortText


class Termination(Document):
    """What a trainer leaves in its pod's termination message, in at most 4096 bytes."""

    schema_version: Literal[1] = SCHEMA_VERSION
    result: Digest | None = Field(None, description="sha256 of result.json, which is written.")
    message: ShortText = Field("", description="Why there is none, in one line.")


class DatasetRecord(Document):
    """The data that a seed used."""

    name: Title
    digest: Digest
    train_samples: int = Field(ge=0)
    test_samples: int = Field(ge=0)
    classes: int = Field(ge=1)


class CellRecord(Document):
    """One scenario of a seed: what was forgotten."""

    scenario: Title
    forgets: Literal["classes", "samples"]
    forget_digest: Digest
    forget_samples: int = Field(ge=0)
    retain_samples: int = Field(ge=0)
    forget_test_samples: int = Field(ge=0)
    retrained_predictions: list[Digest] = Field(
        default_factory=list,
        max_length=16,
        description="Keys of Retrained's predictions, one for each replica.",
    )


class RunRecord(Document):
    """One method in one cell, one repeat. original and retrained too (repeat is the replica)."""

    scenario: Title
    method: Title
    repeat: int = Field(0, ge=0)
    status: Literal["ok", "failed"]
    reason: ShortText | None = None
    metrics: dict[Title, float | None] = Field(
        default_factory=dict,
        max_length=1024,
        description="Value of each row; null where it is not defined for this run.",
    )
    predictions: dict[Title, Digest] = Field(
        default_factory=dict,
        max_length=8,
        description="Keys of the stages whose predictions its metrics compare, by the model; the"
        " run's own is `unlearned`. Empty where there is no model.",
    )


class StageRecord(Document):
    """One stage of a seed: computed now, or found in the store."""

    stage: Title
    key: Digest
    status: Literal["computed", "reused"]
    wall_seconds: float = Field(ge=0)
    environment: Digest = Field(description="Digest of the environment that computed it.")


class RunResult(Document):
    """What one seed gave; written last, so its presence means that the seed is done."""

    schema_version: Literal[1] = SCHEMA_VERSION
    experiment: ExperimentName
    work_digest: Digest = Field(description="Digest of the Work that it answers.")
    seed: int = Field(ge=0, le=SEED_LIMIT)
    attempt: int = Field(ge=0)
    dataset: DatasetRecord
    cells: list[CellRecord] = Field(max_length=64)
    runs: list[RunRecord] = Field(max_length=100_000)
    stages: list[StageRecord] = Field(max_length=100_000)
    environments: dict[Digest, JSON_VALUES] = Field(max_length=64)
    kept_unlearned_models: bool = Field(
        False, description="The weights of all its unlearned models are in the store."
    )
    started_at: ShortText
    finished_at: ShortText


class ExperimentOrder(Keeping):
    """order.json: the whole plan of an experiment, as its results are read back."""

    schema_version: Literal[1] = SCHEMA_VERSION
    experiment: ExperimentName
    work: Work
    seeds: list[int] = Field(min_length=1, max_length=MAX_SEEDS)
    excluded: list["Exclusion"] = Field(max_length=4096)
    primary_metric: Title
    seed_metrics: list[LabelledComponent] = Field(
        default_factory=list,
        max_length=16,
        description="Metrics over seeds, computed when results are published; empty means the"
        " default set.",
    )

    @property
    def prefix(self) -> str:
        """The experiment's folder in the store."""
        return _prefix(self.experiment)

    def result_key(self, seed: int, attempt: int) -> str:
        """Where the result of an attempt lies."""
        return names.result_key(names.attempt_prefix(self.prefix, seed, attempt))

    def shared(self, *, store: str, endpoint: str | None, region: str | None) -> SharedOrder:
        """What trainers are told.  store: its URI."""
        return SharedOrder(
            experiment=self.experiment,
            work=self.work,
            reuse=self.reuse,
            data_placement=self.data_placement,
            keep_unlearned_models=self.keep_unlearned_models,
            store=store,
            endpoint=endpoint,
            region=region,
        )


def _prefix(name: ExperimentName) -> str:
    return names.experiment_prefix(name.namespace, name.name, name.uid)


class Gap(Document):
    """Paired difference to the same seed's Retrained: mean and 95 % t interval over n seeds."""

    n: int = Field(ge=0)
    mean: float
    low: float | None
    high: float | None
    difference_p: float | None = Field(description="p of the exact sign-flip test of no gap.")
    adjusted_p: float | None = Field(
        description="The same after Holm, over the methods of this scenario and metric."
    )
    margin: float | None = Field(
        description="A mean gap below it is of no account: the metric's own margin, or twice the"
        " noise between Retrained models where that is larger. Null where there is neither."
    )
    equivalence_p: float | None = Field(
        description="p of two one-sided t tests that the mean gap is within the margin."
    )
    verdict: Literal["equivalent", "different", "inconclusive"]


class Floor(Document):
    """The metric between Retrained models that differ only in chance: what 0 looks like."""

    n: int = Field(ge=1, description="Pairs of Retrained models.")
    mean: float
    low: float = Field(description="Smallest of the pairs.")
    high: float = Field(description="Largest of the pairs.")
    source: Literal["seeds", "replicas"]


class Row(Document):
    """One metric of one method in one scenario over the seeds."""

    scenario: Title
    method: Title
    metric: Title
    n: int = Field(ge=0, description="Seeds with a value.")
    mean: float | None
    sd: float | None = Field(description="Sample standard deviation; null below 2 seeds.")
    low: float | None = Field(description="Lower end of the 95 % t interval of the mean.")
    high: float | None
    gap: Gap | None = Field(description="Null for distances to Retrained and for measured rows.")
    floor: Floor | None = None
    values: dict[str, float | None] = Field(
        max_length=MAX_SEEDS, description="Value of each seed, by seed."
    )


class SeedRow(Document):
    """What a row over seeds is, by the facts of its metric."""

    metric: Title = Field(description="Title of the metric; a row for each number on each set.")
    unit: ShortText
    best: Literal["lowest", "highest", "null"] = Field(
        description="The value of perfect unlearning; null: that of Retrained against Retrained."
    )
    low: float | None
    high: float | None
    fewest: int = Field(ge=1, description="Models that it needs on either side.")
    summary: ShortText
    source: ShortText


class Null(Document):
    """The same number with Retrained in the place of the unlearned models, on the same seeds."""

    n: int = Field(ge=1, description="Ways in which one half of the seeds met the other.")
    mean: float
    low: float = Field(description="Smallest of them.")
    high: float = Field(description="Largest of them.")


class SeedValue(Document):
    """One number over seeds: unlearned models against Retrained models that forgot the same.

    The models of one half of the seeds meet Retrained of the other half; value and null are means
    over the same halves, so that both see as many models.
    """

    scenario: Title
    method: Title
    metric: Title = Field(description="Name of the row.")
    n: int = Field(ge=0, description="Seeds; half of them on either side.")
    value: float | None
    low: float | None = Field(
        None, description="Lower end of the 95 % interval, by a jackknife over seeds."
    )
    high: float | None = None
    null: Null | None = None
    excess: float | None = Field(None, description="Value minus null.")
    excess_low: float | None = Field(None, description="Lower end of its 95 % interval.")
    excess_high: float | None = None
    reason: ShortText | None = Field(None, description="Why there is no value.")


class Curve(Document):
    """ROC curve of an attack that calls forgotten samples of large margin members.

    Against held-out samples of the same classes; averaged vertically over seeds.
    """

    scenario: Title
    method: Title
    n: int = Field(ge=1, description="Seeds.")
    fpr: list[float] = Field(max_length=256, description="Shares of false alarms.")
    tpr: list[float] = Field(max_length=256, description="Mean share of members found at each.")
    low: list[float | None] = Field(
        max_length=256, description="Lower ends of the 95 % t intervals of those means."
    )
    high: list[float | None] = Field(max_length=256)


class OverSeeds(Document):
    """What is said of the distribution of models over seeds."""

    metrics: dict[Title, SeedRow] = Field(default_factory=dict, description="By row.")
    values: list[SeedValue] = Field(default_factory=list)
    curves: list[Curve] = Field(default_factory=list)


class Failure(Document):
    """A run that gave no model, a run that collapsed, or a seed without a result."""

    scenario: Title | None
    method: Title | None
    seed: int
    kind: Literal["failed", "collapsed", "missing"]
    reason: ShortText


class Exclusion(Document):
    """A pair that the plan left out, and why."""

    scenario: Title
    method: Title
    reason: ShortText


class SummaryExperiment(Document):
    name: Title
    digest: Digest = Field(description="Digest of the Work.")


class Summary(Document):
    """summary.json: everything that the table and the report show."""

    schema_version: Literal[1] = SCHEMA_VERSION
    experiment: SummaryExperiment
    primary_metric: Title
    seeds: list[int]
    partial: bool = Field(description="Some seed has no result, or some run failed.")
    rows: list[Row]
    failures: list[Failure]
    excluded: list[Exclusion]
    over_seeds: OverSeeds = Field(default_factory=OverSeeds)
    provenance: dict[str, Any]
