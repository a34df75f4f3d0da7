"""Content-addressed pieces of work in a store: committed whole, found by what they mean.

    objects/<stage>/<key[:2]>/<key>/weights-0f1e2d3c4b5a6978.safetensors     data first
    objects/<stage>/<key[:2]>/<key>/manifest.json                            last, atomically

`key` is the sha256 of the canonical JSON of everything that means something for the result
(`meaning`). A reader trusts only what a manifest names and what has the digest that it names; the
manifest holds results itself, so it carries its own digest too.
Data objects carry 16 digits of their sha256, so two processes that commit the same key with
slightly different bytes never overwrite each other, and whichever manifest stays is right.
"""

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Annotated, Final, Literal

from pydantic import Field, JsonValue, StringConstraints, model_validator

from supreme_core.api.canonical import canonical_json, digest
from supreme_core.api.model import Document, parse_json
from supreme_core.api.names import MANIFEST, artefact_prefix, checkpoint_key
from supreme_core.api.vocabulary import Digest
from supreme_core.errors import CorruptArtefact, SpecError, one_line
from supreme_core.store.storage import MissingObject, ObjectTooLarge, Storage
from supreme_core.system.warnings import once

log = logging.getLogger(__name__)

MANIFEST_BYTES: Final = 4 * 1024 * 1024
"""A larger manifest is neither written nor read; large results are files."""

CHECKPOINT_ORIGIN_BYTES: Final = 32
CHECKPOINT_DIGEST_BYTES: Final = 32
"""A stored checkpoint is what stands for its origin, the sha256 of the state, and the state."""


FileName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._=-]*$", max_length=128)
]


Inputs = Mapping[str, Mapping[str, str]]
"""Digests of files, by the key of the stage that left them and by name."""


class StoredFile(Document):
    """Size in bytes and digest of one data object."""

    size: int = Field(ge=0)
    sha256: Digest


class Manifest(Document):
    """Manifest of a stage in the store; its presence says that the stage is done."""

    schema_version: Literal[1] = 1
    stage: FileName
    key: Digest
    meaning: dict[str, JsonValue] = Field(description="The document whose sha256 is the key.")
    files: dict[FileName, StoredFile] = Field(
        description="Files by the names that the stage gave them."
    )
    facts: dict[str, JsonValue] = Field(description="Small results, such as the cost.")
    environment: dict[str, JsonValue] = Field(
        description="Environment that the stage ran in; not part of the key."
    )
    inputs: dict[Digest, dict[FileName, Digest]] | None = Field(
        None,
        description="Digests of the files that the stage was computed from, by the keys of their"
        " stages.",
    )
    created_at: str = Field(max_length=64, description="Time of the commit, ISO 8601 in UTC.")
    sha256: Digest = Field(description="sha256 of the canonical JSON of all other fields.")

    @model_validator(mode="after")
    def _key_belongs_to_meaning(self) -> "Manifest":
        if digest(self.meaning) != self.key:
            raise ValueError("the key is not the sha256 of the meaning")
        return self

    @model_validator(mode="after")
    def _is_as_it_was_written(self) -> "Manifest":
        document = self.to_document()
        if digest({name: document[name] for name in document if name != "sha256"}) != self.sha256:
            raise ValueError("it has been changed since it was written")
        return self

    def digests(self) -> dict[str, str]:
        return {name: file.sha256 for name, file in self.files.items()}

    def is_computed_from(self, inputs: "Inputs") -> bool:
        """Return whether none of these files had other bits when this was computed.

        A key says what a stage means and not which bits it has: a stage that is computed again in
        another environment may get others, and then what was computed from the old ones is stale.
        """
        then = self.inputs or {}
        return all(
            then.get(key, files).get(name, sha256) == sha256
            for key, files in inputs.items()
            for name, sha256 in files.items()
        )


class Artefacts:
    """The pieces of work in `storage`; `cache` is a folder for copies of objects that are remote.

    One instance per process remembers which files it has verified, so that a large dataset is
    hashed once and not for every stage that reads it.  largest: bytes of the largest file that is
    opened; one that is larger counts as damaged, without a byte of it being copied.
    """

    def __init__(self, storage: Storage, cache: Path, *, largest: int | None = None) -> None:
        self._storage = storage
        self._largest = largest
        self.cache = cache
        self._verified: dict[str, tuple[Path, tuple[int, ...]]] = {}
        self._warn = once(log.warning)

    def find(self, stage: str, key: str) -> Manifest | None:
        """The manifest of a finished piece of work.

        One that cannot be trusted counts as absent, which a warning says once: then the stage is
        computed again and its commit takes the place.
        """
        try:
            return read_manifest(self._storage, stage, key)
        except CorruptArtefact as error:
            self._warn(f"a manifest counts as absent: {error}")
            return None

    def commit(
        self,
        stage: str,
        key: str,
        *,
        meaning: Mapping[str, object],
        files: Mapping[str, Path | bytes],
        facts: Mapping[str, object],
        environment: Mapping[str, object],
        inputs: Inputs | None = None,
        replace: bool = False,
    ) -> Manifest:
        """Store a finished piece of work and return the manifest that counts from now on.

        Where another process was faster that is *its* manifest: go on with the files it names, so
        that whatever is computed from them fits what later readers find. `replace` is for work
        that was found and not to be reused: its manifest then gives way to this one.
        """
        document = {
            "schemaVersion": 1,
            "stage": stage,
            "key": key,
            "meaning": json.loads(canonical_json(meaning)),
            "files": {name: _measured(content) for name, content in files.items()},
            "facts": facts,
            "environment": environment,
            **({"inputs": inputs} if inputs else {}),
            "createdAt": datetime.now(UTC).isoformat(timespec="milliseconds"),
        }
        data = _readable_json({**document, "sha256": digest(document)})
        try:
            manifest = parse_json(Manifest, data, source=f"manifest of {stage} {key}")
        except SpecError as error:  # no user wrote this: the stage did
            raise ValueError(str(error)) from error
        for name, content in files.items():
            self._put(object_key(manifest, name), content)
        return self._publish(manifest, data, replace=replace)

    def open(self, manifest: Manifest, name: str) -> Path:
        """A local file, to be read only, that has the size and digest which `manifest` names.

        Raises CorruptArtefact; the caller then calls `discard` and computes the stage again.
        """
        identity = object_key(manifest, name)
        remembered = self._verified.get(identity)
        if remembered and _state(remembered[0]) == remembered[1]:
            return remembered[0]
        path = self._verified_file(manifest, name)
        if state := _state(path):
            self._verified[identity] = path, state
        return path

    def drop_copy(self, path: Path) -> None:
        """Remove a file that `open` gave where it is a copy, as who reads many of them once does.

        Another reader that has it open can still read it.
        """
        if path.parent == self.cache:
            path.unlink(missing_ok=True)

    def discard(self, manifest: Manifest) -> None:
        """Make the stage be computed again, unless another process has done so meanwhile."""
        if self.find(manifest.stage, manifest.key) == manifest:
            self._storage.delete(manifest_key(manifest.stage, manifest.key))

    def read_checkpoint(self, stage: str, key: str) -> bytes | None:
        """The newest checkpoint of a stage; whoever wrote it sees to its digest."""
        try:
            return self._storage.read(checkpoint_key(stage, key))
        except MissingObject:
            return None

    def write_checkpoint(self, stage: str, key: str, data: bytes) -> None:
        self._storage.write(checkpoint_key(stage, key), data)

    def delete_checkpoint(self, stage: str, key: str) -> None:
        self._storage.delete(checkpoint_key(stage, key))

    def _put(self, key: str, content: Path | bytes) -> None:
        # Also when an object of this name is there: it may be the damaged one that is replaced.
        if isinstance(content, bytes):
            self._storage.write(key, content)
        else:
            self._storage.upload(key, content)

    def _publish(self, manifest: Manifest, data: bytes, *, replace: bool) -> Manifest:
        name = manifest_key(manifest.stage, manifest.key)
        if not replace:
            if self._storage.write_if_absent(name, data):
                return manifest
            if there := self.find(manifest.stage, manifest.key):
                return there
        self._storage.write(name, data)
        return manifest

    def _verified_file(self, manifest: Manifest, name: str) -> Path:
        expected = manifest.files[name]
        key = object_key(manifest, name)
        path, found = self._fetched(manifest, key)
        if found != expected and path.parent == self.cache:
            self.drop_copy(path)  # it may be damaged, and the object may be sound
            path, found = self._fetched(manifest, key)
        if found != expected:
            raise _corrupt(manifest, key, f"{_shown(found)}, its manifest says {_shown(expected)}")
        return path

    def _fetched(self, manifest: Manifest, key: str) -> tuple[Path, StoredFile]:
        try:
            self._check_size(key)
            path = self._storage.local_path(key, self.cache)
        except MissingObject as error:
            raise _corrupt(manifest, key, "nothing, its manifest names it") from error
        return path, StoredFile.model_validate(_measured(path))

    def _check_size(self, key: str) -> None:
        """Check the size of the object itself, whatever its manifest says."""
        if self._largest is not None:
            info = self._storage.stat(key)
            if info and info.size > self._largest:
                raise CorruptArtefact(
                    f"{key} has {info.size} bytes, more than the {self._largest} that are read here"
                )


def read_manifest(storage: Storage, stage: str, key: str) -> Manifest | None:
    """A manifest, None where there is none; CorruptArtefact where it cannot be trusted."""
    name = manifest_key(stage, key)
    try:
        data = storage.read(name, limit=MANIFEST_BYTES)
        manifest = parse_json(Manifest, data, source=name)
    except MissingObject:
        return None
    except (SpecError, ObjectTooLarge) as error:
        raise CorruptArtefact(one_line(error)) from None
    if (manifest.stage, manifest.key) != (stage, key):
        raise CorruptArtefact(f"{name} belongs to {manifest.stage} {manifest.key}")
    return manifest


def is_sound_checkpoint(chunks: Iterable[bytes], *, has_origin: bool) -> bool:
    """Return whether the state of a checkpoint has the digest that stands before it.

    has_origin: whether the bytes are those that are stored, which begin with the origin.
    """
    before = CHECKPOINT_DIGEST_BYTES + (CHECKPOINT_ORIGIN_BYTES if has_origin else 0)
    head, sha256 = b"", hashlib.sha256()
    for chunk in chunks:
        lacking = before - len(head)
        head += chunk[:lacking]
        sha256.update(chunk[lacking:])
    return head[before - CHECKPOINT_DIGEST_BYTES :] == sha256.digest()


def manifest_key(stage: str, key: str) -> str:
    return f"{artefact_prefix(stage, key)}/{MANIFEST}"


def object_key(manifest: Manifest, name: str) -> str:
    """Key of the data of a file."""
    path = PurePosixPath(name)
    sha256 = manifest.files[name].sha256
    folder = artefact_prefix(manifest.stage, manifest.key)
    return f"{folder}/{path.stem}-{sha256[:16]}{path.suffix}"


def _readable_json(document: Mapping[str, object]) -> bytes:
    """JSON for people who look into the store: indented, and with canonical numbers."""
    data = json.dumps(json.loads(canonical_json(document)), indent=2, ensure_ascii=False).encode()
    if len(data) > MANIFEST_BYTES:
        raise ValueError(
            f"the manifest would have {len(data)} bytes, more than {MANIFEST_BYTES}; "
            "store large results as files"
        )
    return data


def _measured(content: Path | bytes) -> dict[str, int | str]:
    """Size and digest as the manifest has them."""
    if isinstance(content, bytes):
        return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    with content.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return {"size": file.tell(), "sha256": sha256}


def _state(path: Path) -> tuple[int, ...] | None:
    """Facts that change when a file is replaced or written to; None where it is gone."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _shown(file: StoredFile) -> str:
    return f"{file.size} bytes with sha256 {file.sha256[:16]}"


def _corrupt(manifest: Manifest, key: str, found: str) -> CorruptArtefact:
    return CorruptArtefact(
        f"{key} is damaged: found {found}; the stage '{manifest.stage}' will be computed again"
    )
