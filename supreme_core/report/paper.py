"""Paragraph for a paper: the setup of an experiment and its statistics. Pure.

All of it is read from the summary. A test, a margin or a loss that the experiment does not have is
not mentioned.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from supreme_core.analysis import hypotheses, statistics
from supreme_core.analysis.provenance import CellSummary
from supreme_core.api.records import DatasetRecord
from supreme_core.api.summary import Gap
from supreme_core.api.v1alpha1 import Training
from supreme_core.errors import number_of
from supreme_core.report import cells, contrasts, tuning, words
from supreme_core.report.tables import IndexedSummary

LEVEL = f"{statistics.LEVEL * 100:g} %"
ALPHA = f"{1 - statistics.LEVEL:.2g}"


def paragraph(indexed: IndexedSummary) -> str:
    """Plain text in sentences that stand by themselves, so that any may be left out."""
    return " ".join(
        (
            *_data(indexed),
            *_models(indexed),
            *_scenarios(indexed),
            *_methods(indexed),
            *_tuning(indexed),
            *_estimates(indexed),
            *_verdicts(indexed),
            *_comparisons(indexed),
            *_losses(indexed),
            *_software(indexed),
        )
    )


def _tuning(indexed: IndexedSummary) -> Iterator[str]:
    if indexed.summary.tuning:
        yield tuning.how(indexed.summary.tuning)


def _data(indexed: IndexedSummary) -> Iterator[str]:
    records = indexed.provenance.datasets
    known = f", {_dataset(records[0])}" if len(records) == 1 else ""
    yield f"The data are {words.component(indexed.provenance.work.dataset)}{known}."


def _dataset(record: DatasetRecord) -> str:
    return (
        f"{record.train_samples:,} training and"
        f" {number_of(record.test_samples, 'test image', form=',')} of"
        f" {number_of(record.classes, 'class', 'classes')} (digest {record.digest[:12]})"
    )


def _models(indexed: IndexedSummary) -> Iterator[str]:
    work, seeds = indexed.provenance.work, indexed.finished or indexed.summary.seeds
    yield (
        f"For {_each_of(seeds)}, {words.component(work.model)} was trained on all training images"
        " (Original) and, with the same seed and recipe, on those to retain alone (Retrained)."
    )
    yield f"The recipe: {', '.join(_recipe(work.training))}."
    if work.evaluation_precision != "fp32":
        yield f"Models were evaluated in {work.evaluation_precision} arithmetic."
    repeats = (
        (work.unlearning_repeats, "unlearning repeat"),
        (work.evaluation_repeats, "evaluation repeat"),
        (work.retrained_replicas, "Retrained model"),
    )
    repeated = [number_of(number, noun) for number, noun in repeats if number > 1]
    if repeated:
        yield f"Within each seed, {words.listed(repeated)} were averaged."


def _each_of(seeds: Sequence[int]) -> str:
    if len(seeds) == 1:
        return f"one training seed ({seeds[0]})"
    return f"each of {len(seeds)} training seeds ({words.seed_ranges(seeds)})"


def _recipe(training: Training) -> Iterator[str]:
    yield number_of(training.epochs, "epoch")
    parts = f" in {training.micro_batches} micro-batches" if training.micro_batches > 1 else ""
    yield f"batches of {training.batch_size}{parts}"
    yield f"optimiser {words.component(training.optimizer)}"
    yield f"schedule {words.component(training.schedule)}"
    if training.schedule.warmup_epochs:
        yield f"{number_of(training.schedule.warmup_epochs, 'epoch')} of warm-up"
    if training.augmentation:
        yield f"augmentation {words.listed(map(words.component, training.augmentation))}"
    else:
        yield "no augmentation"
    if training.max_gradient_norm is not None:
        yield f"gradients scaled down to a norm of {training.max_gradient_norm:g}"
    yield f"{training.precision} arithmetic"
    best = training.selection == "best_validation"
    yield "weights of the best epoch on a validation split" if best else "weights of the last epoch"


def _scenarios(indexed: IndexedSummary) -> Iterator[str]:
    cells_of = {cell.scenario: cell for cell in indexed.provenance.cells}
    for scenario in indexed.provenance.work.scenarios:
        asked = words.component(scenario, scenario.title)
        cell = cells_of.get(scenario.title)
        said = (words.forgotten(cell.named), _forgets(cell)) if cell else ()
        yield f"Scenario {': '.join(filter(None, (asked, *said)))}."


def _forgets(cell: CellSummary) -> str:
    forgets = f"{words.spanned(cell.forget_samples, 'training image')} to forget and"
    forgets += f" {words.span(cell.retain_samples)} to retain"
    if len(cell.forget_digests) == 1:
        return forgets
    same = cell.forget_sets == 1
    return f"{forgets}, {'the same' if same else 'drawn anew'} for {'all' if same else 'the'} seeds"


def _methods(indexed: IndexedSummary) -> Iterator[str]:
    methods = indexed.own_methods
    yield (
        f"{words.headline(number_of(len(methods), 'method'))} started from Original:"
        f" {words.listed(words.method(method, method.title) for method in methods)};"
        " settings that are not named are the defaults of SUPREME."
    )
    if indexed.summary.tuned:
        tuned = words.listed(indexed.summary.tuned)
        yield f"Of these, {tuned} ran with these settings and once more with chosen ones."
    left_out = [f"{pair.method} in {pair.scenario}" for pair in indexed.summary.excluded]
    if left_out:
        yield f"Not defined, and left out: {words.listed(left_out)}."


def _estimates(indexed: IndexedSummary) -> Iterator[str]:
    if max(indexed.counts, default=0) > 1:
        scales = sorted({str(row.interval) for row in indexed.summary.rows} & {"log", "logit"})
        near = f", on a {' or '.join(scales)} scale near the end of a range" if scales else ""
        yield f"Numbers are means over training seeds with {LEVEL} t intervals{near}."
    for source in sorted({floor.source for floor in indexed.floors.values()}):
        of = "different seeds" if source == "seeds" else "one seed"
        yield (
            f"The noise floor of a distance is its value between Retrained models of {of} that"
            " forgot the same samples."
        )


def _verdicts(indexed: IndexedSummary) -> Iterator[str]:
    gaps = [row.gap for row in indexed.summary.rows if row.gap]
    if not gaps:
        return
    fewest, least = hypotheses.FEWEST_FOR_A_VERDICT, hypotheses.FEWEST_FOR_A_DIFFERENCE
    yield "A gap is the difference of a method to Retrained of the same seed, averaged over seeds."
    if max(gap.n for gap in gaps) < least:
        yield f"No verdict is claimed, for want of {least} seeds."
        return
    yield (
        "It is equivalent where every seed gave a value and two one-sided t tests place it within"
        f" the margin (p < {ALPHA}, each row by itself; from {fewest} seeds on), else different"
        f" where a paired t test finds a mean gap other than 0 (p < {ALPHA} after Holm's adjustment"
        f" over the methods of a scenario and metric; from {least} seeds on), else inconclusive."
    )
    yield (
        "Over all metrics a method is equivalent where each row is, and different where one is"
        " after Holm's adjustment over all rows and methods of the scenario."
    )
    yield f"{words.headline(_sign_flips(gaps))} was made too; no verdict is taken from it."
    yield from _margins(indexed)
    useful = {row.metric for row in indexed.summary.rows if row.gap and row.gap.noninferiority}
    for metric in sorted(useful):
        yield (
            f"Utility is kept where a one-sided t test finds the gap in {cells.row_title(metric)}"
            f" above the negative margin (p < {ALPHA})."
        )


def _margins(indexed: IndexedSummary) -> Iterator[str]:
    """The rule, then what it came to for the primary metric."""
    noise = "the lower 95 % bound of the sd of a difference between Retrained models"
    own = dict.fromkeys(
        (facts.metric, facts.margin)
        for facts in indexed.facts.values()
        if facts.margin is not None and facts.has_gap
    )
    sources = {row.gap.margin_source for row in indexed.summary.rows if row.gap}
    if "set" in sources:
        rows = {row.metric: row.gap for row in indexed.summary.rows if row.gap}
        each = words.listed(
            f"{gap.margin:g} for {cells.row_title(metric)}"
            for metric, gap in rows.items()
            if gap.margin_source == "set"
        )
        yield f"Margins that were set before the experiment: {each}."
    if sources & {"metric", "noise"}:
        which = "Margins that were not set are" if "set" in sources else "Margins are"
        each = words.listed(f"{margin:g} for {cells.row_title(metric)}" for metric, margin in own)
        yield f"{which} {f'{each}, or {noise} where that is larger' if own else noise}."
    primary, scale = indexed.primary, indexed.scale(indexed.primary)
    used = {
        row.scenario: (
            f"{cells.margin_text(row.gap.margin, scale)} ({cells.SOURCES[row.gap.margin_source]})"
        )
        for row in indexed.summary.rows
        if row.metric == primary and row.gap and row.gap.margin and row.gap.margin_source
    }
    if used:
        each = words.listed(f"{margin} in {scenario}" for scenario, margin in used.items())
        yield f"For {cells.row_title(primary)} it came to {each}."


def _comparisons(indexed: IndexedSummary) -> Iterator[str]:
    if indexed.summary.comparisons:
        yield (
            f"Two methods are compared by their distances to Retrained in"
            f" {cells.row_title(indexed.primary)}, by the paired t test over seeds with Holm's"
            " adjustment over all pairs of a scenario."
        )
    ranked = (each.ranking for each in contrasts.rankings(indexed))
    if found := next((each for each in ranked if each.ranks), None):
        over = words.listed(found.blocks)
        bootstrap = f", with bootstrap intervals over {found.seeds} seeds"
        enough = found.seeds >= statistics.FEWEST_FOR_A_BOOTSTRAP
        yield f"Ranks by mean distance are averaged over {over}{bootstrap * enough}."
    if indexed.summary.pareto:
        yield (
            "A method is on the Pareto front unless another has no worse mean on any axis and a"
            f" better one beyond its paired {LEVEL} t interval."
        )
    if indexed.summary.tuned:
        yield (
            "Adjustments, pairs, ranks and fronts are made among methods with chosen settings and,"
            " apart from them, among those with settings as given."
        )


def _sign_flips(gaps: Iterable[Gap]) -> str:
    most, exact = max(gap.n for gap in gaps), hypotheses.EXACT_SIGN_FLIPS
    if most <= exact:
        return "the exact two-sided sign-flip test"
    flips = f"{hypotheses.RANDOM_SIGN_FLIPS:,} random flips"
    return f"the two-sided sign-flip test ({flips}, exact up to {exact} seeds)"


def _losses(indexed: IndexedSummary) -> Iterator[str]:
    failures = indexed.summary.failures
    kinds: Counter[str] = Counter(each.kind for each in failures)
    collapsed = kinds["collapsed"]
    lost = (
        ("failed", "run", "failed"),
        ("infrastructure", "run", "lost to a machine"),
        ("undefined", "run", "with an undefined metric"),
        ("pending", "result", "pending"),
    )
    without = [
        f"{number_of(number, noun)} {how}" for kind, noun, how in lost if (number := kinds[kind])
    ]
    if without:
        yield (
            f"Without a value: {words.listed(without)}; a method that lacks a seed is neither"
            " called equivalent nor ranked."
        )
    if collapsed:
        yield (
            f"{words.headline(number_of(collapsed, 'run'))} collapsed (test accuracy below half"
            " the median of Retrained) and stayed in the means."
        )


def _software(indexed: IndexedSummary) -> Iterator[str]:
    versions, environments = indexed.provenance.versions, indexed.provenance.environments
    used = [f"SUPREME {versions['supreme']}"] if "supreme" in versions else ["SUPREME"]
    for name in ("torch", "cuda"):
        found = dict.fromkeys(words.plain(e.values[name]) for e in environments if name in e.values)
        used += [f"{name} {each}" for each in found]
    devices = dict.fromkeys(
        words.plain(e.values["device"]) for e in environments if "device" in e.values
    )
    on = f" on {words.listed(devices)}" if devices else ""
    digest = indexed.summary.experiment.digest
    yield f"Computed with {words.listed(used)}{on}; digest of the work {digest}."
