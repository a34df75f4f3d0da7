"""Fixtures that tests of every part use."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from supreme_core.store.folder import LocalStorage
from supreme_core.store.s3 import S3Storage
from tests import drawing
from tests.cluster import s3_server as s3
from tests.small_disk import mounted

# On processors with AVX2 and no AVX-512, oneDNN of torch 2.15 writes past the end of an array in
# the weights' gradient of a 1x1 convolution with stride 2 and fewer than 8 channels, as networks
# of width 2 have them.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX")
# As in trainers. Threads of several test processes would wait for one another, and burn the time of
# the processors meanwhile: a step of a small network takes 50 ms of them instead of 2.
os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest_plugins = ["tests.measured", "tests.schedule"]

settings.register_profile("supreme", deadline=None)  # a slow machine is no counterexample
settings.load_profile("supreme")


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory):
    """An S3 server of this test process: endpoint, access_key, secret_key, make_bucket()."""
    with s3.serve(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(params=["folder", f"s3-{s3.kind()}"])
def store(request, tmp_path: Path):
    """An empty store of each kind."""
    if request.param == "folder":
        return LocalStorage(tmp_path / "store")
    server = request.getfixturevalue("s3_server")
    return S3Storage(
        server.make_bucket(),
        "some/prefix",
        endpoint=server.endpoint,
        credentials=server.credentials,
        part_bytes=5 * 1024 * 1024,
    )


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 256 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    with mounted(folder, "256k"):
        yield folder


@pytest.fixture(scope="module")
def plots_once():
    """A file of tests in whose pages the same plot is drawn once."""
    with drawing.once():
        yield
