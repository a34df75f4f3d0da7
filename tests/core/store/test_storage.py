"""The contract of a store, for a folder and for a real S3 server.

| what                                                    | folder | S3 server | canned server |
|---------------------------------------------------------|--------|-----------|---------------|
| objects: round trip, replace, list, delete, large ones  |   x    |     x     |               |
| put if absent: races; servers that cannot               |   x    |     x     |       x       |
| killed writers                                          |   x    |           |               |
| wrong place, no permission, full disk                   |   x    |   cache   |               |
| wrong bucket, keys, address; silent or refusing servers |        |     x     |       x       |
| what passes, missing headers, login pages, certificates |        |  a proxy  |               |

Not covered: AWS itself, and power loss (that fsync is called is all a test could see).
"""

import errno
import inspect
import os
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from urllib.request import urlopen

import pytest
from botocore.exceptions import BotoCoreError
from hypothesis import given, settings
from hypothesis import strategies as st

from supreme_core.errors import SpecError, StorageError, StoreUnavailable, StoreUnusable
from supreme_core.store import folder, s3
from supreme_core.store.folder import LocalStorage
from supreme_core.store.opening import open_bucket, open_storage
from supreme_core.store.s3 import S3Credentials, S3Storage
from supreme_core.store.storage import TEMPORARY, MissingObject, ObjectTooLarge
from tests.cluster.fault_proxy import Answer, Without, fault_proxy
from tests.e2e.certificates import Authority

PART = 5 * 1024 * 1024
ANYONE = S3Credentials("anyone", "secret")
BAD_KEYS = ["", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", "a\\b", "a\nb", "a\0b"]
BAD_KEYS += ["\ud800", "x" * 256, f"a/{TEMPORARY}1"]


@pytest.fixture(autouse=True)
def no_identity(monkeypatch, tmp_path):
    """Remove the AWS identity of whoever runs the tests, and ask no metadata service of the
    cloud."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))


@pytest.fixture
def one_attempt(monkeypatch):
    """Give up at once: the retries themselves are botocore's and tested there."""
    monkeypatch.setattr(s3, "ATTEMPTS", 1)
    monkeypatch.setattr(s3, "CONNECT_SECONDS", 0.3)
    monkeypatch.setattr(s3, "READ_SECONDS", 0.3)


class TestContract:
    def test_what_is_written_is_read(self, store):
        store.write("a/b.json", b"{}")
        store.write("empty", b"")

        assert store.read("a/b.json") == b"{}"
        assert store.read("empty") == b""

    def test_write_replaces(self, store):
        store.write("a", b"first")
        store.write("a", b"second, and longer")
        store.write("a", b"3rd")

        assert store.read("a") == b"3rd"

    def test_reader_sees_the_old_bytes_or_the_new_ones(self, store):
        versions = [b"a" * 300_000, b"b" * 200_000]
        store.write("a", versions[0])
        done = threading.Event()

        def read_until_done():
            seen = {store.read("a")}
            while not done.is_set():
                seen.add(store.read("a"))
            return seen

        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(read_until_done)
            for count in range(20):
                store.write("a", versions[count % 2])
            done.set()

        assert reading.result() <= set(versions)

    def test_missing_object_is_an_error_that_names_it(self, store):
        store.write("there/b", b"1")

        for key in ("a/b", "there", "there/b/c"):
            assert store.stat(key) is None
            with pytest.raises(MissingObject, match=key):
                store.read(key)
        with pytest.raises(MissingObject, match="a/b"):
            store.local_path("a/b", Path("unused"))

    def test_stat_tells_size_and_time(self, store):
        before = datetime.now(UTC) - timedelta(seconds=5)  # clocks of servers count whole seconds
        store.write("a/b", b"12345")

        info = store.stat("a/b")

        assert (info.key, info.size) == ("a/b", 5)
        assert before <= info.modified <= datetime.now(UTC) + timedelta(seconds=5)
        assert info.modified.utcoffset() == timedelta(0)

    def test_list_is_sorted_and_a_prefix_is_a_folder(self, store):
        keys = ["a-b", "a.b", "a/b", "a/c/d", "a0", "b", "seed=1/x", "seed=10/x", "é", "z/ü"]
        for key in reversed(keys):
            store.write(key, key.encode())

        assert [info.key for info in store.list()] == sorted(keys, key=str.encode)
        assert [info.key for info in store.list("a")] == ["a/b", "a/c/d"]
        assert [info.key for info in store.list("seed=1")] == ["seed=1/x"]
        assert [info.size for info in store.list("z")] == [4]
        assert list(store.list("a-b")) == []
        assert list(store.list("nothing/here")) == []

    def test_list_goes_on_beyond_one_page_of_the_server(self, store):
        """A server is asked for pages of 20 keys: a page of 1,000 would take seconds to write."""
        pages = []

        def smaller(params, **_):
            pages.append(params)
            return {**params, "MaxKeys": 20}

        if isinstance(store, S3Storage):
            store._client.meta.events.register("provide-client-params.s3.ListObjectsV2", smaller)
        keys = [f"a/{number:04}" for number in range(45)]
        for key in keys:
            store.write(key, b"")

        assert [info.key for info in store.list()] == keys
        assert len(pages) == (3 if isinstance(store, S3Storage) else 0)

    def test_delete_is_final_and_can_be_repeated(self, store):
        store.write("a/b", b"1")

        store.delete("a/b")
        store.delete("a/b")
        store.delete("a")

        assert store.stat("a/b") is None
        assert list(store.list()) == []

    def test_reader_can_set_a_limit(self, store):
        store.write("a", b"12345")

        assert store.read("a", limit=5) == b"12345"
        with pytest.raises(ObjectTooLarge, match="4 bytes"):
            store.read("a", limit=4)

    def test_write_if_absent_leaves_what_is_there(self, store):
        assert store.write_if_absent("a/b", b"first") is True
        assert store.write_if_absent("a/b", b"second") is False
        assert store.read("a/b") == b"first"

    def test_of_several_writers_at_once_one_wins(self, store):
        start = threading.Barrier(8)

        def put(number):
            start.wait()
            return store.write_if_absent("a", str(number).encode() * 1000)

        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(put, range(8)))

        assert won.count(True) == 1
        assert store.read("a") == str(won.index(True)).encode() * 1000

    @pytest.mark.parametrize("size", [0, 1, PART - 1, PART, 2 * PART + 1])
    def test_file_of_any_size_comes_back(self, store, tmp_path, size):
        source = tmp_path / "source"
        source.write_bytes(os.urandom(size))

        store.upload("data/weights.safetensors", source)
        copy = store.local_path("data/weights.safetensors", tmp_path / "cache")

        assert copy.read_bytes() == source.read_bytes()
        assert copy.suffix == ".safetensors"
        assert store.stat("data/weights.safetensors").size == size

    def test_replaced_object_is_fetched_again(self, store, tmp_path):
        store.write("a", b"first")
        store.local_path("a", tmp_path / "cache")
        store.write("a", b"other")

        assert store.local_path("a", tmp_path / "cache").read_bytes() == b"other"

    def test_processes_may_share_a_cache(self, store, tmp_path):
        store.write("a", b"x" * 100_000)
        start = threading.Barrier(4)

        def fetch(_):
            start.wait()
            return store.local_path("a", tmp_path / "cache")

        with ThreadPoolExecutor(4) as pool:
            paths = list(pool.map(fetch, range(4)))

        assert len(set(paths)) == 1
        assert paths[0].read_bytes() == b"x" * 100_000
        assert not leftovers(tmp_path)

    def test_upload_of_a_missing_file_is_not_blamed_on_the_store(self, store, tmp_path):
        with pytest.raises(FileNotFoundError):
            store.upload("a", tmp_path / "nothing")

    @pytest.mark.parametrize("key", BAD_KEYS, ids=ascii)
    def test_key_that_could_leave_the_store_is_refused(self, store, tmp_path, key):
        (tmp_path / "file").write_bytes(b"1")
        uses = [
            lambda: store.read(key),
            lambda: store.write(key, b""),
            lambda: store.write_if_absent(key, b""),
            lambda: store.upload(key, tmp_path / "file"),
            lambda: store.local_path(key, tmp_path),
            lambda: store.stat(key),
            lambda: store.delete(key),
        ]
        for use in uses:
            with pytest.raises(ValueError, match="is no key"):
                use()
        if key:
            with pytest.raises(ValueError, match="is no key"):
                list(store.list(key))

    def test_temporary_names_are_never_listed(self, store, s3_server_or_none):
        store.write("a/b", b"1")
        put_behind_its_back(store, f"a/{TEMPORARY}123", s3_server_or_none)

        assert [info.key for info in store.list()] == ["a/b"]

    def test_check_of_a_usable_store_leaves_no_trace(self, store):
        store.check()

        assert list(store.list()) == []

    def test_object_comes_in_chunks(self, store, monkeypatch):
        for module in (folder, s3):
            monkeypatch.setattr(module, "CHUNK_BYTES", 1000)
        store.write("a", b"12345" * 500)
        store.write("empty", b"")

        assert [len(chunk) for chunk in store.chunks("a")] == [1000, 1000, 500]
        assert b"".join(store.chunks("a")) == b"12345" * 500
        assert b"".join(store.chunks("empty")) == b""
        with pytest.raises(MissingObject):
            list(store.chunks("b"))

    def test_temporary_names_can_be_found_and_removed(self, store, s3_server_or_none):
        store.write("a/b", b"1")
        for name in (f"{TEMPORARY}1", f"a/{TEMPORARY}2"):
            put_behind_its_back(store, name, s3_server_or_none)

        found = [info.key for info in store.temporaries()]

        assert sorted(found) == [f"{TEMPORARY}1", f"a/{TEMPORARY}2"]
        for key in found:
            store.delete_temporary(key)
        assert list(store.temporaries()) == []
        assert [info.key for info in store.list()] == ["a/b"]

    @pytest.mark.parametrize("key", ["a/b", f"{TEMPORARY}1/b", "a"])
    def test_nothing_else_is_removed_as_a_temporary(self, store, key):
        with pytest.raises(AssertionError, match="no temporary file"):
            store.delete_temporary(key)

    def test_uri_opens_the_same_store(self, store, s3_server_or_none):
        store.write("a", b"1")
        server = s3_server_or_none
        again = open_storage(
            store.uri,
            endpoint=server and server.endpoint,
            credentials=server and server.credentials,
        )

        assert again.uri == store.uri
        assert again.read("a") == b"1"


class TestFolder:
    @given(key=st.text(st.characters(exclude_characters="/") | st.just("/"), max_size=30))
    @settings(max_examples=200)
    def test_every_key_is_refused_or_stays_in_the_folder(self, tmp_path_factory, key):
        outside = tmp_path_factory.mktemp("outside")
        store = LocalStorage(outside / "store")
        try:
            store.write(key, b"1")
        except ValueError:
            assert list(outside.rglob("*")) == []
        else:
            assert [info.key for info in store.list()] == [key]
            assert os.listdir(outside) == ["store"]
            assert store.read(key) == b"1"

    def test_writer_killed_before_the_rename_leaves_a_name_that_nobody_sees(self, tmp_path):
        store = LocalStorage(tmp_path)
        store.write("a/b", b"old")

        code = run_and_die(
            "import os, signal, sys\n"
            "from pathlib import Path\n"
            "from supreme_core.store.folder import LocalStorage\n"
            "os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
            "LocalStorage(Path(sys.argv[1])).write('a/b', b'new')\n",
            tmp_path,
        )

        assert code == -signal.SIGKILL
        assert len(leftovers(tmp_path)) == 1
        assert [info.key for info in store.list()] == ["a/b"]
        assert store.read("a/b") == b"old"

    def test_file_names_that_are_no_keys_are_not_listed(self, tmp_path):
        (tmp_path / "a\nb").write_bytes(b"")
        (tmp_path / os.fsdecode(b"\xff")).write_bytes(b"")
        (tmp_path / "dangling").symlink_to("nothing")

        assert list(LocalStorage(tmp_path).list()) == []

    def test_links_to_links_have_an_end_and_say_that_they_are_links(self, tmp_path):
        """Thirty-two folders, each of which links twice to the next, and one to its own folder."""
        store = LocalStorage(tmp_path / "store")
        store.write("own", b"1")
        (tmp_path / "far").mkdir()
        (tmp_path / "far" / "object").write_bytes(b"22")
        (tmp_path / "store/round").symlink_to(tmp_path / "store")
        place = tmp_path / "store"
        for number in range(32):
            following = tmp_path / ("far" if number == 31 else f"folder {number}")
            following.mkdir(exist_ok=True)
            (place / "one").symlink_to(following)
            (place / "other").symlink_to(following)
            place = following

        found = [*store.list()]

        assert [(info.key, info.size, info.linked) for info in found] == [
            ("one/" * 32 + "object", 2, True),
            ("own", 1, False),
        ]
        assert store.stat("one/" * 32 + "object") == found[0]
        assert store.read("one/" * 32 + "object") == b"22"

    def test_folders_in_folders_in_folders_are_listed_without_recursion(self, tmp_path):
        store, limit = LocalStorage(tmp_path), sys.getrecursionlimit()
        store.write("d/" * 300 + "object", b"1")
        sys.setrecursionlimit(len(inspect.stack()) + 150)
        try:
            assert [info.size for info in store.list()] == [1]
        finally:
            sys.setrecursionlimit(limit)

    def test_a_pipe_where_an_object_should_be_is_not_waited_for(self, tmp_path):
        store = LocalStorage(tmp_path)
        os.mkfifo(tmp_path / "object")
        for read in (store.read, lambda key: [*store.chunks(key)]):
            with pytest.raises(MissingObject, match="no object object: it is a pipe, not a file"):
                read("object")
        assert (store.stat("object"), [*store.list()]) == (None, [])
        store.write("object", b"1")
        assert store.read("object") == b"1"

    def test_objects_get_the_permissions_of_ordinary_files(self, tmp_path):
        LocalStorage(tmp_path).write("a", b"1")
        (tmp_path / "ordinary").write_bytes(b"1")

        assert (tmp_path / "a").stat().st_mode == (tmp_path / "ordinary").stat().st_mode

    @pytest.mark.parametrize("answer", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS])
    def test_write_if_absent_works_without_hard_links(self, tmp_path, monkeypatch, answer):
        """Faked: a mount without hard links (FAT, some network shares) is not at hand."""

        def refuse(*_):
            raise OSError(answer, os.strerror(answer))

        monkeypatch.setattr(os, "link", refuse)
        store = LocalStorage(tmp_path)

        assert store.write_if_absent("a", b"first") is True
        assert store.write_if_absent("a", b"second") is False
        assert store.read("a") == b"first"
        assert not leftovers(tmp_path)

    def test_store_that_is_a_file(self, tmp_path):
        (tmp_path / "file").write_bytes(b"1")

        for path in (tmp_path / "file", tmp_path / "file" / "below"):
            with pytest.raises(StoreUnusable, match="a file lies where a folder is needed") as e:
                LocalStorage(path).check()
            assert_one_line_naming(e, path.as_uri())

    @pytest.mark.parametrize("place", ["/proc/supreme-store", "/sys/supreme-store"])
    def test_store_that_nobody_may_create(self, place):
        """The tests may run as root, whom only the kernel's own file systems refuse."""
        if not Path(place).parent.is_dir():
            pytest.skip(f"no {Path(place).parent} on this system")
        store = LocalStorage(Path(place))

        for use in (store.check, lambda: store.write("a", b"1")):
            with pytest.raises(StoreUnusable) as e:
                use()
            assert_one_line_naming(e, f"file://{place}")

    def test_folder_that_can_only_be_read(self):
        with TemporaryDirectory() as folder:  # pytest's own folders let nobody else in
            later, store = LocalStorage(Path(folder)), LocalStorage(Path(folder))
            later.write("a", b"1")
            Path(folder, "a").chmod(0o644)
            Path(folder).chmod(0o555)
            with ordinary_user():
                assert store.read("a") == b"1"
                for use in (store.check, lambda: store.write("b", b"1")):
                    with pytest.raises(StoreUnusable, match="permission denied") as e:
                        use()
                    assert_one_line_naming(e, store.uri)
                # As where a ticket has expired: the next attempt finds out whether it is for good.
                with pytest.raises(StoreUnavailable, match="could be written a while ago") as e:
                    later.write("b", b"1")
                assert_one_line_naming(e, store.uri)
            Path(folder).chmod(0o700)
            assert [info.key for info in store.list()] == ["a"]

    def test_folder_without_permission(self, tmp_path):
        LocalStorage(tmp_path / "locked" / "store").write("a", b"1")
        store = LocalStorage(tmp_path / "locked" / "store")
        (tmp_path / "locked").chmod(0)

        with ordinary_user():
            for use in (store.check, lambda: store.read("a"), lambda: list(store.list())):
                with pytest.raises(StoreUnusable, match="permission denied") as e:
                    use()
                assert_one_line_naming(e, store.uri)

        (tmp_path / "locked").chmod(0o700)
        assert store.read("a") == b"1"

    def test_a_disk_that_becomes_read_only_is_one_to_try_again(self, small_disk):
        """A system does so where the disk has errors; another folder would lack what is stored."""
        remount = ["mount", "-o", "remount,ro", str(small_disk)]
        first, later = LocalStorage(small_disk / "store"), LocalStorage(small_disk / "store")
        later.write("a", b"1")
        subprocess.run(remount, check=True)
        with pytest.raises(StoreUnusable, match="read-only; name another folder"):
            first.write("b", b"1")
        for use in (lambda: later.write("b", b"1"), lambda: later.write_if_absent("b", b"1")):
            with pytest.raises(StoreUnavailable, match="read-only; it could be written") as e:
                use()
            assert_one_line_naming(e, later.uri)

    def test_full_disk_damages_nothing(self, small_disk, tmp_path):
        store = LocalStorage(small_disk / "store")
        store.write("a", b"old")
        (tmp_path / "large").write_bytes(bytes(1_000_000))
        uses = [
            lambda: store.write("a", bytes(1_000_000)),
            lambda: store.write_if_absent("b", bytes(1_000_000)),
            lambda: store.upload("c", tmp_path / "large"),
        ]

        for use in uses:
            with pytest.raises(StoreUnavailable, match="no space left") as e:
                use()
            assert_one_line_naming(e, store.uri)
            assert not leftovers(small_disk)
        assert [info.key for info in store.list()] == ["a"]
        assert store.read("a") == b"old"

    def test_check_notices_a_full_disk(self, small_disk):
        store = LocalStorage(small_disk)
        fill(small_disk / "something else")

        with pytest.raises(StoreUnavailable, match="no space left"):
            store.check()


class TestS3:
    def test_failed_multipart_upload_is_aborted(self, s3_server, tmp_path, monkeypatch):
        bucket = s3_server.make_bucket()
        store = S3Storage(
            bucket, endpoint=s3_server.endpoint, credentials=s3_server.credentials, part_bytes=PART
        )
        (tmp_path / "large").write_bytes(bytes(2 * PART))
        store._client.meta.events.register("before-call.s3.CompleteMultipartUpload", refuse_call)

        with pytest.raises(StoreUnavailable):
            store.upload("a", tmp_path / "large")

        assert s3_server.client().list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []
        assert store.stat("a") is None

    def test_full_disk_of_the_cache_is_named(self, s3_server, small_disk):
        store = S3Storage(
            s3_server.make_bucket(), endpoint=s3_server.endpoint, credentials=s3_server.credentials
        )
        store.write("a", bytes(1_000_000))

        with pytest.raises(StoreUnavailable, match=f"cache folder {small_disk}: no space left"):
            store.local_path("a", small_disk)

        assert os.listdir(small_disk) == []

    def test_missing_bucket(self, s3_server, tmp_path):
        store = s3_store(s3_server, bucket="nobody-made-this")
        (tmp_path / "file").write_bytes(b"1")
        uses = [
            store.check,
            lambda: store.read("a"),
            lambda: store.write("a", b"1"),
            lambda: store.write_if_absent("a", b"1"),
            lambda: store.upload("a", tmp_path / "file"),
            lambda: store.stat("a"),
            lambda: list(store.list()),
        ]

        for use in uses:
            with pytest.raises(StoreUnusable, match="the bucket does not exist") as e:
                use()
            assert_one_line_naming(e, "s3://nobody-made-this")

    @pytest.mark.parametrize(
        "credentials",
        [S3Credentials("nobody", "x"), S3Credentials("supreme-tests", "wrong")],
        ids=["unknown access key", "wrong secret key"],
    )
    def test_wrong_credentials(self, s3_server, credentials):
        if s3_server.kind == "moto":
            pytest.skip("moto takes any credentials")
        store = s3_store(s3_server, bucket=s3_server.make_bucket(), credentials=credentials)

        for use in (store.check, lambda: store.read("a"), lambda: store.stat("a")):
            with pytest.raises(StoreUnusable, match=r"credentials are refused|access denied") as e:
                use()
            assert_one_line_naming(e, store.uri)
            assert credentials.secret_key not in str(e.value).split()

    def test_no_credentials(self, s3_server):
        store = S3Storage("bucket", endpoint=s3_server.endpoint)

        with pytest.raises(StoreUnusable, match="AWS_ACCESS_KEY_ID") as e:
            store.check()
        assert_one_line_naming(e, "s3://bucket")

    @pytest.mark.parametrize(
        "credentials",
        [S3Credentials("anyone\n", "x"), S3Credentials("anyone", "x", "a-token\n")],
        ids=["access key", "token"],
    )
    def test_credentials_that_no_header_can_have_are_not_shown(self, one_attempt, credentials):
        """`echo KEY | base64` is how many Secrets are made."""
        with canned_server(lambda _: (200, "")) as endpoint:
            store = S3Storage("bucket", endpoint=endpoint, credentials=credentials)
            for use in (store.check, lambda: store.read("a"), lambda: store.write("a", b"1")):
                with pytest.raises(StoreUnusable, match="has a line break") as e:
                    use()
                assert_one_line_naming(e, f"s3://bucket at {endpoint}")
                assert "anyone" not in str(e.value)
                assert "a-token" not in str(e.value)

    def test_profile_that_is_not_there(self, monkeypatch):
        monkeypatch.setenv("AWS_PROFILE", "nobody")

        with pytest.raises(StoreUnusable, match="nobody"):
            open_storage("s3://bucket")

    def test_secrets_are_not_shown(self):
        assert "secret" not in repr(S3Credentials("access", "secret", "secret-token"))

    @pytest.mark.parametrize("host", ["127.0.0.1", "nowhere.invalid"], ids=["refused", "no name"])
    def test_endpoint_that_is_down(self, one_attempt, host):
        store = S3Storage("bucket", endpoint=f"http://{host}:{closed_port()}", credentials=ANYONE)

        for use in (store.check, lambda: store.read("a"), lambda: list(store.list())):
            with pytest.raises(StoreUnavailable, match="connect") as e:
                use()
            assert_one_line_naming(e, f"s3://bucket at http://{host}")

    def test_endpoint_that_never_answers(self, one_attempt):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            store = S3Storage("bucket", endpoint=f"http://127.0.0.1:{port}", credentials=ANYONE)

            with pytest.raises(StoreUnavailable, match="timeout"):
                store.check()

    def test_endpoint_without_tls(self, s3_server, one_attempt):
        endpoint = s3_server.endpoint.replace("http://", "https://")

        with pytest.raises(StoreUnavailable, match="SSL"):
            S3Storage("bucket", endpoint=endpoint, credentials=ANYONE).check()

    @pytest.mark.parametrize(
        ("status", "code", "error", "words"),
        [
            (400, "AuthorizationHeaderMalformed", StoreUnusable, "another region"),
            (400, "InvalidRequest", StoreUnusable, "the server refuses"),
            (403, "AccessDenied", StoreUnusable, "access denied"),
            (403, "SomethingNew", StoreUnusable, "access denied"),
            (403, "RequestTimeTooSkewed", StoreUnavailable, "clock"),
            (409, "OperationAborted", StoreUnavailable, "try again"),
            (500, "InternalError", StoreUnavailable, "try again"),
            (503, "SlowDown", StoreUnavailable, "try again"),
            (507, "XMinioStorageFull", StoreUnavailable, "no space left"),
            (507, "SomethingNew", StoreUnavailable, "no space left"),
        ],
    )
    def test_refusal_of_the_server(self, one_attempt, status, code, error, words):
        with canned_server(lambda _: (status, code)) as endpoint:
            store = S3Storage("bucket", endpoint=endpoint, credentials=ANYONE)
            for use in (store.check, lambda: store.write("a", b"1")):
                with pytest.raises(error, match=words) as e:
                    use()
                assert_one_line_naming(e, f"s3://bucket at {endpoint}")

    @pytest.mark.parametrize("code", ["", "PermanentRedirect"], ids=["web site", "S3"])
    def test_server_that_redirects_every_request(self, one_attempt, code):
        """To each request botocore adds one for the bucket's region, and to that no other."""
        asked = []

        def elsewhere(request):
            asked.append(f"{request.command} {request.path}")
            return 301, code

        with canned_server(elsewhere) as endpoint:
            store = S3Storage("bucket", endpoint=endpoint, credentials=ANYONE)
            for use in (store.check, lambda: store.read("a"), lambda: store.write("a", b"1")):
                asked.clear()
                with pytest.raises(StoreUnusable, match="region") as e:
                    use()
                assert_one_line_naming(e, f"s3://bucket at {endpoint}")
                assert asked[1:] == ["HEAD /bucket"]
            asked.clear()
            with pytest.raises(StoreUnusable, match="region"):  # which asks a listing for words
                store.stat("a")
            assert len(asked) == 4

    @pytest.mark.parametrize("status", [301, 302, 307, 308], ids=str)
    def test_a_redirect_to_another_server_is_not_followed(self, one_attempt, status):
        """An endpoint that is allowed does not allow the addresses that it names."""
        asked = []

        def elsewhere(request):
            asked.append(request.path)
            return 200, ""

        with canned_server(elsewhere) as other:
            headers = {"Location": f"{other}/a", "x-amz-bucket-region": "eu-west-1"}
            with canned_server(lambda _: (status, ""), headers) as endpoint:
                store = S3Storage("bucket", endpoint=endpoint, credentials=ANYONE)
                for use in (store.check, lambda: store.read("a"), lambda: store.write("a", b"1")):
                    with pytest.raises(StorageError):
                        use()
        assert asked == []

    def test_region_that_is_none(self):
        with pytest.raises(StoreUnusable, match="check the region") as e:
            S3Storage("bucket", region="127.0.0.1/", credentials=ANYONE)
        assert_one_line_naming(e, "s3://bucket")

    def test_a_signed_url_needs_no_credentials(self, s3_server):
        store = s3_store(s3_server, bucket=s3_server.make_bucket())
        store.write("seed=1/a b+é", b"content")

        with urlopen(store.signed_url("seed=1/a b+é", seconds=60)) as answer:
            assert answer.read() == b"content"

    @pytest.mark.parametrize("refuses", [True, False], ids=["refuses them", "ignores conditions"])
    def test_server_without_conditional_writes(self, one_attempt, refuses, caplog):
        """One that takes them for plain ones would give the lease of a stage to everybody."""
        objects = set()

        def old_server(request):
            if request.command == "PUT" and refuses and "If-None-Match" in request.headers:
                return 501, "NotImplemented"
            if request.command == "PUT":
                objects.add(request.path)
            if request.command == "DELETE":
                objects.discard(request.path)
                return 204, ""
            return (200, "") if "?" in request.path or request.path in objects else (404, "")

        with canned_server(old_server) as endpoint:
            store = S3Storage("bucket", endpoint=endpoint, credentials=ANYONE)

            assert store.write_if_absent("a", b"first") is True
            assert store.write_if_absent("a", b"second") is False
            assert objects == {"/bucket/a"}
        (told,) = [each.message for each in caplog.records if "conditional writes" in each.message]
        assert told.endswith("so two processes may compute the same stage")

    def test_whether_a_server_has_conditional_writes_is_asked_once(self, s3_server):
        store, asked = s3_store(s3_server, bucket=s3_server.make_bucket()), []
        store._client.meta.events.register("before-call.s3", lambda model, **_: asked.append(model))

        written = [store.write_if_absent(key, b"1") for key in ("a", "a", "b")]
        assert written == [True, False, True]
        assert len(asked) == 3 + len(written)
        assert [*store.temporaries()] == []

    def test_conflicting_conditional_writes_are_tried_again(self):
        answers = [(200, ""), (412, "PreconditionFailed"), (204, "")]
        answers += [(409, "ConditionalRequestConflict")] * 2 + [(200, "")]

        with canned_server(lambda _: answers.pop(0)) as endpoint:
            store = S3Storage("bucket", endpoint=endpoint, credentials=ANYONE)

            assert store.write_if_absent("a", b"1") is True

    def test_conflict_without_end_is_given_up(self):
        with canned_server(lambda _: (409, "ConditionalRequestConflict")) as endpoint:
            store = S3Storage("bucket", endpoint=endpoint, credentials=ANYONE)

            with pytest.raises(StoreUnavailable, match="try again"):
                store.write_if_absent("a", b"1")

    def test_answer_that_is_cut_off(self, one_attempt):
        with cutting_server() as endpoint:
            store = S3Storage("bucket", endpoint=endpoint, credentials=ANYONE)

            uses = [
                lambda: store.read("a"),
                lambda: store.read("a", limit=200),
                lambda: list(store.chunks("a")),
            ]
            for use in uses:
                with pytest.raises(StoreUnavailable) as e:
                    use()
                assert_one_line_naming(e, f"s3://bucket at {endpoint}")

    @pytest.mark.parametrize("size", [5, 6, 3_000_000], ids=str)
    def test_answer_without_a_length_is_read_no_further_than_the_limit(self, one_attempt, size):
        with unmeasured_server(bytes(size)) as endpoint:
            store = S3Storage("bucket", endpoint=endpoint, credentials=ANYONE)
            if size <= 5:
                assert store.read("a", limit=5) == bytes(5)
            else:
                with pytest.raises(ObjectTooLarge, match="more than the 5 bytes"):
                    store.read("a", limit=5)


NOT_FOR_GOOD = [
    *((400, "ExpiredToken", "token has expired"), (400, "TokenRefreshRequired", "expired")),
    *((403, "ExpiredTokenException", "expired"), (403, "RequestExpired", "cannot do it now")),
    *((400, "RequestTimeout", "cannot do it now"), (400, "IncompleteBody", "not arrive whole")),
    *((400, "BadDigest", "not arrive whole"), (400, "XAmzContentSHA256Mismatch", "not arrive")),
    *((404, "NoSuchUpload", "upload in parts"), (400, "InvalidPart", "upload in parts")),
    *((400, "Throttling", "busy"), (400, "ThrottlingException", "busy"), (403, "SlowDown", "busy")),
    *((400, "RequestLimitExceeded", "busy"), (400, "KMS.ThrottlingException", "busy")),
    *((400, "TooManyRequests", "busy"), (400, "ServiceUnavailable", "cannot do it now")),
    *((400, "KMS.InternalException", "now"), (400, "XMinioServerNotInitialized", "now")),
    *((503, "SlowDownWrite", "busy"), (500, "", "now"), (429, "", "now"), (502, "Nonsense", "now")),
]
FOR_GOOD = [
    *((403, "AccessDenied"), (403, "InvalidAccessKeyId"), (403, "SignatureDoesNotMatch")),
    *((400, "InvalidToken"), (404, "NoSuchBucket"), (400, "InvalidRequest"), (418, "Teapot")),
    *((400, "NobodyKnowsThis"), (403, "SomethingNew")),
]
HTML = "<html><body>Welcome to the network of the hotel</body></html>"
UNFIT = "answer is not that of an S3 server"


@pytest.fixture(scope="module")
def bad_day(s3_server):
    """The proxy, and what opens a store behind it that has the object `a`."""
    bucket = s3_server.make_bucket()
    with fault_proxy(s3_server.endpoint) as proxy, pytest.MonkeyPatch.context() as patched:
        patched.setattr(s3, "ATTEMPTS", 1)

        def opened():
            return S3Storage(bucket, endpoint=proxy.endpoint, credentials=s3_server.credentials)

        opened().write("a", b"12345")
        yield proxy, opened


@pytest.fixture(scope="module")
def first(bad_day):
    """A store that has not written yet, as that of a new attempt."""
    return bad_day[1]()


@pytest.fixture(scope="module")
def later(bad_day):
    store = bad_day[1]()
    store.write("b", b"1")
    return store


class TestARealServerOnABadDay:
    """Behind a proxy that answers in its place. A store that is asked for the first time takes a
    refusal for good; one that has written before does not."""

    def uses(self, store, folder):
        (folder / "file").write_bytes(b"1")
        return [
            store.check,
            lambda: store.read("a"),
            lambda: store.write("b", b"1"),
            lambda: store.write_if_absent("c", b"1"),
            lambda: store.upload("d", folder / "file"),
            lambda: store.local_path("a", folder),
            lambda: list(store.list()),
            lambda: list(store.chunks("a")),
        ]

    @pytest.mark.parametrize(("status", "code", "words"), NOT_FOR_GOOD)
    def test_what_passes_is_tried_again(self, bad_day, first, tmp_path, status, code, words):
        with bad_day[0].fault(Answer.of_s3(status, code)):
            for use in self.uses(first, tmp_path):
                with pytest.raises(StoreUnavailable, match=words) as e:
                    use()
                assert_one_line_naming(e, first.uri)
        assert first.read("a") == b"12345"

    @pytest.mark.parametrize(("status", "code"), FOR_GOOD)
    def test_what_was_allowed_before_is_not_refused_for_good(
        self, bad_day, first, later, tmp_path, status, code
    ):
        """Keys are rotated, policies and gateways are changed: the next attempt finds out."""
        with bad_day[0].fault(Answer.of_s3(status, code)):
            for use in self.uses(later, tmp_path):
                with pytest.raises(StoreUnavailable, match="could be written a while ago") as e:
                    use()
                assert_one_line_naming(e, later.uri)
            for use in self.uses(first, tmp_path):
                with pytest.raises(StoreUnusable):
                    use()

    @pytest.mark.parametrize("header", ["ETag", "Last-Modified", "Content-Length"])
    def test_an_answer_without_a_header_is_none(self, bad_day, later, tmp_path, header):
        proxy, store = bad_day[0], later
        lacking = store.stat if header != "ETag" else lambda key: store.local_path(key, tmp_path)
        with proxy.fault(Without(header), method="HEAD"):
            with pytest.raises(StoreUnavailable, match=f"{UNFIT}.*{header.replace('-', '')}") as e:
                lacking("a")
            assert_one_line_naming(e, store.uri)
        assert store.stat("a").size == 5

    def test_a_login_page_in_the_place_of_the_store_is_no_store(self, bad_day, first):
        with (
            bad_day[0].fault(Answer(200, HTML)),
            pytest.raises(StoreUnusable, match="not what is read back"),
        ):
            first.check()

    @pytest.mark.parametrize("body", ["<html>", "{}", "", "<ListBucketResult><Contents/>"])
    def test_a_listing_that_is_none_is_told_in_a_line(self, bad_day, later, body):
        proxy, store = bad_day[0], later
        with (
            proxy.fault(Answer(200, body), method="GET"),
            pytest.raises(StoreUnavailable) as e,
        ):
            list(store.list())
        assert_one_line_naming(e, store.uri)
        complete = "<ListBucketResult><Contents><Key>a</Key></Contents></ListBucketResult>"
        with (
            proxy.fault(Answer(200, complete), method="GET"),
            pytest.raises(StoreUnavailable, match=UNFIT),
        ):
            list(store.list())

    @pytest.mark.parametrize(
        "answer", [Answer(200, HTML), Answer(404, HTML), Answer(404, "")], ids=str
    )
    def test_a_page_is_no_object_and_takes_none(self, bad_day, first, later, tmp_path, answer):
        """Gateways that have lost the server, and login pages, say 404 or 200 to everything."""
        for store in (first, later):
            uses = [
                lambda store=store: store.read("a"),
                lambda store=store: list(store.chunks("a")),
                lambda store=store: store.write("b", b"1"),
                lambda store=store: store.write_if_absent("c", b"1"),
            ]
            with bad_day[0].fault(answer):
                for use in uses:
                    with pytest.raises(StoreUnavailable) as e:
                        use()
                    assert_one_line_naming(e, store.uri)

    def test_what_is_not_there_may_be_refused_to_be_deleted(self, bad_day, first):
        with bad_day[0].fault(Answer.of_s3(404, "NoSuchKey"), method="DELETE"):
            first.delete("a")

    def test_a_store_that_gives_back_something_else_cannot_be_used(self, bad_day, first):
        with (
            bad_day[0].fault(Answer(200, "supreme"), method="GET", path="supreme-tmp"),
            pytest.raises(StoreUnusable, match="not what is read back"),
        ):
            first.check()


class TestCertificates:
    """A real server that shows one of an authority of its own."""

    def check(self, s3_server, pair):
        with fault_proxy(s3_server.endpoint, certificate=pair.public) as proxy:
            S3Storage(
                s3_server.make_bucket(),
                endpoint=proxy.endpoint,
                credentials=s3_server.credentials,
            ).check()

    @pytest.fixture
    def authority(self, tmp_path):
        return Authority(tmp_path / "authority")

    def test_an_unknown_authority_is_named_with_what_to_set(
        self, s3_server, one_attempt, authority, monkeypatch
    ):
        pair = authority.issue("s3", hosts=["127.0.0.1"])
        words = r"unknown certificate authority: .* set AWS_CA_BUNDLE .*docs/cluster\.md"
        with pytest.raises(StoreUnavailable, match=words) as e:
            self.check(s3_server, pair)
        assert_one_line_naming(e, "s3://test-")
        monkeypatch.setenv("AWS_CA_BUNDLE", str(authority.certificate))
        self.check(s3_server, pair)

    def test_another_trouble_with_a_certificate_is_no_unknown_authority(
        self, s3_server, one_attempt, authority, monkeypatch
    ):
        monkeypatch.setenv("AWS_CA_BUNDLE", str(authority.certificate))
        with pytest.raises(StoreUnavailable) as e:
            self.check(s3_server, authority.issue("s3", hosts=["elsewhere.example"]))
        assert "unknown certificate authority" not in str(e.value)


class TestOpen:
    def test_path_and_file_uri_are_folders(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", "/home/somebody")

        assert open_storage("some store").uri == f"{tmp_path.as_uri()}/some%20store"
        assert open_storage(f"{tmp_path.as_uri()}/some%20store").uri.endswith("/some%20store")
        assert open_storage("~/store").uri == "file:///home/somebody/store"

    def test_relative_folder_stays_the_same_after_a_change_of_folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        store = open_storage("store")
        monkeypatch.chdir("/")

        assert store.uri == (tmp_path / "store").as_uri()

    @pytest.mark.parametrize(
        ("given", "path"),
        [
            ("a/", "a"),
            ("./a//b", "a/b"),
            ("größe/日本", "gr%C3%B6%C3%9Fe/%E6%97%A5%E6%9C%AC"),
            ("a:b", "a%3Ab"),
            ("./s3:/bucket", "s3%3A/bucket"),
            ("50%#?", "50%25%23%3F"),
        ],
    )
    def test_a_folder_of_any_name_reads_back_from_its_uri(self, tmp_path, monkeypatch, given, path):
        monkeypatch.chdir(tmp_path)
        store = open_storage(given)
        store.write("k", b"1")

        assert store.uri == f"{tmp_path.as_uri()}/{path}"
        assert open_storage(store.uri).uri == store.uri
        assert open_storage(f"{store.uri}/").read("k") == b"1"

    def test_a_prefix_of_a_bucket_may_have_spaces_and_unicode(self):
        for uri in ("s3://bucket", "s3://bucket/a b", "s3://bucket/größe/日本"):
            assert open_storage(uri).uri == uri

    def test_slash_at_the_end_means_nothing(self):
        assert open_storage("s3://bucket/").uri == "s3://bucket"
        assert open_storage("s3://bucket/a/b/").uri == "s3://bucket/a/b"

    @pytest.mark.parametrize(
        "uri",
        [
            *("", "gs://bucket", "https://bucket.example", "file://host/a", "file:/a"),
            *("S3://bucket", "FILE:///a", "file://", "file:a", "s3:bucket", "S3:b", " s3://bucket"),
            *("s3://bucket/a//", "s3://bucket ", "C:/store"),
            *("s3:/bucket", "s3://", "s3://B_", "s3://a", "s3://bucket//a", "s3://bucket/../a"),
        ],
    )
    def test_uri_that_names_no_store(self, uri):
        with pytest.raises(SpecError, match=r"s3://bucket|prefix") as e:
            open_storage(uri)
        assert_one_line_naming(e, repr(uri))

    @pytest.mark.parametrize("uri", ["store", "/etc", "file:///etc", "S3://bucket", ""])
    def test_only_a_bucket_is_one_for_several_machines(self, uri):
        with pytest.raises(SpecError, match="it must be s3://bucket/prefix") as e:
            open_bucket(uri)
        assert_one_line_naming(e, repr(uri))

    @pytest.mark.parametrize("endpoint", ["s3.storage:9000", "ftp://a", "http://", "http://a:b"])
    def test_endpoint_that_is_no_web_address(self, endpoint):
        with pytest.raises(SpecError, match="http://host:port"):
            open_storage("s3://bucket", endpoint=endpoint)

    def test_region_comes_from_the_call_the_environment_or_is_us_east_1(self, monkeypatch):
        def region(**keywords):
            return open_storage("s3://bucket", **keywords)._client.meta.region_name

        assert region() == "us-east-1"
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
        assert region() == "eu-central-1"
        assert region(region="eu-west-1") == "eu-west-1"


@pytest.fixture
def s3_server_or_none(request, store):
    return request.getfixturevalue("s3_server") if isinstance(store, S3Storage) else None


def s3_store(server, *, bucket, credentials=None):
    credentials = credentials or server.credentials
    return S3Storage(bucket, endpoint=server.endpoint, credentials=credentials)


def put_behind_its_back(store, name, server):
    if server is None:
        (Path(store.uri.removeprefix("file://")) / name).write_bytes(b"")
    else:
        bucket, _, prefix = store.uri.removeprefix("s3://").partition("/")
        server.client().put_object(Bucket=bucket, Key=f"{prefix}/{name}", Body=b"")


def fill(path):
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


def leftovers(folder):
    return list(folder.rglob(f"{TEMPORARY}*"))


def run_and_die(program, *arguments):
    return subprocess.run([sys.executable, "-c", program, *map(str, arguments)]).returncode


def assert_one_line_naming(raised, name):
    message = str(raised.value)
    assert name in message
    assert "\n" not in message
    assert "botocore" not in message


@contextmanager
def ordinary_user():
    """Permissions mean nothing to root, so root steps down for a while."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def refuse_call(**_):
    raise BotoCoreError(msg="cut off")


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@contextmanager
def cutting_server():
    """A server that promises 100 bytes and hangs up after five; its endpoint."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.send_header("ETag", '"1"')
            self.end_headers()
            self.wfile.write(b"12345")

        def log_message(self, *_):
            pass

    with serving(Handler) as endpoint:
        yield endpoint


@contextmanager
def unmeasured_server(body):
    """A server that answers in chunks and announces no length; its endpoint."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.send_header("ETag", '"1"')
            self.end_headers()
            with suppress(ConnectionError):  # of a reader that has had enough
                self.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))

        def log_message(self, *_):
            pass

    with serving(Handler) as endpoint:
        yield endpoint


@contextmanager
def canned_server(answer, headers=MappingProxyType({})):
    """A server that answers `answer(request) -> (status, S3 error code)`; its endpoint."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # boto3 waits a second for HTTP/1.0 to say 100 Continue

        def reply(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, code = answer(self)
            body = f"<Error><Code>{code}</Code><Message>two\nlines</Message></Error>" * bool(code)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
            self.send_header("ETag", '"1"')
            self.send_header("Connection", "close")
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body.encode())

        do_GET = do_PUT = do_HEAD = do_DELETE = reply

        def log_message(self, *_):
            pass

    with serving(Handler) as endpoint:
        yield endpoint


@contextmanager
def serving(handler):
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
