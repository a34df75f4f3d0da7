"""A base for images without a registry: Debian with Python, unpacked by debootstrap.

`python -m tests.e2e.base_image` prints what `make images BASE=...` then takes.
"""

import fcntl
import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest

from tests.cluster.go_tools import cache_folder
from tests.e2e.image import write_archive
from tests.e2e.packages import FOR_IMAGES, PATH

SUITE = "bookworm"
PACKAGES = ("python3", "python3-venv", "ca-certificates")
NAME = f"localhost/supreme-tests-python:{SUITE}"

LEFT_OUT = (
    *("dev", "proc", "sys", "var/cache/apt", "var/lib/apt/lists", "var/log"),
    *("usr/share/doc", "usr/share/info", "usr/share/locale", "usr/share/man"),
)
"""Folders that stay empty, as in the images that registries have of Debian."""


def base_image() -> str:
    """Return the image's name for a builder, `oci-archive:FILE`; made once on a machine, in a
    minute or two."""
    FOR_IMAGES.install()
    version = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
    archive = cache_folder() / "images" / f"python-{version}.tar"
    archive.parent.mkdir(parents=True, exist_ok=True)
    with archive.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not archive.exists():
            _make(archive)
    return f"oci-archive:{archive}"


def _make(archive: Path) -> None:
    with tempfile.TemporaryDirectory(dir=archive.parent) as text:
        root, fresh = Path(text, "root"), Path(text, "image.tar")
        include = f"--include={','.join(PACKAGES)}"
        command = ["debootstrap", "--variant=minbase", include, SUITE, root]
        done = subprocess.run(command, env={"PATH": PATH}, capture_output=True, text=True)
        if done.returncode:
            pytest.fail(f"debootstrap: {done.stdout.strip()[-500:]}")
        write_archive(fresh, NAME, _layer(root), {"Env": [f"PATH={PATH}"]})
        fresh.rename(archive)


def _layer(root: Path) -> bytes:
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        archive.add(root, ".", filter=_kept)
    return layer.getvalue()


def _kept(file: tarfile.TarInfo) -> tarfile.TarInfo | None:
    name = file.name.removeprefix("./")
    return None if any(name.startswith(f"{folder}/") for folder in LEFT_OUT) else file


if __name__ == "__main__":
    try:
        print(base_image())
    except (pytest.fail.Exception, pytest.skip.Exception) as reason:
        sys.exit(f"error: {reason}")
