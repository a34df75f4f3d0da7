"""A fault of a device, of memory or of a group of ranks is nobody's result.

Real trainers, forked as in test_one_ends_all.py, run methods of a plug-in that raise what torch
raises on a GPU; in the end the real command. There is no GPU here, so that such an error comes
again at every later call of the process is taken from CUDA's documentation.

| fault              | ranks            | then                                                     |
| ------------------ | ---------------- | -------------------------------------------------------- |
| device             | alone; 1 of 2    | 75 and fault.json twice, then recorded, others go on     |
| memory             | alone            | once more; recorded as out of memory                     |
| memory             | 1 of 2           | as of a device (in this process, without real ranks)     |
| NCCL               | both of 2        | as of a device                                           |
| device, memory     | in a shared stage| once 75, then an error of the seed                       |
"""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from supreme_trainer.command.local import Places
from supreme_trainer.seed.faults import Faults

from supreme_core.api.orders import RunOrder
from supreme_core.engine.ranks.ranks import Ranks
from supreme_core.errors import (
    EXIT_ERROR,
    EXIT_TEMPORARY,
    DeviceFault,
    GivenUp,
    RankLost,
    StoreUnavailable,
)
from supreme_core.store.inventory import read_damage, read_inventory
from supreme_core.store.results import write_order
from tests.trainer.experiments import (
    FULL_CLASS,
    LIGHT,
    experiment,
    folder_of,
    folder_store,
    install,
    planned,
    results_of,
    summary_of,
    supreme,
    written,
)
from tests.trainer.test_one_ends_all import with_methods
from tests.trainer.trainers import ordered, trainers

METHODS = '''
import os
from pathlib import Path

import torch
from torch.distributed import DistBackendError

from supreme_core.registry import NoParams, method

CALLS = Path(__file__).with_name("calls")


def called(name):
    with CALLS.open("a") as file:
        file.write(name + os.environ.get("RANK", "0") + " ")


@method(paper="none")
def asserts(task, params: NoParams):
    """Ends in a device assert wherever it runs."""
    called("asserts")
    raise torch.AcceleratorError("CUDA error: device-side assert triggered\\nCompile with `DSA`")


@method(paper="none")
def fills(task, params: NoParams):
    """Wants more memory than any device has."""
    called("fills")
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 EiB.")


@method(paper="none")
def fills_once(task, params: NoParams):
    """Finds room the second time."""
    called("fills_once")
    if CALLS.read_text().count("fills_once") == 1:
        raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `create`")


@method(paper="none")
def on_one_rank(task, params: NoParams):
    """Finds a bad GPU under rank 1 only."""
    called("on_one_rank")
    if os.environ["RANK"] == "1":
        raise torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered")
    task.reduction.ranks.each(0.0)


@method(paper="none")
def no_group(task, params: NoParams):
    """Is refused by NCCL on every rank."""
    called("no_group")
    raise DistBackendError("NCCL error in: ProcessGroupNCCL.cpp:1, unhandled system error")
'''
TINY = experiment(
    model=LIGHT,
    scenarios=[FULL_CLASS],
    metrics=[{"name": "accuracy"}],
    training={"microBatches": 2},
)


@pytest.fixture(scope="module")
def warm_store(tmp_path_factory):
    """Holds what the attempts below share, so that each of them computes methods only."""
    folder = tmp_path_factory.mktemp("warm")
    with trainers(ordered(folder, TINY, store=str(folder / "store"))) as seed:
        assert seed.ended() == [0]
    return folder / "store"


class Seed:
    """Attempts of one seed with methods of the plug-in, one after the other."""

    def __init__(self, folder, store, methods, ranks):
        self.folder, self.store, self.methods, self.ranks = folder, store, methods, ranks
        install(folder / "site", METHODS)

    def attempt(self, number):
        """(exit codes, last words) of the trainers of an attempt."""
        order = ordered(self.folder, TINY, store=str(self.store), attempt=number)
        with_methods(order, *self.methods)
        with trainers(*[order] * self.ranks, site=self.folder / "site") as seed:
            codes = seed.ended()
            words = [each for each in seed.events() if each["event"] in ("failed", "finished")]
        return codes, words

    def file(self, number, name):
        return folder_of(self.store, TINY) / f"seed=260/attempt={number}/{name}"

    def fault(self, number):
        return json.loads(self.file(number, "fault.json").read_text())

    def runs(self, number):
        """Return status, cause and reason of each method."""
        runs = json.loads(self.file(number, "result.json").read_text())["runs"]
        keys = ("status", "cause", "reason")
        return {run["method"]: tuple(run.get(key) for key in keys) for run in runs}

    def calls(self):
        return (self.folder / "site/calls").read_text().split()


@pytest.fixture
def seed_of(tmp_path, warm_store):
    shutil.copytree(warm_store, tmp_path / "store")
    for path in (tmp_path / "store").glob("experiments/*/*/seed=260"):
        shutil.rmtree(path)
    return lambda *methods, ranks=1: Seed(tmp_path, tmp_path / "store", methods, ranks)


OK = ("ok", None, None)


@pytest.mark.parametrize(
    ("method", "ranks", "fault"),
    [
        ("asserts", 1, "device fault: AcceleratorError: CUDA error: device-side assert triggered"),
        ("on_one_rank", 2, "device fault: AcceleratorError: CUDA error: uncorrectable ECC error"),
    ],
)
def test_a_fault_ends_two_attempts_and_the_third_records_it_and_goes_on(
    seed_of, method, ranks, fault
):
    seed = seed_of(method, "finetune", ranks=ranks)

    for number in (0, 1):
        codes, words = seed.attempt(number)
        assert codes == [EXIT_TEMPORARY] * ranks
        assert any(each.get("fault") for each in words)
        assert not seed.file(number, "result.json").exists()
        told = seed.fault(number)
        assert told["stage"] == f"{method} · full_class"
        assert told["fault"].startswith(fault)
        assert told["device"] == "cpu"
    codes, _ = seed.attempt(2)

    assert codes == [0] * ranks
    runs = seed.runs(2)
    status, cause, reason = runs.pop(method)
    assert (status, cause) == ("failed", "infrastructure")
    assert reason.startswith(fault)
    assert reason.endswith("(on cpu, in 2 attempts)")
    assert runs == {"original": OK, "retrained": OK, "finetune": OK}
    assert len(seed.calls()) == 2 * ranks


def test_a_group_that_fails_on_all_ranks_is_no_rank_that_was_lost(seed_of):
    seed = seed_of("no_group", ranks=2)
    codes, words = seed.attempt(0)
    assert codes == [EXIT_TEMPORARY] * 2
    # A rank that hears of the other's end before it has told its own says that instead.
    assert any(each.get("fault") for each in words)
    assert seed.fault(0)["fault"].startswith("device fault: DistBackendError: NCCL error in")


def test_memory_that_runs_out_is_tried_once_more_and_costs_no_other_method(seed_of):
    seed = seed_of("fills", "fills_once", "finetune")
    codes, _ = seed.attempt(0)
    assert codes == [0]
    reason = "out of memory: OutOfMemoryError: CUDA out of memory. Tried to allocate 9 EiB."
    assert seed.runs(0)["fills"] == ("failed", "infrastructure", reason)
    assert seed.runs(0)["fills_once"] == seed.runs(0)["finetune"] == OK
    assert seed.calls() == ["fills0", "fills0", "fills_once0", "fills_once0"]


DEVICE = torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
MEMORY = torch.OutOfMemoryError("CUDA out of memory")
KEY = "ab" * 32


def faults(folder, attempt, ranks=None, **how):
    whole = planned(TINY)
    order = RunOrder(
        experiment=whole.experiment, work=whole.work, seed=260, attempt=attempt, store=str(folder)
    )
    return Faults(folder_store(folder), order, ranks or Ranks.alone(torch.device("cpu")), **how)


def untracked(items, **_):
    return items


class OneOfTwo(Ranks):
    """A rank whose other one is not needed here."""

    def share(self, document):
        return document


TWO = OneOfTwo(0, 2, torch.device("cpu"), all_failed=lambda work: False)


def raising(*errors):
    """A stage that raises these one after the other, and then gives 7."""
    left = list(errors)

    def make():
        if left:
            raise left.pop(0)
        return 7

    return make


def ended(one, *errors, of_run=False):
    return one.guarded(raising(*errors), stage="original", key=KEY, of_run=of_run)


class TestAStageThatAllRunsNeed:
    def test_is_tried_by_a_fresh_process_and_fails_its_seed_after_that(self, tmp_path):
        codes = []
        for attempt in range(4):
            with pytest.raises(DeviceFault, match=r"original: device fault: .*illegal") as caught:
                ended(faults(tmp_path, attempt), DEVICE)
            codes.append(caught.value.exit_code)
        assert codes == [EXIT_TEMPORARY, *[EXIT_ERROR] * 3]

    def test_is_as_if_never_tried_after_a_fault_in_a_team(self, tmp_path):
        """Single processes go on with it, and tell what fails in them too."""
        with pytest.raises(DeviceFault):
            ended(faults(tmp_path, 0, is_team=True), DEVICE)
        assert not list(tmp_path.rglob("fault.json"))
        with pytest.raises(DeviceFault) as caught:
            ended(faults(tmp_path, 1), DEVICE)
        assert caught.value.exit_code == EXIT_TEMPORARY

    def test_is_made_once_more_where_memory_ran_out(self, tmp_path):
        assert ended(faults(tmp_path, 0), MEMORY) == 7
        with pytest.raises(torch.OutOfMemoryError):
            ended(faults(tmp_path, 0), MEMORY, MEMORY)
        assert not list(tmp_path.rglob("fault.json"))

    @pytest.mark.parametrize("error", [KeyError("no"), OSError(28, "full"), StoreUnavailable("x")])
    def test_is_not_made_again_after_another_error(self, tmp_path, error):
        with pytest.raises(type(error)):
            ended(faults(tmp_path, 0), error)

    def test_counts_what_happens_outside_of_all_stages_like_a_stage(self, tmp_path):
        codes = []
        for attempt in (0, 1):
            with pytest.raises(DeviceFault) as caught, faults(tmp_path, attempt).outside():
                raise DEVICE
            codes.append(caught.value.exit_code)
        assert codes == [EXIT_TEMPORARY, EXIT_ERROR]


class TestWhatCounts:
    def fault(self, folder, attempt):
        with pytest.raises(DeviceFault):
            ended(faults(folder, attempt), DEVICE, of_run=True)

    def test_two_faults_of_one_stage_however_many_attempts_lie_between(self, tmp_path):
        self.fault(tmp_path, 0)
        self.fault(tmp_path, 5)
        faults(tmp_path, 7).refuse("cd" * 32)
        with pytest.raises(GivenUp, match="in 2 attempts"):
            faults(tmp_path, 7).refuse(KEY)

    def test_nothing_that_came_before_a_result(self, tmp_path):
        """`supreme run` once more tries everything again: the GPU may be another one by now."""
        self.fault(tmp_path, 0)
        self.fault(tmp_path, 1)
        next(tmp_path.rglob("attempt=1")).with_name("attempt=2").mkdir()
        (next(tmp_path.rglob("attempt=2")) / "result.json").write_text("{}")
        faults(tmp_path, 3).refuse(KEY)
        with pytest.raises(GivenUp):
            faults(tmp_path, 2).refuse(KEY)

    @pytest.mark.parametrize(
        "edited",
        [lambda text: '{"stage": 7}', lambda text: text.replace("original", "retrained")],
        ids=["no fault", "edited"],
    )
    def test_nothing_that_is_not_as_it_was_written(self, tmp_path, caplog, edited):
        self.fault(tmp_path, 0)
        self.fault(tmp_path, 1)
        path = next(tmp_path.rglob("attempt=1/fault.json"))
        path.write_text(edited(path.read_text()))
        faults(tmp_path, 2).refuse(KEY)
        assert "a fault counts as absent" in caplog.text
        storage = folder_store(tmp_path)
        write_order(storage, planned(TINY))
        damage = read_damage(storage, read_inventory(storage, untracked), untracked)
        assert [each.object for each in damage] == [str(path.relative_to(tmp_path))]

    def test_a_fault_that_the_store_does_not_take_ends_the_process_all_the_same(
        self, tmp_path, monkeypatch
    ):
        one = faults(tmp_path, 0)

        def away(*_):
            raise StoreUnavailable("away")

        monkeypatch.setattr(one, "_storage", SimpleNamespace(write=away))
        with pytest.raises(DeviceFault) as caught:
            ended(one, DEVICE, of_run=True)
        assert not caught.value.is_recorded
        assert caught.value.exit_code == EXIT_TEMPORARY

    def test_memory_that_one_of_several_ranks_lacks_as_it_ends_them_all(self, tmp_path):
        with pytest.raises(DeviceFault, match="out of memory"):
            ended(faults(tmp_path, 0, TWO), MEMORY, of_run=True)
        with pytest.raises(DeviceFault):
            ended(faults(tmp_path, 1, TWO), MEMORY, of_run=True)
        with pytest.raises(GivenUp, match=r"^out of memory: OutOfMemoryError: CUDA out of memory"):
            faults(tmp_path, 2).refuse(KEY)

    def test_a_rank_that_is_gone_is_no_fault_of_the_stage(self, tmp_path):
        with pytest.raises(RankLost):
            ended(faults(tmp_path, 0, TWO), RuntimeError("NCCL error: remote process exited"))
        assert not list(tmp_path.rglob("fault.json"))


class TestPlaces:
    def test_a_seed_waits_for_another_place_and_lets_others_have_its_own(self):
        places = Places(2, devices=2)
        assert places.take([1, 2]) == (1, 0)
        assert places.take([2]) == (2, 1)
        places.avoid(0, 1)
        places.give_back(0)
        assert places.take([1]) is None
        assert places.take([1, 3]) == (3, 0)
        places.give_back(1)
        assert places.take([1]) == (1, 1)

    def test_a_seed_goes_back_to_the_only_place(self):
        places = Places(1, devices=1)
        places.avoid(0, 1)
        assert places.take([1]) == (1, 0)
        assert places.take([2]) is None


def test_the_command_goes_on_in_fresh_processes_and_ends_well(tmp_path):
    """Takes the real command, which alone starts the processes that come after a fault."""
    document = experiment(model=LIGHT, scenarios=[FULL_CLASS], methods=[{"name": "asserts"}])
    document["spec"]["execution"] = {"allowUnlistedComponents": True}
    file = written(tmp_path / "experiment.yaml", document)
    seen = install(tmp_path / "site", METHODS)

    done = supreme(
        "run", file, "--store", tmp_path / "store", "--device", "cpu", "--workers", "1", **seen
    )

    assert done.code == 0, done.out + done.err
    said = "seed 260: asserts · full_class: device fault: AcceleratorError: CUDA error: device-side"
    assert sum(said in line and "a fresh process goes on" in line for line in lines(done)) == 2
    (result,) = results_of(tmp_path / "store", document)
    assert result["attempt"] == 2
    (failure,) = summary_of(folder_store(tmp_path / "store"), document).failures
    assert (failure.method, failure.kind) == ("asserts", "infrastructure")
    assert Path(tmp_path / "site/calls").read_text().split() == ["asserts0"] * 2


def lines(done):
    return done.out.splitlines()
