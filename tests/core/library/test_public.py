"""The names that `supreme_core` gives to programs: imported late, known to type checkers."""

import re
import sys
from pathlib import Path

import pytest

import supreme_core
from supreme_core.errors import SpecError
from supreme_core.system import ending

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


def test_without_torch_what_needs_it_says_how_to_install_it(monkeypatch):
    monkeypatch.delitem(vars(supreme_core), "unlearn", raising=False)
    monkeypatch.setitem(sys.modules, "supreme_core.library.unlearning", None)  # cannot be imported
    monkeypatch.setattr(ending, "TRAINER_MODULES", ("not_installed",))
    with pytest.raises(SpecError, match=r"this needs not_installed.*\[trainer\]'"):
        _ = supreme_core.unlearn
    monkeypatch.setattr(ending, "TRAINER_MODULES", ())
    with pytest.raises(ModuleNotFoundError):
        _ = supreme_core.unlearn
