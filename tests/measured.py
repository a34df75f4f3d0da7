"""Cost of each file of tests, recorded by every run, and its budget.

A run leaves .test-times.json, and one of other marks its own, such as .test-times-e2e.json: for
each file the seconds by the clock, the seconds of processors that this process and all that it
started used meanwhile, and its budget. `--budgets check`, as in `make test`, warns of a file beyond
its budget and fails where it is far beyond; `make budgets` writes the budgets anew from a run.

Seconds of processors depend on the machine, so that budgets are kept as multiples of what a small
loop takes, timed between files all along the run.
"""

import json
import os
import time
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parents[1]
BUDGETS = Path(__file__).with_name("budgets.json")

DEFAULT = 5.0
"""Seconds of a file that has no budget of its own, on the machine of the budgets."""

SHARED = 12.0
"""Seconds that are nobody's fault: what the first file of a process waits for, such as a server or
the process that others are forked from, is used by later ones too."""

WARNS, FAILS = 1.5, 3.0
"""Multiples of a budget."""

LEAST = 0.005
"""Seconds that the small loop takes at least."""


@dataclass
class Used:
    """Seconds of one file."""

    cpu: float = 0.0
    wall: float = 0.0


@dataclass
class Measured:
    """Seconds by file, and of the small loop each time that it ran."""

    files: dict[str, Used] = field(default_factory=lambda: defaultdict(Used))
    loops: list[float] = field(default_factory=list)

    def add(self, files, loops):
        for name, (cpu, wall) in files.items():
            self.files[name].cpu += cpu
            self.files[name].wall += wall
        self.loops += loops

    def plain(self):
        return {name: (used.cpu, used.wall) for name, used in self.files.items()}, self.loops


def used_by(pid):
    """Seconds of processors of a process and of all that came of it, ended or not."""
    try:
        facts = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks = sum(map(int, facts[11:15]))  # its own and those of children that it waited for
        threads = os.listdir(f"/proc/{pid}/task")
        children = [Path(f"/proc/{pid}/task/{thread}/children").read_text() for thread in threads]
    except (FileNotFoundError, ProcessLookupError):  # it has just ended: its parent knows the sum
        return 0.0
    return ticks / os.sysconf("SC_CLK_TCK") + sum(map(used_by, " ".join(children).split()))


def used_here():
    """Seconds of processors of this process and its children, without what is nobody's fault."""
    if Path("/proc/self/stat").exists():
        return used_by(os.getpid()) - sum(_EXCUSED)
    return sum(os.times()[:4]) - sum(_EXCUSED)


_EXCUSED = []


@contextmanager
def excused():
    """Let what is computed meanwhile count for no file, such as a build for all checkouts."""
    before = used_here()
    try:
        yield
    finally:
        _EXCUSED.append(used_here() - before)


def small_loop():
    """Seconds of this processor for a fixed piece of work."""
    start = time.thread_time()
    total = 0
    for number in range(100_000):
        total += number * number % 7
    return max(time.thread_time() - start, LEAST)


class Stopwatch:
    """Clock in each process that runs tests: it notes what a file took when the next one begins."""

    def __init__(self):
        self.measured = Measured()
        self._file = None
        self._start = (0.0, 0.0)

    def begin(self, file):
        if file == self._file:
            return
        now = used_here(), time.monotonic()
        if self._file is not None:
            used = self.measured.files[self._file]
            used.cpu += now[0] - self._start[0]
            used.wall += now[1] - self._start[1]
        self.measured.loops.append(small_loop())
        self._file, self._start = file, (used_here(), time.monotonic())

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item):
        self.begin(item.nodeid.split("::")[0])

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session):
        self.begin(None)
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput["measured"] = self.measured.plain()


class Judge:
    """Judge in the process that a user sees: it adds up, writes, and compares with budgets."""

    def __init__(self, config, own):
        self.wanted = config.getoption("budgets")
        self.times = times_of(config.option.markexpr)
        self.own, self.measured = own, Measured()
        self.lines = []

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node):
        self.measured.add(*getattr(node, "workeroutput", {}).get("measured", ({}, [])))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session):
        self.measured.add(*self.own.measured.plain())
        if not self.measured.files:
            return
        loop = median(self.measured.loops)
        if self.wanted == "write":
            BUDGETS.write_text(budgets_of(self.measured.files, loop))
        budgets = Budgets.read(loop)
        self.times.write_text(record(self.measured.files, budgets))
        total = sum(used.cpu for used in self.measured.files.values())
        self.lines = [f"{total / 60:.1f} minutes of processors, by file in {self.times.name}"]
        if self.wanted == "check":
            warnings, failures = budgets.verdicts(self.measured.files)
            self.lines += [*warnings, *failures]
            if failures and session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter):
        if self.lines:
            terminalreporter.section("time")
            for line in self.lines:
                terminalreporter.write_line(line)


@dataclass(frozen=True)
class Budgets:
    """Seconds of processors by file, on this machine.  scale: its seconds for one of theirs."""

    files: dict[str, float]
    scale: float

    @classmethod
    def read(cls, loop):
        """loop: seconds of the small loop here."""
        kept = json.loads(BUDGETS.read_text())
        return cls(kept["files"], loop / kept["loop"])

    def of(self, file):
        return self.scale * self.files.get(file, DEFAULT)

    def verdicts(self, files):
        """(lines that warn, lines that fail)"""
        warnings, failures = [], []
        for name, used in sorted(files.items()):
            budget = self.of(name)
            times = max(0.0, used.cpu - self.scale * SHARED) / budget
            line = (
                f"{name} used {used.cpu:.0f} s of processors, and its budget is {budget:.0f} s:"
                " make it cheaper, or have `make budgets` raise it and say why"
            )
            if times > FAILS:
                failures.append(f"FAILED {line}")
            elif times > WARNS:
                warnings.append(f"warning: {line}")
        return warnings, failures


def budgets_of(files, loop):
    """The text of budgets.json: files that use more than the default."""
    large = {name: round(used.cpu) for name, used in sorted(files.items()) if used.cpu > DEFAULT}
    return json.dumps({"loop": round(loop, 5), "files": large}, indent=1) + "\n"


def times_of(marks):
    """Return the file of a run with these marks, so that `make e2e` leaves that of `make test`."""
    return ROOT / (f".test-times-{marks}.json" if marks.isidentifier() else ".test-times.json")


def record(files, budgets):
    rows = {
        name: {
            "cpu": round(used.cpu, 2),
            "wall": round(used.wall, 2),
            "budget": round(budgets.of(name), 2),
        }
        for name, used in sorted(files.items(), key=lambda each: -each[1].cpu)
    }
    return json.dumps({"scale": round(budgets.scale, 3), "files": rows}, indent=1) + "\n"


def pytest_addoption(parser):
    parser.addoption(
        "--budgets",
        choices=("check", "write"),
        help="compare the seconds of processors of each file with tests/budgets.json, or write it;"
        " for runs of all tests",
    )


def pytest_configure(config):
    stopwatch = Stopwatch()
    config.pluginmanager.register(stopwatch, "stopwatch")
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Judge(config, stopwatch), "judge")
