"""Runs for TensorBoard: a folder for each model, with one event file.

The same model gives the same bytes under the same name, so an export that is repeated changes
nothing, and one of newer results takes the place of the older.
"""

import os
from collections.abc import Iterator
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import metadata
from tensorboard.plugins.hparams.api_pb2 import STATUS_FAILURE, STATUS_SUCCESS
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.summary.writer.record_writer import RecordWriter

from supreme_core.library.tracked import TrackedModel

FILE: Final = "events.out.tfevents.supreme"
VERSION: Final = "brain.Event:2"


class TensorBoardFolder:
    """Folder with the runs of one experiment."""

    def __init__(self, folder: Path, title: str) -> None:
        self._folder = folder / title
        self.where = str(folder)
        self.then = f"tensorboard --logdir {folder}"

    def write(self, model: TrackedModel) -> bool:
        """Write the event file of a model; False where it has the same bytes already."""
        path = self._folder.joinpath(*model.path, FILE)
        data = event_file(model)
        if path.is_file() and path.read_bytes() == data:
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{FILE.replace('tfevents', 'unfinished')}")
        unfinished.write_bytes(data)
        os.replace(unfinished, path)
        return True


def event_file(model: TrackedModel) -> bytes:
    """Bytes of an event file: settings and tags as hyperparameters, then every number.

    Numbers of a table stand at step 0, those of curves at their epochs.
    """
    buffer = BytesIO()
    writer = RecordWriter(buffer)
    for event in _events(model):
        writer.write(event.SerializeToString(deterministic=True))
    writer.flush()
    return buffer.getvalue()


def _events(model: TrackedModel) -> Iterator[Any]:
    begun, ended = (datetime.fromisoformat(at).timestamp() for at in (model.begun, model.ended))
    yield Event(wall_time=begun, file_version=VERSION)
    hparams = {**model.params, **model.tags}
    session = hparams_pb(hparams, trial_id=model.name, start_time_secs=begun)
    for value in session.value:  # a map whose order differs from process to process
        data = HParamsPluginData.FromString(value.metadata.plugin_data.content)
        value.metadata.plugin_data.content = data.SerializeToString(deterministic=True)
    yield Event(wall_time=begun, summary=session)
    for name, epoch, number in model.points():
        yield _scalar(name, epoch, number, ended)
    for row, value in model.metrics.items():
        yield _scalar(f"metrics/{row}", 0, value, ended)
    status = STATUS_FAILURE if model.failed else STATUS_SUCCESS
    end = SessionEndInfo(status=status, end_time_secs=ended)
    value = Summary.Value(
        tag=metadata.SESSION_END_INFO_TAG,
        metadata=metadata.create_summary_metadata(HParamsPluginData(session_end_info=end)),
        tensor=metadata.NULL_TENSOR,
    )
    yield Event(wall_time=ended, summary=Summary(value=[value]))


def _scalar(name: str, step: int, number: float, at: float) -> Any:
    value = Summary.Value(tag=name, simple_value=number)
    return Event(wall_time=at, step=step, summary=Summary(value=[value]))
