"""examples/presets: the recipes of the SUPREME paper's package, made from one table."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

FOLDER = Path(__file__).parents[2] / "examples" / "presets"
MODELS = ("resnet18", "vit")
RESNET, VIT = "resnet18", "timm/vit_base_patch16_224.orig_in21k_ft_in1k"


@dataclass(frozen=True)
class DataPreset:
    """milestones: of ResNet18.  alpha, weight: of ssd where classes are forgotten.

    together: whether both networks are one file.
    """

    name: str
    title: str
    resnet_epochs: int
    milestones: tuple[int, ...]
    vit_epochs: int
    classes: tuple[int, ...] = ()
    fine: tuple[str, ...] = ()
    fractions: tuple[float, ...] = ()
    alpha: float = 10
    weight: float = 1
    lfssd_alpha: float = 10
    photos: bool = False
    together: bool = False


DATA = (
    DataPreset(
        "cifar10", "CIFAR-10", 20, (8, 12, 16), 8, fractions=(0.001, 0.005, 0.01, 0.05, 0.1)
    ),
    DataPreset(
        "cifar20",
        "CIFAR-20",
        40,
        (15, 30, 35),
        9,
        classes=(19, 4, 14, 5, 10),
        fine=("rocket", "mushroom", "baby", "lamp", "sea"),
        lfssd_alpha=5,
    ),
    DataPreset("cifar100", "CIFAR-100", 200, (60, 120, 160), 8, classes=(69, 51, 2, 40, 71)),
    DataPreset(
        "pins",
        "Pins Face Recognition",
        200,
        (60, 120, 160),
        8,
        classes=(1, 10, 20, 30, 40),
        fractions=(0.001,),
        alpha=50,
        weight=0.1,
        photos=True,
        together=True,
    ),
    DataPreset(
        "caltech101",
        "Caltech-101",
        100,
        (30, 60, 80),
        8,
        classes=(5, 20, 23, 37, 57),
        fractions=(0.001, 0.005, 0.01, 0.05, 0.1),
        photos=True,
    ),
)


def presets() -> dict[Path, str]:
    """Each file and what it should hold."""
    files = {}
    for data in DATA:
        for models in [MODELS] if data.together else [(model,) for model in MODELS]:
            name = data.name if data.together else f"{data.name}-{models[0]}"
            documents = [each for model in models for each in _documents(data, model)]
            files[FOLDER / f"{name}.yaml"] = _head(data, name, models) + yaml.safe_dump_all(
                documents, sort_keys=False, width=100, default_flow_style=None
            )
    return files


def _head(data: DataPreset, name: str, models: Sequence[str]) -> str:
    demonstration = "# This is the grid of the paper's demonstration.\n#\n" if data.together else ""
    fine = (
        "# finetune has our rate for transformers: 0.02 was found for ResNets and ruins one.\n"
        if "vit" in models
        else ""
    )
    several = (
        "# Each document is an experiment, for what is forgotten asks for settings of its own.\n"
        "# Those of one network share its Original.\n#\n"
        if len(_documents(data, models[0])) > 1
        else ""
    )
    networks = " and ".join(models)
    return (
        f"# {data.title} with {networks} by the recipe of the SUPREME paper's package.\n#\n"
        f"#     supreme run examples/presets/{name}.yaml\n#\n{demonstration}{several}"
        "# What differs on purpose: Retrained has the recipe of Original, the same decay and\n"
        "# batch; no epoch runs at a rate of 0; weights are those of the last epoch and never\n"
        "# chosen on the test set; no test image is a training image; batches of methods do not\n"
        f"# depend on the scenario.\n{fine}#\n"
    )


def _documents(data: DataPreset, model: str) -> list[dict[str, object]]:
    """One for each way to forget, since the thresholds of ssd and lfssd depend on it."""
    classes: list[dict[str, object]] = [
        {"name": "full_class", "label": f"class-{number}", "params": {"classes": [number]}}
        for number in data.classes
    ]
    subclasses: list[dict[str, object]] = [
        {"name": "subclass", "label": f"subclass-{fine}", "params": {"classes": [fine]}}
        for fine in data.fine
    ]
    samples: list[dict[str, object]] = [
        {"name": "random_samples", "label": f"random-{part:g}", "params": {"fraction": part}}
        for part in data.fractions
    ]
    ssd: dict[str, float] = {"alpha": data.alpha, "lambda": data.weight}
    every = [
        ("classes", classes, ssd, data.lfssd_alpha),
        ("subclasses", subclasses, {"alpha": 25 if model == "vit" else 10, "lambda": 1}, 10),
        ("samples", samples, {"alpha": 10, "lambda": 1}, 3.5),
    ]
    asked = [each for each in every if each[1]]
    return [
        _document(
            data,
            model,
            f"{data.name}-{model}" + (f"-{what}" if len(asked) > 1 else ""),
            scenarios,
            _methods(what == "classes", ssd, lfssd_alpha),
        )
        for what, scenarios, ssd, lfssd_alpha in asked
    ]


def _document(
    data: DataPreset,
    model: str,
    name: str,
    scenarios: list[dict[str, object]],
    methods: list[dict[str, object]],
) -> dict[str, object]:
    dataset: dict[str, object] = {"name": data.name}
    if data.photos:
        dataset["params"] = {"size": 256 if model == "vit" else 32}
    return {
        "apiVersion": "supreme.dev/v1alpha1",
        "kind": "UnlearningExperiment",
        "metadata": {"name": name},
        "spec": {
            "seeds": {"start": 260, "count": 10},
            "dataset": dataset,
            "model": _model(model),
            "training": _vit_training(data) if model == "vit" else _resnet_training(data),
            "scenarios": scenarios,
            "methods": methods,
            "primaryMetric": "forget_accuracy",
        },
    }


def _model(model: str) -> dict[str, object]:
    if model == "vit":
        params = {"pretrained": True, "cropFraction": 0.875, "statistics": "imagenet"}
        return {"name": VIT, "params": params}
    return {"name": RESNET}


def _resnet_training(data: DataPreset) -> dict[str, object]:
    return {
        "epochs": data.resnet_epochs,
        "batchSize": 64,
        "optimizer": {"name": "sgd", "params": {"lr": 0.1, "momentum": 0.9, "weightDecay": 5e-4}},
        "schedule": {
            "name": "multistep",
            "params": {"milestones": list(data.milestones), "gamma": 0.2},
            "warmupEpochs": 1,
        },
        "augmentation": [
            {"name": "random_crop", "params": {"padding": 4}},
            {"name": "horizontal_flip"},
            {"name": "rotation", "params": {"degrees": 15}},
        ],
    }


def _vit_training(data: DataPreset) -> dict[str, object]:
    larger = [] if data.photos else [{"name": "resize", "params": {"size": 256}}]
    return {
        "epochs": data.vit_epochs,
        "batchSize": 64,
        "optimizer": {"name": "adamw", "params": {"lr": 5e-5, "weightDecay": 0.01}},
        "schedule": {"name": "cosine", "warmupEpochs": 1},
        "augmentation": [
            *larger,
            {"name": "random_crop", "params": {"size": 224, "padding": 0}},
            {"name": "horizontal_flip"},
        ],
    }


def _methods(
    whole_classes: bool, ssd: dict[str, float], lfssd_alpha: float
) -> list[dict[str, object]]:
    """The paper's, unsir only where whole classes are forgotten."""
    unsir = [{"name": "unsir"}] if whole_classes else []
    return [
        {"name": "finetune"},
        {"name": "bad_teacher"},
        {"name": "random_labels"},
        *unsir,
        {"name": "ssd", "params": ssd},
        {"name": "lfssd", "params": {"alpha": lfssd_alpha}},
    ]
