"""The stages of one seed: what each depends on, how it is computed, how it is read back.

A stage's meaning names everything that its result depends on and nothing else; in particular not
the scenario's or the method's label, nor what else the experiment asks for.
"""

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save as save_arrays
from safetensors.torch import load_file, save
from supreme_trainer.seed.components import AnyChosen, Components
from supreme_trainer.seed.stage import Made, Stage, Stored
from supreme_trainer.seed.telemetry import Telemetry
from torch import nn

from supreme_core.api.names import LOGIT_CONFIDENCE, PREDICTIONS, RETRAINED, WEIGHTS
from supreme_core.api.v1alpha1 import DataPlacement
from supreme_core.data.cells import Splits
from supreme_core.data.image_set import (
    DatasetParams,
    ImageSet,
    check,
    dataset_digest,
    dataset_meaning,
    refuse_changed_source,
)
from supreme_core.data.split import Labels, Split
from supreme_core.engine.evaluation.cost import measured
from supreme_core.engine.evaluation.prediction import predict
from supreme_core.engine.images.image_shape import ImageShape
from supreme_core.engine.images.samples import Samples
from supreme_core.engine.images.streaming import Placement, free_memory, placement
from supreme_core.engine.images.trigger import stamped
from supreme_core.engine.networks.architecture import Architecture, Pretrained
from supreme_core.engine.networks.factory import NetworkFactory
from supreme_core.engine.networks.model_samples import model_samples, model_shape
from supreme_core.engine.networks.weights import Weights, on_cpu
from supreme_core.engine.ranks.ranks import Ranks
from supreme_core.engine.toolbox.requirements import asks_of_network, missing
from supreme_core.engine.toolbox.unlearning import UnlearningProblem
from supreme_core.engine.training.checkpoint import Checkpoints
from supreme_core.engine.training.fit import fit
from supreme_core.engine.training.numerics import NumericsPolicy
from supreme_core.engine.training.recipe import ENGINE_VERSION
from supreme_core.engine.training.selection import BestEpoch
from supreme_core.errors import MethodFailed, SpecError, SupremeError
from supreme_core.plan import Step
from supreme_core.randomness import streams
from supreme_core.randomness.streams import Streams
from supreme_core.registry import Forgets
from supreme_core.scoring.evaluation import Cost, Findings, Model, Predictions
from supreme_core.scoring.predictions import (
    load_predictions,
    save_predictions,
    split_predictions,
    summarised,
)
from supreme_core.scoring.run_scoring import (
    Scoring,
    Unlearned,
    distances,
    read_cost,
    read_metrics,
    read_unlearned,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """A trained network's weights, on the CPU, and what training it took."""

    weights: Weights
    cost: Cost


@dataclass(frozen=True)
class Start:
    """The pretrained weights that every network of an experiment starts from."""

    digest: str
    weights: Callable[[], Weights]


@dataclass(frozen=True)
class Data:
    """A dataset for this rank's device.  shape: of the images as the model sees them.

    held_out: in a cell with a poisoned forget set, test samples that are poisoned alike.
    """

    images: ImageSet
    digest: str
    placement: Placement
    train: Samples
    test: Samples
    shape: ImageShape
    held_out: Samples | None = None

    @property
    def labels(self) -> Labels:
        return self.images.labels

    def of(self, split: Split) -> "Data":
        """The data of a cell: these, unless its forget set is poisoned."""
        poison = split.poison
        if poison is None:
            return self
        forget = torch.from_numpy(split.forget)
        labels = self.train.labels.clone()
        labels[forget.to(labels.device)] = torch.from_numpy(poison.labels).to(labels.device)
        train = self.train.with_labels(labels)
        held_out = self.test.take(torch.from_numpy(poison.held_out))
        held_out = held_out.with_labels(torch.from_numpy(poison.held_out_labels))
        if poison.trigger:
            train = stamped(train, train.ids[forget], poison.trigger)
            held_out = stamped(held_out, held_out.ids, poison.trigger)
        return replace(self, train=train, held_out=held_out)


@dataclass(frozen=True)
class Cell:
    """One scenario of the seed: its name in tables and its split."""

    title: str
    forgets: Forgets
    split: Split


@dataclass(frozen=True)
class SeedStages:
    """Makes the stages; holds what all of them share.

    scratch: a folder for files on their way to the store.
    start: None for networks that start from fresh weights.
    """

    streams: Streams
    components: Components
    ranks: Ranks
    telemetry: Telemetry
    scratch: Path
    data_placement: DataPlacement = "Auto"
    keep_unlearned_models: bool = False
    start: Start | None = None

    @property
    def seed(self) -> int:
        return self.streams.seed

    @cached_property
    def architecture(self) -> Architecture:
        return Architecture.of(self.components.model)

    @cached_property
    def numerics(self) -> NumericsPolicy:
        return NumericsPolicy.of(self.components.recipe.training, self.ranks)

    def dataset(self, source: str = "") -> Stage[Data]:
        """source: a folder to read from instead of the one that the settings name.

        It does not change the stage's key: where the files lie says nothing of what they are.
        """
        chosen = self.components.dataset
        params = _reading_from(source, chosen) if source else chosen.params
        assert isinstance(params, DatasetParams), "a dataset's settings derive from DatasetParams"

        def make(checkpoints: Checkpoints) -> Made:
            if not self.ranks.is_main:  # one rank reads the source; the others wait for its commit
                return Made({}, {})
            images = check(replace(chosen, params=params)(), chosen.entry.name)
            content = params.source_content()
            facts = {
                **images.facts(),
                "source": params.source_state(),
                **({"sourceContent": content} if content else {}),
            }
            return Made(images.write(self.scratch), facts)

        return Stage(
            name="datasets",
            step=Step("dataset"),
            meaning=dataset_meaning(chosen),
            make=make,
            read=lambda stored: self._read_dataset(stored, params),
            is_data=True,
        )

    def pretrained(self, pretrained: Pretrained, given: bytes | None = None) -> Stage[Weights]:
        """given: the packed weights, where they are not to be downloaded."""

        def make(checkpoints: Checkpoints) -> Made:
            if not self.ranks.is_main:
                return Made({}, {})
            return Made({WEIGHTS: given or packed(pretrained.download())}, {})

        return Stage(
            name="pretrained",
            step=Step("pretrained"),
            meaning={"weights": pretrained.identity()},
            make=make,
            read=lambda stored: load_file(stored.files[WEIGHTS]),
            is_data=True,
        )

    def original(self, data: Data, poisoned: Cell | None = None) -> Stage[Trained]:
        """poisoned: the cell whose data these are, where it is not that of all scenarios."""
        poison = {"poison": poisoned.split.forget_digest} if poisoned else {}
        title = poisoned.title if poisoned else ""
        name = f"the original model of {title}" if poisoned else "the original model"
        return Stage(
            name="originals",
            step=Step("original", title),
            meaning={**self._training_meaning(data), **poison},
            make=lambda checkpoints: self._train(
                data, self._training_set(data), checkpoints, replica=0, name=name
            ),
            read=_read_trained,
            trains=True,
        )

    def margins(
        self, data: Data, *, original: Stage[Trained], trained: Callable[[], Trained]
    ) -> Stage[NDArray[np.float64]]:
        """Logit confidence of each training sample, by the original; some splits are made from
        them."""

        def make(checkpoints: Checkpoints) -> Made:
            network = self.network(data, trained().weights)
            logits = predict(network, data.train, classes=data.shape.classes, ranks=self.ranks)
            found = summarised(logits, _labels(data.train), np.arange(len(logits)))
            return Made({LOGIT_CONFIDENCE: save_arrays({"margins": found.logit_confidence})}, {})

        return Stage(
            name="margins",
            step=Step("margins"),
            meaning={"engine": ENGINE_VERSION, "margins": original.key},
            make=make,
            read=lambda stored: load_arrays(stored.files[LOGIT_CONFIDENCE])["margins"],
        )

    def retrained(self, data: Data, cell: Cell, replica: int) -> Stage[Trained]:
        """The same recipe, initial weights and order stream as the original, on the retain set."""
        return Stage(
            name="retrained",
            step=Step("retrained", cell.title, RETRAINED, replica),
            meaning={
                **self._training_meaning(data),
                "forget": cell.split.forget_digest,
                "replica": replica,
            },
            make=lambda checkpoints: self._train(
                data,
                data.train.take(torch.from_numpy(cell.split.retain)),
                checkpoints,
                replica=replica,
                name=f"the retrained model of {cell.title}",
            ),
            read=_read_trained,
            trains=True,
        )

    def predictions(
        self,
        data: Data,
        cell: Cell,
        step: Step,
        *,
        model: Stage[Trained],
        trained: Callable[[], Trained],
    ) -> Stage[Predictions]:
        def make(checkpoints: Checkpoints) -> Made:
            return self._predict(self.network(data, trained().weights), data, cell)

        return Stage(
            name="predictions",
            step=step,
            meaning=_predictions_meaning(cell, model=model.key),
            make=make,
            read=lambda stored: load_predictions(stored.files[PREDICTIONS]),
        )

    def untrained_predictions(self, data: Data, cell: Cell) -> Stage[Predictions]:
        """Predictions of a network that was never trained, here or elsewhere; some metrics compare
        with it."""
        precision = self.numerics.precision
        identity = {
            **({"precision": precision} if precision == "fp64" else {}),  # others evaluate in fp32
            "untrained": self.components.model.identity(),
            "dataset": data.digest,
            "seed": self.seed,
            **self._input_meaning(),
        }

        def make(checkpoints: Checkpoints) -> Made:
            network = self.networks(data.shape).random(streams.derive(self.seed, "untrained"))
            return self._predict(network, data, cell)

        return Stage(
            name="predictions",
            step=Step("predictions", cell.title, "untrained"),
            meaning=_predictions_meaning(cell, model=identity),
            make=make,
            read=lambda stored: load_predictions(stored.files[PREDICTIONS]),
        )

    def unlearned(
        self,
        data: Data,
        cell: Cell,
        method: str,
        repeat: int,
        *,
        original: Stage[Trained],
        retrained: Stage[Trained],
        original_weights: Callable[[], Weights],
        retrained_weights: Callable[[], Weights],
        keep: Callable[[nn.Module], None],
    ) -> Stage[Unlearned]:
        """keep: told the model where it is computed now, once everything is known of it."""
        chosen = self.components.methods[method]

        def make(checkpoints: Checkpoints) -> Made:
            network, cost = self._unlearn(
                data, cell, method, repeat, checkpoints, original_weights()
            )
            made = self._predict(network, data, cell)
            facts = {
                "cost": asdict(cost),
                "distances": {
                    name: asdict(distance)
                    for name, distance in distances(
                        arrays(on_cpu(network.state_dict())), arrays(retrained_weights())
                    ).items()
                },
            }
            kept = {WEIGHTS: packed(network.state_dict())} if self.keep_unlearned_models else {}
            keep(network)
            return Made({**made.files, **kept}, {**made.facts, **facts})

        return Stage(
            name="unlearned",
            step=Step("unlearned", cell.title, method, repeat),
            meaning={
                "engine": ENGINE_VERSION,
                "original": original.key,
                "retrained": retrained.key,
                **chosen.meaning(),
                "forgets": cell.forgets,
                "split": cell.split.digest,
                "seed": self.seed,
                "repeat": repeat,
                **({"protocol": "matched"} if self.streams.protocol == "matched" else {}),
            },
            make=make,
            read=_read_unlearned,
            reads=(PREDICTIONS,),
            wanted=(WEIGHTS,) if self.keep_unlearned_models else (),
            trains=True,
            of_run=True,
        )

    def unlearned_again(
        self,
        data: Data,
        cell: Cell,
        method: str,
        repeat: int,
        checkpoints: Checkpoints,
        *,
        original_weights: Weights,
        predictions: str,
    ) -> nn.Module:
        """The model of a run whose weights were not kept.

        predictions: the digest of those that are stored of it. A method is a function of its task,
        so other bits mean another machine, which a warning says.
        """
        network, _ = self._unlearn(data, cell, method, repeat, checkpoints, original_weights)
        made = self._predict(network, data, cell).files[PREDICTIONS]
        if hashlib.sha256(made).hexdigest() != predictions:  # type: ignore[arg-type]
            log.warning(
                "%s in %s was run again for a probe and predicts other bits than it did when its"
                " predictions were stored",
                *(method, cell.title),
            )
        return network

    def _unlearn(
        self,
        data: Data,
        cell: Cell,
        method: str,
        repeat: int,
        checkpoints: Checkpoints,
        original_weights: Weights,
    ) -> tuple[nn.Module, Cost]:
        """Run a method on a copy of the original, request after request."""
        chosen = self.components.methods[method]
        augmented = chosen.augmentation == "Training"
        problem = UnlearningProblem(
            networks=self.networks(data.shape),
            train=data.train,
            split=cell.split,
            forgets=cell.forgets,
            numerics=self.numerics,
            report=self.telemetry.progress,
            augmentation=self.components.recipe.augmentation if augmented else None,
        )
        network = self.network(data, original_weights)
        stream = self.streams.unlearning(repeat, chosen.method.entry.name)
        with measured(self.ranks) as meter:
            network = problem.unlearn(chosen, network, seed=stream, checkpoints=checkpoints)
        meter.add(checkpoints.spent)
        _refuse_nonfinite(network)
        return network, meter.cost

    def metrics(
        self,
        cell: Cell,
        step: Step,
        *,
        keys: Mapping[str, str],
        run: Callable[[], Unlearned],
        models: Mapping[Model, Callable[[], Predictions]],
        retrained_cost: Callable[[], Cost],
        probe_keys: Mapping[Model, Mapping[str, str]],
        findings: Callable[[], Mapping[Model, Mapping[str, Findings]]],
        repeats: int,
    ) -> Stage[dict[str, float | None]]:
        """keys: those of all predictions that go in.  step.method says whose numbers they are.

        probe_keys, findings: of their probes, by the model and by `probe_title`.
        """
        scoring = Scoring(
            metrics=self.components.metrics,
            keys=keys,
            method=step.method,
            repeat=step.repeat,
            forgets=cell.forgets,
            streams=self.streams,
            repeats=repeats,
            probes=probe_keys,
        )

        def make(checkpoints: Checkpoints) -> Made:
            read = {model: predictions() for model, predictions in models.items()}
            values = scoring.values(run(), read, retrained_cost(), findings())
            return Made({}, {"metrics": values})

        return Stage(
            name="metrics",
            step=step,
            meaning=scoring.meaning(),
            make=make,
            read=_read_metrics,
            of_run=True,
        )

    @cached_property
    def splits(self) -> Splits:
        needing = (each.needs("validation") for each in self.components.methods.values())
        return Splits(
            scenarios=self.components.scenarios,
            validation=self.components.recipe.training.validation,
            needs_validation=next(filter(None, needing), ""),
        )

    def cell(self, labels: Labels, title: str) -> Cell:
        """A scenario with its split; SpecError names the scenario where it cannot be made."""
        return Cell(title, self.splits.forgets(title), self.splits.of(title, labels, self.seed))

    def refuse_unfit_methods(self, data: Data) -> None:
        """SpecError where a method needs what the model or the data do not have."""
        unlearners = list(self.components.methods.values())
        needs = [unlearner.method.entry.facts.needs for unlearner in unlearners]
        network = (
            self.networks(data.shape).built(0) if any(map(asks_of_network, needs)) else nn.Module()
        )
        for position, unlearner in enumerate(unlearners):
            if lacking := missing(network, needs[position]):
                raise SpecError(
                    f"spec.methods[{position}].name is {unlearner.method.entry.name!r}, which needs"
                    f" {lacking}, and spec.model has none; leave it out"
                )
            part = unlearner.needs("validation")
            if part and self.components.recipe.training.validation is None:
                raise SpecError(
                    f"spec.methods[{position}]: {part!r} needs validation samples, and none are"
                    " set aside; give spec.training.validation a fraction"
                )

    def refuse_unfit_metrics(self, data: Data) -> None:
        """SpecError where the probe of a metric needs what the model does not have."""
        network = self.networks(data.shape).built(0) if self.components.probes else None
        for position, (title, metric) in enumerate(self.components.metrics.items()):
            if network and title in self.components.probes:
                needs = self.components.probes[title].entry.facts.needs
                if lacking := missing(network, needs):
                    raise SpecError(
                        f"spec.metrics[{position}].name is {metric.entry.name!r}, which needs"
                        f" {lacking}, and spec.model has none; leave it out"
                    )

    def data(self, images: ImageSet, digest: str) -> Data:
        """The images where they are to lie, and their labels on the device."""
        where = placement(
            self.data_placement,
            image_bytes=images.train_images.nbytes + images.test_images.nbytes,
            free_bytes=free_memory(self.ranks.device),
        )
        shape = model_shape(images, self.architecture)
        train, test = model_samples(images, self.architecture, self.ranks.device, where)
        return Data(
            images=images,
            digest=digest,
            placement=where,
            shape=shape,
            train=train,
            test=test,
        )

    def _read_dataset(self, stored: Stored, params: DatasetParams) -> Data:
        facts = stored.manifest.facts
        refuse_changed_source(params, facts)
        return self.data(ImageSet.read(stored.files, facts), dataset_digest(stored.manifest))

    def _training_meaning(self, data: Data) -> dict[str, Any]:
        ranks = {"ranks": self.ranks.size} if self.numerics.overlapped else {}
        return {
            **ranks,
            "recipe": self.components.recipe.identity(),
            "model": self.components.model.identity(),
            "dataset": data.digest,
            "seed": self.seed,
            **self._model_meaning(),
        }

    def _model_meaning(self) -> dict[str, Any]:
        """Meaning that a model's name and settings do not say: what its library made of them."""
        start = {"pretrained": self.start.digest} if self.start else {}
        return {**self._input_meaning(), **start}

    def _input_meaning(self) -> dict[str, Any]:
        seen = self.architecture.input
        return {"input": seen.identity()} if seen else {}

    def _train(
        self, data: Data, samples: Samples, checkpoints: Checkpoints, *, replica: int, name: str
    ) -> Made:
        stream = self.streams.training(replica)
        network = self.networks(data.shape).new(stream)
        best = self._selection(network, data)
        with measured(self.ranks) as meter:
            try:
                fit(
                    network,
                    samples,
                    replace(self.components.recipe.fit(stream), observers=[best] if best else []),
                    seed=stream,
                    numerics=self.numerics,
                    report=self.telemetry.progress,
                    checkpoints=checkpoints,
                )
            except MethodFailed as error:
                raise SupremeError(f"{name} of seed {self.seed} did not train: {error}") from None
            if best:
                best.restore()
        meter.add(checkpoints.spent)
        facts: dict[str, Any] = {"cost": asdict(meter.cost)}
        if best:
            facts["selected"] = {"epoch": best.epoch, "accuracy": best.accuracy}
        return Made({WEIGHTS: packed(network.state_dict())}, facts)

    def _selection(self, network: nn.Module, data: Data) -> BestEpoch | None:
        """Selection of the best epoch: for all models by the same samples and the same rule."""
        if self.components.recipe.training.selection == "last":
            return None
        samples = data.train.take(torch.from_numpy(self.splits.set_aside(data.labels, self.seed)))
        return BestEpoch(network, samples, data.shape.classes, self.ranks)

    def _training_set(self, data: Data) -> Samples:
        """Samples that the original is trained on."""
        everything = np.arange(len(data.train))
        kept = np.setdiff1d(
            everything, self.splits.set_aside(data.labels, self.seed), assume_unique=True
        )
        return data.train.take(torch.from_numpy(kept))

    def try_start(self, shape: ImageShape) -> None:
        """SpecError where the pretrained weights are not for the network."""
        self.networks(shape).started(0)

    def networks(self, shape: ImageShape) -> NetworkFactory:
        return NetworkFactory(
            architecture=self.architecture,
            shape=shape,
            device=self.ranks.device,
            pretrained=self.start.weights if self.start else None,
        )

    def network(self, data: Data, weights: Weights) -> nn.Module:
        """The network with these weights, on the device in eval mode."""
        return self.networks(data.shape).with_weights(weights)

    def _predict(self, network: nn.Module, data: Data, cell: Cell) -> Made:
        """One pass over the training and the test set, from which every metric is computed."""
        train = predict(network, data.train, classes=data.shape.classes, ranks=self.ranks)
        test = predict(network, data.test, classes=data.shape.classes, ranks=self.ranks)
        forwarded, held_out = len(train) + len(test), None
        if data.held_out:
            logits = predict(network, data.held_out, classes=data.shape.classes, ranks=self.ranks)
            held_out = logits, _labels(data.held_out)
            forwarded += len(logits)
        predictions = split_predictions(
            train,
            _labels(data.train),
            test,
            _labels(data.test),
            forget=cell.split.forget,
            retain=cell.split.retain,
            forget_test=cell.split.forget_test,
            retain_test=cell.split.retain_test,
            held_out=held_out,
        )
        return Made({PREDICTIONS: save_predictions(predictions)}, {"forwardedSamples": forwarded})


def _reading_from(source: str, chosen: AnyChosen) -> DatasetParams:
    params: DatasetParams = chosen.params  # type: ignore[assignment]
    if params.location is None:
        raise SpecError(f"--from: dataset {chosen.entry.name!r} is not read from a folder")
    return params.model_copy(update={params.location: source})


def _labels(samples: Samples) -> NDArray[np.int64]:
    return samples.labels.cpu().numpy()


def _predictions_meaning(cell: Cell, *, model: object) -> dict[str, Any]:
    return {"engine": ENGINE_VERSION, "model": model, "split": cell.split.digest}


def _read_trained(stored: Stored) -> Trained:
    return Trained(load_file(stored.files[WEIGHTS]), read_cost(stored.manifest.facts))


def _read_unlearned(stored: Stored) -> Unlearned:
    return read_unlearned(stored.manifest.facts, stored.files[PREDICTIONS])


def _read_metrics(stored: Stored) -> dict[str, float | None]:
    return read_metrics(stored.manifest.facts)


def arrays(weights: Weights) -> dict[str, NDArray[Any]]:
    """The same memory as numpy sees it."""
    return {name: tensor.numpy() for name, tensor in weights.items()}


def packed(weights: Weights) -> bytes:
    """The content of a file of weights."""
    return save(on_cpu(weights))


def _refuse_nonfinite(network: nn.Module) -> None:
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise MethodFailed(f"the unlearned model has non-finite numbers in {name}")
