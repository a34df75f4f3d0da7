"""The UnlearningExperiment resource, supreme.dev/v1alpha1: what a user asks for.

Both ways to run an experiment read these models: `supreme run` from a file, the operator from the
API server. A description given here is what `kubectl explain`, docs/api.md and the CRD say.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from supreme_core.api import names
from supreme_core.api.model import (
    HTTP_PATTERN,
    LABEL_PATTERN,
    NAME_PATTERN,
    QUANTITY_PATTERN,
    Document,
    shown,
)
from supreme_core.api.rules import UNIQUE, Rule, keyed, validations
from supreme_core.errors import nearest

MAX_SEEDS = 1000
MAX_SUMMARY_ROWS = 200
MAX_MARGINS = 128
MAX_MICRO_BATCHES = 64
SEED_LIMIT = 2**32 - 1
MAX_REPEATS = 100
MAX_REPLICAS = 10
MAX_TRIALS = 1024
MAX_LABEL = 63
FIRST_SEED = 260
SEED_COUNT = 10
FIRST_TUNING_SEED = 9000
TUNING_SEED_COUNT = 3
MAX_SECONDS = 2**31 - 1

ComponentName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_./-]*$", max_length=128)
]
Label = Annotated[str, StringConstraints(pattern=LABEL_PATTERN, max_length=MAX_LABEL)]
Quantity = Annotated[
    str,
    StringConstraints(pattern=QUANTITY_PATTERN, max_length=32),
]
Indexes = Annotated[
    str,
    StringConstraints(pattern=r"^([0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*)?$", max_length=4096),
]
LabelValue = Annotated[str, StringConstraints(max_length=63)]
AnnotationText = Annotated[str, StringConstraints(max_length=65_536)]
ObjectName = Annotated[str, StringConstraints(max_length=253)]
MarginSize = Annotated[float, Field(gt=0)]
Precision = Literal["fp32", "tf32", "bf16", "fp16", "fp64"]
EvaluationPrecision = Literal["fp32", "tf32", "bf16"]
Reuse = Literal["Any", "SameEnvironment", "None"]
SeedProtocol = Literal["independent", "matched"]
MethodAugmentation = Literal["None", "Training"]
DataPlacement = Literal["Auto", "Resident", "Streamed"]
Distribution = Literal["Auto", "Stages", "Data"]
Sampler = Literal["sobol", "random", "grid", "tpe"]


class Component(Document):
    """A component of a registry, by name, with the parameters that it declares."""

    name: ComponentName = Field(description="Name of a component; `supreme list` shows all names.")
    params: dict[str, Any] = Field(
        default_factory=dict,
        description="Settings of the component; `supreme list` shows each with its default.",
    )


class LabelledComponent(Component):
    """A component that may appear several times with different parameters."""

    label: Label = Field(
        "", description="Name of this entry in tables; empty means the component's name."
    )

    @property
    def title(self) -> str:
        return self.label or self.name


def _search(value: object) -> object:
    """A word, or ranges by setting; what the ranges are is checked beside the method's settings."""
    words = ("default", "none")
    if isinstance(value, dict) or value in words:
        return value
    hint = nearest(value, words) if isinstance(value, str) else ""
    raise ValueError(
        f"it is {shown(value)}; allowed: default, none, or ranges by setting, such as"
        f" {{lr: {{log: [1.0e-4, 0.1]}}}}{hint}"
    )


Search = Annotated[
    str | dict[str, Any],
    BeforeValidator(_search),
    # A structural schema knows no union, so that the operator alone refuses what is neither.
    WithJsonSchema({"x-kubernetes-preserve-unknown-fields": True}),
]


class MethodEntry(LabelledComponent):
    """An unlearning method, and what is wrapped around it."""

    wrappers: list[Component] = Field(
        default_factory=list,
        max_length=4,
        exclude_if=lambda value: not value,  # so that older digests stay what they are
        description="Wrappers, the outermost first; each runs what is inside it in its own way.",
    )
    augmentation: MethodAugmentation = Field(
        "None",
        exclude_if=lambda value: value == "None",  # so that older digests stay what they are
        description="Augmentation of the samples that the method trains on: none, or that of the"
        " training (training.augmentation). Images that a method makes are not augmented, nor"
        " what it only looks at.",
    )
    search: Search = Field(
        "default",
        exclude_if=lambda value: value == "default",  # so that older digests stay what they are
        description="Settings that are tried where the experiment has `tuning`. default: those of"
        " the method's own space, which `supreme list method` shows. none: nothing is tried."
        " Else ranges by setting, each {log: [LOW, HIGH]}, {logToOne: [LOW, HIGH]} by the logarithm"
        " of what values lack to 1, {uniform: [LOW, HIGH]}, {int: [LOW, HIGH]} or"
        " {choice: [VALUE, ...]}.",
    )


def first_seed(seeds: str) -> str:
    """The first seed in CEL."""
    return f"{seeds}.?start.orValue({FIRST_SEED})"


def seed_count(seeds: str) -> str:
    """The number of seeds in CEL, where they are not listed."""
    return f"{seeds}.?count.orValue({SEED_COUNT})"


EITHER_FORM_OF_SEEDS = Rule(
    "give either list, or start and count, not both",
    cel="!has(self.list) || !has(self.start) && !has(self.count)",
)
SEEDS_IN_RANGE = Rule(
    f"start + count passes the largest seed, {SEED_LIMIT}",
    cel=f"{first_seed('self')} + {seed_count('self')} - 1 <= {SEED_LIMIT}",
)
ONE_STREAM_HAS_NO_REPEATS = Rule(
    "protocol is matched, where one stream serves training, unlearning and evaluation, but"
    " unlearningRepeats is {unlearning_repeats} and evaluationRepeats is {evaluation_repeats}; use"
    " 1 for both, or protocol independent",
    cel="!has(self.protocol) || self.protocol != 'matched'"
    " || self.unlearningRepeats == 1 && self.evaluationRepeats == 1",
)


class Seeds(Document):
    """The training seeds, which are the units of replication, and the repeats within each."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            EITHER_FORM_OF_SEEDS, SEEDS_IN_RANGE, ONE_STREAM_HAS_NO_REPEATS
        )
    )

    start: int | None = Field(
        None,
        ge=0,
        le=SEED_LIMIT,
        description=f"First of `count` consecutive seeds; {FIRST_SEED} where neither it nor a list"
        " is given.",
    )
    count: int | None = Field(
        None,
        ge=1,
        le=MAX_SEEDS,
        description=f"Number of seeds; may only grow; {SEED_COUNT} where neither it nor a list is"
        " given.",
    )
    explicit: list[Annotated[int, Field(ge=0, le=SEED_LIMIT)]] | None = Field(
        None,
        alias="list",
        min_length=1,
        max_length=MAX_SEEDS,
        description="The seeds one by one instead of start and count; append-only.",
        json_schema_extra=UNIQUE,
    )
    unlearning_repeats: int = Field(
        1, ge=1, le=MAX_REPEATS, description="Unlearning runs of each method in each cell (J)."
    )
    evaluation_repeats: int = Field(
        1, ge=1, le=MAX_REPEATS, description="Repeats of the metrics that draw random numbers (K)."
    )
    retrained_replicas: int = Field(
        1,
        ge=1,
        le=MAX_REPLICAS,
        description="Independent retrained models of each cell; 2 or more give a noise floor.",
    )
    protocol: SeedProtocol = Field(
        "independent",
        exclude_if=lambda value: value == "independent",  # so that older digests stay as they are
        description="Random streams. independent: training, each unlearning repeat and each"
        " evaluation repeat have one of their own. matched: all have that of the training seed, as"
        " in some studies, which confounds what each adds to the spread.",
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.explicit is not None:
            if self.start is not None or self.count is not None:
                raise EITHER_FORM_OF_SEEDS.broken()
            repeated = sorted({seed for seed in self.explicit if self.explicit.count(seed) > 1})
            if repeated:
                raise ValueError(f"list names a seed twice: {repeated[0]}")
        elif self.values()[-1] > SEED_LIMIT:
            raise SEEDS_IN_RANGE.broken()
        repeats = (self.unlearning_repeats, self.evaluation_repeats)
        if self.protocol == "matched" and repeats != (1, 1):
            raise ONE_STREAM_HAS_NO_REPEATS.broken(
                unlearning_repeats=repeats[0], evaluation_repeats=repeats[1]
            )
        return self

    def values(self) -> list[int]:
        if self.explicit is not None:
            return list(self.explicit)
        start = FIRST_SEED if self.start is None else self.start
        count = SEED_COUNT if self.count is None else self.count
        return list(range(start, start + count))


class Schedule(Component):
    """Learning rate over the epochs."""

    warmup_epochs: int = Field(
        0, ge=0, le=1000, description="Epochs of linear warm-up from near 0 to the full rate."
    )


POWERS_OF_TWO = [2**power for power in range(MAX_MICRO_BATCHES.bit_length())]
POWER_OF_TWO = Rule(
    "{value} is not a power of two; use {below} or {above} (the parts are added in a binary tree,"
    " which is what makes the sum the same on any number of ranks)",
    cel=f"self in {POWERS_OF_TWO}",
    shown={
        "value": "self",
        "below": f"{POWERS_OF_TWO[::-1]}.filter(power, power < self)[0]",
        "above": f"{POWERS_OF_TWO}.filter(power, power > self)[0]",
    },
)
NO_PARTS_WITH_DDP = Rule(
    "reduction is ddp, where each rank has one part of a batch, but microBatches is"
    " {micro_batches}; use 1, or reduction tree",
    cel="!has(self.reduction) || self.reduction != 'ddp' || self.microBatches == 1",
)
NO_BATCH_STATISTICS_WITH_DDP = Rule(
    "reduction is ddp, where BatchNorm sees the part of its rank, but batchNorm is batch; use"
    " micro_batch, or reduction tree",
    cel="!has(self.reduction) || self.reduction != 'ddp' || self.batchNorm != 'batch'",
)


SELECTION_NEEDS_VALIDATION = Rule(
    "selection is best_validation, but no samples are set aside to select by; give a"
    " validation.fraction",
    cel="!has(self.selection) || self.selection != 'best_validation' || has(self.validation)",
)


class Validation(Document):
    """A part of the training set that no model is trained on, drawn class by class."""

    fraction: float = Field(
        gt=0,
        le=0.5,
        description="Share of each class that is set aside; one sample at least, where it has two.",
    )
    draw: Literal["per_seed", "fixed"] = Field(
        "per_seed",
        description="Other samples for each training seed, or the same for all; fixed keeps"
        " forget sets that are the same for all seeds so.",
    )


class Training(Document):
    """The recipe of the original model, which every retrained model follows too."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            NO_PARTS_WITH_DDP, NO_BATCH_STATISTICS_WITH_DDP, SELECTION_NEEDS_VALIDATION
        )
    )

    epochs: int = Field(8, ge=0, le=10_000, description="Passes over the training set.")
    batch_size: int = Field(
        64, ge=1, le=65_536, description="Samples of one optimiser step, over all ranks."
    )
    micro_batches: int = Field(
        1,
        ge=1,
        le=MAX_MICRO_BATCHES,
        description="Parts that each batch is split into, a power of two. The number of ranks must"
        " divide it; each such number of ranks gives the same bits.",
        json_schema_extra=validations(POWER_OF_TWO),
    )
    reduction: Literal["tree", "ddp"] = Field(
        "tree",
        description="Sum of gradients over ranks: a fixed tree (same bits on any number of ranks)"
        " or torch's DistributedDataParallel (faster; the number of ranks is part of what a"
        " result means).",
    )
    batch_norm: Literal["micro_batch", "batch"] = Field(
        "micro_batch",
        exclude_if=lambda value: value == "micro_batch",  # so that older digests stay what they are
        description="Samples of BatchNorm's statistics: each micro-batch, or the whole batch, for"
        " which ranks meet at each such layer.",
    )
    max_gradient_norm: float | None = Field(
        None,
        gt=0,
        description="A gradient of a greater Euclidean norm is scaled down to it; unset: never.",
    )
    optimizer: Component = Field(
        default_factory=lambda: Component(
            name="sgd", params={"lr": 0.1, "momentum": 0.9, "weightDecay": 5e-4}
        ),
        description="Optimiser of the training.",
    )
    schedule: Schedule = Field(
        default_factory=lambda: Schedule(name="constant"), description="Learning rate over time."
    )
    augmentation: list[Component] = Field(
        default_factory=list,
        max_length=16,
        description="Augmentations in the order in which they are applied; training only.",
    )
    precision: Precision = Field(
        "fp32",
        description="Arithmetic of forward and backward passes in training and unlearning. tf32 is"
        " for GPUs; bf16 and fp16 are autocast, fp16 with a scaled loss. Weights, losses,"
        " importances and evaluation are fp32 even so; with fp64 all of them are.",
    )
    selection: Literal["last", "best_validation"] = Field(
        "last",
        description="Epoch whose weights are kept: the last one, or that with the best accuracy"
        " on the validation set, the first of equals. The test set never selects.",
    )
    validation: Validation | None = Field(
        None,
        description="Part of the training set that is set aside, for selection and for methods"
        " and wrappers that need it; unset: none.",
    )

    @field_validator("micro_batches")
    @classmethod
    def _power_of_two(cls, value: int) -> int:
        if value not in POWERS_OF_TWO:
            below, above = 1 << (value.bit_length() - 1), 1 << value.bit_length()
            raise POWER_OF_TWO.broken(value=value, below=below, above=above)
        return value

    @model_validator(mode="after")
    def _data_parallel_has_no_parts(self) -> Self:
        if self.reduction == "ddp" and self.micro_batches > 1:
            raise NO_PARTS_WITH_DDP.broken(micro_batches=self.micro_batches)
        if self.reduction == "ddp" and self.batch_norm == "batch":
            raise NO_BATCH_STATISTICS_WITH_DDP.broken()
        return self

    @model_validator(mode="after")
    def _selects_by_something(self) -> Self:
        if self.selection == "best_validation" and self.validation is None:
            raise SELECTION_NEEDS_VALIDATION.broken()
        return self


SOBOL_TRIALS = [2**power for power in range(MAX_TRIALS.bit_length())]
SOBOL_IN_POWERS = Rule(
    "trials is {trials}, and points of a Sobol sequence are even only in powers of two; use one of"
    f" {', '.join(map(str, SOBOL_TRIALS))}, or sampler random",
    cel=f"has(self.sampler) && self.sampler != 'sobol' || self.trials in {SOBOL_TRIALS}",
)

ROUNDS_HAVE_SEEDS = Rule(
    "rounds is {rounds}, and seeds.count is {count}; each round needs a tuning seed of its own",
    cel=f"self.?rounds.orValue(1) <= self.?seeds.?count.orValue({TUNING_SEED_COUNT})",
    shown={
        "rounds": "self.?rounds.orValue(1)",
        "count": f"self.?seeds.?count.orValue({TUNING_SEED_COUNT})",
    },
)
PROPOSALS_HAVE_ALL_SEEDS = Rule(
    "sampler is tpe, which proposes trials from those on all tuning seeds; leave rounds out, or use"
    " another sampler",
    cel="self.?rounds.orValue(1) == 1 || self.?sampler.orValue('sobol') != 'tpe'",
    at="rounds",
)

TUNING_SEEDS_IN_RANGE = Rule(
    f"start + count passes the largest seed, {SEED_LIMIT}",
    cel=f"self.?start.orValue({FIRST_TUNING_SEED}) + self.?count.orValue({TUNING_SEED_COUNT}) - 1"
    f" <= {SEED_LIMIT}",
)


def title_of(entry: str) -> str:
    """`LabelledComponent.title` in CEL."""
    return f"({entry}.label == '' ? {entry}.name : {entry}.label)"


ONLY_ONE = f"self.exists_one(other, {title_of('other')} == {title_of('entry')})"
TITLES_DIFFER = Rule(
    "'{title}' stands twice; give each entry a label of its own",
    cel=f"self.all(entry, {ONLY_ONE})",
    shown={"title": f"self.map(entry, !{ONLY_ONE}, {title_of('entry')})[0]"},
)
IS_REFERENCE = f"{title_of('entry')} in {list(names.REFERENCES)}"
NO_REFERENCE = Rule(
    "'{title}' is always there as a reference; leave it out",
    cel=f"!self.exists(entry, {IS_REFERENCE})",
    shown={"title": f"self.map(entry, {IS_REFERENCE}, {title_of('entry')})[0]"},
)
ENTRIES = keyed("name", "label") | validations(TITLES_DIFFER, NO_REFERENCE)


def check_titles(entries: "list[LabelledComponent]") -> "list[LabelledComponent]":
    """The entries, if their titles differ and none is that of a reference."""
    titles = [entry.title for entry in entries]
    for title in titles:
        if titles.count(title) > 1:
            raise TITLES_DIFFER.broken(title=title)
        if title in names.REFERENCES:
            raise NO_REFERENCE.broken(title=title)
    return entries


class TuningSeeds(Document):
    """Training seeds on which settings are tried; no table of the experiment has their numbers."""

    model_config = ConfigDict(json_schema_extra=validations(TUNING_SEEDS_IN_RANGE))

    start: int = Field(
        FIRST_TUNING_SEED, ge=0, le=SEED_LIMIT, description="First of `count` seeds."
    )
    count: int = Field(
        TUNING_SEED_COUNT,
        ge=1,
        le=100,
        description="Number of consecutive seeds on which each trial is made.",
    )

    @model_validator(mode="after")
    def _in_range(self) -> Self:
        if self.values()[-1] > SEED_LIMIT:
            raise TUNING_SEEDS_IN_RANGE.broken()
        return self

    def values(self) -> list[int]:
        return list(range(self.start, self.start + self.count))


class TuningBudget(Document):
    """Work that one trial may take."""

    share: float = Field(
        0.2,
        gt=0,
        le=10,
        description="Share of the work of Retrained's training in the same seed, counted in passes"
        " of samples: forward is one, forward and backward are three. A trial that takes more is"
        " stopped and counts as failed.",
    )


def _objective(value: object) -> object:
    if not isinstance(value, str | dict) or not value:
        raise ValueError(
            f"it is {shown(value)}; give the name of an objective, or rows of the table with their"
            " weights, such as {forget_accuracy: 1, retain_accuracy: 1}"
        )
    return value


Objective = Annotated[
    str | dict[str, Annotated[float, Field(gt=0)]],
    BeforeValidator(_objective),
    WithJsonSchema({"x-kubernetes-preserve-unknown-fields": True}),
]


class Tuning(Document):
    """Search for the settings of each method, with the same number of trials for all, on training
    seeds and samples of its own."""

    model_config = ConfigDict(
        json_schema_extra=validations(SOBOL_IN_POWERS, ROUNDS_HAVE_SEEDS, PROPOSALS_HAVE_ALL_SEEDS)
    )

    trials: int = Field(
        16,
        ge=1,
        le=MAX_TRIALS,
        description="Settings that are tried of each method in each scenario, beside those that the"
        " experiment gives, which are trial 0.",
    )
    seeds: TuningSeeds = Field(
        default_factory=TuningSeeds,
        description="Training seeds of the trials, none of which may be one of spec.seeds.",
    )
    objective: Objective = Field(
        description="Number by which trials are compared, the least is best: the name of an"
        " objective (`supreme list objective`), or rows of the table with weights, for the weighted"
        " mean of their absolute gaps to Retrained. It sees validation samples in place of the test"
        " set.",
    )
    budget: TuningBudget = Field(
        default_factory=TuningBudget, description="Work that one trial may take."
    )
    sampler: Sampler = Field(
        "sobol",
        description="Points of the space. sobol: a scrambled Sobol sequence, for trials in powers"
        " of two. random: independent draws. grid: every combination of choices, of which there"
        " may be at most `trials`. tpe: trials proposed from the results of earlier ones, four at"
        " a time, by a tree-structured Parzen estimator (needs optuna).",
    )
    rounds: int = Field(
        1,
        ge=1,
        le=100,
        exclude_if=lambda rounds: rounds == 1,
        description="Successive halving over the tuning seeds: all trials are made on the first"
        " seed, the better half of them on the next, and so on; in the last round on all seeds that"
        " are left. The default, 1, makes every trial on every seed.",
    )
    rehearsal: list[LabelledComponent] = Field(
        default_factory=list,
        max_length=64,
        exclude_if=lambda rehearsal: not rehearsal,
        description="Scenarios of the trials in place of those of spec.scenarios, one for each"
        " under its label or name, with another forget set. No trial then sees what the"
        " experiment forgets. Empty means the scenarios themselves.",
        json_schema_extra=ENTRIES,
    )

    @field_validator("rehearsal")
    @classmethod
    def _titles_differ(cls, entries: list[LabelledComponent]) -> list[LabelledComponent]:
        return check_titles(entries)

    @model_validator(mode="after")
    def _in_powers(self) -> Self:
        if self.sampler == "sobol" and self.trials not in SOBOL_TRIALS:
            raise SOBOL_IN_POWERS.broken(trials=self.trials)
        return self

    @model_validator(mode="after")
    def _rounds_have_seeds(self) -> Self:
        if self.rounds > self.seeds.count:
            raise ROUNDS_HAVE_SEEDS.broken(rounds=self.rounds, count=self.seeds.count)
        return self

    @model_validator(mode="after")
    def _proposals_have_all_seeds(self) -> Self:
        if self.rounds > 1 and self.sampler == "tpe":
            raise PROPOSALS_HAVE_ALL_SEEDS.broken()
        return self


class Resources(Document):
    """Resources that each pod asks for."""

    cpu: Quantity | None = Field(None, description="CPU of a pod, request and limit.")
    memory: Quantity | None = Field(None, description="Memory of a pod, request and limit.")
    ephemeral_storage: Quantity | None = Field(None, description="Scratch space of a pod.")
    shared_memory: Quantity = Field("8Gi", description="Size of /dev/shm.")
    requests: dict[str, Quantity] | None = Field(
        None, max_length=32, description="Requests where they differ from the limits."
    )
    limits: dict[str, Quantity] | None = Field(
        None, max_length=32, description="Further limits by resource name."
    )


def _pull_secret(value: object) -> object:
    """A name, also where it is written as in a pod."""
    if isinstance(value, dict) and list(value) == ["name"]:
        value = value["name"]
    if not isinstance(value, str):
        raise ValueError(f"it is {shown(value)}; write {{name: NAME}} of a Secret, or its name")
    return value


PullSecret = Annotated[
    ObjectName,
    BeforeValidator(_pull_secret),
    # A structural schema knows no union, so that the operator alone refuses what is neither.
    WithJsonSchema({"x-kubernetes-preserve-unknown-fields": True}),
]


class PodTemplate(Document):
    """The small part of a pod that a user may shape."""

    labels: dict[str, LabelValue] = Field(
        default_factory=dict, max_length=32, description="Pod labels."
    )
    annotations: dict[str, AnnotationText] = Field(
        default_factory=dict, max_length=32, description="Pod annotations."
    )
    service_account_name: ObjectName | None = Field(
        None, description="Service account, for example for a cloud identity."
    )
    image_pull_secrets: list[PullSecret] = Field(
        default_factory=list,
        max_length=8,
        description="Secrets with registry credentials, as in a pod, or their names.",
    )
    env: list[dict[str, Any]] = Field(
        default_factory=list, max_length=128, description="Environment, as in a container."
    )
    volumes: list[dict[str, Any]] = Field(
        default_factory=list, max_length=32, description="Volumes, as in a pod; no hostPath."
    )
    volume_mounts: list[dict[str, Any]] = Field(
        default_factory=list, max_length=32, description="Mounts, as in a container."
    )
    node_selector: dict[str, LabelValue] = Field(
        default_factory=dict, max_length=32, description="Labels that the node must have."
    )
    tolerations: list[dict[str, Any]] = Field(
        default_factory=list, max_length=32, description="Taints that the pod tolerates."
    )
    affinity: dict[str, Any] | None = Field(None, description="Affinity, as in a pod.")
    topology_spread_constraints: list[dict[str, Any]] = Field(
        default_factory=list, max_length=8, description="Spread constraints, as in a pod."
    )
    termination_grace_period_seconds: int = Field(
        60, ge=0, le=86_400, description="Seconds between SIGTERM and SIGKILL."
    )


class Scheduling(Document):
    """Queue, priority and scheduler that decide when and where a child runs."""

    queue_name: str | None = Field(
        None, max_length=63, description="Kueue local queue that admits each child."
    )
    workload_priority_class: str | None = Field(
        None, max_length=63, description="Kueue workload priority class."
    )
    priority_class_name: ObjectName | None = Field(
        None, description="Kubernetes priority class of the pods."
    )
    scheduler_name: str | None = Field(None, max_length=63, description="Scheduler of the pods.")
    runtime_class_name: ObjectName | None = Field(None, description="Runtime class.")


JOB_HAS_ONE_NODE = Rule(
    "nodes is {nodes} but backend is Job, which runs one node; use Auto, IndexedJob or PyTorchJob",
    cel="!has(self.backend) || self.backend != 'Job' || self.nodes == 1",
)


class Execution(Document):
    """Place and manner in which the children run."""

    model_config = ConfigDict(json_schema_extra=validations(JOB_HAS_ONE_NODE))

    image: str | None = Field(None, max_length=500, description="Trainer image.")
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        "IfNotPresent", description="When the image is pulled."
    )
    backend: Literal["Auto", "Job", "IndexedJob", "PyTorchJob"] = Field(
        "Auto",
        description="Kind of child. Auto: Job for one node; for more, PyTorchJob where its CRD is"
        " served and batches are split, else IndexedJob.",
    )
    nodes: int = Field(1, ge=1, le=128, description="Pods of one child.")
    gpus_per_node: int = Field(1, ge=0, le=16, description="GPUs of each pod; 0 means CPU.")
    gpu_resource_name: str = Field(
        "nvidia.com/gpu", max_length=253, description="Resource name of the GPUs."
    )
    processes_per_node: int | None = Field(
        None, ge=1, le=16, description="Processes of each pod; unset: one for each GPU, at least 1."
    )
    distribution: Distribution = Field(
        "Auto",
        description="Kind of work that the processes of a child share out; no number depends on it."
        " Stages: each process takes whole trainings and methods of its seed, and of others that"
        " are at work where its own has none ready; several may use one GPU. Data: they split each"
        " batch, for models that train too long on one GPU; training.microBatches must be a"
        " multiple of their number. Auto: Data where the reduction is ddp; else Stages, and"
        " processes of a machine that have nothing left to take go on with a running training"
        " together, as many as divide training.microBatches.",
    )
    resources: Resources = Field(
        default_factory=Resources, description="CPU, memory and scratch space of each pod."
    )
    template: PodTemplate = Field(default_factory=PodTemplate, description="Pod settings.")
    scheduling: Scheduling = Field(default_factory=Scheduling, description="Queue and priority.")
    reuse: Reuse = Field(
        "Any",
        description="Finished stages of the store that may be used again: any; those that were"
        " computed in the same environment (versions, device, image); or none. Prepared data"
        " always may. Seeds that have a result are finished in each case.",
    )
    data_placement: DataPlacement = Field(
        "Auto",
        description="Where the images lie; no number depends on it. Resident: in the device's"
        " memory. Streamed: in the host's, from which each batch is fetched ahead. Auto: Resident"
        " where they take at most half of the device's free memory, and on a CPU.",
    )
    allow_unlisted_components: bool = Field(
        False,
        description="Accept methods, models, datasets, optimizers, schedules and augmentations that"
        " the operator's catalogue does not know, such as those of an image of one's own. The"
        " trainers check them and their settings.",
    )

    @model_validator(mode="after")
    def _one_node_job(self) -> Self:
        if self.backend == "Job" and self.nodes > 1:
            raise JOB_HAS_ONE_NODE.broken(nodes=self.nodes)
        return self

    @property
    def processes(self) -> int:
        """Ranks of each pod."""
        return self.processes_per_node or max(1, self.gpus_per_node)

    @property
    def all_processes(self) -> int:
        """Processes of one child, over all its nodes."""
        return self.nodes * self.processes

    def shares_stages(self, training: Training) -> bool:
        """Return whether the processes of a child take whole stages, and do not split batches; a
        single one takes those of other seeds too."""
        if self.distribution == "Auto":
            return training.reduction == "tree" and self.all_processes > 1
        return self.distribution == "Stages"

    def forms_teams(self, training: Training) -> bool:
        """Return whether processes that share out stages may split the batches of one that is at
        work, where there is nothing else for them."""
        is_split = training.reduction == "tree" and training.micro_batches > 1
        # Without checkpoints a team would begin anew what it takes over.
        return self.distribution == "Auto" and is_split and self.reuse != "None"


class FailurePolicy(Document):
    """Number of failures and disruptions that an experiment bears."""

    max_retries_per_seed: int = Field(
        2, ge=0, le=20, description="Most new attempts of a seed after failures of the program."
    )
    max_disruptions_per_seed: int = Field(
        20,
        ge=0,
        le=1000,
        description="Most new attempts of a seed, and pods made again, after evictions and losses"
        " of its node.",
    )
    max_failed_seeds: int = Field(
        0, ge=0, le=MAX_SEEDS, description="Seeds that may fail before the experiment does."
    )


class SecretReference(Document):
    """A Secret of the experiment's own namespace."""

    name: ObjectName = Field(description="Name of the Secret.")


class StorageLocation(Document):
    """Place of artefacts and results."""

    uri: str | None = Field(
        None, max_length=1024, description="s3://bucket/prefix, or a folder for `supreme run`."
    )
    endpoint: str | None = Field(
        None,
        max_length=1024,
        pattern=HTTP_PATTERN,
        description="Endpoint of an S3-compatible server; unset: that of the cloud.",
    )
    region: str | None = Field(None, max_length=63, description="Region of the bucket.")
    credentials_secret_ref: SecretReference | None = Field(
        None, description="Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
    )
    keep_unlearned_models: bool = Field(
        False, description="Also keep the weights of unlearned models."
    )


TUNING_NEEDS_VALIDATION = Rule(
    "tuning compares trials by validation samples, and none are set aside; give"
    " training.validation a fraction",
    cel="!has(self.tuning) || has(self.training.validation)",
    at="tuning",
)
_FIRST, _COUNT = first_seed("self.seeds"), seed_count("self.seeds")
_TRIED = "self.tuning.seeds.start", "self.tuning.seeds.start + self.tuning.seeds.count"
TUNING_HAS_ITS_OWN_SEEDS = Rule(
    "tuning.seeds has seeds of spec.seeds; settings that were chosen on a seed look better there"
    " than they are, so give tuning others",
    cel="!has(self.tuning) || (has(self.seeds.list)"
    f" ? self.seeds.list.all(seed, seed < {_TRIED[0]} || seed >= {_TRIED[1]})"
    f" : {_FIRST} + {_COUNT} <= {_TRIED[0]} || {_FIRST} >= {_TRIED[1]})",
    at="tuning",
)


EVALUATED_AS_TRAINED = Rule(
    "evaluationPrecision is {asked}, but training.precision is fp64, where models are evaluated in"
    " fp64 too; leave one of the two out",
    cel="!has(self.evaluationPrecision) || self.evaluationPrecision == 'fp32'"
    " || !has(self.training.precision) || self.training.precision != 'fp64'",
    shown={"asked": "self.evaluationPrecision"},
)


class ExperimentSpec(Document):
    """A grid: training seeds x scenarios x methods."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            EVALUATED_AS_TRAINED, TUNING_NEEDS_VALIDATION, TUNING_HAS_ITS_OWN_SEEDS
        )
    )

    seeds: Seeds = Field(
        default_factory=lambda: Seeds(start=FIRST_SEED, count=SEED_COUNT),
        description="Seeds and repeats.",
    )
    dataset: Component = Field(description="Dataset that models learn.")
    model: Component = Field(description="Architecture of the model.")
    training: Training = Field(default_factory=Training, description="Training recipe.")
    evaluation_precision: EvaluationPrecision = Field(
        "fp32",
        exclude_if=lambda value: value == "fp32",  # so that older documents stay what they are
        description="Arithmetic of the forward passes whose predictions the metrics read, whatever"
        " models were trained in. tf32 is for GPUs, bf16 is autocast. Probes, splits, importances"
        " and what methods and trainings evaluate on their way are fp32 even so.",
    )
    scenarios: list[LabelledComponent] = Field(
        min_length=1,
        max_length=64,
        description="Forgetting scenarios.",
        json_schema_extra=ENTRIES,
    )
    methods: list[MethodEntry] = Field(
        min_length=1,
        max_length=64,
        description="Unlearning methods, append-only; original and retrained are always there as"
        " references.",
        json_schema_extra=ENTRIES,
    )
    tuning: Tuning | None = Field(
        None,
        description="Search for the settings of the methods, before the seeds of the experiment;"
        " unset: every method has the settings that are given.",
    )
    metrics: list[LabelledComponent] = Field(
        default_factory=list,
        max_length=64,
        description="Metrics; empty means the default set.",
        json_schema_extra=ENTRIES,
    )
    seed_metrics: list[LabelledComponent] = Field(
        default_factory=list,
        max_length=16,
        description="Metrics over seeds, which compare unlearned with retrained models of many"
        " seeds; computed when results are published, empty means the default set.",
        json_schema_extra=ENTRIES,
    )
    primary_metric: str = Field(
        "forget_accuracy",
        max_length=128,
        description="Row shown first in the report and by `kubectl get`.",
    )
    margins: dict[str, MarginSize] = Field(
        default_factory=dict,
        max_length=MAX_MARGINS,
        exclude_if=lambda value: not value,  # so that older documents stay what they are
        description="By row of the table, the largest mean gap to Retrained that is of no account,"
        " in the metric's unit, such as {forget_accuracy: 0.02}. It replaces the metric's own"
        " margin and the noise between Retrained models.",
    )
    execution: Execution = Field(
        default_factory=Execution, description="Image, resources, nodes and queue of the pods."
    )
    parallelism: int = Field(
        10,
        ge=0,
        le=MAX_SEEDS,
        description="Most seeds that have a child, such as a Job, at one time.",
    )
    failure_policy: FailurePolicy = Field(
        default_factory=FailurePolicy,
        description="Failures and disruptions after which the experiment continues.",
    )
    storage: StorageLocation = Field(
        default_factory=StorageLocation, description="Store of stages and results."
    )
    suspend: bool = Field(False, description="True stops the children and starts no new ones.")
    active_deadline_seconds: int | None = Field(
        None, ge=1, le=MAX_SECONDS, description="Seconds that the whole experiment may take."
    )
    seed_active_deadline_seconds: int | None = Field(
        None, ge=1, le=MAX_SECONDS, description="Seconds that one attempt of a seed may take."
    )
    scheduling_deadline_seconds: int | None = Field(
        None,
        ge=1,
        le=MAX_SECONDS,
        description="Seconds that an attempt may wait at one time for its pods to be scheduled.",
    )
    ttl_seconds_after_finished: int | None = Field(
        None,
        ge=0,
        le=MAX_SECONDS,
        description="Seconds after which a finished experiment is deleted.",
    )
    child_ttl_seconds_after_finished: int | None = Field(
        None,
        ge=0,
        le=MAX_SECONDS,
        description="Seconds after which a finished child is deleted, with its pods and their logs;"
        " unset: with the experiment.",
    )
    managed_by: str | None = Field(
        None,
        max_length=63,
        description="Controller that handles this resource; unset: the operator of SUPREME.",
    )

    @field_validator("scenarios", "methods", "metrics", "seed_metrics")
    @classmethod
    def _titles_differ(cls, entries: list[LabelledComponent]) -> list[LabelledComponent]:
        return check_titles(entries)

    @model_validator(mode="after")
    def _is_evaluated_as_trained(self) -> Self:
        if self.evaluation_precision != "fp32" and self.training.precision == "fp64":
            raise EVALUATED_AS_TRAINED.broken(asked=self.evaluation_precision)
        return self

    @model_validator(mode="after")
    def _tuning_is_apart(self) -> Self:
        searched = [place for place, each in enumerate(self.methods) if each.search != "default"]
        if self.tuning is None:
            if searched:
                raise ValueError(
                    f"methods[{searched[0]}].search is given, and spec.tuning, which says how to"
                    " search, is not"
                )
            return self
        if self.training.validation is None:
            raise TUNING_NEEDS_VALIDATION.broken()
        if not set(self.tuning.seeds.values()).isdisjoint(self.seeds.values()):
            raise TUNING_HAS_ITS_OWN_SEEDS.broken()
        return self


class Metadata(Document):
    """The part of metav1.ObjectMeta that an experiment file may carry."""

    name: str = Field(
        pattern=NAME_PATTERN,
        max_length=40,
        description="Name of the experiment; children's names begin with it.",
    )
    namespace: str | None = Field(None, max_length=63, description="Namespace on a cluster.")
    labels: dict[str, str] = Field(default_factory=dict, description="Labels of the resource.")
    annotations: dict[str, str] = Field(default_factory=dict, description="Annotations.")


class UnlearningExperiment(Document):
    """An experiment as a user writes it; the API server adds a status."""

    api_version: Literal["supreme.dev/v1alpha1"] = Field(description="Version of this schema.")
    kind: Literal["UnlearningExperiment"] = Field(description="Kind of the resource.")
    metadata: Metadata = Field(description="Name and labels.")
    spec: ExperimentSpec = Field(description="Experiment as asked for.")
