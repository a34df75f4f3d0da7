"""Steps as CUDA graphs, with a stand-in that keeps what Python computed (tests/stand_in_graphs.py).

                                        | replayed, with the bits of the eager training
micro-batches 1, 2; fp32, bf16, fp16    |   x
BatchNorm, dropout, augmentation        |   x
images on the device, streamed, joined  |   x
a learning rate that changes each step  |   x
stopped and continued                   |   x

What differs from step to step flows through a tensor: where one of these tensors is not written, a
graph is refused, or the training ends. A graph of other bits, or with an error, is refused, and the
training goes on as if there had been none. Left out: CUDA itself (tests/gpu).
"""

import logging
import random

import pytest
import torch
from torch import nn, optim

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
from supreme_core.engine.training.loss import cross_entropy
from supreme_core.engine.training.observer import Observer
from supreme_core.engine.training.recipe import Recipe
from supreme_core.errors import SpecError, SupremeError
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
    samples = tiny_samples(COUNT)
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
    assert made.replays == parts * 8 * EPOCHS - graphs.LEAVES_BEFORE


def test_replays_count_the_passes_of_a_training_without_graphs():
    took = []
    for new in (None, Made()):
        before = passes.so_far()
        trained(new, network=lambda: counted(dropout_network()))
        took.append(passes.so_far() - before)
    assert took[0] == took[1]


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
    with pytest.raises(SupremeError, match="gave other bits"):
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
    def replay(self):
        if self.replays < 12:
            Graph.replay(self)
        else:
            super().replay()


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
    with pytest.raises(SupremeError, match="nothing of this training is kept"):
        trained(Made(LaterOther))


def test_the_memory_of_graphs_is_given_back_to_a_step_that_lacks_it(monkeypatch, warned):
    expected, failed, computed = trained(), [], EagerLeaves.__call__

    def short(self, step, part):
        leaf = computed(self, step, part)
        if len(part.positions) == 3 and not failed:
            failed.append(part)
            raise torch.OutOfMemoryError("CUDA out of memory")
        return leaf

    monkeypatch.setattr(EagerLeaves, "__call__", short)
    assert trained(Made()) == expected
    assert failed
    assert warned()[0].endswith("the memory that they keep is needed")


class Moves(Observer):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def after_epoch(self):
        weight = self.model[0].weight
        weight.data = weight.data.clone()


def test_weights_that_have_moved_are_noticed(warned):
    digests = []
    for new in (Made(), None):
        model = dropout_network()
        digests.append(trained(new, network=lambda m=model: m, observers=[Moves(model)]))
    assert digests[0] == digests[1]
    assert len(warned()) == 1


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
    assert made[0]._graph.replays == 8 * EPOCHS - graphs.LEAVES_BEFORE
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
        trained(Made(graphs_on(GPU, {})()), device=GPU)
    first, second = gpu.captures
    assert first is second
    assert first.priority < 0


def fails():
    raise torch.OutOfMemoryError("CUDA out of memory")


def fails_later(times=[]):
    times.append(None)
    if len(times) == 2:  # the first time is before the recording
        fails()
    return []


@pytest.mark.parametrize("run", [fails, fails_later])
def test_a_recording_that_fails_is_waited_for_and_leaves_the_stream_as_it_was(run, gpu):
    here = torch.cuda.current_stream(GPU)
    with pytest.raises(torch.OutOfMemoryError):
        graphs.CudaGraph(GPU, None).record(run)
    assert torch.cuda.current_stream(GPU) is here
    assert here.waited_for == [graphs._stream_of_graphs(GPU)]


@pytest.mark.parametrize(("device", "value"), [("cpu", "1"), ("cuda:0", "0"), ("mps", "1")])
def test_there_are_no_graphs_elsewhere_or_where_they_are_turned_off(device, value):
    assert graphs_on(torch.device(device), {graphs.VARIABLE: value}) is None


def test_graphs_are_on_where_nothing_is_said():
    assert graphs_on(GPU, {}) is not None


def test_another_value_is_refused():
    with pytest.raises(SpecError, match="SUPREME_CUDA_GRAPHS is 'no'; it should be 0 or 1"):
        graphs_on(GPU, {graphs.VARIABLE: "no"})
