"""Questions about results in the store, and their answers. Pure.

A task goes to a process that reads what users' pods wrote, so the models of its answers are strict.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter

from supreme_core.api.model import Document
from supreme_core.api.orders import ExperimentOrder, Selected
from supreme_core.api.status import ResultsReference, SummaryRow
from supreme_core.api.v1alpha1 import MAX_SEEDS, MAX_SUMMARY_ROWS
from supreme_core.api.vocabulary import Digest, Seed, ShortText, Title
from supreme_operator.results.location import Location


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("it is not one line of printable characters")
    return text


TaskKind = Literal["verify", "choose", "publish"]

Line = Annotated[ShortText, AfterValidator(_printable)]
AttemptNumber = Annotated[int, Field(ge=0)]


class Claim(Document):
    """An attempt that should have left a result."""

    seed: Seed
    attempt: AttemptNumber
    sha256: Digest | None = Field(
        None,
        description="sha256 of result.json, as its pod said in the end; None where unknown.",
    )


class ResultCheck(Document):
    """Check of the result of one attempt.

    It is incomplete where a machine has lost a trial of a tuning seed, since nothing can be chosen
    without that one.
    """

    seed: Seed
    attempt: AttemptNumber
    state: Literal["valid", "missing", "incomplete", "invalid"]
    message: Line = Field(description="Reason why the result does not count; empty where it does.")


class Publication(Document):
    """Summary that was published."""

    rows: list[SummaryRow] = Field(
        max_length=MAX_SUMMARY_ROWS,
        description="Rows of the primary metric; the first ones of many.",
    )
    results: ResultsReference
    seeds: list[Seed] = Field(max_length=MAX_SEEDS, description="Seeds that have a result.")
    partial: bool = Field(description="True where some seed has no result, or some run failed.")


class ChosenSettings(Document):
    """Settings that were chosen by the trials, and stand in the store.

    searches: how many choices there are.  changed: those with other settings than were given.
    """

    methods: list[Title] = Field(max_length=128, description="Methods that were searched.")
    selected: list[Selected] = Field(max_length=64 * 64)
    searches: int = Field(ge=0)
    changed: int = Field(ge=0)
    not_tunable: int = Field(ge=0)
    sha256: Digest = Field(description="sha256 of selection.json.")


class NextRound(Document):
    """Round of trials that is to be made, since those before it have all their results."""

    number: int = Field(ge=1, description="Number of the round, from 1.")
    methods: list[Title] = Field(max_length=128, description="Methods that are searched.")
    trials: list[Selected] = Field(
        max_length=65_536,
        description="Trials of the round; none where they are all that the plan has.",
    )


@dataclass(frozen=True, kw_only=True)
class Published:
    """A summary that was written, over all seeds that had a valid result of that work."""

    work_digest: str
    seeds: frozenset[int]
    rows: Sequence[SummaryRow]
    results: ResultsReference


class Task(Document):
    """Task of a worker: judge claims, choose settings by the trials, or publish."""

    model_config = ConfigDict(hide_input_in_errors=True)  # of which credentials are a part

    kind: TaskKind
    order: ExperimentOrder
    location: Location
    claims: list[Claim] = Field(default_factory=list)
    selection: Digest | None = Field(
        None, description="sha256 of the selection.json that was chosen before."
    )
    round: int = Field(
        0, ge=0, description="Round of trials that has ended, as is known; 0 where none is."
    )
    memory_mebibytes: int = Field(ge=1)
    cpu_seconds: int = Field(ge=1, description="Processor seconds for each answer.")


class Reading(Document):
    """The result of this claim has come, so what happens to the worker now is its doing."""

    seed: Seed
    attempt: AttemptNumber


class Refusal(Document):
    """The last answer of a worker that cannot do its task."""

    kind: Literal["StoreUnavailable", "StoreUnusable", "WorkerFailed"]
    message: Line


Answer = Reading | ResultCheck | NextRound | ChosenSettings | Publication | Refusal
ANSWER: TypeAdapter[Answer] = TypeAdapter(Answer)
