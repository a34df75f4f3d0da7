"""The training section of a spec becomes rates, augmentations and an identity.

Schedules are compared with torch's own at the start of each epoch, where both are defined.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn, optim

from supreme_core import registry
from supreme_core.api.canonical import digest
from supreme_core.api.model import parse
from supreme_core.api.v1alpha1 import Training
from supreme_core.engine.training.recipe import Recipe
from supreme_core.errors import SpecError

STEPS = 7
"""Steps of an epoch."""

SCHEDULES = {
    "constant": {},
    "cosine": {},
    "multistep": {"milestones": [2, 3], "gamma": 0.2},
}

BASE = {
    "epochs": 5,
    "batchSize": 32,
    "microBatches": 2,
    "optimizer": {"name": "sgd", "params": {"lr": 0.1, "momentum": 0.9}},
    "schedule": {"name": "multistep", "params": {"milestones": [2, 3], "gamma": 0.2}},
    "augmentation": [{"name": "random_crop"}, {"name": "horizontal_flip"}],
}

CHANGES = {
    "epochs": {"epochs": 6},
    "batchSize": {"batchSize": 33},
    "microBatches": {"microBatches": 4},
    "reduction": {"reduction": "ddp", "microBatches": 1},
    "BatchNorm": {"batchNorm": "batch"},
    "clipping": {"maxGradientNorm": 1.0},
    "precision": {"precision": "bf16"},
    "validation": {"validation": {"fraction": 0.1}},
    "share of validation": {"validation": {"fraction": 0.2}},
    "draw of validation": {"validation": {"fraction": 0.1, "draw": "fixed"}},
    "selection": {"selection": "best_validation", "validation": {"fraction": 0.1}},
    "optimizer": {"optimizer": {"name": "adamw", "params": {"lr": 0.1}}},
    "optimizer setting": {"optimizer": {"name": "sgd", "params": {"lr": 0.2, "momentum": 0.9}}},
    "optimizer default": {"optimizer": {"name": "sgd", "params": {"lr": 0.1, "nesterov": True}}},
    "schedule": {"schedule": {"name": "cosine"}},
    "schedule setting": {
        "schedule": {"name": "multistep", "params": {"milestones": [2, 4], "gamma": 0.2}}
    },
    "warm-up": {"schedule": {**BASE["schedule"], "warmupEpochs": 1}},
    "no augmentation": {"augmentation": []},
    "augmentation setting": {
        "augmentation": [
            {"name": "random_crop", "params": {"padding": 2}},
            {"name": "horizontal_flip"},
        ]
    },
    "order of augmentations": {"augmentation": BASE["augmentation"][::-1]},
}


def recipe(**changes):
    return Recipe.of(parse(Training, BASE | changes))


def identity(**changes):
    return digest(recipe(**changes).identity())


def rates(schedule, *, epochs, warmup=0):
    """The factor at each step of each epoch."""
    component = {"name": schedule, "params": SCHEDULES[schedule], "warmupEpochs": warmup}
    rate = recipe(epochs=epochs, schedule=component).fit(seed=0).rate
    return [[rate(epoch + step / STEPS) for step in range(STEPS)] for epoch in range(epochs)]


def of_torch(make, *, epochs):
    """The rates of torch's scheduler at the start of each epoch, from a base rate of 1."""
    optimizer = optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)
    found = []
    for _ in range(epochs):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


class TestSchedules:
    def test_multistep_is_torchs_by_epoch(self):
        expected = of_torch(
            lambda optimizer: optim.lr_scheduler.MultiStepLR(optimizer, [2, 3], gamma=0.2), epochs=5
        )
        found = rates("multistep", epochs=5)
        assert [epoch[0] for epoch in found] == pytest.approx(expected)
        assert all(len(set(epoch)) == 1 for epoch in found)  # no change within an epoch

    def test_cosine_is_torchs_at_the_start_of_each_epoch(self):
        expected = of_torch(
            lambda optimizer: optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=6), epochs=6
        )
        assert [epoch[0] for epoch in rates("cosine", epochs=6)] == pytest.approx(expected)

    def test_cosine_falls_at_every_step(self):
        falling = [rate for epoch in rates("cosine", epochs=6) for rate in epoch]
        assert falling == sorted(set(falling), reverse=True)

    def test_constant_does_not_change(self):
        assert {rate for epoch in rates("constant", epochs=3) for rate in epoch} == {1.0}

    def test_every_schedule_is_in_these_tests(self):
        assert SCHEDULES.keys() == {entry.name for entry in registry.schedule.entries()}

    @settings(deadline=None)
    @given(st.sampled_from(sorted(SCHEDULES)), st.integers(1, 60), st.integers(0, 60))
    def test_defect_09_no_step_of_any_epoch_runs_at_a_rate_of_0(self, schedule, epochs, warmup):
        """The reference trains its first batch and ViT's whole last epoch at a rate of 0."""
        found = [rate for epoch in rates(schedule, epochs=epochs, warmup=warmup) for rate in epoch]
        assert min(found) > 0
        assert max(found) <= 1

    def test_warm_up_rises_in_a_straight_line_and_then_leaves_the_schedule_alone(self):
        plain, warmed = (rates("multistep", epochs=5, warmup=warmup) for warmup in (0, 2))
        expected = [(epoch + step / STEPS) / 2 for epoch in (0, 1) for step in range(STEPS)]
        expected[0] = 0.001 / 2  # the very first step, which a straight line would waste
        assert [rate for epoch in warmed[:2] for rate in epoch] == pytest.approx(expected)
        assert warmed[2:] == plain[2:]


class TestIdentity:
    @pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
    def test_whatever_changes_the_result_changes_the_identity(self, change):
        assert identity(**change) != identity()

    def test_every_field_of_the_training_section_is_in_these_tests(self):
        changed = {name for change in CHANGES.values() for name in change}
        assert changed == {field.alias for field in Training.model_fields.values()}

    def test_all_these_identities_differ(self):
        found = [identity(**change) for change in CHANGES.values()]
        assert len(set(found)) == len(found)

    def test_the_order_in_which_settings_are_written_means_nothing(self):
        turned = {"name": "sgd", "params": {"momentum": 0.9, "lr": 0.1}}
        assert identity(optimizer=turned) == identity()

    def test_defaults_spelled_out_are_the_defaults(self):
        spelled = {
            "optimizer": {
                "name": "sgd",
                "params": {"lr": 0.1, "momentum": 0.9, "weightDecay": 0.0, "nesterov": False},
            },
            "schedule": {
                "name": "multistep",
                "params": {"milestones": [2, 3], "gamma": 0.2},
                "warmupEpochs": 0,
            },
            "augmentation": [
                {"name": "random_crop", "params": {"padding": 4}},
                {"name": "horizontal_flip", "params": {"probability": 0.5}},
            ],
            "reduction": "tree",
            "batchNorm": "micro_batch",
            "precision": "fp32",
            "selection": "last",
        }
        assert identity(**spelled) == identity()

    def test_batch_norm_over_the_batch_is_the_same_where_a_batch_has_one_part(self):
        assert identity(microBatches=1, batchNorm="batch") == identity(microBatches=1)

    def test_a_whole_number_is_the_same_rate_as_its_float(self):
        one, other = ({"name": "sgd", "params": {"lr": lr}} for lr in (1, 1.0))
        assert identity(optimizer=one) == identity(optimizer=other)

    def test_a_new_version_of_a_component_changes_the_identity(self):
        known = recipe().identity()
        assert known["optimizer"]["version"] == 1
        assert digest({**known, "optimizer": {**known["optimizer"], "version": 2}}) != digest(known)


class TestFit:
    def test_the_loops_terms_are_those_of_the_spec(self):
        fit = recipe().fit(seed=3)
        optimizer = fit.optimizer([nn.Parameter(torch.zeros(1))])
        assert (fit.epochs, fit.batch_size) == (5, 32)
        assert isinstance(optimizer, optim.SGD)
        assert optimizer.param_groups[0]["lr"] == 0.1
        assert optimizer.param_groups[0]["momentum"] == 0.9

    def test_adamw_gets_all_its_settings(self):
        params = {"lr": 0.01, "beta1": 0.8, "beta2": 0.9, "weightDecay": 0.3}
        made = recipe(optimizer={"name": "adamw", "params": params}).fit(seed=3)
        (group,) = made.optimizer([nn.Parameter(torch.zeros(1))]).param_groups
        assert (group["lr"], group["betas"], group["weight_decay"]) == (0.01, (0.8, 0.9), 0.3)

    def test_without_augmentations_there_is_none(self):
        assert recipe(augmentation=[]).fit(seed=3).augment is None

    def test_seed_epoch_and_place_key_the_augmentation(self):
        twice = [{"name": "random_crop"}] * 2
        images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).repeat(30, 1, 1, 1)

        def augmented(seed, epoch, augmentation):
            return (
                recipe(augmentation=augmentation).fit(seed).augment(epoch)(images, torch.arange(30))
            )

        once = augmented(3, 0, twice[:1])
        assert torch.equal(once, augmented(3, 0, twice[:1]))
        assert not torch.equal(once, augmented(4, 0, twice[:1]))
        assert not torch.equal(once, augmented(3, 1, twice[:1]))

        first = once[:, 0, 8, 8].int() - images[:, 0, 8, 8].int()  # pixels are numbered, so this
        second = augmented(3, 0, twice)[:, 0, 8, 8].int() - once[:, 0, 8, 8].int()  # is the shift
        assert (first != second).sum() > 20  # the second crop draws its own windows

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                {"optimizer": {"name": "sdg"}},
                "spec.training.optimizer.name: unknown optimizer 'sdg'; did you mean 'sgd'?",
            ),
            (
                {"schedule": {"name": "multistep"}},
                "spec.training.schedule.params.milestones is required and was not given",
            ),
            (
                {"augmentation": [{"name": "random_crop"}, {"name": "blur"}]},
                "spec.training.augmentation[1].name: unknown augmentation 'blur'; known:"
                " horizontal_flip, random_crop, resize, rotation",
            ),
        ],
        ids=["name", "setting", "place in a list"],
    )
    def test_what_cannot_be_resolved_is_named_by_its_field(self, change, message):
        with pytest.raises(SpecError) as refused:
            recipe(**change)
        assert str(refused.value) == message
