"""The story of one seed: dataset, original, and for each scenario Retrained and every method.

    dataset -> original -> [scenario: predictions of Original
                                      Retrained, and its predictions
                                      [method: unlearned -> metrics]] -> RunResult

Each arrow is a stage that is looked up in the store before it is computed. Where a metric looks at
the model itself, its probe is a stage before the metrics of each run; a model that is no longer in
memory and was not kept is then unlearned again, once for all probes of the run. Where methods read
importances of the original, these are stages before the first such method. A scenario that poisons
its forget set has an original of its own, trained on the poisoned data.

Each kind of stage has a file: what it depends on, how it is made and how it is read.

    dataset.py  pretrained.py  training.py  predicting.py
    importances.py  unlearning.py  probing.py  scoring.py
"""

import logging
from datetime import UTC, datetime

from supreme_trainer.seed.cell_run import CellResults, CellRun
from supreme_trainer.seed.cells import Cell
from supreme_trainer.seed.checks import refuse_unfit
from supreme_trainer.seed.context import SeedContext
from supreme_trainer.seed.dataset import Data, DatasetStage, reading_from
from supreme_trainer.seed.predicting import LogitConfidenceStage
from supreme_trainer.seed.prepare import tell_of
from supreme_trainer.seed.pretrained import with_start
from supreme_trainer.seed.stage import Later, Stages
from supreme_trainer.seed.telemetry import Telemetry
from supreme_trainer.seed.training import OriginalStage, Trained

from supreme_core.api.orders import RunOrder, work_digest
from supreme_core.api.records import DatasetRecord, RunResult
from supreme_core.engine.ranks.ranks import Ranks

log = logging.getLogger(__name__)


def run_seed(order: RunOrder, stages: Stages, *, ranks: Ranks, telemetry: Telemetry) -> RunResult:
    """Compute what is missing of one seed and gather its numbers.

    Raises SpecError before anything is trained where a name, a setting or a split cannot be.
    """
    started = _now()
    context = SeedContext.of(order, ranks=ranks, telemetry=telemetry, scratch=stages.scratch)
    context = with_start(context, stages)
    data = _data(context, stages)
    refuse_unfit(context, data)
    original = stages.later(OriginalStage(context, data))
    results = _results(order, context, stages, data, original)
    return RunResult(
        experiment=order.experiment,
        work_digest=work_digest(order.work),
        seed=order.seed,
        attempt=order.attempt,
        dataset=DatasetRecord(
            name=order.work.dataset.name,
            digest=data.digest,
            train_samples=len(data.train),
            test_samples=len(data.test),
            classes=data.shape.classes,
        ),
        cells=[each.record for each in results if each.record],
        runs=[run for each in results for run in each.runs.values()],
        stages=stages.records,
        environments=stages.environments,
        kept_unlearned_models=order.keep_unlearned_models,
        started_at=started,
        finished_at=_now(),
    )


def _data(context: SeedContext, stages: Stages) -> Data:
    params = reading_from(context.components.dataset)
    dataset = stages.later(DatasetStage(context, params))
    with stages.patiently():
        data = dataset.value()
    if stages.status(dataset.key) == "computed":  # else whoever prepared it was told
        tell_of(dataset, stages, context.telemetry)
    if data.placement == "Streamed":
        log.info("images are streamed")
    return data


def _results(
    order: RunOrder, context: SeedContext, stages: Stages, data: Data, original: Later[Trained]
) -> list[CellResults]:
    """The results of every cell, one cell after the other.

    What other processes are computing is left to them, and looked at again when everything else is
    done.
    """
    cells = _cells(order, context, stages, data, original)
    results = {title: CellResults() for title in cells}
    while cells:
        before = stages.computed
        for title, cell in list(cells.items()):
            own = original
            if cell.split.poison:
                own = stages.later(OriginalStage(context, cell.data, cell))
            found = CellRun(order, stages, context, cell, own).compute(results[title])
            results[title] = found
            if found.record:
                del cells[title]
            del cell  # which goes with all that its probes have looked at
        if cells and stages.computed == before:
            stages.wait()
    return list(results.values())


def _cells(
    order: RunOrder, context: SeedContext, stages: Stages, data: Data, original: Later[Trained]
) -> dict[str, Cell]:
    """Every split; those that need no model first, to find a wrong one before anything trains."""
    splits, titles = context.splits, [scenario.title for scenario in order.work.scenarios]
    last = [title for title in titles if splits.needs_logit_confidence(title)]
    cells = {title: Cell.of(context, data, title) for title in titles if title not in last}
    if last:
        stages.ensure_for_all(original.stage)
        with stages.patiently():
            confidence = stages.value(LogitConfidenceStage(context, data, original))
        cells |= {title: Cell.of(context, data, title, confidence) for title in last}
    return {title: cells[title] for title in titles}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
