"""An experiment becomes a plan: pure, so every test is a call.

                                     | tested here
steps: order, repeats, exclusions    |      x
names: uid, digests                  |      x        constants recorded: stores depend on them
metrics: default set, rows, primary  |      x
refused: no pair                     |      x        components: test_catalog.py
revisions, unlisted components       |      x        in the processes: trainer/test_plugins.py
methods that wrappers name           |      x
defaults of transformers             |      x        which are: core/models/test_families.py
"""

import pytest

from supreme_core.api.model import parse
from supreme_core.api.orders import ExperimentName, Revision, work_digest
from supreme_core.api.v1alpha1 import UnlearningExperiment
from supreme_core.errors import SpecError
from supreme_core.plan import Step, default_metrics, metric_rows, plan, steps
from supreme_core.registry import catalog
from supreme_core.registry.catalog import Catalog
from tests.documents import documents_of

CATALOG = catalog.bundled()

SPEC = {
    "seeds": {"start": 5, "count": 2},
    "dataset": {"name": "digits"},
    "model": {"name": "resnet18", "params": {"width": 4}},
    "scenarios": [
        {"name": "full_class", "params": {"classes": [3]}},
        {"name": "random_samples", "params": {"fraction": 0.1}},
    ],
    "methods": [{"name": "finetune"}, {"name": "unsir"}],
    "metrics": [{"name": "accuracy"}, {"name": "wall_seconds"}],
}

RECIPE_CHANGES = {
    "dataset": {"dataset": {"name": "digits", "params": {"size": 16}}},
    "model": {"model": {"name": "resnet18", "params": {"width": 8}}},
    "epochs": {"training": {"epochs": 3}},
    "optimizer": {"training": {"optimizer": {"name": "adamw"}}},
    "micro-batches": {"training": {"microBatches": 2}},
}

OTHER_CHANGES = {
    "seeds": {"seeds": {"list": [1, 2, 3]}},
    "repeats": {"seeds": {"unlearningRepeats": 3}},
    "methods": {"methods": [{"name": "ssd"}]},
    "labels": {"methods": [{"name": "finetune", "label": "long"}, {"name": "unsir"}]},
    "scenarios": {"scenarios": [{"name": "full_class", "params": {"classes": [1]}}]},
    "metrics": {"metrics": [{"name": "accuracy"}]},
    "parallelism": {"parallelism": 1},
    "storage": {"storage": {"uri": "s3://bucket/elsewhere"}},
    "placement": {"execution": {"dataPlacement": "Streamed"}},
}

NOT_WORK = {"seeds", "parallelism", "storage", "placement"}
"""Changes that leave alone what a seed computes."""

UID = "91e25882"
WORK_DIGEST = "80e46fe56f57830cb8d1206e38e5e29e9c2d0629bdbc924a7fadae7eedecb7b8"


def experiment(**changes):
    document = {
        "apiVersion": "supreme.dev/v1alpha1",
        "kind": "UnlearningExperiment",
        "metadata": {"name": "small"},
        "spec": SPEC | changes,
    }
    return parse(UnlearningExperiment, document)


def planned(*, uid=None, namespace="local", **changes):
    return plan(experiment(**changes), CATALOG, namespace=namespace, uid=uid)


def refused(**changes):
    with pytest.raises(SpecError) as error:
        planned(**changes)
    return str(error.value)


def found_steps(**changes):
    order = planned(**changes)
    return steps(order.work, order.excluded, CATALOG)


class TestSteps:
    def test_they_stand_in_the_order_of_computation(self):
        assert found_steps() == [
            Step("dataset"),
            Step("original"),
            Step("predictions", "full_class", "original"),
            Step("retrained", "full_class", "retrained"),
            Step("predictions", "full_class", "retrained"),
            Step("metrics", "full_class", "original"),
            Step("metrics", "full_class", "retrained"),
            Step("unlearned", "full_class", "finetune"),
            Step("metrics", "full_class", "finetune"),
            Step("unlearned", "full_class", "unsir"),
            Step("metrics", "full_class", "unsir"),
            Step("predictions", "random_samples", "original"),
            Step("retrained", "random_samples", "retrained"),
            Step("predictions", "random_samples", "retrained"),
            Step("metrics", "random_samples", "original"),
            Step("metrics", "random_samples", "retrained"),
            Step("unlearned", "random_samples", "finetune"),
            Step("metrics", "random_samples", "finetune"),
        ]

    def test_predictions_of_an_untrained_model_are_a_step_where_a_metric_reads_them(self):
        untrained = Step("predictions", "full_class", "untrained")
        assert untrained in found_steps(metrics=[{"name": "zrf"}, {"name": "accuracy"}])
        assert untrained not in found_steps(metrics=[{"name": "accuracy"}])

    @pytest.mark.parametrize(("repeats", "replicas"), [(1, 1), (3, 1), (1, 2), (3, 2)])
    def test_repeats_and_replicas_are_steps_of_their_own(self, repeats, replicas):
        found = found_steps(seeds={"unlearningRepeats": repeats, "retrainedReplicas": replicas})
        pairs = 3  # finetune twice, unsir once
        assert len(found) == 2 + 2 * (2 + 3 * replicas) + 2 * pairs * repeats
        assert len(set(found)) == len(found)
        again = [step.repeat for step in found if step.stage == "unlearned"]
        assert again == list(range(repeats)) * pairs

    def test_a_scenario_that_poisons_has_an_original_of_its_own(self):
        confusion = {"name": "confusion", "params": {"classes": [1, 2], "fraction": 0.1}}
        found = found_steps(scenarios=[confusion, SPEC["scenarios"][1]])
        assert found[:3] == [
            Step("dataset"),
            Step("original", "confusion"),
            Step("predictions", "confusion", "original"),
        ]
        position = found.index(Step("predictions", "random_samples", "original"))
        assert found[position - 1] == Step("original")
        assert [step.stage for step in found].count("original") == 2

    def test_nobody_trains_an_original_that_no_scenario_uses(self):
        confusion = {"name": "confusion", "params": {"classes": [1, 2], "fraction": 0.1}}
        assert Step("original") not in found_steps(scenarios=[confusion])

    def test_margins_come_before_all_scenarios_where_one_is_made_from_them(self):
        ranked = {"name": "memorised_samples", "params": {"fraction": 0.1, "memorisation": "low"}}
        found = found_steps(scenarios=[SPEC["scenarios"][0], ranked])
        assert found[:4] == [
            Step("dataset"),
            Step("original"),
            Step("margins"),
            Step("predictions", "full_class", "original"),
        ]

    def test_pretrained_weights_are_the_first_step(self):
        model = {"name": "timm/test_vit", "params": {"pretrained": True}}
        assert found_steps(model=model) == [Step("pretrained"), *found_steps()]
        model["params"]["pretrained"] = False
        assert found_steps(model=model) == found_steps()

    def test_importances_are_steps_before_the_first_method_that_reads_them(self):
        sharp = {"name": "ssd", "label": "sharp", "params": {"alpha": 2}}
        found = found_steps(
            scenarios=[SPEC["scenarios"][0]],
            methods=[{"name": "finetune"}, {"name": "ssd"}, {"name": "assd"}, sharp],
            seeds={"unlearningRepeats": 2},
        )
        importances = [step for step in found if step.stage == "importances"]
        assert importances == [
            Step("importances", "full_class", "forget", metric="squared_loss"),
            Step("importances", "full_class", "retain", metric="squared_loss"),
        ]
        first = found.index(Step("unlearned", "full_class", "ssd"))
        assert found[first - 2 : first] == importances
        assert importances[0].title == "importances (squared_loss) of forget · full_class"

    @pytest.mark.parametrize(
        "method",
        [
            {"name": "lfssd", "params": {"variant": "batch"}},
            {"name": "ssd", "wrappers": [{"name": "prune_first"}]},
        ],
        ids=["of its own batches", "of another model"],
    )
    def test_importances_that_only_one_run_can_use_are_no_steps(self, method):
        assert "importances" not in {step.stage for step in found_steps(methods=[method])}

    def test_repeats_of_the_evaluation_are_no_steps(self):
        assert found_steps(seeds={"evaluationRepeats": 9}) == found_steps()

    def test_a_metric_that_looks_at_the_model_is_a_step_of_each_run(self):
        metrics = [{"name": "accuracy"}, {"name": "relearn_time"}, {"name": "feature_cka"}]
        found = found_steps(metrics=metrics, seeds={"retrainedReplicas": 2})
        asked = ["relearn_time", "feature_cka"]
        of_probes = [step for step in found if step.stage == "probes"]
        assert [step.metric for step in of_probes] == asked * (2 * (1 + 2) + 3)
        assert [step for step in found if step not in of_probes] == (
            found_steps(metrics=metrics[:1], seeds={"retrainedReplicas": 2})
        )
        after = found.index(Step("unlearned", "full_class", "finetune")) + 1
        assert found[after] == Step("probes", "full_class", "finetune", 0, "relearn_time")
        assert len(set(found)) == len(found)

    @pytest.mark.parametrize(
        ("step", "title"),
        [
            (Step("dataset"), "dataset"),
            (Step("retrained", "full_class", "retrained", 1), "retrained (2) · full_class"),
            (Step("unlearned", "digit 3", "ssd"), "ssd · digit 3"),
            (
                Step("probes", "digit 3", "ssd", 1, "relearn_time"),
                "relearn_time of ssd (2) · digit 3",
            ),
        ],
    )
    def test_a_step_has_a_title_for_people(self, step, title):
        assert step.title == title


class TestExclusions:
    def test_a_method_is_left_out_where_it_is_not_defined(self):
        (excluded,) = planned().excluded
        assert (excluded.scenario, excluded.method) == ("random_samples", "unsir")
        assert excluded.reason == (
            "unsir forgets classes, but random_samples asks to forget samples"
        )

    def test_labels_name_the_pair_and_names_give_the_reason(self):
        (excluded,) = planned(
            scenarios=[
                {"name": "random_samples", "label": "tenth", "params": {"fraction": 0.1}},
                {"name": "full_class", "params": {"classes": [3]}},
            ],
            methods=[{"name": "unsir", "label": "noise"}],
        ).excluded
        assert (excluded.scenario, excluded.method) == ("tenth", "noise")
        assert excluded.reason.startswith("unsir forgets classes, but random_samples asks")

    def test_an_experiment_without_any_pair_is_refused(self):
        message = refused(methods=[{"name": "unsir"}], scenarios=SPEC["scenarios"][1:])
        assert message == (
            "spec.methods: no method fits a scenario: unsir forgets classes, but random_samples"
            " asks to forget samples"
        )


class TestNames:
    @pytest.mark.parametrize("change", RECIPE_CHANGES.values(), ids=RECIPE_CHANGES)
    def test_the_uid_changes_with_the_data_the_model_and_the_recipe(self, change):
        assert planned(**change).experiment.uid != planned().experiment.uid

    @pytest.mark.parametrize("change", OTHER_CHANGES.values(), ids=OTHER_CHANGES)
    def test_the_uid_does_not_change_with_what_may_be_added_later(self, change):
        assert planned(**change).experiment == planned().experiment

    def test_a_uid_of_the_cluster_is_kept(self):
        order = planned(uid="0123456789-abcdef", namespace="team")
        assert order.experiment == ExperimentName(
            namespace="team", name="small", uid="0123456789-abcdef"
        )
        assert order.prefix == "experiments/team/small-01234567"

    def test_the_uid_is_a_recorded_one(self):
        """Another value means that finished experiments are not found again in their stores."""
        assert planned().experiment.uid == UID

    def test_the_digest_of_the_work_is_a_recorded_one(self):
        """Another value means that no stored result counts any more."""
        assert work_digest(planned().work) == WORK_DIGEST

    @pytest.mark.parametrize("name", sorted(OTHER_CHANGES.keys() - NOT_WORK))
    def test_the_digest_of_the_work_changes_with_all_that_a_seed_computes(self, name):
        assert work_digest(planned(**OTHER_CHANGES[name]).work) != work_digest(planned().work)

    @pytest.mark.parametrize("name", sorted(NOT_WORK))
    def test_the_digest_of_the_work_does_not_change_with_who_computes_what(self, name):
        assert work_digest(planned(**OTHER_CHANGES[name]).work) == work_digest(planned().work)

    def test_where_images_lie_is_left_to_the_trainer_unless_somebody_decides(self):
        assert planned().data_placement == "Auto"
        assert planned(**OTHER_CHANGES["placement"]).data_placement == "Streamed"

    def test_seeds_are_those_of_the_spec_in_its_order(self):
        assert planned().seeds == [5, 6]
        assert planned(seeds={"list": [9, 2, 4]}).seeds == [9, 2, 4]


class TestMetrics:
    def test_the_default_set_is_every_default_metric_by_group_and_name(self):
        groups = ("accuracy", "distance", "composite", "membership", "recovery", "cost")
        listed = [metric for metric in CATALOG.components["metric"].values()]
        expected = [
            name
            for group in groups
            for name in sorted(
                metric.name
                for metric in listed
                if metric.facts["group"] == group and metric.facts["default"]
            )
        ]
        found = [metric.name for metric in default_metrics(CATALOG)]
        assert found == expected
        assert found[0] == "accuracy"
        assert [metric.name for metric in planned(metrics=[]).work.metrics] == expected

    def test_chosen_metrics_replace_the_default_set_and_keep_their_order(self):
        found = planned(metrics=[{"name": "wall_seconds"}, {"name": "accuracy"}])
        assert [metric.name for metric in found.work.metrics] == ["wall_seconds", "accuracy"]

    def test_a_metric_has_a_row_for_each_of_its_sets(self):
        chosen = planned(
            metrics=[{"name": "accuracy", "label": "correct"}, {"name": "speed_up"}],
            primaryMetric="forget_correct",
        ).work.metrics
        assert metric_rows(chosen, CATALOG) == [
            *(f"{on}_correct" for on in CATALOG.get("metric", "accuracy").facts["sets"]),
            "speed_up",
        ]

    def test_an_unknown_primary_metric_is_refused_with_the_nearest_row(self):
        assert refused(primaryMetric="forget_acuracy") == (
            "spec.primaryMetric is 'forget_acuracy', which no metric gives; did you mean"
            " 'forget_accuracy'?"
        )

    def test_margins_are_those_of_the_spec_and_absent_without_them(self):
        assert planned(margins={"forget_accuracy": 0.02}).margins == {"forget_accuracy": 0.02}
        assert "margins" not in planned().to_document()

    def test_margins_change_nothing_that_is_computed(self):
        with_margins = planned(margins={"forget_accuracy": 0.02})
        assert work_digest(with_margins.work) == work_digest(planned().work)

    @pytest.mark.parametrize(
        ("row", "words"),
        [
            ("forget_acuracy", "did you mean 'forget_accuracy'?"),
            ("forget_js_divergence", "is nearness to Retrained itself, so it has no gap"),
            ("wall_seconds", "is measured, so it has no gap"),
        ],
    )
    def test_a_margin_of_a_row_without_a_gap_is_refused(self, row, words):
        metrics = [{"name": each} for each in ("accuracy", "js_divergence", "wall_seconds")]
        message = refused(margins={row: 0.02}, metrics=metrics)
        assert message.startswith("spec.margins: ")
        assert repr(row) in message
        assert words in message

    def test_where_nothing_is_near_the_rows_are_listed(self):
        message = refused(metrics=[{"name": "wall_seconds"}], primaryMetric="xyz")
        assert message == ("spec.primaryMetric is 'xyz', which no metric gives; rows: wall_seconds")


def listed_with(kind, name, **facts):
    """The catalogue with one component changed."""
    document = catalog.document(CATALOG)
    document["components"][kind][name] |= facts
    return Catalog.read(document)


def revisions_of(listed, **changes):
    return plan(experiment(**changes), listed, namespace="local").work.revisions


class TestRevisions:
    """Finished work does not count for other code, and no finished work is lost."""

    def test_of_components_of_version_1_nothing_is_said(self):
        assert planned().work.revisions == []
        assert "revisions" not in planned().work.model_dump()

    def test_a_raised_version_is_part_of_the_work(self):
        listed = listed_with("method", "finetune", version=2)
        assert revisions_of(listed) == [Revision(kind="method", name="finetune", version=2)]
        order = plan(experiment(), listed, namespace="local")
        assert work_digest(order.work) != WORK_DIGEST
        assert order.experiment.uid == UID  # its results lie where those before lie

    def test_so_are_the_bytes_of_a_single_file(self):
        found = [
            work_digest(
                plan(
                    experiment(),
                    listed_with("method", "finetune", plugin=each * 64),
                    namespace="local",
                ).work
            )
            for each in "ab"
        ]
        assert len({*found, WORK_DIGEST}) == 3

    def test_a_component_that_is_not_used_says_nothing(self):
        assert revisions_of(listed_with("method", "ssd", version=2)) == []

    def test_one_that_another_names_in_its_settings_is_used(self):
        listed = listed_with("method", "ssd", version=2)
        partition = {"name": "partition", "params": {"methods": [{"name": "ssd"}]}}
        methods = [{"name": "finetune", "wrappers": [partition]}]
        found = [Revision(kind="method", name="ssd", version=2)]
        assert revisions_of(listed, methods=methods) == found

    def test_a_probe_is_used_by_the_metric_that_reads_its_findings(self):
        listed = listed_with("probe", "linear_readout", version=3)
        assert revisions_of(listed) == []
        metrics = [{"name": "accuracy"}, {"name": "linear_recovery"}]
        found = [Revision(kind="probe", name="linear_readout", version=3)]
        assert revisions_of(listed, metrics=metrics) == found

    def test_one_that_is_used_twice_is_there_once(self):
        twice = [{"name": "finetune"}, {"name": "finetune", "label": "again"}, {"name": "ssd"}]
        listed = listed_with("method", "finetune", version=2)
        assert len(revisions_of(listed, methods=twice)) == 1

    @pytest.mark.parametrize(
        ("kind", "name"),
        [
            ("dataset", "digits"),
            ("model", "resnet18"),
            ("optimizer", "sgd"),
            ("schedule", "constant"),
            ("augmentation", "horizontal_flip"),
            ("scenario", "full_class"),
            ("metric", "accuracy"),
        ],
    )
    def test_every_kind_counts(self, kind, name):
        training = {"schedule": {"name": "constant"}, "augmentation": [{"name": "horizontal_flip"}]}
        (revision,) = revisions_of(listed_with(kind, name, version=2), training=training)
        assert (revision.kind, revision.name) == (kind, name)

    def test_a_cluster_does_not_know_the_code_of_its_image(self):
        listed = listed_with("method", "finetune", version=2)
        order = plan(experiment(), listed, namespace="team", uid="0123456789-abcdef")
        assert order.work.revisions == []
        assert work_digest(order.work) == WORK_DIGEST


UNLISTED = {
    "dataset": {"dataset": {"name": "theirs", "params": {"any": 1}}},
    "model": {"model": {"name": "theirs"}},
    "variant of a family": {"model": {"name": "timm/theirs"}},
    "method": {"methods": [{"name": "theirs", "params": {"any": [1, {"deep": None}]}}]},
    "optimizer": {"training": {"optimizer": {"name": "theirs"}}},
    "schedule": {"training": {"schedule": {"name": "theirs"}}},
    "augmentation": {"training": {"augmentation": [{"name": "theirs"}]}},
}
ALLOWED = {"execution": {"allowUnlistedComponents": True}}


class TestUnlistedComponents:
    """Components of an image that the operator has not seen."""

    @pytest.mark.parametrize("change", UNLISTED.values(), ids=UNLISTED)
    def test_they_are_planned_where_the_experiment_allows_it(self, change):
        names = {component.name for _, component in planned(**change, **ALLOWED).work.components()}
        assert names & {"theirs", "timm/theirs"}
        assert "unknown" in refused(**change)

    def test_a_method_has_every_scenario_since_nobody_knows_better(self):
        order = planned(methods=[{"name": "theirs"}, {"name": "unsir"}], **ALLOWED)
        assert [(pair.scenario, pair.method) for pair in order.excluded] == [
            ("random_samples", "unsir")
        ]
        titles = [step.title for step in steps(order.work, order.excluded, CATALOG)]
        assert {"theirs · full_class", "theirs · random_samples"} <= set(titles)

    @pytest.mark.parametrize(
        ("field", "kind", "lack"),
        [
            ("scenarios", "scenario", "which methods fit it"),
            ("metrics", "metric", "the rows of the table"),
        ],
    )
    def test_scenarios_and_metrics_are_needed_for_the_plan_itself(self, field, kind, lack):
        assert refused(**{field: [{"name": "theirs"}]}, **ALLOWED) == (
            f"spec.{field}[0].name: unknown {kind} 'theirs'; execution.allowUnlistedComponents"
            f" does not go for a {kind}, without which nobody here knows {lack}"
        )

    def test_settings_of_listed_ones_are_checked_all_the_same(self):
        message = refused(methods=[{"name": "finetune", "params": {"epoch": 1}}], **ALLOWED)
        assert message.startswith("spec.methods[0].params.epoch: unknown field 'epoch'")

    def test_the_permission_itself_is_no_part_of_the_work(self):
        assert planned(**ALLOWED) == planned()


VIT = {"name": "timm/test_vit.r160_in1k"}


class TestDefaultsOfTransformers:
    """An experiment that does not set what was found for ResNets gets what is meant for its own."""

    def settings(self, *methods, **changes):
        work = planned(methods=list(methods), **changes).work
        return {method.title: method.params for method in work.methods}

    def test_a_transformer_gets_its_own(self):
        found = self.settings({"name": "finetune"}, {"name": "ssd"}, model=VIT)
        assert found == {"finetune": {"lr": 0.001}, "ssd": {"alpha": 5}}

    def test_other_networks_get_none(self):
        for model in ({"name": "resnet18"}, {"name": "timm/test_resnet"}):
            assert self.settings({"name": "finetune"}, model=model) == {"finetune": {}}

    def test_what_an_experiment_says_stays(self):
        asked = {"name": "finetune", "label": "mine", "params": {"lr": 0.02, "epochs": 3}}
        other = {"name": "finetune", "params": {"epochs": 3}}
        found = self.settings(asked, other, model=VIT)
        assert found == {"mine": {"lr": 0.02, "epochs": 3}, "finetune": {"lr": 0.001, "epochs": 3}}

    def test_a_method_without_any_stays_as_it_is(self):
        assert self.settings({"name": "bad_teacher"}, model=VIT) == {"bad_teacher": {}}

    def test_of_what_is_not_listed_nothing_is_known(self):
        allowed = {"allowUnlistedComponents": True}
        methods = [{"name": "finetune"}, {"name": "foreign"}]
        assert self.settings(*methods, model=VIT, execution=allowed)["foreign"] == {}
        found = self.settings(*methods, model={"name": "foreign_vit"}, execution=allowed)
        assert found == {"finetune": {}, "foreign": {}}


AUGMENTED = {"name": "finetune", "augmentation": "Training"}
FLIPPED = {"augmentation": [{"name": "horizontal_flip"}]}


class TestAugmentationOfMethods:
    def test_it_is_part_of_the_work_only_where_it_is_asked_for(self):
        methods = [{**AUGMENTED, "augmentation": "None"}, {"name": "unsir"}]
        assert work_digest(planned(methods=methods).work) == WORK_DIGEST
        alike, other = (
            planned(methods=[method, {"name": "unsir"}], training=FLIPPED).work
            for method in ({"name": "finetune"}, AUGMENTED)
        )
        assert work_digest(alike) != work_digest(other)
        assert "augmentation" not in alike.methods[0].to_document()

    def test_without_one_in_the_training_it_is_refused(self):
        assert refused(methods=[AUGMENTED]) == (
            "spec.methods[0].augmentation is Training, but spec.training.augmentation is empty;"
            " give some there, or use None"
        )

    def test_of_a_method_that_trains_on_nothing_it_is_refused(self):
        methods = [{"name": "finetune"}, {"name": "ssd", "augmentation": "Training"}]
        assert refused(methods=methods, training=FLIPPED) == (
            "spec.methods[1].augmentation is Training, but ssd trains on no samples; use None"
        )

    def test_a_wrapper_may_name_a_method_that_trains(self):
        partition = {"name": "partition", "params": {"methods": [{"name": "finetune"}]}}
        method = {"name": "ssd", "augmentation": "Training", "wrappers": [partition]}
        assert planned(methods=[method], training=FLIPPED)

    def test_of_a_method_that_is_not_listed_nothing_is_known(self):
        allowed = {"allowUnlistedComponents": True}
        method = {"name": "foreign", "augmentation": "Training"}
        assert planned(methods=[method], training=FLIPPED, execution=allowed)


class TestMethodsWithinWrappers:
    """A method that a wrapper names is checked and completed like any other."""

    @staticmethod
    def entry(*named, method="neg_grad", around=()):
        partition = {"name": "partition", "params": {"methods": list(named)}}
        return {"name": method, "wrappers": [*around, partition]}

    def test_a_pair_is_left_out_where_one_of_them_is_not_defined(self):
        (pair,) = planned(methods=[self.entry({"name": "ssd"}, {"name": "unsir"})]).excluded
        assert (pair.scenario, pair.method) == ("random_samples", "neg_grad")
        assert pair.reason == ("unsir forgets classes, but random_samples asks to forget samples")

    def test_a_wrapper_that_watches_epochs_wants_them_of_all(self):
        stop = {"name": "early_stop", "params": {"accuracy": 0.1}}
        assert planned(methods=[self.entry({"name": "finetune"}, around=[stop])])
        message = refused(methods=[self.entry({"name": "ssd"}, around=[stop])])
        assert "spec.methods[0].wrappers[0].name is 'early_stop'" in message
        assert "ssd has none" in message

    def test_misspelt_ones_are_refused(self):
        message = refused(methods=[self.entry({"name": "ssd"}, {"name": "fintune"})])
        at = "spec.methods[0].wrappers[0].params.methods[1].name"
        assert message == f"{at}: unknown method 'fintune'; did you mean 'finetune'?"

    def test_a_transformer_gets_their_settings_too(self):
        named = [{"name": "ssd"}, {"name": "finetune", "params": {"lr": 0.1}}]
        (method,) = planned(methods=[self.entry(*named)], model=VIT).work.methods
        (wrapper,) = method.wrappers
        assert [each["params"] for each in wrapper.params["methods"]] == [
            {"alpha": 5},
            {"lr": 0.1},
        ]
        (method,) = planned(methods=[self.entry(*named)]).work.methods
        assert method.wrappers[0].params["methods"] == named


def test_misspelt_components_are_refused():
    assert refused(methods=[{"name": "finetun"}]) == (
        "spec.methods[0].name: unknown method 'finetun'; did you mean 'finetune'?"
    )


def test_the_same_experiment_gives_the_same_plan_whatever_the_order_of_its_settings():
    text = """
    {methods: [{name: finetune}, {name: unsir}], metrics: [{name: accuracy}, {name: wall_seconds}],
     scenarios: [{params: {classes: [3]}, name: full_class},
                 {params: {fraction: 0.1}, name: random_samples}],
     model: {params: {width: 4}, name: resnet18}, dataset: {name: digits},
     seeds: {count: 2, start: 5}}
    """
    assert planned(**documents_of(text, source="text")[0]) == planned()
