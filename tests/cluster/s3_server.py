"""A real S3 server for tests: versitygw, built by Go on first use; moto where there is no Go.

SUPREME_REQUIRE_REAL_S3=1 (set by CI) turns the stand-in and every skip into a failure.
"""

import contextlib
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from uuid import uuid4

import boto3

from supreme_core.store.s3 import S3Credentials
from tests.cluster.processes import answers, does_not_start, free_port, running
from tests.cluster.programs import VERSITYGW

ACCESS_KEY = "supreme-tests"
SECRET_KEY = "supreme-tests-secret"


@dataclass(frozen=True)
class S3Server:
    kind: str
    endpoint: str
    access_key: str = ACCESS_KEY
    secret_key: str = SECRET_KEY

    @property
    def credentials(self) -> S3Credentials:
        return S3Credentials(self.access_key, self.secret_key)

    def client(self):
        """A plain boto3 client, to do behind a store's back what a test wants to have happened."""
        return _client(self)

    def make_bucket(self) -> str:
        """A new, empty bucket; its name."""
        name = f"test-{uuid4().hex[:12]}"
        self.client().create_bucket(Bucket=name)
        return name


@cache
def _client(server: S3Server):
    """Make one client for each server: a new session reads the description of S3 for 0.1 s."""
    return boto3.session.Session().client(
        "s3",
        endpoint_url=server.endpoint,
        region_name="us-east-1",
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
    )


def kind() -> str:
    """Return which server `serve` starts here; builds nothing, since ids of tests use it."""
    return "versitygw" if VERSITYGW.can_be_had() else "moto"


@contextlib.contextmanager
def serve(folder: Path, host: str = "127.0.0.1") -> Iterator[S3Server]:
    """A server on a free port of this machine's address `host`; its objects are in `folder`."""
    with _serve_versitygw(folder, host) if kind() == "versitygw" else _serve_moto(host) as server:
        yield server


@contextlib.contextmanager
def _serve_versitygw(folder: Path, host: str) -> Iterator[S3Server]:
    binary = VERSITYGW.built() / "versitygw"
    log = folder / "server.log"
    secrets = {"ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY}
    backend = ["posix", *_metadata(folder), _made(folder / "buckets")]
    for _ in range(3):  # another process may take the free port before the server does
        port = free_port(host)
        command = [binary, "--quiet", "--port", f"{host}:{port}", *backend]
        with running(command, log=log, environment=os.environ | secrets) as process:
            if answers(process, partial(_listens, host, port)):
                yield S3Server("versitygw", f"http://{host}:{port}")
                return
    does_not_start("versitygw", log)


@contextlib.contextmanager
def _serve_moto(host: str) -> Iterator[S3Server]:
    from moto.server import ThreadedMotoServer  # slow to import, and seldom needed

    server = ThreadedMotoServer(ip_address=host, port=0, verbose=False)
    server.start()
    try:
        _, port = server.get_host_and_port()
        yield S3Server("moto", f"http://{host}:{port}")
    finally:
        server.stop()


def _metadata(folder: Path) -> list[str | Path]:
    """Return the place of an object's headers: extended attributes if the folder has them."""
    try:
        os.setxattr(folder, "user.supreme", b"")
    except OSError:
        return ["--sidecar", _made(folder / "metadata")]
    return []


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def _listens(host: str, port: int) -> bool:
    with socket.create_connection((host, port), 1):
        return True
