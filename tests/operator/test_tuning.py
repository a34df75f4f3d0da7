"""Parts of a tuned experiment: what is computed when, and what is done and said in it. Pure.

| what                                                | tested here |
|-----------------------------------------------------|-------------|
| trials first, the choice, the seeds by it           |      x      |
| an operator that has not read the choice yet        |      x      |
| rounds of trials, each of which follows from others |      x      |
| methods that are added while seeds run              |      x      |
| a tuning seed that fails, or whose machine lost one |      x      |
| a tuning seed that goes on without pods             |      x      |
| what was accepted, told by the orders of children   |      x      |

Left out: that a choice is made and kept (test_reader.py), and a real API server
(tests/cluster/test_tuning.py).
"""

from dataclasses import replace

import pytest
from supreme_operator.children.backend import name_of
from supreme_operator.deciding.accepted import changes, methods_of, orders_of, other_seeds
from supreme_operator.deciding.admission import admit, shared_order
from supreme_operator.deciding.decide import decide
from supreme_operator.deciding.events import transitions
from supreme_operator.deciding.facts import Attempt, Trouble
from supreme_operator.deciding.parts import part_of
from supreme_operator.deciding.standing import Observations
from supreme_operator.deciding.status import status_of
from supreme_operator.results.protocol import ChosenSettings, NextRound, ResultCheck

from supreme_core.api.orders import Selected, work_digest
from supreme_core.api.status import ExperimentStatus
from tests.operator.looks import (
    BACKOFF,
    CATALOG,
    NOW,
    child,
    condition,
    failed,
    look,
    publication,
    resource,
)
from tests.operator.manifests import OWNER

SHA = "cd" * 32
TUNED = {
    "training": {"validation": {"fraction": 0.1}},
    "tuning": {
        "trials": 2,
        "seeds": {"start": 90, "count": 2},
        "objective": {"forget_accuracy": 1},
    },
    "methods": [{"name": "finetune"}, {"name": "ssd", "search": "none"}],
}
MORE = {**TUNED, "methods": [*TUNED["methods"], {"name": "unsir"}]}


def chosen(*methods, trial=1):
    methods = [*methods] or ["finetune"]
    selected = [
        Selected(scenario="full_class", method=each, trial=trial, params={"lr": 0.01})
        for each in methods
    ]
    return ChosenSettings(
        methods=methods,
        selected=selected,
        searches=len(methods),
        changed=len(methods) if trial else 0,
        not_tunable=0,
        sha256=SHA,
    )


def order_of(**spec):
    return admit(resource(**{**TUNED, **spec}), CATALOG, defaults={}).order


def trial(seed, state="Succeeded", *, attempt=0, **facts):
    """A child of a tuning seed."""
    facts.setdefault("work", work_digest(order_of().tuning.work))
    made = child(seed, state, attempt=attempt, index=seed - 90, **facts)
    return replace(made, attempt=replace(made.attempt, is_tuning=True))


def final(seed, state="Succeeded", **facts):
    facts.setdefault("work", part_of(order_of(), ExperimentStatus(), chosen()).work)
    return child(seed, state, **facts)


def results(*seeds, state="valid", message=""):
    return {
        (seed, 0): ResultCheck(seed=seed, attempt=0, state=state, message=message) for seed in seeds
    }


def step(*children, status=None, generation=1, spec=TUNED, template="", **observed):
    """The decision, and the status that follows."""
    seen = look(
        *children,
        status=status,
        generation=generation,
        template=template,
        observations=Observations(**observed),
        **spec,
    )
    decision = decide(seen, now=NOW, backoff=BACKOFF)
    return decision, status_of(seen, decision, now=NOW)


def done(**spec):
    """The status of an experiment that is complete."""
    seeds = [final(seed) for seed in (7, 8, 9)]
    _, before = step(*seeds, chosen=chosen(), result_checks=results(7, 8, 9))
    written = publication(7, 8, 9)
    work = part_of(order_of(), ExperimentStatus(), chosen()).work
    _, status = step(
        *seeds,
        chosen=chosen(),
        status=before,
        result_checks=results(7, 8, 9),
        publication=replace(written, work_digest=work),
    )
    assert status.phase == "Succeeded"
    return status


def made(decision):
    return [(each.seed, each.index, each.number, each.is_tuning) for each in decision.create]


class TestParts:
    def test_an_experiment_that_is_not_tuned_has_one(self):
        seen = look()
        part = part_of(seen.order, ExperimentStatus(), None)
        assert (part.order, part.is_tuning, part.is_known) == (seen.order, False, True)

    def test_trials_come_first(self):
        order = order_of()
        part = part_of(order, ExperimentStatus(), None)
        assert (part.order.seeds, part.is_tuning, part.is_known) == ([90, 91], True, True)
        assert part.work == work_digest(order.tuning.work)

    def test_the_seeds_have_the_settings_that_were_chosen(self):
        part = part_of(order_of(), ExperimentStatus(), chosen())
        assert (part.order.seeds, part.is_tuning) == ([7, 8, 9], False)
        assert part.order.work.selected == chosen().selected
        other = part_of(order_of(), ExperimentStatus(), chosen(trial=2))
        assert part.work == work_digest(part.order.work) != other.work

    def test_a_choice_that_is_not_read_yet_is_waited_for(self):
        part = part_of(order_of(), done(), None)
        assert (part.order.seeds, part.is_tuning, part.is_known) == ([7, 8, 9], False, False)
        assert part.work == done().work_digest

    def test_a_method_that_is_added_is_tuned(self):
        for read in (None, chosen()):
            part = part_of(order_of(**MORE), done(), read)
            assert (part.order.seeds, part.is_tuning) == ([90, 91], True)
        part = part_of(order_of(**MORE), done(), chosen("finetune", "unsir"))
        assert (part.order.seeds, part.is_known) == ([7, 8, 9], True)

    def test_a_method_that_is_added_and_not_searched_is_not(self):
        methods = [*TUNED["methods"], {"name": "unsir", "search": "none"}]
        assert not part_of(order_of(methods=methods), done(), chosen()).is_tuning


class TestTrials:
    def test_children_of_tuning_seeds_have_names_of_their_own(self):
        decision, status = step()
        assert made(decision) == [(90, 0, 0, True), (91, 1, 0, True)]
        assert name_of(OWNER, decision.create[0]).endswith("-t0-a0")
        assert name_of(OWNER, Attempt(seed=7, index=0)).endswith("-s0-a0")
        assert (status.phase, status.progress, status.seeds) == ("Queued", "0/2", 3)

    def test_the_phase_tells(self):
        _, status = step(trial(90, "Running"), trial(91, "Running"))
        assert (status.phase, status.active, status.tuning.succeeded) == ("Tuning", 2, 0)
        assert condition(status, "SettingsChosen") == ("False", "TrialsPending")
        assert status.accepted_methods == ["finetune", "ssd"]

    def test_a_restarted_operator_verifies_before_it_chooses(self):
        decision, status = step(trial(90), trial(91))
        assert ([each.attempt.seed for each in decision.verify], decision.settings) == (
            [90, 91],
            None,
        )
        assert status.phase == "Tuning"
        decision, status = step(trial(90), trial(91), result_checks=results(90, 91))
        assert (decision.verify, decision.settings, decision.publish) == ([], "choose", None)
        assert (decision.create, status.phase) == ([], "Tuning")

    def test_a_store_that_is_away_is_told_and_asked_later(self):
        away = Trouble(
            reason="ResultsUnavailable", message="no route", retry_at=NOW.replace(hour=13)
        )
        checked = results(90, 91)
        decision, status = step(trial(90), trial(91), result_checks=checked, store=away)
        assert (decision.settings, decision.requeue_at) == (None, away.retry_at)
        assert condition(status, "SettingsChosen") == ("False", "ResultsUnavailable")

    def test_without_one_of_them_nothing_can_be_chosen(self):
        spec = {**TUNED, "failurePolicy": {"maxRetriesPerSeed": 0, "maxFailedSeeds": 5}}
        decision, status = step(trial(90, "Running"), self.failed(91), spec=spec)
        assert (status.phase, status.reason) == ("Failed", "TuningFailed")
        assert "without tuning seed 91" in status.message
        assert [each.attempt.seed for each in decision.delete] == [90]
        assert decision.publish is None

    def test_a_trial_that_a_machine_lost_is_tried_again(self):
        lost = results(91, state="incomplete", message="finetune#2 was lost")
        decision, status = step(
            trial(90), trial(91), result_checks={**results(90), **lost}, spec=TUNED
        )
        seed = status.seed_statuses[1]
        assert (seed.phase, seed.reason, seed.message) == (
            "Pending",
            "TrialsLost",
            "finetune#2 was lost",
        )
        assert decision.settings is None

    def test_suspended_trials_are_deleted(self):
        decision, status = step(trial(90, "Running"), spec={**TUNED, "suspend": True})
        assert (len(decision.delete), status.phase) == (1, "Suspended")

    @staticmethod
    def failed(seed):
        made = failed(seed, index=seed - 90, work=work_digest(order_of().tuning.work))
        return replace(made, attempt=replace(made.attempt, is_tuning=True))


HALVED = {**TUNED, "tuning": {**TUNED["tuning"], "trials": 4, "rounds": 2}}
PROPOSED = {**TUNED, "tuning": {**TUNED["tuning"], "trials": 6, "sampler": "tpe"}}


def following(*trials, number=2, methods=("finetune",)):
    return NextRound(
        number=number,
        methods=[*methods],
        trials=[
            Selected(scenario="full_class", method="finetune", trial=each, params={})
            for each in trials
        ],
    )


class TestRounds:
    """Successive halving over two tuning seeds, and proposals of trials."""

    SECOND = part_of(order_of(**HALVED), ExperimentStatus(), None, following(0, 2, 3))

    def second(self, state="Running"):
        return trial(91, state, work=self.SECOND.work)

    def test_the_first_seed_comes_first_and_alone(self):
        decision, status = step(spec=HALVED)
        assert made(decision) == [(90, 0, 0, True)]
        assert (status.progress, status.tuning.round, status.tuning.rounds) == ("0/1", 1, 2)
        assert "round 1 of 2, " in self.said(status)

    def test_its_trials_decide_the_next_round(self):
        first = trial(90, work=work_digest(order_of(**HALVED).tuning.work))
        decision, before = step(first, spec=HALVED, result_checks=results(90))
        assert (decision.settings, decision.create) == ("choose", [])
        decision, status = step(
            first,
            spec=HALVED,
            status=before,
            result_checks=results(90),
            round=following(0, 2, 3),
        )
        assert made(decision) == [(91, 1, 0, True)]
        assert name_of(OWNER, decision.create[0]).endswith("-t1-a0")
        told = status.tuning
        assert (status.progress, told.succeeded, told.round) == ("0/1", 1, 2)
        assert "round 2 of 2, " in self.said(status)
        assert [each.seed for each in status.seed_statuses] == [91, 90]

    def test_after_the_last_round_settings_are_chosen(self):
        decision, status = step(
            self.second("Succeeded"),
            spec=HALVED,
            result_checks=results(91),
            round=following(0, 2, 3),
        )
        assert (decision.settings, status.completed_indexes) == ("choose", "1")
        assert (status.tuning.succeeded, status.progress) == (2, "1/1")
        decision, status = step(
            status=status, spec=HALVED, round=following(0, 2, 3), chosen=chosen()
        )
        assert made(decision) == [(7, 0, 0, False), (8, 1, 0, False)]
        assert (status.tuning.round, status.tuning.succeeded) == (None, 2)

    def test_the_next_operator_reads_the_round_and_forgets_nothing(self):
        _, before = step(self.second(), spec=HALVED, round=following(0, 2, 3))
        decision, status = step(self.second(), spec=HALVED, status=before)
        assert (decision.settings, decision.create, decision.delete) == ("read", [], [])
        assert status == before
        _, before = step(
            self.second("Succeeded"),
            spec=HALVED,
            result_checks=results(91),
            round=following(0, 2, 3),
        )
        decision, status = step(status=before, spec=HALVED)  # its children are gone
        assert (decision.settings, decision.create) == ("read", [])
        assert (status.completed_indexes, status.tuning) == ("1", before.tuning)

    def test_a_method_that_is_added_begins_with_the_first_round(self):
        spec = {**HALVED, "methods": MORE["methods"]}
        _, before = step(self.second(), spec=HALVED, round=following(0, 2, 3))
        decision, _ = step(self.second(), spec=spec, status=before, round=following(0, 2, 3))
        assert (decision.settings, decision.create, decision.delete) == ("read", [], [])
        first = following(number=1, methods=("finetune", "unsir"))
        decision, status = step(self.second(), spec=spec, status=before, round=first)
        assert made(decision) == [(90, 0, 0, True)]
        assert status.tuning.round == 1

    def test_proposals_are_further_attempts_of_the_same_seeds(self):
        decision, status = step(spec=PROPOSED)
        assert made(decision) == [(90, 0, 0, True), (91, 1, 0, True)]
        first = part_of(order_of(**PROPOSED), ExperimentStatus(), None)
        assert [each.trial for each in first.order.work.tuning.listed] == [0, 1, 2, 3, 4]
        there = [trial(seed, work=first.work) for seed in (90, 91)]
        decision, before = step(*there, spec=PROPOSED, status=status, result_checks=results(90, 91))
        assert decision.settings == "choose"
        decision, status = step(
            *there,
            spec=PROPOSED,
            status=before,
            round=following(*range(7)),
            result_checks=results(90, 91),
        )
        assert made(decision) == [(90, 0, 1, True), (91, 1, 1, True)]
        assert (status.tuning.round, status.tuning.succeeded) == (2, 0)

    @staticmethod
    def said(status):
        (found,) = [each for each in status.conditions if each.type == "SettingsChosen"]
        return found.message


class TestSeeds:
    def test_they_begin_when_settings_are_chosen(self):
        _, before = step(trial(90), trial(91), result_checks=results(90, 91))
        assert before.completed_indexes == "0-1"
        decision, status = step(
            trial(90), trial(91), status=before, result_checks=results(90, 91), chosen=chosen()
        )
        assert made(decision) == [(7, 0, 0, False), (8, 1, 0, False)]
        assert (status.completed_indexes, status.progress) == ("", "0/3")
        assert condition(status, "SettingsChosen") == ("True", "SettingsChosen")
        told = status.tuning
        assert (told.succeeded, told.methods, told.selection) == (2, ["finetune"], SHA)
        assert [each.seed for each in status.seed_statuses] == [90, 91, 7, 8, 9]
        reasons = [each.reason for each in transitions(before, status)]
        assert "SettingsChosen" in reasons

    def test_a_choice_that_changes_their_work_makes_them_anew(self):
        decision, _ = step(final(7, work="ab" * 32), final(8), final(9), chosen=chosen())
        assert made(decision) == [(7, 0, 1, False)]

    def test_those_that_run_go_on_while_an_added_method_is_tuned(self):
        running = final(7, "Running"), final(8, "Running", template="older")
        decision, status = step(*running, status=done(), spec=MORE, chosen=chosen())
        assert (decision.create, decision.delete) == ([], [])  # parallelism is 2
        assert status.tuning.methods == ["finetune"]
        more = {**MORE, "parallelism": 3}
        decision, _ = step(*running, status=done(), spec=more, chosen=chosen())
        assert made(decision) == [(90, 0, 0, True)]
        decision, _ = step(*running, status=done(), spec={**MORE, "suspend": True})
        assert len(decision.delete) == 2

    def test_attempts_are_numbered_on_after_more_was_tuned(self):
        both = chosen("finetune", "unsir")
        _, between = step(status=done(), spec=MORE, chosen=chosen())
        assert {each.seed for each in between.seed_statuses} == {7, 8, 9, 90, 91}
        decision, _ = step(status=between, spec=MORE, chosen=both)
        assert made(decision) == [(7, 0, 1, False), (8, 1, 1, False)]


class TestUnread:
    """An operator that has not read yet what one before it has chosen."""

    def test_a_complete_experiment_needs_no_reading(self):
        decision, status = step(*map(final, (7, 8, 9)), status=done())
        assert (decision.settings, decision.delete, status) == (None, [], done())

    def test_one_that_goes_on_reads_before_it_makes_or_judges_anything(self):
        _, before = step(final(7), chosen=chosen(), result_checks=results(7))
        decision, status = step(final(7), final(8), status=before, template="other")
        assert (decision.settings, decision.create, decision.verify) == ("read", [], ())
        assert (decision.publish, decision.delete) == (None, [])
        assert status.tuning == before.tuning

    def test_a_new_generation_is_answered_only_once_it_is_read(self):
        for spec in (
            TUNED,
            {**TUNED, "methods": [*TUNED["methods"], {"name": "unsir", "search": "none"}]},
        ):
            decision, status = step(status=done(), generation=2, spec=spec)
            assert (decision.settings, status.observed_generation) == ("read", 1)
            assert (status.phase, status.completion_time) == ("Succeeded", done().completion_time)

    def test_a_choice_that_cannot_be_read_is_told(self):
        away = Trouble(
            reason="ResultsUnavailable", message="changed", retry_at=NOW.replace(hour=13)
        )
        decision, status = step(status=done(), generation=2, store=away)
        assert (decision.settings, condition(status, "SettingsChosen")) == (
            None,
            ("Unknown", "ResultsUnavailable"),
        )
        assert condition(status, "Complete") == ("True", "SeedsSucceeded")


class TestAccepted:
    """Orders of children against the present spec, where the status is lost."""

    def orders(self):
        found = admit(resource(**TUNED), CATALOG, defaults={})
        parts = [part_of(found.order, ExperimentStatus(), each) for each in (None, chosen())]
        return [shared_order(found.experiment, part.order) for part in parts]

    def differ(self, order, **spec):
        given = resource(**{**TUNED, **spec})
        found = admit(given, CATALOG, defaults={})
        return [*changes(order, found.order, found.experiment.spec, given["spec"]["storage"])]

    def test_both_parts_are_what_they_were(self):
        for order in self.orders():
            assert self.differ(order) == []
        found = admit(resource(**HALVED), CATALOG, defaults={})
        second = shared_order(found.experiment, TestRounds.SECOND.order)
        assert self.differ(second, **HALVED) == []
        assert methods_of(self.orders()) == ["finetune", "ssd"]

    @pytest.mark.parametrize(
        ("spec", "line"),
        [
            ({"tuning": {**TUNED["tuning"], "trials": 4}}, "spec.tuning.trials was 2 and is 4"),
            (
                {"methods": [{"name": "finetune", "search": {"lr": {"log": [0.1, 0.2]}}}]},
                "spec.methods: 'finetune'.search",
            ),
            ({"methods": [{"name": "finetune", "params": {"lr": 0.5}}]}, "params.lr was not given"),
            (
                {"tuning": None, "methods": [{"name": "finetune"}, {"name": "ssd"}]},
                "spec.tuning.trials was 2 and is not",
            ),
        ],
    )
    def test_what_is_tried_stays(self, spec, line):
        trials, _ = self.orders()
        assert line in "\n".join(self.differ(trials, **spec))

    def test_tuning_seeds_have_places_of_their_own(self):
        there = [trial(90), trial(91), *map(final, (7, 8, 9))]
        assert [*other_seeds(order_of(), there)] == []
        tuning = {**TUNED["tuning"], "seeds": {"start": 91, "count": 1}}
        (first, second) = other_seeds(order_of(tuning=tuning), there)
        assert first.startswith("spec.tuning.seeds: number 1 of them was 90 and is 91")
        assert second.startswith("spec.tuning.seeds: number 2 of them was 91 and is left out")

    def test_the_orders_of_both_parts_are_read(self):
        later = NOW.replace(hour=13)
        children = [
            trial(90, order="trials"),
            final(7, order="few", created_at=NOW),
            final(7, attempt=1, order="seeds", created_at=later),
        ]
        assert orders_of(children) == {"trials", "seeds"}


LOST = {"survives": True, "lost_pods": 1}


def paid(status, seed):
    """(phase, disruptions, lost pods) of a seed."""
    (of,) = [each for each in status.seed_statuses if each.seed == seed]
    return of.phase, of.disruptions, of.lost_pods


def test_a_tuning_seed_pays_for_the_pods_that_it_goes_on_without():
    _, before = step(trial(90, "Running", survives=True), trial(91, "Running"))
    for state, wanted in (("Running", ("Running", 1, 1)), ("Suspended", ("Queued", 2, 1))):
        _, before = step(trial(90, state, **LOST), trial(91, "Running"), status=before)
        assert paid(before, 90) == wanted
    both = trial(90, **LOST), trial(91)
    _, after = step(*both, status=before, result_checks=results(90, 91))
    seeds = [final(7, "Running", **LOST)]
    found = {"chosen": chosen(), "result_checks": results(90, 91)}
    _, status = step(*both, *seeds, status=after, **found)
    assert (paid(status, 90), paid(status, 7)) == (("Succeeded", 2, 1), ("Running", 1, 1))


def test_tuning_fails_by_a_seed_that_loses_more_pods_than_it_may():
    lost = trial(90, "Running", survives=True, lost_pods=21)
    decision, _ = step(lost, trial(91, "Running"))
    assert (decision.outcome.kind, decision.outcome.reason) == ("failed", "TuningFailed")
    assert "seed 90: TooManyDisruptions: the last: PodLost: a pod" in decision.outcome.message
    assert [each.name for each in decision.delete] == ["s90-a0", "s91-a0"]
