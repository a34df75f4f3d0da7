"""Forget and retain set as one, for losses that must tell them apart sample by sample."""

import torch
from torch import Tensor

from supreme_core.engine.images.samples import Batch, Samples


def marked(forget: Samples, retain: Samples) -> Samples:
    """The forget set, then the retain set; a forgotten sample with label y has -1 - y."""
    return forget.with_labels(~forget.labels).join(retain)


def is_forgotten(batch: Batch) -> Tensor:
    """(n,) which samples of a batch of marked ones are to be forgotten."""
    return batch.labels < 0


def unmarked(batch: Batch) -> Batch:
    """The same batch with the labels that its samples had."""
    labels = torch.where(is_forgotten(batch), ~batch.labels, batch.labels)
    return Batch(batch.images, labels, batch.ids)
