"""Lost seeds in a table: they are counted, named, and never make a method look better.

Covered: every word for a seed (ok, undefined, failed, infrastructure, pending), in whole seeds and
in single repeats; what it does to verdicts, ranks, fronts, pairs and collapse rates; that one
method's lost seeds take nothing from others; Retrained's own. Over seeds: test_over_seeds.py.
"""

import pytest
from scipy import stats

from supreme_core.analysis.aggregate import aggregate
from supreme_core.analysis.files import summary_csv
from supreme_core.api.orders import Exclusion
from supreme_core.api.summary import SeedCounts, lack_of
from supreme_core.report import contrasts, tables
from supreme_core.report.page import render_report
from supreme_core.report.paste import paste
from supreme_core.report.terminal import terminal_tables
from tests.core.analysis.summaries import FACTS, failed, question, result, row_fact, run

SEEDS = range(1, 13)
ROWS = ("forget_accuracy", "test_accuracy", "mia_loss_auc", "wall_seconds")


def numbers(method, seed, **changes):
    wobble = (seed % 3 - 1) / 1000
    found = dict.fromkeys(ROWS, 0.5 + wobble)
    if method == "original":
        found |= {"forget_accuracy": 1.0, "wall_seconds": None}
    return found | {"wall_seconds": None if method == "original" else 1.0} | changes


def experiment(lost=None, *, methods=("near", "other"), seeds=SEEDS, there=None, **asked):
    """Methods that are as good as Retrained, but for what `lost(method, seed)` gives instead."""
    found = []
    for seed in there or seeds:
        runs = []
        for method in ("original", "retrained", *methods):
            instead = lost(method, seed) if lost else None
            runs.append(instead or run(method, **numbers(method, seed)))
        found.append(result(seed, runs))
    return aggregate(found, question(seeds, methods=methods, **asked))


def half(word):
    """`near` loses its even seeds in that way."""

    def lost(method, seed):
        if method != "near" or seed % 2:
            return None
        if word == "undefined":
            undefined = dict.fromkeys(("forget_accuracy", "test_accuracy"))
            return run(method, **numbers(method, seed, **undefined))
        cause = {"failed": "method", "infrastructure": "infrastructure"}[word]
        return failed(method, "so it is", cause=cause)

    return lost


def row_of(found, method, metric="forget_accuracy"):
    return next(each for each in found.rows if (each.method, each.metric) == (method, metric))


def test_with_every_seed_a_perfect_method_is_equivalent_useful_ranked_and_on_the_front():
    found = experiment()
    row = row_of(found, "near")
    assert (row.n, row.seeds, row.lack) == (12, SeedCounts(asked=12), "")
    assert (row.gap.verdict, row.gap.remarks) == ("equivalent", [])
    assert row_of(found, "near", "test_accuracy").gap.noninferiority.holds
    assert {rank.method for rank in found.ranks.ranks} == {"near", "other"}
    assert (found.ranks.left_out, found.ranks.seeds) == ([], 12)
    (front,) = found.pareto
    assert ({point.method for point in front.points}, front.left_out) == ({"near", "other"}, [])
    assert not found.partial
    assert found.failures == []


@pytest.mark.parametrize("word", ["failed", "infrastructure", "undefined"])
def test_a_method_that_lost_half_of_its_seeds_claims_nothing(word):
    found = experiment(half(word))
    reason = f"6 of 12 seeds gave no value (6 {word})"
    row = row_of(found, "near")
    assert (row.n, row.seeds) == (6, SeedCounts(asked=12, **{word: 6}))
    assert (row.gap.verdict, row.gap.remarks) == ("inconclusive", [reason])
    assert row.gap.equivalence_p < 0.05  # by its survivors it would be
    assert not row_of(found, "near", "test_accuracy").gap.noninferiority.holds
    (left,) = found.ranks.left_out
    assert (left.method, left.reason) == ("near", f"full_class: {reason}")
    (front,) = found.pareto
    assert [point.method for point in front.points] == ["other"]
    assert [each.method for each in front.left_out] == ["near"]
    assert reason in front.left_out[0].reason
    (pair,) = found.comparisons
    assert (pair.n, pair.lack, pair.difference_p, pair.adjusted_p) == (
        6,
        f"near: {reason}",
        None,
        None,
    )
    assert found.partial == (word != "undefined")


@pytest.mark.parametrize("word", ["failed", "infrastructure", "undefined"])
def test_lost_seeds_of_one_method_take_nothing_from_another(word):
    """Seeds, verdict, joint verdict and place on the front of the other method stay the same."""
    lost, whole = experiment(half(word)), experiment()
    for metric in ROWS:
        a, b = row_of(lost, "other", metric), row_of(whole, "other", metric)
        assert (a.n, a.seeds, a.mean, a.low) == (b.n, b.seeds, b.mean, b.low)
        assert (a.gap and a.gap.verdict) == (b.gap and b.gap.verdict)
    three = experiment(half(word), methods=("near", "other", "third"))
    assert [rank.method for rank in three.ranks.ranks] == ["other", "third"]
    assert three.ranks.seeds == 12


def test_two_methods_that_fail_in_disjoint_halves_leave_the_ranks_of_the_others():
    def lost(method, seed):
        return failed(method, "no") if method == ("a", "b")[seed % 2] else None

    found = experiment(lost, methods=("a", "b", "c", "d"))
    assert [rank.method for rank in found.ranks.ranks] == ["c", "d"]
    assert [each.method for each in found.ranks.left_out] == ["a", "b"]


def test_where_fewer_than_two_methods_have_every_seed_it_is_said_why_nothing_is_ranked():
    found = experiment(half("failed"))
    assert found.ranks.ranks == []
    assert "Not ranked: near: full_class: 6 of 12" in _text(render_report(found))
    assert experiment(methods=("near",)).ranks is None


def test_a_method_that_the_plan_leaves_out_somewhere_is_not_ranked_with_the_reason():
    excluded = [Exclusion(scenario="full_class", method="near", reason="classes only")]
    kept = experiment(methods=("near", "other", "third"), excluded=excluded)
    assert [rank.method for rank in kept.ranks.ranks] == ["other", "third"]


def test_an_undefined_metric_is_listed_with_the_run_that_it_is_undefined_for():
    found = experiment(half("undefined"))
    assert {each.seed for each in found.failures} == {2, 4, 6, 8, 10, 12}
    for each in found.failures:
        assert (each.kind, each.method) == ("undefined", "near")
        assert each.metrics == ["forget_accuracy", "test_accuracy"]
        assert "forget_accuracy, test_accuracy" in each.reason


def test_a_metric_that_cannot_be_computed_is_no_failure_of_the_method():
    def lost(method, seed):
        return failed(method, "metrics: no", cause="metric") if method == "near" else None

    found = experiment(lost)
    assert row_of(found, "near").seeds == SeedCounts(asked=12, undefined=12)
    (rate,) = [each for each in found.collapse_rates if each.method == "near"]
    assert (rate.failed, rate.of, rate.rate) == (0, 12, 0.0)
    assert {each.kind for each in found.failures} == {"undefined"}


def test_what_is_not_defined_for_retrained_is_said_of_it_alone_and_nobody_has_a_gap():
    def lost(method, seed):
        return run(method, **numbers(method, seed, mia_loss_auc=None))

    def but_original(method, seed):
        return None if method == "original" else lost(method, seed)

    found = experiment(but_original)
    assert {(each.method, each.kind) for each in found.failures} == {("retrained", "undefined")}
    rows = [each for each in found.rows if each.metric == "mia_loss_auc"]
    assert [row.gap for row in rows] == [None] * 4
    (joint,) = [each for each in found.joint_verdicts if each.method == "near"]
    assert (joint.rows, joint.equivalent, joint.verdict) == (3, 2, "inconclusive")


def test_a_seed_without_retrained_is_no_ones_and_said_once():
    def lost(method, seed):
        return failed(method, "no") if (method, seed) == ("retrained", 3) else None

    found = experiment(lost)
    row = row_of(found, "near")
    assert (row.n, row.gap.n, row.gap.verdict) == (12, 11, "inconclusive")
    assert row.gap.remarks == ["Retrained: 1 of 12 seeds gave no value (1 failed)"]
    assert found.ranks.ranks == []
    (said,) = tables.remarks(tables.IndexedSummary(found), "full_class", "forget_accuracy")
    assert said.startswith("Retrained: 1 of 12 seeds gave no value (1 failed), so no method has")


def test_seeds_that_are_pending_keep_verdicts_back():
    found = experiment(there=range(1, 9))
    row = row_of(found, "near")
    assert row.seeds == SeedCounts(asked=12, pending=4)
    assert (row.gap.verdict, row.gap.remarks) == (
        "inconclusive",
        ["4 of 12 seeds gave no value (4 pending)"],
    )
    (rate,) = [each for each in found.collapse_rates if each.method == "near"]
    assert (rate.of, rate.rate) == (8, 0.0)


def test_a_repeat_that_failed_is_lost_though_the_others_gave_a_value():
    def second(seed):
        good = run("near", repeat=1, **numbers("near", seed))
        return failed("near", "no", repeat=1) if seed == 1 else good

    runs = [
        [*(run(m, **numbers(m, seed)) for m in ("original", "retrained", "near")), second(seed)]
        for seed in SEEDS
    ]
    answers = [result(seed, of_seed) for seed, of_seed in zip(SEEDS, runs, strict=True)]
    found = aggregate(answers, question(SEEDS, methods=("near",), unlearning_repeats=2))
    row = row_of(found, "near")
    assert (row.n, row.seeds) == (12, SeedCounts(asked=12, failed=1))
    assert row.gap.verdict == "inconclusive"
    assert row.lack == "1 of 12 seeds gave no value in every repeat (1 failed)"


@pytest.mark.parametrize(
    ("n", "counts", "words"),
    [
        (12, {}, ""),
        (8, {"failed": 2, "pending": 2}, "4 of 12 seeds gave no value (2 failed, 2 pending)"),
        (11, {"undefined": 2}, "2 of 12 seeds gave no value in every repeat (2 undefined)"),
        (
            0,
            {"failed": 3, "undefined": 3, "infrastructure": 3, "pending": 3},
            "12 of 12 seeds gave no value (3 failed, 3 undefined, 3 infrastructure, 3 pending)",
        ),
    ],
)
def test_what_is_lacking_is_said_in_words(n, counts, words):
    assert lack_of(n, SeedCounts(asked=12, **counts)) == words


def test_the_collapse_rate_counts_failed_and_collapsed_seeds_among_those_that_could_do_either():
    def lost(method, seed):
        if method != "near":
            return None
        return {
            1: failed(method, "no"),
            2: failed(method, "no", cause="infrastructure"),
            3: run(method, **numbers(method, seed, test_accuracy=0.1)),
            4: run(method, **numbers(method, seed, test_accuracy=0.2)),
            5: run(method, **numbers(method, seed, test_accuracy=None)),
        }.get(seed)

    found = experiment(lost, there=range(1, 11))
    (rate,) = [each for each in found.collapse_rates if each.method == "near"]
    assert (rate.collapsed, rate.failed, rate.of) == (2, 1, 9)
    assert rate.rate == pytest.approx(3 / 9)
    wilson = stats.binomtest(3, 9).proportion_ci(method="wilson")
    assert (rate.low, rate.high) == pytest.approx((wilson.low, wilson.high))


def test_methods_with_collapsed_models_are_named_below_every_table_of_the_primary_metric():
    """A method that has lost the task can be equivalent in forget accuracy, and first by it."""

    def lost(method, seed):
        broken = method == "other" or (method == "near" and seed % 2)
        return run(method, **numbers(method, seed, test_accuracy=0.1)) if broken else None

    found = experiment(lost)
    assert row_of(found, "other").gap.verdict == "equivalent"
    said = [
        "Collapsed in 12 of 12 seeds, counted here too: other.",
        "Collapsed in 6 of 12 seeds, counted here too: near.",
    ]
    indexed = tables.IndexedSummary(found)
    assert list(tables.overview_remarks(indexed, "full_class")) == said
    assert " ".join(said) in paste(indexed, "primary", "markdown")
    (table,) = terminal_tables(found)
    assert set(said) < set(table.notes)
    whole = tables.IndexedSummary(experiment())
    assert list(tables.overview_remarks(whole, "full_class")) == []


def test_one_collapsed_repeat_of_two_is_a_collapse_and_names_the_repeat():
    runs = [
        run("original", **numbers("original", 1)),
        run("retrained", **numbers("retrained", 1)),
        run("near", repeat=0, **numbers("near", 1)),
        run("near", repeat=1, **numbers("near", 1, test_accuracy=0.1)),
        failed("other", "w" * 1024, repeat=0),
        run("other", repeat=1, **numbers("other", 1)),
    ]
    asked = question([1], methods=("near", "other"), unlearning_repeats=2)
    found = aggregate([result(1, runs)], asked)
    (rate,) = [each for each in found.collapse_rates if each.method == "near"]
    assert (rate.collapsed, rate.failed, rate.of) == (1, 0, 1)
    reasons = {failure.method: failure.reason for failure in found.failures}
    assert reasons["near"].startswith("repeat 1: test_accuracy 0.1 is below 0.25, half")
    assert reasons["other"] == "repeat 0: " + "w" * 1014  # cut to what a text may have


def test_a_failure_of_the_only_repeat_names_no_repeat():
    runs = [run(m, **numbers(m, 1)) for m in ("original", "retrained")]
    found = aggregate([result(1, [*runs, failed("near", "no")])], question([1], methods=("near",)))
    assert [(each.method, each.reason) for each in found.failures] == [("near", "no")]


def test_a_distance_of_retrained_is_of_its_first_replica_and_of_a_method_the_mean():
    runs = [
        run("original", forget_js_divergence=0.9),
        *(
            run(m, repeat=repeat, forget_js_divergence=value)
            for m, values in {"retrained": (0.0, 0.4), "near": (0.1, 0.3)}.items()
            for repeat, value in enumerate(values)
        ),
    ]
    asked = question([1], methods=("near",), unlearning_repeats=2, retrained_replicas=2)
    found = aggregate([result(1, runs)], asked)
    means = {m: row_of(found, m, "forget_js_divergence").mean for m in ("retrained", "near")}
    assert means == {"retrained": 0.0, "near": pytest.approx(0.2)}


def test_a_seed_that_failed_and_collapsed_counts_once():
    runs = [
        run("original", **numbers("original", 1)),
        run("retrained", **numbers("retrained", 1)),
        run("near", repeat=0, **numbers("near", 1, test_accuracy=0.1)),
        failed("near", "no", repeat=1),
    ]
    found = aggregate([result(1, runs)], question([1], methods=("near",), unlearning_repeats=2))
    (rate,) = [each for each in found.collapse_rates if each.method == "near"]
    assert (rate.collapsed, rate.failed, rate.of, rate.rate) == (0, 1, 1, 1.0)


def test_where_nothing_tells_a_collapse_failures_alone_are_counted():
    facts = {name: fact for name, fact in FACTS.items() if name != "test_accuracy"}
    found = experiment(half("failed"), metrics=facts)
    (rate,) = [each for each in found.collapse_rates if each.method == "near"]
    assert (rate.collapsed, rate.failed, rate.rate) == (0, 6, 0.5)


@pytest.mark.parametrize("word", ["failed", "infrastructure", "undefined"])
def test_page_terminal_and_csv_show_how_many_seeds_gave_a_value_and_why_not_all(word):
    found = experiment(half(word))
    reason = f"6 of 12 seeds gave no value (6 {word})"
    (table,) = terminal_tables(found)
    near = next(each for each in table.rows if each[0] == "near")
    assert near[1] == "6 of 12"
    assert f"{reason}: near." in table.notes
    page = _text(render_report(found))
    assert f"{reason}: near." in page
    lines = summary_csv(found).decode().splitlines()
    head = lines[0].split(",")
    row = next(each for each in lines if each.startswith("full_class,near,forget_accuracy"))
    told = dict(zip(head, row.split(","), strict=False))
    assert (told["n"], told["asked"], told[word]) == ("6", "12", "6")
    assert reason.split(",")[0] in row


def test_every_table_says_which_of_its_values_are_of_fewer_seeds():
    """Not only the primary metric's: of the companions beside it, and of all metrics below."""

    def lost(method, seed):
        undefined = seed % 2 and method == "near"
        return run(method, **numbers(method, seed, mia_loss_auc=None)) if undefined else None

    found = experiment(lost)
    reason = "6 of 12 seeds gave no value (6 undefined): near"
    (table,) = terminal_tables(found)
    assert f"{reason}, in MIA loss AUC." in table.notes
    indexed = tables.IndexedSummary(found)
    membership = tables.group(indexed, "full_class", "membership").tables[0]
    assert membership.remarks == (f"{reason}.",)
    assert f"12 training seeds. {reason}." in paste(indexed, "membership", "markdown")
    assert paste(indexed, "accuracy", "markdown").count(reason) == 0
    page = _text(render_report(found))
    assert f"{reason}." in page[page.index("<h2>All metrics") : page.index("<h2>For a paper")]
    assert "6 runs gave a model for which some metric has no value" in page


@pytest.mark.parametrize("lacking", ["wall_seconds", "mia_loss_auc"])
def test_a_time_that_is_missing_has_its_reason(lacking):
    def lost(method, seed):
        undefined = seed % 2 and method == "near"
        return run(method, **numbers(method, seed, **{lacking: None})) if undefined else None

    reason = "Where a time is missing, it was not that of one process by itself"
    assert (reason in _text(render_report(experiment(lost)))) == (lacking == "wall_seconds")


def test_what_all_lines_lack_alike_is_said_without_their_names():
    found = experiment(there=range(1, 9))
    (of_accuracy,) = tables.group(tables.IndexedSummary(found), "full_class", "accuracy").tables
    assert of_accuracy.remarks == ("4 of 12 seeds gave no value (4 pending): every line.",)


def test_methods_that_lost_seeds_stand_behind_those_that_have_all():
    def lost(method, seed):
        if method == "other":
            return run(method, **numbers(method, seed, forget_accuracy=0.6))
        return half("failed")(method, seed)

    indexed = tables.IndexedSummary(experiment(lost))
    assert tables.by_nearness(indexed, "full_class") == ["other", "near", "original"]
    (said,) = contrasts.untested(indexed, "full_class")
    assert said == "near: 6 of 12 seeds gave no value (6 failed)"
    assert f"Not tested: {said}." in paste(indexed, "pairs", "markdown")
    pending = tables.IndexedSummary(experiment(there=range(1, 9)))
    (of_both,) = contrasts.untested(pending, "full_class")
    assert of_both == "near, other: 4 of 12 seeds gave no value (4 pending)"


@pytest.mark.parametrize(
    ("replica", "follows"),
    [
        (failed("retrained", "no", repeat=1), "no method is called equivalent"),
        (None, None),
    ],
)
def test_a_lost_replica_of_retrained_leaves_gaps_and_claims_no_more(replica, follows):
    """The seed still has a Retrained, so every method has a gap there."""
    found = []
    for seed in SEEDS:
        good = run("retrained", repeat=1, **numbers("retrained", seed))
        second = replica if replica and seed == 3 else good
        runs = [run(m, **numbers(m, seed)) for m in ("original", "retrained", "near")]
        found.append(result(seed, [*runs, second]))
    told = aggregate(found, question(SEEDS, methods=("near",), retrained_replicas=2))
    assert row_of(told, "near").gap.n == 12
    said = list(tables.remarks(tables.IndexedSummary(told), "full_class", "forget_accuracy"))
    reason = "Retrained: 1 of 12 seeds gave no value in every repeat (1 failed)"
    assert said == ([f"{reason}, so {follows}."] if follows else [])


def test_a_result_without_a_run_of_retrained_is_a_reason_that_is_told():
    found = [
        result(
            seed,
            [
                run(m, **numbers(m, seed))
                for m in ("original", "retrained", "near")
                if (m, seed) != ("retrained", 3)
            ],
        )
        for seed in SEEDS
    ]
    told = aggregate(found, question(SEEDS, methods=("near",)))
    assert row_of(told, "near").gap.verdict == "inconclusive"
    said = "Retrained: 1 of 12 seeds gave no value (1 pending), so no method has a gap there."
    assert said in terminal_tables(told)[0].notes


def test_a_distance_has_no_gap_that_retrained_could_take():
    facts = FACTS | {"mia_loss_auc": row_fact("mia_loss_auc", compares=True)}

    def lost(method, seed):
        return failed(method, "no") if (method, seed) == ("retrained", 3) else None

    indexed = tables.IndexedSummary(experiment(lost, metrics=facts))
    said = list(tables.remarks(indexed, "full_class", "mia_loss_auc"))
    assert said == ["Retrained: 1 of 12 seeds gave no value (1 failed)."]


def test_the_fate_of_seeds_does_not_depend_on_where_the_primary_metric_is_defined():
    """Original has no cost, and yet was lost to a machine and is not pending."""
    facts = FACTS | {
        "wall_seconds": row_fact(
            "wall_seconds", unit="seconds", measured=True, high=None, references=["retrained"]
        )
    }

    def lost(method, seed):
        gone = failed(method, "no", cause="infrastructure")
        return gone if (method, seed) == ("original", 3) else None

    found = experiment(lost, metrics=facts, primary="wall_seconds")
    (line,) = tables.collapses(tables.IndexedSummary(found))
    assert (line.method, line.infrastructure, line.pending, line.of) == ("Original", 1, 0, 11)


def test_a_cost_that_retrained_lacks_keeps_nobody_from_the_front():
    facts = FACTS | {"wall_seconds": row_fact("wall_seconds", unit="seconds", measured=True)}

    def lost(method, seed):
        free = run(method, **numbers(method, seed, wall_seconds=None))
        return free if method == "retrained" else None

    (front,) = experiment(lost, metrics=facts).pareto
    assert {point.method for point in front.points} == {"near", "other"}


def _text(page):
    return page.decode().replace("&#34;", '"')
