"""Programs of Debian that tests need beside those that Go builds."""

import os
import shutil
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

NEEDED_IF = "SUPREME_REQUIRE_NODE"
"""Set to 1 by CI: then what is missing is installed, or a failure instead of a skip."""

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CNI_PLUGINS = Path("/usr/lib/cni")

INSTALLING = threading.Lock()
"""Lock of apt-get, of which only one process may run at a time."""


@dataclass(frozen=True)
class Packages:
    """purpose: what they are for.  programs: the package of each program."""

    purpose: str
    programs: Mapping[str, str]

    def install(self) -> None:
        """Sees to it that they are there; the test that asks is skipped or failed if not."""
        if os.geteuid():
            self._give_up("only root can do this")
        if not (missing := self.missing()):
            return
        if os.environ.get(NEEDED_IF) != "1":
            self._give_up(f"it needs the packages {', '.join(missing)}")
        try:
            install(missing)
        except CannotInstall as reason:
            self._give_up(str(reason))

    def missing(self) -> list[str]:
        """The packages that are not installed."""
        return [
            package for name, package in self.programs.items() if not shutil.which(name, path=PATH)
        ]

    def _give_up(self, reason: str) -> NoReturn:
        if os.environ.get(NEEDED_IF) == "1":
            pytest.fail(f"{self.purpose}: {reason}, and {NEEDED_IF} is set")
        pytest.skip(f"{self.purpose}: {reason}")


class CannotInstall(Exception):
    """The packages cannot be had; the message says why."""


def install(packages: Sequence[str]) -> None:
    """Installs packages of Debian, as root."""
    if shutil.which("apt-get") is None:
        raise CannotInstall(
            f"it needs {', '.join(packages)}, and there is no apt-get to install them"
        )
    with INSTALLING:
        for command in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
            done = subprocess.run(
                ["apt-get", *command],
                env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
                capture_output=True,
                text=True,
            )
    if done.returncode:
        raise CannotInstall(
            f"apt-get cannot install {', '.join(packages)}: {done.stderr.strip()[-300:]}"
        )


FOR_NODE = Packages(
    "a Kubernetes node",
    {
        "ip": "iproute2",
        "nsenter": "util-linux",
        "nft": "nftables",
        "runc": "runc",
        "containerd": "containerd",
        str(CNI_PLUGINS / "bridge"): "containernetworking-plugins",
    },
)
FOR_IMAGES = Packages(
    "building images",
    {name: name for name in ("buildah", "debootstrap", "make")} | {"unshare": "util-linux"},
)
