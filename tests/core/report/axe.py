"""axe-core, which finds what keeps people from reading a page: a package of npm, in a cache.

`npm pack` gets it once for all checkouts, into the user's cache folder.
"""

import base64
import fcntl
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import NoReturn

import pytest

from tests.cluster.go_tools import cache_folder
from tests.core.report.browser import CHROMIUM

PACKAGE, VERSION = "axe-core", "4.14.1"
SHA512 = "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
NEEDED_IF = "SUPREME_REQUIRE_BROWSER"
"""Set to 1 by CI: then a page that cannot be checked is a failure, and no skip."""


def axe() -> str:
    """The script; skips the test that asks where it cannot be had, or fails it where it must."""
    from tests.measured import excused  # a plug-in, which pytest itself must be first to import

    place = _place()
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            with excused():
                fresh = place.with_suffix(".fresh")
                fresh.write_bytes(_packed())
                fresh.replace(place)
    return place.read_text("utf-8")


def outlook() -> list[str]:
    """Lines that say what of the page is not tested here, and why."""
    if CHROMIUM is None:
        return ["no Chromium: tests of the report in a browser are skipped"]
    if not _place().exists() and shutil.which("npm") is None:
        return [f"no npm to get {PACKAGE} with: what it says of the report is skipped"]
    return []


def _place() -> Path:
    return cache_folder() / "npm" / f"{PACKAGE}-{VERSION}.min.js"


def _packed() -> bytes:
    npm = shutil.which("npm")
    if npm is None:
        give_up(f"there is no npm to get {PACKAGE} with")
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--silent", "--pack-destination", folder]
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if ran.returncode:
            give_up(f"npm cannot get {PACKAGE}: {ran.stderr.strip()[-300:]}")
        package = Path(folder, ran.stdout.strip().splitlines()[-1])
        found = base64.b64encode(hashlib.sha512(package.read_bytes()).digest()).decode()
        assert found == SHA512, f"{PACKAGE} {VERSION} has other bytes than it had"
        with tarfile.open(package) as archive:
            member = archive.extractfile("package/axe.min.js")
            assert member is not None
            return member.read()


def give_up(reason: str) -> NoReturn:
    if os.environ.get(NEEDED_IF) == "1":
        pytest.fail(f"{reason}, and {NEEDED_IF} is set")
    pytest.skip(reason)
