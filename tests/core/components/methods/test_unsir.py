"""The noise of UNSIR, and which samples impair and repair."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from supreme_core.api.model import parse
from supreme_core.components.methods.unsir import UnsirParams, unsir
from supreme_core.errors import MethodFailed
from tests.builders import RecordingTask, tiny_network, tiny_samples, tiny_task

STATISTICS = {"1.running_mean", "1.running_var", "1.num_batches_tracked"}


def phases(*, forget_classes=(1,), partly=False, **params):
    """Return the samples that were trained on in impair and in repair."""
    task = tiny_task(kind=RecordingTask, forget_classes=forget_classes, partly=partly)
    unsir(task, parse(UnsirParams, params))
    return task.phases["impair"][0], task.phases["repair"][0]


def noise_of(impair, count):
    batch = impair.batch(torch.arange(count))
    return batch.images, batch.labels


def test_learnt_noise_is_called_anything_but_its_class():
    """From the same first draw its loss grows, much more without the penalty on its size."""
    model, losses = tiny_network(3), []
    for steps, penalty in ((0, 0.1), (25, 0.1), (25, 0.0)):
        params = {"noiseSteps": steps, "penalty": penalty, "impairEpochs": 0, "repairEpochs": 0}
        images, labels = noise_of(phases(**params)[0], 32)
        losses.append(functional.cross_entropy(model(images), labels).item())
    assert losses[0] < losses[1] < losses[2]
    assert losses[2] > losses[0] + 1


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_noise_steps_are_those_of_adam_on_the_papers_loss(mode):
    """An independent loop, with penalty and rate given."""
    first, _ = noise_of(phases(noiseSteps=0, repairEpochs=0)[0], 32)
    noise, model = first.clone().requires_grad_(), tiny_network(3).train(mode == "train")
    optimizer = torch.optim.Adam([noise], lr=0.05)
    for _ in range(3):
        optimizer.zero_grad()
        length = torch.stack([(image**2).sum() for image in noise]).mean()
        loss = -functional.cross_entropy(model(noise), torch.full((32,), 1)) + 0.2 * length
        loss.backward()
        optimizer.step()
    task = tiny_task(kind=RecordingTask)
    params = {"noiseSteps": 3, "noiseLr": 0.05, "penalty": 0.2, "noiseMode": mode}
    unsir(task, parse(UnsirParams, {**params, "impairEpochs": 0, "repairEpochs": 0}))
    images, _ = noise_of(task.phases["impair"][0], 32)
    torch.testing.assert_close(images, noise.detach())
    for one, other in zip(task.model.buffers(), model.buffers(), strict=True):
        torch.testing.assert_close(one, other)
    assert not task.model.training


@pytest.mark.parametrize("classes", [(1,), (0, 3)], ids=str)
def test_defect_11_no_sample_of_a_forgotten_class_impairs_or_repairs(classes):
    impair, repair = phases(forget_classes=classes, noiseSize=2, copies=3)
    noise = len(classes) * 2 * 3
    assert set(impair.labels[:noise].tolist()) == set(classes)
    assert not torch.isin(impair.labels[noise:], torch.tensor(classes)).any()
    assert torch.equal(impair.labels[noise:], repair.labels)
    assert torch.equal(repair.labels, tiny_samples().labels[repair.ids])
    assert set(repair.labels.tolist()) == set(range(4)) - set(classes)


@pytest.mark.parametrize("classes", [(1,), (0, 3)], ids=str)
def test_defect_11_what_is_retained_of_a_class_impairs_and_repairs_and_the_rest_does_not(classes):
    impair, repair = phases(forget_classes=classes, partly=True, noiseSize=2, copies=3)
    noise = len(classes) * 2 * 3
    whole, _ = phases(forget_classes=classes, noiseSize=2, copies=3, impairEpochs=0)
    assert impair.labels[:noise].tolist() == whole.labels[:noise].tolist()
    assert torch.equal(noise_of(impair, noise)[0], noise_of(whole, noise)[0])
    assert torch.equal(impair.labels[noise:], repair.labels)
    assert torch.equal(repair.labels, tiny_samples().labels[repair.ids])
    task = tiny_task(forget_classes=classes, partly=True)
    assert set(repair.ids.tolist()) == set(task.retain.ids.tolist())
    assert set(repair.labels.tolist()) == set(range(4))


def test_each_noise_image_stands_so_many_times_under_its_class():
    impair, _ = phases(forget_classes=(0, 3), noiseSize=2, copies=3, impairEpochs=0)
    images, labels = noise_of(impair, 12)
    assert torch.equal(labels, torch.tensor([0, 0, 3, 3]).repeat(3))
    assert torch.equal(images, images[:4].repeat(3, 1, 1, 1))
    assert len(images[:4].unique(dim=0)) == 4


def test_retained_samples_are_capped_per_class_and_drawn_at_random():
    _, repair = phases(retainPerClass=5, repairEpochs=0)
    assert repair.labels.bincount(minlength=4).tolist() == [5, 0, 5, 5]
    assert len(repair.ids.unique()) == 15
    firsts = torch.cat([torch.arange(label, 48, 4)[:5] for label in (0, 2, 3)])
    assert not torch.equal(repair.ids, firsts)


@pytest.mark.parametrize(("mode", "moved"), [("eval", set()), ("train", STATISTICS)])
def test_learning_noise_moves_no_weights_and_statistics_in_train_mode_alone(mode, moved):
    task, before = tiny_task(), tiny_network(3).state_dict()
    unsir(task, UnsirParams(impair_epochs=0, repair_epochs=0, noise_mode=mode))
    state = task.model.state_dict()
    assert {name for name in before if not torch.equal(state[name], before[name])} == moved
    assert all(parameter.grad is None for parameter in task.model.parameters())


def test_dropout_while_noise_is_learnt_depends_on_the_methods_seed_alone():
    def noise(seed, before):
        torch.manual_seed(before)
        model = nn.Sequential(nn.Dropout(0.5), *tiny_network(3)).eval()
        task = tiny_task(kind=RecordingTask, seed=seed, model=model)
        unsir(task, UnsirParams(impair_epochs=0, repair_epochs=0, noise_mode="train"))
        after = torch.initial_seed()
        return noise_of(task.phases["impair"][0], 32)[0], after

    one, other = noise(7, 1), noise(7, 2)
    assert torch.equal(one[0], other[0])
    assert (one[1], other[1]) == (1, 2)


def test_noise_that_is_not_finite_fails_the_method():
    model = tiny_network(3)
    nn.init.constant_(model[-1].weight, float("nan"))
    with pytest.raises(MethodFailed, match="noise of class 1 is not finite"):
        unsir(tiny_task(model=model), UnsirParams())
