"""The names that `supreme_core` gives to programs: imported late, known to type checkers."""

import re
from pathlib import Path

import pytest

import supreme_core

STUB = Path(supreme_core.__file__).with_suffix(".pyi")


def test_type_checkers_know_the_public_names():
    known = re.findall(
        r"^from supreme_core\.library\.(\w+) import \w+ as (\w+)$", STUB.read_text(), re.M
    )
    assert {name: module for module, name in known} == supreme_core._PUBLIC


def test_every_public_name_is_there_and_listed():
    for name in supreme_core.__all__:
        assert getattr(supreme_core, name).__doc__
        assert name in dir(supreme_core)


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'supreme_core' has no attribute 'lod'"):
        _ = supreme_core.lod
