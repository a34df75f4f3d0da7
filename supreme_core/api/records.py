"""Documents that trainers leave behind: progress, faults, how an attempt ended, curves of
trainings, the result of a seed."""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from supreme_core.api.model import Document
from supreme_core.api.orders import ExperimentName
from supreme_core.api.vocabulary import JSON_VALUES, SCHEMA_VERSION, Digest, Seed, ShortText, Title


class Progress(Document):
    """progress.json: how far an attempt is. Advisory: nothing is decided by it."""

    schema_version: Literal[1] = SCHEMA_VERSION
    seed: Seed
    attempt: int = Field(ge=0)
    done: int = Field(ge=0, le=1_000_000, description="Stages that are finished.")
    total: int = Field(ge=0, le=1_000_000, description="Stages of the seed.")
    now: ShortText = Field("", description="Stage that is being computed.")
    updated_at: ShortText


class FaultRecord(Document):
    """fault.json: the fault of a device, or of memory, that ended an attempt."""

    schema_version: Literal[1] = SCHEMA_VERSION
    stage: ShortText = Field(description="Stage that was being computed.")
    key: Digest | None = Field(None, description="Key of the stage; null outside of all stages.")
    fault: ShortText = Field(description="Message of torch or of the system.")
    device: ShortText = Field(description="Device that the stage was computed on.")


class Termination(Document):
    """Termination message that a trainer leaves in its pod, in at most 4096 bytes."""

    schema_version: Literal[1] = SCHEMA_VERSION
    result: Digest | None = Field(None, description="sha256 of result.json, once it is written.")
    message: ShortText = Field("", description="Reason why there is no result, in one line.")


class DatasetRecord(Document):
    """The data that a seed used."""

    name: Title
    digest: Digest
    train_samples: int = Field(ge=0)
    test_samples: int = Field(ge=0)
    classes: int = Field(ge=1)


class Named(Document):
    """A class, a fine class or an identity that a scenario names, as the dataset has it."""

    kind: Literal["class", "fine class", "identity"]
    number: int = Field(ge=0, description="Place in the dataset, counted from 0.")
    name: ShortText
    role: Literal["forgotten", "confused", "target"] = Field(
        "forgotten",
        description="Part in the scenario, which forgets its samples; forgets that its samples"
        " and those of another one were labelled as each other; or forgets that a trigger stands"
        " for it.",
    )


class CellRecord(Document):
    """One scenario of a seed: what was forgotten."""

    scenario: Title
    forgets: Literal["classes", "samples"]
    forget_digest: Digest
    forget_samples: int = Field(ge=0)
    retain_samples: int = Field(ge=0)
    forget_test_samples: int = Field(ge=0)
    named: list[Named] = Field(
        default_factory=list,
        max_length=16_000,  # a sequence of 16 requests of 1,000 each
        exclude_if=lambda named: not named,
        description="Classes and the like that the scenario names; empty where it names none, and"
        " in results of versions that did not record them.",
    )
    retrained_predictions: list[Digest] = Field(
        default_factory=list,
        max_length=16,
        description="Keys of Retrained's predictions, one for each replica.",
    )


EpochNumber = Annotated[float, Field(ge=-1e39, le=1e39)] | None
"""Number of an epoch, within what 32 bits can be; null where it is not known."""


class EpochCurve(Document):
    """Curve of one training, as the manifest of its stage has it: numbers by epoch, null where one
    is not finite or not known."""

    name: Title = Field(description="Name of the training within its stage.")
    epoch: list[int] = Field(min_length=1, max_length=10_000, description="Epochs, from 1.")
    rate: list[EpochNumber] = Field(description="Learning rate at the beginning of the epoch.")
    loss: list[EpochNumber] = Field(description="Mean of what the steps of the epoch minimised.")
    accuracy: list[EpochNumber] = Field(
        description="Share of the samples that were predicted right, each before its own step."
    )
    validation: list[EpochNumber] | None = Field(
        None, description="Accuracy on validation samples after the epoch; null where not measured."
    )

    @model_validator(mode="after")
    def _has_every_number_in_each_epoch(self) -> "EpochCurve":
        numbers = (self.rate, self.loss, self.accuracy, self.validation or self.epoch)
        if any(len(each) != len(self.epoch) for each in numbers):
            raise ValueError("epoch, rate, loss, accuracy and validation differ in their lengths")
        if any(a >= b for a, b in pairwise([0, *self.epoch])):
            raise ValueError("epoch does not count upwards from 1")
        return self


class RunRecord(Document):
    """One method in one cell, one repeat. original and retrained too (repeat is the replica)."""

    scenario: Title
    method: Title
    repeat: int = Field(0, ge=0)
    status: Literal["ok", "failed"]
    cause: Literal["method", "metric", "infrastructure"] = Field(
        "method",
        exclude_if=lambda cause: cause == "method",  # so that older results stay what they are
        description="Cause of a failed run: the method could not make a model, a metric could not"
        " be computed, or the machine, its memory or its device gave out.",
    )
    reason: ShortText | None = None
    metrics: dict[Title, float | None] = Field(
        default_factory=dict,
        max_length=1024,
        description="Value of each row; null where it is not defined for this run.",
    )
    passes: int | None = Field(
        None,
        ge=0,
        description="Passes of samples that a trial took, if need be until it failed, where a"
        " forward pass is one and a backward pass two; null of everything else.",
    )
    predictions: dict[Title, Digest] = Field(
        default_factory=dict,
        max_length=8,
        description="Keys of the stages whose predictions the metrics compare, by the model; the"
        " run's own is `unlearned`. Empty where there is no model.",
    )
    probes: dict[Title, dict[Title, Digest]] = Field(
        default_factory=dict,
        max_length=8,
        exclude_if=lambda probes: not probes,
        description="Keys of the probes that the metrics read, by the model, and by the name and"
        " the settings of the probe.",
    )


class StageRecord(Document):
    """One stage of a seed: computed now, or found in the store."""

    stage: Title
    key: Digest
    status: Literal["computed", "reused"]
    wall_seconds: float = Field(ge=0)
    environment: Digest = Field(description="Digest of the environment that computed the stage.")


class RunResult(Document):
    """Result of one seed; written last, so its presence means that the seed is done."""

    schema_version: Literal[1] = SCHEMA_VERSION
    experiment: ExperimentName
    work_digest: Digest = Field(description="Digest of the Work that the result answers.")
    seed: Seed
    attempt: int = Field(ge=0)
    dataset: DatasetRecord
    cells: list[CellRecord] = Field(max_length=64)
    runs: list[RunRecord] = Field(max_length=100_000)
    stages: list[StageRecord] = Field(max_length=100_000)
    environments: dict[Digest, JSON_VALUES] = Field(max_length=64)
    kept_unlearned_models: bool = Field(
        False,
        description="True where the weights of all unlearned models of the seed are in the store.",
    )
    started_at: ShortText
    finished_at: ShortText

    @model_validator(mode="after")
    def _has_each_run_once(self) -> "RunResult":
        known = set[tuple[str, str, int]]()
        for run in self.runs:
            name = run.scenario, run.method, run.repeat
            if name in known:
                raise ValueError(f"runs has {run.method!r} in {run.scenario!r} twice")
            known.add(name)
        return self
