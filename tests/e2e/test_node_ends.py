"""Nothing of a node stays on this machine, however the tests end that started it."""

import contextlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.processes import eventually
from tests.e2e.machine import cgroups, folder_of, machine
from tests.e2e.packages import FOR_NODE, PATH

pytestmark = pytest.mark.e2e

NAME, NETWORK = "supreme-other", "10.236"

TESTS = """
import sys, time
from pathlib import Path
from tests.cluster.processes import eventually
from tests.e2e.node import cluster
from tests.e2e.pods import Pods, restricted

with (
    cluster(Path(sys.argv[1]), *sys.argv[2:]) as found,
    found.namespace() as namespace,
    found.client() as api,
):
    pods = Pods(api, namespace)
    pods.create("sleeps", restricted(found, found.template(namespace), "sleep", "600"))
    eventually(lambda: pods.phase("sleeps") == "Running")
    print("a pod runs", flush=True)
    time.sleep(600)
"""

OWN = ("processes", "process namespaces", "interfaces", "routes", "control groups", "folders")
"""Things that a node adds to this machine while it runs."""

COMMON = ("mounts", "packet filters", "forwarding")
"""Things of this machine to which a node adds nothing even while it runs."""

OF_ALL = ("process namespaces", "interfaces", "routes", *COMMON)
"""Things that do not tell whose they are: other programs of this machine may add some meanwhile."""


def there_is(folder):
    """{kind: what there is of it on this machine}

    folder: of the logs; servers are known by it or by NAME.
    """
    processes, namespaces = set(), set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended
            words = (process / "cmdline").read_text() + (process / "environ").read_text()
            if not words:
                continue  # of the kernel, or dead and not buried yet
            namespaces.add((process / "ns" / "pid").readlink())
            if NAME in words or str(folder) in words:
                processes.add(process.name)
    return {
        "processes": processes,
        "process namespaces": namespaces,
        "interfaces": {path.name for path in Path("/sys/class/net").iterdir()},
        "routes": printed("ip", "route"),
        "control groups": {path for path in cgroups(NAME) if path.exists()},
        "folders": {path for path in (folder_of(NAME),) if path.exists()},
        "mounts": set(Path("/proc/mounts").read_text().splitlines()),
        "packet filters": printed("nft", "list", "ruleset"),
        "forwarding": {Path("/proc/sys/net/ipv4/ip_forward").read_text()},
    }


def left(before, during, after):
    """[(kind, what is there more)]

    during: what there was while a node ran, which has all of that which does not tell whose it is.
    """
    own = {kind: found & during[kind] if kind in OF_ALL else found for kind, found in after.items()}
    return [(kind, found - before[kind]) for kind, found in own.items() if found - before[kind]]


def disturbed(before, now):
    """Kinds of what a node leaves alone to which something was added."""
    return [kind for kind in COMMON if now[kind] - before[kind]]


def printed(*command):
    done = subprocess.run(
        command, env={"PATH": PATH}, check=True, stdout=subprocess.PIPE, text=True
    )
    return set(done.stdout.splitlines())


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL], ids=lambda sent: sent.name)
def test_nothing_is_left_of_a_node(tmp_path, sent):
    FOR_NODE.install()
    before = there_is(tmp_path)
    command = [sys.executable, "-c", TESTS, tmp_path, NAME, NETWORK]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as tests:
        try:
            assert tests.stdout.readline() == "a pod runs\n"
            during = there_is(tmp_path)
            # What other programs mount for a moment goes again.
            eventually(lambda: not disturbed(before, there_is(tmp_path)))
        finally:
            tests.send_signal(sent)
    if sent == signal.SIGKILL:
        with machine(NAME, NETWORK, tmp_path / "next.log"):
            pass  # the next start removes what the killed process could not
    assert [kind for kind in OWN if not during[kind] - before[kind]] == []
    eventually(lambda: not left(before, during, there_is(tmp_path)))


def test_two_nodes_of_one_name_are_refused(tmp_path):
    FOR_NODE.install()
    with (
        machine(NAME, NETWORK, tmp_path / "first.log"),
        pytest.raises(pytest.fail.Exception, match=f"{NAME} already runs on this machine"),
        machine(NAME, NETWORK, tmp_path / "second.log"),
    ):
        pass
