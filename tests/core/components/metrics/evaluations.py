"""Builders: evaluations of small cells with made-up logits."""

from dataclasses import replace

import numpy as np

from supreme_core import registry
from supreme_core.plan import default_metrics
from supreme_core.registry.catalog import bundled
from supreme_core.scoring.evaluation import Cost, Evaluation, Outputs, ParameterDistance
from supreme_core.scoring.predictions import split_predictions

TRAIN, TEST, CLASSES = 97, 61, 4  # primes: no batch size divides them
MODELS = ("unlearned", "retrained", "original", "untrained")


def every_default_metric():
    """(title, entry, params) of the default set, as an experiment without a list has it."""
    chosen = [registry.metric.resolve(each, at="") for each in default_metrics(bundled())]
    return [(metric.entry.name, metric.entry, metric.params) for metric in chosen]


def made_up_logits(samples, *, classes=CLASSES, seed=0, scale=3.0):
    return np.random.default_rng(seed).normal(0, scale, (samples, classes)).astype(np.float32)


def outputs(logits, labels=None):
    logits = np.asarray(logits, dtype=np.float32)
    labels = np.zeros(len(logits), dtype=np.int64) if labels is None else np.asarray(labels)
    return Outputs.of(logits, labels)


def two_models(unlearned, retrained, labels=None, *, on="forget"):
    """An evaluation of one set, from the logits of both models."""
    return replace(
        evaluation(),
        predictions={
            "unlearned": {on: outputs(unlearned, labels)},
            "retrained": {on: outputs(retrained, labels)},
            "untrained": {on: outputs(retrained, labels)},
        },
        on=on,
    )


def forget_and_held_out(forget, held_out, *, forgets="classes", seed=0):
    """An evaluation of the attacks; each side is (logits, labels)."""
    name = "forget_test" if forgets == "classes" else "test"
    sets = {"forget": outputs(*forget), name: outputs(*held_out)}
    return replace(
        evaluation(forgets=forgets, seed=seed), predictions={"unlearned": sets, "retrained": sets}
    )


def positions(forgets="classes", *, seed=0):
    """Labels of both sets and the positions of the four subsets."""
    random = np.random.default_rng([seed, 1])
    train, test = random.integers(0, CLASSES, TRAIN), random.integers(0, CLASSES, TEST)
    forgotten = train == 1 if forgets == "classes" else random.random(TRAIN) < 0.3
    forgotten_test = test == 1 if forgets == "classes" else np.zeros(TEST, dtype=bool)
    subsets = {
        "forget": np.flatnonzero(forgotten),
        "retain": np.flatnonzero(~forgotten),
        "forget_test": np.flatnonzero(forgotten_test),
        "retain_test": np.flatnonzero(~forgotten_test),
    }
    return train, test, subsets


def predictions(forgets="classes", *, seed=0, model=0):
    """Predictions of one model; cells of one seed share their labels."""
    train, test, subsets = positions(forgets, seed=seed)
    logits = made_up_logits(TRAIN + TEST, seed=[seed, 2, model])
    return split_predictions(logits[:TRAIN], train, logits[TRAIN:], test, **subsets)


def findings(probe, *, seed=0):
    """Return possible findings of a probe for each model: steps, or a number in 0..1 of each
    set."""
    random = np.random.default_rng([seed, 4])
    names = {
        "": (),
        "relearning": ("steps", "samples"),
        "feature_similarity": [
            f"{on}/{model}" for on in ("forget", "test") for model in ("retrained", "original")
        ],
    }
    accuracies = ("forget", "retain", "test", "forget_test", "retain_test")
    return {
        model: {name: np.asarray(random.random()) for name in names.get(probe, accuracies)}
        for model in ("unlearned", "retrained")
    }


def evaluation(forgets="classes", *, seed=0, on=None):
    random = np.random.default_rng([seed, 3])
    return Evaluation(
        forgets=forgets,
        predictions={
            name: predictions(forgets, seed=seed, model=number)
            for number, name in enumerate(MODELS)
        },
        distances={
            name: ParameterDistance(distance=random.random(), norm=1.0)
            for name in ("stem.weight", "head.weight", "head.bias")
        },
        cost=Cost(wall_seconds=2.0, device_seconds=3.5, peak_memory_bytes=1 << 20),
        retrained_cost=Cost(wall_seconds=12.0, device_seconds=20.0, peak_memory_bytes=1 << 21),
        seed=seed,
        on=on,
    )


def reordered(evaluation, *, seed=0):
    """The same evaluation with the samples of each set in another order, alike for all models."""
    random = np.random.default_rng(seed)
    orders = {
        name: random.permutation(len(each))
        for name, each in evaluation.predictions["unlearned"].items()
    }
    return replace(
        evaluation,
        predictions={
            model: {name: each.take(orders[name]) for name, each in sets.items()}
            for model, sets in evaluation.predictions.items()
        },
    )


def freeze(evaluation):
    """Make every array of the evaluation raise when it is written to."""
    for sets in evaluation.predictions.values():
        for each in sets.values():
            for array in vars(each).values():
                if isinstance(array, np.ndarray):
                    array.flags.writeable = False
