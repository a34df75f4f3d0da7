"""The competition's entries that damage convolutions and repair on the retain set: ct, msg, cfw.

ct    which kernels are transposed, the rate
msg   which weights begin anew, by gradients sample by sample; how fast the others learn; the rate
cfw   how large the noise is and where; when the second one comes
"""

from math import cos, pi

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from supreme_core.api.model import parse
from supreme_core.components.methods.cfw import CfwParams, cfw
from supreme_core.components.methods.ct import CtParams, ct
from supreme_core.components.methods.msg import MsgParams, msg, smallest
from supreme_core.randomness import streams
from supreme_core.randomness.permutation import permutation
from tests.builders import RecordingTask, digest, tiny_network, tiny_task


def others_are_unchanged(model, but):
    """Return whether all tensors but one are those of the tiny network."""
    before = tiny_network(3).state_dict()
    return all(
        torch.equal(t, before[name]) for name, t in model.state_dict().items() if name != but
    )


class TestCt:
    def test_kernels_are_transposed_and_nothing_else_changes(self):
        task = tiny_task()
        ct(task, CtParams(epochs=0))
        assert torch.equal(task.model[0].weight, tiny_network(3)[0].weight.transpose(2, 3))
        assert others_are_unchanged(task.model, but="0.weight")

    def test_twice_is_the_identity(self):
        task = tiny_task()
        ct(task, CtParams(epochs=0))
        ct(task, CtParams(epochs=0))
        assert digest(task.model) == digest(tiny_network(3))

    def test_the_network_sees_images_as_if_they_were_transposed(self):
        """A network of convolutions whose head adds up what they see."""
        model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Conv2d(3, 4, (3, 3)), nn.AdaptiveAvgPool2d(1))
        model = nn.Sequential(model, nn.Flatten(), nn.Linear(4, 4)).eval()
        images = torch.rand(5, 1, 8, 8)
        before = model(images.mT)
        ct(tiny_task(model=model), CtParams(epochs=0))
        torch.testing.assert_close(model(images), before)

    def test_oblong_kernels_stay_because_their_shape_would_change(self):
        model = nn.Sequential(nn.Conv2d(1, 4, (1, 3)), nn.Conv2d(4, 4, 3), nn.Flatten())
        model = nn.Sequential(model, nn.Linear(4 * 6 * 4, 4)).eval()
        before = model[0][0].weight.detach().clone()
        ct(tiny_task(model=model), CtParams(epochs=0))
        assert torch.equal(model[0][0].weight, before)

    def test_the_rate_falls_by_half_a_cosine(self):
        task = tiny_task(kind=RecordingTask)
        ct(task, CtParams(epochs=3))
        rate = task.phases["retain"][1]["rate"]
        assert [rate(e) for e in (0, 1, 2.5)] == pytest.approx(
            [0.5 + 0.5 * cos(pi * e / 3) for e in (0, 1, 2.5)]
        )


class TestMsg:
    def test_weights_of_least_gradient_begin_anew_and_the_others_stay(self):
        task = tiny_task()
        msg(task, MsgParams(epochs=0, fraction=0.25))
        gradients = np.zeros((4, 1, 3, 3))
        order = permutation(streams.derive(task.seed, "retain subset"), len(task.retain))
        for sign, samples, positions in (
            (1, task.retain, order[: len(task.forget)]),
            (-1, task.forget, range(len(task.forget))),
        ):
            for position in positions:
                model = tiny_network(3)
                batch = samples.batch(torch.tensor([int(position)]))
                functional.cross_entropy(model(batch.images), batch.labels).backward()
                gradients += sign * model[0].weight.grad.double().numpy()
        renewed = np.zeros(36, dtype=bool)
        renewed[np.argsort(np.abs(gradients).ravel())[:9]] = True
        changed = task.model[0].weight != tiny_network(3)[0].weight
        assert changed.flatten().tolist() == renewed.tolist()
        assert others_are_unchanged(task.model, but="0.weight")

    def test_new_weights_are_those_of_he_by_the_fan_out(self):
        """A layer with 128 output channels and 3 x 3 kernels has the variance 2 / (128 · 9)."""
        model = nn.Sequential(nn.Conv2d(1, 64, 1), nn.Conv2d(64, 128, 3), nn.Flatten())
        model = nn.Sequential(model, nn.Linear(128 * 36, 4)).eval()
        msg(tiny_task(model=model), MsgParams(epochs=0, fraction=1))
        weights = model[0][1].weight.detach()
        assert weights.std().item() == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.02)
        assert abs(weights.mean().item()) < 1e-3

    def test_kept_weights_of_convolutions_learn_with_a_tenth_of_the_gradient(self):
        """One step of plain SGD over the whole retain set; the head learns as usual."""
        moved = []
        for factor in (1, 0.1):
            params = {"epochs": 1, "momentum": 0, "weightDecay": 0, "batchSize": 36, "lr": 0.1}
            task, start = tiny_task(), tiny_task()
            msg(start, parse(MsgParams, {**params, "epochs": 0}))
            msg(task, parse(MsgParams, {**params, "keptGradient": factor}))
            moved.append([a.detach() - b.detach() for a, b in self.weights(task, start)])
        renewed = self.renewed()
        torch.testing.assert_close(moved[1][0][renewed], moved[0][0][renewed])
        torch.testing.assert_close(
            moved[1][0][~renewed], 0.1 * moved[0][0][~renewed], rtol=1e-2, atol=1e-6
        )
        torch.testing.assert_close(moved[1][1], moved[0][1])

    @staticmethod
    def weights(task, start):
        return [(task.model[layer].weight, start.model[layer].weight) for layer in (0, 4)]

    @staticmethod
    def renewed():
        task = tiny_task()
        msg(task, MsgParams(epochs=0))
        return task.model[0].weight != tiny_network(3)[0].weight

    @pytest.mark.parametrize(
        ("epochs", "rates"), [(1, [1]), (2, [2 / 3, 2 / 3]), (5, [1 / 3, 2 / 3, 1, 2 / 3, 1 / 3])]
    )
    def test_the_rate_rises_to_the_middle_epoch_and_falls(self, epochs, rates):
        task = tiny_task(kind=RecordingTask)
        msg(task, MsgParams(epochs=epochs))
        rate = task.phases["retain"][1]["rate"]
        assert [rate(epoch + 0.5) for epoch in range(epochs)] == pytest.approx(rates)

    def test_of_equal_values_the_first_ones_are_the_smallest(self):
        assert smallest(torch.tensor([[2.0, 1.0], [1.0, 1.0]]), 0.5).tolist() == [
            [False, True],
            [True, False],
        ]


class TestCfw:
    @pytest.mark.parametrize(
        ("variant", "noisy"), [("first_convolution", "0.0"), ("every_convolution", "0.0, 0.1")]
    )
    def test_noise_has_the_asked_deviation_and_meets_convolutions_only(self, variant, noisy):
        model = nn.Sequential(nn.Conv2d(1, 2048, 1), nn.Conv2d(2048, 8, 3), nn.Flatten())
        model = nn.Sequential(model, nn.Linear(8 * 36, 4)).eval()
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        params = CfwParams(epochs=0, noise=0.3, late_noise=0.4, variant=variant)
        cfw(tiny_task(model=model), params)
        after = model.state_dict()
        changed = [name for name in after if not torch.equal(after[name], before[name])]
        assert changed == [f"{layer}.weight" for layer in noisy.split(", ")]
        for name in changed:
            noise = after[name] - before[name]
            assert noise.std().item() == pytest.approx(0.5, rel=0.05)  # of two independent ones

    def test_without_noise_it_is_fine_tuning_at_a_falling_rate(self):
        """One optimiser does it, whose momentum is kept over the pause."""
        task = tiny_task(kind=RecordingTask)
        cfw(task, CfwParams(epochs=3, noise=0, late_noise=0, lr=0.02))
        alone = tiny_task()
        phases = [task.phases[name][1] for name in ("repair", "last epoch")]
        assert [how["epochs"] for how in phases] == [2, 1]
        rates = [phases[0]["rate"](e) for e in (0, 1)] + [phases[1]["rate"](0)]
        assert rates == pytest.approx([0.5 + 0.5 * cos(pi * e / 3) for e in (0, 1, 2)])
        optimizer = torch.optim.SGD(
            alone.model.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4
        )
        for name, how in zip(("repair", "last epoch"), phases, strict=True):

            def same(parameters):
                optimizer.param_groups[0]["lr"] = 0.02
                return optimizer

            alone.fit(alone.retain, name=name, **{**how, "optimizer": same})
        assert digest(alone.model) == digest(task.model)

    def test_the_second_noise_comes_before_the_last_epoch(self):
        """The rate is close to 0, so after the first epochs only the first noise has changed the
        weights."""
        seen = {}

        def report(*, epoch, **more):
            seen[epoch] = task.model[0].weight.detach().clone()

        task = tiny_task(report=report)
        cfw(task, CfwParams(epochs=3, noise=0, late_noise=1, lr=1e-9))
        before = tiny_network(3)[0].weight
        torch.testing.assert_close(seen[2, 2], before)
        assert (seen[1, 1] - before).std() > 0.5
