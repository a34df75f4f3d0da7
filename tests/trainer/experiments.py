"""The tiny experiment of all tests here, and the three ways to compute it.

supreme("run", file, "--store", folder)    the real command in processes of its own
compute(document, storage)                 the trainer's story of one seed in this process: 1 s
finish(document, storage)                  all seeds in this process, and what a run leaves
"""

import hashlib
import json
import os
import signal
import subprocess
from collections import Counter
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass, replace
from io import StringIO
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
import yaml
from supreme_trainer.seed.run import run_seed
from supreme_trainer.seed.stage import Stages
from supreme_trainer.seed.telemetry import Telemetry

from supreme_core import registry
from supreme_core.analysis.files import summary_json
from supreme_core.api import names
from supreme_core.api.model import parse, parse_json
from supreme_core.api.orders import RunOrder
from supreme_core.api.summary import Summary
from supreme_core.api.v1alpha1 import UnlearningExperiment
from supreme_core.engine.evaluation.reproducibility import configure, environment
from supreme_core.engine.ranks.interruption import Interruption, Terminated
from supreme_core.engine.ranks.ranks import Ranks
from supreme_core.errors import EXIT_TERMINATED, CorruptArtefact
from supreme_core.plan import plan
from supreme_core.publishing.publish import publish
from supreme_core.registry import catalog
from supreme_core.store.artefacts import Artefacts
from supreme_core.store.opening import open_storage
from supreme_core.store.results import write_order, write_result
from supreme_core.store.storage import TEMPORARY
from tests import warm
from tests.unmeasured import without_measurements

TRAIN, TEST = 1442, 355
"""Samples of the digits dataset."""

FULL_CLASS = {"name": "full_class", "params": {"classes": [3]}}
RANDOM_SAMPLES = {"name": "random_samples", "params": {"fraction": 0.1}}

SIX_STEPS = {"epochs": 1, "batchSize": 256}
"""Settings of a method that trains; by its own, finetune takes four times as many."""

FINETUNE = {"name": "finetune", "params": SIX_STEPS}
RANDOM_LABELS = {"name": "random_labels", "params": SIX_STEPS}
SSD = {"name": "ssd"}
SIX_METHODS = (
    FINETUNE,
    RANDOM_LABELS,
    SSD,
    {"name": "lfssd"},
    {"name": "bad_teacher"},
    {"name": "unsir", "params": {"noiseSteps": 2, "copies": 2, "retainPerClass": 16}},
)

LIGHT = {
    "name": "timm/test_vit",
    "params": {
        "inputSize": 8,
        "arguments": {"patch_size": 4, "embed_dim": 8, "depth": 1, "num_heads": 1},
    },
}
"""A network with a tenth of the layers of a ResNet-18, for tests in which no layer matters and
everything else takes its time. It has no BatchNorm, and imports timm."""

COMMAND = ("-m", "supreme_trainer.command.cli")


def experiment(
    *, name="tiny", seeds=(260,), width=2, methods=(FINETUNE, RANDOM_LABELS), training=(), **changes
):
    """The document of an experiment that trains in a second.

    training: changes of the recipe.  changes: further fields of its spec.
    """
    spec = {
        "seeds": {"list": list(seeds)},
        "dataset": {"name": "digits", "params": {"size": 8}},
        "model": {"name": "resnet18", "params": {"width": width}},
        "training": {"epochs": 1, "batchSize": 256, **dict(training)},
        "scenarios": [FULL_CLASS, RANDOM_SAMPLES],
        "methods": list(methods),
        # Of those by default, one attack takes as long as all the training.
        "metrics": [{"name": "accuracy"}],
    }
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": name},
        "spec": deepcopy({**spec, **changes}),  # a test may change what it gets
    }


def written(path, document):
    """The file of a document, or of a text that is none."""
    text = document if isinstance(document, str) else yaml.safe_dump(document, sort_keys=False)
    path.write_text(text, encoding="utf-8")
    return path


@dataclass(frozen=True)
class Finished:
    """Exit code, standard output and standard error of a process."""

    code: int
    out: str
    err: str


def supreme(*arguments, **environment):
    """Run the real command to its end; environment: further variables of its process."""
    process = subprocess.run(
        [warm.python(), *COMMAND, *map(str, arguments)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=600,
    )
    return Finished(process.returncode, process.stdout, process.stderr)


def run(document, folder, *options):
    """The store after the real command, which computes in processes of its own."""
    file = written(folder / "experiment.yaml", document)
    done = supreme("run", file, "--store", folder / "store", "--device", "cpu", *options)
    assert done.code == 0, done.out + done.err
    assert "only a cluster uses" not in done.out
    return folder / "store"


def copied(folder, store):
    """The store, which was empty, with all that a store in a folder has."""
    source = folder_store(folder)
    for info in source.list():
        store.write(info.key, source.read(info.key))
    return store


@contextmanager
def running(*arguments, command=COMMAND, python="", **environment):
    """The real command, or another one, while it runs in its own process group; killed in the end.

    command: what Python is to run, as words for its command line.  python: its path, "" for one
    that has imported all already.

    `until(words)` waits for a line with these words, `trainers()` are the processes it started,
    `wait()` gives a Finished.
    """
    process = subprocess.Popen(
        [python or warm.python(), *command, *map(str, arguments)],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    command = Running(process)
    try:
        yield command
    finally:
        for pid in (process.pid, *command.seen):
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        process.stderr.close()


class Running:
    """A command whose lines are read as they come."""

    def __init__(self, process):
        self.process = process
        self.lines = []
        self.seen = set()

    def until(self, words):
        """Read on up to the line with these words; the process has then got that far."""
        for line in self.process.stdout:
            self.lines.append(line)
            if words in line:
                return
        pytest.fail(f"it never said {words!r}: {self.lines} {self.process.stderr.read()}")

    def trainers(self):
        """Ids of the processes that it started and that are alive; each leads its own group."""
        pids = children_of(self.process.pid)
        self.seen |= pids
        return pids

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self):
        out, err = self.process.communicate(timeout=300)
        return Finished(self.process.returncode, "".join(self.lines) + out, err)


def install(folder, source):
    """A distribution with methods in a folder; gives the environment whose processes see it."""
    info = folder / "broken_methods-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-methods\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{registry.method.group}]\nbroken = broken_methods\n")
    (folder / "broken_methods.py").write_text(source)
    known = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": os.pathsep.join([str(folder), known] if known else [str(folder)])}


def children_of(pid):
    pid = warm.forked(pid)
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def ranks_of(launcher):
    """Rank to the id of its process, for the children of torchrun."""
    found = {}
    for pid in children_of(launcher):
        environment = Path(f"/proc/{pid}/environ").read_text().split("\0")
        found |= {int(each[5:]): pid for each in environment if each.startswith("RANK=")}
    return found


def group_is_alive(pid):
    """Return whether any process is left in the group that `pid` led."""
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    return True


def damaged_artefacts(folder):
    """Finished stages of a store whose files are not what their manifests name."""
    with TemporaryDirectory() as cache:
        artefacts, found = Artefacts(folder_store(folder), Path(cache)), []
        for path in Path(folder).glob("objects/*/*/*/manifest.json"):
            manifest = artefacts.find(path.parts[-4], path.parts[-2])
            try:
                assert manifest is not None, f"{path} cannot be read"
                for name in manifest.files:
                    artefacts.open(manifest, name)
            except (AssertionError, CorruptArtefact) as error:
                found.append(str(error))
        return found


def leftovers(folder):
    """Files that were being written when their writer stopped."""
    return list(Path(folder).rglob(f"{TEMPORARY}*"))


def planned(document):
    """The order of all seeds, as `supreme run` plans it."""
    experiment = parse(UnlearningExperiment, document)
    return plan(experiment, catalog.bundled(), namespace=names.LOCAL_NAMESPACE)


def compute(
    document,
    storage,
    *,
    seed=260,
    attempt=0,
    stream=None,
    ranks=None,
    interruption=None,
    whole=None,
):
    """The RunResult of one seed, computed in this process as a trainer would alone.

    stream: where its events go.  ranks: where this process is one of several.  interruption: by
    which a test stops it.  whole: the order, where the document does not say all of it.
    """
    whole = whole or planned(document)
    order = RunOrder(
        experiment=whole.experiment,
        work=whole.work,
        data_placement=whole.data_placement,
        keep_unlearned_models=whole.keep_unlearned_models,
        seed=seed,
        attempt=attempt,
        store=storage.uri,
    )
    telemetry = Telemetry(stream=stream or StringIO())
    with as_configured(whole.work.training.precision) as device, TemporaryDirectory() as cache:
        ranks = ranks or Ranks.alone(device)
        stages = Stages(
            Artefacts(storage, Path(cache)),
            ranks=ranks,
            environment=environment(ranks, reduction=whole.work.training.reduction),
            telemetry=telemetry,
            interruption=interruption or Interruption(EXIT_TERMINATED),
        )
        return run_seed(order, stages, ranks=ranks, telemetry=telemetry)


@contextmanager
def stopped_in(method, *, call, step):
    """The interruption that a method asks for after so many steps of the call of this number."""
    entry, calls = registry.method.get(method), count(1)
    interruption = Interruption(EXIT_TERMINATED)

    def stopping(task, params):
        steps = count(1)

        def report(**told):
            task.report(**told)
            if next(steps) == step:
                interruption.request()

        entry.function(replace(task, report=report) if next(calls) == call else task, params)

    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(registry.method._entries, method, replace(entry, function=stopping))
        with pytest.raises(Terminated):
            yield interruption


def finish(document, storage, *, ranks=None):
    """Everything that `supreme run` leaves in a store; gives the experiment's ExperimentOrder.

    ranks: where this process is one of several, of which the main one writes.
    """
    order = planned(document)
    is_main = ranks is None or ranks.is_main
    if is_main:
        write_order(storage, order)
    for seed in order.seeds:
        result = compute(document, storage, seed=seed, ranks=ranks)
        if is_main:
            write_result(storage, result)
    if is_main:
        with TemporaryDirectory() as cache:
            publish(storage, Artefacts(storage, Path(cache)), order)
    return order


@contextmanager
def as_configured(precision="fp32"):
    """The CPU as a trainer sets it up; torch's switches are as before afterwards."""
    device, threads = torch.device("cpu"), torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    try:
        configure(device, precision)
        yield device
    finally:
        torch.set_default_dtype(torch.float32)
        torch.use_deterministic_algorithms(deterministic)
        torch.set_num_threads(threads)


def computed(result):
    """Return how many stages of each name a seed computed, without those that it found."""
    return Counter(record.stage for record in result.stages if record.status == "computed")


def folder_of(store, document):
    """The experiment's folder in a store that is a folder."""
    return Path(store) / planned(document).prefix


def results_of(store, document):
    """The newest result of each seed in a store that is a folder, as plain JSON."""
    found = {}
    for path in sorted(folder_of(store, document).glob("seed=*/attempt=*/result.json")):
        found[path.parts[-3]] = json.loads(path.read_text())
    return [found[seed] for seed in sorted(found)]


def statuses(result):
    """(stage, computed or reused) of a result that is plain JSON, counted."""
    return Counter((record["stage"], record["status"]) for record in result["stages"])


def manifests(folder, stage):
    """Return the manifests of a stage's finished artefacts, as plain JSON."""
    return [json.loads(path.read_text()) for path in folder.glob(f"objects/{stage}/*/*/*.json")]


def artefacts_of(storage):
    """(stage, key) to what each finished stage left, times and machines left out.

    Digests of files, and those facts that mean something: distances and metrics without run times.
    """
    found = {}
    for item in storage.list("objects"):
        if item.key.endswith(names.MANIFEST):
            manifest = json.loads(storage.read(item.key))
            files = {name: file["sha256"] for name, file in manifest["files"].items()}
            facts = dict(manifest["facts"])
            facts.pop("cost", None)
            facts.pop("crew", None)
            for row in ("wall_seconds", "device_seconds", "peak_memory_bytes", "speed_up"):
                facts.get("metrics", {}).pop(row, None)
            found[manifest["stage"], manifest["key"]] = files, facts
    return found


def summary_of(storage, document):
    data = storage.read(names.summary_key(planned(document).prefix))
    return parse_json(Summary, data, source="summary.json")


def summary_digest(storage, document):
    """sha256 of summary.json without the rows and facts that are measurements of a machine."""
    return hashlib.sha256(
        summary_json(without_measurements(summary_of(storage, document)))
    ).hexdigest()


def folder_store(folder):
    return open_storage(str(folder))
