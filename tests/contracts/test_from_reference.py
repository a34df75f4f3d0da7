"""Names of supreme-unlearning beside ours: the table leaves out none of theirs, and ours exist.

theirs  methods, scenarios, data sets, models and metrics as `project_config` and the registry of
        0.1.4 and 0.1.5 list them, and every option of their two commands and of run_local.sh
ours    components and settings of the catalogue, fields of the schema, commands and options
"""

import re

import pytest
from supreme_trainer.command.cli import cli

from supreme_core import registry
from supreme_core.importing.metrics import SECONDS
from supreme_core.registry import catalog
from tools.generate import from_reference
from tools.generate.api_reference import fields_table

METHODS = """original retrain finetune bad_teacher random_labeling unsir ssd lfssd ssd_det lfssd_det
assd neg_grad scrub jit"""
METRICS = """accuracy loss zrf jsdiv membership_inference_attack activation_distance
layerwise_distance completeness time resource_consumption"""
OPTIONS = """-net -warm -lr -wandb_logging_flag -tensorboard_logging_flag -csv_logging_flag
-logging_root_dir -export_class_distribution_info_flag -use_process_tracker -distributed_strategy
-deepspeed_stage -precision -dataset -classes -batch_size -training_seed -unlearning_seed
-unlearning_context -include_gpus_in_path -type_of_unlearning_strategy -superclasses -subclasses
-forget_class_name -forget_subclass_name -forget_perc -weight_path -method -epochs -seed
-eval_metrics -force_re_evaluation -track_evaluation_resources -force_reunlearning
-skip_evaluation_if_logged -cleanup_checkpoints_after_eval --gpu --strategies --datasets --models
--methods --metrics --training-seeds --forget-percs --fullclass-classes --subclass-classes
--force-retraining --precision --wandb-prefix --unlearning-seeds --evaluation-seeds"""
SCRIPTS = {"--precision": "-precision"}
"""Options of run_local.sh that it hands on by the same name."""


@pytest.mark.parametrize(
    ("theirs", "table"),
    [
        (METHODS, from_reference.METHODS),
        ("fullclass subclass random_", from_reference.SCENARIOS),
        ("Cifar10 Cifar20 Cifar100 PinsFaceRecognition Caltech101", from_reference.DATASETS),
        ("ResNet18 ViT", from_reference.MODELS),
        (OPTIONS, from_reference.OPTIONS),
    ],
    ids=["methods", "scenarios", "datasets", "models", "options"],
)
def test_each_name_of_theirs_is_there_once(theirs, table):
    named = [each.old for each in table]
    assert len(named) == len({*named})
    assert {*named} == {SCRIPTS.get(name, name) for name in theirs.split()}


def test_each_metric_of_theirs_is_there():
    of_each_metric = {SECONDS}
    assert set(from_reference.OURS_OF_METRICS) == {*METRICS.split(), *of_each_metric}


@pytest.mark.parametrize(
    ("kind", "ours"),
    [
        ("method", [each.new for each in from_reference.METHODS]),
        ("scenario", [each.new for each in from_reference.SCENARIOS]),
        ("dataset", [each.new for each in from_reference.DATASETS]),
        ("model", [each.new.partition("/")[0] for each in from_reference.MODELS]),
        ("metric", from_reference.OURS_OF_METRICS.values()),
    ],
)
def test_each_component_of_ours_exists(kind, ours):
    assert {name for name in ours if name} <= {e.name for e in getattr(registry, kind).entries()}


def test_each_setting_of_ours_exists_and_is_of_the_method_that_theirs_is_of():
    settings = catalog.bundled().components["method"]
    for each in from_reference.SETTINGS:
        method, _, setting = each.new.partition(".")
        assert each.old.partition(":")[0] == method
        assert setting in settings[method].params["properties"], each.new


def test_each_option_of_ours_is_a_field_a_command_or_an_option():
    fields = set(re.findall(r"^\| `([^`]+)` \|", fields_table("spec"), re.MULTILINE))
    run = {option for each in cli.commands["run"].params for option in each.opts}
    for each in from_reference.OPTIONS:
        if each.new.startswith("spec."):
            assert each.new in fields, each.new
        elif each.new.startswith("supreme "):
            assert each.new.split()[1] in cli.commands
        elif each.new:
            assert each.new in run | {"metadata.name"}


def test_each_decorator_of_ours_exists():
    for each in from_reference.REGISTRATIONS:
        assert callable(getattr(registry, each.new.removeprefix("@registry.")))
