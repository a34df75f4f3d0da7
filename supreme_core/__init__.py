"""Results of experiments in two lines of Python, and code that operator and trainer share.

    from supreme_core import load
    load("supreme-store/experiments/local/digits-763c84f0").frame

`__all__` is the public face, which docs/python.md describes: it is imported when it is asked for,
torch only where models are. Everything else is internal and may change from one version to the
next: rooms that an experiment passes from top to bottom.

    errors       every error that a user can meet, and the exit code of each
    api          the documents: the resource, orders, records, summaries
    registry     which components there are, and what each states
    tuning       settings that are tried, and the choice among them
    plan         from a resource to the order of an experiment, and its steps
    randomness   random numbers that have an address
    store        a folder or a bucket: artefacts, results, housekeeping
    data         images as arrays, and how a scenario splits them
    engine       training, unlearning and prediction on ranks: the only room that needs torch
    scoring      from stored predictions to the metrics of a run
    analysis     from the results of all seeds to a summary
    report       a page, tables and plots of a summary
    publishing   summary and report written into a store
    importing    results of supreme-unlearning as summaries
    library      the public face: results, methods and metrics for programs of others
    checking     what is refused or told before anything is computed
    components   datasets, models, methods, metrics, ...: a file and a decorator each
    system       files, ports, faults of devices, the end of a command

The operator imports neither engine nor the components that need torch.
"""

from importlib import import_module
from typing import Any, Final

DISTRIBUTION: Final = "supreme-bench"
"""Name that pip installs; the command and the key of its version in documents are `supreme`."""

_PUBLIC: Final = {
    "Results": "results",
    "evaluate": "evaluation",
    "load": "results",
    "unlearn": "unlearning",
}
"""Module of `library` that has each public name; __init__.pyi tells type checkers the same."""

__all__ = [*_PUBLIC]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, as the command must start at once."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)
    try:
        module = import_module(f"{__name__}.library.{_PUBLIC[name]}")
    except ModuleNotFoundError:
        from supreme_core.system.ending import need_trainer

        need_trainer()  # or something else is missing
        raise
    found = globals()[name] = getattr(module, name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
