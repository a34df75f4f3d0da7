"""Reaction of a trainer to a fault of its device or its memory.

| fault                  | what happens                                                    |
| ---------------------- | --------------------------------------------------------------- |
| device                 | the process ends with 75, and leaves fault.json in its attempt  |
| memory                 | once more, after memory is released; then the run has failed    |
| memory, several ranks  | as of a device: what one of them lacks ends them all            |
| ranks, all of them     | as of a device                                                  |
| ranks, not all of them | RankLost: nothing is said of the stage                          |
| any, in a team         | as of a device, and on no record: single processes go on        |

After MOST such ends in one stage a fresh process does not try it again: its run is recorded as
failed by the infrastructure, and the others go on. A stage that all runs need has no such way, so
from then on its seed fails.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from supreme_core.api.orders import RunOrder
from supreme_core.api.records import FaultRecord
from supreme_core.engine.ranks.device import release_memory, which
from supreme_core.engine.ranks.ranks import Ranks
from supreme_core.errors import DeviceFault, GivenUp, RankLost, StorageError, number_of, one_line
from supreme_core.store.results import read_faults, write_fault
from supreme_core.store.storage import Storage
from supreme_core.system.faults import fault_of

log = logging.getLogger(__name__)

MOST = 2
"""Attempts that faults may end in one stage: a device can be bad, a method can be the cause."""

OUTSIDE = "the start of the trainer"

NAMES = {"device": "device fault", "memory": "out of memory", "ranks": "device fault"}

T = TypeVar("T")


class Faults:
    """Faults of one seed: of earlier attempts, and what becomes of one in this attempt.

    is_team: what fails in single processes too, these will tell.
    """

    def __init__(
        self, storage: Storage, order: RunOrder, ranks: Ranks, *, is_team: bool = False
    ) -> None:
        self._storage, self._order, self._ranks = storage, order, ranks
        self._is_team = is_team
        self._device = one_line(which(ranks.device))
        found = read_faults(storage, order) if ranks.is_main else []
        shared = ranks.share([fault.to_document() for fault in found])
        self._before = [FaultRecord.model_validate(each) for each in shared]

    def refuse(self, key: str) -> None:
        """GivenUp where a stage, which belongs to one run, has ended enough attempts."""
        faults = [fault for fault in self._before if fault.key == key]
        if len(faults) >= MOST:
            last = faults[-1]
            devices = " and ".join(dict.fromkeys(fault.device for fault in faults))
            raise GivenUp(f"{last.fault} (on {devices}, in {number_of(len(faults), 'attempt')})")

    def guarded(self, make: Callable[[], T], *, stage: str, key: str, of_run: bool) -> T:
        """Return what `make` gives; it is called once more where memory ran out.

        Raises DeviceFault where this process must not go on, and RankLost.
        """
        try:
            return make()
        except Exception as error:
            if fault_of(error) != "memory" or self._ranks.size > 1:
                self._end(error, stage, key, of_run=of_run)
                raise
            log.warning("%s: out of memory, so it is tried once more: %s", stage, one_line(error))
        # Out of the handler, since a traceback holds what the failed call had in memory.
        release_memory(self._ranks.device)
        try:
            return make()
        except Exception as error:
            self._end(error, stage, key, of_run=of_run)
            raise

    @contextmanager
    def outside(self) -> Iterator[None]:
        """Guard what no stage is in charge of, such as bringing images to the device."""
        try:
            yield
        except Exception as error:
            self._end(error, OUTSIDE, None, of_run=False)
            raise

    def _end(self, error: Exception, stage: str, key: str | None, *, of_run: bool) -> None:
        """Raise what ends this process, unless it can go on after the error."""
        fault = fault_of(error)
        if isinstance(error, (DeviceFault, RankLost, StorageError)) or fault in (None, "machine"):
            return
        if fault == "memory" and self._ranks.size == 1:
            return
        if fault == "ranks" and not self._ranks.all_failed(f"the ranks in {stage}"):
            raise RankLost(f"the ranks cannot reach one another: {_line(error)}") from error
        told = f"{NAMES[fault]}: {type(error).__name__}: {_line(error)}"
        before = sum(each.key == key for each in self._before)
        record = FaultRecord(stage=one_line(stage), key=key, fault=told, device=self._device)
        raise DeviceFault(
            f"{stage}: {told} (on {self._device})",
            is_recorded=not self._is_team and self._record(record),
            is_temporary=of_run or before + 1 < MOST,
        ) from error

    def _record(self, record: FaultRecord) -> bool:
        """Write the attempt's fault.json; return whether it is in the store."""
        try:
            write_fault(self._storage, self._order, record)
        except StorageError as error:
            log.warning("the fault is not recorded: %s", error)
            return False
        return True


def _line(error: Exception) -> str:
    """The first line of what torch says, below which it says how to look for the cause."""
    return one_line(str(error).partition("\n")[0], 500)
