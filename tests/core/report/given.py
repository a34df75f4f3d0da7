"""Summaries of a few methods whose numbers are given, for the sentence and the table that lead."""

from supreme_core.analysis.aggregate import aggregate
from supreme_core.report import tables
from tests.core.analysis.summaries import FACTS, failed, question, result, run

FIVE = range(5)


def indexed(seeds=FIVE, *, asked=None, metrics=("forget_accuracy",), facts=FACTS, **of_method):
    """A summary of these forget accuracies.  of_method: a number, a number for each seed, "failed"
    or a run's metrics."""
    methods = {"original": 0.99, "retrained": 0.01} | of_method
    asked = seeds if asked is None else asked
    found = []
    for place, seed in enumerate(seeds):
        runs = []
        for name, given in methods.items():
            values = given[place] if isinstance(given, (list, tuple)) else given
            if values is None:
                continue
            if values == "failed":
                runs.append(failed(name, "it diverged"))
            else:
                numbers = values if isinstance(values, dict) else {"forget_accuracy": values}
                runs.append(run(name, **numbers))
        found.append(result(seed, runs))
    names = tuple(name for name in of_method if name not in ("original", "retrained"))
    wanted = {name: facts[name] for name in metrics}
    return tables.IndexedSummary(
        aggregate(found, question(list(asked), methods=names, metrics=wanted, primary=metrics[0]))
    )


def lost_task(value):
    return {"forget_accuracy": value, "test_accuracy": 0.1}


def kept_task(value, test=0.9):
    return {"forget_accuracy": value, "test_accuracy": test}


WITH_TEST = {
    "metrics": ("forget_accuracy", "test_accuracy"),
    "original": kept_task(0.99),
    "retrained": kept_task(0.01),
}
