"""Words for what a number was computed on, as far as numpy alone decides it."""

import os
import platform
from importlib import metadata
from typing import Any

import numpy

from supreme_core import DISTRIBUTION


def environment() -> dict[str, Any]:
    return {
        "supreme": version(DISTRIBUTION),
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "machine": platform.machine(),
        "image": os.environ.get("SUPREME_IMAGE", ""),
    }


def version(distribution: str) -> str:
    """The installed version of a distribution."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "unknown"
