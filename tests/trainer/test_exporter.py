"""/metrics of a pod: what it says of a board, and that nothing is in the way of a run.

| part            | how                                                             |
| --------------- | --------------------------------------------------------------- |
| what is shown   | a board that is told events by hand                             |
| the port        | over HTTP; one that is taken, or none                           |
| what events say | the telemetry of a real loop                                    |

Left out: a real run whose metrics a real Prometheus reads (tests/cluster/test_monitoring.py).
"""

import json
import logging
import socket
import urllib.request
from dataclasses import asdict
from io import StringIO

import pytest
import torch
from prometheus_client import CollectorRegistry
from supreme_trainer.process.exporter import Gauges, export
from supreme_trainer.process.progress import Board
from supreme_trainer.seed.telemetry import Telemetry

from supreme_core.plan import Step
from tests.cluster.processes import IPV6, free_port
from tests.trainer.experiments import FINETUNE, FULL_CLASS, experiment, planned

ORIGINAL = Step("original")
FINETUNED = Step("unlearned", "full_class", "finetune")


@pytest.fixture
def order():
    document = experiment(scenarios=[FULL_CLASS], methods=[FINETUNE])
    shared = planned(document).shared(store="store", endpoint=None, region=None)
    return shared.of_seed(260, attempt=2)


@pytest.fixture
def board():
    return Board([260], [ORIGINAL, FINETUNED], parallel=1)


def event(kind, step, **facts):
    return {"event": kind, **asdict(step), **facts}


def progress(**facts):
    known = {"done": 1, "total": 4, "loss": 0.5, "note": "epoch 2/8", "epoch": 2}
    return {"event": "progress", **known, "images": 640, "memory": 2**30, **facts}


def shown(order, board):
    registry = CollectorRegistry()
    registry.register(Gauges(order, board))
    samples = [sample for family in registry.collect() for sample in family.samples]
    return {sample.name.removeprefix("supreme_trainer_"): sample.value for sample in samples}


def test_before_anything_is_heard_a_pod_only_says_that_it_is_there(order, board):
    assert shown(order, board) == {"info": 1}


def test_a_training_tells_where_it_is(order, board):
    board.apply(260, event("stage-started", ORIGINAL))
    board.apply(260, progress())
    assert shown(order, board) == {
        "info": 1,
        "stages": 2,
        "stages_done": 0,
        "images_total": 640,
        "peak_memory_bytes": 2**30,
        "stage_info": 1,
        "stage_progress_ratio": 0.25,
        "epoch": 2,
        "loss": 0.5,
    }


def test_a_loss_that_is_not_finite_is_not_shown(order, board):
    board.apply(260, event("stage-started", ORIGINAL))
    board.apply(260, progress(loss=None))
    assert "loss" not in shown(order, board)


def test_a_stage_that_is_done_is_no_longer_shown_and_images_stay(order, board):
    board.apply(260, event("stage-started", ORIGINAL))
    board.apply(260, progress())
    board.apply(260, event("stage-finished", ORIGINAL, status="computed", seconds=3.0))
    found = shown(order, board)
    assert (found["stages_done"], found["images_total"]) == (1, 640)
    assert not {"stage_info", "epoch", "loss"} & set(found)


@pytest.mark.parametrize("address", ["127.0.0.1", pytest.param("[::1]", marks=IPV6)])
def test_they_are_served_at_the_port_that_the_operator_names(order, board, address):
    port = free_port()
    export(order, board, {"SUPREME_METRICS_PORT": str(port)})
    with urllib.request.urlopen(f"http://{address}:{port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    assert 'supreme_trainer_info{attempt="2"} 1.0' in text


def test_a_port_that_is_taken_is_logged_and_no_more(order, board, caplog):
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))
        other.listen()
        port = other.getsockname()[1]
        export(order, board, {"SUPREME_METRICS_PORT": str(port)})
    assert f"there are no metrics at port {port}" in caplog.text


@pytest.mark.parametrize("port", ["x", "70000"])
def test_what_is_no_port_is_logged_and_no_more(order, board, caplog, port):
    export(order, board, {"SUPREME_METRICS_PORT": port})
    assert f"there are no metrics at port {port}" in caplog.text


def test_without_a_port_there_are_none(order, board, caplog):
    with caplog.at_level(logging.DEBUG):
        export(order, board, {})
    assert caplog.text == ""


def test_the_events_of_a_loop_count_its_images_and_measure_its_memory():
    stream = StringIO()
    telemetry = Telemetry(stream=stream)
    for done in (1, 2, 3):
        telemetry.progress(done=done, total=3, loss=torch.ones(()), images=64, epoch=(1, 1))
    first, last = map(json.loads, stream.getvalue().splitlines())
    assert (first["images"], last["images"]) == (64, 192)
    assert (last["epoch"], last["note"]) == (1, "epoch 1/1")
    assert last["memory"] > 10 * 2**20
