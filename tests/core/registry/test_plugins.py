"""Components of a single file: registered, told apart by their bytes, and every mistake one line.

That the command and its processes use them is in trainer/test_plugins.py.
"""

import hashlib
import os
import subprocess
import sys
from importlib.metadata import EntryPoints
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from supreme_core import registry
from supreme_core.api.model import parse
from supreme_core.api.names import PLUGINS_VARIABLE
from supreme_core.api.v1alpha1 import Component
from supreme_core.errors import SpecError
from supreme_core.registry import catalog, plugins
from supreme_core.registry.catalog import Catalog
from tests import extending
from tests.builders import tiny_task

ROOT = Path(__file__).parents[3]

METRIC = '''
from pydantic import Field

from supreme_core.registry import Params, metric


class Settings(Params):
    power: int = Field(2, description="An exponent.")


@metric(unit="fraction", group="accuracy", sets=("test",), default=False)
def mine(evaluation, params: "Settings"):
    """Somebody's own number."""
    return 0.5
'''

MISTAKES = {
    "syntax": ("x = 1\ndef broken(:\n", ", line 2: invalid syntax"),
    "null byte": ("x = 1\0", ": source code string cannot contain null bytes"),
    "exception": (
        "\nx = {}['no such key']\n",
        ", line 2: KeyError: 'no such key'",
    ),
    "exit": ("raise SystemExit('bye')", ", line 1: SystemExit: bye"),
    "several lines": (
        "raise ValueError('one\\ntwo\\x1b[31m')",
        ", line 1: ValueError: one two?[31m",
    ),
    "no module": (
        "import nowhere_to_be_found",
        ", line 1: ModuleNotFoundError: No module named 'nowhere_to_be_found'",
    ),
    "nothing": (
        "x = 1",
        " registers nothing; decorate a function, as with supreme_core.registry.method",
    ),
    "no settings": (
        "from supreme_core.registry import metric\n\n\n@metric(unit='x', group='cost')\n"
        "def bare():\n    pass\n",
        ", line 4: TypeError: the last argument of bare must be of a Params type",
    ),
    "name of a built-in": (
        METRIC.replace("def mine", "def accuracy"),
        ", line 11: metric 'accuracy' is there already, in"
        " supreme_core.components.metrics.accuracy; take another name",
    ),
}


@pytest.fixture(autouse=True)
def restored(monkeypatch):
    """Remove every component that a test registers after the test."""
    for each in registry.REGISTRIES:
        each.discover()  # once and for all: modules are not imported a second time
        monkeypatch.setattr(each, "_entries", dict(each._entries))
    before = dict(registry.PLUGIN_FILES)
    yield
    registry.PLUGIN_FILES.clear()
    registry.PLUGIN_FILES.update(before)


def file(folder, source, name="my_metric.py"):
    path = folder / name
    path.write_text(source)
    return path


def chosen(**params):
    return registry.metric.resolve(Component(name="mine", params=params), at="spec.metrics[0]")


def test_a_file_registers_what_it_decorates(tmp_path):
    plugins.load([file(tmp_path, METRIC)])

    assert registry.metric.get("mine").summary == "Somebody's own number."
    assert chosen(power=3).params.power == 3
    assert registry.plugins_are_there()


def test_its_bytes_are_part_of_what_a_component_means(tmp_path):
    path = file(tmp_path, METRIC)
    plugins.load([path])

    assert chosen().identity() == {
        "name": "mine",
        "version": 1,
        "params": {"power": 2},
        "plugin": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def test_a_component_of_a_package_means_what_it_meant_before():
    accuracy = registry.metric.resolve(Component(name="accuracy"), at="")
    assert accuracy.identity() == {"name": "accuracy", "version": 1, "params": {}}


def test_the_method_to_copy_is_one_that_is_not_there_and_works(tmp_path):
    source = extending.sources()["smoothed_ascent.py"]
    plugins.load([file(tmp_path, source)])  # refuses the name of a built-in
    entry = registry.method.get("smoothed_ascent")

    def after(**settings):
        entry.function(task := tiny_task(), parse(entry.params, settings))
        batch = task.forget.batch(torch.arange(len(task.forget)))
        with torch.no_grad():
            return functional.cross_entropy(task.model(batch.images), batch.labels).item()

    assert after(epochs=0) == after(epochs=0, smoothing=0.5)
    losses = [after(epochs=0), *(after(epochs=3, lr=0.1, smoothing=s) for s in (0.5, 0, -0.5))]
    assert losses == sorted(set(losses))
    assert "momentum" not in entry.params().identity()  # LATER, as the page says
    assert entry.params(momentum=0.9).identity()["momentum"] == 0.9


def test_where_a_file_lies_and_what_it_is_called_means_nothing(tmp_path):
    plugins.load([file(tmp_path, METRIC)])
    here = chosen().identity()
    registry.metric._entries.pop("mine")

    plugins.load([file(tmp_path, METRIC, "renamed.py")])

    assert chosen().identity() == here


def test_the_same_file_twice_is_once(tmp_path):
    path = file(tmp_path, METRIC)
    plugins.load([path, path])
    plugins.load([path])
    assert registry.metric.get("mine").module.endswith("my_metric")


def test_two_files_must_not_take_the_same_name(tmp_path):
    one, other = file(tmp_path, METRIC), file(tmp_path, METRIC + "\n", "other.py")
    plugins.load([one])
    with pytest.raises(SpecError, match=r"other.py, line 11: metric 'mine' is there already, in"):
        plugins.load([other])


@pytest.mark.parametrize(("source", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_that_names_the_file_and_where(tmp_path, source, message):
    path = file(tmp_path, source)
    with pytest.raises(SpecError) as error:
        plugins.load([path])
    assert str(error.value) == f"plug-in {path}{message}"


def test_a_file_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(SpecError) as error:
        plugins.load([tmp_path / "none.py"])
    assert str(error.value) == (
        f"cannot read the plug-in {tmp_path}/none.py: No such file or directory"
    )


def test_the_catalogue_lists_it_with_its_digest(tmp_path):
    plugins.load([file(tmp_path, METRIC)])
    described = {"metric": {"mine": registry.metric.get("mine").listed.describe()}}

    read = Catalog.read({"schemaVersion": catalog.SCHEMA_VERSION, "components": described})

    assert read.get("metric", "mine").plugin == hashlib.sha256(METRIC.encode()).hexdigest()
    assert catalog.document(read)["components"] == described
    assert "plugin" not in registry.metric.get("accuracy").listed.describe()


def test_the_variable_names_files_for_processes_in_other_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = plugins.as_variable([Path("one.py"), tmp_path / "two.py"])
    assert plugins.named_in({PLUGINS_VARIABLE: text}) == [tmp_path / "one.py", tmp_path / "two.py"]
    assert plugins.named_in({}) == []


def test_a_path_that_the_variable_cannot_hold_is_refused():
    with pytest.raises(SpecError, match=f"its path must not contain '{os.pathsep}'"):
        plugins.as_variable([Path(f"/a{os.pathsep}b.py")])


def test_a_plug_in_in_a_group_of_old_is_named_once_and_never_imported(
    tmp_path, monkeypatch, caplog
):
    facts = tmp_path / "foreign-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: foreign\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(
        "[supreme.methods]\nfirst = foreign_module\n[supreme.trainers]\nsecond = foreign_module\n"
    )
    (tmp_path / "foreign_module.py").write_text("raise AssertionError('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    registry.tell_unread_plugins.cache_clear()

    for _ in range(2):
        catalog.installed()

    assert [record.getMessage() for record in caplog.records] == [
        f"foreign registers {name!r} in the entry-point group 'supreme.{kind}', which SUPREME does"
        f" not read; a plug-in of SUPREME registers in 'supreme_bench.{kind}'"
        for name, kind in (("first", "methods"), ("second", "trainers"))
    ]
    assert "foreign_module" not in sys.modules


def test_what_is_installed_is_searched_once(tmp_path, monkeypatch):
    searches = []
    monkeypatch.setattr(
        "supreme_core.registry.registry.entry_points",
        lambda: EntryPoints(searches.append("one") or ()),
    )
    monkeypatch.syspath_prepend(tmp_path)

    for _ in range(2):
        catalog.installed()

    assert searches == ["one"]


def test_a_package_that_cannot_be_imported_is_one_line(tmp_path):
    facts = tmp_path / "broken-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[supreme_bench.metrics]\nbroken = broken_module\n")
    (tmp_path / "broken_module.py").write_text("raise OSError('no such device')\n")

    done = subprocess.run(
        [sys.executable, "-c", "from supreme_core import registry; registry.metric.entries()"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.stderr.splitlines()[-1] == (
        "supreme_core.errors.SpecError: plug-in broken_module of broken cannot be imported:"
        " OSError: no such device"
    )
