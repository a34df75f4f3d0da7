"""Images that stay in a memory-mapped file give the bits of images on the device.

                | resident | streamed, hints: | 1 and 2 gloo ranks
                |          | given | wrong | none |
images          |    x     |   x   |   x   |  x   |
predictions     |    x     |   x   |   x   |  x   |        x
importances     |    x     |   x   |   x   |  x   |        x
training        |    x     |   x   |   x   |  x   |        x     augmented; two of four parts a rank

Left out: CUDA, where batches go through pinned memory and a stream of their own; and a file that
is cut short under its map, which ends a process (SIGBUS) and cannot be caught.
"""

import hashlib
import os
import threading

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from supreme_core.api.v1alpha1 import Component, Training
from supreme_core.engine.evaluation.prediction import predict
from supreme_core.engine.evaluation.reproducibility import THREADS
from supreme_core.engine.images.samples import ImageSource, JoinedSource, Samples, TensorSource
from supreme_core.engine.images.streaming import (
    StreamedPixels,
    free_memory,
    placed,
    placement,
    tensor_of,
)
from supreme_core.engine.ranks.device import EVALUATION_BATCH
from supreme_core.engine.ranks.ranks import Ranks
from supreme_core.engine.ranks.reduction import Reduction
from supreme_core.engine.toolbox.importance import importance_sums
from supreme_core.engine.training.fit import fit, unreported
from supreme_core.engine.training.loss import cross_entropy
from supreme_core.engine.training.numerics import NumericsPolicy
from supreme_core.engine.training.recipe import Recipe
from supreme_core.errors import SpecError
from tests.builders import tiny_network
from tests.real_ranks import on_two_ranks

CPU = torch.device("cpu")
ALONE = Ranks.alone(CPU)
COUNT = 2 * EVALUATION_BATCH["cpu"] + 88
SHAPE = (1, 8, 8)

RECIPE = Training(
    epochs=2,
    batch_size=100,
    micro_batches=4,
    augmentation=[Component(name=name) for name in ("random_crop", "horizontal_flip", "rotation")],
)


class WronglyHinted(StreamedPixels):
    def ahead(self, ids):
        super().ahead((ids + 1) % len(self))


class NeverHinted(StreamedPixels):
    def ahead(self, ids):
        """Say nothing."""


KINDS = {
    "resident": lambda values: placed(values, "Resident", CPU),
    "streamed": lambda values: placed(values, "Streamed", CPU),
    "wrong hints": lambda values: WronglyHinted(tensor_of(values), CPU),
    "no hints": lambda values: NeverHinted(tensor_of(values), CPU),
}

every_kind = pytest.mark.parametrize("kind", KINDS)
streamed_kinds = pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "resident"])


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(THREADS)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "train_images.npy"
    np.save(path, np.random.default_rng(4).integers(0, 256, (COUNT, *SHAPE), dtype=np.uint8))
    return path


def mapped(file):
    """Return an array that is mapped into memory, as a dataset's arrays of a store are."""
    return np.load(file, mmap_mode="r")


def samples_of(file, kind):
    half, quarter = torch.full((1,), 0.5), torch.full((1,), 0.25)
    ids = torch.arange(COUNT)
    return Samples(ImageSource(KINDS[kind](mapped(file)), half, quarter), ids, ids % 4)


def digest(*arrays):
    whole = hashlib.sha256()
    for array in arrays:
        whole.update(np.ascontiguousarray(array).tobytes())
    return whole.hexdigest()


def everything(ranks, file, kind):
    """Digests of what a model says of images, of importances, and of what it learns from them."""
    samples, reduction = samples_of(file, kind), Reduction(ranks, RECIPE.micro_batches)
    said = predict(tiny_network(3), samples, classes=4, ranks=ranks)
    sums = importance_sums(
        tiny_network(3),
        samples,
        loss=cross_entropy,
        power="squared",
        reduction=reduction,
        report=unreported,
    )
    model = tiny_network(3)
    how = Recipe.of(RECIPE).fit(11)
    fit(model, samples, how, seed=11, numerics=NumericsPolicy(reduction), report=unreported)
    return {
        "predictions": digest(said),
        "importances": digest(*sums),
        "training": digest(*model.state_dict().values()),
    }


@pytest.fixture(scope="module")
def resident(file):
    torch.set_num_threads(THREADS)
    return everything(ALONE, file, "resident")


class Counting(StreamedPixels):
    """Counts the batches that were asked for after a hint, and those without one."""

    def __init__(self, values, device):
        super().__init__(values, device)
        self.taken = {True: 0, False: 0}

    def take(self, ids):
        self.taken[self._hinted is not None and torch.equal(self._hinted[0], ids)] += 1
        return super().take(ids)


@pytest.mark.parametrize("batch_norm", ["micro_batch", "batch"])
def test_a_training_hints_at_all_batches_but_the_first_of_an_epoch(file, batch_norm):
    pixels = Counting(tensor_of(mapped(file)), CPU)
    samples = Samples(
        ImageSource(pixels, torch.full((1,), 0.5), torch.full((1,), 0.25)),
        torch.arange(COUNT),
        torch.arange(COUNT) % 4,
    )
    numerics = NumericsPolicy(Reduction(ALONE, RECIPE.micro_batches), batch_norm=batch_norm)
    how = Recipe.of(RECIPE).fit(11)
    fit(tiny_network(3), samples, how, seed=11, numerics=numerics, report=unreported)

    parts = -(-COUNT // RECIPE.batch_size) * RECIPE.micro_batches
    assert pixels.taken == {True: 2 * (parts - 1), False: 2}


class TestSameBits:
    @streamed_kinds
    def test_on_one_rank(self, file, resident, kind):
        assert everything(ALONE, file, kind) == resident

    @every_kind
    def test_on_two_ranks(self, file, resident, kind):
        assert on_two_ranks(everything, file, kind) == [resident, resident]

    @every_kind
    def test_a_loop_that_tells_of_its_next_part_gets_the_batches_of_one_that_does_not(
        self, file, kind
    ):
        """A step of training does the same: the parts of a step, then the first part of the
        next."""
        samples, augment = samples_of(file, kind), Recipe.of(RECIPE).fit(11).augment(0)
        plain = samples_of(file, "resident")
        parts = torch.split(torch.randperm(COUNT, generator=torch.Generator().manual_seed(2)), 25)

        for batch, part in zip(samples.batches(parts, augment), parts, strict=True):
            expected = plain.batch(part, augment)
            for field in ("images", "labels", "ids"):
                assert torch.equal(getattr(batch, field), getattr(expected, field))


ids_or_nothing = st.lists(st.integers(0, 9), max_size=6).map(torch.tensor)


class Noting(torch.Tensor):
    """A tensor that notes which thread gathers from it."""

    threads: list

    @classmethod
    def __torch_function__(cls, function, types, arguments=(), options=None):
        if function is torch.Tensor.index_select:
            cls.threads.append(threading.current_thread())
        return super().__torch_function__(function, types, arguments, options or {})


@pytest.fixture
def noted():
    """Streamed images, and the thread of each gathering of them."""
    Noting.threads = []
    values = torch.arange(40, dtype=torch.uint8).view(10, 1, 2, 2).as_subclass(Noting)
    return StreamedPixels(values, CPU), Noting.threads


class TestStreamedPixels:
    @given(st.lists(st.tuples(st.booleans(), ids_or_nothing, ids_or_nothing), max_size=5))
    def test_what_is_taken_is_what_was_asked_for_whatever_was_hinted(self, steps):
        values = torch.arange(40, dtype=torch.uint8).view(10, 1, 2, 2)
        pixels = StreamedPixels(values, CPU)
        for hints, hinted, asked in steps:
            if hints:
                pixels.ahead(hinted.long())
            assert torch.equal(pixels.take(asked.long()), values[asked.long()])

    def test_a_batch_that_was_hinted_at_is_gathered_once_and_by_another_thread(self, noted):
        pixels, threads = noted
        pixels.ahead(torch.tensor([3, 1]))
        assert pixels.take(torch.tensor([3, 1]))[:, 0, 0, 0].tolist() == [12, 4]
        assert len(threads) == 1
        assert threads[0] is not threading.current_thread()

    @pytest.mark.parametrize("hint", [None, [1, 3], [3], []], ids=str)
    def test_another_batch_is_gathered_when_it_is_taken(self, noted, hint):
        pixels, threads = noted
        if hint is not None:
            pixels.ahead(torch.tensor(hint, dtype=torch.int64))
        assert pixels.take(torch.tensor([3, 1]))[:, 0, 0, 0].tolist() == [12, 4]
        assert threading.current_thread() in threads

    def test_a_hint_serves_once(self, noted):
        pixels, threads = noted
        ids = torch.tensor([3, 1])
        pixels.ahead(ids)
        first, second = pixels.take(ids), pixels.take(ids)
        assert torch.equal(first, second)
        assert first.data_ptr() != second.data_ptr()
        assert len(threads) == 2

    def test_what_is_taken_may_be_changed_and_the_file_stays(self, file):
        before = file.read_bytes()
        pixels, ids = StreamedPixels(tensor_of(mapped(file)), CPU), torch.arange(5)
        pixels.ahead(ids)
        pixels.take(ids).zero_()
        assert np.array_equal(pixels.take(ids), mapped(file)[:5])
        assert file.read_bytes() == before

    def test_a_number_without_an_image_is_an_error_where_it_is_taken(self, file):
        pixels, ids = StreamedPixels(tensor_of(mapped(file)), CPU), torch.tensor([COUNT])
        pixels.ahead(ids)
        with pytest.raises(IndexError):
            pixels.take(ids)


@pytest.fixture
def huge_file(tmp_path):
    """A file of half as many bytes again as the machine's memory; all but its ends is a hole."""
    image = np.full(SHAPE, 7, dtype=np.uint8)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    count = memory * 3 // 2 // image.nbytes
    path = tmp_path / "train_images.npy"
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (count, *SHAPE)}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(image.tobytes())
        file.seek((count - 2) * image.nbytes, os.SEEK_CUR)
        file.write(image.tobytes())
    yield path
    path.unlink()


@pytest.mark.parametrize("where", ["Resident", "Streamed"])
def test_a_set_that_is_larger_than_the_memory_of_a_machine_without_a_gpu_is_used(huge_file, where):
    pixels = placed(mapped(huge_file), where, CPU)
    assert pixels.take(torch.tensor([0, 1, len(pixels) - 1]))[:, 0, 0, 0].tolist() == [7, 0, 7]


class Diary(TensorSource):
    """A source that notes what it was asked, in order."""

    def __init__(self, count):
        super().__init__(torch.arange(count, dtype=torch.float32).view(-1, 1, 1, 1))
        object.__setattr__(self, "lines", [])

    def images(self, ids, augment):
        self.lines.append(("images", ids.tolist()))
        return super().images(ids, augment)

    def ahead(self, ids):
        self.lines.append(("ahead", ids.tolist()))


class TestHints:
    def test_each_batch_but_the_first_is_hinted_at_before_the_one_before_it_is_used(self):
        source, ids = Diary(6), torch.tensor([5, 4, 3, 2, 1, 0])
        used = Samples(source, ids, ids).batches([torch.arange(4), torch.tensor([4, 5])])

        next(used)
        assert source.lines == [("images", [5, 4, 3, 2]), ("ahead", [1, 0])]
        next(used)
        assert source.lines[2:] == [("images", [1, 0])]
        assert list(used) == []

    def test_joined_sources_are_told_what_is_theirs(self):
        first, second = Diary(3), Diary(4)
        JoinedSource(first, second).ahead(torch.tensor([5, 0, 3, 2]))
        assert first.lines == [("ahead", [0, 2])]
        assert second.lines == [("ahead", [2, 0])]

    def test_a_prediction_and_importances_tell_of_every_batch_but_the_first(self):
        for work in (self.predict, self.importances):
            source = Diary(600)
            ids = torch.arange(600)
            work(Samples(source, ids, torch.zeros_like(ids)))
            asked = [ids for what, ids in source.lines if what == "images" and len(ids) > 3]
            assert [ids for what, ids in source.lines if what == "ahead"] == asked[1:]
            assert [number for ids in asked for number in ids] == list(range(600))

    @staticmethod
    def predict(samples):
        predict(torch.nn.Flatten(), samples, classes=1, ranks=ALONE)

    @staticmethod
    def importances(samples):
        importance_sums(
            torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1, 2)),
            samples,
            loss=cross_entropy,
            power="squared",
            reduction=Reduction(ALONE, 4),
            report=unreported,
        )


GIGABYTE = 10**9


class TestPlacement:
    @pytest.mark.parametrize(
        ("asked", "gigabytes", "free", "expected"),
        [
            ("Auto", 10, 20, "Resident"),
            ("Auto", 11, 20, "Streamed"),
            ("Auto", 11, None, "Resident"),
            ("Resident", 20, 20, "Resident"),
            ("Resident", 11, None, "Resident"),
            ("Streamed", 1, 20, "Streamed"),
            ("Streamed", 1, None, "Streamed"),
        ],
    )
    def test_half_of_the_free_memory_is_the_border_unless_somebody_decides(
        self, asked, gigabytes, free, expected
    ):
        free_bytes = None if free is None else free * GIGABYTE
        found = placement(asked, image_bytes=gigabytes * GIGABYTE, free_bytes=free_bytes)
        assert found == expected

    def test_a_set_that_cannot_be_resident_is_refused_with_both_sizes(self):
        with pytest.raises(SpecError) as error:
            placement("Resident", image_bytes=21 * GIGABYTE, free_bytes=20 * GIGABYTE)
        assert str(error.value) == (
            "spec.execution.dataPlacement is Resident, but the images take 21.0 GB and the device"
            " has 20.0 GB free; use Auto or Streamed"
        )

    def test_a_cpu_has_no_memory_of_its_own(self):
        assert free_memory(CPU) is None

    def test_on_a_cpu_resident_images_are_the_mapped_file_itself(self, file):
        values = mapped(file)
        assert placed(values, "Resident", CPU).values.data_ptr() == values.ctypes.data
