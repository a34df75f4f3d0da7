"""Programs of other projects that cannot be had: the reason is given, as a skip or a failure.

That the programs are built and work is what the tests show that use them.
"""

import shutil
from dataclasses import replace

import pytest

from tests.cluster import go_tools
from tests.cluster.go_tools import GoTools

NEEDED = "SUPREME_REQUIRE_SOMETHING"


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """Programs that are not in the cache yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return GoTools("versitygw", needed_if=NEEDED)


@pytest.mark.parametrize(
    ("go", "reason"),
    [(None, "there is no Go to build it with"), ("false", "it cannot be built: ")],
    ids=["no Go", "a build that fails"],
)
class TestWithoutPrograms:
    def test_a_test_is_skipped_with_the_reason(self, tools, monkeypatch, go, reason):
        monkeypatch.setattr(go_tools, "go", lambda: go)
        with pytest.raises(pytest.skip.Exception, match=f"versitygw: {reason}"):
            tools.built()

    def test_a_test_fails_where_it_must_run(self, tools, monkeypatch, go, reason):
        monkeypatch.setenv(NEEDED, "1")
        monkeypatch.setattr(go_tools, "go", lambda: go)
        with pytest.raises(pytest.fail.Exception, match=f"{reason}.*, and {NEEDED} is set"):
            tools.built()


def test_without_go_they_can_be_had_only_from_the_cache(tools, monkeypatch):
    monkeypatch.setattr(go_tools, "go", lambda: None)
    assert not tools.can_be_had()
    tools.folder.mkdir(parents=True)
    assert tools.can_be_had()
    assert tools.built() == tools.folder


def test_another_version_has_another_place(tools):
    assert GoTools("kubernetes", needed_if=NEEDED).folder != tools.folder


def test_another_source_has_another_place(tmp_path, monkeypatch):
    shutil.copytree(go_tools.TOOLS / "pause", tmp_path / "pause")
    before = GoTools("pause", needed_if=NEEDED).folder
    monkeypatch.setattr(go_tools, "TOOLS", tmp_path)
    assert GoTools("pause", needed_if=NEEDED).folder == before
    (tmp_path / "pause" / "main.go").write_text("package main\n")
    assert GoTools("pause", needed_if=NEEDED).folder != before


def test_files_beside_the_programs_have_another_place(tools):
    assert replace(tools, files=(("example.com/module", "a.yaml"),)).folder != tools.folder
