"""/metrics of a pod: how far its trainer is, from the board that progress.json is written from.

Which experiment and seed that is, the pod's labels say. Rank 0 alone tells how far it is; of
several machines, the pods of the others only say that they are there. Prometheus may miss the last
seconds of a pod: nobody waits for it. What a seed has come to in the end stands in the store, and
the operator's metrics tell of it.
"""

import logging
from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from supreme_trainer.process.progress import Board

from supreme_core.api import names
from supreme_core.api.orders import RunOrder
from supreme_core.system.listening import every_address

log = logging.getLogger(__name__)


def export(order: RunOrder, board: Board, environment: Mapping[str, str]) -> None:
    """Serve them in a thread until the process ends, where the environment names a port for it.

    What is in the way, such as a port that is taken, is logged and disturbs nobody.
    """
    port = environment.get(names.METRICS_PORT_VARIABLE)
    if not port:
        return
    registry = CollectorRegistry()
    registry.register(Gauges(order, board))
    try:
        start_http_server(int(port), addr=every_address(), registry=registry)
    except (OSError, OverflowError, ValueError) as error:
        log.warning("there are no metrics at port %s: %s", port, error)


class Gauges(Collector):
    """Computed when Prometheus asks."""

    def __init__(self, order: RunOrder, board: Board) -> None:
        self._order, self._board = order, board

    def collect(self) -> Iterator[Metric]:
        state, board = self._board.seed(self._order.seed), self._board
        yield _gauge(
            "info", "Attempt of the trainer; always 1.", 1, {"attempt": str(self._order.attempt)}
        )
        if not state.is_heard:
            return
        yield _gauge("stages", "Stages of the seed.", board.total)
        yield _gauge("stages_done", "Stages of the seed that are done.", board.done)
        yield CounterMetricFamily(
            "supreme_trainer_images", "Images that training steps used.", value=state.images
        )
        yield _gauge(
            "peak_memory_bytes",
            "Most memory of rank 0 in this stage: allocated on a GPU, resident on a CPU.",
            state.memory,
        )
        if running := state.first:
            step = running.step
            of = {"stage": step.stage, "scenario": step.scenario, "method": step.method}
            yield _gauge("stage_info", "Stage that is being computed; always 1.", 1, of)
            yield _gauge(
                "stage_progress_ratio", "Share of the running stage that is done.", running.fraction
            )
            yield _gauge(
                "epoch", "Epoch of the running stage, from 1; 0 where it has none.", running.epoch
            )
            if running.loss is not None:
                yield _gauge(
                    "loss", "Mean loss of the last step of the running stage.", running.loss
                )


def _gauge(
    name: str, about: str, value: float, labels: Mapping[str, str] | None = None
) -> GaugeMetricFamily:
    known = labels or {}
    family = GaugeMetricFamily(f"supreme_trainer_{name}", about, labels=list(known))
    family.add_metric(list(known.values()), value)
    return family
