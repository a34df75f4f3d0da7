"""Words for what a number was computed on, as far as numpy alone decides it."""

import os
import platform
from importlib import metadata
from typing import Any

import numpy


def environment() -> dict[str, Any]:
    return {
        "supreme": _version("supreme"),
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "machine": platform.machine(),
        "image": os.environ.get("SUPREME_IMAGE", ""),
    }


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "unknown"
