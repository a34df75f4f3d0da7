"""Stage zero of a seed: dataset and pretrained weights come into the store, and what cannot be done
is refused before anything trains."""

import hashlib
import logging
from pathlib import Path

from supreme_trainer.seed.cells import Cell
from supreme_trainer.seed.checks import refuse_unfit
from supreme_trainer.seed.context import SeedContext
from supreme_trainer.seed.dataset import Data, DatasetStage, reading_from
from supreme_trainer.seed.pretrained import PretrainedStage, with_start
from supreme_trainer.seed.stage import Later, Stages
from supreme_trainer.seed.telemetry import Telemetry
from supreme_trainer.seed.training import packed

from supreme_core.api.names import WEIGHTS, artefact_prefix
from supreme_core.api.orders import RunOrder
from supreme_core.data.image_set import dataset_digest, per_class, remarks
from supreme_core.engine.networks.architecture import Pretrained
from supreme_core.engine.ranks.ranks import Ranks
from supreme_core.errors import SpecError

log = logging.getLogger(__name__)


def prepare_seed(
    order: RunOrder,
    stages: Stages,
    *,
    ranks: Ranks,
    telemetry: Telemetry,
    source: str = "",
    weights: str = "",
) -> None:
    """Stage zero: dataset and pretrained weights in the store, and proof that the model and every
    split of this seed can be made and that the methods fit the model.

    source: a folder to read from instead of the one that the dataset's settings name.
    weights: a file to read instead of a download.
    """
    # Nobody looks at the images here, so the device gets none.
    order = order.model_copy(update={"data_placement": "Streamed"})
    context = SeedContext.of(order, ranks=ranks, telemetry=telemetry, scratch=stages.scratch)
    data = _prepare_dataset(order, context, stages, source)
    pretrained = context.architecture.pretrained
    if pretrained:
        _prepare_weights(context, stages, pretrained, weights)
        with_start(context, stages).networks(data.shape).started(0)
    elif weights:
        raise SpecError("--weights: spec.model does not start from pretrained weights")


def tell_of(dataset: Later[Data], stages: Stages, telemetry: Telemetry) -> None:
    """Notes on the images; where they were just prepared, also what an older version left."""
    data = dataset.value()
    older = _older(dataset, stages) if stages.status(dataset.key) == "computed" else []
    for remark in [*remarks(data.labels, data.images.facts()), *older]:
        telemetry.note(f"dataset: {remark}")
        log.info("dataset: %s", remark)


def _prepare_dataset(order: RunOrder, context: SeedContext, stages: Stages, source: str) -> Data:
    params = reading_from(context.components.dataset, source)
    dataset = stages.later(DatasetStage(context, params))
    data = dataset.value()
    manifest = dataset.ensure()
    tell_of(dataset, stages, context.telemetry)
    context.telemetry.dataset(
        name=order.work.dataset.name,
        digest=data.digest,
        trainSamples=len(data.train),
        testSamples=len(data.test),
        shape=list(data.images.train_images.shape[1:]),
        classes=data.shape.classes,
        perClass=per_class(data.labels),
        bytes=sum(file.size for file in manifest.files.values()),
        place=artefact_prefix(manifest.stage, manifest.key),
        status=stages.status(dataset.key),
    )
    for scenario in order.work.scenarios:
        if not context.splits.needs_logit_confidence(scenario.title):
            Cell.of(context, data, scenario.title)
    refuse_unfit(context, data)
    return data


def _older(dataset: Later[Data], stages: Stages) -> list[str]:
    identity = dataset.stage.meaning["dataset"]
    for version in range(identity["version"] - 1, 0, -1):
        meaning = {"dataset": {**identity, "version": version}}
        if found := stages.stored(dataset.stage.name, meaning):
            is_same = dataset_digest(found) == dataset.value().digest
            then = (
                "which gives the same arrays, so what was computed from them is found"
                if is_same
                else "which gives other arrays, so what was computed from them is computed again"
            )
            return [
                f"this store has the images as version {version} of {identity['name']} read them;"
                f" they were read again by version {identity['version']}, {then}"
            ]
    return []


def _prepare_weights(
    context: SeedContext, stages: Stages, pretrained: Pretrained, file: str
) -> None:
    given = packed(pretrained.read(Path(file))) if file else None
    weights = stages.later(PretrainedStage(context, pretrained, given))
    manifest = weights.ensure()
    stored = manifest.files[WEIGHTS]
    if given is not None and hashlib.sha256(given).hexdigest() != stored.sha256:
        raise SpecError(
            f"--weights: this store has other weights of {pretrained.name} already; use another"
            " store for these"
        )
    context.telemetry.weights(
        name=pretrained.name,
        digest=stored.sha256,
        bytes=stored.size,
        place=artefact_prefix(manifest.stage, manifest.key),
        status=stages.status(weights.key),
    )
