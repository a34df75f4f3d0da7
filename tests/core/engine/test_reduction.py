"""Sums over micro-batches and ranks: who adds what, in which order.

                                        | one rank | 2, 4, 8 ranks by arithmetic | 2 gloo ranks
order of the additions                  |    x     |                             |      x
parts of a batch                        |    x     |              x              |
tree_sum, gather_rows, each, share      |    x     |                             |      x

Left out: four and more real processes, nccl.
"""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from supreme_core.engine.ranks.ranks import FEW_NUMBERS, Ranks
from supreme_core.engine.ranks.reduction import Reduction
from supreme_core.errors import SpecError
from tests.builders import alone
from tests.real_ranks import on_two_ranks

CPU = torch.device("cpu")
POWERS = (1, 2, 4, 8, 16)
LENGTHS = (0, 1, 2, 3, 7, 1000, FEW_NUMBERS, FEW_NUMBERS + 1, 3 * FEW_NUMBERS)
COUNTS = ([3, 1], [1, 1], [0, 2], [2, 0], [0, 0])
DOCUMENT = {"seed": 3, "text": "Größe", "nested": [{"a": None}, 0.1, True], "empty": {}}

floats = st.floats(-(2.0**100), 2.0**100, width=32)  # sums stay finite


def leaf(number):
    """Three tensors of different shapes whose sums are never exact."""
    generator = torch.Generator().manual_seed(number)
    shapes = ((), (3,), (2, 5))
    return [torch.randn(shape, generator=generator) * 10**number for shape in shapes]


def recursive_sum(values):
    """The definition: the sum of the first half plus the sum of the second half."""
    if len(values) == 1:
        return values[0]
    middle = len(values) // 2
    return np.float32(recursive_sum(values[:middle]) + recursive_sum(values[middle:]))


def same_bits(left, right):
    return len(left) == len(right) and all(map(torch.equal, left, right))


def reduction_on(rank, ranks, micro_batches):
    """Return the reduction of one of several ranks; nothing is sent, so it needs no process
    group."""
    return Reduction(Ranks(rank, ranks, CPU), micro_batches)


class TestOrderOfAdditions:
    def test_eight_leaves_are_added_as_written_out_here(self):
        a, b, c, d, e, f, g, h = (np.float32(x) for x in (1e8, 3, -1e8, 3, 0.1, 1e-8, 7, -0.3))
        expected = ((a + b) + (c + d)) + ((e + f) + (g + h))
        leaves = [[torch.tensor(value)] for value in (a, b, c, d, e, f, g, h)]

        (total,) = alone(8).sum(leaves)

        assert total.item() == expected
        assert total.item() != sum((b, c, d, e, f, g, h), a)  # from left to right is another sum

    @settings(deadline=None)
    @given(st.sampled_from(POWERS).flatmap(lambda v: st.lists(floats, min_size=v, max_size=v)))
    def test_streaming_equals_the_recursive_definition(self, values):
        values = np.array(values, dtype=np.float32)
        leaves = [[torch.tensor(value), torch.tensor([[value, -value]])] for value in values]

        single, pair = alone(len(values)).sum(leaves)

        expected = recursive_sum(values)
        assert single.item() == expected
        assert pair.tolist() == [[expected, -expected]]

    def test_at_most_one_leaf_for_each_level_is_held_back(self):
        alive = []

        def leaves():
            for number in range(16):
                alive.append(number)
                yield CountedLeaf(alive, number)

        most = 0
        waiting = leaves()

        def watched():
            nonlocal most
            for each in waiting:
                most = max(most, len(alive))
                yield each

        alone(16).sum(watched())
        assert most <= 5  # log2(16) + 1

    def test_a_leaf_is_not_changed_by_the_sum(self):
        leaves = [leaf(number) for number in range(4)]
        alone(4).sum(leaves)
        assert all(same_bits(each, leaf(number)) for number, each in enumerate(leaves))


class CountedLeaf(list):
    """A leaf that strikes its number off a list when nobody needs it any more."""

    def __init__(self, alive, number):
        super().__init__(leaf(0))
        self.alive, self.number = alive, number

    def __del__(self):
        self.alive.remove(self.number)


class TestParts:
    @settings(deadline=None)
    @given(st.sampled_from(POWERS), st.integers(0, 40))
    def test_the_parts_are_the_batch_cut_into_even_pieces(self, micro_batches, n):
        positions = torch.randperm(n, generator=torch.Generator().manual_seed(n))

        numbers, parts = zip(*alone(micro_batches).parts(positions), strict=True)

        assert numbers == tuple(range(micro_batches))
        assert torch.equal(torch.cat(parts), positions)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1

    @settings(deadline=None)
    @given(st.sampled_from(POWERS), st.sampled_from((2, 4, 8)), st.integers(0, 40))
    def test_the_parts_do_not_depend_on_the_number_of_ranks(self, each, ranks, n):
        positions, micro_batches = torch.arange(n), each * ranks
        expected = [(v, part.tolist()) for v, part in alone(micro_batches).parts(positions)]

        found = []
        for rank in range(ranks):
            mine = list(reduction_on(rank, ranks, micro_batches).parts(positions))
            assert len(mine) == each
            found += [(v, part.tolist()) for v, part in mine]

        assert found == expected

    def test_a_batch_that_is_smaller_than_its_parts_leaves_some_empty(self):
        parts = [part.tolist() for _, part in alone(4).parts(torch.tensor([7, 9]))]
        assert parts == [[], [7], [], [9]]

    @pytest.mark.parametrize(("micro_batches", "ranks"), [(1, 2), (2, 4), (4, 3), (8, 16)])
    def test_ranks_that_do_not_divide_the_parts_are_refused(self, micro_batches, ranks):
        with pytest.raises(SpecError) as refused:
            reduction_on(0, ranks, micro_batches)
        assert str(refused.value) == (
            f"training.microBatches is {micro_batches}, which {ranks} ranks do not divide; let"
            " the number of ranks be a power of two, and microBatches at least as large"
        )


def numbers_of(rank, length):
    return torch.randn(length, generator=torch.Generator().manual_seed(rank)) * 1e3**rank


def rows_of(rank, count):
    return torch.arange(2 * count).reshape(count, 2) + 100 * rank


def everything(ranks):
    """All collectives, so that two processes meet once."""
    unshared = DOCUMENT if ranks.is_main else {"of": "rank 1, which nobody wants"}
    leaves = {v: [leaf(number) for number in range(v)] for v in (2, 4, 8)}
    mine = {v: each[ranks.rank * v // 2 : (ranks.rank + 1) * v // 2] for v, each in leaves.items()}
    return {
        "leaves": {v: Reduction(ranks, v).sum(each) for v, each in mine.items()},
        "sums": [ranks.tree_sum(numbers_of(ranks.rank, length)) for length in LENGTHS],
        "rows": [ranks.gather_rows(rows_of(ranks.rank, c[ranks.rank]), c) for c in COUNTS],
        "each": ranks.each(0.1 + ranks.rank),
        "share": [ranks.share(unshared), ranks.share(None), ranks.share("x" * 100_000)],
        "main": ranks.is_main,
    }


@pytest.fixture(scope="module")
def two():
    """Return the results of `everything` on rank 0 and on rank 1."""
    return on_two_ranks(everything)


class TestTwoRanks:
    @pytest.mark.parametrize("micro_batches", [2, 4, 8])
    def test_leaves_add_up_to_the_bits_of_one_rank(self, two, micro_batches):
        expected = alone(micro_batches).sum(leaf(number) for number in range(micro_batches))
        assert all(same_bits(rank["leaves"][micro_batches], expected) for rank in two)

    @pytest.mark.parametrize("place", range(len(LENGTHS)), ids=map(str, LENGTHS))
    def test_tree_sum_is_the_sum_at_any_length(self, two, place):
        expected = numbers_of(0, LENGTHS[place]) + numbers_of(1, LENGTHS[place])
        assert all(torch.equal(rank["sums"][place], expected) for rank in two)

    @pytest.mark.parametrize("place", range(len(COUNTS)), ids=map(str, COUNTS))
    def test_gathered_rows_stand_in_the_order_of_ranks(self, two, place):
        expected = torch.cat([rows_of(rank, COUNTS[place][rank]) for rank in (0, 1)])
        assert all(torch.equal(rank["rows"][place], expected) for rank in two)

    def test_each_gives_the_number_of_every_rank(self, two):
        assert [rank["each"] for rank in two] == [[0.1, 1.1]] * 2

    def test_share_gives_every_rank_the_document_of_rank_0(self, two):
        assert [rank["share"] for rank in two] == [[DOCUMENT, None, "x" * 100_000]] * 2

    def test_rank_0_is_the_main_one(self, two):
        assert [rank["main"] for rank in two] == [True, False]


def test_one_rank_alone_gets_back_what_it_gave():
    ranks, numbers = Ranks.alone(CPU), torch.arange(3.0)
    assert torch.equal(ranks.tree_sum(numbers), numbers)
    assert torch.equal(ranks.gather_rows(rows_of(0, 3), [3]), rows_of(0, 3))
    assert ranks.each(0.5) == [0.5]
    assert ranks.share(DOCUMENT) == DOCUMENT
    assert ranks.is_main


def test_borders_of_ragged_parts_are_the_whole_numbers_below_even_ones():
    """10 samples in 4 parts: borders at 2.5, 5, 7.5 become 2, 5, 7."""
    parts = [part.tolist() for _, part in alone(4).parts(torch.arange(10))]
    assert parts == [list(range(*ends)) for ends in pairwise((0, 2, 5, 7, 10))]
