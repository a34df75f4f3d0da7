"""Distribution of tests over processes, their order, and the first lines of a run."""

from types import SimpleNamespace

import pytest

from tests import schedule
from tests.cluster import programs
from tests.core.report import axe
from tests.monitoring import prometheus


def items(*names, fixtures=()):
    return [SimpleNamespace(nodeid=name, fixturenames=list(fixtures)) for name in names]


def in_order(found, *, without_s3=False):
    config = SimpleNamespace(workerinput={"without_s3": without_s3})
    schedule.pytest_collection_modifyitems(config, found)
    return [item.nodeid for item in found]


def test_tests_that_wait_for_a_cluster_come_first_and_then_files_with_large_budgets():
    small, large = "tests/core/api/test_api.py::test_a", "tests/trainer/test_ranks.py::test_a"
    waiting = ["tests/chart/test_render.py::test_a", "tests/cluster/test_crd.py::test_a"]
    assert set(in_order(items(small, large, *waiting))[:2]) == set(waiting)
    assert in_order(items(small, large)) == [large, small]


def test_the_order_within_a_file_stays():
    names = [f"tests/core/api/test_api.py::test_{name}" for name in "bca"]
    assert in_order(items(*names)) == names


@pytest.mark.parametrize("without_s3", [True, False])
def test_files_with_tests_on_s3_wait_until_the_server_is_built(without_s3):
    stored, plain = "tests/core/test_a.py::test", "tests/core/test_b.py::test"
    found = [*items(stored, fixtures=["store"]), *items(plain)]
    assert in_order(found, without_s3=without_s3)[0] == (plain if without_s3 else stored)


def test_one_process_gets_all_that_waits_for_a_cluster_and_files_one_by_one():
    waiting = ["tests/chart/test_render.py::test_a", "tests/cluster/test_crd.py::test_a"]
    assert {schedule.unit(name) for name in waiting} == {schedule.CLUSTER}
    assert (
        schedule.unit("tests/core/api/test_api.py::Test::test_a[x::y]")
        == "tests/core/api/test_api.py"
    )


class TestTheFirstLines:
    @pytest.fixture(autouse=True)
    def nothing_is_built(self, tmp_path, monkeypatch):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def test_without_go_they_say_what_is_skipped_and_what_stands_in(self, monkeypatch):
        monkeypatch.setattr(programs, "go", lambda: None)
        said = programs.outlook()
        assert len(said) == len(programs.WITHOUT)
        assert said[0] == (
            "no versitygw, and no Go to build it with: moto stands in for a real S3 server"
        )

    def test_with_go_they_say_what_is_built(self, monkeypatch):
        monkeypatch.setattr(programs, "go", lambda: "go")
        (said,) = programs.outlook()
        assert said.startswith("building once, beside the tests: versitygw, kubernetes, helm")

    def test_without_prometheus_and_apt_they_say_what_is_skipped(self, tmp_path, monkeypatch):
        monkeypatch.setenv("PATH", str(tmp_path))
        (said,) = prometheus.outlook()
        assert said.startswith("no Prometheus")

    @pytest.mark.parametrize("browser", [None, "chromium"])
    def test_without_a_browser_or_npm_they_say_what_is_skipped(
        self, tmp_path, monkeypatch, browser
    ):
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr(axe, "CHROMIUM", browser)
        (said,) = axe.outlook()
        assert said.startswith("no npm" if browser else "no Chromium")

    def test_they_are_those_of_runs_in_several_processes(self):
        alone = SimpleNamespace(getoption=lambda name, default: default)
        assert schedule.pytest_report_header(alone) == []
