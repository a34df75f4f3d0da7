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
def test_actions_are_commits_with_their_version_beside_them(path):
    actions = re.findall(r"uses: (.+)", path.read_text())
    assert actions
    pinned = re.compile(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
    assert [action for action in actions if not pinned.fullmatch(action)] == []


def test_an_action_is_the_same_commit_everywhere():
    text = "".join(path.read_text() for path in WORKFLOWS)
    commits = set(re.findall(r"uses: ([\w/-]+)@(\S+ # \S+)", text))
    assert len(commits) == len({action for action, _ in commits})


@every_workflow
def test_no_step_after_a_checkout_has_its_token(path):
    for job in yaml.safe_load(path.read_text())["jobs"].values():
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


def test_updates_are_proposed_for_what_is_pinned():
    config = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text())
    folders = {each["package-ecosystem"]: each for each in config["updates"]}
    assert set(folders) == {"github-actions", "docker", "gomod"}
    tools = {f"/{path.parent.relative_to(ROOT)}" for path in ROOT.glob("tests/**/go.mod")}
    assert set(folders["gomod"]["directories"]) == tools


@every_workflow
def test_jobs_may_only_read_unless_they_publish(path):
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    granted = {
        name: {right for right, how in job.get("permissions", {}).items() if how == "write"}
        for name, job in workflow["jobs"].items()
    }
    publishes = {"packages", "id-token", "attestations"}
    assert {name: rights for name, rights in granted.items() if rights} == (
        {
            "distribution": {"id-token", "attestations"},
            "image": publishes,
            "chart": publishes,
            "publish": {"contents"},
            "pypi": {"id-token"},
        }
        if path.stem == "release"
        else {}
    )


def test_whatever_a_release_publishes_has_a_statement_of_how_it_was_made():
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())["jobs"]
    for name in ("distribution", "image", "chart"):
        [stated] = [
            step["with"]
            for step in jobs[name]["steps"]
            if step.get("uses", "").startswith("actions/attest-build-provenance@")
        ]
        assert "subject-path" in stated or stated["push-to-registry"] is True
    assert jobs["publish"]["needs"] == ["version", "distribution", "chart"]
    assert jobs["pypi"]["needs"] == "publish"


def test_the_chart_of_a_release_names_the_images_of_the_release():
    """By values that the chart has, with the repositories to which the images were pushed."""
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())["jobs"]
    [step] = [step for step in jobs["chart"]["steps"] if step.get("name") == "Name the images"]
    values = yaml.safe_load((ROOT / "charts" / "supreme" / "values.yaml").read_text())
    for image, repository in (("image", "operator"), ("trainer.image", "trainer")):
        fields = dict(re.findall(rf"(?<!\w)\.{image}\.(\w+) = (\S+)", step["run"]))
        there = values["trainer"]["image"] if "." in image else values["image"]
        assert fields.keys() == {"registry", "repository", "digest"} <= there.keys()
        assert fields["repository"] == f'"supreme-{repository}"'
    assert step["env"]["REGISTRY"] in jobs["image"]["env"]["IMAGE"]


def test_artifact_hub_is_told_whose_chart_it_is_from_a_file():
    told = yaml.safe_load((ROOT / "artifacthub-repo.yml").read_text())
    assert told == {"repositoryID": ""}  # its fields are repositoryID, owners and ignore
    release = (ROOT / ".github" / "workflows" / "release.yml").read_text()
    assert "yq --inplace '.repositoryID = " in release


def test_a_release_tells_images_what_make_tells_them():
    release = (ROOT / ".github" / "workflows" / "release.yml").read_text()
    jobs = yaml.safe_load(release)["jobs"]
    build = next(step for step in jobs["image"]["steps"] if step.get("id") == "build")
    told = dict(line.split("=", 1) for line in build["with"]["build-args"].splitlines())
    makefile = set(re.findall(r"--build-arg (\w+)=", (ROOT / "Makefile").read_text()))
    assert set(told) == makefile
    assert told["PYTHON_IMAGE"] == "${{ needs.base.outputs.image }}"
    assert "$base@$digest" in release, "the base is not named by its digest"
    names = {
        f"Dockerfile.{each['name']}" for each in jobs["image"]["strategy"]["matrix"]["include"]
    }
    assert names == {path.name for path in ROOT.glob("Dockerfile.*")}
