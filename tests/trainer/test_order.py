"""The trainer process: what it refuses, with which exit code, and what it says while it works.

Most of it runs in this process, because each start of a process takes seconds; that a refusal is
one line and no traceback is shown once on a real one.
"""

import json
import signal
import subprocess
import sys

import pytest
from supreme_trainer.process import trainer

from supreme_core.api.orders import RunOrder
from tests.trainer.experiments import FINETUNE, FULL_CLASS, as_configured, experiment, planned


@pytest.fixture(autouse=True)
def switches():
    """A trainer sets up its whole process; afterwards this one is as before."""
    previous = signal.getsignal(signal.SIGTERM)
    with as_configured():
        yield
    signal.signal(signal.SIGTERM, previous)


def order(store, **changes):
    """The document of an order; changes: its fields by the names of the document."""
    whole = planned(experiment(scenarios=[FULL_CLASS], methods=[FINETUNE]))
    made = RunOrder(experiment=whole.experiment, work=whole.work, seed=260, store=str(store))
    return {**made.to_document(), **changes}


def run(capsys, path, *options):
    """(exit code, events) of the trainer's main function."""
    code = trainer.main([str(path), "--device", "cpu", *options])
    return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def saved(tmp_path, document):
    path = tmp_path / "order.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


BAD = {
    "not JSON": ("{oops", "is not JSON"),
    "a list": ("[]", "it should be"),
    "an unknown field": ({"sede": 1}, "unknown field 'sede'; did you mean 'seed'?"),
    "an unknown schema": ({"schemaVersion": 2}, "schemaVersion is 2; allowed: 1"),
    "a seed that is text": ({"seed": "260"}, 'seed is "260"; it should be a valid integer'),
    "an unknown method": (
        {"work": {"methods": [{"name": "finetoon"}]}},
        "unknown method 'finetoon'; did you mean 'finetune'?",
    ),
    "an unknown class": (
        {"work": {"scenarios": [{"name": "full_class", "params": {"classes": ["thre"]}}]}},
        "spec.scenarios[0] (full_class): unknown class 'thre'",
    ),
    "an unusable store": ({"store": "ftp://host/x"}, "the store's URI is 'ftp://host/x'"),
}


@pytest.mark.parametrize(("mistake", "words"), BAD.values(), ids=BAD)
def test_a_bad_order_is_refused_for_good_with_one_line(capsys, tmp_path, mistake, words):
    document = mistake
    if isinstance(mistake, dict):
        whole = order(tmp_path / "store")
        work = {**whole["work"], **mistake.get("work", {})}
        document = {**whole, **mistake, "work": work}

    code, events = run(capsys, saved(tmp_path, document))

    assert code == 2
    failed = events[-1]
    assert (failed["event"], failed["exitCode"]) == ("failed", 2)
    assert words in failed["message"]
    assert "\n" not in failed["message"]
    assert not [event for event in events if event.get("stage") not in (None, "dataset")]


def test_a_bad_time_between_checkpoints_is_refused_before_anything_is_done(
    capsys, tmp_path, monkeypatch
):
    monkeypatch.setenv("SUPREME_CHECKPOINT_SECONDS", "often")

    code, events = run(capsys, saved(tmp_path, order(tmp_path / "store")), "--prepare")

    assert code == 2
    (failed,) = events
    assert failed["message"].startswith("SUPREME_CHECKPOINT_SECONDS is 'often'; it should be")


def test_a_missing_order_is_one_line_on_a_real_process(tmp_path):
    """Takes a process: what it writes to standard error is what a pod's log shows."""
    done = subprocess.run(
        [sys.executable, "-m", "supreme_trainer.process.trainer", str(tmp_path / "none.json")],
        capture_output=True,
        text=True,
        timeout=600,
    )

    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "cannot read the order" in line
    assert "No such file or directory" in line


def test_events_are_json_lines_from_the_first_stage_to_the_end(capsys, tmp_path):
    code, events = run(capsys, saved(tmp_path, order(tmp_path / "store")))

    assert code == 0
    kinds = [event["event"] for event in events]
    assert set(kinds) == {"environment", "stage-started", "stage-finished", "progress", "finished"}
    assert kinds.index("finished") == len(kinds) - 1
    ended = events[kinds.index("stage-finished")]
    assert {"stage", "scenario", "method", "repeat", "status", "seconds"} < ended.keys()


def test_preparing_tells_the_device_and_trains_nothing(capsys, tmp_path):
    code, events = run(capsys, saved(tmp_path, order(tmp_path / "store")), "--prepare")

    assert code == 0
    assert events[0] == {"event": "device", "kind": "cpu", "count": events[0]["count"]}
    assert {path.name for path in (tmp_path / "store" / "objects").iterdir()} == {"datasets"}


def test_a_store_that_is_a_file_ends_with_one_line(capsys, tmp_path):
    (tmp_path / "store").write_text("no folder")

    code, (*_, failed) = run(capsys, saved(tmp_path, order(tmp_path / "store")))

    assert code == failed["exitCode"] == 2
    assert "a file lies where a folder is needed" in failed["message"]
