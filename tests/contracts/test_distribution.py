"""Files of the distribution: an installation has what a checkout has.

sdist  every file of the repository, so that its tests can be run and its images be built from it
wheel  every file of the three packages, data and catalogue included, and nothing else
names  both commands, and the extras that messages and pages name
"""

import shutil
import subprocess
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

from supreme_core import DISTRIBUTION

ROOT = Path(__file__).parents[2]
PACKAGES = {"operator/supreme_operator", "trainer/supreme_trainer", "supreme_core"}


@pytest.fixture(scope="module")
def files():
    """Return the files of the repository, those that are not committed yet included."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("this is no checkout of git, which knows the files")
    return {each for each in done.stdout.split("\0") if (ROOT / each).is_file()}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Return (sdist, wheel), the second made from the first, as a package index gets them."""
    uv = shutil.which("uv") or shutil.which("uv", path=ROOT / ".venv-uv" / "bin")
    if uv is None:
        pytest.skip("needs uv")
    folder = tmp_path_factory.mktemp("dist")
    build = [uv, "build", "--quiet", "--offline", "--out-dir", str(folder)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    if "hatchling" in done.stderr and "network was disabled" in done.stderr:
        pytest.skip("needs hatchling in uv's cache, where an installation with uv leaves it")
    assert done.returncode == 0, done.stderr
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def wheel(built):
    with zipfile.ZipFile(built[1]) as archive:
        yield archive


def test_the_sdist_has_every_file_of_the_repository(built, files):
    with tarfile.open(built[0]) as archive:
        inside = {member.name.partition("/")[2] for member in archive if not member.isdir()}
    assert inside == files | {"PKG-INFO"}


def test_the_wheel_has_every_file_of_the_packages(wheel, files):
    inside = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert inside == {
        file.removeprefix(str(Path(package).parent) + "/")
        for file in files
        for package in PACKAGES
        if file.startswith(f"{package}/")
    }


def test_the_wheel_has_both_commands_and_the_extras(wheel):
    facts = {name.partition(".dist-info/")[2]: name for name in wheel.namelist()}
    metadata = message_from_bytes(wheel.read(facts["METADATA"]))
    assert metadata["Name"] == DISTRIBUTION
    assert set(metadata.get_all("Provides-Extra")) == {
        "trainer",
        "operator",
        "pandas",
        *("tpe", "tensorboard", "mlflow", "wandb"),
        "dev",
    }
    commands = wheel.read(facts["entry_points.txt"]).decode()
    assert "supreme = " in commands
    assert "supreme-operator = " in commands
