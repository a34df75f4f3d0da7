"""The template of community/: a package with a method, as an installer lays it out.

Covered: the method is found by the entry point of pyproject.toml, computed beside one of ours, and
gets a line on a leaderboard. Left out: the build of its wheel, which needs a registry; links of the
page (test_docs.py).
"""

import re
import shutil
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner
from supreme_trainer.command.cli import cli

from supreme_core import registry
from supreme_core.api import names
from supreme_core.api.model import parse
from supreme_core.api.v1alpha1 import UnlearningExperiment
from supreme_core.plan import plan
from supreme_core.publishing.publish import publish
from supreme_core.registry import catalog
from supreme_core.store.artefacts import Artefacts
from supreme_core.store.results import write_order, write_result
from tests.trainer.experiments import FINETUNE, FULL_CLASS, compute, experiment, folder_store

TEMPLATE = Path(__file__).parents[2] / "community" / "method_template"
PROJECT = tomllib.loads((TEMPLATE / "pyproject.toml").read_text())["project"]
[(GROUP, POINTS)] = PROJECT["entry-points"].items()
[(METHOD, MODULE)] = POINTS.items()


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The template in a folder of packages of this process, for one test."""
    site, version = tmp_path / "site", PROJECT["version"]
    info = site / f"{PROJECT['name'].replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    about = f"Metadata-Version: 2.1\nName: {PROJECT['name']}\nVersion: {version}\n"
    (info / "METADATA").write_text(about)
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{METHOD} = {MODULE}\n")
    shutil.copy(TEMPLATE / f"{MODULE}.py", site)
    monkeypatch.syspath_prepend(site)
    monkeypatch.setattr(registry.method, "_entries", {**registry.method._entries})
    monkeypatch.setattr(registry.method, "_discovered", False)  # whatever was imported before
    yield
    sys.modules.pop(MODULE, None)


@pytest.mark.usefixtures("installed", "plots_once")
def test_the_method_of_the_template_is_found_computed_and_ranked(tmp_path):
    assert registry.method.group == GROUP
    assert MODULE == METHOD  # as the page asks for
    document = experiment(
        methods=[FINETUNE, {"name": METHOD, "params": {"epochs": 1}}], scenarios=[FULL_CLASS]
    )
    storage = folder_store(tmp_path / "store")
    asked = parse(UnlearningExperiment, document)
    order = plan(asked, catalog.installed(), namespace=names.LOCAL_NAMESPACE)

    write_order(storage, order)
    write_result(storage, compute(document, storage, whole=order))
    publish(storage, Artefacts(storage, tmp_path / "cache"), order)

    page = CliRunner().invoke(cli, ["leaderboard", storage.uri], standalone_mode=False)
    assert page.exit_code == 0, page.output
    found = re.findall(r"^\| (\S+) \| ([\d.]+) \|", page.output.replace("\\", ""), re.M)
    assert {label for label, _ in found} == {"finetune", METHOD}
    assert sum(float(place) for _, place in found) == 1 + 2
