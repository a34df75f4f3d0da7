"""Code that operator and trainer share, in rooms that an experiment passes from top to bottom:

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
    checking     what is refused or told before anything is computed
    components   datasets, models, methods, metrics, ...: a file and a decorator each
    system       files, ports, faults of devices, the end of a command

The operator imports neither engine nor the components that need torch.
"""

from typing import Final

DISTRIBUTION: Final = "supreme-bench"
"""Name that pip installs; the command and the key of its version in documents are `supreme`."""
