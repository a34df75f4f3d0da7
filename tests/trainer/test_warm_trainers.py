"""Trainers that a server forks: what they get of it, and how they end.

What they compute is what others do (test_run_options.py runs the command with them).
"""

import logging
import signal
import subprocess

import pytest
from supreme_trainer.process import launch
from supreme_trainer.process.warm import WarmServer

from supreme_core.errors import EXIT_INVALID
from tests import warm
from tests.trainer.experiments import experiment
from tests.trainer.trainers import ordered


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.executable", warm.python())
    found = WarmServer(tmp_path / "server.log")
    yield found
    found.close()


@pytest.fixture
def started(tmp_path, server):
    """started(*arguments): a trainer with these arguments, and its log."""

    def start(order, *options):
        log = tmp_path / "log"
        with log.open("ab") as stream:
            process = launch.start(order, *options, log=stream, environment={}, server=server)
        return launch.Trainer(process=process, ranks=1, is_torchrun=False, log=log)

    return start


def test_a_forked_trainer_has_its_arguments_its_output_its_log_and_its_exit_code(tmp_path, started):
    trainer = started(tmp_path / "none.json")

    assert list(trainer.events()) == []
    assert trainer.process.wait() == trainer.exit_code == EXIT_INVALID
    assert trainer.failure.startswith(f"cannot read the order {tmp_path / 'none.json'}")
    assert "cannot read the order" in trainer.log.read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=str)
def test_a_signal_reaches_a_trainer_that_was_forked_just_now(tmp_path, started, number):
    order = ordered(tmp_path, experiment(training={"epochs": 1000}), store=tmp_path.as_uri())
    trainer = started(order)
    trainer.stop() if number == signal.SIGTERM else trainer.kill()
    list(trainer.events())

    assert trainer.exit_code == launch.EXIT_SIGNAL + number


def test_without_its_server_a_trainer_ends_and_the_next_one_starts_afresh(
    tmp_path, server, started, caplog
):
    order = ordered(tmp_path, experiment(training={"epochs": 1000}), store=tmp_path.as_uri())
    first = started(order)
    server.close()
    list(first.events())
    assert first.exit_code == launch.EXIT_SIGNAL + signal.SIGKILL
    with caplog.at_level(logging.WARNING):
        second = started(tmp_path / "none.json")

    assert isinstance(second.process, subprocess.Popen)
    assert "starts afresh" in caplog.text
    list(second.events())
    assert second.exit_code == EXIT_INVALID
