"""Inputs of one run's numbers as a trainer stored them, from the keys in the run's record."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Generic, TypeVar

from safetensors.numpy import load_file

from supreme_core.api.model import parse
from supreme_core.api.names import (
    ORIGINAL,
    PREDICTIONS,
    PROBE,
    REFERENCES,
    RETRAINED,
    WEIGHTS,
)
from supreme_core.api.records import EpochCurve, RunRecord
from supreme_core.errors import CorruptArtefact, SpecError, number_of, one_line
from supreme_core.scoring.evaluation import Cost, Findings, Model, Predictions
from supreme_core.scoring.predictions import load_predictions
from supreme_core.scoring.run_scoring import (
    NumpyWeights,
    Reference,
    ReferenceRun,
    RunInputs,
    Unlearned,
    read_cost,
    read_unlearned,
)
from supreme_core.store.artefacts import Artefacts, Manifest

T = TypeVar("T")


class SeedStore:
    """Stages of one seed in the store."""

    def __init__(self, artefacts: Artefacts) -> None:
        self._artefacts = artefacts
        # One of each at a time: Original, Retrained and an untrained model are those of many runs.
        self.predictions = lru_cache(maxsize=4)(self._read_predictions)
        self.weights = lru_cache(maxsize=2)(self._read_weights)

    def manifest(self, stage: str, key: str) -> Manifest:
        manifest = self._artefacts.find(stage, key)
        if manifest is None:
            raise CorruptArtefact(f"{stage} {key} is not in the store")
        return manifest

    def open(self, manifest: Manifest, name: str) -> Path:
        """A verified file; a stage that has none is made to be computed again by the next run."""
        try:
            return self._artefacts.open(manifest, name)
        except CorruptArtefact:
            self._artefacts.discard(manifest)
            raise

    def _read_predictions(self, key: str) -> Predictions:
        return load_predictions(self.open(self.manifest("predictions", key), PREDICTIONS))

    def _read_weights(self, stage: str, key: str) -> NumpyWeights:
        weights: NumpyWeights = load_file(self.open(self.manifest(stage, key), WEIGHTS))
        return weights


def stage_of(run: RunRecord) -> tuple[str, str]:
    """Name and key of the stage that has the predictions of a run's own model."""
    stage = "predictions" if run.method in REFERENCES else "unlearned"
    return stage, run.predictions["unlearned"]


def trained_stage(method: str, predictions: Manifest) -> tuple[str, str]:
    """Name and key of the stage in which a reference was trained, by its predictions."""
    trained = predictions.meaning["model"]
    assert isinstance(trained, str), "only an untrained model has no stage of its own"
    return "originals" if method == ORIGINAL else "retrained", trained


def trained_manifest(store: SeedStore, run: RunRecord) -> Manifest:
    """Manifest of the stage in which a run's own model was made; CorruptArtefact where it is
    gone."""
    found = store.manifest(*stage_of(run))
    if run.method not in REFERENCES:
        return found
    return store.manifest(*trained_stage(run.method, found))


class CurveReader:
    """Reader of the curves of trained models, which counts the models whose curves are lost."""

    def __init__(self, artefacts: Artefacts) -> None:
        self._store = SeedStore(artefacts)
        self._lost: list[str] = []

    def of(self, run: RunRecord) -> list[EpochCurve]:
        """Curves of the trainings that made a run's own model.

        None where it was made without one or by a version that kept none, where the run failed, and
        where the store has lost or damaged the stage.
        """
        if not run.predictions:
            return []
        try:
            return self._read(trained_manifest(self._store, run))
        except CorruptArtefact as error:
            self._lost.append(f"{run.method} in {run.scenario}: {error}")
            return []

    @property
    def lost(self) -> str | None:
        """One line for all models whose curves are lost so far; None where there are none."""
        if not self._lost:
            return None
        models = number_of(len(self._lost), "model")
        return f"curves of {models} are left out; the first is {self._lost[0]}"

    @staticmethod
    def _read(manifest: Manifest) -> list[EpochCurve]:
        curves = manifest.facts.get("curves", [])
        listed = curves if isinstance(curves, list) else [{}]
        try:
            return [parse(EpochCurve, each) for each in listed]
        except SpecError as error:
            told = f"curves of {manifest.stage} {manifest.key}: {error}"
            raise CorruptArtefact(one_line(told)) from None


@dataclass(frozen=True)
class Found(Generic[T]):
    """A stage of the store, which is read where somebody asks for its value."""

    store: SeedStore
    stage: str
    key: str
    read: Callable[[Manifest], T]

    @cached_property
    def manifest(self) -> Manifest:
        return self.store.manifest(self.stage, self.key)

    def value(self) -> T:
        return self.read(self.manifest)


@dataclass(frozen=True)
class StoredModel:
    """The training of a reference; its weights are read where somebody asks for them."""

    store: SeedStore
    manifest: Manifest

    @property
    def arrays(self) -> NumpyWeights:
        return self.store.weights(self.manifest.stage, self.manifest.key)

    @property
    def cost(self) -> Cost:
        return read_cost(self.manifest.facts)


@dataclass(frozen=True, kw_only=True)
class StoredReference(Reference):
    """Original or a replica of Retrained, as the store has it."""

    training: Found[StoredModel]
    predictions: Found[Predictions]


@dataclass(frozen=True)
class StoredRun:
    """Inputs of the numbers of one run, as its record names them."""

    store: SeedStore
    run: RunRecord
    probe_titles: Sequence[str]

    @cached_property
    def inputs(self) -> RunInputs:
        itself = self._itself
        return RunInputs(
            method=self.run.method,
            repeat=self.run.repeat,
            own=ReferenceRun(itself, self._retrained) if itself else self._unlearned,
            original=self._original,
            retrained=self._retrained,
            untrained=self._untrained,
            probes=self._probes,
        )

    def check_fit(self) -> None:
        """Refuse to compare predictions of models that were replaced since."""
        trained = [self._retrained.training, *([self._itself.training] if self._itself else [])]
        manifests = [*self._compared, *(each.manifest for each in trained)]
        bits = {manifest.key: manifest.digests() for manifest in manifests}
        for manifest in manifests:
            if not manifest.is_computed_from(bits):
                raise CorruptArtefact(
                    f"{manifest.stage} {manifest.key} was computed from other bits than lie in the"
                    " store now"
                )

    def digests(self) -> Mapping[str, Mapping[str, str]]:
        """The bits of all that the meaning of the numbers names."""
        return {manifest.key: manifest.digests() for manifest in self._compared}

    @property
    def _compared(self) -> list[Manifest]:
        own = self._itself.predictions if self._itself else self._unlearned
        others = [self._original.predictions, self._retrained.predictions]
        others += [self._untrained] if self._untrained else []
        probes = [each.manifest for found in self._probes.values() for each in found.values()]
        return [own.manifest, *(each.manifest for each in others), *probes]

    @cached_property
    def _itself(self) -> StoredReference | None:
        """The run's own model, where that is a reference."""
        if self.run.method not in REFERENCES:
            return None
        return self._reference(self.run.method, "unlearned")

    @cached_property
    def _unlearned(self) -> Found[Unlearned]:
        def read(manifest: Manifest) -> Unlearned:
            return read_unlearned(manifest.facts, self.store.open(manifest, PREDICTIONS))

        return Found(self.store, *stage_of(self.run), read)

    @cached_property
    def _original(self) -> StoredReference:
        return self._reference(ORIGINAL, "original")

    @cached_property
    def _retrained(self) -> StoredReference:
        return self._reference(RETRAINED, "retrained")

    @cached_property
    def _untrained(self) -> Found[Predictions] | None:
        return self._predictions("untrained") if "untrained" in self.run.predictions else None

    @cached_property
    def _probes(self) -> dict[Model, dict[str, Found[Findings]]]:
        def read(manifest: Manifest) -> Findings:
            return load_file(self.store.open(manifest, PROBE))

        models: tuple[Model, ...] = ("unlearned", "retrained") if self.probe_titles else ()
        return {
            model: {
                title: Found(self.store, "probes", self.run.probes[model][title], read)
                for title in self.probe_titles
            }
            for model in models
        }

    def _reference(self, name: str, model: Model) -> StoredReference:
        predictions = self._predictions(model)
        trained = trained_stage(name, predictions.manifest)
        training = Found(self.store, *trained, partial(StoredModel, self.store))
        return StoredReference(name=name, training=training, predictions=predictions)

    def _predictions(self, model: Model) -> Found[Predictions]:
        def read(manifest: Manifest) -> Predictions:
            return self.store.predictions(manifest.key)

        return Found(self.store, "predictions", self.run.predictions[model], read)
