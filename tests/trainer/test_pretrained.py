"""Models of a family through the whole trainer: what they see, and published weights.

prepare    without a network | from a file | a file of another model | other weights than there are
run        from what the store holds, on one rank and on two, with methods that make a network or
           images of their own
keys       what the input and the weights mean; what they mean to no other model

The files of weights are made here from random numbers, 1.5 MB each. A real command takes ten
seconds for its imports, so there is one; the rest runs in this process. What a file of weights may
be is in core/models/test_families.py.
"""

import json
import shutil
import socket

import pytest
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from supreme_trainer.process import trainer

from supreme_core import registry
from supreme_core.api.orders import RunOrder
from supreme_core.api.v1alpha1 import Component
from supreme_core.engine.images.image_shape import ImageShape
from supreme_core.engine.images.randomness import global_seed
from supreme_core.engine.networks.architecture import Architecture
from tests.real_ranks import on_two_ranks
from tests.trainer.experiments import (
    FINETUNE,
    FULL_CLASS,
    SIX_STEPS,
    artefacts_of,
    as_configured,
    compute,
    computed,
    experiment,
    folder_store,
    manifests,
    planned,
    supreme,
    written,
)

NAME = "timm/test_vit.r160_in1k"
EU_K = {"name": "eu_k", "params": {"layers": 2, **SIX_STEPS}}
UNSIR = {"name": "unsir", "params": {"noiseSteps": 2, "copies": 2, "retainPerClass": 8}}
METRICS = [{"name": "accuracy"}, {"name": "zrf"}]
"""The second is of an untrained model."""

CROPPED = [
    {"name": "resize", "params": {"size": 20}},
    {"name": "random_crop", "params": {"size": 16, "padding": 0}},
]


def document(*, pretrained=True, training=(), **params):
    """Digits of 8 pixels, seen as 16 pixels in three channels: one patch."""
    model = {"name": NAME, "params": {"inputSize": 16, "pretrained": pretrained, **params}}
    return experiment(
        model=model,
        scenarios=[FULL_CLASS],
        methods=[FINETUNE, EU_K, {"name": "bad_teacher"}, UNSIR],
        metrics=METRICS,
        training={"microBatches": 2, "augmentation": CROPPED, **dict(training)},
    )


def published(path, *, seed):
    """A file as the authors of the model could have published it."""
    chosen = registry.model.resolve(Component(name=NAME), at="model")
    with global_seed(seed):
        network = Architecture.of(chosen).build(ImageShape(3, 160, 1000))
    save_file(dict(network.state_dict()), path)
    return path


def prepare_here(store, document, capsys, *options):
    """(exit code, events) of stage zero in this process."""
    whole = planned(document)
    order = RunOrder(experiment=whole.experiment, work=whole.work, seed=260, store=str(store))
    path = store.parent / "order.json"
    path.write_text(json.dumps(order.to_document()))
    with as_configured():
        code = trainer.main([str(path), "--device", "cpu", "--prepare", *map(str, options)])
    return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def compute_on(ranks, store):
    compute(document(), folder_store(store), ranks=ranks)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """(store, output) after the real `supreme prepare` with a file of weights."""
    folder = tmp_path_factory.mktemp("prepared")
    file = written(folder / "tiny.yaml", document())
    weights = published(folder / "model.safetensors", seed=1)
    done = supreme("prepare", file, "--weights", weights, "--store", folder / "store")
    assert (done.code, done.err) == (0, "")
    return folder / "store", done.out


@pytest.fixture(scope="module")
def ran(prepared, tmp_path_factory):
    """(store, result) of one rank in this process, from what was prepared."""
    store = shutil.copytree(prepared[0], tmp_path_factory.mktemp("ran") / "store")
    return store, compute(document(), folder_store(store))


class TestPrepare:
    def test_without_a_network_it_says_how_to_bring_a_file_and_prepares_no_weights(
        self, tmp_path, capsys, monkeypatch
    ):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
        monkeypatch.setattr(constants, "ENDPOINT", nobody)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        code, events = prepare_here(tmp_path / "store", document(), capsys)
        assert code == 2
        first, second = events[-1]["message"].splitlines()
        assert first.startswith(f"cannot download the weights of {NAME}: no connection: ")
        assert second == (
            f"get model.safetensors of {NAME} on the Hugging Face hub where there is a network, and"
            " give `supreme prepare FILE --weights PATH --store URI`"
        )
        assert manifests(tmp_path / "store", "pretrained") == []

    def test_it_says_which_weights_lie_where(self, prepared):
        store, out = prepared
        (manifest,) = manifests(store, "pretrained")
        assert out.splitlines()[-3:] == [
            f"weights: {NAME}",
            f"digest:  {manifest['files']['weights.safetensors']['sha256']}",
            f"stored:  {store.as_uri()}/objects/pretrained/{manifest['key'][:2]}/{manifest['key']}"
            " (1.5 MB)",
        ]
        assert manifest["meaning"] == {"weights": {"name": NAME, "size": 16}}

    def test_weights_that_are_there_need_no_file(self, prepared, tmp_path, capsys):
        store = shutil.copytree(prepared[0], tmp_path / "store")
        code, events = prepare_here(store, document(), capsys)
        assert code == 0
        (told,) = (event for event in events if event["event"] == "weights")
        assert (told["name"], told["status"]) == (NAME, "reused")

    def test_the_same_file_may_be_given_again_and_another_one_not(self, prepared, tmp_path, capsys):
        store = shutil.copytree(prepared[0], tmp_path / "store")
        for seed, expected in ((1, 0), (2, 2)):
            weights = published(tmp_path / "model.safetensors", seed=seed)
            code, events = prepare_here(store, document(), capsys, "--weights", weights)
            assert code == expected
        assert events[-1]["message"] == (
            f"--weights: this store has other weights of {NAME} already; use another store for"
            " these"
        )

    def test_a_file_of_another_model_is_refused_with_its_first_tensors(self, tmp_path, capsys):
        weights = published(tmp_path / "model.safetensors", seed=1)
        tensors = load_file(weights)
        del tensors["cls_token"]
        save_file(tensors, weights)
        code, events = prepare_here(tmp_path / "store", document(), capsys, "--weights", weights)
        assert code == 2
        assert (
            events[-1]["message"]
            == f"--weights: {weights} is not that of {NAME}: missing cls_token"
        )

    def test_a_model_that_starts_afresh_takes_no_weights(self, tmp_path, capsys):
        weights = published(tmp_path / "model.safetensors", seed=1)
        afresh = document(pretrained=False)
        code, events = prepare_here(tmp_path / "store", afresh, capsys, "--weights", weights)
        assert code == 2
        assert events[-1]["message"] == (
            "--weights: spec.model does not start from pretrained weights"
        )

    def test_a_model_that_cannot_be_built_is_refused_before_anything_trains(self, tmp_path, capsys):
        code, events = prepare_here(
            tmp_path / "store", document(pretrained=False, dropRate=0.1, inputSize=8), capsys
        )
        assert code == 2
        assert events[-1]["message"].startswith("spec.model cannot be built for ")


class TestRun:
    def test_every_method_gives_a_model_from_what_the_store_holds(self, ran):
        _, result = ran
        assert {run.method: run.status for run in result.runs} == dict.fromkeys(
            ("original", "retrained", "finetune", "eu_k", "bad_teacher", "unsir"), "ok"
        )
        assert computed(result)["pretrained"] == 0
        assert result.stages[0].stage == "pretrained"

    def test_two_ranks_give_the_bits_of_one(self, prepared, ran, tmp_path):
        """Every rank builds the networks and reads the weights for itself."""
        store = shutil.copytree(prepared[0], tmp_path / "store")
        on_two_ranks(compute_on, store)
        assert artefacts_of(folder_store(store)) == artefacts_of(folder_store(ran[0]))

    def test_the_library_is_part_of_what_a_stage_ran_on(self, prepared):
        (manifest,) = manifests(prepared[0], "pretrained")
        assert manifest["environment"].keys() >= {"torch", "timm"}

    def test_a_network_starts_from_them(self, prepared, tmp_path):
        """Without training, all but the head are the published weights."""
        store = shutil.copytree(prepared[0], tmp_path / "store")
        untrained = {**document(training={"epochs": 0})}
        untrained["spec"]["methods"] = [FINETUNE]
        compute(untrained, folder_store(store))
        (weights,) = store.glob("objects/pretrained/*/*/weights-*.safetensors")
        (original,) = store.glob("objects/originals/*/*/weights-*.safetensors")
        (retrained,) = store.glob("objects/retrained/*/*/weights-*.safetensors")
        start, found = load_file(weights), load_file(original)
        changed = {name for name in found if not found[name].equal(start[name])}
        assert changed == {"head.weight", "head.bias"}
        assert found["head.weight"].shape[0] == 10
        assert retrained.read_bytes() == original.read_bytes()

    def test_an_untrained_model_does_not_know_them(self, ran, tmp_path):
        """The predictions are those of the same network where nothing is pretrained."""
        afresh = document(pretrained=False, training={"epochs": 0})
        afresh["spec"]["methods"] = [FINETUNE]
        compute(afresh, folder_store(tmp_path))
        (meaning, digest), (other, expected) = untrained(ran[0]), untrained(tmp_path)
        assert digest == expected
        assert "pretrained" not in meaning
        assert meaning["input"] == other["input"]


def untrained(store):
    """Return the meaning of an untrained model's predictions, and the digests of their files."""
    (found,) = (
        each
        for each in manifests(store, "predictions")
        if isinstance(each["meaning"]["model"], dict)
    )
    return found["meaning"]["model"], [file["sha256"] for file in found["files"].values()]


class TestMeaning:
    def test_the_input_and_the_weights_are_part_of_what_a_model_means(self, ran):
        store, _ = ran
        (start,) = manifests(store, "pretrained")
        for stage in ("originals", "retrained"):
            (manifest,) = manifests(store, stage)
            meaning = manifest["meaning"]
            assert meaning["pretrained"] == start["files"]["weights.safetensors"]["sha256"]
            assert meaning["input"] == {
                "channels": 3,
                "size": 16,
                "resize": 16,
                "interpolation": "bicubic",
                "mean": [0.5, 0.5, 0.5],
                "std": [0.5, 0.5, 0.5],
            }
            assert meaning["model"]["name"] == NAME

    def test_a_small_transformer_of_ones_own_arguments_is_trained_and_unlearned(self, tmp_path):
        arguments = {"patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}
        params = {"inputSize": 16, "arguments": arguments}
        small = {"name": "timm/vit_tiny_patch16_224", "params": params}
        methods = [
            FINETUNE,
            {"name": "ssd"},
            {"name": "cf_k", "params": {"layers": 1, **SIX_STEPS}},
        ]
        result = compute(
            experiment(model=small, scenarios=[FULL_CLASS], methods=methods, metrics=METRICS),
            folder_store(tmp_path),
        )
        assert {run.status for run in result.runs} == {"ok"}
        assert [(each.number, each.name) for each in result.cells[0].named] == [(3, "3")]
        (manifest,) = manifests(tmp_path, "originals")
        assert manifest["meaning"]["model"]["params"]["arguments"] == arguments

    def test_a_model_without_them_means_what_it_always_did(self, tmp_path):
        store = folder_store(tmp_path)
        untrained = {"training": {"epochs": 0}, "metrics": METRICS}
        compute(experiment(scenarios=[FULL_CLASS], methods=[FINETUNE], **untrained), store)
        (manifest,) = manifests(tmp_path, "originals")
        assert manifest["meaning"].keys() == {"recipe", "model", "dataset", "seed"}
        assert manifests(tmp_path, "pretrained") == []
