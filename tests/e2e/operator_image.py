"""The operator's image, as `make operator-image` builds it, on a base that needs no registry."""

import gzip
import json
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.go_tools import cache_folder
from tests.e2e.base_image import base_image

ROOT = Path(__file__).parents[2]
LABELS = "org.opencontainers.image"
DISK = Path("/var/tmp")
"""A folder for what is too large for a /tmp that may be in memory."""


@dataclass(frozen=True)
class Image:
    """reference: its name, as a pod says it.  archive: an OCI archive of it."""

    reference: str
    archive: Path

    @property
    def digest(self) -> str:
        """Return the digest of everything that is in the image and that is said of it."""
        return self._manifest["config"]["digest"]

    @property
    def settings(self) -> dict[str, Any]:
        """Return the settings of the image's containers, such as User, and Labels."""
        return self._json(self._manifest["config"])["config"]

    @property
    def unpacked_bytes(self) -> int:
        """Return the size of the files of all layers; a file that a later layer replaces counts
        too."""
        return sum(map(self._bytes_of_layer, self._manifest["layers"]))

    @property
    def _manifest(self) -> dict[str, Any]:
        with tarfile.open(self.archive) as archive:
            index = json.load(archive.extractfile("index.json"))
        return self._json(index["manifests"][0])

    def _json(self, entry: dict[str, Any]) -> dict[str, Any]:
        with tarfile.open(self.archive) as archive:
            return json.load(archive.extractfile(_blob(entry)))

    def _bytes_of_layer(self, entry: dict[str, Any]) -> int:
        with (
            tarfile.open(self.archive) as archive,
            gzip.open(archive.extractfile(_blob(entry))) as layer,
            tarfile.open(fileobj=layer, mode="r|") as files,
        ):
            return sum(file.size for file in files)


class Builder:
    """Builds in a folder of its own, with nothing of earlier tests but downloads and the base."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._numbers = folder, count()
        # What it mounts goes with its namespace, however it ends.
        self._command = ["unshare", "--mount", "buildah", "--root", f"{folder}/storage"]
        self._command += ["--runroot", f"{folder}/run"]

    def build(self, *options: str) -> Image:
        """options: of the build, such as --no-cache."""
        settings = {"BUILDER": self._command, "BASE": [base_image()], "BUILD_OPTIONS": options}
        made = [f"{name}={' '.join(words)}" for name, words in settings.items()]
        _run("make", "operator-image", *made)
        tagged = ["--filter", "dangling=false", "--filter", f"label={LABELS}.title"]
        images = [*self._command, "images", *tagged, "--format", "{{.Name}}:{{.Tag}}"]
        reference = _run(*images).strip()
        archive = self._folder / f"image-{next(self._numbers)}.tar"
        _run(*self._command, "push", reference, f"oci-archive:{archive}:{reference}")
        return Image(reference, archive)


@contextmanager
def builder() -> Iterator[Builder]:
    """Yield a builder; everything that it has built is removed in the end."""
    with tempfile.TemporaryDirectory(prefix="supreme-images-", dir=DISK) as folder:
        yield Builder(Path(folder))


def _run(*command: str) -> str:
    """Return what a command prints. Containers of a build need nothing that another runtime would
    add."""
    settings = {"BUILDAH_ISOLATION": "chroot", "TMPDIR": str(cache_folder() / "images")}
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **settings}, capture_output=True, text=True
    )
    if done.returncode:
        pytest.fail(f"{' '.join(command)}: {(done.stdout + done.stderr).strip()[-1000:]}")
    return done.stdout


def _blob(entry: dict[str, Any]) -> str:
    return f"blobs/{entry['digest'].replace(':', '/')}"
