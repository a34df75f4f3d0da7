"""Order in which the processes of `pytest -n` run tests, and what is built beside them.

    first    tests/e2e, all by one process, as there is one node
             tests/cluster, tests/chart and tests/monitoring, all by another one: they mostly wait,
             and it starts each kind of control plane once
    then     a file at a time, those with the largest budgets first

Programs of other projects that are not built yet are built meanwhile; files that need the S3 server
come last then. The first lines of a run say so, and what is skipped here and why.
"""

import gc
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import preloaded, warm
from tests.cluster import programs
from tests.core.report import axe
from tests.measured import BUDGETS, ROOT
from tests.monitoring import prometheus

NODE = "tests that need a node"
CLUSTER = "tests that wait for a cluster"
TOGETHER = {
    "tests/e2e/": NODE,
    "tests/cluster/": CLUSTER,
    "tests/chart/": CLUSTER,
    "tests/monitoring/": CLUSTER,
}
FORKS = sys.platform == "linux"
"""True where processes are forked; libraries of macOS start threads that a fork would lose."""

WITH_S3 = {"store", "s3_server"}
"""Fixtures that start the S3 server."""


def unit(nodeid):
    """Return what one process gets at a time: a file, or all tests that share a node or a
    cluster."""
    file = file_of(nodeid)
    return next((unit for start, unit in TOGETHER.items() if file.startswith(start)), file)


def file_of(nodeid):
    return nodeid.split("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config, specs):
    """Fork the processes from one that has imported all tests."""
    if FORKS:
        os.environ[preloaded.COLLECTED] = json.dumps([*map(str, config.invocation_params.args)])
        for spec in specs:
            spec.python = warm.python("tests")


def is_forked(config):
    return FORKS and hasattr(config, "workerinput")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    """All processes sort alike, even if something is built between their starts."""
    node.workerinput["without_s3"] = programs.VERSITYGW in programs.missing()


@pytest.hookimpl(wrapper=True)
def pytest_collection(session):
    """Keep the garbage collector from a million objects that stay: while they come, and afterwards
    in processes that end without a last collection, in which libraries miss what was left out."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        if is_forked(session.config):
            gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    if not hasattr(config, "workerinput"):
        return
    late = set()
    if config.workerinput["without_s3"]:
        late = {file_of(item.nodeid) for item in items if WITH_S3 & set(item.fixturenames)}
    budgets = json.loads(BUDGETS.read_text())["files"]

    def place(item):
        file = file_of(item.nodeid)
        if (found := unit(item.nodeid)) == NODE:
            return (0,)  # in the order of tests/e2e/conftest.py
        return 1 + (found != CLUSTER), file in late, -budgets.get(file, 0), file

    items.sort(key=place)  # which keeps the order within a file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadScopeScheduling

    class Schedule(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return unit(nodeid)

    config.option.loadscopereorder = False  # or units with many tests come first
    return Schedule(config, log)


def pytest_report_header(config):
    if not config.getoption("numprocesses", None):
        return []
    lines = [*programs.outlook(), *prometheus.outlook(), *axe.outlook()]
    if os.geteuid():
        lines.append("not root: tests of a full disk are skipped, as they mount a small one")
    if not any(Path("/dev").glob("nvidia[0-9]*")):
        lines.append("no GPU of NVIDIA: tests of one are skipped, but for those of a simulated one")
    return lines


def pytest_sessionstart(session):
    """Build what is missing, so that no test waits for it longer than it must."""
    parallel = session.config.getoption("numprocesses", None)  # which a worker does not have
    if parallel and programs.missing() and programs.go():
        quiet = subprocess.DEVNULL  # a test that needs what cannot be built says why
        command = [sys.executable, "-m", "tests.cluster.programs"]
        subprocess.Popen(command, cwd=ROOT, stdout=quiet, stderr=quiet)
