"""Importances against two independent sources, on networks with every layer that has a rule.

            | batch-1 autograd loop | torch.func vmap(grad) | uses hooks
tiny        |           x           |           x           |    x
resnet18    |           x           |           x           |    x
mixed       |           x           |           x           |    x     groups, stride, dilation,
                                                                       tokens, LayerNorm, in-place
irregular   |           x           |                       |  partly, the rest by vmap
ViT, ...    |           x           |                       |  partly, the rest by vmap
branches    |           x           |                       |          nor by vmap: looped over

Left out: CUDA, and models that mix samples in eval mode, for which no per-sample gradient exists.
"""

from functools import partial

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.models.convnext import CNBlockConfig, ConvNeXt

from supreme_core import registry
from supreme_core.api.v1alpha1 import Component
from supreme_core.components.models.resnet18 import ResNet18
from supreme_core.engine.evaluation import reproducibility
from supreme_core.engine.images.image_shape import ImageShape
from supreme_core.engine.images.randomness import global_seed
from supreme_core.engine.images.samples import Batch
from supreme_core.engine.networks.architecture import Architecture
from supreme_core.engine.ranks.device import GRADIENT_ELEMENTS
from supreme_core.engine.ranks.reduction import Reduction
from supreme_core.engine.toolbox import importance, importance_by_layer
from supreme_core.engine.toolbox.dampening import dampen
from supreme_core.engine.toolbox.importance import importance_sums, mean_importances
from supreme_core.engine.toolbox.importance_by_layer import add_by_layer, regular_layers
from supreme_core.engine.toolbox.importance_kinds import SQUARED_LOSS
from supreme_core.engine.training.fit import unreported
from supreme_core.engine.training.loss import cross_entropy, squared_output
from supreme_core.errors import MethodFailed
from tests.builders import alone, tiny_network, tiny_samples, tiny_task
from tests.real_ranks import on_two_ranks

COLOUR = ImageShape(channels=4, size=12, classes=4)


class Mixed(nn.Module):
    """Grouped, strided, dilated convolutions with uneven kernels, then tokens."""

    def __init__(self):
        super().__init__()
        self.grouped = nn.Conv2d(4, 8, (3, 2), stride=(2, 1), padding=(1, 0), groups=2)
        self.norm = nn.BatchNorm2d(8)
        self.dilated = nn.Conv2d(8, 6, 3, dilation=2, padding=2, groups=2, bias=False)
        self.depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.tokens = nn.Linear(6, 10)
        self.token_norm = nn.LayerNorm(10)
        self.no_bias = nn.Linear(10, 5, bias=False)
        self.plane_norm = nn.LayerNorm((3, 5), bias=False)
        self.head = nn.Linear(5, 4)

    def forward(self, images):
        features = functional.relu_(self.norm(self.grouped(images)))  # changes norm's output
        features = functional.gelu(self.depthwise(self.dilated(features)))
        tokens = self.token_norm(self.tokens(features.flatten(2).mT))
        tokens = torch.tanh(self.no_bias(tokens))[:, :3]
        return self.head(self.plane_norm(tokens).mean(dim=1))


def seeded(build):
    torch.manual_seed(5)
    network = build()
    with torch.no_grad():
        network(torch.randn(32, COLOUR.channels, COLOUR.size, COLOUR.size))
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network.eval()


NETWORKS = {
    "tiny": lambda: (tiny_network(3), tiny_samples(70)),
    "resnet18": lambda: (seeded(partial(ResNet18, COLOUR, width=4)), tiny_samples(70, COLOUR)),
    "mixed": lambda: (seeded(Mixed), tiny_samples(70, COLOUR)),
}
LOSSES = {"loss": (cross_entropy, "squared"), "output": (squared_output, "absolute")}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(reproducibility.THREADS)


@pytest.fixture(params=NETWORKS.values(), ids=NETWORKS)
def network_and_samples(request):
    return request.param()


@pytest.fixture(params=LOSSES.values(), ids=LOSSES)
def loss_and_power(request):
    return request.param


def sums(model, samples, loss=cross_entropy, power="squared", *, reduction=None, report=unreported):
    return importance_sums(
        model, samples, loss=loss, power=power, reduction=reduction or alone(), report=report
    )


def loop(model, samples, loss=cross_entropy, power="squared"):
    """The slow, obvious way: one backward pass for each sample."""
    parameters = list(model.parameters())
    totals = [torch.zeros_like(parameter, dtype=torch.float64) for parameter in parameters]
    for i in range(len(samples)):
        gradients = torch.autograd.grad(
            loss(model, samples.batch(torch.tensor([i])))[0], parameters, materialize_grads=True
        )
        for total, gradient in zip(totals, gradients, strict=True):
            total += gradient.double() ** 2 if power == "squared" else gradient.double().abs()
    return totals


def assert_close(actual, expected, tolerance=1e-5):
    """Each tensor within `tolerance` of its largest entry."""
    for one, other in zip(actual, expected, strict=True):
        assert one.dtype == torch.float64
        assert one.shape == other.shape
        assert float((one - other).abs().max()) <= tolerance * float(other.abs().max())


def count_passes(model):
    """A list that grows with each forward pass of the model, and the hook that makes it grow."""
    passes = []
    return passes, model.register_forward_pre_hook(lambda module, inputs: passes.append(1))


def test_hooks_equal_a_loop_over_single_samples(network_and_samples, loss_and_power):
    model, samples = network_and_samples
    expected = loop(model, samples, *loss_and_power)
    passes, hook = count_passes(model)
    actual = sums(model, samples, *loss_and_power)
    hook.remove()
    assert_close(actual, expected)
    assert len(passes) <= 2 + 2 + importance.TRIAL_SIZE  # two batches and the trial: not the loop


def test_hooks_equal_vmap_of_grad(network_and_samples, loss_and_power):
    model, samples = network_and_samples
    loss, power = loss_and_power
    batch = samples.batch(torch.arange(len(samples)))

    def of_sample(parameters, image, label):
        def called(images):
            return functional_call(model, parameters, (images,))

        return loss(called, Batch(image[None], label[None], label[None]))[0]

    parameters = {name: value.detach() for name, value in model.named_parameters()}
    gradients = vmap(grad(of_sample), in_dims=(None, 0, 0))(parameters, batch.images, batch.labels)
    powered = [
        g.double() ** 2 if power == "squared" else g.double().abs() for g in gradients.values()
    ]
    assert_close(sums(model, samples, loss, power), [tensor.sum(dim=0) for tensor in powered])


class Tied(nn.Module):
    """Two layers, one weight."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 4)
        self.second.weight = self.first.weight

    def forward(self, images):
        return self.head(torch.tanh(self.second(torch.tanh(self.first(images.flatten(1))))))


class Twice(nn.Module):
    """One layer, used two times."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(64, 64), nn.Linear(64, 4)

    def forward(self, images):
        return self.head(torch.tanh(self.body(torch.tanh(self.body(images.flatten(1))))))


class OwnParameter(nn.Module):
    """A parameter that no layer owns, as a vision transformer's position embedding."""

    def __init__(self):
        super().__init__()
        self.position, self.head = nn.Parameter(torch.randn(64)), nn.Linear(64, 4)

    def forward(self, images):
        return self.head(torch.tanh(images.flatten(1) * self.position))


class Around(nn.Module):
    """A layer whose weight is used without calling it, as in nn.MultiheadAttention."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(64, 16), nn.Linear(16, 4)

    def forward(self, images):
        return self.head(functional.linear(images.flatten(1), self.body.weight, self.body.bias))


class TokensFirst(nn.Module):
    """Rows of the image as a sequence, (8 tokens, n samples, 8), as some transformers want it."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(8, 16), nn.Linear(16, 4)

    def forward(self, images):
        return self.head(torch.tanh(self.body(images[:, 0].transpose(0, 1))).mean(dim=0))


class Branches(nn.Module):
    """A network whose computation depends on its input, so no two samples can be computed
    together."""

    def __init__(self):
        super().__init__()
        self.position, self.head = nn.Parameter(torch.randn(64)), nn.Linear(64, 4)

    def forward(self, images):
        features = images.flatten(1) + self.position
        return self.head(torch.tanh(features) if float(images.mean()) > 0 else features)


class Beside(nn.Module):
    """A layer that is called once, and whose weight is used once more."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(64, 64), nn.Linear(64, 4)

    def forward(self, images):
        features = torch.tanh(self.body(images.flatten(1)))
        return self.head(torch.tanh(features @ self.body.weight))


IRREGULAR = [Tied, Twice, OwnParameter, Around, TokensFirst]


@pytest.mark.parametrize("build", IRREGULAR, ids=lambda build: build.__name__)
def test_what_hooks_do_not_cover_is_computed_in_batches_too(build, loss_and_power):
    torch.manual_seed(2)
    model, samples = build().eval(), tiny_samples(70)
    expected = loop(model, samples, *loss_and_power)
    passes, hook = count_passes(model)
    actual = sums(model, samples, *loss_and_power)
    hook.remove()
    assert_close(actual, expected)
    assert len(passes) <= 2 * 2 + 3 + importance.TRIAL_SIZE  # two batches, each twice; the trial


@pytest.mark.parametrize("build", [Branches, Beside], ids=lambda build: build.__name__)
def test_a_network_that_neither_way_covers_is_looped_over_instead(build, loss_and_power):
    torch.manual_seed(2)
    model, samples = build().eval(), tiny_samples(8)
    expected = loop(model, samples, *loss_and_power)
    passes, hook = count_passes(model)
    actual = sums(model, samples, *loss_and_power)
    hook.remove()
    assert_close(actual, expected)
    assert len(passes) >= len(samples)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("GET was unable to find an engine to execute this computation"),
        RuntimeError("vmap: CUDA out of memory"),
        MemoryError("numpy"),
        RuntimeError("of a kind that nobody has seen"),
    ],
    ids=str,
)
@pytest.mark.parametrize("way", ["add_by_layer", "add_by_vmap"])
def test_a_lack_of_memory_never_chooses_the_way_in_which_numbers_are_added(monkeypatch, error, way):
    def fails(*_):
        raise error

    monkeypatch.setattr(importance, way, fails)
    with pytest.raises(type(error), match=str(error)):
        sums(OwnParameter().eval(), tiny_samples(8))


def of_torchvision(shape):
    """A ConvNeXt with two blocks; torchvision's own kinds have 28 million weights."""
    return ConvNeXt(
        [CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 1)], num_classes=shape.classes
    )


def of_timm(name, **arguments):
    params = {"inputSize": 32, "arguments": arguments}
    return Architecture.of(
        registry.model.resolve(Component(name=name, params=params), at="model")
    ).build


SWIN = {"embed_dim": 24, "depths": [2, 1, 1, 1], "num_heads": [1, 2, 4, 8]}


@pytest.mark.parametrize(
    "build",
    [
        of_timm("timm/test_vit"),
        of_timm("timm/test_convnext"),
        of_timm("timm/test_efficientnet"),
        of_timm("timm/swin_tiny_patch4_window7_224", **SWIN),
        of_torchvision,
    ],
    ids=["vit", "convnext", "efficientnet", "swin", "convnext of torchvision"],
)
def test_transformers_and_their_kin_are_computed_in_batches(build):
    """Such networks have position embeddings, class tokens, layer scales, tables of relative
    positions, and layers that compute more than those from which they are derived."""
    shape = ImageShape(3, 32, 4)
    with global_seed(4):
        model = build(shape).eval()
    samples = tiny_samples(20, shape)
    expected = loop(model, samples)
    passes, hook = count_passes(model)
    actual = sums(model, samples)
    hook.remove()
    assert_close(actual, expected, tolerance=1e-3)
    assert len(passes) < len(samples)


def test_the_loop_equals_the_fast_way(network_and_samples, loss_and_power, monkeypatch):
    model, samples = network_and_samples
    in_batches = sums(model, samples, *loss_and_power)
    monkeypatch.setattr(importance, "_in_batches", lambda *_: None)
    assert_close(sums(model, samples, *loss_and_power), in_batches)


class Additions(TorchDispatchMode):
    """The strides of what is added in place, and of what it is added to."""

    def __init__(self):
        super().__init__()
        self.strides = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.add_.Tensor:
            self.strides.append(tuple(each.stride() for each in args))
        return func(*args, **kwargs or {})


def test_what_is_added_up_is_laid_out_as_the_sums_however_the_weights_are():
    """A tensor of another layout is added element by element, which took a sixth of the time."""
    model = seeded(partial(ResNet18, COLOUR, width=4)).to(memory_format=torch.channels_last)
    batch = tiny_samples(3, COLOUR).batch(torch.arange(3))
    found = {
        parameter: torch.zeros(parameter.shape, dtype=torch.float64)
        for parameter in model.parameters()
    }
    with Additions() as additions:
        layers = regular_layers(model, batch, cross_entropy)
        add_by_layer(model, layers, batch, cross_entropy, "squared", found)

    assert len(additions.strides) > len(found)
    assert [(to, what) for to, what in additions.strides if to != what] == []


@pytest.mark.parametrize("groups", [1, 2])
def test_many_weights_taken_row_by_row_give_the_bits_of_all_at_once(groups, monkeypatch):
    """Weights are so many that the products of one sample are alive at a time."""
    torch.manual_seed(5)
    layer = nn.Conv2d(512, 512 * groups, 3, padding=1, groups=groups)
    model = nn.Sequential(layer, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    samples = tiny_samples(4, ImageShape(channels=512, size=3, classes=512))
    in_rows = sums(model, samples)
    assert 2 * layer.weight.numel() > GRADIENT_ELEMENTS["cpu"]
    monkeypatch.setattr(importance_by_layer, "CACHED_ELEMENTS_OF_ONE", layer.weight.numel())
    assert all(map(torch.equal, in_rows, sums(model, samples)))


def test_small_chunks_give_the_same_sums(network_and_samples, monkeypatch):
    model, samples = network_and_samples
    expected = sums(model, samples)
    monkeypatch.setitem(GRADIENT_ELEMENTS, "cpu", 1)
    assert_close(sums(model, samples), expected)


def test_defect_20_importances_do_not_depend_on_order_or_on_the_batches(network_and_samples):
    """70 samples are a batch of 64 and one of 6; a sample of either weighs the same."""
    model, samples = network_and_samples
    expected = sums(model, samples)
    shuffled = samples.take(torch.randperm(70, generator=torch.Generator().manual_seed(0)))
    assert_close(sums(model, shuffled), expected)
    parts = [sums(model, samples.take(part)) for part in torch.split(torch.arange(70), 11)]
    assert_close([sum(tensors) for tensors in zip(*parts, strict=True)], expected)
    assert_close(sums(model, samples, reduction=alone(8)), expected)


def test_forget_and_retain_add_up_to_the_whole_training_set():
    task = tiny_task()
    forget, everything = mean_importances(task, SQUARED_LOSS)
    expected = loop(task.model, tiny_samples())
    assert_close(everything, [total / 48 for total in expected])
    assert_close(forget, [total / 12 for total in loop(task.model, task.forget)])


def importances_on(ranks):
    """Enough samples for five batches, so that both ranks have some."""
    reduction = Reduction(ranks, 4)
    everything = [sums(tiny_network(3), tiny_samples(300), reduction=reduction)]
    everything += [sums(seeded(Mixed), tiny_samples(130, COLOUR), reduction=reduction)]
    torch.manual_seed(2)
    everything += [sums(Twice().eval(), tiny_samples(130), reduction=reduction)]
    return [tensor.numpy() for tensors in everything for tensor in tensors]


def test_defect_13_two_ranks_give_the_bits_of_one():
    expected = importances_on(alone().ranks)
    for rank in on_two_ranks(importances_on):
        for one, other in zip(rank, expected, strict=True):
            assert one.tobytes() == other.tobytes()


def test_the_model_is_left_as_it_was(network_and_samples):
    model, samples = network_and_samples
    model.train()
    next(model.children()).eval()
    next(model.parameters()).requires_grad_(False)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    totals = sums(model, samples)
    assert [module.training for module in model.modules()] == modes
    trainable = [parameter.requires_grad for parameter in model.parameters()]
    assert trainable == [False] + [True] * (len(trainable) - 1)
    assert len(totals) == len(trainable) - 1
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def test_infinite_importances_fail_the_method_and_leave_the_model_as_it_was():
    model = tiny_network(3).train()
    nn.init.constant_(model[-1].weight, float("nan"))
    with pytest.raises(MethodFailed, match="not finite"):
        sums(model, tiny_samples())
    assert all(module.training for module in model.modules())
    assert not any(module._forward_hooks for module in model.modules())


def test_progress_counts_up_to_the_batches_of_this_rank():
    told = []
    sums(
        tiny_network(3),
        tiny_samples(130),
        report=lambda *, done, total, loss, images: told.append((done, total, images, loss.ndim)),
    )
    assert told == [(1, 3, 64, 0), (2, 3, 64, 0), (3, 3, 2, 0)]


def numpy_dampened(theta, of_f, of_d, alpha, lambda_):
    """Weight by weight, as in the paper."""
    result = theta.copy()
    for i in range(theta.size):
        if of_f.flat[i] > alpha * of_d.flat[i]:
            beta = min(1.0, lambda_ * of_d.flat[i] / of_f.flat[i])
            result.flat[i] = theta.flat[i] * type(theta.flat[i])(beta)
    return result


@pytest.mark.parametrize(("alpha", "lambda_"), [(10, 1), (1, 0.5), (0.5, 3), (2, 0), (1e308, 1)])
def test_dampening_equals_a_loop_over_single_weights(alpha, lambda_):
    model = tiny_network(3)
    generator = torch.Generator().manual_seed(4)

    def made(parameter):
        values = torch.rand(parameter.shape, dtype=torch.float64, generator=generator) ** 8
        values[torch.rand(parameter.shape, generator=generator) < 0.2] = 0  # 0/0 and 0/x occur
        return values

    of_f, of_d = ([made(parameter) for parameter in model.parameters()] for _ in range(2))
    expected = [
        numpy_dampened(p.detach().numpy(), f.numpy(), d.numpy(), alpha, lambda_)
        for p, f, d in zip(model.parameters(), of_f, of_d, strict=True)
    ]
    dampen(model, of_f, of_d, alpha=alpha, lambda_=lambda_)
    for parameter, values in zip(model.parameters(), expected, strict=True):
        assert parameter.detach().numpy().tobytes() == values.tobytes()
