"""Workers that are forked by a server: what one has of its own, of others, and when it ends.

What they do with results is in test_reader.py, by the same way. Here a line of Python stands in
for what they do, and a fifo that each process of a worker holds open ends when the last is gone.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryFile

import pytest
from supreme_operator.results import processes
from supreme_operator.results.location import Location
from supreme_operator.results.processes import Workers, environment

from supreme_core.store.s3 import S3Credentials
from supreme_core.system import forkserver
from tests.operator import servers

OWN = Location(uri="s3://bucket")
"""Served with the operator's identity."""

FOREIGN = Location(uri="s3://bucket", credentials=S3Credentials("id", "secret"))

TOLD = """print(json.dumps({
    'pid': os.getpid(), 'ppid': os.getppid(), 'session': os.getsid(0), 'group': os.getpgid(0),
    'asked': sys.stdin.readline(), 'folder': os.getcwd(), 'temporary': tempfile.gettempdir(),
    'environment': dict(os.environ), 'first': open('/proc/self/environ').read(),
    'server': open(f'/proc/{os.getppid()}/environ').read(), 'path': sys.path,
    'files': {n: os.readlink(f'/proc/self/fd/{n}') for n in (0, 1, 2)},
    'others': [n for n in range(3, 1000) if os.path.exists(f'/proc/self/fd/{n}')],
    'random': random.random(), 'blocked': [*signal.pthread_sigmask(0, [])],
}))""".replace("\n", " ")
"""All that a worker can say of itself, once it has been asked."""


@pytest.fixture
def doing(monkeypatch):
    """Takes what workers do, and what their server does first."""

    def take(work, first=""):
        command = servers.forking(work, first)
        monkeypatch.setattr(processes, "server_command", lambda: command)

    return take


@pytest.fixture
def fifo(tmp_path):
    os.mkfifo(path := tmp_path / "fifo")
    return path


@asynccontextmanager
async def several():
    one = Workers()
    try:
        yield one
    finally:
        await one.close()


@asynccontextmanager
async def started(one, folder, location=FOREIGN):
    folder.mkdir(exist_ok=True)
    with TemporaryFile() as errors:
        given = environment(location, folder)
        async with one.start(folder, given, errors, is_forked=True) as parts:
            yield parts


async def told(parts, asked=b"\n"):
    """Report of a worker on itself."""
    worker, reader, writer = parts
    writer.write(asked)
    found = json.loads(await reader.readline())
    assert worker.pid == found["pid"]
    return found


def test_two_at_one_time_have_nothing_of_each_other_nor_of_the_server(doing, tmp_path, monkeypatch):
    doing(TOLD)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-the-operator")
    monkeypatch.setenv("SOME_TOKEN", "of-the-operator")
    monkeypatch.setenv("AWS_CA_BUNDLE", "authorities")

    async def both():
        async with (
            several() as one,
            started(one, tmp_path / "own", OWN) as first,
            started(one, tmp_path / "foreign", FOREIGN) as second,
        ):
            return [await told(parts) for parts in (second, first)]

    foreign, own = asyncio.run(both())
    assert own["environment"].pop("AWS_SECRET_ACCESS_KEY") == "of-the-operator"
    for found, name in ((own, "own"), (foreign, "foreign")):
        assert found["environment"]["AWS_CA_BUNDLE"] == "authorities"
        assert "of-the-operator" not in str(found)
        assert found["folder"] == found["temporary"] == str(tmp_path / name)
        assert found["others"] == []
        assert found["files"]["0"] == found["files"]["1"]
        assert found["session"] == found["group"] == found["pid"]
        assert found["blocked"] == []
        assert not {"", ".", found["folder"]} & set(found["path"])
    assert not set(own["files"].values()) & set(foreign["files"].values())
    assert own["random"] != foreign["random"]
    assert own["ppid"] == foreign["ppid"] != os.getpid()


@pytest.mark.parametrize("ends", ["by itself", "by a signal", "because it is killed"])
def test_what_a_worker_has_started_ends_with_it(doing, tmp_path, fifo, ends):
    how = {
        "by itself": "os._exit(3)",
        "by a signal": "os.kill(os.getpid(), 15)",
        "because it is killed": "time.sleep(60)",
    }[ends]
    doing(f"held = os.open({str(fifo)!r}, os.O_WRONLY); os.fork() and {how} or time.sleep(60)")

    async def one_ends():
        async with several() as one:
            async with started(one, tmp_path / "folder") as (worker, _, _):
                file = await asyncio.to_thread(fifo.open, "rb")
                if ends != "because it is killed":
                    await worker.wait()
            code = await worker.wait()
            assert await asyncio.to_thread(file.read) == b""
            file.close()
            with pytest.raises(ProcessLookupError):
                os.kill(worker.pid, 0)
            return code

    code = asyncio.run(one_ends())
    assert code == {"by itself": 3, "by a signal": -signal.SIGTERM}.get(ends, -signal.SIGKILL)


def test_nothing_is_left_where_the_operator_is_killed(tmp_path, fifo):
    hold = f"os.open({str(fifo)!r}, os.O_WRONLY)"
    command = servers.forking(f"{hold}; os.fork(); time.sleep(60)", first=hold)
    program = f"""
import asyncio, os, signal
from pathlib import Path
from supreme_operator.results import processes
from tests.operator.test_processes import several, started

async def one_starts():
    async with several() as one, started(one, Path({str(tmp_path / "folder")!r})):
        os.kill(os.getpid(), signal.SIGKILL)

processes.server_command = lambda: {command!r}
asyncio.run(one_starts())
"""
    operator = subprocess.Popen([sys.executable, "-c", program])
    with fifo.open("rb") as file:
        assert file.read() == b""
    assert operator.wait() == -signal.SIGKILL


def test_where_the_server_is_killed_its_workers_end_and_the_next_has_another(doing, tmp_path, fifo):
    hold = f"os.open({str(fifo)!r}, os.O_WRONLY)"
    doing(f"{hold} and time.sleep(60) if os.getcwd().endswith('first') else {TOLD}")

    async def one_after_another():
        async with several() as one:
            async with started(one, tmp_path / "first") as (worker, _, _):
                held = await asyncio.to_thread(fifo.open, "rb")
                os.kill(one._server._newest.process.pid, signal.SIGKILL)
                assert await worker.wait() == -signal.SIGKILL
            assert await asyncio.to_thread(held.read) == b""
            held.close()
            async with started(one, tmp_path / "second") as parts:
                second = await told(parts)
            os.kill(second["ppid"], signal.SIGKILL)
            await one._server._newest.process.wait()
            async with started(one, tmp_path / "third") as parts:
                return second, await told(parts)

    second, third = asyncio.run(one_after_another())
    assert second["ppid"] != third["ppid"]


def test_who_has_crashed_one_meets_another_server(doing, tmp_path):
    doing(f"{TOLD}; sys.stdout.flush(); os.getcwd().endswith('crash') and os.kill(os.getpid(), 11)")

    async def servers_of(*names):
        async with several() as one:
            found = []
            async with started(one, tmp_path / "running") as running:
                for name in names:
                    async with started(one, tmp_path / name) as parts:
                        found.append((await told(parts))["ppid"])
                        await parts[0].wait()
                await told(running)  # it goes on, although its server takes no more
            return found

    before, at, after = asyncio.run(servers_of("well", "crash", "after"))
    assert before == at != after


@pytest.mark.parametrize(
    ("command", "seconds", "reason"),
    [
        ("exit 1", 600, "has ended"),
        ("exec sleep 600", 0.5, "more than 0.5 seconds"),
    ],
    ids=["ends", "hangs"],
)
def test_a_server_that_does_not_start_is_an_error_and_the_next_is_tried_anew(
    doing, tmp_path, monkeypatch, command, seconds, reason
):
    async def twice():
        async with several() as one:
            with monkeypatch.context() as patch:
                patch.setattr(processes, "STARTING_SECONDS", seconds)
                patch.setattr(processes, "server_command", lambda: ("sh", "-c", command))
                with pytest.raises(OSError, match=reason):
                    await started(one, tmp_path / "first").__aenter__()
            async with started(one, tmp_path / "second") as parts:
                await told(parts)

    doing(TOLD)
    asyncio.run(twice())


def test_where_no_process_can_be_forked_the_reason_is_told(doing, tmp_path):
    refusal = "def no(): raise BlockingIOError(11, 'too many processes')"
    doing(TOLD, first=f"{refusal}\nos.fork = no")

    async def one_is_asked():
        async with several() as one:
            with pytest.raises(OSError, match="too many processes"):
                await started(one, tmp_path / "folder").__aenter__()

    asyncio.run(one_is_asked())


def test_there_are_no_servers_without_what_they_need(monkeypatch):
    assert forkserver.is_possible()
    monkeypatch.setattr(forkserver, "OPEN_FILES", Path("/no/such/folder"))
    assert not forkserver.is_possible()
    monkeypatch.undo()
    monkeypatch.delattr(os, "pidfd_open")
    assert not forkserver.is_possible()
