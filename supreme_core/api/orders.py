"""Orders: what is to be computed, for an experiment, for a seed, and what both share."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import Field, model_validator

from supreme_core.api import names
from supreme_core.api.canonical import digest
from supreme_core.api.model import Document, parse
from supreme_core.api.v1alpha1 import (
    MAX_MARGINS,
    MAX_REPEATS,
    MAX_REPLICAS,
    MAX_SEEDS,
    MAX_TRIALS,
    Component,
    DataPlacement,
    EvaluationPrecision,
    LabelledComponent,
    MarginSize,
    MethodEntry,
    Objective,
    Reuse,
    Sampler,
    SeedProtocol,
    Training,
)
from supreme_core.api.vocabulary import JSON_VALUES, SCHEMA_VERSION, Digest, Seed, ShortText, Title


class ExperimentName(Document):
    """Name and namespace of an experiment; uid tells two of the same name apart."""

    namespace: str = Field(max_length=63)
    name: str = Field(max_length=63)
    uid: str = Field(min_length=8, max_length=64)


class Revision(Document):
    """Version and plug-in of a component, where its name does not say which code it is."""

    kind: Title
    name: Title
    version: int = Field(ge=1)
    plugin: Digest | None = Field(
        None, description="sha256 of the single file that the component is from."
    )


class TrialPlan(Document):
    """Trials of each method in each scenario, in the work of a tuning seed.

    Then the methods of the work are those that are searched, each with its whole space, and the
    test set is a part of the validation samples. The settings of a trial follow from the space, its
    number, the method and the scenario (`supreme_core.tuning`).
    """

    trials: int = Field(ge=1, le=MAX_TRIALS)
    sampler: Sampler
    share: float = Field(gt=0, le=10, description="Budget of a trial, as a share of Retrained's.")
    listed: list["Selected"] = Field(
        default_factory=list,
        max_length=65_536,
        exclude_if=lambda listed: not listed,  # so that older digests stay what they are
        description="Trials that are made, where they follow from others that were made before."
        " Empty means all of them.",
    )


class Selected(Document):
    """Trial of a method in a scenario, with its settings."""

    scenario: Title
    method: Title
    trial: int = Field(ge=0, description="Number of the trial; 0 is what was given.")
    params: JSON_VALUES = Field(default_factory=dict, description="All settings that differ.")


class Work(Document):
    """Work that every seed of an experiment computes: the part of the spec that trainers read."""

    dataset: Component
    model: Component
    training: Training
    scenarios: list[LabelledComponent] = Field(min_length=1, max_length=64)
    methods: list[MethodEntry] = Field(min_length=1, max_length=128)
    metrics: list[LabelledComponent] = Field(max_length=64)
    unlearning_repeats: int = Field(ge=1, le=MAX_REPEATS)
    evaluation_repeats: int = Field(ge=1, le=MAX_REPEATS)
    evaluation_precision: EvaluationPrecision = Field(
        "fp32", exclude_if=lambda value: value == "fp32"
    )
    retrained_replicas: int = Field(
        ge=0, le=MAX_REPLICAS, description="0 only in trials that are compared without Retrained."
    )
    protocol: SeedProtocol = Field("independent", exclude_if=lambda value: value == "independent")
    tuning: TrialPlan | None = Field(
        None, description="Trials of a tuning seed, in place of the methods themselves."
    )
    selected: list[Selected] = Field(
        default_factory=list,
        max_length=64 * 64,
        exclude_if=lambda value: not value,  # so that older digests stay what they are
        description="Settings that were chosen in tuning, in place of those of the methods.",
    )
    revisions: list[Revision] = Field(
        default_factory=list,
        max_length=256,
        exclude_if=lambda value: not value,  # so that older digests stay what they are
        description="Components that are not of version 1 or are of a single file. Empty where"
        " the plan does not know the code that will compute them, as on a cluster.",
    )

    @model_validator(mode="after")
    def _has_each_title_once(self) -> "Work":
        lists: list[tuple[str, Sequence[LabelledComponent]]] = [
            ("scenarios", self.scenarios),
            ("methods", self.methods),
            ("metrics", self.metrics),
        ]
        for name, listed in lists:
            counts = Counter(each.title for each in listed)
            if twice := [title for title, count in counts.items() if count > 1]:
                raise ValueError(f"{name} has {twice[0]!r} twice")
        return self

    def components(self) -> Iterator[tuple[str, Component]]:
        """Each one with its kind."""
        yield "dataset", self.dataset
        yield "model", self.model
        yield "optimizer", self.training.optimizer
        yield "schedule", self.training.schedule
        yield from (("augmentation", each) for each in self.training.augmentation)
        yield from (("scenario", each) for each in self.scenarios)
        yield from (("method", each) for each in self.methods)
        yield from (("wrapper", each) for method in self.methods for each in method.wrappers)
        yield from (("metric", each) for each in self.metrics)


class Keeping(Document):
    """Settings of reuse, of what is kept and where images lie: no number depends on them, unlike
    Work."""

    reuse: Reuse = "Any"
    data_placement: DataPlacement = "Auto"
    keep_unlearned_models: bool = False


class SharedOrder(Keeping):
    """Order to the trainers of all seeds; pods get it as a file, and their seed beside it."""

    schema_version: Literal[1] = SCHEMA_VERSION
    experiment: ExperimentName
    work: Work
    store: ShortText
    endpoint: ShortText | None = None
    region: ShortText | None = None
    shares_stages: bool = Field(
        False,
        exclude_if=lambda shares: not shares,  # so that older orders stay what they are
        description="True where the processes of a pod take whole stages of the seed; else they"
        " are ranks, which split each batch.",
    )
    forms_teams: bool = Field(
        False,
        exclude_if=lambda forms: not forms,  # so that older orders stay what they are
        description="True where processes that take stages may go on with a training together.",
    )

    def of_seed(self, seed: int, *, attempt: int) -> "RunOrder":
        """The whole order of one attempt; SpecError where the two numbers cannot be."""
        return parse(RunOrder, {**self.to_document(), "seed": seed, "attempt": attempt})


class RunOrder(SharedOrder):
    """Order to a trainer: one seed, one attempt."""

    seed: Seed
    attempt: int = Field(0, ge=0)

    @property
    def prefix(self) -> str:
        """The attempt's folder in the store."""
        return names.attempt_prefix(_prefix(self.experiment), self.seed, self.attempt)


class TuningOrder(Document):
    """Part of an experiment that comes first: trials on seeds of their own, and how they are
    compared.

    excluded: pairs that are left out of the trials, as in the experiment.
    """

    work: Work
    seeds: list[Seed] = Field(min_length=1, max_length=100)
    objective: Objective
    excluded: list["Exclusion"] = Field(max_length=4096)
    rounds: int = Field(
        1,
        ge=1,
        le=100,
        exclude_if=lambda rounds: rounds == 1,  # so that older orders stay what they are
        description="Rounds of successive halving over the seeds.",
    )


class ExperimentOrder(Keeping):
    """order.json: the whole plan of an experiment, as its results are read back."""

    schema_version: Literal[1] = SCHEMA_VERSION
    experiment: ExperimentName
    work: Work
    seeds: list[Seed] = Field(min_length=1, max_length=MAX_SEEDS)
    excluded: list["Exclusion"] = Field(max_length=4096)
    primary_metric: Title
    seed_metrics: list[LabelledComponent] = Field(
        default_factory=list,
        max_length=16,
        description="Metrics over seeds, computed when results are published; empty means the"
        " default set.",
    )
    margins: dict[Title, MarginSize] = Field(
        default_factory=dict,
        max_length=MAX_MARGINS,
        exclude_if=lambda margins: not margins,  # so that older orders stay what they are
        description="Margins by row of the table, which were set before anything was computed.",
    )
    tuning: TuningOrder | None = Field(
        None, description="Trials that come before the seeds; their results are in no table."
    )

    @model_validator(mode="after")
    def _has_each_seed_once(self) -> "ExperimentOrder":
        if twice := [seed for seed, count in Counter(self.seeds).items() if count > 1]:
            raise ValueError(f"seeds has {twice[0]} twice")
        if self.tuning and not set(self.seeds).isdisjoint(self.tuning.seeds):
            raise ValueError("tuning.seeds has seeds of the experiment")
        return self

    @property
    def prefix(self) -> str:
        """The experiment's folder in the store."""
        return _prefix(self.experiment)

    @property
    def trials(self) -> "ExperimentOrder | None":
        """Order of the tuning seeds by themselves, whose results lie beside those of the others;
        None where nothing is tuned."""
        if self.tuning is None:
            return None
        return self.model_copy(
            update={
                "work": self.tuning.work,
                "seeds": self.tuning.seeds,
                "excluded": self.tuning.excluded,
                "tuning": None,
            }
        )

    @property
    def is_rehearsed(self) -> bool:
        """True where trials forget other samples than the experiment does."""
        return self.tuning is not None and self.tuning.work.scenarios != self.work.scenarios

    @property
    def parts(self) -> list["ExperimentOrder"]:
        """Orders of all seeds that the experiment computes: those of tuning, then its own."""
        return [*([self.trials] if self.trials else []), self]

    def result_key(self, seed: int, attempt: int) -> str:
        """Key of the result of an attempt."""
        return names.result_key(names.attempt_prefix(self.prefix, seed, attempt))

    def shared(
        self,
        *,
        store: str,
        endpoint: str | None,
        region: str | None,
        shares_stages: bool = False,
        forms_teams: bool = False,
    ) -> SharedOrder:
        """Order that all trainers share.  store: its URI."""
        return SharedOrder(
            experiment=self.experiment,
            work=self.work,
            reuse=self.reuse,
            data_placement=self.data_placement,
            keep_unlearned_models=self.keep_unlearned_models,
            store=store,
            endpoint=endpoint,
            region=region,
            shares_stages=shares_stages,
            forms_teams=forms_teams,
        )


def _prefix(name: ExperimentName) -> str:
    return names.experiment_prefix(name.namespace, name.name, name.uid)


class Exclusion(Document):
    """A pair that the plan left out, and why."""

    scenario: Title
    method: Title
    reason: ShortText


def work_digest(work: Work) -> str:
    """Names what every seed computes; a result counts only for the work that it answers."""
    return digest(work.to_document())
