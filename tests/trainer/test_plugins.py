"""Components from elsewhere, computed by the real command: an installed package, a single file.

                                     | package  | file
every kind of component              |    x     |
every process                        |    x     | two ranks of torchrun
an edit between two runs             |          |    x

How a file is read, and every mistake in one: core/registry/test_plugins.py.
"""

import os
from itertools import chain

import pytest
from supreme_trainer.seed.components import Components

from supreme_core import registry
from supreme_core.api.orders import Revision
from supreme_core.errors import SpecError
from supreme_core.publishing.recompute import with_metrics
from tests import extending
from tests.trainer.experiments import FULL_CLASS, LIGHT, experiment, planned, supreme, written

METHOD = '''
from torch import no_grad

from supreme_core.registry import NoParams, method


@method(paper="none")
def my_method(task, params: NoParams) -> None:
    """Make all weights smaller."""
    with no_grad():
        for parameter in task.model.parameters():
            parameter.mul_(0.5)
'''
WITH_METHOD = experiment(
    model=LIGHT,
    scenarios=[FULL_CLASS],
    methods=[{"name": "my_method"}],
    metrics=[{"name": "accuracy"}],
    training={"microBatches": 2},
)


def installed_package(folder):
    """A distribution with an entry point for each component of docs/extending.md; gives the
    environment that sees it."""
    package, info = folder / "their_package", folder / "their_package-1.0.dist-info"
    package.mkdir(parents=True)
    info.mkdir()
    groups = {each.kind: [f"[{each.group}]"] for each in registry.REGISTRIES}
    for file, source in extending.sources().items():
        written(package / file, source)
        for kind, name in extending.components(source):
            groups[kind].append(f"{name} = their_package.{file.removesuffix('.py')}")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("\n".join(chain.from_iterable(groups.values())))
    known = [os.environ["PYTHONPATH"]] if "PYTHONPATH" in os.environ else []
    return {"PYTHONPATH": os.pathsep.join([str(folder), *known])}


def test_a_package_brings_components_of_every_kind(tmp_path):
    """Seconds, for real processes: entry points are found by each of them anew."""
    file = written(tmp_path / "experiment.yaml", extending.experiment())
    images = extending.archive(tmp_path / "images.npz")

    done = supreme(
        *("run", file, "--store", tmp_path / "store", "--device", "cpu"),
        *("--set", f"spec.dataset.params.path={images}"),
        **installed_package(tmp_path / "site"),
    )

    assert (done.code, done.err) == (0, "")
    assert "12 stages computed, 0 found in the store" in done.out
    assert "smoothed_ascent" in done.out


def test_a_file_is_used_by_every_rank_and_computed_again_after_an_edit(tmp_path):
    """Seconds, for real processes, which torchrun starts from those that the command starts."""
    file, store = written(tmp_path / "experiment.yaml", WITH_METHOD), tmp_path / "store"
    plugin = written(tmp_path / "mine.py", METHOD)
    arguments = ("run", file, "--store", store, "--device", "cpu", "--plugin", plugin)

    first = supreme(*arguments, "--ranks", "2")
    assert (first.code, first.err) == (0, "")
    again = supreme(*arguments, "--ranks", "2")
    assert "0 stages computed, every seed was finished" in again.out

    written(plugin, METHOD.replace("0.5", "0.25"))
    edited = supreme(*arguments)
    assert (edited.code, edited.err) == (0, "")
    assert "2 stages computed" in edited.out  # unlearned, and its metrics
    assert "my_method" in edited.out


def revised(kind, name, **facts):
    work = planned(experiment()).work
    return work.model_copy(update={"revisions": [Revision(kind=kind, name=name, **facts)]})


@pytest.mark.parametrize("facts", [{"version": 2}, {"version": 1, "plugin": "0" * 64}])
def test_a_trainer_computes_nothing_by_other_code_than_was_planned(facts):
    with pytest.raises(SpecError) as error:
        Components.of(revised("method", "finetune", **facts))
    assert str(error.value) == (
        "method 'finetune' is of another version or file than the order says; was it changed"
        " meanwhile? Start again"
    )


def test_a_trainer_accepts_the_code_that_was_planned():
    assert "finetune" in Components.of(revised("method", "finetune", version=1)).methods


def test_scoring_again_is_by_the_metrics_that_are_there_now():
    """The rows of version 2 are gone, and everything else of another revision stays so."""
    kept = Revision(kind="method", name="finetune", version=3)
    old = Revision(kind="metric", name="accuracy", version=2)
    order = planned(experiment(metrics=[{"name": "accuracy"}]))
    order = order.model_copy(
        update={"work": order.work.model_copy(update={"revisions": [kept, old]})}
    )
    assert with_metrics(order, ()).work.revisions == [kept]
