"""Fetching files of public datasets from a real server on this machine.

whole          appears under its name with progress told
wrong bytes    checksum, transfer that breaks off
no answer      404, no server, a name that nobody knows, a silent server
no place       a folder that cannot be made
"""

import hashlib
import logging
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from supreme_core.data import downloads
from supreme_core.data.downloads import RemoteFile, fetch, obtain
from supreme_core.errors import DownloadFailed, SpecError

CONTENT = bytes(range(256)) * 40_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
DIGEST = f"md5:{hashlib.md5(CONTENT).hexdigest()}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        answers[self.path](self)

    def log_message(self, *arguments):
        """Nobody wants to read it."""


def whole(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(CONTENT)))
    handler.end_headers()
    handler.wfile.write(CONTENT)


def without_length(handler):
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(CONTENT)


def moved(handler):
    handler.send_response(302)
    handler.send_header("Location", "/whole/file.bin")
    handler.end_headers()


def broken_off(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(CONTENT)))
    handler.end_headers()
    handler.wfile.write(CONTENT[:1_500_000])


def silent(handler):
    handler.connection.recv(1)  # until the other side has given up


def refused(handler):
    handler.send_error(503)


answers = {
    "/whole/file.bin": whole,
    "/without-length/file.bin": without_length,
    "/moved/file.bin": moved,
    "/broken-off/file.bin": broken_off,
    "/silent/file.bin": silent,
    "/refused/file.bin": refused,
    "/missing/file.bin": lambda handler: handler.send_error(404),
}


@contextmanager
def serving():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def server():
    with serving() as url:
        yield url


def nobody():
    """An address at which no server is."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def failure(file, folder):
    """Return the error of a failed download, which leaves nothing behind."""
    with pytest.raises(DownloadFailed) as error:
        fetch(file, folder)
    assert not folder.is_dir() or not list(folder.iterdir())
    return str(error.value)


@pytest.mark.parametrize("way", ["whole", "without-length", "moved"])
@pytest.mark.parametrize(
    "checksum", [DIGEST, f"sha256:{SHA256}", f"sha256:{SHA256[:8]}"], ids=["md5", "sha256", "part"]
)
def test_a_whole_file_appears_under_its_name(server, tmp_path, way, checksum):
    file = RemoteFile(f"{server}/{way}/file.bin", checksum)

    path = fetch(file, tmp_path / "made" / "on the way")

    assert path.name == "file.bin"
    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]


def test_progress_is_told_in_megabytes(server, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(downloads, "PROGRESS_SECONDS", 0)
    url = f"{server}/whole/file.bin"

    with caplog.at_level(logging.INFO, "supreme_core.data.downloads"):
        fetch(RemoteFile(url, DIGEST), tmp_path)

    assert caplog.messages[0] == f"downloading {url} (10.2 MB)"
    assert caplog.messages[-1] == "downloading file.bin: 10.2 MB of 10.2 MB"


class TestFailures:
    def test_other_bytes_are_no_download(self, server, tmp_path):
        message = failure(RemoteFile(f"{server}/whole/file.bin", "md5:" + "0" * 32), tmp_path)
        found = hashlib.md5(CONTENT).hexdigest()
        assert f"it has the md5 {found}, which should be {'0' * 32}" in message

    def test_a_transfer_that_breaks_off_is_no_download(self, server, tmp_path):
        message = failure(RemoteFile(f"{server}/broken-off/file.bin", DIGEST), tmp_path)
        assert "the transfer broke off after 1500000 of 10240000 bytes" in message

    @pytest.mark.parametrize(
        ("way", "reason"),
        [("missing", "404 Not Found"), ("refused", "503 Service Unavailable")],
    )
    def test_an_answer_that_is_an_error_is_told(self, server, tmp_path, way, reason):
        message = failure(RemoteFile(f"{server}/{way}/file.bin", DIGEST), tmp_path)
        assert f"the server answered {reason}" in message

    def test_a_silent_server_is_given_up(self, server, tmp_path, monkeypatch):
        monkeypatch.setattr(downloads, "TIMEOUT_SECONDS", 0.2)
        assert "timed out" in failure(RemoteFile(f"{server}/silent/file.bin", DIGEST), tmp_path)

    def test_without_a_network_the_message_says_what_to_do(self, tmp_path, monkeypatch):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        url = f"{nobody()}/file.bin"
        with pytest.raises(DownloadFailed) as error:
            obtain("things", [RemoteFile(url, DIGEST)], source="")
        first, second = str(error.value).splitlines()
        assert first.startswith(f"cannot download {url}: no connection: ")
        assert "Connection refused" in first
        assert second == (
            f"put file.bin into {tmp_path}/supreme/things by hand, or into any folder DIR of a"
            " machine that sees the store, and give `supreme prepare FILE --from DIR --store URI`"
            " there"
        )

    def test_a_server_is_reachable_whatever_it_answers(self, server):
        assert downloads.why_unreachable(f"{server}/whole/file.bin") == ""

    def test_a_server_that_is_not_there_is_told_at_once(self):
        assert "Connection refused" in downloads.why_unreachable(nobody())

    def test_a_folder_that_cannot_be_made_is_named(self, server, tmp_path):
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(DownloadFailed, match=r"Not a directory: .*/file/cache"):
            fetch(RemoteFile(f"{server}/whole/file.bin", DIGEST), tmp_path / "file" / "cache")

    def test_a_later_attempt_can_help(self):
        assert (DownloadFailed.permanent, DownloadFailed.exit_code) == (False, 75)


class TestObtain:
    def test_without_a_source_a_file_is_fetched_once_into_the_cache(self, tmp_path, monkeypatch):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        with serving() as url:
            file = RemoteFile(f"{url}/whole/file.bin", DIGEST)
            (path,) = obtain("things", [file], source="")
        assert path == tmp_path / "supreme" / "things" / "file.bin"
        assert obtain("things", [file], source="") == [path]  # the server is gone

    def test_a_file_in_the_source_is_used_where_it_is(self, tmp_path):
        (tmp_path / "file.bin").write_bytes(CONTENT)
        file = RemoteFile("http://nowhere.invalid/file.bin", DIGEST)
        assert obtain("things", [file], source=str(tmp_path)) == [tmp_path / "file.bin"]

    def test_a_file_that_is_not_in_the_source_is_never_fetched(self, server, tmp_path):
        file = RemoteFile(f"{server}/whole/file.bin", DIGEST)
        with pytest.raises(SpecError) as error:
            obtain("things", [file], source=str(tmp_path))
        assert str(error.value) == (
            f"spec.dataset.params.source: {str(tmp_path)!r} has no file.bin; get it from {file.url}"
        )

    def test_another_file_of_that_name_is_refused(self, tmp_path):
        (tmp_path / "file.bin").write_bytes(CONTENT[:-1])
        file = RemoteFile("http://nowhere.invalid/file.bin", DIGEST)
        with pytest.raises(SpecError, match=r"file\.bin: it has the md5 .* delete it, and take it"):
            obtain("things", [file], source=str(tmp_path))

    def test_a_source_that_is_no_folder_is_named(self, tmp_path):
        with pytest.raises(SpecError, match="is not a folder on this machine"):
            obtain("things", [], source=str(tmp_path / "none"))
