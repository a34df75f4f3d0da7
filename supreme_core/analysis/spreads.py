"""Sources of the spread of a method's values: seeds, unlearning repeats, evaluation. Pure."""

from collections.abc import Mapping
from math import sqrt

from supreme_core.analysis import statistics
from supreme_core.analysis.survivors import Runs
from supreme_core.api import names
from supreme_core.api.summary import Variance


class Spreads:
    """Variance components of methods that were repeated within a seed."""

    def __init__(self, runs: Runs) -> None:
        self.runs = runs

    def of(self, scenario: str, method: str, metric: str) -> Variance | None:
        """Components of variance of a method that was repeated within some seed; None of others.

        Evaluation repeats are in the values as their mean, so what they vary by is part of what
        the model's other random numbers do.
        """
        runs = self.runs.of.get((scenario, method), {})
        repeated = any(len(of_seed) > 1 for of_seed in runs.values())
        if method in names.REFERENCES or not repeated:
            return None
        values = [
            [[run.metrics.get(metric)] for run in runs[seed] if run.status == "ok"] for seed in runs
        ]
        found = statistics.variance_components(values)
        if found is None:
            return None
        total = sum(each for each in (found.training, found.unlearning, found.evaluation) if each)
        return Variance(
            training=_root(found.training),
            unlearning=_root(found.unlearning),
            evaluation=_root(found.evaluation),
            training_share=_share(found.training, total),
            unlearning_share=_share(found.unlearning, total),
            evaluation_share=_share(found.evaluation, total),
            deterministic=self._is_deterministic(scenario, method),
            best_repeats=self._best_repeats(scenario, method, found),
        )

    def _is_deterministic(self, scenario: str, method: str) -> bool:
        """Return whether all repeats of each seed gave the same, in metrics that are functions of
        it."""
        varying = {
            metric for metric, facts in self.runs.metrics.items() if facts.measured or facts.random
        }
        for runs in self.runs.of[scenario, method].values():
            given = [_without(run.metrics, varying) for run in runs if run.status == "ok"]
            if any(each != given[0] for each in given):
                return False
        return True

    def _best_repeats(
        self, scenario: str, method: str, found: statistics.VarianceComponents
    ) -> int | None:
        """A seed costs Original and Retrained, which take about the same; a repeat costs the method
        itself. Evaluation is not measured, and left out."""
        times = [
            metric
            for metric, facts in self.runs.metrics.items()
            if facts.unit == "seconds" and "retrained" in facts.references
        ]
        if not times or found.training is None or found.unlearning is None:
            return None
        training, unlearning = (
            statistics.average(self.runs.values(scenario, each, times[0]).values())
            for each in (names.RETRAINED, method)
        )
        return statistics.best_repeats(
            within=found.unlearning,
            between=found.training,
            seed_cost=2 * (training or 0.0),
            repeat_cost=unlearning or 0.0,
        )


def _root(variance: float | None) -> float | None:
    return None if variance is None else sqrt(variance)


def _share(variance: float | None, total: float) -> float | None:
    return None if variance is None or total == 0 else variance / total


def _without(metrics: Mapping[str, float | None], names: set[str]) -> dict[str, float | None]:
    return {name: value for name, value in metrics.items() if name not in names}
