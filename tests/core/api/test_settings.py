"""`--set PATH=VALUE`: which field a path means, what its value is, and the line for each mistake.

That the commands take them is tests/trainer/test_run_options.py's.
"""

from contextlib import suppress

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from supreme_core.api.load import load_experiments, load_setting
from supreme_core.api.settings import with_settings
from supreme_core.errors import SpecError
from tests.documents import documents_of

TEXT = """\
apiVersion: supreme.dev/v1alpha1
kind: UnlearningExperiment
metadata: {name: small}
spec:
  seeds: {count: 3}
  dataset: {name: digits}
  model: {name: resnet18}
  training: {epochs: 8, validation:}
  scenarios: [{name: full_class, params: {classes: [3, 4]}}]
  methods:
  - {name: finetune, params: &same {epochs: 1}}
  - {name: finetune, label: longer, params: *same}
  - {name: ssd, label: s.v2}
"""
DOCUMENT = yaml.safe_load(TEXT)


def changed(*texts):
    """The spec with these settings."""
    return with_settings(documents_of(TEXT, source="text")[0], {}, [*map(load_setting, texts)])[0][
        "spec"
    ]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(TEXT)
    return path


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("training.epochs=2", lambda spec: spec["training"]["epochs"]),
        ("spec.training.epochs=2", lambda spec: spec["training"]["epochs"]),
        (" training.epochs = 2", lambda spec: spec["training"]["epochs"]),
        (
            "training.optimizer.params.lr=2",
            lambda spec: spec["training"]["optimizer"]["params"]["lr"],
        ),
        ("training.validation.fraction=2", lambda spec: spec["training"]["validation"]["fraction"]),
        ("methods[1].params.epochs=2", lambda spec: spec["methods"][1]["params"]["epochs"]),
        ("methods.longer.params.epochs=2", lambda spec: spec["methods"][1]["params"]["epochs"]),
        ("methods.finetune.params.a.b=2", lambda spec: spec["methods"][0]["params"]["a"]["b"]),
        (r"methods.s\.v2.params.alpha=2", lambda spec: spec["methods"][2]["params"]["alpha"]),
        (
            "scenarios.full_class.params.classes[1]=2",
            lambda s: s["scenarios"][0]["params"]["classes"][1],
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_path_names_a_field(text, found):
    assert found(changed(text)) == 2


def test_nothing_else_changes():
    spec = changed("methods.finetune.params.epochs=5")
    assert spec.pop("methods") == [
        {"name": "finetune", "params": {"epochs": 5}},
        {"name": "finetune", "label": "longer", "params": {"epochs": 1}},  # by an alias the same
        {"name": "ssd", "label": "s.v2"},
    ]
    assert spec == {name: part for name, part in DOCUMENT["spec"].items() if name != "methods"}


def test_of_two_values_the_later_one_counts():
    assert changed("training.epochs=1", "training.epochs=2")["training"]["epochs"] == 2


def test_a_list_that_was_set_has_entries_for_the_next():
    spec = changed("seeds.list=[1, 2]", "seeds.list[0]=7")
    assert spec["seeds"]["list"] == [7, 2]


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("2", 2),
        ("5e-4", 0.0005),
        ("true", True),
        ("'2'", "2"),
        ("[1, 2]", [1, 2]),
        ("{fraction: 0.1}", {"fraction": 0.1}),
        ("a=b", "a=b"),
        ("s3://bucket/prefix", "s3://bucket/prefix"),
        ("null", None),
        ("''", ""),
    ],
)
def test_a_value_is_yaml_as_in_a_file(value, meant):
    assert load_setting(f"x={value}").value == meant


@given(st.recursive(st.integers() | st.booleans() | st.text("abc:, ", max_size=5), st.lists))
def test_any_value_that_a_file_may_hold_may_be_set(value):
    text = yaml.safe_dump(value, default_flow_style=True)
    assert load_setting(f"x={text}").value == value


def test_the_name_is_a_field_too(file):
    (loaded,) = load_experiments(file, [load_setting("metadata.name=other")])
    assert loaded.experiment.metadata.name == "other"
    assert loaded.source == f"{file} with --set"


@pytest.mark.parametrize(
    ("texts", "line"),
    [
        (["training.epochs=010"], "spec.training.epochs is written 010"),
        (["scenarios.full_class.params.classes=[1:30]"], "spec.scenarios[0].params.classes[0] is"),
        (["methods.longer.params={a: {b: 010}}"], "spec.methods[1].params.a.b is written 010"),
        (["training.epochs=010", "training.epochs=8"], None),
    ],
)
def test_a_number_that_yaml_reads_as_another_is_refused_as_in_a_file(file, texts, line):
    settings = [*map(load_setting, texts)]
    if line is None:
        assert load_experiments(file, settings)[0].written["spec.training.epochs"] == "8"
        return
    with pytest.raises(SpecError) as refused:
        load_experiments(file, settings)
    assert str(refused.value).startswith(f"{file} with --set: {line}")


def test_the_rules_are_those_of_the_file_that_would_say_the_same(file, tmp_path):
    other = tmp_path / "other.yaml"
    other.write_text(TEXT.replace("epochs: 8", "epochs: 2"))
    (set_,), (written,) = (
        load_experiments(file, [load_setting("training.epochs=2")]),
        (load_experiments(other)),
    )
    assert set_.experiment == written.experiment


def test_every_document_of_a_file_gets_it(tmp_path):
    file = tmp_path / "two.yaml"
    file.write_text(f"{TEXT}---\n{TEXT.replace('small', 'large')}")
    found = load_experiments(file, [load_setting("training.epochs=2")])
    assert [each.experiment.spec.training.epochs for each in found] == [2, 2]


def test_a_document_that_it_does_not_fit_is_named(tmp_path):
    file = tmp_path / "two.yaml"
    file.write_text(f"{TEXT}---\n{TEXT.replace('small', 'large').replace('longer', 'l')}")
    with pytest.raises(SpecError) as refused:
        load_experiments(file, [load_setting("methods.longer.params.epochs=2")])
    assert str(refused.value) == (
        f"{file}, document 2: --set methods.longer.params.epochs: spec.methods has no"
        " entry 'longer'; there are: finetune, l, s.v2"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("trainig.epochs=2", "unknown field 'trainig' of spec; did you mean 'training'?"),
        ("training.epoch=2", "unknown field 'epoch' of spec.training; did you mean 'epochs'?"),
        ("metdata.name=x", "unknown field 'metdata' of spec; did you mean 'metadata'?"),
        ("metadata.nam=x", "unknown field 'nam' of metadata; did you mean 'name'?"),
        (
            "methods.finetun.params.lr=1",
            "spec.methods has no entry 'finetun'; did you mean 'finetune'?",
        ),
        (
            "methods.x.params.lr=1",
            "spec.methods has no entry 'x'; there are: finetune, longer, s.v2",
        ),
        ("methods[3].name=x", "spec.methods has 3 entries, counted from [0]"),
        (
            "methods[0].parms.lr=1",
            "unknown field 'parms' of spec.methods[0]; did you mean 'params'?",
        ),
        (
            "metrics[0].name=x",
            "spec.metrics is not given, so it has no entries to change; set it whole",
        ),
        (
            "metrics.mia.params.a=1",
            "spec.metrics is not given, so it has no entries to change; set it",
        ),
        ("seeds.list[0]=1", "spec.seeds.list is not given, so it has no entries to change"),
        ("training.epochs.x=1", "spec.training.epochs is 8, which is no mapping"),
        ("training[0]=1", 'spec.training is {"epochs": 8, "validation": null}, which is no list'),
        (
            "scenarios[0].params.classes.first=1",
            "spec.scenarios[0].params.classes has no entry 'first'; name one by its place, as [0]",
        ),
    ],
)
def test_a_path_that_leads_nowhere_is_refused_with_what_is_near(text, words):
    with pytest.raises(SpecError) as refused:
        changed(text)
    assert str(refused.value).startswith(f"--set {text.partition('=')[0]}: {words}")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("training.epochs", "--set is 'training.epochs'; it should be PATH=VALUE"),
        ("=2", "--set is '=2'; it should be PATH=VALUE"),
        ("training.epochs=", "--set training.epochs has no value; it should be PATH=VALUE"),
        ("training..epochs=2", "--set training..epochs names no field; it should be PATH=VALUE"),
        ("training.=2", "--set training. names no field"),
        (".training=2", "--set .training names no field"),
        ("methods[x]=2", "--set methods[x] names no field"),
        ("methods[-1]=2", "--set methods[-1] names no field"),
        ("[0]=2", "--set [0] names no field"),
        ("methods[0]x=2", "--set methods[0]x names no field"),
        ("x={a: 1, a: 2}", "--set x, line 1, column 8 is not YAML: the key 'a' is given twice"),
        ("x=[1", "--set x, line 1, column 3 is not YAML"),
        ("x=1\n---\n2", "--set x has 2 YAML documents for a value; give one"),
    ],
)
def test_what_is_no_setting_is_refused_with_the_form(text, words):
    with pytest.raises(SpecError) as refused:
        load_setting(text)
    assert str(refused.value).startswith(words)


@given(st.text(max_size=20))
def test_any_text_is_a_setting_or_a_line_that_says_why_not(text):
    with suppress(SpecError):
        assert isinstance(with_settings(DOCUMENT, {}, [load_setting(text)])[0], dict)
