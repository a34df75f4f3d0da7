"""Known errors in numbers of supreme-unlearning 0.1.4 and 0.1.5, and which of them each touches.

Both versions have the same code but for the number of the version.

One list for two readers: a report of imported results says what touches its rows, and
docs/evidence.md names for each error the test that keeps it out of SUPREME.
"""

from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True, kw_only=True)
class KnownError:
    """Touched is what fits all of the fields; an empty one leaves out nothing.

    metrics: our names of the reference's metrics.  methods, datasets, models, scenarios: the
    reference's own names.  several: only where there are several GPUs, or several seeds of
    unlearning in a training seed.
    """

    number: int
    what: str
    metrics: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    scenarios: tuple[str, ...] = ()
    several: Literal["gpus", "unlearning seeds"] | None = None


PREDICTED: Final = (
    "reference_js",
    "reference_activation_distance",
    "reference_completeness",
)
"""Metrics that compare predictions with Retrained's."""

RESNET: Final = "ResNet18"
VIT: Final = "ViT"
PINS: Final = "PinsFaceRecognition"
CALTECH: Final = "Caltech101"

KNOWN_ERRORS: Final = (
    KnownError(
        number=1,
        what="Pins has no test set: training and test images are the same, so accuracy on test"
        " images is accuracy on training images, and no image is a non-member.",
        datasets=(PINS,),
    ),
    KnownError(
        number=2,
        what="Retrained is evaluated in train mode: BatchNorm takes its statistics from each batch,"
        " and every evaluation changes them.",
        metrics=PREDICTED,
        models=(RESNET,),
    ),
    KnownError(
        number=3,
        what="The JS divergence is none: both divergences have their arguments exchanged, the mean"
        " divides by the number of classes too, and a probability of 0 gives infinity.",
        metrics=("reference_js", "reference_zrf"),
    ),
    KnownError(
        number=4,
        what="Accuracy and loss are means of the means of batches, so a last batch of one sample"
        " weighs as much as a full one.",
        metrics=("reference_accuracy", "reference_loss"),
    ),
    KnownError(
        number=5,
        what="On several GPUs samples are repeated to fill the last batch and are counted twice;"
        " distances on the forget set are those of one GPU's share.",
        metrics=("reference_accuracy", "reference_loss", *PREDICTED),
        several="gpus",
    ),
    KnownError(
        number=6,
        what="On several GPUs each draws a forget set of its own, so Retrained was trained on"
        " samples that it should never have seen.",
        scenarios=("random_",),
        several="gpus",
    ),
    KnownError(
        number=7,
        what="Original is the epoch that was best on the test set, while Retrained and all methods"
        " keep the last one.",
    ),
    KnownError(
        number=8,
        what="Retrained is not trained like Original: its learning rate falls an epoch later, and"
        " in the random scenario its batches have 128 samples instead of 64.",
    ),
    KnownError(
        number=9,
        what="The last epoch of training runs at a learning rate of 0.",
        models=(VIT,),
    ),
    KnownError(
        number=10,
        what="Fine-tuning uses the rate of a ResNet, SGD with 0.02, which ruins a transformer.",
        methods=("finetune",),
        models=(VIT,),
    ),
    KnownError(
        number=11,
        what="UNSIR on a sub-class mixes numbers of fine classes and of super-classes, so what it"
        " retains is arbitrary and can hold the class to forget.",
        methods=("unsir",),
        scenarios=("subclass",),
    ),
    KnownError(
        number=12,
        what="JiT compares outputs in train mode with those in eval mode, which differ also"
        " without noise, and moves BatchNorm's statistics.",
        methods=("jit",),
        models=(RESNET,),
    ),
    KnownError(
        number=13,
        what="On several GPUs only the first sample of each batch has gradients of all of them.",
        methods=("ssd_det", "lfssd_det"),
        several="gpus",
    ),
    KnownError(
        number=14,
        what="Times hold evaluations of every epoch for some methods and none for others, and the"
        " start of loaders for all.",
        metrics=("reference_speed_up", "reference_wall_seconds"),
    ),
    KnownError(
        number=15,
        what="Seeds of the evaluation change nothing, so repeats of it are copies.",
        metrics=("reference_mia",),
    ),
    KnownError(
        number=16,
        what="The activation distance is the root mean square of differences between softmax"
        " outputs, while the metric that it cites is a mean of distances.",
        metrics=("reference_activation_distance",),
    ),
    KnownError(
        number=17,
        what="The attack is judged on samples that it was fitted on, and its non-members hold test"
        " images of the class to forget.",
        metrics=("reference_mia",),
    ),
    KnownError(
        number=18,
        what="Seeds do not pin results: nothing is deterministic on a GPU, and what is forgotten at"
        " random depends on the model and on what ran before.",
    ),
    KnownError(
        number=19,
        what="Each seed of unlearning forgets other samples, so the spread over them is that of the"
        " choice as well.",
        scenarios=("random_",),
        several="unlearning seeds",
    ),
    KnownError(
        number=20,
        what="Importances weigh the last, smaller batch like a full one and depend on the order of"
        " samples.",
        methods=("ssd", "lfssd", "assd"),
    ),
    KnownError(
        number=21,
        what="Test images are shrunk from 36 to 32 pixels and training images are cut from 36, so"
        " what the network sees differs in scale; normalising comes before resizing.",
        datasets=(PINS, CALTECH),
        models=(RESNET,),
    ),
    KnownError(
        number=22,
        what="Held-out samples of the random scenario are the forget set itself, of as few as 18"
        " images, so accuracy on them moves in steps of up to 5.6 points.",
        scenarios=("random_",),
    ),
)
