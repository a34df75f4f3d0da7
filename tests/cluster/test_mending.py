"""Refused specs can be corrected, and accepted parts stay: on a real API server.

Which edits the server itself lets through, as a table, is test_crd.py's; what an order says of an
experiment that has lost its status, tests/operator/test_accepted.py's.
"""

import pytest
from kubernetes.client.exceptions import ApiException

from tests.cluster.operators import operator
from tests.cluster.processes import eventually
from tests.cluster.trainers import always_succeed

FINETUNE = {"name": "finetune", "label": ""}
WRONG = {"name": "ssd", "label": "", "params": {"alhpa": 9}}
MENDED = {**WRONG, "params": {"alpha": 9}}
WITH_A_TYPO = {"name": "full_class", "label": "", "params": {"clases": [3]}}


@pytest.fixture
def start(account, tmp_path):
    """An operator for as long as a `with` says."""
    return lambda: operator(account, tmp_path)


@pytest.fixture
def busy(experiments, trainers):
    """An experiment of which one seed runs."""
    trainers.script = lambda seed, attempt: "run"
    return lambda: (experiments.apply(parallelism=1), experiments.until(phase="Running"))


def names(experiments):
    return set(experiments.jobs())


def test_what_was_never_accepted_may_become_any_other(start, experiments, trainers):
    with start():
        experiments.apply(seeds={"list": [7]}, scenarios=[WITH_A_TYPO], methods=[WRONG])
        experiments.condition("Accepted", status="False", reason="InvalidSpec")
        mended = {**WITH_A_TYPO, "params": {"classes": [3, 4]}}
        experiments.change(scenarios=[mended], methods=[FINETUNE], seeds={"list": [8]})
        status = experiments.until(phase="Succeeded")
    assert (status["acceptedMethods"], status["progress"]) == (["finetune"], "1/1")


@pytest.mark.parametrize("rest", [[MENDED], []], ids=["mended", "removed"])
def test_a_typo_in_what_is_added_holds_up_nothing_else(start, experiments, trainers, busy, rest):
    with start():
        busy()
        experiments.change(methods=[FINETUNE, WRONG])
        told = experiments.condition("Accepted", status="False", reason="InvalidSpec")
        assert "did you mean 'alpha'?" in told["message"]
        assert experiments.status()["phase"] == "Running"
        trainers.script = always_succeed
        done = experiments.until(progress="3/3", phase="Failed", reason="InvalidSpec")
        assert {row["method"] for row in done["summary"]} == {"original", "retrained", "finetune"}
        with pytest.raises(ApiException, match="methods are append-only"):
            experiments.change(methods=[{**FINETUNE, "params": {"epochs": 3}}, WRONG])
        experiments.change(methods=[FINETUNE, *rest])
        accepted = ["finetune", *(each["name"] for each in rest)]
        status = experiments.until(phase="Succeeded", acceptedMethods=accepted)
    assert {row["method"] for row in status["summary"]} == {"original", "retrained", *accepted}


def test_the_next_operator_goes_on_with_what_was_accepted(start, experiments, trainers):
    trainers.script = lambda seed, attempt: "run"
    with start():
        experiments.apply(parallelism=0)
        experiments.condition("Accepted", status="True")
        experiments.change(methods=[FINETUNE, WRONG])
        experiments.condition("Accepted", status="False")
    experiments.change(parallelism=1)
    with start():
        eventually(lambda: names(experiments) == {"s0-a0"})


def test_a_typo_under_an_operator_that_told_no_methods_can_be_mended(start, experiments, busy):
    """The experiment's status and children are those of an older version."""
    with start():
        busy()
    status = experiments.status()
    del status["acceptedMethods"]
    experiments.write_status(status)
    experiments.change(methods=[FINETUNE, WRONG])
    with pytest.raises(ApiException, match="methods are append-only"):
        experiments.change(methods=[FINETUNE])
    with start():
        experiments.until(acceptedMethods=["finetune"], phase="Running", reason="InvalidSpec")
        experiments.change(methods=[FINETUNE])
        experiments.condition("Accepted", status="True")


@pytest.mark.parametrize("told", [{}, {"acceptedMethods": [], "seeds": 0}], ids=["lost", "patched"])
def test_what_was_accepted_is_known_without_a_status(start, experiments, busy, told):
    """The API server lets any change through then, and the operator does not."""
    with start():
        busy()
    experiments.write_status(told)
    experiments.change(methods=[{**FINETUNE, "params": {"epochs": 3}}], parallelism=3)
    with start():
        said = experiments.condition("Accepted", status="False", reason="InvalidSpec")
        assert "spec.methods: 'finetune'" in said["message"]
        assert "epochs was not given and is 3" in said["message"]
        assert names(experiments) == {"s0-a0"}
        experiments.change(methods=[{**FINETUNE, "params": None}])
        experiments.condition("Accepted", status="True")
        eventually(lambda: names(experiments) == {"s0-a0", "s1-a0", "s2-a0"})


def test_without_a_status_a_typo_in_what_is_added_holds_up_nothing_else(
    start, experiments, trainers, busy
):
    with start():
        busy()
    experiments.write_status({})
    experiments.change(methods=[FINETUNE, WRONG], parallelism=3)
    with start():
        experiments.until(acceptedMethods=["finetune"], phase="Running", reason="InvalidSpec")
        eventually(lambda: names(experiments) == {"s0-a0", "s1-a0", "s2-a0"})
