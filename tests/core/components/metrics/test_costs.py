"""Times, memory and speed-up."""

from dataclasses import replace

import pytest

from supreme_core.components.metrics.device_seconds import device_seconds
from supreme_core.components.metrics.peak_memory_bytes import peak_memory_bytes
from supreme_core.components.metrics.speed_up import speed_up
from supreme_core.components.metrics.wall_seconds import wall_seconds
from supreme_core.registry import NoParams
from supreme_core.scoring.evaluation import Cost
from tests.core.components.metrics.evaluations import evaluation

COSTS = [(wall_seconds, 2.0), (device_seconds, 3.5), (peak_memory_bytes, 2.0**20)]


@pytest.mark.parametrize(
    ("metric", "expected"), COSTS, ids=lambda each: getattr(each, "__name__", str(each))
)
def test_cost_is_what_was_measured(metric, expected):
    assert metric(evaluation(), NoParams()) == expected


@pytest.mark.parametrize("metric", [wall_seconds, device_seconds, peak_memory_bytes, speed_up])
def test_run_without_a_cost_has_no_value(metric):
    assert metric(replace(evaluation(), cost=None), NoParams()) is None


def test_speed_up_is_the_time_of_retraining_over_the_time_of_the_method():
    assert speed_up(evaluation(), NoParams()) == 12.0 / 2.0


def test_speed_up_of_retrained_is_one():
    cell = evaluation()
    assert speed_up(replace(cell, cost=cell.retrained_cost), NoParams()) == 1.0


def test_speed_up_needs_the_time_of_retraining():
    assert speed_up(replace(evaluation(), retrained_cost=None), NoParams()) is None


def test_speed_up_of_a_method_that_took_no_time_is_undefined():
    free = Cost(wall_seconds=0.0, device_seconds=0.0, peak_memory_bytes=0)
    assert speed_up(replace(evaluation(), cost=free), NoParams()) is None
