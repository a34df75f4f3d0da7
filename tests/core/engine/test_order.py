"""Orders of samples: everything once, the right kinds in the right steps, other ones each epoch."""

import pytest
import torch

from supreme_core.engine.training.sample_order import one_after_other, paired, shuffled

ORDERS = {
    "shuffled": shuffled(23, 5),
    "one_after_other": one_after_other(7, 16, batch_size=5),
    "paired": paired(7, 16, batch_size=5),
    "paired with few": paired(16, 7, batch_size=5),
}
every_order = pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)


def sizes(order):
    return [len(positions) for positions in order(0, 1)]


@every_order
def test_an_order_is_a_function_of_its_seed(order):
    one, same, other = order(0, 1), order(0, 1), order(0, 2)
    assert all(map(torch.equal, one, same))
    assert not torch.equal(torch.cat(one), torch.cat(other))
    assert len(one) == len(other)


@pytest.mark.parametrize("name", ["shuffled", "one_after_other"])
def test_every_sample_comes_once(name):
    assert torch.cat(ORDERS[name](0, 1)).sort().values.tolist() == list(range(23))


def test_no_step_has_samples_of_both_kinds_where_one_comes_after_the_other():
    order = ORDERS["one_after_other"]
    assert sizes(order) == [5, 2, 5, 5, 5, 1]
    assert [bool((step < 7).all()) for step in order(0, 1)] == [True, True] + [False] * 4
    assert all((step >= 7).all() for step in order(0, 1)[2:])


def test_each_kind_has_steps_of_its_own_size_where_it_is_asked_for():
    order = one_after_other(7, 16, batch_size=5, first_batch_size=3)
    assert sizes(order) == [3, 3, 1, 5, 5, 5, 1]
    assert torch.cat(order(0, 1)).sort().values.tolist() == list(range(23))


def test_pairs_have_as_many_of_one_kind_as_of_the_other_also_in_every_half_of_a_step():
    for step in ORDERS["paired"](0, 1):
        for part in (step, step[: len(step) // 4 * 2]):
            assert (part < 7).sum() == (part >= 7).sum()


def test_pairs_take_every_retained_sample_once_and_forgotten_ones_equally_often():
    assert sizes(ORDERS["paired"]) == [10, 10, 10, 2]
    taken = torch.cat(ORDERS["paired"](0, 1)).bincount(minlength=23)
    assert (taken[7:] == 1).all()
    assert taken[:7].sum() == 16
    assert set(taken[:7].tolist()) == {2, 3}


def test_pairs_take_some_of_the_forgotten_samples_where_they_are_the_more():
    taken = torch.cat(ORDERS["paired with few"](0, 1)).bincount(minlength=23)
    assert (taken[16:] == 1).all()
    assert sorted(taken[:16].tolist()) == [0] * 9 + [1] * 7
