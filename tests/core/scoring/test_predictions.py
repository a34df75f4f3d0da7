"""Logits become the sets of a cell, then a file, and are read back to the same bits."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from supreme_core.errors import CorruptArtefact
from supreme_core.scoring import predictions as predictions_module
from supreme_core.scoring.predictions import (
    TENSORS,
    load_predictions,
    save_predictions,
    split_predictions,
)
from supreme_core.scoring.rows import measure
from tests.core.components.metrics.evaluations import (
    CLASSES,
    TEST,
    TRAIN,
    evaluation,
    every_default_metric,
    made_up_logits,
    positions,
    predictions,
)

ARRAYS = ("labels", "predicted", "loss", "logit_confidence", "entropy", "logits")
both_cells = pytest.mark.parametrize("forgets", ["classes", "samples"])


def loaded(tmp_path, content):
    path = tmp_path / "predictions.safetensors"
    path.write_bytes(content)
    return load_predictions(path)


def same_bits(one, other):
    for name in ARRAYS:
        a, b = getattr(one, name), getattr(other, name)
        if a is None:
            assert b is None
        else:
            assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes()), name


@both_cells
def test_what_was_saved_is_loaded_to_the_same_bits(forgets, tmp_path):
    saved = predictions(forgets)
    found = loaded(tmp_path, save_predictions(saved))
    assert found.keys() == saved.keys()
    for name in saved:
        same_bits(saved[name], found[name])
    assert save_predictions(found) == save_predictions(saved)


@both_cells
def test_loaded_predictions_have_the_same_metrics_to_the_bit(forgets, tmp_path):
    cell = evaluation(forgets)
    again = {
        model: loaded(tmp_path, save_predictions(each)) for model, each in cell.predictions.items()
    }
    metrics = every_default_metric()
    assert measure(metrics, replace(cell, predictions=again)) == measure(metrics, cell)


def test_loaded_arrays_are_aligned(tmp_path):
    """numpy adds up unaligned arrays in another order, which changes the last bits of a mean."""
    for each in loaded(tmp_path, save_predictions(predictions())).values():
        assert all(getattr(each, name).flags.aligned for name in ARRAYS[:-1])


@given(seed=st.integers(0, 2**32 - 1), bad=st.sampled_from([None, np.nan, np.inf, 3e38, 1e-40]))
@settings(max_examples=25, deadline=None)
def test_any_float32_logits_survive(seed, bad, tmp_path_factory):
    train, test, subsets = positions("classes")
    logits = made_up_logits(TRAIN + TEST, seed=seed, scale=1e3)
    if bad is not None:
        logits[::7, 1] = bad
    saved = split_predictions(logits[:TRAIN], train, logits[TRAIN:], test, **subsets)
    found = loaded(tmp_path_factory.mktemp("any"), save_predictions(saved))
    for name in saved:
        same_bits(saved[name], found[name])


def test_sets_hold_the_samples_of_their_positions():
    train, test, subsets = positions("classes")
    logits = made_up_logits(TRAIN + TEST)
    found = split_predictions(logits[:TRAIN], train, logits[TRAIN:], test, **subsets)
    for name, where in subsets.items():
        of, labels = (logits[TRAIN:], test) if "test" in name else (logits[:TRAIN], train)
        assert found[name].labels.tolist() == labels[where].tolist()
        assert found[name].predicted.tolist() == of[where].argmax(axis=1).tolist()
    assert len(found["test"]) == TEST


def test_defect_05_every_sample_is_in_one_subset_exactly_once():
    found = predictions("classes")
    assert len(found["forget"]) + len(found["retain"]) == TRAIN
    assert len(found["forget_test"]) + len(found["retain_test"]) == TEST
    both = np.concatenate([found["forget_test"].positions, found["retain_test"].positions])
    assert sorted(both) == list(range(TEST))


def test_retain_keeps_no_logits():
    found = predictions()
    assert found["retain"].logits is None
    assert all(found[name].logits is not None for name in found if name != "retain")


def test_without_forgotten_test_samples_retain_test_is_the_test_set():
    found = predictions("samples")
    assert "forget_test" not in found
    assert found["retain_test"] is found["test"]


def with_copies():
    """Predictions of a cell with a poisoned forget set, whose copies of test samples are 13."""
    train, test, subsets = positions("samples")
    logits = made_up_logits(TRAIN + TEST + 13)
    held_out = logits[TRAIN + TEST :], np.arange(13) % CLASSES
    return split_predictions(
        logits[:TRAIN], train, logits[TRAIN : TRAIN + TEST], test, **subsets, held_out=held_out
    )


def test_copies_are_the_forget_test_set_and_the_test_set_stays_whole():
    found = with_copies()
    assert len(found["forget_test"]) == 13
    assert found["forget_test"].labels.tolist() == [n % CLASSES for n in range(13)]
    assert found["retain_test"] is found["test"]
    assert len(found["test"]) == TEST


def test_copies_are_loaded_to_the_same_bits(tmp_path):
    saved = with_copies()
    found = loaded(tmp_path, save_predictions(saved))
    assert found.keys() == saved.keys()
    for name in saved:
        same_bits(saved[name], found[name])
    assert save_predictions(found) == save_predictions(saved)


BROKEN_COPIES = {
    "labels missing": (lambda arrays: arrays.pop("forget_test/labels"), "missing tensors"),
    "fewer labels": (
        lambda arrays: put("forget_test/labels", lambda a: a[1:])(arrays),
        "samples, its labels",
    ),
    "other classes": (
        lambda arrays: put("forget_test/logits", lambda a: a[:, :-1])(arrays),
        "different classes",
    ),
    "label out of range": (
        lambda arrays: put("forget_test/labels", lambda a: a + 4)(arrays),
        "forget_test/labels .* outside 0 to 3",
    ),
    "positions too": (
        lambda arrays: arrays.update({"forget_test/positions": np.arange(3)}),
        "a part of test and a set of its own",
    ),
}


@pytest.mark.parametrize(("change", "message"), BROKEN_COPIES.values(), ids=BROKEN_COPIES)
def test_copies_that_say_something_else_are_corrupt(change, message, tmp_path):
    arrays = load(save_predictions(with_copies()))
    change(arrays)
    content = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    with pytest.raises(CorruptArtefact, match=message):
        loaded(tmp_path, content)


def test_chunks_of_retain_do_not_change_a_bit(monkeypatch):
    whole = predictions()["retain"]
    monkeypatch.setattr(predictions_module, "CHUNK_LOGITS", 7 * CLASSES)
    same_bits(predictions()["retain"], whole)


def test_nothing_is_stored_twice():
    """Test logits of both subsets are those of test."""
    arrays = load(save_predictions(predictions("classes")))
    assert {name: str(array.dtype) for name, array in arrays.items() if array.ndim == 2} == {
        "forget/logits": "float32",
        "test/logits": "float32",
    }


@pytest.mark.parametrize("wrong", ["forget", "retain", "forget_test"])
def test_positions_that_are_not_sorted_are_a_bug_of_the_caller(wrong):
    train, test, subsets = positions()
    subsets[wrong] = subsets[wrong][::-1]
    logits = made_up_logits(TRAIN + TEST)
    with pytest.raises(AssertionError):
        split_predictions(logits[:TRAIN], train, logits[TRAIN:], test, **subsets)


def test_logits_that_float32_cannot_hold_are_a_bug_of_the_caller():
    train, test, subsets = positions()
    logits = made_up_logits(TRAIN + TEST).astype(np.float64) / 3
    with pytest.raises(AssertionError, match="float32"):
        save_predictions(split_predictions(logits[:TRAIN], train, logits[TRAIN:], test, **subsets))


def changed(change):
    """A file of predictions in which `change` altered the arrays."""
    arrays = load(save_predictions(predictions("classes")))
    change(arrays)
    return save({name: np.ascontiguousarray(array) for name, array in arrays.items()})


def put(name, function):
    return lambda arrays: arrays.update({name: function(arrays[name])})


BROKEN = {
    "unknown tensor": (lambda arrays: arrays.update(extra=np.zeros(1)), r"unknown.*extra"),
    "float16 logits": (put("test/logits", lambda a: a.astype(np.float16)), "F16"),
    "flat logits": (put("forget/logits", np.ravel), "1 dimension"),
    "other classes": (put("forget/logits", lambda a: a[:, :-1]), "different classes"),
    "no classes": (
        lambda arrays: [
            put(f"{name}/logits", lambda a: a[:, :0])(arrays) for name in ("forget", "test")
        ],
        "of none",
    ),
    "fewer labels": (put("forget/labels", lambda a: a[:-1]), "samples, its labels"),
    "fewer losses": (put("retain/loss", lambda a: a[1:]), "retain/loss has"),
    "label out of range": (put("test/labels", lambda a: a + 4), "test/labels .* outside 0 to 3"),
    "negative label": (put("retain/labels", lambda a: a - 5), "retain/labels"),
    "prediction out of range": (put("retain/predicted", lambda a: a + 4), "outside -1 to 3"),
    "position out of range": (put("forget_test/positions", lambda a: a + TEST), "outside 0 to 60"),
    "positions in disorder": (put("forget_test/positions", lambda a: a[::-1]), "ascending"),
    "position twice": (put("forget_test/positions", lambda a: np.repeat(a, 2)), "ascending"),
}


@pytest.mark.parametrize(("change", "message"), BROKEN.values(), ids=BROKEN)
def test_file_that_says_something_else_is_corrupt(change, message, tmp_path):
    with pytest.raises(CorruptArtefact, match=message):
        loaded(tmp_path, changed(change))


@pytest.mark.parametrize("name", TENSORS)
def test_missing_tensor_is_corrupt(name, tmp_path):
    with pytest.raises(CorruptArtefact, match=f"missing tensors .*{name}"):
        loaded(tmp_path, changed(lambda arrays: arrays.pop(name)))


@pytest.mark.parametrize("name", TENSORS)
def test_tensor_of_another_type_is_corrupt(name, tmp_path):
    with pytest.raises(CorruptArtefact, match=f"{name} has type I32"):
        loaded(tmp_path, changed(put(name, lambda array: array.astype(np.int32))))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: b"",
        lambda content: content[:-1],
        lambda content: content[:40],
        lambda content: content + b"more",
        lambda content: b"\xff" * 64,
        lambda content: content.replace(b'"F32"', b'"X32"'),
    ],
    ids=["empty", "cut short", "cut in header", "too long", "noise", "unknown type"],
)
def test_bytes_that_are_no_safetensors_are_corrupt(spoil, tmp_path):
    with pytest.raises(CorruptArtefact):
        loaded(tmp_path, spoil(save_predictions(predictions())))
