"""A published folder as a reader checks it: as it was written, and after each kind of edit.

Covered: every file with a seal, another plan, other seeds, a seed without a result, numbers that do
not follow from the results although every digest was made anew.
"""

import json

import pytest

from supreme_core.api import names
from supreme_core.api.orders import work_digest
from supreme_core.errors import SpecError
from supreme_core.publishing.publish import publish, write_summary
from supreme_core.publishing.verify import verified_summary
from supreme_core.store.artefacts import Artefacts
from supreme_core.store.folder import LocalStorage
from supreme_core.store.results import write_order, write_result
from tests.core.publishing.test_publish import ORDER, RESULTS, SEEDS

pytestmark = pytest.mark.usefixtures("plots_once")

PREFIX = ORDER.prefix


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Files of a published experiment, and its summary."""
    folder = tmp_path_factory.mktemp("published")
    storage = LocalStorage(folder / "store")
    write_order(storage, ORDER)
    for result in RESULTS.values():
        write_result(storage, result)
    summary = publish(storage, Artefacts(storage, folder / "cache"), ORDER)
    return {item.key: storage.read(item.key) for item in storage.list()}, summary


@pytest.fixture
def copy(written, tmp_path):
    storage = LocalStorage(tmp_path / "store")
    for key, data in written[0].items():
        storage.write(key, data)
    return storage


def refusal(storage):
    with pytest.raises(SpecError) as error:
        verified_summary(storage, PREFIX)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_folder_as_it_was_published_is_accepted(copy, written):
    assert verified_summary(copy, PREFIX) == written[1]


def test_a_number_may_differ_in_the_last_digits_that_machines_differ_in(copy, written):
    first, *rest = written[1].rows
    close = first.model_copy(update={"mean": first.mean * (1 + 1e-9)})
    write_summary(copy, PREFIX, written[1].model_copy(update={"rows": [close, *rest]}))
    assert verified_summary(copy, PREFIX).rows[0].mean != first.mean


def test_tests_that_another_version_adjusted_otherwise_are_no_edit(copy, written):
    rows = [
        row.model_copy(update={"gap": row.gap and row.gap.model_copy(update={"adjusted_p": 0.5})})
        for row in written[1].rows
    ]
    write_summary(copy, PREFIX, written[1].model_copy(update={"rows": rows}))
    assert verified_summary(copy, PREFIX).rows == rows


@pytest.mark.parametrize(
    ("key", "line"),
    [
        (names.order_key(PREFIX), "order.json has been changed since it was written"),
        (names.summary_key(PREFIX), "summary.json: it has been changed since it was published"),
        (names.report_key(PREFIX), "report.html: it has been changed since it was published"),
        (ORDER.result_key(2, 0), "result.json has been changed since it was written"),
    ],
)
def test_an_edit_of_any_file_is_refused(copy, key, line):
    before = copy.read(key)
    edited = before.replace(b'"tiny"', b'"tinier"', 1) if key.endswith("r.json") else before
    edited = before.replace(b"full_class", b"half_class", 1) if edited == before else edited
    assert edited != before
    copy.write(key, edited)
    assert line in refusal(copy)


def test_an_order_without_a_seal_is_refused(copy):
    key = names.order_key(PREFIX)
    copy.write(key, json.dumps({**json.loads(copy.read(key)), "sha256": None}).encode())
    assert "order.json" in refusal(copy)
    document = json.loads(copy.read(key))
    del document["sha256"]
    copy.write(key, json.dumps(document).encode())
    assert "order.json has no digest" in refusal(copy)


def test_another_plan_is_refused(copy):
    work = ORDER.work.model_copy(update={"unlearning_repeats": 2})
    write_order(copy, ORDER.model_copy(update={"work": work}))
    line = refusal(copy)
    assert "summary.json is of another plan" in line
    assert work_digest(work)[:12] in line


def test_other_seeds_are_refused(copy):
    write_order(copy, ORDER.model_copy(update={"seeds": [*SEEDS, 4]}))
    assert "summary.json is of other seeds" in refusal(copy)


def test_a_seed_without_a_result_is_refused(copy):
    copy.delete(ORDER.result_key(2, 0))
    assert refusal(copy).endswith("has no result of its plan for 1 seed: '2'")


def test_numbers_that_do_not_follow_from_the_results_are_refused(copy, written):
    """Digests of a summary can be made anew by everybody who can write it."""
    first, *rest = written[1].rows
    better = first.model_copy(update={"mean": first.mean + 0.01})
    write_summary(copy, PREFIX, written[1].model_copy(update={"rows": [better, *rest]}))
    assert "a row is not what the results of its seeds give" in refusal(copy)
