"""Resources that a run takes of a machine: its memory, the GPUs of the user's list, its system.

The table of lists is compared with torch's own reading of CUDA_VISIBLE_DEVICES, which needs no GPU.
Which list each trainer gets is shown with programs in the trainers' place that write it down. Left
out: GPUs themselves.
"""

import os
import subprocess
import sys
from io import StringIO
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console
from supreme_trainer.command import local, machine

from supreme_core.api.canonical import digest
from supreme_core.errors import SpecError
from supreme_core.store.artefacts import Artefacts
from supreme_core.store.opening import open_storage
from supreme_core.system import forkserver
from supreme_core.system.variables import VISIBLE_GPUS, gpus
from tests.trainer.experiments import experiment, planned

GIBIBYTE = 1024**3

UUID, OTHER = "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", "GPU-00000000-d72c-4106-c12f-20bd9faed9f6"
MIG = "MIG-1e6b4a52-9c8f-5d3a-8c0c-4b2f5e6d7a81"

LISTS = {
    "no list: all there are": (None, 4, ("0", "1", "2", "3")),
    "numbers": ("2,3", 2, ("2", "3")),
    "in another order": ("3,0,1", 3, ("3", "0", "1")),
    "spaces": (" 2 , 3 ", 2, ("2", "3")),
    "UUIDs": (f"{UUID},{OTHER}", 2, (UUID, OTHER)),
    "a UUID in short": ("GPU-8932f937", 1, ("GPU-8932f937",)),
    "an instance of MIG": (MIG, 1, (MIG,)),
    "what follows an entry that is no GPU": ("1,-1,0", 1, ("1",)),
    "what follows another word": ("1,GPU-0,0", 1, ("1",)),
    "an empty entry ends it": ("1,,0", 1, ("1",)),
    "none: empty": ("", 0, ()),
    "none: -1": ("-1", 0, ()),
    "none: another word": ("NoDevFiles", 0, ()),
    "none: one that stands twice": ("2,3,2", 0, ()),
}


@pytest.mark.parametrize(("given", "count", "names"), LISTS.values(), ids=LISTS)
def test_gpus_are_the_entries_of_the_list_that_cuda_uses(monkeypatch, given, count, names):
    monkeypatch.delenv(VISIBLE_GPUS, raising=False)
    if given is not None:
        monkeypatch.setenv(VISIBLE_GPUS, given)
        assert len(torch.cuda._parse_visible_devices()) == count, "the count is not what CUDA has"

    assert gpus(count, os.environ) == names


def test_gpus_beyond_those_that_there_are_count_for_nothing():
    """CUDA ends the list at a number that it does not have."""
    assert gpus(1, {VISIBLE_GPUS: "1,7,0"}) == ("1",)


TRAINER = """#!{python} -SE
import json, os, sys
say = lambda **event: print(json.dumps(event), flush=True)
if "--prepare" in sys.argv:
    say(event="device", kind="{kind}", count={count})
    ranks = 1
else:
    (ranks,) = [int(word[17:]) for word in sys.argv if word.startswith("--nproc-per-node=")] or [1]
    beside = int(os.environ["SUPREME_WORKERS_ON_DEVICE"])
    with open({seen!r}, "a") as file:
        shared = "/" + str(beside) if "{kind}" == "cuda" and beside > 1 else ""
        print(str(os.environ.get("CUDA_VISIBLE_DEVICES")) + shared, file=file)
for rank in range(ranks):
    say(event="finished", rank=rank)
"""


@pytest.fixture
def lists(tmp_path, monkeypatch):
    """lists(given, kind=, count=, ...): what each trainer of four seeds was given, with options of
    the run; behind a GPU's name how many trainers use it, where they are several."""

    def run(given, *, kind="cuda", count, **given_options):
        seen = tmp_path / "seen"
        program = tmp_path / "trainer"
        program.write_text(
            TRAINER.format(python=sys.executable, kind=kind, count=count, seen=str(seen))
        )
        program.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(program))
        monkeypatch.setattr(forkserver, "is_possible", lambda: False)
        monkeypatch.delenv(VISIBLE_GPUS, raising=False)
        if given is not None:
            monkeypatch.setenv(VISIBLE_GPUS, given)
        order = planned(experiment(seeds=range(4), training={"microBatches": 2}))
        asked = {"ranks": 1, "workers": None, "endpoint": None, "region": None, **given_options}
        options = local.Options(device="auto", **asked)
        storage = open_storage(str(tmp_path / "store"))
        runner = local.Runner(order, storage, options, Console(file=told), tmp_path)
        runner.compute()
        assert runner.failures == []
        return sorted(seen.read_text().split())

    run.told = told = StringIO()
    return run


def test_seeds_share_out_the_gpus_of_the_users_list(lists):
    assert set(lists("2,3", count=2)) == {"2", "3"}


def test_each_seed_has_as_many_gpus_as_ranks(lists):
    """Two seeds at a time, of two ranks each."""
    assert set(lists(f"5,{UUID},7,6", ranks=2, count=4)) == {f"5,{UUID}", "7,6"}


def test_without_a_list_gpus_have_the_numbers_from_0(lists):
    assert set(lists(None, ranks=2, count=4)) == {"0,1", "2,3"}


def test_fewer_seeds_at_a_time_leave_gpus_alone(lists):
    assert lists("4,5,6", workers=1, count=3) == ["4"] * 4


def test_several_trainers_may_share_each_gpu_and_know_how_many(lists):
    assert set(lists("2,3", per_gpu=2, count=2)) == {"2/2", "3/2"}


def test_trainers_that_find_a_gpu_each_do_not_share_them(lists):
    assert set(lists("2,3", per_gpu=4, workers=2, count=2)) == {"2", "3"}


def test_ranks_do_not_share_gpus():
    with pytest.raises(SpecError, match="each rank needs a GPU of its own; use one of the two"):
        local.check_ranks(
            planned(experiment()),
            local.Options(
                device="cuda", ranks=2, workers=None, per_gpu=2, endpoint=None, region=None
            ),
        )


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_sharing_a_gpu_is_refused_where_the_device_is_none_of_nvidia(lists, device):
    """At once where the user names the device, and else when it is found."""
    words = f"--per-gpu is 2, and trainers share GPUs of NVIDIA; the device is {device}, so use"
    asked = {"ranks": 1, "workers": None, "endpoint": None, "region": None}
    options = local.Options(device=device, per_gpu=2, **asked)
    with pytest.raises(SpecError, match=words):
        local.run(planned(experiment()), None, options, Console(file=StringIO()))
    with pytest.raises(SpecError, match=words):
        lists(None, kind=device, count=0, per_gpu=2)


def test_workers_that_have_no_seed_are_told_where_each_takes_a_whole_one(lists):
    assert lists(None, kind="cpu", count=0, ranks=2, workers=5) == ["None"] * 4
    assert "4 workers at a time: with --ranks 2 each takes a whole seed" in lists.told.getvalue()


def test_on_a_cpu_the_list_stays_as_it_was(lists):
    assert lists("-1", kind="cpu", count=0) == ["-1"] * 4


TOO_MANY = {
    "seeds": (
        {"workers": 3},
        "--workers is 3; found 2 GPUs (2, 3), which have room for 2 at a time, with --ranks 1"
        " and --per-gpu 1",
    ),
    "seeds of two ranks": (
        {"workers": 2, "ranks": 2},
        "--workers is 2; found 2 GPUs (2, 3), which have room for 1 at a time, with --ranks 2"
        " and --per-gpu 1",
    ),
    "ranks": (
        {"ranks": 2, "count": 1},
        "--ranks is 2, and each needs a GPU of its own; found 1 GPU (2)",
    ),
}


@pytest.mark.parametrize(("asked", "words"), TOO_MANY.values(), ids=TOO_MANY)
def test_more_than_there_are_gpus_for_is_refused_by_their_names(lists, asked, words):
    with pytest.raises(SpecError) as refused:
        lists("2,3", **{"count": 2, **asked})
    assert str(refused.value) == words


def test_ranks_on_mps_are_refused_before_anything_is_started(tmp_path):
    options = local.Options(device="mps", ranks=2, workers=None, endpoint=None, region=None)
    storage = open_storage(str(tmp_path / "store"))
    with pytest.raises(SpecError, match="--ranks is 2, and ranks cannot share a GPU of Apple"):
        local.run(planned(experiment()), storage, options, Console(file=StringIO()))
    assert not (tmp_path / "store").exists()


MEMORY = "MemTotal: 9000000 kB\nMemAvailable: 2000 kB\n"
INACTIVE = {"memory.stat": "anon 5\ninactive_file 1000\n"}


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({}, None),
        ({"meminfo": MEMORY}, 2048000),
        ({"meminfo": MEMORY, "memory.max": "max\n", "memory.current": "1\n", **INACTIVE}, 2048000),
        ({"meminfo": MEMORY, "memory.max": "9000\n", "memory.current": "4000\n", **INACTIVE}, 6000),
        ({"memory.max": "9000\n", "memory.current": "9900\n", **INACTIVE}, 100),
    ],
    ids=["not told", "the system", "no limit", "a limit", "a limit that caches fill"],
)
def test_free_memory_is_that_of_the_system_within_the_containers_limit(tmp_path, files, free):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert machine.free_memory(tmp_path, tmp_path / "meminfo") == free


@pytest.mark.parametrize(
    ("device", "free", "workers"),
    [("cpu", 12, 3), ("cpu", 100, 4), ("cpu", 1, 1), ("cpu", None, 4), ("H200", 12, 4)],
)
def test_there_are_as_many_workers_as_fit_into_memory_by_what_a_seed_took(
    tmp_path, monkeypatch, device, free, workers
):
    """Two stages took 2 and 4 GiB. The memory of a GPU says nothing of that of the machine."""
    storage = open_storage(str(tmp_path / "store"))
    stages = []
    for stage, size in (("originals", 2), ("unlearned", 4), ("metrics", 0)):
        cost = {"wall_seconds": 1.0, "device_seconds": 1.0, "peak_memory_bytes": size * GIBIBYTE}
        key = digest({"stage": stage})
        Artefacts(storage, tmp_path).commit(
            stage,
            key,
            meaning={"stage": stage},
            files={},
            facts={"cost": cost} if size else {},
            environment={"device": device},
        )
        stages.append(SimpleNamespace(stage=stage, key=key))
    monkeypatch.setattr(local, "cores", lambda: 4)
    monkeypatch.setattr(machine, "free_memory", lambda: free and free * GIBIBYTE)
    options = local.Options(device="cpu", ranks=1, workers=None, endpoint=None, region=None)
    said = StringIO()
    runner = local.Runner(planned(experiment()), storage, options, Console(file=said), tmp_path)
    runner._before = {260: SimpleNamespace(stages=stages)}

    assert runner._workers("cpu", ()) == workers
    assert ("at a time" in said.getvalue()) == (workers < 4)


ON_WINDOWS = """
import sys, sysconfig
sysconfig.get_config_vars()  # looked up by the name of the system
sys.modules.update(dict.fromkeys(["fcntl", "grp", "pwd", "resource", "termios", "tty"]))
from supreme_trainer.command import cli
sys.platform = "win32"
sys.argv = ["supreme", "run", "experiment.yaml"]
cli.main()
"""


def test_windows_is_refused_in_one_line_without_what_only_unix_has():
    """Emulated: modules that Windows lacks cannot be imported."""
    done = subprocess.run(
        [sys.executable, "-c", ON_WINDOWS], capture_output=True, text=True, timeout=600
    )
    line = "error: SUPREME runs on Linux and macOS; on Windows, install and run it in WSL2"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"{line}\n")
