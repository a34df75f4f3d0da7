"""The same bits on 1, 2 and 4 real ranks (gloo), whatever is computed and however (4: ON_FOUR).

                       | fp32 | bf16 | fp16 | fp64 |  what the network has
resnet18               |  x   |  x   |  x   |  x   |  BatchNorm by micro-batch
resnet18, whole batch  |  x   |  x   |  x   |  x   |  BatchNorm over the batch
dense                  |  x   |      |      |      |  the same, outputs with many readers, dropout
vision transformer     |  x   |  x   |      |      |  dropout, stochastic depth, AdamW
ConvNeXt               |  x   |  x   |      |      |  stochastic depth, layer scale, AdamW

Each case crosses two epochs, ends each with a batch of 3 of 8 samples in 4 parts, one of them
empty, augments, and clips gradients. Against other sources: BatchNorm over the batch against the
batch in one piece; clipping and DistributedDataParallel against their definitions.
Left out: GPUs, tf32 (which needs one), nccl, 8 processes.
"""

import copy
from dataclasses import replace
from unittest import mock

import pytest
import timm
import torch
from torch import nn, optim

from supreme_core.api.v1alpha1 import Component, EvaluationPrecision, Training
from supreme_core.components.models.resnet18 import ResNet18
from supreme_core.engine.evaluation.reproducibility import THREADS
from supreme_core.engine.images.image_shape import ImageShape
from supreme_core.engine.images.randomness import global_seed
from supreme_core.engine.ranks.ranks import Ranks
from supreme_core.engine.ranks.reduction import Reduction
from supreme_core.engine.training import graphs
from supreme_core.engine.training.data_parallel import DataParallelGradients
from supreme_core.engine.training.fit import Fit, fit, unreported
from supreme_core.engine.training.gradients import Job, MicroBatchGradients
from supreme_core.engine.training.loss import cross_entropy
from supreme_core.engine.training.numerics import NumericsPolicy
from supreme_core.engine.training.precision import check_precision, computing_in
from supreme_core.engine.training.recipe import Recipe
from supreme_core.engine.training.whole_batch import WholeBatchGradients
from supreme_core.errors import MethodFailed, SpecError, SupremeError
from tests.builders import alone, digest, plain, tiny_network, tiny_samples, whole_step
from tests.real_ranks import on_ranks
from tests.stand_in_graphs import Graph

CPU = torch.device("cpu")
COLOUR = ImageShape(channels=3, size=16, classes=4)
SAMPLES, BATCH_SIZE, MICRO_BATCHES = 11, 8, 4


class Dense(nn.Module):
    """Each layer reads all that came before it, so that gradients of many readers are added up."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(3 + 4 * i), nn.ReLU(), nn.Conv2d(3 + 4 * i, 4, 3, 1, 1))
            for i in range(4)
        )
        self.head = nn.Linear(3 + 16, 4)

    def forward(self, images):
        features = [images]
        for layer in self.layers:
            new = layer(torch.cat(features, dim=1))
            features.append(nn.functional.dropout(new, 0.2, self.training))
        return self.head(torch.cat(features, dim=1).mean((2, 3)))


def transformer():
    return timm.create_model(
        "vit_tiny_patch16_224",
        img_size=16,
        patch_size=4,
        depth=2,
        embed_dim=24,
        num_heads=3,
        num_classes=4,
        proj_drop_rate=0.1,
        drop_path_rate=0.2,
    )


def convnext():
    return timm.create_model(
        "convnext_tiny",
        depths=(1, 1, 1, 1),
        dims=(8, 12, 16, 24),
        patch_size=2,
        output_stride=16,
        drop_path_rate=0.2,
        num_classes=4,
    )


NETWORKS = {
    "resnet18": lambda: ResNet18(COLOUR, width=4),
    "dense": Dense,
    "transformer": transformer,
    "convnext": convnext,
}
OPTIMIZERS = {
    "sgd": {"lr": 0.05, "momentum": 0.9, "weightDecay": 5e-4},
    "adamw": {"lr": 0.01},
}
CASES = [
    *[("resnet18", "sgd", how, p) for how in ("micro_batch", "batch") for p in (32, 64)],
    *[("resnet18", "sgd", how, p) for how in ("micro_batch", "batch") for p in ("b16", "f16")],
    ("dense", "sgd", "batch", 32),
    *[
        (name, "adamw", "micro_batch", p)
        for name in ("transformer", "convnext")
        for p in (32, "b16")
    ],
]
ON_FOUR = [case for case in CASES if case[3] == 32 or case[2:] == ("batch", "f16")]
"""Cases that are computed on four ranks too, one of which has no samples at the end of an epoch:
every network, every way and the scale of a loss. How a rank rounds is seen on two."""
PRECISIONS = {32: "fp32", 64: "fp64", "b16": "bf16", "f16": "fp16"}


def named(case):
    return "-".join(map(str, case))


every_case = pytest.mark.parametrize("case", CASES, ids=named)


def training_of(case):
    _, optimizer, batch_norm, precision = case
    return Training(
        epochs=2,
        batch_size=BATCH_SIZE,
        micro_batches=MICRO_BATCHES,
        batch_norm=batch_norm,
        precision=PRECISIONS[precision],
        max_gradient_norm=1.0,
        optimizer=Component(name=optimizer, params=OPTIMIZERS[optimizer]),
        augmentation=[Component(name="random_crop", params={"padding": 2})],
    )


def trained(case, ranks, **how):
    """A network after two epochs of a case.  how: changes of its numerics."""
    training = training_of(case)
    torch.set_default_dtype(torch.float64 if training.precision == "fp64" else torch.float32)
    try:
        with global_seed(5):
            model = NETWORKS[case[0]]().to(memory_format=torch.channels_last)
        fit(
            model,
            samples_of_default_type(),
            Recipe.of(training).fit(7),
            seed=7,
            numerics=replace(NumericsPolicy.of(training, ranks), **how),
            report=unreported,
        )
    finally:
        torch.set_default_dtype(torch.float32)
    return model


def samples_of_default_type(count=SAMPLES):
    samples = tiny_samples(count, COLOUR)
    mean, std = (
        part.to(torch.get_default_dtype()) for part in (samples.source.mean, samples.source.std)
    )
    return replace(samples, source=replace(samples.source, mean=mean, std=std))


def digests(ranks):
    torch.use_deterministic_algorithms(True)
    cases = ON_FOUR if ranks.size == 4 else CASES
    return {case: digest(trained(case, ranks)) for case in cases}


def digest_by_graphs(ranks):
    """The digest of the first case, whose steps are replayed by a stand-in for CUDA graphs, and how
    many were."""
    torch.use_deterministic_algorithms(True)
    made = []

    def new():
        made.append(Graph())
        return made[-1]

    with mock.patch.multiple(graphs, LEAVES_BEFORE=0, FEWEST_STEPS=0):
        model = trained(CASES[0], ranks, graphs=lambda: new)
    return digest(model), sum(graph.replays for graph in made)


@pytest.fixture(autouse=True)
def deterministic():
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="module")
def of_one():
    torch.set_num_threads(THREADS)
    return digests(Ranks.alone(CPU))


@pytest.fixture(scope="module")
def of_two():
    """The digests of each of two ranks."""
    return on_ranks(2, digests)


@pytest.fixture(scope="module")
def of_four():
    return on_ranks(4, digests)


class TestRanks:
    def test_ranks_that_replay_graphs_have_the_bits_of_one_without(self, of_one):
        for found, replays in on_ranks(2, digest_by_graphs):
            assert found == of_one[CASES[0]]
            assert replays

    @every_case
    def test_two_ranks_give_the_bits_of_one(self, case, of_one, of_two):
        assert [rank[case] for rank in of_two] == [of_one[case]] * 2

    @pytest.mark.parametrize("case", ON_FOUR, ids=named)
    def test_four_ranks_give_the_bits_of_one(self, case, of_one, of_four):
        assert [rank[case] for rank in of_four] == [of_one[case]] * 4

    def test_the_digests_tell_every_case_from_every_other(self, of_one):
        assert len(set(of_one.values())) == len(CASES)


def trained_on_one_sample(ranks):
    """The digest after a first step in which all micro-batches but one are empty."""
    numerics = NumericsPolicy(Reduction(ranks, 2), "fp16")
    model, how = tiny_network(3), sgd(2, lr=0.1)
    fit(model, tiny_samples(1), how, seed=1, numerics=numerics, report=unreported)
    return digest(model)


def test_a_rank_whose_first_step_has_no_samples_unscales_gradients_of_fp16():
    expected = trained_on_one_sample(Ranks.alone(CPU))
    assert on_ranks(2, trained_on_one_sample) == [expected] * 2


def sgd(batch_size, lr, **more):
    """One epoch of it."""

    def optimizer(parameters):
        return optim.SGD(parameters, lr=lr, momentum=0.9)

    return Fit(epochs=1, batch_size=batch_size, optimizer=optimizer, **more)


def gradients_of(kind, model, micro_batches, *, count=SAMPLES):
    """The mean loss, the gradients and the buffers after a step on all samples."""
    samples = samples_of_default_type(count)
    job = Job(model.train(), samples, cross_entropy, alone(micro_batches), lambda loss: loss)
    mean = kind(job)(whole_step(torch.arange(count))).loss
    return [mean, *[parameter.grad for parameter in model.parameters()], *model.buffers()]


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


class WithoutWeights(nn.Module):
    """BatchNorm that has neither weights nor a fixed momentum, and one in one dimension."""

    def __init__(self):
        super().__init__()
        self.first = nn.BatchNorm2d(3, affine=False, momentum=None)
        self.second = nn.BatchNorm1d(3, track_running_stats=False)
        self.head = nn.Linear(3, 4)

    def forward(self, images):
        return self.head(self.second((self.first(images) ** 2).mean((2, 3))))


class TestWholeBatchNorm:
    @pytest.mark.parametrize("micro_batches", [2, 4, 8, 16])
    @pytest.mark.parametrize("network", [NETWORKS["resnet18"], WithoutWeights])
    def test_gradients_and_statistics_are_those_of_the_batch_in_one_piece(
        self, double, network, micro_batches
    ):
        with global_seed(5):
            model = network()
        other = network()
        other.load_state_dict(model.state_dict())

        expected = gradients_of(MicroBatchGradients, model, 1)
        actual = gradients_of(WholeBatchGradients, other, micro_batches)

        for found, truth in zip(actual, expected, strict=True):
            torch.testing.assert_close(found, truth, rtol=1e-9, atol=1e-11)

    def test_it_is_not_what_micro_batches_give(self, double):
        with global_seed(5):
            one, other = NETWORKS["resnet18"](), NETWORKS["resnet18"]()
        other.load_state_dict(one.state_dict())
        whole = gradients_of(WholeBatchGradients, one, 4, count=8)
        parts = gradients_of(MicroBatchGradients, other, 4, count=8)
        assert (whole[0] - parts[0]).abs() > 1e-3

    def test_each_micro_batch_has_dropout_of_its_own_and_the_same_as_by_itself(self):
        masks = []

        class Masked(nn.Module):
            def __init__(self):
                super().__init__()
                self.norm, self.head = nn.BatchNorm2d(3), nn.Linear(3, 4)

            def forward(self, images):
                before = nn.functional.dropout(torch.ones(32), training=True)
                features = self.norm(images).mean((2, 3))
                after = nn.functional.dropout(torch.ones(32), training=True)
                masks.append(tuple(before.tolist() + after.tolist()))
                return self.head(features)

        gradients_of(WholeBatchGradients, Masked(), 4)
        together, masks[:] = list(masks), []
        gradients_of(MicroBatchGradients, Masked(), 4)
        assert together == masks
        assert len(set(masks)) == 4

    def test_an_error_in_one_micro_batch_is_the_steps_error(self):
        class Failing(nn.Module):
            def __init__(self):
                super().__init__()
                self.norm, self.calls = nn.BatchNorm2d(3), []

            def forward(self, images):
                features = self.norm(images).mean((2, 3))
                self.calls.append(len(images))
                if len(self.calls) == 2:
                    raise MethodFailed("the second part fails")
                return features

        model = Failing()
        model.__deepcopy__ = lambda memo: model
        with pytest.raises(MethodFailed, match="the second part fails"):
            gradients_of(WholeBatchGradients, model, 4)
        assert len(model.calls) == 2
        assert nn.functional.batch_norm.__module__ == "torch.nn.functional"

    def test_parts_that_take_different_ways_are_refused(self):
        class Straying(nn.Module):
            def __init__(self):
                super().__init__()
                self.norm = nn.BatchNorm2d(3)

            def forward(self, images):
                return self.norm(images).mean((2, 3)) if len(images) == 3 else images.mean((2, 3))

        with pytest.raises(SupremeError, match=r"spec\.training\.batchNorm is 'batch', but"):
            gradients_of(WholeBatchGradients, Straying(), 4)


class TestClipping:
    @pytest.mark.parametrize("limit", [0.05, 1e6])
    def test_a_gradient_longer_than_the_limit_is_shortened_to_it(self, limit):
        model = tiny_network(3)
        before = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
        how = sgd(48, 1.0, max_gradient_norm=limit)
        free = tiny_network(3)

        for each, change in ((model, how), (free, replace(how, max_gradient_norm=None))):
            fit(each, tiny_samples(), change, seed=1, numerics=plain(), report=unreported)

        step, whole = (
            before - nn.utils.parameters_to_vector(each.parameters()) for each in (model, free)
        )
        expected = whole * min(1.0, limit / whole.norm())
        torch.testing.assert_close(step, expected, rtol=1e-4, atol=1e-7)


class TestPrecision:
    @pytest.mark.parametrize(("precision", "tolerance"), [("bf16", 0.05), ("fp16", 0.05)])
    def test_half_precision_is_near_to_fp32_and_not_it(self, precision, tolerance):
        found = {}
        for each in ("fp32", precision):
            with global_seed(5):
                model = found[each] = NETWORKS["resnet18"]()
            how = sgd(8, 0.01)
            numerics = plain(precision=each)
            fit(model, tiny_samples(16, COLOUR), how, seed=1, numerics=numerics, report=unreported)
        whole, half = (nn.utils.parameters_to_vector(m.parameters()) for m in found.values())
        assert 0 < (whole - half).norm() < tolerance * whole.norm()
        assert half.dtype == torch.float32

    @pytest.mark.parametrize("precision", ["bf16", "fp16"])
    def test_a_loss_sees_fp32_logits_that_were_computed_in_half_precision(self, precision):
        model, seen = tiny_network(3), []
        model[4].register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
        with computing_in(precision, model, CPU):
            logits = model(torch.randn(2, 1, 8, 8))
        assert seen == [{"bf16": torch.bfloat16, "fp16": torch.float16}[precision]]
        assert logits.dtype == torch.float32
        model(torch.randn(2, 1, 8, 8))
        assert seen[1] == torch.float32

    def test_a_model_that_is_copied_inside_is_a_model_of_its_own(self):
        model = tiny_network(3)
        with computing_in("bf16", model, CPU):
            other = copy.deepcopy(model)
        nn.init.zeros_(other[4].weight)
        nn.init.zeros_(other[4].bias)
        images = torch.randn(2, 1, 8, 8)
        assert not other(images).any()
        assert model(images).any()

    def test_fp16_scales_the_loss_so_that_small_gradients_are_not_lost(self):
        """A gradient of 1e-8 is 0 in fp16, whose smallest number is 6e-8; times 2**16 it is not."""
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
        before = model[1].weight.detach().clone()

        def tiny_loss(network, batch):
            return network(batch.images).sum(dim=1) * 1e-8

        how = sgd(48, 1e6)
        fit(
            model,
            tiny_samples(),
            how,
            seed=1,
            numerics=plain(precision="fp16"),
            report=unreported,
            loss=tiny_loss,
        )
        assert (model[1].weight - before).abs().max() > 1e-4

    def test_tf32_of_evaluations_is_refused_too_with_what_they_may_be(self):
        with pytest.raises(SpecError) as refused:
            check_precision("tf32", CPU, field="evaluationPrecision", allowed=EvaluationPrecision)
        assert str(refused.value) == (
            "spec.evaluationPrecision is 'tf32', which only GPUs compute in, and this is a cpu; use"
            " fp32 or bf16"
        )

    def test_tf32_is_refused_where_there_is_no_gpu(self):
        with pytest.raises(SpecError) as refused:
            check_precision("tf32", CPU)
        assert str(refused.value) == (
            "spec.training.precision is 'tf32', which only GPUs compute in, and this is a cpu; use"
            " fp32, bf16, fp16 or fp64"
        )


def data_parallel(ranks):
    """Weights after two fits in a row, of the same model, and its buffers."""
    model = tiny_network(3)
    numerics = NumericsPolicy.of(Training(reduction="ddp"), ranks)
    for seed in (1, 2):
        how = sgd(10, 0.05)
        fit(model, tiny_samples(21), how, seed=seed, numerics=numerics, report=unreported)
    return model.state_dict()


def linear_step(ranks):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    with global_seed(5):
        model[1].reset_parameters()
    kind = DataParallelGradients if ranks.size > 1 else MicroBatchGradients
    job = Job(model, tiny_samples(), cross_entropy, Reduction(ranks, ranks.size), lambda loss: loss)
    mean = kind(job)(whole_step(torch.arange(7))).loss
    return [mean, *[parameter.grad for parameter in model.parameters()]]


class TestDataParallel:
    def test_it_gives_the_gradient_of_the_batch_mean_up_to_rounding(self):
        expected = linear_step(Ranks.alone(CPU))
        for rank in on_ranks(2, linear_step):
            for found, truth in zip(rank, expected, strict=True):
                torch.testing.assert_close(found, truth, rtol=1e-5, atol=1e-7)

    def test_all_ranks_end_with_the_same_model(self):
        one, other = on_ranks(2, data_parallel)
        assert all(torch.equal(one[name], other[name]) for name in one)
        assert any(
            not torch.equal(one[name], each) for name, each in tiny_network(3).state_dict().items()
        )
