"""Content-addressed stages: found in the store, or computed once and committed.

All ranks go through the same stages; rank 0 alone looks into the store and writes to it. A damaged
object is reported, thrown away and computed again.
"""

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar

from supreme_trainer.seed.claims import Claims
from supreme_trainer.seed.crew import Crew
from supreme_trainer.seed.faults import Faults
from supreme_trainer.seed.telemetry import Telemetry

from supreme_core.api.canonical import digest, keys_in
from supreme_core.api.model import parse
from supreme_core.api.records import RunRecord, StageRecord
from supreme_core.api.v1alpha1 import Reuse
from supreme_core.engine.ranks.device import naming_operations
from supreme_core.engine.ranks.interruption import Interruption
from supreme_core.engine.ranks.ranks import Ranks
from supreme_core.engine.training.checkpoint import EVERY_SECONDS, Checkpoints
from supreme_core.errors import (
    CorruptArtefact,
    DeviceFault,
    FailedBefore,
    GivenUp,
    HeldElsewhere,
    RankLost,
    StorageError,
)
from supreme_core.plan import Step
from supreme_core.scoring.run_scoring import cause_of, reason
from supreme_core.store.artefacts import Artefacts, Inputs, Manifest

log = logging.getLogger(__name__)

T = TypeVar("T")

NO_FAILURES = (StorageError, RankLost, DeviceFault, HeldElsewhere)
"""Errors by which no stage has failed: whoever goes on may well finish it."""

CREW = "crew"
"""Fact of a stage that one of several processes of an attempt has computed: which processes, and
the seconds that it took."""


@dataclass(frozen=True)
class Made:
    """Output of a stage: data files, and small facts for the manifest.

    A path is that of a temporary file, which is removed when the store has it.
    """

    files: Mapping[str, Path | bytes]
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Stored:
    """A finished stage as it lies in the store: its facts, and verified local files."""

    manifest: Manifest
    files: Mapping[str, Path]


class Stage(ABC, Generic[T]):
    """One piece of work; each kind is a class, with what it depends on, how it is made and how it
    is read side by side.

    A meaning names everything that the result depends on and nothing else; in particular not the
    scenario's or the method's label, nor what else the experiment asks for. Its sha256 is the key.

    name: of the kind, in the store.  step: what progress calls it.
    reads: the files that `read` opens, None for all of them.  wanted: files without which a stage
    that is found counts as absent.  is_data: everybody reads it whatever the policy of reuse,
    because it was not computed but prepared.  trains: may leave checkpoints on its way.
    of_run: belongs to one run, which is recorded as failed where it cannot be computed.
    """

    name: ClassVar[str]
    reads: ClassVar[tuple[str, ...] | None] = None
    is_data: ClassVar[bool] = False
    trains: ClassVar[bool] = False
    of_run: ClassVar[bool] = False

    @property
    @abstractmethod
    def step(self) -> Step: ...

    @property
    @abstractmethod
    def meaning(self) -> Mapping[str, Any]: ...

    @abstractmethod
    def make(self, checkpoints: Checkpoints) -> Made:
        """Compute it, on all ranks, from the last checkpoint if there is one."""

    @abstractmethod
    def read(self, stored: Stored) -> T:
        """Turn what is stored into a value; also of a stage that was just computed, so a reused
        result and a fresh one are the same object to whoever goes on with it."""

    @property
    def wanted(self) -> tuple[str, ...]:
        return ()

    @property
    def first(self) -> Sequence["Later[Any]"]:
        """Stages that it is computed from and that its meaning leaves out, since it says all that
        they depend on; they are had before it is made, and not where it is found."""
        return ()

    @cached_property
    def key(self) -> str:
        return digest(self.meaning)


@dataclass(frozen=True)
class Later(Generic[T]):
    """A stage's result for whoever asks: its key at once, its value read once, and not at all where
    nobody asks."""

    stage: Stage[T]
    stages: "Stages"

    @property
    def key(self) -> str:
        return self.stage.key

    def ensure(self) -> Manifest:
        """Have the stage in the store; nothing is read but its manifest."""
        return self.stages.ensure(self.stage)

    def value(self) -> T:
        return self._value

    def once(self) -> T:
        """The value for whoever needs it a single time; it is not kept."""
        return self.stages.value(self.stage)

    @cached_property
    def _value(self) -> T:
        return self.once()


@dataclass(frozen=True)
class CheckpointSlot:
    """Place of the checkpoint of one stage.

    origin: 32 bytes that stand for what the stage is computed from (and, where only the same
    environment is to be reused, in). A checkpoint of another origin counts as absent.
    """

    artefacts: Artefacts
    stage: str
    key: str
    origin: bytes
    claims: Claims

    def read(self) -> bytes | None:
        data = self.artefacts.read_checkpoint(self.stage, self.key)
        if data is None or not data.startswith(self.origin):
            return None
        return data.removeprefix(self.origin)

    def write(self, data: bytes) -> None:
        """HeldElsewhere where another process has taken over."""
        if not self.claims.is_mine(self.key):
            raise HeldElsewhere(f"{self.stage} {self.key[:16]} was taken over")
        self.artefacts.write_checkpoint(self.stage, self.key, self.origin + data)


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
        checkpoint_seconds: float = EVERY_SECONDS,
        reuse: Reuse = "Any",
        faults: Faults | None = None,
        claims: Claims | None = None,
        crew: Crew | None = None,
        may_leave: bool = False,
        goes: Callable[[], bool] | None = None,
        is_team: bool = False,
    ) -> None:
        """faults: None where nobody starts this process again after one.  claims: None where nobody
        else is at work.

        crew: where several processes compute the attempt; what one of them has computed, all have.
        may_leave: another process goes on with the seed, so this one need not wait for anybody.
        goes: for a guest of another seed, whether it is time to go home, once it has computed
        something.  is_team: ranks that compute one training, and leave.
        """
        self._artefacts = artefacts
        self._faults = faults
        self.scratch = artefacts.cache
        self._ranks = ranks
        self._environment = environment
        self.telemetry = telemetry
        self._interruption = interruption
        self._checkpoint_seconds = checkpoint_seconds
        self._reuse = reuse
        self.claims = claims or Claims(ranks)
        self.crew = crew
        self._may_leave = may_leave
        self._goes = goes
        self.is_team, self._has_trained = is_team, False
        self.meanwhile: Callable[[], bool] = lambda: False
        """Where nothing of the seed is ready: do something else; gives whether there was any."""
        self._waiting = 0
        self._computed: set[str] = set()
        self._files: dict[str, Mapping[str, str]] = {}
        self._records: dict[str, StageRecord] = {}
        self._told: set[Step] = set()
        self._failed: dict[str, RunRecord] = {}
        self.environments: dict[str, dict[str, Any]] = {}

    def of_another(
        self, crew: Crew, claims: Claims, telemetry: Telemetry, *, goes: Callable[[], bool]
    ) -> "Stages":
        """The stages of another seed, in which the same process takes part."""
        return Stages(
            self._artefacts,
            ranks=self._ranks,
            environment=self._environment,
            telemetry=telemetry,
            interruption=self._interruption,
            checkpoint_seconds=self._checkpoint_seconds,
            reuse=self._reuse,
            faults=self._faults,
            claims=claims,
            crew=crew,
            may_leave=True,
            goes=goes,
        )

    @property
    def is_guest(self) -> bool:
        """True where this process belongs to another seed."""
        return self._goes is not None

    @property
    def records(self) -> list[StageRecord]:
        return list(self._records.values())

    def ensure(self, stage: Stage[T]) -> Manifest:
        """Have the stage in the store; nothing is read but its manifest."""
        return self.find(stage) or self._claimed(stage)

    @contextmanager
    def claim(self, last: Stage[T]) -> Iterator[None]:
        """Claim all that leads to a stage, unless it is there; HeldElsewhere where another process
        has it."""
        if self._look(last):
            yield
            return
        self._go_in_time()
        with self.claims.of(last.step, last.name, last.key, is_whole=True):
            yield

    def prepare(self, stage: Stage[T], *, last: Stage[Any]) -> None:
        """Have what a stage is made from, unless it, or what it leads to, is there. HeldElsewhere
        where another process has some of it, after the rest of it was made."""
        if not stage.first or self._look(last) or self._look(stage):
            return
        held = None
        for each in stage.first:
            try:
                # However short it is: whoever comes for the run would compute it a second time.
                with self.claim(each.stage):
                    self._ensure_unless_failed(each.stage)
            except HeldElsewhere as error:
                held = error
        if held:
            raise held

    def _ensure_unless_failed(self, stage: Stage[Any]) -> None:
        """Have a stage that several runs are made from. FailedBefore where it has failed for one of
        them, here or in another process of the crew; a failure is on record while it is claimed."""
        if self.find(stage):
            return
        crew = self.crew
        if failed := self._failed.get(stage.key) or (crew and crew.failed(stage.key)):
            again = GivenUp if failed.cause == "infrastructure" else FailedBefore
            raise again(failed.reason or "")
        try:
            self.ensure(stage)
        except NO_FAILURES:
            raise
        except Exception as error:  # such as foreign code
            step, cause = stage.step, cause_of(error)
            record = RunRecord(
                scenario=step.scenario,
                method=step.stage,
                status="failed",
                cause=cause,
                reason=reason(error),
            )
            self._failed[stage.key] = record
            # What this machine lacks, those of a guest's other seed may have.
            if crew and self._ranks.is_main and not (self.is_guest and cause == "infrastructure"):
                crew.record_failure(stage.key, record)
            raise

    @contextmanager
    def patiently(self) -> Iterator[None]:
        """Inside, what another process computes is waited for."""
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    def wait(self) -> None:
        """Wait a moment for what other processes compute, where nothing else is ready;
        HeldElsewhere where this one may leave instead."""
        if self._may_leave:
            raise HeldElsewhere("others are computing what is left")
        if not self.meanwhile():
            self.telemetry.waiting()
            self.claims.wait()

    def ensure_for_all(self, stage: Stage[T]) -> Manifest:
        """Have a stage without which nothing else is ready."""
        while True:
            try:
                return self.ensure(stage)
            except HeldElsewhere:
                self.wait()

    @property
    def computed(self) -> int:
        """Number of stages that this process has computed."""
        return len(self._computed)

    def expected_seconds(self, step: Step) -> float | None:
        """Seconds that such a step has taken before; None where there was none."""
        return self.claims.durations.expected(step)

    def value(self, stage: Stage[T]) -> T:
        """The stage's result, verified against the digests of its manifest."""
        manifest = self.ensure(stage)
        stored = self._open(stage.reads, manifest)
        if stored is None:
            if self._ranks.is_main:
                self._artefacts.discard(manifest)
            stored = self._open(stage.reads, self._claimed(stage))
            if stored is None:
                raise CorruptArtefact(
                    f"{stage.name} {stage.key} is damaged right after it was made"
                )
        return stage.read(stored)

    def stored(self, name: str, meaning: Mapping[str, Any]) -> Manifest | None:
        """Find in the store a stage that this seed does not use; only rank 0 looks."""
        return self._artefacts.find(name, digest(meaning)) if self._ranks.is_main else None

    def later(self, stage: Stage[T]) -> Later[T]:
        return Later(stage, self)

    def status(self, key: str) -> str:
        """Status of a stage of this seed: computed or reused."""
        return self._records[key].status

    def beside(self, stage: Stage[T], name: str) -> Path | None:
        """A file of a finished stage beside those that it is read from; None where it has no such
        one, or a damaged one."""
        manifest = self.ensure(stage)
        if name not in manifest.files:
            return None
        stored = self._open((name,), manifest)
        return stored.files[name] if stored else None

    def give_up(self, steps: Iterable[Step]) -> None:
        """Tell that steps are not going to be done, since what they are for has failed."""
        for step in steps:
            if step not in self._told:
                self._tell(step, "failed", 0.0)

    def pass_over(self, stages: Iterable[Stage[Any]]) -> None:
        """Tell that stages need not be made, since what they are for is there. What another process
        of the attempt has made is recorded as elsewhere."""
        for stage in stages:
            if stage.step in self._told:
                continue
            made = self._look(stage) if self.crew else None
            if made and self._by_whom(made)[0] == "computed":
                self.find(stage)
            else:
                self._tell(stage.step, "reused", 0.0)

    def find(self, stage: Stage[T]) -> Manifest | None:
        """The manifest of a stage that is there, which from now on is one of this seed's."""
        manifest = self._look(stage)
        if manifest is None:
            return None
        self._files[stage.key] = manifest.digests()
        how, seconds = self._by_whom(manifest)
        self._learn(stage.step, manifest)
        if stage.key not in self._records:
            self._record(stage, manifest, how, seconds)
            if self._ranks.is_main:
                self._forget_checkpoint(stage)  # whoever finished the stage may have been killed
        if stage.step not in self._told:  # two steps may be the same work
            self._told.add(stage.step)
            elsewhere = how == "computed" and stage.key not in self._computed
            self.telemetry.stage_finished(stage.step, how, seconds, is_elsewhere=elsewhere)
        return manifest

    def _look(self, stage: Stage[T]) -> Manifest | None:
        """The manifest of a stage that may be used, on all ranks."""
        found = self._artefacts.find(stage.name, stage.key) if self._ranks.is_main else None
        return self._everywhere(found if found and self._may_use(stage, found) else None)

    def _learn(self, step: Step, manifest: Manifest) -> None:
        """Remember how long a stage took whoever has computed it, where its manifest says so."""
        cost = manifest.facts.get("cost")
        seconds = cost.get("wall_seconds") if isinstance(cost, dict) else None
        if isinstance(seconds, float):
            self.claims.durations.add(step, seconds)

    def _by_whom(self, manifest: Manifest) -> tuple[Literal["computed", "reused"], float]:
        """Status of a stage that is found, and the seconds that it took this attempt."""
        made = manifest.facts.get(CREW)
        if self.crew and isinstance(made, dict) and made.get("id") == self.crew.id:
            seconds = made.get("seconds")
            return "computed", seconds if isinstance(seconds, float) else 0.0
        return "reused", 0.0

    def _claimed(self, stage: Stage[T]) -> Manifest:
        """Compute a stage that was not found, unless another process is about to.

        Who cannot go on without it, as inside another stage, waits for that one.
        """
        if not self._waiting:
            self._go_in_time()
        while True:
            try:
                with self.claims.of(stage.step, stage.name, stage.key) as is_new:
                    # It may have been finished before the claim was made.
                    found = self.find(stage) if is_new else None
                    return found or self._compute(stage)
            except HeldElsewhere:
                if not self._waiting:
                    raise
            self.claims.wait()
            if found := self.find(stage):
                return found

    def _go_in_time(self) -> None:
        """HeldElsewhere where a guest is to go home, or a team has done its work, and holds
        nothing."""
        if self.claims.are_held:
            return
        if self.is_team and self._has_trained:
            raise HeldElsewhere("the training of this team is done")
        if self._goes and self._computed and self._goes():
            raise HeldElsewhere("the own seed may have something ready")

    def _may_use(self, stage: Stage[T], found: Manifest) -> bool:
        """Return whether a stage of the store is what this seed wants, or is to be computed
        again."""
        if not set(stage.wanted) <= found.files.keys():
            return False
        if not found.is_computed_from(self._inputs(stage)):
            log.warning("%s %s was computed from other bits", stage.name, stage.key)
            return False
        if stage.is_data or self._is_own(stage.key) or self._reuse == "Any":
            return True
        if self._by_whom(found)[0] == "computed":
            return True
        same = digest(found.environment) == digest(self._environment)
        return self._reuse == "SameEnvironment" and same

    def _is_own(self, key: str) -> bool:
        """Return whether this attempt has computed a stage, as this process knows by now. Another
        attempt may have written it anew since."""
        record = self._records.get(key)
        return record is not None and record.status == "computed"

    def _inputs(self, stage: Stage[T]) -> Inputs:
        """The files, as far as this seed has met them, of the stages that this one names."""
        named = keys_in(stage.meaning) | {each.key for each in stage.first}
        return {key: self._files[key] for key in named & self._files.keys()}

    def _checkpoints(self, stage: Stage[T]) -> Checkpoints:
        slot = self._slot(stage)
        return Checkpoints(self._ranks, self._interruption, slot, self._checkpoint_seconds)

    def _slot(self, stage: Stage[T]) -> CheckpointSlot | None:
        if self._reuse == "None" or not stage.trains:
            return None
        origin: dict[str, Any] = {"inputs": self._inputs(stage)}
        if self._reuse == "SameEnvironment":
            origin["environment"] = self._environment
        sha256 = bytes.fromhex(digest(origin))
        return CheckpointSlot(self._artefacts, stage.name, stage.key, sha256, self.claims)

    def _compute(self, stage: Stage[T]) -> Manifest:
        started = time.monotonic()
        try:
            with self.patiently():
                for each in stage.first:
                    each.ensure()
                self.telemetry.stage_started(stage.step)
                started = time.monotonic()
                made = self._made(stage)
        except NO_FAILURES:
            raise
        except Exception:
            self._tell(stage.step, "failed", time.monotonic() - started)
            raise
        seconds = time.monotonic() - started
        self.claims.require(stage.key)
        committed = self._commit(stage, made, seconds) if self._ranks.is_main else None
        manifest = self._everywhere(committed)
        assert manifest is not None
        self.claims.durations.add(stage.step, seconds)
        self.claims.has_news()
        self._computed.add(stage.key)
        self._has_trained |= stage.trains
        self._files[stage.key] = manifest.digests()
        self._record(stage, manifest, "computed", seconds)
        self._tell(stage.step, "computed", seconds)
        return manifest

    def _made(self, stage: Stage[T]) -> Made:
        def make() -> Made:
            with naming_operations(self._ranks.device):
                return stage.make(self._checkpoints(stage))

        if self._faults is None:
            return make()
        if stage.of_run:
            self._faults.refuse(stage.key)
        return self._faults.guarded(
            make, stage=stage.step.title, key=stage.key, of_run=stage.of_run
        )

    def _commit(self, stage: Stage[T], made: Made, seconds: float) -> Manifest:
        crew = {CREW: {"id": self.crew.id, "seconds": seconds}} if self.crew else {}
        manifest = self._artefacts.commit(
            stage.name,
            stage.key,
            meaning=stage.meaning,
            files=made.files,
            facts={**made.facts, **crew},
            environment=self._environment,
            inputs=self._inputs(stage),
            replace=self._replaces(stage),
        )
        self._forget_checkpoint(stage)
        for content in made.files.values():
            if isinstance(content, Path):
                content.unlink()
        return manifest

    def _forget_checkpoint(self, stage: Stage[T]) -> None:
        if stage.trains:
            self._artefacts.delete_checkpoint(stage.name, stage.key)

    def _replaces(self, stage: Stage[T]) -> bool:
        """Return whether what lies in the store by now must give way to what was just computed."""
        there = self._artefacts.find(stage.name, stage.key)
        return there is not None and not self._may_use(stage, there)

    def _open(self, reads: Sequence[str] | None, manifest: Manifest) -> Stored | None:
        """The verified files, or None on all ranks where one of them met a damaged one."""
        files: dict[str, Path] = {}
        damaged = False
        try:
            for name in manifest.files if reads is None else reads:
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
        self.telemetry.stage_finished(step, status, seconds)

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
