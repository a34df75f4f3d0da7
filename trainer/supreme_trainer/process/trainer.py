"""A trainer process: read an order, compute its seed, leave a result, exit with a telling code.

This is what pods run, and what `supreme run` starts for each seed, under torchrun where there are
several ranks:  python -m supreme_trainer.process.trainer ORDER.json --device cuda
"""

import argparse
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NoReturn

import torch
from supreme_trainer.process import journal
from supreme_trainer.process.shutdown import stop_on_sigterm
from supreme_trainer.seed.claims import Claims, Durations
from supreme_trainer.seed.crew import Crew
from supreme_trainer.seed.faults import Faults
from supreme_trainer.seed.others import OtherSeeds
from supreme_trainer.seed.prepare import prepare_seed
from supreme_trainer.seed.run import run_seed
from supreme_trainer.seed.stage import Stages
from supreme_trainer.seed.telemetry import Telemetry, Unheard, noted

from supreme_core.api import names
from supreme_core.api.model import parse_json
from supreme_core.api.orders import RunOrder
from supreme_core.data import downloads
from supreme_core.engine.evaluation.reproducibility import configure, environment
from supreme_core.engine.ranks import device
from supreme_core.engine.ranks.failure_watch import SETTLE_SECONDS, End, Watch
from supreme_core.engine.ranks.interruption import Interruption, Terminated
from supreme_core.engine.ranks.ranks import Ranks, meet
from supreme_core.engine.training.checkpoint import seconds_between
from supreme_core.errors import (
    EXIT_ERROR,
    EXIT_OK,
    EXIT_TEMPORARY,
    EXIT_TERMINATED,
    DeviceFault,
    HeldElsewhere,
    RankLost,
    SpecError,
    SupremeError,
    one_line,
)
from supreme_core.registry import plugins
from supreme_core.store.artefacts import Artefacts
from supreme_core.store.opening import open_storage
from supreme_core.store.results import RESULT_BYTES, write_result
from supreme_core.store.storage import Storage
from supreme_core.system.faults import fault_of
from supreme_core.system.files import read_file


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    interruption = stop_on_sigterm()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=journal.FORMAT)
    telemetry = Telemetry(int(os.environ.get("RANK", "0")))
    with noted(downloads.log, telemetry):
        return _carried_out(options, interruption, telemetry)


def _carried_out(
    options: argparse.Namespace, interruption: Interruption, telemetry: Telemetry
) -> int:
    """The order to its end; gives the exit code."""
    watch = Watch.start(interruption, partial(_say, telemetry))
    try:
        store = meet(watch)
        plugins.load(plugins.named_in(os.environ))
        order = read_order(options.order)
        ranks = Ranks.start(device.chosen(options.device), watch, store)
        with tempfile.TemporaryDirectory(prefix="supreme-") as cache:
            work = _prepare if options.prepare else _compute
            result = work(order, ranks, telemetry, interruption, Path(cache), options)
        ranks.close()
    except (Exception, SystemExit) as error:
        interruption.ignore()
        return _fail(error, watch, telemetry)
    watch.leave()
    telemetry.finished(result)
    return EXIT_OK


def _fail(error: Exception | SystemExit, watch: Watch, telemetry: Telemetry) -> int:
    """Say why this process ends, and end the other ranks; gives its exit code."""
    who = f"rank {watch.rank}" if watch.size > 1 else "the trainer"
    if isinstance(error, Terminated):
        stop = End(watch.rank, f"{who} was told to stop", EXIT_TERMINATED)
        return watch.end(stop, is_said=False, wait=SETTLE_SECONDS)
    if isinstance(error, RankLost):
        lost = End(watch.rank, f"{who}: {error}", error.exit_code)
        return watch.end(lost, is_said=False, wait=SETTLE_SECONDS)
    if isinstance(error, SupremeError):
        line, code = str(error), error.exit_code
        # Of a fault the traceback says where it showed, which nobody sees again.
        logging.error("%s", line, exc_info=error if isinstance(error, DeviceFault) else None)
    elif fault_of(error) in ("device", "memory"):
        line, code = one_line(f"{type(error).__name__}: {error}", 500), _code_of(error)
        logging.error("%s", line, exc_info=error)
    elif isinstance(error, Unheard):
        line, code = "whoever started it is gone", EXIT_ERROR
        logging.error("%s", line)
    else:  # a bug: the log gets the traceback, whoever waits gets a line
        line, code = f"{type(error).__name__}: {error}", EXIT_ERROR
        logging.error("the trainer failed", exc_info=error)
    telemetry.failed(line, code, is_fault=isinstance(error, DeviceFault) and error.is_recorded)
    # Where all ranks make the same mistake, rank 0 is the one to be heard.
    wait = SETTLE_SECONDS if watch.rank else 0.0
    return watch.end(End(watch.rank, f"{who}: {line}", code), is_said=True, wait=wait)


def _code_of(error: BaseException) -> int:
    """Exit code of a fault before the work began, such as a device that does not start."""
    return EXIT_TEMPORARY if fault_of(error) == "device" else EXIT_ERROR


def _say(telemetry: Telemetry, end: End) -> None:
    """Tell the log of this rank, and whoever waits for the result."""
    level = logging.INFO if end.exit_code == EXIT_TERMINATED else logging.ERROR
    logging.log(level, "%s", end.line)
    telemetry.failed(end.line, end.exit_code)


def read_order(path: Path) -> RunOrder:
    """The order of a file; SpecError where it is no order."""
    try:
        data = read_file(path, limit=RESULT_BYTES)
    except OSError as error:
        raise SpecError(f"cannot read the order {path}: {error.strerror}") from None
    return parse_json(RunOrder, data, source=str(path))


def _prepare(
    order: RunOrder,
    ranks: Ranks,
    telemetry: Telemetry,
    interruption: Interruption,
    cache: Path,
    options: argparse.Namespace,
) -> None:
    """Have data and weights in the store; without `configure`, which loads much of torch."""
    stages = Stages(
        Artefacts(_storage(order), cache),
        ranks=ranks,
        # One rank prepares, whatever comes after it.
        environment=environment(ranks, reduction="tree", library=_library(order)),
        telemetry=telemetry,
        interruption=interruption,
        checkpoint_seconds=seconds_between(os.environ),
        reuse=order.reuse,
    )
    telemetry.device(ranks.device.type, torch.cuda.device_count())
    prepare_seed(
        order,
        stages,
        ranks=ranks,
        telemetry=telemetry,
        source=options.source,
        weights=options.weights,
    )


def _compute(
    order: RunOrder,
    ranks: Ranks,
    telemetry: Telemetry,
    interruption: Interruption,
    cache: Path,
    options: argparse.Namespace,
) -> str | None:
    """Gives the sha256 of the result.json that this rank has written; None for none."""
    training = order.work.training
    configure(ranks.device, training.precision, evaluation=order.work.evaluation_precision)
    if options.team:  # its time is not that of one process, as where others use the device
        ranks = replace(ranks, shares_device=True)
    storage = _storage(order)
    on = environment(ranks, reduction=training.reduction, library=_library(order))
    faults = Faults(storage, order, ranks, is_team=options.team)
    crew = Crew(storage, order.prefix, options.crew) if options.crew else None
    may_leave = options.leave or options.team
    stages = Stages(
        Artefacts(storage, cache),
        ranks=ranks,
        environment=on,
        telemetry=telemetry,
        interruption=interruption,
        checkpoint_seconds=seconds_between(os.environ),
        reuse=order.reuse,
        faults=faults,
        claims=_claims(storage, order, ranks, interruption, options),
        crew=crew,
        may_leave=may_leave,
        is_team=options.team,
    )
    telemetry.environment(on)
    others, started = None, time.monotonic()
    if crew and options.others:
        others = OtherSeeds(order, storage, stages, ranks, faults, crew.name)
        others.announce()
        stages.meanwhile = others.help
    try:
        with faults.outside():
            result = run_seed(order, stages, ranks=ranks, telemetry=telemetry)
    except HeldElsewhere as error:
        if not may_leave:
            raise
        logging.info("this process leaves the seed: %s", error)
        return None
    written = write_result(storage, result, is_shared=bool(crew)) if ranks.is_main else None
    if others:  # which may take as long as the seed itself, for which a child has its deadline
        others.help_on(time.monotonic() - started)
    return written


def _claims(
    storage: Storage,
    order: RunOrder,
    ranks: Ranks,
    interruption: Interruption,
    options: argparse.Namespace,
) -> Claims:
    """Claims of this process, which knows what other seeds took where it was told."""
    claims = Claims.shared(storage, order.prefix, ranks)
    claims.interruption = interruption
    if options.took:
        claims.durations = Durations.of(json.loads(options.took.read_text()))
    return claims


def _library(order: RunOrder) -> str:
    """Library of the model, "" for our own: its version is part of what a stage ran on."""
    family, slash, _ = order.work.model.name.partition("/")
    return family if slash else ""


def _storage(order: RunOrder) -> Storage:
    return open_storage(order.store, endpoint=order.endpoint, region=order.region)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("order", type=Path, help="RunOrder as JSON")
    parser.add_argument("--device", choices=names.DEVICES, default="auto")
    parser.add_argument(
        "--prepare", action="store_true", help="only prepare data and weights, and check the order"
    )
    parser.add_argument(
        "--crew", default="", help="name of the processes that compute the attempt together"
    )
    parser.add_argument(
        "--leave",
        action="store_true",
        help="with --crew: end where nothing is ready that others do not do",
    )
    parser.add_argument(
        "--took",
        type=Path,
        help="with --crew: what other seeds took, as JSON: [kind of stage, method, seconds], ...",
    )
    parser.add_argument(
        "--team",
        action="store_true",
        help="with --crew: ranks that go on with one training, and end",
    )
    parser.add_argument(
        "--others",
        action="store_true",
        help="with --crew: take part in the experiment's other seeds where nothing is ready",
    )
    parser.add_argument(
        "--source", default="", help="with --prepare: the folder that holds the dataset's files"
    )
    parser.add_argument(
        "--weights", default="", help="with --prepare: the file that holds the pretrained weights"
    )
    return parser.parse_args(arguments)


def _end(code: int) -> NoReturn:
    """End the process. One of several ranks, and one whose device may have given out, goes without
    the clean-up of Python, in which torch can still abort it."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 and code != EXIT_TEMPORARY:
        sys.exit(code)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _end(main())
