"""Metrics over seeds: which models meet which, what has no value and why, the interval, curves,
CSV.

Curves are compared with scikit-learn's, the jackknife with the interval of a mean. Left out: the
metrics themselves (seed_metrics/).
Publishing again computes nothing: counted, and the bytes are those of a store without a summary.
"""

import csv
import io
import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from statistics import mean

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_curve

from supreme_core import registry
from supreme_core.analysis.over_seeds import (
    GRID,
    groups,
    jackknife_interval,
    over_seeds,
    over_seeds_csv,
    splits,
)
from supreme_core.api import names
from supreme_core.api.canonical import digest
from supreme_core.api.orders import ExperimentOrder, work_digest
from supreme_core.api.records import RunRecord
from supreme_core.api.v1alpha1 import LabelledComponent
from supreme_core.errors import CorruptArtefact
from supreme_core.publishing import publish as publishing
from supreme_core.report.over_seeds import section
from supreme_core.scoring.evaluation import Outputs
from supreme_core.scoring.membership import Contest, auc, rate_at
from supreme_core.scoring.predictions import save_predictions
from supreme_core.store.artefacts import Artefacts
from supreme_core.store.folder import LocalStorage
from supreme_core.store.results import write_result
from tests.core.analysis import summaries
from tests.core.components.metrics.evaluations import predictions
from tests.core.components.seed_metrics.ensemble_pairs import of_logit_confidence

METHODS = ("original", "retrained", "scrub")


def key(method, seed):
    return f"{METHODS.index(method) + 1:032x}{seed:032x}"


def results(seeds, *, forgot=lambda seed: "three", failed=()):
    return [
        summaries.result(
            seed,
            [
                RunRecord(
                    scenario="full_class",
                    method=method,
                    status="failed" if (method, seed) in failed else "ok",
                    predictions={"unlearned": key(method, seed)},
                )
                for method in METHODS
            ],
            cells=[summaries.cell("full_class", forget=forgot(seed))],
        )
        for seed in seeds
    ]


class Store:
    """Predictions of every model by its key, and which were read."""

    def __init__(self, broken=()):
        self.read, self.broken = [], broken

    def __call__(self, stage, name):
        assert stage == ("unlearned" if name.startswith(f"{3:032x}") else "predictions")
        self.read.append(name)
        if name in self.broken:
            raise CorruptArtefact(f"{name} is damaged")
        return predictions(model=int(name, 16) % 10**9)


class Changed(Store):
    """A store in which one set of one model is another."""

    def __init__(self, of_model, name, outputs):
        super().__init__()
        self.of_model, self.name, self.outputs = of_model, name, outputs

    def __call__(self, stage, name):
        given = super().__call__(stage, name)
        return {**given, self.name: self.outputs} if name == self.of_model else given


class SureButOnce(Store):
    """A store in which scrub's models, except that of seed 0, are sure of all labels."""

    def __call__(self, stage, name):
        given = super().__call__(stage, name)
        if stage != "unlearned" or name == key("scrub", 0):
            return given
        return {
            on: replace(each, logit_confidence=each.logit_confidence + 40)
            for on, each in given.items()
        }


class WithoutRetain(Store):
    """A store of models whose retain set has no sample."""

    def __call__(self, stage, name):
        given = super().__call__(stage, name)
        return {**given, "retain": given["retain"].take(np.arange(0))}


def metrics(*names):
    return {
        name: registry.seed_metric.resolve(LabelledComponent(name=name), at="") for name in names
    }


def found(count, *names, store=None, **changes):
    order = summaries.question(range(count)).order
    return over_seeds(
        results(range(count), **changes), order, metrics(*(names or ("klom",))), store or Store()
    )


def test_value_and_null_are_means_over_meetings_of_halves():
    (value,) = (v for v in found(6).values if (v.method, v.metric) == ("scrub", "forget_klom_mean"))
    phi = {
        method: np.stack(
            [Store()(stage, key(method, s))["forget"].logit_confidence for s in range(6)]
        )
        for method, stage in (("scrub", "unlearned"), ("retrained", "predictions"))
    }

    def of(method):
        klom = metrics("klom")["klom"]
        return [
            klom(of_logit_confidence(phi[method][one], phi["retrained"][other]))["mean"]
            for one, other in splits(6)
        ]

    assert value.value == pytest.approx(mean(of("scrub")))
    assert value.null.mean == pytest.approx(mean(of("retrained")))
    assert (value.null.low, value.null.high) == (min(of("retrained")), max(of("retrained")))
    assert value.excess == pytest.approx(value.value - value.null.mean)
    assert value.low < value.value < value.high


@pytest.mark.parametrize("n", [2, 5, 10, 63])
def test_halves_share_no_seed_and_are_all_seeds(n):
    for one, other in splits(n):
        assert sorted([*one, *other]) == list(range(n))
        assert abs(len(one) - len(other)) == n % 2
    assert len(splits(n)) == 8  # four ways to halve them, each both ways round


def test_seeds_that_forgot_other_samples_have_no_value_and_yet_a_curve():
    apart = found(6, forgot=str)
    assert {v.reason for v in apart.values} == {
        "needs 4 seeds that forgot the same samples; each forgot others"
    }
    assert all(v.value is None and v.null is None for v in apart.values)
    assert [(c.method, c.n) for c in apart.curves] == [(m, 6) for m in ("retrained", *METHODS[::2])]


def test_too_few_seeds_and_failed_runs_are_told():
    assert found(3).values[0].reason == "needs 4 seeds; there are 3"
    mixed = found(5, forgot=lambda seed: str(seed // 2))
    assert mixed.values[0].reason == "needs 4 seeds that forgot the same samples; 2 did"
    lost = found(4, failed={("scrub", 1)})
    assert {v.reason for v in lost.values if v.method == "scrub"} == {"needs 4 seeds; there are 3"}
    assert all(v.value is not None for v in lost.values if v.method == "original")


def test_a_value_of_survivors_says_so():
    lost = found(6, failed={("scrub", 1), ("scrub", 4)})
    scrub = [v for v in lost.values if v.method == "scrub"]
    assert {(v.n, v.asked, v.value is None) for v in scrub} == {(4, 6, False)}
    assert {v.lack for v in scrub} == {"2 of 6 seeds gave no value (2 failed)"}
    assert {(v.n, v.asked, v.lack) for v in lost.values if v.method == "original"} == {(6, 6, None)}
    page = str(section(lost))
    assert "Survivors alone, and no sign of likeness to Retrained: scrub; 2 of 6 seeds" in page
    lines = list(csv.DictReader(io.StringIO(over_seeds_csv(lost).decode())))
    assert {line["lack"] for line in lines if line["method"] == "scrub"} == {scrub[0].lack}


def test_a_seed_that_retrained_lacks_is_lacked_by_every_value():
    lost = found(6, failed={("retrained", 0)})
    said = "Retrained: 1 of 6 seeds gave no value (1 failed)"
    assert {(v.n, v.lack) for v in lost.values} == {(5, said)}


def test_a_value_says_what_its_method_lacks_and_what_retrained_does():
    lost = found(6, failed={("retrained", 0), ("scrub", 1)})
    said = "Retrained: 1 of 6 seeds gave no value (1 failed)"
    assert {(v.n, v.lack) for v in lost.values if v.method == "scrub"} == {
        (4, f"1 of 6 seeds gave no value (1 failed); {said}")
    }


def test_seeds_without_a_result_are_asked_for_too():
    order = summaries.question(range(8)).order
    values = over_seeds(results(range(6)), order, metrics("klom"), Store()).values
    assert {(v.n, v.asked) for v in values} == {(6, 8)}
    assert {v.lack for v in values} == {"2 of 8 seeds gave no value (2 pending)"}


def test_a_result_without_the_run_is_pending_as_a_seed_without_a_result_is():
    order = summaries.question(range(8)).order
    there = results(range(6))
    there[0] = there[0].model_copy(update={"runs": there[0].runs[:2]})
    values = over_seeds(there, order, metrics("klom"), Store()).values
    lacks = {v.method: v.lack for v in values}
    assert lacks["scrub"] == "3 of 8 seeds gave no value (3 pending)"
    assert lacks["original"] == "2 of 8 seeds gave no value (2 pending)"


def test_the_interval_of_an_excess_ends_where_a_difference_of_two_shares_does():
    values = found(8, "calibration", store=SureButOnce()).values
    scrub = [value for value in values if value.method == "scrub"]
    for value in scrub:
        assert 0.9 < value.excess < value.excess_high == 1  # ± 0.8 without an end
    assert all(-1 <= value.excess_low <= value.excess <= value.excess_high for value in values)


def test_a_set_without_samples_has_no_row_and_takes_none_from_others():
    values = found(4, "klom", "forgetting_quality", store=WithoutRetain()).values
    of_scrub = {value.metric: value for value in values if value.method == "scrub"}
    assert [row for row, value in of_scrub.items() if value.value is not None] == [
        f"{on}_klom_{number}" for on in ("forget", "test") for number in ("mean", "p95")
    ]
    assert {row: value.reason for row, value in of_scrub.items() if value.value is None} == {
        row: "needs 16 seeds; there are 4"
        for row in ("forgetting_quality", "forgetting_quality_with_utility")
    }


def test_damaged_predictions_take_the_values_of_their_method_only():
    store = Store(broken={key("scrub", 2)})
    damaged = found(4, store=store)
    reasons = {v.reason for v in damaged.values if v.method == "scrub"}
    assert reasons == {f"{key('scrub', 2)} is damaged"}
    assert all(v.value is not None for v in damaged.values if v.method == "original")


def test_a_model_with_a_number_that_is_not_finite_in_one_set_has_no_value():
    sound = Store()("unlearned", key("scrub", 2))["forget"]
    logits = np.array(sound.logits)
    logits[3] = np.nan
    store = Changed(key("scrub", 2), "forget", Outputs.of(logits, sound.labels))
    reasons = {v.reason for v in found(5, store=store).values if v.method == "scrub"}
    assert reasons == {"the model of seed 2 gives numbers that are not finite"}


def test_predictions_of_other_samples_in_one_set_are_damaged():
    sound = Store()("unlearned", key("scrub", 2))["test"]
    other = Outputs.of(np.array(sound.logits), np.roll(sound.labels, 1))
    store = Changed(key("scrub", 2), "test", other)
    reasons = {v.reason for v in found(5, store=store).values if v.method == "scrub"}
    assert len(reasons) == 1
    assert reasons.pop().startswith("predictions of seed 2 are of other samples than those of")


def test_each_model_is_read_once():
    store = Store()
    found(4, "klom", "calibration", "rmia", store=store)
    assert len(store.read) == len(set(store.read)) == 12


def test_a_jackknife_of_means_is_the_t_interval_of_the_mean():
    x = np.random.default_rng(0).normal(0, 1, 8)
    without = [float(np.delete(x, i).mean()) for i in range(8)]
    interval = stats.t.interval(0.95, 7, loc=x.mean(), scale=stats.sem(x))
    assert jackknife_interval(float(x.mean()), without) == pytest.approx(interval)


def test_a_jackknife_ends_where_the_range_of_the_number_does():
    without = [0.9, 1.0, 0.95, 1.0]
    low, high = jackknife_interval(0.98, without)
    assert low < 0.9 < 1 < high
    assert jackknife_interval(0.98, without, (0, 1)) == (low, 1)
    assert jackknife_interval(0.98, without, (0.9, None)) == (0.9, high)
    assert jackknife_interval(0.98, [], (0, 1)) == (None, None)


def test_no_interval_leaves_the_range_of_its_row():
    values = [
        value for value in found(8, "calibration").values if value.metric.startswith("forget")
    ]
    assert [value.low for value in values] == [0, 0]
    assert all(value.value < value.high < 1 for value in values)


def test_groups_leave_out_every_seed_once_and_leave_enough():
    assert groups(4, 1) == groups(5, 2) == groups(16, 8) == []
    for n in (6, 10, 37, 64):
        assert sorted(seed for group in groups(n, 2) for seed in group) == list(range(n))
    assert len(groups(64, 2)) == 10


def test_a_curve_is_that_of_scikit_learn_and_its_area_is_auc():
    random = np.random.default_rng(1)
    members, others = random.normal(1, 1, 50).round(1), random.normal(0, 1, 70).round(1)
    weights = random.uniform(0.5, 2, 70)
    contest = Contest(members, others, weights=weights / weights.mean())
    fpr, tpr, _ = roc_curve(
        np.repeat([1, 0], [50, 70]),
        np.concatenate([members, others]),
        sample_weight=np.concatenate([np.ones(50), weights]),
        drop_intermediate=False,
    )
    fine = np.linspace(0, 1, 100_001)
    assert np.trapezoid(rate_at(contest, fine), fine) == pytest.approx(auc(contest), abs=1e-4)
    inside = fpr[(np.diff(fpr, prepend=-1) > 0) & (np.diff(fpr, append=2) > 0)]
    assert rate_at(contest, inside + 1e-9) == pytest.approx(np.interp(inside, fpr, tpr), abs=1e-6)


def test_curves_rise_from_the_grids_begin_to_its_end():
    for curve in found(5).curves:
        assert curve.fpr == list(GRID)
        assert curve.tpr == sorted(curve.tpr)
        assert list(GRID) == sorted(set(GRID))
        assert {step / 40 for step in range(4, 41)} <= set(GRID)
        assert curve.tpr[-1] == 1.0
        for low, tpr, high in zip(curve.low, curve.tpr, curve.high, strict=True):
            assert 0 <= low <= tpr <= high <= 1
        assert any(high > tpr for tpr, high in zip(curve.tpr, curve.high, strict=True))


def test_csv_has_a_line_for_each_value():
    values = found(4)
    lines = list(csv.DictReader(io.StringIO(over_seeds_csv(values).decode())))
    assert len(lines) == len(values.values)
    assert float(lines[0]["value"]) == values.values[0].value
    assert lines[0]["reason"] == ""


def test_the_report_has_each_value_its_null_and_why_there_is_none():
    page = str(section(found(4, "klom", "ulira")))
    assert "null " in page
    assert "<svg" in page
    assert "No value of ulira: needs 6 seeds; there are 4." in page
    assert "Those methods are named" not in page


def test_it_is_said_where_not_every_curve_is_named():
    values = found(4)
    (some,) = (curve for curve in values.curves if curve.method == "scrub")
    more = [some.model_copy(update={"method": f"scrub{place}"}) for place in range(6)]
    many = values.model_copy(update={"curves": [*values.curves, *more]})
    assert "Those methods are named" in str(section(many))


class TestPublishing:
    """Four seeds in a store, and how often numbers over seeds are computed from them."""

    ORDER = ExperimentOrder(
        experiment=summaries.NAME,
        work=summaries.work().model_copy(update={"metrics": [LabelledComponent(name="accuracy")]}),
        seeds=[1, 2, 3, 4],
        excluded=[],
        primary_metric="forget_accuracy",
    )

    @pytest.fixture
    def store(self, tmp_path):
        return LocalStorage(tmp_path / "store")

    @pytest.fixture
    def computed(self, monkeypatch):
        """A line for each time."""
        computed = []

        def counted(results, *arguments, **options):
            computed.append([result.seed for result in results])
            return over_seeds(results, *arguments, **options)

        monkeypatch.setattr(publishing, "over_seeds", counted)
        return computed

    def publish(self, store, tmp_path, **changes):
        order = self.ORDER.model_copy(update=changes)
        publishing.publish(store, Artefacts(store, tmp_path / "cache"), order)
        return store.read(names.summary_key(order.prefix))

    def fill(self, store, seeds, *, model=lambda seed: seed):
        """Results, and the predictions of every model that they name."""
        pieces = Artefacts(store, Path("unused"))
        for result in results(seeds):
            for run in result.runs:
                stage = "unlearned" if run.method == "scrub" else "predictions"
                meaning = {"model": run.method, "seed": result.seed}
                key = digest(meaning)
                run.predictions["unlearned"] = key
                data = save_predictions(predictions(model=model(result.seed)))
                pieces.commit(
                    stage,
                    key,
                    meaning=meaning,
                    files={names.PREDICTIONS: data},
                    facts={},
                    environment={},
                    replace=True,
                )
            changes = {"work_digest": work_digest(self.ORDER.work)}
            write_result(store, result.model_copy(update=changes))

    def test_the_same_again_is_not_computed_again(self, store, computed, tmp_path):
        self.fill(store, self.ORDER.seeds)
        first = self.publish(store, tmp_path)
        assert self.publish(store, tmp_path) == first
        assert computed == [[1, 2, 3, 4]]
        store.delete(names.summary_key(self.ORDER.prefix))
        assert self.publish(store, tmp_path) == first

    def test_another_seed_other_predictions_and_other_settings_are(self, store, computed, tmp_path):
        self.fill(store, [1, 2, 3])
        self.publish(store, tmp_path)
        self.fill(store, [4])
        self.publish(store, tmp_path)
        self.fill(store, [4], model=lambda seed: 40 + seed)
        self.publish(store, tmp_path)
        self.publish(store, tmp_path, seed_metrics=[LabelledComponent(name="klom")])
        assert computed == [[1, 2, 3], *[[1, 2, 3, 4]] * 3]

    def test_what_could_not_be_read_is_tried_again(self, store, computed, tmp_path):
        self.fill(store, self.ORDER.seeds)
        (first, *_) = (each.key for each in store.list("objects/unlearned") if "-" in each.key)
        sound = store.read(first)
        store.write(first, b"damaged")
        damaged = self.publish(store, tmp_path)
        store.write(first, sound)
        mended = self.publish(store, tmp_path)
        assert b"is damaged" in damaged
        assert b"is damaged" not in mended
        assert len(computed) == 2

    @pytest.mark.parametrize("left", [b"{", b"{}", b"[]"])
    def test_a_summary_that_cannot_be_read_is_written_anew(self, store, computed, tmp_path, left):
        self.fill(store, self.ORDER.seeds)
        first = self.publish(store, tmp_path)
        store.write(names.summary_key(self.ORDER.prefix), left)
        assert self.publish(store, tmp_path) == first
        assert len(computed) == 2

    def edit(self, store, *, seal):
        """A published value that somebody has raised; its digests are put right by one who lies."""
        key = names.summary_key(self.ORDER.prefix)
        document = json.loads(store.read(key))
        document["overSeeds"]["values"][0]["value"] = 0.99625
        data = json.dumps(document, indent=1).encode()
        store.write(key, data)
        if seal:
            sums = names.checksums_key(self.ORDER.prefix)
            lines = store.read(sums).decode().splitlines()[:-1]
            lines.append(f"{sha256(data).hexdigest()}  summary.json")
            store.write(sums, "\n".join(lines).encode() + b"\n")

    def test_an_edited_number_is_computed_anew_and_named(self, store, computed, tmp_path, caplog):
        self.fill(store, self.ORDER.seeds)
        first = self.publish(store, tmp_path)
        self.edit(store, seal=False)
        assert self.publish(store, tmp_path) == first
        assert len(computed) == 2
        assert f"{names.summary_key(self.ORDER.prefix)}: it has been changed" in caplog.text

    def test_numbers_without_digests_as_of_older_versions_are_computed_anew(
        self, store, computed, tmp_path
    ):
        self.fill(store, self.ORDER.seeds)
        first = self.publish(store, tmp_path)
        store.delete(names.checksums_key(self.ORDER.prefix))
        assert self.publish(store, tmp_path) == first
        assert len(computed) == 2

    def test_who_answers_to_others_believes_no_digest_either(self, store, computed, tmp_path):
        self.fill(store, self.ORDER.seeds)
        first = self.publish(store, tmp_path)
        self.edit(store, seal=True)
        artefacts = Artefacts(store, tmp_path / "cache")
        publishing.publish(store, artefacts, self.ORDER, believed=False)
        assert store.read(names.summary_key(self.ORDER.prefix)) == first
