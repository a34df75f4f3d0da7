"""Stages of a store that a seed uses again, and what it keeps beside its results.

what is in the store was computed ...  | Any    | SameEnvironment | None
in the same environment                | reused | reused          | computed
in another environment                 | reused | computed        | computed
from other bits than lie there now     | computed in each case
without weights that are wanted now    | computed in each case
prepared data                          | reused in each case

Left out: what a checkpoint holds (test_checkpoint), and reuse by what a stage means
(test_nothing_twice).
"""

import json
import shutil
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from safetensors.torch import load_file
from supreme_trainer.seed import stage as stages_module
from supreme_trainer.seed.claims import Claims
from supreme_trainer.seed.crew import Crew
from supreme_trainer.seed.run import run_seed
from supreme_trainer.seed.stage import CheckpointSlot, Made, Stage, Stages
from supreme_trainer.seed.telemetry import Telemetry

from supreme_core.api import names
from supreme_core.api.orders import RunOrder
from supreme_core.engine.evaluation.reproducibility import environment
from supreme_core.engine.ranks.interruption import Interruption
from supreme_core.engine.ranks.ranks import Ranks
from supreme_core.errors import EXIT_TERMINATED
from supreme_core.plan import Step
from supreme_core.store.artefacts import Artefacts
from supreme_core.store.results import ResultReader, is_finished, write_result
from tests.trainer.experiments import (
    FINETUNE,
    FULL_CLASS,
    LIGHT,
    RANDOM_LABELS,
    as_configured,
    computed,
    experiment,
    folder_of,
    folder_store,
    manifests,
    planned,
    statuses,
    supreme,
    written,
)

HERE, ELSEWHERE = "here", "elsewhere"
ALL_BUT_DATA = {"originals": 1, "retrained": 1, "predictions": 2, "unlearned": 1, "metrics": 3}


def document(**changes):
    """An experiment in which finetune alone takes steps."""
    fields = {"scenarios": [FULL_CLASS], "methods": [FINETUNE], "metrics": [{"name": "accuracy"}]}
    return experiment(**{**fields, "model": LIGHT, "training": {"epochs": 0}, **changes})


def compute(storage, *, image=HERE, attempt=0, of=None, **keeping):
    """The result of seed 260, computed in the environment of an image."""
    whole = planned(of or document())
    order = RunOrder(
        experiment=whole.experiment,
        work=whole.work,
        seed=260,
        attempt=attempt,
        store=storage.uri,
        **keeping,
    )
    telemetry = Telemetry(stream=StringIO())
    with as_configured() as device, TemporaryDirectory() as cache:
        ranks = Ranks.alone(device)
        stages = Stages(
            Artefacts(storage, Path(cache)),
            ranks=ranks,
            environment={**environment(ranks, reduction="tree"), "image": image},
            telemetry=telemetry,
            interruption=Interruption(EXIT_TERMINATED),
            reuse=order.reuse,
        )
        return run_seed(order, stages, ranks=ranks, telemetry=telemetry)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with the finished seed."""
    folder = tmp_path_factory.mktemp("finished")
    write_result(folder_store(folder), compute(folder_store(folder)))
    return folder


@pytest.fixture
def folder(finished, tmp_path):
    """A copy of the finished store, for one test to change."""
    return shutil.copytree(finished, tmp_path / "store")


def stored(folder, stage):
    (manifest,) = manifests(folder, stage)
    return manifest


def file_of(folder, stage, pattern):
    (path,) = folder.glob(f"objects/{stage}/*/*/{pattern}")
    return path


def commit_other_bits(folder, stage, name):
    """Commit a stage again with one number changed, as a process of another environment would."""
    manifest = stored(folder, stage)
    data = bytearray(file_of(folder, stage, f"{Path(name).stem}-*").read_bytes())
    data[-1] ^= 1
    Artefacts(folder_store(folder), folder / "cache").commit(
        stage,
        manifest["key"],
        meaning=manifest["meaning"],
        files={name: bytes(data)},
        facts=manifest["facts"],
        environment={**manifest["environment"], "image": ELSEWHERE},
        replace=True,
    )


class Quick(Stage):
    """A stage that takes no time."""

    name, step, meaning = "metrics", Step("metrics"), {"of": "a test"}

    def make(self, checkpoints):
        return Made({}, {})

    def read(self, stored):
        return None


def workers(folder, *attempts):
    """The stages of a worker of each attempt, which may not use what others have computed."""
    store, ranks = folder_store(folder), Ranks.alone(torch.device("cpu"))
    return [
        Stages(
            Artefacts(store, folder / "cache"),
            ranks=ranks,
            environment={},
            telemetry=Telemetry(stream=StringIO()),
            interruption=Interruption(EXIT_TERMINATED),
            reuse="None",
            crew=Crew(store, attempt, "x"),
        )
        for attempt in attempts
    ]


class TestPolicy:
    def test_what_was_found_to_be_the_attempts_own_stays_so(self, tmp_path):
        """Two attempts at once write what both need anew; each of their workers would, in turn."""
        first, second, foreign = workers(tmp_path, "a", "a", "b")
        for each in (first, second, foreign, second, first, foreign):
            each.ensure(Quick())

        assert [each.computed for each in (first, second, foreign)] == [1, 0, 1]
        assert [each.status(Quick().key) for each in (second, foreign)] == ["computed"] * 2

    @pytest.mark.parametrize(
        ("reuse", "image", "expected"),
        [
            ("Any", HERE, {}),
            ("Any", ELSEWHERE, {}),
            ("SameEnvironment", HERE, {}),
            ("SameEnvironment", ELSEWHERE, ALL_BUT_DATA),
            ("None", HERE, ALL_BUT_DATA),
            ("None", ELSEWHERE, ALL_BUT_DATA),
        ],
        ids=" ".join,
    )
    def test_what_is_computed_of_a_finished_seed(self, folder, reuse, image, expected):
        result = compute(folder_store(folder), image=image, reuse=reuse)
        assert computed(result) == expected

    def test_what_is_computed_again_takes_the_place_of_what_was_there(self, folder):
        compute(folder_store(folder), image=ELSEWHERE, reuse="SameEnvironment")

        images = {
            stage: {manifest["environment"]["image"] for manifest in manifests(folder, stage)}
            for stage in ("datasets", *ALL_BUT_DATA)
        }
        assert images == {"datasets": {HERE}} | {stage: {ELSEWHERE} for stage in ALL_BUT_DATA}
        assert not computed(compute(folder_store(folder), image=ELSEWHERE, reuse="SameEnvironment"))

    def test_nothing_is_computed_twice_within_one_run(self, tmp_path):
        """Two scenarios with one forget set share every stage, also where none may be reused."""
        again = {"name": "full_class", "label": "class-three", "params": {"classes": ["3"]}}

        result = compute(
            folder_store(tmp_path), of=document(scenarios=[FULL_CLASS, again]), reuse="None"
        )

        assert computed(result) == {"datasets": 1, **ALL_BUT_DATA}

    def test_computing_again_gives_the_same_numbers(self, folder):
        order = planned(document())
        before = ResultReader(folder_store(folder)).of(order)[260]
        assert compute(folder_store(folder), reuse="None").runs == before.runs

    def test_results_of_another_policy_count(self, folder):
        order = planned(document(execution={"reuse": "None"}))
        results = ResultReader(folder_store(folder)).of(order)
        assert is_finished(results[260], order)


class TestOtherBits:
    def test_what_was_computed_from_them_is_computed_again(self, folder):
        commit_other_bits(folder, "originals", "weights.safetensors")

        result = compute(folder_store(folder), attempt=1)

        counted = statuses(result.to_document())
        assert counted["retrained", "reused"] == 1
        assert counted["unlearned", "computed"] == 1
        assert counted["predictions", "computed"] == 1

    def test_then_everything_fits_again(self, folder):
        commit_other_bits(folder, "originals", "weights.safetensors")
        compute(folder_store(folder))
        assert not computed(compute(folder_store(folder)))

    def test_the_same_bits_again_recompute_nothing_else(self, folder):
        file_of(folder, "originals", "weights-*").write_bytes(b"damaged")

        result = compute(folder_store(folder), of=document(methods=[FINETUNE, RANDOM_LABELS]))

        assert computed(result) == {"originals": 1, "unlearned": 1, "metrics": 1}


class TestCheckpoints:
    @pytest.fixture
    def slots(self, monkeypatch):
        """Every place for a checkpoint that is used, by the stage."""
        seen = {}

        class Slot(CheckpointSlot):
            def read(self):
                seen[self.stage] = self
                return super().read()

        monkeypatch.setattr(stages_module, "CheckpointSlot", Slot)
        return seen

    def slot(self, slots, tmp_path, name, **how):
        compute(folder_store(tmp_path / name), **how)
        return slots.pop("originals", None)

    def test_belongs_to_its_environment_where_only_that_is_reused(self, slots, tmp_path):
        how = {"reuse": "SameEnvironment"}
        one = self.slot(slots, tmp_path, "one", **how)
        same = self.slot(slots, tmp_path, "two", **how)
        other = self.slot(slots, tmp_path, "three", image=ELSEWHERE, **how)

        assert one.origin == same.origin
        assert one.origin != other.origin

    def test_is_used_anywhere_where_anything_is(self, slots, tmp_path):
        one = self.slot(slots, tmp_path, "one")
        assert one.origin == self.slot(slots, tmp_path, "two", image=ELSEWHERE).origin

    def test_is_neither_read_nor_written_where_nothing_is_reused(self, slots, tmp_path):
        assert self.slot(slots, tmp_path, "one", reuse="None") is None

    def test_of_a_stage_that_is_done_is_removed_by_whoever_finds_the_stage(self, folder):
        """The process that finished the stage was killed before it could remove the checkpoint."""
        store = folder_store(folder)
        checkpoint = names.checkpoint_key("originals", stored(folder, "originals")["key"])
        store.write(checkpoint, b"state")

        assert not computed(compute(store))
        assert store.stat(checkpoint) is None

    def test_of_another_origin_counts_as_absent(self, tmp_path):
        artefacts = Artefacts(folder_store(tmp_path), tmp_path / "cache")
        key = "0" * 64
        alone = Claims(Ranks.alone(torch.device("cpu")))
        first, other = (
            CheckpointSlot(artefacts, "originals", key, origin * 32, alone)
            for origin in (b"a", b"b")
        )
        first.write(b"state")

        assert first.read() == b"state"
        assert other.read() is None


class TestKeptModels:
    def test_weights_of_unlearned_models_are_kept(self, tmp_path):
        result = compute(folder_store(tmp_path), keep_unlearned_models=True)

        assert result.kept_unlearned_models
        weights = load_file(file_of(tmp_path, "unlearned", "weights-*.safetensors"))
        original = load_file(file_of(tmp_path, "originals", "weights-*.safetensors"))
        assert {name: each.shape for name, each in weights.items()} == {
            name: each.shape for name, each in original.items()
        }
        assert any(not weights[name].equal(original[name]) for name in weights)

    def test_they_are_computed_again_where_they_were_not_kept_with_the_same_predictions(
        self, folder
    ):
        before = stored(folder, "unlearned")

        result = compute(folder_store(folder), keep_unlearned_models=True)

        after = stored(folder, "unlearned")
        assert computed(result) == {"unlearned": 1}
        assert after["key"] == before["key"]
        predictions = names.PREDICTIONS
        assert after["files"][predictions] == before["files"][predictions]
        assert after["files"].keys() == {predictions, names.WEIGHTS}
        assert after["facts"]["distances"] == before["facts"]["distances"]

    def test_an_experiment_that_does_not_ask_for_them_leaves_them(self, folder):
        compute(folder_store(folder), keep_unlearned_models=True)
        result = compute(folder_store(folder))

        assert not computed(result)
        assert names.WEIGHTS in stored(folder, "unlearned")["files"]

    def test_no_metric_reads_them(self, folder):
        """Unlearned models may be large and far away."""
        compute(folder_store(folder), keep_unlearned_models=True)
        file_of(folder, "unlearned", "weights-*").unlink()
        with_loss = document(metrics=[{"name": "accuracy"}, {"name": "loss"}])

        result = compute(folder_store(folder), of=with_loss)

        assert computed(result) == {"metrics": 3}

    def test_a_finished_seed_without_them_is_not_finished_where_they_are_wanted(self, folder):
        results = ResultReader(folder_store(folder)).of(planned(document()))
        assert is_finished(results[260], planned(document()))
        wanting = planned(document(storage={"keepUnlearnedModels": True}))
        assert not is_finished(results[260], wanting)


def last_words(folder, tmp_path, **changes):
    """Return the last line of `supreme run`."""
    done = supreme("run", written(tmp_path / "tiny.yaml", document(**changes)), "--store", folder)
    assert done.code == 0, done.err
    assert "only a cluster uses" not in done.out
    return done.out.splitlines()[-1]


class TestCommand:
    """Real processes show that the fields of the file reach the trainers."""

    def test_a_finished_experiment_is_finished_whatever_may_be_reused(self, folder, tmp_path):
        said = last_words(folder, tmp_path, execution={"reuse": "None"})
        assert said == "0 stages computed, every seed was finished"

    def test_under_another_name_nothing_is_reused_but_the_data(self, folder, tmp_path):
        changes = {"name": "again", "execution": {"reuse": "None"}}

        last_words(folder, tmp_path, **changes)

        (path,) = folder_of(folder, document(**changes)).glob("seed=*/attempt=*/result.json")
        assert statuses(json.loads(path.read_text())) == {
            ("datasets", "reused"): 1,
            **{(stage, "computed"): count for stage, count in ALL_BUT_DATA.items()},
        }

    def test_models_are_kept_of_an_experiment_that_was_finished_without(self, folder, tmp_path):
        keeping = {"storage": {"keepUnlearnedModels": True}}

        assert last_words(folder, tmp_path, **keeping).startswith("1 stage computed, ")
        assert file_of(folder, "unlearned", "weights-*")
        said = last_words(folder, tmp_path, **keeping)
        assert said == "0 stages computed, every seed was finished"
