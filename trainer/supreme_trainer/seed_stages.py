"""The stages of one seed: what each depends on, how it is computed, how it is read back.

A stage's meaning names everything that its result depends on and nothing else; in particular not
the scenario's or the method's label, nor what else the experiment asks for.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save
from supreme_trainer.components import AnyChosen, Components
from supreme_trainer.stages import Made, Stage, Stored
from supreme_trainer.telemetry import Telemetry
from torch import Tensor, nn

from supreme_core import seeds
from supreme_core.api.names import PREDICTIONS, RETRAINED, WEIGHTS
from supreme_core.engine import randomness
from supreme_core.engine.checkpoint import Checkpoints
from supreme_core.engine.cost import measured
from supreme_core.engine.fit import fit
from supreme_core.engine.prediction import predict
from supreme_core.engine.ranks import Ranks
from supreme_core.engine.recipe import ENGINE_VERSION
from supreme_core.engine.reduction import Reduction
from supreme_core.engine.samples import ImageSource, Samples
from supreme_core.engine.shape import ImageShape
from supreme_core.engine.task import UnlearningTask
from supreme_core.errors import MethodFailed, SpecError, SupremeError
from supreme_core.evaluation import Cost, Model, Predictions
from supreme_core.image_set import DatasetParams, ImageSet, check, dataset_digest
from supreme_core.plan import Step
from supreme_core.predictions import load_predictions, save_predictions, split_predictions
from supreme_core.registry import Forgets
from supreme_core.scoring import Scoring, Unlearned, distances, read_cost, read_unlearned
from supreme_core.split import Labels, Split

Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class Trained:
    """A trained network's weights, on the CPU, and what training it took."""

    weights: Weights
    cost: Cost


@dataclass(frozen=True)
class Data:
    """A dataset on this rank's device."""

    images: ImageSet
    digest: str
    train: Samples
    test: Samples

    @property
    def shape(self) -> ImageShape:
        return ImageShape(self.images.channels, self.images.size, self.images.classes)

    @property
    def labels(self) -> Labels:
        images = self.images
        return Labels(
            images.train_labels,
            images.test_labels,
            images.class_names,
            train_fine=images.train_fine_labels,
            test_fine=images.test_fine_labels,
            fine_class_names=images.fine_class_names,
        )


@dataclass(frozen=True)
class Cell:
    """One scenario of the seed: its name in tables and its split."""

    title: str
    forgets: Forgets
    split: Split


@dataclass(frozen=True)
class SeedStages:
    """Makes the stages; holds what all of them share."""

    seed: int
    components: Components
    ranks: Ranks
    telemetry: Telemetry
    keep_unlearned_models: bool = False

    @cached_property
    def reduction(self) -> Reduction:
        return Reduction(self.ranks, self.components.recipe.training.micro_batches)

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
            return Made(images.files(), {**images.facts(), "source": params.source_state()})

        return Stage(
            name="datasets",
            step=Step("dataset"),
            meaning={"dataset": chosen.identity()},
            make=make,
            read=lambda stored: self._read_dataset(stored, params),
            is_data=True,
        )

    def original(self, data: Data) -> Stage[Trained]:
        return Stage(
            name="originals",
            step=Step("original"),
            meaning=self._training_meaning(data),
            make=lambda checkpoints: self._train(
                data, data.train, checkpoints, replica=0, name="the original model"
            ),
            read=_read_trained,
            trains=True,
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
            return self._predict(self._network(data, trained().weights), data, cell)

        return Stage(
            name="predictions",
            step=step,
            meaning=_predictions_meaning(cell, model=model.key),
            make=make,
            read=lambda stored: load_predictions(stored.files[PREDICTIONS]),
        )

    def untrained_predictions(self, data: Data, cell: Cell) -> Stage[Predictions]:
        """Of a network with random weights of its own stream, which some metrics compare with."""
        identity = {
            "untrained": self.components.model.identity(),
            "dataset": data.digest,
            "seed": self.seed,
        }

        def make(checkpoints: Checkpoints) -> Made:
            network = self._new_network(data.shape, seeds.derive(self.seed, "untrained"))
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
    ) -> Stage[Unlearned]:
        chosen = self.components.methods[method]

        def make(checkpoints: Checkpoints) -> Made:
            network = self._network(data, original_weights())
            task = self._task(network, data, cell, checkpoints, chosen.entry.name, repeat)
            with measured(self.ranks) as meter:
                chosen(task)
            meter.add(checkpoints.spent)
            _refuse_nonfinite(network)
            made = self._predict(network, data, cell)
            facts = {
                "cost": asdict(meter.cost),
                "distances": {
                    name: asdict(distance)
                    for name, distance in distances(
                        arrays(_on_cpu(network)), arrays(retrained_weights())
                    ).items()
                },
            }
            kept = {WEIGHTS: save(_on_cpu(network))} if self.keep_unlearned_models else {}
            return Made({**made.files, **kept}, {**made.facts, **facts})

        return Stage(
            name="unlearned",
            step=Step("unlearned", cell.title, method, repeat),
            meaning={
                "engine": ENGINE_VERSION,
                "original": original.key,
                "retrained": retrained.key,
                "method": chosen.identity(),
                "forgets": cell.forgets,
                "split": cell.split.digest,
                "seed": self.seed,
                "repeat": repeat,
            },
            make=make,
            read=_read_unlearned,
            reads=(PREDICTIONS,),
            wanted=(WEIGHTS,) if self.keep_unlearned_models else (),
            trains=True,
        )

    def metrics(
        self,
        cell: Cell,
        step: Step,
        *,
        keys: Mapping[str, str],
        run: Callable[[], Unlearned],
        models: Mapping[Model, Callable[[], Predictions]],
        retrained_cost: Callable[[], Cost],
        repeats: int,
    ) -> Stage[dict[str, float | None]]:
        """keys: those of all predictions that go in.  step.method says whose numbers they are."""
        scoring = Scoring(
            metrics=self.components.metrics,
            keys=keys,
            method=step.method,
            forgets=cell.forgets,
            seed=self.seed,
            repeats=repeats,
        )

        def make(checkpoints: Checkpoints) -> Made:
            read = {model: predictions() for model, predictions in models.items()}
            return Made({}, {"metrics": scoring.values(run(), read, retrained_cost())})

        return Stage(
            name="metrics",
            step=step,
            meaning=scoring.meaning(),
            make=make,
            read=_read_metrics,
        )

    def cell(self, data: Data, title: str) -> Cell:
        """The split of a scenario; SpecError names the scenario where it cannot be made."""
        chosen = self.components.scenarios[title]
        position = list(self.components.scenarios).index(title)
        try:
            split: Split = chosen(data.labels, self.seed)
        except SpecError as error:
            raise SpecError(f"spec.scenarios[{position}] ({title}): {error}") from None
        return Cell(title, chosen.entry.facts.forgets, split)

    def _read_dataset(self, stored: Stored, params: DatasetParams) -> Data:
        source = params.source_state()
        facts = stored.manifest.facts
        if source is not None and source != facts["source"]:
            raise SpecError(
                "spec.dataset: the source has changed since its images were prepared in this"
                f" store; {params.changed_source}"
            )
        images = ImageSet.read(stored.files, facts)
        return Data(
            images=images,
            digest=dataset_digest(stored.manifest),
            train=self._samples(images, images.train_images, images.train_labels),
            test=self._samples(images, images.test_images, images.test_labels),
        )

    def _samples(self, images: ImageSet, pixels: Any, labels: Any) -> Samples:
        device = self.ranks.device
        source = ImageSource(
            torch.from_numpy(np.array(pixels)).to(device),
            torch.tensor(images.mean, device=device),
            torch.tensor(images.std, device=device),
        )
        ids = torch.arange(len(labels), device=device)
        return Samples(source, ids, torch.from_numpy(np.array(labels)).to(device))

    def _training_meaning(self, data: Data) -> dict[str, Any]:
        return {
            "recipe": self.components.recipe.identity(),
            "model": self.components.model.identity(),
            "dataset": data.digest,
            "seed": self.seed,
        }

    def _train(
        self, data: Data, samples: Samples, checkpoints: Checkpoints, *, replica: int, name: str
    ) -> Made:
        stream = seeds.derive(self.seed, "training", replica)
        network = self._new_network(data.shape, stream)
        with measured(self.ranks) as meter:
            try:
                fit(
                    network,
                    samples,
                    self.components.recipe.fit(stream),
                    seed=stream,
                    reduction=self.reduction,
                    report=self.telemetry.progress,
                    checkpoints=checkpoints,
                )
            except MethodFailed as error:
                raise SupremeError(f"{name} of seed {self.seed} did not train: {error}") from None
        meter.add(checkpoints.spent)
        return Made({WEIGHTS: save(_on_cpu(network))}, {"cost": asdict(meter.cost)})

    def _new_network(self, shape: ImageShape, seed: int) -> nn.Module:
        """Fresh weights, drawn on the CPU so that they do not depend on the device."""
        with randomness.global_seed(seed, "weights"):
            network: nn.Module = self.components.model(shape)
        return network.to(self.ranks.device).to(memory_format=torch.channels_last).eval()

    def _network(self, data: Data, weights: Weights) -> nn.Module:
        network = self._new_network(data.shape, 0)
        network.load_state_dict(dict(weights))
        return network

    def _task(
        self,
        network: nn.Module,
        data: Data,
        cell: Cell,
        checkpoints: Checkpoints,
        method: str,
        repeat: int,
    ) -> UnlearningTask:
        return UnlearningTask(
            model=network,
            forget=data.train.take(torch.from_numpy(cell.split.forget)),
            retain=data.train.take(torch.from_numpy(cell.split.retain)),
            forgets=cell.forgets,
            forget_classes=cell.split.classes,
            shape=data.shape,
            reduction=self.reduction,
            seed=seeds.derive(self.seed, "unlearning", repeat, "methods", method),
            report=self.telemetry.progress,
            checkpoints=checkpoints,
            new_network=lambda seed: self._new_network(data.shape, seed),
        )

    def _predict(self, network: nn.Module, data: Data, cell: Cell) -> Made:
        """One pass over the training and the test set, from which every metric is computed."""
        train = predict(network, data.train, classes=data.shape.classes, ranks=self.ranks)
        test = predict(network, data.test, classes=data.shape.classes, ranks=self.ranks)
        predictions = split_predictions(
            train,
            np.asarray(data.images.train_labels),
            test,
            np.asarray(data.images.test_labels),
            forget=cell.split.forget,
            retain=cell.split.retain,
            forget_test=cell.split.forget_test,
            retain_test=cell.split.retain_test,
        )
        return Made(
            {PREDICTIONS: save_predictions(predictions)},
            {"forwardedSamples": len(train) + len(test)},
        )


def _reading_from(source: str, chosen: AnyChosen) -> DatasetParams:
    params: DatasetParams = chosen.params  # type: ignore[assignment]
    if params.location is None:
        raise SpecError(f"--from: dataset {chosen.entry.name!r} is not read from a folder")
    return params.model_copy(update={params.location: source})


def _predictions_meaning(cell: Cell, *, model: object) -> dict[str, Any]:
    return {"engine": ENGINE_VERSION, "model": model, "split": cell.split.digest}


def _read_trained(stored: Stored) -> Trained:
    return Trained(load_file(stored.files[WEIGHTS]), read_cost(stored.manifest.facts))


def _read_unlearned(stored: Stored) -> Unlearned:
    return read_unlearned(stored.manifest.facts, stored.files[PREDICTIONS])


def _read_metrics(stored: Stored) -> dict[str, float | None]:
    values: Any = stored.manifest.facts["metrics"]
    return dict(values)


def arrays(weights: Weights) -> dict[str, NDArray[Any]]:
    """The same memory as numpy sees it."""
    return {name: tensor.numpy() for name, tensor in weights.items()}


def _on_cpu(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}


def _refuse_nonfinite(network: nn.Module) -> None:
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise MethodFailed(f"the unlearned model has non-finite numbers in {name}")
