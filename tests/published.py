"""One publication, imported by a process from which workers of the operator are forked.

It reads and compiles what the first publication of a process does, such as the templates of the
page, fonts and the description of S3, and each worker publishes only once.
"""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from botocore.loaders import JSONFileLoader
from supreme_operator.results import worker

from supreme_core.api import names
from supreme_core.api.model import parse
from supreme_core.api.v1alpha1 import UnlearningExperiment
from supreme_core.plan import plan
from supreme_core.publishing.publish import publish
from supreme_core.registry import REGISTRIES
from supreme_core.store.artefacts import Artefacts
from supreme_core.store.folder import LocalStorage
from supreme_core.store.results import write_result
from tests.cluster.operators import SPEC
from tests.cluster.trainers import CATALOG, made_up


def _publish(folder: Path) -> None:
    document = {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": "first"},
        "spec": SPEC,
    }
    experiment = parse(UnlearningExperiment, document)
    order = plan(experiment, CATALOG, namespace=names.LOCAL_NAMESPACE)
    storage = LocalStorage(folder / "store")
    shared = order.shared(store=storage.uri, endpoint=None, region=None)
    for seed in order.seeds:
        write_result(storage, made_up(shared, seed, 0))
    publish(storage, Artefacts(storage, folder / "predictions"), order, believed=False)


with TemporaryDirectory() as _folder:
    _publish(Path(_folder))
JSONFileLoader.load_file = cache(JSONFileLoader.load_file)
worker.preload()
for _registry in REGISTRIES:
    _registry._discovered = False  # each worker looks for plug-ins itself
