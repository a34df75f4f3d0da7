"""Gaps to Retrained as the table has them: tests, corrections, resolution, remarks, joint verdicts.

Each against scipy on the seeds' values, family by family. What lost seeds do: test_survivors.py;
where margins come from: test_aggregate.py; the statistics themselves: test_hypotheses.py.
"""

import math

import numpy as np
import pytest
from scipy import stats

from supreme_core.analysis.aggregate import aggregate
from supreme_core.api.records import Named
from supreme_core.report import tables
from supreme_core.report.page import render_report
from supreme_core.report.paste import paste
from supreme_core.report.terminal import terminal_tables
from tests.core.analysis.summaries import FACTS, cell, failed, question, result, row_fact, run

LOSS = row_fact("loss", "forget", unit="nats", margin=None, high=None)
SHARE = FACTS["forget_accuracy"].model_copy(update={"share": True})


METHODS = ("original", "retrained", "scrub")


def experiment(by_method, *, metric="forget_accuracy", facts=None, **asked):
    """Return a summary of one metric.  by_method: values of seeds 1, 2, ...; None leaves one
    out."""
    per_seed = zip(*by_method.values(), strict=True)
    found = [
        result(
            seed,
            [run(m, **{metric: v}) for m, v in zip(by_method, values, strict=True)],
            cells=[cell("full_class", forget=str(seed))],  # so that no noise makes the margin
        )
        for seed, values in enumerate(per_seed, start=1)
    ]
    methods = [each for each in by_method if each not in ("original", "retrained")]
    metrics = facts or {metric: FACTS.get(metric, LOSS)}
    n = len(found)
    asked = question(range(1, n + 1), primary=metric, metrics=metrics, methods=methods, **asked)
    return aggregate(found, asked)


def gaps_of(found):
    return {row.method: row.gap for row in found.rows if row.gap}


def drawn(n, shifts, *, seed=0, sd=0.02):
    generator = np.random.default_rng(seed)
    values = {"original": generator.normal(0.9, sd, n), "retrained": generator.normal(0.3, sd, n)}
    values |= {f"m{i}": generator.normal(0.3 + s, sd, n) for i, s in enumerate(shifts)}
    return {method: x.tolist() for method, x in values.items()}


@pytest.mark.parametrize("n", [3, 5, 8, 20])
def test_p_values_are_scipys_and_holm_is_over_the_methods_without_original(n):
    values = drawn(n, [0.0, 0.02, 0.04, 0.4])
    gaps = gaps_of(experiment(values))
    differences = {m: np.subtract(x, values["retrained"]) for m, x in values.items()}
    plain = {m: stats.ttest_1samp(differences[m], 0.0).pvalue for m in gaps}
    ranked = sorted((p, m) for m, p in plain.items() if m != "original")
    largest = 0.0
    for place, (p, method) in enumerate(ranked):
        largest = max(largest, min(1.0, (4 - place) * p))
        assert gaps[method].difference_p == pytest.approx(p)
        assert gaps[method].adjusted_p == pytest.approx(largest)
    assert gaps["original"].adjusted_p == pytest.approx(plain["original"])
    for method, gap in gaps.items():
        interval = stats.ttest_1samp(differences[method], 0.0).confidence_interval(0.95)
        assert (gap.low, gap.high) == pytest.approx((max(interval.low, -1), min(interval.high, 1)))
        assert gap.sd == pytest.approx(np.std(differences[method], ddof=1))
        assert gap.standardised == pytest.approx(gap.mean / gap.sd)
        assert gap.mean_absolute == pytest.approx(np.mean(np.abs(differences[method])))
        assert (gap.difference_p < 0.05) == (gap.low > 0 or gap.high < 0)
    assert gaps["m3"].verdict == "different"


def test_five_seeds_of_six_methods_can_be_called_different():
    gaps = gaps_of(experiment(drawn(5, [0.6] + [0.0] * 5)))
    assert gaps["m0"].verdict == "different"
    assert gaps["m0"].flip_adjusted_p == pytest.approx(6 * 2 / 2**5)
    assert gaps["m0"].remarks == []  # of five seeds sign flips could reject nothing


def test_where_sign_flips_could_reject_and_do_not_it_is_said():
    steps = [2.6, 1.4, -0.4, 1.0, 1.8, -0.5, 1.5]
    values = {"original": [9.0] * 7, "retrained": [3.0] * 7, "ssd": [3.0 + d for d in steps]}
    gap = gaps_of(experiment(values, metric="forget_loss"))["ssd"]
    assert gap.difference_p == pytest.approx(stats.ttest_1samp(steps, 0).pvalue)
    assert gap.difference_p < 0.05 < gap.flip_p
    assert gap.verdict == "different"
    assert gap.remarks == ["the exact test does not find it (p = 0.062 after correction)"]


@pytest.mark.parametrize(("n", "few"), [(2, True), (3, True), (4, True), (5, False)])
def test_few_seeds_are_marked_and_never_equivalent(n, few):
    same = [0.3 + 0.001 * i for i in range(n)]
    values = {"original": [0.9] * n, "retrained": same, "m0": same[::-1]}
    gap = gaps_of(experiment(values))["m0"]
    assert ("few seeds" in gap.remarks) == few
    assert (gap.verdict == "equivalent") == (not few)


def test_an_interval_that_excludes_0_and_is_no_difference_says_why():
    found = None
    for seed in range(200):
        found = experiment(drawn(6, [0.025] + [0.0] * 5, seed=seed))
        gap = gaps_of(found)["m0"]
        if gap.difference_p < 0.05 <= gap.adjusted_p:
            break
    assert gap.verdict == "inconclusive"
    assert gap.low > 0
    assert gap.remarks == ["not after correction for 6 methods"]
    (table,) = terminal_tables(found)
    assert "Not after correction for 6 methods: m0." in table.notes


def test_no_interval_of_a_gap_leaves_what_a_gap_can_be():
    values = {"original": [1.0, 0.98, 1.0], "retrained": [0.0, 0.0, 0.0], "m0": [1.0, 0.99, 1.0]}
    gaps = gaps_of(experiment(values))
    raw = stats.ttest_1samp(values["m0"], 0.0).confidence_interval(0.95)
    assert raw.high > 1.0
    assert (gaps["m0"].low, gaps["m0"].high) == (pytest.approx(raw.low), 1.0)
    below = gaps_of(
        experiment({"original": [0.0] * 3, "retrained": [1.0] * 3, "m0": [0.0, 0.01, 0.0]})
    )
    assert below["m0"].low == -1.0
    unbounded = gaps_of(experiment(values, facts={"forget_accuracy": LOSS}))
    assert unbounded["m0"].high == pytest.approx(raw.high)


def test_a_row_without_a_gap_leaves_the_rows_after_it_theirs():
    found = [
        result(seed, [run(m, forget_js_divergence=0.1, forget_accuracy=0.5) for m in METHODS])
        for seed in (1, 2, 3)
    ]
    metrics = {name: FACTS[name] for name in ("forget_js_divergence", "forget_accuracy")}
    rows = aggregate(found, question((1, 2, 3), metrics=metrics)).rows
    with_gap = [(row.metric, row.method) for row in rows if row.gap]
    assert with_gap == [("forget_accuracy", "original"), ("forget_accuracy", "scrub")]


@pytest.mark.parametrize("n", [3, 4])
def test_three_seeds_that_would_be_different_alone_say_so(n):
    values = {"original": [0.9] * n, "retrained": [0.3] * n}
    values |= {f"m{i}": [0.3 + 0.1 * (-1) ** seed for seed in range(n)] for i in range(40)}
    values["m0"] = [0.4 + 0.02 * seed for seed in range(n)]
    gap = gaps_of(experiment(values))["m0"]
    assert gap.difference_p < 0.05 <= gap.adjusted_p
    assert gap.remarks[-1] == "not after correction for 40 methods"


@pytest.mark.parametrize(("n", "holds"), [(4, False), (5, True)])
def test_fewer_than_five_seeds_never_hold_the_utility(n, holds):
    kept = {"original": [0.9] * n, "retrained": [0.9] * n, "m0": [0.9] * n}
    assert gaps_of(experiment(kept, metric="test_accuracy"))["m0"].noninferiority.holds == holds


def test_no_bound_of_a_loss_leaves_what_a_gap_can_be():
    values = {"original": [1.0] * 3, "retrained": [1.0] * 3, "m0": [0.0, 0.9, 0.0]}
    bound = gaps_of(experiment(values, metric="test_accuracy"))["m0"].noninferiority
    raw = stats.ttest_1samp([-1.0, -0.1, -1.0], 0.0).confidence_interval(0.9).low
    assert raw < -1 == bound.low
    less = values | {"m0": [0.5, 0.6, 0.7]}
    bound = gaps_of(experiment(less, metric="test_accuracy"))["m0"].noninferiority
    raw = stats.ttest_1samp([-0.5, -0.4, -0.3], 0.0).confidence_interval(0.9).low
    assert bound.low == pytest.approx(raw)


@pytest.mark.parametrize(
    ("on", "samples"),
    [("forget", 146), ("retain", 1291), ("test", 360), ("forget_test", 37), ("retain_test", 323)],
)
def test_equal_shares_deviate_by_what_the_samples_of_their_set_resolve(on, samples):
    facts = {"forget_accuracy": SHARE.model_copy(update={"on": on})}
    values = {"original": [0.9] * 6, "retrained": [0.3] * 6, "m0": [0.304] * 6}
    gap = gaps_of(experiment(values, facts=facts))["m0"]
    resolution = 1 / (samples * math.sqrt(12))
    error = resolution / math.sqrt(6)
    assert (gap.resolution, gap.sd) == (pytest.approx(resolution), pytest.approx(resolution))
    assert gap.high - gap.mean == pytest.approx(stats.t.ppf(0.975, 5) * error)
    assert gap.difference_p == pytest.approx(2 * stats.t.sf(gap.mean / error, 5))
    assert gap.equivalence_p == pytest.approx(stats.t.cdf((gap.mean - 0.01) / error, 5))


def test_a_share_without_a_set_is_of_the_forget_set_and_others_resolve_everything():
    values = {"original": [0.9] * 6, "retrained": [0.3] * 6, "m0": [0.304] * 6}
    share = SHARE.model_copy(update={"on": None})
    found = gaps_of(experiment(values, facts={"forget_accuracy": share}))["m0"]
    assert found.resolution == pytest.approx(1 / (146 * math.sqrt(12)))
    assert gaps_of(experiment(values))["m0"].resolution is None


@pytest.mark.parametrize(
    ("gap", "margin", "expected"),
    [
        (0.005, 0.01, "equivalent"),
        (0.0, 0.01, "equivalent"),
        (-0.02, 0.01, "different"),
        (0.02, None, "different"),
        (0.0, None, "inconclusive"),
    ],
)
def test_a_gap_without_spread_is_judged_by_its_margin(gap, margin, expected):
    facts = {"forget_loss": LOSS.model_copy(update={"margin": margin})}
    values = {"original": [2.0] * 6, "retrained": [0.5] * 6, "m0": [0.5 + gap] * 6}
    assert gaps_of(experiment(values, metric="forget_loss", facts=facts))["m0"].verdict == expected


@pytest.mark.parametrize("n", [3, 6])
def test_a_gap_of_rounding_is_no_gap_and_one_that_rounding_alone_varies_has_no_spread(n):
    """0.1 + 0.2 is not 0.3 in floating point, nor is 0.9 - 0.8 what 0.7 - 0.6 is."""
    facts = {"forget_loss": LOSS}
    values = {
        "original": [2.0] * n,
        "retrained": [0.3, 0.8, 0.6] * (n // 3),
        "m0": [0.1 + 0.2, 0.8, 0.6] * (n // 3),
        "m1": [0.4, 0.9, 0.7] * (n // 3),
    }
    gaps = gaps_of(experiment(values, metric="forget_loss", facts=facts))
    assert (gaps["m0"].mean, gaps["m0"].sd, gaps["m0"].verdict) == (0.0, 0.0, "inconclusive")
    assert (gaps["m1"].mean, gaps["m1"].sd, gaps["m1"].verdict) == (
        pytest.approx(0.1),
        0.0,
        "different",
    )


def test_test_samples_to_retain_are_all_where_copies_of_others_are_spoilt():
    """A backdoor's forget_test is made of copies, so nothing is taken from the test set."""
    spoilt = cell("full_class").model_copy(
        update={"named": [Named(kind="class", number=3, name="3", role="target")]}
    )
    values = {"original": 0.9, "retrained": 0.3, "m0": 0.304}
    found = [
        result(seed, [run(m, retain_test_accuracy=x) for m, x in values.items()], cells=[spoilt])
        for seed in range(3)
    ]
    facts = {"retain_test_accuracy": SHARE.model_copy(update={"on": "retain_test"})}
    asked = question(range(3), primary="retain_test_accuracy", metrics=facts, methods=("m0",))
    gap = gaps_of(aggregate(found, asked))["m0"]
    assert gap.resolution == pytest.approx(1 / (360 * math.sqrt(12)))


def test_the_correction_counts_the_methods_that_have_a_p_value():
    """A method without any value is in no family, so it makes nobody pay."""
    differences = [0.05, 0.06, 0.012, 0.03]  # p = 0.038, and 0.076 over two methods
    values = {"original": [0.9] * 4, "retrained": [0.3] * 4, "m0": [0.3 + d for d in differences]}
    values["m1"] = [0.301, 0.298, 0.302, 0.3]
    found = [
        result(
            seed,
            [
                *(run(m, forget_accuracy=x[seed]) for m, x in values.items()),
                failed("m2", "no model"),
            ],
            cells=[cell("full_class", forget=str(seed))],
        )
        for seed in range(4)
    ]
    asked = question(
        range(4),
        methods=("m0", "m1", "m2"),
        metrics={"forget_accuracy": FACTS["forget_accuracy"]},
    )
    gap = gaps_of(aggregate(found, asked))["m0"]
    assert gap.difference_p < 0.05 < gap.adjusted_p == pytest.approx(2 * gap.difference_p)
    assert "not after correction for 2 methods" in gap.remarks


def test_joint_verdicts_are_corrected_over_rows_and_methods():
    """By hand, the p values of every row and method are one family, and Original's rows another."""
    rows = [f"row_{i}" for i in range(5)]
    facts = {row: LOSS for row in rows}
    generator = np.random.default_rng(4)
    names = ("original", "retrained", "a", "b")
    shift = {"original": 3.0, "retrained": 2.0, "a": 2.5, "b": 2.0}
    values = {m: generator.normal(shift[m], 0.4, (5, 7)) for m in names}
    found = aggregate(
        [
            result(
                s + 1,
                [run(m, **dict(zip(rows, values[m][:, s].tolist(), strict=True))) for m in names],
            )
            for s in range(7)
        ],
        question(range(1, 8), primary="row_0", metrics=facts, methods=("a", "b")),
    )
    p = {
        (m, i): stats.ttest_rel(values[m][i], values["retrained"][i]).pvalue
        for m in ("original", "a", "b")
        for i in range(5)
    }
    for family in (("a", "b"), ("original",)):
        ordered = sorted((p[m, i], m, i) for m in family for i in range(5))
        largest = 0.0
        for place, (value, method, i) in enumerate(ordered):
            largest = max(largest, min(1.0, (len(ordered) - place) * value))
            (row,) = (r for r in found.rows if (r.method, r.metric) == (method, rows[i]))
            assert row.gap.joint_p == pytest.approx(largest)
    for joint in found.joint_verdicts:
        gaps = [row.gap for row in found.rows if row.method == joint.method]
        different = [gap for gap in gaps if gap.verdict == "different"]
        jointly = [gap for gap in different if gap.joint_p < 0.05]
        told = (joint.rows, joint.different, joint.different_jointly)
        assert told == (5, len(different), len(jointly))
        assert joint.verdict == ("different" if jointly else "inconclusive")
    assert [each.method for each in found.joint_verdicts] == ["original", "a", "b"]
    by_method = {each.method: each for each in found.joint_verdicts}
    assert by_method["a"].different > by_method["a"].different_jointly  # the correction bites


def test_rows_without_a_margin_are_named_below_the_verdicts():
    values = drawn(6, [0.0])
    indexed = tables.IndexedSummary(experiment(values, metric="forget_loss"))
    (remark,) = tables.verdicts(indexed, "full_class").remarks
    assert remark.startswith("Without a margin, so never equivalent: forget loss; nor is any")
    page = render_report(indexed.summary).decode()
    assert remark in page
    assert "Margins are" not in page  # in the paragraph for a paper
    assert remark in paste(indexed, "verdicts", "latex")
    of_shares = tables.IndexedSummary(experiment(values))
    assert tables.verdicts(of_shares, "full_class").remarks == ()


def test_a_margin_from_noise_sends_the_reader_of_few_seeds_to_the_spec():
    values = drawn(6, [0.0], sd=0.2)
    found = [
        result(seed, [run(m, forget_accuracy=x[seed - 1]) for m, x in values.items()])
        for seed in range(1, 7)
    ]
    asked = {"methods": ("m0",), "metrics": {"forget_accuracy": FACTS["forget_accuracy"]}}
    noisy = aggregate(found, question(range(1, 7), **asked))
    assert gaps_of(noisy)["m0"].margin_source == "noise"
    assert any("spec.margins" in note for note in tables.notes(tables.IndexedSummary(noisy)))
    fixed = aggregate(found, question(range(1, 7), margins={"forget_accuracy": 0.1}, **asked))
    assert not any("spec.margins" in note for note in tables.notes(tables.IndexedSummary(fixed)))
    assert "margin ±10.0 points, set" in str(
        tables.overview(tables.IndexedSummary(fixed), "full_class").lines[2]
    )
