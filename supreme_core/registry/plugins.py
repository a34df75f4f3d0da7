"""Components of a single file: `supreme run experiment.yaml --plugin my_method.py`.

The file becomes a module and its decorators register what it holds. Its bytes are part of what
these components mean, so after an edit what depends on them is computed again, and nothing else.
"""

import hashlib
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from traceback import extract_tb
from types import CodeType, ModuleType
from typing import Final

from supreme_core.api.names import PLUGINS_VARIABLE
from supreme_core.errors import SpecError, one_line
from supreme_core.registry import PLUGIN_FILES, REGISTRIES
from supreme_core.system.ending import of_missing_module
from supreme_core.system.faults import raise_fault
from supreme_core.system.files import read_file

MOST_BYTES: Final = 16 * 1024 * 1024
"""Largest size of one file; larger ones are data."""


def named_in(environment: Mapping[str, str]) -> list[Path]:
    """The files that a variable names for a process and for those that it starts."""
    return [Path(file) for file in environment.get(PLUGINS_VARIABLE, "").split(os.pathsep) if file]


def as_variable(files: Iterable[Path]) -> str:
    """Text that `named_in` reads, whatever folder a process works in; SpecError where it cannot
    be."""
    paths = [str(file.absolute()) for file in files]
    for path in paths:
        if os.pathsep in path:
            raise SpecError(f"plug-in {path}: its path must not contain {os.pathsep!r}")
    return os.pathsep.join(paths)


def load(files: Iterable[Path]) -> None:
    """Register what the files hold; one that was loaded already holds nothing new.

    SpecError in one line for a file that cannot be read or run, takes a name that is taken, or
    registers nothing.
    """
    for file in files:
        try:
            source = read_file(file, limit=MOST_BYTES)
        except OSError as error:
            raise SpecError(f"cannot read the plug-in {file}: {error.strerror}") from None
        digest = hashlib.sha256(source).hexdigest()
        name = f"supreme_plugin_{digest[:16]}_{file.stem}"
        if name not in PLUGIN_FILES:
            PLUGIN_FILES[name] = digest
            _run(_compiled(source, file), file, name)


def _compiled(source: bytes, file: Path) -> CodeType:
    try:
        return compile(source, str(file), "exec", dont_inherit=True)
    except SyntaxError as error:
        place = f", line {error.lineno}" if error.lineno else ""
        raise SpecError(f"plug-in {file}{place}: {error.msg}") from None
    except ValueError as error:  # a null byte, before Python 3.12
        raise SpecError(f"plug-in {file}: {error}") from None


def _run(code: CodeType, file: Path, name: str) -> None:
    module = ModuleType(name)
    module.__file__ = str(file)
    sys.modules[name] = module  # where annotations and pickles look for what it defines
    try:
        exec(code, module.__dict__)
    except SpecError as error:
        raise SpecError(f"plug-in {file}{_line(error, file)}: {error}") from None
    except (Exception, SystemExit) as error:  # foreign code
        raise_fault(error)
        why = one_line(f"{type(error).__name__}: {error}")
        if told := of_missing_module(error):
            why = str(told)
        raise SpecError(f"plug-in {file}{_line(error, file)}: {why}") from error
    if not any(entry.module == name for each in REGISTRIES for entry in each.entries()):
        raise SpecError(
            f"plug-in {file} registers nothing; decorate a function, as with"
            " supreme_core.registry.method"
        )


def _line(error: BaseException, file: Path) -> str:
    """Line of the file itself, where the error went through it."""
    lines = [step.lineno for step in extract_tb(error.__traceback__) if step.filename == str(file)]
    return f", line {lines[-1]}" if lines else ""
