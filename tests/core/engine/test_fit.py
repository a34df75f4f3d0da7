"""The training loop against plain torch loops, and its bits on one and on two ranks.

                                          | closed form or plain loop | 1 and 2 gloo ranks
V = 1: weights, momentum, statistics      |             x             |
V = 4: gradients, BatchNorm's statistics  |             x             |
resnet18, sgd and adamw, V = 2 and 4      |                           |         x
dropout                                   |             x             |         x

The runs on two ranks have augmentation, two epochs and a last batch of 3 samples, so that with
V = 4 one part is empty. Left out: CUDA, and more ranks than two.
"""

from contextlib import suppress
from itertools import combinations

import pytest
import torch
from torch import nn, optim
from torch.nn import functional

from supreme_core.api.v1alpha1 import Component, Training
from supreme_core.components.models.resnet18 import ResNet18
from supreme_core.engine.evaluation.reproducibility import THREADS
from supreme_core.engine.images.image_shape import ImageShape
from supreme_core.engine.images.randomness import global_seed
from supreme_core.engine.ranks.reduction import Reduction
from supreme_core.engine.toolbox.continued_optimizer import continued
from supreme_core.engine.training.batch_norm import NORMAL
from supreme_core.engine.training.fit import Fit, fit, unreported
from supreme_core.engine.training.gradients import Job, MicroBatchGradients
from supreme_core.engine.training.loss import cross_entropy
from supreme_core.engine.training.numerics import NumericsPolicy
from supreme_core.engine.training.observer import Observer
from supreme_core.engine.training.recipe import Recipe
from supreme_core.errors import MethodFailed
from supreme_core.randomness import streams
from supreme_core.randomness.permutation import permutation
from tests.builders import (
    TINY_SHAPE,
    alone,
    digest,
    plain,
    tiny_network,
    tiny_samples,
    whole_step,
)
from tests.real_ranks import on_two_ranks

SEED = 11
COLOUR = ImageShape(channels=3, size=16, classes=4)

OPTIMIZERS = {
    "sgd": {"lr": 0.05, "momentum": 0.9, "weightDecay": 5e-4},
    "adamw": {"lr": 0.01},
}
NETWORKS = {
    "resnet18": lambda: ResNet18(COLOUR, width=4),
    "dropout": lambda: nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.Dropout(0.5), nn.Flatten(), nn.Linear(8 * 49, 4)
    ),
}
CASES = [
    (network, optimizer, micro_batches)
    for network, optimizer in (("resnet18", "sgd"), ("resnet18", "adamw"), ("dropout", "sgd"))
    for micro_batches in (2, 4)
]


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(THREADS)


def sgd(parameters):
    return optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=1e-3)


def how(**changes):
    return Fit(**({"epochs": 1, "batch_size": 10, "optimizer": sgd} | changes))


def fitted(
    model, samples=None, *, seed=SEED, numerics=None, report=unreported, loss=None, **changes
):
    """The model after `fit`."""
    fit(
        model,
        samples or tiny_samples(),
        how(**changes),
        seed=seed,
        numerics=numerics or plain(1),
        report=report,
        loss=loss or cross_entropy,
    )
    return model


def gradients_of(model, positions, reduction):
    """Set them, as a step on a batch of the tiny samples does; gives the mean loss."""
    job = Job(model, tiny_samples(), cross_entropy, reduction, scale=lambda loss: loss)
    return MicroBatchGradients(job)(whole_step(positions)).loss


def order(epoch, n, seed=SEED):
    return torch.from_numpy(permutation(streams.derive(seed, "order", epoch), n))


def assert_states_close(actual, expected, **tolerance):
    for (name, one), other in zip(
        actual.state_dict().items(), expected.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(
            one, other, msg=lambda text, at=name: f"{at}: {text}", **tolerance
        )


class Recorded:
    """A loss that notes the ids of the samples that it saw, a list for each call."""

    def __init__(self):
        self.ids = []

    def __call__(self, model, batch):
        self.ids.append(batch.ids.tolist())
        return cross_entropy(model, batch)

    @property
    def stream(self):
        return [number for ids in self.ids for number in ids]


class TestOneMicroBatch:
    def test_an_epoch_has_the_bits_of_a_plain_loop(self):
        """Bitwise, with the batch mean written as fit has it: the sum of losses over n."""
        expected, samples = tiny_network(3), tiny_samples()
        optimizer = sgd(expected.parameters())
        expected.train()
        for positions in torch.split(order(0, len(samples)), 10):  # 10, 10, 10, 10, 8
            batch = samples.batch(positions)
            optimizer.zero_grad()
            logits = expected(batch.images)
            losses = functional.cross_entropy(logits, batch.labels, reduction="none")
            (losses.sum() / len(positions)).backward()
            optimizer.step()

        assert digest(fitted(tiny_network(3))) == digest(expected)

    def test_two_epochs_with_a_schedule_equal_torchs_usual_idiom(self):
        """Both agree to 1e-6, because torch's mean divides each sample's loss and fit divides the
        sum."""
        expected, samples = tiny_network(3), tiny_samples()
        optimizer = optim.AdamW(expected.parameters(), lr=0.01)
        schedule = optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.9**step)
        expected.train()
        for epoch in range(2):
            for positions in torch.split(order(epoch, len(samples)), 12):
                batch = samples.batch(positions)
                optimizer.zero_grad()
                functional.cross_entropy(expected(batch.images), batch.labels).backward()
                optimizer.step()
                schedule.step()

        actual = fitted(
            tiny_network(3),
            epochs=2,
            batch_size=12,
            optimizer=lambda parameters: optim.AdamW(parameters, lr=0.01),
            rate=lambda epoch: 0.9 ** round(4 * epoch),
        )
        assert_states_close(actual, expected, rtol=1e-6, atol=1e-6)

    def test_the_rate_is_asked_for_at_each_step_with_the_fraction_of_the_epoch(self):
        asked = []
        fitted(tiny_network(3), epochs=2, batch_size=16, rate=lambda e: asked.append(e) or 1.0)
        assert asked == pytest.approx([0, 1 / 3, 2 / 3, 1, 4 / 3, 5 / 3])

    def test_each_step_is_reported_with_the_batch_mean_of_the_loss(self):
        told = []

        def report(*, done, total, loss, images, epoch):
            told.append((done, total, images, epoch, float(loss)))

        fitted(tiny_network(3), epochs=2, batch_size=48, report=report)

        batch = tiny_samples().batch(torch.arange(48))
        first = functional.cross_entropy(tiny_network(3).train()(batch.images), batch.labels)
        assert [each[:-1] for each in told] == [(1, 2, 48, (1, 2)), (2, 2, 48, (2, 2))]
        assert told[0][-1] == pytest.approx(first.item(), rel=1e-6)


class TestMicroBatches:
    """10 samples in 4 parts of 2, 3, 2 and 3, each with its own BatchNorm."""

    parts = ([4, 0], [9, 2, 7], [1, 5], [3, 8, 6])
    positions = torch.tensor([4, 0, 9, 2, 7, 1, 5, 3, 8, 6])

    def step(self, model):
        return gradients_of(model.train(), self.positions, alone(4))

    def test_gradients_are_the_mean_over_samples_of_those_of_the_parts(self):
        model, samples = tiny_network(3), tiny_samples()
        loss = self.step(model)

        expected_loss, expected = 0.0, [torch.zeros_like(p) for p in model.parameters()]
        for part in self.parts:
            alike = tiny_network(3).train()
            batch = samples.batch(torch.tensor(part))
            mean = functional.cross_entropy(alike(batch.images), batch.labels)
            expected_loss += mean.item() * len(part) / 10
            for total, gradient in zip(
                expected, torch.autograd.grad(mean, list(alike.parameters())), strict=True
            ):
                total += gradient * len(part) / 10
        actual = [parameter.grad for parameter in model.parameters()]
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-7)
        assert float(loss) == pytest.approx(expected_loss, rel=1e-6)

    def test_running_statistics_make_one_step_to_the_mean_of_the_parts(self):
        """b <- (1 - momentum) b + momentum * sum_v (n_v / n) statistic_v; one batch is counted."""
        model, samples = tiny_network(3), tiny_samples()
        convolution, norm = model[0], model[1]
        before = norm.running_mean.clone(), norm.running_var.clone()
        count = int(norm.num_batches_tracked)
        self.step(model)

        mean, variance = torch.zeros(4), torch.zeros(4)
        for part in self.parts:
            with torch.no_grad():
                values = convolution(samples.batch(torch.tensor(part)).images).transpose(0, 1)
            mean += values.flatten(1).mean(dim=1) * len(part) / 10
            variance += values.flatten(1).var(dim=1) * len(part) / 10  # unbiased, as torch has it
        torch.testing.assert_close(norm.running_mean, 0.9 * before[0] + 0.1 * mean)
        torch.testing.assert_close(norm.running_var, 0.9 * before[1] + 0.1 * variance)
        assert int(norm.num_batches_tracked) == count + 1

    def test_an_empty_part_adds_nothing(self):
        """Two samples in four parts are the same step as in two parts."""
        one, other = tiny_network(3).train(), tiny_network(3).train()
        two = torch.tensor([5, 30])
        gradients_of(one, two, alone(4))
        gradients_of(other, two, alone(2))
        assert digest(one) == digest(other)
        assert all(
            torch.equal(a.grad, b.grad)
            for a, b in zip(one.parameters(), other.parameters(), strict=True)
        )

    def test_each_sample_is_seen_once_an_epoch_whatever_the_number_of_parts(self):
        recorded = Recorded()
        fitted(tiny_network(3), numerics=plain(8), loss=recorded)
        assert sorted(recorded.stream) == list(range(48))

    def test_parameters_that_are_not_trained_stay_as_they_are(self):
        model = tiny_network(3)
        model[0].requires_grad_(False)
        fitted(model, numerics=plain(4))
        assert torch.equal(model[0].weight, tiny_network(3)[0].weight)
        assert not torch.equal(model[4].weight, tiny_network(3)[4].weight)


def trained(case, numerics, seed=SEED):
    network, optimizer, micro_batches = case
    with global_seed(5):
        model = NETWORKS[network]()
    training = Training(
        epochs=2,
        batch_size=8,
        micro_batches=micro_batches,
        optimizer=Component(name=optimizer, params=OPTIMIZERS[optimizer]),
        augmentation=[
            Component(name="random_crop", params={"padding": 2}),
            Component(name="horizontal_flip"),
        ],
    )
    fit(
        model,
        tiny_samples(19, COLOUR),
        Recipe.of(training).fit(seed),
        seed=seed,
        numerics=numerics,
        report=unreported,
    )
    return model


def digests(ranks):
    return {
        case: digest(trained(case, NumericsPolicy(Reduction(ranks, case[2])))) for case in CASES
    }


@pytest.fixture(scope="module")
def digests_of_two_ranks():
    return on_two_ranks(digests)


@pytest.fixture(scope="module")
def digests_of_one_rank():
    torch.set_num_threads(THREADS)
    return digests(alone(1).ranks)


class TestRanks:
    @pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
    def test_same_bits_on_1_and_2_gloo_ranks(self, case, digests_of_one_rank, digests_of_two_ranks):
        expected = digests_of_one_rank[case]
        assert [rank[case] for rank in digests_of_two_ranks] == [expected, expected]

    def test_the_digests_tell_every_case_from_every_other(self, digests_of_one_rank):
        assert len(set(digests_of_one_rank.values())) == len(CASES)

    def test_another_seed_gives_other_bits(self, digests_of_one_rank):
        case = ("dropout", "sgd", 2)
        assert digest(trained(case, plain(2), seed=12)) != digests_of_one_rank[case]


class TestRandomness:
    def test_the_order_is_a_function_of_seed_and_epoch_alone(self):
        shorter, longer = Recorded(), Recorded()
        fitted(tiny_network(3), loss=shorter, epochs=2)
        fitted(tiny_network(4), loss=longer, epochs=3, batch_size=7, numerics=plain(4))

        assert longer.stream[: 2 * 48] == shorter.stream
        epochs = [longer.stream[48 * epoch : 48 * (epoch + 1)] for epoch in range(3)]
        assert all(sorted(epoch) == list(range(48)) for epoch in epochs)
        assert all(one != other for one, other in combinations(epochs, 2))

    def test_another_seed_gives_another_order(self):
        one, other = Recorded(), Recorded()
        fitted(tiny_network(3), loss=one)
        fitted(tiny_network(3), loss=other, seed=SEED + 1)
        assert one.stream != other.stream

    def test_the_state_of_torchs_global_generator_does_not_matter(self):
        case, found = ("dropout", "sgd", 4), set()
        for state in (1, 2):
            torch.manual_seed(state)
            found.add(digest(trained(case, plain(4))))
        assert len(found) == 1

    def test_every_step_and_part_drops_out_something_else(self):
        masks = []

        def loss(model, batch):
            masks.append(tuple(functional.dropout(torch.ones(64), training=True).tolist()))
            return cross_entropy(model, batch)

        fitted(tiny_network(3), epochs=2, numerics=plain(2), loss=loss)
        assert len(set(masks)) == len(masks) == 2 * 5 * 2

    def test_augmentation_is_made_anew_for_each_epoch_and_keyed_by_sample(self):
        seen = []

        def augment(epoch):
            def change(images, ids):
                seen.append((epoch, ids.tolist()))
                return images.flip(-1)

            return change

        fitted(tiny_network(3), epochs=2, batch_size=30, augment=augment)
        expected = [
            (epoch, part.tolist()) for epoch in (0, 1) for part in torch.split(order(epoch, 48), 30)
        ]
        assert seen == expected


def small_resnet():
    """A ResNet whose last map is 1x1 for the tiny samples, of 8 pixels."""
    with global_seed(3):
        return ResNet18(TINY_SHAPE, width=4)


class TestSingleValues:
    """A batch that leaves a BatchNorm layer one value per channel, which has no variance."""

    @pytest.mark.parametrize(
        ("samples", "micro_batches", "batch_norm"),
        [
            (9, 1, "micro_batch"),  # a batch of 8, then a sample
            (11, 2, "micro_batch"),  # the rest of 3 in parts of 2 and 1
            (9, 2, "micro_batch"),  # the rest in parts of 1 and 0
            (9, 2, "batch"),
            (1, 1, "micro_batch"),  # all there is
        ],
    )
    def test_an_epoch_may_end_with_one(self, samples, micro_batches, batch_norm):
        network = fitted(
            small_resnet(),
            tiny_samples(samples),
            numerics=plain(micro_batches, batch_norm=batch_norm),
            epochs=2,
            batch_size=8,
        )
        assert all(tensor.isfinite().all() for tensor in network.state_dict().values())
        assert digest(network) != digest(small_resnet())

    def test_it_is_normalised_with_the_statistics_so_far_and_they_stay(self):
        def normalised(samples):
            norm = nn.BatchNorm2d(1)
            norm.running_mean.fill_(0.5)
            norm.running_var.fill_(4.0)
            network = nn.Sequential(nn.AdaptiveAvgPool2d(1), norm, nn.Flatten(), nn.Linear(1, 4))
            seen = []
            norm.register_forward_hook(lambda _, given, got: seen.append((*given, got.detach())))
            fitted(network, tiny_samples(samples))
            return norm, seen

        norm, [(given, got)] = normalised(1)
        torch.testing.assert_close(got, (given - 0.5) / (4.0 + norm.eps) ** 0.5)
        assert (norm.running_mean.item(), norm.running_var.item()) == (0.5, 4.0)

        norm, [(given, got)] = normalised(2)
        assert got.sum().abs() < 1e-5
        assert norm.running_mean.item() == pytest.approx(0.45 + 0.1 * given.mean().item())

    @pytest.mark.parametrize(("batch_size", "micro_batches"), [(1, 1), (4, 4)])
    def test_where_each_batch_has_one_the_training_is_refused(self, batch_size, micro_batches):
        with pytest.raises(MethodFailed, match=r"^BatchNorm is given one value per channel") as e:
            fitted(
                small_resnet(),
                tiny_samples(8),
                numerics=plain(micro_batches),
                batch_size=batch_size,
            )
        assert "use a larger batchSize, fewer microBatches" in str(e.value)

    def test_torchs_function_is_back_afterwards(self):
        for batch_size in (8, 1):
            with suppress(MethodFailed):
                fitted(small_resnet(), tiny_samples(9), batch_size=batch_size)
            assert functional.batch_norm is NORMAL


class TestEnds:
    @pytest.mark.parametrize("bad", [float("nan"), float("inf")])
    def test_a_loss_that_is_not_finite_fails_the_method(self, bad):
        def loss(model, batch):
            return cross_entropy(model, batch) * torch.where(batch.ids == 17, bad, 1.0)

        with pytest.raises(MethodFailed, match=r"^the loss is not finite in epoch 1 of 3$"):
            fitted(tiny_network(3), epochs=3, loss=loss)

    def test_the_epoch_in_which_a_training_diverges_is_named(self):
        with pytest.raises(MethodFailed, match=r"the loss is not finite in epoch 2 of 3"):
            fitted(
                tiny_network(3),
                epochs=3,
                batch_size=48,
                optimizer=lambda parameters: optim.SGD(parameters, lr=float("inf")),
            )

    def test_no_epochs_are_the_identity(self):
        def report(**told):
            raise AssertionError("there is nothing to tell")

        assert digest(fitted(tiny_network(3), epochs=0, report=report)) == digest(tiny_network(3))

    @pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
    def test_the_mode_of_the_model_is_as_it_was(self, training):
        model = fitted(tiny_network(3).train(training))
        assert {module.training for module in model.modules()} == {training}

    def test_the_mode_is_as_it_was_after_a_failure_too(self):
        model = tiny_network(3).eval()
        with pytest.raises(MethodFailed):
            fitted(model, loss=lambda model, batch: cross_entropy(model, batch) * float("nan"))
        assert not any(module.training for module in model.modules())

    def test_the_global_generator_is_as_it_was(self):
        torch.manual_seed(5)
        expected = torch.rand(3)
        torch.manual_seed(5)
        fitted(tiny_network(3))
        assert torch.equal(torch.rand(3), expected)

    def test_a_model_in_eval_mode_is_trained_in_train_mode(self):
        assert digest(fitted(tiny_network(3).eval())) == digest(fitted(tiny_network(3).train()))


class TestWhatAMethodMayAsk:
    """Hooks around a step, an order of its own, and layers that act as in predictions."""

    def test_a_term_on_the_weights_is_added_to_the_gradients_before_the_step(self):
        """An L2 penalty as a term is the weight decay of SGD."""
        model = tiny_network(3)

        def decay(epoch):
            for parameter in model.parameters():
                parameter.grad += 1e-3 * parameter.detach()

        def plain_sgd(parameters):
            return optim.SGD(parameters, lr=0.1, momentum=0.9)

        fitted(model, optimizer=plain_sgd, before_step=decay, epochs=2)
        assert_states_close(model, fitted(tiny_network(3), epochs=2))

    def test_the_term_is_asked_for_with_the_epoch_as_the_rate_is(self):
        of_terms, of_rates = [], []
        fitted(
            tiny_network(3),
            epochs=2,
            before_step=of_terms.append,
            rate=lambda epoch: of_rates.append(epoch) or 1.0,
        )
        assert of_terms == of_rates
        assert len(of_terms) == 10

    def test_the_term_is_not_shortened_with_the_gradient_of_the_loss(self):
        model, lengths = tiny_network(3), []

        def measure(epoch):
            parts = [parameter.grad.norm() for parameter in model.parameters()]
            lengths.append(torch.stack(parts).norm().item())

        fitted(model, before_step=measure, max_gradient_norm=1e-3)
        assert lengths == pytest.approx([1e-3] * 5, rel=1e-3)

    @pytest.mark.parametrize("last", [1, 3, 7])
    def test_a_training_ends_after_the_step_that_is_enough(self, last):
        """The epoch is not finished, and the weights are those of a training that is cut
        off there."""
        told, seen, at_the_end = [], [], {}
        model = tiny_network(3)
        fitted(model, epochs=3, is_enough=lambda done: told.append(done) or done == last)

        def remember(**step):
            seen.append(step["done"])
            if step["done"] == last:
                at_the_end.update({n: t.clone() for n, t in whole.state_dict().items()})

        whole = tiny_network(3)
        fitted(whole, epochs=3, report=remember)
        assert told == list(range(1, last + 1))
        assert len(seen) == 15
        assert all(torch.equal(t, at_the_end[n]) for n, t in model.state_dict().items())

    def test_weights_are_put_back_after_every_step_momentum_or_not(self):
        model, seen = tiny_network(3), []
        head = model[-1].weight.detach().clone()

        class Restore(Observer):
            @torch.no_grad()
            def after_step(self):
                seen.append(torch.equal(model[-1].weight, head))
                model[-1].weight.copy_(head)

        fitted(model, observers=[Restore()], epochs=2)
        assert not any(seen)  # the optimiser had moved them each time
        assert torch.equal(model[-1].weight, head)
        assert not torch.equal(model[-1].bias, tiny_network(3)[-1].bias)

    def test_the_steps_are_those_of_the_order(self):
        recorded, asked = Recorded(), []

        def backwards(epoch, seed):
            asked.append((epoch, seed))
            return torch.arange(47, -1, -1).split([20, 28])

        fitted(tiny_network(3), order=backwards, loss=recorded, epochs=2)
        assert [len(ids) for ids in recorded.ids] == [20, 28] * 2
        assert recorded.stream == [*range(47, -1, -1)] * 2
        assert asked[-2:] == [(epoch, streams.derive(SEED, "order", epoch)) for epoch in (0, 1)]

    def test_layers_that_act_as_in_predictions_learn_and_keep_their_statistics(self):
        model = fitted(tiny_network(3), training=False)
        assert all(map(torch.equal, model.buffers(), tiny_network(3).buffers()))
        assert not torch.equal(model[1].weight, tiny_network(3)[1].weight)
        assert not any(module.training for module in model.modules())

    def test_an_optimiser_goes_on_with_its_momentum_and_its_first_rate_in_a_second_training(self):
        """One training of two epochs does the same, with the order of both."""

        def order(first):
            return lambda epoch, seed: torch.arange(48).roll(17 * (first + epoch)).split(10)

        whole = fitted(tiny_network(3), epochs=2, order=order(0), rate=lambda epoch: 0.5**epoch)
        model = tiny_network(3)
        optimizer = continued(sgd(list(model.parameters())))
        fitted(model, optimizer=optimizer, order=order(0), rate=lambda epoch: 0.5**epoch)
        fitted(model, optimizer=optimizer, order=order(1), rate=lambda epoch: 0.5 ** (1 + epoch))
        assert digest(model) == digest(whole)
