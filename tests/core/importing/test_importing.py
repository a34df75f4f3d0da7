"""Results of supreme-unlearning as a summary: numbers by hand, and input that means harm.

                         | here
numbers, gaps, repeats   | against means by hand
what files look like     | all that version 0.1.4 writes, in the three places where it does
what touches which rows  | a table, and Pins, several GPUs
hostile files            | hypothesis: any JSON, any place; links, pipes, size, depth
"""

import json
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from supreme_core.analysis.files import summary_json
from supreme_core.analysis.provenance import provenance_of
from supreme_core.errors import SpecError
from supreme_core.importing.folder import MOST_BYTES, read_results
from supreme_core.importing.metrics import METRICS
from supreme_core.importing.results import FoundResults, values_in
from supreme_core.importing.summary import summaries
from supreme_core.report.page import render_report
from supreme_core.report.terminal import terminal_tables

PRIMARY = "forget_test_reference_accuracy"

KEYS = st.sampled_from(
    ["test", "unlearning_method", "final_value", *METRICS, "forget_acc", "mia", "speedup"]
)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


def file_of(
    folder,
    method,
    *,
    seed=260,
    unlearn=None,
    gpus=1,
    dataset="Cifar20",
    model="ResNet18",
    scenario="fullclass",
    target="class_19",
):
    place = (
        f"logs/unlearning/precision_32-true/{gpus}gpus/train_seed_{seed}"
        f"/unlearn_seed_{seed if unlearn is None else unlearn}/{scenario}/{dataset}/{model}"
        f"/classes_20/forget_{target}/{method}"
    )
    (folder / place).mkdir(parents=True, exist_ok=True)
    return folder / place / f"{method}_eval_results.json"


def accuracies(whole, retain, forget):
    leaves = {"whole_acc": whole, "retain_acc": retain, "forget_acc": forget}
    of_run = {"core_time_elapsed": {"final_value": 3.0}, "memory_usage": {"peak": 1}}
    inner = {name: {"final_value": value} for name, value in leaves.items()}
    return {"accuracy": {"test": {"unlearning_method": {**inner, **of_run}}}}


def written(folder, method, document=None, **where):
    text = json.dumps(document or accuracies(90.0, 95.0, 10.0))
    file_of(folder, method, **where).write_text(text)


def whole_file(value, *, retrain=False):
    """All that stands in a file: what the metrics found, what finding it took, and resources.

    value: of everything, percent where the metric is one.
    """
    run = {
        "core_time_elapsed": {"final_value": 12.5, "per_gpu": [12.5]},
        "memory_usage": {"total_gpu_memory": 1.5, "max_gpu_memory": 1.5, "total_cpu_memory": 2.0},
        "compute_utilisation": {"gpu_ids": [0], "start_compute_util": {"total": 3, "max": 3}},
    }
    took = {"core_time_elapsed": None, "memory_usage": None, "compute_utilisation": None}

    def found(*names, found=value):
        return {**{name: {"final_value": found} for name in names}, **run}

    def of_sets(stem, **found_):
        return found(*(f"{stem}_{part}" for part in ("whole", "retain", "forget")), **found_)

    tested = {
        "accuracy": found("whole_acc", "retain_acc", "forget_acc", found=100 * value),
        "loss": found("whole_loss", "retain_loss", "forget_loss"),
        "jsdiv": of_sets("jsdiv"),
        "membership_inference_attack": found("mia"),
        "activation_distance": of_sets("activation_distance"),
        "completeness": of_sets("completeness", found=100 * value),
        "zrf": found("initial_zrf", "final_zrf"),
    }
    once = {
        "layerwise_distance": found("layerwise_distance"),
        "time": {**found("speedup", found=1 if retrain else value), "gpu_ids": None},
    }
    return {
        **{
            name: {"test": {"unlearning_method": o, "eval_metric": took}}
            for name, o in tested.items()
        },
        **{name: {"unlearning_method": o, "eval_metric": took} for name, o in once.items()},
        "TotalGPUMemoryGB": 1.5,
        "GPUIDs": [0],
        "StartComputeUtilTotal": {"0": 3},
        "LogicalCPUCount": 8,
        "TotalCPUHours": None,
    }


PLACES = {
    "fullclass": "fullclass/Cifar20/ResNet18/classes_20/forget_class_vehicle2",
    "subclass": "subclass/Cifar20/ResNet18/superclasses_20_subclasses_100/forget_class_rocket",
    "random_": "random_/Cifar10/ResNet18/classes_10/forget_perc_0.001",
}


def imported(folder):
    return [summary for _, _, summary in summaries(read_results(folder), "test")]


def row(summary, method, metric=PRIMARY):
    return next(r for r in summary.rows if (r.method, r.metric) == (method, metric))


class TestFormat:
    """Files of the package, by its source: making real ones needs a GPU and days."""

    def written(self, folder, *strategies, batches=""):
        for strategy in strategies:
            for method, value in (("Retrain", 0.25), ("Original", 0.5), ("Bad_teacher", 0.125)):
                place = folder / (
                    f"logs/unlearning/{batches}precision_32-true/1gpus/train_seed_260"
                    f"/unlearn_seed_260/{PLACES[strategy]}/{method}"
                )
                place.mkdir(parents=True)
                document = whole_file(value, retrain=method == "Retrain")
                text = json.dumps(document, indent=4)
                (place / f"{method}_eval_results.json").write_text(text)
                for other in ("time_elapsed", "memory_usage", "compute_utilisation"):
                    (place / f"{method}_{other}.json").write_text("{}")

    @pytest.mark.parametrize("strategy", PLACES)
    def test_all_of_it_is_read_from_where_it_lies(self, tmp_path, strategy):
        self.written(tmp_path, strategy)
        found = read_results(tmp_path)
        assert {each.method for each in found.evaluations} == {"retrain", "original", "bad_teacher"}
        (summary,) = imported(tmp_path)
        values = {r.metric: r.mean for r in summary.rows if r.method == "bad_teacher"}
        on = ("forget", "test") if strategy == "random_" else ("forget_test", "retain_test", "test")
        sets = [facts.title for facts in METRICS.values() if len(facts.leaves) == 3]
        assert values == {
            **{f"{part}_{title}": 0.125 for title in sets for part in on},
            "reference_layer_distance": 0.125,
            "reference_mia": 0.125,
            "reference_speed_up": 0.125,
            "reference_wall_seconds": 12.5,
            f"{on[0]}_reference_zrf": 0.125,
        }

    def test_what_is_skipped_is_the_start_of_a_distance_and_nothing_else(self, tmp_path):
        self.written(tmp_path, "fullclass")
        assert list(read_results(tmp_path).skipped) == [
            "zrf.initial_zrf: nothing of ours in scenario fullclass"
        ]

    def test_classes_and_subclasses_share_a_table_and_samples_have_their_own(self, tmp_path):
        self.written(tmp_path, *PLACES)
        scenarios = [{row.scenario for row in summary.rows} for summary in imported(tmp_path)]
        assert scenarios == [{"random_-0.001"}, {"fullclass-vehicle2", "subclass-rocket"}]

    def test_batches_that_grow_with_the_gpus_are_another_setting(self, tmp_path):
        self.written(tmp_path, "fullclass")
        self.written(tmp_path, "fullclass", batches="batch_per_device/")
        titles = [
            (title, str(setting)) for title, setting, _ in summaries(read_results(tmp_path), "x")
        ]
        assert [("batches" in title, "batches" in said) for title, said in titles] == [
            (False, False),
            (True, True),
        ]


class TestNumbers:
    def test_gaps_are_paired_by_training_seed(self, tmp_path):
        for i, seed in enumerate((260, 261, 262)):
            written(tmp_path, "Retrain", accuracies(90.0, 90.0, 10.0 * i), seed=seed)
            written(tmp_path, "Finetune", accuracies(80.0, 80.0, 10.0 * i + 5.0 + i), seed=seed)
        (summary,) = imported(tmp_path)

        found = row(summary, "finetune")
        assert found.values == pytest.approx({"260": 0.05, "261": 0.16, "262": 0.27})
        assert found.gap.n == 3
        assert found.gap.mean == pytest.approx(0.06)
        assert row(summary, "retrained").mean == pytest.approx(0.1)

    def test_seeds_of_unlearning_are_repeats_and_no_further_data(self, tmp_path):
        for unlearn, value in ((260000, 10.0), (260001, 30.0)):
            written(tmp_path, "Retrain", seed=260, unlearn=unlearn)
            written(tmp_path, "Finetune", accuracies(1.0, 1.0, value), seed=260, unlearn=unlearn)
        (summary,) = imported(tmp_path)
        assert (row(summary, "finetune").n, row(summary, "finetune").mean) == (1, 0.2)

    def test_every_metric_has_rows_that_no_metric_of_ours_has(self, tmp_path):
        document = {}
        for metric, facts in METRICS.items():
            leaves = {"unlearning_method": {n: {"final_value": 0.5} for n in facts.leaves}}
            document[metric] = {"test": leaves} if any(facts.leaves.values()) else leaves
        for method in ("Retrain", "Bad_teacher"):
            written(tmp_path, method, document)
        (summary,) = imported(tmp_path)
        rows = {r.metric for r in summary.rows}
        assert all("reference_" in name for name in rows)
        assert {"reference_mia", "reference_speed_up", "test_reference_js"} <= rows

    def test_a_run_without_half_of_retrained_s_accuracy_has_collapsed(self, tmp_path):
        for method in ("Retrain", "Original"):
            written(tmp_path, method, accuracies(90.0, 90.0, 0.0))
        written(tmp_path, "Ssd", accuracies(5.0, 5.0, 0.0))
        (summary,) = imported(tmp_path)
        assert [(f.method, f.kind) for f in summary.failures] == [("ssd", "collapsed")]

    def test_where_samples_are_forgotten_the_forget_set_is_one_of_training(self, tmp_path):
        for method in ("Retrain", "Finetune"):
            written(tmp_path, method, scenario="random_", target="perc_0.001")
        (summary,) = imported(tmp_path)
        assert {r.metric for r in summary.rows} == {
            "forget_reference_accuracy",
            "test_reference_accuracy",
            "reference_wall_seconds",
        }

    def test_settings_are_never_mixed(self, tmp_path):
        for dataset, gpus in (("Cifar20", 1), ("Cifar20", 2), ("Cifar100", 1)):
            for method in ("Retrain", "Finetune"):
                written(tmp_path, method, dataset=dataset, gpus=gpus)
        titles = [title for title, _, _ in summaries(read_results(tmp_path), "test")]
        assert len(set(titles)) == 3


class TestKnownErrors:
    def notes(self, folder):
        (summary,) = imported(folder)
        return provenance_of(summary).imported

    def numbers(self, folder):
        return {
            int(note.split()[2].rstrip(","))
            for note in self.notes(folder)
            if note.startswith("Known error")
        }

    def test_a_report_says_where_its_numbers_come_from_and_what_touches_them(self, tmp_path):
        for method in ("Retrain", "Ssd"):
            written(tmp_path, method)
        assert self.notes(tmp_path)[0].startswith("These numbers were computed by supreme-unlearn")
        assert self.numbers(tmp_path) == {2, 3, 4, 7, 8, 14, 15, 16, 17, 18, 20}
        (summary,) = imported(tmp_path)
        page = render_report(summary).decode()
        assert "Known error 3, in reference_js, reference_zrf" in page
        assert "What every seed computed" not in page  # nobody knows

    def test_pins_and_several_gpus_have_more_of_them(self, tmp_path):
        for method in ("Retrain", "Jit"):
            written(tmp_path, method, dataset="PinsFaceRecognition", gpus=4)
        assert {1, 5, 12, 21} <= self.numbers(tmp_path)


class TestHostileInput:
    def test_links_and_pipes_are_not_opened(self, tmp_path):
        outside, inside = tmp_path / "outside", tmp_path / "inside"
        for method in ("Retrain", "Finetune"):
            written(inside, method)
        written(outside, "Scrub")
        os.symlink(outside / "logs", inside / "more")
        os.symlink(file_of(outside, "Scrub"), file_of(inside, "Scrub"))
        os.mkfifo(file_of(inside, "Ssd"))
        found = read_results(inside)
        assert {each.method for each in found.evaluations} == {"retrain", "finetune"}
        assert any("link" in what for what in found.skipped)
        assert any("no regular file" in what for what in found.skipped)

    @pytest.mark.parametrize(
        "text",
        ["{", "[]", "[" * 100_000, " " * (MOST_BYTES + 1), "\0", '{"a": ' + "9" * 5000 + "}"],
        ids=["cut", "list", "deep", "large", "null", "long number"],
    )
    def test_a_file_that_is_none_is_skipped_and_said(self, tmp_path, text):
        for method in ("Retrain", "Finetune"):
            written(tmp_path, method)
        file_of(tmp_path, "Ssd").write_text(text)
        found = read_results(tmp_path)
        assert len(found.evaluations) == 2
        assert found.skipped

    @pytest.mark.parametrize(
        "value", ["NaN", "Infinity", "1e400", "101", "-1", "true", '"1"', "{}"]
    )
    def test_what_the_metric_cannot_be_is_no_value(self, value):
        text = '{"accuracy": {"test": {"unlearning_method": {"forget_acc": {"final_value": %s}}}}}'
        found = FoundResults()
        assert values_in(json.loads(text % value), "fullclass", found) == {PRIMARY: None}
        assert len(found.skipped) == 1

    @pytest.mark.parametrize(
        ("metric", "leaf", "value", "allowed"),
        [
            ("accuracy", "forget_acc", 107, "0 to 100"),
            ("completeness", "completeness_forget", 100.1, "0 to 100"),
            ("membership_inference_attack", "mia", 7, "0 to 1"),
            ("zrf", "final_zrf", 7, "up to 1"),
            ("activation_distance", "activation_distance_forget", 1.5, "0 to 1.4143"),
            ("loss", "forget_loss", -7, "from 0 on"),
            ("own", "own", 1e13, "up to 1e+12"),
        ],
    )
    def test_a_number_out_of_its_range_is_told_with_the_range(self, metric, leaf, value, allowed):
        """A share or a percentage by the unit of its file: 7 is an accuracy, and no zrf."""
        found = FoundResults()
        document = {metric: {"unlearning_method": {leaf: value}}}
        (row,) = values_in(document, "fullclass", found)
        said = f"{row}: it is not finite or out of its range, {allowed}"
        assert found.skipped == {said: 1}

    @pytest.mark.parametrize(
        ("document", "said"),
        [
            ({"magic": {"test": {}}}, "metric 'magic': there is no number of a model in it"),
            (
                {"a/b": {"unlearning_method": {"a/b": 1}}},
                "own metric 'a/b': its name is not up to 48 letters, digits and _ . -",
            ),
        ],
    )
    def test_an_own_metric_that_cannot_be_a_row_is_said(self, document, said):
        found = FoundResults()
        assert values_in(document, "fullclass", found) == {}
        assert list(found.skipped) == [said]

    def test_nothing_to_import_is_one_line(self, tmp_path):
        with pytest.raises(SpecError, match="has no result of supreme-unlearning"):
            read_results(tmp_path)
        with pytest.raises(SpecError, match="cannot read"):
            read_results(tmp_path / "none")

    @settings(
        max_examples=40,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(document=ANY, target=st.text("abAB.-_/\n0", min_size=1, max_size=8))
    def test_no_json_and_no_place_gives_a_traceback(self, tmp_path, document, target):
        folder = tmp_path / "any"
        shutil.rmtree(folder, ignore_errors=True)
        for method in ("Retrain", "Finetune"):
            written(folder, method)
        path = file_of(folder, "Finetune", seed=261, target=f"class_{target}")
        Path(path).write_text(json.dumps(document))
        for summary in imported(folder):
            json.loads(summary_json(summary))
            terminal_tables(summary)
