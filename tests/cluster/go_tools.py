"""Programs of other projects that tests run, built by Go on first use.

Each folder of tools/ is a Go module: its `tool` lines name programs, and where it has a main.go it
is one itself. They are kept in the user's cache folder under the digest of the module, so one build
serves all checkouts.
"""

import fcntl
import hashlib
import itertools
import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

TOOLS = Path(__file__).parent / "tools"


@dataclass(frozen=True)
class GoTools:
    """The programs of one module.

    needed_if: environment variable that CI sets to 1: then a missing Go is a failure, no skip.
    link: flags for Go's linker.
    files: (module, path in it) of files and folders of other modules that are kept beside the
        programs.
    """

    module: str
    needed_if: str
    link: str = "-s -w"
    files: tuple[tuple[str, str], ...] = ()

    def can_be_had(self) -> bool:
        """Return whether the programs are built, or Go is there to build them; a build may still
        fail."""
        return self._needed or self.folder.exists() or go() is not None

    def built(self) -> Path:
        """The folder of the programs, built if it is not in the cache; of several processes one
        builds. Skips the test that asks where that cannot be, or fails it where it must be."""
        from tests.measured import excused  # a plug-in, which pytest itself must be first to import

        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with self.folder.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not self.folder.exists():
                with excused():
                    self._build()
        return self.folder

    def _build(self) -> None:
        compiler = go()
        if compiler is None:
            self._give_up("there is no Go to build it with")
        with tempfile.TemporaryDirectory(dir=self.folder.parent) as scratch:
            fresh = Path(scratch) / "bin"
            packages = ["tool", "."] if self._sources else ["tool"]
            flags = ["-trimpath", "-ldflags", self.link, "-o", f"{fresh}/"]
            self._run([compiler, "build", *flags, *packages])
            for module, path in self.files:
                found = json.loads(self._run([compiler, "mod", "download", "-json", module]))
                _copy(Path(found["Dir"]) / path, fresh / Path(path).name)
            fresh.rename(self.folder)

    def _run(self, command: list[str]) -> str:
        done = subprocess.run(
            command,
            cwd=TOOLS / self.module,
            env={**os.environ, "CGO_ENABLED": "0"},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            self._give_up(f"it cannot be built: {done.stderr.strip()[-300:]}")
        return done.stdout

    def _give_up(self, reason: str) -> NoReturn:
        if self._needed:
            pytest.fail(f"{self.module}: {reason}, and {self.needed_if} is set")
        pytest.skip(f"{self.module}: {reason}")

    @property
    def _needed(self) -> bool:
        return os.environ.get(self.needed_if) == "1"

    @property
    def folder(self) -> Path:
        module = [TOOLS / self.module / name for name in ("go.mod", "go.sum")]
        parts = [path.read_bytes() for path in [*module, *self._sources] if path.exists()]
        parts += [part.encode() for part in (self.link, *itertools.chain(*self.files))]
        return cache_folder() / "bin" / hashlib.sha256(b"".join(parts)).hexdigest()[:16]

    @property
    def _sources(self) -> list[Path]:
        return sorted((TOOLS / self.module).glob("*.go"))


def _copy(source: Path, target: Path) -> None:
    """Copy a folder without its mode: files that Go keeps may not be written to, nor removed."""
    if not source.is_dir():
        shutil.copyfile(source, target)
        return
    for folder, _, names in os.walk(source):
        place = target / Path(folder).relative_to(source)
        place.mkdir()
        for name in names:
            shutil.copyfile(Path(folder, name), place / name)


def cache_folder() -> Path:
    """Return the folder where tests of all checkouts keep what takes long to make."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "supreme"


def go() -> str | None:
    return shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
