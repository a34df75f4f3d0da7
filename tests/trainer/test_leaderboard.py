"""`supreme leaderboard`, on a folder of made-up results as `supreme run` publishes them.

Left out: who is ranked with whom (core/analysis/test_leaderboard.py), what makes a folder unsound
(core/publishing/test_verify.py), and an experiment that was computed (contracts/test_community.py).
"""

from functools import partial

import pytest

from supreme_core.api import names
from supreme_core.api.orders import work_digest
from supreme_core.errors import EXIT_INVALID
from supreme_core.publishing.publish import publish
from supreme_core.store.artefacts import Artefacts
from supreme_core.store.folder import LocalStorage
from supreme_core.store.results import write_order, write_result
from tests.core.analysis import summaries
from tests.core.publishing.test_publish import ORDER

pytestmark = pytest.mark.usefixtures("plots_once")

METHODS = ("scrub", "ssd")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store with two experiments that can be ranked together."""
    folder = tmp_path_factory.mktemp("published")
    storage = LocalStorage(folder / "store")
    for name in ("one", "two"):
        experiment = ORDER.experiment.model_copy(update={"name": name})
        work = summaries.work(methods=METHODS).model_copy(update={"metrics": ORDER.work.metrics})
        order = ORDER.model_copy(update={"experiment": experiment, "work": work})
        write_order(storage, order)
        for result in summaries.results(order.seeds, methods=METHODS):
            changes = {"experiment": experiment, "work_digest": work_digest(work)}
            write_result(storage, result.model_copy(update=changes))
        publish(storage, Artefacts(storage, folder / "cache"), order)
    return storage


@pytest.fixture
def command(supreme_here):
    """`supreme leaderboard`: (exit status, output, error)."""
    return partial(supreme_here, "leaderboard")


def test_a_store_stands_for_all_of_its_experiments(command, store, tmp_path):
    status, output, error = command(store.uri)
    assert (status, error) == (0, "")
    for label in ("scrub (one)", "scrub (two)", "ssd (one)", "ssd (two)"):
        assert f"| {label} |" in output

    page = tmp_path / "page.md"
    assert command(store.uri, "--output", str(page)) == (0, f"leaderboard: {page}\n", "")
    assert page.read_text() == output


def test_an_experiment_can_be_named_alone_and_another_row_rank(command, store):
    uri = f"{store.uri}/experiments/local/one-01234567"
    status, output, error = command(uri, "--metric", "test_accuracy")
    assert (status, error) == (0, "")
    assert "| scrub |" in output
    assert "Ranked by test accuracy" in output


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["STORE/experiments/local/three-01234567"], "there is no experiment at"),
        (["STORE", "--metric", "test_acuracy"], "did you mean 'test_accuracy'?"),
        (["STORE", "STORE/experiments/local/one-01234567"], "one-01234567 is given twice"),
        (["STORE", "--output", "STORE/no/folder/page.md"], "--output"),
        (["STORE/nothing"], "has no experiments"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(command, store, arguments, line):
    path = store.uri.removeprefix("file://")
    status, output, error = command(*(each.replace("STORE", path) for each in arguments))
    assert (status, output) == (EXIT_INVALID, "")
    assert line in error
    assert len({*error.splitlines()}) <= 2  # the same of each experiment


def test_folders_that_were_edited_are_named_each_in_a_line(command, store):
    keys = [names.summary_key(f"experiments/local/{name}-01234567") for name in ("one", "two")]
    before = {key: store.read(key) for key in keys}
    for key, data in before.items():
        store.write(key, data + b" ")
    try:
        status, output, error = command(store.uri)
    finally:
        for key, data in before.items():
            store.write(key, data)
    assert (status, output) == (EXIT_INVALID, "")
    assert error.count("it has been changed since it was published") == 2
    assert error.count("\n") == 2
