"""Files that a user names: what is none is refused at once, wherever a file is asked for.

pipe, socket, device, folder    by every reader: experiments, plug-ins, lists, CIFAR, weights
too large                       a limit of the reader
pipes that a shell hands over   an experiment may come from one
"""

import os
from pathlib import Path

import pytest

from supreme_core.api.load import load_experiments
from supreme_core.data.cifar_files import CIFAR10, read_cifar
from supreme_core.data.published import table
from supreme_core.engine.networks.architecture import tensors_of
from supreme_core.errors import SpecError
from supreme_core.registry import plugins
from supreme_core.system.files import NotAFile, open_file, read_file, require_file
from tests.not_files import MAKERS


@pytest.mark.parametrize("make", MAKERS)
def test_what_is_no_file_is_not_waited_for(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make(path := tmp_path / "file")
    said = f"it is {make.__name__.replace('_', ' ')}, not a file"
    for read in (require_file, open_file, lambda path: read_file(path, limit=1, streams=True)):
        with pytest.raises(NotAFile) as caught:
            read(path)
        assert (caught.value.strerror, caught.value.filename) == (said, str(path))


def of_cifar(path):
    folder = path.parent / CIFAR10.folder
    folder.mkdir()
    path.rename(folder / "data_batch_1.bin")
    read_cifar("cifar10", CIFAR10, source=str(path.parent))


READERS = {
    "an experiment": load_experiments,
    "a plug-in": lambda path: plugins.load([path]),
    "a list": lambda path: [*table(path, columns=1)],
    "records of CIFAR": of_cifar,
    "weights": tensors_of,
}


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_every_reader_names_the_file_and_what_it_is(read, make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make(path := tmp_path / "file")
    with pytest.raises(SpecError) as caught:
        read(path)
    message = str(caught.value)
    assert f"it is {make.__name__.replace('_', ' ')}, not a file" in message
    assert str(tmp_path) in message
    assert len(message.splitlines()) == 1


def test_a_file_is_read_up_to_the_limit_and_not_beyond(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_file(path, limit=5) == b"12345"
    with pytest.raises(OSError, match="more than the 4 bytes that are read"):
        read_file(path, limit=4)


def test_an_experiment_may_come_from_the_pipe_of_a_shell():
    reader, writer = os.pipe()
    os.write(writer, b"kind: Pod\n")
    os.close(writer)
    with pytest.raises(SpecError, match="kind is"):
        load_experiments(Path(f"/dev/fd/{reader}"))
    os.close(reader)
