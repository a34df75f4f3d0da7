"""A real API server and the models judge alike: one verdict, naming one field, in the same words.

limits     each field at its limits and beyond them, of other types, missing, unknown (specs.py)
rules      between fields, on both sides of each
changes    what may change in an experiment that was accepted, and what stays
mending    what was never accepted may become any other, also a part of what was
cluster    what the server refuses because no cluster can do it, in the words of the operator
defaults   what the server fills in changes neither the plan nor a digest
kubectl    explain, apply, get, scale

Left out: labels and annotations of the object, which the server judges by rules of its own. Where
the models are the stricter ones, a test says so: to the server null for a field that has a default
is that default, and 8.0 is 8. Where the server is, it is for the cluster's sake.
"""

import json
import re
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import pytest
import yaml
from kubernetes import client
from kubernetes.client.exceptions import ApiException
from supreme_operator.deciding.admission import NotAccepted, admit
from supreme_operator.deciding.status import invalid

from supreme_core.api import names
from supreme_core.api.guarded import FIXED, FIXED_WITH_DDP
from supreme_core.api.model import parse
from supreme_core.api.orders import work_digest
from supreme_core.api.status import ExperimentStatus
from supreme_core.api.v1alpha1 import SEED_LIMIT, ExperimentSpec, Metadata, UnlearningExperiment
from supreme_core.errors import SpecError
from supreme_core.plan import plan
from supreme_core.registry.catalog import bundled
from tests.cluster.processes import eventually
from tests.cluster.specs import SPEC, cases
from tools.generate.generated import CRD, ROOT

NAMESPACE = "default"


@dataclass(frozen=True)
class Verdict:
    """The reasons why a spec is refused, by the field that is to blame; empty where it is
    accepted."""

    reasons: dict[str, str]

    @property
    def good(self):
        return not self.reasons

    def names(self, field):
        """Return whether the field, a part of it, or its parent is to blame."""
        return any(_within(one, field) or _within(field, one) for one in self.reasons)


class Server:
    """The API server, asked about experiments."""

    def __init__(self, api):
        self.objects = client.CustomObjectsApi(api)
        self.kind = {
            "group": names.GROUP,
            "version": names.VERSION,
            "namespace": NAMESPACE,
            "plural": names.PLURAL,
        }

    def create(self, spec, *, name="some", dry_run="All"):
        return self.objects.create_namespaced_custom_object(
            **self.kind, body=document(spec, name), dry_run=dry_run, field_validation="Strict"
        )

    def read(self, name):
        return self.objects.get_namespaced_custom_object(**self.kind, name=name)

    def replace(self, there, spec):
        """Replace the spec of an object in a dry run, and return what the server would store."""
        return self.objects.replace_namespaced_custom_object(
            **self.kind,
            name=there["metadata"]["name"],
            body=there | {"spec": spec},
            dry_run="All",
            field_validation="Strict",
        )

    def write_status(self, there, status):
        return self.objects.replace_namespaced_custom_object_status(
            **self.kind, name=there["metadata"]["name"], body=there | {"status": status}
        )

    def judge(self, ask, *arguments, **keywords):
        return Verdict(dict(self._reasons(ask, *arguments, **keywords)))

    def judge_as_models(self, *arguments, **keywords):
        """Return the verdict of the models, without what only a cluster refuses (TestCluster)."""
        found = self._reasons(*arguments, **keywords)
        return Verdict(dict(each for each in found if not _is_of_the_cluster(*each)))

    def _reasons(self, ask, *arguments, **keywords):
        try:
            ask(*arguments, **keywords)
        except ApiException as error:
            return list(_server_reasons(json.loads(error.body)))
        return []


@pytest.fixture(scope="module")
def server(cluster):
    """A Server whose experiments are gone in the end: operators of other tests would adopt them."""
    with cluster.client() as api:
        found = Server(api)
        yield found
        found.objects.delete_collection_namespaced_custom_object(**found.kind)


def document(spec, name="some"):
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": spec,
    }


def models(spec, name="some"):
    try:
        parse(UnlearningExperiment, document(spec, name))
    except SpecError as error:
        return Verdict(dict(_model_reason(line) for line in str(error).splitlines()))
    return Verdict({})


def _server_reasons(status):
    for field in re.findall(r'unknown field "([^"]+)"', status["message"]):
        yield field, "unknown field"
    for cause in status.get("details", {}).get("causes", ()):
        if cause["field"] != "<nil>":  # the remark that rules were not looked at
            yield cause["field"], cause["message"]


def _model_reason(line):
    field, reason = re.fullmatch(r"([\w.\[\]]+)(?:: | is )(.+)", line).groups()
    return field, reason


def _is_of_the_cluster(field, words):
    cannot = (
        r"unknown \w+ '|on a cluster it must be|spec.execution do not divide|each process needs"
    )
    listed = r"spec\.(scenarios|metrics)\[\d+\]\.name"
    is_listed = re.fullmatch(listed, field) and "supported values" in words
    return bool(is_listed or re.search(cannot, words))


def _within(field, other):
    return field == other or field.startswith((f"{other}.", f"{other}["))


def changed(**fields):
    return {name: value for name, value in (SPEC | fields).items() if value is not None}


def by_field():
    found = {}
    for case in cases():
        found.setdefault(case.field, []).append(case)
    return found


FIELDS = by_field()


class TestLimits:
    @pytest.mark.parametrize("field", FIELDS)
    def test_both_judge_a_field_alike_and_name_it(self, server, field):
        for case in FIELDS[field]:
            here = models(case.spec)
            there = server.judge_as_models(server.create, case.spec)
            assert (here.good, there.good) == (case.good, case.good), (case.value, here, there)
            if not case.good:
                assert here.names(field), (case.value, here)
                assert there.names(field), (case.value, there)

    @pytest.mark.parametrize(
        ("name", "good"),
        [("a", True), ("a" * 40, True), ("a" * 41, False), ("1a", False), ("a-", False)],
    )
    def test_both_judge_the_name_alike(self, server, name, good):
        here, there = models(SPEC, name), server.judge(server.create, SPEC, name=name)
        assert (here.good, there.good) == (good, good)
        assert good or (here.names("metadata.name") and there.names("metadata.name"))

    def test_nothing_at_all_is_asked_for_alike(self, server):
        here, there = models({}), server.judge(server.create, {})
        assert set(here.reasons) == set(there.reasons)
        assert set(here.reasons) == {
            f"spec.{field}" for field in ("dataset", "model", "scenarios", "methods")
        }


def entries(*pairs):
    """Methods by name, or by name and label."""
    return [dict(zip(("name", "label"), pair.split(":"), strict=False)) for pair in pairs]


LABELS = [f"ssd:{index}" for index in range(64)]

KEPT = {
    "the last seed": {"seeds": {"start": SEED_LIMIT, "count": 1}},
    "the last ten seeds": {"seeds": {"start": SEED_LIMIT - 9}},
    "a thousand seeds": {"seeds": {"list": list(range(1000))}},
    "ddp without parts": {"training": {"reduction": "ddp", "microBatches": 1}},
    "parts without ddp": {"training": {"batchNorm": "batch", "microBatches": 2}},
    "matched without repeats": {"seeds": {"protocol": "matched", "retrainedReplicas": 2}},
    "repeats of independent seeds": {"seeds": {"protocol": "independent", "unlearningRepeats": 2}},
    "an arithmetic of evaluations": {"evaluationPrecision": "bf16"},
    "a Job of one node": {"execution": {"backend": "Job", "nodes": 1}},
    "two nodes without a Job": {
        "execution": {"backend": "IndexedJob", "nodes": 2},
        "training": {"microBatches": 2},
    },
    "a method twice": {"methods": entries("ssd", "ssd:mild")},
    "labels that are names": {"methods": entries("ssd:lfssd", "lfssd:ssd")},
    "64 labels": {"methods": entries(*LABELS)},
}

BROKEN = {
    "a list and a start": ("spec.seeds", {"seeds": {"list": [1, 2], "start": 1}}),
    "a list and a count": ("spec.seeds", {"seeds": {"list": [1, 2], "count": 1}}),
    "beyond the last seed": ("spec.seeds", {"seeds": {"start": SEED_LIMIT, "count": 2}}),
    "ten beyond the last seed": ("spec.seeds", {"seeds": {"start": SEED_LIMIT - 8}}),
    "matched with repeats": (
        "spec.seeds",
        {"seeds": {"protocol": "matched", "unlearningRepeats": 2}},
    ),
    "matched with draws": (
        "spec.seeds",
        {"seeds": {"protocol": "matched", "evaluationRepeats": 3}},
    ),
    "ddp with parts": ("spec.training", {"training": {"reduction": "ddp", "microBatches": 4}}),
    "ddp with whole batches": (
        "spec.training",
        {"training": {"reduction": "ddp", "batchNorm": "batch"}},
    ),
    "two arithmetics of evaluations": (
        "spec",
        {"training": {"precision": "fp64"}, "evaluationPrecision": "bf16"},
    ),
    "a Job of two nodes": ("spec.execution", {"execution": {"backend": "Job", "nodes": 2}}),
    "a label that is another's name": (
        "spec.methods",
        {"methods": entries("finetune", "ssd:finetune")},
    ),
    "a label twice": ("spec.scenarios", {"scenarios": entries("full_class:a", "subclass:a")}),
    "a metric's label twice": ("spec.metrics", {"metrics": entries("loss:a", "zrf", "accuracy:a")}),
    "a reference": ("spec.methods", {"methods": entries("finetune", "retrained")}),
    "a reference as label": ("spec.scenarios", {"scenarios": entries("subclass:original")}),
    "the last of 64": ("spec.methods", {"methods": entries(*LABELS[1:], "lfssd:63")}),
}


class TestRules:
    @pytest.mark.parametrize("fields", KEPT.values(), ids=KEPT)
    def test_both_accept_what_keeps_a_rule(self, server, fields):
        here = models(changed(**fields))
        there = server.judge(server.create, changed(**fields))
        assert (here, there) == (Verdict({}), Verdict({}))

    @pytest.mark.parametrize(("field", "fields"), BROKEN.values(), ids=BROKEN)
    def test_both_refuse_what_breaks_a_rule_in_the_same_words(self, server, field, fields):
        here = models(changed(**fields))
        there = server.judge_as_models(server.create, changed(**fields))
        assert set(here.reasons) == set(there.reasons) == {field}
        assert here.reasons[field] in there.reasons[field]

    def test_both_want_a_power_of_two_in_the_same_words(self, server):
        for parts in range(1, 65):
            spec = changed(training={"microBatches": parts})
            here, there = models(spec), server.judge(server.create, spec)
            assert here.good == there.good == (bin(parts).count("1") == 1)
            for field, words in here.reasons.items():
                assert words in there.reasons[field]

    @pytest.mark.parametrize(
        ("field", "fields"),
        [
            ("spec.seeds", {"seeds": {"list": [4, 1, 4]}}),
            ("spec.methods", {"methods": entries("ssd", "finetune", "ssd")}),
            ("spec.metrics", {"metrics": entries("loss:a", "loss:a")}),
        ],
        ids=["seed", "method", "label"],
    )
    def test_both_refuse_the_same_entry_twice(self, server, field, fields):
        here = models(changed(**fields))
        there = server.judge(server.create, changed(**fields))
        assert here.names(field)
        assert there.names(field)


WHOLE = changed(
    seeds={"start": 5, "count": 3},
    metrics=entries("accuracy", "loss"),
    training={
        "schedule": {"name": "cosine"},
        "microBatches": 8,
        "validation": {"fraction": 0.1},
    },
    activeDeadlineSeconds=60,
    seedActiveDeadlineSeconds=60,
    managedBy="someone",
)
LISTED = changed(seeds={"list": [5, 3, 4]}, methods=entries("finetune", "ssd", "ssd:mild"))
WITH_DDP = changed(training={"reduction": "ddp"}, execution={"nodes": 2})

LATER = {
    "the same": (WHOLE, {}),
    "more seeds": (WHOLE, {"seeds": {"start": 5, "count": 4}}),
    "listed seeds behind the others": (LISTED, {"seeds": {"list": [5, 3, 4, 1]}}),
    "a method behind": (WHOLE, {"methods": [*SPEC["methods"], {"name": "ssd"}]}),
    "a method in front": (LISTED, {"methods": [{"name": "cf_k"}, *LISTED["methods"]]}),
    "methods in another order": (LISTED, {"methods": LISTED["methods"][::-1]}),
    "the same label, given": (LISTED, {"methods": entries("finetune:", "ssd:", "ssd:mild")}),
    "fewer children": (WHOLE, {"parallelism": 0}),
    "suspended": (WHOLE, {"suspend": True}),
    "more failures": (WHOLE, {"failurePolicy": {"maxFailedSeeds": 2, "maxRetriesPerSeed": 9}}),
    "another deadline": (WHOLE, {"activeDeadlineSeconds": 90}),
    "no deadline": (WHOLE, {"activeDeadlineSeconds": None}),
    "an end": (WHOLE, {"ttlSecondsAfterFinished": 0}),
    "image": (WHOLE, {"execution": {"image": "registry.example/trainer:2"}}),
    "volumes": (WHOLE, {"execution": {"template": {"volumes": [{"name": "a"}]}}}),
    "ranks": (WHOLE, {"execution": {"nodes": 2, "gpusPerNode": 4, "processesPerNode": 2}}),
    "the rest with ddp": (
        WITH_DDP,
        {
            "execution": {
                "nodes": 2,
                "image": "registry.example/trainer:2",
                "backend": "PyTorchJob",
                "resources": {"memory": "1Gi"},
            }
        },
    ),
}

NEVER = {
    "fewer seeds": (WHOLE, "seeds", {"start": 5, "count": 2}),
    "other seeds": (WHOLE, "seeds", {"start": 4, "count": 4}),
    "the first seed left out": (WHOLE, "seeds", {"count": 4}),
    "a list instead": (WHOLE, "seeds", {"list": [5, 6, 7]}),
    "a count instead": (LISTED, "seeds", {"start": 3, "count": 3}),
    "a seed less": (LISTED, "seeds.list", {"list": [5, 3]}),
    "another seed": (LISTED, "seeds.list", {"list": [5, 3, 6]}),
    "a seed in between": (LISTED, "seeds.list", {"list": [5, 1, 3, 4]}),
    "repeats": (WHOLE, "seeds.unlearningRepeats", WHOLE["seeds"] | {"unlearningRepeats": 2}),
    "draws": (WHOLE, "seeds.evaluationRepeats", WHOLE["seeds"] | {"evaluationRepeats": 2}),
    "replicas": (WHOLE, "seeds.retrainedReplicas", WHOLE["seeds"] | {"retrainedReplicas": 2}),
    "protocol": (WHOLE, "seeds.protocol", WHOLE["seeds"] | {"protocol": "matched"}),
    "a method less": (LISTED, "methods", entries("finetune", "ssd")),
    "a method's label": (LISTED, "methods", entries("finetune", "ssd", "ssd:wild")),
    "a method's setting": (WHOLE, "methods", [{"name": "finetune", "params": {"epochs": 3}}]),
    "a method's settings renamed": (
        WHOLE,
        "methods",
        [{"name": "finetune", "params": {"batchSize": 2, "lr": 0.01}}],
    ),
    "dataset": (WHOLE, "dataset", {"name": "cifar10"}),
    "a dataset's setting": (WHOLE, "dataset", {"name": "digits", "params": {"size": 16}}),
    "model": (WHOLE, "model", {"name": "resnet18", "params": {"width": 16}}),
    "training": (WHOLE, "training", WHOLE["training"] | {"epochs": 9}),
    "an arithmetic": (WHOLE, "evaluationPrecision", "bf16"),
    "BatchNorm": (WHOLE, "training", WHOLE["training"] | {"batchNorm": "batch"}),
    "tuning": (WHOLE, "tuning", {"objective": "tow"}),
    "a schedule left out": (WHOLE, "training", {}),
    "scenarios": (WHOLE, "scenarios", [*SPEC["scenarios"], {"name": "subclass"}]),
    "a scenario's setting renamed": (
        WHOLE,
        "scenarios",
        [{"name": "full_class", "params": {"class": [3]}}],
    ),
    "a scenario's setting": (
        WHOLE,
        "scenarios",
        [{"name": "full_class", "params": {"classes": [3, 4]}}],
    ),
    "metrics": (WHOLE, "metrics", entries("accuracy")),
    "no metrics": (WHOLE, "metrics", None),
    "metrics that were none": (LISTED, "metrics", entries("accuracy")),
    "metrics over seeds that were none": (LISTED, "seedMetrics", entries("klom")),
    "primary metric": (WHOLE, "primaryMetric", "retain_accuracy"),
    "margins that were none": (WHOLE, "margins", {"forget_accuracy": 0.02}),
    "nodes": (WITH_DDP, "execution.nodes", {"nodes": 4}),
    "GPUs": (WITH_DDP, "execution.gpusPerNode", {"nodes": 2, "gpusPerNode": 2}),
    "ranks": (WITH_DDP, "execution.processesPerNode", {"nodes": 2, "processesPerNode": 1}),
    "store": (WHOLE, "storage", {"uri": "s3://bucket"}),
    "a seed's deadline": (WHOLE, "seedActiveDeadlineSeconds", 90),
    "no deadline of a seed": (WHOLE, "seedActiveDeadlineSeconds", None),
    "a new deadline": (WHOLE, "schedulingDeadlineSeconds", 90),
    "another controller": (WHOLE, "managedBy", "someone-else"),
    "no controller": (WHOLE, "managedBy", None),
    "a controller now": (LISTED, "managedBy", "someone"),
}


SPECS = {"whole": WHOLE, "listed": LISTED, "with-ddp": WITH_DDP}


def accepted(spec, *, methods=None):
    """Return the operator's status of a spec that can be computed.  methods: titles; by default
    all."""
    read = parse(ExperimentSpec, spec)
    status = ExperimentStatus(
        work_digest="0" * 64,
        accepted_methods=[each.title for each in read.methods] if methods is None else methods,
        seeds=len(read.seeds.values()),
    )
    return status.to_document()


def accepted_before(spec):
    """Return the status by an operator that did not record methods yet."""
    status = accepted(spec)
    del status["acceptedMethods"]
    return status


def refused(spec):
    """Return the operator's status of an experiment that it never accepted."""
    now = datetime(2026, 3, 1, tzinfo=UTC)
    status = invalid(ExperimentStatus(), NotAccepted("no", None), generation=1, now=now)
    return status.to_document()


@pytest.fixture(scope="module", params=[accepted, accepted_before])
def there(server, request):
    """The experiments that change, as the server has them, by their specs."""
    return _made(server, request.param)


@pytest.fixture(scope="module", params=[None, refused])
def never_accepted(server, request):
    """The experiments that change, before an operator has seen them, and after it has refused
    them."""
    return _made(server, request.param)


def _made(server, status):
    found = {}
    for name, spec in SPECS.items():
        title = f"{name}-{status.__name__.replace('_', '-') if status else 'new'}"
        made = server.create(spec, name=title, dry_run=None)
        found[id(spec)] = server.write_status(made, status(spec)) if status else made
    return found


def edited(before, field, value):
    section = field.partition(".")[0]
    return {name: part for name, part in (before | {section: value}).items() if part is not None}


class TestChanges:
    @pytest.mark.parametrize(("before", "fields"), LATER.values(), ids=LATER)
    def test_what_may_change_may_change(self, server, there, before, fields):
        spec = {name: value for name, value in (before | fields).items() if value is not None}
        assert server.judge(server.replace, there[id(before)], spec) == Verdict({})

    @pytest.mark.parametrize(("before", "field", "value"), NEVER.values(), ids=NEVER)
    def test_what_may_not_change_is_named(self, server, there, before, field, value):
        verdict = server.judge(server.replace, there[id(before)], edited(before, field, value))
        assert set(verdict.reasons) == {f"spec.{field}"}
        assert re.search("append-only|cannot be changed", verdict.reasons[f"spec.{field}"])

    def test_everything_fixed_was_tried(self):
        assert {*FIXED, *FIXED_WITH_DDP} <= {field for _, field, _ in NEVER.values()}

    def test_a_thousand_seeds_and_64_methods_are_within_what_rules_may_cost(self, server):
        spec = changed(seeds={"list": list(range(999))}, methods=entries(*LABELS[:63]))
        there = server.create(spec, name="large", dry_run=None)
        there = server.write_status(there, accepted(spec))
        more = spec | {"seeds": {"list": list(range(1000))}, "methods": entries(*LABELS)}
        assert server.judge(server.replace, there, more) == Verdict({})


WITH_TYPOS = changed(
    methods=[
        {"name": "finetune", "params": {"epochs": 2}},
        {"name": "ssd", "params": {"alhpa": 9}},
        {"name": "ssd", "label": "mild", "params": {"alhpa": 3}},
    ],
    seeds={"list": [5, 3, 4, 9]},
)
FINETUNE, SSD, MILD = WITH_TYPOS["methods"]
MENDED_SSD = {"name": "ssd", "params": {"alpha": 9}}


@pytest.fixture(scope="module")
def running(server):
    """An experiment whose first method and first three seeds were accepted, and the rest not."""
    there = server.create(WITH_TYPOS, name="typos", dry_run=None)
    status = accepted(WITH_TYPOS, methods=["finetune"]) | {"seeds": 3}
    return server.write_status(there, status)


class TestMending:
    @pytest.mark.parametrize(("before", "field", "value"), NEVER.values(), ids=NEVER)
    def test_what_was_never_accepted_may_change(self, server, never_accepted, before, field, value):
        spec = edited(before, field, value)
        assert server.judge(server.replace, never_accepted[id(before)], spec) == Verdict({})

    @pytest.mark.parametrize(
        "fields",
        [
            {"methods": [FINETUNE, MENDED_SSD, MILD]},
            {"methods": [FINETUNE, MENDED_SSD]},
            {"methods": [FINETUNE]},
            {"methods": [SSD, FINETUNE]},
            {"methods": [FINETUNE, {"name": "lfssd", "label": "ssd"}]},
            {"seeds": {"list": [5, 3, 4]}},
            {"seeds": {"list": [5, 3, 4, 10, 11]}},
        ],
        ids=["one", "one, the other gone", "both gone", "order", "another", "seed gone", "seeds"],
    )
    def test_what_was_added_and_not_accepted_may_change(self, server, running, fields):
        assert server.judge(server.replace, running, WITH_TYPOS | fields) == Verdict({})

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("methods", [MENDED_SSD]),
            ("methods", [{"name": "finetune", "params": {"epochs": 3}}, SSD]),
            ("methods", [{"name": "finetune", "label": "other", "params": {"epochs": 2}}]),
            ("seeds.list", {"list": [5, 3]}),
            ("seeds.list", {"list": [5, 9, 3, 4]}),
            ("model", {"name": "resnet34"}),
        ],
        ids=["method gone", "setting", "label", "seed gone", "seed in between", "model"],
    )
    def test_the_accepted_rest_of_it_stays(self, server, running, field, value):
        verdict = server.judge(server.replace, running, edited(WITH_TYPOS, field, value))
        assert set(verdict.reasons) == {f"spec.{field}"}

    def test_fewer_seeds_than_were_asked_for_where_fewer_were_accepted(self, server):
        spec = changed(seeds={"start": 5, "count": 9})
        there = server.create(spec, name="many", dry_run=None)
        there = server.write_status(there, accepted(spec) | {"seeds": 3})
        for count, good in ((3, True), (2, False)):
            fewer = changed(seeds={"start": 5, "count": count})
            assert server.judge(server.replace, there, fewer).good is good

    def test_a_status_that_comes_with_a_spec_counts_for_nothing(self, server, there):
        """A user who may write specs need not be allowed to write statuses."""
        claimed = there[id(WHOLE)] | {"status": {}}
        spec = edited(WHOLE, "model", {"name": "resnet34"})
        assert not server.judge(server.replace, claimed, spec).good


FAMILIES = {"model": {"name": "timm/resnet18.a1_in1k"}}
UNLISTED = {"execution": {"allowUnlistedComponents": True}}
THEIRS = {"name": "theirs"}
WRAPPED = {"name": "finetune", "wrappers": [THEIRS]}
DATA, STAGES = {"distribution": "Data"}, {"distribution": "Stages"}
ON_CLUSTER = {
    "a dataset": ("dataset", {"dataset": {"name": "digitz"}}),
    "a model": ("model", {"model": {"name": "resnet81"}}),
    "a family alone": ("model", {"model": {"name": "timm"}}),
    "an optimizer": ("training.optimizer", {"training": {"optimizer": {"name": "sdg"}}}),
    "a schedule": ("training.schedule", {"training": {"schedule": {"name": "cosin"}}}),
    "an augmentation": ("training.augmentation", {"training": {"augmentation": [THEIRS]}}),
    "a scenario": ("scenarios[0].name", {"scenarios": [{"name": "full_clas"}]}),
    "a method": ("methods", {"methods": entries("finetune", "ssdd")}),
    "a wrapper": ("methods", {"methods": [{"name": "ssd"}, WRAPPED]}),
    "a metric": ("metrics[1].name", {"metrics": entries("loss", "acuracy")}),
    "a metric over seeds": ("seedMetrics", {"seedMetrics": entries("klon")}),
    "a scenario of theirs": ("scenarios[0].name", {"scenarios": [THEIRS], **UNLISTED}),
    "a metric of theirs": ("metrics[0].name", {"metrics": [THEIRS], **UNLISTED}),
    "a folder": ("storage.uri", {"storage": {"uri": "folder"}}),
    "another scheme": ("storage.uri", {"storage": {"uri": "gs://bucket/prefix"}}),
    "a bucket in capitals": ("storage.uri", {"storage": {"uri": "s3://Bucket/prefix"}}),
    "a step up": ("storage.uri", {"storage": {"uri": "s3://bucket/a/../b"}}),
    "an empty part": ("storage.uri", {"storage": {"uri": "s3://bucket//b"}}),
    "ranks of nodes": ("training.microBatches", {"execution": {"nodes": 2, **DATA}}),
    "ranks of GPUs": ("training.microBatches", {"execution": {"gpusPerNode": 4, **DATA}}),
    "three ranks": (
        "training.microBatches",
        {"execution": {"nodes": 3, **DATA}, "training": {"microBatches": 8}},
    ),
    "stages whose bits depend on ranks": (
        "execution.distribution",
        {"execution": {"nodes": 2, **STAGES}, "training": {"reduction": "ddp"}},
    ),
    "processes of a GPU": (
        "execution.processesPerNode",
        {"execution": {"processesPerNode": 2}, "training": {"microBatches": 2}},
    ),
}


class TestCluster:
    @pytest.mark.parametrize(
        "fields",
        [
            FAMILIES,
            {"model": {"name": "torchvision/vit_b_16"}},
            {"dataset": THEIRS, "model": THEIRS, "methods": [WRAPPED], **UNLISTED},
            {"storage": {"uri": "s3://bucket"}},
            {"storage": {"uri": "s3://bucket.with-dots/some/.hidden/prefix/"}},
            {
                "execution": {"nodes": 2, "gpusPerNode": 4},
                "training": {"microBatches": 16},
            },
            {"execution": {"gpusPerNode": 0, "processesPerNode": 1}},
            {"execution": {"nodes": 3}, "training": {"reduction": "ddp"}},
            {"execution": {"nodes": 3}, "training": {"microBatches": 8}},
            {"execution": {"processesPerNode": 4, **STAGES}},
        ],
        ids=str,
    )
    def test_both_accept_what_a_cluster_can_do(self, server, fields):
        assert operator(changed(**fields)) == Verdict({})
        assert server.judge(server.create, changed(**fields)) == Verdict({})

    @pytest.mark.parametrize(("field", "fields"), ON_CLUSTER.values(), ids=ON_CLUSTER)
    def test_both_refuse_what_it_cannot(self, server, field, fields):
        here, there = operator(changed(**fields)), server.judge(server.create, changed(**fields))
        assert set(there.reasons) == {f"spec.{field}"}
        assert here.names(f"spec.{field}")
        (told,) = there.reasons.values()
        came = re.search(r"""(?:unknown \w+| is|Unsupported value:) ['"]?([\w:/.]+)""", told)[1]
        assert came in " ".join(here.reasons.values())

    def test_an_unknown_name_is_told_with_those_that_are_known(self, server):
        spec = changed(methods=entries("finetune", "ssdd", "scrubb"))
        told = server.judge(server.create, spec).reasons["spec.methods"]
        assert "unknown method 'ssdd'; known: " in told
        assert re.search(r"\bssd\b, ", told)
        assert "execution.allowUnlistedComponents" in told

    def test_a_status_is_written_where_a_name_is_not_known_any_more(self, server, cluster):
        """The experiment may be older than the definition."""
        spec = changed(methods=entries("ssdd"))
        with definition_without_names(cluster):
            eventually(lambda: server.judge(server.create, spec).good)
            there = server.create(spec, name="older", dry_run=None)
        eventually(lambda: not server.judge(server.create, spec).good)
        assert server.write_status(there, refused(spec))["status"]["phase"] == "Failed"
        mended = changed(methods=entries("ssd"))
        assert server.judge(server.replace, server.read("older"), mended) == Verdict({})


@contextmanager
def definition_without_names(cluster):
    """The definition as it was before the server knew what components there are."""
    definition = yaml.safe_load(CRD.read_text())
    older = deepcopy(definition)
    (version,) = older["spec"]["versions"]
    del version["schema"]["openAPIV3Schema"]["properties"]["spec"]["x-kubernetes-validations"]
    with cluster.client() as api:
        define = partial(_define, client.ApiextensionsV1Api(api))
        define(older)
        try:
            yield
        finally:
            define(definition)


def _define(definitions, definition):
    name = definition["metadata"]["name"]
    definitions.patch_custom_resource_definition(
        name, [{"op": "replace", "path": "/spec/versions", "value": definition["spec"]["versions"]}]
    )


def operator(spec):
    """Return the operator's verdict on a spec, where the cluster has an image and a store for
    it."""
    defaults = {"execution": {"image": "trainer:1"}, "storage": {"uri": "s3://bucket/prefix"}}
    body = document(spec) | {"metadata": METADATA}
    try:
        admit(body, bundled(), defaults=defaults)
    except SpecError as error:
        return Verdict(dict(_model_reason(line) for line in str(error).splitlines()))
    return Verdict({})


METADATA = {
    "name": "some",
    "namespace": NAMESPACE,
    "uid": "01234567",
    "creationTimestamp": "2026-03-01T00:00:00Z",
}


SAME = {
    "the least": SPEC,
    "listed seeds": changed(seeds={"list": [3, 1]}),
    "first seed": changed(seeds={"start": 7}),
    "whole numbers as floats": changed(
        training={"optimizer": {"name": "sgd", "params": {"lr": 1.0, "momentum": 0.0}}}
    ),
    "matched seeds": changed(seeds={"protocol": "matched"}),
    "whole batches": changed(training={"batchNorm": "batch"}),
    "small numbers": changed(
        training={
            "maxGradientNorm": 1.0,
            "optimizer": {"name": "sgd", "params": {"lr": 1e-7, "weightDecay": 5e-324}},
        }
    ),
    "null": changed(storage={"region": None}, managedBy=None),
    "execution": changed(
        execution={
            "reuse": "None",
            "template": {"env": [{"name": "A", "value": None}], "labels": {"a": "b"}},
        }
    ),
} | {
    path.stem: yaml.safe_load(path.read_text())["spec"]
    for path in sorted((ROOT / "examples").glob("*.yaml"))
}


class TestDefaults:
    @pytest.mark.parametrize("spec", SAME.values(), ids=SAME)
    def test_what_comes_back_has_the_same_plan_and_digests(self, server, spec):
        sent, back = spec, server.create(spec)["spec"]
        assert back != sent
        before, after = (planned(parse(ExperimentSpec, each, at="spec")) for each in (sent, back))
        assert after == before
        assert work_digest(after.work) == work_digest(before.work)

    def test_what_comes_back_shows_what_runs(self, server):
        back = server.create(SPEC)["spec"]
        assert back["seeds"]["start"] == 260
        assert back["training"]["optimizer"]["params"]["lr"] == 0.1
        assert back["training"]["batchNorm"] == "micro_batch"
        assert back["execution"]["resources"] == {"sharedMemory": "8Gi"}
        assert (
            parse(ExperimentSpec, back).to_document() == parse(ExperimentSpec, SPEC).to_document()
        )

    def test_settings_of_a_component_come_back_as_they_were(self, server):
        params = {"a": None, "b": [1, "x", None, {"c": {}}], "d": {"e": {"f": None}}, "g": 5e-4}
        back = server.create(changed(model={"name": "resnet18", "params": params}))
        assert back["spec"]["model"]["params"] == params

    def test_null_is_the_default_and_a_whole_float_is_its_number(self, server):
        spec = changed(training={"epochs": 6.0, "precision": None})
        training = server.create(spec)["spec"]["training"]
        assert (training["epochs"], training["precision"]) == (6, "fp32")
        assert set(models(spec).reasons) == {"spec.training.epochs", "spec.training.precision"}

    def test_a_status_comes_back_as_it_was(self, server):
        there = server.create(SPEC, name="status", dry_run=None)
        status = parse(ExperimentStatus, STATUS).to_document()
        written = server.objects.replace_namespaced_custom_object_status(
            **server.kind,
            name="status",
            body=there | {"status": status},
            field_validation="Strict",
        )
        assert written["status"] == status
        assert parse(ExperimentStatus, written["status"]) == parse(ExperimentStatus, STATUS)


STATUS = {
    "observedGeneration": 1,
    "phase": "Running",
    "conditions": [
        {
            "type": "Complete",
            "status": "False",
            "reason": "SeedsRunning",
            "observedGeneration": 1,
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
    ],
    "active": 2,
    "progress": "1/3",
    "done": "36%",
    "selector": "supreme.dev/experiment=status",
    "seedStatuses": [{"seed": 5, "phase": "Running", "child": "some-s0-a0"}],
    "summary": [{"scenario": "full_class", "method": "finetune", "n": 1, "mean": 0.5}],
    "results": {"uri": "s3://bucket/summary.json", "sha256": "0" * 64, "seeds": 1},
}


def planned(spec):
    experiment = UnlearningExperiment(
        api_version=names.API_VERSION, kind=names.KIND, metadata=Metadata(name="some"), spec=spec
    )
    return plan(experiment, bundled(), namespace=NAMESPACE, uid="01234567")


class TestKubectl:
    def test_the_definition_is_read_as_it_was_written(self, cluster):
        create = ["create", "--dry-run=client", "-o", "json", "-f", str(CRD)]
        assert json.loads(cluster.kubectl(*create)) == yaml.safe_load(CRD.read_text())

    def test_the_definition_is_small(self):
        """A tenth of it are the names of components, which the server knows by it."""
        assert CRD.stat().st_size < 90_000

    def test_explain_reads_well(self, server, cluster):
        text = " ".join(cluster.kubectl("explain", "uexp.spec.training").split())
        assert "FIELD: training <Object> DESCRIPTION: Training recipe. FIELDS:" in text
        assert "batchSize <integer> Samples of one optimiser step, over all ranks." in text
        assert (
            "batchNorm <string> enum: micro_batch, batch Samples of BatchNorm's statistics:" in text
        )
        assert "augmentation <[]Object> Augmentations in the order in which" in text

    def test_explain_knows_the_status(self, server, cluster):
        text = " ".join(cluster.kubectl("explain", "uexp.status.summary").split())
        assert "gap <number> Mean difference to the model retrained for the same seed." in text

    @pytest.mark.parametrize(
        "path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.stem
    )
    def test_an_example_that_is_applied_again_is_not_changed(self, server, cluster, path):
        found = []
        for _ in range(2):
            cluster.kubectl("apply", "-f", str(path))
            found.append(cluster.kubectl("get", "uexp", path.stem, "-o", "json"))
        assert found[0] == found[1]

    def test_an_unknown_field_is_refused_with_its_path(self, server, cluster, tmp_path):
        path = tmp_path / "some.yaml"
        path.write_text(json.dumps(document(changed(training={"epoch": 3}))))
        with pytest.raises(RuntimeError, match=r'unknown field "spec\.training\.epoch"'):
            cluster.kubectl("apply", "-f", str(path))

    def test_get_shows_where_an_experiment_stands(self, server, cluster):
        there = server.create(SPEC, name="shown", dry_run=None)
        server.objects.replace_namespaced_custom_object_status(
            **server.kind, name="shown", body=there | {"status": STATUS}
        )
        head, line = cluster.kubectl("get", "uexp", "shown").splitlines()
        assert head.split() == [
            *("NAME", "PHASE", "SEEDS", "DONE", "FAILED", "DATASET", "MODEL", "AGE")
        ]
        assert line.split()[:-1] == ["shown", "Running", "1/3", "36%", "0", "digits", "resnet18"]

    def test_experiments_are_selected_by_phase_dataset_and_model(self, server, cluster):
        server.create(changed(dataset={"name": "svhn"}), name="selected", dry_run=None)
        select = "spec.dataset.name=svhn,spec.model.name=resnet18,status.phase!=Running"
        found = cluster.kubectl("get", "uexp", "-o", "name", "--field-selector", select)
        assert found == "unlearningexperiment.supreme.dev/selected\n"

    def test_scale_sets_how_many_children_run(self, server, cluster):
        server.create(SPEC, name="scaled", dry_run=None)
        cluster.kubectl("scale", "uexp", "scaled", "--replicas=2")
        found = cluster.kubectl("get", "uexp", "scaled", "-o", "jsonpath={.spec.parallelism}")
        assert found == "2"

    def test_get_all_lists_experiments(self, server, cluster):
        server.create(SPEC, name="listed-by-all", dry_run=None)
        assert "unlearningexperiment.supreme.dev/listed-by-all" in cluster.kubectl("get", "all")
