"""A real S3 server for tests: versitygw, built by Go on first use; moto where there is no Go.

The binary is kept in the user's cache folder under the digest of go.sum, so one build serves all
checkouts. SUPREME_REQUIRE_REAL_S3=1 (set by CI) turns the stand-in and every skip into a failure.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import boto3
import pytest

from supreme_core.storage import S3Credentials

MODULE = Path(__file__).parent / "tools" / "versitygw"
ACCESS_KEY = "supreme-tests"
SECRET_KEY = "supreme-tests-secret"
START_SECONDS = 30


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
        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
        )

    def make_bucket(self) -> str:
        """A new, empty bucket; its name."""
        name = f"test-{uuid4().hex[:12]}"
        self.client().create_bucket(Bucket=name)
        return name


def kind() -> str:
    """Which server `serve` starts here; known without building anything, for the ids of tests."""
    return "versitygw" if _required() or _go() or _binary().exists() else "moto"


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[S3Server]:
    """A server on a free port of this machine that keeps its objects in `folder`."""
    with _serve_versitygw(folder) if kind() == "versitygw" else _serve_moto() as server:
        yield server


@contextlib.contextmanager
def _serve_versitygw(folder: Path) -> Iterator[S3Server]:
    binary = _built()
    for _ in range(3):  # another process may take the free port before the server does
        port = _free_port()
        with (folder / "server.log").open("ab") as log:
            backend = ["posix", *_metadata(folder), _made(folder / "buckets")]
            process = subprocess.Popen(
                [*_dies_with_us(), binary, "--quiet", "--port", f"127.0.0.1:{port}", *backend],
                env={**os.environ, "ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY},
                stdout=log,
                stderr=log,
            )
        try:
            if _answers(process, port):
                yield S3Server("versitygw", f"http://127.0.0.1:{port}")
                return
        finally:
            _stop(process)
    pytest.fail(f"versitygw does not start: {(folder / 'server.log').read_text()[-500:]}")


@contextlib.contextmanager
def _serve_moto() -> Iterator[S3Server]:
    from moto.server import ThreadedMotoServer  # slow to import, and seldom needed

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield S3Server("moto", f"http://{host}:{port}")
    finally:
        server.stop()


def _built() -> Path:
    """The binary, built if it is not in the cache; of several processes one builds."""
    binary = _binary()
    binary.parent.mkdir(parents=True, exist_ok=True)
    with (binary.parent / "build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not binary.exists():
            _build(binary)
    return binary


def _build(binary: Path) -> None:
    go = _go()
    if go is None:
        pytest.fail("SUPREME_REQUIRE_REAL_S3 is set, but there is no Go to build versitygw with")
    fresh = binary.with_suffix(".new")
    build = subprocess.run(
        [go, "build", "-trimpath", "-ldflags", "-s -w", "-o", fresh, "tool"],
        cwd=MODULE,
        env={**os.environ, "CGO_ENABLED": "0"},
        capture_output=True,
        text=True,
    )
    if build.returncode:
        stop = pytest.fail if _required() else pytest.skip
        stop(f"versitygw cannot be built: {build.stderr.strip()[-300:]}")
    fresh.replace(binary)


def _binary() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    digest = hashlib.sha256((MODULE / "go.sum").read_bytes()).hexdigest()
    return cache / "supreme" / "bin" / digest[:16] / "versitygw"


def _go() -> str | None:
    return shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")


def _required() -> bool:
    return os.environ.get("SUPREME_REQUIRE_REAL_S3") == "1"


def _dies_with_us() -> list[str]:
    """A prefix that ends the server when the test process is killed and cannot do it itself."""
    return ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []


def _metadata(folder: Path) -> list[str | Path]:
    """Where the server keeps an object's headers: in extended attributes if the folder has them."""
    try:
        os.setxattr(folder, "user.supreme", b"")
    except OSError:
        return ["--sidecar", _made(folder / "metadata")]
    return []


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _answers(process: subprocess.Popen, port: int) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        time.sleep(0.05)
    return False


def _stop(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
