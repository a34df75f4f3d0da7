"""Prometheus as a process of this machine, and promtool: Debian's package, without installing it.

The package is unpacked into the user's cache folder, so that no root is needed and no service is
started. Where Prometheus is installed, that is taken.
"""

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml

from tests.cluster.go_tools import cache_folder
from tests.cluster.processes import SECONDS, answers, does_not_start, free_port, running

NEEDED_IF = "SUPREME_REQUIRE_CLUSTER"
"""Set to 1 by CI: then a failure to get them is one of the test, and no skip."""

PACKAGE = "prometheus"
NO_APT = "there is no apt-get to get it by"
PROGRAMS = ("prometheus", "promtool")


@dataclass(frozen=True)
class Target:
    """Port of this machine that is scraped.  labels: of all its series."""

    job: str
    port: int
    labels: Mapping[str, str]


@dataclass(frozen=True)
class Prometheus:
    port: int

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that an expression gives now."""
        found: list[dict[str, Any]] = self.get("query", query=expression)["result"]
        return found

    def get(self, path: str, **parameters: str) -> Any:
        query = urllib.parse.urlencode(parameters)
        address = f"http://127.0.0.1:{self.port}/api/v1/{path}?{query}"
        with urllib.request.urlopen(address, timeout=SECONDS) as answer:
            return json.load(answer)["data"]


@contextlib.contextmanager
def prometheus(
    folder: Path, targets: Sequence[Target], *, rules: Sequence[Path] = ()
) -> Iterator[Prometheus]:
    """A running Prometheus that scrapes each second, with metrics' own labels before a target's."""
    port = free_port()
    scraped = [
        {
            "job_name": target.job,
            "honor_labels": True,
            "static_configs": [
                {"targets": [f"127.0.0.1:{target.port}"], "labels": dict(target.labels)}
            ],
        }
        for target in targets
    ]
    settings = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(path) for path in rules],
        "scrape_configs": scraped,
    }
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(settings))
    command = [
        program("prometheus"),
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    log, found = folder / "prometheus.log", Prometheus(port)
    with running(command, log=log) as process:
        if not answers(process, partial(_ready, found)):
            does_not_start("prometheus", log)
        yield found


def _ready(found: Prometheus) -> bool:
    return bool(found.get("status/runtimeinfo"))


def outlook() -> list[str]:
    """A line that says why tests are skipped here, if so."""
    if all(map(shutil.which, PROGRAMS)) or _unpacked().exists() or _can_be_unpacked():
        return []
    return [f"no Prometheus, and {NO_APT}: tests of alerts and dashboards are skipped"]


def program(name: str) -> Path:
    """The path of prometheus or promtool; the test that asks is skipped or failed if not."""
    if installed := shutil.which(name):
        return Path(installed)
    folder = _unpacked()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _unpack(folder)
    return folder / name


def _unpacked() -> Path:
    return cache_folder() / "bin" / "debian-prometheus"


def _can_be_unpacked() -> bool:
    return all(map(shutil.which, ("apt-get", "dpkg-deb")))


def _unpack(folder: Path) -> None:
    if not _can_be_unpacked():
        _give_up(f"it is not installed, and {NO_APT}")
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        there = Path(scratch)
        problem = _run(["apt-get", "download", PACKAGE], there)
        if problem and os.geteuid() == 0:  # a fresh machine has no list of packages yet
            _run(["apt-get", "update"], there)
            problem = _run(["apt-get", "download", PACKAGE], there)
        if problem:
            _give_up(f"apt-get cannot download it: {problem}")
        [package] = there.glob("*.deb")
        if problem := _run(["dpkg-deb", "--extract", str(package), "unpacked"], there):
            _give_up(f"it cannot be unpacked: {problem}")
        (there / "bin").mkdir()
        for name in PROGRAMS:
            shutil.copy2(there / "unpacked" / "usr" / "bin" / name, there / "bin" / name)
        (there / "bin").rename(folder)


def _run(command: list[str], folder: Path) -> str:
    """The end of what it complains of; "" where it did what it should."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return (done.stderr.strip() or "it failed")[-300:] if done.returncode else ""


def _give_up(reason: str) -> NoReturn:
    if os.environ.get(NEEDED_IF) == "1":
        pytest.fail(f"Prometheus: {reason}, and {NEEDED_IF} is set")
    pytest.skip(f"Prometheus: {reason}")
