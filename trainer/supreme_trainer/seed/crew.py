"""The processes that compute one attempt together, each of which claims stages."""

import logging
from dataclasses import dataclass

from supreme_core.api.names import failed_run_key
from supreme_core.api.records import RunRecord
from supreme_core.errors import SpecError
from supreme_core.store.results import FAILED_RUN_BYTES, parse_failed_run
from supreme_core.store.sealed import sealed_json
from supreme_core.store.storage import MissingObject, ObjectTooLarge, Storage

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Crew:
    """Processes that were started for one attempt.

    attempt: its folder in the store.  name: tells them from those that computed the same attempt
    before, and were stopped.
    """

    storage: Storage
    attempt: str
    name: str

    @property
    def id(self) -> str:
        return f"{self.attempt} {self.name}"

    def failed(self, stage: str) -> RunRecord | None:
        """The record of a run that failed in one of the processes, so that no other one tries it.

        stage: the key of its metrics, or of what it and others need, which stands for all of them.
        """
        key = self._key(stage)
        try:
            return parse_failed_run(self.storage.read(key, limit=FAILED_RUN_BYTES), key)
        except MissingObject:
            return None
        except (SpecError, ObjectTooLarge) as error:  # so the run is tried here too
            log.warning("a record of a failed run counts as absent: %s", error)
            return None

    def record_failure(self, stage: str, record: RunRecord) -> None:
        self.storage.write(self._key(stage), sealed_json(record.to_document()))

    def _key(self, stage: str) -> str:
        return failed_run_key(self.attempt, self.name, stage)
