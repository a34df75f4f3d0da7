"""Registration by decorator, discovery, and what every component of every kind must have.

A plug-in is a package of its own here, installed for one fresh process by a folder on its path.
"""

import inspect
import os
import subprocess
from pathlib import Path

import pytest
from pydantic import Field, ValidationError

from supreme_core import registry
from supreme_core.api.v1alpha1 import Component
from supreme_core.errors import SpecError
from supreme_core.registry import REGISTRIES, NoFacts, NoParams, Params, Registry
from tests import warm

ROOT = Path(__file__).parents[3]
ENTRIES = [entry for each in REGISTRIES for entry in each.entries()]
every_entry = pytest.mark.parametrize(
    "entry", ENTRIES, ids=[f"{entry.kind}-{entry.name}" for entry in ENTRIES]
)


class SomeParams(Params):
    number: int = Field(1, ge=1, description="A number.")


def things():
    """A registry of nobody else's, whose package has no registrations for it."""
    return Registry("thing", NoFacts, package="supreme_core.api")


def defined_in(module, *, name="twin"):
    def function(params: NoParams) -> None:
        """Does nothing."""

    function.__module__, function.__name__ = module, name
    return function


class TestRegistration:
    def test_a_function_is_registered_under_its_name_with_what_it_says(self):
        mine = things()

        @mine(version=3)
        def doubled(value: int, params: SomeParams) -> int:
            """Twice a number.

            More words, which are no summary.
            """
            return 2 * value * params.number

        (entry,) = mine.entries()
        assert (entry.kind, entry.name, entry.version) == ("thing", "doubled", 3)
        assert entry.summary == "Twice a number."
        assert entry.params is SomeParams
        assert entry.function is doubled

    def test_a_chosen_component_is_called_with_its_settings(self):
        mine = things()

        @mine()
        def doubled(value: int, params: SomeParams) -> int:
            """Twice a number, so many times."""
            return 2 * value * params.number

        chosen = mine.resolve(Component(name="doubled", params={"number": 5}), at="spec.thing")
        assert chosen(3) == 30
        assert chosen.identity() == {"name": "doubled", "version": 1, "params": {"number": 5}}

    def test_annotations_may_be_strings(self):
        mine = things()

        @mine()
        def lazy(params: "SomeParams") -> None:
            """Written with annotations from the future."""

        assert mine.get("lazy").params is SomeParams

    def test_a_second_registration_of_a_name_names_both_modules(self):
        mine = things()
        mine()(defined_in("supreme_core.components.methods.twin"))
        with pytest.raises(ValueError, match="thing 'twin' is registered twice") as error:
            mine()(defined_in("plugin.twin"))
        assert str(error.value) == (
            "thing 'twin' is registered twice: by supreme_core.components.methods.twin and by"
            " plugin.twin"
        )

    @pytest.mark.parametrize(
        "function",
        [lambda: None, lambda params: None, int.__add__],
        ids=["no argument", "no annotation", "not of Python"],
    )
    def test_the_last_argument_must_have_a_params_type(self, function):
        with pytest.raises(TypeError, match=r"the last argument of .* must be of a Params type"):
            things()()(function)

    def test_a_type_that_is_no_params_type_is_refused(self):
        def wrong(params: dict) -> None:
            """Takes anything."""

        with pytest.raises(TypeError, match="the last argument of wrong must be of a Params type"):
            things()()(wrong)

    def test_a_fact_that_the_kind_does_not_know_is_refused(self):
        with pytest.raises(TypeError, match="colour"):
            registry.method(paper="arXiv:0000.00000", colour="blue")(defined_in("nowhere"))
        assert "twin" not in {entry.name for entry in registry.method.entries()}

    def test_a_default_for_transformers_of_no_setting_is_refused(self):
        with pytest.raises(TypeError, match="twin has no setting 'rate', as for_transformers says"):
            registry.method(paper="arXiv:0000.00000", for_transformers={"rate": 1})(
                defined_in("nowhere")
            )


class TestLookUp:
    @pytest.mark.parametrize(
        ("kind", "name", "message"),
        [
            ("method", "finetun", "unknown method 'finetun'; did you mean 'finetune'?"),
            ("metric", "acuracy", "unknown metric 'acuracy'; did you mean 'accuracy'?"),
        ],
    )
    def test_an_unknown_name_is_refused_with_the_nearest(self, kind, name, message):
        with pytest.raises(SpecError) as error:
            getattr(registry, kind).get(name)
        assert str(error.value) == message

    @pytest.mark.parametrize(
        ("names", "known"),
        [
            (["second", "first"], "first, second"),
            (
                [f"a{number}" for number in range(10, 24)],
                "a10, a11, a12, a13, a14, a15, a16, a17, a18, a19, a20, a21 and 2 more",
            ),
        ],
    )
    def test_where_nothing_is_near_known_names_are_listed(self, names, known):
        mine = things()
        for name in names:
            mine()(defined_in("somewhere", name=name))
        with pytest.raises(SpecError) as error:
            mine.get("xyz")
        assert str(error.value) == f"unknown thing 'xyz'; known: {known}"

    def test_settings_are_refused_by_their_field(self):
        asked = Component(name="finetune", params={"epochs": -1, "learningRate": 0.1})
        with pytest.raises(SpecError) as error:
            registry.method.resolve(asked, at="spec.methods[2]")
        assert str(error.value).splitlines() == [
            "spec.methods[2].params.epochs is -1; it should be greater than or equal to 0",
            "spec.methods[2].params.learningRate: unknown field 'learningRate'; allowed:"
            " batchSize, epochs, lr, momentum, weightDecay",
        ]

    def test_settings_by_their_names_in_python_are_refused(self):
        asked = Component(name="finetune", params={"batch_size": 8})
        with pytest.raises(SpecError, match="did you mean 'batchSize'"):
            registry.method.resolve(asked, at="spec.methods[0]")

    def test_entries_stand_in_alphabetical_order(self):
        for each in REGISTRIES:
            listed = [entry.name for entry in each.entries()]
            assert listed == sorted(listed)

    def test_every_kind_has_components(self):
        assert {entry.kind for entry in ENTRIES} == {each.kind for each in REGISTRIES}


class TestEveryComponent:
    @every_entry
    def test_it_has_a_summary_of_one_sentence(self, entry):
        assert entry.summary.endswith(".")
        assert len(entry.summary) <= 120
        assert "|" not in entry.summary  # tables of Markdown show it

    @every_entry
    def test_where_it_has_a_source_it_is_given_and_its_docstring_tells_more(self, entry):
        if hasattr(entry.facts, "source"):
            _, blank, *story = inspect.getdoc(entry.function).splitlines()
            assert blank == ""
            assert story
            assert entry.facts.source

    @every_entry
    def test_each_setting_has_a_description(self, entry):
        for name, field in entry.params.model_fields.items():
            assert field.description, name
            assert field.description.endswith("."), name

    @every_entry
    def test_it_stands_in_the_file_of_its_name(self, entry):
        assert entry.module.rpartition(".")[2] == entry.name

    @every_entry
    def test_it_needs_no_settings_but_those_that_its_schema_lists_as_required(self, entry):
        needed = entry.listed.describe()["params"].get("required", [])
        try:
            made = entry.params()
        except ValidationError as error:
            missing = [(detail["type"], detail["loc"]) for detail in error.errors()]
            assert missing == [("missing", (name,)) for name in needed]
        else:
            assert needed == []
            assert entry.params.model_validate(made.to_document(), by_name=False) == made

    @every_entry
    def test_an_unknown_setting_is_refused(self, entry):
        with pytest.raises(ValidationError, match="extra_forbidden"):
            entry.params.model_validate({"colour": "blue"})

    @every_entry
    def test_its_description_is_plain_json(self, entry):
        described = entry.listed.describe()
        assert described.keys() == {"version", "summary", "facts", "params"}
        assert described["params"]["additionalProperties"] is False


PLUGIN = '''
"""Somebody else's method, in one file."""

import torch
from pydantic import Field

from supreme_core.registry import Params, method


class ScaleParams(Params):
    factor: float = Field(0.5, ge=0, le=1, description="What each weight is multiplied by.")


@method(paper="arXiv:0000.00000", forgets=("samples",))
def scale_weights(task, params: ScaleParams) -> None:
    """Makes all weights smaller."""
    with torch.no_grad():
        for parameter in task.model.parameters():
            parameter.mul_(params.factor)
'''

USE = """
from supreme_core import registry
from supreme_core.registry import catalog
from supreme_core.api.model import parse
from supreme_core.api.v1alpha1 import Component, UnlearningExperiment
from supreme_core.plan import exclusions, plan
from tests.builders import tiny_network, tiny_task
from tests.documents import documents_of

assert registry.plugins_are_there()
assert "scale_weights" in [entry.name for entry in registry.method.entries()]
assert "scale_weights" not in catalog.bundled().components["method"]

live = catalog.live()
text = '''
apiVersion: supreme.dev/v1alpha1
kind: UnlearningExperiment
metadata: {name: with-a-plugin}
spec:
  dataset: {name: digits}
  model: {name: resnet18}
  scenarios:
  - {name: random_samples, params: {fraction: 0.1}}
  - {name: full_class, params: {classes: [3]}}
  methods: [{name: scale_weights, params: {factor: 0.25}}]
'''
experiment = parse(UnlearningExperiment, *documents_of(text, source="plug-in"))
order = plan(experiment, live, namespace="local")
assert [pair.scenario for pair in order.excluded] == ["full_class"]

task = tiny_task(forget_classes=())
registry.method.resolve(order.work.methods[0], at="spec.methods[0]")(task)
assert (task.model[0].weight == 0.25 * tiny_network(3)[0].weight).all()
print("used", registry.method.get("scale_weights").summary)
"""


def test_a_plug_in_behind_an_entry_point_is_listed_planned_and_used(tmp_path):
    """In a process of its own, as only a fresh one looks for plug-ins anew."""
    (tmp_path / "scale_plugin.py").write_text(PLUGIN)
    facts = tmp_path / "scale_plugin-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: scale-plugin\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(
        "[supreme_bench.methods]\nscale_weights = scale_plugin\n"
    )

    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    finished = subprocess.run(
        [warm.python(), "-c", USE],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert finished.stderr == ""
    assert finished.stdout == "used Makes all weights smaller.\n"
