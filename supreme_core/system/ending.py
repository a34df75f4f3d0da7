"""End a command: in a line for what its user can mend, in a traceback for our own faults."""

import errno
import json
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import url2pathname

from supreme_core import DISTRIBUTION
from supreme_core.errors import EXIT_SIGNAL, SpecError, SupremeError, escaped, one_line
from supreme_core.system.faults import fault_of

TRAINER_MODULES: Final = ("torch", "torchvision", "timm")
"""Packages that the extra `trainer` installs; everything else works without these."""

EXTRAS: Final = {
    "trainer": TRAINER_MODULES,
    "operator": ("kopf", "kubernetes", "aiohttp", "pydantic_settings"),
    "pandas": ("pandas",),
    "tpe": ("optuna",),
    "tensorboard": ("tensorboard",),
    "mlflow": ("mlflow",),
    "wandb": ("wandb",),
}
"""Packages by the extra that installs them."""

REPORT: Final = (
    "This is a fault in SUPREME, not in what you wrote. Please report it with these lines."
)

OF_THE_USER: Final = (
    errno.ENOENT,
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.EROFS,
)
"""Errors of the system at a path that somebody has to write otherwise."""


def tell_plainly(error: SupremeError) -> None:
    """Print the lines of an error on standard error."""
    for line in str(error).splitlines():
        print(f"error: {escaped(line)}", file=sys.stderr)


@contextmanager
def ending(tell: Callable[[SupremeError], object] = tell_plainly) -> Iterator[None]:
    """Run a command and end its process as a shell expects it; a closed pipe ends it quietly.

    tell: prints an error that the user can mend.
    """
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:  # closed before the start
                sys.stdout.flush()  # here, because at exit nobody can handle what it says
    except BrokenPipeError:
        _give_up_output()
        sys.exit(EXIT_SIGNAL + signal.SIGPIPE)
    except Exception as error:
        told = as_told(error)
        if told is None:
            error.add_note(REPORT)
            raise
        tell(told)
        if isinstance(error, OSError):
            _give_up_output()
        sys.exit(told.exit_code)


def as_told(error: Exception) -> SupremeError | None:
    """The error as its user meets it; None for a fault of the program."""
    if isinstance(error, SupremeError):
        return error
    if isinstance(error, OSError):
        return _of_the_system(error)
    if isinstance(error, UnicodeError):
        return SpecError(str(error))
    if fault_of(error):
        return SupremeError(one_line(f"{type(error).__name__}: {error}", 500))
    if told := of_missing_module(error):
        return told
    if isinstance(error, ValueError) and "embedded null" in str(error):
        return SpecError("a path has a NUL character, which no file system accepts")
    if isinstance(error, RuntimeError) and "home directory" in str(error):
        return SpecError("a path begins with ~, but there is no such user or no home directory")
    return None


def of_missing_module(error: BaseException) -> SpecError | None:
    """Error that names what to install where an import failed for want of an extra."""
    if not isinstance(error, ModuleNotFoundError):
        return None
    missing = (error.name or "").partition(".")[0]
    return next(
        (_to_install([missing], extra) for extra, modules in EXTRAS.items() if missing in modules),
        None,
    )


def need_trainer() -> None:
    """SpecError where what computes experiments is not installed."""
    if missing := missing_for_trainer():
        raise _to_install(missing, "trainer")


def missing_for_trainer() -> list[str]:
    """Modules without which nothing can be computed and which are not installed."""
    return _missing(TRAINER_MODULES)


def need_extra(extra: str) -> None:
    """SpecError where a package of this extra is not installed."""
    if missing := _missing(EXTRAS[extra]):
        raise _to_install(missing, extra)


def _missing(modules: Sequence[str]) -> list[str]:
    return [module for module in modules if find_spec(module) is None]


def _to_install(missing: Sequence[str], extra: str) -> SpecError:
    are = "is" if len(missing) == 1 else "are"
    return SpecError(
        f"this needs {', '.join(missing)}, which {are} not installed: {install_command(extra)}"
    )


def install_command(extra: str) -> str:
    """Command that adds an extra to this installation, from the place that it came from."""
    source = _source()
    url = source.get("url", "")
    checkout = Path(url2pathname(urlsplit(url).path))
    of_make = checkout / ".venv-uv" / "bin" / "uv"  # which `make` puts there where there is none
    is_used = url and of_make.exists() and not shutil.which("uv")
    uv = shlex.quote(str(of_make)) if is_used else "uv"
    pip = "pip install" if find_spec("pip") else f"{uv} pip install"  # uv makes folders without pip
    if not source.get("dir_info", {}).get("editable"):
        return f"{pip} {shlex.quote(f'{DISTRIBUTION}[{extra}]' + (f' @ {url}' if url else ''))}"
    constraints = checkout / "constraints.txt"
    pins = f" -c {shlex.quote(str(constraints))}" if constraints.is_file() else ""
    return f"{pip}{pins} -e {shlex.quote(f'{checkout}[{extra}]')}"


def _source() -> Any:
    """Note of an installer on the folder or the address that it installed from (PEP 610); {} of a
    package from an index."""
    from importlib import metadata  # which no command needs that works

    try:
        return json.loads(metadata.distribution(DISTRIBUTION).read_text("direct_url.json") or "{}")
    except metadata.PackageNotFoundError:
        return {}


def _of_the_system(error: OSError) -> SupremeError:
    why = error.strerror or str(error)
    if error.filename is None:
        gone = error.errno == errno.ENOENT
        text = "the folder in which this was started is gone" if gone else f"the system says: {why}"
    else:
        text = f"{os.fsdecode(error.filename)!r}: {why}"
    return (SpecError if error.errno in OF_THE_USER else SupremeError)(text)


def _give_up_output() -> None:
    """Send what is still to be written nowhere, so that nothing is said of it at exit."""
    with suppress(OSError, ValueError, AttributeError):  # it is no file, or none at all
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
