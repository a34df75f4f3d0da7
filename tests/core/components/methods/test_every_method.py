"""Promises of each registered method, on a task that takes a fraction of a second.

A new method is covered as soon as its file stands in supreme_core/components/methods. Its own test
file adds only what is special: closed forms, limits, the paper's semantics.
"""

import re
from dataclasses import dataclass, fields
from functools import cache
from itertools import count

import pytest
import torch
from torch import nn

from supreme_core import registry
from supreme_core.api.model import parse
from supreme_core.api.v1alpha1 import Training
from supreme_core.engine.evaluation.cost import CostMeter
from supreme_core.engine.networks import passes
from supreme_core.engine.ranks.interruption import Interruption, Terminated
from supreme_core.engine.ranks.ranks import Ranks
from supreme_core.engine.ranks.reduction import Reduction
from supreme_core.engine.training.checkpoint import Checkpoints
from supreme_core.engine.training.numerics import NumericsPolicy
from supreme_core.engine.training.recipe import Recipe
from tests.builders import RecordingTask, Slot, digest, plain, tiny_network, tiny_task
from tests.real_ranks import on_two_ranks

FORGETS = {
    "classes": {"forget_classes": (1,)},
    "samples": {"forget_classes": ()},
    "subclass": {"forget_classes": (1,), "partly": True},
}
"""Classes or samples that a tiny task of each kind forgets."""

ENTRIES = {entry.name: entry for entry in registry.method.entries()}
CASES = [(name, kind) for name, entry in ENTRIES.items() for kind in entry.facts.forgets]
LABELS_STAY = [name for name, kind in CASES if kind == "samples"]
"""Methods that are tested with retained samples of all labels anyway."""
CASES += [(name, "subclass") for name, kind in CASES if kind == "classes"]
COMPARED = [case for case in CASES if case[1] != "subclass" or case[0] not in LABELS_STAY]
"""Cases whose bits are compared with those of two ranks, and of a run that was stopped."""

NOTICEABLE = {"ssd": {"alpha": 1.5}, "lfssd": {"alpha": 1.1}, "assd": {}}
"""Settings with which a method acts on the tiny task, where the defaults would do nothing: a forget
set that is a quarter of the data has at most four times the importance of all."""

NOTICEABLE |= {
    "l2ul": {"epochs": 5, "examples": 5, "steps": 3},
    "scar": {"epochs": 2, "surrogates": 40},
    "unsir": {"noiseSteps": 4, "copies": 8},
}
"""The defaults would take seconds here."""

DRAWS_NOTHING = {"assd", "esc", "lfssd", "ssd"}
"""Methods whose result does not depend on their seed."""

IDENTITIES = {
    name: {field.alias: 0 for key, field in entry.params.model_fields.items() if "epochs" in key}
    for name, entry in ENTRIES.items()
}
IDENTITIES |= {name: {"alpha": 1e308} for name in ("ssd", "lfssd")}
IDENTITIES |= {
    "cfw": {"epochs": 0, "noise": 0, "lateNoise": 0},
    "esc": {"fraction": 0},
    "iu": {"alpha": 0},
    "msg": {"epochs": 0, "fraction": 0},
    "prmq": {"epochs": 0, "fraction": 0, "half": False},
}
"""Settings with which a method does nothing."""

ALWAYS_ACTS = {"assd", "ct", "eu_k", "fisher"}
"""Methods that do something with any settings."""

ONE_OF_EACH = list({name: (name, kind) for name, kind in reversed(CASES)}.values())
"""A case of each method, where what it forgets does not matter."""

every_case = pytest.mark.parametrize(("name", "kind"), CASES, ids=map("-".join, CASES))
every_compared_case = pytest.mark.parametrize(
    ("name", "kind"), COMPARED, ids=map("-".join, COMPARED)
)
one_of_each = pytest.mark.parametrize(("name", "kind"), ONE_OF_EACH, ids=map("-".join, ONE_OF_EACH))
every_entry = pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)


def unlearned(name, kind, *, params=None, **changes):
    """The model after a method with its default settings, or others where those do nothing."""
    task = tiny_task(**FORGETS[kind], **changes)
    unlearn(task, name, params=params)
    return task.model


def unlearn(task, name, *, params=None):
    entry = ENTRIES[name]
    entry.function(task, parse(entry.params, params or NOTICEABLE.get(name, {})))


def inputs_of(task):
    """Copies of what a method is given beside the model."""
    parts = [getattr(part, f.name) for part in (task.forget, task.retain) for f in fields(part)]
    tensors = [value for value in parts if isinstance(value, torch.Tensor)]
    return [value.clone() for value in (*tensors, task.forget.source.pixels.values)]


@dataclass(frozen=True)
class Known:
    """A model after a method with its default settings, and what was told on the way.

    inputs: those of the task before and after.
    """

    model: nn.Module
    digest: str
    told: list
    inputs: tuple


@cache
def known(name, kind):
    """Return the result of a method for tests that judge it or compare with it, and do not change
    it."""
    told = []
    task = tiny_task(**FORGETS[kind], report=lambda **step: told.append(step))
    before = inputs_of(task)
    unlearn(task, name)
    return Known(task.model, digest(task.model), told, (before, inputs_of(task)))


def stopped(slot, *, after):
    """Parts of a task that is told to stop after so many reports; None for never."""
    interruption = Interruption(exit_code=143)
    reports = count(1)

    def report(*, done, total, loss, **more):
        if next(reports) == after:
            interruption.request()

    ranks = Ranks.alone(torch.device("cpu"))
    return {"report": report, "checkpoints": Checkpoints(ranks, interruption, slot)}


AUGMENTED = [
    ("finetune", "samples"),
    ("l2ul", "classes"),
    ("scrub", "samples"),
    ("unsir", "classes"),
]
"""Cases with augmentation on ranks: of retained samples alone, beside images that the method made,
of both sets in turn, and in phases."""

AUGMENTATION = Recipe.of(
    parse(Training, {"augmentation": [{"name": "random_crop"}, {"name": "horizontal_flip"}]})
).augmentation


def counted_network(seed):
    return passes.counted(tiny_network(seed))


COUNTED = {"new_network": counted_network, "random_network": counted_network}


def digest_and_passes(name, kind, ranks):
    """Digest of the model with two micro-batches, which one rank adds up as two do, and passes."""
    numerics = NumericsPolicy(Reduction(ranks, micro_batches=2))
    with CostMeter(ranks).measured() as meter:
        model = unlearned(name, kind, numerics=numerics, model=counted_network(3), **COUNTED)
    return digest(model), meter.cost.passes


def digests(ranks):
    """Return a digest of every method and its passes."""
    numerics = NumericsPolicy(Reduction(ranks, micro_batches=2))
    found = {case: digest_and_passes(*case, ranks) for case in COMPARED}
    for case in AUGMENTED:
        model = unlearned(*case, numerics=numerics, augmentation=AUGMENTATION)
        found[case, "augmented"] = digest(model)
    return found


@pytest.fixture(scope="module")
def digests_of_two_ranks():
    return on_two_ranks(digests)


@every_case
def test_a_method_changes_the_model(name, kind):
    assert known(name, kind).digest != digest(tiny_task().model)


@one_of_each
def test_another_seed_gives_another_model_where_a_method_draws(name, kind):
    same = digest(unlearned(name, kind, seed=8)) == known(name, kind).digest
    assert same == (name in DRAWS_NOTHING)


@every_compared_case
def test_a_method_repeats_bits_and_passes_on_one_rank_and_on_each_of_two(
    name, kind, digests_of_two_ranks
):
    expected = digest_and_passes(name, kind, Ranks.alone(torch.device("cpu")))
    assert expected[1] > 0
    assert [rank[name, kind] for rank in digests_of_two_ranks] == [expected, expected]


@pytest.mark.parametrize("case", AUGMENTED, ids=map("-".join, AUGMENTED))
def test_augmentation_repeats_its_bits_on_one_rank_and_on_each_of_two(case, digests_of_two_ranks):
    expected = digest(unlearned(*case, numerics=plain(2), augmentation=AUGMENTATION))
    assert [rank[case, "augmented"] for rank in digests_of_two_ranks] == [expected, expected]


@one_of_each
def test_a_method_that_trains_sees_augmented_images_and_no_other_asks_for_them(name, kind):
    seen = []

    def augmentation(seed):
        return lambda epoch: lambda images, ids: seen.append(ids) or 255 - images

    same = digest(unlearned(name, kind, augmentation=augmentation)) == known(name, kind).digest
    assert bool(seen) == ENTRIES[name].facts.trains
    assert same == (not ENTRIES[name].facts.trains)


@every_case
def test_weights_and_buffers_stay_finite(name, kind):
    state = known(name, kind).model.state_dict()
    assert all(tensor.isfinite().all() for tensor in state.values())


@one_of_each
@pytest.mark.parametrize(
    "numerics", [{"batch_norm": "batch", "precision": "bf16"}, {"precision": "fp16"}], ids=str
)
def test_a_method_works_in_other_arithmetic_too(name, kind, numerics):
    state = unlearned(name, kind, numerics=plain(2, **numerics)).state_dict()
    assert all(tensor.isfinite().all() for tensor in state.values())
    assert all(tensor.dtype in {torch.float32, torch.int64} for tensor in state.values())


@every_case
def test_a_method_leaves_its_inputs_alone(name, kind):
    before, after = known(name, kind).inputs
    assert all(map(torch.equal, after, before))


@every_case
def test_a_method_leaves_mode_gradients_and_hooks_in_order(name, kind):
    model = known(name, kind).model
    assert not any(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not module._backward_hooks


@every_case
def test_a_method_reports_its_progress_to_the_end(name, kind):
    told = known(name, kind).told
    for step in told:
        assert step.keys() - {"epoch"} == {"done", "total", "loss", "images"}
        assert 1 <= step["done"] <= step["total"]
        assert step["images"] > 0
        assert step["loss"].ndim == 0
        assert not step["loss"].requires_grad
    assert told[-1]["done"] == told[-1]["total"]


@every_compared_case
def test_a_method_that_was_stopped_half_way_goes_on_to_the_same_bits(name, kind):
    slot, stop_at = Slot(), max(1, len(known(name, kind).told) // 2)
    with pytest.raises(Terminated):
        unlearned(name, kind, **stopped(slot, after=stop_at))
    expected = known(name, kind).digest
    assert digest(unlearned(name, kind, **stopped(slot, after=None))) == expected


@pytest.mark.parametrize(("name", "kind"), [case for case in CASES if case[0] not in ALWAYS_ACTS])
def test_without_epochs_or_with_a_huge_threshold_a_method_is_the_identity(name, kind):
    model = unlearned(name, kind, params=IDENTITIES[name])
    assert digest(model) == digest(tiny_task().model)


@pytest.mark.parametrize(
    ("name", "factor"), [("scrub", "distance"), ("l1_sparse", "gamma"), ("l2ul", "penalty")]
)
def test_a_term_on_the_weights_whose_factor_is_0_is_not_computed(name, factor):
    task = tiny_task(kind=RecordingTask)
    unlearn(task, name, params={**NOTICEABLE.get(name, {}), factor: 0})
    assert [how.get("before_step") for _, how in task.phases.values()] == [None] * len(task.phases)


@every_entry
def test_a_method_cites_a_paper(entry):
    assert re.fullmatch(r"arXiv:\d{4}\.\d{5}", entry.facts.paper)


@every_entry
def test_what_a_method_has_for_transformers_are_settings_that_are_others_else(entry):
    others = entry.facts.for_transformers
    document = parse(entry.params, others).to_document()
    assert {name: document[name] for name in others} == others
    default = entry.params().to_document()
    assert all(default[name] != value for name, value in others.items())


LATER = {
    "assd": {"comparedWith": "retain"},
    "cf_k": {"unit": "layer"},
    "eu_k": {"unit": "layer"},
    "iu": {"order": "dataset"},
    "lfssd": {"variant": "batch"},
    "scrub": {"optimizer": "sgd", "momentum": 0.5, "forgetBatchSize": 9},
    "ssd": {"variant": "batch"},
    "unsir": {"noiseMode": "train"},
}
"""Settings that came after results had been computed, with values that mean something else."""


@every_entry
def test_a_setting_that_came_later_is_part_of_a_key_only_where_it_says_something(entry):
    later = LATER.get(entry.name, {})
    fields = entry.params.model_fields
    assert {fields[name].alias for name in entry.params.LATER} == set(later)
    before, after = entry.params().identity(), parse(entry.params, later).identity()
    assert not before.keys() & later.keys()
    assert {name: after[name] for name in later} == later


@every_entry
def test_settings_are_read_by_their_outer_names(entry):
    """A document that `describe` shows can be read, also where Python's name is another
    (lambda)."""
    document = entry.params().to_document()
    assert parse(entry.params, document) == entry.params()
    unset = {each.alias for each in entry.params.model_fields.values() if each.default is None}
    assert set(document) | unset == set(entry.listed.describe()["params"]["properties"])
    assert not any("_" in name for name in document)
