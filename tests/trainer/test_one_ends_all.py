"""The end of any one of several ranks ends them all, soon, with one line that says what it was.

Real trainers, started as on several machines, where nobody ends the ranks of another one; and in
the end under torchrun, through the real command. Watches alone, of ranks that are stuck or lose
their network: tests/core/engine/test_watch.py.

| what happens to one rank  | when                                                     |
| ------------------------- | -------------------------------------------------------- |
| killed: of 2, of 4        | before, in and after a training                          |
| SIGTERM                   | in a training; in an evaluation; in a method without one |
| an error that others have | in a method                                              |
| an error of its own       | before the work; in a method                             |
"""

import json
import os
import signal
from contextlib import contextmanager
from pathlib import Path

import pytest

from supreme_core.errors import (
    EXIT_ERROR,
    EXIT_INTERRUPTED,
    EXIT_INVALID,
    EXIT_SIGNAL,
    EXIT_TEMPORARY,
    EXIT_TERMINATED,
)
from tests.trainer.experiments import (
    FINETUNE,
    FULL_CLASS,
    LIGHT,
    SSD,
    damaged_artefacts,
    experiment,
    folder_store,
    install,
    leftovers,
    ranks_of,
    running,
    written,
)
from tests.trainer.trainers import ordered, trainers

SHORT, LONG = (
    experiment(
        model=LIGHT,
        scenarios=[FULL_CLASS],
        methods=[SSD, FINETUNE],
        metrics=[{"name": "accuracy"}],
        training={"epochs": epochs, "microBatches": 4, "batchSize": 256},
    )
    for epochs in (1, 10_000)
)
"""LONG is in its first training when it is told so, however late it gets to hear it. Where it is
another moment, rank 0 halts there."""

BEFORE = {"event": "stage-started", "stage": "dataset"}
IN_A_TRAINING = {"event": "progress"}
IN_AN_EVALUATION = {"event": "stage-started", "stage": "predictions"}
IN_IMPORTANCES = {"event": "stage-started", "stage": "importances"}

METHODS = '''
import os

from supreme_core.registry import NoParams, method


@method(paper="none")
def raises(task, params: NoParams):
    """Asks for what is not there."""
    raise KeyError("no such layer")


@method(paper="none")
def raises_on_one_rank(task, params: NoParams):
    """Finds something else on one of several ranks."""
    if os.environ["RANK"] == "1":
        raise KeyError("no such layer")
    task.reduction.ranks.each(0.0)
'''


@pytest.fixture
def order(tmp_path):
    """The file of an order for SHORT."""
    return ordered(tmp_path, SHORT, store=str(tmp_path / "store"))


def failures(seed):
    """Return the failures that are reported to whoever waits, by rank; a rank may be missing."""
    events = [event for event in seed.events() if event["event"] == "failed"]
    events.sort(key=lambda event: event["rank"])
    return [(event["message"], event["exitCode"]) for event in events]


@pytest.mark.parametrize(
    ("size", "victim", "work", "moment"),
    [
        (2, 1, LONG, IN_A_TRAINING),
        (2, 0, LONG, IN_A_TRAINING),
        (2, 1, SHORT, IN_AN_EVALUATION),
        (4, 3, SHORT, BEFORE),
        (4, 2, LONG, IN_A_TRAINING),
        pytest.param(4, 0, SHORT, IN_IMPORTANCES, marks=pytest.mark.slow),
    ],
    ids=[
        "1 of 2 in a training",
        "0 of 2 in a training",
        "1 of 2 in an evaluation",
        "3 of 4 before the work",
        "2 of 4 in a training",
        "0 of 4 in a method",
    ],
)
def test_a_killed_rank_ends_all(tmp_path, size, victim, work, moment):
    order = ordered(tmp_path, work, store=str(tmp_path / "store"))
    halt = moment if work is SHORT else None
    with trainers(*[order] * size, halt=halt) as seed:
        seed.until(**moment)
        if halt:
            seed.halted(0)
        seed.signal(victim, signal.SIGKILL)
        if halt and victim != 0:
            seed.go_on(0)
        codes = seed.ended()
        told = failures(seed)

    gone = f"rank {victim} is gone: its process was killed or crashed"
    assert codes.pop(victim) == -signal.SIGKILL
    assert codes == [EXIT_TEMPORARY] * (size - 1)
    logs = [seed.log(rank) for rank in range(size) if rank != victim]
    assert logs == [[f"ERROR {gone}"]] * (size - 1)
    assert told == [(gone, EXIT_TEMPORARY)] * (size - 1)
    assert damaged_artefacts(tmp_path / "store") == []


@pytest.mark.parametrize("told", [0, 1])
def test_sigterm_to_one_rank_in_a_training_leaves_a_checkpoint_and_stops_all(tmp_path, told):
    order = ordered(tmp_path, LONG, store=str(tmp_path / "store"))
    with trainers(order, order) as seed:
        seed.until(**IN_A_TRAINING)
        seed.signal(told, signal.SIGTERM)
        codes = seed.ended()

    assert codes == [EXIT_TERMINATED] * 2
    stored = [item.key for item in folder_store(tmp_path / "store").list()]
    assert [key.split("/")[1] for key in stored if key.endswith("/checkpoint")] == ["originals"]
    assert leftovers(tmp_path / "store") == []


@pytest.mark.parametrize(
    ("told", "moment"),
    [(0, IN_AN_EVALUATION), (1, IN_AN_EVALUATION), (1, IN_IMPORTANCES)],
    ids=["0 in an evaluation", "1 in an evaluation", "1 in importances"],
)
def test_sigterm_to_one_rank_outside_of_a_training_stops_all(tmp_path, order, told, moment):
    with trainers(order, order, halt=moment) as seed:
        seed.until(**moment)
        seed.halted(0)
        seed.signal(told, signal.SIGTERM)
        seed.go_on(0)
        codes = seed.ended()
        said = failures(seed)

    line = f"rank {told} was told to stop"
    assert codes == [EXIT_TERMINATED] * 2
    assert [seed.log(rank) for rank in (0, 1)] == [[f"INFO {line}"]] * 2
    assert said == [(line, EXIT_TERMINATED)] * 2
    assert damaged_artefacts(tmp_path / "store") == leftovers(tmp_path / "store") == []


def test_what_is_wrong_for_one_rank_only_ends_all_with_its_reason(tmp_path, order):
    with trainers(order, tmp_path / "none.json") as seed:
        codes = seed.ended()
        told = failures(seed)

    reason = f"cannot read the order {tmp_path}/none.json: No such file or directory"
    assert codes == [EXIT_INVALID] * 2
    assert told == [(f"rank 1: {reason}", EXIT_INVALID), (reason, EXIT_INVALID)]
    assert [seed.log(0), seed.log(1)] == [[f"ERROR rank 1: {reason}"], [f"ERROR {reason}"]]


def test_a_mistake_that_all_ranks_make_is_told_without_naming_one(tmp_path):
    none = tmp_path / "none.json"
    with trainers(none, none) as seed:
        codes = seed.ended()
        told = failures(seed)

    assert codes == [EXIT_INVALID] * 2
    assert told[0] == (f"cannot read the order {none}: No such file or directory", EXIT_INVALID)


def with_methods(order, *names):
    """Change the methods of an order to those of a plug-in, which nothing here knows."""
    document = json.loads(order.read_text())
    document["work"]["methods"] = [{"name": name} for name in names]
    order.write_text(json.dumps(document))


def test_a_method_that_fails_on_all_ranks_costs_no_other_method(tmp_path, order):
    install(tmp_path / "site", METHODS)
    with_methods(order, "raises", "finetune")
    with trainers(order, order, site=tmp_path / "site") as seed:
        codes = seed.ended()

    assert codes == [0, 0], seed.log(0)
    (result,) = folder_store(tmp_path / "store").list("experiments")
    runs = json.loads(folder_store(tmp_path / "store").read(result.key))["runs"]
    assert {run["method"]: run["status"] for run in runs} == {
        "original": "ok",
        "retrained": "ok",
        "raises": "failed",
        "finetune": "ok",
    }


@pytest.mark.slow
def test_a_method_that_fails_on_one_rank_only_ends_all(tmp_path, order):
    """Takes the 20 s for which that rank waits for the others to fail too."""
    install(tmp_path / "site", METHODS)
    with_methods(order, "raises_on_one_rank")
    with trainers(order, order, site=tmp_path / "site") as seed:
        seed.until(event="stage-started", method="raises_on_one_rank")
        codes = seed.ended()
        told = failures(seed)

    reason = "failed on this rank only: KeyError: 'no such layer'"
    assert codes == [EXIT_ERROR] * 2
    assert told[0] == (f"rank 1: raises_on_one_rank · full_class {reason}", EXIT_ERROR)
    assert not list(folder_store(tmp_path / "store").list("experiments"))


@contextmanager
def command_on_two_ranks(folder):
    """The real command in the first training; also rank to the id of its process."""
    file = written(folder / "work.yaml", LONG)
    with running("run", file, "--store", folder / "store", "--ranks", 2, "--device", "cpu") as run:
        run.until("dataset computed")
        (launcher,) = run.trainers()
        yield run, ranks_of(launcher)


def test_the_command_names_the_rank_that_is_gone_and_not_what_torchrun_says_of_it(tmp_path):
    with command_on_two_ranks(tmp_path) as (run, ranks):
        os.kill(ranks[1], signal.SIGKILL)
        done = run.wait()

    gone = "rank 1 is gone: its process was killed or crashed"
    assert done.err.splitlines() == [f"error: seed 260: {gone}"]
    assert done.code == EXIT_SIGNAL + signal.SIGKILL


@pytest.mark.slow
def test_the_command_names_the_rank_that_was_told_to_stop(tmp_path):
    with command_on_two_ranks(tmp_path) as (run, ranks):
        os.kill(ranks[1], signal.SIGTERM)
        done = run.wait()

    assert done.err.splitlines() == ["error: seed 260: rank 1 was told to stop"]
    assert done.code == EXIT_TERMINATED


@pytest.mark.slow
def test_where_no_rank_is_left_to_say_so_the_command_has_the_words_of_torchrun(tmp_path):
    with command_on_two_ranks(tmp_path) as (run, ranks):
        for rank in (0, 1):
            os.kill(ranks[rank], signal.SIGKILL)
        done = run.wait()

    (line,) = done.err.splitlines()
    assert line.startswith("error: seed 260: a rank ended with signal SIGKILL; its last words: ")
    assert done.code == EXIT_SIGNAL + signal.SIGKILL


@pytest.mark.slow
def test_ctrl_c_stops_a_run_of_two_ranks(tmp_path):
    with command_on_two_ranks(tmp_path) as (run, ranks):
        run.signal(signal.SIGINT)
        done = run.wait()
        left = [pid for pid in ranks.values() if Path(f"/proc/{pid}").exists()]

    assert (done.code, done.err, left) == (EXIT_INTERRUPTED, "", [])
    assert leftovers(tmp_path / "store") == []
