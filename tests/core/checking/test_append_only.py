"""Changes of an experiment that lose results, in the words of the rules of the API server."""

import pytest

from supreme_core.api.orders import ExperimentOrder, work_digest
from supreme_core.checking.append_only import losses
from supreme_core.errors import StoreUnusable
from supreme_core.store.folder import LocalStorage
from supreme_core.store.results import (
    ResultReader,
    attempts_by_seed,
    drop_results,
    write_order,
    write_result,
)
from tests.core.analysis import summaries
from tests.core.tuning import trials as tuned

SEEDS = [7, 8, 9]
APPENDED = "(methods are append-only: those that were there stay what they were)"


def order(**changes):
    """The order of a small experiment, with other fields of its work or other seeds."""
    document = summaries.question(SEEDS).order.to_document()
    methods = [
        {"name": "scrub", "params": {"lr": 0.1, "steps": {"first": 1}}},
        {"name": "scrub", "label": "again", "wrappers": [{"name": "rewind", "params": {}}]},
    ]
    document["work"] |= {"methods": methods, "metrics": [{"name": "accuracy"}]}
    document["seeds"] = changes.pop("seeds", SEEDS)
    document |= {name: changes.pop(name) for name in ("primaryMetric",) if name in changes}
    document["work"] |= changes
    return ExperimentOrder.model_validate(document)


METHODS = order().to_document()["work"]["methods"]
BEFORE = order()


def with_params(**params):
    return [{**METHODS[0], "params": {**METHODS[0]["params"], **params}}, METHODS[1]]


@pytest.mark.parametrize(
    "now",
    [
        order(),
        order(methods=[*METHODS, {"name": "ssd"}]),
        order(methods=METHODS[::-1]),
        order(metrics=[{"name": "accuracy"}, {"name": "loss"}]),
        order(scenarios=[{"name": "full_class"}, {"name": "random_samples"}]),
        order(seeds=[*SEEDS, 10]),
        order(primaryMetric="test_accuracy"),
        order(revisions=[{"kind": "method", "name": "scrub", "version": 2}]),
    ],
    ids=[
        "nothing",
        "a method more",
        "another order of methods",
        "a metric more",
        "a scenario more",
        "a seed more",
        "another primary metric",
        "newer code",
    ],
)
def test_what_loses_nothing_is_allowed(now):
    assert [*losses(BEFORE, now, SEEDS)] == []


@pytest.mark.parametrize(
    ("now", "line"),
    [
        (order(methods=METHODS[1:]), f"spec.methods: 'scrub' left out {APPENDED}"),
        (
            order(methods=with_params(lr=0.2)),
            f"spec.methods: 'scrub' changed: params.lr was 0.1 and is 0.2 {APPENDED}",
        ),
        (
            order(methods=with_params(lr=1, steps={"first": 1.0}, epochs=3)),
            "spec.methods: 'scrub' changed: params.lr was 0.1 and is 1, params.steps.first was 1"
            f" and is 1.0, params.epochs was not given and is 3 {APPENDED}",
        ),
        (
            order(methods=[{**METHODS[0], "name": "ssd", "label": "scrub"}, METHODS[1]]),
            'spec.methods: \'scrub\' changed: name was "scrub" and is "ssd", label was "" and is'
            f' "scrub" {APPENDED}',
        ),
        (
            order(methods=[METHODS[0], {**METHODS[1], "wrappers": []}]),
            "spec.methods: 'again' changed: wrappers was"
            f' [{{"name": "rewind", "params": {{}}}}] and is not given {APPENDED}',
        ),
        (order(metrics=[{"name": "loss"}]), "spec.metrics: 'accuracy' left out"),
        (order(scenarios=[{"name": "other"}]), "spec.scenarios: 'full_class' left out"),
        (
            order(unlearningRepeats=2),
            "spec.seeds.unlearningRepeats was 1 and is 2 (unlearningRepeats cannot be changed)",
        ),
        (
            order(protocol="matched"),
            'spec.seeds.protocol was "independent" and is "matched" (protocol cannot be changed)',
        ),
        (
            order(evaluationPrecision="bf16"),
            'spec.evaluationPrecision was "fp32" and is "bf16" (evaluationPrecision cannot be'
            " changed)",
        ),
        (
            BEFORE.model_copy(update={"margins": {"forget_accuracy": 0.02}}),
            'spec.margins was not given and is {"forget_accuracy": 0.02} (a margin is set before'
            " there are results)",
        ),
        (
            order(seeds=[9]),
            "spec.seeds: 7 to 8 left out (seeds are append-only: new ones stand behind those that"
            " were there)",
        ),
    ],
    ids=lambda value: value.split(" (")[0][:60] if isinstance(value, str) else "",
)
def test_what_loses_results_is_a_line_with_its_field(now, line):
    assert [*losses(BEFORE, now, SEEDS)] == [line]


def test_an_experiment_without_results_may_become_any_other():
    assert [*losses(BEFORE, order(methods=METHODS[1:], seeds=[1]), [])] == []


def test_a_seed_without_a_result_may_go():
    assert [*losses(BEFORE, order(seeds=[7, 8]), [7, 8])] == []


class TestDropping:
    NOW = order(methods=METHODS[1:], seeds=[7, 8])
    RUNS = (summaries.run("original"),)

    @pytest.fixture
    def storage(self, store):
        """Results of the old work, of the new work, and what lies beside them."""
        write_order(store, BEFORE)
        for seed, attempt, of in (
            (7, 0, BEFORE),
            (7, 1, self.NOW),
            (8, 0, BEFORE),
            (9, 0, self.NOW),
        ):
            write_result(
                store,
                summaries.result(
                    seed, list(self.RUNS), attempt=attempt, work_digest=work_digest(of.work)
                ),
            )
            store.write(f"{BEFORE.prefix}/seed={seed}/attempt={attempt}/run.log", b"log")
        for name in ("summary.json", "summary.csv", "over_seeds.csv", "report.html"):
            store.write(f"{BEFORE.prefix}/{name}", b"old")
        store.write("objects/unlearned/00/00/manifest.json", b"a stage")
        return store

    def test_drops_what_does_not_answer_the_new_order_and_nothing_else(self, storage):
        assert drop_results(storage, BEFORE, self.NOW, ResultReader(storage)) == {
            7: [0],
            8: [0],
            9: [0],
        }
        assert [info.key for info in storage.list()] == [
            f"{BEFORE.prefix}/order.json",
            f"{BEFORE.prefix}/seed=7/attempt=1/result.json",
            f"{BEFORE.prefix}/seed=7/attempt=1/run.log",
            "objects/unlearned/00/00/manifest.json",
        ]
        assert [*ResultReader(storage).of(self.NOW)] == [7]

    def test_nothing_goes_where_something_lies_behind_a_link(self, tmp_path):
        store = LocalStorage(tmp_path / "store")
        write_order(store, BEFORE)
        write_result(store, summaries.result(7, list(self.RUNS), work_digest="0" * 64))
        (tmp_path / "far").mkdir()
        (tmp_path / "far" / "mine.txt").write_bytes(b"mine")
        (tmp_path / "store" / BEFORE.prefix / "seed=8").symlink_to(tmp_path / "far")
        before = [*store.list()]

        with pytest.raises(StoreUnusable, match=r"seed=8/mine.txt lies behind a symbolic link"):
            drop_results(store, BEFORE, self.NOW, ResultReader(store))

        assert [*store.list()] == before

    @pytest.mark.parametrize(("more", "dropped"), [({}, {}), ({"trials": 2}, {9000: [0]})])
    def test_rounds_of_trials_stay_where_the_same_is_tried(self, tmp_path, more, dropped):
        """A margin was changed; what a round computes is not in the order."""
        asked = tuned.tuning(rounds=2)
        before = tuned.order_of(**asked)
        now = tuned.order_of(**tuned.tuning(rounds=2, **more), margins={"forget_accuracy": 0.02})
        store = LocalStorage(tmp_path)
        write_result(
            store,
            tuned.result(9000, []).model_copy(update={"work_digest": summaries.digest("round")}),
        )
        assert drop_results(store, before, now, ResultReader(store)) == dropped

    def test_twice_is_as_once(self, storage):
        drop_results(storage, BEFORE, self.NOW, ResultReader(storage))
        assert drop_results(storage, BEFORE, self.NOW, ResultReader(storage)) == {}
        assert attempts_by_seed(storage, BEFORE) == {7: [1], 8: [], 9: []}


def test_an_order_that_cannot_be_read_counts_as_absent_with_a_warning(tmp_path, caplog):
    storage = LocalStorage(tmp_path)
    results = ResultReader(storage)
    assert results.find_order(BEFORE.prefix) is None
    assert caplog.messages == []
    storage.write(f"{BEFORE.prefix}/order.json", b"{")
    assert results.find_order(BEFORE.prefix) is None
    assert "an order counts as absent" in caplog.text
