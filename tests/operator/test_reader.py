"""Reading results of untrusted pods: from a real S3 server, by real worker processes.

| what                                         | S3 server | canned server | stand-in |
|----------------------------------------------|-----------|---------------|----------|
| results: sound, missing, spoilt in every way |     x     |               |          |
| too large, too much for memory or processor  |     x     |       x       |          |
| choosing settings by trials                  |     x     |               |          |
| publishing                                   |     x     |               |          |
| progress                                     |     x     |       x       |          |
| stores: away, wrong, silent, not allowed     |     x     |       x       |          |
| workers that lie, hang, flood, are killed    |           |               |    x     |

Servers of workers and workers are forked from a process that has imported what they need, but for
those of limited memory and the first that publishes.

What the operator publishes is compared with what a real run leaves in tests/trainer/test_cli.py.
Not covered: that a node out of memory kills the worker and not the operator.
"""

import asyncio
import json
import os
import select
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from itertools import cycle
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from pydantic import ValidationError
from supreme_operator.deciding.admission import admit
from supreme_operator.deciding.parts import part_of
from supreme_operator.results import location as stores
from supreme_operator.results import processes, reader
from supreme_operator.results.location import AllowedEndpoints, Location
from supreme_operator.results.progress import parse_progress
from supreme_operator.results.protocol import Claim, NextRound, ResultCheck, Task
from supreme_operator.results.reader import PUBLISHING, VERIFYING, Collector, WorkerFailed
from supreme_operator.results.turns import WaitLimits
from supreme_operator.results.worker import rows_of

from supreme_core.analysis.aggregate import aggregate
from supreme_core.api import canonical, names
from supreme_core.api.orders import ExperimentName, work_digest
from supreme_core.api.records import Progress, RunRecord
from supreme_core.api.selection import Proposals
from supreme_core.api.status import ExperimentStatus
from supreme_core.api.v1alpha1 import LabelledComponent
from supreme_core.errors import SpecError, StoreUnavailable, StoreUnusable
from supreme_core.plan import default_metrics
from supreme_core.publishing.publish import publish
from supreme_core.registry import catalog
from supreme_core.scoring.predictions import save_predictions
from supreme_core.store.artefacts import Artefacts
from supreme_core.store.folder import LocalStorage
from supreme_core.store.results import ResultReader, read_order, write_result
from supreme_core.store.s3 import S3Credentials
from supreme_core.store.sealed import SEAL
from supreme_core.store.selections import read_proposals, read_selection, write_selection
from supreme_core.system import forkserver
from supreme_core.tuning import selection
from supreme_core.tuning.rounds import order_of_round, trials_of_round
from tests import warm
from tests.cluster.trainers import made_up
from tests.core.analysis import summaries
from tests.core.components.metrics.evaluations import predictions
from tests.operator import servers
from tests.operator.looks import resource
from tests.operator.test_tuning import TUNED

NAME = ExperimentName(namespace="research", name="tiny", uid="0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0")
PAGE = b"""<ListBucketResult><Name>bucket</Name><IsTruncated>true</IsTruncated>
<NextContinuationToken>%d</NextContinuationToken></ListBucketResult>"""
"""Answer of a server whose list never ends."""

LARGE = b"[" + b"[]," * 2_000_000 + b"[]]"
"""6 MB that take more than 100 of memory."""

SLOW = json.dumps(dict.fromkeys(map(str, range(400_000)))).encode()
"""6 MB of unknown fields, which take six seconds."""


def order_of(seeds):
    asked = summaries.question(seeds).order
    metrics = default_metrics(catalog.bundled())
    work = asked.work.model_copy(update={"metrics": metrics})
    return asked.model_copy(update={"experiment": NAME, "work": work})


ORDER = order_of(range(20))
WORK = work_digest(ORDER.work)


def result(seed, **changes):
    made_up = summaries.results(ORDER.seeds)[seed]
    return made_up.model_copy(update={"experiment": NAME, "work_digest": WORK, **changes})


def document(seed, **changes):
    return result(seed).to_document() | changes


def sealed(fields):
    return json.dumps(fields | {SEAL: canonical.digest(fields)}).encode()


def environment(seed, value):
    """A result one of whose environments, which may hold any JSON, has this value."""
    return json.dumps(document(seed, environments={WORK: {"torch": value}})).encode()


def key(seed, attempt=0):
    return ORDER.result_key(seed, attempt)


def claims(*seeds):
    return [Claim(seed=seed, attempt=0) for seed in seeds]


def ask(method, *arguments, **settings):
    """Return the answer of a new collector."""
    if method == "verify":
        order, place, claimed = arguments
        arguments = order, place, lambda: claimed

    async def asked():
        async with collecting(**settings) as one:
            return await getattr(one, method)(*arguments)

    with asyncio.Runner(loop_factory=Clocked) as runner:
        return runner.run(asked())


class Clocked(asyncio.SelectorEventLoop):
    """An event loop whose clock can be put forward."""

    _ahead = 0.0

    def time(self):
        return super().time() + self._ahead

    def put_forward(self, seconds):
        self._ahead += seconds


@pytest.fixture
def late(monkeypatch):
    """late(seconds): that much time passes once the first word of a worker has come."""

    def set_to(seconds):
        take, times = reader._take, iter([seconds])

        def taking(*arguments):
            take(*arguments)
            loop = asyncio.get_running_loop()
            loop.call_soon(loop.put_forward, next(times, 0.0))  # while the next word is waited for

        monkeypatch.setattr(reader, "_take", taking)

    return set_to


@asynccontextmanager
async def collecting(**settings):
    one = Collector(**settings)
    try:
        yield one
    finally:
        await one.close()


@contextmanager
def warm_workers():
    """Let workers and their server begin with what they import."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "executable", warm.python("operator"))
        yield


@pytest.fixture
def warmed():
    with warm_workers():
        yield


@pytest.fixture
def location(s3_server):
    """An empty bucket."""
    return located(s3_server)


def located(server):
    return Location(
        uri=f"s3://{server.make_bucket()}/some/prefix",
        endpoint=server.endpoint,
        credentials=server.credentials,
    )


def canned(endpoint):
    return Location(uri="s3://bucket", endpoint=endpoint, credentials=S3Credentials("a", "b"))


FAR_TOO_DEEP = b"[" * 100_000
AN_ENVIRONMENT_TOO_DEEP = json.loads("[" * 100 + "]" * 100)
NOT_A_NUMBER = {"scenario": "a", "method": "b", "status": "ok", "metrics": {"c": float("nan")}}
SPOILT = {
    "empty": (b"", "is not JSON"),
    "no JSON": (b"{", "is not JSON"),
    "no text": (b"\xff\xfe\x00\xd8", "is not JSON"),
    "no mapping": (b"[]", "it should be a mapping"),
    "nested deeply": (FAR_TOO_DEEP, "is not JSON: maximum recursion depth"),
    "nested deeply where anything may stand": (environment(5, AN_ENVIRONMENT_TOO_DEEP), "64 level"),
    "not a number": (json.dumps(document(6, runs=[NOT_A_NUMBER])).encode(), "is NaN; it should be"),
    "not a number where anything may stand": (environment(7, float("nan")), "must be finite"),
    "another version of the schema": (sealed(document(8, schemaVersion=2)), "schemaVersion is 2"),
    "another seed": (sealed(document(0)), "is that of another run"),
    "another attempt": (sealed(document(10, attempt=1)), "is that of another run"),
    "another experiment": (
        sealed(document(11, experiment=NAME.to_document() | {"uid": "0f1e2d3c-another"})),
        "is that of another run",
    ),
    "other work": (sealed(document(12, workDigest="0" * 64)), "answers other work (000000000000)"),
    "changed": (
        sealed(document(13)).replace(b'"testSamples": 360', b'"testSamples": 361'),
        "has been changed since it was written",
    ),
    "a key without end": (json.dumps(document(14, **{"x" * 10**6: 1})).encode(), "xxxxxxx..."),
    "a control sequence": (
        json.dumps(document(15, **{"\x1b[2J": 1})).encode(),
        "result.json: \\x1b[2J: unknown field",
    ),
}
"""Documents of seed 0, 1, 2, ...: its result.json, and a part of the check on it."""


@pytest.fixture(scope="module")
def checks(s3_server):
    """Return the checks of all spoilt results, on two with a false or no digest, and on a good
    one."""
    place = located(s3_server)
    store = place.open()
    for seed, (data, _) in enumerate(SPOILT.values()):
        store.write(key(seed), data)
    for seed in (16, 17, 18):
        write_result(store, result(seed))
    digest = sha256(store.read(key(17))).hexdigest()
    asked = claims(*range(17))
    asked += [Claim(seed=17, attempt=0, sha256=digest)]
    asked += [Claim(seed=18, attempt=0, sha256=digest), Claim(seed=19, attempt=3)]
    with warm_workers():
        return ask("verify", ORDER, place, asked)


class TestVerify:
    @pytest.mark.parametrize("kind", SPOILT)
    def test_a_spoilt_result_is_invalid_and_why_is_one_short_line(self, checks, kind):
        seed = list(SPOILT).index(kind)
        check = checks[seed]
        assert (check.seed, check.attempt, check.state) == (seed, 0, "invalid")
        assert SPOILT[kind][1] in check.message
        assert f"seed={seed}/attempt=0/result.json" in check.message
        assert check.message.isprintable()
        assert len(check.message) <= 1024

    def test_a_sound_result_is_valid(self, checks):
        assert checks[16] == ResultCheck(seed=16, attempt=0, state="valid", message="")
        assert checks[17] == ResultCheck(seed=17, attempt=0, state="valid", message="")

    def test_a_result_with_another_digest_than_its_pod_claimed_is_invalid(self, checks):
        assert checks[18].state == "invalid"
        assert f"{key(18)} is not what its pod wrote" in checks[18].message

    def test_a_result_that_is_not_there_is_missing(self, checks):
        assert (checks[19].seed, checks[19].attempt) == (19, 3)
        assert checks[19].state == "missing"
        assert f"there is no object {key(19, 3)}" in checks[19].message

    def test_without_claims_there_is_nothing_to_do(self):
        assert ask("verify", ORDER, canned("http://127.0.0.1:1"), []) == []

    def test_a_result_of_a_gigabyte_is_not_read(self, warmed):
        headers = {"Content-Length": str(2**30), "ETag": '"1"'}
        with serving(headers=headers) as endpoint:
            (check,) = ask("verify", ORDER, canned(endpoint), claims(1))
        assert check.state == "invalid"
        assert "more than the 67108864 bytes that are read" in check.message

    def test_no_verdict_waits_for_a_summary_that_is_written(self, location, warmed):
        write_result(location.open(), result(2))

        async def both():
            silent = socket.create_server(("127.0.0.1", 0))
            async with collecting(workers=1) as one:
                with silent:
                    place = canned(f"http://127.0.0.1:{silent.getsockname()[1]}")
                    writing = asyncio.create_task(one.publish(ORDER, place))
                    await asyncio.sleep(0)
                    (check,) = await one.verify(ORDER, location, lambda: claims(2))
                    assert not writing.done()
                    writing.cancel()
                    with suppress(asyncio.CancelledError):
                        await writing
            return check.state

        assert asyncio.run(both()) == "valid"

    @pytest.mark.e2e  # writes a gigabyte
    def test_a_real_gigabyte_is_invalid_and_hides_no_other(self, s3_server, location, tmp_path):
        zeros = tmp_path / "zeros"
        with zeros.open("wb") as file:
            file.truncate(2**30)
        bucket, _, prefix = location.uri.removeprefix("s3://").partition("/")
        s3_server.client().upload_file(str(zeros), bucket, f"{prefix}/{key(1)}")
        write_result(location.open(), result(2))

        found = ask("verify", ORDER, location, claims(1, 2))

        assert [check.state for check in found] == ["invalid", "valid"]
        assert "more than the 67108864 bytes that are read" in found[0].message

    @pytest.mark.parametrize(
        ("data", "limits", "reason", "workers"),
        [
            (
                LARGE,
                {"memory_mebibytes": 128},
                "needs more memory to be read than there is for it",
                nullcontext,
            ),
            (
                SLOW,
                {"cpu_seconds": 1, "memory_mebibytes": 1536},
                "the worker used more than 1 seconds of processor time",
                warm_workers,
            ),
        ],
        ids=["memory", "processor time"],
    )
    def test_what_no_worker_survives_is_invalid_and_hides_no_other(
        self, location, data, limits, reason, workers
    ):
        store = location.open()
        store.write(key(1), data)
        write_result(store, result(2))

        bounds = replace(VERIFYING, **limits)
        with workers():
            found = ask("verify", ORDER, location, claims(0, 1, 2), verifying=bounds)

        assert [check.state for check in found] == ["missing", "invalid", "valid"]
        assert key(1) in found[1].message
        assert reason in found[1].message


@pytest.fixture
def without_trainer(tmp_path, monkeypatch):
    """An operator's image has no package that only trainers need."""
    for name in ("torch", "torchvision", "timm", "sklearn", "click", "rich"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('only trainers have it')")
    known = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(tmp_path), known])))


@pytest.mark.usefixtures("without_trainer")
class TestChoose:
    """The choice among trials of two tuning seeds, whose results are made up."""

    def order(self, *methods, **tuning):
        asked = {**TUNED["tuning"], **tuning}
        methods = [{"name": name} for name in methods or ("finetune",)]
        return admit(
            resource(**{**TUNED, "tuning": asked, "methods": methods}),
            catalog.bundled(),
            defaults={},
        ).order

    def tried(self, order, location, seeds=(90, 91), *, attempt=0, part=None, **changes):
        trials = (part or order.trials).shared(store=location.uri, endpoint=None, region=None)
        for seed in seeds:
            made = made_up(trials, seed, attempt).model_copy(update=changes)
            write_result(location.open(), made)

    def selection(self, order, location):
        return read_selection(location.open(), order.prefix)

    def test_it_is_that_of_the_results_and_is_written(self, location):
        order = self.order()
        self.tried(order, location)
        chosen = ask("choose", order, location, None, 1)
        results = ResultReader(location.open()).of(order.trials)
        expected = selection.select(order, results, catalog.bundled())
        assert self.selection(order, location) == expected
        data = location.open().read(names.selection_key(order.prefix))
        assert chosen.sha256 == sha256(data).hexdigest()
        assert chosen.selected == [choice.selected for choice in expected.choices]
        assert (chosen.methods, chosen.searches, chosen.not_tunable) == (["finetune"], 1, 0)
        assert chosen.changed == (expected.choices[0].trial > 0)

    def test_what_lies_there_before_anything_was_chosen_is_none(self, location, warmed):
        order = self.order()
        self.tried(order, location)
        first = ask("choose", order, location, None, 1)
        forged = self.selection(order, location)
        (only,) = forged.choices
        other = only.model_copy(update={"trial": (only.trial + 1) % 3})
        store = location.open()
        write_selection(store, order.prefix, forged.model_copy(update={"choices": [other]}))
        assert ask("choose", order, location, None, 1) == first

    def test_what_was_chosen_stays_whatever_is_tried_since(self, location, warmed):
        order = self.order()
        self.tried(order, location)
        first = ask("choose", order, location, None, 1)
        runs = made_up(order.trials.shared(store="s", endpoint=None, region=None), 90, 0).runs
        worse = [run.model_copy(update={"metrics": {"forget_accuracy": 0.5}}) for run in runs]
        both = self.order("finetune", "ssd")
        self.tried(both, location, attempt=1)
        self.tried(order, location, (90,), attempt=2, runs=worse)
        assert ask("choose", order, location, first.sha256, 1) == first
        more = ask("choose", both, location, first.sha256, 1)
        assert more.selected[:1] == first.selected
        assert more.methods == ["finetune", "ssd"]

    def test_another_file_than_that_of_the_choice_is_refused(self, location, warmed):
        order = self.order()
        self.tried(order, location)
        first = ask("choose", order, location, None, 1)
        store, key = location.open(), names.selection_key(order.prefix)
        data = store.read(key)
        store.write(key, data + b" ")
        with pytest.raises(WorkerFailed, match="is not the one by which settings were chosen"):
            ask("choose", order, location, first.sha256, 1)
        store.delete(key)
        assert ask("choose", order, location, first.sha256, 1) == first
        assert store.read(key) == data
        store.delete(key)
        with pytest.raises(WorkerFailed, match=r"selection\.json is gone, and by the trials that"):
            ask("choose", order, location, "0" * 64, 1)
        assert store.stat(key) is None

    def test_every_tuning_seed_is_needed(self, location, warmed):
        order = self.order()
        self.tried(order, location, (90,))
        with pytest.raises(
            WorkerFailed, match="the results of 1 tuning seed are gone, first of 91"
        ):
            ask("choose", order, location, None, 1)

    def test_trials_of_a_round_follow_from_those_before(self, location, warmed):
        order = self.order(rounds=2, trials=4)
        assert ask("choose", order, location, None, 0) == self.round(1)
        self.tried(order, location, (90,))
        following = ask("choose", order, location, None, 1)
        results = ResultReader(location.open()).of(order.trials)
        nothing = Proposals(experiment=order.experiment)
        trials = trials_of_round(order, 2, results, catalog.bundled(), nothing)
        assert following == self.round(2, trials)
        assert len(trials) == 3
        second = order_of_round(order, 2, trials)
        self.tried(order, location, (91,), part=second)
        chosen = ask("choose", order, location, None, 2)
        results |= ResultReader(location.open()).of(second)
        assert self.selection(order, location) == selection.select(
            order, results, catalog.bundled(), last_round=trials
        )
        assert chosen.searches == 1

    def test_a_round_whose_results_are_gone_is_not_made_again_and_again(self, location, warmed):
        order = self.order(rounds=2, trials=4)
        with pytest.raises(
            WorkerFailed, match="the results of 1 tuning seed are gone, first of 90"
        ):
            ask("choose", order, location, None, 1)

    def test_proposals_are_written_before_anybody_computes_them(self, location, warmed):
        order = self.order(sampler="tpe", trials=6)
        first = ask("choose", order, location, None, 0)
        assert [each.trial for each in first.trials] == [0, 1, 2, 3, 4]
        self.tried(order, location, part=order_of_round(order, 1, first.trials))
        second = ask("choose", order, location, None, 1)
        assert [each.trial for each in second.trials] == [*range(7)]
        (search,) = read_proposals(location.open(), order).searches
        assert search.settings == [each.params for each in second.trials[1:]]
        # Whoever begins anew finds how far it was.
        assert ask("choose", order, location, None, 0) == second
        self.tried(order, location, attempt=1, part=order_of_round(order, 2, second.trials))
        ask("choose", order, location, None, 2)
        (choice,) = self.selection(order, location).choices
        assert [each.params for each in choice.candidates] == [
            each.params for each in second.trials
        ]

    @staticmethod
    def round(number, trials=()):
        return NextRound(number=number, methods=["finetune"], trials=[*trials])

    def test_a_trial_that_its_machine_has_lost_makes_a_result_incomplete(self, location, warmed):
        order = self.order()
        trials = order.trials.shared(store="s", endpoint=None, region=None)
        runs = made_up(trials, 91, 0).runs
        for cause, state in (("infrastructure", "incomplete"), ("method", "valid")):
            gone = RunRecord(
                scenario="full_class", method="finetune#2", status="failed", cause=cause, reason="x"
            )
            self.tried(order, location, (91,), runs=[*runs[:-1], gone])
            (check,) = ask("verify", order.trials, location, claims(91))
            assert check.state == state
            is_told = "finetune#2 in full_class was lost to its machine" in check.message
            assert is_told == (state == "incomplete")

    def test_its_page_says_what_was_chosen(self, location, warmed):
        order = self.order()
        self.tried(order, location)
        chosen = ask("choose", order, location, None, 1)
        final = part_of(order, ExperimentStatus(), chosen).order
        for seed in final.seeds:
            shared = final.shared(store="s", endpoint=None, region=None)
            write_result(location.open(), made_up(shared, seed, 0))
        ask("publish", final, location)
        summary = json.loads(location.open().read(names.summary_key(final.prefix)))
        (search,) = summary["tuning"]["searches"]
        assert search["method"] == "finetune"
        changed = self.selection(order, location)
        (only,) = changed.choices
        other = only.model_copy(update={"trial": (only.trial + 1) % 3})
        store = location.open()
        write_selection(store, order.prefix, changed.model_copy(update={"choices": [other]}))
        with pytest.raises(WorkerFailed, match="has other choices than the seeds were computed by"):
            ask("publish", final, location)


@pytest.mark.usefixtures("without_trainer")
class TestPublish:
    """Publishing of two seeds whose Retrained forgot the same samples, so that there is a noise
    floor."""

    ORDER = order_of([7, 8])

    @pytest.fixture
    def filled(self, location):
        fill(location.open(), [7, 8])
        return location

    def test_it_writes_what_a_run_here_writes_and_tells_what_that_is(self, filled, tmp_path):
        fill(here := LocalStorage(tmp_path / "store"), [7, 8])
        publish(here, Artefacts(here, tmp_path / "cache"), self.ORDER)

        published = ask("publish", self.ORDER, filled)

        there = filled.open()
        for key in names.summary_keys(self.ORDER.prefix):
            assert there.read(key) == here.read(key)
        assert read_order(there, self.ORDER.prefix) == self.ORDER
        summary = there.read(names.summary_key(self.ORDER.prefix))
        assert b'"source": "seeds"' in summary, "there is no noise floor"
        assert published.results.uri == f"{filled.uri}/{names.summary_key(self.ORDER.prefix)}"
        assert published.results.sha256 == sha256(summary).hexdigest()
        assert (published.seeds, published.partial) == ([7, 8], False)
        assert [(row.scenario, row.method, row.n, row.failed) for row in published.rows] == [
            ("full_class", "original", 2, 0),
            ("full_class", "retrained", 2, 0),
            ("full_class", "scrub", 2, 0),
        ]
        (scrub,) = (
            row
            for row in json.loads(summary)["rows"]
            if (row["method"], row["metric"]) == ("scrub", self.ORDER.primary_metric)
        )
        assert published.rows[2].mean == scrub["mean"]
        assert {row.asked for row in published.rows} == {2}
        assert published.rows[2].verdict == scrub["gap"]["verdict"]
        assert published.rows[2].margin == scrub["gap"]["margin"]
        assert published.rows[2].margin_source == scrub["gap"]["marginSource"]
        assert published.rows[2].reason == "; ".join(scrub["gap"]["remarks"])
        assert published.rows[2].gap_high == scrub["gap"]["high"]

    def test_what_cannot_be_read_is_no_part_of_it(self, filled, warmed):
        store = filled.open()
        store.write(self.ORDER.result_key(7, 1), b"{")
        store.write(self.ORDER.result_key(8, 0), b"{")

        published = ask("publish", self.ORDER, filled)

        assert (published.seeds, published.partial) == ([7], True)
        scrub = published.rows[2]
        assert (scrub.n, scrub.asked, scrub.pending) == (1, 2, 1)
        assert scrub.reason.startswith("1 of 2 seeds gave no value (1 pending)")

    def test_predictions_that_are_too_large_give_no_floor(self, filled, warmed):
        """Predictions may take a 32nd of the memory, and larger ones are not read."""
        store = filled.open()
        (first, _) = (each for each in store.list("objects") if each.key.endswith(".safetensors"))
        store.write(first.key, bytes(49 * 1024 * 1024))

        ask("publish", self.ORDER, filled, publishing=replace(PUBLISHING, memory_mebibytes=1536))

        summary = json.loads(store.read(names.summary_key(self.ORDER.prefix)))
        assert {row["floor"] for row in summary["rows"]} == {None}

    def test_a_metric_that_is_not_installed_is_named(self, location, warmed):
        metrics = [LabelledComponent(name="of_a_plugin")]
        work = self.ORDER.work.model_copy(update={"metrics": metrics})
        with pytest.raises(WorkerFailed, match=r"spec\.metrics\[0\]\.name: unknown metric"):
            ask("publish", self.ORDER.model_copy(update={"work": work}), location)

    def test_too_little_memory_is_named(self, location):
        few = replace(PUBLISHING, memory_mebibytes=50)
        with pytest.raises(WorkerFailed, match="the worker needs more than its 50 MiB of memory"):
            ask("publish", self.ORDER, location, publishing=few)

    def test_of_many_rows_the_first_200_are_shown(self):
        summary = summaries.summary(
            range(1),
            scenarios=[f"scenario-{i}" for i in range(26)],
            methods=[f"method-{i}" for i in range(6)],
        )
        rows = rows_of(summary)
        assert len(rows) == 200
        assert (rows[0].method, rows[199].scenario) == ("original", "scenario-24")

    def test_rows_count_runs_that_failed_and_runs_that_collapsed(self):
        asked = summaries.question(range(3))
        runs = [
            [summaries.run("retrained", forget_accuracy=0.1, test_accuracy=0.9), scrub]
            for scrub in (
                summaries.run("scrub", forget_accuracy=0.1, test_accuracy=0.1),
                summaries.failed("scrub", "it diverged"),
                summaries.failed("scrub", "it diverged"),
            )
        ]
        found = [summaries.result(seed, of_seed) for seed, of_seed in enumerate(runs)]
        (scrub,) = (row for row in rows_of(aggregate(found, asked)) if row.method == "scrub")
        assert (scrub.collapsed, scrub.failed, scrub.n) == (1, 2, 1)


@pytest.mark.usefixtures("warmed")
class TestStores:
    """Any of these can meet any question; `verify` asks here."""

    def test_one_that_is_down_is_unavailable(self):
        with pytest.raises(StoreUnavailable, match="connect") as error:
            ask("verify", ORDER, canned("http://127.0.0.1:1"), claims(1))
        assert str(error.value).isprintable()

    def test_one_that_never_answers_is_unavailable(self):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            place = canned(f"http://127.0.0.1:{silent.getsockname()[1]}")
            with pytest.raises(StoreUnavailable, match="too slow: the worker took more than 1 sec"):
                ask("verify", ORDER, place, claims(1), verifying=replace(VERIFYING, wall_seconds=1))

    def test_wrong_credentials_are_for_a_person_to_mend(self, s3_server, location):
        if s3_server.kind == "moto":
            pytest.skip("moto takes any credentials")
        wrong = replace(location, credentials=S3Credentials("nobody", "secret-word"))
        with pytest.raises(StoreUnusable, match=r"credentials are refused|access denied") as error:
            ask("verify", ORDER, wrong, claims(1))
        assert "secret-word" not in str(error.value)

    def test_a_bucket_that_is_not_there_is_for_a_person_to_mend(self, location):
        with pytest.raises(StoreUnusable, match="the bucket does not exist"):
            ask("verify", ORDER, replace(location, uri="s3://nobody-made-this"), claims(1))

    @pytest.mark.parametrize("uri", ["/etc", "file:///etc", "folder"])
    def test_a_folder_is_none(self, uri):
        with pytest.raises(StoreUnusable, match="it must be s3://bucket/prefix"):
            Location(uri=uri).open()

    def test_one_that_is_not_allowed_is_not_even_asked(self):
        requests = []
        with serving(b"{}", requests=requests) as endpoint:
            settings = {"allowed_endpoints": ["http://s3.storage:9000"]}
            for question in (["verify", ORDER, canned(endpoint), claims(1)], ["publish", ORDER]):
                with pytest.raises(StoreUnusable, match="none of the operator's allowedEndpoints"):
                    ask(*question[:2], canned(endpoint), *question[3:], **settings)
            assert ask("progress", ORDER.prefix, canned(endpoint), [(1, 0)], **settings) == {}
        assert requests == []


@pytest.mark.usefixtures("warmed")
class TestSlowStores:
    """Slow stores hold up only those who name them. The S3 server is behind a slow proxy."""

    @pytest.mark.parametrize("task", ["verify", "publish"])
    def test_one_honest_experiment_does_not_wait_for_those_of_others(
        self, s3_server, location, task
    ):
        waits = WaitLimits(others=0.5, own=60)
        limits = {"verifying": replace(VERIFYING, waits=waits)}
        limits["publishing"] = replace(PUBLISHING, waits=waits)
        write_result(location.open(), result(2))

        async def both():
            async with collecting(workers=2, **limits) as one:
                with slowed(s3_server.endpoint) as endpoint:
                    return await self.both(one, task, location, endpoint)

        answer, ended = asyncio.run(both())
        assert answer[0].state == "valid" if task == "verify" else answer.seeds == [2]
        assert isinstance(ended, StoreUnavailable)
        assert "is too slow: it was waited for while others waited for their turn" in str(ended)

    async def both(self, one, task, location, endpoint):
        """The answer to an honest experiment, and the error of a slow one that ends for it."""
        place = replace(location, endpoint=endpoint)
        slow = [asyncio.create_task(self.ask(one, task, ns, place)) for ns in ("a", "b")]
        turns = one._verifiers if task == "verify" else one._publishers
        while len(turns._running) < 2:
            await asyncio.sleep(0.01)
        answer = await self.ask(one, task, NAME.namespace, location)
        going = [each for each in slow if not each.done()]
        assert going, "more turns were ended than were needed"
        ended = [each for each in slow if each.done()]
        for each in going:
            each.cancel()
        await asyncio.wait(slow)
        return answer, ended[0].exception()

    async def ask(self, one, task, namespace, place):
        experiment = NAME.model_copy(update={"namespace": namespace})
        order = ORDER.model_copy(update={"experiment": experiment})
        asked = [lambda: claims(2)] if task == "verify" else []
        return await getattr(one, task)(order, place, *asked)

    def test_a_list_without_end_is_not_read_to_its_end(self, monkeypatch):
        monkeypatch.setattr(stores, "LISTED_PAGES", 3)
        asked = []
        with serving(lambda path: PAGE % len(asked), requests=asked) as endpoint:
            listed = canned(endpoint).open().list("experiments")
            with pytest.raises(StoreUnusable, match="has more than the 3 pages that are read"):
                list(listed)
        assert len(asked) == 4

    def test_results_that_always_change_are_published_by_nobody(self, tmp_path):
        class Changing(LocalStorage):
            def list(self, prefix=""):
                write_result(self, result(next(seeds)))
                return super().list(prefix)

        seeds = cycle(range(20))
        store = Changing(tmp_path / "store")
        with pytest.raises(StoreUnavailable, match="results changed in each of 2 looks at them"):
            publish(store, Artefacts(store, tmp_path / "cache"), ORDER, rounds=2)


class TestAllowedEndpoints:
    @pytest.mark.parametrize(
        "endpoint", ["http://a.b:9000", "http://A.B:9000/", "https://c", "https://c:443", None]
    )
    def test_the_same_server_is_allowed_however_it_is_written(self, endpoint):
        allowed = AllowedEndpoints(["http://a.b:9000", "https://c/"])
        allowed.check(Location(uri="s3://bucket", endpoint=endpoint))

    @pytest.mark.parametrize(
        "endpoint",
        [
            *("http://a.b", "https://a.b:9000", "http://a.b:9001", "http://x.a.b:9000"),
            *("http://a.b:9000@evil", "http://evil\\@a.b:9000", "http://a.b:9000/../x", "http://a"),
            *(
                "http://a.b:9000?x",
                "http://a.b:9000#x",
                "http://a.b:9000\n",
                "http://a.b.:9000",
                "",
            ),
        ],
    )
    def test_any_other_is_refused_and_so_is_what_programs_read_differently(self, endpoint):
        with pytest.raises(StoreUnusable, match=r"allowed: http://a\.b:9000") as error:
            AllowedEndpoints(["http://a.b:9000"]).check(Location(uri="s3://b", endpoint=endpoint))
        assert repr(endpoint) in str(error.value)

    def test_none_listed_leaves_the_cloud(self):
        AllowedEndpoints([]).check(Location(uri="s3://bucket"))
        with pytest.raises(StoreUnusable, match="only that of the cloud, so leave it out"):
            AllowedEndpoints([]).check(Location(uri="s3://bucket", endpoint="http://a"))

    def test_without_a_list_every_one_is_allowed(self):
        AllowedEndpoints(None).check(Location(uri="s3://bucket", endpoint="http://anything"))

    def test_a_wrong_entry_is_refused_at_once(self):
        with pytest.raises(SpecError, match=r"allowedEndpoints has 'a\.b:9000'; write http://"):
            AllowedEndpoints(["a.b:9000"])


def progress(seed=1, **changes):
    fields = {"seed": seed, "attempt": 0, "done": 12, "total": 34, "updated_at": "now"}
    return json.dumps(Progress(**(fields | changes)).to_document()).encode()


NO_PROGRESS = {
    "no JSON": b"{",
    "nested deeply": b"[" * 4000,
    "another seed": progress(seed=2),
    "another attempt": progress(attempt=1),
    "more done than there is": progress(done=35),
    "negative": progress().replace(b"12", b"-1"),
    "a text": progress().replace(b"12", b'"12"'),
    "unknown field": progress().replace(b"{", b'{"more": 1, ', 1),
}


class TestProgress:
    def look(self, location, *attempts, **settings):
        return ask("progress", ORDER.prefix, location, attempts, **settings)

    def test_it_is_told_of_the_seeds_that_have_one(self, location):
        store = location.open()
        for seed, attempt in ((1, 0), (3, 2)):
            at = names.progress_key(names.attempt_prefix(ORDER.prefix, seed, attempt))
            store.write(at, progress(seed, attempt=attempt))
        assert self.look(location, (1, 0), (2, 0), (3, 2)) == {1: "12/34", 3: "12/34"}

    @pytest.mark.parametrize("kind", NO_PROGRESS)
    def test_what_is_not_the_progress_of_this_attempt_is_refused(self, kind):
        with pytest.raises(SpecError, match=r"progress\.json"):
            parse_progress(NO_PROGRESS[kind], (1, 0))

    @pytest.mark.parametrize(
        "answer",
        [
            {"body": NO_PROGRESS["another seed"]},
            {"body": progress() + b" " * 4096},
            {"body": progress(), "status": 403},
            {"body": progress(), "status": 500},
        ],
        ids=["another's", "longer than it can be", "forbidden", "failing"],
    )
    def test_any_other_answer_is_none(self, answer):
        with serving(**answer) as endpoint:
            assert self.look(canned(endpoint), (1, 0)) == {}

    def test_each_request_is_told_with_its_answer(self):
        told = []

        def requested(operation, code):
            told.append((operation, code))

        with serving(progress()) as endpoint:
            self.look(canned(endpoint), (1, 0), requested=requested)
        self.look(canned("http://127.0.0.1:1"), (1, 0), requested=requested)
        assert told == [("GetObject", 200), ("GetObject", 0)]

    def test_a_redirect_is_not_followed(self):
        requests = []
        with serving(progress(), requests=requests) as other:
            headers = {"Location": f"{other}/a"}
            with serving(progress(), status=307, headers=headers) as endpoint:
                assert self.look(canned(endpoint), (1, 0)) == {}
        assert requests == []

    @pytest.mark.parametrize("uri", ["s3://bucket", "/some/folder"])
    def test_a_store_that_is_away_or_none_gives_nothing(self, uri):
        place = replace(canned("http://127.0.0.1:1"), uri=uri)
        assert self.look(place, (1, 0), (2, 0)) == {}

    def test_a_server_that_hangs_takes_no_longer_than_allowed_and_what_came_before_counts(self):
        ends = threading.Event()

        def wait(path):
            if "seed%3D2" in path or "seed=2" in path:
                ends.wait(60)

        with serving(progress(), before=wait) as endpoint:
            try:
                found = self.look(canned(endpoint), (1, 0), (2, 0))
            finally:
                ends.set()
        assert found == {1: "12/34"}

    def test_over_tls_the_authorities_are_those_of_boto3(self, tmp_path, monkeypatch):
        authority, context = certified(tmp_path)
        with serving(progress(), tls=context) as endpoint:
            assert self.look(canned(endpoint), (1, 0)) == {}
            monkeypatch.setenv("AWS_CA_BUNDLE", str(authority))
            assert self.look(canned(endpoint), (1, 0)) == {1: "12/34"}
            monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "missing"))
            assert self.look(canned(endpoint), (1, 0)) == {}


READING = '{"seed": 1, "attempt": 0}'
VERDICT = '{"seed": %d, "attempt": 0, "state": "%s", "message": "%s"}'
VALID = VERDICT % (1, "valid", "")
FAILING = {
    "silent": ("exit 0", "judged other results than it was asked to"),
    "no JSON": ("echo nonsense", "answer is none"),
    "without end": ("head -c 3000000 /dev/zero", "answer is none"),
    "of another seed": (f"echo '{VERDICT % (2, 'valid', '')}'", "judged other results"),
    "of another state": (f"echo '{VERDICT % (1, 'good', '')}'", "answer is none"),
    "too long": (f"echo '{VERDICT % (1, 'invalid', 'x' * 1025)}'", "answer is none"),
    "not printable": (
        f"printf %s '{VERDICT % (1, 'invalid', '~u001b')}' | tr '~' '\\\\'",
        "answer is none",
    ),
    "repeated for ever": (f"yes '{READING}'", "more answers than there are questions"),
    "killed": ("kill -KILL $$", "ended by a signal: Killed"),
    "killed while it reads": (f"echo '{READING}'; kill -KILL $$", "ended by a signal: Killed"),
    "an exception": ("echo Traceback >&2; echo KeyError: 1 >&2; exit 1", "failed: KeyError: 1"),
    "a refusal": ("""echo '{"kind": "WorkerFailed", "message": "why"}'""", "^why$"),
}
"""Shell commands in place of a worker, and the check on each."""


class TestWorkers:
    """A shell stands in for the worker, so that it does what no sound one does."""

    @pytest.fixture(params=["forked", "fresh"])
    def instead(self, monkeypatch, request):
        """Takes what the shell is to do when it has read its task, and where it keeps that."""

        def take(script, task="/dev/null"):
            command = ("sh", "-c", f"cat > {task}; {script}")
            forking = servers.warm_forking(f"os.execvp('sh', {command})")
            monkeypatch.setattr(processes, "server_command", lambda: forking)
            monkeypatch.setattr(processes, "fresh_command", lambda: command)
            monkeypatch.setattr(forkserver, "is_possible", lambda: request.param == "forked")

        return take

    def judge(self, **settings):
        return ask("verify", ORDER, canned("http://127.0.0.1:1"), claims(1), **settings)

    @pytest.mark.parametrize(("script", "reason"), FAILING.values(), ids=FAILING)
    def test_one_that_does_not_answer_as_asked_fails_and_blames_no_result(
        self, instead, script, reason
    ):
        instead(script)
        with pytest.raises(WorkerFailed, match=reason):
            self.judge()

    def test_one_whose_turn_is_over_has_judged_what_it_has_judged(self, instead, late, tmp_path):
        first = f"mkdir {tmp_path}/first && echo '{VALID}' && exec sleep 600"
        instead(f"{first}; echo '{VERDICT % (2, 'valid', '')}'")
        late(VERIFYING.whole_seconds)
        found = ask("verify", ORDER, canned("http://127.0.0.1:1"), claims(1, 2))
        assert [(each.seed, each.state) for each in found] == [(1, "valid"), (2, "valid")]

    def test_one_that_has_judged_nothing_in_its_turn_is_of_a_slow_store(self, instead, late):
        instead(f"echo '{READING}'; exec sleep 600")
        late(VERIFYING.whole_seconds)
        with pytest.raises(StoreUnavailable, match="is too slow: all of it took more than 600 sec"):
            self.judge()

    @pytest.mark.parametrize("name", ["SEGV", "ABRT", "XCPU", "RTMIN+3"])
    def test_one_that_what_it_reads_ends_blames_it(self, instead, name):
        instead(f"echo '{READING}'; ulimit -c 0; kill -{name} $$")
        (check,) = self.judge()
        assert check.state == "invalid"
        assert f"{key(1)} cannot be read: the worker " in check.message

    def test_one_that_hangs_over_what_it_reads_is_killed_and_blames_it(self, instead, late):
        instead(f"echo '{READING}'; exec sleep 600")
        late(VERIFYING.wall_seconds)
        (check,) = self.judge()
        assert check.state == "invalid"
        assert "the worker took more than 120 seconds" in check.message

    def test_one_gets_the_task_and_little_else_of_what_the_operator_has(
        self, instead, tmp_path, monkeypatch
    ):
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-the-operator")
        monkeypatch.setenv("SOME_TOKEN", "of-the-operator")
        monkeypatch.setenv("AWS_CA_BUNDLE", "authorities")
        instead(f"env > {tmp_path}/env; echo '{VALID}'", task=tmp_path / "task")
        place = replace(canned("http://a"), credentials=S3Credentials("id", "of-the-user"))

        ask("verify", ORDER, place, claims(1))

        given = (tmp_path / "env").read_text()
        assert "AWS_CA_BUNDLE=authorities" in given
        assert "of-the" not in given
        assert "of-the-user" in (tmp_path / "task").read_text()

        ask("verify", ORDER, replace(place, credentials=None), claims(1))

        assert "AWS_SECRET_ACCESS_KEY=of-the-operator" in (tmp_path / "env").read_text()
        assert "SOME_TOKEN" not in (tmp_path / "env").read_text()

    def test_a_task_that_cannot_be_read_shows_no_secret(self):
        with pytest.raises(ValidationError) as error:
            Task.model_validate_json('{"location": {"credentials": {"secret_key": ["a-word"]}}}')
        assert "secret_key" in str(error.value)
        assert "a-word" not in str(error.value)

    def test_no_more_are_there_at_one_time_than_allowed(self, instead, tmp_path):
        busy = tmp_path / "busy"
        instead(f"mkdir {busy} || touch {tmp_path}/two; sleep 0.05; rmdir {busy}; echo '{VALID}'")

        async def several():
            place = canned("http://127.0.0.1:1")
            async with collecting(workers=1) as one:
                await asyncio.gather(
                    *(one.verify(ORDER, place, lambda: claims(1)) for _ in range(4))
                )

        asyncio.run(several())
        assert list(tmp_path.iterdir()) == []

    def test_nothing_is_left_of_one_whose_answer_nobody_wants_any_more(
        self, instead, tmp_path, monkeypatch
    ):
        instead(f"echo '{VALID}'")
        self.judge()  # what processes of tests keep among temporary files is made by now
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        seen = tmp_path / "pid"
        instead(f"echo $$ > {seen}.new; mv {seen}.new {seen}; exec sleep 60")

        async def given_up():
            place = canned("http://127.0.0.1:1")
            async with collecting() as one:
                question = asyncio.create_task(one.verify(ORDER, place, lambda: claims(1)))
                while not seen.exists():
                    await asyncio.sleep(0.01)
                question.cancel()
                await asyncio.wait([question])
            return question.cancelled()

        assert asyncio.run(given_up())
        with pytest.raises(ProcessLookupError):
            os.kill(int(seen.read_text()), 0)
        assert list(tmp_path.iterdir()) == [seen]


def test_the_operator_imports_nothing_that_computes():
    heavy = ("numpy", "scipy", "matplotlib", "torch", "sklearn", "safetensors", "jinja2")
    program = f"import sys, supreme_operator.results.reader; print({{*sys.modules}} & {{*{heavy}}})"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.stdout == "set()\n", found.stderr


def fill(store, seeds):
    """Sound results, and the predictions of Retrained that they name."""
    pieces = Artefacts(store, Path("unused"))
    for seed in seeds:
        meaning = {"model": seed}
        name = canonical.digest(meaning)
        data = save_predictions(predictions(model=seed))
        files = {names.PREDICTIONS: data}
        pieces.commit("predictions", name, meaning=meaning, files=files, facts={}, environment={})
        cell = summaries.cell("full_class")
        cells = [cell.model_copy(update={"retrained_predictions": [name]})]
        write_result(store, result(seed, cells=cells))


def certified(folder):
    """A file with an authority's certificate, and the context of a server that it vouches for."""
    secret = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=secret.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(secret, hashes.SHA256())
    )
    authority = folder / "authority.pem"
    authority.write_bytes(certificate.public_bytes(Encoding.PEM))
    private = folder / "key.pem"
    private.write_bytes(secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority, private)
    return authority, context


@contextmanager
def slowed(endpoint):
    """The same server, whose answers come a byte at a time and end in hours."""
    host, _, port = endpoint.removeprefix("http://").partition(":")
    ends = threading.Event()

    class Proxy(BaseRequestHandler):
        def handle(self):
            with socket.create_connection((host, int(port))) as server, suppress(OSError):
                while not ends.wait(0.1):
                    ready, _, _ = select.select([self.request, server], [], [], 0)
                    if self.request in ready:  # a request may come in several pieces
                        server.sendall(self.request.recv(65536))
                    if server in ready:
                        self.request.sendall(server.recv(1))

    with ThreadingTCPServer(("127.0.0.1", 0), Proxy) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{proxy.server_address[1]}"
        finally:
            ends.set()
            proxy.shutdown()
            thread.join()


@contextmanager
def serving(body=b"", *, status=200, headers=None, tls=None, requests=None, before=None):
    """A server with one answer to every GET; its endpoint.

    body: may be made of the path.  requests: gets their paths.  before: what it does with a path
    before it answers.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if requests is not None:
                requests.append(self.path)
            if before is not None:
                before(self.path)
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(ConnectionError):  # of a reader that has had enough
                self.wfile.write(body(self.path) if callable(body) else body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
