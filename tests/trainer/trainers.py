"""Trainers as real processes, without the seconds in which each of them would import torch.

They are forked from a process that has imported it. From there on they are what a pod runs: the
trainer's main function in a process of its own, whose ranks nobody ends but they themselves, as on
several machines (torchrun ends those of its machine when one of them dies).
"""

import itertools
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from supreme_trainer.seed import telemetry

from supreme_core.api.orders import RunOrder
from supreme_core.store import leases
from tests import preloaded
from tests.cluster.processes import free_port
from tests.trainer.experiments import planned

SECONDS = 300
"""Time after which no rank is left, once one has ended or was told to, or all the work of a test
was theirs to do."""

TOO_LONG = 600
"""Nothing here takes so long; ends a test that would wait for ever."""


def ordered(folder, document, *, store, seed=260, **changes):
    """The file of a trainer's order.  store: its URI."""
    whole = planned(document)
    order = RunOrder(
        experiment=whole.experiment, work=whole.work, seed=seed, store=store, **changes
    )
    path = folder / "order.json"
    path.write_text(json.dumps(order.to_document()))
    return path


@contextmanager
def trainers(*orders, site=None, change=None, stale=None, halt=None, options=(), **environment):
    """The trainers of one seed while they run, one for each file of an order; killed in the end.

    They are the ranks of one group, or with the option --crew processes that share out stages.

    site: a folder with a distribution that they have installed.  change: each of them dies right
    before so many changes of its store.  stale: seconds after which a lease of theirs is stale.
    halt: facts of an event. A trainer that has told of one stops there, as by SIGSTOP, so that it
    is at that place however fast it is, until `go_on`; it tells of every step of a training.
    environment: further variables.
    """
    events, to_events = multiprocessing.Pipe(duplex=False)
    size = 1 if "--crew" in options else len(orders)
    shared = {**environment, "WORLD_SIZE": str(size), **_meeting(size)}
    processes, logs = [], []
    for number, order in enumerate(orders):
        rank = str(number if size > 1 else 0)
        variables = {**shared, "RANK": rank, "LOCAL_RANK": rank}
        logs.append(order.with_name(f"rank-{number}-{time.monotonic_ns()}.log"))
        process = preloaded.context().Process(
            target=_trainer,
            args=(str(order), variables, to_events, str(logs[-1])),
            kwargs={
                "site": site,
                "change": change,
                "stale": stale,
                "halt": halt,
                "options": options,
            },
        )
        process.start()
        processes.append(process)
    to_events.close()
    running = Trainers(processes, os.fdopen(os.dup(events.fileno())), logs)
    events.close()
    limit = threading.Timer(TOO_LONG, running.kill)
    limit.start()
    try:
        yield running
    finally:
        limit.cancel()
        running.kill()
        running.stream.close()
        for process in processes:
            process.join()
            process.close()


class Trainers:
    """stream: the standard output of all of them."""

    def __init__(self, processes, stream, logs):
        self.processes, self.stream, self._logs = processes, stream, logs

    def events(self):
        """Each event as it comes, until all have ended."""
        for line in self.stream:
            yield json.loads(line)

    def until(self, **facts):
        """Read up to an event of which all of this is true; gives the events until then."""
        read = []
        for event in self.events():
            read.append(event)
            if facts.items() <= event.items():
                return read
        pytest.fail(f"there was no {facts}: {[self.log(rank) for rank in range(len(self._logs))]}")

    def signal(self, rank, number):
        os.kill(self.processes[rank].pid, number)

    def halted(self, rank):
        """Wait until a trainer has got to where it halts, before which a signal may end it."""
        stat = Path(f"/proc/{self.processes[rank].pid}/stat")
        while stat.read_text().rpartition(")")[2].split()[0] != "T":
            time.sleep(0.01)

    def go_on(self, rank):
        """Let a trainer go on that halts, or is about to."""
        self.halted(rank)
        self.signal(rank, signal.SIGCONT)

    def kill(self):
        """Kill all ranks at once, as when a machine goes down."""
        for process in self.processes:
            if process.is_alive():  # its id may be another's by now
                process.kill()

    def ended(self):
        """Return the exit codes of the processes, by rank."""
        deadline = time.monotonic() + SECONDS
        for process in self.processes:
            process.join(max(0.0, deadline - time.monotonic()))
        return [process.exitcode for process in self.processes]

    def log(self, rank):
        """Lines of standard error, without their time."""
        lines = self._logs[rank].read_text().splitlines()
        return [line.split(" ", 2)[-1] for line in lines]


def _meeting(ranks):
    """Return the meeting place of the ranks, as torchrun would say it; a process alone needs
    none."""
    if ranks == 1:
        return {}
    return {"MASTER_ADDR": "localhost", "MASTER_PORT": str(free_port("localhost"))}


def _trainer(order, variables, events, log, *, site, change, stale, halt, options):
    """Run the trainer in this process."""
    if site:
        sys.path.insert(0, str(site))
    if change:
        _die_before(change, json.loads(Path(order).read_text())["store"].removeprefix("file://"))
    from supreme_trainer.process.trainer import main

    if stale:
        leases.STALE_SECONDS_IN_FOLDERS = stale
    if halt:
        _halt_after(halt)

    os.environ.update(variables)
    os.dup2(events.fileno(), 1)
    events.close()
    with open(log, "wb") as stream:
        os.dup2(stream.fileno(), 2)
    sys.exit(main([order, "--device", "cpu", *options]))


def _halt_after(facts):
    """Stop after the first event with these facts."""
    write, places = telemetry.Telemetry._write, iter([facts])

    def halting(self, event, **told):
        write(self, event, **told)
        if facts.items() <= {"event": event, **told}.items() and next(places, None):
            os.kill(os.getpid(), signal.SIGSTOP)

    telemetry.Telemetry._write = halting
    telemetry.INTERVAL_SECONDS = 0.0


def _die_before(number, store):
    """Be killed right before a change of the store, as the audit events of Python tell of it."""
    changes = itertools.count(1)

    def heard(event, arguments):
        if _changes(store, event, arguments) and next(changes) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(heard)


def _changes(store, event, arguments):
    """store: the path of a folder, or what is no path: then any request to write counts."""
    match event:
        case "http.client.send":
            return bytes(arguments[1]).startswith((b"PUT ", b"POST ", b"DELETE "))
        case "open":
            path, _, flags = arguments
            return str(path).startswith(store) and bool(flags & (os.O_WRONLY | os.O_RDWR))
        case "os.mkdir" | "os.rename" | "os.link" | "os.remove":
            return str(arguments[0]).startswith(store)
    return False
