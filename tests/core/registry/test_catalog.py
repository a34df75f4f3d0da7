"""Names and settings in the catalogue, without importing a component.

Each row of VERDICTS is judged twice: by the catalogue's JSON schemas and by the components' own
pydantic models. They must agree, or `supreme validate` promises what a trainer then refuses.
"""

import json
import math
import subprocess
import sys
from datetime import date
from typing import Literal

import pytest
from pydantic import Field

from supreme_core import registry
from supreme_core.api.load import load_experiments
from supreme_core.api.model import parse
from supreme_core.api.v1alpha1 import Component, ExperimentSpec
from supreme_core.errors import SpecError
from supreme_core.registry import NoFacts, NoParams, Params, Registry, catalog
from supreme_core.registry.catalog import Catalog, check_components

BUNDLED = catalog.bundled()

things: Registry = Registry("thing", NoFacts, package="supreme_core.api")


class ThingParams(Params):
    """One field for each rule that a setting can have."""

    name: str = Field(description="Needed.")
    colour: Literal["red", "green"] = Field(description="Needed, too.")
    count: int = Field(1, ge=1, le=9, multiple_of=2, description="A number of things.")
    share: float = Field(0.5, gt=0, lt=1, description="A share of things.")
    parts: list[int | str] = Field([], min_length=0, max_length=2, description="Parts.")
    heavy: bool = Field(False, description="Weight.")
    note: str | None = Field(None, max_length=5, description="A note, or none.")


@things()
def thing(params: ThingParams) -> None:
    """A component that nobody needs."""


@things()
def nothing(params: NoParams) -> None:
    """A component without settings."""


def made(**params):
    """Settings of a thing, its needed ones given."""
    return {"name": "a", "colour": "red", **params}


THINGS = Catalog.read(
    {
        "schemaVersion": 1,
        "components": {
            "thing": {entry.name: entry.listed.describe() for entry in things.entries()}
        },
    }
)

GOOD = {
    "needed ones": made(),
    "all": made(count=8, share=0.1, parts=[1, "b"], heavy=True, note="note"),
    "a whole number as a share": made(share=0.0001, count=2),
    "no note": made(note=None),
    "a large exponent": made(share=1e-300),
}

BAD = {
    "unknown field": (made(colours="red"), "x.params.colours: unknown field 'colours'; did you"),
    "nothing near": (
        made(zzz=1),
        "x.params.zzz: unknown field 'zzz'; allowed: colour, count, heavy, name, note, parts,"
        " share",
    ),
    "missing": ({"name": "a"}, "x.params.colour is required and was not given"),
    "text for a number": (made(count="2"), 'x.params.count is "2"; it should be of type integer'),
    "whole float": (made(count=2.0), "x.params.count is 2.0; it should be of type integer"),
    "truth for a number": (made(count=True), "x.params.count is true; it should be of type"),
    "number for a truth": (made(heavy=1), "x.params.heavy is 1; it should be of type boolean"),
    "number for a text": (made(name=3), "x.params.name is 3; it should be of type string"),
    "null": (made(share=None), "x.params.share is null; it should be of type number"),
    "NaN": (made(share=math.nan), "x.params.share is NaN; it should be of type number"),
    "infinity": (made(share=math.inf), "x.params.share is Infinity; it should be of type number"),
    "no float": (made(share=10**400), "x.params.share is 1000000"),
    "too small": (made(count=0), "x.params.count is 0; it should be at least 1"),
    "too large": (made(count=10), "x.params.count is 10; it should be at most 9"),
    "at the lower end": (made(share=0), "x.params.share is 0; it should be greater than 0"),
    "at the upper end": (made(share=1.0), "x.params.share is 1.0; it should be less than 1"),
    "no multiple": (made(count=3), "x.params.count is 3; it should be a multiple of 2"),
    "enum": (
        made(colour="gren"),
        "x.params.colour is \"gren\"; allowed: red, green; did you mean 'green'?",
    ),
    "too many": (made(parts=[1, 2, 3]), "x.params.parts is [1, 2, 3]; it should have at most 2"),
    "a date as a key": (
        made(parts=[{date(2020, 1, 1): 3}]),
        "x.params.parts[0] is {datetime.date(2020, 1, 1): 3}; ",
    ),
    "wrong part": (made(parts=["a", True]), "x.params.parts[1] is true; "),
    "float as a part": (made(parts=[1.0]), "x.params.parts[0] is 1.0; "),
    "no list": (made(parts="ab"), 'x.params.parts is "ab"; it should be of type array'),
    "long note": (made(note="too long"), 'x.params.note is "too long"; '),
}

VERDICTS = [
    ("optimizer", "sgd", {}, True),
    ("optimizer", "sgd", {"lr": 1}, True),
    ("optimizer", "sgd", {"lr": 5e-4, "nesterov": True}, True),
    ("optimizer", "sgd", {"lr": "5e-4"}, False),
    ("optimizer", "sgd", {"lr": 0}, False),
    ("optimizer", "sgd", {"momentum": 1}, False),
    ("optimizer", "sgd", {"weight_decay": 0.1}, False),
    ("optimizer", "adamw", {"beta1": -0.1}, False),
    ("schedule", "multistep", {"milestones": [1, 2]}, True),
    ("schedule", "multistep", {"milestones": []}, True),
    ("schedule", "multistep", {}, False),
    ("schedule", "multistep", {"milestones": [0]}, False),
    ("schedule", "multistep", {"milestones": [1.5]}, False),
    ("schedule", "multistep", {"milestones": [1] * 101}, False),
    ("schedule", "cosine", {"epochs": 3}, False),
    ("dataset", "digits", {"size": 16}, True),
    ("dataset", "digits", {"size": 12}, False),
    ("dataset", "digits", {"size": 16.0}, False),
    ("dataset", "image_folder", {"path": "some/where"}, True),
    ("dataset", "image_folder", {"path": "some/where", "mode": "gray"}, False),
    ("dataset", "image_folder", {}, False),
    ("dataset", "cifar20", {"source": "some/where"}, True),
    ("dataset", "cifar10", {"size": 32}, False),
    ("dataset", "pins", {"size": 224}, True),
    ("dataset", "pins", {"size": 0}, False),
    ("scenario", "subclass", {"classes": [69, "rocket"]}, True),
    ("scenario", "subclass", {}, False),
    ("augmentation", "rotation", {"degrees": 15, "interpolation": "bilinear"}, True),
    ("augmentation", "rotation", {"degrees": 0}, False),
    ("scenario", "full_class", {"classes": [3, "cat"]}, True),
    ("scenario", "full_class", {"classes": []}, False),
    ("scenario", "full_class", {"classes": 3}, False),
    ("scenario", "full_class", {"classes": [None]}, False),
    ("scenario", "random_samples", {"fraction": 0.5, "draw": "fixed"}, True),
    ("scenario", "random_samples", {"fraction": 1}, False),
    ("scenario", "random_samples", {"fraction": 0.5, "draw": "per-seed"}, False),
    ("method", "finetune", {"epochs": 0}, True),
    ("method", "finetune", {"epochs": -1}, False),
    ("metric", "mia_entropy", {}, True),
    ("metric", "accuracy", {"sets": ["forget"]}, False),
]
"""(kind, name, settings, whether they are good), of components that users have."""


def problems(params, *, name="thing"):
    return THINGS.problems("thing", Component(name=name, params=params), at="x")


def own_verdict(kind, name, params):
    """Return whether the component's own model accepts the settings."""
    registries = {each.kind: each for each in (*registry.REGISTRIES, things)}
    try:
        registries[kind].resolve(Component(name=name, params=params), at="x")
    except SpecError:
        return False
    return True


class TestSettings:
    @pytest.mark.parametrize("params", GOOD.values(), ids=GOOD)
    def test_good_settings_have_no_problems(self, params):
        assert problems(params) == []
        assert own_verdict("thing", "thing", params)

    @pytest.mark.parametrize(("params", "message"), BAD.values(), ids=BAD)
    def test_a_bad_setting_is_one_line_that_names_the_field(self, params, message):
        (line,) = problems(params)
        assert line.startswith(message)
        assert "\n" not in line
        assert not own_verdict("thing", "thing", params)

    def test_all_unknown_and_all_missing_fields_are_told(self):
        assert sorted(problems({"nam": "a", "heavi": True})) == [
            "x.params.colour is required and was not given",
            "x.params.heavi: unknown field 'heavi'; did you mean 'heavy'?",
            "x.params.nam: unknown field 'nam'; did you mean 'name'?",
            "x.params.name is required and was not given",
        ]

    def test_a_component_without_settings_says_so(self):
        assert problems({"a": 1}, name="nothing") == [
            "x.params.a: unknown field 'a'; it has no settings"
        ]

    @pytest.mark.parametrize(("kind", "name", "params", "good"), VERDICTS)
    def test_the_catalogue_judges_as_the_component_does(self, kind, name, params, good):
        found = BUNDLED.problems(kind, Component(name=name, params=params), at="x")
        assert (found == []) == good
        assert own_verdict(kind, name, params) == good


class TestNames:
    def test_an_unknown_component_is_told_with_the_nearest(self):
        assert BUNDLED.problems("method", Component(name="finetuned"), at="spec.methods[0]") == [
            "spec.methods[0].name: unknown method 'finetuned'; did you mean 'finetune'?"
        ]

    def test_a_component_within_the_settings_of_another_is_checked_too(self):
        requests = [
            {"name": "full_clas"},
            {"name": "full_class", "params": {"classes": [1]}},
            {"name": "random_samples", "params": {"fraction": 2}},
        ]
        sequential = Component(name="sequential", params={"requests": requests})
        assert BUNDLED.problems("scenario", sequential, at="spec.scenarios[0]") == [
            "spec.scenarios[0].params.requests[0].name: unknown scenario 'full_clas'; did you mean"
            " 'full_class'?",
            "spec.scenarios[0].params.requests[2].params.fraction is 2; it should be less than 1",
        ]

    def test_every_registered_component_is_listed_with_its_facts(self):
        for each in registry.REGISTRIES:
            for entry in each.entries():
                listed = BUNDLED.components[each.kind][entry.name]
                assert json.loads(json.dumps(entry.listed.describe())) == {
                    "version": listed.version,
                    "summary": listed.summary,
                    "facts": listed.facts,
                    "params": listed.params,
                }

    def test_a_catalogue_survives_its_file(self):
        again = json.loads(json.dumps(catalog.document(BUNDLED)))
        assert Catalog.read(again) == BUNDLED

    def test_a_catalogue_of_another_version_is_not_read(self):
        with pytest.raises(AssertionError, match="another version"):
            Catalog.read({"schemaVersion": 2, "components": {}})


class TestWholeSpec:
    def test_every_mistake_is_told_under_its_field(self):
        spec = parse(
            ExperimentSpec,
            {
                "dataset": {"name": "digit"},
                "model": {"name": "resnet18", "params": {"width": 0}},
                "training": {
                    "optimizer": {"name": "sgd", "params": {"lr": -1}},
                    "schedule": {"name": "multistep"},
                    "augmentation": [{"name": "random_crop"}, {"name": "horizontal_flop"}],
                },
                "scenarios": [{"name": "full_class", "params": {"classes": [3], "class": 3}}],
                "methods": [{"name": "ssd"}, {"name": "finetune", "params": {"epochs": "5"}}],
                "metrics": [{"name": "accuracies"}],
            },
        )
        with pytest.raises(SpecError) as error:
            check_components(spec, BUNDLED)
        assert str(error.value).splitlines() == [
            "spec.dataset.name: unknown dataset 'digit'; did you mean 'digits'?",
            "spec.model.params.width is 0; it should be at least 1",
            "spec.training.optimizer.params.lr is -1; it should be greater than 0",
            "spec.training.schedule.params.milestones is required and was not given",
            "spec.training.augmentation[1].name: unknown augmentation 'horizontal_flop'; did you"
            " mean 'horizontal_flip'?",
            "spec.scenarios[0].params.class: unknown field 'class'; did you mean 'classes'?",
            'spec.methods[1].params.epochs is "5"; it should be of type integer',
            "spec.metrics[0].name: unknown metric 'accuracies'; did you mean 'accuracy'?",
        ]


MISREAD = {
    "010": "the number 8; write 8, or '010' in quotes",
    "1_0": "the number 10; write 10, or '1_0' in quotes",
    "1:30": "the number 90; write 90, or '1:30' in quotes",
    "0x10": "the number 16; write 16, or '0x10' in quotes",
    "1e1": "the number 10.0; write '1e1' in quotes",
    "3.0": "the number 3.0; write '3.0' in quotes",
    "yes": "the truth value true; write 'yes' in quotes",
    "null": "no value; write 'null' in quotes",
    "2020-01-01": "the date 2020-01-01; write '2020-01-01' in quotes",
}
CHOOSING = {
    "{name: full_class, params: {classes: [a, %s]}}": "params.classes[1]",
    "{name: backdoor, params: {target: %s, fraction: 0.1}}": "params.target",
    "{name: identity, params: {identities: [%s]}}": "params.identities[0]",
    "{name: sequential, params: {requests: [{name: random_samples, params: {fraction: 0.1}},"
    " {name: subclass, params: {classes: [%s]}}]}}": "params.requests[1].params.classes[0]",
}


class TestClassesInYaml:
    def problems(self, tmp_path, scenario):
        path = tmp_path / "file.yaml"
        path.write_text(
            "apiVersion: supreme.dev/v1alpha1\nkind: UnlearningExperiment\nmetadata: {name: a}\n"
            "spec: {dataset: {name: digits}, model: {name: resnet18}, methods: [{name: finetune}],"
            f" scenarios: [{scenario}]}}"
        )
        try:
            (loaded,) = load_experiments(path)
            check_components(loaded.experiment.spec, BUNDLED, loaded.written)
        except SpecError as error:
            return str(error).replace(f"{path}: ", "")
        return ""

    @pytest.mark.parametrize(("text", "reading"), MISREAD.items(), ids=list(MISREAD))
    def test_what_is_not_read_as_it_is_written_is_refused(self, tmp_path, text, reading):
        for scenario, at in CHOOSING.items():
            message = f"spec.scenarios[0].{at} is written {text}, which YAML reads as {reading}"
            assert self.problems(tmp_path, scenario % text) == message

    @pytest.mark.parametrize("text", ["10", "-1", "0", "rose", *(f"'{each}'" for each in MISREAD)])
    def test_plain_numbers_and_texts_are_taken(self, tmp_path, text):
        assert [self.problems(tmp_path, each % text) for each in CHOOSING] == [""] * len(CHOOSING)

    def test_an_alias_and_a_merged_mapping_are_looked_through(self, tmp_path):
        merged = (
            "{name: full_class, label: a, params: &a {classes: [0x1]}},"
            " {name: full_class, label: b, params: *a},"
            " {name: full_class, label: c, params: {<<: *a}}"
        )
        found = self.problems(tmp_path, merged).splitlines()
        assert found == [
            f"spec.scenarios[{place}].params.classes[0] is written 0x1, which YAML reads as the"
            " number 1; write 1, or '0x1' in quotes"
            for place in range(3)
        ]


def test_reading_and_checking_need_neither_torch_nor_a_component():
    """A process of its own, because this one has imported everything."""
    script = (
        "import sys; from supreme_core.registry import catalog;"
        " from supreme_core.api.v1alpha1 import"
        " Component; catalog.bundled().problems('method', Component(name='ssd'), at='x');"
        "print('torch' in sys.modules, 'supreme_core.components.methods' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (found.stdout, found.stderr) == ("False False\n", "")
