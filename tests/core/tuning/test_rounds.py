"""Rounds of trials: successive halving over seeds, and proposals of a sampler that learns.

| what                                                | tested here                          |
| --------------------------------------------------- | ------------------------------------ |
| which trials a round has, on which seeds            | x (tables, a slow version by chance) |
| what the last round chooses                         | x                                    |
| proposals: from what, kept, and read by who goes on | x                                    |
| the place of a value in its range                   | x                                    |
| rounds that are known by what the store has         | x                                    |

Left out: real trials (trainer/test_tuning.py), rounds on a cluster (cluster/test_tuning.py).
"""

import re
import sys
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supreme_core.api.orders import work_digest
from supreme_core.api.selection import Proposals
from supreme_core.errors import SpecError
from supreme_core.store.opening import open_storage
from supreme_core.store.selections import read_proposals, write_proposals
from supreme_core.system.ending import install_command
from supreme_core.tuning import tpe
from supreme_core.tuning.entries import entries_of, trials_of
from supreme_core.tuning.order import with_choices
from supreme_core.tuning.ranges import Range
from supreme_core.tuning.rounds import (
    number_of_rounds,
    order_of_round,
    proposals_with,
    rounds_expected,
    rounds_known,
    seeds_of_round,
    trials_of_round,
)
from supreme_core.tuning.selection import NONE_WENT_ON, is_chosen, select
from tests.core.tuning.trials import (
    CATALOG,
    ORDER,
    SEEDS,
    failed,
    order_of,
    result,
    run,
    tuning,
)

FINETUNE = {"name": "finetune", "search": {"lr": {"log": [1e-4, 1e-1]}}}
NOTHING = Proposals(experiment=ORDER.experiment)


def halved(trials=8, rounds=2):
    return order_of(methods=[FINETUNE], **tuning(trials=trials, rounds=rounds))


def proposing(trials=8):
    return order_of(methods=[FINETUNE], **tuning(trials=trials, sampler="tpe"))


def made(order, number, results, proposals=NOTHING):
    """Numbers of the trials of a round."""
    return [each.trial for each in trials_of_round(order, number, results, CATALOG, proposals)]


def computed(part, value_of):
    """Results of a round.  value_of: objective, or None for failed, of a trial in a seed."""
    found = {}
    for seed in part.seeds:
        runs = []
        for title in entries_of(part.work, "full_class"):
            value = value_of(int(title.partition("#")[2]), seed)
            runs.append(failed(title) if value is None else run(title, value))
        found[seed] = result(seed, runs)
    return found


def tuned(order, value_of):
    """Results by seed and trials of the last round, of all rounds, and the choice."""
    results, proposals, trials = {}, NOTHING, []
    for number in range(1, number_of_rounds(order.tuning) + 1):
        trials = trials_of_round(order, number, results, CATALOG, proposals)
        proposals = proposals_with(order, trials, proposals)
        results |= computed(order_of_round(order, number, trials), value_of)
    (choice,) = select(order, results, CATALOG, last_round=trials).choices
    return results, trials, choice


class TestHalving:
    @pytest.mark.parametrize(
        ("rounds", "seeds"),
        [
            (1, [SEEDS]),
            (2, [SEEDS[:1], SEEDS[1:]]),
            (3, [SEEDS[:1], SEEDS[1:2], SEEDS[2:]]),
        ],
    )
    def test_each_round_has_a_seed_and_the_last_all_that_are_left(self, rounds, seeds):
        order = halved(rounds=rounds)
        assert number_of_rounds(order.tuning) == rounds
        assert [seeds_of_round(order.tuning, n) for n in range(1, rounds + 1)] == seeds

    def test_the_first_round_has_all_trials(self):
        order = halved()
        assert made(order, 1, {}) == []
        part = order_of_round(order, 1, [])
        assert part.seeds == SEEDS[:1]
        assert [*entries_of(part.work, "full_class")] == [f"finetune#{n}" for n in range(9)]

    def test_the_better_half_goes_on_and_the_given_settings_with_it(self):
        order = halved()
        value = [0.9, 0.1, 0.8, 0.2, 0.7, 0.3, 0.6, 0.4, 0.5]
        results = computed(order_of_round(order, 1, []), lambda trial, seed: value[trial])
        trials = trials_of_round(order, 2, results, CATALOG, NOTHING)
        assert [each.trial for each in trials] == [0, 1, 3, 5, 7]
        every = trials_of(order.tuning.work.methods[0], "full_class", order.tuning.work.tuning)
        assert all(each.params == every[each.trial] for each in trials)
        part = order_of_round(order, 2, trials)
        entries = entries_of(part.work, "full_class")
        assert [*entries] == [f"finetune#{n}" for n in (0, 1, 3, 5, 7)]
        whole = entries_of(order.tuning.work, "full_class")
        assert all(whole[title] == entry for title, entry in entries.items())
        assert work_digest(part.work) != work_digest(order.tuning.work)

    def test_a_failed_trial_does_not_go_on(self):
        value = [0.5, None, None, None, None, None, None, 0.3, 0.9]
        order = halved()
        results = computed(order_of_round(order, 1, []), lambda trial, seed: value[trial])
        assert made(order, 2, results) == [0, 7, 8]

    def test_where_all_have_failed_the_given_settings_go_on(self):
        order = halved()
        results = computed(order_of_round(order, 1, []), lambda trial, seed: None if trial else 0.5)
        assert made(order, 2, results) == [0]

    def test_what_was_left_out_is_not_chosen_and_has_not_failed(self):
        """Trial 2 is the worst on the first seed, and would be the best on all."""
        value = {0: [0.5] * 3, 1: [0.4] * 3, 2: [0.6, 0.0, 0.0], 3: [0.7] * 3, 4: [0.3] * 3}
        order = halved(trials=4)
        _, _, choice = tuned(order, lambda trial, seed: value[trial][SEEDS.index(seed)])
        assert choice.trial == 4
        left = {each.trial: each.left_out_after for each in choice.candidates}
        assert left == {0: None, 1: None, 2: 1, 3: 1, 4: None}
        assert choice.candidates[2].values == [0.6, None, None]
        assert choice.candidates[2].reason == ""
        assert choice.comparable == [0.5, 0.4, 0.6, 0.7, 0.3]

    def test_a_round_stands_whatever_later_seeds_say_of_the_trial(self):
        """Trial 2 stays left out although all that went on have failed then."""
        order = halved(trials=2)
        first = computed(order_of_round(order, 1, []), lambda trial, seed: [0.5, 0.2, 0.3][trial])
        trials = trials_of_round(order, 2, first, CATALOG, NOTHING)
        second = computed(order_of_round(order, 2, trials), lambda trial, seed: None)
        (choice,) = select(order, {**first, **second}, CATALOG, last_round=trials).choices
        assert [each.left_out_after for each in choice.candidates] == [None, None, 1]
        assert choice.note == NONE_WENT_ON

    def test_a_trial_that_failed_in_a_later_round_is_compared_as_failed(self):
        """A value on the first seed alone would be told as that of a trial that has succeeded."""
        order = halved(trials=4)
        value = {0: 0.5, 1: 0.4, 2: 0.6, 3: 0.7, 4: 0.3}
        _, _, choice = tuned(
            order, lambda trial, seed: None if (trial, seed) == (4, SEEDS[1]) else value[trial]
        )
        assert choice.trial == 1
        assert choice.comparable == [0.5, 0.4, 0.6, 0.7, None]

    @given(
        st.lists(
            st.tuples(*[st.one_of(st.none(), st.sampled_from([0.0, 0.25, 0.5, 0.75]))] * 3),
            min_size=9,
            max_size=9,
        ),
        st.sampled_from([1, 2, 3]),
    )
    def test_against_a_slow_version(self, table, rounds):
        alive, dead = {*range(9)}, set()
        for number in range(1, rounds):
            others = sorted(alive - {0})
            ranked = sorted(
                (fmean(table[each][:number]), each)
                for each in others
                if None not in table[each][:number]
            )
            kept = {each for _, each in ranked[: (len(others) + 1) // 2]}
            dead |= alive - kept - {0}
            alive = {0} | kept
        able = [(fmean(table[each]), each) for each in alive if None not in table[each]]
        _, _, choice = tuned(
            halved(rounds=rounds), lambda trial, seed: table[trial][SEEDS.index(seed)]
        )
        assert choice.trial == (min(able)[1] if able else 0)
        assert {each.trial for each in choice.candidates if each.mean is not None} == {
            trial for _, trial in able
        }

    def test_an_order_without_rounds_is_what_it_was(self):
        assert "rounds" not in str(ORDER.to_document())
        assert "listed" not in str(ORDER.to_document())


def parabola(trial_params):
    """Least at lr 0.01."""
    from math import log10

    return (log10(trial_params["lr"]) + 2) ** 2


class TestProposals:
    def test_the_first_four_trials_are_random(self):
        order = proposing(6)
        assert number_of_rounds(order.tuning) == 2
        trials = trials_of_round(order, 1, {}, CATALOG, NOTHING)
        assert [each.trial for each in trials] == [0, 1, 2, 3, 4]
        given_ = order_of(methods=[FINETUNE], **tuning(trials=6, sampler="random"))
        every = trials_of(given_.tuning.work.methods[0], "full_class", given_.tuning.work.tuning)
        assert [each.params for each in trials] == [every[n] for n in range(5)]

    def test_further_ones_keep_those_before_them(self):
        order = proposing(6)
        _, trials, choice = tuned(order, lambda trial, seed: 1 / (trial + 1))
        assert [each.trial for each in trials] == [*range(7)]
        assert trials[:5] == trials_of_round(order, 1, {}, CATALOG, NOTHING)
        assert choice.trial == 6
        assert [each.params for each in choice.candidates] == [each.params for each in trials]
        assert not any(each.left_out_after for each in choice.candidates)

    def test_they_come_near_what_is_best(self):
        order = proposing(32)
        settings = {}

        def value_of(trial, seed):
            return parabola(settings[trial]) if trial else 9.0

        results, proposals = {}, NOTHING
        for number in range(1, 9):
            trials = trials_of_round(order, number, results, CATALOG, proposals)
            settings |= {each.trial: each.params for each in trials}
            proposals = proposals_with(order, trials, proposals)
            results |= computed(order_of_round(order, number, trials), value_of)
        means = [parabola(settings[trial]) for trial in range(1, 33)]
        assert fmean(means[16:]) < fmean(means[:4]) / 2
        assert min(means) < 0.01

    def test_who_goes_on_makes_the_same_trials_and_asks_nobody(self, tmp_path, monkeypatch):
        order = proposing(8)
        results, trials, _ = tuned(order, lambda trial, seed: trial)
        storage = open_storage(str(tmp_path))
        assert read_proposals(storage, order) == NOTHING
        write_proposals(storage, proposals_with(order, trials, NOTHING), order)
        monkeypatch.setattr(tpe, "proposed", None)
        found = read_proposals(storage, order)
        assert trials_of_round(order, 2, results, CATALOG, found) == trials
        assert proposals_with(order, trials[:5], found) == found
        first = trials_of_round(order, 1, {}, CATALOG, found)
        assert first == trials[:5]

    def test_an_edit_of_them_is_refused(self, tmp_path):
        order = proposing(8)
        storage = open_storage(str(tmp_path))
        write_proposals(storage, NOTHING, order)
        key = f"{order.prefix}/proposals.json"
        text = storage.read(key).decode()
        storage.write(key, text.replace("local", "other").encode())
        with pytest.raises(SpecError, match="been changed since it was written; put it back, or"):
            read_proposals(storage, order)

    def test_those_of_another_plan_are_made_anew(self, monkeypatch):
        order = proposing(8)
        results, trials, _ = tuned(order, lambda trial, seed: trial)
        proposals = proposals_with(order, trials, NOTHING)
        other = order_of(
            methods=[FINETUNE], **tuning(trials=8, sampler="tpe", budget={"share": 0.5})
        )
        assert proposals.searches[0].settings
        assert made(other, 1, {}, proposals) == [0, 1, 2, 3, 4]
        monkeypatch.setattr(tpe, "proposed", lambda *given: [{"lr": 0.01}] * 4)
        found = trials_of_round(other, 2, results, CATALOG, proposals)
        assert [each.params for each in found[5:]] == [{"lr": 0.01}] * 4

    def test_without_optuna_one_line_says_what_to_install(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "optuna", None)
        with pytest.raises(SpecError, match=re.escape(install_command("tpe"))):
            tpe.check_optuna()

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("raise RuntimeError('half\\ninstalled')", "its import fails: RuntimeError"),
            ("import of_optuna_alone", "and No module named 'of_optuna_alone'"),
        ],
    )
    def test_an_optuna_that_cannot_be_imported_is_told_in_one_line(
        self, text, reason, tmp_path, monkeypatch
    ):
        (tmp_path / "optuna.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        for name in [each for each in sys.modules if each.split(".")[0] == "optuna"]:
            monkeypatch.delitem(sys.modules, name)
        with pytest.raises(SpecError, match=reason) as caught:
            tpe.check_optuna()
        assert "\n" not in str(caught.value)

    def test_more_trials_change_none_of_those_proposed_before(self):
        """Six trials end in the middle of four that are proposed together."""
        space = {"lr": Range("log", (1e-4, 1e-1)), "alpha": Range("uniform", (0, 1))}
        known = [
            ({name: each.at(place) for name, each in space.items()}, place) for place in (0.1, 0.9)
        ]
        four = tpe.proposed(space, known, 4, ("full_class", "finetune"))
        assert tpe.proposed(space, known, 2, ("full_class", "finetune")) == four[:2]

    def test_every_kind_of_range_is_proposed_in(self):
        space = {
            "a": Range("log", (1e-4, 1e-1)),
            "b": Range("logToOne", (0.5, 0.999)),
            "c": Range("uniform", (0, 2)),
            "d": Range("int", (1, 5)),
            "e": Range("choice", ("x", None, [1, 2])),
        }
        known = [
            ({name: each.at(place) for name, each in space.items()}, place)
            for place in (0.1, 0.3, 0.5, 0.7, 0.9)
        ]
        known.append((known[0][0], None))
        found = tpe.proposed(space, known, 8, ("full_class", "finetune"))
        assert found == tpe.proposed(space, known, 8, ("full_class", "finetune"))
        assert found != tpe.proposed(space, known, 8, ("full_class", "scrub"))
        assert len({str(each) for each in found}) == 8
        for each in found:
            assert [*each] == sorted(space)
            assert 1e-4 <= each["a"] <= 1e-1
            assert 0.5 <= each["b"] <= 0.999
            assert 0 <= each["c"] <= 2
            assert each["d"] in range(1, 6)
            assert each["e"] in ("x", None, [1, 2])


class TestWhatIsKnown:
    """Rounds by what the store has, which whoever only looks at it asks for."""

    def of(self, order, rounds, proposals=NOTHING):
        """(seeds, trials of each search) of the known rounds, and of all that are expected.

        rounds: number of those that have results.
        """
        there = {}
        for number in range(1, rounds + 1):
            trials = trials_of_round(order, number, there, CATALOG, proposals)
            there |= computed(order_of_round(order, number, trials), lambda trial, seed: trial)
        given = (order, lambda part: {s: there[s] for s in part.seeds if s in there}, CATALOG)
        return [
            [(part.seeds, len(entries_of(part.work, "full_class"))) for part in parts]
            for parts in (rounds_known(*given, proposals), rounds_expected(*given, proposals))
        ]

    def test_of_halving(self):
        first, second = (SEEDS[:1], 9), (SEEDS[1:], 5)
        assert self.of(halved(), 0) == [[first], [first, (SEEDS[1:], 9)]]
        assert self.of(halved(), 1) == [[first, second]] * 2
        assert self.of(halved(), 2) == [[first, second]] * 2

    def test_of_trials_on_every_seed(self):
        assert self.of(ORDER, 0) == [[(SEEDS, 5)]] * 2

    def test_of_proposals_nothing_is_proposed(self, monkeypatch):
        order = proposing(6)
        _, trials, _ = tuned(order, lambda trial, seed: trial)
        monkeypatch.setattr(tpe, "proposed", None)
        first, both = (SEEDS, 5), (SEEDS, 7)
        assert self.of(order, 1) == [[first], [both]]
        assert self.of(order, 1, proposals_with(order, trials[:5], NOTHING)) == [[first], [both]]
        made = proposals_with(order, trials, NOTHING)
        assert self.of(order, 1, made) == [[first, both], [both]]
        (whole,) = rounds_expected(order, lambda part: {}, CATALOG, made)
        assert whole == order_of_round(order, 2, trials)

    def test_no_trial_is_left_once_all_settings_are_chosen(self):
        order = halved()
        _, _, choice = tuned(order, lambda trial, seed: trial)
        assert is_chosen(with_choices(order, [choice]))
        assert not is_chosen(with_choices(order, []))
        assert not is_chosen(order.trials)


RANGES = [
    Range("log", (1e-5, 1e-2)),
    Range("logToOne", (0.5, 0.9999)),
    Range("uniform", (-1, 3)),
    Range("int", (1, 10)),
    Range("choice", (0.1, "x", True)),
]


@pytest.mark.parametrize("range_", RANGES, ids=lambda each: each.kind)
@given(place=st.floats(0, 1, exclude_max=True))
def test_the_place_of_a_value_gives_it_back(range_, place):
    value = range_.at(place)
    assert 0 <= range_.place_of(value) < 1
    again = range_.at(range_.place_of(value))
    assert again == pytest.approx(value, rel=1e-3) if isinstance(value, float) else again == value
