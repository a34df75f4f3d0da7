"""Rules by which the API server refuses what no cluster can do, where `supreme run` could.

The rest of what a cluster needs, such as settings of components, the operator finds, which tells
the nearest name too; what is refused when it is applied needs no look at a status.
"""

from collections.abc import Collection, Iterator
from typing import Final

from supreme_core.api.rules import Rule
from supreme_core.registry import Listed
from supreme_core.registry.catalog import Catalog

BUCKET_URI: Final = "^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^/]+)*/?$"
STORE_IS_A_BUCKET: Final = Rule(
    "uri is '{uri}'; on a cluster it must be s3://bucket/prefix, where the bucket has 3 to 63"
    " lower-case letters, digits, dots and hyphens, and no part of the prefix is empty, . or ..",
    cel=f"!has(self.storage.uri) || self.storage.uri.matches('{BUCKET_URI}')"
    " && !self.storage.uri.matches('/[.][.]?(/|$)')",
    shown={"uri": "self.storage.uri"},
    at="storage.uri",
)
PROCESSES: Final = "self.execution.?processesPerNode.orValue(self.execution.gpusPerNode)"
DISTRIBUTION: Final = "self.execution.distribution"
RANKS: Final = f"self.execution.nodes * ({PROCESSES} > 1 ? {PROCESSES} : 1)"
RANKS_DIVIDE_BATCHES: Final = Rule(
    "microBatches is {parts}, which the {ranks} ranks of spec.execution do not divide; let"
    " the number of ranks be a power of two, and microBatches at least as large",
    cel=f"{DISTRIBUTION} != 'Data' || self.training.reduction != 'tree'"
    f" || self.training.microBatches % ({RANKS}) == 0",
    shown={"parts": "self.training.microBatches", "ranks": RANKS},
    at="training.microBatches",
)
STAGES_NEED_TREE: Final = Rule(
    "distribution is Stages, but reduction is ddp, whose bits depend on the number of ranks; use"
    " Data, or reduction tree",
    cel=f"{DISTRIBUTION} != 'Stages' || self.training.reduction == 'tree'",
    at="execution.distribution",
)
PROCESS_HAS_A_GPU: Final = Rule(
    "processesPerNode is {processes}, but gpusPerNode is {gpus}; each process needs a GPU of its"
    " own, unless distribution is Stages",
    cel=f"self.execution.gpusPerNode == 0 || {DISTRIBUTION} == 'Stages'"
    f" || {PROCESSES} <= self.execution.gpusPerNode",
    shown={"processes": PROCESSES, "gpus": "self.execution.gpusPerNode"},
    at="execution.processesPerNode",
)

SINGLE: Final = {
    "dataset": "dataset",
    "model": "model",
    "optimizer": "training.optimizer",
    "schedule": "training.schedule",
}
LISTS: Final = {
    "augmentation": "training.augmentation",
    "method": "methods",
    "seed_metric": "seedMetrics",
}
"""Kinds of components, and where they stand in a spec; wrappers stand in the methods."""
NEVER_UNLISTED_AT: Final = {"scenario": "scenarios", "metric": "metrics"}


def rules(catalog: Catalog) -> list[Rule]:
    """Rules of the spec.  catalog: the components that have names."""
    return [
        STORE_IS_A_BUCKET,
        RANKS_DIVIDE_BATCHES,
        STAGES_NEED_TREE,
        PROCESS_HAS_A_GPU,
        *_known_components(catalog),
    ]


def names(catalog: Catalog) -> dict[str, list[str]]:
    """Only names that a list of components may have, by field of the spec."""
    return {field: sorted(catalog.components[kind]) for kind, field in NEVER_UNLISTED_AT.items()}


def _known_components(catalog: Catalog) -> Iterator[Rule]:
    for kind, field in SINGLE.items():
        name = f"self.{field}.name"
        yield _known(kind, field, catalog, _is_known(kind, name, catalog), name)
    for kind, field in LISTS.items():
        is_known = _is_known(kind, "each.name", catalog)
        found = f"self.{field}.filter(each, !({is_known}))[0].name"
        all_are = f"!has(self.{field}) || self.{field}.all(each, {is_known})"
        yield _known(kind, field, catalog, all_are, found)
    is_known = _is_known("wrapper", "each.name", catalog)
    wrappers = f"has(method.wrappers) && method.wrappers.exists(each, !({is_known}))"
    unknown = f"method.wrappers.map(each, !({is_known}), each.name)[0]"
    found = f"self.methods.map(method, {wrappers}, {unknown})[0]"
    yield _known("wrapper", "methods", catalog, f"!self.methods.exists(method, {wrappers})", found)


def _known(kind: str, field: str, catalog: Catalog, cel: str, name: str) -> Rule:
    """The variants of a family are left to the operator: there are a thousand."""
    known = [f"{each.name}/NAME" if each.variants else each.name for each in _listed(kind, catalog)]
    return Rule(
        f"unknown {kind} '{{name}}'; known: {', '.join(known)}; others only with"
        " execution.allowUnlistedComponents",
        cel=f"self.execution.allowUnlistedComponents || {cel}",
        shown={"name": name},
        at=field,
    )


def _is_known(kind: str, name: str, catalog: Catalog) -> str:
    listed = _listed(kind, catalog)
    plain = [each.name for each in listed if not each.variants]
    families = [f" || {name}.startsWith('{each.name}/')" for each in listed if each.variants]
    return f"{name} in {plain}{''.join(families)}"


def _listed(kind: str, catalog: Catalog) -> Collection[Listed]:
    return catalog.components[kind].values()
