"""Distance of two Retrained models that differ only in chance: what zero looks like."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Literal

from supreme_core.api.records import CellRecord
from supreme_core.api.summary import Floor
from supreme_core.scoring.evaluation import Evaluation, Predictions
from supreme_core.scoring.rows import ChosenMetric, MetricEntry, measure


def noise_floors(
    cells: Sequence[Sequence[CellRecord]],
    *,
    load: Callable[[str], Predictions],
    metrics: Sequence[ChosenMetric],
) -> dict[tuple[str, str], Floor]:
    """The floor of each (scenario, row) for which one can be measured.

    cells: the cells of each seed, in the order of the seeds.  load: predictions by their key.

    A distance to Retrained is never 0 for a method that works perfectly, because training again
    with other random numbers gives another model. The floor is the same metric with one Retrained
    model in the place of the unlearned one, averaged over pairs of models that forgot the same
    samples:

    1. Seeds, where some of them forgot the same samples: each with the next that did, in the order
       given, first replicas. A chain and not all pairs, because the cost then grows as the number
       of seeds and each model counts at most twice. Pairs share models, so they are not independent
       and no interval is claimed: low and high are the smallest and the largest pair.
    2. Otherwise replicas of one seed: each with the next, over all seeds.
    3. Otherwise nothing, since then Retrained models also differ in what they forgot.

    Only metrics that compare the predictions of two models have a floor: the distance of parameters
    between seeds is one between unrelated starting points, and says nothing. No parameters are
    given here, so it has no value.
    """
    compared = [(title, entry, params) for title, entry, params in metrics if has_floor(entry)]
    cached = lru_cache(maxsize=2)(load)  # a chain asks for each model twice in a row
    by_scenario: dict[str, list[CellRecord]] = defaultdict(list)
    for seed in cells:
        for cell in seed:
            by_scenario[cell.scenario].append(cell)
    return {
        (scenario, row): floor
        for scenario, found in by_scenario.items()
        for row, floor in _floors(found, cached, compared).items()
    }


def has_floor(entry: MetricEntry) -> bool:
    """Return whether a metric compares two models, needs no third and no probe, and draws
    nothing."""
    facts = entry.facts
    return facts.compares and not (facts.needs or facts.probe or facts.random)


def _floors(
    cells: Sequence[CellRecord],
    load: Callable[[str], Predictions],
    metrics: Sequence[ChosenMetric],
) -> dict[str, Floor]:
    """The floors of one scenario; its cells are in the order of the seeds."""
    source, pairs = _pairs(cells)
    values: dict[str, list[float]] = defaultdict(list)
    for one, other in pairs:
        between = Evaluation(
            forgets=cells[0].forgets,
            predictions={"unlearned": load(one), "retrained": load(other)},
            distances={},
            cost=None,
            retrained_cost=None,
            seed=0,  # nothing here draws random numbers
        )
        for row, value in measure(metrics, between).items():
            if value is not None:
                values[row].append(value)
    return {
        row: Floor(
            n=len(several),
            mean=sum(several) / len(several),
            low=min(several),
            high=max(several),
            source=source,
        )
        for row, several in values.items()
    }


def _pairs(
    cells: Sequence[CellRecord],
) -> tuple[Literal["seeds", "replicas"], list[tuple[str, str]]]:
    """Keys of the predictions of Retrained models that forgot the same samples."""
    trained = [cell for cell in cells if cell.retrained_predictions]
    alike: dict[str, list[str]] = defaultdict(list)
    for cell in trained:
        alike[cell.forget_digest].append(cell.retrained_predictions[0])
    between_seeds = [pair for keys in alike.values() for pair in pairwise(keys)]
    if between_seeds:
        return "seeds", between_seeds
    return "replicas", [pair for cell in trained for pair in pairwise(cell.retrained_predictions)]
