"""The same experiment gives the same bits on a GPU, however it is computed there.

    again       by another process
    images      on the device | streamed
    processes   1 | 2, each on a GPU of its own, or both on the only one
    killed      never | in mid-training, and started again
    steps       replayed as CUDA graphs | computed without, in each precision
    precision   fp32 | tf32 | bf16 | fp16, each twice
    methods     all, each twice

Left out: more than two processes, several machines.
"""

import pytest

from benchmarks.gpu_bits import OFTEN, Trainer, document, every_method, same
from supreme_core.engine.training.graphs import VARIABLE

pytestmark = pytest.mark.gpu

SECONDS = 600
TWO_PARTS = {"microBatches": 2}
AUGMENTATION = [
    {"name": "random_crop", "params": {"padding": 1}},
    {"name": "rotation", "params": {"degrees": 15}},
    {"name": "horizontal_flip"},
]
GRAPHED = [
    *({"precision": each} for each in ("fp32", "tf32", "bf16", "fp16")),
    {"microBatches": 4},
]


@pytest.fixture(scope="module")
def begun(tmp_path_factory, device):
    """Start a trainer of a document; all that are left are killed in the end."""
    started = []

    def begin(*methods, on=None, ranks=1, environment=None, **changes):
        small = {"width": 2} if device == "cpu" else {}
        folder = tmp_path_factory.mktemp("trainer") / "of"
        made = document(*methods, **{**small, **changes})
        trainer = Trainer(folder, made, on or device, ranks, environment or {})
        started.append(trainer)
        return trainer

    yield begin
    for trainer in started:
        trainer.kill()


def left_by(*trainers):
    """The trainers, after each has come to a good end."""
    for trainer in trainers:
        assert trainer.ended(seconds=SECONDS) == 0, trainer.log
        assert trainer.failures() == []
    return trainers


def assert_same(one, other):
    found = same(one, other)
    assert found["same"], found


@pytest.fixture(scope="module")
def plain(begun):
    """A trainer that is done, of the experiment that others are compared with."""
    return left_by(begun())[0]


def test_another_process_gives_the_same_bits(begun, plain):
    assert_same(plain, *left_by(begun()))


def test_streamed_images_give_the_same_bits(begun, plain):
    assert_same(plain, *left_by(begun(streamed=True)))


def test_two_processes_give_the_bits_of_one(begun):
    assert_same(*left_by(begun(training=TWO_PARTS), begun(ranks=2, training=TWO_PARTS)))


def test_a_training_that_was_killed_goes_on_to_the_same_bits(begun):
    long = {"training": {"epochs": 12}}
    killed = begun(["finetune"], environment=OFTEN, **long)
    assert killed.kill_in_training(seconds=SECONDS), killed.log
    killed.start()
    assert_same(*left_by(begun(["finetune"], **long), killed))
    assert killed.went_on


@pytest.mark.parametrize("precision", ["tf32", "bf16", "fp16"])
def test_a_precision_repeats_its_bits_and_has_others_than_fp32(begun, plain, device, precision):
    if device == "cpu" and precision == "tf32":
        pytest.skip("tf32 is of GPUs only")
    training = {"precision": precision}
    one, other = left_by(begun(training=training), begun(training=training))
    assert_same(one, other)
    assert not same(one, plain)["same"]


@pytest.mark.parametrize(
    "training", GRAPHED, ids=lambda changes: " ".join(map(str, changes.values()))
)
def test_cuda_graphs_give_the_bits_of_steps_without(begun, device, training):
    if device == "cpu" and training.get("precision") == "tf32":
        pytest.skip("tf32 is of GPUs only")
    training = {"epochs": 4, "augmentation": AUGMENTATION, **training}
    graphed, eager = left_by(
        begun(training=training), begun(training=training, environment={VARIABLE: "0"})
    )
    assert_same(graphed, eager)
    assert "without CUDA graphs from here on" not in graphed.log
    assert ("replayed as a CUDA graph" in graphed.log) == (device == "cuda")
    assert "replayed as a CUDA graph" not in eager.log


def test_every_method_repeats_its_bits(begun, device):
    methods = every_method() if device == "cuda" else every_method()[:6]
    assert_same(*left_by(begun(methods), begun(methods)))


def test_a_stage_has_the_key_that_it_has_on_a_cpu(begun, plain):
    (other,) = left_by(begun(on="cpu"))
    assert other.digests().keys() == plain.digests().keys()
