"""Programs of Debian that a node needs beside those that Go builds."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

NEEDED_IF = "SUPREME_REQUIRE_NODE"
"""Set to 1 by CI: then what is missing is installed, or a failure instead of a skip."""

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CNI_PLUGINS = Path("/usr/lib/cni")

_PACKAGES = {
    "ip": "iproute2",
    "nsenter": "util-linux",
    "nft": "nftables",
    "runc": "runc",
    "containerd": "containerd",
    str(CNI_PLUGINS / "bridge"): "containernetworking-plugins",
}


def install_packages() -> None:
    """Sees to it that the programs are there; the test that asks is skipped or failed if not."""
    if os.geteuid():
        give_up("only root can start one")
    if not (missing := _missing()):
        return
    if os.environ.get(NEEDED_IF) != "1":
        give_up(f"it needs the packages {', '.join(missing)}")
    if shutil.which("apt-get") is None:
        give_up(f"it needs {', '.join(missing)}, and there is no apt-get to install them")
    install = ["apt-get", "install", "--yes", "--no-install-recommends", *missing]
    for command in (["apt-get", "update"], install):
        done = subprocess.run(
            command,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            capture_output=True,
            text=True,
        )
    if done.returncode:
        give_up(f"apt-get cannot install {', '.join(missing)}: {done.stderr.strip()[-300:]}")


def give_up(reason: str) -> NoReturn:
    if os.environ.get(NEEDED_IF) == "1":
        pytest.fail(f"a Kubernetes node: {reason}, and {NEEDED_IF} is set")
    pytest.skip(f"a Kubernetes node: {reason}")


def _missing() -> list[str]:
    return [package for name, package in _PACKAGES.items() if not shutil.which(name, path=PATH)]
