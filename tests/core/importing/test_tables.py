"""Tables of runs on W&B, and files that the reference itself wrote.

                     | here
what W&B has of runs | fixture/, which the package computed: see its README
kinds of tables      | by the columns of the package's own notebook, and of W&B's page
seeds, settings      | by hand
bad input            | a line each, and hypothesis: any table
"""

import csv
import json
import re
from contextlib import suppress
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from supreme_core.analysis.provenance import provenance_of
from supreme_core.errors import SpecError
from supreme_core.importing.folder import read_results
from supreme_core.importing.metrics import METRICS
from supreme_core.importing.results import FoundResults
from supreme_core.importing.summary import summaries
from supreme_core.importing.tables import ASSUMED_SEEDS, EXPORT, WANDB, read_table
from supreme_core.report.lead import lead_table
from supreme_core.report.page import render_report
from supreme_core.report.tables import IndexedSummary

FIXTURE = Path(__file__).parent / "fixture"
PRIMARY = "forget_test_reference_accuracy"
FORGET = "accuracy_test_unlearning_method_forget_acc"
OWN = "reference_own_weight_norm"
PROJECT = "P1_UNLEARNING_ResNet18_Cifar20_fullclass_veg_precision_32-true_no_dist"
LINE = {
    "project": PROJECT,
    "model": "ResNet18",
    "dataset": "Cifar20",
    "strategy": "fullclass",
    "target": "veg",
    "method": "finetune",
    "seed": "260",
    FORGET: "30.0",
}
RUN = {
    "Name": "finetune_tseed260_useed260",
    "model_name": "ResNet18",
    "dataset_name": "Cifar20",
    "unlearning_strategy": "fullclass",
    "forget_class": "veg",
    "num_gpus": "1",
    "precision": "32-true",
    "accuracy.test.unlearning_method.forget_acc.final_value": "30.0",
}


def table(*lines):
    text = StringIO()
    writer = csv.DictWriter(text, [*dict.fromkeys(name for line in lines for name in line)])
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue().encode()


def read(*lines):
    found = FoundResults()
    read_table(table(*lines), "runs.csv", found)
    return found


def one(*lines):
    [result] = read(*lines).evaluations
    return result


def imported(place):
    return list(summaries(read_results(place), "test"))


def numbers(summary):
    return {(row.method, row.metric): row.values for row in summary.rows}


class TestWhatTheReferenceWrote:
    """All of its own files at once: two seeds, one by each version, with a metric and a method
    that were registered with it."""

    def test_every_number_of_its_files_is_read(self):
        [(_, setting, summary)] = imported(FIXTURE / "logs")
        assert str(setting) == (
            "Digits, ResNet18, forgets classes, precision 32-true, 1 GPU, 10 classes"
        )
        rows = {row.metric for row in summary.rows}
        titles = {metric.title for metric in METRICS.values()}
        assert {re.sub(r"^(forget_test|retain_test|test)_", "", row) for row in rows} == {
            *titles,
            OWN,
        }
        assert {row.method for row in summary.rows} == {
            "original",
            "retrained",
            "finetune",
            "gentle",
        }
        assert all(row.n == 2 for row in summary.rows if row.metric == PRIMARY)

    def test_its_export_and_wandbs_have_the_same_numbers(self):
        [(_, _, written)] = imported(FIXTURE / "logs")
        for name in ("export.csv", "wandb.csv"):
            assert {*read_results(FIXTURE / name).skipped} == {
                "zrf.initial_zrf: nothing of ours in scenario fullclass"
            }
            [(_, setting, summary)] = imported(FIXTURE / name)
            assert (setting.gpus, setting.classes) == (1, 0)
            assert numbers(summary) == numbers(written), name

    def test_a_metric_of_its_user_is_a_row_with_a_gap(self):
        [(_, _, summary)] = imported(FIXTURE / "export.csv")
        [row] = [r for r in summary.rows if (r.method, r.metric) == ("gentle", OWN)]
        assert row.gap.n == 2
        assert "reference own weight norm" in render_report(summary).decode()
        files = sorted(FIXTURE.rglob("Gentle_eval_results.json"))
        for seed, file in zip(("260", "261"), files, strict=True):
            stored = json.loads(file.read_text())["weight_norm"]["unlearning_method"]
            assert row.values[seed] == stored["weight_norm"]["final_value"]

    def test_the_first_table_has_utility_membership_and_cost(self):
        [(_, _, summary)] = imported(FIXTURE / "wandb.csv")
        indexed = IndexedSummary(summary)
        [scenario] = indexed.scenarios
        columns = [column.title for column in lead_table(indexed, scenario).columns]
        assert columns == [
            *("forget test reference accuracy", "retain test reference accuracy"),
            *("reference MIA", "reference speed up", "verdict"),
        ]

    def test_the_time_of_a_model_is_a_row_of_cost_without_a_gap(self):
        [(_, _, summary)] = imported(FIXTURE / "logs")
        rows = {r.method: r for r in summary.rows if r.metric == "reference_wall_seconds"}
        assert {*rows} == {"retrained", "finetune", "gentle"}
        assert not rows["finetune"].gap
        for seed, file in zip(
            ("260", "261"), sorted(FIXTURE.rglob("Finetune_eval_results.json")), strict=True
        ):
            took = json.loads(file.read_text())["time"]["unlearning_method"]["core_time_elapsed"]
            assert rows["finetune"].values[seed] == took["final_value"]


class TestKinds:
    def test_the_package_s_export(self):
        result = one(LINE)
        assert (result.method, result.train_seed, result.unlearn_seed) == ("finetune", 260, 260)
        assert (result.scenario, result.target) == ("fullclass", "veg")
        assert (result.setting.precision, result.setting.gpus) == ("32-true", 1)
        assert result.values == {PRIMARY: 0.3}

    def test_wandb_s_own_export(self):
        assert one(RUN) == one(LINE)

    @pytest.mark.parametrize(
        ("name", "seeds"),
        [
            ("neg_grad_tseed7_useed7001", (7, 7001)),
            ("neg_grad_tseed7_useed7001_eseed7001002", (7, 7001)),
            ("neg_grad_seed7", (7, 7)),
        ],
    )
    def test_a_run_is_named_by_its_method_and_seeds(self, name, seeds):
        result = one({**RUN, "Name": name})
        assert (result.method, result.train_seed, result.unlearn_seed) == ("neg_grad", *seeds)

    @pytest.mark.parametrize(
        ("line", "column", "target"),
        [
            (LINE, "target", "0.001perc"),
            (RUN, "forget_class", "samples_0.001"),
        ],
    )
    def test_a_share_is_called_as_in_the_logs(self, line, column, target):
        strategy = "strategy" if line is LINE else "unlearning_strategy"
        assert one({**line, strategy: "random_", column: target}).target == "0.001"

    @pytest.mark.parametrize(
        ("project", "precision", "gpus"),
        [
            (f"{PROJECT.removesuffix('_no_dist')}_dist_ddp", "32-true", 0),
            (PROJECT.removesuffix("_no_dist"), "32-true", 0),
            ("mine", "", 0),
        ],
    )
    def test_what_a_project_does_not_say_is_not_known(self, project, precision, gpus):
        setting = one({**LINE, "project": project}).setting
        assert (setting.precision, setting.gpus) == (precision, gpus)
        assert "GPU" not in str(setting)

    def test_known_errors_of_several_gpus_are_told_where_their_number_is_not_known(self, tmp_path):
        lines = [{**LINE, "project": "mine", "method": name} for name in ("retrain", "finetune")]
        (tmp_path / "runs.csv").write_bytes(table(*lines))
        [(_, _, summary)] = imported(tmp_path)
        assert any("Known error 5," in note for note in provenance_of(summary).imported)

    def test_tables_lie_anywhere_and_other_csv_files_are_passed_over(self, tmp_path):
        folder = tmp_path / "wandb_metrics_summary" / "Cifar20"
        folder.mkdir(parents=True)
        lines = [{**LINE, "method": name} for name in ("retrain", "finetune")]
        (folder / "ResNet18_Cifar20_fullclass_veg.csv").write_bytes(table(*lines))
        (folder / "forget_set_info.csv").write_text("Batch,Index,Superclass,Subclass\n0,0,a,b\n")
        found = read_results(tmp_path)
        assert len(found.evaluations) == 2
        assert not found.skipped

    def test_a_cell_without_a_number_is_none_of_the_run(self):
        other = "loss_test_unlearning_method_forget_loss"
        found = read({**LINE, other: "1.5"}, {**LINE, "method": "ssd", FORGET: "nan", other: ""})
        assert [result.values for result in found.evaluations] == [
            {PRIMARY: 0.3, "forget_test_reference_loss": 1.5},
            {PRIMARY: None},
        ]
        assert list(found.skipped) == [f"{PRIMARY}: it is no number"]

    @pytest.mark.parametrize("metric", ["time", "accuracy_test"])
    def test_the_time_of_a_run_stands_beside_any_metric(self, metric):
        column = f"{metric}_unlearning_method_core_time_elapsed"
        found = read({**LINE, column: "12.5", f"{column}_per_process": "[12.5]"})
        assert found.evaluations[0].values == {PRIMARY: 0.3, "reference_wall_seconds": 12.5}
        assert not found.skipped

    def test_resources_and_the_cost_of_metrics_are_no_numbers_of_a_run(self):
        more = {
            "accuracy_test_unlearning_method_core_time_elapsed_per_process": "[3.0]",
            "accuracy_test_unlearning_method_memory_usage_total_gpu_memory": "3.0",
            "accuracy.test.unlearning_method.compute_utilisation.gpu_ids": "[0]",
            "accuracy_test_eval_metric_core_time_elapsed": "3.0",
            "TotalGPUMemoryGB": "3.0",
        }
        found = read({**LINE, **more})
        assert found.evaluations == read(LINE).evaluations
        assert not found.skipped

    def test_an_own_metric_may_be_called_like_a_part_of_a_column(self):
        column = "on_test_unlearning_method_on_test"
        assert one({**LINE, column: "2.5"}).values["reference_own_on_test"] == 2.5

    def test_an_own_metric_of_several_numbers_has_a_row_for_each(self):
        column = "norms_unlearning_method_first"
        assert one({**LINE, column: "2.5"}).values["reference_own_norms_first"] == 2.5


class TestSeeds:
    def test_repeats_are_averaged_within_their_training_seed_and_the_report_says_so(self, tmp_path):
        lines = [
            {**LINE, "method": method, "seed": seed, FORGET: value}
            for seed, value in (("7000", "10"), ("7001", "30.0"))
            for method in ("retrain", "finetune")
        ]
        (tmp_path / "runs.csv").write_bytes(table(*lines))
        [(_, _, summary)] = imported(tmp_path / "runs.csv")
        assert summary.seeds == [7]
        assert numbers(summary)["finetune", PRIMARY] == {"7": 0.2}
        assert ASSUMED_SEEDS in provenance_of(summary).imported

    def test_a_seed_is_read_as_pandas_writes_it_beside_gaps(self):
        assert one({**LINE, "seed": "260.0"}).train_seed == 260

    @pytest.mark.parametrize(("second", "also"), [("30.0", ""), ("31", ", and has other numbers")])
    def test_a_run_counts_once(self, second, also):
        found = read(LINE, {**LINE, FORGET: second})
        assert [result.values for result in found.evaluations] == [{PRIMARY: 0.3}]
        told = f"runs.csv: finetune was there with the same seeds before{also}"
        assert found.skipped == {told: 1}


class TestBadInput:
    @pytest.mark.parametrize(
        ("data", "told"),
        [
            (b"", "it has no column 'model'; a table of runs has model, dataset, strategy,"),
            (b"\xff\xfe", "it is no text in UTF-8"),
            (b'"a\n', "it is no CSV: unexpected end of data"),
            (b"x" * 200_000, "it is no CSV: field larger than field limit (131072)"),
            (
                b"model,dataset,strategy,target,methods,seed\n",
                "it has no column 'method'; did you mean 'methods'?; a table of runs has",
            ),
            (
                b"Name,model_name,dataset_name,unlearning_strategy\n",
                "it has no column 'forget_class'",
            ),
            (f"{','.join(EXPORT)},seed\n".encode(), "it has a column twice: seed"),
            (
                f"{','.join(WANDB)}\n".encode(),
                f"it has no column of a metric, such as {FORGET}",
            ),
        ],
        ids=["empty", "bytes", "quote", "long", "misspelt", "missing", "twice", "no metric"],
    )
    def test_what_is_no_table_is_told_in_a_line(self, tmp_path, data, told):
        path = tmp_path / "runs.csv"
        path.write_bytes(data)
        with pytest.raises(SpecError) as refused:
            read_results(path)
        assert str(refused.value).startswith(f"runs.csv: {told}")
        assert "\n" not in str(refused.value)

    @pytest.mark.parametrize(
        ("line", "changed", "told"),
        [
            (LINE, {"seed": "7e2"}, "seed is '7e2'; allowed: a whole number of up to 9 digits"),
            (LINE, {"seed": "-1"}, "seed is '-1'; allowed: a whole number of up to 9 digits"),
            (
                LINE,
                {"strategy": "random"},
                "strategy is 'random'; allowed: fullclass, subclass, random_; did you mean"
                " 'random_'?",
            ),
            (
                LINE,
                {"method": "a\x1b[2Jb"},
                "method is 'a?[2Jb'; allowed: up to 48 letters, digits and _ . -",
            ),
            (LINE, {"target": ""}, "target is ''; allowed: up to 48 letters, digits and _ . -"),
            (LINE, {FORGET: ""}, "the run of finetune has no number"),
            (RUN, {"Name": "finetune"}, "Name is 'finetune'; allowed: METHOD_tseedT_useedU"),
            (RUN, {"precision": "a b"}, "precision is 'a b'; allowed: up to 48 letters,"),
        ],
    )
    def test_a_line_that_is_no_run_is_skipped_and_told(self, line, changed, told):
        found = read(line, {**line, **changed})
        assert len(found.evaluations) == 1
        [(said, count)] = found.skipped.items()
        assert said.startswith(f"runs.csv, line 3: {told}")
        assert count == 1

    def test_a_line_of_another_length_is_skipped(self):
        found = FoundResults()
        read_table(table(LINE) + b"a,b\n\n", "runs.csv", found)
        assert list(found.skipped) == ["runs.csv, line 3: it has 2 fields, the first one 8"]

    def test_a_table_without_a_run_is_one_line(self, tmp_path):
        path = tmp_path / "runs.csv"
        path.write_bytes(table({**LINE, "seed": "x"}))
        with pytest.raises(SpecError, match=r"has no result of supreme-unlearning.*seed is 'x'"):
            read_results(path)

    @pytest.mark.parametrize("is_folder", [False, True])
    def test_more_runs_than_there_can_be_are_refused(self, tmp_path, monkeypatch, is_folder):
        monkeypatch.setattr("supreme_core.importing.results.MOST_RESULTS", 1)
        path = tmp_path / "runs.csv"
        path.write_bytes(table(LINE, {**LINE, "method": "ssd"}))
        with pytest.raises(SpecError, match="there are more than 1 results; give a part of them"):
            read_results(tmp_path if is_folder else path)

    def test_a_file_of_another_kind_is_one_line(self, tmp_path):
        path = tmp_path / "runs.xlsx"
        path.touch()
        with pytest.raises(SpecError, match=r"is no folder and no table of runs, \*\.csv$"):
            read_results(path)

    @settings(
        max_examples=40,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(
        st.lists(
            st.dictionaries(
                st.sampled_from([*LINE, *RUN, "a_unlearning_method_a", ".unlearning_method."]),
                st.sampled_from([*LINE.values(), *RUN.values(), "", "1e999", "nan", "\0", "'\"\n"]),
            ),
            max_size=4,
        ),
        st.binary(max_size=8),
    )
    def test_no_table_gives_a_traceback(self, tmp_path, lines, more):
        path = tmp_path / "runs.csv"
        path.write_bytes(table(*lines, LINE | RUN) + more)
        with suppress(SpecError):
            for _, _, summary in imported(path):
                assert summary.rows
