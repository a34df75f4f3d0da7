"""Methods over the blocks of several experiments: their numbers by block, ranks and tests. Pure.

A block is one scenario on one model of one dataset. For ranks and tests, scenarios of one kind that
are measured on the same models count as one, as within an experiment: see `comparison.blocks`.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, Literal

from pydantic import Field

from supreme_core.analysis import comparison, statistics
from supreme_core.analysis.aggregate import axes_of
from supreme_core.analysis.comparison import Distances, Rows
from supreme_core.analysis.provenance import Provenance, RowFacts, provenance_of
from supreme_core.analysis.tuning import told
from supreme_core.api import names
from supreme_core.api.canonical import digest
from supreme_core.api.model import Document
from supreme_core.api.orders import Work
from supreme_core.api.summary import Ranking, Row, Summary
from supreme_core.api.v1alpha1 import Component, LabelledComponent
from supreme_core.api.vocabulary import Digest, ShortText, Title
from supreme_core.errors import SpecError, few, mistakes, number_of, one_line
from supreme_core.registry import unknown
from supreme_core.registry.catalog import Catalog, bundled


class Member(Document):
    """One of the experiments."""

    source: ShortText = Field(description="Address of the experiment.")
    name: Title
    digest: Digest = Field(description="Digest of the Work.")
    seeds: list[int]
    supreme: ShortText = Field(description="Version of SUPREME that published its summary.")


class AcrossBlock(Document):
    """One scenario on one model of one dataset."""

    experiment: ShortText = Field(description="Address of the experiment that has it.")
    dataset: ShortText
    model: ShortText
    scenario: ShortText
    kind: Title = Field(description="Component that the scenario is.")
    group: ShortText = Field(
        description="Dataset and model, of which one that all blocks share is left out."
    )
    title: ShortText = Field(description="Group and scenario.")


class AcrossValue(Document):
    """One method in one block: mean over seeds, with its 95 % interval."""

    n: int = Field(ge=0, description="Seeds with a value.")
    asked: int = Field(ge=0, description="Seeds that the experiment asks for.")
    lack: ShortText | None = Field(
        description="Reason why the method has no rank in this block; null where it has one."
    )
    mean: float | None
    low: float | None
    high: float | None
    distance: float | None = Field(
        description="Mean over seeds of the distance to Retrained, or of the cost, by which the"
        " method is ranked; null for references and where seeds are lacking."
    )


class AcrossRow(Document):
    """One metric over all blocks."""

    metric: Title
    facts: RowFacts
    shows: Literal["gap", "value"] = Field(
        description="Kind of the numbers: the mean gap to Retrained of the same seed, or the mean."
    )
    values: dict[Title, list[AcrossValue | None]] = Field(
        description="By method, one for each block in their order; null where it was not computed."
    )
    ranked_blocks: int = Field(ge=0, description="Blocks that count for ranks and tests.")
    missing_blocks: int = Field(ge=0, description="Blocks that are missing until ranks are tested.")
    ranking: Ranking | None = Field(
        description="Ranks over the blocks and their tests; null where fewer than two methods are."
        " Where settings were tuned, of the methods with chosen ones."
    )
    ranking_as_given: Ranking | None = Field(
        None,
        exclude_if=lambda ranking: ranking is None,
        description="Ranks over the blocks and their tests of the methods with settings as given,"
        " where others were tuned.",
    )


class Across(Document):
    """compare.json: everything that the table of several experiments shows."""

    schema_version: Literal[1] = 1
    experiments: list[Member]
    blocks: list[AcrossBlock]
    methods: list[Title] = Field(description="References and methods, in the order of the lines.")
    tuned: list[Title] = Field(
        default_factory=list,
        exclude_if=lambda tuned: not tuned,
        description="Methods with chosen settings; the others have those that are given.",
    )
    rows: list[AcrossRow]
    notes: list[ShortText] = Field(description="Remarks on all numbers.")


@dataclass(frozen=True)
class PublishedExperiment:
    """A published experiment.  source: its address.  called: what messages call it."""

    source: str
    summary: Summary
    name: str = ""

    @property
    def called(self) -> str:
        return self.name or self.source

    @cached_property
    def provenance(self) -> Provenance:
        return provenance_of(self.summary)

    @property
    def work(self) -> Work:
        return self.provenance.work

    @cached_property
    def scenarios(self) -> list[str]:
        """Titles of the scenarios that have rows."""
        return list(dict.fromkeys(row.scenario for row in self.summary.rows))

    def scenario(self, title: str) -> LabelledComponent:
        return next(each for each in self.work.scenarios if each.title == title)


ComparedFacts = Mapping[str, object]

ROLES: Final = ("test", "membership", "cost")
"""Rows that are compared unless others are named: the first that plays each role, after the
primary one."""


def compare(
    found: Sequence[PublishedExperiment],
    metrics: Sequence[str] = (),
    *,
    settings_may_differ: bool = False,
    catalog: Catalog | None = None,
) -> Across:
    """Compare the methods of several experiments.

    metrics: rows; without any the primary one, and one each for utility, membership and cost.
    settings_may_differ: a method has those that somebody chose for each block, which is told.
    catalog: has the settings that methods take for transformers, which may differ anyway.
    SpecError where the experiments cannot be compared, with a line for each reason.
    """
    if len(found) < 2:
        raise SpecError("one experiment alone has nothing to be compared with; give two or more")
    found = called(found)
    settings = {} if settings_may_differ else _by_experiment(found, catalog or bundled())
    _refuse(_refusals(found, settings))
    rows = _chosen(found, metrics)
    _refuse(_refusals_of_rows(found, rows))
    placed = _placed(found)
    methods = dict.fromkeys(row.method for each in found for row in each.summary.rows)
    tuned = [*dict.fromkeys(method for each in found for method in each.summary.tuned)]
    references = [method for method in names.REFERENCES if method in methods]
    return Across(
        experiments=[
            Member(
                source=one_line(each.source),
                name=each.summary.experiment.name,
                digest=each.summary.experiment.digest,
                seeds=each.summary.seeds,
                supreme=one_line(each.provenance.versions.get("supreme", "unknown")),
            )
            for each in found
        ],
        blocks=[each.block for each in placed],
        methods=[*references, *(m for m in methods if m not in references)],
        tuned=tuned,
        rows=[_row(placed, methods, metric, tuned) for metric in rows],
        notes=list(_notes(found, placed, tuned)),
    )


# What cannot be compared


def _refuse(reasons: Iterator[str]) -> None:
    error = mistakes(reasons)
    if str(error):
        raise error


def called(found: Sequence[PublishedExperiment]) -> list[PublishedExperiment]:
    """The experiments under their names, where these tell them apart."""
    names_ = [each.summary.experiment.name for each in found]
    if len(set(names_)) < len(names_):
        return [*found]
    return [replace(each, name=name) for each, name in zip(found, names_, strict=True)]


def _refusals(
    found: Sequence[PublishedExperiment], settings: Mapping[tuple[str, str], ComparedFacts]
) -> Iterator[str]:
    for each in found:
        if not any(row.n for row in each.summary.rows):
            yield f"{each.called} has no finished seed yet, so there is nothing to compare"
    yield from _same_blocks(found)
    yield from differences(found, protocol_of)
    yield from differences(found, lambda each: _methods(each, settings))
    yield from differences([each for each in found if each.summary.tuning], _searched)
    asked = [{method.title for method in each.work.methods} for each in found]
    if not set.intersection(*asked):
        lists = "; ".join(
            f"{each.called} has {few(sorted(methods))}"
            for each, methods in zip(found, asked, strict=True)
        )
        yield f"the experiments have no method in common: {lists}"


def _same_blocks(found: Sequence[PublishedExperiment]) -> Iterator[str]:
    """A block that two experiments have, or one has under two labels."""
    seen: dict[str, str] = {}
    for each in found:
        for title in each.scenarios:
            identity = block_identity(each, title)
            if identity in seen:
                where = f"{each.work.dataset.name}, {each.work.model.name}, {title}"
                yield f"the block {where} is there twice: in {seen[identity]} and in {each.called}"
            seen[identity] = each.called


def _refusals_of_rows(found: Sequence[PublishedExperiment], rows: Sequence[str]) -> Iterator[str]:
    yield from differences(
        found, lambda each: {f"metric row {row!r}": meaning_of_row(each, row) for row in rows}
    )
    yield from differences(
        found, lambda each: {f"margin of {row!r}": {"it": margin_of(each, row)} for row in rows}
    )


def differences(
    found: Sequence[PublishedExperiment],
    settings_of: Callable[[PublishedExperiment], Mapping[str, ComparedFacts]],
) -> Iterator[str]:
    """A line for each thing that is not the same in all experiments that have it.

    settings_of: settings of each thing by what it is called in a message, each by its name.
    """
    first: dict[str, tuple[PublishedExperiment, ComparedFacts]] = {}
    for each in found:
        for thing, settings in settings_of(each).items():
            before, expected = first.setdefault(thing, (each, settings))
            differing = [
                f"{name} is {_said(expected.get(name))} in {before.called}"
                f" and {_said(settings.get(name))} in {each.called}"
                for name in dict.fromkeys((*expected, *settings))
                if expected.get(name) != settings.get(name)
            ]
            if differing:
                yield f"{thing} differs: {'; '.join(differing)}"


def _said(value: object) -> str:
    return "not said" if value is None else one_line(value, limit=200)


def protocol_of(each: PublishedExperiment) -> dict[str, ComparedFacts]:
    by = "supreme-unlearning" if each.provenance.imported else "SUPREME"
    return {
        "the program that computed the numbers": {"it": by},
        "the seed protocol": {"it": each.work.protocol},
        "the tuning": _tuning(each),
    }


def _tuning(each: PublishedExperiment) -> ComparedFacts:
    """Search for settings of an experiment; the settings themselves may differ between blocks."""
    found = each.summary.tuning
    if found is None:
        return {"objective": "none, for nothing is tuned"}
    asked = ("objective", "track", "trials", "sampler", "rounds", "share")
    return {**{name: getattr(found, name) for name in asked}, "seeds": len(found.seeds)}


def _by_experiment(
    found: Sequence[PublishedExperiment], catalog: Catalog
) -> dict[tuple[str, str], ComparedFacts]:
    """Settings of methods, by experiment and title, without those that they take for
    transformers."""
    return {
        (each.source, method.title): {
            name: str(value)
            for name, value in method.params.items()
            if (name, value) not in _for_transformers(each, method, catalog).items()
        }
        for each in found
        for method in each.work.methods
    }


def _for_transformers(
    each: PublishedExperiment, method: Component, catalog: Catalog
) -> ComparedFacts:
    network = catalog.find("model", each.work.model.name)
    listed = catalog.find("method", method.name)
    if not (network and listed and network.is_transformer(each.work.model.name)):
        return {}
    own: ComparedFacts = listed.facts["for_transformers"]
    return own


def _methods(
    each: PublishedExperiment, settings: Mapping[tuple[str, str], ComparedFacts]
) -> dict[str, ComparedFacts]:
    return {
        f"method {method.title!r}": {
            **_version(each, "method", method),
            **settings.get((each.source, method.title), {}),
            "wrappers": [_settings(each, "wrapper", wrapper) for wrapper in method.wrappers]
            or "none",
            "augmentation": method.augmentation,
        }
        for method in each.work.methods
    }


def _searched(each: PublishedExperiment) -> dict[str, ComparedFacts]:
    """Methods of a tuned experiment, each with whether its settings were chosen."""
    return {
        f"method {method.title!r}": {
            "search": "there" if method.title in each.summary.tuned else "none"
        }
        for method in each.work.methods
    }


def meaning_of_row(each: PublishedExperiment, row: str) -> ComparedFacts:
    facts = each.provenance.metrics[row]
    component = next((m for m in each.work.metrics if m.title == facts.metric), None)
    settings = _settings(each, "metric", component) if component else {}
    return {**settings, **facts.model_dump(include=MEANING)}


MEANING: Final = {"unit", "compares", "measured", "low", "high", "share", "direction", "margin"}
"""Facts that change the meaning of a number; the rest are words about it."""


def _settings(each: PublishedExperiment, kind: str, component: Component) -> ComparedFacts:
    settings = {name: str(value) for name, value in component.params.items()}
    return {**_version(each, kind, component), **settings}


def _version(each: PublishedExperiment, kind: str, component: Component) -> ComparedFacts:
    """Name and version of a component; version 1 has none, nor has what a cluster planned."""
    found = (r for r in each.work.revisions if (r.kind, r.name) == (kind, component.name))
    revision = next(found, None)
    return {
        "name": component.name,
        "version": revision.version if revision else None,
        "plug-in": revision.plugin if revision else None,
    }


def margin_of(each: PublishedExperiment, metric: str) -> str:
    """The margin that was set before anything was computed; noise may give each block its own."""
    gaps = (row.gap for row in each.summary.rows if row.metric == metric)
    found = {gap.margin for gap in gaps if gap and gap.margin_source == "set"}
    return ", ".join(map(str, sorted(m for m in found if m is not None))) or "not set"


def _chosen(found: Sequence[PublishedExperiment], metrics: Sequence[str]) -> list[str]:
    """Rows to compare, each once."""
    common = {
        metric: facts
        for metric, facts in found[0].provenance.metrics.items()
        if all(metric in each.provenance.metrics for each in found)
    }
    for metric in metrics:
        if metric not in common:
            raise SpecError(f"of all these experiments: {unknown('metric row', metric, common)}")
    if metrics:
        return list(dict.fromkeys(metrics))
    _refuse(
        f"the primary metric is {found[0].summary.primary_metric} in {found[0].called} and"
        f" {each.summary.primary_metric} in {each.called}; name rows by --metric"
        for each in found
        if each.summary.primary_metric != found[0].summary.primary_metric
    )
    roles = {axis.role: axis.metric for axis in axes_of(common)}
    chosen = [found[0].summary.primary_metric, *(roles[role] for role in ROLES if role in roles)]
    return list(dict.fromkeys(chosen))


# Blocks


@dataclass(frozen=True)
class _Placed:
    """A block and where it is from.  sample: key of the models that it is measured on."""

    block: AcrossBlock
    published: PublishedExperiment
    scenario: str
    sample: str

    @property
    def facts(self) -> Mapping[str, RowFacts]:
        return self.published.provenance.metrics

    def rows(self, metric: str) -> list[Row]:
        """Rows of the block, under its title."""
        return [
            row.model_copy(update={"scenario": self.block.title})
            for row in self.published.summary.rows
            if row.scenario == self.scenario and row.metric == metric
        ]


def _placed(found: Sequence[PublishedExperiment]) -> list[_Placed]:
    """All blocks; those of one dataset and model stand together, in the order of their first."""
    pairs = [(each, title) for each in found for title in each.scenarios]
    datasets = _labels([each.work.dataset for each, _ in pairs])
    models = _labels([each.work.model for each, _ in pairs])
    scenarios = _labels([each.scenario(title) for each, title in pairs])
    tells = [len(set(labels)) > 1 for labels in (datasets, models)]
    placed = []
    for place, (each, title) in enumerate(pairs):
        parts = zip((datasets[place], models[place]), tells, strict=True)
        group = ", ".join(part for part, differs in parts if differs)
        block = AcrossBlock(
            experiment=one_line(each.source),
            dataset=datasets[place],
            model=models[place],
            scenario=scenarios[place],
            kind=each.scenario(title).name,
            group=one_line(group),
            title=one_line(f"{group}: {scenarios[place]}" if group else scenarios[place]),
        )
        sample = digest(
            {
                "models": [
                    _component_digest(each.work.dataset),
                    _component_digest(each.work.model),
                ],
                "training": each.work.training.to_document(),
                "seeds": sorted(each.summary.seeds),
            }
        )
        placed.append(_Placed(block, each, title, sample))
    first = {each.block.group: place for place, each in reversed([*enumerate(placed)])}
    return sorted(placed, key=lambda each: first[each.block.group])


def _labels(components: Sequence[Component]) -> list[str]:
    """A title for each; with its settings where another of the same title is another one."""
    titles = [getattr(each, "title", each.name) for each in components]
    meant: dict[str, set[str]] = defaultdict(set)
    for title, each in zip(titles, components, strict=True):
        meant[title].add(_component_digest(each))
    return [
        title if len(meant[title]) == 1 else _told_apart(title, each)
        for title, each in zip(titles, components, strict=True)
    ]


LONGEST_LABEL: Final = 300


def _told_apart(title: str, component: Component) -> str:
    """The title with all settings, or with a digest where they are long."""
    settings = [f"{name} {value}" for name, value in component.params.items()]
    inside = [*([component.name] * (component.name != title)), *settings]
    text = f"{title} ({', '.join(inside) or 'no settings'})"
    return text if len(text) <= LONGEST_LABEL else f"{title} ({_component_digest(component)[:12]})"


def _component_digest(component: Component) -> str:
    """Digest of what a component is, whatever its label."""
    return digest({"name": component.name, "params": component.params})


def block_identity(each: PublishedExperiment, scenario: str) -> str:
    parts = (each.work.dataset, each.work.model, each.scenario(scenario))
    return digest({"block": [_component_digest(part) for part in parts]})


# Numbers


def _row(
    placed: Sequence[_Placed], methods: Iterable[str], metric: str, tuned: Sequence[str]
) -> AcrossRow:
    facts = placed[0].facts[metric]
    shows: Literal["gap", "value"] = "gap" if facts.has_gap else "value"
    ranked = list(_ranked_blocks(placed, metric, facts))
    ranking, ranking_as_given = comparison.rankings(ranked, metric, tuned=tuned)
    values = {
        method: [_value(each, method, metric, facts) for each in placed] for method in methods
    }
    return AcrossRow(
        metric=metric,
        facts=facts,
        shows=shows,
        values={
            method: of_method
            for method, of_method in values.items()
            if method not in names.REFERENCES or any(e and e.mean is not None for e in of_method)
        },
        ranked_blocks=len(ranked),
        missing_blocks=max(statistics.FEWEST_BLOCKS - len(ranked), 0),
        ranking=ranking,
        ranking_as_given=ranking_as_given,
    )


class _Costs(Rows):
    """Rows of which one that is measured is read as it is, the smaller the better."""

    def __init__(self, rows: Iterable[Row], direction: str) -> None:
        super().__init__(rows)
        self._sign = -1.0 if direction == "higher" else 1.0

    def distances(self, scenario: str, method: str, metric: str) -> Distances:
        found = self.values(scenario, method, metric)
        return {seed: self._sign * value for seed, value in found.items()}

    def lack(self, scenario: str, method: str, metric: str) -> str:
        row = self.of(scenario, method, metric)
        return row.lack if row else comparison.NOT_THERE


def _rows(rows: Iterable[Row], facts: RowFacts) -> Rows:
    return _Costs(rows, facts.direction) if facts.measured else Rows(rows)


def _ranked_blocks(
    placed: Sequence[_Placed], metric: str, facts: RowFacts
) -> Iterator[comparison.Block]:
    """Blocks that count for ranks: of scenarios of one kind on the same models their mean."""
    samples: dict[str, list[_Placed]] = {}
    for each in placed:
        samples.setdefault(each.sample, []).append(each)
    for sample, several in samples.items():
        kinds = {each.block.title: each.block.kind for each in several}
        rows = _rows((row for each in several for row in each.rows(metric)), facts)
        for block in comparison.blocks(rows, metric, kinds=kinds):
            group = several[0].block.group
            title = (
                block.title
                if block.title in kinds
                else ": ".join(filter(None, (group, block.title)))
            )
            scores = {} if facts.measured else block.scores
            yield replace(block, title=title, scores=scores, sample=sample)


def _value(each: _Placed, method: str, metric: str, facts: RowFacts) -> AcrossValue | None:
    title = each.block.title
    rows = _rows(each.rows(metric), facts)
    row = rows.of(title, method, metric)
    if row is None:
        return None
    shown = row.gap if facts.has_gap else row
    lack = rows.lack(title, method, metric)
    ranked = method not in names.REFERENCES and not lack
    distances = rows.distances(title, method, metric).values() if ranked else ()
    return AcrossValue(
        n=shown.n if shown else 0,
        asked=row.seeds.asked,
        lack=one_line(lack) if lack else None,
        mean=shown.mean if shown else None,
        low=shown.low if shown else None,
        high=shown.high if shown else None,
        distance=statistics.average(distances),
    )


# What a reader has to know


def _notes(
    found: Sequence[PublishedExperiment], placed: Sequence[_Placed], tuned: Sequence[str]
) -> Iterator[str]:
    tunings = [each.summary.tuning for each in found if each.summary.tuning]
    if tunings:
        asked = (method.title for each in found for method in each.work.methods)
        yield one_line(told(tunings, asked))
    yield from _other_settings(found, tuned)
    counts = {len(each.summary.seeds) for each in found}
    if len(counts) > 1:
        yield f"Blocks have from {min(counts)} to {number_of(max(counts), 'training seed')}."
    versions = {each.provenance.versions.get("supreme", "unknown") for each in found}
    if len(versions) > 1:
        yield one_line(
            f"Different versions of SUPREME published them: {', '.join(sorted(versions))}."
        )
    if any(each.provenance.mixed_environments for each in found) or len(_devices(found)) > 1:
        yield "Different machines computed them, so costs of different blocks say little together."
    alike = Counter(
        (each.block.dataset, each.block.model, each.block.kind)
        for each in {(e.sample, e.block.group, e.block.kind): e for e in placed}.values()
    )
    for (dataset, model, kind), samples in alike.items():
        if samples > 1:
            yield one_line(
                f"{dataset}, {model}, {kind} counts as {number_of(samples, 'block')}, because seeds"
                " or trainings differ; blocks on the same data are not independent."
            )


def _other_settings(found: Sequence[PublishedExperiment], tuned: Sequence[str]) -> Iterator[str]:
    """A note on each method that has other settings in other experiments."""
    given = {*map(names.as_given_title, tuned)}
    methods = dict.fromkeys(method.title for each in found for method in each.work.methods)
    titles = [method for method in methods if method not in given]  # of which the same is told
    for title in titles:
        own = {
            each.called: method.params
            for each in found
            for method in each.work.methods
            if method.title == title
        }
        differing = []
        for name in dict.fromkeys(name for params in own.values() for name in params):
            where: dict[str, list[str]] = {}
            for experiment, params in own.items():
                value = one_line(params[name], limit=60) if name in params else "by default"
                where.setdefault(value, []).append(experiment)
            if len(where) > 1:
                told_ = (f"{value} in {', '.join(names_)}" for value, names_ in where.items())
                differing.append(f"{name} {'; '.join(told_)}")
        if differing:
            yield one_line(f"Settings of {title} differ: {'; '.join(differing)}.", limit=1000)


def _devices(found: Sequence[PublishedExperiment]) -> set[str]:
    return {
        str(environment.values["device"])
        for each in found
        for environment in each.provenance.environments
        if "device" in environment.values
    }
