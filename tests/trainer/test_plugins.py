"""Components from elsewhere, computed by the real command: an installed package, a single file.

                                     | package  | file
every kind of component              |    x     |
every process                        |    x     | two ranks of torchrun
an edit between two runs             |          |    x

How a file is read, and every mistake in one: core/test_plugins.py.
"""

import os

import pytest
from supreme_trainer.seed.components import Components

from supreme_core import registry
from supreme_core.api.orders import Revision
from supreme_core.errors import SpecError
from supreme_core.publishing.recompute import with_metrics
from tests.trainer.experiments import FULL_CLASS, experiment, planned, supreme, written

EVERY_KIND = '''
import numpy as np
import torch
from pydantic import Field
from torch import nn, optim

from supreme_core.data.image_set import DatasetParams, ImageSet
from supreme_core.registry import (
    NoParams, Params, augmentation, dataset, method, metric, model, optimizer, scenario, schedule,
)
from supreme_core.data.split import by_class


@dataset(classes=3)
def their_stripes(params: DatasetParams):
    """Three kinds of grey stripes."""
    pixels = np.random.default_rng(1).integers(0, 120, (90, 1, 8, 8), dtype=np.uint8)
    labels = np.arange(90, dtype=np.int64) % 3
    pixels[np.arange(90), 0, labels * 2] += 100
    return ImageSet.of(
        pixels[:60], labels[:60], pixels[60:], labels[60:], class_names=("a", "b", "c")
    )


@model()
def their_network(shape, params: NoParams):
    """One linear layer."""
    pixels = shape.channels * shape.size * shape.size
    return nn.Sequential(nn.Flatten(), nn.Linear(pixels, shape.classes))


@optimizer()
def their_optimizer(parameters, params: NoParams):
    """Plain descent."""
    return optim.SGD(parameters, lr=0.1)


@schedule()
def their_schedule(epoch, epochs, params: NoParams):
    """Half the rate."""
    return 0.5


@augmentation()
def their_augmentation(images, draw, params: NoParams):
    """Upside down, some of them."""
    return torch.where((draw.uniform(0) < 0.5).view(-1, 1, 1, 1), images.flip(-2), images)


class Which(Params):
    number: int = Field(0, ge=0, le=2, description="The class.")


@scenario(forgets="classes")
def their_scenario(labels, seed, params: Which):
    """One class."""
    return by_class(labels, (params.number,))


@method(paper="none", forgets=("classes",))
def their_method(task, params: NoParams):
    """Smaller weights."""
    with torch.no_grad():
        for parameter in task.model.parameters():
            parameter.mul_(0.5)


@metric(unit="fraction", group="accuracy", sets=("test",), low=0.0, high=1.0)
def their_metric(evaluation, params: NoParams):
    """Share of wrong answers."""
    return float(np.mean(evaluation.unlearned.predicted != evaluation.unlearned.labels))
'''

ALL_THEIRS = experiment(
    dataset={"name": "their_stripes"},
    model={"name": "their_network"},
    training={
        "optimizer": {"name": "their_optimizer"},
        "schedule": {"name": "their_schedule"},
        "augmentation": [{"name": "their_augmentation"}],
    },
    scenarios=[{"name": "their_scenario", "params": {"number": 2}}],
    methods=[{"name": "their_method"}],
    metrics=[{"name": "their_metric"}],
    primaryMetric="test_their_metric",
)

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
    scenarios=[FULL_CLASS],
    methods=[{"name": "my_method"}],
    metrics=[{"name": "accuracy"}],
    training={"microBatches": 2},
)


def installed_package(folder):
    """A distribution with entry points of all groups; gives the environment that sees it."""
    info = folder / "their_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
    groups = [f"[{each.group}]\nany = their_package\n" for each in registry.REGISTRIES]
    (info / "entry_points.txt").write_text("\n".join(groups))
    (folder / "their_package.py").write_text(EVERY_KIND)
    known = [os.environ["PYTHONPATH"]] if "PYTHONPATH" in os.environ else []
    return {"PYTHONPATH": os.pathsep.join([str(folder), *known])}


def test_a_package_brings_components_of_every_kind(tmp_path):
    """Seconds, for real processes: entry points are found by each of them anew."""
    site = tmp_path / "site"
    site.mkdir()
    file = written(tmp_path / "experiment.yaml", ALL_THEIRS)

    done = supreme(
        *("run", file, "--store", tmp_path / "store", "--device", "cpu"), **installed_package(site)
    )

    assert (done.code, done.err) == (0, "")
    assert "9 stages computed, 0 found in the store" in done.out
    assert "their_method" in done.out


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
    """Those of a version 2 are gone, and what else was of another revision stays so."""
    kept = Revision(kind="method", name="finetune", version=3)
    old = Revision(kind="metric", name="accuracy", version=2)
    order = planned(experiment(metrics=[{"name": "accuracy"}]))
    order = order.model_copy(
        update={"work": order.work.model_copy(update={"revisions": [kept, old]})}
    )
    assert with_metrics(order, ()).work.revisions == [kept]
