"""Helm as a program of this machine, and what it makes of the chart."""

import os
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import yaml
from supreme_operator.deciding.admission import admit
from supreme_operator.deciding.facts import Experiment
from supreme_operator.settings import PREFIX, Settings

from supreme_core.registry import catalog
from tests.cluster.control_plane import ControlPlane
from tools.generate.chart import CHART

NAMESPACE = "supreme-system"
FROM_THE_SERVER = {
    "uid": "1f0c52ab-0000",
    "creationTimestamp": "2026-01-01T00:00:00Z",
    "namespace": "research",
}
VALUES = {path.name.removesuffix("-values.yaml"): path for path in sorted((CHART / "ci").iterdir())}
"""The files of ci/ by their names."""
LEAST = ("--values", VALUES["default"])
"""The only value that must be given: an image of the operator."""


@dataclass(frozen=True)
class Helm:
    """folder: where it keeps its own files.  options: how it reaches a cluster, if it does."""

    program: Path
    folder: Path
    options: tuple[str, ...] = ()

    def __call__(self, *arguments: str | Path) -> str:
        """Return what Helm prints; raise RuntimeError with its output where it fails."""
        done = subprocess.run(
            [self.program, *arguments, *self.options],
            env={"HOME": str(self.folder)},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)
        return done.stdout

    def template(self, *arguments: str | Path) -> str:
        """The manifests of a release called supreme, with no values but these."""
        return _template(self, arguments)

    def manifests(self, *arguments: str | Path) -> list[dict[str, Any]]:
        """Return the manifests of the least values and of these arguments."""
        return documents(self.template(*LEAST, *arguments))

    def at(self, cluster: ControlPlane) -> "Helm":
        """Return a Helm of a user who may do everything in this cluster."""
        kubeconfig = cluster.admin.write_kubeconfig(self.folder / "kubeconfig")
        return Helm(self.program, self.folder, ("--kubeconfig", str(kubeconfig)))


@cache
def _template(helm: Helm, arguments: tuple[str | Path, ...]) -> str:
    """Helm takes half a second for what it has made before."""
    return helm("template", "supreme", CHART, "--namespace", NAMESPACE, *arguments)


def documents(text: str) -> list[dict[str, Any]]:
    """The documents of YAML, read by libyaml: Python takes ten times as long for the definition."""
    return list(yaml.load_all(text, yaml.CSafeLoader))


def only(manifests: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """The one manifest of its kind."""
    [found] = [each for each in manifests if each["kind"] == kind]
    return found


def environment(deployment: Mapping[str, Any]) -> dict[str, str]:
    """The settings that a Deployment gives the operator, as variables."""
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    given = {each["name"]: each.get("value", "") for each in container["env"]}
    return {name: value for name, value in given.items() if name.startswith(PREFIX)}


def settings_of(deployment: Mapping[str, Any]) -> Settings:
    """The settings as the operator of a Deployment reads them."""
    with patch.dict(os.environ, environment(deployment)):
        return Settings.read([])


def settings(deployment: Mapping[str, Any]) -> dict[str, str]:
    """The same by the names of settings, but for the port, which a test chooses."""
    named = {
        name.removeprefix(PREFIX).lower(): value for name, value in environment(deployment).items()
    }
    del named["port"]
    return named


def admitted(body: Mapping[str, Any], defaults: Mapping[str, Mapping[str, Any]]) -> Experiment:
    """An experiment as the operator takes it, with these defaults of its settings."""
    metadata = {**body["metadata"], **FROM_THE_SERVER}
    return admit({**body, "metadata": metadata}, catalog.bundled(), defaults=defaults).experiment


def triples(rules: Iterable[Mapping[str, Any]]) -> set[tuple[str, str, str]]:
    """(group, resource, verb) of each right."""
    return {
        (group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
