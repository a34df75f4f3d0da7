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
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.go_tools import cache_folder
from tests.e2e.base_image import base_image

ROOT = Path(__file__).parents[2]
LABELS = "org.opencontainers.image"
DISK = Path("/var/tmp")
"""For what is too large for a /tmp that may be in memory."""


@dataclass(frozen=True)
class Image:
    """reference: its name, as a pod says it.  archive: an OCI archive of it."""

    reference: str
    archive: Path

    @property
    def config(self) -> dict[str, Any]:
        """Settings of its containers, and the digests of its layers as they are unpacked."""
        return self._json(self._manifest["config"])

    @property
    def unpacked_bytes(self) -> int:
        """Of the files of all layers; one that a later layer replaces counts too."""
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


@contextmanager
def operator_image() -> Iterator[Image]:
    """Builds it, with nothing of earlier builds but downloads; takes it away in the end."""
    base = base_image()
    with tempfile.TemporaryDirectory(prefix="supreme-image-", dir=DISK) as text:
        folder = Path(text)
        # What a builder mounts goes with its namespace, however it ends.
        builder = ["unshare", "--mount", "buildah"]
        builder += ["--root", f"{folder}/storage", "--runroot", f"{folder}/run"]
        _run("make", "operator-image", f"BUILDER={' '.join(builder)}", f"BASE={base}")
        ours = ("--filter", f"label={LABELS}.title=supreme-operator")
        reference = _run(*builder, "images", *ours, "--format", "{{.Name}}:{{.Tag}}").strip()
        image = Image(reference, folder / "image.tar")
        _run(*builder, "push", reference, f"oci-archive:{image.archive}:{reference}")
        yield image


def _run(*command: str) -> str:
    """What a command prints.  Its containers need nothing of a machine but its network."""
    cache = cache_folder() / "images"
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "BUILDAH_ISOLATION": "chroot", "TMPDIR": str(cache)},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        pytest.fail(f"{' '.join(command)}: {(done.stdout + done.stderr).strip()[-1000:]}")
    return done.stdout


def _blob(entry: dict[str, Any]) -> str:
    return f"blobs/{entry['digest'].replace(':', '/')}"
