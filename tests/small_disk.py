"""A real file system that is soon full."""

import subprocess
from contextlib import contextmanager

import pytest


@contextmanager
def mounted(folder, size):
    """A tmpfs of `size` on an existing folder; the test is skipped by name where none can be."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "supreme-test", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("a full disk needs a small one, and there is no mount command here")
    if done.returncode:
        pytest.skip(f"a full disk needs a small one, and mounting fails: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
