"""A trainer process: read an order, compute its seed, leave a result, exit with a telling code.

This is what pods run, and what `supreme run` starts for each seed, under torchrun where there are
several ranks:  python -m supreme_trainer.order ORDER.json --device cuda
"""

import argparse
import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from supreme_trainer.seed_run import prepare_seed, run_seed
from supreme_trainer.shutdown import stop_on_sigterm
from supreme_trainer.stages import Stages
from supreme_trainer.telemetry import Notes, Telemetry

from supreme_core import downloads
from supreme_core.api import names
from supreme_core.api.model import parse_json
from supreme_core.api.run import RunOrder
from supreme_core.artefacts import Artefacts
from supreme_core.engine.checkpoint import Interruption
from supreme_core.engine.ranks import Ranks
from supreme_core.engine.reproducibility import configure, environment
from supreme_core.errors import SpecError, SupremeError
from supreme_core.results import write_result
from supreme_core.storage import Storage, open_storage


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    interruption = stop_on_sigterm()
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    telemetry = Telemetry(speaks=os.environ.get("RANK", "0") == "0")
    downloads.log.addHandler(Notes(telemetry))
    try:
        order = read_order(options.order)
        ranks = Ranks.start(_device(options.device))
        with tempfile.TemporaryDirectory(prefix="supreme-") as cache:
            _compute(order, ranks, telemetry, interruption, Path(cache), options)
    except SupremeError as error:
        logging.error("%s", error)
        telemetry.failed(str(error), error.exit_code)
        return error.exit_code
    except Exception as error:  # a bug: the log gets the traceback, whoever waits gets a line
        logging.exception("the trainer failed")
        telemetry.failed(f"{type(error).__name__}: {error}", names.EXIT_ERROR)
        return names.EXIT_ERROR
    ranks.close()
    telemetry.finished()
    return names.EXIT_OK


def read_order(path: Path) -> RunOrder:
    """The order of a file; SpecError where it is no order."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SpecError(f"cannot read the order {path}: {error.strerror}") from None
    return parse_json(RunOrder, data, source=str(path))


def _compute(
    order: RunOrder,
    ranks: Ranks,
    telemetry: Telemetry,
    interruption: Interruption,
    cache: Path,
    options: argparse.Namespace,
) -> None:
    if not options.prepare:
        # It loads much of torch, which preparing a dataset does not need.
        configure(ranks.device, order.work.training.precision)
    # One rank prepares, whatever comes after it.
    reduction = "tree" if options.prepare else order.work.training.reduction
    storage = _storage(order)
    stages = Stages(
        Artefacts(storage, cache),
        ranks=ranks,
        environment=environment(ranks, reduction=reduction, library=_library(order)),
        telemetry=telemetry,
        interruption=interruption,
        reuse=order.reuse,
    )
    if options.prepare:
        telemetry.device(ranks.device.type, torch.cuda.device_count())
        prepare_seed(
            order,
            stages,
            ranks=ranks,
            telemetry=telemetry,
            source=options.source,
            weights=options.weights,
        )
        return
    result = run_seed(order, stages, ranks=ranks, telemetry=telemetry)
    if ranks.is_main:
        write_result(storage, result)


def _library(order: RunOrder) -> str:
    """Whose code the model is, "" for our own: its version is part of what a stage ran on."""
    family, slash, _ = order.work.model.name.partition("/")
    return family if slash else ""


def _storage(order: RunOrder) -> Storage:
    return open_storage(order.store, endpoint=order.endpoint, region=order.region)


def _device(asked: str) -> str:
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if asked == "cuda" and not torch.cuda.is_available():
        raise SpecError("--device is cuda, but torch sees no CUDA device here; use cpu or auto")
    return asked


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("order", type=Path, help="RunOrder as JSON")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument(
        "--prepare", action="store_true", help="only prepare data and weights, and check the order"
    )
    parser.add_argument(
        "--source", default="", help="with --prepare: the folder that holds the dataset's files"
    )
    parser.add_argument(
        "--weights", default="", help="with --prepare: the file that holds the pretrained weights"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
