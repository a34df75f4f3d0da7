"""The summary of an experiment: what a table, a report and a status are made from."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from supreme_core.api.model import Document
from supreme_core.api.orders import Exclusion
from supreme_core.api.selection import Sanity, TuningTrack
from supreme_core.api.v1alpha1 import MAX_SEEDS, LabelledComponent, Objective, Sampler
from supreme_core.api.vocabulary import Digest, Seed, ShortText, Title
from supreme_core.errors import number_of

SUMMARY_VERSION: Literal[2] = 2
"""2 counts what became of every seed; see `summary_files.read_summary` for older ones."""


class NonInferiority(Document):
    """Test that a method costs no more accuracy on the test set than the margin of its gap."""

    low: float = Field(description="One-sided 95 % lower bound of the mean gap.")
    p: float = Field(description="p of the one-sided t test that the mean gap is above -margin.")
    holds: bool = Field(
        description="True where p is below 0.05, and every seed that was asked for, 5 or more,"
        " gave a value."
    )


class ToldApart(Document):
    """Power of this number to tell one unlearned model from one Retrained model of another seed."""

    auc: float = Field(
        ge=0,
        le=1,
        description="Probability that the unlearned model has the larger number; a tie counts"
        " half. 0.5 tells nothing; 0 and 1 tell every pair of models apart.",
    )
    low: float = Field(description="Lower end of the 95 % score interval of auc.")
    high: float


class Gap(Document):
    """Paired difference to the same seed's Retrained: mean and unadjusted 95 % t interval."""

    n: int = Field(ge=0, description="Seeds with a value of the method and one of Retrained.")
    mean: float
    low: float | None = Field(
        description="Lower end of the unadjusted 95 % t interval, cut at what a gap of this metric"
        " can be. Null below 2 seeds."
    )
    high: float | None
    sd: float | None = Field(
        description="Standard deviation of the differences, or `resolution` where that is larger."
    )
    resolution: float | None = Field(
        description="Resolution of a share of N samples, 1 / (N sqrt(12)); null where the metric"
        " is no share of the samples of a set."
    )
    standardised: float | None = Field(
        description="mean / sd, the effect size of paired data; null where sd is 0."
    )
    mean_absolute: float = Field(
        description="Mean of the differences without their signs. It is above 0 also where chance"
        " alone makes them, so read it beside that of other methods and never as a test."
    )
    told_apart: ToldApart | None = Field(
        description="Power to tell an unlearned model from a Retrained one; null below 5 seeds."
    )
    difference_p: float | None = Field(
        description="p of the paired t test of no gap. Without any spread, 0 where the gap is"
        " beyond the margin and 1 where it is not."
    )
    adjusted_p: float | None = Field(
        description="difference_p after Holm, over the methods of this scenario and metric; where"
        " settings were tuned, over those with chosen settings or those with settings as given."
    )
    joint_p: float | None = Field(
        description="difference_p after Holm, over the same methods and all rows with a gap of"
        " this scenario. The joint verdict is read from it."
    )
    flip_p: float | None = Field(
        description="p of the exact sign-flip test of no gap, which needs no normal distribution."
    )
    flip_adjusted_p: float | None = Field(
        description="flip_p after Holm, over the same methods. No verdict is taken from it; a"
        " remark says where it disagrees."
    )
    signed_rank_p: float | None = Field(
        description="p of Wilcoxon's signed-rank test of no gap, which one seed far off moves less."
        " No verdict is taken from it."
    )
    margin: float | None = Field(
        description="Equivalence margin: a mean gap below it is of no account. Null where there"
        " is none."
    )
    margin_source: Literal["set", "metric", "noise"] | None = Field(
        description="Source of the margin: spec.margins; else the metric's own, or the noise"
        " between Retrained models where that is larger."
    )
    equivalence_p: float | None = Field(
        description="p of two one-sided t tests that the mean gap is within the margin."
    )
    verdict: Literal["equivalent", "different", "inconclusive"]
    remarks: list[ShortText] = Field(
        description="Remarks on the verdict: lost seeds, few seeds, an interval that excludes 0"
        " before correction, a test that disagrees."
    )
    noninferiority: NonInferiority | None = Field(
        description="Non-inferiority, where there is a margin, of the accuracy on test samples"
        " that are to be retained alone; of test accuracy where that was not asked for."
    )


class Floor(Document):
    """The metric between Retrained models that differ only in chance: what 0 looks like."""

    n: int = Field(ge=1, description="Pairs of Retrained models.")
    mean: float
    low: float = Field(description="Smallest value of a pair.")
    high: float = Field(description="Largest value of a pair.")
    source: Literal["seeds", "replicas"]


class Robust(Document):
    """Location that a single seed far off does not move, and the seeds that are furthest off."""

    median: float
    iqm: float = Field(description="Interquartile mean: the mean of the middle half of the seeds.")
    low: float | None = Field(
        description="Lower end of the 95 % BCa bootstrap interval of iqm, over training seeds; null"
        " below 10 seeds."
    )
    high: float | None
    smallest: float
    largest: float


class Variance(Document):
    """Sources of the spread of a method's values: standard deviations, by analysis of variance. A
    component that cannot be told from the one above it is null, and is part of it."""

    training: float | None = Field(description="Standard deviation between training seeds.")
    unlearning: float | None = Field(
        description="Standard deviation between unlearning repeats of one seed."
    )
    evaluation: float | None = Field(
        description="Standard deviation between evaluation repeats of one model; null where the"
        " metric draws no random numbers, or where its single values were not kept."
    )
    training_share: float | None = Field(
        description="Share of training in the sum of the variances."
    )
    unlearning_share: float | None
    evaluation_share: float | None
    deterministic: bool = Field(
        description="True where all repeats of this method gave the same numbers, in every metric"
        " that neither draws random numbers nor is measured on a machine."
    )
    best_repeats: int | None = Field(
        description="Unlearning repeats of a seed that make the interval of the mean narrowest for"
        " the time it takes; null where no component or no time says so."
    )


class SeedCounts(Document):
    """Counts of the seeds of a row by their fate; the rest of `asked` gave a value in every
    repeat."""

    asked: int = Field(ge=0, description="Seeds that the experiment asks for.")
    pending: int = Field(
        0, ge=0, description="Seeds without a result of this row, and without a failure."
    )
    infrastructure: int = Field(
        0,
        ge=0,
        description="Seeds lost to a machine, its memory or its device; no fault of the method.",
    )
    failed: int = Field(0, ge=0, description="Seeds in which the method gave no model.")
    undefined: int = Field(
        0, ge=0, description="Seeds with a model for which the metric has no value."
    )

    @property
    def lost(self) -> int:
        """Seeds that did not give a value in every repeat."""
        return self.pending + self.infrastructure + self.failed + self.undefined


class Row(Document):
    """One metric of one method in one scenario over the seeds."""

    scenario: Title
    method: Title
    metric: Title
    n: int = Field(ge=0, description="Seeds with a value.")
    seeds: SeedCounts
    mean: float | None
    sd: float | None = Field(description="Sample standard deviation; null below 2 seeds.")
    low: float | None = Field(description="Lower end of the 95 % interval of the mean.")
    high: float | None
    interval: Literal["t", "log", "logit"] | None = Field(
        description="Kind of the interval: t, or one on a scale that cannot leave the metric's"
        " range, where the mean is within 3 sd of its end. Null below 2 seeds."
    )
    robust: Robust | None = Field(
        description="Location that single seeds do not move; null without a value."
    )
    variance: Variance | None = Field(
        description="Components of variance, of methods with repeats within a seed."
    )
    gap: Gap | None = Field(
        description="Difference to Retrained; null for distances to it and for measured rows."
    )
    floor: Floor | None = None
    values: dict[str, float | None] = Field(
        max_length=MAX_SEEDS, description="Value of each seed, by seed."
    )

    @property
    def lack(self) -> str:
        """Reason why nothing is claimed for want of seeds; empty where all gave a value."""
        return lack_of(self.n, self.seeds)


OF_RETRAINED = "Retrained: "
"""Beginning of what a method lacks because Retrained lacks it."""


def lack_of(n: int, seeds: SeedCounts) -> str:
    """2 of 12 seeds gave no value (1 failed, 1 undefined), where n of them gave one."""
    if not seeds.lost:
        return ""
    kinds = ("failed", "undefined", "infrastructure", "pending")
    why = ", ".join(f"{count} {kind}" for kind in kinds if (count := getattr(seeds, kind)))
    gave = "gave no value" if n + seeds.lost == seeds.asked else "gave no value in every repeat"
    return f"{seeds.lost} of {number_of(seeds.asked, 'seed')} {gave} ({why})"


class SeedRow(Document):
    """Facts of a row over seeds, from those of its metric."""

    metric: Title = Field(description="Title of the metric; a row for each number on each set.")
    unit: ShortText
    best: Literal["lowest", "highest", "null"] = Field(
        description="Value of perfect unlearning; null: that of Retrained against Retrained."
    )
    low: float | None
    high: float | None
    fewest: int = Field(ge=1, description="Models that the metric needs on either side.")
    summary: ShortText
    source: ShortText


class Null(Document):
    """The same number with Retrained in the place of the unlearned models, on the same seeds."""

    n: int = Field(ge=1, description="Ways in which one half of the seeds met the other.")
    mean: float
    low: float = Field(description="Smallest value over the ways of halving the seeds.")
    high: float = Field(description="Largest value over the ways of halving the seeds.")


class SeedValue(Document):
    """One number over seeds: unlearned models against Retrained models that forgot the same.

    The models of one half of the seeds meet Retrained of the other half; value and null are means
    over the same halves, so that both see as many models.
    """

    scenario: Title
    method: Title
    metric: Title = Field(description="Name of the row.")
    n: int = Field(ge=0, description="Seeds; half of them on either side.")
    asked: int = Field(
        ge=0, description="Seeds asked for, without those that forgot other samples."
    )
    value: float | None
    low: float | None = Field(
        None, description="Lower end of the 95 % interval, by a jackknife over seeds."
    )
    high: float | None = None
    null: Null | None = None
    excess: float | None = Field(None, description="Value minus null.")
    excess_low: float | None = Field(None, description="Lower end of the 95 % interval of excess.")
    excess_high: float | None = None
    reason: ShortText | None = Field(None, description="Reason why there is no value.")
    lack: ShortText | None = Field(
        None,
        description="Seeds of which no models are in the value, and why; such a value is one of"
        " the survivors and no sign of likeness to Retrained.",
    )


class Curve(Document):
    """ROC curve of an attack that calls forgotten samples of large logit confidence members.

    Against held-out samples of the same classes; averaged vertically over seeds.
    """

    scenario: Title
    method: Title
    n: int = Field(ge=1, description="Seeds.")
    fpr: list[float] = Field(max_length=256, description="Shares of false alarms.")
    tpr: list[float] = Field(max_length=256, description="Mean share of members found at each fpr.")
    low: list[float | None] = Field(
        max_length=256, description="Lower ends of the 95 % t intervals of tpr."
    )
    high: list[float | None] = Field(max_length=256)

    @model_validator(mode="after")
    def _has_every_number_at_each_point(self) -> "Curve":
        if len({len(numbers) for numbers in (self.fpr, self.tpr, self.low, self.high)}) > 1:
            raise ValueError("fpr, tpr, low and high differ in their lengths")
        return self


class OverSeeds(Document):
    """Metrics of the distribution of models over seeds."""

    inputs: Digest | None = Field(
        None,
        exclude_if=lambda value: value is None,
        description="Digest of the predictions and the settings that the values follow from;"
        " absent where they are to be computed again.",
    )
    metrics: dict[Title, SeedRow] = Field(
        default_factory=dict, description="Facts of each row, by its name."
    )
    values: list[SeedValue] = Field(default_factory=list)
    curves: list[Curve] = Field(default_factory=list)

    @model_validator(mode="after")
    def _rows_are_explained(self) -> "OverSeeds":
        unexplained = {value.metric for value in self.values} - self.metrics.keys()
        if unexplained:
            raise ValueError(f"metrics say nothing about {min(unexplained)!r}, which a value names")
        return self


ByEpoch = Annotated[list[float | None], Field(max_length=64)]


class OverEpochs(Document):
    """Quartiles of a number over seeds, in each epoch that is shown; null where no seed has it."""

    median: ByEpoch
    low: ByEpoch = Field(description="Lower quartiles.")
    high: ByEpoch = Field(description="Upper quartiles.")


class TrainingSummary(Document):
    """One training of a method over seeds, epoch by epoch."""

    scenarios: list[Title] = Field(
        max_length=64, description="Scenarios; several where one training is that of them all."
    )
    method: Title
    training: Title = Field(description="Name of the training within the method.")
    n: int = Field(ge=1, description="Seeds that have the training.")
    epochs: int = Field(ge=1, description="Epochs of the seed that trained longest.")
    epoch: list[int] = Field(max_length=64, description="Epochs that are shown; the last one is.")
    loss: OverEpochs
    accuracy: OverEpochs
    validation: OverEpochs | None = Field(
        None, description="Accuracy on validation samples; null where it was not measured."
    )
    rate: ByEpoch = Field(description="Median learning rate at the beginning of the epoch.")
    judged: int = Field(ge=0, description="Seeds with epochs enough to say how they ended.")
    falling: int = Field(ge=0, description="Seeds among them whose loss still fell at the end.")
    risen: int = Field(ge=0, description="Seeds among them whose loss did not fall at all.")

    @model_validator(mode="after")
    def _has_every_quartile_at_each_epoch(self) -> "TrainingSummary":
        curves = [each for each in (self.loss, self.accuracy, self.validation) if each]
        numbers = [n for each in curves for n in (each.median, each.low, each.high)]
        if any(len(each) != len(self.epoch) for each in (self.rate, *numbers)):
            raise ValueError("numbers of a training differ in their lengths from its epochs")
        return self


class Untold(Document):
    """Method without a curve."""

    scenario: Title
    method: Title


class TrainingCurves(Document):
    """Curves of trainings, of Original, Retrained and every method that trains."""

    seeds: int = Field(0, ge=0, description="Seeds that were looked at: the first ones of many.")
    trainings: list[TrainingSummary] = Field(default_factory=list, max_length=64 * 64 * 8)
    without: list[Untold] = Field(
        default_factory=list,
        max_length=64 * 66,
        description="Models that were made without a training, or by a version that kept no curve.",
    )
    left_out: int = Field(0, ge=0, description="Trainings of methods that have many.")


class Failure(Document):
    """Result that is missing or lost, and why."""

    scenario: Title | None
    method: Title | None
    seed: int
    kind: Literal["failed", "collapsed", "undefined", "infrastructure", "pending"] = Field(
        description="failed: the method gave no model. collapsed: its model lost the task, and"
        " stays in the means. undefined: there is a model, and metrics have no value."
        " infrastructure: the machine, its memory or its device gave out. pending: no such result"
        " yet."
    )
    metrics: list[Title] = Field(
        default_factory=list,
        exclude_if=lambda metrics: not metrics,
        description="Rows that are undefined; empty where the failure is about all rows.",
    )
    reason: ShortText


class CollapseRate(Document):
    """Share of seeds where a method gave no model or one that lost the task."""

    scenario: Title
    method: Title
    collapsed: int = Field(
        ge=0,
        description="Seeds with a model whose test accuracy is below half the median of Retrained.",
    )
    failed: int = Field(ge=0, description="Seeds in which the method gave no model.")
    of: int = Field(
        ge=0,
        description="Seeds that were asked for, without pending ones and those that the"
        " infrastructure lost.",
    )
    rate: float | None = Field(description="(collapsed + failed) / of.")
    low: float | None = Field(description="Lower end of the 95 % Wilson interval of rate.")
    high: float | None


class LeftOut(Document):
    """A method that has no place here, and why."""

    method: Title
    reason: ShortText


class JointVerdict(Document):
    """Verdict on all rows of one method in one scenario together."""

    scenario: Title
    method: Title
    verdict: Literal["equivalent", "different", "inconclusive"] = Field(
        description="equivalent: every row is. different: some row is, after correction over all"
        " rows and methods of the scenario."
    )
    rows: int = Field(ge=0, description="Rows that are read by their gap.")
    equivalent: int = Field(ge=0, description="Rows that are equivalent.")
    different: int = Field(ge=0, description="Rows that are different by themselves.")
    different_jointly: int = Field(
        ge=0, description="Rows that are different also after correction over rows and methods."
    )


class SummaryExperiment(Document):
    name: Title
    digest: Digest = Field(description="Digest of the Work.")


class Distance(Document):
    """Distance to Retrained of the same seed, |x - retrained|: mean and 95 % interval over seeds.

    Of a metric that is a distance to Retrained itself, that metric. Of a cost, the cost.
    """

    n: int = Field(ge=0)
    mean: float
    low: float | None
    high: float | None


class Comparison(Document):
    """Two methods by their distance to Retrained, over the seeds that have both."""

    scenario: Title
    metric: Title
    method: Title
    other: Title
    n: int = Field(ge=0)
    lack: ShortText | None = Field(
        description="Reason why not all seeds are compared; then nothing is tested."
    )
    mean: float = Field(
        description="Mean difference of the distances, method minus other: below 0 where method is"
        " nearer to Retrained."
    )
    low: float | None = Field(description="Lower end of the 95 % t interval of the mean.")
    high: float | None
    difference_p: float | None = Field(
        description="p of the paired t test of equality. Null where seeds are lacking."
    )
    flip_p: float | None = Field(description="p of the exact sign-flip test of equality.")
    adjusted_p: float | None = Field(
        description="difference_p after Holm, over the pairs of methods of the scenario; where"
        " settings were tuned, over pairs of chosen settings or pairs of settings as given."
    )
    nearer: float = Field(
        ge=0, le=1, description="Share of seeds in which method is nearer; ties count half."
    )
    nearer_low: float = Field(description="Lower end of the 95 % Wilson interval of nearer.")
    nearer_high: float


class Rank(Document):
    """One method over the blocks; 1 is nearest to Retrained."""

    method: Title
    mean: float = Field(
        ge=1, description="Mean over the blocks of the method's rank by mean distance."
    )
    low: float | None = Field(
        description="Lower end of the 95 % bootstrap interval, over seeds; null below 10 seeds."
    )
    high: float | None
    score: float | None = Field(
        description="Interquartile mean, over blocks and seeds, of"
        " 1 - min(1, distance / distance of Original): 1 is Retrained, 0 is having done nothing."
        " Null where Original is not told from Retrained in any block."
    )
    score_low: float | None = Field(
        description="Lower end of the 95 % bootstrap interval of score; null below 10 seeds."
    )
    score_high: float | None


class RankedPair(Document):
    """Two methods over the blocks."""

    method: Title
    other: Title
    signed_rank_p: float = Field(
        description="p of Wilcoxon's signed-rank test of the two mean distances, over blocks."
    )
    adjusted_p: float = Field(description="signed_rank_p after Holm, over the pairs.")


class Friedman(Document):
    """Test whether methods differ over the blocks at all."""

    chi_square: float = Field(description="Friedman's statistic, corrected for ties.")
    p: float = Field(description="p of Iman and Davenport's F, which is made of chi_square.")
    critical_difference: float = Field(
        description="Mean ranks further apart differ, by Nemenyi's test at 5 %."
    )


class Ranking(Document):
    """Methods over blocks, which are the kinds of scenario of an experiment."""

    metric: Title
    blocks: list[ShortText]
    left_out: list[LeftOut] = Field(
        description="Methods without a value of some seed in some block; they take none from"
        " others."
    )
    seeds: int = Field(
        description="Seeds of the experiment; of several, of that with the fewest. 0 where nothing"
        " is ranked."
    )
    ranks: list[Rank] = Field(
        description="Ranked methods; empty where fewer than two have every value."
    )
    friedman: Friedman | None = Field(
        description="Friedman's test; null below 6 blocks, and below 3 methods, where it would"
        " say nothing."
    )
    pairs: list[RankedPair] = Field(description="Tests of pairs of methods; empty below 6 blocks.")


class Axis(Document):
    """Goal of a method, by the row that measures it; smaller is better in each."""

    role: Literal["forget", "test", "membership", "cost"]
    metric: Title


class Point(Document):
    """One method on the axes."""

    method: Title
    distances: list[Distance] = Field(description="Distance on each axis.")
    dominated_by: list[Title] = Field(
        description="Methods with a mean that is no worse on every axis, and better on one by a"
        " paired 95 % interval that leaves out 0. None of them: the method is on the front. Where"
        " settings were tuned, chosen ones do not dominate those as given, nor the reverse."
    )


class Front(Document):
    """The Pareto front of one scenario."""

    scenario: Title
    axes: list[Axis]
    points: list[Point]
    left_out: list[LeftOut] = Field(
        description="Methods without a value of some seed on some axis."
    )


class SearchedSetting(Document):
    """One setting of a method that was searched in a scenario."""

    name: Title
    given: Any = Field(None, description="Value of the experiment or by default.")
    chosen: Any = Field(None, description="Value of the chosen trial.")
    tried: list[Any] = Field(max_length=1025, description="Value of each trial.")
    share: float | None = Field(
        description="Share of the objective's variance by rank that the setting accounts for; null"
        " where it does not differ, or of too few trials."
    )
    at_end: bool = Field(
        description="True where the chosen value lies in the outer 5 % of those that may be tried."
    )


class ObjectiveGain(Document):
    """Objective of the given settings minus that of the chosen ones, by seed. Above 0 tuning has
    helped; only on final seeds is that a finding."""

    n: int = Field(ge=0, description="Seeds in which both have a value.")
    asked: int = Field(ge=0, description="Seeds that were asked for.")
    mean: float | None
    low: float | None = Field(description="Lower end of the 95 % t interval; null below 2 seeds.")
    high: float | None


class Optimism(Document):
    """Mean objective of the chosen settings on final seeds minus that on tuning seeds."""

    mean: float | None
    low: float | None = Field(description="Lower end of the 95 % interval of Welch.")
    high: float | None


class SearchSummary(Document):
    """Search for the settings of a method in a scenario."""

    scenario: Title
    method: Title
    trial: int = Field(ge=0, description="Number of the chosen trial; 0 is what was given.")
    note: ShortText = ""
    objective: float | None = Field(description="Mean over tuning seeds of the chosen trial.")
    given: float | None = Field(description="Mean of the given settings; null where they failed.")
    values: list[float | None] = Field(
        max_length=1025,
        description="Mean of each trial, the given settings first; null: failed. Of successive"
        " halving the value on the first tuning seed, which all trials have.",
    )
    beaten: float | None = Field(
        description="Share of the other trials that are worse than the given settings."
    )
    best_of: list[float | None] = Field(
        max_length=1024,
        description="Expected best of k trials, k = 1, 2, ...; null where all k can have failed."
        " Of trials that were proposed from others the best of the first k.",
    )
    retrainings: float | None = Field(
        description="Passes of samples of all trials and seeds, over those of one retraining."
    )
    uncounted: int = Field(description="Trials, each in one seed, whose passes are not counted.")
    final: float | None = Field(
        None,
        description="Mean over final seeds of the chosen settings' objective, on test samples.",
    )
    tuning_gain: ObjectiveGain | None = Field(
        None, description="Gain on the seeds that chose, where chance helps; null in older files."
    )
    final_gain: ObjectiveGain | None = Field(
        None, description="Gain on final seeds, which chose nothing; null in older files."
    )
    optimism: Optimism | None = Field(
        None, description="Part that luck has in the objective of the chosen trial."
    )
    settings: list[SearchedSetting] = Field(max_length=16)


class TuningSummary(Document):
    """Tuning as a summary tells it."""

    objective: Objective
    track: TuningTrack
    seeds: list[Seed]
    trials: int = Field(description="Trials of each search, beside the given settings.")
    sampler: Sampler
    rounds: int = Field(
        1,
        ge=1,
        exclude_if=lambda rounds: rounds == 1,
        description="Rounds of successive halving over the tuning seeds.",
    )
    share: float = Field(description="Budget of a trial, as a share of Retrained's training.")
    retuned: int
    final_lack: ShortText = Field(
        "", description="Reason why no objective is known of final seeds; empty where it is."
    )
    rehearsal: list[LabelledComponent] = Field(
        default_factory=list,
        max_length=64,
        exclude_if=lambda rehearsal: not rehearsal,
        description="Scenarios of the trials, where they forgot other samples.",
    )
    same_forget: list[Title] = Field(
        default_factory=list,
        max_length=64,
        description="Scenarios that forget the same in tuning seeds and in final ones.",
    )
    searches: list[SearchSummary] = Field(max_length=64 * 64)
    sanity: list[Sanity] = Field(max_length=256)


class Summary(Document):
    """summary.json: everything that the table and the report show."""

    schema_version: Literal[2] = SUMMARY_VERSION
    experiment: SummaryExperiment
    primary_metric: Title
    seeds: list[int]
    partial: bool = Field(
        description="True where some seed has no result, or some run gave no model."
    )
    rows: list[Row]
    joint_verdicts: list[JointVerdict] = Field(
        description="Verdict on each method in each scenario with rows that are read by their gap."
    )
    collapse_rates: list[CollapseRate]
    comparisons: list[Comparison] = Field(
        description="Every pair of methods in each scenario, by the primary metric; where settings"
        " were tuned, of two with chosen settings or two with settings as given."
    )
    ranks: Ranking | None = Field(
        description="Ranking by the primary metric; null where it is measured on a machine, and of"
        " fewer than two methods. Where settings were tuned, of the methods with chosen ones."
    )
    ranks_as_given: Ranking | None = Field(
        None,
        exclude_if=lambda ranking: ranking is None,
        description="Ranking of the methods with settings as given, where others were tuned.",
    )
    pareto: list[Front] = Field(description="Pareto front of each scenario with two axes or more.")
    failures: list[Failure]
    excluded: list[Exclusion]
    over_seeds: OverSeeds = Field(default_factory=OverSeeds)
    training_curves: TrainingCurves = Field(
        default_factory=TrainingCurves,
        exclude_if=lambda curves: not curves.seeds,
        description="Curves of trainings; absent where no model is in the store.",
    )
    tuning: TuningSummary | None = Field(
        None, description="Search for settings; null where every method has those that are given."
    )
    provenance: dict[str, Any]

    @property
    def tuned(self) -> list[str]:
        """Titles of the methods with chosen settings."""
        searches = self.tuning.searches if self.tuning else ()
        return list(dict.fromkeys(each.method for each in searches))
