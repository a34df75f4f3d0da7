"""Looks at an experiment, built so that a test names only what it is about."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from supreme_operator.deciding.admission import admit
from supreme_operator.deciding.backoff import BackoffPolicy
from supreme_operator.deciding.decide import decide
from supreme_operator.deciding.facts import Attempt, Child, ChildState, Pod
from supreme_operator.deciding.parts import part_of
from supreme_operator.deciding.standing import Observations, Seen
from supreme_operator.deciding.status import status_of
from supreme_operator.results.protocol import Published, ResultCheck

from supreme_core.api.orders import work_digest
from supreme_core.api.status import ExperimentStatus, ResultsReference
from supreme_core.registry import catalog

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
UID = "0b7a3c9e-58a1-4d53-9d0a-5f3f6f6f2a11"
BACKOFF = BackoffPolicy(retry_seconds=10, disruption_seconds=5, longest_seconds=600)
CATALOG = catalog.bundled()

SPEC = {
    "seeds": {"list": [7, 8, 9]},
    "dataset": {"name": "digits"},
    "model": {"name": "resnet18"},
    "scenarios": [{"name": "full_class", "params": {"classes": [3]}}],
    "methods": [{"name": "finetune"}],
    "parallelism": 2,
    "execution": {"image": "trainer:1", "gpusPerNode": 0},
    "storage": {"uri": "s3://bucket/prefix"},
}


def resource(generation=1, **spec):
    """The resource as the API server gives it; a section of the spec is changed field by field."""
    merged = {**SPEC}
    for name, value in spec.items():
        merged[name] = {**merged[name], **value} if name in ("execution", "storage") else value
    return {
        "apiVersion": "supreme.dev/v1alpha1",
        "kind": "UnlearningExperiment",
        "metadata": {
            "name": "three",
            "namespace": "research",
            "uid": UID,
            "generation": generation,
            "resourceVersion": "1",
            "creationTimestamp": "2026-03-01T11:00:00Z",
        },
        "spec": merged,
    }


def look(
    *children,
    status=None,
    orphaned=(),
    template="",
    observations=None,
    generation=1,
    refusal="",
    **spec,
):
    admitted = admit(resource(generation, **spec), CATALOG, defaults={})
    work = work_digest(admitted.order.work)
    status, observations = status or ExperimentStatus(), observations or Observations()
    return Seen(
        experiment=admitted.experiment,
        order=admitted.order,
        part=part_of(admitted.order, status, observations.chosen, observations.round),
        status=status,
        children=[replace(each, work=work) if each.work == "" else each for each in children],
        refusal=refusal,
        orphaned=orphaned,
        template=template,
        observations=observations,
    )


def decided(*children, now=NOW, **given):
    return decide(look(*children, **given), now=now, backoff=BACKOFF)


def told(*children, now=NOW, **given):
    """The status that follows."""
    seen = look(*children, **given)
    return status_of(seen, decide(seen, now=now, backoff=BACKOFF), now=now)


def told_of(admitted, status=None):
    """The status that follows of an experiment without children."""
    status = status or ExperimentStatus()
    seen = Seen(
        experiment=admitted.experiment,
        order=admitted.order,
        part=part_of(admitted.order, status, None),
        status=status,
        children=[],
    )
    return status_of(seen, decide(seen, now=NOW, backoff=BACKOFF), now=NOW)


def child(seed, state="Running", *, attempt=0, retries=0, disruptions=0, index=None, **facts):
    """index: by default that of SPEC's seeds."""
    facts.setdefault("created_at", NOW - timedelta(minutes=1))
    facts.setdefault("waits_since", facts["created_at"])
    if state in ("Succeeded", "Failed"):
        facts.setdefault("finished_at", NOW)
    number = f"s{seed}-a{attempt}"
    pods = facts.pop("pods", ())
    return Child(
        kind="Job",
        uid=f"uid-{number}",
        name=number,
        owner=UID,
        attempt=Attempt(
            seed=seed,
            index=seed - 7 if index is None else index,
            number=attempt,
            retries=retries,
            disruptions=disruptions,
        ),
        work=facts.pop("work", ""),
        state=ChildState(state),
        pods=[replace(pod, child=f"uid-{number}", seed=seed) for pod in pods],
        **facts,
    )


def failed(seed, *, code=1, attempt=0, retries=0, disruptions=0, **facts):
    """A child whose only pod ended with an exit code."""
    pods = [pod(phase="Failed", exit_code=code)]
    return child(
        seed,
        "Failed",
        attempt=attempt,
        retries=retries,
        disruptions=disruptions,
        **{"pods": pods, **facts},
    )


def pod(seed=0, **facts):
    return Pod(uid="pod", name="pod", child="gone", experiment=UID, seed=seed, **facts)


def valid(*seeds, attempt=0):
    """Observations of results that were read and are well."""
    return Observations(result_checks=checks(*seeds, attempt=attempt))


def checks(*seeds, attempt=0, state="valid"):
    return {
        (s, attempt): ResultCheck(seed=s, attempt=attempt, state=state, message="") for s in seeds
    }


def publication(*seeds, **spec):
    order = look(**spec).order
    return Published(
        work_digest=work_digest(order.work),
        seeds=frozenset(seeds),
        rows=[],
        results=ResultsReference(uri="s3://bucket/summary.json", sha256="0" * 64, seeds=len(seeds)),
    )


def condition(status, type_):
    """(status, reason) of a condition, or None."""
    return next(((c.status, c.reason) for c in status.conditions if c.type == type_), None)
