"""`supreme_trainer.run`: what it refuses before anything is started, and what it says of failures.

A run that succeeds is that of the notebook, tests/trainer/test_notebook.py.
"""

import threading

import pytest
import supreme_trainer
from supreme_trainer.command import local

from supreme_core.errors import SpecError, SupremeError
from tests.trainer.experiments import experiment, written


@pytest.fixture
def outcomes(monkeypatch):
    """Runs that were asked for, none of which computes anything."""
    asked = []

    def run(order, storage, options, console):
        asked.append((order, storage, options))
        if not asked[1:]:
            return local.RunOutcome(None, ["seed 260: no memory", "seed 261: none"], 1, 2, {})
        raise local.Stopped(130)

    monkeypatch.setattr(local, "run", run)
    return asked


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"experiment": "nowhere.yaml"}, "cannot read nowhere.yaml: No such file"),
        (
            {"experiment": experiment(methods=[{"name": "sdd"}])},
            "experiment: spec.methods[0].name: unknown method 'sdd'; did you mean 'ssd'?",
        ),
        ({"experiment": {"kind": "Pod"}}, "experiment: kind is "),
        ({"seeds": [260, 26]}, "seeds has 26; did you mean '260'?"),
        ({"seeds": 260}, "seeds is 260; allowed: a list of seeds, or None"),
        ({"seeds": "260"}, "seeds is '260'; allowed: a list of seeds, or None"),
        ({"seeds": []}, "seeds is empty; allowed: a list of seeds, or None for all"),
        ({"seeds": [260.0]}, "seeds has 260.0; did you mean '260'?"),
        ({"workers": "2"}, "workers is '2'; allowed: a whole number from 1 on, or None"),
        ({"experiment": None}, "experiment is None; allowed: the path of a YAML file, or its"),
        ({"store": 3}, "store is 3; allowed: a folder or s3://bucket/prefix, or None"),
        ({"workers": 0}, "workers is 0; allowed: a whole number from 1 on, or None"),
        ({"device": "gpu"}, "device is 'gpu'; did you mean 'cpu'?"),
    ],
)
def test_what_cannot_be_run_is_told(changes, message, outcomes):
    with pytest.raises(SpecError) as error:
        supreme_trainer.run(**{"experiment": experiment(), **changes})
    assert message in str(error.value)
    assert not outcomes


def test_a_file_of_several_experiments_is_refused(tmp_path):
    file = written(tmp_path / "two.yaml", experiment())
    file.write_text(f"{file.read_text()}---\n{file.read_text().replace('tiny', 'other')}")
    with pytest.raises(SpecError, match=r"two.yaml has 2 experiments; allowed: one"):
        supreme_trainer.run(file)


def test_a_run_in_another_thread_is_refused():
    told = []

    def elsewhere():
        with pytest.raises(SpecError) as error:
            supreme_trainer.run(experiment())
        told.append(str(error.value))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert told == ["run was called in another thread; call it in the main thread"]


def test_seeds_that_fail_are_told_and_a_stop_is_an_interrupt(tmp_path, outcomes):
    arguments = {"store": tmp_path, "seeds": [260], "workers": 2, "device": "cpu", "quiet": True}
    with pytest.raises(SupremeError) as error:
        supreme_trainer.run(experiment(), **arguments)
    assert str(error.value).splitlines() == ["seed 260: no memory", "seed 261: none"]
    ((_, storage, options),) = outcomes
    assert storage.uri == tmp_path.as_uri()
    assert (options.seeds, options.workers, options.device) == ([260], 2, "cpu")

    with pytest.raises(KeyboardInterrupt):
        supreme_trainer.run(experiment(), **arguments)


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'supreme_trainer' has no attribute 'rum'"):
        _ = supreme_trainer.rum
