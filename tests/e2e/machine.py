"""A machine of its own for a node, made of namespaces of this machine's kernel.

Processes, mounts, interfaces, routes and packet filters of a node are in there, and all of it goes
with its first process, which dies with the test process, however that ends. Only control groups
and files have no namespace; they are removed at the end, and where a test process was killed at the
next start.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster.go_tools import GoTools
from tests.cluster.processes import running
from tests.e2e.packages import NEEDED_IF, PATH

PAUSE = GoTools("pause", NEEDED_IF)


@dataclass(frozen=True)
class Machine:
    """name: also of its folder, its control group and this machine's end of the link to it.
    network: first two numbers of the addresses.
    first: process id of its first process, outside.
    """

    name: str
    network: str
    first: int

    @property
    def folder(self) -> Path:
        """The files that it keeps, at the same path inside and outside."""
        return folder_of(self.name)

    @property
    def pods(self) -> str:
        return f"{self.network}.0.0/24"

    @property
    def services(self) -> str:
        return f"{self.network}.1.0/24"

    @property
    def host(self) -> str:
        """Address under which servers of this machine are reached from inside."""
        return f"{self.network}.2.1"

    @property
    def address(self) -> str:
        return f"{self.network}.2.2"

    def inside(self, *command: str | Path) -> list[str | Path]:
        """The command that runs `command` inside."""
        enter = ["nsenter", "--target", str(self.first), "--mount", "--net", "--pid"]
        return [*enter, "env", f"PATH={PATH}", *command]

    def run(self, *command: str | Path) -> None:
        """Runs a command inside to its end."""
        _run(*self.inside(*command))

    def end(self) -> None:
        """Kills every process inside."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.first, signal.SIGKILL)


@contextlib.contextmanager
def machine(name: str, network: str, log: Path) -> Iterator[Machine]:
    """A machine that forwards packets between its network and this machine, and nowhere else."""
    with _alone(name):
        _clean(name)
        try:
            folder_of(name).mkdir()
            for cgroup in cgroups(name):
                cgroup.mkdir()
            with _first_process(log) as first:
                found = Machine(name, network, first)
                try:
                    _link(found)
                    _mount(found)
                    yield found
                finally:
                    found.end()
        finally:
            _clean(name)


def cgroups(name: str) -> list[Path]:
    """The folder of its control group in each hierarchy."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    return [Path(mount[1]) / name for mount in mounts if mount[2] in ("cgroup", "cgroup2")]


def folder_of(name: str) -> Path:
    """Return the folder where the machine of that name keeps its files."""
    return Path("/var/lib") / name


@contextlib.contextmanager
def _alone(name: str) -> Iterator[None]:
    """Held by a socket without a file, which ends with the process."""
    with socket.socket(socket.AF_UNIX) as held:
        try:
            held.bind(f"\0{name}")
        except OSError:
            pytest.fail(f"{name} already runs on this machine, started by other tests")
        yield


@contextlib.contextmanager
def _first_process(log: Path) -> Iterator[int]:
    separate = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    with running([*separate, PAUSE.built() / "pause"], log=log) as outer:
        children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
        while not (found := children.read_text()):
            time.sleep(0.01)
        first = int(found)
        while not os.path.samefile(f"/proc/{first}/exe", PAUSE.built() / "pause"):
            time.sleep(0.01)  # until then it is still on its way into its namespaces
        yield first
        # What was killed is waited for, and with it counts what all that ran inside has used.
        with contextlib.suppress(subprocess.TimeoutExpired):
            outer.wait(timeout=30)


def _link(there: Machine) -> None:
    ends = ["ip", "link", "add", there.name, "type", "veth"]
    _run(*ends, "peer", "name", "eth0", "netns", str(there.first))
    _run("ip", "address", "add", f"{there.host}/30", "dev", there.name)
    _run("ip", "link", "set", there.name, "up")
    _run("ip", "route", "add", there.pods, "via", there.address)
    there.run("ip", "address", "add", f"{there.address}/30", "dev", "eth0")
    there.run("ip", "link", "set", "lo", "up")
    there.run("ip", "link", "set", "eth0", "up")
    there.run("ip", "route", "add", "default", "via", there.host)
    there.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")


def _mount(there: Machine) -> None:
    """Hides what other programs of this machine keep, and keeps from it what a node writes."""
    there.run("mount", "-t", "tmpfs", "tmpfs", "/run")
    there.run("mkdir", "/run/kept")
    there.run("mount", "--bind", there.folder, "/run/kept")
    there.run("mount", "-t", "tmpfs", "tmpfs", "/var/log")
    there.run("mount", "-t", "tmpfs", "tmpfs", "/var/lib")
    there.run("mkdir", there.folder)
    there.run("mount", "--move", "/run/kept", there.folder)


def _clean(name: str) -> None:
    """Removes what the kernel does not by itself, and waits for what it does."""
    places = [*cgroups(name), Path("/sys/class/net", name)]
    deadline = time.monotonic() + 30
    while left := [str(path) for path in places if path.exists()]:
        if time.monotonic() > deadline:
            pytest.fail(f"left on this machine, and not to be removed: {', '.join(left)}")
        for top in cgroups(name):
            for folder, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):  # what is still in it; the next round sees
                    for process in Path(folder, "cgroup.procs").read_text().split():
                        os.kill(int(process), signal.SIGKILL)
                    os.rmdir(folder)
        time.sleep(0.01)
    shutil.rmtree(folder_of(name), ignore_errors=True)


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, env={"PATH": PATH}, capture_output=True, text=True)
    if done.returncode:
        pytest.fail(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
