"""Find changes of an experiment that would lose results that it has. Pure.

Methods and seeds are append-only here as the API server has it; repeats and the precision of
evaluations cannot be changed.
Scenarios and metrics may be added too, since that loses nothing on one machine. What decides only
how results are read, such as the primary metric, may change; but not a margin, which means nothing
unless it was set before the results. Dataset, model and recipe give the
experiment's folder its name, so another recipe never meets these results.
"""

from collections.abc import Iterator, Sequence

from supreme_core.api.guarded import METHODS_ARE_APPENDED, SEEDS_ARE_APPENDED
from supreme_core.api.model import shown
from supreme_core.api.orders import ExperimentOrder
from supreme_core.api.v1alpha1 import LabelledComponent, Seeds
from supreme_core.checking.differences import differences
from supreme_core.report.words import seed_ranges

REPEATS = ("unlearning_repeats", "evaluation_repeats", "retrained_replicas", "protocol")


def losses(before: ExperimentOrder, now: ExperimentOrder, computed: Sequence[int]) -> Iterator[str]:
    """A line for each change that loses results, with its field.  computed: seeds with a result."""
    if not computed:
        return
    lost = {
        "methods": [*_changes(before.work.methods, now.work.methods)],
        "scenarios": [*_changes(before.work.scenarios, now.work.scenarios)],
        "metrics": [*_changes(before.work.metrics, now.work.metrics)],
    }
    for field, changes in lost.items():
        rule = f" ({METHODS_ARE_APPENDED.message})" if field == "methods" else ""
        yield from (f"spec.{field}: {change}{rule}" for change in changes)
    for field in REPEATS:
        was, is_ = getattr(before.work, field), getattr(now.work, field)
        if was != is_:
            alias = str(Seeds.model_fields[field].alias)
            yield (
                f"spec.seeds.{alias} was {shown(was)} and is {shown(is_)}"
                f" ({alias} cannot be changed)"
            )
    was, is_ = (shown(order.work.evaluation_precision) for order in (before, now))
    if was != is_:
        alias = "evaluationPrecision"
        yield f"spec.{alias} was {was} and is {is_} ({alias} cannot be changed)"
    if before.margins != now.margins:
        was, is_ = (
            shown(order.margins) if order.margins else "not given" for order in (before, now)
        )
        yield f"spec.margins was {was} and is {is_} (a margin is set before there are results)"
    if gone := [seed for seed in computed if seed not in now.seeds]:
        yield f"spec.seeds: {seed_ranges(gone)} left out ({SEEDS_ARE_APPENDED.message})"


def _changes(
    before: Sequence[LabelledComponent], now: Sequence[LabelledComponent]
) -> Iterator[str]:
    """Changes of the entries that were there."""
    there = {entry.title: entry for entry in now}
    for entry in before:
        if entry.title not in there:
            yield f"{entry.title!r} left out"
        elif found := differences(entry.to_document(), there[entry.title].to_document(), ""):
            yield f"{entry.title!r} changed: {', '.join(found)}"
