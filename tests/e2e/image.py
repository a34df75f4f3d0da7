"""Images of one layer, which need no registry, and that of pods of tests, which is almost empty.

It is the folders and links that a Linux system starts with, and the program that does nothing. What
a container runs besides comes from this machine, in volumes (environment.py).
"""

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NAME = "localhost/supreme-tests:1"

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_FOLDERS = ("dev", "etc", "proc", "run", "sys", "tmp", "usr", "var")
_LINKS = ("bin", "lib", "lib32", "lib64", "sbin")


def write_image(path: Path, pause: Path) -> None:
    """An OCI archive; the program `pause` is what a container runs that names no other."""
    write_archive(path, NAME, _layer(pause), {"Entrypoint": ["/pause"]})


def write_archive(path: Path, name: str, layer: bytes, settings: Mapping[str, Any]) -> None:
    """An OCI archive of an image.  layer: its files, as tar.  settings: of its containers."""
    config = {
        "architecture": _ARCHITECTURES[platform.machine()],
        "os": "linux",
        "config": dict(settings),
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        "history": [{"created_by": "SUPREME's tests"}],  # builders want one of each layer
    }
    kind = "application/vnd.oci.image"
    blobs = {f"{kind}.layer.v1.tar": layer, f"{kind}.config.v1+json": _json(config)}
    entries = {media: _entry(media, blob) for media, blob in blobs.items()}
    manifest = _json(
        {
            "schemaVersion": 2,
            "config": entries[f"{kind}.config.v1+json"],
            "layers": [entries[f"{kind}.layer.v1.tar"]],
        }
    )
    entry = _entry(f"{kind}.manifest.v1+json", manifest)
    named = entry | {"annotations": {"io.containerd.image.name": name}}
    with tarfile.open(path, "w") as archive:
        _add(archive, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _add(archive, "index.json", _json({"schemaVersion": 2, "manifests": [named]}))
        for blob in (*blobs.values(), manifest):
            _add(archive, f"blobs/{_digest(blob).replace(':', '/')}", blob)


def write_program_image(path: Path, name: str, program: Path, at: str) -> None:
    """An OCI archive of an image that has one file, a program that needs no other.

    at: where it is in the image.
    """
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        _add(archive, at.removeprefix("/"), program.read_bytes(), mode=0o755)
    write_archive(path, name, layer.getvalue(), {"Entrypoint": [at], "User": "65532:65532"})


def _layer(pause: Path) -> bytes:
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        for name in _FOLDERS:
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            archive.addfile(folder)
        for name in _LINKS:
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, f"usr/{name}"
            archive.addfile(link)
        _add(archive, "pause", pause.read_bytes(), mode=0o755)
    return layer.getvalue()


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    file = tarfile.TarInfo(name)
    file.size, file.mode = len(content), mode
    archive.addfile(file, io.BytesIO(content))


def _entry(media: str, blob: bytes) -> dict[str, str | int]:
    return {"mediaType": media, "digest": _digest(blob), "size": len(blob)}


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _json(document: object) -> bytes:
    return json.dumps(document).encode()
