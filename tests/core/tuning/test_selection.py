"""The choice among trials: against a slow version, and what stands once it is made.

| what is decided                                | tested here                            |
| ---------------------------------------------- | -------------------------------------- |
| the least mean, ties, failures, collapse       | x (tables, and a slow version by chance) |
| choices that were made before stay             | x                                      |
| another plan than that of a choice is refused  | x                                      |
| the plan of an experiment with tuning          | x                                      |

Left out: numbers of real trials (trainer/test_tuning.py).
"""

import re
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supreme_core.api import names
from supreme_core.api.canonical import digest
from supreme_core.api.model import parse
from supreme_core.api.orders import work_digest
from supreme_core.api.selection import Selection
from supreme_core.api.v1alpha1 import UnlearningExperiment
from supreme_core.errors import SpecError
from supreme_core.plan import plan, steps
from supreme_core.store.opening import open_storage
from supreme_core.store.selections import read_selection, write_selection
from supreme_core.tuning.entries import entries_of, entry_of
from supreme_core.tuning.order import with_choices
from supreme_core.tuning.selection import (
    NOT_TUNABLE,
    lost_runs,
    missing,
    plan_digest,
    select,
    tried,
)
from tests.core.tuning.trials import (
    CATALOG,
    ORDER,
    ROW,
    SEEDS,
    SPEC,
    TRIALS,
    document,
    failed,
    order_of,
    result,
    results,
    run,
    tuning,
    values,
)


def chosen(table, order=ORDER):
    choice = select(order, results(table), CATALOG).choices[0]
    assert (choice.scenario, choice.method) == ("full_class", "finetune")
    return choice


FLAT = [0.5, 0.5, 0.5]
COLLAPSED = run("finetune#2", 0.0, kept=0.44)  # half of Original's 0.9 is 0.45

TABLES = {
    "the least mean": (values(FLAT, [0.4, 0.6, 0.4], [0.1, 0.9, 0.9], FLAT, FLAT), 1),
    "not the least of one seed": (values([0.3] * 3, [0.0, 0.6, 0.6], FLAT, FLAT, FLAT), 0),
    "failed in one seed": (
        values(FLAT, FLAT, [0.0, 0.0, failed("finetune#2")], [0.4] * 3, FLAT),
        3,
    ),
    "collapsed in one seed": (values(FLAT, FLAT, [0.0, COLLAPSED, 0.0], FLAT, [0.4] * 3), 4),
    "at half of Original's accuracy, which is no collapse": (
        values(FLAT, [run("finetune#1", 0.0, kept=0.45)] * 3, FLAT, FLAT, FLAT),
        1,
    ),
    "without a value in one seed": (values(FLAT, [0.0, None, 0.0], FLAT, FLAT, [0.4] * 3), 4),
    "equals: the earlier one": (values(FLAT, [0.2] * 3, [0.2] * 3, FLAT, FLAT), 1),
    "equals: the one with fewer passes": (
        values(FLAT, [0.2] * 3, [run("finetune#2", 0.2, passes=99)] * 3, FLAT, FLAT),
        2,
    ),
}


@pytest.mark.parametrize("case", TABLES)
def test_choices_by_table(case):
    table, wanted = TABLES[case]
    assert chosen(table).trial == wanted


def test_all_trials_failed():
    table = {f"finetune#{n}": [failed(f"finetune#{n}")] * 3 for n in range(TRIALS + 1)}
    choice = chosen(table)
    assert (choice.trial, choice.note, choice.selected.params) == (0, NOT_TUNABLE, {})
    assert choice.candidates[0].reason == "seed 9000: broken"


def test_a_trial_that_is_missing_was_not_run():
    choice = chosen(values(FLAT))
    assert choice.trial == 0
    assert choice.candidates[4].reason == "seed 9000: it was not run"


def test_the_reason_is_that_of_the_first_seed_that_has_one():
    table = values(FLAT, FLAT, [0.0, COLLAPSED, failed("finetune#2")], FLAT, FLAT)
    assert chosen(table).candidates[2].reason == (
        "seed 9001: it collapsed: retain_test_accuracy is below 0.45, half of Original's"
    )


SCORES = st.one_of(st.none(), st.sampled_from([0.0, 0.25, 0.5, 1.0]))


@given(st.lists(st.lists(SCORES, min_size=3, max_size=3), min_size=5, max_size=5))
def test_against_a_slow_version(table):
    means = [inf if None in each else sum(each) / 3 for each in table]
    choice = chosen(values(*table))
    assert choice.trial == (means.index(min(means)) if min(means) < inf else 0)
    assert [each.mean for each in choice.candidates] == [m if m < inf else None for m in means]


@given(st.permutations(SEEDS))
def test_the_order_in_which_seeds_are_read_changes_nothing(turned):
    found = results(values(FLAT, [0.4, 0.6, 0.4], FLAT, FLAT, FLAT))
    again = {seed: found[seed] for seed in turned}
    assert select(ORDER, again, CATALOG) == select(ORDER, found, CATALOG)


def test_references_are_judged_too():
    sanity = select(ORDER, results(values(FLAT)), CATALOG).sanity
    assert [(each.model, each.values) for each in sanity] == [
        ("original", [1.0] * 3),
        ("retrained", [0.0] * 3),
    ]


def test_models_without_use_are_judged_where_results_have_them():
    table = {"untrained": [0.9] * 3, "noised-original": [0.8, None, 0.8]}
    sanity = select(ORDER, results(table | values(FLAT)), CATALOG).sanity
    assert [(each.model, each.values) for each in sanity[2:]] == [
        ("untrained", [0.9] * 3),
        ("noised-original", [0.8, None, 0.8]),
    ]


def test_a_long_reason_is_cut_to_a_thousand_characters():
    table = values(FLAT, [run("finetune#1", None, status="failed", reason="x" * 999)] * 3)
    assert chosen(table).candidates[1].reason == "seed 9000: " + "x" * 989


def test_how_often_a_choice_was_made_anew_is_kept():
    first = select(ORDER, results(values(FLAT)), CATALOG)
    again = first.model_copy(update={"retuned": 2})
    assert first.retuned == 0
    assert select(ORDER, results(values(FLAT)), CATALOG, earlier=again).retuned == 2


def test_an_objective_without_retrained_makes_a_blind_choice():
    order = order_of(**tuning(objective="blind_gap"))
    assert select(order, results(values(FLAT)), CATALOG).track == "blind"


def test_an_objective_without_retrained_compares_with_original():
    order, found = order_of(**tuning(objective="blind_gap")), results({})
    for each in found.values():
        for model, forgotten in (("original", 1.0), ("finetune#0", 0.4), ("finetune#1", 0.2)):
            rows = {ROW: forgotten, "retain_accuracy": 0.9, "retain_test_accuracy": 0.9}
            each.runs.append(run(model, None, metrics=rows))
    choice = select(order, found, CATALOG).choices[0]
    given, other, missing_one = (each.mean for each in choice.candidates[:3])
    assert (given, other) == (pytest.approx(0.4), pytest.approx(0.2))
    assert (missing_one, choice.trial) == (None, 1)


def test_a_model_without_use_that_one_seed_has_is_judged_there():
    found = results(values(FLAT))
    found[SEEDS[1]].runs.append(run(names.UNTRAINED, 0.7))
    untrained = select(ORDER, found, CATALOG).sanity[-1]
    assert (untrained.model, untrained.values) == (names.UNTRAINED, [None, 0.7, None])


def test_a_machine_loses_trials_and_a_method_fails_in_them():
    lost = failed("finetune#1", cause="infrastructure")
    runs = [run("finetune#0", 0.5), lost, failed("finetune#2")]
    assert [*lost_runs(result(SEEDS[0], runs))] == [lost]


def test_a_choice_that_was_made_stays_and_others_come_to_it():
    first = select(ORDER, results(values(*[FLAT] * 4, [0.1] * 3)), CATALOG)
    methods = [*SPEC["methods"], {"name": "ssd"}]
    order = order_of(methods=methods)
    assert not missing(ORDER, first)
    assert missing(order, first)
    later = results(values(*[FLAT] * 3, [0.0] * 3, FLAT) | {"ssd#2": [0.3] * 3})
    second = select(order, later, CATALOG, earlier=first)
    assert [(each.method, each.trial) for each in second.choices] == [("finetune", 4), ("ssd", 2)]
    assert second.choices[0] == first.choices[0]
    assert not missing(order, second)


@pytest.mark.parametrize(
    "change",
    [
        tuning(trials=8),
        tuning(rounds=2),
        tuning(sampler="random"),
        tuning(budget={"share": 0.5}),
        tuning(seeds={"start": 9000, "count": 2}),
        tuning(objective="tow"),
        {"methods": [{"name": "finetune", "search": {"lr": {"log": [0.01, 0.1]}}}]},
        {"methods": [{"name": "finetune", "params": {"momentum": 0.5}}]},
    ],
    ids=str,
)
def test_a_choice_among_other_trials_is_refused(change):
    selection = select(ORDER, results(values(FLAT)), CATALOG)
    with pytest.raises(SpecError, match="settings of finetune in full_class were chosen among"):
        missing(order_of(**change), selection)


def test_a_plan_of_one_round_is_named_as_before_there_were_rounds():
    plan, (scenario, entry) = ORDER.tuning, next(tried(ORDER.tuning))
    named = digest(
        {
            "scenario": scenario.to_document(),
            "method": entry.to_document(),
            "trials": plan.work.tuning.to_document(),
            "seeds": plan.seeds,
            "objective": plan.objective,
        }
    )
    of_rounds = [
        plan_digest(plan.model_copy(update={"rounds": rounds}), scenario, entry)
        for rounds in (1, 2, 3)
    ]
    assert of_rounds[0] == named
    assert len({*of_rounds}) == 3


def test_a_selection_is_read_as_it_was_written_and_an_edit_is_seen(tmp_path):
    storage = open_storage(str(tmp_path))
    selection = select(ORDER, results(values(FLAT, [0.4] * 3)), CATALOG)
    assert read_selection(storage, ORDER.prefix) is None
    write_selection(storage, ORDER.prefix, selection)
    assert read_selection(storage, ORDER.prefix) == selection
    key = names.selection_key(ORDER.prefix)
    storage.write(key, storage.read(key, limit=10**6).replace(b'"trial": 1', b'"trial": 2', 1))
    with pytest.raises(SpecError, match="has been changed since it was written"):
        read_selection(storage, ORDER.prefix)


BROKEN = {
    "candidates are not trials 0, 1, ... in this order": lambda choice: choice["candidates"].pop(1),
    "trial is 5, which is none of the candidates": lambda choice: choice.update(trial=5),
    "trial 0 of 'finetune' in 'full_class' has other than one value": (
        lambda choice: choice["candidates"][0]["values"].pop()
    ),
}


@pytest.mark.parametrize("message", BROKEN)
def test_a_selection_that_nobody_can_have_made_is_refused(message):
    document = select(ORDER, results(values(FLAT)), CATALOG).to_document()
    BROKEN[message](document["choices"][0])
    with pytest.raises(SpecError, match=re.escape(message)):
        parse(Selection, document)


REFUSED = [
    (tuning(trials=0), "spec.tuning.trials is 0; it should be greater than or equal to 1"),
    (tuning(rounds=4), "spec.tuning: rounds is 4, and seeds.count is 3; each round needs"),
    (tuning(rounds=2, sampler="tpe"), "spec.tuning: sampler is tpe, which proposes trials from"),
    (tuning(rounds=0), "spec.tuning.rounds is 0; it should be greater than or equal to 1"),
    (tuning(sampler="tpa"), 'spec.tuning.sampler is "tpa"; allowed: sobol, random, grid, tpe'),
    (tuning(trials=12), "spec.tuning: trials is 12, and points of a Sobol sequence"),
    (tuning(seeds={"start": 4, "count": 2}), "spec: tuning.seeds has seeds of spec.seeds"),
    ({"training": {"epochs": 1}}, "spec: tuning compares trials by validation samples"),
    (tuning(objective="tov"), "spec.tuning.objective: unknown objective 'tov'; did you mean"),
    (tuning(objektive=1), "spec.tuning.objektive: unknown field 'objektive'; did you mean"),
    (
        tuning(sampler="grid"),
        "spec.methods[0].search.epochs is a range, and spec.tuning.sampler is grid",
    ),
    (
        tuning(sampler="grid", trials=1)
        | {"methods": [{"name": "finetune", "search": {"epochs": {"choice": [1, 2]}}}]},
        "spec.methods[0].search has 2 combinations, and spec.tuning.trials is 1",
    ),
    (
        tuning(objective={"forget_accuracy": 0}),
        "spec.tuning.objective.forget_accuracy is 0; it should be greater than 0",
    ),
    (
        tuning(objective={"forget_accuracy": 1, "forget_test_accuracy": 1})
        | {"scenarios": [{"name": "random_samples", "params": {"fraction": 0.1}}]},
        "spec.tuning.objective: row 'forget_test_accuracy' has no value in random_samples of"
        " spec.scenarios[0]",
    ),
    (
        tuning(objective={"forget_accuracy": "x"}),
        'spec.tuning.objective.forget_accuracy is "x"; it should be a valid number',
    ),
    (
        {"methods": [{"name": "finetune", "search": {1: {"log": [1, 2]}}}]},
        "spec.methods[0].search[1] is 1; it should be a valid string",
    ),
    ({"methods": [{"name": "assd"}]}, "spec.tuning: none of spec.methods has a setting"),
    (
        {"methods": [{"name": "finetune", "search": "nonne"}]},
        "spec.methods[0].search: it is \"nonne\"; allowed: default, none, or ranges",
    ),
    (
        {"methods": [{"name": "finetune", "search": {"lrr": {"log": [1, 2]}}}]},
        "spec.methods[0].search.lrr: unknown setting; did you mean 'lr'?",
    ),
    (
        {"methods": [{"name": "finetune"}, {"name": "finetune", "label": "finetune.as-given"}]},
        "spec.methods: 'finetune' is tuned, and beside it stands 'finetune.as-given'",
    ),
    (
        {"methods": [{"name": "ssd", "search": "none"}], "tuning": None},
        "spec: methods[0].search is given, and spec.tuning, which says how to search, is not",
    ),
]  # fmt: skip


class TestPlan:
    def test_without_tuning_a_method_has_the_digest_that_it_had(self):
        spec = {name: each for name, each in SPEC.items() if name != "tuning"}
        experiment = {**document(), "spec": spec}
        order = plan(parse(UnlearningExperiment, experiment), CATALOG, namespace="local")
        assert order.tuning is None
        assert order.parts == [order]
        for name in ("search", "tuning", "selected"):
            assert name not in str(order.to_document())

    def test_trials_have_the_whole_space_and_seeds_of_their_own(self):
        trials = ORDER.trials
        assert trials.seeds == SEEDS
        assert trials.prefix == ORDER.prefix
        assert [each.title for each in trials.work.methods] == ["finetune"]
        assert trials.work.methods[0].search == {
            "epochs": {"int": [1, 2]},  # a fifth of 10
            "lr": {"log": [1e-4, 0.1]},
        }
        entries = entries_of(trials.work, "full_class")
        assert [*entries] == [f"finetune#{number}" for number in range(TRIALS + 1)]
        assert entries["finetune#0"].params == {}
        assert {each.search for each in entries.values()} == {"default"}

    def test_a_single_run_has_the_entry_that_it_has_among_all(self):
        choice = chosen(values(*[FLAT] * 4, [0.1] * 3))
        for work in (ORDER.trials.work, ORDER.work, with_choices(ORDER, [choice]).work):
            for title, entry in entries_of(work, "full_class").items():
                assert entry_of(work, "full_class", title) == entry

    def test_each_trial_is_a_step(self):
        found = steps(ORDER.trials.work, [], CATALOG)
        runs = [step.method for step in found if step.stage == "unlearned"]
        assert runs == [f"finetune#{number}" for number in range(TRIALS + 1)]

    def test_a_tuned_method_stands_beside_itself_as_given(self):
        titles = ["finetune", "finetune.as-given", "assd"]
        assert [each.title for each in ORDER.work.methods] == titles
        choice = chosen(values(*[FLAT] * 4, [0.1] * 3))
        entries = entries_of(with_choices(ORDER, [choice]).work, "full_class")
        assert entries["finetune"].params == choice.chosen.params != {}
        assert entries["finetune.as-given"].params == entries["assd"].params == {}

    def test_final_seeds_have_the_rows_that_the_objective_reads(self):
        metrics = [{"name": "mia_loss_auc"}, {"name": "accuracy", "label": "accuracy"}]
        order = order_of(**tuning(objective="average_gap") | {"metrics": metrics})
        titles = [metric.title for metric in order.work.metrics]
        assert titles == ["mia_loss_auc", "accuracy", "mia_svc_efficacy"]
        assert [metric.title for metric in ORDER.work.metrics] == ["accuracy"]

    def test_another_choice_is_other_work(self):
        digests = {
            work_digest(with_choices(ORDER, [chosen(table)]).work)
            for table in (values(FLAT), values(FLAT, [0.1] * 3))
        }
        assert len(digests | {work_digest(ORDER.work)}) == 3

    def test_other_scenarios_keep_the_given_settings(self):
        choice = chosen(values(*[FLAT] * 4, [0.1] * 3))
        work = with_choices(ORDER, [choice]).work
        assert entries_of(work, "random_samples")["finetune"].params == {}

    @pytest.mark.parametrize(("name", "replicas"), [("average_gap", 1), ("blind_gap", 0)])
    def test_only_an_oracle_trains_retrained_models(self, name, replicas):
        order = order_of(**tuning(objective=name))
        assert order.trials.work.retrained_replicas == replicas
        stages = {step.stage for step in steps(order.trials.work, [], CATALOG)}
        assert ("retrained" in stages) == bool(replicas)

    @pytest.mark.parametrize(("changes", "message"), REFUSED, ids=str)
    def test_what_cannot_be_is_one_line(self, changes, message):
        with pytest.raises(SpecError) as refused:
            order_of(**changes)
        first, *rest = str(refused.value).splitlines()
        assert first.startswith(message), first
        assert not rest or "objektive" in message


REHEARSED = [{"name": "full_class", "params": {"classes": [5]}}]


class TestRehearsal:
    """Trials that forget something else than the experiment."""

    def test_trials_forget_it_under_the_title_of_the_scenario(self):
        order = order_of(**tuning(rehearsal=REHEARSED))
        (rehearsed,) = order.tuning.work.scenarios
        assert (rehearsed.title, rehearsed.params) == ("full_class", {"classes": [5]})
        assert order.work.scenarios == ORDER.work.scenarios
        assert order.is_rehearsed
        assert not ORDER.is_rehearsed

    def test_nothing_else_changes_an_order(self):
        order = order_of(**tuning(rehearsal=[]))
        assert order.to_document() == ORDER.to_document()
        rehearsed = order_of(**tuning(rehearsal=REHEARSED))
        assert work_digest(rehearsed.work) == work_digest(ORDER.work)
        assert work_digest(rehearsed.tuning.work) != work_digest(ORDER.tuning.work)

    def test_settings_go_to_the_scenario_and_the_choice_names_its_track(self):
        order = order_of(**tuning(rehearsal=REHEARSED))
        found = select(order, results(values(*[[0.3] * 3] * (TRIALS + 1))), CATALOG)
        assert found.track == "rehearsal"
        assert (
            select(ORDER, results(values(*[[0.3] * 3] * (TRIALS + 1))), CATALOG).track == "oracle"
        )
        final = with_choices(order, found.choices)
        entry = entry_of(final.work, "full_class", "finetune")
        assert entry.params == {**found.choices[0].chosen.params}

    @pytest.mark.parametrize(
        ("rehearsal", "line"),
        [
            (
                [{"name": "full_class", "label": "other", "params": {"classes": [5]}}],
                r"spec\.tuning\.rehearsal\[0\]: no scenario is called 'other'.*full_class",
            ),
            (
                [{"name": "random_samples", "label": "full_class", "params": {"fraction": 0.1}}],
                r"rehearsal\[0\]\.name is 'random_samples', and 'full_class' of spec\.scenarios is",
            ),
            (
                [{"name": "full_class", "params": {"classes": [3]}}],
                r"rehearsal\[0\] is what the experiment forgets in 'full_class'; give another",
            ),
            (
                [{"name": "full_clas", "label": "full_class"}],
                r"spec\.tuning\.rehearsal\[0\]\.name: unknown scenario 'full_clas'; did you mean",
            ),
            (
                [{"name": "full_class", "params": {"clases": [5]}}],
                r"spec\.tuning\.rehearsal\[0\]\.params\.clases: unknown",
            ),
            ([*REHEARSED, *REHEARSED], "'full_class' stands twice"),
            ([{"name": "original"}], "'original' is always there as a reference"),
        ],
    )
    def test_another_than_each_scenarios_is_refused(self, rehearsal, line):
        with pytest.raises(SpecError, match=line):
            order_of(**tuning(rehearsal=rehearsal))

    def test_every_scenario_needs_one(self):
        both = [*SPEC["scenarios"], {"name": "random_samples", "params": {"fraction": 0.1}}]
        with pytest.raises(SpecError, match=r"lacks 'random_samples' of spec\.scenarios; give one"):
            order_of(scenarios=both, **tuning(rehearsal=REHEARSED))
