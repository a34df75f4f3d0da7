"""Evaluation looks at each sample once for each model, and never in train mode.

Covered: samples that go through the network to evaluate one method with all default metrics, the
references' evaluations for each cell whatever the number of methods, the mode of every module while
it is evaluated (defect 2 of the reference), and that the recorded count is the true one.

Counted by hooks on every network, so that nobody's own count is trusted. Each network's first layer
sees a batch once for each forward pass.
"""

import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from supreme_trainer.seed import predicting
from timm.models.vision_transformer import VisionTransformer

from supreme_core import registry
from supreme_core.api import names
from supreme_core.components.models.resnet18 import ResNet18
from supreme_core.engine.images.image_shape import ImageShape
from supreme_core.plan import default_metrics
from supreme_core.registry.catalog import bundled
from supreme_core.scoring.predictions import load_predictions
from tests.trainer.experiments import (
    FINETUNE,
    FULL_CLASS,
    LIGHT,
    RANDOM_LABELS,
    RANDOM_SAMPLES,
    SIX_METHODS,
    SSD,
    TEST,
    TRAIN,
    as_configured,
    compute,
    computed,
    experiment,
    folder_store,
    manifests,
)


@dataclass
class Evaluations:
    """Events during the evaluation of models."""

    passes: int = 0
    samples: int = 0
    modes: set = field(default_factory=set)


@contextmanager
def counted(monkeypatch):
    """Count what goes through networks inside `predict`, which is what evaluates."""
    seen, predict = Evaluations(), predicting.predict

    def watched(model, samples, **how):
        def hook(module, arguments, output):
            seen.modes.add(module.training)
            if module is model:
                seen.samples += len(arguments[0])

        handle = torch.nn.modules.module.register_module_forward_hook(hook)
        try:
            seen.passes += 1
            return predict(model, samples, **how)
        finally:
            handle.remove()

    with monkeypatch.context() as patched:
        patched.setattr(predicting, "predict", watched)
        yield seen


@contextmanager
def all_forwards_in_eval_mode():
    """Count samples of every forward pass of a whole LIGHT in eval mode, whoever asks for it, but
    for the single image by which its family sees whether it can be built."""
    seen = Evaluations()

    def hook(module, arguments, output):
        if isinstance(module, VisionTransformer) and not module.training:
            seen.samples += len(arguments[0]) if len(arguments[0]) > 1 else 0

    handle = torch.nn.modules.module.register_module_forward_hook(hook)
    try:
        yield seen
    finally:
        handle.remove()


DEFAULT = [{"name": metric.name} for metric in default_metrics(bundled())]


@pytest.mark.parametrize("scenario", [FULL_CLASS, RANDOM_SAMPLES], ids=lambda each: each["name"])
def test_one_method_with_all_default_metrics_takes_one_pass_over_all_samples(tmp_path, scenario):
    """Finetune itself runs in train mode only, so what runs in eval mode is evaluation."""
    storage = folder_store(tmp_path)
    how = {"model": LIGHT, "scenarios": [scenario], "metrics": DEFAULT}
    compute(experiment(methods=[RANDOM_LABELS], **how), storage)

    with all_forwards_in_eval_mode() as seen:
        compute(experiment(methods=[RANDOM_LABELS, FINETUNE], **how), storage)

    assert seen.samples <= TRAIN + TEST
    assert seen.samples == recorded(tmp_path, "unlearned", "finetune")


def work(*methods, metrics=("accuracy",)):
    metrics = [{"name": name} for name in metrics]
    return experiment(model=LIGHT, methods=methods, metrics=metrics)


def evaluated(document, folder):
    with pytest.MonkeyPatch.context() as patched, counted(patched) as seen:
        compute(document, folder_store(folder))
    return seen


@pytest.fixture(scope="module")
def one_method(tmp_path_factory):
    """(folder, Evaluations) of a seed with one method."""
    folder = tmp_path_factory.mktemp("one")
    return folder, evaluated(work(FINETUNE), folder)


@pytest.fixture(scope="module")
def six_methods(tmp_path_factory):
    """Evaluations of a seed with six methods, of which one cannot forget random samples."""
    return evaluated(work(*SIX_METHODS), tmp_path_factory.mktemp("six"))


def test_references_are_evaluated_once_for_each_cell_however_many_methods(one_method, six_methods):
    _, one = one_method
    sets, more = 2, (6 - 1) + (5 - 1)
    assert six_methods.passes - one.passes == sets * more
    assert six_methods.samples - one.samples == (TRAIN + TEST) * more


def test_adding_methods_evaluates_no_reference_again(one_method, tmp_path):
    store = shutil.copytree(one_method[0], tmp_path / "store")
    assert evaluated(work(FINETUNE, SSD), store).samples == 2 * (TRAIN + TEST)


def test_metrics_are_computed_again_without_any_forward_pass(one_method, tmp_path):
    store = shutil.copytree(one_method[0], tmp_path / "store")

    with all_forwards_in_eval_mode() as seen:
        more = work(FINETUNE, metrics=("accuracy", "js_divergence", "mia_loss_auc"))
        result = compute(more, folder_store(store))

    assert computed(result) == {"metrics": 3 * 2}
    assert seen.samples == 0


def test_defect_02_every_model_is_in_eval_mode_while_it_is_evaluated(six_methods):
    assert six_methods.modes == {False}


def test_defect_02_a_method_that_leaves_train_mode_on_is_evaluated_in_eval_mode(
    tmp_path, monkeypatch
):
    def finetune_and_stay_in_train_mode(task, params):
        task.model.train()

    entry = registry.method.get("finetune")
    careless = replace(entry, function=finetune_and_stay_in_train_mode)
    monkeypatch.setitem(registry.method._entries, "finetune", careless)
    with counted(monkeypatch) as seen:
        compute(work(FINETUNE), folder_store(tmp_path))

    assert seen.modes == {False}


def test_defect_02_stored_predictions_are_those_of_the_stored_weights_in_eval_mode(tmp_path):
    """The same network in train mode answers otherwise, and in batches of one yet otherwise."""
    document = experiment(scenarios=[FULL_CLASS], methods=[SSD], metrics=[{"name": "accuracy"}])
    compute(document, folder_store(tmp_path))
    (original,) = tmp_path.glob("objects/originals/*/*/weights-*.safetensors")
    stored = predictions_of(tmp_path, original)
    images = images_of_test_set(tmp_path)
    network = ResNet18(ImageShape(1, 8, 10), width=2).to(memory_format=torch.channels_last)
    network.load_state_dict(load_file(original))

    with as_configured(), torch.no_grad():
        one_by_one = torch.cat([network.eval()(image[None]) for image in images]).numpy()
        in_train_mode = network.train()(images).numpy()

    assert np.allclose(stored["test"].logits, one_by_one, atol=1e-5)
    assert not np.allclose(stored["test"].logits, in_train_mode, atol=1e-2)


def predictions_of(folder, weights):
    """Return the stored predictions of the model with these weights."""
    for manifest in manifests(folder, "predictions"):
        if manifest["meaning"]["model"] == weights.parent.name:
            (file,) = (folder / names.artefact_prefix("predictions", manifest["key"])).glob("*.s*")
            return load_predictions(file)
    raise AssertionError("no predictions of these weights")


def images_of_test_set(folder):
    """The normalised test images of a store's only dataset."""
    (dataset,) = manifests(folder, "datasets")
    (pixels,) = folder.glob("objects/datasets/*/*/test_images-*.npy")
    mean, std = (torch.tensor(dataset["facts"][name])[:, None, None] for name in ("mean", "std"))
    return (torch.from_numpy(np.load(pixels)).float() / 255 - mean) / std


def recorded(folder, stage, method):
    (facts,) = (
        manifest["facts"]
        for manifest in manifests(folder, stage)
        if manifest["meaning"]["method"]["name"] == method
    )
    return facts["forwardedSamples"]
