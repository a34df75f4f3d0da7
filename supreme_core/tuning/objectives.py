"""Objectives as an experiment names them: what they read, and their value for one trial."""

from collections.abc import Collection, Mapping, Sequence
from math import inf, isfinite

from supreme_core import registry
from supreme_core.api.names import metric_row
from supreme_core.api.v1alpha1 import Component, LabelledComponent, Objective
from supreme_core.errors import SpecError, nearest_or_all
from supreme_core.registry.catalog import Catalog
from supreme_core.tuning.objective_rows import KEPT, ObjectiveRows

AT = "spec.tuning.objective"


def check_objective(
    objective: Objective,
    scenarios: Sequence[LabelledComponent],
    catalog: Catalog,
    *,
    at: str = "spec.scenarios",
) -> None:
    """Refuse an objective that there is not, that has no meaning for a scenario, or rows without a
    gap to Retrained.  at: the field that lists the scenarios."""
    if isinstance(objective, str):
        listed = catalog.components["objective"].get(objective)
        if listed is None:
            known = nearest_or_all(objective, catalog.components["objective"], what="objectives")
            raise SpecError(f"{AT}: unknown objective {objective!r}{known}")
        for position, scenario in enumerate(scenarios):
            if scenario.name in listed.facts["not_for"]:
                raise SpecError(
                    f"{AT} is {objective}, which has no meaning for {scenario.name} of"
                    f" {at}[{position}], where a model that forgot answers otherwise than"
                    " it asks for; use an objective that compares with Retrained"
                )
        return
    known_rows = _rows(catalog)
    for row in objective:
        if row not in known_rows:
            hint = nearest_or_all(row, known_rows, what="rows")
            raise SpecError(f"{AT}: no metric gives a row {row!r}{hint}")
        facts = catalog.get("metric", known_rows[row]).facts
        if facts["compares"] or facts["measured"] or facts["probe"]:
            what = "measured" if facts["measured"] else "nearness to Retrained itself"
            what = "of a probe of the model" if facts["probe"] else what
            raise SpecError(f"{AT}: row {row!r} is {what}, and has no gap to compare; leave it out")
    of_alike = [row for row in objective if row in _rows(catalog, on=("forget_test",))]
    for position, scenario in enumerate(scenarios):
        if of_alike and not _knows_alike(scenario, catalog):
            raise SpecError(
                f"{AT}: row {of_alike[0]!r} has no value in {scenario.name} of {at}[{position}], as"
                " no unseen samples are like those to be forgotten in particular; leave it out"
            )


def _knows_alike(scenario: Component, catalog: Catalog) -> bool:
    """Return whether unseen samples can be like those that a scenario forgets."""
    requests = [*catalog.inner("scenario", scenario)]
    if requests:
        return any(_knows_alike(each.component, catalog) for each in requests)
    return bool(catalog.get("scenario", scenario.name).facts["alike"])


def is_oracle(objective: Objective, catalog: Catalog) -> bool:
    """Return whether an objective compares with Retrained, as weighted rows do."""
    if isinstance(objective, str):
        return bool(catalog.get("objective", objective).facts["track"] == "oracle")
    return True


def metrics_of(objective: Objective, catalog: Catalog) -> list[LabelledComponent]:
    """The metrics that give the rows which an objective reads, and that which tells a collapse."""
    rows = objective
    if isinstance(objective, str):
        rows = dict.fromkeys(catalog.get("objective", objective).facts["rows"], 1.0)
    found = _rows(catalog)
    wanted = dict.fromkeys(found[row] for row in (*rows, KEPT))
    return [LabelledComponent(name=name) for name in wanted]


def objective_value(objective: Objective, rows: ObjectiveRows) -> float:
    """The value of a trial, the least is best; infinite where a row that it needs has none."""
    if isinstance(objective, str):
        entry = registry.objective.get(objective)
        value = float(entry.function(rows, entry.params()))
    else:
        value = _weighted(objective, rows)
    return value if isfinite(value) else inf


def _weighted(weights: Mapping[str, float], rows: ObjectiveRows) -> float:
    total = sum(weight * rows.gap(row) for row, weight in weights.items())
    return total / sum(weights.values())


def _rows(catalog: Catalog, *, on: Collection[str] = ()) -> dict[str, str]:
    """The metric of each row of the table.  on: sets, of whose rows; none for all rows."""
    return {
        metric_row(name, each): name
        for name, listed in catalog.components["metric"].items()
        for each in listed.facts["sets"] or (None,)
        if not on or each in on
    }
