"""Teams: processes that have nothing left to take go on with a training together, with the bits of
one process.

| what happens                                            | what is seen                         |
| ------------------------------------------------------- | ------------------------------------ |
| one process of two is in a training, the other is idle  | two ranks go on at its checkpoint    |
| a rank of the team is killed                            | single processes go on, without more |
| a stop is asked for while the team trains               | a checkpoint, from which it goes on  |

All of it in `supreme run` and in a pod. A plug-in makes the places certain, whatever the speed: the
first training stops after some steps until it is told to stop, and the team where a test says so.
That ranks and processes that take stages give the same bits: test_crew.py. Most of it is run by
`make e2e`: each case takes torchrun and several trainers.
"""

import json
import signal
import threading
import time
from queue import Queue
from types import SimpleNamespace

import pytest
from rich.console import Console
from supreme_trainer.command import workers
from supreme_trainer.command.workers import Places, SeedAtWork, SeedTrainer, Shift
from supreme_trainer.process import pod as pods
from supreme_trainer.process import teams
from supreme_trainer.process.launch import Trainer
from supreme_trainer.process.progress import Board
from supreme_trainer.process.teams import LEAST_SECONDS, Plan, Teams, size_of_teams

from supreme_core.errors import EXIT_ERROR, EXIT_OK, EXIT_TEMPORARY, EXIT_TERMINATED
from supreme_core.plan import Step
from tests.trainer.experiments import (
    FINETUNE,
    FULL_CLASS,
    LIGHT,
    artefacts_of,
    compute,
    damaged_artefacts,
    experiment,
    folder_of,
    folder_store,
    group_is_alive,
    leftovers,
    manifests,
    planned,
    results_of,
    running,
    written,
)
from tests.trainer.test_pod import ended, pod, shared
from tests.trainer.test_workers import Clock, told

MINUTES = 3 * LEAST_SECONDS


@pytest.mark.parametrize(
    ("left", "processes", "micro_batches", "size"),
    [
        ([MINUTES], 2, 2, 2),
        ([MINUTES], 3, 4, 2),
        ([MINUTES], 4, 4, 4),
        ([MINUTES], 8, 4, 4),
        ([MINUTES, MINUTES], 4, 4, 2),
        ([MINUTES, MINUTES], 8, 2, 2),
        ([MINUTES], 2, 1, 1),
        ([MINUTES], 1, 2, 1),
        ([MINUTES, MINUTES], 2, 2, 1),
        ([MINUTES, MINUTES], 3, 2, 1),
        ([MINUTES, MINUTES], 1, 2, 1),
        ([MINUTES, LEAST_SECONDS - 1], 4, 2, 1),
        ([MINUTES, None], 4, 2, 1),
        ([], 4, 2, 1),
    ],
)
def test_teams_are_as_large_as_places_and_parts_of_a_batch_allow(
    left, processes, micro_batches, size
):
    found = size_of_teams(
        left, processes=processes, micro_batches=micro_batches, least=LEAST_SECONDS
    )
    assert found == size


ORIGINAL, RETRAINED, METHOD = Step("original"), Step("retrained", "c", "r"), Step("unlearned", "c")


def in_training(board, *, since):
    """The first process is in a training of 100 steps of 6 s."""
    board.apply(1, told("stage-started", ORIGINAL), 0)
    for done in (1, 2):
        board.clock.now = since + done * 6.0
        facts = {"loss": 1.0, "note": "", "epoch": 1, "images": 1, "memory": 1}
        board.apply(1, {"event": "progress", "done": done, "total": 100, **facts}, 0)


class TestPlan:
    """One seed with two processes, of which the first is in a training of ten minutes."""

    @pytest.fixture
    def board(self):
        steps = [ORIGINAL, RETRAINED, METHOD]
        found = Board([1, 2], steps, 2, clock=Clock(), is_shared=True)
        found.begin(1)
        in_training(found, since=0.0)
        return found

    @pytest.fixture
    def teams(self):
        return Teams(processes=2, micro_batches=2)

    def test_is_made_where_the_others_have_left(self, board, teams):
        assert teams.plan(board, [(1, 0)]) == Plan(2, [(1, ORIGINAL)])

    def test_is_made_where_the_others_wait(self, board, teams):
        assert teams.plan(board, [(1, 0), (1, 1)]) is None
        board.apply(1, {"event": "waiting"}, 1)
        assert teams.plan(board, [(1, 0), (1, 1)]) == Plan(2, [(1, ORIGINAL)])

    @pytest.mark.parametrize("event", [{"event": "away"}, told("stage-started", METHOD)], ids=str)
    def test_is_not_made_while_another_process_works(self, board, teams, event):
        board.apply(1, {"event": "waiting"}, 1)
        board.apply(1, event, 1)
        assert teams.plan(board, [(1, 0), (1, 1)]) is None

    def test_is_made_once_for_each_training(self, board, teams):
        """Where another machine has taken the training meanwhile, the team finds nothing."""
        assert teams.plan(board, [(1, 0)])
        assert teams.plan(board, [(1, 0)]) is None

    def test_is_not_made_where_a_team_was_lost(self, board, teams):
        lost = SimpleNamespace(failure="the trainer ended with signal 9", has_made_way=False)
        teams.learn_from(lost, 1)
        assert teams.plan(board, [(1, 0)]) is None

    def test_the_images_of_a_team_are_added_to_those_of_the_process_before_it(self, board):
        before = board.seed(1).images
        board.leave(1, 0)
        in_training(board, since=12.0)
        assert board.seed(1).images == 2 * before > 0

    def test_counts_the_time_of_a_team_for_each_of_its_ranks(self, board):
        """The sum is divided by all processes; a second seed has an original of 600 s before it."""
        board.leave(1, 0)
        board.begin_team(1, 0, 2)
        in_training(board, since=12.0)
        assert board.time_left().seconds == pytest.approx((2 * 588 + 600) / 2)


class Pretender:
    """The process of a trainer that says what a test has it say, the last of it once it is told to
    stop where `waits`."""

    pid, returncode = 0, 0

    def __init__(self, *events, waits=False):
        self._events, self._waits = events, waits
        self.is_stopped = threading.Event()
        self.stdout = self

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def __iter__(self):
        for event in self._events:
            if event is self._events[-1] and self._waits:
                self.is_stopped.wait(60)
            yield json.dumps(event).encode()

    def wait(self):
        return 0

    poll = wait


STOPPED = {"event": "failed", "rank": 0, "message": "told to stop", "exitCode": EXIT_TERMINATED}
FINISHED = {"event": "finished", "rank": 0, "result": "0" * 64}
LEFT = {"event": "finished", "rank": 0, "result": None}
IN_TRAINING = [
    told("stage-started", ORIGINAL),
    *(
        {"event": "progress", "done": done, "total": 100}
        | {"loss": 1.0, "note": "", "epoch": 1, "images": 1, "memory": 1}
        for done in (1, 2)
    ),
]


@pytest.mark.parametrize("code", [EXIT_ERROR, EXIT_TEMPORARY])
def test_a_pod_whose_team_fails_goes_on_with_single_processes(tmp_path, monkeypatch, code):
    """Such as where ranks cannot meet, which single processes need not; a training that fails
    without a team too is told by them."""
    broken = {"event": "failed", "rank": 0, "message": "broken", "exitCode": code}
    processes = [
        Pretender(*IN_TRAINING, STOPPED, waits=True),
        Pretender({"event": "waiting"}, STOPPED, waits=True),
        Pretender(broken, broken | {"rank": 1}),
        Pretender(FINISHED),
        Pretender(FINISHED),
    ]
    started = []

    def start(order, launch, device, folder, places, *, is_team):
        process = processes[len(started)]
        started.append((sorted(places), is_team))
        return Trainer(
            process=process,
            ranks=len(places),
            is_torchrun=False,
            log=tmp_path / f"{len(started)}.log",
            places=places,
            is_team=is_team,
        )

    monkeypatch.setattr(teams, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(pods, "_start", start)
    monkeypatch.setattr(pods, "_take_in_orphans", lambda trainers: None)
    monkeypatch.setattr(Trainer, "_signal", lambda trainer, _: trainer.process.is_stopped.set())
    order = planned(DOCUMENT).shared(
        store="memory", endpoint=None, region=None, shares_stages=True, forms_teams=True
    )
    trainers = pods.Trainers(
        order.of_seed(1, attempt=0),
        pods.Launch(1, workers=2, is_crew=True),
        "cpu",
        tmp_path,
        board := Board([1], [ORIGINAL, RETRAINED, METHOD], 2, is_shared=True),
        SimpleNamespace(is_requested=False, pass_on_to=lambda trainers: None),
    )
    for trainer, event in trainers.events():
        board.apply(1, event, trainer.place)

    assert started == [([0], False), ([1], False), ([0, 1], True), ([0], False), ([1], False)]
    assert trainers.that_counts().result == FINISHED["result"]


@pytest.mark.parametrize("is_team", [True, False], ids=["a team", "a single one"])
def test_a_command_goes_on_with_single_processes_where_one_has_failed(monkeypatch, is_team):
    """Also after a team that failed for good, which is no failure of the seed. A training is not
    stopped for a team that would not be formed, as where the next process may be lost too."""
    monkeypatch.setattr(teams, "LEAST_SECONDS", 0.0)
    of_seed, teams_of = SeedAtWork(), Teams(processes=2, micro_batches=2)
    shift = Shift(
        [],
        board=(board := Board([1], [ORIGINAL, RETRAINED, METHOD], 2, is_shared=True)),
        places=Places(2, devices=1),
        start=None,
        events=None,
        as_prepared=None,
        storage=None,
        console=Console(quiet=True),
        screen=None,
        asked=2,
        teams=teams_of,
    )
    shift.at_work[1] = of_seed
    code = EXIT_ERROR if is_team else EXIT_TEMPORARY
    failed = SeedTrainer(
        process=Pretender(), ranks=1, is_torchrun=False, log=None, is_team=is_team,
        order=SimpleNamespace(seed=1), failure="broken", exit_code=code,
    )  # fmt: skip
    other = SimpleNamespace(is_team=False, may_leave=False)
    failed.keep_log = lambda storage: None
    of_seed.trainers += [failed] if is_team else [failed, other]
    shift.running.append(failed)
    shift._ended(failed, of_seed)

    assert (shift.waiting, of_seed.failures) == (([1], []) if is_team else ([], [failed]))
    for event in IN_TRAINING:
        board.apply(1, event, 1)
    assert teams_of.plan(board, [(1, 1)]) is None


def test_places_of_a_team_that_has_ended_are_used_beside_another_one_of_the_seed(monkeypatch):
    """Two teams of two train retrained models of one seed; what comes after the first is taken by
    two trainers before the second ends, here in a minute where they do not come."""
    second = Step("retrained", "d", "r")
    plan = [ORIGINAL, RETRAINED, second, METHOD, Step("unlearned", "d")]
    in_retrained = [told("stage-started", RETRAINED), *IN_TRAINING[1:]]
    in_second = [told("stage-started", second), *IN_TRAINING[1:]]
    trained = told("stage-finished", RETRAINED, status="computed", seconds=1.0)
    processes = [
        Pretender(*in_retrained, STOPPED, waits=True),
        Pretender(*in_second, STOPPED, waits=True),
        *(Pretender({"event": "waiting"}, STOPPED, waits=True) for _ in range(2)),
        first_team := Pretender(in_retrained[0], trained, LEFT, LEFT | {"rank": 1}, waits=True),
        Pretender(*in_second, LEFT, LEFT | {"rank": 1}, waits=True),
        *(Pretender(FINISHED, waits=True) for _ in range(4)),
    ]
    started = []

    def start(seed, places, of_seed, is_team):
        process = processes[len(started)]
        started.append((sorted(places), is_team, len(of_seed.trainers)))
        if len(started) == 8:
            for other in processes[5:]:
                other.is_stopped.set()
        trainer = SeedTrainer(
            process=process, ranks=len(places), is_torchrun=False, log=None, places=places,
            is_team=is_team, order=SimpleNamespace(seed=seed),
            may_leave=is_team or bool(of_seed.trainers),
        )  # fmt: skip
        trainer.start_listening(events)
        return trainer

    def seen(seed, event, step):
        if event == in_second[-1] and len(started) == 6:
            first_team.is_stopped.set()

    monkeypatch.setattr(teams, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(workers, "LEAST_START_UPS", 1e-9)
    monkeypatch.setattr(Trainer, "journal", SimpleNamespace(write=lambda event: None))
    monkeypatch.setattr(Trainer, "_signal", lambda trainer, _: trainer.process.is_stopped.set())
    monkeypatch.setattr(SeedTrainer, "keep_log", lambda trainer, storage: None)
    nothing = lambda *of: None  # noqa: E731
    events = Queue()
    shift = Shift(
        [1],
        board=Board([1], plan, 4, is_shared=True),
        places=Places(4, devices=1),
        start=start,
        events=events,
        as_prepared=lambda event: event,
        storage=None,
        console=Console(quiet=True),
        screen=SimpleNamespace(begin=nothing, update=seen, end=nothing, close=nothing),
        asked=4,
        teams=Teams(processes=4, micro_batches=2),
    )
    shift.work()

    assert started[:4] == [([place], False, place) for place in range(4)]
    assert started[4:6] == [([0, 1], True, 0), ([2, 3], True, 1)]
    assert started[6:8] == [([0], False, 1), ([1], False, 2)]
    assert (shift.failures, shift.exit_code) == ([], EXIT_OK)


PLUGIN = '''
import os
import signal
import time

from supreme_core.engine.training.checkpoint import Checkpoints
from supreme_core.registry import NoParams, method
from supreme_trainer.process import teams
from supreme_trainer.seed import telemetry

teams.LEAST_SECONDS = 0.0
telemetry.INTERVAL_SECONDS = 0.0
step = Checkpoints.step


def is_first(name):
    try:
        os.close(os.open(os.path.join({folder!r}, name), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def holding(self, state, done, *more):
    ranks = self.ranks
    if ranks.size == 1 and done == 3 and is_first("alone"):
        while not self.interruption.requested:
            time.sleep(0.01)
    if ranks.size == 2 and done == 5:  # after a checkpoint
        if {team!r} == "stops" and is_first(f"team-{{ranks.rank}}"):
            while not self.interruption.requested:
                time.sleep(0.01)
        if {team!r} == "is killed" and ranks.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
    step(self, state, done, *more)


Checkpoints.step = holding


@method(paper="none")
def unused(task, params: NoParams):
    """Needed, as a plug-in has to have something."""
'''

DOCUMENT = experiment(
    model=LIGHT, methods=[FINETUNE], scenarios=[FULL_CLASS], training={"microBatches": 2}
)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The stages of DOCUMENT, as one process leaves them."""
    storage = folder_store(tmp_path_factory.mktemp("alone"))
    compute(DOCUMENT, storage)
    return artefacts_of(storage)


def working(folder, team, document=DOCUMENT):
    """The command with two workers, while it runs."""
    file = written(folder / "experiment.yaml", document)
    arguments = ("run", file, "--store", folder / "store", "--device", "cpu", "--workers", 2)
    return running(*arguments, **holding(folder, team))


def holding(folder, team):
    """Variables with which trainers hold at their places, and leave a checkpoint at each step."""
    plugin = written(folder / "holding.py", PLUGIN.format(folder=str(folder), team=team))
    return {"SUPREME_PLUGINS": str(plugin), "SUPREME_CHECKPOINT_SECONDS": "1e-9"}


def log_of(store):
    (log,) = folder_of(store, DOCUMENT).rglob("run.log")
    return log.read_text()


def is_as_alone(store, alone):
    """The bits, with nothing left over and each stage computed by the first attempt."""
    assert artefacts_of(folder_store(store)) == alone
    assert (damaged_artefacts(store), leftovers(store)) == ([], [])
    assert not [*store.rglob("lease-*"), *store.rglob("checkpoint")]
    (result,) = results_of(store, DOCUMENT)
    found = {each["stage"] for each in result["stages"] if each["status"] == "reused"}
    assert (result["attempt"], found - {"datasets"}) == (0, set()), "data may be prepared before"


def shared_costs(store):
    """Kinds of the stages whose costs are marked."""
    kinds = ("originals", "retrained", "unlearned")
    costs = [(kind, each["facts"]["cost"]) for kind in kinds for each in manifests(store, kind)]
    return [kind for kind, cost in costs if cost.get("is_shared")]


def worked_in_a_team(tmp_path, how, alone):
    """Run the command to its end, with one training by a team and the bits of one process."""
    with working(tmp_path, how) as command:
        done = command.wait()
    assert done.code == EXIT_OK, done.out + done.err
    assert done.out.count("2 processes go on with ") == 1
    assert len(shared_costs(tmp_path / "store")) == 1
    is_as_alone(tmp_path / "store", alone)
    return done


@pytest.mark.e2e
def test_two_ranks_go_on_with_the_last_training_and_its_cost_is_marked(tmp_path, alone):
    worked_in_a_team(tmp_path, "goes on", alone)

    store = tmp_path / "store"
    assert "going on after step 3" in log_of(store)
    assert "unlearned" not in shared_costs(store)


def test_a_team_that_loses_a_rank_leaves_its_training_to_single_processes(tmp_path, alone):
    done = worked_in_a_team(tmp_path, "is killed", alone)

    assert "rank 1 is gone: its process was killed or crashed; single processes go on" in done.out
    assert " failed in " not in done.out, "no stage has failed that single processes finish"


@pytest.mark.e2e
def test_a_team_that_is_told_to_stop_leaves_a_checkpoint_and_no_process(tmp_path, alone):
    with working(tmp_path, "stops") as command:
        command.until("2 processes go on with ")
        until_there(tmp_path / "team-0", tmp_path / "team-1")
        trainers = command.trainers()
        command.signal(signal.SIGTERM)
        stopped = command.wait()
        assert not any(map(group_is_alive, trainers))
    store = tmp_path / "store"
    assert stopped.code == EXIT_TERMINATED, stopped.err
    assert len(list(store.rglob("checkpoint"))) == 1
    with working(tmp_path, "goes on") as command:
        done = command.wait()

    assert done.code == EXIT_OK, done.out + done.err
    assert "going on after step 5" in log_of(store)
    assert artefacts_of(folder_store(store)) == alone
    assert (damaged_artefacts(store), leftovers(store)) == ([], [])


def until_there(*paths):
    while not all(path.exists() for path in paths):
        time.sleep(0.01)


OF_A_PYTORCHJOB = {
    "PET_NNODES": "1:1",
    "PET_NPROC_PER_NODE": "2",
    "PET_RDZV_BACKEND": "c10d",
    "PET_RDZV_ENDPOINT": "nowhere.invalid:23456",
    "PET_RDZV_ID": "job",
    "PET_RDZV_CONF": "timeout=1",
    "PET_NODE_RANK": "1",
    "PET_MAX_RESTARTS": "3",
    "MASTER_ADDR": "nowhere.invalid",
    "MASTER_PORT": "23456",
    "RANK": "1",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "2",
}
"""Variables that the training operator sets on a pod with two processes, and those that it sets
where there is a Master: they are of ranks that meet as nobody here does."""


def pod_of_two(folder, team, **how):
    """A pod with two processes, and its order."""
    order = shared(folder, DOCUMENT, sharesStages=True, formsTeams=True)
    return order, pod(order, **OF_A_PYTORCHJOB, **holding(folder, team), **how)


@pytest.mark.parametrize("team", ["goes on", pytest.param("is killed", marks=pytest.mark.e2e)])
def test_a_team_of_a_pod_goes_on_and_is_no_failure_of_it(tmp_path, alone, team):
    order, starting = pod_of_two(tmp_path, team)
    with starting as process:
        code, told, log = ended(process, order)

    store = tmp_path / "store"
    assert (code, bool(told.result)) == (EXIT_OK, True), log
    assert log.count("2 processes go on with ") == 1
    assert ("single processes go on" in log) == (team == "is killed")
    assert "going on after step 3" in log_of(store)
    assert len(shared_costs(store)) == 1
    is_as_alone(store, alone)


@pytest.mark.e2e
def test_a_pod_that_is_told_to_stop_while_a_team_trains_leaves_a_checkpoint(tmp_path, alone):
    order, starting = pod_of_two(tmp_path, "stops")
    with starting as process:
        until_there(tmp_path / "team-0", tmp_path / "team-1")
        trainers = process.trainers()
        process.signal(signal.SIGTERM)
        code, told, _ = ended(process, order)
        assert not any(map(group_is_alive, trainers))
    store = tmp_path / "store"
    assert (code, told.result) == (EXIT_TERMINATED, None)
    assert told.message.endswith("was told to stop")
    assert len(list(store.rglob("checkpoint"))) == 1
    order, starting = pod_of_two(tmp_path, "goes on", attempt=1)
    with starting as process:
        code, told, log = ended(process, order)

    assert (code, bool(told.result)) == (EXIT_OK, True), log
    assert "going on after step 5" in log
    assert artefacts_of(folder_store(store)) == alone
