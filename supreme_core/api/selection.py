"""selection.json: the settings that tuning has chosen, with all that was looked at."""

from typing import Any, Literal

from pydantic import Field, model_validator

from supreme_core.api.model import Document
from supreme_core.api.orders import ExperimentName, Selected
from supreme_core.api.v1alpha1 import MAX_TRIALS, Objective
from supreme_core.api.vocabulary import (
    JSON_VALUES,
    SCHEMA_VERSION,
    Digest,
    Seed,
    ShortText,
    Title,
)

TuningTrack = Literal["oracle", "blind", "rehearsal"]


class Candidate(Document):
    """One trial of a method in a scenario, over the tuning seeds in their order."""

    trial: int = Field(ge=0, le=MAX_TRIALS)
    params: JSON_VALUES = Field(default_factory=dict, description="Settings that were tried.")
    values: list[float | None] = Field(
        max_length=100,
        description="Objective by seed; null is worse than any number, but for seeds of rounds that"
        " have left the trial out.",
    )
    passes: list[int | None] = Field(max_length=100, description="Passes of samples by seed.")
    reason: ShortText = Field(
        "", description="Reason why it failed, in the first seed in which it did; empty otherwise."
    )

    left_out_after: int | None = Field(
        None,
        ge=1,
        le=100,
        exclude_if=lambda left: left is None,  # so that older selections stay what they are
        description="Number of seeds after which successive halving has left it out.",
    )

    @property
    def mean(self) -> float | None:
        """Mean objective; None where the trial has failed in a seed or was not made on it."""
        found = [value for value in self.values if value is not None]
        return sum(found) / len(found) if len(found) == len(self.values) else None

    @property
    def work(self) -> int:
        """Passes of all seeds, as far as they were counted."""
        return sum(each or 0 for each in self.passes)


class SearchChoice(Document):
    """The trial that was chosen for a method in a scenario."""

    scenario: Title
    method: Title
    plan: Digest = Field(description="Digest of all that says which trials there are.")
    trial: int = Field(ge=0, le=MAX_TRIALS)
    retraining: list[int | None] = Field(
        default_factory=list,
        max_length=100,
        description="Passes of samples of Retrained's training, by seed.",
    )
    note: ShortText = Field("", description="Remark on the choice, as where no trial succeeded.")
    candidates: list[Candidate] = Field(min_length=1, max_length=MAX_TRIALS + 1)

    @model_validator(mode="after")
    def _has_each_trial_once(self) -> "SearchChoice":
        if [each.trial for each in self.candidates] != list(range(len(self.candidates))):
            raise ValueError("candidates are not trials 0, 1, ... in this order")
        if self.trial >= len(self.candidates):
            raise ValueError(f"trial is {self.trial}, which is none of the candidates")
        return self

    @property
    def chosen(self) -> Candidate:
        return next(each for each in self.candidates if each.trial == self.trial)

    @property
    def comparable(self) -> list[float | None]:
        """Objective of each trial on seeds that all trials were made on; None where it has failed,
        on whatever seed.

        Of successive halving that is the first seed, else the mean of all.
        """
        if any(each.left_out_after for each in self.candidates):
            return [None if each.reason else each.values[0] for each in self.candidates]
        return [each.mean for each in self.candidates]

    @property
    def selected(self) -> Selected:
        """The choice as the work of the experiment has it."""
        return Selected(
            scenario=self.scenario,
            method=self.method,
            trial=self.trial,
            params=self.chosen.params,
        )


class Sanity(Document):
    """Objective of a model that an honest one ranks low, in a scenario, by seed."""

    scenario: Title
    model: Title
    values: list[float | None] = Field(max_length=100)


class Selection(Document):
    """Choices of an experiment. What is chosen once stays, whatever is tried later."""

    schema_version: Literal[1] = SCHEMA_VERSION
    experiment: ExperimentName
    objective: Objective
    track: TuningTrack = Field(
        description="Information that trials had: an oracle has seen models that were retrained"
        " without what the experiment forgets, blind has not, and a rehearsal forgot other samples."
    )
    seeds: list[Seed] = Field(min_length=1, max_length=100)
    choices: list[SearchChoice] = Field(max_length=64 * 64)
    sanity: list[Sanity] = Field(default_factory=list, max_length=256)
    retuned: int = Field(
        0, ge=0, description="Number of times that a choice was replaced by a new one."
    )

    @model_validator(mode="after")
    def _has_a_number_for_each_seed(self) -> "Selection":
        known = set[tuple[str, str]]()
        for choice in self.choices:
            where = f"{choice.method!r} in {choice.scenario!r}"
            if (choice.scenario, choice.method) in known:
                raise ValueError(f"choices has {where} twice")
            known.add((choice.scenario, choice.method))
            for each in choice.candidates:
                if not len(each.values) == len(each.passes) == len(self.seeds):
                    raise ValueError(
                        f"trial {each.trial} of {where} has other than one value and number of"
                        " passes for each of seeds"
                    )
        return self


class Proposed(Document):
    """Trials of a method in a scenario that a sampler has proposed."""

    scenario: Title
    method: Title
    plan: Digest = Field(description="Digest of all that says which trials are asked for.")
    settings: list[JSON_VALUES] = Field(
        max_length=MAX_TRIALS, description="Settings of the trials 1, 2, ..."
    )


class Proposals(Document):
    """proposals.json: trials that were proposed from the results of others, for whoever goes on."""

    schema_version: Literal[1] = SCHEMA_VERSION
    experiment: ExperimentName
    searches: list[Proposed] = Field(default_factory=list, max_length=64 * 64)

    def settings(self, scenario: str, method: str, plan: str) -> list[dict[str, Any]]:
        """Settings of the trials 1, 2, ... of a search; none where it was planned otherwise."""
        for each in self.searches:
            if (each.scenario, each.method, each.plan) == (scenario, method, plan):
                return each.settings
        return []
