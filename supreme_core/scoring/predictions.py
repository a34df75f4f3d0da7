"""Predictions of one model in one cell: from logits to the sets of metrics, to a file and back.

    forget/logits         (F, C) float32         test/logits             (T, C) float32
    forget/labels         (F,)   int64           test/labels             (T,)   int64
    retain/labels         (R,)   int64           forget_test/positions   (P,)   int64, within test
    retain/predicted      (R,)   int64
    retain/{loss,margin,entropy} (R,) float64

Logits are stored as they were computed, and what follows from them is computed again on reading.
forget_test and retain_test split test, so one list of positions says it all; it is empty where
nothing of test is like the forget set. Where forget_test is a set of its own, because the forget
set is poisoned, forget_test/{logits,labels} stand beside no positions. Retain is too large for
logits: what metrics need of it is stored.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from supreme_core.errors import CorruptArtefact, number_of
from supreme_core.registry import SetName
from supreme_core.scoring.evaluation import Integers, Outputs, Predictions

Logits = NDArray[np.float32]
Arrays = dict[str, NDArray[Any]]

SUMMARIES: Final = {
    "predicted": "retain/predicted",
    "loss": "retain/loss",
    # Stored names stay what they were: logit confidences are `margin` here, and the stage and the
    # file of those of training samples are `margins`, also in `needs` of a scenario.
    "logit_confidence": "retain/margin",
    "entropy": "retain/entropy",
}
"""Values that are kept of each retain sample beside its label, and the tensor of each."""

TENSORS: Final = {
    "forget/logits": ("F32", 2),
    "forget/labels": ("I64", 1),
    "retain/labels": ("I64", 1),
    "retain/predicted": ("I64", 1),
    "retain/loss": ("F64", 1),
    "retain/margin": ("F64", 1),
    "retain/entropy": ("F64", 1),
    "test/logits": ("F32", 2),
    "test/labels": ("I64", 1),
    "forget_test/positions": ("I64", 1),
}
"""Type and dimensions of each tensor of a file; all of them are there."""

OWN_TENSORS: Final = {"forget_test/logits": ("F32", 2), "forget_test/labels": ("I64", 1)}
"""Tensors of a forget_test that is no part of test; both are there or none."""

CHUNK_LOGITS: Final = 2**18
"""Logits of retain samples that are in memory in float64 at one time: 2 MiB, and some copies."""


def split_predictions(
    train_logits: Logits,
    train_labels: Integers,
    test_logits: Logits,
    test_labels: Integers,
    *,
    forget: Integers,
    retain: Integers,
    forget_test: Integers,
    retain_test: Integers,
    held_out: tuple[Logits, Integers] | None = None,
) -> Predictions:
    """The sets of a cell from the logits (N, C) of the training set and (T, C) of the test set.

    forget and retain are sorted positions in the training set, forget_test and retain_test split
    the test set. Where forget_test is empty there is no such set, and retain_test is test.
    held_out: logits and labels of a forget_test that is no part of the test set.
    """
    for positions in (forget, retain, forget_test):
        assert np.all(np.diff(positions) > 0), "positions are not sorted"
    test = Outputs.of(test_logits, test_labels)
    split = _split_test(test, forget_test, Outputs.of(*held_out) if held_out else None)
    assert np.array_equal(retain_test, _complement(forget_test, len(test))), "not a split of test"
    return {
        "forget": Outputs.of(train_logits[forget], train_labels[forget]),
        "retain": summarised(train_logits, train_labels, retain),
        "test": test,
        **split,
    }


def save_predictions(predictions: Predictions) -> bytes:
    """The content of a file that `load_predictions` reads back to the same bits."""
    forget, retain, test = (predictions[name] for name in ("forget", "retain", "test"))
    arrays: Arrays = {
        "forget/logits": _float32(forget),
        "forget/labels": forget.labels,
        "retain/labels": retain.labels,
        **{tensor: getattr(retain, name) for name, tensor in SUMMARIES.items()},
        "test/logits": _float32(test),
        "test/labels": test.labels,
        **_forgotten(predictions),
    }
    assert arrays.keys() in (TENSORS.keys(), {**TENSORS, **OWN_TENSORS}.keys())
    return save({name: np.ascontiguousarray(array) for name, array in arrays.items()})


def load_predictions(path: Path) -> Predictions:
    """Read a file of `save_predictions`; CorruptArtefact where it is anything else."""
    try:
        arrays = _read(path)
        _check(arrays)
    except (SafetensorError, ValueError) as error:
        raise CorruptArtefact(f"{path.name} is not a file of predictions: {error}") from None
    test = Outputs.of(arrays["test/logits"], arrays["test/labels"])
    own = None
    if "forget_test/logits" in arrays:
        own = Outputs.of(arrays["forget_test/logits"], arrays["forget_test/labels"])
    return {
        "forget": Outputs.of(arrays["forget/logits"], arrays["forget/labels"]),
        "retain": Outputs(
            labels=arrays["retain/labels"],
            **{name: arrays[tensor] for name, tensor in SUMMARIES.items()},
        ),
        "test": test,
        **_split_test(test, arrays["forget_test/positions"], own),
    }


def summarised(logits: Logits, labels: Integers, positions: Integers) -> Outputs:
    """Outputs of these positions without logits, in chunks: in float64 all logits are huge."""
    size = max(1, CHUNK_LOGITS // logits.shape[1])
    starts = range(0, max(len(positions), 1), size)
    chunks = [positions[start : start + size] for start in starts]
    parts = [Outputs.of(logits[chunk], labels[chunk]) for chunk in chunks]
    return Outputs(
        labels=labels[positions],
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in SUMMARIES},
    )


def _split_test(
    test: Outputs, forget_test: Integers, own: Outputs | None
) -> dict[SetName, Outputs]:
    """own: a forget_test that is no part of test."""
    if own is not None:
        return {"forget_test": own, "retain_test": test}
    if not len(forget_test):
        return {"retain_test": test}
    retain_test = _complement(forget_test, len(test))
    return {"forget_test": test.take(forget_test), "retain_test": test.take(retain_test)}


def _complement(positions: Integers, size: int) -> Integers:
    return np.setdiff1d(np.arange(size), positions, assume_unique=True)


def _float32(outputs: Outputs) -> Logits:
    assert outputs.logits is not None, "all sets but retain are stored with their logits"
    stored = outputs.logits.astype(np.float32)
    assert np.array_equal(stored, outputs.logits, equal_nan=True), "logits are not of float32"
    return stored


def _forgotten(predictions: Predictions) -> Arrays:
    forget_test, nothing = predictions.get("forget_test"), np.empty(0, dtype=np.int64)
    if forget_test is None:
        return {"forget_test/positions": nothing}
    if forget_test.positions is not None:
        return {"forget_test/positions": forget_test.positions}
    return {
        "forget_test/positions": nothing,
        "forget_test/logits": _float32(forget_test),
        "forget_test/labels": forget_test.labels,
    }


def _read(path: Path) -> Arrays:
    """All tensors; ValueError where names, types or dimensions differ, before any is read."""
    with safe_open(path, framework="numpy") as file:
        names = set(file.keys())
        expected = TENSORS | (OWN_TENSORS if names & OWN_TENSORS.keys() else {})
        if names != expected.keys():
            missing, unknown = sorted(expected.keys() - names), sorted(names - expected.keys())
            raise ValueError(f"missing tensors {missing}, unknown tensors {unknown[:3]}")
        for name, (dtype, dimensions) in expected.items():
            tensor = file.get_slice(name)
            found = tensor.get_dtype(), len(tensor.get_shape())
            if found != (dtype, dimensions):
                raise ValueError(
                    f"{name} has type {found[0]} and {number_of(found[1], 'dimension')},"
                    f" not {dtype} and {dimensions}"
                )
        return {name: file.get_tensor(name) for name in expected}


def _check(arrays: Arrays) -> None:
    """ValueError where the tensors do not fit together."""
    samples, classes = arrays["test/logits"].shape
    positions = arrays["forget_test/positions"]
    of_samples = {name: array for name, array in arrays.items() if array is not positions}
    for name, array in of_samples.items():
        labels = arrays[f"{name.partition('/')[0]}/labels"]
        if len(array) != len(labels):
            raise ValueError(
                f"{name} has {number_of(len(array), 'sample')}, its labels {len(labels)}"
            )
        if name.endswith("/logits") and (array.shape[1] != classes or classes == 0):
            raise ValueError("forget and test have logits of different classes, or of none")
        if name.endswith("/labels"):
            _check_range(name, array, 0, classes)
    _check_range("retain/predicted", arrays["retain/predicted"], -1, classes)
    if len(positions) and "forget_test/logits" in arrays:
        raise ValueError("forget_test is a part of test and a set of its own")
    _check_range("forget_test/positions", positions, 0, samples)
    if np.any(np.diff(positions) <= 0):
        raise ValueError("forget_test/positions are not in ascending order")


def _check_range(name: str, numbers: Integers, low: int, end: int) -> None:
    if np.any((numbers < low) | (numbers >= end)):
        raise ValueError(f"{name} has a number outside {low} to {end - 1}")
