"""Fields that stay as they are once the operator has accepted them.

An experiment that cannot be done as it is written is in the cluster too, with `Accepted` False, and
may become any other. Only the status tells the two apart, so these rules stand at the root of the
resource, from where the API server sees both: `status.workDigest`, which the operator writes when
it accepts, `status.acceptedMethods`, and `status.seeds`, of which the first so many are accepted.
"""

from typing import Final

from supreme_core.api.rules import Rule, unchanging
from supreme_core.api.v1alpha1 import first_seed, seed_count, title_of

FIXED: Final = (
    "dataset",
    "model",
    "training",
    "evaluationPrecision",
    "scenarios",
    "metrics",
    "seedMetrics",
    "primaryMetric",
    "margins",
    "tuning",
    "storage",
    "seedActiveDeadlineSeconds",
    "schedulingDeadlineSeconds",
    "managedBy",
    "seeds.unlearningRepeats",
    "seeds.evaluationRepeats",
    "seeds.retrainedReplicas",
    "seeds.protocol",
)
"""Fields of the spec that cannot be changed; another experiment shares what both need."""
FIXED_WITH_DDP: Final = ("execution.nodes", "execution.gpusPerNode", "execution.processesPerNode")
"""The rest of `execution` touches no number, and a method added later may need another image."""

MAY_BE_ABSENT: Final = (
    "metrics",
    "seedMetrics",
    "margins",
    "tuning",
    "seedActiveDeadlineSeconds",
    "schedulingDeadlineSeconds",
    "managedBy",
    "execution.processesPerNode",
)
"""Fixed fields that are not required and have no default."""

ACCEPTED: Final = "self.?status.?workDigest.hasValue()"
WITH_DDP: Final = f"{ACCEPTED} && self.spec.training.reduction == 'ddp'"


WHY_WITH_DDP: Final = (
    " with reduction ddp, where the number of ranks is part of what a result means"
)


def _unchanging(field: str, *, where: str, why: str = "") -> Rule:
    is_always_there = field not in MAY_BE_ABSENT
    return unchanging(f"spec.{field}", where=where, why=why, is_always_there=is_always_there)


def _accepted(message: str, cel: str, *, at: str) -> Rule:
    return Rule(message, cel=f"!{ACCEPTED} || {cel}", at=at)


NOW, BEFORE = "self.spec.seeds", "oldSelf.spec.seeds"

SEEDS_ONLY_GROW: Final = _accepted(
    "seeds are append-only: start stays what it is, and count may grow",
    f"has({NOW}.list) == has({BEFORE}.list) && {first_seed(NOW)} == {first_seed(BEFORE)}"
    f" && (has({NOW}.list) || {seed_count(NOW)} >= self.status.seeds)",
    at="spec.seeds",
)
SEEDS_ARE_APPENDED: Final = _accepted(
    "seeds are append-only: new ones stand behind those that were there",
    f"!has({NOW}.list) || !has({BEFORE}.list) || self.status.seeds <= size({NOW}.list)"
    f" && {BEFORE}.list.all(i, seed, i >= self.status.seeds || {NOW}.list[i] == seed)",
    at="spec.seeds.list",
)
METHODS_ARE_APPENDED: Final = _accepted(
    "methods are append-only: those that were there stay what they were",
    # A status of an operator that did not tell them yet guards all that are there.
    "oldSelf.spec.methods.all(entry, has(self.status.acceptedMethods)"
    f" && !({title_of('entry')} in self.status.acceptedMethods)"
    " || self.spec.methods.exists(other, other == entry))",
    at="spec.methods",
)

GUARDS: Final = (
    *(_unchanging(field, where=ACCEPTED) for field in FIXED),
    *(_unchanging(field, where=WITH_DDP, why=WHY_WITH_DDP) for field in FIXED_WITH_DDP),
    SEEDS_ONLY_GROW,
    SEEDS_ARE_APPENDED,
    METHODS_ARE_APPENDED,
)
"""All guards; they compare the resource with what it was."""
