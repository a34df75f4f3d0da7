"""Tuning on a real API server with the real Job controller and a real store; pods are played.

Covered: trials first, the choice, the seeds by it; what is added later, restarts, and what ends it.
Left out: what is decided in each case (tests/operator/test_tuning.py), real trials (tests/e2e).
"""

import pytest

from supreme_core.api import names
from supreme_core.api.model import parse_json
from supreme_core.api.orders import SharedOrder
from supreme_core.registry import catalog
from supreme_core.store.opening import open_storage
from supreme_core.store.results import ResultReader, read_order
from supreme_core.store.selections import read_selection
from supreme_core.tuning.selection import select
from tests.cluster.operators import operator
from tests.cluster.processes import eventually
from tests.cluster.trainers import always_succeed

FINETUNE = {"name": "finetune", "label": ""}
SSD = {"name": "ssd", "label": ""}
TUNED = {
    "training": {"validation": {"fraction": 0.1}},
    "tuning": {
        "trials": 2,
        "seeds": {"start": 9000, "count": 2},
        "objective": {"forget_accuracy": 1},
    },
    "seeds": {"list": [7, 8]},
}
TRIALS, FINAL = {"t0-a0", "t1-a0"}, {"s0-a0", "s1-a0"}


@pytest.fixture
def start(account, tmp_path):
    """An operator for as long as a `with` says."""
    return lambda: operator(account, tmp_path)


@pytest.fixture
def started(start):
    with start() as found:
        yield found


@pytest.fixture
def storage(experiments, s3_server):
    given = experiments._storage
    return open_storage(given["uri"], endpoint=given["endpoint"], credentials=s3_server.credentials)


@pytest.fixture
def prefix(experiments):
    def found():
        uid = experiments.read()["metadata"]["uid"]
        return names.experiment_prefix(experiments.namespace, "three", uid)

    return found


def jobs(experiments):
    return set(experiments.jobs())


def order_of(experiments, job):
    """The order that the pods of a Job were given."""
    volumes = experiments.jobs()[job].spec.template.spec.volumes
    name = next(each.config_map.name for each in volumes if each.name == names.ORDER_VOLUME)
    data = experiments.config_map(name)[names.ORDER_FILE]
    return parse_json(SharedOrder, data.encode(), source=name)


def test_settings_are_chosen_by_trials_before_the_first_seed(
    started, experiments, trainers, storage, prefix, cluster
):
    trainers.script = lambda seed, attempt: "run" if seed >= 9000 else "succeed"
    experiments.apply(**TUNED)
    status = experiments.until(phase="Tuning", active=2)
    assert (jobs(experiments), status["progress"], status["seeds"]) == (TRIALS, "0/2", 2)
    assert status["tuning"] == {
        "trials": 2,
        "rounds": 1,
        "seeds": 2,
        "succeeded": 0,
        "methods": [],
        "searches": 0,
        "changed": 0,
        "notTunable": 0,
    }
    labels = experiments.jobs()["t0-a0"].metadata.labels
    assert (labels[names.PART_LABEL], labels[names.SEED_LABEL]) == ("tuning", "9000")
    assert order_of(experiments, "t0-a0").work.tuning.trials == 2
    assert "Tuning" in cluster.kubectl("get", "uexp", "-n", experiments.namespace)
    trainers.script = always_succeed
    status = experiments.until(phase="Succeeded")
    assert (jobs(experiments), status["progress"]) == (TRIALS | FINAL, "2/2")
    assert names.PART_LABEL not in experiments.jobs()["s0-a0"].metadata.labels

    order = read_order(storage, prefix())
    selection = read_selection(storage, prefix(), sha256=status["tuning"]["selection"])
    results = ResultReader(storage).of(order.trials)
    assert selection == select(order, results, catalog.bundled())
    assert [*results] == [9000, 9001]
    selected = [choice.selected for choice in selection.choices]
    assert order_of(experiments, "s0-a0").work.selected == order.work.selected == selected
    told = (status["tuning"]["methods"], status["tuning"]["searches"])
    assert told == (["finetune"], 1)
    methods = [row["method"] for row in status["summary"]]
    assert methods == ["original", "retrained", "finetune", "finetune.as-given"]
    assert status["acceptedMethods"] == ["finetune"]
    assert [each["seed"] for each in status["seedStatuses"]] == [9000, 9001, 7, 8]
    describe = ["describe", "uexp", "three", "-n", experiments.namespace]
    # Events are written after the status.
    eventually(lambda: "SettingsChosen" in cluster.kubectl(*describe).split("Events:")[1])


def test_what_is_added_is_tuned_first_and_what_was_chosen_stays(
    started, experiments, trainers, storage, prefix
):
    experiments.apply(**TUNED, methods=[FINETUNE])
    first = experiments.until(phase="Succeeded")
    before = read_selection(storage, prefix(), sha256=first["tuning"]["selection"])
    experiments.change(seeds={"list": [7, 8, 6]})
    experiments.until(phase="Succeeded", progress="3/3")
    assert jobs(experiments) == TRIALS | FINAL | {"s2-a0"}
    experiments.change(methods=[FINETUNE, SSD])
    experiments.until(phase="Tuning")
    status = experiments.until(phase="Succeeded", observedGeneration=3)
    again = {"t0-a1", "t1-a1", "s0-a1", "s1-a1", "s2-a1"}
    assert jobs(experiments) == TRIALS | FINAL | {"s2-a0"} | again
    assert status["tuning"]["methods"] == ["finetune", "ssd"]
    after = read_selection(storage, prefix(), sha256=status["tuning"]["selection"])
    assert after.choices[0] == before.choices[0]
    assert [choice.method for choice in after.choices] == ["finetune", "ssd"]
    rows = {row["method"] for row in status["summary"]}
    assert rows >= {"finetune", "finetune.as-given", "ssd", "ssd.as-given"}


def test_the_next_operator_reads_what_was_chosen(start, experiments, trainers, storage, prefix):
    trainers.script = lambda seed, attempt: "run" if seed < 9000 else "succeed"
    with start():
        experiments.apply(**TUNED, parallelism=1)
        chosen = experiments.until(phase="Running", active=1)["tuning"]
    sealed = storage.read(names.selection_key(prefix()), limit=10**6)
    trainers.script = always_succeed
    with start():
        status = experiments.until(phase="Succeeded")
        assert (status["tuning"], jobs(experiments)) == (chosen, TRIALS | FINAL)
    # What somebody else puts there is not what was chosen.
    storage.write(names.selection_key(prefix()), sealed + b"\n")
    experiments.change(seeds={"list": [7, 8, 6]})
    with start():
        said = experiments.condition("SettingsChosen", status="Unknown")
        assert "selection.json is not the one by which settings were chosen" in said["message"]
        kept = experiments.status()
        assert (kept["phase"], kept["progress"], kept["observedGeneration"]) == (
            "Pending",
            "2/3",
            1,
        )
        assert jobs(experiments) == TRIALS | FINAL
    storage.delete(names.selection_key(prefix()))
    with start():
        status = experiments.until(phase="Succeeded", progress="3/3")
    assert status["tuning"] == chosen
    assert storage.read(names.selection_key(prefix()), limit=10**6) == sealed


@pytest.mark.parametrize(
    ("tuning", "rounds"),
    [
        ({"trials": 4, "rounds": 2}, [{"t0-a0"}, {"t1-a0"}]),
        ({"trials": 5, "sampler": "tpe"}, [{"t0-a0", "t1-a0"}, {"t0-a1", "t1-a1"}]),
    ],
    ids=["halving", "proposals"],
)
def test_trials_are_made_in_rounds(start, experiments, trainers, storage, prefix, tuning, rounds):
    first, second = rounds
    trainers.script = lambda seed, attempt: (
        "wait" if f"t{seed - 9000}-a{attempt}" in second else "succeed"
    )
    with start():
        experiments.apply(**{**TUNED, "tuning": {**TUNED["tuning"], **tuning}})
        experiments.told(lambda status: status.get("tuning", {}).get("round") == 2)
        experiments.until(phase="Queued", queued=len(second))
        eventually(lambda: jobs(experiments) == first | second)
    # The next operator reads which trials the round has, and makes no other child.
    trainers.script = always_succeed
    with start():
        status = experiments.until(phase="Succeeded")
    assert jobs(experiments) == first | second | FINAL
    assert "round" not in status["tuning"]
    listed = order_of(experiments, min(second)).work.tuning.listed
    (choice,) = read_selection(storage, prefix(), sha256=status["tuning"]["selection"]).choices
    made = {each.trial: each.params for each in choice.candidates if not each.left_out_after}
    assert made == {each.trial: each.params for each in listed}


def test_a_suspended_experiment_goes_on_with_its_trials(started, experiments, trainers):
    trainers.script = lambda seed, attempt: "run"
    experiments.apply(**TUNED)
    experiments.until(phase="Tuning")
    experiments.change(suspend=True)
    experiments.until(phase="Suspended", active=0)
    trainers.script = always_succeed
    experiments.change(suspend=False)
    status = experiments.until(phase="Succeeded")
    assert {each["retries"] for each in status["seedStatuses"]} == {0}


def test_nothing_is_chosen_without_a_tuning_seed(started, experiments, trainers):
    trainers.script = lambda seed, attempt: "fail 1" if seed == 9001 else "succeed"
    experiments.apply(**TUNED, failurePolicy={"maxRetriesPerSeed": 1, "maxFailedSeeds": 2})
    status = experiments.until(phase="Failed", reason="TuningFailed")
    assert "without tuning seed 9001" in status["message"]
    assert jobs(experiments) == {"t0-a0", "t1-a0", "t1-a1"}


def test_trials_are_known_without_a_status(start, experiments, trainers):
    with start():
        experiments.apply(**TUNED)
        chosen = experiments.until(phase="Succeeded")["tuning"]
    experiments.write_status({})
    with start():
        status = experiments.until(phase="Succeeded")
        assert (status["tuning"], jobs(experiments)) == (chosen, TRIALS | FINAL)
    experiments.write_status({})
    experiments.change(tuning={"trials": 4})
    with start():
        said = experiments.condition("Accepted", status="False", reason="InvalidSpec")
        assert "spec.tuning.trials was 2 and is 4" in said["message"]
        experiments.change(tuning={"trials": 2})
        experiments.until(phase="Succeeded")
