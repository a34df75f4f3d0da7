"""Names of supreme-unlearning beside ours, from which docs/from-the-reference.md is made.

The names of both versions that can be imported, 0.1.4 and 0.1.5, are the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from supreme_core.importing.metrics import METRICS, SECONDS


@dataclass(frozen=True)
class Renamed:
    """old: a name of the reference.  new: ours, "" where there is none.  note: a sentence or two
    on what differs."""

    old: str
    new: str
    note: str = ""


BATCHES: Final = "`variant: batch` squares the gradients of batches, as this does."

METHODS: Final = (
    Renamed("original", "", "Original is computed in every experiment."),
    Renamed("retrain", "", "Retrained is computed in every experiment, with Original's recipe."),
    Renamed("finetune", "finetune", "For vision transformers the default rate is another one."),
    Renamed("bad_teacher", "bad_teacher"),
    Renamed("random_labeling", "random_labels"),
    Renamed("unsir", "unsir", "For scenarios that forget whole classes only."),
    Renamed("ssd", "ssd", BATCHES),
    Renamed("lfssd", "lfssd", BATCHES),
    Renamed("ssd_det", "ssd", "The default variant: squared gradients of single samples."),
    Renamed("lfssd_det", "lfssd", "The default variant: squared gradients of single samples."),
    Renamed("assd", "assd"),
    Renamed("scrub", "scrub"),
    Renamed("jit", "jit"),
    Renamed("neg_grad", "neg_grad"),
)

SETTINGS: Final = (
    Renamed("ssd: selection_weighting", "ssd.alpha", "So for `lfssd`. The reference chooses it."),
    Renamed("ssd: dampening_constant", "ssd.lambda", "So for `lfssd`."),
    Renamed("jit: n_epochs", "jit.epochs"),
    Renamed("jit: n_samples", "jit.noises"),
    Renamed("jit: learning_rate", "jit.lr"),
    Renamed("jit: jit_weighting", "jit.sigma"),
    Renamed("scrub: sgda_epochs", "scrub.epochs"),
    Renamed("scrub: sgda_learning_rate", "scrub.lr"),
    Renamed("scrub: lr_decay_epochs", "scrub.milestones"),
    Renamed("scrub: lr_decay_rate", "scrub.decay"),
    Renamed("scrub: sgda_weight_decay", "scrub.weightDecay"),
    Renamed("scrub: sgda_momentum", "scrub.momentum"),
    Renamed("scrub: gamma", "scrub.gamma"),
    Renamed("scrub: alpha", "scrub.alpha"),
    Renamed("scrub: msteps", "scrub.ascentEpochs"),
    Renamed("scrub: kd_T", "scrub.temperature"),
    Renamed("scrub: optimizer_type", "scrub.optimizer"),
)
"""Settings of methods, which the reference has in its code; ours stand in methods[].params."""

SCENARIOS: Final = (
    Renamed("fullclass", "full_class", "`-forget_class_name rocket` is `classes: [rocket]`."),
    Renamed("subclass", "subclass", "`-forget_subclass_name rocket` is `classes: [rocket]`."),
    Renamed("random_", "random_samples", "`-forget_perc 0.01` is `fraction: 0.01`."),
)

DATASETS: Final = (
    Renamed("Cifar10", "cifar10"),
    Renamed("Cifar20", "cifar20"),
    Renamed("Cifar100", "cifar100"),
    Renamed("PinsFaceRecognition", "pins", "A fifth of each person's photos is test data."),
    Renamed("Caltech101", "caltech101"),
)

VIT: Final = "timm/vit_base_patch16_224.orig_in21k_ft_in1k"

MODELS: Final = (
    Renamed("ResNet18", "resnet18"),
    Renamed("ViT", VIT, "`examples/presets/` has its recipe."),
)

OURS_OF_METRICS: Final = {
    "accuracy": "accuracy",
    "loss": "loss",
    "jsdiv": "js_divergence",
    "activation_distance": "activation_distance",
    "completeness": "completeness",
    "layerwise_distance": "layer_distance",
    "zrf": "zrf",
    "membership_inference_attack": "mia_entropy",
    "time": "speed_up",
    SECONDS: "wall_seconds",
    "resource_consumption": "peak_memory_bytes",
}
"""Metric of ours that answers the question of one of theirs, by another definition."""

OPTIONS: Final = (
    Renamed("-net", "spec.model.name"),
    Renamed("-dataset", "spec.dataset.name"),
    Renamed("-classes", "", "The data say it."),
    Renamed("-superclasses", "", "The data say it."),
    Renamed("-subclasses", "", "The data say it."),
    Renamed("-type_of_unlearning_strategy", "spec.scenarios[].name"),
    Renamed("-forget_class_name", "spec.scenarios[].params"),
    Renamed("-forget_subclass_name", "spec.scenarios[].params"),
    Renamed("-forget_perc", "spec.scenarios[].params", "A share in both, whatever its name says."),
    Renamed("-method", "spec.methods[].name", "One experiment has all of them."),
    Renamed("-epochs", "spec.methods[].params", "`epochs`; the reference does not read its own."),
    Renamed("-lr", "spec.training.optimizer.params", "`lr`; its ViT always takes 5e-5."),
    Renamed("-warm", "spec.training.schedule.warmupEpochs"),
    Renamed("-batch_size", "spec.training.batchSize"),
    Renamed("-precision", "spec.training.precision", "`32-true` is `fp32`."),
    Renamed("-training_seed", "spec.seeds"),
    Renamed("-unlearning_seed", "spec.seeds.unlearningRepeats", "Seeds of repeats are derived."),
    Renamed("-seed", "spec.seeds.protocol", "One seed for all there is `matched` here."),
    Renamed("-eval_metrics", "spec.metrics", "Without it there are the default metrics."),
    Renamed(
        "-distributed_strategy",
        "spec.training.reduction",
        "`ddp`, or `tree`, whose bits are those of one GPU; no fsdp, no deepspeed, no xla.",
    ),
    Renamed("-deepspeed_stage", ""),
    Renamed("-weight_path", "", "Models are found in the store, by what they depend on."),
    Renamed("-force_reunlearning", "spec.execution.reuse", "`None` computes everything again."),
    Renamed(
        "-force_re_evaluation", "supreme recompute", "It computes metrics of stored predictions."
    ),
    Renamed("-skip_evaluation_if_logged", "", "What is in the store is not computed again."),
    Renamed(
        "-cleanup_checkpoints_after_eval",
        "spec.storage.keepUnlearnedModels",
        "False by default: only predictions are kept.",
    ),
    Renamed("-track_evaluation_resources", "", "Costs are those of the method alone."),
    Renamed("-wandb_logging_flag", "supreme export", "`--to wandb-offline`, after the run."),
    Renamed("-tensorboard_logging_flag", "supreme export", "`--to tensorboard`, after the run."),
    Renamed("-csv_logging_flag", "", "`summary.csv` has every number of an experiment."),
    Renamed("-logging_root_dir", "--store"),
    Renamed(
        "-export_class_distribution_info_flag",
        "supreme validate --data",
        "It says how many samples each scenario forgets.",
    ),
    Renamed("-use_process_tracker", "", "`supreme run` ends what it started."),
    Renamed("-unlearning_context", "", "One Original serves every scenario."),
    Renamed("-include_gpus_in_path", "", "The store has no path by machines."),
    Renamed("--gpu", "--workers", "`CUDA_VISIBLE_DEVICES` names GPUs; `--ranks` for one training."),
    Renamed("--strategies", "spec.scenarios"),
    Renamed("--datasets", "spec.dataset", "A YAML document for each."),
    Renamed("--models", "spec.model", "A YAML document for each."),
    Renamed("--methods", "spec.methods"),
    Renamed("--metrics", "spec.metrics"),
    Renamed("--training-seeds", "spec.seeds.list", "Or `start` and `count`."),
    Renamed("--forget-percs", "spec.scenarios", "A scenario for each."),
    Renamed("--fullclass-classes", "spec.scenarios", "A scenario for each class."),
    Renamed("--subclass-classes", "spec.scenarios", "A scenario for each class."),
    Renamed("--force-retraining", "spec.execution.reuse"),
    Renamed("--wandb-prefix", "metadata.name"),
    Renamed("--unlearning-seeds", "spec.seeds.unlearningRepeats", "Their number, J."),
    Renamed("--evaluation-seeds", "spec.seeds.evaluationRepeats", "Their number, K."),
)
"""Options of supreme-train and supreme-unlearn, with one hyphen, and of run_local.sh, with two; a
field of the experiment, a command or an option of `supreme run`."""

REGISTRATIONS: Final = (
    Renamed("register_unlearning_method", "@registry.method"),
    Renamed("register_metric", "@registry.metric", "It gets stored predictions, no model."),
    Renamed("register_model", "@registry.model"),
    Renamed("register_dataset", "@registry.dataset"),
    Renamed("register_baseline", "@registry.method"),
)


def renamed_table(kind: str, renamed: Sequence[Renamed]) -> str:
    lines = [f"| {kind} there | here | |", "| --- | --- | --- |"]
    for each in renamed:
        lines.append(f"| `{each.old}` | {f'`{each.new}`' if each.new else '–'} | {each.note} |")
    return "\n".join(lines)


def metrics_table() -> str:
    """A line for each number that the reference gives."""
    lines = [
        "| metric there | its columns on W&B | row after an import | metric of SUPREME |",
        "| --- | --- | --- | --- |",
    ]
    for old, ours in OURS_OF_METRICS.items():
        metric = METRICS.get(old)
        columns = ", ".join(f"`{column}`" for column in _columns(old)) or "–"
        title = f"`{metric.title}`" if metric else "–"
        lines.append(f"| `{old}` | {columns} | {title} | `{ours}` |")
    return "\n".join(lines)


def _columns(old: str) -> list[str]:
    """Columns of W&B's own export, without the part that is the same in all."""
    metric = METRICS.get(old)
    if metric is None:
        return []
    if old == SECONDS:
        return [f"time.unlearning_method.{SECONDS}"]
    data = ".test" if any(metric.leaves.values()) or old == "membership_inference_attack" else ""
    return [f"{old}{data}.unlearning_method.{leaf}" for leaf in metric.leaves]
