"""Builders: a probe's task on tiny networks, and what a probe sees there by an obvious loop."""

import torch

from supreme_core.engine.toolbox.probe_task import ProbeTask, Subject
from supreme_core.engine.training.fit import unreported
from tests.builders import TINY_SHAPE, plain, tiny_network, tiny_samples

ORIGINAL, RETRAINED, UNLEARNED = 3, 4, 5
"""Seeds of the three networks."""


def sets(forgets="classes", device="cpu"):
    """Return sets of 48 training and 32 test images; classes: all of class 1, else ten training
    images."""
    train, test = tiny_samples(device=device), tiny_samples(32, device=device)
    chosen = train.labels == 1 if forgets == "classes" else train.ids < 10
    held_out = (test.labels == 1) & (forgets == "classes")
    parts = {"forget": chosen, "retain": ~chosen}
    of_test = {"forget_test": held_out, "retain_test": ~held_out}
    return {
        **{on: train.take(part.nonzero().flatten()) for on, part in parts.items()},
        "test": test,
        **{on: test.take(part.nonzero().flatten()) for on, part in of_test.items()},
    }


def subject(network, samples, ranks=None):
    """network: its seed, or the network itself."""
    ranks = ranks or plain().reduction.ranks
    network = tiny_network(network) if isinstance(network, int) else network
    network = network.to(ranks.device)
    return Subject(
        lambda checkpoints: network,
        lambda: samples,
        classes=TINY_SHAPE.classes,
        ranks=ranks,
    )


def probe_task(
    *,
    model=UNLEARNED,
    retrained=RETRAINED,
    original=ORIGINAL,
    forgets="classes",
    device="cpu",
    **changes,
):
    samples = sets(forgets, device)
    numerics = changes.get("numerics", plain(device=device))
    ranks = numerics.reduction.ranks
    fields = {
        "subject": subject(model, samples, ranks),
        "original": subject(original, samples, ranks),
        "retrained": subject(retrained, samples, ranks),
        "sets": samples,
        "shape": TINY_SHAPE,
        "numerics": numerics,
        "seed": 11,
        "report": unreported,
    }
    return ProbeTask(**(fields | changes))


def images(samples):
    return samples.batch(torch.arange(len(samples))).images


@torch.no_grad()
def features_of(network, samples):
    """(n, 64) numpy, everything before the head of a tiny network."""
    return network[:4](images(samples)).numpy()


@torch.no_grad()
def accuracy_of(network, samples):
    """Image by image."""
    right = sum(
        int(network(image[None]).argmax()) == int(label)
        for image, label in zip(images(samples), samples.labels, strict=True)
    )
    return right / len(samples)
