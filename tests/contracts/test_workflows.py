"""Workflows of GitHub are sound as far as that can be seen without GitHub, and have few rights."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.cluster.programs import ACTIONLINT

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))

every_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)


@every_workflow
def test_actionlint_has_no_complaint(path):
    command = [ACTIONLINT.built() / "actionlint", "-shellcheck=", "-pyflakes=", path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@every_workflow
def test_actions_have_a_major_version(path):
    actions = re.findall(r"uses: (\S+)", path.read_text())
    assert actions
    assert [action for action in actions if not re.fullmatch(r"[\w/-]+@v\d+", action)] == []


@every_workflow
def test_jobs_may_only_read_unless_they_publish(path):
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    granted = [job.get("permissions", {}) for job in workflow["jobs"].values()]
    writes = {name for each in granted for name, right in each.items() if right == "write"}
    assert writes == ({"packages", "id-token"} if path.stem == "release" else set())


def test_a_release_tells_images_what_make_tells_them():
    release = (ROOT / ".github" / "workflows" / "release.yml").read_text()
    told = set(re.findall(r"^ +([A-Z]+)=\$", release, re.MULTILINE))
    makefile = set(re.findall(r"--build-arg (\w+)=", (ROOT / "Makefile").read_text()))
    assert told == makefile - {"PYTHON_IMAGE"}  # whose default is what is released
    [job] = yaml.safe_load(release)["jobs"].values()
    names = {f"Dockerfile.{each['name']}" for each in job["strategy"]["matrix"]["include"]}
    assert names == {path.name for path in ROOT.glob("Dockerfile.*")}
