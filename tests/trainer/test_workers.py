"""Workers of `supreme run`: which seed a free one joins, and what becomes of a seed that loses one.

Programs in the place of trainers write down how they are started and end as a test says; they wait
for one another by files and not by the clock. What real trainers share out: test_crew.py.
"""

import sys
from dataclasses import asdict
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console
from supreme_trainer.command import local, workers
from supreme_trainer.command.workers import SeedAtWork, worth_helping
from supreme_trainer.process import journal
from supreme_trainer.process.progress import Board

from benchmarks.workers import Simulation
from supreme_core.errors import EXIT_ERROR, EXIT_OK, StoreUnavailable
from supreme_core.plan import Step
from supreme_core.store.opening import open_storage
from supreme_core.system import forkserver
from tests.trainer.experiments import experiment, planned

ORIGINAL, RETRAINED = Step("original"), Step("retrained", "c", "retrained")
METHODS = [Step("unlearned", "c", name) for name in ("finetune", "ssd", "scrub")]
STEPS = (ORIGINAL, RETRAINED, *METHODS)

TRAINER = """#!{python} -SE
import json, os, signal, sys, time
say = lambda **event: print(json.dumps(event), flush=True)
if "--prepare" in sys.argv:
    say(event="device", kind="cpu", count=0)
    say(event="finished", rank=0)
    sys.exit()
folder = {folder!r}
crew = sys.argv[sys.argv.index("--crew") + 1]
with open(os.path.join(folder, "started"), "a") as file:
    file.write(crew + chr(10))
def until(number):
    while len(open(os.path.join(folder, "started")).read().split()) < number:
        time.sleep(0.01)
def until_left():
    # the command has then taken notice of the end of who has left
    left = os.path.join(folder, "left")
    while not os.path.lexists(left):
        time.sleep(0.01)
    try:
        while True:
            os.kill(int(os.readlink(left)), 0)
            time.sleep(0.01)
    except ProcessLookupError:
        pass
mine = len(open(os.path.join(folder, "started")).read().split())
say(event="environment", facts={{}})
until(2)
first = {first!r}
try:
    os.close(os.open(os.path.join(folder, "first"), os.O_CREAT | os.O_EXCL))
except FileExistsError:
    first = {other!r}
if first == "leaves":
    if "--leave" not in sys.argv and mine < 3:
        until_left()
        os.kill(os.getpid(), signal.SIGKILL)
    if "--leave" in sys.argv:
        os.symlink(str(os.getpid()), os.path.join(folder, "left"))
        say(event="finished", rank=0, result=None)
        sys.exit()
    say(event="finished", rank=0, result="0" * 64)
elif first == "fails":
    say(event="failed", rank=0, message="broken", exitCode=1)
elif first == "is killed":
    os.kill(os.getpid(), signal.SIGKILL)
elif first == "waits":
    signal.pause()
else:
    say(event="finished", rank=0, result="0" * 64)
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """run(first, other): the Runner after a seed of two workers that end so, and their crews."""

    def of(first, other):
        program = tmp_path / "trainer"
        program.write_text(
            TRAINER.format(python=sys.executable, folder=str(tmp_path), first=first, other=other)
        )
        program.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(program))
        monkeypatch.setattr(forkserver, "is_possible", lambda: False)
        options = local.Options(device="cpu", ranks=1, workers=2, endpoint=None, region=None)
        storage = open_storage(str(tmp_path / "store"))
        console = Console(file=StringIO())
        runner = local.Runner(planned(experiment()), storage, options, console, tmp_path)
        runner.compute()
        return runner, Path(tmp_path / "started").read_text().split()

    return of


def test_workers_that_were_asked_for_share_a_single_seed(run):
    runner, crews = run("ends well", "ends well")

    assert (len(crews), len(set(crews))) == (2, 1)
    assert (runner.failures, runner.exit_code) == ([], EXIT_OK)


@pytest.mark.parametrize("order", [("is killed", "ends well"), ("ends well", "is killed")], ids=str)
def test_a_seed_is_done_where_one_worker_has_its_result(run, order):
    runner, _ = run(*order)

    assert (runner.failures, runner.exit_code) == ([], EXIT_OK)


def test_a_worker_that_fails_for_good_ends_the_others_and_is_the_one_that_is_told(run):
    runner, _ = run("fails", "waits")

    assert (runner.failures, runner.exit_code) == (["seed 260: broken"], EXIT_ERROR)


def test_a_seed_that_loses_all_workers_has_failed(run):
    runner, _ = run("is killed", "is killed")

    (failure,) = runner.failures
    assert failure.startswith("seed 260: the trainer ended with signal SIGKILL")


def test_a_seed_goes_on_without_a_worker_that_left_and_once_more_where_its_last_is_lost(run):
    """Had it stayed, it would have gone on with what the other one lost."""
    runner, crews = run("leaves", "leaves")

    assert (runner.failures, runner.exit_code) == ([], EXIT_OK)
    assert [crews.count(crew) for crew in dict.fromkeys(crews)] == [2, 1]


def test_a_log_that_the_store_does_not_take_stops_nobody(run, monkeypatch, capsys):
    """The store may be back before another worker has anything to write."""

    def away(*_):
        raise StoreUnavailable("the store is away")

    monkeypatch.setattr(journal, "keep", away)
    runner, _ = run("ends well", "ends well")

    assert (runner.failures, runner.exit_code) == ([], EXIT_OK)
    assert capsys.readouterr().err.count("its log is lost: the store is away") == 2


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def told(kind, step, **facts):
    return {"event": kind, **asdict(step), **facts}


@pytest.fixture
def board():
    """Two seeds, of which the first needed 2 s to start, and 10 for its original."""
    clock = Clock()
    found = Board([1, 2], STEPS, parallel=3, clock=clock, is_shared=True)
    found.begin(1)
    clock.now = 2.0
    found.apply(1, told("stage-started", ORIGINAL))
    found.apply(1, told("stage-finished", ORIGINAL, status="computed", seconds=10.0))
    return found


def at_work(**workers):
    """SeedAtWork of seeds 1 and 2 with so many workers each."""
    counts = {1: workers.get("one", 0), 2: workers.get("two", 0)}
    return {seed: SeedAtWork(trainers=[None] * count) for seed, count in counts.items() if count}


def test_what_is_left_counts_guesses_and_leaves_out_what_has_begun(board):
    """A training takes 10 s as the one before, and each of three methods a quarter."""
    assert board.start_ups_left(1) == pytest.approx((10 + 3 * 2.5) / 2)
    assert board.start_ups_left(2) == pytest.approx((20 + 3 * 2.5) / 2)
    board.apply(1, told("stage-started", RETRAINED), 0)
    assert board.start_ups_left(1) == pytest.approx(3 * 2.5 / 2)
    board.leave(1, 0)
    assert board.start_ups_left(1) == pytest.approx((10 + 3 * 2.5) / 2)


def test_a_free_worker_joins_the_seed_with_most_work_for_each(board):
    assert worth_helping(board, at_work(one=1, two=1)) == 2
    assert worth_helping(board, at_work(one=1, two=2)) == 1


def test_nobody_joins_for_less_than_three_starts(board):
    board.apply(1, told("stage-started", RETRAINED), 0)
    assert board.start_ups_left(1) / 2 < workers.LEAST_START_UPS <= board.start_ups_left(1)

    assert worth_helping(board, at_work(one=1)) == 1
    assert worth_helping(board, at_work(one=2)) is None


LOST = SimpleNamespace(is_lost=True)


@pytest.mark.parametrize(
    "state",
    [
        {"is_done": True},
        {"has_fault": True},
        {"failures": [LOST]},
        {"is_second": True},
        {"is_dry": True},
    ],
    ids=str,
)
def test_nobody_joins_a_seed_that_is_done_begins_again_lost_a_worker_or_has_nothing_ready(
    board, state
):
    """Without memory for one more, each that joined would be lost, one after the other."""
    seeds = {1: SeedAtWork(trainers=[None], **state)}

    assert worth_helping(board, seeds) is None


def test_nobody_joins_beside_a_team_before_it_has_claimed_its_training(board):
    """Else the one that joins would take it."""
    board.begin_team(1, 0, 2)
    assert worth_helping(board, at_work(one=1)) is None
    board.apply(1, told("stage-started", RETRAINED), 0)
    assert worth_helping(board, at_work(one=1)) == 1


def test_before_anything_is_known_only_those_start_that_were_asked_for():
    unknown = Board([1], STEPS, parallel=2, is_shared=True)

    assert worth_helping(unknown, at_work(one=1)) is None
    assert worth_helping(unknown, at_work(one=1), asked=2) == 1


def test_a_seed_has_no_more_workers_than_stages():
    """However many are asked for: each would load torch and find that nothing is ready."""
    unknown = Board([1], STEPS, parallel=1000, is_shared=True)

    assert worth_helping(unknown, at_work(one=len(STEPS) - 1), asked=1000) == 1
    assert worth_helping(unknown, at_work(one=len(STEPS)), asked=1000) is None


def test_where_ranks_split_batches_nobody_joins(board):
    board.is_shared = False

    assert worth_helping(board, at_work(one=1, two=1), asked=3) is None


@pytest.mark.parametrize(
    ("count", "devices", "taken", "left"),
    [(4, 1, [0, 1], [2, 3]), (4, 4, [0, 1], [2, 3]), (4, 2, [2, 3], [0, 1])],
    ids=["a CPU", "a GPU each", "two on each GPU"],
)
def test_ranks_of_a_team_have_places_on_different_devices(count, devices, taken, left):
    places = workers.Places(count, devices=devices)
    assert places.take_apart(2) == taken
    assert {place % devices for place in taken} == {*range(devices)} or devices != 2
    assert [places.take([1])[1] for _ in left] == left


def test_two_steps_of_a_seed_are_told_apart_and_the_older_one_is_shown(board):
    board.apply(1, told("stage-started", RETRAINED), 0)
    board.clock.now += 1
    board.apply(1, told("stage-started", METHODS[0]), 1)
    progress = {"loss": 0.5, "note": "", "epoch": 1, "images": 64, "memory": 1}
    board.apply(1, {"event": "progress", "done": 1, "total": 4, **progress}, 1)
    state = board.seed(1)

    assert state.running == RETRAINED
    assert [each.fraction for each in state.at_work.values()] == [0.0, 0.25]
    board.apply(1, told("stage-finished", RETRAINED, status="computed", seconds=10.0), 0)
    assert state.running == METHODS[0]


def test_what_another_worker_has_computed_counts_once(board):
    """Another one that finds it tells so, before or after the one that has computed it."""
    found = told("stage-finished", RETRAINED, status="computed", seconds=99.0, elsewhere=True)
    board.apply(1, told("stage-started", METHODS[0]), 1)
    assert board.apply(1, found, 1) == RETRAINED
    own = {**found, "seconds": 10.0}
    del own["elsewhere"]
    assert board.apply(1, own, 0) is None

    assert board.ended == {"computed": 2}
    assert board.seed(1).running == METHODS[0]
    assert board.start_ups_left(2) == pytest.approx((20 + 3 * 2.5) / 2)


def test_a_step_that_was_taken_over_is_no_longer_at_work(board):
    """Found later, it ends for whoever lost it; what another one computes inside goes on."""
    found = {"status": "computed", "seconds": 9.0, "elsewhere": True}
    board.apply(1, told("stage-started", METHODS[0]), 0)
    board.apply(1, told("stage-finished", RETRAINED, **found), 0)
    assert board.seed(1).running == METHODS[0]
    board.apply(1, told("stage-finished", METHODS[0], **found), 0)
    assert board.seed(1).running is None


def test_a_worker_is_told_what_took_how_long_before_it(board):
    for seconds, scenario in ((4.0, "c"), (6.0, "d")):
        step = Step("unlearned", scenario, "ssd")
        board.seed(1).waiting.append(step)
        board.apply(1, told("stage-started", step), 0)
        board.apply(1, told("stage-finished", step, status="computed", seconds=seconds), 0)

    assert sorted(board.took) == [("original", "", 10.0), ("unlearned", "ssd", 6.0)]


def test_the_time_left_of_shared_steps_is_their_sum_over_all_workers(board):
    for step in STEPS[1:]:
        board.apply(1, told("stage-finished", step, status="computed", seconds=10.0), 0)

    # Seed 2 has 5 steps of 10 s before it, and 2 s until its trainer is heard.
    assert board.time_left().seconds == pytest.approx((50 + 2) / 3)


@pytest.mark.parametrize(("workers", "seeds", "times"), [(2, 1, 1.9), (4, 10, 3.9), (8, 10, 7.5)])
def test_workers_that_share_out_stages_lose_little_by_the_order_of_claims(workers, seeds, times):
    """The simulation of benchmarks/workers.py has the real board and rule."""
    one = Simulation(workers=1, seeds=seeds).run()
    assert one / Simulation(workers=workers, seeds=seeds).run() >= times
