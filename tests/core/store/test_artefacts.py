"""The commit protocol, on a folder and on a real S3 server: whole or absent, and never mixed.

* a piece of work is there once its manifest is, and comes back as it was committed
* a manifest that cannot be trusted counts as absent; damaged data is an error that names the object
* writers that are killed, that race, and that find a full disk
* canonical JSON: one spelling for each document, checked by hypothesis

Not covered: how a store behaves (test_storage.py) and what the stages mean by their keys.
"""

import hashlib
import json
import logging
import math
import os
import random
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supreme_core.api.canonical import canonical_json, digest, keys_in
from supreme_core.api.names import artefact_prefix
from supreme_core.errors import CorruptArtefact, StoreUnavailable
from supreme_core.store import artefacts as module
from supreme_core.store.artefacts import Artefacts, object_key
from supreme_core.store.folder import LocalStorage
from supreme_core.store.s3 import S3Storage

MEANING = {"stage": "original", "seed": 3, "recipe": {"lr": 0.1, "epochs": 8}}
KEY = digest(MEANING)
PREFIX = artefact_prefix("original", KEY)
MANIFEST_KEY = f"{PREFIX}/manifest.json"


@pytest.fixture
def artefacts(store, tmp_path):
    return Artefacts(store, tmp_path / "cache")


class TestCommit:
    def test_nothing_is_there_before_the_commit(self, artefacts):
        assert artefacts.find("original", KEY) is None

    def test_what_is_committed_is_found_and_opens(self, artefacts, store, tmp_path):
        (tmp_path / "weights").write_bytes(b"w" * 1000)
        files = {"weights.safetensors": tmp_path / "weights", "notes.txt": b"seen"}

        committed = commit(artefacts, files=files, facts={"wall_seconds": 1.5, "note": None})
        found = Artefacts(store, tmp_path / "other").find("original", KEY)

        assert found == committed
        assert (found.stage, found.key, found.meaning) == ("original", KEY, MEANING)
        assert found.facts == {"wall_seconds": 1.5, "note": None}
        assert found.environment == {"torch": "2.9"}
        assert artefacts.open(found, "weights.safetensors").read_bytes() == b"w" * 1000
        assert artefacts.open(found, "notes.txt").read_bytes() == b"seen"

    def test_objects_lie_where_the_layout_says(self, artefacts, store):
        commit(artefacts, files={"weights.safetensors": b"w"})

        sha256 = hashlib.sha256(b"w").hexdigest()
        assert [info.key for info in store.list()] == [
            MANIFEST_KEY,
            f"{PREFIX}/weights-{sha256[:16]}.safetensors",
        ]

    def test_file_that_was_not_committed_is_a_key_error(self, artefacts):
        with pytest.raises(KeyError):
            artefacts.open(commit(artefacts), "other.npy")

    def test_stages_and_keys_are_apart(self, artefacts):
        commit(artefacts)

        assert artefacts.find("retrained", KEY) is None
        assert artefacts.find("original", digest({"seed": 4})) is None

    def test_first_commit_stays(self, artefacts):
        first = commit(artefacts, files={"a": b"1"})

        assert commit(artefacts, files={"a": b"2"}) == first
        assert artefacts.open(artefacts.find("original", KEY), "a").read_bytes() == b"1"

    def test_commit_replaces_when_told_to(self, artefacts):
        commit(artefacts, files={"a": b"1"})

        second = commit(artefacts, files={"a": b"2"}, replace=True)

        assert artefacts.find("original", KEY) == second
        assert artefacts.open(second, "a").read_bytes() == b"2"

    def test_key_must_be_the_digest_of_the_meaning(self, artefacts, store):
        with pytest.raises(ValueError, match="sha256 of the meaning"):
            commit(artefacts, meaning={"seed": 4})
        assert list(store.list()) == []

    @pytest.mark.parametrize("name", ["", "../a", "a/b", ".hidden", "a b", "x" * 129])
    def test_name_of_a_file_is_one_plain_word(self, artefacts, store, name):
        with pytest.raises(ValueError, match="files"):
            commit(artefacts, files={name: b"1"})
        assert list(store.list()) == []

    @pytest.mark.parametrize("fact", [math.nan, b"bytes", {1: "a"}, "\ud800"], ids=ascii)
    def test_facts_are_json(self, artefacts, store, fact):
        with pytest.raises(ValueError, match="document"):
            commit(artefacts, facts={"fact": fact})
        assert list(store.list()) == []

    def test_large_results_belong_in_files(self, artefacts, monkeypatch):
        monkeypatch.setattr(module, "MANIFEST_BYTES", 1000)

        with pytest.raises(ValueError, match="store large results as files"):
            commit(artefacts, facts={"log": "x" * 1000})


class TestInputs:
    """Bits that a stage was computed from, and those that lie in the store by now."""

    PARENT, OTHER = digest({"seed": 1}), digest({"seed": 2})
    OLD, NEW = "0" * 64, "f" * 64

    @pytest.mark.parametrize(
        ("now", "current"),
        [
            ({}, True),
            ({PARENT: {"weights": OLD}}, True),
            ({PARENT: {"weights": NEW}}, False),
            ({PARENT: {"weights": OLD, "more": NEW}}, True),
            ({OTHER: {"weights": NEW}}, True),
        ],
        ids=["not known", "the same", "others", "a file more", "of a stage it does not name"],
    )
    def test_others_than_it_was_computed_from_make_it_stale(self, artefacts, now, current):
        inputs = {self.PARENT: {"weights": self.OLD}}
        commit(artefacts, inputs=inputs)

        found = artefacts.find("original", KEY)

        assert found.inputs == inputs
        assert found.is_computed_from(now) == current

    def test_without_a_record_of_them_it_counts_as_current(self, artefacts):
        assert commit(artefacts).is_computed_from({self.PARENT: {"weights": self.NEW}})

    def test_only_whole_digests_in_a_meaning_can_be_keys(self):
        meaning = {"a": [self.PARENT, {"b": self.OTHER}], "c": "x" + self.OLD, "d": self.NEW * 2}
        assert keys_in(meaning) == {self.PARENT, self.OTHER}


class TestDistrust:
    @pytest.mark.parametrize(
        "change",
        [
            lambda document: document.update(key="0" * 64),
            lambda document: document.update(stage="retrained"),
            lambda document: document["meaning"].update(seed=4),
            lambda document: document["meaning"].update(seed=math.nan),
            lambda document: document["facts"].update(accuracy=0.99),
            lambda document: document["files"].update({"../../a": document["files"]["a"]}),
            lambda document: document.update(schemaVersion=2),
            lambda document: document.update(extra="field"),
            lambda document: document.pop("files"),
        ],
        ids=[
            *("other key", "other stage", "other meaning", "NaN in meaning", "other facts"),
            *("name that leaves", "newer version", "unknown field", "no files"),
        ],
    )
    def test_altered_manifest_counts_as_absent(self, artefacts, store, caplog, change):
        commit(artefacts, files={"a": b"1"})
        document = json.loads(store.read(MANIFEST_KEY))
        change(document)
        store.write(MANIFEST_KEY, json.dumps(document).encode())

        assert artefacts.find("original", KEY) is None
        assert_one_warning(caplog)

    @pytest.mark.parametrize(
        "data",
        [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"key": ' + b"1" * 5000 + b"}"],
        ids=["empty", "cut", "list", "null", "no UTF-8", "deep", "huge number"],
    )
    def test_manifest_that_is_none_counts_as_absent(self, artefacts, store, caplog, data):
        store.write(MANIFEST_KEY, data)

        assert artefacts.find("original", KEY) is None
        assert artefacts.find("original", KEY) is None  # as of what several tables need
        assert_one_warning(caplog)

    def test_oversized_manifest_is_not_read(self, artefacts, store, caplog, monkeypatch):
        commit(artefacts)
        monkeypatch.setattr(module, "MANIFEST_BYTES", 100)

        assert artefacts.find("original", KEY) is None
        assert_one_warning(caplog)

    def test_manifest_of_another_key_counts_as_absent(self, artefacts, store, caplog):
        other = digest({"seed": 4})
        commit(artefacts)
        copied = f"{artefact_prefix('original', other)}/manifest.json"
        store.write(copied, store.read(MANIFEST_KEY))

        assert artefacts.find("original", other) is None
        assert_one_warning(caplog)

    def test_commit_takes_the_place_of_a_broken_manifest(self, artefacts, store):
        store.write(MANIFEST_KEY, b"{")

        committed = commit(artefacts)

        assert artefacts.find("original", KEY) == committed

    @pytest.mark.parametrize("damage", ["truncated", "altered", "longer", "gone"])
    def test_damaged_data_is_named_and_can_be_computed_again(self, artefacts, store, damage):
        manifest = commit(artefacts, files={"a.npy": b"12345"})
        key = data_key(store)
        if damage == "gone":
            store.delete(key)
        else:
            store.write(
                key, {"truncated": b"123", "altered": b"12x45", "longer": b"123456"}[damage]
            )

        with pytest.raises(CorruptArtefact, match="'original' will be computed again") as raised:
            artefacts.open(manifest, "a.npy")
        assert key in str(raised.value)
        artefacts.discard(manifest)
        assert artefacts.find("original", KEY) is None
        again = commit(artefacts, files={"a.npy": b"12345"})
        assert artefacts.open(again, "a.npy").read_bytes() == b"12345"

    def test_discard_leaves_what_another_process_computed_again(self, artefacts):
        old = commit(artefacts, files={"a": b"1"})
        new = commit(artefacts, files={"a": b"2"}, replace=True)

        artefacts.discard(old)

        assert artefacts.find("original", KEY) == new

    def test_verified_file_is_hashed_once(self, artefacts, monkeypatch):
        """Counted at hashlib, because a second hash changes nothing that can be seen."""
        hashed = []
        really = hashlib.file_digest
        monkeypatch.setattr(
            hashlib, "file_digest", lambda *file: hashed.append(file) or really(*file)
        )
        manifest = commit(artefacts, files={"a": b"1"})

        for _ in range(3):
            artefacts.open(manifest, "a")

        assert len(hashed) == 1

    def test_file_that_changes_after_it_was_verified_is_noticed(self, tmp_path):
        artefacts = Artefacts(LocalStorage(tmp_path / "store"), tmp_path / "cache")
        manifest = commit(artefacts, files={"a": b"12345"})
        artefacts.open(manifest, "a").write_bytes(b"123")

        with pytest.raises(CorruptArtefact, match="3 bytes"):
            artefacts.open(manifest, "a")

    def test_damaged_copy_in_the_cache_is_fetched_again(self, s3_server, tmp_path):
        artefacts = Artefacts(s3_store(s3_server), tmp_path / "cache")
        manifest = commit(artefacts, files={"a": b"12345"})
        artefacts.open(manifest, "a").write_bytes(b"12x45")

        assert artefacts.open(manifest, "a").read_bytes() == b"12345"

    def test_an_object_that_is_too_large_is_not_even_copied(self, store, tmp_path):
        """The manifest, which the same hands have written, may say that the object is small."""
        artefacts = Artefacts(store, tmp_path / "cache", largest=10)
        manifest = commit(artefacts, files={"a": b"1" * 10, "b": b"2" * 10})
        store.write(object_key(manifest, "b"), b"2" * 11)

        assert artefacts.open(manifest, "a").read_bytes() == b"1" * 10
        with pytest.raises(CorruptArtefact, match="has 11 bytes, more than the 10"):
            artefacts.open(manifest, "b")
        assert len(list(tmp_path.glob("cache/*"))) <= 1

    def test_only_a_copy_is_dropped(self, artefacts, store, tmp_path):
        manifest = commit(artefacts, files={"a": b"12345"})

        artefacts.drop_copy(artefacts.open(manifest, "a"))

        assert list(tmp_path.glob("cache/*")) == []
        assert store.read(object_key(manifest, "a")) == b"12345"
        assert artefacts.open(manifest, "a").read_bytes() == b"12345"


class TestTrouble:
    def test_writer_killed_between_data_and_manifest_leaves_nothing_to_find(
        self, store, artefacts, request
    ):
        code = commit_in_a_process_that_dies(store, request)

        assert code == -signal.SIGKILL
        assert [info.size for info in store.list()] == [5]
        assert artefacts.find("original", KEY) is None
        again = commit(artefacts, files={"a.npy": b"12345"})
        assert artefacts.open(again, "a.npy").read_bytes() == b"12345"

    def test_racing_writers_leave_one_whole_result(self, store, tmp_path):
        start = threading.Barrier(6)

        def compute(number):
            start.wait()
            mine = Artefacts(store, tmp_path / f"cache{number}")
            files = {"a": str(number).encode() * 2000, "b": str(number).encode() * 10}
            return commit(mine, files=files)

        with ThreadPoolExecutor(6) as pool:
            returned = list(pool.map(compute, range(6)))

        reader = Artefacts(store, tmp_path / "cache")
        found = reader.find("original", KEY)
        assert all(manifest == found for manifest in returned)
        first, second = (reader.open(found, name).read_bytes() for name in "ab")
        assert set(first) == set(second)

    def test_full_disk_loses_nothing_that_was_committed(self, small_disk, tmp_path):
        artefacts = Artefacts(LocalStorage(small_disk), tmp_path / "cache")
        commit(artefacts, files={"a": b"1"})
        other = {"seed": 4}

        with pytest.raises(StoreUnavailable, match="no space left"):
            commit(artefacts, key=digest(other), meaning=other, files={"a": bytes(1_000_000)})

        assert artefacts.find("original", digest(other)) is None
        assert artefacts.open(artefacts.find("original", KEY), "a").read_bytes() == b"1"


NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(TEXT, VALUES, max_size=5)


class TestCanonicalJson:
    @given(DOCUMENTS)
    def test_reads_back_as_the_same_document(self, document):
        assert json.loads(canonical_json(document)) == document

    @given(DOCUMENTS)
    def test_digest_survives_the_round_trip(self, document):
        written = canonical_json(document)

        assert canonical_json(json.loads(written)) == written
        assert digest(json.loads(json.dumps(document))) == digest(document)

    @given(DOCUMENTS, st.randoms())
    def test_order_of_keys_means_nothing(self, document, chance):
        assert canonical_json(shuffled(document, chance)) == canonical_json(document)

    @given(NUMBERS, NUMBERS)
    def test_numbers_are_written_alike_when_they_are_equal(self, one, other):
        alike = canonical_json({"x": one}) == canonical_json({"x": other})

        assert alike == (one == other)

    @given(st.integers(-(2**53), 2**53))
    def test_integral_float_is_written_as_the_integer(self, number):
        assert digest({"x": float(number)}) == digest({"x": number})

    @pytest.mark.parametrize(
        ("value", "written"),
        [
            (1.0, b"1"),
            (-0.0, b"0"),
            (1e3, b"1000"),
            (1e22, b"10000000000000000000000"),
            (0.1, b"0.1"),
            (1e-7, b"1e-07"),
            (True, b"true"),
            (None, b"null"),
            ((1, "ä"), '[1,"ä"]'.encode()),
            (2**64, b"18446744073709551616"),
        ],
        ids=repr,
    )
    def test_spelling_is_fixed(self, value, written):
        """A change here changes the keys of everything that is stored anywhere."""
        assert canonical_json({"x": value}) == b'{"x":' + written + b"}"

    def test_digest_is_that_of_the_bytes(self):
        document = {"b": 1.0, "a": [True, None]}

        assert digest(document) == hashlib.sha256(b'{"a":[true,null],"b":1}').hexdigest()

    def test_true_is_not_one(self):
        assert digest({"x": True}) != digest({"x": 1})

    @pytest.mark.parametrize(
        ("document", "words"),
        [
            ({"a": {"b": [1, math.nan]}}, r"document\.a\.b\[1\] is nan"),
            ({"a": -math.inf}, r"document\.a is -inf"),
            ({"a": {1: 2}}, "document.a has the key 1"),
            ({"a": b"1"}, "document.a is a bytes"),
            ({"a": {1, 2}}, "document.a is a set"),
            ({"a": Path("x")}, "document.a is a PosixPath"),
            ({"a": "\ud800"}, "UTF-8"),
            ({"\udfff": 1}, "UTF-8"),
        ],
        ids=ascii,
    )
    def test_what_is_no_json_is_refused_by_its_path(self, document, words):
        with pytest.raises(ValueError, match=words):
            canonical_json(document)

    def test_nesting_has_an_end(self):
        document = {}
        for _ in range(10_000):
            document = {"a": document}

        with pytest.raises(ValueError, match="nested"):
            canonical_json(document)

    @given(st.text(max_size=20))
    @settings(max_examples=50)
    def test_any_text_is_written_or_refused(self, text):
        try:
            assert json.loads(canonical_json({text: text})) == {text: text}
        except ValueError:
            assert any("\ud800" <= character <= "\udfff" for character in text)


def commit(artefacts, *, key=KEY, meaning=MEANING, files=None, facts=None, **keywords):
    return artefacts.commit(
        "original",
        key,
        meaning=meaning,
        files=files or {},
        facts=facts or {},
        environment={"torch": "2.9"},
        **keywords,
    )


def commit_in_a_process_that_dies(store, request):
    """Real bytes in a real store, and SIGKILL in the moment before the manifest."""
    environment = dict(os.environ)
    endpoint = ""
    if isinstance(store, S3Storage):
        server = request.getfixturevalue("s3_server")
        endpoint = server.endpoint
        environment["AWS_ACCESS_KEY_ID"] = server.access_key
        environment["AWS_SECRET_ACCESS_KEY"] = server.secret_key
    program = (
        "import json, os, signal, sys\n"
        "from pathlib import Path\n"
        "from supreme_core.store.artefacts import Artefacts, digest\n"
        "from supreme_core.store.opening import open_storage\n"
        "uri, endpoint, meaning = sys.argv[1:]\n"
        "meaning = json.loads(meaning)\n"
        "Artefacts._publish = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)\n"
        "Artefacts(open_storage(uri, endpoint=endpoint or None), Path('unused')).commit(\n"
        "    'original', digest(meaning), meaning=meaning, files={'a.npy': b'12345'},\n"
        "    facts={}, environment={})\n"
    )
    arguments = [store.uri, endpoint, json.dumps(MEANING)]
    return subprocess.run([sys.executable, "-c", program, *arguments], env=environment).returncode


def s3_store(server):
    return S3Storage(server.make_bucket(), endpoint=server.endpoint, credentials=server.credentials)


def data_key(store):
    return next(info.key for info in store.list() if info.key != MANIFEST_KEY)


def assert_one_warning(caplog):
    (record,) = [record for record in caplog.records if record.name == module.__name__]
    assert record.levelno == logging.WARNING
    assert "counts as absent" in record.getMessage()
    assert MANIFEST_KEY.split("/")[-1] in record.getMessage()
    assert "\n" not in record.getMessage()
    assert len(record.getMessage()) < 700


def shuffled(value, chance: random.Random):
    if isinstance(value, dict):
        items = list(value.items())
        chance.shuffle(items)
        return {name: shuffled(item, chance) for name, item in items}
    if isinstance(value, list):
        return [shuffled(item, chance) for item in value]
    return value
