"""Hold docs/ to its word: its experiments can be done on a cluster, its tables leave nothing out.

Covered: every YAML block, names of phases, conditions, metrics and the files that links lead to;
the files of code and the stages that docs/architecture.md names; the version and its date in
CITATION.cff, and the version of images.
Left out: the table of settings, which is generated (test_generated.py), and the prose.
"""

import json
import re
import tomllib
from pathlib import Path
from typing import get_args

import pytest
import yaml
from click.testing import CliRunner
from supreme_operator.deciding.admission import admit
from supreme_trainer.command.cli import cli

from supreme_core.api.status import Phase
from supreme_core.checking import pod_policy
from supreme_core.checking.patterns import holds_it, names_it
from supreme_core.registry import catalog
from tests import extending
from tests.monitoring.exported import operator_families

ROOT = Path(__file__).parents[2]
ARCHITECTURE = ROOT / "docs" / "architecture.md"
CLUSTER, OPERATOR = ROOT / "docs" / "cluster.md", ROOT / "docs" / "operator.md"
EXAMPLES = ROOT / "examples" / "README.md"
PAGES = sorted(
    [
        *(ROOT / each / "README.md" for each in ("", "community", "examples")),
        *(ROOT / "docs").rglob("*.md"),
    ]
)
EXPERIMENTS = [
    (page, text)
    for page in PAGES
    if page != extending.PAGE  # its experiment needs the plug-ins of the page: test_extending.py
    for text in re.findall(r"^```yaml\n(apiVersion.*?)^```", page.read_text(), re.DOTALL | re.M)
]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
IN_THE_CODE = ("__init__.py", "library/results.py")
"""Files of supreme_core whose docstrings name the demo's results."""
FROM_THE_SERVER = {"uid": "1f0c52ab-0000", "creationTimestamp": "2026-01-01T00:00:00Z"}

every_experiment = pytest.mark.parametrize(
    "text", [text for _, text in EXPERIMENTS], ids=[page.stem for page, _ in EXPERIMENTS]
)


def test_the_pages_have_experiments():
    assert {page.name for page, _ in EXPERIMENTS} == {"README.md", "cluster.md"}


@every_experiment
def test_an_experiment_of_a_page_validates(text, tmp_path):
    path = tmp_path / "experiment.yaml"
    path.write_text(text)

    done = CliRunner().invoke(cli, ["validate", str(path)], standalone_mode=False)

    assert done.exit_code == 0, done.output
    assert f"{path} is valid" in done.output


def test_the_demo_lies_where_the_two_lines_of_python_look():
    asked = CliRunner().invoke(cli, ["validate", str(ROOT / "examples" / "digits.yaml"), "--json"])
    (demo,) = json.loads(asked.stdout)["experiments"]
    texts = [page.read_text() for page in PAGES]
    texts += [(ROOT / "supreme_core" / each).read_text() for each in IN_THE_CODE]
    named = {
        name for text in texts for name in re.findall(r"experiments/local/digits-[0-9a-f]{8}", text)
    }
    assert named == {demo["uri"][demo["uri"].index("experiments/local/") :]}


def test_the_operator_admits_the_experiment_of_the_cluster_page():
    [text] = [text for page, text in EXPERIMENTS if page == CLUSTER]
    body = yaml.safe_load(text)
    body["metadata"] |= FROM_THE_SERVER

    admitted = admit(body, catalog.bundled(), defaults={})

    assert admitted.experiment.owner.namespace == "research"


def test_every_phase_is_explained():
    assert _first_cells("Phases") == list(get_args(Phase))


def test_every_metric_is_explained_and_no_other():
    rows = re.findall(r"^\| (`[a-z]+_.*?) \|", OPERATOR.read_text(), re.M)
    explained = {name for row in rows for name in re.findall(r"`(\w+)", row)}

    assert explained == operator_families()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings_that_are_there(page):
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text()):
        path, _, heading = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        assert not heading or heading in _anchors(file), target


def test_every_example_is_on_its_page():
    linked = set(re.findall(r"\]\(([\w-]+\.yaml)\)", EXAMPLES.read_text()))
    assert linked == {file.name for file in EXAMPLES.parent.glob("*.yaml")}


def test_the_files_that_the_architecture_names_are_there():
    named = set(re.findall(r"`([a-z_/]+(?:\.py|/))`", ARCHITECTURE.read_text()))
    packages = (ROOT / "supreme_core", ROOT / "operator", ROOT / "trainer")
    files = [f"/{file.relative_to(ROOT)}" for each in packages for file in each.rglob("*.py")]

    assert len(named) > 10
    for name in named:
        assert any(f"/{name}" in file for file in files), name


def test_every_kind_of_stage_is_explained():
    seed = (ROOT / "trainer" / "supreme_trainer" / "seed").glob("*.py")
    pattern = r'^class \w+\((?:Stage\[.*\]|MethodStage)\):\n(?: .*\n|\n)*?    name = "(\w+)"'
    made = {name for file in seed for name in re.findall(pattern, file.read_text(), re.MULTILINE)}
    section = ARCHITECTURE.read_text().split("## How a stage is keyed\n")[1].split("\n## ")[0]

    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == made


def test_what_pages_set_on_pods_is_allowed_by_default():
    blocks = [
        yaml.safe_load(text)
        for page in PAGES
        for text in re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.DOTALL | re.M)
        if re.search(r"^ +template:", text, re.M)
    ]
    templates = [block["execution"]["template"] for block in blocks if "execution" in block]
    assert len(templates) >= 2
    for template in templates:
        paths = [each["mountPath"] for each in template.get("volumeMounts", [])]
        assert [path for path in paths if not holds_it(pod_policy.MOUNT_PATHS, path)] == []
        variables = [each["name"] for each in template.get("env", [])]
        assert [name for name in variables if not names_it(pod_policy.VARIABLES, name)] == []


def test_the_citation_is_of_this_version_and_its_date_is_in_the_changelog():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    dates = dict(re.findall(r"^## \[(.+)\] - (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.M))

    assert cited["version"] == PROJECT["version"]
    assert cited["license"] == PROJECT["license"]
    assert str(cited["date-released"]) == dates[PROJECT["version"]]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_images_of_a_page_are_those_of_this_version(page):
    named = re.findall(r"supreme-(?:operator|trainer):(\d[\w.-]*)", page.read_text())
    assert {*named} <= {PROJECT["version"]}


def _first_cells(heading: str) -> list[str]:
    """Return the code in the first cells of the table below a heading of the cluster page."""
    section = CLUSTER.read_text().split(f"### {heading}\n")[1].split("\n#")[0]
    return re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)


def _anchors(file: Path) -> set[str]:
    """The anchors that a page's headings get."""
    headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
