"""Objects of a store that may be removed: a table of who needs what, and of what is left behind.

stage                                       | named by a result | experiment unfinished | neither
its meaning has the seed                    |       stays       |   stays for its seed  |  goes
only what it was computed from has the seed |       stays       |   stays for its seed  |  goes
no seed is to be found                      |       stays       |        stays          |  goes
its manifest cannot be read                 |                   stays

Stages here are made up; that those of the trainer have their seed is shown on a real store
(tests/trainer/test_store_commands.py), as is what the commands do with a folder and with S3.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from supreme_core.api import names
from supreme_core.api.canonical import digest
from supreme_core.api.orders import Selected, work_digest
from supreme_core.api.records import StageRecord
from supreme_core.store.artefacts import Manifest
from supreme_core.store.housekeeping import (
    Inventory,
    Needs,
    Piece,
    damage_in,
    leftovers,
    needs_of,
    orphans,
    prunable,
    removal,
)
from supreme_core.store.storage import TEMPORARY, ObjectInfo
from tests.core.analysis import summaries
from tests.core.tuning import trials as tuned

NOW = datetime(2025, 6, 1, tzinfo=UTC)
OLD, YOUNG = NOW - timedelta(hours=48), NOW - timedelta(hours=1)
ORDER = summaries.question([7, 8]).order
WORK = work_digest(ORDER.work)


def piece(stage, meaning, *, extra=(), modified=OLD, **changes):
    """A finished stage with one file of ten bytes, and further objects by their names."""
    key = digest(meaning)
    folder = names.artefact_prefix(stage, key)
    document = {
        "schemaVersion": 1,
        "stage": stage,
        "key": key,
        "meaning": meaning,
        "files": {"data.npy": {"size": 10, "sha256": "a" * 64}},
        "facts": {},
        "environment": {},
        "createdAt": "2025-01-01",
    }
    manifest = Manifest.model_validate({**document, "sha256": digest(document)})
    found = [names.MANIFEST, f"data-{'a' * 16}.npy", *extra]
    objects = [ObjectInfo(f"{folder}/{name}", 10, modified) for name in found]
    return Piece(stage, key, **({"objects": tuple(objects), "manifest": manifest} | changes))


def without_manifest(stage, meaning, *extra):
    objects = piece(stage, meaning, extra=extra).objects[1:]
    return piece(stage, meaning, objects=objects, manifest=None)


DATA = piece("datasets", {"dataset": {"name": "digits"}})
ORIGINAL = piece("originals", {"seed": 7, "dataset": "d" * 64})
PREDICTIONS = piece("predictions", {"model": ORIGINAL.key, "split": "c" * 64})
UNTRAINED = piece("predictions", {"model": {"untrained": "net", "seed": 7}})
IMPORTANCES = piece("importances", {"original": ORIGINAL.key, "samples": "b" * 64})
METRICS = piece("metrics", {"predictions": {"original": PREDICTIONS.key}, "seed": 7})
ALL = (DATA, ORIGINAL, PREDICTIONS, UNTRAINED, METRICS)


def inventory(*pieces, named=(), unfinished=(), temporaries=(), unreadable=None):
    needs = Needs("experiments/local/tiny", frozenset(named), frozenset(unfinished))
    return Inventory(pieces or ALL, temporaries, [needs], unreadable or {})


def stages_of(pieces):
    return [each.stage for each in pieces]


class TestOrphans:
    def test_without_an_experiment_everything_is_one(self):
        assert orphans(inventory()) == list(ALL)

    def test_what_a_result_names_is_needed_with_all_that_it_was_computed_from(self):
        assert orphans(inventory(named=[METRICS.id])) == [DATA, UNTRAINED]

    def test_whatever_could_belong_to_an_unfinished_seed_is_needed(self):
        assert orphans(inventory(unfinished=[7])) == []

    def test_what_belongs_to_another_seed_is_not(self):
        """Prepared data, which have no seed, may still be what the unfinished one needs."""
        assert orphans(inventory(unfinished=[8])) == [ORIGINAL, PREDICTIONS, UNTRAINED, METRICS]

    def test_a_seed_that_cannot_be_found_may_be_any(self):
        """The manifest of the model, which would tell the seed, is gone."""
        assert orphans(inventory(PREDICTIONS, unfinished=[8])) == []
        assert orphans(inventory(PREDICTIONS)) == [PREDICTIONS]

    def test_of_several_experiments_each_keeps_its_own(self):
        two = [
            Needs("experiments/local/one", frozenset([DATA.id]), frozenset()),
            Needs("experiments/local/two", frozenset([METRICS.id]), frozenset()),
        ]
        assert orphans(Inventory(ALL, (), two, {})) == [UNTRAINED]

    def test_importances_are_one_once_no_seed_may_read_them_whoever_names_them(self):
        """Methods that may be added would read them; no result is read from them."""
        spare = frozenset([IMPORTANCES.id])
        needs = Needs("experiments/local/tiny", frozenset([ORIGINAL.id]), frozenset(), spare)
        store = Inventory((ORIGINAL, IMPORTANCES), (), [needs], {})
        assert orphans(store) == [IMPORTANCES]
        assert damage_in(replace(store, pieces=[ORIGINAL])) == []
        assert orphans(inventory(ORIGINAL, IMPORTANCES, unfinished=[7])) == []

    def test_there_are_none_where_an_experiment_cannot_be_read(self):
        assert orphans(inventory(unreadable={"order.json": "order.json is not JSON"})) == []

    def test_a_manifest_that_cannot_be_read_may_be_of_a_newer_version(self):
        unknown = piece("originals", {"seed": 9}, manifest=None, problem="schemaVersion is 2")
        assert orphans(inventory(unknown)) == []
        assert leftovers(inventory(unknown)) == []


class TestCrafted:
    """Anybody may have written a manifest; no graph of them takes long, or much of the stack."""

    def layers(self, count, width):
        """Each stage names all stages of the layer below; the first ones have no seed."""
        layer = [piece("originals", {"number": number}) for number in range(width)]
        yield from layer
        for level in range(count):
            keys = [each.key for each in layer]
            layer = [
                piece("predictions", {"above": keys, "level": level, "number": number})
                for number in range(width)
            ]
            yield from layer

    @pytest.mark.parametrize(("count", "width"), [(32, 4), (3000, 1)], ids=["wide", "deep"])
    def test_stages_that_name_many_others(self, count, width):
        pieces = [*self.layers(count, width)]
        assert orphans(inventory(*pieces, unfinished=[7])) == []
        assert orphans(inventory(*pieces, named=[pieces[-1].id])) == pieces[-width:-1]

    def test_a_seed_at_the_far_end_of_a_chain_is_found(self):
        chain = [piece("originals", {"seed": 7})]
        for number in range(3000):
            chain.append(piece("predictions", {"above": chain[-1].key, "number": number}))
        assert orphans(inventory(*chain, unfinished=[7])) == []
        assert orphans(inventory(*chain, unfinished=[8])) == chain


class TestLeftovers:
    def why(self, *pieces, **changes):
        return [
            (each.info.key.rpartition("/")[2], each.why)
            for each in leftovers(inventory(*pieces, **changes))
        ]

    def test_a_finished_stage_leaves_none(self):
        assert self.why() == []

    def test_data_that_no_manifest_names(self):
        replaced = piece("originals", {"seed": 7}, extra=[f"data-{'b' * 16}.npy"])
        killed = without_manifest("originals", {"seed": 8})
        assert self.why(replaced, killed) == [
            (f"data-{'b' * 16}.npy", "data that no manifest names"),
            (f"data-{'a' * 16}.npy", "data that no manifest names"),
        ]

    @pytest.mark.parametrize("state", [{}, {"unfinished": [7]}], ids=["finished", "unfinished"])
    def test_checkpoint_of_a_stage_that_is_done(self, state):
        done = piece("originals", {"seed": 7}, extra=["checkpoint"])
        assert self.why(done, **state) == [
            ("checkpoint", "the checkpoint of a stage that is done"),
        ]

    def test_checkpoint_of_an_unfinished_stage_is_one_once_nobody_goes_on_with_it(self):
        begun = without_manifest("originals", {"seed": 7}, "checkpoint")
        assert self.why(begun)[1:] == [
            ("checkpoint", "the checkpoint of a stage that no experiment goes on with")
        ]
        assert self.why(begun, unfinished=[99])[1:] == []
        assert self.why(begun, unreadable={"order.json": "order.json is not JSON"})[1:] == []

    def test_files_that_were_being_written(self):
        temporary = ObjectInfo(f"objects/{TEMPORARY}1", 5, OLD)
        assert self.why(temporaries=[temporary]) == [
            (f"{TEMPORARY}1", "a file that was being written")
        ]


class TestAge:
    BEFORE = NOW - timedelta(hours=24)

    def test_nothing_young_goes(self):
        young = piece("originals", {"seed": 7}, extra=["checkpoint"], modified=YOUNG)
        temporary = ObjectInfo(f"{TEMPORARY}1", 5, YOUNG)

        pruning = prunable(inventory(young, temporaries=[temporary]), before=self.BEFORE)

        assert (pruning.orphans, pruning.leftovers, pruning.young) == ([], [], 2)

    def test_a_stage_is_as_young_as_its_youngest_object(self):
        first, second = ORIGINAL.objects
        half = piece("originals", {"seed": 7}, objects=(first, ObjectInfo(second.key, 10, YOUNG)))
        assert prunable(inventory(half), before=self.BEFORE).young == 1

    def test_an_old_orphan_goes_with_all_that_lies_in_its_folder(self):
        old = piece("originals", {"seed": 7}, extra=["checkpoint", "data-b.npy"])

        pruning = prunable(inventory(old), before=self.BEFORE)

        assert (pruning.orphans, pruning.leftovers, pruning.size) == ([old], [], 40)


class TestLinks:
    def test_nothing_goes_that_lies_behind_a_link(self):
        def linked(info):
            return replace(info, linked=True)

        whole = piece("originals", {"seed": 7})
        first, second = whole.objects
        half = piece("originals", {"seed": 7}, objects=(first, linked(second)))
        done = piece("originals", {"seed": 8}, extra=["checkpoint"])
        done = replace(done, objects=(*done.objects[:-1], linked(done.objects[-1])))
        temporary = linked(ObjectInfo(f"{TEMPORARY}1", 5, OLD))

        found = prunable(
            inventory(half, done, named=[done.id], temporaries=[temporary]), before=NOW
        )

        assert (found.orphans, found.leftovers) == ([], [])
        assert found.linked == [second.key, temporary.key, done.objects[-1].key]


class TestData:
    def test_prepared_data_go_only_where_that_is_said(self):
        checkpoint = piece("datasets", {"dataset": {"name": "pins"}}, extra=["checkpoint"])

        kept = prunable(inventory(checkpoint), before=NOW)
        gone = prunable(inventory(checkpoint), before=NOW, with_data=True)

        assert (kept.orphans, kept.data, len(kept.leftovers)) == ([], [checkpoint], 1)
        assert (gone.orphans, gone.data, gone.leftovers) == ([checkpoint], [], [])


GONE, OTHER = "experiments/local/gone-12345678", "experiments/local/gone-123456789"
DOCUMENTS = [
    ObjectInfo(f"{GONE}/{name}", 100, OLD)
    for name in ("order.json", "seed=7/attempt=0/result.json", "summary.json")
]


class TestRemoval:
    """Removal of objects with the experiment GONE, by who else needs them.

    also named by another result      stays, with what it was computed from
    another unfinished experiment     stays where it could be of one of its seeds
    nobody else                       goes; prepared data only where that is said
    nobody at all, before             stays: it is not what this experiment needed
    """

    def removal(self, *others, named=(METRICS,), unfinished=(), pieces=ALL, **changes):
        own = Needs(GONE, frozenset(each.id for each in named), frozenset(unfinished))
        store = Inventory(pieces, (), [own, *others], changes.pop("unreadable", {}))
        return removal(store, GONE, DOCUMENTS, **changes)

    def other(self, *named, unfinished=()):
        return Needs(OTHER, frozenset(each.id for each in named), frozenset(unfinished))

    def test_all_that_only_it_needed_goes(self):
        found = self.removal(named=[METRICS, UNTRAINED, DATA])
        assert stages_of(found.stages) == ["originals", "predictions", "predictions", "metrics"]
        assert (found.data, found.shared, found.size) == ([DATA], 0, 300 + 8 * 10)

    def test_prepared_data_go_where_that_is_said(self):
        found = self.removal(named=[METRICS, DATA], with_data=True)
        assert (DATA in found.stages, found.data) == (True, [])

    def test_what_another_result_names_stays_with_all_that_it_was_computed_from(self):
        found = self.removal(self.other(PREDICTIONS), named=[METRICS, PREDICTIONS, ORIGINAL])
        assert (found.stages, found.shared) == ([METRICS], 2)

    def test_what_could_be_of_an_unfinished_seed_of_another_experiment_stays(self):
        assert self.removal(self.other(unfinished=[7])).stages == []

    def test_an_unfinished_seed_of_another_number_keeps_nothing(self):
        found = self.removal(self.other(unfinished=[8]), named=[METRICS, DATA])
        assert stages_of(found.stages) == ["originals", "predictions", "metrics"]
        assert found.data == []

    def test_stages_of_its_own_unfinished_seeds_go(self):
        found = self.removal(named=[], unfinished=[7])
        assert stages_of(found.stages) == ["originals", "predictions", "predictions", "metrics"]
        assert (found.unfinished, found.data) == ([7], [DATA])

    def test_what_nobody_needed_before_is_left_for_pruning(self):
        lost = piece("originals", {"seed": 99})
        assert lost not in self.removal(pieces=(*ALL, lost)).stages

    def test_its_importances_go_unless_another_result_names_them(self):
        own = Needs(GONE, frozenset([ORIGINAL.id]), frozenset(), frozenset([IMPORTANCES.id]))
        other = replace(own, experiment=OTHER, stages=frozenset([METRICS.id]))
        pieces = (*ALL, IMPORTANCES)
        found = removal(Inventory(pieces, (), [own], {}), GONE, DOCUMENTS)
        assert found.stages == [ORIGINAL, IMPORTANCES]
        found = removal(Inventory(pieces, (), [own, other], {}), GONE, DOCUMENTS)
        assert found.stages == []

    def test_a_checkpoint_that_only_it_could_go_on_with_goes(self):
        begun = piece("retrained", {"seed": 7}, extra=["checkpoint"])
        begun = Piece(begun.stage, begun.key, begun.objects[2:])
        alone = self.removal(unfinished=[7], pieces=(*ALL, begun))
        beside = self.removal(self.other(unfinished=[9]), unfinished=[7], pieces=(*ALL, begun))
        assert [len(each.leftovers) for each in (alone, beside)] == [1, 0]

    def test_its_own_documents_need_not_be_readable(self):
        """Nobody knows what an unreadable result named, so it stays for pruning."""
        broken = {f"{GONE}/seed=7/attempt=0/result.json": "is not JSON"}
        assert stages_of(self.removal(named=[ORIGINAL], unreadable=broken).stages) == ["originals"]


class TestDamage:
    def problems(self, *pieces, **changes):
        return [each.problem for each in damage_in(inventory(*pieces, **changes))]

    def test_a_sound_store_has_none(self):
        assert self.problems(named=[METRICS.id]) == []

    def test_what_a_listing_tells(self):
        manifest, data = ORIGINAL.objects
        meaning = ORIGINAL.manifest.meaning
        gone = piece("originals", meaning, objects=(manifest,))
        cut = piece("originals", meaning, objects=(manifest, ObjectInfo(data.key, 3, OLD)))
        unknown = piece("originals", meaning, manifest=None, problem="it is not JSON")
        assert self.problems(gone, cut, unknown) == [
            "it is missing",
            "it has 3 bytes, its manifest says 10",
            "it is not JSON",
        ]

    def test_a_stage_that_a_result_names_and_that_is_gone(self):
        damage = damage_in(inventory(DATA, named=[ORIGINAL.id]))
        assert [(each.object, each.problem) for each in damage] == [
            (ORIGINAL.objects[0].key, "it is missing, and a result names it")
        ]


class TestNeeds:
    def result(self, seed, *, attempt=0, status="ok", **changes):
        record = StageRecord(
            stage="originals",
            key=digest({"seed": seed, "attempt": attempt}),
            status="computed",
            wall_seconds=1,
            environment=summaries.digest("cpu"),
        )
        runs = [summaries.run("scrub") if status == "ok" else summaries.failed("scrub", "diverged")]
        fields = {"work_digest": WORK, "attempt": attempt, "stages": [record]}
        return summaries.result(seed, runs, **(fields | changes))

    def needs(self, *results, order=ORDER):
        found = {
            names.result_key(names.attempt_prefix(ORDER.prefix, each.seed, each.attempt)): each
            for each in results
        }
        return needs_of(ORDER.prefix, order, found)

    def test_seeds_without_a_result_are_unfinished(self):
        assert self.needs(self.result(7)).unfinished == {8}

    @pytest.mark.parametrize(
        "changes",
        [
            {"status": "failed"},
            {"work_digest": summaries.digest("other")},
            {"experiment": ORDER.experiment.model_copy(update={"name": "copied"})},
        ],
        ids=["a failed method", "other work", "another experiment"],
    )
    def test_so_are_those_that_will_be_computed_again(self, changes):
        assert self.needs(self.result(7, **changes)).unfinished == {7, 8}

    def test_and_those_whose_unlearned_models_are_wanted(self):
        wanting = ORDER.model_copy(update={"keep_unlearned_models": True})
        kept = self.result(8, kept_unlearned_models=True)
        assert self.needs(self.result(7), kept, order=wanting).unfinished == {7}

    def test_the_newest_attempt_decides(self):
        again = [self.result(7, attempt=10), self.result(7, attempt=9, status="failed")]
        assert self.needs(*again).unfinished == {8}

    def test_the_stages_of_every_attempt_are_needed(self):
        results = [
            self.result(7),
            self.result(7, attempt=1, work_digest=summaries.digest("other")),
            self.result(99),
        ]
        assert self.needs(*results).stages == {
            (record.stage, record.key) for result in results for record in result.stages
        }

    def test_importances_that_a_result_names_are_spare(self):
        result = self.result(7)
        named = result.stages[0].model_copy(update={"stage": "importances"})
        needs = self.needs(result.model_copy(update={"stages": [*result.stages, named]}))
        assert (len(needs.stages), needs.spare) == (1, {("importances", named.key)})

    def test_no_trial_is_unfinished_once_settings_are_chosen(self):
        """The trials of a round follow from results, so that no order has the work of the round."""
        order = tuned.order_of(**tuned.tuning(rounds=2))
        assert self.needs(order=order).unfinished == {*tuned.SEEDS, *order.seeds}
        chosen = Selected(scenario="full_class", method="finetune", trial=0)
        work = order.work.model_copy(update={"selected": [chosen]})
        whole = order.model_copy(update={"work": work})
        assert self.needs(order=whole).unfinished == {*order.seeds}

    def test_results_without_an_order_still_name_what_they_need(self):
        needs = self.needs(self.result(7), order=None)
        assert (len(needs.stages), needs.unfinished) == (1, frozenset())
