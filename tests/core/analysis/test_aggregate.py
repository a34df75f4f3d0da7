"""Results become a summary, against numbers worked out by hand.

Covered: means and gaps over seeds, repeats inside a seed, failed, collapsed and missing runs, other
work, order of rows and of results, references, exclusions, floors, provenance, what is left out for
comparison, JSON and CSV. Left out: the statistics themselves (test_statistics.py).
"""

import csv
import io
import json
import math
import random

import numpy as np
import pytest
from scipy import stats

from supreme_core import registry
from supreme_core.analysis.aggregate import aggregate
from supreme_core.analysis.files import summary_csv, summary_json
from supreme_core.analysis.provenance import provenance_of, row_facts
from supreme_core.api.model import parse_json
from supreme_core.api.orders import Exclusion
from supreme_core.api.summary import Floor, Summary
from supreme_core.errors import SpecError
from supreme_core.registry import Entry, MetricFacts, NoParams
from supreme_core.registry.catalog import SCHEMA_VERSION, Catalog
from tests.core.analysis import summaries
from tests.core.analysis.summaries import (
    FACTS,
    cell,
    digest,
    failed,
    question,
    result,
    results,
    run,
    summary,
)
from tests.unmeasured import without_measurements


def row_of(found, method, metric="forget_accuracy", scenario="full_class"):
    wanted = (scenario, method, metric)
    return next(row for row in found.rows if (row.scenario, row.method, row.metric) == wanted)


def answers(by_method, *, metric="forget_accuracy"):
    """Results of seeds 1, 2, ... from the values of each method."""
    per_seed = zip(*by_method.values(), strict=True)
    return [
        result(seed, [run(m, **{metric: v}) for m, v in zip(by_method, values, strict=True)])
        for seed, values in enumerate(per_seed, start=1)
    ]


def test_mean_and_gap_over_three_seeds_are_those_worked_out_by_hand():
    found = aggregate(
        answers(
            {"original": [1.0] * 3, "retrained": [0.1, 0.2, 0.6], "scrub": [0.2, 0.4, 0.9]},
        ),
        question([1, 2, 3]),
    )
    scrub = row_of(found, "scrub")
    assert (scrub.n, scrub.mean) == (3, pytest.approx(0.5))
    assert scrub.sd == pytest.approx(0.13**0.5)  # deviations -0.3, -0.1, 0.4: squares 0.26 / 2
    assert (scrub.gap.n, scrub.gap.mean) == (3, pytest.approx(0.2))  # 0.1, 0.2, 0.3
    half = 4.302652729749464 * 0.1 / 3**0.5  # t with 2 degrees of freedom, sd 0.1
    assert (scrub.gap.low, scrub.gap.high) == pytest.approx((0.2 - half, 0.2 + half))
    assert scrub.values == {"1": 0.2, "2": 0.4, "3": 0.9}


def test_repeats_inside_a_seed_are_averaged_and_not_counted_as_data():
    """Two seeds with three repeats are two values. Six of them would look ten times as sure."""
    repeats = {1: [0.488, 0.49, 0.492], 2: [0.508, 0.51, 0.512]}
    found = aggregate(
        [
            result(
                seed,
                [run("scrub", repeat=i, forget_accuracy=v) for i, v in enumerate(values)]
                + [run("retrained", forget_accuracy=0.0), run("original", forget_accuracy=1.0)],
            )
            for seed, values in repeats.items()
        ],
        question([1, 2], unlearning_repeats=3),
    )
    scrub = row_of(found, "scrub")
    honest = stats.ttest_1samp([0.49, 0.51], 0).confidence_interval()
    assert scrub.n == 2
    assert scrub.values == {"1": pytest.approx(0.49), "2": pytest.approx(0.51)}
    assert (scrub.low, scrub.high) == pytest.approx(tuple(honest))
    pooled = stats.ttest_1samp([*repeats[1], *repeats[2]], 0).confidence_interval()
    assert scrub.high - scrub.low > 10 * (pooled.high - pooled.low)


def test_the_gap_is_taken_to_the_mean_of_retraineds_replicas():
    runs = [
        run("retrained", repeat=0, forget_accuracy=0.1),
        run("retrained", repeat=1, forget_accuracy=0.3),
        run("scrub", forget_accuracy=0.5),
    ]
    found = aggregate([result(1, runs)], question([1], retrained_replicas=2))
    assert row_of(found, "scrub").gap.mean == pytest.approx(0.3)
    assert row_of(found, "retrained").n == 1


EIGHT = [0.10, 0.12, 0.11, 0.09, 0.10, 0.11, 0.12, 0.10]
"""Values of Retrained; neighbours differ by 0.02, 0.01, 0.02, 0.01, 0.01, 0.01 and 0.02."""


def judged(by_method, *, metrics=FACTS, forget=lambda seed: "three", margins=None):
    found = [
        answer.model_copy(update={"cells": [cell("full_class", forget=forget(seed))]})
        for seed, answer in enumerate(answers(by_method), start=1)
    ]
    methods = [method for method in by_method if method not in ("original", "retrained")]
    asked = question(range(1, len(found) + 1), methods=methods, metrics=metrics, margins=margins)
    return aggregate(found, asked)


def test_verdicts_say_what_eight_seeds_show():
    found = judged(
        {
            "original": [1.0] * 8,
            "retrained": EIGHT,
            "near": [x + d for x, d in zip(EIGHT, [0.01, -0.01] * 4, strict=True)],
            "far": [x + 0.3 + 0.01 * i for i, x in enumerate(EIGHT)],
            "wild": [x + d for x, d in zip(EIGHT, [0.2, -0.1, 0.3, -0.2] * 2, strict=True)],
        }
    )
    gaps = {m: row_of(found, m).gap for m in ("original", "near", "far", "wild")}
    verdicts = {method: gap.verdict for method, gap in gaps.items()}
    assert verdicts == {
        "original": "different",
        "near": "equivalent",
        "far": "different",
        "wild": "inconclusive",
    }
    assert gaps["far"].flip_p == pytest.approx(2 / 2**8)
    assert gaps["far"].flip_adjusted_p == pytest.approx(3 * 2 / 2**8)  # of three methods
    far = stats.ttest_1samp([0.3 + 0.01 * i for i in range(8)], 0.0).pvalue
    assert gaps["far"].difference_p == pytest.approx(far)
    assert gaps["far"].adjusted_p == pytest.approx(3 * far)
    assert gaps["original"].adjusted_p == gaps["original"].difference_p  # which is none of them
    assert gaps["near"].flip_p == 1.0


def test_the_margin_is_the_noise_of_retrained_models_that_forgot_the_same():
    tenfold = [10 * x - 0.3 for x in EIGHT]
    by_method = {"original": [1.0] * 8, "retrained": tenfold, "scrub": [0.3] * 8}
    noise = (2 * 7 * np.var(tenfold, ddof=1) / stats.chi2.ppf(0.95, 7)) ** 0.5
    gap = row_of(judged(by_method), "scrub").gap
    assert (gap.margin, gap.margin_source) == (pytest.approx(noise), "noise")
    halves = judged(by_method, forget=lambda seed: "three" if seed < 5 else "four")
    squares = sum(3 * np.var(half, ddof=1) for half in (tenfold[:4], tenfold[4:]))
    pooled = (2 * squares / stats.chi2.ppf(0.95, 6)) ** 0.5
    assert row_of(halves, "scrub").gap.margin == pytest.approx(pooled)
    other = row_of(judged(by_method, forget=str), "scrub").gap  # each seed forgets others
    assert (other.margin, other.margin_source) == (0.01, "metric")
    quiet = row_of(judged(by_method | {"retrained": [0.1] * 8}), "scrub").gap
    assert (quiet.margin, quiet.margin_source) == (0.01, "metric")


def test_a_margin_that_is_set_wins_alone():
    tenfold = [10 * x - 0.3 for x in EIGHT]
    by_method = {"original": [1.0] * 8, "retrained": tenfold, "scrub": [0.3] * 8}
    found = judged(by_method, margins={"forget_accuracy": 0.002})
    gap = row_of(found, "scrub").gap
    assert (gap.margin, gap.margin_source) == (0.002, "set")


def test_a_seed_that_does_not_say_what_it_forgot_is_no_part_of_the_noise():
    by_method = {"original": [1.0] * 8, "retrained": EIGHT, "scrub": [0.3] * 8}
    found = [answer.model_copy(update={"cells": []}) for answer in answers(by_method)]
    assert row_of(aggregate(found, question(range(1, 9))), "scrub").gap.margin == 0.01


def test_a_method_that_forgot_nothing_is_not_useful_for_what_it_still_knows_of_the_class():
    """Retrained knows nothing of a tenth of the test set; who still does may lose 5 points of the
    rest and have more of the whole. What is to be retained decides where it was asked for."""
    retain_test = FACTS["test_accuracy"].model_copy(update={"on": "retain_test"})
    rows = {"retrained": (0.9, 1.0), "original": (1.0, 1.0), "scrub": (0.955, 0.95)}
    found = [
        result(
            seed,
            [
                run(method, test_accuracy=whole, retain_test_accuracy=kept)
                for method, (whole, kept) in rows.items()
            ],
            cells=[cell("full_class", forget="three")],
        )
        for seed in range(1, 9)
    ]

    def useful(facts):
        summed = aggregate(found, question(range(1, 9), primary="test_accuracy", metrics=facts))
        gaps = {row.metric: row.gap for row in summed.rows if row.method == "scrub" and row.gap}
        return {m: gap.noninferiority.holds for m, gap in gaps.items() if gap.noninferiority}

    assert useful(FACTS) == {"test_accuracy": True}
    assert useful(FACTS | {"retain_test_accuracy": retain_test}) == {"retain_test_accuracy": False}


def test_without_any_margin_nothing_is_equivalent():
    facts = FACTS | {
        "forget_accuracy": FACTS["forget_accuracy"].model_copy(update={"margin": None})
    }
    found = judged(
        {"original": [1.0] * 8, "retrained": [0.1] * 8, "scrub": [0.1] * 8},
        metrics=facts,
        forget=str,
    )
    gap = row_of(found, "scrub").gap
    assert (gap.margin, gap.equivalence_p, gap.verdict) == (None, None, "inconclusive")


def test_replicas_give_the_margin_where_seeds_forgot_other_samples():
    runs = {
        seed: [
            run("original", forget_accuracy=1.0),
            run("retrained", repeat=0, forget_accuracy=0.1),
            run("retrained", repeat=1, forget_accuracy=0.1 + 0.3 * seed),
            run("scrub", forget_accuracy=0.5),
        ]
        for seed in (1, 2)
    }
    found = [
        result(seed, of_seed, cells=[cell("full_class", forget=str(seed))])
        for seed, of_seed in runs.items()
    ]
    summed = aggregate(found, question([1, 2], retrained_replicas=2))
    squares = (0.3**2 + 0.6**2) / 2
    noise = (2 * squares / stats.chi2.ppf(0.95, 2)) ** 0.5
    gap = row_of(summed, "scrub").gap
    assert (gap.margin, gap.margin_source) == (pytest.approx(noise), "noise")


def test_two_seeds_that_forgot_the_same_give_the_margin_by_their_first_replicas():
    """The other seeds forgot other samples, and other replicas say nothing where seeds do."""
    first = {1: 0.125, 2: 0.375, 3: 0.5, 4: 0.75}
    found = [
        result(
            seed,
            [
                run("original", forget_accuracy=1.0),
                run("retrained", repeat=0, forget_accuracy=value),
                run("retrained", repeat=1, forget_accuracy=0.9),
                run("scrub", forget_accuracy=0.5),
            ],
            cells=[cell("full_class", forget="three" if seed < 3 else str(seed))],
        )
        for seed, value in first.items()
    ]
    gap = row_of(aggregate(found, question(first, retrained_replicas=2)), "scrub").gap
    noise = (2 * 0.125**2 * 2 / stats.chi2.ppf(0.95, 1)) ** 0.5
    assert (gap.margin, gap.margin_source) == (pytest.approx(noise), "noise")


def test_a_metric_without_a_margin_has_that_of_the_noise_however_small():
    bare = FACTS["forget_accuracy"].model_copy(update={"margin": None})
    found = judged(
        {"original": [1.0] * 8, "retrained": EIGHT, "scrub": [0.1] * 8},
        metrics=FACTS | {"forget_accuracy": bare},
    )
    gap = row_of(found, "scrub").gap
    noise = (2 * 7 * np.var(EIGHT, ddof=1) / stats.chi2.ppf(0.95, 7)) ** 0.5
    assert (gap.margin, gap.margin_source) == (pytest.approx(noise), "noise")


def test_a_share_resolves_what_the_seed_with_the_fewest_samples_does():
    share = FACTS["forget_accuracy"].model_copy(update={"share": True})
    found = [
        answer.model_copy(
            update={"cells": [cell("full_class").model_copy(update={"forget_samples": 10 * seed})]}
        )
        for seed, answer in enumerate(
            answers({"original": [1.0] * 8, "retrained": EIGHT, "scrub": [0.1] * 8}), start=1
        )
    ]
    summed = aggregate(found, question(range(1, 9), metrics=FACTS | {"forget_accuracy": share}))
    assert row_of(summed, "scrub").gap.resolution == pytest.approx(1 / (10 * math.sqrt(12)))


def test_the_first_row_of_each_role_is_its_axis():
    more = {"mia_auc": FACTS["mia_loss_auc"].model_copy(update={"metric": "mia_auc"})}
    more |= {
        "retain_test_accuracy": FACTS["test_accuracy"].model_copy(update={"on": "retain_test"})
    }
    same = dict.fromkeys((*FACTS, *more), 0.5)
    found = [
        result(seed, [run(m, **same) for m in ("original", "retrained", "scrub")])
        for seed in (1, 2, 3)
    ]
    (front,) = aggregate(found, question((1, 2, 3), metrics=FACTS | more)).pareto
    assert [(axis.role, axis.metric) for axis in front.axes] == [
        ("forget", "forget_accuracy"),
        ("test", "test_accuracy"),
        ("membership", "mia_loss_auc"),
        ("cost", "wall_seconds"),
    ]


def test_a_row_names_the_kind_of_its_interval_where_it_has_one():
    values = {"original": [1.0] * 3, "retrained": [0.05, 0.1, 0.02], "scrub": [0.5, 0.52, 0.49]}
    rows = {row.method: row for row in judged(values).rows if row.metric == "forget_accuracy"}
    assert {m: row.interval for m, row in rows.items()} == {
        "original": "t",
        "retrained": "logit",
        "scrub": "t",
    }
    alone = judged({method: of_seeds[:1] for method, of_seeds in values.items()}).rows
    assert {row.interval for row in alone if row.metric == "forget_accuracy"} == {None}


def test_a_failed_repeat_leaves_the_mean_of_the_others_and_is_listed():
    runs = [
        run("retrained", forget_accuracy=0.0),
        run("original", forget_accuracy=1.0),
        run("scrub", repeat=0, forget_accuracy=0.5),
        failed("scrub", "loss is not finite", repeat=1),
    ]
    found = aggregate([result(1, runs)], question([1], unlearning_repeats=2))
    assert row_of(found, "scrub").values == {"1": 0.5}
    (failure,) = found.failures
    assert (failure.kind, failure.seed) == ("failed", 1)
    assert failure.reason == "repeat 1: loss is not finite"
    assert found.partial


def test_a_failed_seed_is_null_among_the_values_and_not_a_shorter_list():
    good = [run("retrained", forget_accuracy=0.1), run("original", forget_accuracy=1.0)]
    found = aggregate(
        [
            result(1, [*good, run("scrub", forget_accuracy=0.5)]),
            result(2, [*good, failed("scrub", "out of memory")]),
        ],
        question([1, 2, 3]),
    )
    scrub = row_of(found, "scrub")
    assert scrub.values == {"1": 0.5, "2": None, "3": None}
    assert (scrub.n, scrub.sd, scrub.low, scrub.gap.n, scrub.gap.low) == (1, None, None, 1, None)
    assert [(f.kind, f.seed, f.method) for f in found.failures] == [
        ("pending", 3, None),
        ("failed", 2, "scrub"),
    ]


def test_a_seed_whose_retrained_failed_counts_for_the_mean_and_not_for_the_gap():
    found = aggregate(
        [
            result(
                1,
                [run("retrained", forget_accuracy=0.1), run("scrub", forget_accuracy=0.2)],
            ),
            result(2, [failed("retrained", "diverged"), run("scrub", forget_accuracy=0.4)]),
        ],
        question([1, 2]),
    )
    scrub = row_of(found, "scrub")
    assert (scrub.n, scrub.gap.n, scrub.gap.mean) == (2, 1, pytest.approx(0.1))


def test_a_run_below_half_of_retraineds_median_is_listed_as_collapsed_and_stays_in_the_mean():
    found = aggregate(
        answers(
            {
                "original": [0.9, 0.9, 0.9],
                "retrained": [0.8, 0.9, 0.8],
                "scrub": [0.8, 0.39, 0.4],
            },
            metric="test_accuracy",
        ),
        question([1, 2, 3]),
    )
    (failure,) = (each for each in found.failures if each.kind != "undefined")
    assert (failure.kind, failure.method, failure.seed) == ("collapsed", "scrub", 2)
    assert row_of(found, "scrub", "test_accuracy").n == 3
    assert not found.partial


def test_a_method_that_the_result_leaves_out_is_pending_for_that_seed():
    found = aggregate(
        [result(1, [run("original"), run("retrained", forget_accuracy=0.1)])], question([1])
    )
    undefined, pending = found.failures
    assert (pending.kind, pending.method, pending.seed) == ("pending", "scrub", 1)
    assert (undefined.kind, undefined.method) == ("undefined", "original")


@pytest.mark.parametrize("seeds", [[], [1]], ids=["no result", "one of two"])
def test_a_summary_of_what_there_is_lists_the_seeds_that_are_pending(seeds):
    found = aggregate(results(seeds), question([1, 2]))
    pending = [failure.seed for failure in found.failures if failure.kind == "pending"]
    assert pending == [seed for seed in (1, 2) if seed not in seeds]
    assert found.partial
    assert row_of(found, "scrub").n == len(seeds)


def test_a_result_of_other_work_is_not_mixed_in():
    other = result(2, results([2])[0].runs, work_digest=digest("other recipe"))
    found = aggregate([*results([1]), other], question([1, 2]))
    assert row_of(found, "scrub").n == 1
    (failure,) = found.failures
    assert failure.kind == "pending"
    assert "other work" in failure.reason


def test_the_last_attempt_of_a_seed_counts_and_seeds_not_asked_for_do_not():
    first = result(1, [run("scrub", forget_accuracy=0.1)], attempt=0)
    second = result(1, [run("scrub", forget_accuracy=0.7)], attempt=1)
    stranger = result(9, [run("scrub", forget_accuracy=0.9)])
    found = aggregate([second, stranger, first], question([1]))
    assert row_of(found, "scrub").values == {"1": 0.7}


def test_the_order_of_results_and_of_their_runs_changes_no_byte():
    found = results(range(6), scenarios=("a", "b"), methods=("x", "y"))
    asked = question(range(6), scenarios=("a", "b"), methods=("x", "y"))
    shuffled = []
    for each in random.Random(0).sample(found, len(found)):
        runs = random.Random(each.seed).sample(each.runs, len(each.runs))
        shuffled.append(each.model_copy(update={"runs": runs}))
    assert summary_json(aggregate(shuffled, asked)) == summary_json(aggregate(found, asked))


def test_rows_stand_in_the_order_of_the_spec_with_the_primary_metric_first():
    found = summary(scenarios=("zebra", "ant"), methods=("second", "first"), primary="mia_loss_auc")
    assert list(dict.fromkeys(row.scenario for row in found.rows)) == ["zebra", "ant"]
    assert list(dict.fromkeys(row.method for row in found.rows)) == [
        *("original", "retrained", "second", "first")
    ]
    of_first = [r.metric for r in found.rows if (r.scenario, r.method) == ("ant", "first")]
    assert of_first == ["mia_loss_auc", *(metric for metric in FACTS if metric != "mia_loss_auc")]


@pytest.mark.parametrize(
    ("method", "metric", "has_gap"),
    [
        pytest.param("scrub", "forget_accuracy", True, id="an accuracy"),
        pytest.param("original", "forget_accuracy", True, id="of original too"),
        pytest.param("retrained", "forget_accuracy", False, id="retrained itself"),
        pytest.param("scrub", "forget_js_divergence", False, id="a distance to Retrained"),
        pytest.param("scrub", "wall_seconds", False, id="a measurement"),
    ],
)
def test_only_what_is_read_against_retrained_has_a_gap(method, metric, has_gap):
    assert (row_of(summary(), method, metric).gap is not None) is has_gap


def test_a_reference_has_no_row_of_a_metric_that_is_not_defined_for_it():
    found = summary()
    timed = [row.method for row in found.rows if row.metric == "wall_seconds"]
    assert timed == ["retrained", "scrub"]


def test_a_metric_without_any_value_in_a_scenario_has_no_rows_there():
    runs = [run(m, forget_accuracy=0.5, mia_loss_auc=None) for m in ("retrained", "scrub")]
    found = aggregate([result(1, runs)], question([1]))
    assert {row.metric for row in found.rows} == {"forget_accuracy"}


def test_an_excluded_pair_has_no_rows_and_no_failures():
    pair = Exclusion(scenario="full_class", method="amnesiac", reason="defined for classes only")
    found = aggregate(
        results([1, 2]), question([1, 2], methods=("scrub", "amnesiac"), excluded=[pair])
    )
    assert "amnesiac" not in {row.method for row in found.rows}
    assert found.failures == []
    assert found.excluded == [pair]


def test_a_floor_stands_beside_every_method_of_its_scenario():
    floor = Floor(n=4, mean=0.02, low=0.01, high=0.03, source="seeds")
    found = summary(floors={("full_class", "forget_js_divergence"): floor})
    with_floor = {(row.method, row.metric) for row in found.rows if row.floor == floor}
    assert with_floor == {
        (method, "forget_js_divergence") for method in ("original", "retrained", "scrub")
    }


def test_an_unknown_primary_metric_is_refused_with_the_nearest_name():
    with pytest.raises(SpecError, match="did you mean 'forget_accuracy'"):
        aggregate([], question([1], primary="forget_acuracy"))


def test_provenance_names_each_environment_once_with_its_seeds():
    gpu = {digest("gpu"): {"device": "H100", "load": float("nan")}}
    found = aggregate(
        [*results([1, 2]), result(3, results([3])[0].runs, environments=gpu)], question([1, 2, 3])
    )
    provenance = provenance_of(found)
    assert provenance.mixed_environments
    assert {e.digest: e.seeds for e in provenance.environments} == {
        digest("cpu"): [1, 2],
        digest("gpu"): [3],
    }
    assert b"NaN" not in summary_json(found)


def test_an_environment_that_says_less_is_no_other_one():
    less = {digest("numpy"): {"numpy": "2.3"}}
    more = {digest("torch"): {"numpy": "2.3", "torch": "2.9"}}
    other = {digest("other"): {"numpy": "2.2"}}

    def mixed(*environments):
        seeds = range(len(environments))
        found = [
            result(seed, results([seed])[0].runs, environments=each)
            for seed, each in zip(seeds, environments, strict=True)
        ]
        return provenance_of(aggregate(found, question(list(seeds)))).mixed_environments

    assert not mixed(less, more)
    assert mixed(other, more)
    assert mixed(less, more, other)


def test_provenance_tells_how_many_forget_sets_there_were():
    found = aggregate(
        [
            result(1, [run("scrub")], cells=[summaries.cell("full_class", forget="a")]),
            result(2, [run("scrub")], cells=[summaries.cell("full_class", forget="b")]),
        ],
        question([1, 2]),
    )
    (cell,) = provenance_of(found).cells
    assert (cell.forget_sets, cell.forget_samples.low) == (2, 146)


def test_a_rerun_on_another_machine_gives_the_same_bits_apart_from_measurements():
    first = results(range(3))
    again = [
        each.model_copy(
            update={
                "attempt": 4,
                "finished_at": "2026-06-01T00:00:00Z",
                "environments": {digest("other"): {"device": "other"}},
                "runs": [
                    r.model_copy(update={"metrics": {**r.metrics, "wall_seconds": 1.0 + i}})
                    for i, r in enumerate(each.runs)
                ],
            }
        )
        for each in first
    ]
    asked = question(range(3))
    before, after = aggregate(first, asked), aggregate(again, asked)
    assert summary_json(before) != summary_json(after)
    assert summary_json(without_measurements(before)) == summary_json(without_measurements(after))


def test_summary_json_reads_back_as_the_same_summary():
    found = summary()
    assert parse_json(Summary, summary_json(found), source="summary.json") == found


def test_summary_json_keeps_a_null_for_a_seed_without_a_value():
    found = aggregate(results([1]), question([1, 2]))
    document = json.loads(summary_json(found))
    assert document["primaryMetric"] == "forget_accuracy"
    assert document["rows"][0]["values"]["2"] is None
    assert document["rows"][0]["sd"] is None


def test_a_foreign_summary_whose_rows_nothing_explains_is_refused():
    found = summary()
    bare = {**found.provenance, "metrics": {}}
    with pytest.raises(SpecError, match="says nothing about 'forget_accuracy'"):
        provenance_of(found.model_copy(update={"provenance": bare}))


def test_csv_has_a_line_for_each_row_and_a_column_for_each_seed():
    found = summary(range(3))
    lines = list(csv.DictReader(io.StringIO(summary_csv(found).decode())))
    assert len(lines) == len(found.rows)
    for line, row in zip(lines, found.rows, strict=True):
        assert float(line["mean"]) == row.mean
        assert line["gap_mean"] == ("" if row.gap is None else str(row.gap.mean))
        assert [float(line[f"seed_{seed}"]) for seed in range(3)] == list(row.values.values())


@pytest.mark.parametrize("start", ["=", "+", "-", "@"])
def test_csv_gives_a_spreadsheet_no_formula(start):
    found = summary([1, 2])
    evil = found.rows[0].model_copy(update={"method": f"{start}cmd()"})
    lines = csv.DictReader(
        io.StringIO(summary_csv(found.model_copy(update={"rows": [evil]})).decode())
    )
    assert next(lines)["method"] == f"'{start}cmd()"


def test_negative_numbers_stay_numbers_in_csv():
    found = aggregate(answers({"retrained": [0.5, 0.6], "scrub": [0.1, 0.3]}), question([1, 2]))
    lines = list(csv.DictReader(io.StringIO(summary_csv(found).decode())))
    scrub = next(line for line in lines if line["method"] == "scrub")
    assert float(scrub["gap_mean"]) == pytest.approx(-0.35)


def test_row_facts_has_a_row_for_each_set_and_one_for_a_metric_without_sets():
    def entry(name, **facts):
        facts = MetricFacts(unit="fraction", group="accuracy", **facts)
        return Entry("metric", name, lambda e, p: 0.0, NoParams, facts, 1, "Words.", "here").listed

    rows = row_facts(
        [("top", entry("accuracy", sets=("forget", "test"))), ("speed_up", entry("speed_up"))]
    )
    assert list(rows) == ["forget_top", "test_top", "speed_up"]
    assert (rows["test_top"].metric, rows["test_top"].on) == ("top", "test")


def test_the_catalogue_gives_the_same_facts_as_the_registry():
    entries = registry.metric.entries()
    listed = json.loads(json.dumps({entry.name: entry.listed.describe() for entry in entries}))
    catalog = Catalog.read({"schemaVersion": SCHEMA_VERSION, "components": {"metric": listed}})
    assert row_facts((e.name, e.listed) for e in entries) == row_facts(
        (e.name, catalog.get("metric", e.name)) for e in entries
    )


@pytest.mark.parametrize(
    ("row", "value"),
    [
        ("forget_accuracy", 1.01),
        ("forget_accuracy", -0.01),
        ("forget_accuracy", 1e308),
        ("wall_seconds", -1.0),
    ],
)
def test_a_number_that_its_metric_cannot_have_is_none_and_told(row, value):
    """A user who may write a result may write any number."""
    found = [
        result(
            seed,
            [
                run("original", forget_accuracy=0.9),
                run("retrained", forget_accuracy=0.1, wall_seconds=2.0),
                run("scrub", **{"forget_accuracy": 0.2, "wall_seconds": 1.0} | changes),
            ],
        )
        for seed, changes in [(1, {row: value}), (2, {}), (3, {})]
    ]
    told = aggregate(found, question([1, 2, 3]))
    (published,) = (each for each in told.rows if (each.method, each.metric) == ("scrub", row))
    assert (published.n, published.seeds.undefined, published.values["1"]) == (2, 1, None)
    assert [(each.seed, each.kind, each.metrics) for each in told.failures] == [
        (1, "undefined", [row])
    ]
    summary_json(told)


@pytest.mark.parametrize(("value", "end"), [(1.0 + 1e-9, 1.0), (-1e-9, 0.0)])
def test_a_value_that_rounding_has_put_beyond_the_range_is_its_end(value, end):
    """Else no interval would be kept within the range, which ends before a value."""
    values = [value, abs(end - 0.2), abs(end - 0.02)]
    found = [
        result(seed, [run("original", forget_accuracy=each)]) for seed, each in enumerate(values)
    ]
    row = aggregate(found, question(range(3))).rows[0]
    assert (row.n, row.values["0"]) == (3, end)
    assert 0 <= row.low < row.mean < row.high <= 1
