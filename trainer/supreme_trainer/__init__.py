"""Experiments computed on this machine: `run` for programs, `supreme` for shells.

`run` is the public face, imported when it is asked for; everything else is internal and may change
from one version to the next.
"""

from importlib import import_module
from typing import Any

__all__ = ["run"]


def __getattr__(name: str) -> Any:
    """Import `run` when it is first asked for, as trainers and the command start without it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)
    return import_module(f"{__name__}.command.library").run
