"""Every file of examples/ is an experiment that this version can compute, as its header says."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from supreme_trainer.command.cli import cli

from supreme_core.api.load import load_experiments
from supreme_core.plan import plan, steps
from supreme_core.registry import catalog

ROOT = Path(__file__).parents[2]
PRESETS = ROOT / "examples" / "presets"
EXAMPLES = sorted((ROOT / "examples").rglob("*.yaml"))

every_example = pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)


def test_there_is_an_example():
    assert ROOT / "examples" / "digits.yaml" in EXAMPLES


def test_every_preset_is_listed_beside_it():
    listed = re.findall(r"\((\S+\.yaml)\)", (PRESETS / "README.md").read_text())
    assert sorted(listed) == sorted(path.name for path in PRESETS.glob("*.yaml"))
    assert len(listed) == 12


@every_example
def test_it_validates(path):
    done = CliRunner().invoke(cli, ["validate", str(path)], standalone_mode=False)

    assert done.exit_code == 0, done.output
    assert done.output.count(" is valid: ") == len(load_experiments(path))


@every_example
def test_it_plans_every_method_in_a_scenario(path):
    for each in load_experiments(path):
        order = plan(each.experiment, catalog.bundled(), namespace="local")

        planned = {step.method for step in steps(order.work, order.excluded, catalog.bundled())}
        assert {method.title for method in order.work.methods} <= planned


def test_the_demonstration_of_the_paper_is_one_file():
    """Two networks, five people and 0.1 % of the photos, ten seeds, the paper's six methods."""
    found = [each.experiment.spec for each in load_experiments(PRESETS / "pins.yaml")]
    cells = {
        (spec.model.name.partition("_")[0], scenario.title): spec
        for spec in found
        for scenario in spec.scenarios
    }
    people = [f"class-{number}" for number in (1, 10, 20, 30, 40)]
    networks = ("resnet18", "timm/vit")
    assert cells.keys() == {(n, what) for n in networks for what in (*people, "random-0.001")}
    for (_, scenario), spec in cells.items():
        assert spec.seeds.values() == list(range(260, 270))
        settings = {method.name: method.params for method in spec.methods}
        of_classes = scenario.startswith("class")
        paper = {"finetune", "bad_teacher", "random_labels", "unsir", "ssd", "lfssd"}
        assert settings.keys() == paper - (set() if of_classes else {"unsir"})
        assert settings["ssd"] == (
            {"alpha": 50, "lambda": 0.1} if of_classes else {"alpha": 10, "lambda": 1}
        )
        assert settings["lfssd"] == {"alpha": 10 if of_classes else 3.5}


@every_example
def test_the_command_of_its_header_runs_this_very_file(path):
    header = path.read_text().split("apiVersion")[0]

    commands = re.findall(r"^#\s+supreme (\S+) (\S+)", header, flags=re.MULTILINE)
    assert commands == [("run", path.relative_to(ROOT).as_posix())]


def test_defect_10_a_transformer_is_not_fine_tuned_at_the_rate_of_a_resnet():
    """The reference's rate for every network is the default here, but not for transformers."""
    default = catalog.bundled().get("method", "finetune").params["properties"]["lr"]["default"]
    assert default == 0.02
    found = [each.experiment for path in EXAMPLES for each in load_experiments(path)]
    transformers = [each for each in found if each.spec.model.name.startswith("timm/vit")]
    assert transformers
    for each in transformers:
        work = plan(each, catalog.bundled(), namespace="local").work
        (finetune,) = [method for method in work.methods if method.name == "finetune"]
        assert finetune.params["lr"] <= default / 10
