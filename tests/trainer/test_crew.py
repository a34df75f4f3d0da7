"""Processes that share out the stages of a seed give the bits of one, and nothing is done twice.

Real trainers, each with leases in the store and nothing else between them.

| what happens                                       | what is seen                               |
| -------------------------------------------------- | ------------------------------------------ |
| nothing: two, and four of them                     | each stage once, one result, the same bits |
| one is told to stop, or is killed, in a training   | the other goes on at its checkpoint        |
| one is stopped for longer than its lease lasts     | the other takes over; it does no harm      |
| nothing is ready that nobody does                  | one that may leaves, and another goes on   |
| one computes what two methods need                 | another computes other ones meanwhile      |
| a method, or what several need, fails              | it is tried once and recorded              |
| all are stopped; two ranks go on, and the reverse  | the same bits                              |
| two experiments with one recipe                    | what both need is computed once            |
| one of a seed has nothing to do, another seed has  | it takes part there, and ends with its own |
| another seed, or a method in it, fails             | that is no failure of who takes part       |

Left out: leases themselves (tests/core/store/test_leases.py); how `supreme run` and a pod start
such processes (test_run_options.py, test_pod.py).
"""

import json
import signal
from collections import Counter

import pytest
import torch
from supreme_trainer.seed import others
from supreme_trainer.seed.faults import Faults
from supreme_trainer.seed.stage import Stages
from supreme_trainer.seed.telemetry import Telemetry

from supreme_core.api.model import parse_json
from supreme_core.api.orders import RunOrder
from supreme_core.engine.ranks.interruption import Interruption, Terminated
from supreme_core.engine.ranks.ranks import Ranks
from supreme_core.errors import (
    EXIT_OK,
    EXIT_TERMINATED,
    DeviceFault,
    HeldElsewhere,
    StoreUnavailable,
)
from supreme_core.store.artefacts import Artefacts
from supreme_core.store.results import write_at_work
from tests.trainer.experiments import (
    FULL_CLASS,
    LIGHT,
    RANDOM_SAMPLES,
    SSD,
    artefacts_of,
    compute,
    damaged_artefacts,
    experiment,
    folder_store,
    install,
    leftovers,
)
from tests.trainer.trainers import ordered, trainers

CREW = ["--crew", "x"]
METHODS = [
    SSD,
    {"name": "finetune", "params": {"epochs": 1, "batchSize": 256}},
    {"name": "random_labels", "params": {"epochs": 1, "batchSize": 256}},
]
IN_IMPORTANCES = {"event": "stage-started", "stage": "importances"}
IN_A_TRAINING = {"event": "progress"}
AFTER_A_CHECKPOINT = {"event": "progress", "done": 2}
AT_EVERY_STEP = {"SUPREME_CHECKPOINT_SECONDS": "1e-9"}
"""Has a trainer leave a checkpoint after each step, which is before it tells of the next one."""


def work(name="crew", methods=METHODS, scenarios=(FULL_CLASS, RANDOM_SAMPLES)):
    return experiment(
        name=name,
        model=LIGHT,
        methods=methods,
        scenarios=list(scenarios),
        metrics=[{"name": "accuracy"}],
        training={"microBatches": 2},
    )


SMALL = work(scenarios=[FULL_CLASS])


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The stages of SMALL, as one process leaves them."""
    return computed_alone(tmp_path_factory.mktemp("alone"), SMALL)


@pytest.fixture(scope="module")
def work_alone(tmp_path_factory):
    """The stages of work(), as one process leaves them."""
    return computed_alone(tmp_path_factory.mktemp("alone"), work())


def computed_alone(folder, document):
    store = folder_store(folder)
    compute(document, store)
    return artefacts_of(store)


def results(folder):
    return [json.loads(path.read_text()) for path in folder.rglob("result.json")]


def started(events):
    """Counts of the stages that were begun, by kind, scenario and method."""
    return Counter(
        (event["stage"], event["scenario"], event["method"])
        for event in events
        if event["event"] == "stage-started"
    )


def orders(folder, document, number, **changes):
    """Files of the same order, for so many processes."""
    (folder / "store").mkdir(exist_ok=True)
    path = ordered(folder, document, store=(folder / "store").as_uri(), **changes)
    return [path] * number


def is_as_alone(folder, alone):
    store = folder / "store"
    assert artefacts_of(folder_store(store)) == alone
    assert (damaged_artefacts(store), leftovers(store)) == ([], [])
    assert not list(store.rglob("lease-*"))


@pytest.mark.parametrize("number", [2, 4])
def test_processes_share_out_the_stages_of_a_seed(tmp_path, work_alone, number):
    with trainers(*orders(tmp_path, work(), number), options=CREW) as crew:
        events = list(crew.events())
        codes = crew.ended()

    assert codes == [EXIT_OK] * number
    assert set(started(events).values()) == {1}
    (result,) = results(tmp_path)
    assert {record["status"] for record in result["stages"]} == {"computed"}
    assert all(run["status"] == "ok" for run in result["runs"])
    ends = [event["result"] for event in events if event["event"] == "finished"]
    assert (len(ends), len(set(ends))) == (number, 1)
    is_as_alone(tmp_path, work_alone)


def test_each_process_does_a_part(tmp_path):
    """The first is inside the original's training when the other begins."""
    first, second = (tmp_path / name for name in ("a", "b"))
    for folder in (first, second):
        folder.mkdir()
    files = [ordered(folder, SMALL, store=tmp_path.as_uri()) for folder in (first, second)]
    with trainers(files[0], options=CREW, halt=IN_A_TRAINING) as one:
        begun = one.until(**IN_A_TRAINING)
        with trainers(files[1], options=CREW) as other:
            begun_by_other = other.until(event="stage-started", stage="retrained")
            one.go_on(0)
            parts = [started([*begun, *one.events()]), started([*begun_by_other, *other.events()])]

    assert all(parts)
    assert parts[0].keys() & parts[1].keys() == set()


@pytest.mark.parametrize(
    ("number", "code", "halt", "how"),
    [
        (signal.SIGTERM, EXIT_TERMINATED, IN_A_TRAINING, {}),
        (signal.SIGKILL, -signal.SIGKILL, AFTER_A_CHECKPOINT, AT_EVERY_STEP),
    ],
    ids=["told to stop", "killed"],
)
def test_the_work_of_a_lost_process_is_taken_over(tmp_path, alone, number, code, halt, how):
    with trainers(*orders(tmp_path, SMALL, 1), options=CREW, halt=halt, **how) as one:
        one.halted(0)
        one.signal(0, number)
        if number == signal.SIGTERM:
            one.go_on(0)
        assert one.ended() == [code]
        with trainers(*orders(tmp_path, SMALL, 1), options=CREW) as other:
            assert other.ended() == [EXIT_OK]
            log = other.log(0)

    assert any("going on after step 1" in line for line in log)
    is_as_alone(tmp_path, alone)


def test_a_process_that_was_taken_for_dead_does_no_harm_when_it_comes_back(tmp_path, alone):
    how = {"options": CREW, "stale": 2.0, **AT_EVERY_STEP}
    with trainers(*orders(tmp_path, SMALL, 1), halt=AFTER_A_CHECKPOINT, **how) as one:
        one.until(**AFTER_A_CHECKPOINT)
        with trainers(*orders(tmp_path, SMALL, 1), **how) as other:
            assert other.ended() == [EXIT_OK]
            log = other.log(0)
        one.go_on(0)
        assert one.ended() == [EXIT_OK]

    assert any("is taken over from" in line for line in log)
    assert len(results(tmp_path)) == 1
    is_as_alone(tmp_path, alone)


def test_a_process_that_may_leaves_where_nothing_is_ready(tmp_path, alone):
    """The first is stopped inside the original's training, without which only Retrained can be
    trained."""
    with trainers(*orders(tmp_path, SMALL, 1), options=CREW, halt=IN_A_TRAINING) as one:
        one.until(**IN_A_TRAINING)
        with trainers(*orders(tmp_path, SMALL, 1), options=[*CREW, "--leave"]) as other:
            events = list(other.events())
            assert other.ended() == [EXIT_OK]
        one.go_on(0)
        assert one.ended() == [EXIT_OK]

    assert {stage for stage, *_ in started(events)} == {"retrained", "predictions"}
    assert events[-1] == {"event": "finished", "rank": 0, "result": None}
    assert len(results(tmp_path)) == 1
    is_as_alone(tmp_path, alone)


def test_nobody_waits_for_what_two_methods_need_while_another_is_ready(tmp_path):
    methods = [SSD, {**SSD, "name": "assd"}, METHODS[1]]
    document = work(methods=methods, scenarios=[FULL_CLASS])
    with trainers(*orders(tmp_path, document, 1), options=CREW, halt=IN_IMPORTANCES) as one:
        one.until(**IN_IMPORTANCES)
        with trainers(*orders(tmp_path, document, 1), options=[*CREW, "--leave"]) as other:
            begun = started(other.events())
            assert other.ended() == [EXIT_OK]
        one.go_on(0)
        assert begun.keys() & started(one.events()).keys() == set()
        assert one.ended() == [EXIT_OK]

    made = {name for stage, _, name in begun if stage in ("importances", "unlearned")}
    assert made == {"retain", "finetune"}
    is_as_alone(tmp_path, computed_alone(tmp_path / "alone", document))


def test_what_took_longest_in_other_seeds_is_begun_first(tmp_path):
    took = tmp_path / "took.json"
    took.write_text('[["unlearned", "finetune", 1.0], ["unlearned", "random_labels", 9.0]]')
    options = [*CREW, "--took", str(took)]
    with trainers(*orders(tmp_path, SMALL, 1), options=options) as one:
        begun = [name for stage, _, name in started(one.events()) if stage == "unlearned"]

    assert begun == ["ssd", "random_labels", "finetune"]  # of ssd nobody knows


RAISES = '''
from supreme_core.registry import NoParams, method


@method(paper="none")
def raises(task, params: NoParams):
    """Asks for what is not there."""
    raise KeyError("no such layer")
'''


def test_a_method_that_fails_is_tried_by_one_process(tmp_path):
    install(tmp_path / "site", RAISES)
    files = orders(tmp_path, SMALL, 2)
    order = json.loads(files[0].read_text())
    again = {"name": "raises", "label": "again"}  # the same work under another name
    order["work"]["methods"] = [{"name": "raises"}, again, *order["work"]["methods"]]
    files[0].write_text(json.dumps(order))
    with trainers(*files, options=CREW, site=tmp_path / "site") as crew:
        events = list(crew.events())
        codes = crew.ended()

    assert codes == [EXIT_OK, EXIT_OK]
    begun = started(events)
    assert sum(begun["unlearned", "full_class", name] for name in ("raises", "again")) == 1
    (result,) = results(tmp_path)
    failed = [run for run in result["runs"] if run["status"] == "failed"]
    assert [run["method"] for run in failed] == ["raises", "again"]
    assert {run["reason"] for run in failed} == {"KeyError: 'no such layer'"}


NO_IMPORTANCES = '''
from supreme_core.errors import MethodFailed
from supreme_core.registry import NoParams, method
from supreme_trainer.seed import importances


def fails(*arguments, **settings):
    raise MethodFailed("the importances of the weights are not finite")


importances.importance_sums = fails


@method(paper="none")
def unused(task, params: NoParams):
    """Needed, as a plug-in has to have something."""
'''


def test_importances_that_fail_are_tried_by_one_process_for_all_that_read_them(tmp_path):
    install(tmp_path / "site", NO_IMPORTANCES)
    document = work(methods=[SSD, {"name": "assd"}], scenarios=[FULL_CLASS])
    how = {"options": CREW, "site": tmp_path / "site"}
    with trainers(*orders(tmp_path, document, 2), **how) as crew:
        events = list(crew.events())
        assert crew.ended() == [EXIT_OK, EXIT_OK]

    tried = {step: times for step, times in started(events).items() if step[0] == "importances"}
    assert set(tried.values()) == {1}
    (result,) = results(tmp_path)
    reasons = {run["method"]: run["reason"] for run in result["runs"] if run["status"] == "failed"}
    said = "MethodFailed: the importances of the weights are not finite"
    assert reasons == {"ssd": said, "assd": said}


def test_ranks_go_on_with_what_processes_began_and_the_reverse(tmp_path, alone):
    for options, halting in ((CREW, [0, 1]), ([], [0]), (CREW, [0, 1])):
        files = orders(tmp_path, SMALL, 2)
        with trainers(*files, options=options, halt=IN_A_TRAINING) as some:
            for number in halting:
                some.halted(number)
            for number in range(2):
                some.signal(number, signal.SIGTERM)
            for number in halting:
                some.go_on(number)
            assert some.ended() == [EXIT_TERMINATED] * 2
    with trainers(*orders(tmp_path, SMALL, 2)) as ranks:
        assert ranks.ended() == [EXIT_OK, EXIT_OK]
        log = ranks.log(0)
    # The first processes took a step of each training, the ranks another one of the first.
    assert any("going on after step 3" in line for line in log)

    is_as_alone(tmp_path, alone)


def test_two_experiments_at_once_compute_what_both_need_once(tmp_path):
    """Neither knows of the other; they meet in the store."""
    files = []
    for name, methods in (("one", METHODS[:2]), ("other", METHODS[1:])):
        (tmp_path / name).mkdir()
        document = work(name=name, methods=methods)
        files.append(ordered(tmp_path / name, document, store=(tmp_path / "store").as_uri()))
    with trainers(files[0]) as one, trainers(files[1]) as other:
        begun = started([*one.events(), *other.events()])
        assert one.ended() + other.ended() == [EXIT_OK, EXIT_OK]

    twice = {step for step, times in begun.items() if times > 1}
    assert not {stage for stage, *_ in twice} - {"dataset", "metrics", "predictions"}, twice
    assert not list((tmp_path / "store").rglob("lease-*"))


OTHERS = ["--crew", "pods", "--others"]


def two_seeds(folder, document):
    """A file of an order for each of two seeds of one experiment, with one store."""
    files = []
    for seed in (260, 261):
        (folder / str(seed)).mkdir()
        store = (folder / "store").as_uri()
        files.append(ordered(folder / str(seed), document, store=store, seed=seed))
    return files


def computed_for(log, seed):
    """Number of stages of another seed that a process says to have computed."""
    said = (line.split() for line in log if f"of seed {seed} computed" in line)
    return sum(int(words[words.index("of") - 2]) for words in said)


def test_a_process_takes_part_in_other_seeds_and_nothing_is_done_twice(tmp_path):
    """The second seed is stopped inside its original's training; the first one does what is ready
    of it before it ends, and that counts as the second one's."""
    first, second = two_seeds(tmp_path, SMALL)
    with trainers(second, options=OTHERS, halt=IN_A_TRAINING) as busy:
        busy.until(**IN_A_TRAINING)
        with trainers(first, options=OTHERS) as idle:
            events = list(idle.events())
            assert idle.ended() == [EXIT_OK]
            taken = computed_for(idle.log(0), 261)
        assert not list((tmp_path / "store").rglob("seed=261/*/result.json"))
        busy.go_on(0)
        begun = started(busy.events())
        assert busy.ended() == [EXIT_OK]

    assert events[-1]["result"], "its own seed has a result"
    assert events.count({"event": "away"}) == 2, "it says that it is busy"
    assert taken == 2, "Retrained and its predictions, for which no original is needed"
    assert "retrained" not in {stage for stage, *_ in begun}
    by_seed = {result["seed"]: result for result in results(tmp_path)}
    assert {record["status"] for record in by_seed[261]["stages"]} == {"computed"}
    before = ["dataset", "original"]
    assert sum(begun.values()) + taken + len(before) == len(by_seed[261]["stages"])
    alone = folder_store(tmp_path / "alone")
    for seed in (260, 261):
        compute(SMALL, alone, seed=seed)
    is_as_alone(tmp_path, artefacts_of(alone))


def test_a_method_that_fails_in_another_seed_is_no_failure_of_who_takes_part(tmp_path):
    """The failure is recorded there, and the processes of that seed do not try it again."""
    install(tmp_path / "site", RAISES)
    files = two_seeds(tmp_path, SMALL)
    for file in files:
        order = json.loads(file.read_text())
        order["work"]["methods"].append({"name": "raises"})
        file.write_text(json.dumps(order))
    how = {"options": OTHERS, "site": tmp_path / "site"}
    with trainers(files[1], halt=IN_IMPORTANCES, **how) as busy:
        busy.until(**IN_IMPORTANCES)
        with trainers(files[0], **how) as idle:
            assert idle.ended() == [EXIT_OK]
            assert computed_for(idle.log(0), 261)
        busy.go_on(0)
        begun = started(busy.events())
        assert busy.ended() == [EXIT_OK]

    assert not begun["unlearned", "full_class", "raises"]
    for result in results(tmp_path):
        (failed,) = [run for run in result["runs"] if run["status"] == "failed"]
        assert (failed["method"], failed["reason"]) == ("raises", "KeyError: 'no such layer'")


FAULT = DeviceFault("a fault", is_recorded=True, is_temporary=True)


@pytest.fixture
def idle(tmp_path, monkeypatch):
    """idle(ends): a process beside two seeds at work, in which it meets these ends."""

    def meeting(*ends):
        path = two_seeds(tmp_path, SMALL)[0]
        order, storage = parse_json(RunOrder, path.read_bytes(), source=""), folder_store(tmp_path)
        for seed in (261, 262):
            write_at_work(storage, order.model_copy(update={"seed": seed}))
        met = iter(ends)
        seen = []

        def run_seed(order, stages, **_):
            seen.append(order.seed)
            end = next(met)
            if isinstance(end, BaseException):
                raise end
            stages._computed.update(str(number) for number in range(end))

        monkeypatch.setattr(others, "run_seed", run_seed)
        ranks = Ranks.alone(torch.device("cpu"))
        stages = Stages(
            Artefacts(storage, tmp_path),
            ranks=ranks,
            environment={},
            telemetry=Telemetry(),
            interruption=Interruption(EXIT_TERMINATED),
        )
        faults = Faults(storage, order, ranks)
        return others.OtherSeeds(order, storage, stages, ranks, faults, "pods"), seen

    return meeting


def test_a_seed_that_fails_here_is_left_alone_and_the_next_one_is_looked_at(idle):
    process, seen = idle(ValueError("a bad split"), 1, HeldElsewhere("all is taken"))
    assert process.help()
    assert seen == [261, 262]
    assert not process.help()
    assert seen == [261, 262, 262]
    assert not process.help(), "too soon for another look"
    assert len(seen) == 3


@pytest.mark.parametrize("end", [FAULT, StoreUnavailable("away")])
def test_what_ends_the_own_seed_too_ends_it(idle, end):
    with pytest.raises(type(end)):
        idle(end)[0].help()


@pytest.mark.parametrize("end", [FAULT, StoreUnavailable("away"), Terminated(EXIT_TERMINATED)])
def test_after_the_own_result_nothing_is_a_failure(idle, end):
    process, seen = idle(1, end)
    process.help_on(60.0)
    assert len(seen) == 2


def test_after_the_own_result_nothing_is_begun_later_than_the_child_has_time_for(idle):
    process, seen = idle()
    process.help_on(0.0)
    assert seen == []
