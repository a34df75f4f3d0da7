"""Plots of tests that are about something else: the same one is drawn once in a process.

A page has eight to twenty, each of which takes 40 ms of a processor. That the same numbers give the
same bytes is tested with plots that are drawn anew.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

_DRAWN: dict[str, str] = {}


@contextmanager
def once() -> Iterator[None]:
    """Within it a plot of the same numbers and words is the one that was drawn before."""
    from supreme_core.report import plots, roc  # which import matplotlib

    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((plots, "drawn"), (roc, "roc_plot")):
            patch.setattr(module, name, _remembering(getattr(module, name)))
        yield


@contextmanager
def anew() -> Iterator[None]:
    """Within it each plot is drawn again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"{__name__}._DRAWN", {})
        yield


def _remembering(draw: Callable[..., str]) -> Callable[..., str]:
    def drawn(*shown: Any, **described: Any) -> str:
        key = repr((draw.__name__, shown, described))
        if key not in _DRAWN:
            _DRAWN[key] = draw(*shown, **described)
        return _DRAWN[key]

    return drawn
