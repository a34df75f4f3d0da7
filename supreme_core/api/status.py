"""The status of an experiment, as the operator writes it and `kubectl` shows it."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from supreme_core.api.model import Document
from supreme_core.api.rules import UNIQUE, keyed
from supreme_core.api.v1alpha1 import MAX_SEEDS, MAX_SUMMARY_ROWS, SEED_LIMIT, Indexes

Phase = Literal[
    "Pending",
    "Queued",
    "Tuning",
    "Running",
    "Suspended",
    "Aggregating",
    "Succeeded",
    "PartiallySucceeded",
    "Failed",
]


class Condition(Document):
    """One thing that is so, is not so, or is not known: metav1.Condition."""

    type: str = Field(max_length=63, description="Name of the condition, such as Complete.")
    status: Literal["True", "False", "Unknown"] = Field(
        description="True where the condition holds."
    )
    reason: str = Field(max_length=63, description="Reason in one word, for machines.")
    message: str = Field("", max_length=1024, description="Reason in words, for people.")
    observed_generation: int = Field(
        ge=0, description="metadata.generation of the spec that was judged."
    )
    last_transition_time: str = Field(
        max_length=40, description="When status last changed, ISO 8601 in UTC."
    )


class SeedStatus(Document):
    """State of one seed."""

    seed: int = Field(ge=0, le=SEED_LIMIT, description="The training seed.")
    phase: Literal["Pending", "Queued", "Running", "Succeeded", "Failed"] = Field(
        description="State of the seed in one word."
    )
    attempt: int = Field(0, ge=0, description="Number of the latest attempt, from 0.")
    retries: int = Field(0, ge=0, description="Attempts that failures of the program cost.")
    disruptions: int = Field(
        0, ge=0, description="Attempts, and pods of attempts, that evictions and lost nodes cost."
    )
    lost_pods: int = Field(
        0, ge=0, description="Pods that the latest attempt has lost and gone on without."
    )
    child: str | None = Field(
        None, max_length=63, description="Name of the seed's Job or PyTorchJob."
    )
    waiting_since: str | None = Field(
        None, max_length=40, description="When the attempt last began to wait, ISO 8601 in UTC."
    )
    reason: str | None = Field(
        None, max_length=63, description="Reason for the phase, in one word."
    )
    message: str | None = Field(None, max_length=128, description="Reason in words, for people.")
    progress: str | None = Field(
        None,
        max_length=32,
        description="Stages done of all stages of the unfinished seed.",
    )


class SummaryRow(Document):
    """The primary metric of one method in one scenario, over the seeds."""

    scenario: str = Field(max_length=128, description="Name or label of the scenario.")
    method: str = Field(max_length=128, description="Name or label of the method.")
    n: int = Field(ge=0, description="Seeds with a value.")
    asked: int = Field(0, ge=0, description="Seeds that the experiment asks for.")
    mean: float | None = Field(None, description="Mean over the seeds with a value.")
    low: float | None = Field(None, description="Lower end of the 95 % t interval of the mean.")
    high: float | None = Field(None, description="Upper end of the 95 % t interval of the mean.")
    gap: float | None = Field(
        None, description="Mean difference to the model retrained for the same seed."
    )
    gap_low: float | None = Field(
        None, description="Lower end of the unadjusted 95 % t interval of the difference."
    )
    gap_high: float | None = Field(
        None, description="Upper end of the unadjusted 95 % t interval of the difference."
    )
    verdict: Literal["equivalent", "different", "inconclusive"] | None = Field(
        None, description="Verdict on the difference, after correction over methods."
    )
    margin: float | None = Field(
        None, description="Equivalence margin: a mean difference below it is of no account."
    )
    margin_source: Literal["set", "metric", "noise"] | None = Field(
        None,
        description="Source of the margin: spec.margins; else the metric's own, or the noise"
        " between Retrained models where that is larger.",
    )
    reason: str | None = Field(None, max_length=256, description="Remarks on the verdict.")
    collapsed: int = Field(0, ge=0, description="Seeds whose model collapsed.")
    failed: int = Field(0, ge=0, description="Seeds in which the method gave no model.")
    undefined: int = Field(
        0, ge=0, description="Seeds with a model for which the metric has no value."
    )
    infrastructure: int = Field(
        0, ge=0, description="Seeds lost to a machine, its memory or its device."
    )
    pending: int = Field(0, ge=0, description="Seeds without a result of this row yet.")


class ResultsReference(Document):
    """Address of summary.json, and the digest of its bytes."""

    uri: str = Field(max_length=2048, description="URI of summary.json.")
    sha256: str = Field(
        pattern=r"^[0-9a-f]{64}$", max_length=64, description="sha256 of summary.json."
    )
    seeds: int = Field(ge=0, le=MAX_SEEDS, description="Seeds whose results the summary has.")


class TuningStatus(Document):
    """State of the trials that come before the seeds, and of the choice among them."""

    trials: int = Field(
        ge=1, description="Trials of each searched method in each scenario, and for each seed."
    )
    seeds: int = Field(ge=1, le=100, description="Number of tuning seeds.")
    succeeded: int = Field(0, ge=0, description="Tuning seeds with a result.")
    round: int | None = Field(
        None,
        ge=1,
        le=1024,
        exclude_if=lambda round_: round_ is None,
        description="Round of trials that is computed now, where there are several.",
    )
    rounds: int = Field(
        1,
        ge=1,
        description="Number of rounds of trials, of which later ones follow from earlier ones.",
    )
    methods: list[Annotated[str, StringConstraints(max_length=128)]] = Field(
        default_factory=list,
        max_length=64,
        description="Labels, or names, of the methods whose settings are chosen and stay.",
        json_schema_extra=UNIQUE,
    )
    searches: int = Field(0, ge=0, description="Methods by scenario whose settings were chosen.")
    changed: int = Field(0, ge=0, description="Searches that chose other settings than were given.")
    not_tunable: int = Field(
        0, ge=0, description="Searches in which every trial failed, so the given settings stay."
    )
    selection: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{64}$",
        max_length=64,
        description="sha256 of selection.json, which has all that was looked at.",
    )


class ExperimentStatus(Document):
    """State that the operator reports; everything else stands in summary.json."""

    observed_generation: int = Field(
        0, ge=0, description="metadata.generation of the spec that this answers."
    )
    phase: Phase = Field(
        "Pending", description="The conditions in one word, for people; machines read conditions."
    )
    reason: str | None = Field(
        None, max_length=63, description="Reason for the phase, in one word."
    )
    message: str | None = Field(None, max_length=1024, description="Reason in words, for people.")
    start_time: str | None = Field(
        None,
        max_length=40,
        description="When the first child was made, ISO 8601 in UTC; anew after a suspension.",
    )
    held_since: str | None = Field(
        None, max_length=40, description="Time since which every child waits for its queue."
    )
    held_seconds: int = Field(
        0,
        ge=0,
        description="Seconds that every child waited for its queue before heldSince; no deadline"
        " counts them.",
    )
    completion_time: str | None = Field(
        None,
        max_length=40,
        description="When the experiment was complete or failed, ISO 8601 in UTC.",
    )
    conditions: list[Condition] = Field(
        default_factory=list,
        max_length=16,
        description="Conditions of the experiment.",
        json_schema_extra=keyed("type"),
    )
    work_digest: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{64}$",
        max_length=64,
        description="Digest of what each seed is to compute; the counts below are of this work.",
    )
    pod_digest: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{64}$",
        max_length=64,
        description="Digest of what the accepted spec sets on pods.",
    )
    accepted_methods: list[Annotated[str, StringConstraints(max_length=128)]] | None = Field(
        None,
        max_length=64,
        description="Labels, or names, of the methods that were accepted and stay as they are.",
        json_schema_extra=UNIQUE,
    )
    seeds: int = Field(
        0, ge=0, le=MAX_SEEDS, description="Number of seeds that were accepted: the first ones."
    )
    completed_indexes: Indexes = Field(
        "",
        description="Places of the seeds with a valid result, such as 0-6,8. Until the settings are"
        " chosen, these and the counts below are of the tuning seeds.",
    )
    failed_indexes: Indexes = Field("", description="Places of the seeds that were given up.")
    pending: int = Field(0, ge=0, description="Seeds that wait for their turn.")
    queued: int = Field(0, ge=0, description="Seeds that wait for a queue or for a node.")
    active: int = Field(0, ge=0, description="Seeds that are queued or running.")
    succeeded: int = Field(0, ge=0, description="Seeds with a result.")
    failed: int = Field(0, ge=0, description="Seeds that were given up.")
    progress: str = Field("0/0", max_length=16, description="Finished seeds of all seeds.")
    done: str = Field("0%", max_length=4, description="Share of all stages that is done.")
    selector: str | None = Field(
        None, max_length=256, description="Label selector of the pods, for the scale subresource."
    )
    seed_statuses: list[SeedStatus] = Field(
        default_factory=list,
        max_length=200,
        description="Seeds one by one; of many, those that are active or failed.",
        json_schema_extra=keyed("seed"),
    )
    tuning: TuningStatus | None = Field(
        None, description="The trials and the choice of settings, where spec.tuning is given."
    )
    summary: list[SummaryRow] = Field(
        default_factory=list,
        max_length=MAX_SUMMARY_ROWS,
        description="The primary metric over the seeds.",
        json_schema_extra=keyed("scenario", "method"),
    )
    results: ResultsReference | None = Field(None, description="The summary in the store.")
