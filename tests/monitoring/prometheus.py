"""Prometheus and promtool: the programs of Debian's package, without installing it.

The package is unpacked into the user's cache folder, so that no root is needed and no service is
started. Where Prometheus is installed, that is taken.
"""

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NoReturn

import pytest

NEEDED_IF = "SUPREME_REQUIRE_CLUSTER"
"""Set to 1 by CI: then a failure to get them is one of the test, and no skip."""

PACKAGE = "prometheus"
PROGRAMS = ("prometheus", "promtool")


def program(name: str) -> Path:
    """The path of prometheus or promtool; the test that asks is skipped or failed if not."""
    if installed := shutil.which(name):
        return Path(installed)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "supreme" / "bin" / "debian-prometheus"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _unpack(folder)
    return folder / name


def _unpack(folder: Path) -> None:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        _give_up("it is not installed, and there is no apt-get to get it by")
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
