"""Content-addressed stages: found in the store, or computed once and committed.

All ranks go through the same stages; rank 0 alone looks into the store and writes to it. A damaged
object is reported, thrown away and computed again.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

from supreme_trainer.telemetry import Telemetry

from supreme_core.api.model import parse
from supreme_core.api.run import StageRecord
from supreme_core.artefacts import Artefacts, Manifest, digest
from supreme_core.engine.checkpoint import Checkpoints, Interruption
from supreme_core.engine.ranks import Ranks
from supreme_core.errors import CorruptArtefact
from supreme_core.plan import Step

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class Made:
    """What computing a stage gave: data files, and small facts for the manifest."""

    files: Mapping[str, Path | bytes]
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Stored:
    """A finished stage as it lies in the store: its facts, and verified local files."""

    manifest: Manifest
    files: Mapping[str, Path]


@dataclass(frozen=True)
class Stage(Generic[T]):
    """One piece of work.

    meaning: everything that the result depends on; its sha256 is the key.  make: compute it, on all
    ranks, from the last checkpoint if there is one.  read: turn what is stored into a value; also
    of a stage that was just computed, so a reused result and a fresh one are the same object to
    whoever goes on with it.
    """

    name: str
    step: Step
    meaning: Mapping[str, Any]
    make: Callable[[Checkpoints], Made]
    read: Callable[[Stored], T]

    @cached_property
    def key(self) -> str:
        return digest(self.meaning)


@dataclass(frozen=True)
class CheckpointSlot:
    """Where the checkpoint of one stage lies."""

    artefacts: Artefacts
    stage: str
    key: str

    def read(self) -> bytes | None:
        return self.artefacts.read_checkpoint(self.stage, self.key)

    def write(self, data: bytes) -> None:
        self.artefacts.write_checkpoint(self.stage, self.key, data)


class Stages:
    """The stages of one seed, and the record of what was computed and what was found."""

    def __init__(
        self,
        artefacts: Artefacts,
        *,
        ranks: Ranks,
        environment: Mapping[str, Any],
        telemetry: Telemetry,
        interruption: Interruption,
    ) -> None:
        self._artefacts = artefacts
        self._ranks = ranks
        self._environment = environment
        self._telemetry = telemetry
        self._interruption = interruption
        self._records: dict[str, StageRecord] = {}
        self._told: set[Step] = set()
        self.environments: dict[str, dict[str, Any]] = {}

    @property
    def records(self) -> list[StageRecord]:
        return list(self._records.values())

    def ensure(self, stage: Stage[T]) -> Manifest:
        """Have the stage in the store; nothing is read but its manifest."""
        manifest = self._find(stage)
        return manifest if manifest else self._compute(stage)

    def value(self, stage: Stage[T]) -> T:
        """The stage's result, verified against the digests of its manifest."""
        manifest = self.ensure(stage)
        stored = self._open(manifest)
        if stored is None:
            if self._ranks.is_main:
                self._artefacts.discard(manifest)
            stored = self._open(self._compute(stage))
            if stored is None:
                raise CorruptArtefact(
                    f"{stage.name} {stage.key} is damaged right after it was made"
                )
        return stage.read(stored)

    def later(self, stage: Stage[T]) -> Callable[[], T]:
        """The stage's result for whoever asks; read once, and not at all where nobody does."""
        return cache(lambda: self.value(stage))

    def _find(self, stage: Stage[T]) -> Manifest | None:
        found = self._artefacts.find(stage.name, stage.key) if self._ranks.is_main else None
        manifest = self._everywhere(found)
        if manifest and stage.key not in self._records:
            self._record(stage, manifest, "reused", 0.0)
        if manifest and stage.step not in self._told:  # two steps may be the same work
            self._tell(stage.step, "reused", 0.0)
        return manifest

    def _compute(self, stage: Stage[T]) -> Manifest:
        self._telemetry.stage_started(stage.step)
        started = time.monotonic()
        try:
            slot = CheckpointSlot(self._artefacts, stage.name, stage.key)
            made = stage.make(Checkpoints(self._ranks, self._interruption, slot))
        except Exception:
            self._tell(stage.step, "failed", time.monotonic() - started)
            raise
        committed = self._commit(stage, made) if self._ranks.is_main else None
        manifest = self._everywhere(committed)
        assert manifest is not None
        seconds = time.monotonic() - started
        self._record(stage, manifest, "computed", seconds)
        self._tell(stage.step, "computed", seconds)
        return manifest

    def _commit(self, stage: Stage[T], made: Made) -> Manifest:
        manifest = self._artefacts.commit(
            stage.name,
            stage.key,
            meaning=stage.meaning,
            files=made.files,
            facts=made.facts,
            environment=self._environment,
        )
        self._artefacts.delete_checkpoint(stage.name, stage.key)
        return manifest

    def _open(self, manifest: Manifest) -> Stored | None:
        """The verified files, or None on all ranks where one of them met a damaged one."""
        files: dict[str, Path] = {}
        damaged = False
        try:
            for name in manifest.files:
                files[name] = self._artefacts.open(manifest, name)
        except CorruptArtefact as error:
            log.warning("%s", error)
            damaged = True
        if any(self._ranks.each(float(damaged))):
            return None
        return Stored(manifest, files)

    def _everywhere(self, manifest: Manifest | None) -> Manifest | None:
        """Rank 0's manifest on every rank, so that all of them take the same way."""
        document = self._ranks.share(manifest.to_document() if manifest else None)
        return parse(Manifest, document) if document else None

    def _tell(self, step: Step, status: Any, seconds: float) -> None:
        self._told.add(step)
        self._telemetry.stage_finished(step, status, seconds)

    def _record(self, stage: Stage[T], manifest: Manifest, status: Any, seconds: float) -> None:
        environment = digest(manifest.environment)
        self.environments[environment] = dict(manifest.environment)
        self._records[stage.key] = StageRecord(
            stage=stage.name,
            key=stage.key,
            status=status,
            wall_seconds=round(seconds, 3),
            environment=environment,
        )
