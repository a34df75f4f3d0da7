"""The process of a pod: the bits, the documents and the exit code that it leaves.

| processes                       | what happens                                                  |
| ------------------------------- | ------------------------------------------------------------- |
| one                             | nothing; a bad order; the store goes away; SIGTERM; a plug-in |
| two on one machine              | one is killed                                                 |
| one on each of two machines     | nothing; one machine is told to stop; one process is killed   |
| two on each of two machines,    | nothing; one machine goes down in a training                  |
| which share out stages          |                                                               |
| the process of the pod itself   | orphans; progress while a store is away                       |

The machines are two pods on this one, which meet as on two. How any other end is judged:
test_process.py. Left out: GPUs, machines that lose their network, and a real container.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from types import SimpleNamespace

import pytest
from supreme_trainer.process import pod as pods
from supreme_trainer.process.progress import Board

from supreme_core.api import names
from supreme_core.api.model import parse_json
from supreme_core.api.records import Progress, Termination
from supreme_core.errors import (
    EXIT_INVALID,
    EXIT_SIGNAL,
    EXIT_TEMPORARY,
    EXIT_TERMINATED,
    SpecError,
)
from supreme_core.plan import Step, steps
from supreme_core.registry.catalog import bundled
from supreme_core.store.s3 import S3Credentials, S3Storage
from tests.cluster import s3_server as s3
from tests.cluster.processes import free_port
from tests.trainer.experiments import (
    FINETUNE,
    FULL_CLASS,
    artefacts_of,
    compute,
    experiment,
    folder_store,
    leftovers,
    planned,
    ranks_of,
    running,
)

pytestmark = pytest.mark.e2e  # trainers of two machines, each with torchrun: minutes

COMMAND = ("-m", "supreme_trainer.pod")

SHORT, LONG = (
    experiment(
        scenarios=[FULL_CLASS],
        methods=[FINETUNE],
        training={"epochs": epochs, "microBatches": 2, "batchSize": 256},
    )
    for epochs in (1, 40)
)
"""LONG is in its first training for seconds after its first checkpoint, with OFTEN."""

OFTEN = {"SUPREME_CHECKPOINT_SECONDS": "0.1"}


def attempt_of(document, number=0):
    return names.attempt_prefix(planned(document).prefix, 260, number)


def shared(folder, document, *, store=None, **changes):
    """The file of the order that all seeds share."""
    store = store or str(folder / "store")
    order = planned(document).shared(store=store, endpoint=None, region=None)
    path = folder / "shared.json"
    path.write_text(json.dumps({**order.to_document(), **changes}))
    return path


@contextmanager
def pod(order, *, name="pod", attempt=0, **environment):
    """The process of a pod while it runs."""
    options = ("--seed", 260, "--attempt", attempt, "--device", "cpu", "--order", order)
    termination = order.with_name(f"{name}-termination")
    with running(*options, "--termination", termination, command=COMMAND, **environment) as process:
        yield process


def ended(process, order, *, name="pod"):
    """(exit code, its termination message, what it wrote to standard error)."""
    done = process.wait()
    message = order.with_name(f"{name}-termination").read_bytes()
    assert len(message) <= 4096
    return done.code, parse_json(Termination, message, source=name), done.err


def checkpoints(order):
    """Return the checkpoints of the first training, in the store beside the order."""
    return list(order.parent.glob("store/objects/originals/*/*/checkpoint"))


def until_in_training(order, *processes):
    """All of them are in the first training, of which there is a checkpoint."""
    while not checkpoints(order):
        assert all(process.process.poll() is None for process in processes)
        time.sleep(0.05)


@contextmanager
def two_machines(order, **environment):
    """Two pods that compute one seed together, each with one process."""
    environment |= {
        "PET_NNODES": "2:2",
        "PET_NPROC_PER_NODE": "1",
        "PET_RDZV_BACKEND": "c10d",
        "PET_RDZV_ENDPOINT": f"localhost:{free_port()}",
        "PET_RDZV_ID": order.parent.name,
    }
    with (
        pod(order, name="first", **environment) as first,
        pod(order, name="second", **environment) as second,
    ):
        yield {"first": first, "second": second}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """SHORT, computed by a pod of one process, which serves its metrics meanwhile."""
    folder = tmp_path_factory.mktemp("one")
    order = shared(folder, SHORT)
    with pod(order, attempt=3, SUPREME_METRICS_PORT=str(free_port())) as process:
        code, termination, _ = ended(process, order)
    assert code == 0
    return folder_store(folder / "store"), termination, "".join(process.lines)


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """SHORT, computed in this process."""
    storage = folder_store(tmp_path_factory.mktemp("here"))
    compute(SHORT, storage)
    return artefacts_of(storage)


def test_a_pod_computes_the_bits_that_a_run_on_one_machine_has(done, here):
    assert artefacts_of(done[0]) == here


def test_the_termination_message_names_the_bytes_of_the_result(done):
    storage, termination, _ = done
    data = storage.read(names.result_key(attempt_of(SHORT, 3)))
    assert termination == Termination(result=hashlib.sha256(data).hexdigest())


def test_the_last_progress_says_that_all_stages_are_done(done):
    data = done[0].read(names.progress_key(attempt_of(SHORT, 3)))
    progress = parse_json(Progress, data, source="progress.json")
    assert (progress.seed, progress.attempt, progress.now) == (260, 3, "")
    assert progress.done == progress.total == len(steps(planned(SHORT).work, [], bundled()))


def test_the_log_of_the_trainer_is_in_the_store(done):
    assert done[0].stat(names.log_key(attempt_of(SHORT, 3)))


BAD = {
    "not JSON": ("{oops", "is not JSON"),
    "a seed in it": ({"seed": 1}, "unknown field 'seed'"),
    "an unknown method": (
        {"work": {**planned(SHORT).work.to_document(), "methods": [{"name": "finetoon"}]}},
        "unknown method 'finetoon'; did you mean 'finetune'?",
    ),
    "an unusable store": ({"store": "ftp://host/x"}, "the store's URI is 'ftp://host/x'"),
}


@pytest.mark.parametrize(("mistake", "words"), BAD.values(), ids=BAD)
def test_a_bad_order_is_refused_for_good_before_a_trainer_starts(tmp_path, mistake, words):
    order = shared(tmp_path, SHORT, **(mistake if isinstance(mistake, dict) else {}))
    if isinstance(mistake, str):
        order.write_text(mistake)
    with pod(order) as process:
        code, termination, _ = ended(process, order)

    assert code == EXIT_INVALID
    assert termination.result is None
    assert words in termination.message
    assert process.lines == []


def test_a_missing_order_is_refused_with_one_line(tmp_path):
    order = tmp_path / "none.json"
    with pod(order) as process:
        code, termination, err = ended(process, order)

    reason = f"cannot read the order {order}: No such file or directory"
    assert (code, termination) == (EXIT_INVALID, Termination(message=reason))
    (line,) = err.splitlines()
    assert line.endswith(f"ERROR {reason}")


def test_a_store_that_goes_away_is_a_temporary_failure_which_the_message_names(tmp_path):
    """Takes the ten seconds after which each writer gives up an S3 server that is gone."""
    with ExitStack() as stack:
        server = stack.enter_context(s3.serve(tmp_path))
        store = f"s3://{server.make_bucket()}"
        order = shared(tmp_path, LONG, store=store, endpoint=server.endpoint)
        keys = {"AWS_ACCESS_KEY_ID": s3.ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": s3.SECRET_KEY}
        with pod(order, **keys) as process:
            process.until("dataset computed")
            stack.close()
            code, termination, _ = ended(process, order)

    assert code == EXIT_TEMPORARY
    assert termination.message.startswith(f"{store} at {server.endpoint}: ")


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """LONG after SIGTERM in its first training: the order, the exit code, the message."""
    folder = tmp_path_factory.mktemp("stopped")
    order = shared(folder, LONG)
    with pod(order, **OFTEN) as process:
        until_in_training(order, process)
        process.signal(signal.SIGTERM)
        code, termination, _ = ended(process, order)
    return order, code, termination


def test_sigterm_ends_a_pod_with_143_and_a_checkpoint(stopped):
    order, code, termination = stopped
    assert code == EXIT_TERMINATED
    assert termination == Termination(message="the trainer was told to stop")
    assert checkpoints(order)
    assert leftovers(order.parent / "store") == []


@pytest.fixture
def unlisted(tmp_path):
    """The order of an experiment whose method no catalogue has, and the file that has it."""
    document = experiment(
        scenarios=[FULL_CLASS],
        methods=[{"name": "theirs"}],
        execution={"allowUnlistedComponents": True},
    )
    order = shared(tmp_path, document)
    file = tmp_path / "theirs.py"
    file.write_text(
        "from supreme_core.registry import NoParams, method\n\n\n"
        "@method(paper='arXiv:0000.00000')\n"
        "def theirs(task, params: NoParams):\n"
        '    """Leave the model alone."""\n'
    )
    return order, file


def test_a_method_of_a_file_that_its_variable_names_is_computed(unlisted):
    """execution.template mounts such a file: operator/test_children.py."""
    order, file = unlisted
    with pod(order, SUPREME_PLUGINS=str(file)) as process:
        code, termination, errors = ended(process, order)
    assert (code, termination.message) == (0, ""), errors
    (result,) = order.parent.glob("store/**/result.json")
    last = json.loads(result.read_text())["runs"][-1]
    assert (last["method"], last["status"]) == ("theirs", "ok")


def test_without_its_file_a_method_is_refused_for_good_and_named(unlisted):
    order, _ = unlisted
    with pod(order) as process:
        code, termination, _ = ended(process, order)
    assert code == EXIT_INVALID
    assert "'theirs'" in termination.message


def test_the_next_attempt_goes_on_with_the_training_that_was_stopped(stopped):
    order, _, _ = stopped
    with pod(order, attempt=1) as process:
        code, termination, err = ended(process, order)

    assert code == 0
    assert termination.result
    assert "going on after step" in err
    log = folder_store(order.parent / "store").read(names.log_key(attempt_of(LONG, 1)))
    said = err.splitlines()
    lines = log.decode().splitlines()
    assert any("going on after step" in line for line in lines)
    # The others are the journal's: what standard output has says the same.
    (first, *others) = [line.split(" INFO ")[1] for line in lines if line not in said]
    assert "device cpu" in first
    assert {line.split(" in ")[0].split()[-1] for line in others} == {
        "started",
        "computed",
        "reused",
    }


def test_two_machines_compute_the_same_bits_and_one_of_them_has_the_result(tmp_path, here):
    order = shared(tmp_path, SHORT)
    with two_machines(order) as machines:
        ends = [ended(process, order, name=name) for name, process in machines.items()]

    assert [code for code, _, _ in ends] == [0, 0]
    storage = folder_store(tmp_path / "store")
    assert artefacts_of(storage) == here
    messages = [message for _, message, _ in ends]
    (main,) = [message for message in messages if message.result]
    (other,) = [message for message in messages if not message.result]
    data = storage.read(names.result_key(attempt_of(SHORT)))
    assert main == Termination(result=hashlib.sha256(data).hexdigest())
    assert other == Termination(message="the result is with the pod of rank 0")


def test_where_one_machine_is_told_to_stop_both_leave_a_checkpoint(tmp_path):
    order = shared(tmp_path, LONG)
    with two_machines(order, **OFTEN) as machines:
        until_in_training(order, *machines.values())
        machines["second"].signal(signal.SIGTERM)
        ends = [ended(process, order, name=name) for name, process in machines.items()]

    assert [code for code, _, _ in ends] == [EXIT_TERMINATED] * 2
    assert {message.message[6:] for _, message, _ in ends} == {" was told to stop"}
    assert checkpoints(order)


def test_where_a_process_is_killed_its_pod_says_so_and_the_other_one_may_try_again(tmp_path):
    order = shared(tmp_path, LONG)
    with two_machines(order, **OFTEN) as machines:
        until_in_training(order, *machines.values())
        (launcher,) = machines["first"].trainers()
        ((rank, victim),) = ranks_of(launcher).items()
        os.kill(victim, signal.SIGKILL)
        (code, termination, _), other = (
            ended(process, order, name=name) for name, process in machines.items()
        )

    assert code == EXIT_SIGNAL + signal.SIGKILL
    assert termination.message.startswith("a rank ended with signal SIGKILL; its last words: ")
    gone = f"rank {rank} is gone: its process was killed or crashed"
    assert other[:2] == (EXIT_TEMPORARY, Termination(message=gone))


def test_where_one_of_two_processes_of_a_machine_is_killed_the_pod_says_so(tmp_path):
    order = shared(tmp_path, LONG)
    with pod(order, PET_NPROC_PER_NODE="2", PET_STANDALONE="1", **OFTEN) as process:
        until_in_training(order, process)
        (launcher,) = process.trainers()
        os.kill(ranks_of(launcher)[1], signal.SIGKILL)
        code, termination, _ = ended(process, order)

    gone = "rank 1 is gone: its process was killed or crashed"
    assert (code, termination) == (137, Termination(message=gone))


def crew_of_two_machines(folder, document):
    """The order of two pods with two processes each, and what their controllers tell them."""
    variables = {"PET_NNODES": "2", "PET_NPROC_PER_NODE": "2", **OFTEN}
    return shared(folder, document, sharesStages=True), variables


def test_processes_of_two_machines_share_out_stages_with_the_same_bits(tmp_path, here):
    order, variables = crew_of_two_machines(tmp_path, SHORT)
    with (
        pod(order, name="first", JOB_COMPLETION_INDEX="0", **variables) as first,
        pod(order, name="second", JOB_COMPLETION_INDEX="1", **variables) as second,
    ):
        ends = [ended(first, order, name="first"), ended(second, order, name="second")]

    storage = folder_store(tmp_path / "store")
    assert artefacts_of(storage) == here
    data = storage.read(names.result_key(attempt_of(SHORT)))
    told = Termination(result=hashlib.sha256(data).hexdigest())
    assert [(code, message) for code, message, _ in ends] == [(0, told), (0, told)]
    logs = [info.key for info in storage.list("experiments") if info.key.endswith(".log")]
    assert len(logs) == 2
    progress = storage.read(names.progress_key(attempt_of(SHORT)))
    assert parse_json(Progress, progress, source="progress").done == len(
        steps(planned(SHORT).work, [], bundled())
    )


def test_a_machine_that_goes_down_leaves_its_work_to_the_others(tmp_path, here):
    """A killed pod says nothing and lets no lease go; on one machine the others see that it has
    ended."""
    document = {**SHORT, "spec": {**SHORT["spec"], "training": LONG["spec"]["training"]}}
    order, variables = crew_of_two_machines(tmp_path, document)
    with pod(order, name="first", **variables) as first:
        until_in_training(order, first)
        with pod(order, name="second", **variables) as second:
            for pid in (*first.trainers(), first.process.pid):
                os.killpg(pid, signal.SIGKILL)
            code, message, log = ended(second, order, name="second")

    assert (code, bool(message.result)) == (0, True)
    assert "is taken over from" in log
    assert "going on after step" in log


WAYS = {
    "nothing": ({}, 1, ()),
    "one process": ({"PET_NNODES": "1", "PET_NPROC_PER_NODE": "1"}, 1, ()),
    "one machine of a PyTorchJob": ({"PET_NNODES": "1:1", "PET_NPROC_PER_NODE": "1"}, 1, ()),
    "several on a machine": (
        {"PET_NPROC_PER_NODE": "4", "PET_STANDALONE": "1"},
        4,
        ("-m", "torch.distributed.run"),
    ),
    "several machines": (
        {"PET_NNODES": "2:2", "PET_NPROC_PER_NODE": "1"},
        1,
        ("-m", "torch.distributed.run", "--rdzv-conf=join_timeout=1800,read_timeout=1800"),
    ),
    "the first pod of an Indexed Job": (
        {"PET_NNODES": "2", "PET_NPROC_PER_NODE": "2", "JOB_COMPLETION_INDEX": "0"},
        2,
        (
            "-m",
            "torch.distributed.run",
            "--rdzv-conf=join_timeout=1800,read_timeout=1800,is_host=1",
        ),
    ),
    "another pod of an Indexed Job": (
        {"PET_NNODES": "2", "PET_NPROC_PER_NODE": "2", "JOB_COMPLETION_INDEX": "1"},
        2,
        (
            "-m",
            "torch.distributed.run",
            "--rdzv-conf=join_timeout=1800,read_timeout=1800,is_host=0",
        ),
    ),
}


@pytest.mark.parametrize(("variables", "ranks", "torchrun"), WAYS.values(), ids=WAYS)
def test_the_environment_says_how_processes_start(variables, ranks, torchrun):
    assert pods.Launch.told_by(variables) == pods.Launch(ranks, torchrun)


@pytest.mark.parametrize(
    ("variables", "workers", "machines"),
    [
        ({}, 1, 1),
        ({"PET_NPROC_PER_NODE": "4", "PET_STANDALONE": "1"}, 4, 1),
        ({"PET_NNODES": "2:2", "PET_NPROC_PER_NODE": "3"}, 3, 2),
    ],
)
def test_processes_that_share_out_stages_start_alone(variables, workers, machines):
    launch = pods.Launch.told_by(variables, shares_stages=True)

    assert launch == pods.Launch(1, workers=workers, machines=machines, is_crew=True)


@pytest.mark.parametrize(
    ("variables", "host", "machine"),
    [
        ({"JOB_COMPLETION_INDEX": "0"}, "x-0", ""),
        ({"JOB_COMPLETION_INDEX": "1"}, "x-1", "x-1"),
        ({}, "x-worker-0", ""),
        ({}, "x-worker-10", "x-worker-10"),
    ],
    ids=["Indexed Job", "its second pod", "PyTorchJob", "its eleventh pod"],
)
def test_one_of_the_machines_that_share_out_stages_has_the_log_that_people_look_for(
    monkeypatch, variables, host, machine
):
    monkeypatch.delenv("JOB_COMPLETION_INDEX", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(pods.socket, "gethostname", lambda: host)
    launch = pods.Launch(1, workers=2, machines=11, is_crew=True)

    assert pods._machine(SimpleNamespace(has_main=True), launch) == machine


@pytest.mark.parametrize("text", ["auto", "", "0", "-1", "x:2"])
def test_a_number_of_processes_that_is_none_is_refused(text):
    with pytest.raises(SpecError, match=f"PET_NPROC_PER_NODE is '{text}'; it should be a number"):
        pods.Launch.told_by({"PET_NPROC_PER_NODE": text})


@pytest.mark.parametrize(
    "text", ["x" * 5000, "ü" * 5000, "𝔘" * 5000, '"\\' * 5000, "a\n\tb \x1b[31m" * 999]
)
def test_any_reason_fits_into_a_termination_message(tmp_path, text):
    pods._leave(tmp_path / "termination", Termination(message=pods._short(text)))

    data = (tmp_path / "termination").read_bytes()
    assert len(data) <= 4096
    message = parse_json(Termination, data, source="termination").message
    assert message
    assert message.isprintable()


def test_a_store_that_is_away_costs_the_progress_only(tmp_path, caplog):
    """Nothing listens at the end point of the store."""
    storage = S3Storage(
        "bucket", endpoint=f"http://127.0.0.1:{free_port()}", credentials=S3Credentials("a", "b")
    )
    work = planned(SHORT)
    order = work.shared(store=storage.uri, endpoint=None, region=None).of_seed(260, attempt=0)
    board = Board([260], steps(work.work, [], bundled()), parallel=1)
    uploader = pods.Uploader(storage, order, board, seconds=0.0)
    board.apply(260, {"event": "stage-started", **asdict(Step("dataset"))})
    uploader.tell()
    (log := tmp_path / "run.log").touch()
    uploader.close([log], machine="")

    assert "the store does not get the progress or the log: s3://bucket at " in caplog.text


def test_a_pod_that_is_made_again_keeps_the_log_of_the_one_before(tmp_path):
    work, folder = planned(SHORT), tmp_path / "store"
    order = work.shared(store=str(folder), endpoint=None, region=None).of_seed(260, attempt=0)
    board = Board([260], steps(work.work, [], bundled()), parallel=1)
    for pod in ("first", "second"):
        logs = [tmp_path / f"{pod}-{number}.log" for number in range(2)]
        for log in logs:
            log.write_text(f"{log.stem}\n")
        storage = folder_store(folder)
        pods.Uploader(storage, order, board).close(logs, machine="")
    kept = storage.read(names.log_key(order.prefix)).decode().split()
    assert kept == ["first-0", "first-1", "second-0", "second-1"]


ORPHANS = """
import ctypes, os, subprocess, time
from pathlib import Path
from supreme_trainer.process import launch, pod

assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0  # PR_SET_CHILD_SUBREAPER
shell = "sh -c 'sleep 0.2 & echo $!'; read word"
parent = subprocess.Popen(["sh", "-c", shell], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
trainer = launch.Trainer(process=parent, ranks=1, is_torchrun=False, log=Path(os.devnull))
pod._take_in_orphans([trainer])
orphan = Path("/proc", parent.stdout.readline().decode().strip())
while orphan.exists():  # a zombie does for ever
    time.sleep(0.01)
parent.communicate(b"word")
assert parent.returncode == 1, parent.returncode
"""


def test_the_first_process_of_a_container_takes_in_orphans(tmp_path):
    """Shown by a process that has asked to inherit orphans, as the first one does unasked."""
    done = subprocess.run([sys.executable, "-c", ORPHANS], capture_output=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, b"")
