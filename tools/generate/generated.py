"""The files that are generated from code, and what each should hold."""

import json
import re
from pathlib import Path
from typing import Any

import yaml
from supreme_operator.settings import Settings

from supreme_core import registry
from supreme_core.registry import catalog
from supreme_core.report.page import BEST
from tools.generate import chart, crd, from_reference
from tools.generate.api_reference import fields_table, rules_list
from tools.generate.dashboards import DASHBOARDS
from tools.generate.evidence import evidence_table, known_errors_table
from tools.generate.presets import presets

ROOT = Path(__file__).parents[2]
METHODS = ROOT / "docs" / "methods.md"
METRICS = ROOT / "docs" / "metrics.md"
DATASETS = ROOT / "docs" / "datasets.md"
OPERATOR = ROOT / "docs" / "operator.md"
API = ROOT / "docs" / "api.md"
EVIDENCE = ROOT / "docs" / "evidence.md"
STATISTICS = ROOT / "docs" / "statistics.md"
FROM_REFERENCE = ROOT / "docs" / "from-the-reference.md"
CRD = ROOT / "crds" / "supreme.dev_unlearningexperiments.yaml"
CATALOG = ROOT / "supreme_core" / "registry" / catalog.FILE
CHARTS_README = chart.CHART / "README.md"
CHARTS_SCHEMA = chart.CHART / "values.schema.json"


def generated() -> dict[Path, str]:
    """Each generated file and what it should hold."""
    live = catalog.live()
    definition = crd.custom_resource_definition(live)
    return {
        CATALOG: _json(catalog.document(live), sort_keys=True),
        METHODS: _with_methods(METHODS.read_text(encoding="utf-8")),
        METRICS: _with_metrics(METRICS.read_text(encoding="utf-8")),
        DATASETS: _with_datasets(DATASETS.read_text(encoding="utf-8")),
        OPERATOR: _with_settings(OPERATOR.read_text(encoding="utf-8")),
        API: _with_reference(API.read_text(encoding="utf-8")),
        **presets(),
        EVIDENCE: _with_evidence(EVIDENCE.read_text(encoding="utf-8")),
        STATISTICS: _with_seed_metrics(STATISTICS.read_text(encoding="utf-8")),
        FROM_REFERENCE: _with_names(FROM_REFERENCE.read_text(encoding="utf-8")),
        CRD: _yaml(definition),
        chart.CHART / "files" / "crd-spec.yaml": _yaml(definition["spec"]),
        CHARTS_README: _with_values(CHARTS_README.read_text(encoding="utf-8")),
        CHARTS_SCHEMA: chart.schema_with_settings(CHARTS_SCHEMA.read_text(encoding="utf-8")),
        **{
            chart.CHART / "files" / "dashboards" / f"{name}.json": _json(dashboard)
            for name, dashboard in DASHBOARDS.items()
        },
    }


def stale() -> list[str]:
    """Generated files whose content is not what the code says."""
    return [
        str(path.relative_to(ROOT))
        for path, content in generated().items()
        if not path.exists() or path.read_text(encoding="utf-8") != content
    ]


def _json(document: object, *, sort_keys: bool = False) -> str:
    return json.dumps(document, indent=1, sort_keys=sort_keys, ensure_ascii=False) + "\n"


class _WithoutAliases(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


_WithoutAliases.add_implicit_resolver(
    "tag:yaml.org,2002:bool",
    # Kubernetes reads a field called n as false, unless it is quoted; PyYAML does not.
    re.compile(r"[yYnN]$"),
    list("yYnN"),
)


def _yaml(document: object) -> str:
    head = "# Made from supreme_core/api/v1alpha1.py by `make generate`.\n"
    return head + yaml.dump(document, Dumper=_WithoutAliases, sort_keys=False, width=100)


def _with_methods(page: str) -> str:
    table = ["| method | what it does | paper |", "| --- | --- | --- |"]
    for entry in registry.method.entries():
        table.append(f"| `{entry.name}` | {entry.summary} | {entry.facts.paper} |")
    return _between(page, "methods", "\n".join(table))


def _with_metrics(page: str) -> str:
    table = ["| metric | what it measures | sets | unit | best value |", "| --- " * 5 + "|"]
    for entry in registry.metric.entries():
        facts = entry.facts
        sets = ", ".join(facts.sets) or "the run"
        name = f"**`{entry.name}`**" if facts.default else f"`{entry.name}`"
        best = BEST[facts.direction]
        table.append(f"| {name} | {entry.summary} | {sets} | {facts.unit} | {best} |")
    return _between(page, "metrics", "\n".join(table))


def _with_datasets(page: str) -> str:
    table = ["| dataset | what it is |", "| --- | --- |"]
    for entry in registry.dataset.entries():
        summary = entry.summary.replace("<", "&lt;")
        table.append(f"| `{entry.name}` | {summary} |")
    return _between(page, "datasets", "\n".join(table))


def _with_settings(page: str) -> str:
    settings = ["| flag | what it is | default |", "| --- | --- | --- |"]
    for name, each in Settings.model_fields.items():
        flag = name.replace("_", "-")
        settings.append(f"| `--{flag}` | {each.description} | {_default(each.default)} |")
    return _between(page, "settings", "\n".join(settings))


def _with_reference(page: str) -> str:
    page = _between(page, "rules", rules_list())
    for part in ("spec", "status"):
        page = _between(page, part, fields_table(part))
    return page


def _with_evidence(page: str) -> str:
    for kind in ("method", "wrapper", "metric", "seed_metric", "probe", "objective"):
        page = _between(page, f"{kind}s", evidence_table(kind))
    return _between(page, "known errors", known_errors_table())


def _with_seed_metrics(page: str) -> str:
    table = [
        "| metric | what it measures | numbers | seeds | source |",
        "| --- | --- | --- | --- | --- |",
    ]
    for entry in registry.seed_metric.entries():
        facts = entry.facts
        rows = (f"{entry.name}_{number}" if number else entry.name for number in facts.numbers)
        where = f" on {', '.join(facts.sets)}" if facts.sets else ""
        table.append(
            f"| `{entry.name}` | {entry.summary} | {', '.join(rows)}{where} |"
            f" {2 * facts.fewest} | {facts.source} |"
        )
    return _between(page, "seed_metrics", "\n".join(table))


def _with_names(page: str) -> str:
    for kind, renamed in (
        ("method", from_reference.METHODS),
        ("setting", from_reference.SETTINGS),
        ("scenario", from_reference.SCENARIOS),
        ("dataset", from_reference.DATASETS),
        ("model", from_reference.MODELS),
        ("option", from_reference.OPTIONS),
        ("registration", from_reference.REGISTRATIONS),
    ):
        page = _between(page, f"{kind}s", from_reference.renamed_table(kind, renamed))
    return _between(page, "metrics", from_reference.metrics_table())


def _with_values(page: str) -> str:
    page = _between(page, "values", chart.values_table())
    return _between(page, "settings", chart.settings_table())


def _default(value: Any) -> str:
    """Default as it would be written behind the flag; empty where there is none."""
    text = ",".join(value) if isinstance(value, tuple) else str(value)
    return f"`{text.lower() if isinstance(value, bool) else text}`" if text else ""


def _between(text: str, name: str, content: str) -> str:
    begin, end = f"<!-- {name}: generated -->", f"<!-- {name}: end -->"
    head, _, rest = text.partition(begin)
    _, _, tail = rest.partition(end)
    return f"{head}{begin}\n{content}\n{end}{tail}"
