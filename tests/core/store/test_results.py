"""Results in a store: which of them count, and what happens to those that cannot be trusted.

A result here is a whole one of two runs, written by `write_result` or spoilt by hand afterwards.
"""

import json
import logging
import sys

import pytest

from supreme_core.api import canonical, names
from supreme_core.api.orders import ExperimentName, work_digest
from supreme_core.errors import SpecError
from supreme_core.store import results
from supreme_core.store.folder import LocalStorage
from supreme_core.store.results import (
    ResultReader,
    attempts_at_work,
    attempts_by_seed,
    drop_results,
    parse_result,
    read_order,
    write_at_work,
    write_order,
    write_result,
)
from supreme_core.store.sealed import SEAL, sealed_json
from supreme_core.system.warnings import once
from tests.core.analysis.summaries import digest, question, result, run

ORDER = question([7, 8]).order
WORK = work_digest(ORDER.work)
FLOWERS = sorted(f"local/flowers-{number}" for number in range(15))
RUNS = [run("original", forget_accuracy=0.9), run("retrained", forget_accuracy=0.0)]


@pytest.fixture
def storage(tmp_path):
    return LocalStorage(tmp_path)


@pytest.fixture(autouse=True)
def warnings_are_kept(caplog):
    caplog.set_level(logging.WARNING)


def of(seed, *, attempt=0, runs=RUNS, **changes):
    """A result of the order's own work."""
    return result(seed, runs, **({"work_digest": WORK, "attempt": attempt} | changes))


def key(seed, attempt=0):
    return f"{ORDER.prefix}/seed={seed}/attempt={attempt}/result.json"


def sealed(**changes):
    """The JSON of a result as it is written, some of its fields others."""
    document = of(7).to_document() | changes
    return json.dumps(document | {SEAL: canonical.digest(document)}).encode()


def spoilt(**changes):
    """The same where the fields are no longer what `canonical_json` can write."""
    return json.dumps(of(7).to_document() | changes).encode()


def environment(value):
    """A result one of whose environments, which may hold any JSON, has this value."""
    return spoilt(environments={WORK: {"torch": value}})


def scalars(value, path=()):
    """The path of each value that is no list and no object."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        if isinstance(item, dict | list):
            yield from scalars(item, (*path, key))
        else:
            yield (*path, key)


def changed(document, path):
    """A copy in which one value is another of its kind."""
    copy = json.loads(json.dumps(document))
    place = copy
    for key in path[:-1]:
        place = place[key]
    old = place[path[-1]]
    others = {bool: lambda: not old, str: lambda: f"{old}x", type(None): lambda: "x"}
    place[path[-1]] = others.get(type(old), lambda: old + 1)()
    return copy


def nested(levels):
    return json.loads("[" * levels + "]" * levels)


class TestWhichCount:
    def test_without_any_there_are_none(self, storage):
        assert ResultReader(storage).of(ORDER) == {}

    def test_what_is_written_is_read(self, storage):
        write_result(storage, of(7))
        assert storage.read(key(7))
        assert ResultReader(storage).of(ORDER) == {7: of(7)}

    @pytest.mark.parametrize("attempts", [(0, 1, 2), (2, 1, 0), (9, 10)], ids=str)
    def test_the_newest_attempt_wins_whatever_was_written_last(self, storage, attempts):
        for attempt in attempts:
            write_result(storage, of(7, attempt=attempt))
        assert ResultReader(storage).of(ORDER)[7].attempt == max(attempts)

    def test_a_result_of_other_work_is_passed_over_in_silence(self, storage, caplog):
        """Methods were added since: the older attempt may answer the old order again."""
        write_result(storage, of(7, attempt=0))
        write_result(storage, of(7, attempt=1, work_digest=digest("other work")))
        write_result(storage, of(8, work_digest=digest("other work")))
        assert ResultReader(storage).of(ORDER) == {7: of(7, attempt=0)}
        assert caplog.messages == []

    def test_seeds_that_the_order_does_not_name_are_left_out(self, storage):
        for seed in (7, 8, 9):
            write_result(storage, of(seed))
        assert sorted(ResultReader(storage).of(ORDER)) == [7, 8]

    def test_other_experiments_are_left_out(self, storage):
        other = ExperimentName(namespace="local", name="tiny", uid="9876543210")
        write_result(storage, of(7, experiment=other))
        assert ResultReader(storage).of(ORDER) == {}

    def test_only_result_files_of_attempts_are_looked_at(self, storage, caplog):
        for name in ("attempt=0/run.log", "attempt=x/result.json", "result.json"):
            storage.write(f"{ORDER.prefix}/seed=7/{name}", b"no result")
        storage.write(f"{ORDER.prefix}/seed=7/attempt=0/deeper/result.json", b"no result")
        assert attempts_by_seed(storage, ORDER) == {7: [], 8: []}
        assert ResultReader(storage).of(ORDER) == {}
        assert caplog.messages == []


NOT_TRUSTED = {
    "no JSON": (b"{", "result.json is not JSON"),
    "no text": (b"\xff\xfe\x00\xd8", "result.json is not JSON"),
    "nested deeply": (b"[" * 100_000, "result.json is not JSON"),
    "no mapping": (b"[]", "it should be"),
    "cut short": (spoilt()[:200], "result.json is not JSON"),
    "missing field": (b'{"seed": 7}', "is required and was not given"),
    "unknown field": (spoilt(extra=1), "unknown field 'extra'"),
    "loose type": (spoilt(seed="7"), 'seed is "7"'),
    "not a number": (spoilt(cells=[], runs=[{"metrics": {"a": float("nan")}}]), "runs[0]"),
    "not a number where anything may stand": (environment(float("nan")), "must be finite"),
    "no text where anything may stand": (environment("\ud800"), "half of a surrogate pair"),
    "nested deeply where anything may stand": (environment(nested(100)), "64 levels"),
    "a key without end": (spoilt(**{"x" * 100_000: 1}), "result.json: xxxx"),
    "a control sequence": (spoilt(seed="\x1b[2J"), 'seed is "\\u001b[2J"'),
    "another schema": (spoilt(schemaVersion=2), "schemaVersion is 2"),
    "another seed": (sealed(seed=8), "is that of another run"),
    "a run twice": (
        sealed(runs=[each.to_document() for each in (*RUNS, RUNS[0])]),
        "runs has 'original' in 'full_class' twice",
    ),
    "another attempt": (sealed(attempt=1), "is that of another run"),
    "a changed number": (
        sealed().replace(b'"forget_accuracy": 0.9', b'"forget_accuracy": 0.8'),
        "has been changed since it was written",
    ),
    "another experiment": (
        sealed(experiment={"namespace": "local", "name": "tiny", "uid": "01234567xx"}),
        "is that of another run",
    ),
}


class TestTrust:
    @pytest.mark.parametrize(("data", "reason"), NOT_TRUSTED.values(), ids=NOT_TRUSTED)
    def test_what_cannot_be_trusted_counts_as_absent_with_a_warning(
        self, storage, caplog, data, reason
    ):
        storage.write(key(7), data)
        write_result(storage, of(8))

        assert ResultReader(storage).of(ORDER) == {8: of(8)}

        (message,) = caplog.messages
        assert message.startswith("a result counts as absent: ")
        assert reason in message
        assert key(7) in message
        assert message.isprintable()
        assert len(message) < 1100

    def test_a_value_that_can_just_be_read_but_not_shown_is_refused_all_the_same(self):
        """Less of the stack is left where a message is made of it."""
        limit = sys.getrecursionlimit()
        for levels in range(limit - 150, limit):
            with pytest.raises(SpecError, match=key(7)):
                parse_result(b'{"seed": ' + b"[" * levels + b"]" * levels + b"}", key(7))

    def test_a_result_of_a_version_that_left_out_what_is_optional_counts(self, storage):
        document = of(7).to_document()
        document["cells"] = [{"scenario": "a", "forgets": "classes", "forgetDigest": WORK}]
        document["cells"][0] |= {"forgetSamples": 1, "retainSamples": 2, "forgetTestSamples": 0}
        seal = {SEAL: canonical.digest(document)}
        storage.write(key(7), json.dumps(document | seal).encode())
        assert ResultReader(storage).of(ORDER)[7].cells[0].retrained_predictions == []

    def test_a_damaged_one_is_told_once_however_often_it_is_looked_at(self, storage, caplog):
        write_result(storage, of(8))
        storage.write(key(7), b"{")
        reader = ResultReader(storage)
        for _ in range(2):
            assert [*reader.of(ORDER)] == [8]
        assert drop_results(storage, ORDER, ORDER, reader) == {7: [0]}
        assert len(caplog.messages) == 1

        storage.write(key(7), b"{ }")  # another one
        assert [*reader.of(ORDER)] == [8]
        assert len(caplog.messages) == 2

    def test_an_older_sound_attempt_then_counts(self, storage):
        write_result(storage, of(7, attempt=0))
        storage.write(key(7, attempt=1), b"{}")
        assert ResultReader(storage).of(ORDER) == {7: of(7, attempt=0)}

    def test_a_result_that_is_too_large_is_not_read(self, storage, caplog, monkeypatch):
        write_result(storage, of(7))
        monkeypatch.setattr(results, "RESULT_BYTES", len(storage.read(key(7))) - 1)
        assert ResultReader(storage).of(ORDER) == {}
        assert "a result counts as absent" in caplog.text

    def test_a_result_of_just_the_allowed_size_is_read(self, storage, monkeypatch):
        write_result(storage, of(7))
        monkeypatch.setattr(results, "RESULT_BYTES", len(storage.read(key(7))))
        assert ResultReader(storage).of(ORDER) == {7: of(7)}

    def test_a_value_that_is_not_defined_survives(self, storage):
        runs = [run("ssd", speed_up=None, forget_accuracy=0.25)]
        write_result(storage, of(7, runs=runs))
        assert ResultReader(storage).of(ORDER)[7].runs == runs


class TestOrder:
    def test_an_order_is_read_as_it_was_written(self, storage):
        write_order(storage, ORDER)
        assert read_order(storage, ORDER.prefix) == ORDER

    def test_a_missing_order_names_the_place(self, storage):
        with pytest.raises(SpecError, match="there is no experiment at experiments/none in"):
            read_order(storage, "experiments/none")

    @pytest.mark.parametrize(
        ("asked", "said"),
        [
            ("experiments/local/flower-14", "; did you mean 'local/flowers-14'?"),
            ("experiments/other/x", f"; experiments there: {', '.join(FLOWERS[:12])} and 3 more"),
        ],
        ids=["near", "far from all"],
    )
    def test_a_mistyped_experiment_is_told_which_there_are(self, storage, asked, said):
        for name in FLOWERS:
            storage.write(f"experiments/{name}/order.json", b"")
        with pytest.raises(SpecError) as caught:
            read_order(storage, asked)
        assert str(caught.value).endswith(said)

    def test_a_store_without_experiments_says_so(self, storage):
        with pytest.raises(SpecError, match=r"; experiments there: none$"):
            read_order(storage, "experiments/local/flowers")

    def test_an_order_with_any_other_value_is_refused_and_the_command_named(self, storage):
        """Each scalar in turn, digest and all, is another one of its kind."""
        write_order(storage, ORDER)
        key = f"{ORDER.prefix}/order.json"
        document = json.loads(storage.read(key))
        paths = [*scalars(document)]
        assert len(paths) > 20
        for path in paths:
            storage.write(key, json.dumps(changed(document, path)).encode())
            with pytest.raises(SpecError, match=r"`supreme run FILE` writes it anew"):
                read_order(storage, ORDER.prefix)

    @pytest.mark.parametrize("seeds", [[7, 7], [7, -1], [2**32], []])
    def test_an_order_with_seeds_that_no_experiment_has_is_refused(self, storage, seeds):
        document = ORDER.to_document() | {"seeds": seeds}
        storage.write(f"{ORDER.prefix}/order.json", sealed_json(document))
        with pytest.raises(SpecError, match=r"order\.json: seeds"):
            read_order(storage, ORDER.prefix)

    @pytest.mark.parametrize("margin", [0, -0.02])
    def test_an_order_with_a_margin_that_no_experiment_has_is_refused(self, storage, margin):
        document = ORDER.to_document() | {"margins": {"forget_accuracy": margin}}
        storage.write(f"{ORDER.prefix}/order.json", sealed_json(document))
        with pytest.raises(SpecError, match=r"order\.json: margins.*greater than 0"):
            read_order(storage, ORDER.prefix)

    def test_an_order_of_another_experiment_is_refused_and_counts_as_absent(self, storage):
        """A report on the place where it was put would write the files of the other one."""
        write_order(storage, ORDER)
        place = f"{ORDER.prefix}-copy"
        storage.write(f"{place}/order.json", storage.read(f"{ORDER.prefix}/order.json"))
        with pytest.raises(SpecError, match=f"is that of another experiment, {ORDER.prefix}$"):
            read_order(storage, place)
        assert ResultReader(storage).find_order(place) is None

    @pytest.mark.parametrize(
        ("field", "value", "said"),
        [
            ("unlearningRepeats", 2**31, "less than or equal to 100"),
            ("evaluationRepeats", 2**31, "less than or equal to 100"),
            ("retrainedReplicas", 2**31, "less than or equal to 10"),
            ("methods", [{"name": "scrub"}, {"name": "scrub"}], "methods has 'scrub' twice"),
            ("scenarios", [{"name": "a"}, {"name": "b", "label": "a"}], "scenarios has 'a' twice"),
        ],
    )
    def test_an_order_of_work_that_no_experiment_has_is_refused(self, storage, field, value, said):
        """The plan of 2**31 repeats is larger than any memory."""
        document = ORDER.to_document()
        document["work"][field] = value
        storage.write(f"{ORDER.prefix}/order.json", sealed_json(document))
        with pytest.raises(SpecError, match=rf"order\.json: .*{said}"):
            read_order(storage, ORDER.prefix)

    def test_an_order_without_a_digest_is_read_with_a_warning(self, storage, caplog):
        storage.write(f"{ORDER.prefix}/order.json", json.dumps(ORDER.to_document()).encode())
        assert read_order(storage, ORDER.prefix) == ORDER
        assert "has no digest, so an edit of it is not noticed" in caplog.text

    @pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}"], ids=repr)
    def test_an_order_that_cannot_be_read_names_its_file(self, storage, data):
        storage.write(f"{ORDER.prefix}/order.json", data)
        with pytest.raises(SpecError, match=r"order\.json"):
            read_order(storage, ORDER.prefix)

    def test_an_order_that_is_too_large_is_not_read(self, storage, monkeypatch):
        write_order(storage, ORDER)
        monkeypatch.setattr(results, "RESULT_BYTES", 10)
        with pytest.raises(SpecError):
            read_order(storage, ORDER.prefix)


class TestAtWork:
    """Attempts in which processes of other seeds may take part."""

    OWN = ORDER.shared(store="s3://x", endpoint=None, region=None).of_seed(7, attempt=2)

    def of(self, seed, attempt=0, **changes):
        return self.OWN.model_copy(update={"seed": seed, "attempt": attempt, **changes})

    def seen(self, storage):
        return [(each.seed, each.attempt) for each in attempts_at_work(storage, self.OWN)]

    def test_are_those_of_other_seeds_from_the_next_one_on(self, storage):
        for seed in (3, 7, 9, 8):
            write_at_work(storage, self.of(seed))
        assert self.seen(storage) == [(8, 0), (9, 0), (3, 0)]
        assert attempts_at_work(storage, self.OWN)[0] == self.of(8)

    def test_are_the_newest_ones_without_a_result(self, storage):
        for attempt in (0, 1):
            write_at_work(storage, self.of(8, attempt))
        assert self.seen(storage) == [(8, 1)]
        write_result(storage, of(8, attempt=1))
        assert self.seen(storage) == []

    def test_of_other_work_or_another_store_are_left_out(self, storage):
        work = ORDER.work.model_copy(update={"evaluation_repeats": 2})
        write_at_work(storage, self.of(8, work=work))
        write_at_work(storage, self.of(9, store="s3://y"))
        assert self.seen(storage) == []

    @pytest.mark.parametrize("spoil", [b"{}", b"oops"])
    def test_that_cannot_be_trusted_are_left_out_with_a_warning(self, storage, caplog, spoil):
        storage.write(names.at_work_key(self.of(8).prefix), spoil)
        warn = once(logging.getLogger(__name__).warning)
        for _ in range(2):  # as a process looks again and again
            assert attempts_at_work(storage, self.OWN, warn=warn) == []
        (message,) = caplog.messages
        assert message.startswith("an attempt at work counts as absent: ")
