"""examples/presets: recipes of the SUPREME paper's package and of later papers, from two tables."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import wrap

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


@dataclass(frozen=True)
class LaterPreset:
    """A data set that papers after the package's took up.

    head: paragraphs of the file's comment, a line each.  rate, decay: of sgd.
    dataset, model, schedule, crop, scenarios: as in the file.
    """

    name: str
    head: str
    dataset: dict[str, object]
    epochs: int
    batch: int
    schedule: dict[str, object]
    crop: dict[str, object]
    scenarios: list[dict[str, object]]
    model: dict[str, object] = field(default_factory=lambda: {"name": RESNET})
    rate: float = 0.1
    decay: float = 5e-4


IMAGENETTE = (
    *("n01440764", "n02102040", "n02979186", "n03000684", "n03028079"),
    *("n03394916", "n03417042", "n03425413", "n03445777", "n03888257"),
)
LATER_METHODS = ("finetune", "neg_grad", "random_labels", "salun", "scrub", "ssd")

LATER = (
    LaterPreset(
        "tiny-imagenet-resnet18",
        "Tiny ImageNet with resnet18: two scenarios forget a class and a tenth of the images, as in"
        " SalUn (Fan et al. 2024, arXiv:2310.12508). The recipe is that of its code: batches of"
        " 256, 182 epochs, the rate divided by 10 after 91 and 136. Here BatchNorm uses"
        " micro-batches of 64.\n"
        "ImageNet's terms allow non-commercial research and teaching.",
        {"name": "tiny_imagenet"},
        epochs=182,
        batch=256,
        schedule={"name": "multistep", "params": {"milestones": [91, 136], "gamma": 0.1}},
        crop={"name": "random_crop", "params": {"padding": 4}},
        scenarios=[
            {"name": "full_class", "label": "goldfish", "params": {"classes": ["goldfish"]}},
            {"name": "random_samples", "label": "random-0.1", "params": {"fraction": 0.1}},
        ],
    ),
    LaterPreset(
        "imagenette-resnet18",
        "The ten classes of ImageNet that Imagenette has, with torchvision's resnet18 on 224"
        " pixels: two scenarios forget a class each. SalUn (Fan et al. 2024, arXiv:2310.12508)"
        " uses these ten classes for models that generate images. The recipe is ours:"
        " torchvision's for ImageNet, with half its batch size and rate.\n"
        "ImageNet's terms allow non-commercial research and teaching.",
        {"name": "imagenet_subset", "params": {"classes": list(IMAGENETTE), "size": 256}},
        epochs=90,
        batch=128,
        rate=0.05,
        decay=1e-4,
        schedule={"name": "multistep", "params": {"milestones": [30, 60], "gamma": 0.1}},
        crop={"name": "random_crop", "params": {"size": 224, "padding": 0}},
        scenarios=[
            {"name": "full_class", "label": "tench", "params": {"classes": [IMAGENETTE[0]]}},
            {"name": "full_class", "label": "church", "params": {"classes": [IMAGENETTE[4]]}},
        ],
        model={"name": "torchvision/resnet18"},
    ),
    LaterPreset(
        "celeba-resnet18",
        "CelebA with resnet18: the model says whether a face smiles, and some of the people are"
        " forgotten. That is the task of Choi and Na 2023, arXiv:2311.02240, which the Deep Unlearn"
        " benchmark uses too (Cadet et al. 2024, arXiv:2410.01276); the recipe is ours. The people"
        " are those of the first three images. Test images show other people, so no test image is"
        " held out.\n"
        "CelebA's agreement allows non-commercial research.",
        {"name": "celeba", "params": {"attribute": "Smiling"}},
        epochs=20,
        batch=256,
        schedule={"name": "cosine"},
        crop={"name": "random_crop", "params": {"padding": 4}},
        scenarios=[
            {
                "name": "identity",
                "label": "three-people",
                "params": {"identities": ["2880", "2937", "8692"]},
            },
            {"name": "random_samples", "label": "random-0.01", "params": {"fraction": 0.01}},
        ],
    ),
)


def presets() -> dict[Path, str]:
    """Each file and what it should hold."""
    files = {FOLDER / f"{each.name}.yaml": _later(each) for each in LATER}
    for data in DATA:
        for models in [MODELS] if data.together else [(model,) for model in MODELS]:
            name = data.name if data.together else f"{data.name}-{models[0]}"
            documents = [each for model in models for each in _documents(data, model)]
            files[FOLDER / f"{name}.yaml"] = _head(data, name, models) + yaml.safe_dump_all(
                documents, sort_keys=False, width=100, default_flow_style=None
            )
    return files


def _later(preset: LaterPreset) -> str:
    name = f"examples/presets/{preset.name}.yaml"
    told = [wrap(paragraph, 97) for paragraph in preset.head.splitlines()]
    told.append([f"    supreme run {name}", "", "Run `supreme prepare` with --from DIR first."])
    head = "".join(f"# {line}\n" for part in told for line in [*part, ""]).replace("# \n", "#\n")
    document: dict[str, object] = {
        "apiVersion": "supreme.dev/v1alpha1",
        "kind": "UnlearningExperiment",
        "metadata": {"name": preset.name},
        "spec": {
            "seeds": {"start": 260, "count": 10},
            "dataset": preset.dataset,
            "model": preset.model,
            "training": {
                "epochs": preset.epochs,
                "batchSize": preset.batch,
                "microBatches": 4,
                "optimizer": {
                    "name": "sgd",
                    "params": {"lr": preset.rate, "momentum": 0.9, "weightDecay": preset.decay},
                },
                "schedule": preset.schedule,
                "augmentation": [preset.crop, {"name": "horizontal_flip"}],
            },
            "scenarios": preset.scenarios,
            "methods": [{"name": method} for method in LATER_METHODS],
            "primaryMetric": "forget_accuracy",
        },
    }
    return head + yaml.safe_dump(document, sort_keys=False, width=100, default_flow_style=None)


def _head(data: DataPreset, name: str, models: Sequence[str]) -> str:
    demonstration = "# This is the grid of the paper's demonstration.\n#\n" if data.together else ""
    fine = (
        "# finetune has SUPREME's rate for transformers: 0.02, found for ResNets, ruins them.\n"
        if "vit" in models
        else ""
    )
    several = (
        "# Each document is an experiment, because each scenario needs settings of its own.\n"
        "# Those of one network share Original.\n#\n"
        if len(_documents(data, models[0])) > 1
        else ""
    )
    networks = " and ".join(models)
    return (
        f"# {data.title} with {networks} by the recipe of the SUPREME paper's package.\n#\n"
        f"#     supreme run examples/presets/{name}.yaml\n#\n{demonstration}{several}"
        "# Differences from the package, all deliberate: Retrained has the recipe of Original,\n"
        "# with the same decay and batch size; no epoch has a learning rate of 0; weights are\n"
        "# those of the last epoch and never chosen on the test set; no test image is a\n"
        "# training image; batch sizes of methods do not depend on the scenario.\n"
        f"{fine}#\n"
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
            _methods(model, what == "classes", ssd, lfssd_alpha),
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
    model: str, whole_classes: bool, ssd: dict[str, float], lfssd_alpha: float
) -> list[dict[str, object]]:
    """The paper's, unsir only where whole classes are forgotten. Its ViTs begin with pretrained
    weights, also the one that is to know nothing."""
    unsir = [{"name": "unsir"}] if whole_classes else []
    teacher = {"params": {"incompetent": "start"}} if model == "vit" else {}
    return [
        {"name": "finetune"},
        {"name": "bad_teacher", **teacher},
        {"name": "random_labels"},
        *unsir,
        {"name": "ssd", "params": ssd},
        {"name": "lfssd", "params": {"alpha": lfssd_alpha}},
    ]
