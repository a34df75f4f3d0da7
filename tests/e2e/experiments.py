"""Experiments that pods of the node compute, and what they have to come to."""

from hashlib import sha256

from supreme_core.api.canonical import digest
from supreme_core.api.model import parse_json
from supreme_core.api.summary import Summary
from supreme_core.plan import default_metrics
from supreme_core.registry.catalog import bundled
from tests.cluster.processes import eventually
from tests.trainer import experiments as local
from tests.unmeasured import without_measurements

SEEDS = (260, 261)
SPEC = local.experiment(
    seeds=SEEDS,
    methods=[local.FINETUNE, local.SSD],
    metrics=[{"name": metric.name} for metric in default_metrics(bundled())],
    training={"microBatches": 2, "batchSize": 160},
)["spec"]
TUNED = {
    "seeds": {"list": [260]},
    "methods": [
        {**local.FINETUNE, "search": {"lr": {"log": [0.001, 0.1]}}},
        {**local.SSD, "search": "none"},
    ],
    "training": {**SPEC["training"], "validation": {"fraction": 0.2}},
    "tuning": {
        "trials": 2,
        "seeds": {"start": 9000, "count": 1},
        "objective": "tow",
        "budget": {"share": 1.0},
    },
}
"""Changes of SPEC: a rate is searched on one tuning seed, which another one uses."""
SECONDS = 900

MIDDLE = {"method": "PUT", "path": "/objects/retrained/"}
"""Requests to the store of a seed that has trained Original and not finished."""


class Applied:
    """Experiments whose spec is `spec` but for what a test changes."""

    def __init__(self, experiments, spec):
        self.all, self.spec = experiments, spec

    def apply(self, *, execution=(), **changes):
        whole = {**self.spec["execution"], **dict(execution)}
        self.all.apply(**{**self.spec, **changes, "execution": whole})

    def until_seed(self, seed, **wanted):
        """Wait until the status of a seed has these fields."""

        def question():
            seeds = self.all.status().get("seedStatuses") or ()
            fields = next((each for each in seeds if each["seed"] == seed), {})
            return all(fields.get(name) == value for name, value in wanted.items())

        eventually(question, seconds=SECONDS)

    def succeeded(self, name="three"):
        return self.all.until(name, phase="Succeeded", seconds=SECONDS)


def costs(status):
    """(retries, disruptions) of each seed."""
    return [(each["retries"], each["disruptions"]) for each in status["seedStatuses"]]


def digest_of(status, s3):
    """The digest of the summary that a status names, without measurements."""
    bucket, _, key = status["results"]["uri"].removeprefix("s3://").partition("/")
    data = s3.client().get_object(Bucket=bucket, Key=key)["Body"].read()
    assert sha256(data).hexdigest() == status["results"]["sha256"]
    return digest_of_summary(parse_json(Summary, data, source=key))


def digest_of_run(folder, **changes):
    """The digest of the summary that `supreme run` writes of SPEC but for what is changed, without
    measurements."""
    document = {**local.experiment(name="three"), "spec": {**SPEC, **changes}}
    store = local.folder_store(local.run(document, folder))
    return digest_of_summary(local.summary_of(store, document))


def digest_of_summary(summary):
    """Return a digest without measurements, and without what only a machine that computes by itself
    knows when it plans: the versions of its components, which are a part of the work there."""
    plain = without_measurements(summary).to_document()
    del plain["experiment"]["digest"]
    plain["provenance"]["work"].pop("revisions", None)
    return digest(plain)
