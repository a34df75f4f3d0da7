"""Several experiments in one table: numbers, ranks and tests, and what cannot be compared.

numbers   those of the summaries, whatever the order of the experiments
ranks     a slow version with loops; scipy for Friedman, signed ranks and the critical difference
refusals  each thing that must be the same, and several at once
Left out: the intervals of ranks, whose bootstrap test_comparison.py has.
"""

import random
from itertools import combinations
from math import sqrt

import numpy as np
import pytest
from scipy import stats

from supreme_core.analysis.across import compare
from supreme_core.analysis.aggregate import aggregate
from supreme_core.analysis.hypotheses import holm
from supreme_core.errors import SpecError
from tests.core.analysis import summaries
from tests.core.analysis.summaries import (
    published,
    question,
    result,
    run,
    six_blocks,
    with_choices,
)

METHODS = ("scrub", "ssd", "finetune")


def drawn(source, model, seed, *, seeds=range(5), scenarios=("full_class", "random"), lost=()):
    """An experiment of numbers from a coarse grid without rounding, so that there are ties.

    lost: (seed, method) without a value.
    """
    rng = random.Random(seed)
    results = []
    for each in seeds:
        runs = []
        for scenario in scenarios:
            for method in ("original", "retrained", *METHODS):
                value = rng.randrange(12, 52) / 64 if (each, method) not in lost else None
                seconds = None if method == "original" else rng.randrange(5, 50)
                numbers = {"forget_accuracy": value, "wall_seconds": seconds}
                runs.append(run(method, scenario=scenario, **numbers))
        results.append(result(each, runs))
    asked = question(seeds, scenarios=scenarios, methods=METHODS)
    found = published(source, model=model, seeds=seeds, scenarios=scenarios, methods=METHODS)
    summary = aggregate(results, asked)
    provenance = {**summary.provenance, "work": found.summary.provenance["work"]}
    return type(found)(source, summary.model_copy(update={"provenance": provenance}))


def slow_distance(each, scenario, method, metric):
    """Mean over seeds of the distance to Retrained, or the cost."""
    rows = {(r.scenario, r.method, r.metric): r.values for r in each.summary.rows}
    values = rows[scenario, method, metric]
    if metric == "wall_seconds":
        return sum(values.values()) / len(values)
    retrained = rows[scenario, "retrained", metric]
    return sum(abs(values[s] - retrained[s]) for s in values) / len(values)


@pytest.mark.parametrize("metric", ["forget_accuracy", "wall_seconds"])
@pytest.mark.parametrize("seed", range(3))
def test_ranks_and_their_tests_are_those_of_scipy_and_of_loops(metric, seed):
    several = [drawn(str(i), f"model-{i}", 10 * seed + i, seeds=range(4)) for i in range(4)]

    (row,) = compare(several, [metric]).rows

    means = np.array(
        [
            [slow_distance(each, scenario, method, metric) for method in METHODS]
            for each in several
            for scenario in ("full_class", "random")
        ]
    )
    slow = [
        np.mean([sum(x < line[k] for x in line) + (sum(x == line[k] for x in line) + 1) / 2
                 for line in means])
        for k in range(3)
    ]  # fmt: skip
    found = row.ranking
    assert [rank.method for rank in found.ranks] == list(METHODS)
    assert [rank.mean for rank in found.ranks] == pytest.approx(slow)
    chi_square = stats.friedmanchisquare(*means.T).statistic
    assert found.friedman.chi_square == pytest.approx(chi_square)
    f = 7 * chi_square / (8 * 2 - chi_square)
    assert found.friedman.p == pytest.approx(stats.f.sf(f, 2, 2 * 7))
    q = stats.studentized_range.ppf(0.95, 3, np.inf) / sqrt(2)
    assert found.friedman.critical_difference == pytest.approx(q * sqrt(3 * 4 / (6 * 8)), rel=1e-4)
    every = stats.PermutationMethod(n_resamples=1_000)  # of 2^8 flips: exact, with ties too
    expected = {
        (METHODS[a], METHODS[b]): stats.wilcoxon(means[:, a] - means[:, b], method=every).pvalue
        for a, b in combinations(range(3), 2)
    }
    assert {(p.method, p.other): p.signed_rank_p for p in found.pairs} == pytest.approx(expected)
    assert {(p.method, p.other): p.adjusted_p for p in found.pairs} == pytest.approx(holm(expected))


def test_a_number_of_a_block_is_that_of_its_summary():
    several = six_blocks()
    across = compare(several)
    for row in across.rows:
        for place, block in enumerate(across.blocks):
            (each,) = (each for each in several if each.source == block.experiment)
            for of in each.summary.rows:
                value = row.values.get(of.method, [None] * 6)[place]
                if value and (of.scenario, of.metric) == (block.scenario, row.metric):
                    shown = of.gap if row.shows == "gap" else of
                    expected = (shown.mean, shown.low, shown.high) if shown else (None,) * 3
                    assert (value.mean, value.low, value.high) == expected


def test_primary_metric_utility_membership_and_cost_are_compared_unless_others_are_named():
    of = lambda *named: [row.metric for row in compare(six_blocks(), named).rows]  # noqa: E731
    assert of() == ["forget_accuracy", "test_accuracy", "mia_loss_auc", "wall_seconds"]
    assert of("wall_seconds", "forget_js_divergence") == ["wall_seconds", "forget_js_divergence"]


def test_the_order_of_experiments_changes_no_test():
    one, other = compare(six_blocks()), compare(six_blocks()[::-1])
    for row, turned in zip(one.rows, other.rows, strict=True):
        assert row.ranking.friedman == turned.ranking.friedman
        assert row.ranking.pairs == turned.ranking.pairs


@pytest.mark.parametrize(("experiments", "missing"), [(2, 2), (3, 0)])
def test_ranks_are_tested_from_six_blocks_and_the_missing_ones_are_counted(experiments, missing):
    (row,) = compare(six_blocks()[:experiments], ["forget_accuracy"]).rows
    assert row.missing_blocks == missing
    assert len(row.ranking.ranks) == 3
    assert bool(row.ranking.friedman) == bool(row.ranking.pairs) == (missing == 0)


def test_scenarios_of_one_kind_on_the_same_models_are_two_columns_and_one_block():
    shares = [
        {"name": "random", "label": f"random-{n}", "params": {"share": n / 10}} for n in (1, 2)
    ]
    several = [
        published(
            source, model=source, scenarios=("random-1", "random-2"), changes={"scenarios": shares}
        )
        for source in "AB"
    ]
    across = compare(several, ["forget_accuracy"])
    assert len(across.blocks) == 4
    assert across.rows[0].ranked_blocks == 2
    assert across.rows[0].missing_blocks == 4


def test_scenarios_of_one_kind_in_two_experiments_on_the_same_models_are_one_block():
    several = [
        published(str(n), changes={"scenarios": [{"name": "full_class", "params": {"class": n}}]})
        for n in range(2)
    ]
    across = compare(several, ["forget_accuracy"])
    assert [b.scenario for b in across.blocks] == [
        "full_class (class 0)",
        "full_class (class 1)",
    ]
    assert across.rows[0].ranked_blocks == 1


def test_other_seeds_of_the_same_data_are_another_block_and_a_note_says_so():
    several = [
        published(
            str(n),
            seeds=range(n, 5 + n),
            changes={"scenarios": [{"name": "full_class", "params": {"class": n}}]},
        )
        for n in range(2)
    ]
    across = compare(several, ["forget_accuracy"])
    assert across.rows[0].ranked_blocks == 2
    assert "not independent" in " ".join(across.notes)


def test_a_method_that_lost_a_seed_has_no_rank_and_takes_none_from_others():
    several = [drawn(str(i), f"model-{i}", i, lost={(2, "ssd")} if i == 1 else ()) for i in (0, 1)]
    (row,) = compare(several, ["forget_accuracy"]).rows
    assert [rank.method for rank in row.ranking.ranks] == ["scrub", "finetune"]
    (left_out,) = row.ranking.left_out
    assert left_out.method == "ssd"
    assert "model-1: full_class: 1 of 5 seeds gave no value" in left_out.reason
    assert [value.n for value in row.values["ssd"]] == [5, 5, 4, 4]
    assert [bool(value.lack) for value in row.values["ssd"]] == [False, False, True, True]


def test_a_method_of_one_experiment_alone_is_shown_and_not_ranked():
    several = [published("A", methods=("scrub", "ssd")), published("B", model="vit")]
    (row,) = compare(several, ["forget_accuracy"]).rows
    assert row.values["ssd"][1] is None
    assert "ssd" in [each.method for each in row.ranking.left_out]


METRIC = {"name": "accuracy", "params": {"topk": 1}}
OTHER = {"name": "accuracy", "params": {"topk": 5}}
VERSIONS = [
    [{"kind": kind, "name": name, "version": 2}]
    for kind, name in (("metric", "accuracy"), ("method", "scrub"))
]
DIFFERENT = {
    "settings of a method": (
        {"methods": [{"name": "scrub", "params": {"lr": 0.1}}]},
        {"methods": [{"name": "scrub", "params": {"lr": 0.2}}]},
        "method 'scrub' differs: lr is 0.1 in A and 0.2 in B",
    ),
    "another method of the same title": (
        {},
        {"methods": [{"name": "ssd", "label": "scrub"}]},
        "method 'scrub' differs: name is scrub in A and ssd in B",
    ),
    "a wrapper": (
        {},
        {"methods": [{"name": "scrub", "wrappers": [{"name": "rewind"}]}]},
        "method 'scrub' differs: wrappers is none in A",
    ),
    "version of a method": (
        {},
        {"revisions": VERSIONS[1]},
        "method 'scrub' differs: version is not said in A and 2 in B",
    ),
    "seed protocol": (
        {},
        {"protocol": "matched"},
        "the seed protocol differs: it is independent in A and matched in B",
    ),
    "settings of a metric": (
        {"metrics": [METRIC]},
        {"metrics": [OTHER]},
        "metric row 'forget_accuracy' differs: topk is 1 in A and 5 in B",
    ),
    "version of a metric": (
        {"metrics": [METRIC]},
        {"metrics": [METRIC], "revisions": VERSIONS[0]},
        "metric row 'forget_accuracy' differs: version is not said in A and 2 in B",
    ),
}


def with_settings(source, model, **params):
    methods = [{"name": "finetune", "params": params}]
    of = {"model": model, "methods": ("finetune",)}
    return published(source, changes={"methods": methods}, **of)


def notes_on_settings(several, **options):
    found = compare(several, ["forget_accuracy"], **options)
    return [note for note in found.notes if note.startswith("Settings of")]


def test_what_a_method_takes_for_transformers_is_no_other_setting_and_is_told():
    vit = "timm/vit_base_patch16_224"
    several = [with_settings("A", "resnet18"), with_settings("B", vit, lr=0.001)]
    told = ["Settings of finetune differ: lr by default in A; 0.001 in B."]
    assert notes_on_settings(several) == told
    for other in (with_settings("B", vit, lr=0.01), with_settings("B", "resnet34", lr=0.001)):
        with pytest.raises(SpecError, match="'finetune' differs: lr is not said in A and 0"):
            compare([several[0], other])


def test_settings_may_differ_where_that_is_asked_for_and_are_told():
    several = [
        with_settings("A", "resnet18", lr=0.1, epochs=1),
        with_settings("B", "vit", lr=0.2, epochs=1),
        with_settings("C", "vgg", lr=0.1, epochs=1),
    ]
    told = ["Settings of finetune differ: lr 0.1 in A, C; 0.2 in B."]
    assert notes_on_settings(several, settings_may_differ=True) == told
    other = published("D", model="x", changes={"methods": [{"name": "ssd", "label": "finetune"}]})
    with pytest.raises(SpecError, match="name is finetune in A and ssd in D"):
        compare([*several, other], settings_may_differ=True)


def test_a_refusal_calls_experiments_by_names_that_tell_them_apart():
    several = []
    for name, rate in (("first", 0.1), ("second", 0.2)):
        each = with_settings(f"s3://bucket/{name}", name, lr=rate)
        experiment = each.summary.experiment.model_copy(update={"name": name})
        summary = each.summary.model_copy(update={"experiment": experiment})
        several.append(type(each)(each.source, summary))
    with pytest.raises(SpecError, match=r"lr is 0\.1 in first and 0\.2 in second$"):
        compare(several)
    found = compare(several, settings_may_differ=True)
    assert [each.source for each in found.experiments] == [e.source for e in several]


@pytest.mark.parametrize(("first", "second", "line"), DIFFERENT.values(), ids=DIFFERENT)
def test_what_is_computed_differently_is_refused_in_one_line(first, second, line):
    several = [published("A", changes=first), published("B", model="vit", changes=second)]
    with pytest.raises(SpecError) as error:
        compare(several, ["forget_accuracy"])
    assert str(error.value).startswith(line)
    assert "\n" not in str(error.value)


def tuned(source, model="tiny", **changes):
    """A published experiment whose settings were chosen."""
    fields = {"seeds": [9000, 9001], "trials": 16, "sampler": "sobol", "share": 0.2, **changes}
    found = with_choices(published(source, model=model).summary, "scrub", **fields)
    return summaries.PublishedExperiment(source, found)


BESIDE = ("scrub", "scrub.as-given", "ssd", "finetune")


def beside(*sources, searched=("scrub", "finetune"), methods=BESIDE):
    """Experiments of one model each, in which these methods were tuned."""
    several = []
    for source in sources:
        summary = published(source, model=source, methods=methods).summary
        several.append(summaries.PublishedExperiment(source, with_choices(summary, *searched)))
    return several


def test_settings_as_given_are_ranked_apart_from_chosen_ones():
    found = compare(beside("A", "B"), ["forget_accuracy"])
    (row,) = found.rows
    assert found.tuned == ["scrub", "finetune"]
    assert {each.method for each in row.ranking.ranks} == {"scrub", "finetune"}
    assert {each.method for each in row.ranking_as_given.ranks} == {"scrub.as-given", "ssd"}
    assert row.ranking.left_out == row.ranking_as_given.left_out == []


def test_the_only_tuned_method_has_nobody_to_be_ranked_with():
    (row,) = compare(beside("A", "B", searched=["ssd"]), ["forget_accuracy"]).rows
    assert row.ranking is None
    assert len(row.ranking_as_given.ranks) == 3


def test_a_method_that_is_tuned_in_one_experiment_alone_is_refused():
    (one,), (other,) = beside("A"), beside("B", searched=["scrub", "ssd"])
    with pytest.raises(SpecError) as error:
        compare([one, other], ["forget_accuracy"])
    assert str(error.value).splitlines() == [
        "method 'ssd' differs: search is none in A and there in B",
        "method 'finetune' differs: search is there in A and none in B",
    ]


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (tuned("B", "vit", trials=4), "the tuning differs: trials is 16 in A and 4 in B"),
        (tuned("B", "vit", seeds=[1]), "the tuning differs: seeds is 2 in A and 1 in B"),
        (tuned("B", "vit", rounds=2), "the tuning differs: rounds is 1 in A and 2 in B"),
        (published("B", model="vit"), "the tuning differs: objective is average_gap in A and none"),
    ],
)
def test_methods_that_were_tuned_otherwise_are_refused(second, words):
    with pytest.raises(SpecError, match=words):
        compare([tuned("A"), second])


def test_blocks_may_have_other_settings_of_one_tuning():
    found = compare([tuned("A"), tuned("B", "vit", seeds=[5, 6], retuned=1)])
    assert any(
        "2 tuning seeds, objective average_gap (oracle)" in note and "anew 1 time" in note
        for note in found.notes
    )


def test_a_metric_that_differs_harms_nobody_who_does_not_compare_it():
    several = [
        published("A", changes={"metrics": [METRIC]}),
        published("B", model="vit", changes={"metrics": [OTHER]}),
    ]
    assert compare(several, ["wall_seconds"])


def test_margins_that_were_set_otherwise_are_refused():
    several = [
        published("A", margins={"forget_accuracy": 0.02}),
        published("B", model="vit"),
    ]
    with pytest.raises(SpecError, match=r"margin of 'forget_accuracy' differs: it is 0\.02 in A"):
        compare(several)
    assert compare(several, ["wall_seconds"])


@pytest.mark.parametrize(
    ("several", "line"),
    [
        pytest.param([published("A")], "one experiment alone", id="one"),
        pytest.param(
            [published("A"), published("A")],
            r"the block digits, tiny, full_class is there twice: in A and in A",
            id="the same one twice",
        ),
        pytest.param(
            [published("A"), published("B", model="vit", methods=("ssd",))],
            r"no method in common: A has 'scrub'; B has 'ssd'",
            id="no common method",
        ),
        pytest.param(
            [published("A"), published("B", model="vit", primary="test_accuracy")],
            "the primary metric is forget_accuracy in A and test_accuracy in B; name rows",
            id="primary metrics",
        ),
    ],
)
def test_experiments_that_share_too_little_or_too_much_are_refused(several, line):
    with pytest.raises(SpecError, match=line):
        compare(several)


def test_an_experiment_without_results_is_refused():
    empty = summaries.PublishedExperiment("B", aggregate([], question(range(3))))
    with pytest.raises(SpecError, match="B has no finished seed yet"):
        compare([published("A"), empty])


def test_numbers_of_another_program_are_refused():
    imported = published("B", model="vit")
    imported.summary.provenance["imported"] = ["Numbers of supreme-unlearning."]
    with pytest.raises(SpecError, match="is SUPREME in A and supreme-unlearning in B"):
        compare([published("A"), imported])


def test_every_reason_has_its_line():
    changes = {"protocol": "matched", "methods": [{"name": "scrub", "params": {"lr": 1}}]}
    with pytest.raises(SpecError) as error:
        compare([published("A"), published("B", changes=changes)])
    assert [line.partition(" ")[0] for line in str(error.value).splitlines()] == [
        *("the", "the", "method"),
    ]


def test_a_row_that_not_all_have_is_named_with_the_nearest():
    with pytest.raises(SpecError, match="did you mean 'forget_accuracy'"):
        compare(six_blocks(), ["forget_acuracy"])
