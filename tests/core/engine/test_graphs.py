"""Steps as CUDA graphs, with a stand-in that keeps what Python computed (tests/stand_in_graphs.py).

                                        | replayed, with the bits of the eager training
micro-batches 1, 2; fp32, bf16, fp16    |   x
BatchNorm, dropout, augmentation        |   x
images on the device, streamed, joined  |   x
a learning rate that changes each step  |   x
stopped and continued                   |   x

What differs from step to step flows through a tensor: where one of these tensors is not written, a
graph is refused, or the training ends. A graph of other bits, or with an error, is refused, and the
training goes on as if there had been none. Several ranks: test_numerics.py. Left out: CUDA itself
(tests/gpu).
"""

import logging
import random
import weakref
from functools import partial

import pytest
import torch
from timm.models import VisionTransformer
from torch import nn, optim
from torch.nn.modules.module import register_module_forward_hook
from torchvision.models.convnext import CNBlockConfig, ConvNeXt

from supreme_core import registry
from supreme_core.api.v1alpha1 import Component, Training
from supreme_core.engine.images.randomness import global_seed
from supreme_core.engine.images.samples import ImageSource, JoinedSource, Samples, TensorSource
from supreme_core.engine.images.streaming import StreamedPixels
from supreme_core.engine.networks import passes
from supreme_core.engine.networks.passes import counted
from supreme_core.engine.ranks.interruption import Interruption, Terminated
from supreme_core.engine.ranks.ranks import Ranks
from supreme_core.engine.training import graphs
from supreme_core.engine.training.checkpoint import Checkpoints
from supreme_core.engine.training.fit import Fit, fit, unreported
from supreme_core.engine.training.gradients import EagerLeaves
from supreme_core.engine.training.graphs import graphs_on
from supreme_core.engine.training.loss import cross_entropy, steady
from supreme_core.engine.training.observer import Observer
from supreme_core.engine.training.recipe import Recipe
from supreme_core.errors import GraphFault, SpecError
from tests.builders import Slot, digest, plain, tiny_samples, tiny_task
from tests.core.components.methods.test_every_method import AUGMENTATION as METHODS_SEE
from tests.core.components.methods.test_every_method import ENTRIES, FORGETS, unlearn
from tests.simulated_gpu import GPU, simulated_gpu
from tests.stand_in_graphs import Graph

COUNT, BATCH, EPOCHS = 67, 8, 3
"""Eight steps of 8 samples and one of 3 in each epoch."""

AUGMENTATION = [
    Component(name="random_crop", params={"padding": 1}),
    Component(name="rotation", params={"degrees": 15}),
    Component(name="horizontal_flip"),
]


def dropout_network():
    with global_seed(5):
        layers = nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.Dropout(0.5)
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64, 4))


def streamed():
    return streamed_samples(COUNT)


def streamed_samples(count):
    samples = tiny_samples(count)
    source = samples.source
    pixels = StreamedPixels(source.pixels.values, torch.device("cpu"))
    return Samples(ImageSource(pixels, source.mean, source.std), samples.ids, samples.labels)


def made():
    samples = tiny_samples(COUNT)
    images = samples.source.images(samples.ids, None)
    return Samples(TensorSource(images), samples.ids, samples.labels)


def joined():
    samples = tiny_samples(COUNT)
    source = JoinedSource(TensorSource(made().source.pixels[:30]), samples.source)
    return Samples(source, samples.ids, samples.labels)


def trained(
    new_graph=None,
    *,
    network=dropout_network,
    samples=None,
    micro_batches=1,
    precision="fp32",
    augmentation=AUGMENTATION,
    loss=cross_entropy,
    device="cpu",
    observers=(),
    checkpoints=None,
    report=unreported,
    is_enough=None,
):
    """The digest of a network after three epochs with a learning rate that falls at each step."""
    recipe = Recipe.of(Training(epochs=EPOCHS, batch_size=BATCH, augmentation=augmentation))
    how = Fit(
        epochs=EPOCHS,
        batch_size=BATCH,
        optimizer=lambda parameters: optim.SGD(parameters, lr=0.1, momentum=0.9),
        max_gradient_norm=1.0,
        rate=lambda epoch: 1 / (1 + epoch),
        augment=recipe.augmentation(3) if augmentation else None,
        observers=observers,
        is_enough=is_enough,
    )
    numerics = plain(
        micro_batches,
        device,
        precision=precision,
        graphs=None if new_graph is None else lambda: new_graph,
    )
    model = network().to(device)
    fit(
        model,
        samples or tiny_samples(COUNT, device=device),
        how,
        seed=1,
        numerics=numerics,
        report=report,
        loss=loss,
        checkpoints=checkpoints,
    )
    return digest(model.cpu())


@pytest.fixture(autouse=True)
def short_trainings(monkeypatch):
    """Let trainings of a few steps be replayed too."""
    monkeypatch.setattr(graphs, "FEWEST_STEPS", 0)


class Made(list):
    """Graphs that were made, of a kind."""

    def __init__(self, kind=Graph):
        self.kind = kind

    def __call__(self):
        self.append(self.kind())
        return self[-1]

    @property
    def replays(self):
        return sum(graph.replays for graph in self)


@pytest.fixture
def warned(caplog):
    """Give the lines that were logged as warnings until then."""
    caplog.set_level(logging.WARNING, logger=graphs.__name__)
    return lambda: caplog.messages


CASES = {
    "augmented": {},
    "plain": {"augmentation": []},
    "two micro-batches": {"micro_batches": 2},
    "bf16": {"precision": "bf16"},
    "fp16": {"precision": "fp16"},
    "streamed": {"samples": streamed},
    "made": {"samples": made},
    "joined": {"samples": joined},
}


@pytest.mark.parametrize("case", CASES)
def test_a_training_by_graphs_has_the_bits_of_one_without(case, warned):
    made, changes = Made(), dict(CASES[case])
    if samples := changes.pop("samples", None):
        by_graphs = trained(made, samples=samples(), **changes)
        assert by_graphs == trained(samples=samples(), **changes)
    else:
        assert trained(made, **changes) == trained(**changes)
    assert warned() == []
    assert len(made) == 1
    parts = changes.get("micro_batches", 1)
    assert 0 <= made.replays - (parts * 8 * EPOCHS - graphs.LEAVES_BEFORE) <= EPOCHS


def test_replays_count_the_passes_of_a_training_without_graphs():
    took = []
    for new in (None, Made()):
        before = passes.so_far()
        trained(new, network=lambda: counted(dropout_network()))
        took.append(passes.so_far() - before)
    assert took[0] == took[1]


def with_stochastic_depth(library):
    """Give a network of a library that leaves blocks out at random."""
    with global_seed(5):
        if library == "timm":
            sizes = {"img_size": 8, "patch_size": 4, "embed_dim": 8, "depth": 2, "num_heads": 2}
            return VisionTransformer(**sizes, in_chans=1, num_classes=4, drop_path_rate=0.5)
        blocks = [CNBlockConfig(4, 8, 1), CNBlockConfig(8, None, 1)]
        network = ConvNeXt(blocks, stochastic_depth_prob=0.5, num_classes=4)
        return nn.Sequential(nn.Conv2d(1, 3, 1), nn.Upsample(16), network)


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_networks_of_libraries_are_replayed(library, warned):
    made, network = Made(), partial(with_stochastic_depth, library)
    assert trained(made, network=network) == trained(network=network)
    assert made
    assert warned() == []


@pytest.mark.parametrize("stop_at", [3, 7, 13])
def test_a_training_that_was_stopped_goes_on_by_graphs_to_the_same_bits(stop_at, warned):
    slot, new = Slot(), Made()

    def attempt(after):
        interruption = Interruption(exit_code=75)
        checkpoints = Checkpoints(Ranks.alone(torch.device("cpu")), interruption, slot)

        def report(*, done, **told):
            interruption.requested = done == after

        return trained(new, checkpoints=checkpoints, report=report)

    with pytest.raises(Terminated):
        attempt(stop_at)
    assert attempt(None) == trained()
    assert new
    assert warned() == []


def test_a_training_of_few_steps_is_not_recorded(monkeypatch):
    new = Made()
    monkeypatch.setattr(graphs, "FEWEST_STEPS", 9 * EPOCHS + 1)
    trained(new)
    assert new == []
    monkeypatch.setattr(graphs, "FEWEST_STEPS", 9 * EPOCHS)
    trained(new)
    assert new


# What differs from step to step


def unwritten(self, step, part):
    if not self.is_complete:
        WRITE(self, step, part)


WRITE = graphs._SampleNumbers.write


def test_a_graph_that_keeps_its_samples_is_refused(monkeypatch, warned):
    monkeypatch.setattr(graphs._SampleNumbers, "write", unwritten)
    assert trained(Made()) == trained()
    assert warned() == [
        "steps are computed without CUDA graphs from here on: a replay gives other bits"
    ]


def test_an_epoch_with_the_augmentation_of_the_one_before_ends_the_training(monkeypatch):
    monkeypatch.setattr(
        graphs._SampleNumbers, "_write_start", only_once(graphs._SampleNumbers._write_start)
    )
    with pytest.raises(GraphFault, match="gave other bits"):
        trained(Made())


def only_once(function):
    def write(self, place, stream):
        if not self.is_complete:
            function(self, place, stream)

    return write


def test_a_graph_that_keeps_its_dropout_is_refused(monkeypatch, warned):
    class OwnSeed(Graph):
        def replay(self):
            torch.default_generator.manual_seed(1)
            super().replay()

    assert trained(Made(OwnSeed)) == trained()
    assert len(warned()) == 1


# Graphs that prove themselves wrong


class OtherGradient(Graph):
    def record(self, run):
        self.found = super().record(run)
        return self.found

    def replay(self):
        super().replay()
        self.found[0].view(-1)[0].nextafter_(torch.tensor(9.0))


class OtherStatistic(OtherGradient):
    """Moves what lies in no result: a buffer of the network, by an operation more."""

    def replay(self):
        Graph.replay(self)
        for func, args, *_ in self.calls:
            if "batch_norm" in func._schema.name and "backward" not in func._schema.name:
                args[3].add_(1)


class LaterOther(OtherGradient):
    right = 12

    def replay(self):
        if self.replays < self.right:
            Graph.replay(self)
        else:
            super().replay()


class OtherAtTheEnd(LaterOther):
    """Goes wrong when no replay is compared any more before the last epoch ends."""

    right = 19


class OtherBeforeACheckpoint(LaterOther):
    """Goes wrong after it was compared for the third time, and before the fourth."""

    right = 5


class NoRecord(Graph):
    def record(self, run):
        super().record(run)
        raise torch.OutOfMemoryError("CUDA out of memory")


class NoReplay(Graph):
    def replay(self):
        super().replay()
        raise RuntimeError("CUDA error: invalid argument")


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (OtherGradient, "a replay gives other bits"),
        (OtherStatistic, "a replay gives other bits"),
        (NoRecord, "OutOfMemoryError: CUDA out of memory"),
        (NoReplay, "RuntimeError: CUDA error: invalid argument"),
    ],
)
@pytest.mark.parametrize("micro_batches", [1, 2])
def test_a_training_goes_on_without_a_graph_that_fails(kind, why, micro_batches, warned):
    made = Made(kind)
    assert trained(made, micro_batches=micro_batches) == trained(micro_batches=micro_batches)
    assert len(made) == 1
    assert warned() == [f"steps are computed without CUDA graphs from here on: {why}"]


def test_a_difference_after_a_graph_was_trusted_ends_the_training():
    with pytest.raises(GraphFault, match="nothing since its last checkpoint is kept"):
        trained(Made(LaterOther))


@pytest.mark.parametrize("is_enough", [None, 3 * 9 - 1])
def test_no_training_ends_before_its_graphs_have_proved_themselves(is_enough):
    with pytest.raises(GraphFault, match="gave other bits"):
        trained(Made(OtherAtTheEnd), is_enough=is_enough and is_enough.__eq__)


def test_no_checkpoint_is_written_before_graphs_have_proved_themselves():
    slot, interruption = Slot(), Interruption(exit_code=75)
    checkpoints = Checkpoints(Ranks.alone(torch.device("cpu")), interruption, slot)

    def report(*, done, **told):
        interruption.requested = done == 9 + 2

    with pytest.raises(GraphFault, match="gave other bits"):
        trained(Made(OtherBeforeACheckpoint), checkpoints=checkpoints, report=report)
    assert slot.read() is None


class Forgotten(Made):
    """Graphs that live as long as somebody else needs them."""

    def __call__(self):
        graph = self.kind()
        self.append(weakref.ref(graph))
        return graph

    def alive(self):
        return [each for each in self if each() is not None]


@pytest.mark.parametrize("size", [3, 8])
def test_the_memory_of_graphs_is_given_back_to_a_step_that_lacks_it(size, monkeypatch, warned):
    """Steps of 3 samples have no graph; of 8, a step is computed to be compared."""
    expected, alive, new, computed = trained(), [], Forgotten(), EagerLeaves.__call__

    def short(self, step, part):
        if new and len(part.positions) == size:
            alive.append(len(new.alive()))
            if alive[-1]:
                raise torch.OutOfMemoryError("CUDA out of memory")
        return computed(self, step, part)

    monkeypatch.setattr(EagerLeaves, "__call__", short)
    assert trained(new) == expected
    assert alive[:2] == [1, 0]
    assert warned()[0].endswith("the memory that they keep is needed")


NOT_COMPARED = 5
"""Replays before one of the second epoch that is not compared."""


class Unlaunched(Graph):
    def replay(self):
        if self.replays == NOT_COMPARED:
            raise RuntimeError("a launch was refused")
        super().replay()


def test_a_replay_that_fails_ends_the_training_with_one_error():
    with pytest.raises(GraphFault, match=r"could not be replayed \(RuntimeError: a launch") as told:
        trained(Made(Unlaunched))
    assert "SUPREME_CUDA_GRAPHS=0" in str(told.value)


def test_a_fault_of_the_device_in_a_replay_stays_one():
    class Broken(Graph):
        def replay(self):
            if self.replays == NOT_COMPARED:
                raise RuntimeError("CUDA error: an illegal memory access was encountered")
            super().replay()

    with pytest.raises(RuntimeError, match="illegal memory access"):
        trained(Made(Broken))


@pytest.mark.parametrize("samples", [tiny_samples, streamed_samples])
def test_what_fails_before_a_replay_is_computed_without(samples, monkeypatch, warned):
    expected = trained(samples=samples(COUNT))
    kind = graphs._SampleNumbers if samples is tiny_samples else graphs._GivenBatch
    write, times = kind.write, []

    def short(self, step, part):
        times.append(part)
        if len(times) == 6:
            raise torch.OutOfMemoryError("CUDA out of memory")
        write(self, step, part)

    monkeypatch.setattr(kind, "write", short)
    new = Made()
    assert trained(new, samples=samples(COUNT)) == expected
    assert len(times) == 6
    assert warned()[0].endswith("OutOfMemoryError: CUDA out of memory")


def test_the_reason_is_what_failed_first(warned):
    """The end of a recording fails too where something in it did."""

    class Refused(Graph):
        def record(self, run):
            try:
                raise RuntimeError("CUDA error: operation not permitted when stream is capturing")
            finally:
                raise RuntimeError("CUDA error: operation failed due to a previous error")

    trained(Made(Refused))
    assert warned()[0].endswith("operation not permitted when stream is capturing")


class Moves(Observer):
    """Moves weights at the end of an epoch, the first or the second: by the latter, replays have
    been used that were not compared yet."""

    def __init__(self, model, epoch=1):
        super().__init__()
        self.model, self.left = model, epoch

    def after_epoch(self):
        self.left -= 1
        if self.left == 0:
            weight = self.model[0].weight
            weight.data = weight.data * 0.5


@pytest.mark.parametrize("epoch", [1, 2])
def test_weights_that_have_moved_are_noticed(epoch, warned):
    digests = []
    for new in (Made(), None):
        model = dropout_network()
        digests.append(trained(new, network=lambda m=model: m, observers=[Moves(model, epoch)]))
    assert digests[0] == digests[1]
    assert len(warned()) == 1


class Replaces(Moves):
    def after_epoch(self):
        self.model[1].running_mean = self.model[1].running_mean.clone()


def test_buffers_that_are_others_are_noticed(warned):
    model = dropout_network()
    trained(Made(), network=lambda: model, observers=[Replaces(model)])
    assert [line.partition(": ")[2] for line in warned()] == [graphs.MOVED]


def test_a_teacher_whose_weights_have_moved_is_noticed(warned):
    digests = []
    for new in (Made(), None):
        teacher = dropout_network().eval().requires_grad_(False)

        @steady
        def loss(model, batch, teacher=teacher):
            return (model(batch.images) - teacher(batch.images)).square().sum(dim=1)

        digests.append(trained(new, loss=loss, observers=[Moves(teacher)]))
    assert digests[0] == digests[1]
    assert [line.partition(": ")[2] for line in warned()] == [graphs.MOVED]


def test_what_a_graph_reads_lives_as_long_as_it():
    """The memory of a tensor that a method has let go could be anybody's."""
    table = torch.ones(4)
    weights, held = [table], weakref.ref(table.untyped_storage())
    del table

    @steady
    def loss(model, batch):
        weight = weights[0]
        return cross_entropy(model, batch) * weight[batch.labels]

    def report(*, done, **told):
        if done == 10:
            weights[0] = torch.ones(4)
        alive.append(held() is not None)

    alive = []
    trained(Made(), loss=loss, report=report)
    assert alive[10]


# Methods


TRAINS = [entry.name for entry in registry.method.entries() if entry.facts.trains]
FORGETTING = {name: ENTRIES[name].facts.forgets[0] for name in TRAINS}


@pytest.mark.parametrize("name", TRAINS)
def test_a_method_replays_its_steps_and_leaves_what_it_leaves_without(name, monkeypatch, warned):
    monkeypatch.setattr(graphs, "LEAVES_BEFORE", 0)
    digests, made = [], Made()
    for by_graphs in (None, lambda: made):
        how = FORGETS[FORGETTING[name]]
        task = tiny_task(**how, numerics=plain(1, graphs=by_graphs), augmentation=METHODS_SEE)
        unlearn(task, name)
        digests.append(digest(task.model))
    assert digests[0] == digests[1]
    assert warned() == []
    assert made


# What no graph is made of


class Chancy(nn.Module):
    """A layer of a plug-in."""

    def forward(self, images):
        return images * random.choice([1.0, 2.0])


def test_no_graph_is_made_of_a_loss_that_is_not_known():
    new = Made()
    trained(new, loss=lambda model, batch: cross_entropy(model, batch))
    assert new == []


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_no_graph_is_made_of_a_network_that_is_not_known(precision):
    new = Made()
    trained(new, network=lambda: nn.Sequential(Chancy(), dropout_network()), precision=precision)
    trained(new, network=lambda: Root(*dropout_network()), precision=precision)
    assert new == []


class Root(nn.Sequential):
    """A whole network of a plug-in."""


def doubled(module, inputs, output):
    return 2 * output


HOOKED = {
    "forward": lambda net: net[0].register_forward_hook(doubled),
    "before": lambda net: net[0].register_forward_pre_hook(lambda module, inputs: None),
    "backward": lambda net: net[4].register_full_backward_hook(lambda module, *found: None),
    "gradient": lambda net: net[0].weight.register_hook(lambda gradient: 2 * gradient),
    "own forward": lambda net: setattr(net[0], "forward", net[0].forward),
}


@pytest.mark.parametrize("hook", HOOKED)
def test_no_graph_is_made_of_a_network_with_hooks_of_others(hook):
    new, network = Made(), dropout_network()
    HOOKED[hook](network)
    trained(new, network=lambda: network)
    assert new == []


def test_no_graph_is_made_where_all_modules_have_a_hook():
    new = Made()
    handle = register_module_forward_hook(lambda *words: None)
    try:
        trained(new)
    finally:
        handle.remove()
    assert new == []


def test_random_numbers_of_python_are_noticed(monkeypatch, warned):
    monkeypatch.setattr(graphs, "KNOWN", (*graphs.KNOWN, f"{__name__}."))
    random.seed(1)
    new = Made()
    trained(new, network=lambda: nn.Sequential(Chancy(), dropout_network()))
    assert new == []
    assert "random numbers of Python" in warned()[0]


def test_a_step_that_waits_for_the_device_goes_on_without_a_graph(warned):
    def network():
        made = dropout_network()
        made[1].momentum = None  # a mean over all batches, whose number the host asks for
        return made

    assert trained(Made(), network=network) == trained(network=network)
    assert "not permitted when stream is capturing" in warned()[0]


# On a GPU


def test_a_simulated_gpu_replays_steps_and_no_replay_waits():
    with simulated_gpu() as eager:
        expected = trained(device=GPU)
    with simulated_gpu() as gpu:
        made = Made(graphs_on(GPU, {})())
        assert trained(made, device=GPU) == expected
    assert 0 <= made[0]._graph.replays - (8 * EPOCHS - graphs.LEAVES_BEFORE) <= EPOCHS
    assert gpu.in_steps() == eager.in_steps()


@pytest.fixture
def gpu():
    graphs._stream_of_graphs.cache_clear()
    with simulated_gpu() as gpu:
        yield gpu
    graphs._stream_of_graphs.cache_clear()


def test_all_graphs_are_recorded_in_a_stream_that_nobody_else_can_have(gpu):
    """Images are sent in streams of the usual priority, which torch gives in turn, 32 in all."""
    for _ in range(2):
        graphs.CudaGraph(GPU, None).record(list)
    first, second = gpu.captures
    assert first is second
    assert first.priority < 0


@pytest.mark.parametrize("good_runs", [0, 1])
def test_a_recording_that_fails_is_waited_for_and_leaves_the_stream_as_it_was(good_runs, gpu):
    """The first run is before the recording."""
    here, runs = torch.cuda.current_stream(GPU), [[]] * good_runs
    with pytest.raises(IndexError):
        graphs.CudaGraph(GPU, None).record(runs.pop)
    assert torch.cuda.current_stream(GPU) is here
    assert here.waited_for == [graphs._stream_of_graphs(GPU)]


@pytest.mark.parametrize(("device", "value"), [("cpu", "1"), ("cuda:0", "0"), ("mps", "1")])
def test_there_are_no_graphs_elsewhere_or_where_they_are_turned_off(device, value):
    assert graphs_on(torch.device(device), {graphs.VARIABLE: value}) is None


def test_graphs_are_on_where_nothing_is_said():
    assert graphs_on(GPU, {}) is not None


@pytest.mark.parametrize(("version", "is_on"), [("2.14.1+cu130", False), ("2.15.0", True)])
def test_a_torch_that_does_not_end_failed_recordings_has_none(version, is_on, monkeypatch):
    monkeypatch.setattr(torch, "__version__", version)
    assert (graphs_on(GPU, {}) is not None) == is_on


def test_another_value_is_refused():
    with pytest.raises(SpecError, match="SUPREME_CUDA_GRAPHS is 'no'; it should be 0 or 1"):
        graphs_on(GPU, {graphs.VARIABLE: "no"})
